// SPDX-License-Identifier: Apache-2.0
/*
 * REFERENCE_RING by eventfd (get_region_ioeventfds): the device counts each write of it, and sees it
 * before whatever who rang does next, as on a bus. So an access looks into the eventfd first; the
 * loop is for those who ring and go away.
 *
 * A reset brings another eventfd: who had the device before it may still hold the old one.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/vfio/providers/soft/soft.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/loop.h"

/*
 * Told apart at once; the rest of more are one, as of any eventfd. A guest needs an exit or an event of
 * KVM for each, another process adds what it likes.
 */
#define RINGS_MAX 65536

void soft_ring_take(struct soft_device *sd)
{
	static const uint8_t nothing[4];
	uint64_t rings = sd->ring.fd < 0 ? 0 : eventfd_take(sd->ring.fd);
	uint32_t effects, all = 0;

	if (!rings)
		return;
	if (rings > RINGS_MAX)
		rings = RINGS_MAX;
	sd->ring.count += rings;
	while (rings--) {
		reference_write(&sd->model, REFERENCE_BAR_REGISTERS, nothing, sizeof(nothing),
				REFERENCE_RING, &effects);
		all |= effects;
	}
	soft_effects(sd, all);
	soft_session_poll(sd);
}

static void on_ring(void *ctx, uint32_t events)
{
	struct soft_device *sd = ctx;

	(void)events;
	soft_lock(sd);
	soft_ring_take(sd);
	soft_unlock(sd);
}

/* Under irq_lock. */
static int ring_open(struct soft_device *sd)
{
	const int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	int rc;

	if (fd < 0)
		return -errno;
	rc = loop_add_fd(sd->loop, fd, EPOLLIN, on_ring, sd, &sd->ring.source);
	if (rc) {
		close(fd);
		return rc;
	}
	soft_lock(sd);
	sd->ring.fd = fd;
	soft_unlock(sd);
	return 0;
}

void soft_ring_close(struct soft_device *sd)
{
	int fd;

	pthread_mutex_lock(&sd->irq_lock);
	soft_lock(sd);
	fd = sd->ring.fd;
	sd->ring.fd = -1;
	soft_unlock(sd);
	if (fd >= 0) {
		loop_remove(sd->loop, sd->ring.source);
		close(fd);
	}
	pthread_mutex_unlock(&sd->irq_lock);
}

int soft_region_ioeventfds(struct vfio_device *vdev, uint32_t index,
			   struct vfio_region_ioeventfd *list, uint32_t *count)
{
	struct soft_device *sd = soft_device(vdev);
	const uint32_t room = *count;
	int rc = 0;

	*count = 0;
	if (index >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	if (index != REFERENCE_BAR_REGISTERS || !sd->loop)
		return 0;
	pthread_mutex_lock(&sd->irq_lock);
	if (sd->ring.fd < 0)
		rc = ring_open(sd);
	if (!rc)
		*count = 1;
	if (!rc && room)
		list[0] = (struct vfio_region_ioeventfd){
			.offset = REFERENCE_RING, .size = 4, .fd = sd->ring.fd};
	pthread_mutex_unlock(&sd->irq_lock);
	return rc;
}
