/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What happens to a device from outside of the guest: the host wants it back, it reports an error,
 * it stops answering, a vCPU runs into a memory slot that nothing backs any more.
 */
#include "devices/vfio/front/front.h"

#include <errno.h>
#include <string.h>
#include <linux/pci_regs.h>

#include "devices/vfio/message.h"
#include "vmm/base/host.h"
#include "vmm/base/loop.h"

#define SECOND_NS   1000000000ull
#define ASK_EVERY_S 10 /* as often as the kernel asks us */

/* A vCPU that faulted before a revoke took the slots away may come here after it. */
#define FAULT_GRACE_NS (SECOND_NS / 2)

static void take(struct vfio_function *vf)
{
	vf->leaving = FRONT_FORCED;
	if (vf->leave_timer)
		loop_timer_set(vf->env.loop, vf->leave_timer, 0);
	/* The machine unplugs, and may destroy @vf before this returns. */
	if (vf->env.unplug)
		vf->env.unplug(vf->env.machine, vf, true);
}

static void ask(struct vfio_function *vf)
{
	uint64_t limit = vf->config->unplug_timeout_s, step;

	if (vf->asked_s >= limit) {
		if (limit)
			vfio_warn(vf->id, 0, "the guest did not let go within %u seconds; taken",
				  (unsigned)limit);
		take(vf);
		return;
	}
	step = limit - vf->asked_s < ASK_EVERY_S ? limit - vf->asked_s : ASK_EVERY_S;
	vf->leaving = FRONT_ASKED;
	vf->asked_s += step;
	loop_timer_set(vf->env.loop, vf->leave_timer, step * SECOND_NS);
	if (vf->env.unplug)
		vf->env.unplug(vf->env.machine, vf, false);
}

static void on_timer(void *ctx)
{
	struct vfio_function *vf = ctx;

	if (vf->leaving == FRONT_FORCED)
		return;
	if (atomic_load(&vf->gone))
		take(vf);
	else if (vf->leaving == FRONT_ASKED)
		ask(vf);
}

/* The provider repeats it every 10 s; the guest is asked by our own clock. */
static void on_request(void *ctx, unsigned count)
{
	struct vfio_function *vf = ctx;

	(void)count;
	vf->request_count++;
	/* Still not closed: there was no memory to say so to the loop (vmm/pci/slot.c). */
	if (vf->leaving == FRONT_FORCED) {
		take(vf);
		return;
	}
	/*
	 * Drawn out of its slot, it is taken: the guest's driver would wait for what is not there. Others say by themselves
	 * when they are gone, and a server would be waited for.
	 */
	if (vf->vdev->iommufd_kind == VFIO_IOMMUFD_PHYSICAL ? !front_device_alive(vf)
							    : atomic_load(&vf->gone))
		return;
	if (vf->leaving != FRONT_STAYS)
		return;
	vfio_info(vf->id, 0, "the guest is asked to unplug it");
	ask(vf);
}

static void on_error(void *ctx)
{
	struct vfio_function *vf = ctx;

	vf->error_count++;
	if (!vf->config->stop_on_error)
		return;
	vfio_error(vf->id, 0, "the VM ends since the device reported an error, as was asked for");
	if (vf->env.fatal)
		vf->env.fatal(vf->env.machine, vf);
}

static void on_gone(void *ctx)
{
	front_events_gone(ctx);
}

const struct vfio_device_events front_events = {
	.request = on_request,
	.error = on_error,
	.gone = on_gone,
};

int front_events_init(struct vfio_function *vf)
{
	return loop_add_timer(vf->env.loop, on_timer, vf, &vf->leave_timer);
}

void front_events_free(struct vfio_function *vf)
{
	loop_remove(vf->env.loop, vf->leave_timer);
	vf->leave_timer = NULL;
	loop_remove(vf->env.loop, vf->watch);
	vf->watch = NULL;
}

void front_events_gone(struct vfio_function *vf)
{
	if (atomic_exchange(&vf->gone, true))
		return;
	vfio_error(vf->id, 0,
		   "the device does not answer any more (all ones); it is taken out of the "
		   "guest, which goes on; the host's kernel log, or the device's server, may say "
		   "why");
	front_bars_revoke(vf);
	if (vf->leave_timer)
		loop_timer_set(vf->env.loop, vf->leave_timer, 1);
}

/* ---- KVM_RUN: -EFAULT ------------------------------------------------------------------------------ */

static bool has_slots(struct vfio_function *vf)
{
	bool any = false;

	pthread_mutex_lock(&vf->bar_lock);
	for (unsigned n = 0; n < PCI_BAR_COUNT; n++)
		any |= vf->bars[n].direct;
	pthread_mutex_unlock(&vf->bar_lock);
	return any;
}

static bool just_revoked(struct vfio_function *vf)
{
	const uint64_t now = host_now_ns();
	uint64_t then;

	pthread_mutex_lock(&vf->bar_lock);
	then = vf->revoked_ns;
	pthread_mutex_unlock(&vf->bar_lock);
	return then && now - then < FAULT_GRACE_NS;
}

bool vfio_function_distrust(struct vfio_function *vf, bool cut)
{
	return front_bars_distrust(vf, cut) || just_revoked(vf);
}

bool vfio_function_fault(struct vfio_function *vf)
{
	if (!has_slots(vf))
		return just_revoked(vf);
	if (!front_device_alive(vf))
		return true;
	if (front_device_decodes(vf))
		return false;
	vfio_error(vf->id, 0,
		   "the device stopped decoding its memory behind the guest's back (put "
		   "to sleep or disabled on the host?); the guest reads ones until it enables it "
		   "anew: bind its driver again there");
	front_bars_revoke(vf);
	return true;
}
