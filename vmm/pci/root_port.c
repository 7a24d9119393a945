/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PCIe root port with a hotplug slot. PCI Express 6.0: section 6.7 (hotplug), 7.5.1.3 (type 1
 * header), 7.5.3 (PCI Express capability), 7.7.11 (ACS).
 *
 * The slot has an attention button (the host asks by it), a power controller (the guest gives a card
 * back by it) and a power indicator (which shows that the guest is at work). Commands complete at
 * once, and the slot says so (No Command Completed Support): else Linux waits for an interrupt at
 * every one of them.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "vmm/base/irq.h"
#include "vmm/base/log.h"
#include "vmm/pci/root_port.h"

#define VENDOR_REDHAT    0x1b36
#define DEVICE_ROOT_PORT 0x000c /* QEMU's generic root port, without a quirk in Linux */
#define CLASS_PCI_BRIDGE 0x060400

#define EXPRESS_SIZE 0x3c
#define MSI_SIZE     14 /* one vector, 64-bit address, no mask bits */
#define ACS_SIZE     8

/* What Linux asks of every port above a device that is to have PASIDs (drivers/pci/ats.c). */
#define ACS_CAPABILITIES (PCI_ACS_SV | PCI_ACS_RR | PCI_ACS_CR | PCI_ACS_UF)

/* Events below bit 5 are enabled by the same bits of the control register. */
#define SLOT_EVENTS_SAME_BIT 0x1f

#define SLOT_CAPABILITIES                                                                          \
	(PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_PIP | PCI_EXP_SLTCAP_HPS |       \
	 PCI_EXP_SLTCAP_HPC | PCI_EXP_SLTCAP_NCCS)

#define SLOT_CONTROL_WRITABLE                                                                      \
	(PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PFDE | PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_HPIE |   \
	 PCI_EXP_SLTCTL_PIC | PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_DLLSCE)

#define BRIDGE_CONTROL_WRITABLE                                                                    \
	(PCI_BRIDGE_CTL_PARITY | PCI_BRIDGE_CTL_SERR | PCI_BRIDGE_CTL_ISA | PCI_BRIDGE_CTL_VGA |   \
	 PCI_BRIDGE_CTL_BUS_RESET)

/* ---- registers -------------------------------------------------------------------------------- */

uint16_t pci_root_port_express(const struct pci_root_port *port, uint32_t reg)
{
	return (uint16_t)pci_get(port->fn.config, port->express + reg, 2);
}

void pci_root_port_set_express(struct pci_root_port *port, uint32_t reg, uint32_t clear,
			       uint32_t set)
{
	pci_set(port->fn.config, port->express + reg,
		(pci_root_port_express(port, reg) & ~clear) | set, 2);
}

/* A base above its limit: the window passes nothing (PCI-to-PCI Bridge 1.2 section 3.2.5). */
static const struct pci_bridge_windows closed;

/* What a register reads after power-on, or which of its bits the guest can write. */
struct declared {
	uint8_t offset, size;
	enum __attribute__((packed)) { READS, WRITABLE } what;
	uint32_t bits;
};

static const struct declared header_registers[] = {
	{PCI_HEADER_TYPE, 1, READS, PCI_HEADER_TYPE_BRIDGE},
	{PCI_INTERRUPT_PIN, 1, READS, 1},
	{PCI_PRIMARY_BUS, 3, WRITABLE, 0xffffff},
	{PCI_MEMORY_BASE, 4, WRITABLE, 0xfff0fff0},
	{PCI_BRIDGE_CONTROL, 2, WRITABLE, BRIDGE_CONTROL_WRITABLE},
};

