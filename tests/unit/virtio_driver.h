/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A virtio-pci driver for unit tests, and the machine around the device: fake bus, KVM doorbells,
 * interrupt controller and host bridge. Included by one source file of a test program.
 */
#ifndef SLUICE_TESTS_VIRTIO_DRIVER_H
#define SLUICE_TESTS_VIRTIO_DRIVER_H

#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/fake_log.h"
#include "tests/unit/fake_loop.h"
#include "tests/unit/virtio_ring.h"
#include "vmm/base/bus.h"
#include "vmm/base/irq.h"
#include "vmm/base/kvm.h"
#include "vmm/pci/function.h"
#include "vmm/pci/host_bridge.h"

#define DRIVER_BAR 0xe0000000ull
#define DRIVER_MSI 0xfee00000ull /* message address; the vector is the data */

static struct {
	struct pci_function *fn;
	struct loop *loop;
	struct ioas *ioas;

	/* Bus */
	const struct bus_ops *ops;
	void *ops_ctx;
	uint64_t base;

	/* KVM */
	int doorbell_fd[8];
	uint64_t doorbell_address[8];
	unsigned doorbells;
	int doorbell_result;

	/* Interrupts */
	unsigned messages[16]; /* by data */
	int intx;
	unsigned intx_changes;

	/* Where the structures are in the BAR. */
	uint32_t common, isr, device, notify, notify_step, window, msix, table, pba;
} machine;

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *ops, void *ctx,
	    const char *name)
{
	(void)bus, (void)size, (void)name;
	machine.ops = ops;
	machine.ops_ctx = ctx;
	machine.base = base;
	return 0;
}

int bus_remove(struct bus *bus, uint64_t base, const void *ctx)
{
	(void)bus;
	cr_assert_eq(base, machine.base);
	cr_assert_eq(ctx, machine.ops_ctx);
	machine.ops = NULL;
	return 0;
}

void bus_synchronize(struct bus *bus)
{
	(void)bus;
}

int kvm_ioeventfd_add(struct kvm *kvm, int fd, bool pio, uint64_t address, unsigned size,
		      const uint64_t *match)
{
	(void)kvm, (void)size;
	cr_assert_not(pio);
	cr_assert_null(match);
	if (machine.doorbell_result)
		return machine.doorbell_result;
	machine.doorbell_fd[machine.doorbells] = fd;
	machine.doorbell_address[machine.doorbells++] = address;
	return 0;
}

int kvm_ioeventfd_remove(struct kvm *kvm, int fd, bool pio, uint64_t address, unsigned size,
			 const uint64_t *match)
{
	(void)kvm, (void)fd, (void)pio, (void)address, (void)size, (void)match;
	cr_assert_gt(machine.doorbells, 0);
	machine.doorbells--;
	return 0;
}

struct kvm *irq_router_kvm(struct irq_router *router)
{
	(void)router;
	return NULL;
}

int irq_msi_send(struct irq_router *router, uint32_t devid, const struct msi_message *message)
{
	(void)router;
	cr_assert_eq(devid, 0x28);
	cr_assert_eq(message->address, DRIVER_MSI);
	cr_assert_lt(message->data, 16);
	machine.messages[message->data]++;
	return 0;
}

const struct pci_host_bridge_config *pci_host_bridge_config(const struct pci_host_bridge *bridge)
{
	static struct pci_host_bridge_config config = {
		.windows.mem32 = {.base = 0xe0000000, .size = 0x10000000},
	};

	(void)bridge;
	return &config;
}

void pci_intx_set(struct pci_function *fn, unsigned pin, int level)
{
	cr_assert_eq(fn, machine.fn);
	cr_assert_eq(pin, 1);
	machine.intx = level;
	machine.intx_changes++;
}

/* Access to configuration space and the BAR. */

static inline uint32_t config_in(uint32_t offset, unsigned size)
{
	return machine.fn->ops->config_read(machine.fn, offset, size);
}

static inline void config_out(uint32_t offset, uint32_t value, unsigned size)
{
	machine.fn->ops->config_write(machine.fn, offset, value, size);
}

static inline uint64_t bar_in(uint64_t offset, unsigned size)
{
	cr_assert_not_null(machine.ops);
	return machine.ops->read(machine.ops_ctx, offset, size);
}

static inline void bar_out(uint64_t offset, uint64_t value, unsigned size)
{
	cr_assert_not_null(machine.ops);
	machine.ops->write(machine.ops_ctx, offset, value, size);
}

static inline uint32_t common_in(unsigned reg, unsigned size)
{
	return (uint32_t)bar_in(machine.common + reg, size);
}

static inline void common_out(unsigned reg, uint32_t value, unsigned size)
{
	bar_out(machine.common + reg, value, size);
}

static inline uint8_t status(void)
{
	return (uint8_t)common_in(VIRTIO_PCI_COMMON_STATUS, 1);
}

/* Before a device is made. */
static inline void machine_start(void)
{
	memset(&machine, 0, sizeof(machine));
	machine.ioas = fake_ioas();
	cr_assert_eq(loop_create(&machine.loop), 0);
}

