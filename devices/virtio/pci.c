/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/virtio/pci.h"

#include <endian.h>
#include <errno.h>
#include <jansson.h>
#include <linux/pci_regs.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "devices/virtio/device.h"
#include "devices/virtio/msix.h"
#include "devices/virtio/pci_common.h"
#include "vmm/base/bus.h"
#include "vmm/base/host.h"
#include "vmm/base/irq.h"
#include "vmm/base/kvm.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/pci/function.h"
#include "vmm/pci/host_bridge.h"

#define VIRTIO_VENDOR      0x1af4u
#define VIRTIO_DEVICE_BASE 0x1040u /* modern device ids: this plus the type */

/* The BAR. Every structure has its own space; what is not listed reads as zero. */
#define BAR_INDEX     0
#define BAR_SIZE      0x4000u
#define COMMON_OFFSET 0x0000u
#define COMMON_SIZE   VIRTIO_PCI_COMMON_BYTES
#define ISR_OFFSET    0x0800u
#define ISR_SIZE      4u
#define DEVICE_OFFSET 0x1000u
#define DEVICE_SIZE   0x1000u
#define NOTIFY_OFFSET 0x2000u
#define NOTIFY_STEP   4u
#define NOTIFY_SIZE   (NOTIFY_STEP * VIRTIO_QUEUES_MAX)
#define TABLE_OFFSET  0x3000u
#define TABLE_SIZE    (MSIX_VECTORS_MAX * 16u)
#define PBA_OFFSET    0x3800u
#define PBA_SIZE      8u

#define ISR_QUEUE  1u
#define ISR_CONFIG 2u
#define INTX_PIN   1 /* INTA */

struct doorbell {
	struct virtio_pci *p;
	unsigned queue;
	int fd;
	struct loop_source *source;
	bool in_kernel; /* KVM watches the address; else the guest's write comes here */
};

struct virtio_pci {
	struct pci_function fn;
	struct virtio_device *dev;
	struct msix msix;
	struct doorbell doorbells[VIRTIO_QUEUES_MAX];
	uint32_t access_capability; /* offset of VIRTIO_PCI_CAP_PCI_CFG */

	/* Under the device's lock. */
	struct virtio_pci_common common;
	uint8_t isr;
	bool intx_disabled;
	bool intx_level;
};

static struct virtio_pci *to_pci(struct pci_function *fn)
{
	return (struct virtio_pci *)((char *)fn - offsetof(struct virtio_pci, fn));
}

struct virtio_device *virtio_pci_device(struct pci_function *fn)
{
	return to_pci(fn)->dev;
}

static const struct pci_host_bridge_config *bridge_config(const struct virtio_pci *p)
{
	return pci_host_bridge_config(p->fn.bridge);
}

/* Interrupts */

static void send_message(void *ctx, const struct msi_message *message)
{
	struct virtio_pci *p = ctx;

	if (p->fn.bridge)
		irq_msi_send(bridge_config(p)->irq, pci_function_bdf(&p->fn), message);
}

static void update_intx(struct virtio_pci *p)
{
	bool level = p->isr && !p->msix.enabled && !p->intx_disabled;

	if (level == p->intx_level || !p->fn.bridge)
		return;
	p->intx_level = level;
	pci_intx_set(&p->fn, INTX_PIN, level);
}

static void clear_isr(struct virtio_pci *p)
{
	p->isr = 0;
	update_intx(p);
}

static void interrupt(struct virtio_device *dev, int queue)
{
	struct virtio_pci *p = dev->transport;

	if (p->msix.enabled) {
		msix_notify(&p->msix, queue == VIRTIO_CONFIG_CHANGE
					      ? p->common.config_vector
					      : p->common.queue_vector[queue]);
		return;
	}
	p->isr |= queue == VIRTIO_CONFIG_CHANGE ? ISR_CONFIG : ISR_QUEUE;
	update_intx(p);
}

/* Doorbells */

static void kick(struct virtio_device *dev, unsigned queue)
{
	struct virtio_pci *p = dev->transport;

	host_eventfd_add(p->doorbells[queue].fd);
}

static void doorbell_rang(void *ctx, uint32_t events)
{
	struct doorbell *bell = ctx;
	struct virtio_device *dev = bell->p->dev;
	eventfd_t count;

	(void)events;
	read(bell->fd, &count, sizeof(count));
	pthread_mutex_lock(&dev->lock);
	virtio_device_run(dev, bell->queue);
	pthread_mutex_unlock(&dev->lock);
}

/* The BAR */

static bool within(uint64_t offset, unsigned size, uint64_t base, uint64_t room)
{
	return offset >= base && offset + size <= base + room;
}

