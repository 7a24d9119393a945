/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Spaces, their areas, and the mirrors that are told of them. See dma_space.h for the locks.
 *
 * An area that leaves takes these steps: leaving (no new pin), no pin left, gone from every mirror,
 * gone from the list. One that comes is in the list only when every mirror has it.
 */
#include "vmm/base/dma.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/dma_space.h"

#define IOVA_ALIGN   4096
#define RANGES_TRIES 8

struct mirror {
	struct mirror *next;
	const struct ioas_mirror_ops *ops;
	void *ctx;
	unsigned slot;
};

struct iommufd_ctx {
	pthread_mutex_t lock;
	struct ioas *spaces;
	uint32_t last_id;
};

/* ---- contexts and spaces --------------------------------------------------------------------- */

int iommufd_ctx_create(struct iommufd_ctx **out)
{
	struct iommufd_ctx *ictx = calloc(1, sizeof(*ictx));

	if (!ictx)
		return -ENOMEM;
	pthread_mutex_init(&ictx->lock, NULL);
	*out = ictx;
	return 0;
}

void iommufd_ctx_destroy(struct iommufd_ctx *ictx)
{
	if (!ictx)
		return;
	pthread_mutex_destroy(&ictx->lock);
	free(ictx);
}

static struct ioas *find_locked(struct iommufd_ctx *ictx, uint32_t id)
{
	struct ioas *ioas = ictx->spaces;

	while (ioas && ioas->id != id)
		ioas = ioas->next;
	return ioas;
}

struct ioas *ioas_find(struct iommufd_ctx *ictx, uint32_t id)
{
	struct ioas *ioas;

	pthread_mutex_lock(&ictx->lock);
	ioas = find_locked(ictx, id);
	pthread_mutex_unlock(&ictx->lock);
	return ioas;
}

int ioas_create(struct iommufd_ctx *ictx, struct ioas **out)
{
	struct ioas *ioas = calloc(1, sizeof(*ioas));

	if (!ioas)
		return -ENOMEM;
	ioas->ictx = ictx;
	pthread_mutex_init(&ioas->change, NULL);
	pthread_mutex_init(&ioas->lock, NULL);
	pthread_cond_init(&ioas->unpinned, NULL);

	pthread_mutex_lock(&ictx->lock);
	do
		ictx->last_id++;
	while (ictx->last_id == 0 || find_locked(ictx, ictx->last_id));
	ioas->id = ictx->last_id;
	ioas->next = ictx->spaces;
	ictx->spaces = ioas;
	pthread_mutex_unlock(&ictx->lock);
	*out = ioas;
	return 0;
}

uint32_t ioas_id(const struct ioas *ioas)
{
	return ioas->id;
}

/* ---- the list of areas ----------------------------------------------------------------------- */

