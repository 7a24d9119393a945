// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/*
 * The engine: one request at a time, piece by piece.
 *
 * A chunk is what fits into the bounce buffer and into the present pieces of source and destination.
 * Cursors and checksum move on when a chunk has arrived, not before: a request that is halted between
 * two accesses can be taken up from them alone, here or on another host.
 */
#include "devices/vfio/reference/internal.h"

static uint32_t opcode(const struct reference_request *r)
{
	return r->command & REFERENCE_COMMAND_OPCODE;
}

static bool has_source(const struct reference_request *r)
{
	return opcode(r) == REFERENCE_OPCODE_COPY || opcode(r) == REFERENCE_OPCODE_CRC;
}

static bool has_destination(const struct reference_request *r)
{
	return opcode(r) == REFERENCE_OPCODE_COPY || opcode(r) == REFERENCE_OPCODE_FILL;
}

static bool makes_crc(const struct reference_request *r)
{
	return opcode(r) == REFERENCE_OPCODE_CRC || (r->command & REFERENCE_COMMAND_CRC);
}

bool reference_state_does_dma(uint32_t state)
{
	return state == VFIO_DEVICE_STATE_RUNNING || state == VFIO_DEVICE_STATE_PRE_COPY;
}

bool reference_access_out(const struct reference_device *device)
{
	return device->out.kind != REFERENCE_ACCESS_NONE;
}

void reference_hold(struct reference_device *device)
{
	device->holds++;
}

void reference_release(struct reference_device *device)
{
	if (device->holds > 0)
		device->holds--;
}

/* ---- begin and end of a request ----------------------------------------------------------------- */

uint32_t reference_doorbell(struct reference_device *device, uint32_t tag)
{
	struct reference_request *r = &device->request;
	const struct reference_block *block = &device->block;
	uint32_t effects = 0;

	if (device->faults.error_after && --device->faults.error_after == 0)
		effects = REFERENCE_EFFECT_ERROR;
	if (device->faults.remove_after && --device->faults.remove_after == 0) {
		reference_remove(device);
		return REFERENCE_EFFECT_REMOVED;
	}
	if (r->busy || reference_access_out(device)) {
		device->status.rejected++;
		return effects;
	}
	memset(r, 0, sizeof(*r));
	r->busy = true;
	r->command = block->command;
	r->pasid = block->pasid;
	r->vector = block->vector;
	r->tag = tag;
	r->pattern = block->pattern;
	r->length = block->length;
	r->source.address = block->source;
	r->source.entries = block->source_entries;
	r->destination.address = block->destination;
	r->destination.entries = block->destination_entries;
	return effects | REFERENCE_EFFECT_KICK;
}

static void send(struct reference_device *device, uint32_t vector)
{
	device->status.interrupts++;
	if (device->faults.lose_interrupt &&
	    ++device->until_lost >= device->faults.lose_interrupt) {
		device->until_lost = 0;
		return;
	}
	device->env.raise(device->env.ctx, vector);
}

/* The last thing a driver sees of the end is the interrupt. */
static void finish(struct reference_device *device, uint32_t error, uint64_t address)
{
	struct reference_request *r = &device->request;
	struct reference_status *status = &device->status;

	if (error == REFERENCE_ERROR_NONE && makes_crc(r))
		status->result = ~r->crc;
	status->error = error;
	status->error_address = address;
	status->tag = r->tag;
	status->completed++;
	status->failed += error != REFERENCE_ERROR_NONE;
	r->busy = r->started = r->abort = false;
	status->int_status |=
		error == REFERENCE_ERROR_NONE ? REFERENCE_INT_DONE : REFERENCE_INT_ERROR;
	reference_intx_update(device);
	if ((r->command & REFERENCE_COMMAND_INTERRUPT) && r->vector < device->geometry.vectors)
		send(device, r->vector);
}

