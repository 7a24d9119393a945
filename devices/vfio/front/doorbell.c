/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of the doorbells at work: KVM signals the device's eventfds and the guest goes on, where
 * else each write would leave it and wait for an answer.
 *
 * They follow the BAR: in KVM while the guest has it somewhere and the device may be used, asked for
 * anew each time, since a reset or another server brings other eventfds.
 */
#include "devices/vfio/front/front.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "vmm/base/host.h"
#include "vmm/base/kvm.h"

/* Scratch of add. */
struct offer {
	struct vfio_region_ioeventfd list[DOORBELL_MAX];
	const char *why[DOORBELL_MAX];
	struct doorbell plan[DOORBELL_MAX];
};

static const uint64_t *match_of(const struct doorbell *doorbell)
{
	return doorbell->match ? &doorbell->datamatch : NULL;
}

static int add(struct vfio_function *vf, const struct doorbell *plan, struct doorbell *out)
{
	int ret;

	/* To be taken out again by the same descriptor, which the provider may have closed by then. */
	*out = *plan;
	out->fd = host_dup(plan->fd);
	if (out->fd < 0)
		return out->fd;
	ret = kvm_ioeventfd_add(vf->env.kvm, out->fd, out->pio, out->address, out->size,
				match_of(out));
	if (ret)
		close(out->fd);
	return ret;
}

static void complain(struct vfio_function *vf, unsigned bar, const struct doorbell *doorbell,
		     int ret)
{
	if (vf->doorbells_warned)
		return;
	vf->doorbells_warned = true;
	vfio_warn(vf->id, 0,
		  "no ioeventfd for the doorbell at %#llx of BAR %u: %s; writes to it will leave "
		  "the guest, which is slow",
		  (unsigned long long)(doorbell->address - vf->bars[bar].address), bar,
		  host_strerror(-ret));
}

static struct bar_area msix_area(const struct vfio_function *vf, unsigned bar, unsigned of_bar,
				 uint64_t offset, uint64_t size)
{
	return vf->plan.msix && bar == of_bar ? (struct bar_area){offset, size}
					      : (struct bar_area){0};
}

static unsigned plan(const struct vfio_function *vf, unsigned bar, unsigned count,
		     struct offer *offer)
{
	const struct front_bar *b = &vf->bars[bar];
	const struct config_plan *config = &vf->plan;
	const uint64_t entries = config->msix_form.entries;
	const struct doorbell_input in = {
		.address = b->address,
		.layout = &b->layout,
		.region_size = b->region_size,
		.writable = b->writable,
		.table = msix_area(vf, bar, config->msix_form.table_bar,
				   config->msix_form.table_offset, entries * 16),
		.pba = msix_area(vf, bar, config->msix_form.pba_bar, config->msix_form.pba_offset,
				 (entries + 63) / 64 * 8),
		.list = offer->list,
		.count = count,
	};
	const unsigned taken = doorbell_plan_make(&in, offer->plan, offer->why);

	for (unsigned i = 0; i < count; i++) {
		if (offer->why[i])
			vfio_debug(vf->id, 0, "no doorbell at %#llx of BAR %u: %s",
				   (unsigned long long)offer->list[i].offset, bar, offer->why[i]);
	}
	return taken;
}

/* What the device has, up to DOORBELL_MAX of it. */
static unsigned ask(struct vfio_function *vf, unsigned bar, struct offer **out)
{
	uint32_t count = 0;

	if (vfio_device_region_ioeventfds(vf->vdev, bar, NULL, &count) || !count)
		return 0;
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return 0;
	count = DOORBELL_MAX;
	if (vfio_device_region_ioeventfds(vf->vdev, bar, (*out)->list, &count))
		return 0;
	return count < DOORBELL_MAX ? count : DOORBELL_MAX;
}

void front_doorbells_add(struct vfio_function *vf, unsigned bar)
{
	struct front_bar *b = &vf->bars[bar];
	struct offer *offer = NULL;
	unsigned taken;
	int ret;

	if (b->doorbells || atomic_load(&vf->gone) || atomic_load(&vf->revoked))
		return;
	b->doorbells_offered = ask(vf, bar, &offer);
	taken = b->doorbells_offered ? plan(vf, bar, b->doorbells_offered, offer) : 0;
	b->doorbells = taken ? calloc(taken, sizeof(*b->doorbells)) : NULL;
	for (unsigned i = 0; b->doorbells && i < taken; i++) {
		ret = add(vf, &offer->plan[i], &b->doorbells[b->doorbell_count]);
		if (ret)
			complain(vf, bar, &offer->plan[i], ret);
		else
			b->doorbell_count++;
	}
	free(offer);
}

void front_doorbells_remove(struct vfio_function *vf, unsigned bar)
{
	struct front_bar *b = &vf->bars[bar];

	while (b->doorbell_count) {
		const struct doorbell *doorbell = &b->doorbells[--b->doorbell_count];
		const int ret =
			kvm_ioeventfd_remove(vf->env.kvm, doorbell->fd, doorbell->pio,
					     doorbell->address, doorbell->size, match_of(doorbell));

		if (ret)
			vfio_error(vf->id, ret, "an ioeventfd of BAR %u cannot be removed: %m",
				   bar);
		close(doorbell->fd);
	}
	free(b->doorbells);
	b->doorbells = NULL;
	b->doorbells_offered = 0;
}
