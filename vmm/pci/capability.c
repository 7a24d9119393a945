/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "vmm/pci/capability.h"

#define EXTENDED_FILLER 0xffff /* id of the entry that only carries a pointer */

static uint32_t dword(const uint8_t *bytes, size_t offset)
{
	return bytes[offset] | (uint32_t)bytes[offset + 1] << 8 |
	       (uint32_t)bytes[offset + 2] << 16 | (uint32_t)bytes[offset + 3] << 24;
}

/* Room is counted in space order, whatever the order of the chain. */
static void measure(struct pci_capability *caps, size_t count, size_t end)
{
	for (size_t i = 0; i < count; i++) {
		size_t next = end;

		for (size_t j = 0; j < count; j++)
			if (caps[j].offset > caps[i].offset && caps[j].offset < next)
				next = caps[j].offset;
		caps[i].room = (uint16_t)(next - caps[i].offset);
	}
}

/*
 * Both chains are walked the same way: @header reads an entry and says where the next one is, 0 at
 * the end. One bit per dword of the space says which entries were seen, so the walk ends.
 */
static int walk(const uint8_t *config, size_t first, size_t end, size_t at,
		int (*header)(const uint8_t *config, size_t at, struct pci_capability *cap,
			      size_t *next),
		struct pci_capability *caps, size_t max, size_t *count)
{
	uint32_t seen[PCI_EXTENDED_END / 4 / 32] = {0};
	size_t n = 0;
	int err = 0;

	while (at) {
		struct pci_capability cap = {0};
		size_t next = 0;

		at &= ~(size_t)3;
		if (at < first || at + 4 > end) {
			err = -ERANGE;
			break;
		}
		if (seen[at / 128] & 1u << at / 4 % 32) {
			err = -ELOOP;
			break;
		}
		seen[at / 128] |= 1u << at / 4 % 32;
		err = header(config, at, &cap, &next);
		if (err)
			break;
		if (n == max) {
			err = -ENOSPC;
			break;
		}
		caps[n++] = cap;
		at = next;
	}
	measure(caps, n, end);
	*count = n;
	return err;
}

static int conventional_header(const uint8_t *config, size_t at, struct pci_capability *cap,
			       size_t *next)
{
	if (config[at] == 0xff)
		return -EIO;
	cap->id = config[at];
	cap->offset = (uint16_t)at;
	*next = config[at + 1];
	return 0;
}

static int extended_header(const uint8_t *config, size_t at, struct pci_capability *cap,
			   size_t *next)
{
	uint32_t value = dword(config, at);

	if (value == UINT32_MAX)
		return -EIO;
	cap->id = (uint16_t)PCI_EXT_CAP_ID(value);
	cap->version = (uint8_t)PCI_EXT_CAP_VER(value);
	cap->offset = (uint16_t)at;
	*next = value >> 20;
	return 0;
}

int pci_capability_walk(const uint8_t *config, size_t size, struct pci_capability *caps, size_t max,
			size_t *count)
{
	size_t end = size < PCI_CAPABILITY_END ? size : PCI_CAPABILITY_END;

	*count = 0;
	if (size < PCI_CAPABILITY_FIRST)
		return -ERANGE;
	if (dword(config, PCI_VENDOR_ID) == UINT32_MAX)
		return -EIO;
	if (!(config[PCI_STATUS] & PCI_STATUS_CAP_LIST))
		return 0;
	return walk(config, PCI_CAPABILITY_FIRST, end, config[PCI_CAPABILITY_LIST],
		    conventional_header, caps, max, count);
}

int pci_extended_walk(const uint8_t *config, size_t size, struct pci_capability *caps, size_t max,
		      size_t *count)
{
	size_t end = size < PCI_EXTENDED_END ? size : PCI_EXTENDED_END;

	*count = 0;
	/* No extended space, or a first header of zeros: the empty chain. */
	if (size < PCI_EXTENDED_FIRST + 4 || dword(config, PCI_EXTENDED_FIRST) == 0)
		return 0;
	return walk(config, PCI_EXTENDED_FIRST, end, PCI_EXTENDED_FIRST, extended_header, caps, max,
		    count);
}

