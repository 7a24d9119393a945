/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The one way to the bytes of a space: everything that a device in this process reads or writes goes
 * through pin() and unpin_locked().
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "vmm/base/dma.h"
#include "vmm/base/dma_space.h"

/*
 * Pin the area that holds @iova, for access with @right; what only @copies can reach not otherwise.
 * *@length is cut to the end of the area. NULL with *@error.
 */
static struct area *pin(struct ioas *ioas, uint64_t iova, size_t *length, uint32_t right,
			bool copies, int *error)
{
	struct area *area;

	pthread_mutex_lock(&ioas->lock);
	area = ioas_area_at(ioas, iova);
	if (!area || area->leaving || area->a.peer || (!area->a.hva && !(copies && area->a.ops))) {
		*error = -ENOENT;
		area = NULL;
	} else if (!(area->a.rights & right)) {
		*error = -EPERM;
		area = NULL;
	} else {
		area->pins++;
		if (*length > area->a.length - (iova - area->a.iova))
			*length = area->a.length - (iova - area->a.iova);
	}
	pthread_mutex_unlock(&ioas->lock);
	return area;
}

static void unpin_locked(struct ioas *ioas, struct area *area)
{
	if (--area->pins == 0 && area->leaving)
		pthread_cond_broadcast(&ioas->unpinned);
}

static void *address(const struct area *area, uint64_t iova)
{
	return (char *)area->a.hva + (iova - area->a.iova);
}

/* Inside one area, which is pinned. */
static int copy_part(const struct area *area, uint64_t iova, void *bytes, size_t length,
		     uint32_t right)
{
	const struct ioas_area_ops *ops = area->a.ops;

	if (ops)
		return right == IOAS_READ ? ops->read(area->a.ops_ctx, iova, bytes, length)
					  : ops->write(area->a.ops_ctx, iova, bytes, length);
	if (right == IOAS_READ)
		memcpy(bytes, address(area, iova), length);
	else
		memcpy(address(area, iova), bytes, length);
	return 0;
}

static int copy(struct ioas *ioas, uint64_t iova, void *buffer, size_t length, uint32_t right)
{
	char *bytes = buffer;

	while (length) {
		size_t n = length;
		int error;
		struct area *area = pin(ioas, iova, &n, right, true, &error);

		if (!area)
			return error;
		error = copy_part(area, iova, bytes, n, right);
		pthread_mutex_lock(&ioas->lock);
		unpin_locked(ioas, area);
		pthread_mutex_unlock(&ioas->lock);
		if (error)
			return error;
		bytes += n;
		length -= n;
		iova += n;
		if (length && iova == 0)
			return -ENOENT; /* past the end of the space */
	}
	return 0;
}

int ioas_read(struct ioas *ioas, uint64_t iova, void *buffer, size_t length)
{
	return copy(ioas, iova, buffer, length, IOAS_READ);
}

int ioas_write(struct ioas *ioas, uint64_t iova, const void *buffer, size_t length)
{
	return copy(ioas, iova, (void *)(uintptr_t)buffer, length, IOAS_WRITE);
}

void *ioas_pin(struct ioas *ioas, uint64_t iova, size_t *length, bool write)
{
	struct area *area = NULL;
	int error;

	if (*length)
		area = pin(ioas, iova, length, write ? IOAS_WRITE : IOAS_READ, false, &error);
	if (!area) {
		*length = 0;
		return NULL;
	}
	return address(area, iova);
}

void ioas_unpin(struct ioas *ioas, uint64_t iova, size_t length, bool write)
{
	struct area *area;

	(void)length;
	(void)write;
	pthread_mutex_lock(&ioas->lock);
	area = ioas_area_at(ioas, iova);
	if (area && area->pins)
		unpin_locked(ioas, area);
	pthread_mutex_unlock(&ioas->lock);
}
