/* SPDX-License-Identifier: Apache-2.0 */
/* What providers of VFIO_DEVICE_SET_IRQS have to check alike (drivers/vfio/vfio_main.c). */
#include "devices/vfio/core.h"

int vfio_set_irqs_validate_and_prepare(const struct vfio_irq_set *hdr, uint32_t num_irqs,
				       uint32_t max_irq_type)
{
	size_t size;

	if (hdr->argsz < sizeof(*hdr) || hdr->index >= max_irq_type ||
	    hdr->count >= UINT32_MAX - hdr->start ||
	    hdr->flags & ~(VFIO_IRQ_SET_DATA_TYPE_MASK | VFIO_IRQ_SET_ACTION_TYPE_MASK))
		return -EINVAL;
	if (hdr->start >= num_irqs || hdr->start + hdr->count > num_irqs)
		return -EINVAL;
	switch (hdr->flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_NONE:
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		size = sizeof(uint8_t);
		break;
	case VFIO_IRQ_SET_DATA_EVENTFD:
		size = sizeof(int32_t);
		break;
	default:
		return -EINVAL;
	}
	return hdr->count && hdr->argsz - sizeof(*hdr) >= size * hdr->count ? 0 : -EINVAL;
}