static uint64_t device_read(const struct virtio_device *dev, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		if (offset + i < dev->config_size)
			value |= (uint64_t)dev->config[offset + i] << (8 * i);
	return value;
}

static uint64_t read_locked(struct virtio_pci *p, uint64_t offset, unsigned size)
{
	uint64_t value;

	if (within(offset, size, COMMON_OFFSET, COMMON_SIZE))
		return virtio_pci_common_read(&p->common, offset - COMMON_OFFSET, size);
	if (offset == ISR_OFFSET) {
		value = p->isr;
		clear_isr(p);
		return value;
	}
	if (within(offset, size, DEVICE_OFFSET, DEVICE_SIZE))
		return device_read(p->dev, offset - DEVICE_OFFSET, size);
	if (within(offset, size, TABLE_OFFSET, TABLE_SIZE))
		return msix_table_read(&p->msix, offset - TABLE_OFFSET, size);
	if (within(offset, size, PBA_OFFSET, PBA_SIZE))
		return msix_pba_read(&p->msix, offset - PBA_OFFSET, size);
	return 0;
}

static void write_locked(struct virtio_pci *p, uint64_t offset, uint64_t value, unsigned size)
{
	if (within(offset, size, COMMON_OFFSET, COMMON_SIZE)) {
		if (virtio_pci_common_write(&p->common, offset - COMMON_OFFSET, value, size))
			clear_isr(p);
	} else if (within(offset, size, NOTIFY_OFFSET, NOTIFY_SIZE)) {
		if ((offset - NOTIFY_OFFSET) / NOTIFY_STEP < p->dev->queue_count)
			kick(p->dev, (unsigned)(offset - NOTIFY_OFFSET) / NOTIFY_STEP);
	} else if (within(offset, size, TABLE_OFFSET, TABLE_SIZE)) {
		msix_table_write(&p->msix, offset - TABLE_OFFSET, value, size);
	}
}

static uint64_t bar_read(void *ctx, uint64_t offset, unsigned size)
{
	struct virtio_pci *p = ctx;
	uint64_t value;

	pthread_mutex_lock(&p->dev->lock);
	value = read_locked(p, offset, size);
	pthread_mutex_unlock(&p->dev->lock);
	return value;
}

static void bar_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct virtio_pci *p = ctx;

	pthread_mutex_lock(&p->dev->lock);
	write_locked(p, offset, value, size);
	pthread_mutex_unlock(&p->dev->lock);
}

static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

/* The function */

static int map_bar(struct pci_function *fn, unsigned bar, uint64_t address)
{
	struct virtio_pci *p = to_pci(fn);
	struct kvm *kvm = irq_router_kvm(bridge_config(p)->irq);
	uint64_t at = address + NOTIFY_OFFSET;
	int ret;

	(void)bar;
	ret = bus_add(bridge_config(p)->mmio, address, BAR_SIZE, &bar_ops, p, "virtio");
	if (ret < 0)
		return ret;
	for (unsigned i = 0; i < p->dev->queue_count; i++, at += NOTIFY_STEP) {
		/* Any width: KVM then need not decode the instruction where it can avoid that. */
		ret = kvm_ioeventfd_add(kvm, p->doorbells[i].fd, false, at, 0, NULL);
		p->doorbells[i].in_kernel = ret == 0;
		if (ret < 0)
			log_debug("virtio %s: doorbell %u is not watched by KVM: %s", p->dev->id, i,
				  strerror(-ret));
	}
	return 0;
}

static void unmap_bar(struct pci_function *fn, unsigned bar, uint64_t address)
{
	struct virtio_pci *p = to_pci(fn);
	struct kvm *kvm = irq_router_kvm(bridge_config(p)->irq);
	uint64_t at = address + NOTIFY_OFFSET;

	(void)bar;
	for (unsigned i = 0; i < p->dev->queue_count; i++, at += NOTIFY_STEP) {
		if (p->doorbells[i].in_kernel)
			kvm_ioeventfd_remove(kvm, p->doorbells[i].fd, false, at, 0, NULL);
		p->doorbells[i].in_kernel = false;
	}
	bus_remove(bridge_config(p)->mmio, address, p);
}

/*
 * VIRTIO_PCI_CAP_PCI_CFG is a window: the capability says where in the BAR, and its last dword is
 * what is there (section 4.1.4.9). Returns the length of the access, or 0 for an invalid one.
 */
static unsigned window(const struct virtio_pci *p, uint32_t *offset)
{
	uint32_t cap = p->access_capability;
	uint32_t length = pci_get(p->fn.config, cap + VIRTIO_PCI_CAP_LENGTH, 4);

	*offset = pci_get(p->fn.config, cap + VIRTIO_PCI_CAP_OFFSET, 4);
	if (p->fn.config[cap + VIRTIO_PCI_CAP_BAR] != BAR_INDEX ||
	    (length != 1 && length != 2 && length != 4) || *offset % length ||
	    *offset > BAR_SIZE - length)
		return 0;
	return length;
}