const struct pci_capability *pci_capability_find(const struct pci_capability *caps, size_t count,
						 uint16_t id)
{
	for (size_t i = 0; i < count; i++)
		if (caps[i].id == id)
			return &caps[i];
	return NULL;
}

uint16_t pci_capability_offset(const uint8_t *config, size_t size, uint8_t id)
{
	struct pci_capability caps[PCI_CAPABILITY_MAX];
	const struct pci_capability *found;
	size_t count;

	pci_capability_walk(config, size, caps, PCI_CAPABILITY_MAX, &count);
	found = pci_capability_find(caps, count, id);
	return found ? found->offset : 0;
}

uint16_t pci_extended_offset(const uint8_t *config, size_t size, uint16_t id)
{
	struct pci_capability caps[PCI_EXTENDED_MAX];
	const struct pci_capability *found;
	size_t count;

	pci_extended_walk(config, size, caps, PCI_EXTENDED_MAX, &count);
	found = pci_capability_find(caps, count, id);
	return found ? found->offset : 0;
}

static bool entries_sound(const struct pci_capability *caps, size_t count, size_t first, size_t end)
{
	for (size_t i = 0; i < count; i++) {
		if (caps[i].offset % 4 || caps[i].offset < first || caps[i].offset >= end)
			return false;
		for (size_t j = 0; j < i; j++)
			if (caps[j].offset == caps[i].offset)
				return false;
	}
	return true;
}

int pci_capability_link(uint8_t *config, const struct pci_capability *caps, size_t count)
{
	if (!entries_sound(caps, count, PCI_CAPABILITY_FIRST, PCI_CAPABILITY_END))
		return -EINVAL;
	for (size_t i = 0; i < count; i++)
		if (caps[i].id > 0xff)
			return -EINVAL;

	config[PCI_CAPABILITY_LIST] = count ? (uint8_t)caps[0].offset : 0;
	if (count)
		config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	else
		config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_CAP_LIST;
	for (size_t i = 0; i < count; i++) {
		config[caps[i].offset] = (uint8_t)caps[i].id;
		config[caps[i].offset + 1] = i + 1 < count ? (uint8_t)caps[i + 1].offset : 0;
	}
	return 0;
}

static void put_extended(uint8_t *config, size_t at, uint16_t id, uint8_t version, size_t next)
{
	config[at] = (uint8_t)id;
	config[at + 1] = (uint8_t)(id >> 8);
	config[at + 2] = (uint8_t)((version & 0xf) | (next & 0xf) << 4);
	config[at + 3] = (uint8_t)(next >> 4);
}

int pci_extended_link(uint8_t *config, const struct pci_capability *caps, size_t count)
{
	if (!entries_sound(caps, count, PCI_EXTENDED_FIRST, PCI_EXTENDED_END))
		return -EINVAL;
	for (size_t i = 1; i < count; i++)
		if (caps[i].offset == PCI_EXTENDED_FIRST)
			return -EINVAL;

	if (!count)
		memset(config + PCI_EXTENDED_FIRST, 0, 4);
	else if (caps[0].offset != PCI_EXTENDED_FIRST)
		put_extended(config, PCI_EXTENDED_FIRST, EXTENDED_FILLER, 0, caps[0].offset);
	for (size_t i = 0; i < count; i++)
		put_extended(config, caps[i].offset, caps[i].id, caps[i].version,
			     i + 1 < count ? caps[i + 1].offset : 0);
	return 0;
}

int pci_capability_place(const struct pci_capability *caps, size_t count, unsigned length,
			 unsigned first, unsigned end)
{
	unsigned at = (first + 3) & ~3u;
	bool moved;

	if (length == 0 || length > end)
		return -ENOSPC;
	do {
		moved = false;
		for (size_t i = 0; i < count; i++) {
			unsigned from = caps[i].offset, to = from + caps[i].room;

			if (at < to && from < at + length) {
				at = (to + 3) & ~3u;
				moved = true;
			}
		}
	} while (moved && at < end);
	return at <= end - length ? (int)at : -ENOSPC;
}