int reference_check_command(uint32_t command)
{
	const uint32_t source = REFERENCE_COMMAND_SOURCE_MEMORY | REFERENCE_COMMAND_SOURCE_LIST;
	const uint32_t destination =
		REFERENCE_COMMAND_DESTINATION_MEMORY | REFERENCE_COMMAND_DESTINATION_LIST;
	uint32_t wrong = ~REFERENCE_COMMAND_KNOWN;

	switch (command & REFERENCE_COMMAND_OPCODE) {
	case REFERENCE_OPCODE_NOP:
		wrong |= source | destination | REFERENCE_COMMAND_CRC;
		break;
	case REFERENCE_OPCODE_COPY:
		break;
	case REFERENCE_OPCODE_FILL:
		wrong |= source | REFERENCE_COMMAND_CRC;
		break;
	case REFERENCE_OPCODE_CRC:
		wrong |= destination | REFERENCE_COMMAND_CRC;
		break;
	default:
		return -EINVAL;
	}
	if ((command & wrong) || (command & source) == source ||
	    (command & destination) == destination)
		return -EINVAL;
	return 0;
}

static bool list_valid(const struct reference_cursor *cursor)
{
	return !cursor->is_list ||
	       (cursor->entries > 0 && cursor->entries <= REFERENCE_LIST_LIMIT_VALUE);
}

/* The address register is that of the data, or of the list. */
static void set_cursor(struct reference_cursor *cursor, uint64_t length, bool memory, bool list)
{
	cursor->memory = memory;
	cursor->is_list = list;
	cursor->list = list ? cursor->address : 0;
	cursor->remaining = list ? 0 : length;
	cursor->entries = list ? cursor->entries : 0;
}

/* Check the request and set its cursors. Returns REFERENCE_ERROR_*; *@address is where. */
static uint32_t start(struct reference_device *device, uint64_t *address)
{
	struct reference_request *r = &device->request;
	const uint32_t command = r->command;

	if (reference_check_command(command))
		return REFERENCE_ERROR_COMMAND;
	if ((command & REFERENCE_COMMAND_INTERRUPT) && r->vector >= device->geometry.vectors)
		return REFERENCE_ERROR_VECTOR;
	if ((command & REFERENCE_COMMAND_PASID) &&
	    (r->pasid >> REFERENCE_PASID_BITS || !reference_pasid_enabled(device)))
		return REFERENCE_ERROR_PASID;
	if (opcode(r) != REFERENCE_OPCODE_NOP &&
	    (r->length == 0 || r->length > REFERENCE_LENGTH_LIMIT_VALUE))
		return REFERENCE_ERROR_LENGTH;
	set_cursor(&r->source, has_source(r) ? r->length : 0,
		   command & REFERENCE_COMMAND_SOURCE_MEMORY,
		   command & REFERENCE_COMMAND_SOURCE_LIST);
	set_cursor(&r->destination, has_destination(r) ? r->length : 0,
		   command & REFERENCE_COMMAND_DESTINATION_MEMORY,
		   command & REFERENCE_COMMAND_DESTINATION_LIST);
	if (!list_valid(&r->source) || !list_valid(&r->destination)) {
		*address = list_valid(&r->source) ? r->destination.list : r->source.list;
		return REFERENCE_ERROR_LIST;
	}
	r->crc = ~0u;
	r->left = opcode(r) == REFERENCE_OPCODE_NOP ? 0 : r->length;
	r->started = true;
	return REFERENCE_ERROR_NONE;
}

/* ---- pieces ------------------------------------------------------------------------------------- */

/* What a step came to: go on inside, an access is to be done, or the request has ended. */
enum step { STEP_AGAIN, STEP_ACCESS, STEP_END };

static enum step fail(struct reference_device *device, uint32_t error, uint64_t address)
{
	finish(device, error, address);
	return STEP_END;
}

static enum step take_out(struct reference_device *device, enum reference_access_kind kind,
			  uint64_t iova, uint32_t length, uint8_t *buffer)
{
	const struct reference_request *r = &device->request;

	if (!reference_bus_master(device))
		return fail(device, REFERENCE_ERROR_BUS_MASTER, 0);
	if ((r->command & REFERENCE_COMMAND_PASID) && !reference_pasid_enabled(device))
		return fail(device, REFERENCE_ERROR_PASID, 0);
	device->out = (struct reference_access){
		.kind = kind,
		.has_pasid = r->command & REFERENCE_COMMAND_PASID,
		.pasid = r->command & REFERENCE_COMMAND_PASID ? r->pasid : 0,
		.iova = iova,
		.length = length,
		.buffer = buffer,
	};
	device->out_discard = false;
	return STEP_ACCESS;
}

