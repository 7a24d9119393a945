/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vfio/front/doorbell_plan.h"

#include <stddef.h>

#define ANY_SIZE 8 /* the widest write that one of any size can be */

static bool meets(uint64_t offset, uint64_t size, const struct bar_area *area)
{
	return area->size && offset < area->offset + area->size && area->offset < offset + size;
}

static bool is_size(uint32_t size)
{
	return size == 0 || size == 1 || size == 2 || size == 4 || size == 8;
}

/* Of one entry by itself. */
static const char *misfit(const struct doorbell_input *in, const struct vfio_region_ioeventfd *bell)
{
	const struct bar_layout *layout = in->layout;
	const uint64_t end = in->region_size < layout->size ? in->region_size : layout->size;
	const uint64_t size = bell->size ? bell->size : ANY_SIZE;

	if (bell->fd < 0 || !is_size(bell->size))
		return "it is malformed";
	if (bell->match && (!bell->size || (bell->size < 8 && bell->datamatch >> 8 * bell->size)))
		return "no write has its value";
	if (bell->offset >= end || (bell->size ? bell->size : 1) > end - bell->offset)
		return "it is outside of the BAR";
	for (unsigned i = 0; i < layout->area_count; i++) {
		if (meets(bell->offset, size, &layout->areas[i]))
			return "the guest has a mapping there";
	}
	if (meets(bell->offset, size, &in->table) || meets(bell->offset, size, &in->pba))
		return "MSI-X is there";
	return NULL;
}

/* Would KVM take @b for another spelling of @a? (ioeventfd_check_collision(), virt/kvm/eventfd.c) */
static bool collides(const struct doorbell *a, const struct doorbell *b)
{
	return a->address == b->address && (!a->size || !b->size || a->size == b->size) &&
	       (!a->match || !b->match || a->datamatch == b->datamatch);
}

/* Of the BAR as a whole. */
static const char *unfit(const struct doorbell_input *in)
{
	if (in->address == PCI_BAR_NONE)
		return "the guest has the BAR nowhere";
	if (in->layout->kind == PCI_BAR_ABSENT || !in->writable)
		return "the BAR cannot be written";
	/* Mapped or not by what lies beside it: not worth following. */
	if (in->layout->sub_page)
		return "the BAR is mapped when it has a page of its own";
	return NULL;
}

unsigned doorbell_plan_make(const struct doorbell_input *in, struct doorbell *out, const char **why)
{
	const unsigned count = in->count < DOORBELL_MAX ? in->count : DOORBELL_MAX;
	unsigned taken = 0;

	for (unsigned i = 0; i < count; i++) {
		const struct vfio_region_ioeventfd *bell = &in->list[i];
		const char *reason = unfit(in);

		if (!reason)
			reason = misfit(in, bell);
		out[taken] = (struct doorbell){
			.fd = bell->fd,
			.address = in->address + bell->offset,
			.datamatch = bell->match ? bell->datamatch : 0,
			.size = bell->size,
			.match = bell->match,
			.pio = in->layout->kind == PCI_BAR_IO,
		};
		for (unsigned k = 0; !reason && k < taken; k++) {
			if (collides(&out[k], &out[taken]))
				reason = "another stands for the same write";
		}
		if (why)
			why[i] = reason;
		taken += !reason;
	}
	return taken;
}
