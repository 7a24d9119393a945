// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* Life of the reference device, its regions and its memory. */
#include "devices/vfio/reference/internal.h"

/* ---- memory ------------------------------------------------------------------------------------ */

uint64_t reference_pages(const struct reference_device *device)
{
	return (REFERENCE_SCRATCH_SIZE + device->geometry.memory_size) / REFERENCE_PAGE;
}

uint8_t *reference_page(const struct reference_device *device, uint64_t page)
{
	const uint64_t offset = page * REFERENCE_PAGE;

	return offset < REFERENCE_SCRATCH_SIZE
		       ? device->mem.scratch + offset
		       : device->mem.memory + (offset - REFERENCE_SCRATCH_SIZE);
}

/* A page that is still to be sent for the first time is sent as it is then. */
void reference_mark_dirty(struct reference_device *device, uint64_t offset, uint64_t length)
{
	const uint64_t last = (offset + length - 1) / REFERENCE_PAGE;

	if (!device->session.saving)
		return;
	for (uint64_t page = offset / REFERENCE_PAGE; page <= last; page++) {
		const uint64_t bit = (uint64_t)1 << page % 64;

		if (!(device->mem.fresh[page / 64] & bit))
			device->mem.dirty[page / 64] |= bit;
	}
}

void reference_set_mapped(struct reference_device *device, bool mapped)
{
	device->mapped = mapped;
	device->was_mapped |= mapped;
}

/* ---- life --------------------------------------------------------------------------------------- */

static bool geometry_valid(const struct reference_geometry *g)
{
	return g->vectors >= 1 && g->vectors <= REFERENCE_VECTORS_MAX &&
	       g->memory_size >= REFERENCE_MEMORY_MIN && g->memory_size <= REFERENCE_MEMORY_MAX &&
	       (g->memory_size & (g->memory_size - 1)) == 0;
}

static bool memory_valid(const struct reference_memory *m)
{
	return m->scratch && m->memory && m->dirty && m->fresh && m->bounce &&
	       m->bounce_size >= REFERENCE_PAGE;
}

static void reset(struct reference_device *device)
{
	memset(device->mem.scratch, 0, REFERENCE_SCRATCH_SIZE);
	memset(device->mem.memory, 0, device->geometry.memory_size);
	device->was_mapped = device->mapped;
	device->session.saving = device->session.loading = false;
	device->state = VFIO_DEVICE_STATE_RUNNING;
	device->until_lost = 0;
	reference_config_init(device);
	reference_registers_reset(device);
}

int reference_init(struct reference_device *device, const struct reference_env *env,
		   const struct reference_geometry *geometry, const struct reference_memory *memory,
		   uint32_t migration_flags)
{
	if (!geometry_valid(geometry) || !memory_valid(memory) || !env->raise || !env->intx ||
	    !(migration_flags & VFIO_MIGRATION_STOP_COPY) ||
	    (migration_flags &
	     ~(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY)))
		return -EINVAL;
	memset(device, 0, sizeof(*device));
	device->env = *env;
	device->geometry = *geometry;
	device->mem = *memory;
	device->migration_flags = migration_flags;
	reference_crc_init(device->crc_table);
	reset(device);
	return 0;
}

int reference_reset(struct reference_device *device)
{
	if (device->removed)
		return -ENODEV;
	if (reference_access_out(device))
		return -EAGAIN;
	reset(device);
	return 0;
}

void reference_remove(struct reference_device *device)
{
	device->removed = true;
	device->request.busy = false;
	device->out_discard = reference_access_out(device);
	reference_intx_update(device);
}

/* ---- regions ------------------------------------------------------------------------------------ */

uint64_t reference_region_size(const struct reference_device *device, uint32_t index)
{
	switch (index) {
	case VFIO_PCI_BAR0_REGION_INDEX + REFERENCE_BAR_REGISTERS:
		return REFERENCE_BAR0_SIZE;
	case VFIO_PCI_BAR0_REGION_INDEX + REFERENCE_BAR_MSIX:
		return REFERENCE_BAR1_SIZE;
	case VFIO_PCI_BAR0_REGION_INDEX + REFERENCE_BAR_MEMORY:
		return device->geometry.memory_size;
	case VFIO_PCI_CONFIG_REGION_INDEX:
		return REFERENCE_CONFIG_SIZE;
	default:
		return 0;
	}
}

