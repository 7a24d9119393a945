// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Saving: the stream is made record by record as it is read, so that no copy of the device is kept. A
 * page is taken as it is when its record is made; written later, it comes again.
 */
#include "devices/vfio/reference/internal.h"

enum stage { STAGE_HEADER, STAGE_PAGES, STAGE_CONFIG, STAGE_STATE, STAGE_END, STAGE_DONE };

/* ---- bitmaps ------------------------------------------------------------------------------------ */

static uint64_t words(const struct reference_device *device)
{
	return (reference_pages(device) + 63) / 64;
}

static void set_all(const struct reference_device *device, uint64_t *bitmap)
{
	const uint64_t pages = reference_pages(device);

	memset(bitmap, 0xff, words(device) * 8);
	if (pages % 64)
		bitmap[pages / 64] = ((uint64_t)1 << pages % 64) - 1;
}

static void clear_all(const struct reference_device *device, uint64_t *bitmap)
{
	memset(bitmap, 0, words(device) * 8);
}

/* Of one word; not the compiler's builtin, which may be a call into its library. */
static unsigned ones(uint64_t word)
{
	unsigned count = 0;

	for (; word; word &= word - 1)
		count++;
	return count;
}

static uint64_t count_bits(const struct reference_device *device, const uint64_t *bitmap)
{
	uint64_t count = 0;

	for (uint64_t i = 0; i < words(device); i++)
		count += ones(bitmap[i]);
	return count;
}

/* Take the first page of the bitmap out of it. */
static bool take_page(const struct reference_device *device, uint64_t *bitmap, uint64_t *page)
{
	for (uint64_t i = 0; i < words(device); i++) {
		const uint64_t lowest = bitmap[i] & (~bitmap[i] + 1);

		if (!lowest)
			continue;
		bitmap[i] &= ~lowest;
		*page = i * 64 + ones(lowest - 1);
		return true;
	}
	return false;
}

/* ---- a session ---------------------------------------------------------------------------------- */

static void clear_session(struct reference_session *session)
{
	memset(session, 0, offsetof(struct reference_session, record));
}

void reference_save_begin(struct reference_device *device)
{
	clear_session(&device->session);
	device->session.saving = true;
	device->was_mapped = device->mapped;
	set_all(device, device->mem.fresh);
	clear_all(device, device->mem.dirty);
}

/* From pre-copy to STOP_COPY: what nobody could see changing goes again. */
void reference_save_final(struct reference_device *device)
{
	if (device->was_mapped)
		set_all(device, device->mem.dirty);
}

/* ---- records ------------------------------------------------------------------------------------ */

static void make_header(const struct reference_device *device, uint8_t *payload)
{
	reference_put64(payload, REFERENCE_STREAM_MAGIC);
	reference_put32(payload + 8, REFERENCE_STREAM_VERSION);
	reference_put32(payload + 12, device->geometry.vectors);
	reference_put64(payload + 16, device->geometry.memory_size);
	reference_put64(payload + 24, REFERENCE_SCRATCH_SIZE);
	reference_put16(payload + 32, REFERENCE_VENDOR_ID);
	reference_put16(payload + 34, REFERENCE_DEVICE_ID);
	reference_put32(payload + 36, 0);
}

/* -ENOMSG: no page is left; in STOP_COPY that is the end of this stage. */
static int make_page(struct reference_device *device, uint8_t *payload)
{
	struct reference_session *session = &device->session;
	uint64_t page;

	session->initial = take_page(device, device->mem.fresh, &page);
	if (!session->initial && !take_page(device, device->mem.dirty, &page))
		return -ENOMSG;
	reference_put64(payload, page * REFERENCE_PAGE);
	memcpy(payload + 8, reference_page(device, page), REFERENCE_PAGE);
	return 0;
}

