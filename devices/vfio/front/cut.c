/* SPDX-License-Identifier: Apache-2.0 */
/*
 * BARs whose memory another process can take back. A vfio-user server gives it as a file; a memfd is sealed
 * when it comes, any other file its server may cut under the guest. KVM cannot resolve the guest's access
 * then. KVM_RUN gives -EFAULT at best: with asynchronous page faults KVM lets the vCPU wait and try
 * again, for ever, and nothing says so. Hence the length of such files is looked at, too.
 */
#include "devices/vfio/front/front.h"

#include "devices/vfio/message.h"
#include "vmm/base/host.h"
#include "vmm/base/loop.h"

#define LOOK_EVERY_NS 1000000000ull

/* The length of the file that BAR @bar is mapped from, and what it must be; negative: it has none. */
static int64_t length_of(struct vfio_function *vf, unsigned bar, int *fd, uint64_t *needed)
{
	if (vfio_device_region_fd(vf->vdev, bar, false, fd, needed))
		return -1;
	*needed += vf->bars[bar].region_size;
	return host_file_size(*fd);
}

static bool is_cut(struct vfio_function *vf, unsigned bar)
{
	uint64_t needed = 0;
	int fd;

	return (uint64_t)length_of(vf, bar, &fd, &needed) < needed;
}

/* Under bar_lock. */
static bool distrust(struct vfio_function *vf, bool cut)
{
	bool any = false;

	for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
		if (!(vf->watched & 1u << n) || !(cut ? is_cut(vf, n) : vf->bars[n].direct))
			continue;
		vfio_error(vf->id, 0,
			   "%s BAR %u; each access goes to the server from now on, which is slow; "
			   "a memfd "
			   "that may be sealed (MFD_ALLOW_SEALING) cannot be cut",
			   cut ? "its server cut the file behind"
			       : "memory is gone from under the guest, perhaps by a cut of the "
				 "file behind",
			   n);
		vf->watched &= ~(1u << n);
		front_bar_distrust(vf, n);
		any = true;
	}
	return any;
}

bool front_bars_distrust(struct vfio_function *vf, bool cut)
{
	bool any;

	pthread_mutex_lock(&vf->bar_lock);
	any = distrust(vf, cut);
	pthread_mutex_unlock(&vf->bar_lock);
	return any;
}

static void look(void *ctx)
{
	struct vfio_function *vf = ctx;

	pthread_mutex_lock(&vf->bar_lock);
	distrust(vf, true);
	if (vf->watched)
		loop_timer_set(vf->env.loop, vf->watch, LOOK_EVERY_NS);
	pthread_mutex_unlock(&vf->bar_lock);
}

int front_watch_init(struct vfio_function *vf)
{
	uint64_t needed = 0;
	int ret, fd;

	for (unsigned n = 0; n < PCI_BAR_COUNT; n++)
		if (vf->bars[n].host && length_of(vf, n, &fd, &needed) >= 0 &&
		    !host_size_is_sealed(fd))
			vf->watched |= 1u << n;
	if (!vf->watched)
		return 0;
	vfio_info(vf->id, 0,
		  "memory of its BARs is in files that the server may cut, since they cannot be "
		  "sealed: looked "
		  "at every second");
	ret = loop_add_timer(vf->env.loop, look, vf, &vf->watch);
	if (!ret)
		ret = loop_timer_set(vf->env.loop, vf->watch, LOOK_EVERY_NS);
	return ret ? vfio_error(vf->id, ret, "no timer: %m") : 0;
}
