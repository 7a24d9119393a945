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

struct fields {
	uint8_t *at;
	bool load;
};

static void field32(struct fields *f, uint32_t *value)
{
	if (f->load)
		*value = reference_get32(f->at);
	else
		reference_put32(f->at, *value);
	f->at += 4;
}

static void field64(struct fields *f, uint64_t *value)
{
	if (f->load)
		*value = reference_get64(f->at);
	else
		reference_put64(f->at, *value);
	f->at += 8;
}

static void flag(struct fields *f, bool *value)
{
	uint32_t word = *value;

	field32(f, &word);
	*value = word != 0;
}

static void cursor(struct fields *f, struct reference_cursor *c)
{
	field64(f, &c->address);
	field64(f, &c->remaining);
	field64(f, &c->list);
	field32(f, &c->entries);
	flag(f, &c->memory);
	flag(f, &c->is_list);
}

/* 252 bytes; the rest of the payload is 0. */
static void all_fields(struct fields *f, struct reference_block *block,
		       struct reference_request *request, struct reference_status *status)
{
	field64(f, &block->source);
	field64(f, &block->destination);
	field64(f, &block->pattern);
	field32(f, &block->length);
	field32(f, &block->command);
	field32(f, &block->pasid);
	field32(f, &block->vector);
	field32(f, &block->source_entries);
	field32(f, &block->destination_entries);

	field64(f, &status->completed);
	field64(f, &status->failed);
	field64(f, &status->bytes);
	field64(f, &status->interrupts);
	field64(f, &status->rejected);
	field64(f, &status->error_address);
	field32(f, &status->error);
	field32(f, &status->result);
	field32(f, &status->tag);
	field32(f, &status->int_status);
	field32(f, &status->int_enable);

	flag(f, &request->busy);
	flag(f, &request->started);
	flag(f, &request->abort);
	field32(f, &request->command);
	field32(f, &request->pasid);
	field32(f, &request->vector);
	field32(f, &request->tag);
	field64(f, &request->pattern);
	field64(f, &request->left);
	field32(f, &request->length);
	field32(f, &request->crc);
	cursor(f, &request->source);
	cursor(f, &request->destination);
}

void reference_state_encode(const struct reference_device *device, uint8_t *payload)
{
	struct reference_block block = device->block;
	struct reference_request request = device->request;
	struct reference_status status = device->status;
	struct fields f = {.at = payload};

	memset(payload, 0, REFERENCE_STATE_LENGTH);
	all_fields(&f, &block, &request, &status);
}

void reference_state_decode(const uint8_t *payload, struct reference_incoming *in)
{
	/* Loading only reads; the two directions share a type. */
	struct fields f = {.at = (uint8_t *)payload, .load = true};

	memset(&in->request, 0, sizeof(in->request));
	all_fields(&f, &in->block, &in->request, &in->status);
}
