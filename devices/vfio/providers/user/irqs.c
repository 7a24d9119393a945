/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupts: eventfds go to the server, which signals them; nothing of ours is in between.
 *
 * A message holds max_msg_fds descriptors, and no empty places between them: what is one SET_IRQS here
 * is one for each run of descriptors and each run without there.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/user/user.h"

#define KNOWN_FLAGS                                                                                \
	(VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED |               \
	 VFIO_IRQ_INFO_NORESIZE)
#define MAX_VECTORS 4096 /* MSI-X has 2048 */

int user_irqs_get(struct user_device *ud, struct vfio_irq_info **out)
{
	const uint32_t count = ud->info.num_irqs;
	struct vfio_irq_info *irqs = calloc(count + 1, sizeof(*irqs));
	int rc = 0;

	if (!irqs)
		return -ENOMEM;
	for (uint32_t i = 0; i < count && !rc; i++) {
		struct vfio_user_message command = {
			.command = VFIO_USER_DEVICE_GET_IRQ_INFO,
			.irq_info = {.argsz = sizeof(command.irq_info), .index = i},
		};
		struct vfio_user_packet *packet;
		struct vfio_user_message reply;

		rc = user_call(ud, &command, NULL, 0, &reply, &packet);
		if (!rc && !reply.error) {
			irqs[i] = reply.irq_info;
			irqs[i].flags &= KNOWN_FLAGS;
		}
		irqs[i].index = i;
		vfio_user_packet_free(packet);
		if (!rc && irqs[i].count > MAX_VECTORS) {
			rc = vfio_error(
				ud->vdev.dev, -EPROTO,
				"interrupt %u of the server has %u vectors; the device cannot "
				"be used",
				i, irqs[i].count);
		}
	}
	if (rc) {
		free(irqs);
		return rc;
	}
	*out = irqs;
	ud->irqs_on = 0; /* of a server just met */
	return 0;
}

/*
 * A server that signals the pin and does not mask it signals each event once (libvfio-user:
 * vfu_irq_trigger). That is a line that masks itself and needs no word to be unmasked.
 */
static bool masks_itself(const struct vfio_irq_info *info)
{
	return info->index == VFIO_PCI_INTX_IRQ_INDEX && info->flags & VFIO_IRQ_INFO_EVENTFD &&
	       !(info->flags & VFIO_IRQ_INFO_AUTOMASKED);
}

int user_irq_info(struct user_device *ud, struct vfio_irq_info *info)
{
	const size_t minimum = offsetof(struct vfio_irq_info, count) + sizeof(info->count);
	const struct vfio_irq_info *irq;

	if (info->argsz < minimum || info->index >= ud->info.num_irqs)
		return -EINVAL;
	irq = &ud->irqs[info->index];
	info->flags = irq->flags;
	info->count = irq->count;
	if (masks_itself(irq))
		info->flags |= VFIO_IRQ_INFO_AUTOMASKED | VFIO_IRQ_INFO_MASKABLE;
	return 0;
}

static int send(struct user_device *ud, const struct vfio_irq_set *set, uint32_t start,
		uint32_t count, const int *fds, unsigned fd_count)
{
	const bool bools = set->flags & VFIO_IRQ_SET_DATA_BOOL;
	struct vfio_user_message command = {
		.command = VFIO_USER_DEVICE_SET_IRQS,
		.irq_set =
			{
				.argsz = sizeof(command.irq_set) + (bools ? count : 0),
				.flags = set->flags,
				.index = set->index,
				.start = start,
				.count = count,
			},
		.data = bools ? set->data : NULL,
		.data_size = bools ? count : 0,
	};

	return user_command(ud, &command, fds, fd_count);
}

/* Runs of descriptors, and runs of empty places. What was done before a failure is undone. */
static int send_eventfds(struct user_device *ud, const struct vfio_irq_set *set)
{
	const uint32_t most = user_agreed(ud).limits.max_msg_fds;
	const struct vfio_irq_set none = {
		.flags = set->flags,
		.index = set->index,
	};
	uint32_t done = 0, run = 0;
	int rc = 0;

	while (done < set->count && !rc) {
		int fds[VFIO_USER_MAX_MSG_FDS];
		int32_t fd;

		run = 0;
		memcpy(&fd, set->data + done * sizeof(fd), sizeof(fd));
		if (fd < 0) {
			while (done + run < set->count) {
				memcpy(&fd, set->data + (done + run) * sizeof(fd), sizeof(fd));
				if (fd >= 0)
					break;
				run++;
			}
			rc = send(ud, set, set->start + done, run, NULL, 0);
		} else {
			while (done + run < set->count && run < most &&
			       run < VFIO_USER_MAX_MSG_FDS) {
				memcpy(&fd, set->data + (done + run) * sizeof(fd), sizeof(fd));
				if (fd < 0)
					break;
				fds[run++] = fd;
			}
			if (!run)
				rc = user_connected(ud) ? -EINVAL : -ENODEV;
			else
				rc = send(ud, set, set->start + done, run, fds, run);
		}
		if (!rc)
			done += run;
	}
	/* Of messages those that were refused, too: the kernel takes off what a vector had first. */
	if (rc && (set->index == VFIO_PCI_MSI_IRQ_INDEX || set->index == VFIO_PCI_MSIX_IRQ_INDEX))
		done += run;
	if (rc && done && ud->irqs_on & 1ull << set->index % 64 && user_connected(ud))
		send(ud, &none, set->start, done, NULL, 0);
	return rc;
}

/* As vfio_pci_set_irqs_ioctl() of the kernel. */
static int check(const struct user_device *ud, const struct vfio_irq_set *set)
{
	const uint32_t count = set->index < ud->info.num_irqs ? ud->irqs[set->index].count : 0;
	const int rc = vfio_set_irqs_validate_and_prepare(set, count, ud->info.num_irqs);

	if (rc)
		return rc;
	switch (set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) {
	case VFIO_IRQ_SET_ACTION_TRIGGER:
		return 0;
	case VFIO_IRQ_SET_ACTION_MASK:
	case VFIO_IRQ_SET_ACTION_UNMASK:
		return set->index == VFIO_PCI_INTX_IRQ_INDEX ? 0 : -ENOTTY;
	default:
		return -ENOTTY;
	}
}

int user_set_irqs(struct user_device *ud, const struct vfio_irq_set *set)
{
	const bool trigger = set->flags & VFIO_IRQ_SET_ACTION_TRIGGER;
	const uint64_t bit = 1ull << set->index % 64;
	int rc = check(ud, set);

	if (rc)
		return rc;
	if (!(set->flags & VFIO_IRQ_SET_DATA_EVENTFD)) {
		rc = send(ud, set, set->start, set->count, NULL, 0);
		if (!rc && trigger && !set->count)
			ud->irqs_on &= ~bit;
		return rc;
	}
	if (!trigger && masks_itself(&ud->irqs[set->index]))
		return 0;
	rc = send_eventfds(ud, set);
	if (!rc && trigger)
		ud->irqs_on |= bit;
	/* The first call is what turns them on: when it fails they are off, as in the kernel. */
	if (rc && trigger && !(ud->irqs_on & bit) && user_connected(ud)) {
		const struct vfio_irq_set off = {
			.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER,
			.index = set->index,
		};

		send(ud, &off, 0, 0, NULL, 0);
	}
	return rc;
}
