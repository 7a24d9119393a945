/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "vmm/base/log.h"
#include "vmm/pci/capability.h"
#include "vmm/pci/function.h"
#include "vmm/pci/window.h"

uint32_t pci_get(const uint8_t *bytes, uint32_t offset, unsigned size)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value |= (uint32_t)bytes[offset + i] << 8 * i;
	return value;
}

void pci_set(uint8_t *bytes, uint32_t offset, uint32_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++)
		bytes[offset + i] = (uint8_t)(value >> 8 * i);
}

uint16_t pci_function_bdf(const struct pci_function *fn)
{
	return (uint16_t)((fn->bus ? *fn->bus : 0) << 8 | fn->devfn);
}

void pci_function_init(struct pci_function *fn, const struct pci_function_ops *ops, const char *id,
		       uint16_t vendor, uint16_t device, uint32_t class_code, uint8_t revision)
{
	memset(fn, 0, sizeof(*fn));
	fn->ops = ops;
	fn->id = id;
	fn->capability_end = PCI_CAPABILITY_FIRST;
	fn->extended_end = PCI_EXTENDED_FIRST;
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++)
		fn->bars[i].address = PCI_BAR_NONE;

	pci_set(fn->config, PCI_VENDOR_ID, vendor, 2);
	pci_set(fn->config, PCI_DEVICE_ID, device, 2);
	pci_set(fn->config, PCI_CLASS_REVISION, class_code << 8 | revision, 4);

	pci_set(fn->writable, PCI_COMMAND,
		PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |
			PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE,
		2);
	pci_set(fn->writable, PCI_CACHE_LINE_SIZE, 0xff, 1);
	pci_set(fn->writable, PCI_INTERRUPT_LINE, 0xff, 1);
}