static bool hits_window(const struct virtio_pci *p, uint32_t offset)
{
	return offset / 4 == (p->access_capability + sizeof(struct virtio_pci_cap)) / 4;
}

static uint32_t config_read(struct pci_function *fn, uint32_t offset, unsigned size)
{
	struct virtio_pci *p = to_pci(fn);
	unsigned length;
	uint32_t at;

	if (hits_window(p, offset)) {
		length = window(p, &at);
		if (length)
			pci_set(fn->config, offset & ~3u, (uint32_t)bar_read(p, at, length), 4);
	}
	return pci_function_default_read(fn, offset, size);
}

static void config_write(struct pci_function *fn, uint32_t offset, uint32_t value, unsigned size)
{
	struct virtio_pci *p = to_pci(fn);
	struct virtio_device *dev = p->dev;
	uint32_t command, at;
	unsigned length;
	bool master;

	pci_function_default_write(fn, offset, value, size);
	if (hits_window(p, offset)) {
		length = window(p, &at);
		if (length)
			bar_write(p, at, pci_get(fn->config, offset & ~3u, length), length);
		return;
	}
	pthread_mutex_lock(&dev->lock);
	command = pci_get(fn->config, PCI_COMMAND, 2);
	master = command & PCI_COMMAND_MASTER;
	if (master && !dev->dma_enable)
		for (unsigned i = 0; i < dev->queue_count; i++)
			kick(dev, i); /* what was asked for while it could not reach memory */
	dev->dma_enable = master;
	p->intx_disabled = command & PCI_COMMAND_INTX_DISABLE;
	msix_config_changed(&p->msix, fn);
	update_intx(p);
	pthread_mutex_unlock(&dev->lock);
}

static void reset(struct pci_function *fn)
{
	struct virtio_pci *p = to_pci(fn);

	pthread_mutex_lock(&p->dev->lock);
	virtio_device_reset(p->dev);
	p->dev->dma_enable = false;
	p->intx_disabled = false;
	msix_reset(&p->msix, fn);
	virtio_pci_common_reset(&p->common);
	clear_isr(p);
	pthread_mutex_unlock(&p->dev->lock);
}

static void destroy(struct pci_function *fn)
{
	struct virtio_pci *p = to_pci(fn);
	struct virtio_device *dev = p->dev;

	for (unsigned i = 0; i < dev->queue_count; i++) {
		loop_remove(dev->loop, p->doorbells[i].source);
		p->doorbells[i].source = NULL;
	}
	pthread_mutex_lock(&dev->lock);
	virtio_device_reset(dev);
	pthread_mutex_unlock(&dev->lock);
	for (unsigned i = 0; i < dev->queue_count; i++)
		close(p->doorbells[i].fd);
	dev->ops->destroy(dev);
	free(p);
}

static json_t *queue_status(const struct virtqueue *q)
{
	return json_pack("{sb si si si si ss?}", "enabled", q->enabled, "size", (int)q->size,
			 "taken", (int)q->next_avail, "given_back", (int)q->next_used, "in_flight",
			 (int)q->in_flight, "fault", q->fault);
}

static const char *kind_of(uint16_t type)
{
	switch (type) {
	case VIRTIO_ID_NET:
		return "virtio-net";
	case VIRTIO_ID_BLOCK:
		return "virtio-blk";
	case VIRTIO_ID_RNG:
		return "virtio-rng";
	default:
		return "virtio";
	}
}

json_t *virtio_pci_status(struct pci_function *fn)
{
	struct virtio_pci *p = to_pci(fn);
	struct virtio_device *dev = p->dev;
	json_t *queues = json_array();
	json_t *status;

	pthread_mutex_lock(&dev->lock);
	for (unsigned i = 0; i < dev->queue_count; i++)
		json_array_append_new(queues, queue_status(&dev->queues[i]));
	status = json_pack("{ss ss si sI sb ss so}", "id", dev->id, "kind", kind_of(dev->type),
			   "status", (int)dev->status, "features", (json_int_t)dev->acked,
			   "bus_master", dev->dma_enable, "interrupts",
			   p->msix.enabled ? "msix" : "intx", "queues", queues);
	pthread_mutex_unlock(&dev->lock);
	return status;
}

static const struct pci_function_ops function_ops = {
	.config_read = config_read,
	.config_write = config_write,
	.bar_map = map_bar,
	.bar_unmap = unmap_bar,
	.reset = reset,
	.destroy = destroy,
};

