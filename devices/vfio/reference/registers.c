// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The registers of BAR0. */
#include "devices/vfio/reference/internal.h"

static uint32_t half(uint64_t value, uint32_t offset)
{
	return (uint32_t)(offset & 4 ? value >> 32 : value);
}

static void set_half(uint64_t *value, uint32_t offset, uint32_t word)
{
	if (offset & 4)
		*value = (*value & 0xffffffffu) | (uint64_t)word << 32;
	else
		*value = (*value & ~(uint64_t)0xffffffffu) | word;
}

static uint32_t read_status(const struct reference_device *device)
{
	const bool busy = device->request.busy || reference_access_out(device);

	return (busy ? REFERENCE_STATUS_BUSY : 0) |
	       (device->request.busy && !reference_state_does_dma(device->state)
			? REFERENCE_STATUS_PENDING
			: 0);
}

/* Registers that are a field of the device and no more; of 64 bits by the size of the field. */
struct field {
	uint16_t offset;
	uint16_t place; /* in struct reference_device */
	uint8_t size;
	bool writable;
};

#define FIELD(offset, member, writable)                                                            \
	{                                                                                          \
		offset, offsetof(struct reference_device, member),                                 \
			sizeof(((struct reference_device *)0)->member), writable                   \
	}

static const struct field fields[] = {
	FIELD(REFERENCE_VECTORS, geometry.vectors, false),
	FIELD(REFERENCE_MEMORY_SIZE, geometry.memory_size, false),
	FIELD(REFERENCE_ERROR, status.error, false),
	FIELD(REFERENCE_ERROR_ADDRESS, status.error_address, false),
	FIELD(REFERENCE_COMPLETED, status.completed, false),
	FIELD(REFERENCE_FAILED, status.failed, false),
	FIELD(REFERENCE_BYTES, status.bytes, false),
	FIELD(REFERENCE_INTERRUPTS, status.interrupts, false),
	FIELD(REFERENCE_REJECTED, status.rejected, false),
	FIELD(REFERENCE_INT_STATUS, status.int_status, false), /* its writes clear */
	FIELD(REFERENCE_INT_ENABLE, status.int_enable, false), /* its writes do more */
	FIELD(REFERENCE_SOURCE, block.source, true),
	FIELD(REFERENCE_DESTINATION, block.destination, true),
	FIELD(REFERENCE_LENGTH, block.length, true),
	FIELD(REFERENCE_COMMAND, block.command, true),
	FIELD(REFERENCE_PASID, block.pasid, true),
	FIELD(REFERENCE_VECTOR, block.vector, true),
	FIELD(REFERENCE_PATTERN, block.pattern, true),
	FIELD(REFERENCE_SOURCE_ENTRIES, block.source_entries, true),
	FIELD(REFERENCE_DESTINATION_ENTRIES, block.destination_entries, true),
	FIELD(REFERENCE_RESULT, status.result, false),
	FIELD(REFERENCE_TAG, status.tag, false),
};

/* The field that the register at @offset is, or the half of one; NULL: it is none. */
static const struct field *find_field(uint32_t offset)
{
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		if (offset >= fields[i].offset && offset < fields[i].offset + fields[i].size)
			return &fields[i];
	}
	return NULL;
}

/* @offset is aligned to 4. */
static uint32_t read_register(const struct reference_device *device, uint32_t offset)
{
	const struct field *field = find_field(offset);

	if (field) {
		const void *at = (const char *)device + field->place;

		return field->size == 8 ? half(*(const uint64_t *)at, offset)
					: *(const uint32_t *)at;
	}
	switch (offset) {
	case REFERENCE_ID:
		return REFERENCE_ID_VALUE;
	case REFERENCE_VERSION:
		return REFERENCE_VERSION_VALUE;
	case REFERENCE_FEATURES:
		return REFERENCE_FEATURE_COPY | REFERENCE_FEATURE_FILL | REFERENCE_FEATURE_CRC |
		       REFERENCE_FEATURE_LIST | REFERENCE_FEATURE_PASID;
	case REFERENCE_LENGTH_LIMIT:
		return REFERENCE_LENGTH_LIMIT_VALUE;
	case REFERENCE_LIST_LIMIT:
		return REFERENCE_LIST_LIMIT_VALUE;
	case REFERENCE_STATUS:
		return read_status(device);
	default:
		return 0;
	}
}

void reference_registers_reset(struct reference_device *device)
{
	memset(&device->block, 0, sizeof(device->block));
	memset(&device->request, 0, sizeof(device->request));
	memset(&device->status, 0, sizeof(device->status));
	/* Its result would be for a request that is no more. */
	device->out_discard = reference_access_out(device);
	reference_intx_update(device);
}

bool reference_intx_disabled(const struct reference_device *device)
{
	return reference_get16(device->config + PCI_COMMAND) & PCI_COMMAND_INTX_DISABLE;
}

void reference_intx_update(struct reference_device *device)
{
	const bool asserted = !device->removed && !reference_intx_disabled(device) &&
			      (device->status.int_status & device->status.int_enable);

	if (asserted == device->intx)
		return;
	device->intx = asserted;
	device->env.intx(device->env.ctx, asserted);
}

static void control(struct reference_device *device, uint32_t value)
{
	if (value & REFERENCE_CONTROL_RESET)
		reference_registers_reset(device);
	else if ((value & REFERENCE_CONTROL_ABORT) && device->request.busy)
		device->request.abort = true;
}

static uint32_t write_register(struct reference_device *device, uint32_t offset, uint32_t value)
{
	const struct field *field = find_field(offset);

	if (field && field->writable) {
		void *at = (char *)device + field->place;

		if (field->size == 8)
			set_half(at, offset, value);
		else
			*(uint32_t *)at = value;
		return 0;
	}
	switch (offset) {
	case REFERENCE_CONTROL:
		control(device, value);
		return REFERENCE_EFFECT_KICK;
	case REFERENCE_INT_STATUS:
		device->status.int_status &= ~value;
		reference_intx_update(device);
		return 0;
	case REFERENCE_INT_ENABLE:
		device->status.int_enable = value & (REFERENCE_INT_DONE | REFERENCE_INT_ERROR);
		reference_intx_update(device);
		return 0;
	case REFERENCE_DOORBELL:
		return reference_doorbell(device, value);
	case REFERENCE_RING:
		return reference_doorbell(device, 0);
	default:
		return 0;
	}
}

void reference_registers_read(const struct reference_device *device, uint8_t *buffer, size_t count,
			      uint64_t offset)
{
	uint32_t value = 0;

	for (size_t i = 0; i < count; i++) {
		const uint32_t at = (uint32_t)(offset + i);

		if (at % 4 == 0 || i == 0)
			value = read_register(device, at & ~3u);
		buffer[i] = (uint8_t)(value >> 8 * (at % 4));
	}
}

uint32_t reference_registers_write(struct reference_device *device, const uint8_t *buffer,
				   size_t count, uint64_t offset)
{
	size_t i = (size_t)(-offset & 3);
	uint32_t effects = 0;

	for (; i + 4 <= count && !device->removed; i += 4)
		effects |=
			write_register(device, (uint32_t)(offset + i), reference_get32(buffer + i));
	return effects;
}