static bool is_bridge(const struct pci_function *fn)
{
	return (fn->config[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) == PCI_HEADER_TYPE_BRIDGE;
}

uint32_t pci_function_bar_register(const struct pci_function *fn, unsigned index)
{
	if (index == PCI_BAR_ROM)
		return is_bridge(fn) ? PCI_ROM_ADDRESS1 : PCI_ROM_ADDRESS;
	return PCI_BASE_ADDRESS_0 + 4 * index;
}

/* The smallest and largest size of a BAR: PCI Local Bus 3.0 section 6.2.5, 6.2.5.2 for the ROM. */
static bool bar_limits(unsigned index, enum pci_bar_kind kind, uint64_t *least, uint64_t *most)
{
	if (index == PCI_BAR_ROM) {
		*least = 2048;
		*most = 16 << 20;
		return kind == PCI_BAR_MEM32;
	}
	switch (kind) {
	case PCI_BAR_IO:
		*least = 4;
		*most = 65536;
		return true;
	case PCI_BAR_MEM32:
		*least = 16;
		*most = UINT64_C(1) << 31;
		return true;
	case PCI_BAR_MEM64:
		*least = 16;
		*most = UINT64_C(1) << 63;
		return true;
	case PCI_BAR_ABSENT:
		break;
	}
	return false;
}

static bool bar_free(const struct pci_function *fn, unsigned index)
{
	return fn->bars[index].kind == PCI_BAR_ABSENT &&
	       (index == 0 || index == PCI_BAR_ROM || fn->bars[index - 1].kind != PCI_BAR_MEM64);
}

int pci_function_add_bar(struct pci_function *fn, unsigned index, enum pci_bar_kind kind,
			 bool prefetchable, uint64_t size)
{
	unsigned count = is_bridge(fn) ? 2 : PCI_BAR_COUNT;
	uint64_t least, most, rounded;
	uint32_t reg, flags = 0;

	if ((index >= count && index != PCI_BAR_ROM) || !bar_free(fn, index))
		return -EINVAL;
	if (kind == PCI_BAR_MEM64 && (index + 1 >= count || !bar_free(fn, index + 1)))
		return -EINVAL;
	if (!bar_limits(index, kind, &least, &most) || size == 0 || size > most)
		return -EINVAL;
	for (rounded = least; rounded < size;)
		rounded <<= 1;

	fn->bars[index] = (struct pci_bar){
		.kind = kind,
		.prefetchable = prefetchable && kind != PCI_BAR_IO,
		.size = rounded,
		.address = PCI_BAR_NONE,
	};

	reg = pci_function_bar_register(fn, index);
	if (index == PCI_BAR_ROM) {
		pci_set(fn->writable, reg, (uint32_t) ~(rounded - 1) | PCI_ROM_ADDRESS_ENABLE, 4);
		return 0;
	}
	if (kind == PCI_BAR_IO)
		flags = PCI_BASE_ADDRESS_SPACE_IO;
	else if (prefetchable)
		flags = PCI_BASE_ADDRESS_MEM_PREFETCH;
	if (kind == PCI_BAR_MEM64)
		flags |= PCI_BASE_ADDRESS_MEM_TYPE_64;
	pci_set(fn->config, reg, flags, 4);
	pci_set(fn->writable, reg, (uint32_t) ~(rounded - 1), 4);
	if (kind == PCI_BAR_MEM64)
		pci_set(fn->writable, reg + 4, (uint32_t)(~(rounded - 1) >> 32), 4);
	return 0;
}

static void set_writable(struct pci_function *fn, uint32_t offset, uint32_t value, unsigned size)
{
	uint32_t mask = pci_get(fn->writable, offset, size);
	uint32_t old = pci_get(fn->config, offset, size);

	pci_set(fn->config, offset, (old & ~mask) | (value & mask), size);
}

void pci_function_set_bar(struct pci_function *fn, unsigned index, uint64_t address)
{
	uint32_t reg = pci_function_bar_register(fn, index);

	set_writable(fn, reg, (uint32_t)address, 4);
	if (fn->bars[index].kind == PCI_BAR_MEM64)
		set_writable(fn, reg + 4, (uint32_t)(address >> 32), 4);
}

int pci_function_add_capability(struct pci_function *fn, uint8_t id, unsigned size)
{
	struct pci_capability caps[PCI_CAPABILITY_MAX + 1];
	unsigned at = (fn->capability_end + 3u) & ~3u;
	size_t count;

	if (size < 2 || size > PCI_CAPABILITY_END || at > PCI_CAPABILITY_END - size)
		return -ENOSPC;
	pci_capability_walk(fn->config, PCI_CONFIG_SIZE, caps, PCI_CAPABILITY_MAX, &count);
	caps[count++] = (struct pci_capability){.id = id, .offset = (uint16_t)at};
	if (pci_capability_link(fn->config, caps, count))
		return -ENOSPC;
	fn->capability_end = (uint16_t)(at + size);
	if (id == PCI_CAP_ID_PM && !fn->pm)
		fn->pm = (uint8_t)at;
	return (int)at;
}

int pci_function_add_extended(struct pci_function *fn, uint16_t id, uint8_t version, unsigned size)
{
	struct pci_capability caps[PCI_EXTENDED_MAX + 1];
	unsigned at = (fn->extended_end + 3u) & ~3u;
	size_t count;

	if (size < 4 || size > PCI_EXTENDED_END || at > PCI_EXTENDED_END - size)
		return -ENOSPC;
	pci_extended_walk(fn->config, PCI_CONFIG_SIZE, caps, PCI_EXTENDED_MAX, &count);
	caps[count++] = (struct pci_capability){
		.id = id,
		.version = version,
		.offset = (uint16_t)at,
	};
	if (pci_extended_link(fn->config, caps, count))
		return -ENOSPC;
	fn->extended_end = (uint16_t)(at + size);
	return (int)at;
}

static bool decodes(const struct pci_range *window, uint64_t address, uint64_t size)
{
	return address >= window->base && size <= window->size &&
	       address - window->base <= window->size - size;
}

/*
 * Where the registers put BAR @index now; PCI_BAR_NONE: nowhere. Address 0 is an unset BAR, and what
 * lies outside of the host bridge's windows never reaches this bus: a guest can put a BAR over
 * neither RAM nor the interrupt controllers.
 */
static uint64_t bar_target(const struct pci_function *fn, unsigned index)
{
	const struct pci_bar *bar = &fn->bars[index];
	uint16_t command = (uint16_t)pci_get(fn->config, PCI_COMMAND, 2);
	uint32_t reg = pci_function_bar_register(fn, index);
	uint64_t address;

	if (!fn->windows || bar->kind == PCI_BAR_ABSENT)
		return PCI_BAR_NONE;
	if (!(command & (bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY)))
		return PCI_BAR_NONE;
	if (fn->pm && fn->config[fn->pm + PCI_PM_CTRL] & PCI_PM_CTRL_STATE_MASK)
		return PCI_BAR_NONE;
	if (index == PCI_BAR_ROM && !(fn->config[reg] & PCI_ROM_ADDRESS_ENABLE))
		return PCI_BAR_NONE;

	address = pci_get(fn->config, reg, 4);
	if (bar->kind == PCI_BAR_MEM64)
		address |= (uint64_t)pci_get(fn->config, reg + 4, 4) << 32;
	address &= ~(bar->size - 1);
	if (!address)
		return PCI_BAR_NONE;
	if (bar->kind == PCI_BAR_IO)
		return decodes(&fn->windows->io, address, bar->size) ? address : PCI_BAR_NONE;
	if (decodes(&fn->windows->mem32, address, bar->size) ||
	    decodes(&fn->windows->mem64, address, bar->size))
		return address;
	return PCI_BAR_NONE;
}

static void unmap_bar(struct pci_function *fn, unsigned index)
{
	uint64_t address = fn->bars[index].address;

	if (address == PCI_BAR_NONE)
		return;
	if (fn->ops->bar_unmap)
		fn->ops->bar_unmap(fn, index, address);
	fn->bars[index].address = PCI_BAR_NONE;
}

static void unmap_stale_bars(struct pci_function *fn)
{
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++)
		if (fn->bars[i].address != PCI_BAR_NONE && fn->bars[i].address != bar_target(fn, i))
			unmap_bar(fn, i);
}