/* The cursor has no piece: its next list entry has to be read. */
static enum step next_piece(struct reference_device *device, struct reference_cursor *cursor)
{
	if (cursor->entries == 0)
		return fail(device, REFERENCE_ERROR_LIST, cursor->list);
	return take_out(device, REFERENCE_ACCESS_READ, cursor->list, REFERENCE_ENTRY_SIZE,
			device->entry);
}

static void entry_arrived(struct reference_device *device, struct reference_cursor *cursor)
{
	const uint32_t flags = reference_get32(device->entry + 12);

	cursor->address = reference_get64(device->entry);
	cursor->remaining = reference_get32(device->entry + 8);
	cursor->memory = flags & REFERENCE_ENTRY_MEMORY;
	if ((flags & ~REFERENCE_ENTRY_KNOWN) || cursor->remaining == 0) {
		finish(device, REFERENCE_ERROR_LIST, cursor->list);
		return;
	}
	cursor->list += REFERENCE_ENTRY_SIZE;
	cursor->entries--;
}

/*
 * Cut *@length to what is there of the piece. Returns REFERENCE_ERROR_*: the first byte is out of
 * bounds already, or the piece wraps around.
 */
static uint32_t cut(const struct reference_device *device, const struct reference_cursor *cursor,
		    uint32_t wrapped, uint64_t *length)
{
	const uint64_t size = device->geometry.memory_size;

	if (*length > cursor->remaining)
		*length = cursor->remaining;
	if (cursor->memory && cursor->address >= size)
		return REFERENCE_ERROR_MEMORY;
	if (cursor->memory && *length > size - cursor->address)
		*length = size - cursor->address;
	if (!cursor->memory && cursor->remaining - 1 > ~cursor->address)
		return wrapped;
	return REFERENCE_ERROR_NONE;
}

static void advance(struct reference_cursor *cursor, uint32_t length)
{
	cursor->address += length;
	cursor->remaining -= length;
}

/* The chunk has arrived where it belongs. */
static void commit(struct reference_device *device, const uint8_t *data)
{
	struct reference_request *r = &device->request;

	if (makes_crc(r))
		r->crc = reference_crc(device->crc_table, r->crc, data, r->chunk);
	if (has_source(r))
		advance(&r->source, r->chunk);
	if (has_destination(r))
		advance(&r->destination, r->chunk);
	r->left -= r->chunk;
	device->status.bytes += r->chunk;
	r->data_ready = false;
}

static void fill(struct reference_device *device)
{
	const struct reference_request *r = &device->request;
	const uint64_t done = r->length - r->left;

	for (uint32_t i = 0; i < r->chunk; i++)
		device->mem.bounce[i] = (uint8_t)(r->pattern >> 8 * ((done + i) % 8));
}

/* The chunk lies in the bounce buffer. */
static enum step give(struct reference_device *device)
{
	struct reference_request *r = &device->request;
	const struct reference_cursor *to = &r->destination;

	if (!to->memory)
		return take_out(device, REFERENCE_ACCESS_WRITE, to->address, r->chunk,
				device->mem.bounce);
	memcpy(device->mem.memory + to->address, device->mem.bounce, r->chunk);
	reference_mark_dirty(device, REFERENCE_SCRATCH_SIZE + to->address, r->chunk);
	commit(device, device->mem.bounce);
	return STEP_AGAIN;
}

/* Find the next chunk and bring it into the bounce buffer. */
static enum step fetch(struct reference_device *device)
{
	struct reference_request *r = &device->request;
	struct reference_cursor *from = &r->source, *to = &r->destination;
	uint64_t length = r->left < device->mem.bounce_size ? r->left : device->mem.bounce_size;
	uint32_t error;

