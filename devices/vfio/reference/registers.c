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

/* @offset is aligned to 4. */
static uint32_t read_register(const struct reference_device *device, uint32_t offset)
{
	const struct reference_status *status = &device->status;
	const struct reference_block *block = &device->block;

	switch (offset) {
	case REFERENCE_ID:
		return REFERENCE_ID_VALUE;
	case REFERENCE_VERSION:
		return REFERENCE_VERSION_VALUE;
	case REFERENCE_FEATURES:
		return REFERENCE_FEATURE_COPY | REFERENCE_FEATURE_FILL | REFERENCE_FEATURE_CRC |
		       REFERENCE_FEATURE_LIST | REFERENCE_FEATURE_PASID;
	case REFERENCE_VECTORS:
		return device->geometry.vectors;
	case REFERENCE_MEMORY_SIZE:
	case REFERENCE_MEMORY_SIZE + 4:
		return half(device->geometry.memory_size, offset);
	case REFERENCE_LENGTH_LIMIT:
		return REFERENCE_LENGTH_LIMIT_VALUE;
	case REFERENCE_LIST_LIMIT:
		return REFERENCE_LIST_LIMIT_VALUE;
	case REFERENCE_STATUS:
		return read_status(device);
	case REFERENCE_ERROR:
		return status->error;
	case REFERENCE_ERROR_ADDRESS:
	case REFERENCE_ERROR_ADDRESS + 4:
		return half(status->error_address, offset);
	case REFERENCE_COMPLETED:
	case REFERENCE_COMPLETED + 4:
		return half(status->completed, offset);
	case REFERENCE_FAILED:
	case REFERENCE_FAILED + 4:
		return half(status->failed, offset);
	case REFERENCE_BYTES:
	case REFERENCE_BYTES + 4:
		return half(status->bytes, offset);
	case REFERENCE_INTERRUPTS:
	case REFERENCE_INTERRUPTS + 4:
		return half(status->interrupts, offset);
	case REFERENCE_REJECTED:
	case REFERENCE_REJECTED + 4:
		return half(status->rejected, offset);
	case REFERENCE_INT_STATUS:
		return status->int_status;
	case REFERENCE_INT_ENABLE:
		return status->int_enable;
	case REFERENCE_SOURCE:
	case REFERENCE_SOURCE + 4:
		return half(block->source, offset);
	case REFERENCE_DESTINATION:
	case REFERENCE_DESTINATION + 4:
		return half(block->destination, offset);
	case REFERENCE_LENGTH:
		return block->length;
	case REFERENCE_COMMAND:
		return block->command;
	case REFERENCE_PASID:
		return block->pasid;
	case REFERENCE_VECTOR:
		return block->vector;
	case REFERENCE_PATTERN:
	case REFERENCE_PATTERN + 4:
		return half(block->pattern, offset);
	case REFERENCE_SOURCE_ENTRIES:
		return block->source_entries;
	case REFERENCE_DESTINATION_ENTRIES:
		return block->destination_entries;
	case REFERENCE_RESULT:
		return status->result;
	case REFERENCE_TAG:
		return status->tag;
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

void reference_intx_update(struct reference_device *device)
{
	const uint16_t command = reference_get16(device->config + PCI_COMMAND);
	const bool asserted = !device->removed && !(command & PCI_COMMAND_INTX_DISABLE) &&
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
	struct reference_block *block = &device->block;

	switch (offset) {
	case REFERENCE_CONTROL:
		control(device, value);
		return REFERENCE_EFFECT_KICK;
	case REFERENCE_INT_STATUS:
		device->status.int_status &= ~value;
		reference_intx_update(device);
		break;
	case REFERENCE_INT_ENABLE:
		device->status.int_enable = value & (REFERENCE_INT_DONE | REFERENCE_INT_ERROR);
		reference_intx_update(device);
		break;
	case REFERENCE_SOURCE:
	case REFERENCE_SOURCE + 4:
		set_half(&block->source, offset, value);
		break;
	case REFERENCE_DESTINATION:
	case REFERENCE_DESTINATION + 4:
		set_half(&block->destination, offset, value);
		break;
	case REFERENCE_LENGTH:
		block->length = value;
		break;
	case REFERENCE_COMMAND:
		block->command = value;
		break;
	case REFERENCE_PASID:
		block->pasid = value;
		break;
	case REFERENCE_VECTOR:
		block->vector = value;
		break;
	case REFERENCE_PATTERN:
	case REFERENCE_PATTERN + 4:
		set_half(&block->pattern, offset, value);
		break;
	case REFERENCE_SOURCE_ENTRIES:
		block->source_entries = value;
		break;
	case REFERENCE_DESTINATION_ENTRIES:
		block->destination_entries = value;
		break;
	case REFERENCE_DOORBELL:
		return reference_doorbell(device, value);
	case REFERENCE_RING:
		return reference_doorbell(device, 0);
	default:
		break;
	}
	return 0;
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