/* Bytes of [@offset, @offset + @count) that are registers; scratch memory follows them. */
static size_t register_part(uint64_t offset, size_t count)
{
	if (offset >= REFERENCE_SCRATCH_OFFSET)
		return 0;
	return count < REFERENCE_SCRATCH_OFFSET - offset
		       ? count
		       : (size_t)(REFERENCE_SCRATCH_OFFSET - offset);
}

static void read_bar0(struct reference_device *device, uint8_t *buffer, size_t count,
		      uint64_t offset)
{
	const size_t part = register_part(offset, count);

	reference_registers_read(device, buffer, part, offset);
	if (part < count)
		memcpy(buffer + part,
		       device->mem.scratch + (offset + part - REFERENCE_SCRATCH_OFFSET),
		       count - part);
}

static uint32_t write_bar0(struct reference_device *device, const uint8_t *buffer, size_t count,
			   uint64_t offset)
{
	const size_t part = register_part(offset, count);
	const uint64_t at = offset + part - REFERENCE_SCRATCH_OFFSET;
	const uint32_t effects = reference_registers_write(device, buffer, part, offset);

	if (part < count && !device->removed) {
		memcpy(device->mem.scratch + at, buffer + part, count - part);
		reference_mark_dirty(device, at, count - part);
	}
	return effects;
}

int reference_clip(const struct reference_device *device, uint32_t index, size_t *count,
		   uint64_t offset)
{
	const uint64_t size = reference_region_size(device, index);

	if (index == VFIO_PCI_CONFIG_REGION_INDEX)
		return offset >= size || *count > size - offset ? -EFAULT : 0;
	if (offset >= size)
		return -EINVAL;
	if (*count > size - offset)
		*count = (size_t)(size - offset);
	return 0;
}

ssize_t reference_read(struct reference_device *device, uint32_t index, void *buffer, size_t count,
		       uint64_t offset)
{
	const int rc = reference_clip(device, index, &count, offset);

	if (rc)
		return rc;
	if (device->removed ||
	    (index != VFIO_PCI_CONFIG_REGION_INDEX && !reference_decodes(device)))
		memset(buffer, 0xff, count);
	else if (index == VFIO_PCI_CONFIG_REGION_INDEX)
		reference_config_read(device, buffer, count, offset);
	else if (index == VFIO_PCI_BAR0_REGION_INDEX + REFERENCE_BAR_REGISTERS)
		read_bar0(device, buffer, count, offset);
	else if (index == VFIO_PCI_BAR0_REGION_INDEX + REFERENCE_BAR_MEMORY)
		memcpy(buffer, device->mem.memory + offset, count);
	else
		memset(buffer, 0xff, count); /* the MSI-X table is not the user's */
	return (ssize_t)count;
}

ssize_t reference_write(struct reference_device *device, uint32_t index, const void *buffer,
			size_t count, uint64_t offset, uint32_t *effects)
{
	uint32_t none = 0;
	int rc = reference_clip(device, index, &count, offset);

	effects = effects ? effects : &none;
	*effects = 0;
	if (rc)
		return rc;
	if (count == 0 || device->removed ||
	    (index != VFIO_PCI_CONFIG_REGION_INDEX && !reference_decodes(device)))
		return (ssize_t)count;
	if (index == VFIO_PCI_CONFIG_REGION_INDEX) {
		rc = reference_config_write(device, buffer, count, offset, effects);
	} else if (index == VFIO_PCI_BAR0_REGION_INDEX + REFERENCE_BAR_REGISTERS) {
		*effects = write_bar0(device, buffer, count, offset);
	} else if (index == VFIO_PCI_BAR0_REGION_INDEX + REFERENCE_BAR_MEMORY) {
		memcpy(device->mem.memory + offset, buffer, count);
		reference_mark_dirty(device, REFERENCE_SCRATCH_SIZE + offset, count);
	}
	return rc ? rc : (ssize_t)count;
}