void pci_function_unmap_bars(struct pci_function *fn)
{
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++)
		unmap_bar(fn, i);
}

void pci_function_update_bars(struct pci_function *fn)
{
	unmap_stale_bars(fn);
	for (unsigned i = 0; i <= PCI_BAR_ROM; i++) {
		uint64_t target = bar_target(fn, i);
		int err = 0;

		if (target == PCI_BAR_NONE || fn->bars[i].address == target)
			continue;
		if (fn->ops->bar_map)
			err = fn->ops->bar_map(fn, i, target);
		if (err)
			log_debug("pci %s: BAR %u not mapped at %#llx: %s", fn->id, i,
				  (unsigned long long)target, strerror(-err));
		else
			fn->bars[i].address = target;
	}
}

static bool overlaps(uint32_t offset, unsigned size, uint32_t first, uint32_t length)
{
	return offset < first + length && first < offset + size;
}

/* Can a write there change what is decoded? */
static bool touches_decode(const struct pci_function *fn, uint32_t offset, unsigned size)
{
	return overlaps(offset, size, PCI_COMMAND, 2) ||
	       overlaps(offset, size, PCI_BASE_ADDRESS_0, is_bridge(fn) ? 8 : 24) ||
	       overlaps(offset, size, pci_function_bar_register(fn, PCI_BAR_ROM), 4) ||
	       (fn->pm && overlaps(offset, size, fn->pm + PCI_PM_CTRL, 2));
}

uint32_t pci_function_default_read(struct pci_function *fn, uint32_t offset, unsigned size)
{
	return pci_get(fn->config, offset, size);
}

void pci_function_write_registers(struct pci_function *fn, uint32_t offset, uint32_t value,
				  unsigned size)
{
	set_writable(fn, offset, value, size);
	if (touches_decode(fn, offset, size))
		unmap_stale_bars(fn);
}

void pci_function_default_write(struct pci_function *fn, uint32_t offset, uint32_t value,
				unsigned size)
{
	pci_function_write_registers(fn, offset, value, size);
	if (touches_decode(fn, offset, size))
		pci_function_update_bars(fn);
}

void pci_function_reset(struct pci_function *fn)
{
	pci_function_unmap_bars(fn);
	for (unsigned i = 0; i < PCI_CONFIG_SIZE; i++)
		fn->config[i] &= (uint8_t)~fn->writable[i];
	if (fn->ops->reset)
		fn->ops->reset(fn);
}
