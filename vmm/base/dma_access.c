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
 * Pin what holds @iova, for access with @right. *@length is cut to the end of the area. Returns its
 * address, or NULL with *@error.
 */
static void *pin(struct ioas *ioas, uint64_t iova, size_t *length, uint32_t right,
		 struct area **out, int *error)
{
	struct area *area;
	void *hva = NULL;

	pthread_mutex_lock(&ioas->lock);
	area = ioas_area_at(ioas, iova);
	if (!area || area->leaving || area->a.peer || !area->a.hva) {
		*error = -ENOENT;
	} else if (!(area->a.rights & right)) {
		*error = -EPERM;
	} else {
		uint64_t offset = iova - area->a.iova;

		area->pins++;
		hva = (char *)area->a.hva + offset;
		if (*length > area->a.length - offset)
			*length = area->a.length - offset;
		*out = area;
	}
	pthread_mutex_unlock(&ioas->lock);
	return hva;
}

static void unpin_locked(struct ioas *ioas, struct area *area)
{
	if (--area->pins == 0 && area->leaving)
		pthread_cond_broadcast(&ioas->unpinned);
}

static int copy(struct ioas *ioas, uint64_t iova, void *buffer, size_t length, uint32_t right)
{
	char *bytes = buffer;

	while (length) {
		struct area *area;
		size_t n = length;
		int error;
		void *hva = pin(ioas, iova, &n, right, &area, &error);

		if (!hva)
			return error;
		if (right == IOAS_READ)
			memcpy(bytes, hva, n);
		else
			memcpy(hva, bytes, n);
		pthread_mutex_lock(&ioas->lock);
		unpin_locked(ioas, area);
		pthread_mutex_unlock(&ioas->lock);
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
	struct area *area;
	void *hva = NULL;
	int error;

	if (*length)
		hva = pin(ioas, iova, length, write ? IOAS_WRITE : IOAS_READ, &area, &error);
	if (!hva)
		*length = 0;
	return hva;
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
