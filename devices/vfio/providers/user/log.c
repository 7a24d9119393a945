/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The DMA log: what the server wrote through its maps, which it reports, and what we wrote for it by
 * message, which it does not. Both are gathered here in one log, and given out of it;
 * so a server that only reports whole maps (libvfio-user) loses nothing when a part is asked for.
 */
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/own_log.h"
#include "devices/vfio/providers/user/user.h"

static uint64_t pages_of(uint64_t length, uint64_t page_size)
{
	return length / page_size + (length % page_size != 0);
}

static size_t words_of(uint64_t pages)
{
	return (size_t)(pages / 64 + (pages % 64 != 0));
}

/* ---- our log (under log_lock) -------------------------------------------------------------------- */

void user_log_note(struct user_device *ud, uint64_t iova, uint64_t length)
{
	if (!length)
		return;
	pthread_mutex_lock(&ud->log_lock);
	dirty_log_write(&ud->log, iova, length);
	pthread_mutex_unlock(&ud->log_lock);
}

void user_log_free(struct user_device *ud)
{
	pthread_mutex_lock(&ud->log_lock);
	vfio_own_log_free(&ud->log);
	pthread_mutex_unlock(&ud->log_lock);
}

/* ---- start and stop ----------------------------------------------------------------------------- */

static int log_start(struct vfio_device *vdev, const struct vfio_log_range *ranges, uint32_t count,
		     uint64_t *page_size)
{
	struct user_device *ud = user_device(vdev);
	const size_t size = sizeof(struct vfio_user_logging_control) + count * sizeof(*ranges);
	struct vfio_user_logging_control control = {.page_size = *page_size, .num_ranges = count};
	uint64_t size_of_ours = *page_size;
	uint8_t *payload;
	size_t got = 0;
	int rc;

	/* Before the server starts, so that no write of ours falls between. */
	pthread_mutex_lock(&ud->log_lock);
	vfio_own_log_free(&ud->log);
	rc = vfio_own_log_start(&ud->log, ranges, count, &size_of_ours);
	pthread_mutex_unlock(&ud->log_lock);
	if (rc)
		return rc;
	payload = malloc(size);
	if (!payload)
		return -ENOMEM;
	memcpy(payload, &control, sizeof(control));
	memcpy(payload + sizeof(control), ranges, count * sizeof(*ranges));
	rc = user_feature(ud, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			  payload, size, &control, sizeof(control), &got);
	free(payload);
	if (rc)
		user_log_free(ud);
	else if (got == sizeof(control) && control.page_size >= 4096 &&
		 !(control.page_size & (control.page_size - 1)))
		*page_size = control.page_size; /* what the server does; some echo the request */
	ud->log_server_page_size = *page_size;
	return rc;
}

static int log_stop(struct vfio_device *vdev)
{
	struct user_device *ud = user_device(vdev);
	size_t got;
	const int rc =
		user_feature(ud, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP,
			     NULL, 0, NULL, 0, &got);

	user_log_free(ud);
	return rc;
}

/* ---- reports ------------------------------------------------------------------------------------ */

/* What the server says of one range, into our bitmaps. */
static int report(struct user_device *ud, uint64_t iova, uint64_t length, uint64_t page_size)
{
	const struct vfio_user_logging_report asked = {iova, length, page_size};
	const uint64_t pages = pages_of(length, page_size);
	const size_t words = words_of(pages);
	const size_t size = sizeof(asked) + words * sizeof(uint64_t);
	uint8_t *answer = malloc(size);
	uint64_t word;
	int rc;

	if (!answer)
		return -ENOMEM;
	rc = user_feature(ud, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
			  &asked, sizeof(asked), answer, size, NULL);
	pthread_mutex_lock(&ud->log_lock);
	for (size_t i = 0; i < words && !rc; i++) {
		memcpy(&word, answer + sizeof(asked) + i * sizeof(word), sizeof(word));
		for (; word; word &= word - 1) {
			const uint64_t page = i * 64 + (uint64_t)__builtin_ctzll(word);

			if (page < pages)
				dirty_log_write(&ud->log, iova + page * page_size, page_size);
		}
	}
	pthread_mutex_unlock(&ud->log_lock);
	free(answer);
	return rc;
}

/* [@iova, @last] of one map. Only whole maps, when the server knows no parts. */
static int report_map(struct user_device *ud, const struct ioas_area *area, uint64_t iova,
		      uint64_t last, uint64_t page_size)
{
	const uint64_t end = area->iova + (area->length - 1);
	/* Of one message: a word at least, and never nothing, whatever sizes the server names. */
	const uint64_t words = ud->max_data_xfer_size / 16 + 1;
	uint64_t length, most;
	int rc = 0;

	if (__builtin_mul_overflow(words * 64, page_size, &most))
		most = UINT64_MAX;
	if (iova < area->iova)
		iova = area->iova;
	if (last > end)
		last = end;
	while (!rc && !ud->log_whole_maps) {
		length = last - iova + 1;
		if (length > most)
			length = most;
		rc = report(ud, iova, length, page_size);
		if (!rc && last - iova < length)
			return 0;
		if (!rc)
			iova += length;
	}
	if (rc && rc != -ENOTSUP && rc != -EINVAL)
		return rc;
	rc = report(ud, area->iova, area->length, page_size);
	if (!rc)
		ud->log_whole_maps = true;
	return rc;
}

static int log_read_and_clear(struct vfio_device *vdev, uint64_t iova, uint64_t length,
			      uint64_t page_size, uint64_t *bitmap)
{
	struct user_device *ud = user_device(vdev);
	const uint64_t last = iova + (length - 1);
	int rc = 0;

	pthread_mutex_lock(&ud->dma_lock);
	for (size_t i = 0; i < ud->map_count && !rc; i++) {
		const struct ioas_area *area = &ud->maps[i].area;

		/* What has no descriptor the server writes by message, and those are in our bitmaps. */
		if (area->fd < 0 || !ud->maps[i].mapped || area->iova > last ||
		    area->iova + (area->length - 1) < iova)
			continue;
		rc = report_map(ud, area, iova, last, ud->log_server_page_size);
	}
	pthread_mutex_unlock(&ud->dma_lock);
	if (rc)
		return rc;
	pthread_mutex_lock(&ud->log_lock);
	if (ud->log.running)
		rc = dirty_log_read_bitmap(&ud->log, iova, length, page_size, bitmap);
	pthread_mutex_unlock(&ud->log_lock);
	return rc;
}

const struct vfio_log_ops user_log_ops = {
	.log_start = log_start,
	.log_stop = log_stop,
	.log_read_and_clear = log_read_and_clear,
};