static inline void find_structures(void)
{
	for (uint32_t at = config_in(PCI_CAPABILITY_LIST, 1); at; at = config_in(at + 1, 1)) {
		uint32_t offset = config_in(at + VIRTIO_PCI_CAP_OFFSET, 4);

		if (config_in(at, 1) == PCI_CAP_ID_MSIX) {
			machine.msix = at;
			machine.table = config_in(at + PCI_MSIX_TABLE, 4);
			machine.pba = config_in(at + PCI_MSIX_PBA, 4);
		}
		if (config_in(at, 1) != PCI_CAP_ID_VNDR)
			continue;
		switch (config_in(at + VIRTIO_PCI_CAP_CFG_TYPE, 1)) {
		case VIRTIO_PCI_CAP_COMMON_CFG:
			machine.common = offset;
			break;
		case VIRTIO_PCI_CAP_ISR_CFG:
			machine.isr = offset;
			break;
		case VIRTIO_PCI_CAP_DEVICE_CFG:
			machine.device = offset;
			break;
		case VIRTIO_PCI_CAP_NOTIFY_CFG:
			machine.notify = offset;
			machine.notify_step = config_in(at + VIRTIO_PCI_NOTIFY_CAP_MULT, 4);
			break;
		case VIRTIO_PCI_CAP_PCI_CFG:
			machine.window = at;
			break;
		}
	}
}

/* Put the function at 00:05.0, map its BAR and turn bus mastering on. */
static inline void machine_plug(struct pci_function *fn)
{
	machine.fn = fn;
	fn->bridge = (struct pci_host_bridge *)&machine;
	fn->windows = &pci_host_bridge_config(fn->bridge)->windows;
	fn->devfn = 5 << 3;
	config_out(PCI_BASE_ADDRESS_0, (uint32_t)DRIVER_BAR, 4);
	config_out(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	cr_assert_not_null(machine.ops);
	find_structures();
}

static inline void machine_end(void)
{
	pci_function_unmap_bars(machine.fn);
	cr_assert_null(machine.ops);
	cr_assert_eq(machine.doorbells, 0);
	machine.fn->ops->destroy(machine.fn);
	cr_assert_eq(fake_loop_sources(machine.loop), 0);
	cr_assert_eq(fake_pins, 0, "something stays pinned");
	loop_destroy(machine.loop);
}

/* Steps of a driver's life (virtio 1.2 section 3.1.1). */

static inline uint64_t driver_offered(void)
{
	uint64_t features;

	common_out(VIRTIO_PCI_COMMON_DFSELECT, 0, 4);
	features = common_in(VIRTIO_PCI_COMMON_DF, 4);
	common_out(VIRTIO_PCI_COMMON_DFSELECT, 1, 4);
	return features | (uint64_t)common_in(VIRTIO_PCI_COMMON_DF, 4) << 32;
}

/* Up to FEATURES_OK; returns whether the device took @features. */
static inline bool driver_begin(uint64_t features)
{
	common_out(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	cr_assert_eq(status(), 0);
	common_out(VIRTIO_PCI_COMMON_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE, 1);
	common_out(VIRTIO_PCI_COMMON_STATUS, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER,
		   1);
	common_out(VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	common_out(VIRTIO_PCI_COMMON_GF, (uint32_t)features, 4);
	common_out(VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	common_out(VIRTIO_PCI_COMMON_GF, (uint32_t)(features >> 32), 4);
	common_out(VIRTIO_PCI_COMMON_STATUS,
		   VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER |
			   VIRTIO_CONFIG_S_FEATURES_OK,
		   1);
	return status() & VIRTIO_CONFIG_S_FEATURES_OK;
}

static inline void driver_queue(unsigned index, struct ring *ring, uint64_t base, uint16_t size,
				uint16_t vector)
{
	ring_place(ring, base, size);
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, index, 2);
	common_out(VIRTIO_PCI_COMMON_Q_SIZE, size, 2);
	common_out(VIRTIO_PCI_COMMON_Q_MSIX, vector, 2);
	common_out(VIRTIO_PCI_COMMON_Q_DESCLO, (uint32_t)ring->desc, 4);
	common_out(VIRTIO_PCI_COMMON_Q_DESCHI, (uint32_t)(ring->desc >> 32), 4);
	common_out(VIRTIO_PCI_COMMON_Q_AVAILLO, (uint32_t)ring->avail, 4);
	common_out(VIRTIO_PCI_COMMON_Q_AVAILHI, (uint32_t)(ring->avail >> 32), 4);
	common_out(VIRTIO_PCI_COMMON_Q_USEDLO, (uint32_t)ring->used, 4);
	common_out(VIRTIO_PCI_COMMON_Q_USEDHI, (uint32_t)(ring->used >> 32), 4);
	common_out(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
}

/* Vector i sends data i. */
static inline void driver_msix(unsigned vectors)
{
	for (unsigned i = 0; i < vectors; i++) {
		bar_out(machine.table + 16 * i, DRIVER_MSI, 8);
		bar_out(machine.table + 16 * i + 8, i, 4);
		bar_out(machine.table + 16 * i + 12, 0, 4);
	}
	config_out(machine.msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
}

static inline void driver_ok(void)
{
	common_out(VIRTIO_PCI_COMMON_STATUS, status() | VIRTIO_CONFIG_S_DRIVER_OK, 1);
}

/* Let the loop serve what is ready until nothing is. */
static inline void driver_wait(void)
{
	for (unsigned i = 0; i < 1000 && fake_loop_step(machine.loop, 1000) > 0; i++)
		;
}

/* Ring the doorbell as KVM does where it watches the address, else through the BAR. */
static inline void driver_notify(unsigned queue)
{
	uint64_t offset = machine.notify + machine.notify_step * queue;

	for (unsigned i = 0; i < machine.doorbells; i++) {
		if (machine.doorbell_address[i] != machine.base + offset)
			continue;
		eventfd_write(machine.doorbell_fd[i], 1);
		return;
	}
	bar_out(offset, queue, 2);
}

#endif