static uint32_t class_of(uint16_t type)
{
	switch (type) {
	case VIRTIO_ID_NET:
		return 0x020000; /* Ethernet controller */
	case VIRTIO_ID_BLOCK:
		return 0x018000; /* mass storage, other */
	default:
		return 0xff0000;
	}
}

static int add_structure(struct pci_function *fn, uint8_t type, uint32_t offset, uint32_t length,
			 unsigned extra)
{
	struct virtio_pci_cap cap = {
		.cap_len = (uint8_t)(sizeof(cap) + extra),
		.cfg_type = type,
		.bar = BAR_INDEX,
		.offset = htole32(offset),
		.length = htole32(length),
	};
	int at = pci_function_add_capability(fn, PCI_CAP_ID_VNDR, sizeof(cap) + extra);

	if (at >= 0) /* id and next pointer are in place */
		memcpy(fn->config + at + 2, (uint8_t *)&cap + 2, sizeof(cap) - 2);
	return at;
}

static int add_capabilities(struct virtio_pci *p)
{
	struct pci_function *fn = &p->fn;
	int at;

	at = msix_init(&p->msix, fn, p->dev->queue_count + 1, BAR_INDEX, TABLE_OFFSET, PBA_OFFSET,
		       send_message, p);
	if (at < 0)
		return at;
	if (add_structure(fn, VIRTIO_PCI_CAP_COMMON_CFG, COMMON_OFFSET, COMMON_SIZE, 0) < 0 ||
	    add_structure(fn, VIRTIO_PCI_CAP_ISR_CFG, ISR_OFFSET, ISR_SIZE, 0) < 0 ||
	    add_structure(fn, VIRTIO_PCI_CAP_DEVICE_CFG, DEVICE_OFFSET, DEVICE_SIZE, 0) < 0)
		return -ENOSPC;
	at = add_structure(fn, VIRTIO_PCI_CAP_NOTIFY_CFG, NOTIFY_OFFSET, NOTIFY_SIZE, 4);
	if (at < 0)
		return at;
	pci_set(fn->config, (uint32_t)at + VIRTIO_PCI_NOTIFY_CAP_MULT, NOTIFY_STEP, 4);
	at = add_structure(fn, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, 4);
	if (at < 0)
		return at;
	p->access_capability = (uint32_t)at;
	pci_set(fn->writable, p->access_capability + VIRTIO_PCI_CAP_BAR, 0xff, 1);
	pci_set(fn->writable, p->access_capability + VIRTIO_PCI_CAP_OFFSET, UINT32_MAX, 4);
	pci_set(fn->writable, p->access_capability + VIRTIO_PCI_CAP_LENGTH, UINT32_MAX, 4);
	pci_set(fn->writable, p->access_capability + sizeof(struct virtio_pci_cap), UINT32_MAX, 4);
	return 0;
}

int virtio_pci_create(struct virtio_device *dev, struct pci_function **out)
{
	struct virtio_pci *p;
	unsigned made = 0;
	int ret;

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->dev = dev;
	pci_function_init(&p->fn, &function_ops, dev->id, VIRTIO_VENDOR,
			  (uint16_t)(VIRTIO_DEVICE_BASE + dev->type), class_of(dev->type), 1);
	pci_set(p->fn.config, PCI_SUBSYSTEM_VENDOR_ID, VIRTIO_VENDOR, 2);
	pci_set(p->fn.config, PCI_SUBSYSTEM_ID, VIRTIO_DEVICE_BASE + dev->type, 2);
	pci_set(p->fn.config, PCI_INTERRUPT_PIN, INTX_PIN, 1);
	pci_set(p->fn.writable, PCI_INTERRUPT_LINE, 0xff, 1);
	ret = pci_function_add_bar(&p->fn, BAR_INDEX, PCI_BAR_MEM64, false, BAR_SIZE);
	if (ret == 0)
		ret = add_capabilities(p);
	if (ret < 0)
		goto free_pci;
	p->common = (struct virtio_pci_common){.dev = dev, .vectors = p->msix.count};
	virtio_pci_common_reset(&p->common);
	dev->transport = p;
	dev->interrupt = interrupt;
	dev->kick = kick;
	for (; made < dev->queue_count; made++) {
		struct doorbell *bell = &p->doorbells[made];

		bell->p = p;
		bell->queue = made;
		bell->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (bell->fd < 0) {
			ret = -errno;
			goto close_doorbells;
		}
		ret = loop_add_fd(dev->loop, bell->fd, EPOLLIN, doorbell_rang, bell, &bell->source);
		if (ret < 0) {
			close(bell->fd);
			goto close_doorbells;
		}
	}
	*out = &p->fn;
	return 0;

close_doorbells:
	while (made-- > 0) {
		loop_remove(dev->loop, p->doorbells[made].source);
		close(p->doorbells[made].fd);
	}
free_pci:
	free(p);
	return ret;
}