static const struct declared express_registers[] = {
	{PCI_EXP_FLAGS, 2, READS, 2 | PCI_EXP_TYPE_ROOT_PORT << 4 | PCI_EXP_FLAGS_SLOT},
	{PCI_EXP_DEVCAP, 4, READS, PCI_EXP_DEVCAP_EXT_TAG | PCI_EXP_DEVCAP_RBER},
	{PCI_EXP_DEVCTL, 2, WRITABLE,
	 PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE |
		 PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_EXT_TAG},
	{PCI_EXP_LNKCAP, 4, READS,
	 PCI_PORT_LINK_SPEED | PCI_PORT_LINK_WIDTH << 4 | PCI_EXP_LNKCAP_DLLLARC},
	{PCI_EXP_LNKCTL, 2, WRITABLE, PCI_EXP_LNKCTL_LD | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES},
	{PCI_EXP_SLTCTL, 2, WRITABLE, SLOT_CONTROL_WRITABLE},
	{PCI_EXP_RTCTL, 2, WRITABLE,
	 PCI_EXP_RTCTL_SECEE | PCI_EXP_RTCTL_SENFEE | PCI_EXP_RTCTL_SEFEE | PCI_EXP_RTCTL_PMEIE},
	/* Without End-End TLP prefixes on the way Linux enables no PASID. */
	{PCI_EXP_DEVCAP2, 4, READS, PCI_EXP_DEVCAP2_COMP_TMOUT_DIS | PCI_EXP_DEVCAP2_EE_PREFIX},
	{PCI_EXP_DEVCTL2, 2, WRITABLE, PCI_EXP_DEVCTL2_COMP_TMOUT_DIS},
	{PCI_EXP_LNKCAP2, 4, READS, PCI_PORT_LINK_SPEEDS},
	{PCI_EXP_LNKCTL2, 2, WRITABLE, PCI_EXP_LNKCTL2_TLS}, /* and set_defaults() */
};

static const struct declared msi_registers[] = {
	{PCI_MSI_FLAGS, 2, READS, PCI_MSI_FLAGS_64BIT},
	{PCI_MSI_FLAGS, 2, WRITABLE, PCI_MSI_FLAGS_ENABLE},
	{PCI_MSI_ADDRESS_LO, 4, WRITABLE, 0xfffffffc},
	{PCI_MSI_ADDRESS_HI, 4, WRITABLE, 0xffffffff},
	{PCI_MSI_DATA_64, 2, WRITABLE, 0xffff},
};

static const struct declared subsystem_registers[] = {
	{PCI_SSVID_VENDOR_ID, 2, READS, VENDOR_REDHAT},
	{PCI_SSVID_DEVICE_ID, 2, READS, DEVICE_ROOT_PORT},
};

static const struct declared acs_registers[] = {
	{PCI_ACS_CAP, 2, READS, ACS_CAPABILITIES},
	{PCI_ACS_CTRL, 2, WRITABLE, ACS_CAPABILITIES},
};

static void declare(struct pci_function *fn, int at, const struct declared *list, size_t bytes)
{
	for (const struct declared *r = list; r < list + bytes / sizeof(*r); r++)
		pci_set(r->what == WRITABLE ? fn->writable : fn->config, (uint32_t)at + r->offset,
			r->bits, r->size);
}

static void declare_registers(struct pci_root_port *port)
{
	struct pci_function *fn = &port->fn;
	int at;

	declare(fn, 0, header_registers, sizeof(header_registers));
	at = pci_function_add_capability(fn, PCI_CAP_ID_EXP, EXPRESS_SIZE);
	port->express = (uint8_t)at;
	declare(fn, at, express_registers, sizeof(express_registers));
	/* The numbers of the port and of the slot. */
	fn->config[at + PCI_EXP_LNKCAP + 3] = fn->root_device;
	pci_set(fn->config, (uint32_t)at + PCI_EXP_SLTCAP,
		SLOT_CAPABILITIES | (uint32_t)fn->root_device << 19, 4);
	at = pci_function_add_capability(fn, PCI_CAP_ID_MSI, MSI_SIZE);
	port->msi = (uint8_t)at;
	declare(fn, at, msi_registers, sizeof(msi_registers));
	at = pci_function_add_capability(fn, PCI_CAP_ID_SSVID, 8);
	declare(fn, at, subsystem_registers, sizeof(subsystem_registers));
	at = pci_function_add_extended(fn, PCI_EXT_CAP_ID_ACS, 1, ACS_SIZE);
	declare(fn, at, acs_registers, sizeof(acs_registers));
}

