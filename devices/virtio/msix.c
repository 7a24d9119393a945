/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/msix.h"

#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#include "vmm/base/irq.h"
#include "vmm/pci/function.h"

static uint32_t entry_get(const struct msix *msix, unsigned vector, unsigned offset)
{
	return pci_get(msix->table, vector * PCI_MSIX_ENTRY_SIZE + offset, 4);
}

static bool vector_masked(const struct msix *msix, unsigned vector)
{
	return msix->masked ||
	       (entry_get(msix, vector, PCI_MSIX_ENTRY_VECTOR_CTRL) & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

int msix_init(struct msix *msix, struct pci_function *fn, unsigned count, unsigned bar,
	      uint32_t table_offset, uint32_t pba_offset,
	      void (*send)(void *ctx, const struct msi_message *message), void *ctx)
{
	int offset;

	if (count == 0 || count > MSIX_VECTORS_MAX)
		return -EINVAL;
	offset = pci_function_add_capability(fn, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	if (offset < 0)
		return offset;
	msix->count = count;
	msix->capability = (uint32_t)offset;
	msix->send = send;
	msix->ctx = ctx;
	pci_set(fn->config, msix->capability + PCI_MSIX_TABLE, table_offset | bar, 4);
	pci_set(fn->config, msix->capability + PCI_MSIX_PBA, pba_offset | bar, 4);
	pci_set(fn->writable, msix->capability + PCI_MSIX_FLAGS,
		PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL, 2);
	msix_reset(msix, fn);
	return 0;
}

void msix_reset(struct msix *msix, struct pci_function *fn)
{
	pci_set(fn->config, msix->capability + PCI_MSIX_FLAGS, msix->count - 1, 2);
	msix->enabled = false;
	msix->masked = false;
	msix->pending = 0;
	memset(msix->table, 0, sizeof(msix->table));
	for (unsigned i = 0; i < msix->count; i++)
		pci_set(msix->table, i * PCI_MSIX_ENTRY_SIZE + PCI_MSIX_ENTRY_VECTOR_CTRL,
			PCI_MSIX_ENTRY_CTRL_MASKBIT, 4);
}

static void send_pending(struct msix *msix)
{
	for (unsigned i = 0; i < msix->count; i++)
		if (msix->pending & (1ull << i))
			msix_notify(msix, i);
}

void msix_config_changed(struct msix *msix, const struct pci_function *fn)
{
	uint32_t flags = pci_get(fn->config, msix->capability + PCI_MSIX_FLAGS, 2);
	bool enabled = flags & PCI_MSIX_FLAGS_ENABLE;
	bool masked = flags & PCI_MSIX_FLAGS_MASKALL;

	if (enabled == msix->enabled && masked == msix->masked)
		return;
	msix->enabled = enabled;
	msix->masked = masked;
	send_pending(msix);
}

uint64_t msix_table_read(const struct msix *msix, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		if (offset + i < msix->count * PCI_MSIX_ENTRY_SIZE)
			value |= (uint64_t)msix->table[offset + i] << (8 * i);
	return value;
}

void msix_table_write(struct msix *msix, uint64_t offset, uint64_t value, unsigned size)
{
	/* Only whole dwords and qwords may be written (section 6.8.2.6). */
	if (size < 4 || offset % size || offset + size > msix->count * PCI_MSIX_ENTRY_SIZE)
		return;
	pci_set(msix->table, (uint32_t)offset, (uint32_t)value, 4);
	if (size == 8)
		pci_set(msix->table, (uint32_t)offset + 4, (uint32_t)(value >> 32), 4);
	send_pending(msix);
}

uint64_t msix_pba_read(const struct msix *msix, uint64_t offset, unsigned size)
{
	uint64_t value;

	if (offset >= 8)
		return 0;
	value = msix->pending >> (8 * offset);
	return size == 8 ? value : value & ((1ull << (8 * size)) - 1);
}

void msix_notify(struct msix *msix, unsigned vector)
{
	struct msi_message message;

	if (!msix->enabled || vector >= msix->count)
		return;
	if (vector_masked(msix, vector)) {
		msix->pending |= 1ull << vector;
		return;
	}
	msix->pending &= ~(1ull << vector);
	message.address = entry_get(msix, vector, PCI_MSIX_ENTRY_LOWER_ADDR) |
			  (uint64_t)entry_get(msix, vector, PCI_MSIX_ENTRY_UPPER_ADDR) << 32;
	message.data = entry_get(msix, vector, PCI_MSIX_ENTRY_DATA);
	msix->send(msix->ctx, &message);
}