/* The next record into session->record. -ENOMSG: none now; 0 with length 0: the stream has ended. */
static int make_record(struct reference_device *device)
{
	struct reference_session *session = &device->session;
	uint8_t *payload = session->record + REFERENCE_RECORD_OVERHEAD;
	uint32_t type = 0;

	session->length = session->offset = 0;
	session->initial = false;
	if (session->stage == STAGE_PAGES) {
		if (make_page(device, payload) == 0)
			type = REFERENCE_RECORD_PAGE;
		else if (device->state != VFIO_DEVICE_STATE_STOP_COPY)
			return -ENOMSG;
		else
			session->stage = STAGE_CONFIG;
	}
	switch (type ? STAGE_PAGES : session->stage) {
	case STAGE_HEADER:
		type = REFERENCE_RECORD_HEADER;
		make_header(device, payload);
		session->initial = true;
		session->stage = STAGE_PAGES;
		break;
	case STAGE_CONFIG:
		type = REFERENCE_RECORD_CONFIG;
		memcpy(payload, device->config, REFERENCE_CONFIG_SIZE);
		session->stage = STAGE_STATE;
		break;
	case STAGE_STATE:
		type = REFERENCE_RECORD_STATE;
		reference_state_encode(device, payload);
		session->stage = STAGE_END;
		break;
	case STAGE_END:
		type = REFERENCE_RECORD_END;
		reference_put64(payload, session->position);
		session->stage = STAGE_DONE;
		break;
	case STAGE_DONE:
		return 0;
	default:
		break;
	}
	session->length = REFERENCE_RECORD_OVERHEAD + reference_record_length(type);
	reference_put32(session->record, type);
	reference_put32(session->record + 4, reference_record_length(type));
	reference_put32(session->record + 8, session->sequence++);
	reference_put32(session->record + 12, reference_record_crc(device, session->record,
								   reference_record_length(type)));
	return 0;
}

/* ---- for the embedder --------------------------------------------------------------------------- */

/* At most @count bytes of the record in hand, with the faults that are wanted. */
static size_t give_out(struct reference_device *device, uint8_t *buffer, size_t count)
{
	struct reference_session *session = &device->session;
	const uint32_t flip = device->faults.flip_at, truncate = device->faults.truncate_at;

	if (count > session->length - session->offset)
		count = session->length - session->offset;
	if (truncate && count > truncate - session->position)
		count = (size_t)(truncate - session->position);
	memcpy(buffer, session->record + session->offset, count);
	if (flip && flip >= session->position && flip - session->position < count)
		buffer[flip - session->position] ^= 1;
	session->offset += (uint32_t)count;
	session->position += count;
	return count;
}

ssize_t reference_save(struct reference_device *device, void *buffer, size_t count)
{
	struct reference_session *session = &device->session;
	const bool pre_copy = device->state != VFIO_DEVICE_STATE_STOP_COPY;
	size_t done = 0;
	int rc = 0;

	if (!session->saving || device->removed)
		return -ENODEV;
	if (device->faults.slow_bytes && count > device->faults.slow_bytes)
		count = device->faults.slow_bytes;
	while (done < count) {
		if (device->faults.truncate_at && session->position >= device->faults.truncate_at) {
			rc = pre_copy ? -ENOMSG : 0;
			break;
		}
		if (session->offset == session->length)
			rc = make_record(device);
		if (rc || session->length == 0)
			break;
		done += give_out(device, (uint8_t *)buffer + done, count - done);
	}
	return done > 0 ? (ssize_t)done : rc;
}

int reference_precopy_info(struct reference_device *device, bool v2, uint32_t *flags,
			   uint64_t *initial_bytes, uint64_t *dirty_bytes)
{
	struct reference_session *session = &device->session;
	const uint64_t page = REFERENCE_RECORD_OVERHEAD + REFERENCE_PAGE_LENGTH;
	const uint64_t in_hand = session->length - session->offset;

	if (!session->saving || (device->state != VFIO_DEVICE_STATE_PRE_COPY &&
				 device->state != VFIO_DEVICE_STATE_PRE_COPY_P2P))
		return -EINVAL;
	*flags = 0;
	if (v2 && device->faults.reinit) {
		device->faults.reinit = false;
		set_all(device, device->mem.fresh);
		clear_all(device, device->mem.dirty);
		*flags = VFIO_PRECOPY_INFO_REINIT;
	}
	*initial_bytes = count_bits(device, device->mem.fresh) * page;
	*dirty_bytes = count_bits(device, device->mem.dirty) * page;
	if (session->stage == STAGE_HEADER)
		*initial_bytes += REFERENCE_RECORD_OVERHEAD + REFERENCE_HEADER_LENGTH;
	*(session->initial ? initial_bytes : dirty_bytes) += in_hand;
	return 0;
}

uint64_t reference_data_size(const struct reference_device *device)
{
	const uint64_t size =
		reference_pages(device) * (REFERENCE_RECORD_OVERHEAD + REFERENCE_PAGE_LENGTH) +
		4 * REFERENCE_RECORD_OVERHEAD + REFERENCE_HEADER_LENGTH + REFERENCE_CONFIG_SIZE +
		REFERENCE_STATE_LENGTH + REFERENCE_END_LENGTH;

	return device->faults.lie_size_percent ? size * device->faults.lie_size_percent / 100
					       : size;
}
