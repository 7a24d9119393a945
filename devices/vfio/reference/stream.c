// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The migration stream: what saving and loading have in common. */
#include "devices/vfio/reference/internal.h"

uint32_t reference_record_length(uint32_t type)
{
	switch (type) {
	case REFERENCE_RECORD_HEADER:
		return REFERENCE_HEADER_LENGTH;
	case REFERENCE_RECORD_PAGE:
		return REFERENCE_PAGE_LENGTH;
	case REFERENCE_RECORD_CONFIG:
		return REFERENCE_CONFIG_SIZE;
	case REFERENCE_RECORD_STATE:
		return REFERENCE_STATE_LENGTH;
	case REFERENCE_RECORD_END:
		return REFERENCE_END_LENGTH;
	default:
		return 0;
	}
}

uint32_t reference_record_crc(const struct reference_device *device, const uint8_t *record,
			      uint32_t payload)
{
	uint32_t crc = reference_crc(device->crc_table, ~0u, record, 12);

	return ~reference_crc(device->crc_table, crc, record + REFERENCE_RECORD_OVERHEAD, payload);
}

/* ---- the payload of STATE: one list of fields for both directions -------------------------------- */

/* Of 8 bytes, of 4, or a bool, which takes 4 in the stream. */
struct field {
	uint16_t place;
	uint8_t size;
};

#define FIELD(type, member)                                                                        \
	{                                                                                          \
		offsetof(struct reference_##type, member),                                         \
			sizeof(((struct reference_##type *)0)->member)                             \
	}
#define CURSOR(name)                                                                               \
	FIELD(request, name.address), FIELD(request, name.remaining), FIELD(request, name.list),   \
		FIELD(request, name.entries), FIELD(request, name.memory),                         \
		FIELD(request, name.is_list)

static const struct field block_fields[] = {
	FIELD(block, source), FIELD(block, destination),    FIELD(block, pattern),
	FIELD(block, length), FIELD(block, command),        FIELD(block, pasid),
	FIELD(block, vector), FIELD(block, source_entries), FIELD(block, destination_entries),
};

static const struct field status_fields[] = {
	FIELD(status, completed),  FIELD(status, failed),     FIELD(status, bytes),
	FIELD(status, interrupts), FIELD(status, rejected),   FIELD(status, error_address),
	FIELD(status, error),      FIELD(status, result),     FIELD(status, tag),
	FIELD(status, int_status), FIELD(status, int_enable),
};

static const struct field request_fields[] = {
	FIELD(request, busy),    FIELD(request, started), FIELD(request, abort),
	FIELD(request, command), FIELD(request, pasid),   FIELD(request, vector),
	FIELD(request, tag),     FIELD(request, pattern), FIELD(request, left),
	FIELD(request, length),  FIELD(request, crc),     CURSOR(source),
	CURSOR(destination),
};

#define COUNT(list) (sizeof(list) / sizeof((list)[0]))

static uint8_t *save(uint8_t *at, const void *object, const struct field *fields, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		const void *value = (const char *)object + fields[i].place;

		if (fields[i].size == 8) {
			reference_put64(at, *(const uint64_t *)value);
			at += 8;
			continue;
		}
		reference_put32(at, fields[i].size == 4 ? *(const uint32_t *)value
							: *(const bool *)value);
		at += 4;
	}
	return at;
}

static const uint8_t *load(const uint8_t *at, void *object, const struct field *fields,
			   size_t count)
{
	for (size_t i = 0; i < count; i++) {
		void *value = (char *)object + fields[i].place;

		if (fields[i].size == 8) {
			*(uint64_t *)value = reference_get64(at);
			at += 8;
			continue;
		}
		if (fields[i].size == 4)
			*(uint32_t *)value = reference_get32(at);
		else
			*(bool *)value = reference_get32(at) != 0;
		at += 4;
	}
	return at;
}

/* 252 bytes; the rest of the payload is 0. */
void reference_state_encode(const struct reference_device *device, uint8_t *payload)
{
	memset(payload, 0, REFERENCE_STATE_LENGTH);
	payload = save(payload, &device->block, block_fields, COUNT(block_fields));
	payload = save(payload, &device->status, status_fields, COUNT(status_fields));
	save(payload, &device->request, request_fields, COUNT(request_fields));
}

void reference_state_decode(const uint8_t *payload, struct reference_incoming *in)
{
	memset(&in->request, 0, sizeof(in->request));
	payload = load(payload, &in->block, block_fields, COUNT(block_fields));
	payload = load(payload, &in->status, status_fields, COUNT(status_fields));
	load(payload, &in->request, request_fields, COUNT(request_fields));
}
