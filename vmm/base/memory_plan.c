/* SPDX-License-Identifier: Apache-2.0 */
/* Plan: where RAM lies. Addresses are kept as inclusive ends, since RAM may end with the last byte. */
#include "vmm/base/memory.h"

#include <errno.h>

/* What KVM, the IOMMU and transparent huge pages can map as one: file, host and guest alike. */
#define PREFERRED_ALIGN (2ull << 20)

/*
 * The first stretch of allowed addresses at or above @from. False when there is none. Each forbidden
 * range can move the beginning once at most, so the outer loop ends.
 */
static bool next_gap(const struct memory_request *request, uint64_t from, uint64_t *first,
		     uint64_t *last)
{
	bool moved;

	do {
		moved = false;
		for (size_t i = 0; i < request->forbidden_count; i++) {
			const struct iova_range *range = &request->forbidden[i];

			if (range->first > from || range->last < from)
				continue;
			if (range->last == UINT64_MAX)
				return false;
			from = range->last + 1;
			moved = true;
		}
	} while (moved);
	if (from > request->last)
		return false;

	*first = from;
	*last = request->last;
	for (size_t i = 0; i < request->forbidden_count; i++) {
		const struct iova_range *range = &request->forbidden[i];

		if (range->first <= range->last && range->first > from && range->first <= *last)
			*last = range->first - 1;
	}
	return true;
}

static int plan_aligned(const struct memory_request *request, uint64_t align,
			struct memory_piece *pieces, unsigned *count)
{
	uint64_t left = request->size, from = request->base, file = 0;
	unsigned room = *count;
	uint64_t first, last;

	*count = 0;
	for (; left; from = last + 1) {
		uint64_t start, size;

		if (!next_gap(request, from, &first, &last))
			return *count ? -ENOSPC : -EADDRINUSE;
		start = request->base;
		if (*count == 0 && first != start)
			return -EADDRINUSE;
		if (*count && __builtin_add_overflow(first, align - 1, &start))
			return -ENOSPC;
		if (*count)
			start &= ~(align - 1);

		if (start <= last && left - 1 <= last - start) {
			size = left;
		} else if (last == request->last) {
			return -ENOSPC; /* nothing comes after it */
		} else {
			uint64_t end = (last + 1) & ~(align - 1);

			if (*count == 0 && end <= start)
				end = (last + 1) & ~(request->page_size - 1);
			if (end <= start && *count == 0)
				return -EADDRINUSE;
			if (end <= start)
				continue;
			size = end - start;
		}
		if (*count == room)
			return -ENOSPC;
		file += (start - file) & (align - 1);
		pieces[(*count)++] = (struct memory_piece){
			.gpa = start,
			.size = size,
			.offset = file,
		};
		file += size;
		left -= size;
	}
	return 0;
}

int memory_plan(const struct memory_request *request, struct memory_piece *pieces, unsigned *count)
{
	uint64_t page = request->page_size;
	unsigned room = *count;
	int ret;

	*count = 0;
	if (page < 4096 || (page & (page - 1)) || request->size == 0 || request->size % page ||
	    request->base % page || request->base > request->last)
		return -EINVAL;
	*count = room;
	ret = plan_aligned(request, page > PREFERRED_ALIGN ? page : PREFERRED_ALIGN, pieces, count);
	if (ret == -ENOSPC && page < PREFERRED_ALIGN) {
		*count = room;
		ret = plan_aligned(request, page, pieces, count);
	}
	if (ret)
		*count = 0;
	return ret;
}

size_t memory_unusable(const struct iova_range *usable, size_t count, struct iova_range *out)
{
	uint64_t from = 0;
	size_t n = 0;

	for (size_t i = 0; i < count; i++) {
		if (usable[i].first > from)
			out[n++] = (struct iova_range){from, usable[i].first - 1};
		if (usable[i].last == UINT64_MAX)
			return n;
		if (usable[i].last >= from)
			from = usable[i].last + 1;
	}
	out[n++] = (struct iova_range){from, UINT64_MAX};
	return n;
}
