// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * Loading: every record is taken together and checked before anything of it is believed. Pages go to
 * their place at once; configuration and registers wait for the end, when all is known to be there.
 */
#include "devices/vfio/reference/internal.h"

void reference_load_begin(struct reference_device *device)
{
	memset(&device->session, 0, sizeof(device->session));
	memset(&device->incoming, 0, sizeof(device->incoming));
	device->session.loading = true;
}

/* ---- what may be in a STATE record --------------------------------------------------------------- */

static bool cursor_valid(const struct reference_cursor *c, uint32_t command, uint32_t memory,
			 uint32_t list)
{
	const bool is_list = command & list;

	if (c->is_list != is_list || c->entries > REFERENCE_LIST_LIMIT_VALUE ||
	    c->remaining > 0xffffffffu)
		return false;
	return is_list || (c->entries == 0 && c->memory == !!(command & memory));
}

static bool request_valid(const struct reference_request *r)
{
	/* Not begun: it is checked when it does. */
	if (!r->busy || !r->started)
		return !r->started && (r->busy || !r->abort);
	if (reference_check_command(r->command) || r->left > r->length ||
	    r->length > REFERENCE_LENGTH_LIMIT_VALUE)
		return false;
	if ((r->command & REFERENCE_COMMAND_PASID) && r->pasid >> REFERENCE_PASID_BITS)
		return false;
	return cursor_valid(&r->source, r->command, REFERENCE_COMMAND_SOURCE_MEMORY,
			    REFERENCE_COMMAND_SOURCE_LIST) &&
	       cursor_valid(&r->destination, r->command, REFERENCE_COMMAND_DESTINATION_MEMORY,
			    REFERENCE_COMMAND_DESTINATION_LIST);
}

static bool status_valid(const struct reference_status *s)
{
	const uint32_t bits = REFERENCE_INT_DONE | REFERENCE_INT_ERROR;

	return s->error <= REFERENCE_ERROR_ABORTED && !(s->int_status & ~bits) &&
	       !(s->int_enable & ~bits) && s->failed <= s->completed;
}

/* ---- records ------------------------------------------------------------------------------------ */

static int take_header(const struct reference_device *device, const uint8_t *payload)
{
	if (reference_get64(payload) != REFERENCE_STREAM_MAGIC ||
	    reference_get32(payload + 8) != REFERENCE_STREAM_VERSION ||
	    reference_get32(payload + 12) != device->geometry.vectors ||
	    reference_get64(payload + 16) != device->geometry.memory_size ||
	    reference_get64(payload + 24) != REFERENCE_SCRATCH_SIZE ||
	    reference_get16(payload + 32) != REFERENCE_VENDOR_ID ||
	    reference_get16(payload + 34) != REFERENCE_DEVICE_ID ||
	    reference_get32(payload + 36) != 0)
		return -EINVAL;
	return 0;
}

static int take_page(struct reference_device *device, const uint8_t *payload)
{
	const uint64_t offset = reference_get64(payload);

	if (offset % REFERENCE_PAGE || offset / REFERENCE_PAGE >= reference_pages(device) ||
	    device->incoming.have_config)
		return -EINVAL;
	memcpy(reference_page(device, offset / REFERENCE_PAGE), payload + 8, REFERENCE_PAGE);
	return 0;
}

static int take_config(struct reference_device *device, const uint8_t *payload)
{
	if (device->incoming.have_config)
		return -EINVAL;
	memcpy(device->incoming.config, payload, REFERENCE_CONFIG_SIZE);
	device->incoming.have_config = true;
	return 0;
}

static int take_state(struct reference_device *device, const uint8_t *payload)
{
	struct reference_incoming *in = &device->incoming;

	if (!in->have_config || in->have_state)
		return -EINVAL;
	reference_state_decode(payload, in);
	if (!request_valid(&in->request) || !status_valid(&in->status))
		return -EINVAL;
	in->have_state = true;
	return 0;
}

/* A whole record is in session->record. */
static int take_record(struct reference_device *device)
{
	struct reference_session *session = &device->session;
	const uint32_t type = reference_get32(session->record);
	const uint32_t length = reference_get32(session->record + 4);
	const uint8_t *payload = session->record + REFERENCE_RECORD_OVERHEAD;

	if (reference_record_crc(device, session->record, length) !=
	    reference_get32(session->record + 12))
		return -EINVAL;
	switch (type) {
	case REFERENCE_RECORD_HEADER:
		return take_header(device, payload);
	case REFERENCE_RECORD_PAGE:
		return take_page(device, payload);
	case REFERENCE_RECORD_CONFIG:
		return take_config(device, payload);
	case REFERENCE_RECORD_STATE:
		return take_state(device, payload);
	default:
		/* END: the position is that of the record's first byte. */
		if (!device->incoming.have_state ||
		    reference_get64(payload) !=
			    session->position - REFERENCE_RECORD_OVERHEAD - length)
			return -EINVAL;
		session->ended = true;
		return 0;
	}
}

/* The header of a record is there: -EINVAL before its payload is waited for. */
static int check_record(const struct reference_session *session)
{
	const uint32_t type = reference_get32(session->record);
	const uint32_t length = reference_record_length(type);

	if (length == 0 || reference_get32(session->record + 4) != length ||
	    reference_get32(session->record + 8) != session->sequence ||
	    (type == REFERENCE_RECORD_HEADER) != (session->sequence == 0))
		return -EINVAL;
	return 0;
}

static size_t wanted(const struct reference_session *session)
{
	uint32_t whole = REFERENCE_RECORD_OVERHEAD;

	if (session->length >= REFERENCE_RECORD_OVERHEAD)
		whole += reference_get32(session->record + 4);
	return whole - session->length;
}

static int feed(struct reference_device *device, const uint8_t *data, size_t count)
{
	struct reference_session *session = &device->session;
	int rc = 0;

	while (count > 0 && rc == 0) {
		const size_t want = wanted(session), part = count < want ? count : want;

		if (session->ended)
			return -EINVAL;
		memcpy(session->record + session->length, data, part);
		session->length += (uint32_t)part;
		session->position += part;
		data += part;
		count -= part;
		if (part < want)
			break;
		if (session->length == REFERENCE_RECORD_OVERHEAD) {
			rc = check_record(session);
			continue;
		}
		rc = take_record(device);
		session->length = 0;
		session->sequence++;
	}
	return rc;
}

/* ---- for the embedder --------------------------------------------------------------------------- */

ssize_t reference_load(struct reference_device *device, const void *buffer, size_t count)
{
	struct reference_session *session = &device->session;

	if (!session->loading || device->removed)
		return -ENODEV;
	if (session->error == 0)
		session->error = feed(device, buffer, count);
	return session->error ? session->error : (ssize_t)count;
}

int reference_load_commit(struct reference_device *device)
{
	const struct reference_incoming *in = &device->incoming;

	if (device->session.error || !device->session.ended)
		return -EINVAL;
	for (uint32_t i = 0; i < REFERENCE_CONFIG_SIZE; i++)
		device->config[i] = (uint8_t)((device->config[i] & ~device->writable[i]) |
					      (in->config[i] & device->writable[i]));
	device->block = in->block;
	device->request = in->request;
	device->status = in->status;
	reference_intx_update(device);
	return 0;
}