/* Writable registers whose power-on value is not 0. */
static void set_defaults(struct pci_root_port *port)
{
	pci_set(port->fn.config, port->express + PCI_EXP_LNKCTL2, PCI_PORT_LINK_SPEED, 2);
	pci_root_port_set_windows(port, &closed);
	pci_root_port_settle(port);
}

void pci_root_port_set_bus(struct pci_root_port *port, uint8_t bus)
{
	port->fn.config[PCI_PRIMARY_BUS] = 0;
	port->fn.config[PCI_SECONDARY_BUS] = bus;
	port->fn.config[PCI_SUBORDINATE_BUS] = bus;
}

/* Base and limit, in units of 1 MiB: two registers side by side. */
static void set_memory_window(struct pci_function *fn, uint32_t reg, const struct pci_range *range,
			      uint32_t type)
{
	uint32_t base = range->base >> 16 & 0xfff0;
	uint32_t limit = (range->base + range->size - 1) >> 16 & 0xfff0;

	pci_set(fn->config, reg, (limit | type) << 16 | base | type, 4);
}

/*
 * An I/O or prefetchable window that got no room is not implemented at all (it reads 0): Linux would
 * otherwise try to find room for it once more, and complain.
 */
void pci_root_port_set_windows(struct pci_root_port *port, const struct pci_bridge_windows *windows)
{
	struct pci_function *fn = &port->fn;
	const struct pci_range *io = &windows->io, *mem = &windows->mem, *pre = &windows->prefetch;

	pci_set(fn->config, PCI_IO_BASE, 0, 2);
	pci_set(fn->writable, PCI_IO_BASE, 0, 2);
	if (io->size) {
		fn->config[PCI_IO_BASE] = io->base >> 8 & 0xf0;
		fn->config[PCI_IO_LIMIT] = (io->base + io->size - 1) >> 8 & 0xf0;
		pci_set(fn->writable, PCI_IO_BASE, 0xf0f0, 2);
	}

	if (mem->size)
		set_memory_window(fn, PCI_MEMORY_BASE, mem, 0);
	else /* base above limit */
		pci_set(fn->config, PCI_MEMORY_BASE, 0xfff0, 4);

	memset(fn->config + PCI_PREF_MEMORY_BASE, 0, 12);
	memset(fn->writable + PCI_PREF_MEMORY_BASE, 0, 12);
	if (pre->size) {
		uint64_t last = pre->base + pre->size - 1;

		set_memory_window(fn, PCI_PREF_MEMORY_BASE, pre, PCI_PREF_RANGE_TYPE_64);
		pci_set(fn->config, PCI_PREF_BASE_UPPER32, (uint32_t)(pre->base >> 32), 4);
		pci_set(fn->config, PCI_PREF_LIMIT_UPPER32, (uint32_t)(last >> 32), 4);
		memset(fn->writable + PCI_PREF_MEMORY_BASE, 0xff, 12);
		pci_set(fn->writable, PCI_PREF_MEMORY_BASE, 0xfff0fff0, 4);
	}
}

/* ---- interrupts ------------------------------------------------------------------------------- */

/*
 * Section 6.7.3.4: an MSI is sent when "some enabled event is pending" becomes true; INTA follows it.
 */
