// SPDX-License-Identifier: Apache-2.0
/*
 * Interrupts: the client's eventfds go to the device as they are. ERR and REQ are the server's own, since
 * it listens to the device for both; the client is told by its eventfds.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/server/session.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/host.h"

#define ACTION(flags) ((flags)&VFIO_IRQ_SET_ACTION_TYPE_MASK)
#define DATA(flags)   ((flags)&VFIO_IRQ_SET_DATA_TYPE_MASK)

/*
 * In the place of a descriptor that is no eventfd, which could make who signals it wait, or hear of it in its own way. The
 * device refuses it, and takes off what it does at a refusal.
 */
#define NO_EVENTFD INT32_MAX

int session_load_irqs(struct session *s)
{
	for (uint32_t i = 0; i < s->irq_count; i++) {
		struct vfio_irq_info info = {.argsz = sizeof(info), .index = i};

		if (vfio_device_ioctl(s->vdev, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0)
			continue; /* none of these */
		s->irqs[i] = (struct server_irq){.flags = info.flags, .count = info.count};
	}
	return 0;
}

/* ---- ERR and REQ -------------------------------------------------------------------------------- */

static int *event_slot(struct session *s, uint32_t index)
{
	return index == VFIO_PCI_ERR_IRQ_INDEX   ? &s->event_fds[0]
	       : index == VFIO_PCI_REQ_IRQ_INDEX ? &s->event_fds[1]
						 : NULL;
}

static void set_event(struct session *s, int *slot, int fd)
{
	int old;

	pthread_mutex_lock(&s->lock);
	old = *slot;
	*slot = fd;
	pthread_mutex_unlock(&s->lock);
	if (old >= 0)
		close(old);
}

bool session_signal(struct session *s, unsigned irq_index)
{
	const int *slot = event_slot(s, irq_index);
	bool heard;

	pthread_mutex_lock(&s->lock);
	heard = *slot >= 0 && eventfd_signal(s->signaller, *slot);
	pthread_mutex_unlock(&s->lock);
	return heard;
}

/* vfio_pci_set_ctx_trigger_single() of the kernel. */
static int set_event_irq(struct session *s, const struct vfio_user_irq_set *set,
			 const struct vfio_user_message *in, struct vfio_user_packet *packet)
{
	int *slot = event_slot(s, set->index);

	if (ACTION(set->flags) != VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;
	if (set->start)
		return -EINVAL;
	/* Only the loop's thread changes it. */
	if (DATA(set->flags) == VFIO_IRQ_SET_DATA_NONE) {
		if (*slot < 0)
			return -EINVAL;
		if (!set->count)
			set_event(s, slot, -1);
		else
			session_signal(s, set->index);
		return 0;
	}
	if (!set->count)
		return -EINVAL;
	if (DATA(set->flags) == VFIO_IRQ_SET_DATA_EVENTFD) {
		set_event(s, slot, packet->fd_count ? packet->fds[0] : -1);
		if (packet->fd_count)
			packet->fds[0] = -1;
	} else if (*(const uint8_t *)in->data) {
		session_signal(s, set->index);
	}
	return 0;
}

/* ---- all others --------------------------------------------------------------------------------- */

/*
 * More vectors than one message brings come in chunks, and the first chunk is what makes the device
 * allocate. One that cannot have more later (NORESIZE) is given all at once, those without eventfd
 * to be filled in.
 */
static uint32_t vectors_to_set(const struct session *s, const struct vfio_user_irq_set *set)
{
	const struct server_irq *irq = &s->irqs[set->index];

	if ((irq->flags & VFIO_IRQ_INFO_NORESIZE) && !(s->irqs_on & 1ull << set->index) &&
	    ACTION(set->flags) == VFIO_IRQ_SET_ACTION_TRIGGER)
		return irq->count - set->start;
	return set->count;
}

/* The descriptors that came, and NO_EVENTFD in the place of others. 0, or why the first of those is none. */
static int take_eventfds(const struct vfio_user_packet *packet, int32_t *fds)
{
	int bad = 0;

	for (unsigned i = 0; i < packet->fd_count; i++) {
		const int rc = host_check_eventfd(packet->fds[i]);

		fds[i] = rc ? NO_EVENTFD : packet->fds[i];
		if (!bad)
			bad = rc;
	}
	return bad;
}

static int set_vectors(struct session *s, const struct vfio_user_irq_set *set, uint32_t count,
		       const struct vfio_user_message *in, const int32_t *fds, unsigned fd_count)
{
	const bool eventfds = DATA(set->flags) == VFIO_IRQ_SET_DATA_EVENTFD;
	const size_t data = eventfds ? count * sizeof(int32_t) : in->data_size;
	struct vfio_irq_set *irq_set = calloc(1, sizeof(*irq_set) + data);
	int rc;

	if (!irq_set)
		return -ENOMEM;
	*irq_set = (struct vfio_irq_set){
		.argsz = (uint32_t)(sizeof(*irq_set) + data),
		.flags = set->flags,
		.index = set->index,
		.start = set->start,
		.count = count,
	};
	if (eventfds) {
		memset(irq_set->data, 0xff, data); /* -1: none */
		memcpy(irq_set->data, fds, fd_count * sizeof(*fds));
	} else if (data) {
		memcpy(irq_set->data, in->data, data);
	}
	rc = vfio_device_ioctl(s->vdev, VFIO_DEVICE_SET_IRQS, irq_set);
	free(irq_set);
	return rc;
}

static int set_irqs(struct session *s, const struct vfio_user_irq_set *set,
		    const struct vfio_user_message *in, const int32_t *fds, unsigned fd_count)
{
	const bool eventfds = DATA(set->flags) == VFIO_IRQ_SET_DATA_EVENTFD;
	const uint32_t count = eventfds && set->count ? vectors_to_set(s, set) : set->count;
	int rc = set_vectors(s, set, count, in, fds, fd_count);

	/* Positive: only so many vectors can be had, and none is set. Enough for those that came? */
	if (rc > 0 && count > set->count && (uint32_t)rc >= set->start + set->count)
		rc = set_vectors(s, set, (uint32_t)rc - set->start, in, fds, fd_count);
	return rc > 0 ? -ENOSPC : rc;
}

int session_set_irqs(struct session *s, const struct vfio_user_message *in,
		     struct vfio_user_packet *packet)
{
	const struct vfio_user_irq_set *set = &in->irq_set;
	const uint64_t bit = 1ull << set->index % 64;
	int32_t fds[VFIO_USER_MAX_MSG_FDS];
	int bad, rc;

	if (set->index >= s->irq_count || set->start > s->irqs[set->index].count ||
	    set->count > s->irqs[set->index].count - set->start)
		return -EINVAL;
	bad = take_eventfds(packet, fds);
	if (event_slot(s, set->index))
		return bad ? bad : set_event_irq(s, set, in, packet);

	rc = set_irqs(s, set, in, fds, packet->fd_count);
	if (rc || bad)
		return bad ? bad : rc;
	if (ACTION(set->flags) != VFIO_IRQ_SET_ACTION_TRIGGER)
		return 0;
	if (DATA(set->flags) == VFIO_IRQ_SET_DATA_EVENTFD && set->count)
		s->irqs_on |= bit;
	else if (DATA(set->flags) == VFIO_IRQ_SET_DATA_NONE && !set->count)
		s->irqs_on &= ~bit;
	return 0;
}

void session_release_irqs(struct session *s)
{
	set_event(s, &s->event_fds[0], -1);
	set_event(s, &s->event_fds[1], -1);
	for (uint32_t i = 0; i < s->irq_count; i++) {
		struct vfio_irq_set off = {
			.argsz = sizeof(off),
			.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = i,
		};

		if (s->irqs_on & 1ull << i)
			vfio_device_ioctl(s->vdev, VFIO_DEVICE_SET_IRQS, &off);
	}
	s->irqs_on = 0;
}