/* Index of the first area that ends at or behind @iova. */
static size_t area_search(const struct ioas *ioas, uint64_t iova)
{
	size_t low = 0, high = ioas->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (ioas->areas[middle]->last < iova)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* The area that holds @iova, or NULL. */
struct area *ioas_area_at(const struct ioas *ioas, uint64_t iova)
{
	size_t at = area_search(ioas, iova);

	return at < ioas->count && ioas->areas[at]->a.iova <= iova ? ioas->areas[at] : NULL;
}

static int areas_reserve(struct ioas *ioas)
{
	size_t room = ioas->room ? ioas->room * 2 : 8;
	struct area **areas;

	if (ioas->count < ioas->room)
		return 0;
	areas = reallocarray(ioas->areas, room, sizeof(*areas));
	if (!areas)
		return -ENOMEM;
	ioas->areas = areas;
	ioas->room = room;
	return 0;
}

/* Put @area into its place. There is room, and nothing overlaps. */
static void area_insert(struct ioas *ioas, struct area *area)
{
	size_t at = area_search(ioas, area->a.iova);

	memmove(&ioas->areas[at + 1], &ioas->areas[at], (ioas->count - at) * sizeof(*ioas->areas));
	ioas->areas[at] = area;
	ioas->count++;
}

static void area_delete(struct ioas *ioas, const struct area *area)
{
	size_t at = area_search(ioas, area->a.iova);

	ioas->count--;
	memmove(&ioas->areas[at], &ioas->areas[at + 1], (ioas->count - at) * sizeof(*ioas->areas));
}

/* ---- telling mirrors (under `change`) -------------------------------------------------------- */

static int mirror_map(struct mirror *mirror, struct area *area)
{
	uint64_t bit = 1ull << mirror->slot % 64;
	uint64_t *refused = &area->refused[mirror->slot / 64];
	int ret = mirror->ops->map(mirror->ctx, &area->a);

	*refused &= ~bit;
	if (ret && (area->a.peer || (area->a.ops && area->a.fd < 0))) {
		*refused |= bit;
		area->refusal = ret;
		ret = 0;
	}
	return ret;
}

static void mirror_unmap(struct mirror *mirror, const struct area *area)
{
	if (!(area->refused[mirror->slot / 64] >> mirror->slot % 64 & 1))
		mirror->ops->unmap(mirror->ctx, &area->a);
}

/* All mirrors up to but without @end. */
static void mirrors_unmap(struct ioas *ioas, const struct mirror *end, const struct area *area)
{
	for (struct mirror *m = ioas->mirrors; m != end; m = m->next)
		mirror_unmap(m, area);
}

/* ---- changes --------------------------------------------------------------------------------- */

int ioas_map(struct ioas *ioas, const struct ioas_area *new_area)
{
	struct area *area;
	uint64_t last, end;
	size_t at;
	int ret;

	if (new_area->length == 0 ||
	    (new_area->iova | new_area->length | new_area->offset) % IOVA_ALIGN ||
	    __builtin_add_overflow(new_area->iova, new_area->length - 1, &last) ||
	    __builtin_add_overflow(new_area->offset, new_area->length, &end) ||
	    !(new_area->rights & (IOAS_READ | IOAS_WRITE)) ||
	    new_area->rights & ~(IOAS_READ | IOAS_WRITE))
		return -EINVAL;
	area = calloc(1, sizeof(*area));
	if (!area)
		return -ENOMEM;
	area->a = *new_area;
	area->last = last;

	pthread_mutex_lock(&ioas->change);
	at = area_search(ioas, area->a.iova); /* the list changes only under `change` */
	ret = -EEXIST;
	if (at < ioas->count && ioas->areas[at]->a.iova <= last)
		goto unlock;

	pthread_mutex_lock(&ioas->lock);
	ret = areas_reserve(ioas);
	pthread_mutex_unlock(&ioas->lock);
	if (ret)
		goto unlock;

	for (struct mirror *m = ioas->mirrors; m; m = m->next) {
		ret = mirror_map(m, area);
		if (ret) {
			mirrors_unmap(ioas, m, area);
			goto unlock;
		}
	}
	pthread_mutex_lock(&ioas->lock);
	area_insert(ioas, area);
	pthread_mutex_unlock(&ioas->lock);
	pthread_mutex_unlock(&ioas->change);
	return 0;

unlock:
	pthread_mutex_unlock(&ioas->change);
	free(area);
	return ret;
}

/* Take an area out, under `change`. */
static void area_leave(struct ioas *ioas, struct area *area)
{
	pthread_mutex_lock(&ioas->lock);
	area->leaving = true;
	while (area->pins)
		pthread_cond_wait(&ioas->unpinned, &ioas->lock);
	pthread_mutex_unlock(&ioas->lock);

	mirrors_unmap(ioas, NULL, area);

	pthread_mutex_lock(&ioas->lock);
	area_delete(ioas, area);
	pthread_mutex_unlock(&ioas->lock);
	free(area);
}

int ioas_unmap(struct ioas *ioas, uint64_t iova, uint64_t length)
{
	struct area *area;
	int ret = -ENOENT;

	pthread_mutex_lock(&ioas->change);
	area = ioas_area_at(ioas, iova);
	if (area && area->a.iova == iova && area->a.length == length) {
		area_leave(ioas, area);
		ret = 0;
	}
	pthread_mutex_unlock(&ioas->change);
	return ret;
}

int ioas_peer_state(struct ioas *ioas, uint64_t iova, unsigned *holders, int *refusal)
{
	struct area *area;

	*holders = 0;
	*refusal = 0;
	pthread_mutex_lock(&ioas->change);
	area = ioas_area_at(ioas, iova);
	for (struct mirror *m = ioas->mirrors; area && m; m = m->next) {
		if (area->refused[m->slot / 64] >> m->slot % 64 & 1)
			*refusal = area->refusal;
		else
			(*holders)++;
	}
	pthread_mutex_unlock(&ioas->change);
	return area ? 0 : -ENOENT;
}

int ioas_destroy(struct ioas *ioas)
{
	struct iommufd_ctx *ictx;

	if (!ioas)
		return 0;
	pthread_mutex_lock(&ioas->change);
	if (ioas->mirrors) {
		pthread_mutex_unlock(&ioas->change);
		return -EBUSY;
	}
	while (ioas->count)
		area_leave(ioas, ioas->areas[ioas->count - 1]);
	pthread_mutex_unlock(&ioas->change);

	ictx = ioas->ictx;
	pthread_mutex_lock(&ictx->lock);
	for (struct ioas **link = &ictx->spaces; *link; link = &(*link)->next) {
		if (*link == ioas) {
			*link = ioas->next;
			break;
		}
	}
	pthread_mutex_unlock(&ictx->lock);
	pthread_mutex_destroy(&ioas->change);
	pthread_mutex_destroy(&ioas->lock);
	pthread_cond_destroy(&ioas->unpinned);
	free(ioas->areas);
	free(ioas);
	return 0;
}

/* ---- mirrors --------------------------------------------------------------------------------- */

static int free_slot(const struct ioas *ioas)
{
	uint64_t used[MIRROR_WORDS] = {0};

	for (const struct mirror *m = ioas->mirrors; m; m = m->next)
		used[m->slot / 64] |= 1ull << m->slot % 64;
	for (int word = 0; word < MIRROR_WORDS; word++)
		if (~used[word])
			return word * 64 + __builtin_ctzll(~used[word]);
	return -ENOSPC;
}

int ioas_mirror_add(struct ioas *ioas, const struct ioas_mirror_ops *ops, void *ctx)
{
	struct mirror *mirror = calloc(1, sizeof(*mirror));
	struct mirror **link;
	size_t done;
	int ret;

	if (!mirror)
		return -ENOMEM;
	mirror->ops = ops;
	mirror->ctx = ctx;

	pthread_mutex_lock(&ioas->change);
	for (link = &ioas->mirrors; *link; link = &(*link)->next) {
		if ((*link)->ctx == ctx) {
			ret = -EEXIST;
			goto unlock;
		}
	}
	ret = free_slot(ioas);
	if (ret < 0)
		goto unlock;
	mirror->slot = (unsigned)ret;
	for (done = 0; done < ioas->count; done++) {
		ret = mirror_map(mirror, ioas->areas[done]);
		if (ret)
			goto unmap;
	}
	*link = mirror;
	pthread_mutex_unlock(&ioas->change);
	return 0;

unmap:
	while (done--)
		mirror_unmap(mirror, ioas->areas[done]);
unlock:
	pthread_mutex_unlock(&ioas->change);
	free(mirror);
	return ret;
}

int ioas_mirror_remove(struct ioas *ioas, void *ctx)
{
	struct mirror *mirror, **link;

	pthread_mutex_lock(&ioas->change);
	for (link = &ioas->mirrors; *link && (*link)->ctx != ctx; link = &(*link)->next)
		;
	mirror = *link;
	if (mirror) {
		for (size_t i = ioas->count; i--;)
			mirror_unmap(mirror, ioas->areas[i]);
		*link = mirror->next;
	}
	pthread_mutex_unlock(&ioas->change);
	free(mirror);
	return mirror ? 0 : -ENOENT;
}

/* ---- ranges ---------------------------------------------------------------------------------- */

struct range_list {
	struct iova_range *ranges;
	size_t count;
};

/* Ask a mirror; the count may grow between two questions. */
static int mirror_ranges(const struct mirror *mirror, struct range_list *list)
{
	size_t room = 0;

	*list = (struct range_list){0};
	for (int i = 0; i < RANGES_TRIES; i++) {
		size_t count = room;
		int ret = mirror->ops->ranges(mirror->ctx, list->ranges, &count);

		if (ret == 0 && count <= room) {
			list->count = count;
			return 0;
		}
		free(list->ranges);
		*list = (struct range_list){0};
		if (ret != -EMSGSIZE && ret != 0)
			return ret;
		list->ranges = calloc(count ? count : 1, sizeof(*list->ranges));
		if (!list->ranges)
			return -ENOMEM;
		room = count;
	}
	free(list->ranges);
	return -EAGAIN;
}

/* @a becomes what is in both; the result has at most a->count + b->count ranges. */
static int intersect(struct range_list *a, const struct range_list *b)
{
	struct range_list out = {0};
	size_t i = 0, j = 0;

	out.ranges = calloc(a->count + b->count + 1, sizeof(*out.ranges));
	if (!out.ranges)
		return -ENOMEM;
	while (i < a->count && j < b->count) {
		const struct iova_range *x = &a->ranges[i], *y = &b->ranges[j];
		uint64_t first = x->first > y->first ? x->first : y->first;
		uint64_t last = x->last < y->last ? x->last : y->last;

		if (first <= last)
			out.ranges[out.count++] = (struct iova_range){first, last};
		if (x->last < y->last)
			i++;
		else
			j++;
	}
	free(a->ranges);
	*a = out;
	return 0;
}

int ioas_iova_ranges(struct ioas *ioas, struct iova_range *ranges, size_t *count)
{
	struct range_list all = {0};
	int ret = -ENOMEM;

	all.ranges = calloc(1, sizeof(*all.ranges));
	if (!all.ranges)
		return ret;
	all.ranges[all.count++] = (struct iova_range){0, UINT64_MAX};

	pthread_mutex_lock(&ioas->change);
	ret = 0;
	for (struct mirror *m = ioas->mirrors; m && !ret; m = m->next) {
		struct range_list list;

		if (!m->ops->ranges)
			continue;
		ret = mirror_ranges(m, &list);
		if (!ret) {
			ret = intersect(&all, &list);
			free(list.ranges);
		}
	}
	pthread_mutex_unlock(&ioas->change);
	if (!ret) {
		if (all.count > *count)
			ret = -EMSGSIZE;
		else
			memcpy(ranges, all.ranges, all.count * sizeof(*ranges));
		*count = all.count;
	}
	free(all.ranges);
	return ret;
}