	if (has_source(r) && from->remaining == 0)
		return next_piece(device, from);
	if (has_destination(r) && to->remaining == 0)
		return next_piece(device, to);
	error = has_source(r) ? cut(device, from, REFERENCE_ERROR_READ, &length) : 0;
	if (error)
		return fail(device, error, from->address);
	error = has_destination(r) ? cut(device, to, REFERENCE_ERROR_WRITE, &length) : 0;
	if (error)
		return fail(device, error, to->address);
	r->chunk = (uint32_t)length;

	if (!has_source(r)) {
		fill(device);
	} else if (!from->memory) {
		return take_out(device, REFERENCE_ACCESS_READ, from->address, r->chunk,
				device->mem.bounce);
	} else if (!has_destination(r)) {
		commit(device, device->mem.memory + from->address);
		return STEP_AGAIN;
	} else {
		memcpy(device->mem.bounce, device->mem.memory + from->address, r->chunk);
	}
	r->data_ready = true;
	return STEP_AGAIN;
}

/* All bytes are moved; a list with anything left is an error all the same. */
static enum step end(struct reference_device *device)
{
	const struct reference_cursor *cursors[] = {&device->request.source,
						    &device->request.destination};

	for (unsigned i = 0; i < 2; i++) {
		const struct reference_cursor *cursor = cursors[i];

		if (cursor->is_list && cursor->remaining > 0)
			return fail(device, REFERENCE_ERROR_LIST,
				    cursor->list - REFERENCE_ENTRY_SIZE);
		if (cursor->is_list && cursor->entries > 0)
			return fail(device, REFERENCE_ERROR_LIST, cursor->list);
	}
	finish(device, REFERENCE_ERROR_NONE, 0);
	return STEP_END;
}

static enum step step(struct reference_device *device)
{
	struct reference_request *r = &device->request;

	if (r->abort)
		return fail(device, REFERENCE_ERROR_ABORTED, 0);
	if (!r->started) {
		uint64_t address = 0;
		const uint32_t error = start(device, &address);

		return error ? fail(device, error, address) : STEP_AGAIN;
	}
	if (r->left == 0)
		return end(device);
	return r->data_ready ? give(device) : fetch(device);
}

/* ---- for the embedder --------------------------------------------------------------------------- */

int reference_next(struct reference_device *device, struct reference_access *access)
{
	access->kind = REFERENCE_ACCESS_NONE;
	if (device->removed || device->holds > 0 || reference_access_out(device) ||
	    !device->request.busy || !reference_state_does_dma(device->state))
		return 0;
	switch (step(device)) {
	case STEP_ACCESS:
		*access = device->out;
		return 1;
	case STEP_AGAIN:
		return 1;
	default:
		return 0;
	}
}

static void arrived(struct reference_device *device, const struct reference_access *access)
{
	struct reference_request *r = &device->request;

	if (access->buffer == device->entry) {
		const bool source = has_source(r) && r->source.remaining == 0;

		entry_arrived(device, source ? &r->source : &r->destination);
	} else if (access->kind == REFERENCE_ACCESS_READ && has_destination(r)) {
		r->data_ready = true;
	} else {
		commit(device, device->mem.bounce);
	}
}

uint32_t reference_done(struct reference_device *device, int result)
{
	const struct reference_access access = device->out;

	if (!reference_access_out(device))
		return 0;
	device->out.kind = REFERENCE_ACCESS_NONE;
	/* A write that failed may have written before it did. */
	if (access.kind == REFERENCE_ACCESS_WRITE && !access.has_pasid)
		dirty_log_write(&device->log, access.iova, access.length);
	if (device->removed)
		return REFERENCE_EFFECT_REMOVED;
	if (device->out_discard || result == -EINTR) {
		device->out_discard = false;
		return REFERENCE_EFFECT_KICK;
	}
	if (result)
		finish(device,
		       access.kind == REFERENCE_ACCESS_READ ? REFERENCE_ERROR_READ
							    : REFERENCE_ERROR_WRITE,
		       access.iova);
	else
		arrived(device, &access);
	return REFERENCE_EFFECT_KICK;
}