void pci_root_port_update_interrupt(struct pci_root_port *port)
{
	struct pci_function *fn = &port->fn;
	uint16_t command = (uint16_t)pci_get(fn->config, PCI_COMMAND, 2);
	uint16_t control = pci_root_port_express(port, PCI_EXP_SLTCTL);
	uint16_t status = pci_root_port_express(port, PCI_EXP_SLTSTA);
	bool msi = fn->config[port->msi + PCI_MSI_FLAGS] & PCI_MSI_FLAGS_ENABLE;
	bool pending = (status & control & SLOT_EVENTS_SAME_BIT) ||
		       (status & PCI_EXP_SLTSTA_DLLSC && control & PCI_EXP_SLTCTL_DLLSCE);
	bool condition = pending && control & PCI_EXP_SLTCTL_HPIE;
	bool send = condition && msi && command & PCI_COMMAND_MASTER;

	if (send && !port->signalled) {
		const struct msi_message message = {
			.address = pci_get(fn->config, port->msi + PCI_MSI_ADDRESS_LO, 4) |
				   (uint64_t)pci_get(fn->config, port->msi + PCI_MSI_ADDRESS_HI, 4)
					   << 32,
			.data = pci_get(fn->config, port->msi + PCI_MSI_DATA_64, 2),
		};
		int err = irq_msi_send(fn->bridge->config.irq, pci_function_bdf(fn), &message);

		if (err)
			log_debug("pci %s: interrupt not delivered: %s", fn->id, strerror(-err));
	}
	port->signalled = send;

	if (condition && !msi)
		fn->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		fn->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	pci_intx_set(fn, 1, condition && !msi && !(command & PCI_COMMAND_INTX_DISABLE));
}

void pci_root_port_raise(struct pci_root_port *port, uint16_t events)
{
	pci_root_port_set_express(port, PCI_EXP_SLTSTA, 0, events);
	pci_root_port_update_interrupt(port);
}

/* ---- guest accesses --------------------------------------------------------------------------- */

static void port_write(struct pci_function *fn, uint32_t offset, uint32_t value, unsigned size)
{
	struct pci_root_port *port = (struct pci_root_port *)fn; /* its first member */
	uint16_t slot = pci_root_port_express(port, PCI_EXP_SLTCTL);
	uint16_t link = pci_root_port_express(port, PCI_EXP_LNKCTL);
	bool reset = pci_root_port_in_reset(port);

	/* Event bits are cleared by writing ones, byte by byte as the access covers them. */
	for (unsigned i = 0; i < size; i++) {
		uint32_t at = offset + i - (port->express + PCI_EXP_SLTSTA);

		if (at < 2)
			fn->config[offset + i] &=
				(uint8_t) ~(value >> 8 * i & PCI_SLOT_EVENTS >> 8 * at);
	}
	pci_function_default_write(fn, offset, value, size);

	if ((slot ^ pci_root_port_express(port, PCI_EXP_SLTCTL)) & PCI_EXP_SLTCTL_PCC)
		pci_root_port_power_changed(port);
	if ((link ^ pci_root_port_express(port, PCI_EXP_LNKCTL)) & PCI_EXP_LNKCTL_LD)
		pci_root_port_link_control_changed(port);
	if (reset != pci_root_port_in_reset(port))
		pci_root_port_bus_reset_changed(port);
	pci_root_port_update_interrupt(port);
}

static void port_reset(struct pci_function *fn)
{
	set_defaults((struct pci_root_port *)fn);
}

static void port_destroy(struct pci_function *fn)
{
	free(fn);
}

static const struct pci_function_ops port_ops = {
	.config_write = port_write,
	.reset = port_reset,
	.destroy = port_destroy,
};

int pci_root_port_create(struct pci_host_bridge *bridge, int device, struct pci_root_port **out)
{
	struct pci_root_port *port = calloc(1, sizeof(*port));
	int number;

	if (!port)
		return -ENOMEM;
	pci_function_init(&port->fn, &port_ops, port->id, VENDOR_REDHAT, DEVICE_ROOT_PORT,
			  CLASS_PCI_BRIDGE, 0);
	pci_lock(bridge);
	number = pci_root_attach(bridge, &port->fn, device);
	if (number >= 0) {
		snprintf(port->id, sizeof(port->id), "root port %d", number);
		declare_registers(port);
		set_defaults(port);
		bridge->ports[number] = port;
		*out = port;
	}
	pci_unlock(bridge);
	if (number < 0)
		free(port);
	return number < 0 ? number : 0;
}

unsigned pci_root_port_device(const struct pci_root_port *port)
{
	return port->fn.root_device;
}
