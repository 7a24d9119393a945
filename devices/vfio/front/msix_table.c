/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MSI-X table and the pending bits as the guest sees them: memory of ours in the place of the
 * device's own, which the guest never reaches.
 */
#include "devices/vfio/front/front.h"

#include <poll.h>
#include <string.h>
#include <linux/pci_regs.h>

static uint32_t table_bytes(const struct vfio_function *vf)
{
	return vf->plan.msix_form.vectors * (uint32_t)PCI_MSIX_ENTRY_SIZE;
}

/* Power-on: every entry zero and masked (PCI Express 6.0 section 7.7.2.2). */
void front_table_blank(struct vfio_function *vf)
{
	for (uint32_t i = 0; i < table_bytes(vf); i++)
		vf->irqs.table[i] = i % PCI_MSIX_ENTRY_SIZE == PCI_MSIX_ENTRY_VECTOR_CTRL
					    ? PCI_MSIX_ENTRY_CTRL_MASKBIT
					    : 0;
}

void front_table_read(struct vfio_function *vf, uint32_t offset, void *data, unsigned size)
{
	uint8_t *bytes = data;

	pthread_mutex_lock(&vf->irq_lock);
	for (unsigned i = 0; i < size; i++)
		bytes[i] = offset + i < table_bytes(vf) ? vf->irqs.table[offset + i] : 0;
	pthread_mutex_unlock(&vf->irq_lock);
}

/* Bits of a table entry that are not reserved (PCI Express 6.0 section 7.7.2.2). */
static uint8_t entry_bits(uint32_t offset)
{
	switch (offset % PCI_MSIX_ENTRY_SIZE) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:
		return 0xfc;
	case PCI_MSIX_ENTRY_VECTOR_CTRL:
		return PCI_MSIX_ENTRY_CTRL_MASKBIT;
	case PCI_MSIX_ENTRY_VECTOR_CTRL + 1:
	case PCI_MSIX_ENTRY_VECTOR_CTRL + 2:
	case PCI_MSIX_ENTRY_VECTOR_CTRL + 3:
		return 0;
	default:
		return 0xff;
	}
}

void front_table_write(struct vfio_function *vf, uint32_t offset, const void *data, unsigned size)
{
	const uint8_t *bytes = data;
	unsigned first = offset / PCI_MSIX_ENTRY_SIZE, last = 0;

	pthread_mutex_lock(&vf->irq_lock);
	for (unsigned i = 0; i < size && offset + i < table_bytes(vf); i++) {
		vf->irqs.table[offset + i] = bytes[i] & entry_bits(offset + i);
		last = (offset + i) / PCI_MSIX_ENTRY_SIZE + 1;
	}
	if (last > first)
		front_vectors_reload(vf, first, last);
	pthread_mutex_unlock(&vf->irq_lock);
}

/* Bits of 64 vectors from @first on: fired, and waiting for an unmask. */
static uint64_t pending_bits(const struct vectors *v, unsigned first)
{
	struct pollfd polls[64];
	unsigned vectors[64], count = 0;
	uint64_t bits = 0;

	for (unsigned i = first; i < v->count && i < first + 64; i++) {
		if ((v->list[i].has & (VECTOR_ARMED | VECTOR_LINKED)) != VECTOR_ARMED)
			continue;
		polls[count] = (struct pollfd){.fd = v->list[i].fd, .events = POLLIN};
		vectors[count++] = i - first;
	}
	if (!count || poll(polls, count, 0) <= 0)
		return 0;
	for (unsigned i = 0; i < count; i++)
		if (polls[i].revents & POLLIN)
			bits |= 1ull << vectors[i];
	return bits;
}

/*
 * The device's own bits are right for the vectors that it has masked: those without a trigger. For
 * the others it is the eventfd that waits.
 */
void front_pba_read(struct vfio_function *vf, uint32_t offset, void *data, unsigned size)
{
	const struct front_bar *b = &vf->bars[vf->plan.msix_form.pba_bar];
	uint64_t at = b->region_offset + vf->plan.msix_form.pba_offset + offset;
	uint8_t *bytes = data;

	if (atomic_load(&vf->gone)) {
		memset(bytes, 0xff, size);
		return;
	}
	if (vfio_device_read(vf->vdev, data, size, at) != (ssize_t)size)
		memset(data, 0, size);

	pthread_mutex_lock(&vf->irq_lock);
	for (unsigned i = 0; i < size && vf->irqs.index == VFIO_PCI_MSIX_IRQ_INDEX;) {
		uint64_t bits = pending_bits(&vf->irqs.v, (offset + i) / 8 * 64);

		do
			bytes[i] |= (uint8_t)(bits >> (offset + i) % 8 * 8);
		while (++i < size && (offset + i) % 8);
	}
	pthread_mutex_unlock(&vf->irq_lock);
}

uint32_t front_msi_pending(struct vfio_function *vf)
{
	uint32_t bits = 0;

	pthread_mutex_lock(&vf->irq_lock);
	if (vf->irqs.index == VFIO_PCI_MSI_IRQ_INDEX)
		bits = (uint32_t)pending_bits(&vf->irqs.v, 0);
	pthread_mutex_unlock(&vf->irq_lock);
	return bits;
}
