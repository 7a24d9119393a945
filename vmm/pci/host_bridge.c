/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/pci/host_bridge.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "vmm/base/bus.h"
#include "vmm/base/irq.h"
#include "vmm/pci/root_port.h"

#define VENDOR_REDHAT      0x1b36
#define DEVICE_HOST_BRIDGE 0x0008 /* QEMU's generic PCIe host bridge; Linux has no quirk for it */

#define CLASS_HOST_BRIDGE 0x060000

#define BUS_SHIFT   20 /* PCI Express 6.0 section 7.2.2, table 7-1 */
#define DEVFN_SHIFT 12

/* ---- configuration accesses ------------------------------------------------------------------- */

/* Who answers at @bus, @devfn: bus numbers below ports are what the guest wrote last. */
static struct pci_function *find_function(const struct pci_host_bridge *bridge, unsigned bus,
					  unsigned devfn)
{
	if (bus == 0)
		return devfn % 8 ? NULL : bridge->root[devfn / 8];
	for (unsigned i = 0; i < PCI_ROOT_DEVICES; i++) {
		const struct pci_root_port *port = bridge->ports[i];

		if (port && port->fn.config[PCI_SECONDARY_BUS] == bus)
			return pci_root_port_find(port, (uint8_t)devfn);
	}
	return NULL;
}

/* @offset + @size stays inside one aligned dword. */
static uint32_t config_read(struct pci_host_bridge *bridge, unsigned bus, unsigned devfn,
			    uint32_t offset, unsigned size)
{
	struct pci_function *fn;
	uint32_t value = UINT32_MAX >> (32 - 8 * size);

	pci_lock(bridge);
	fn = find_function(bridge, bus, devfn);
	if (fn)
		value = fn->ops->config_read ? fn->ops->config_read(fn, offset, size)
					     : pci_function_default_read(fn, offset, size);
	pci_unlock(bridge);
	return value;
}

static void config_write(struct pci_host_bridge *bridge, unsigned bus, unsigned devfn,
			 uint32_t offset, uint32_t value, unsigned size)
{
	struct pci_function *fn;

	pci_lock(bridge);
	fn = find_function(bridge, bus, devfn);
	if (fn && fn->ops->config_write)
		fn->ops->config_write(fn, offset, value, size);
	else if (fn)
		pci_function_default_write(fn, offset, value, size);
	pci_unlock(bridge);
}

/* How much of an access at @offset can be done at once: 1, 2 or 4 bytes, aligned. */
static unsigned piece(uint64_t offset, unsigned left)
{
	if (offset % 4 == 0 && left >= 4)
		return 4;
	if (offset % 2 == 0 && left >= 2)
		return 2;
	return 1;
}

static uint64_t ecam_read(void *ctx, uint64_t offset, unsigned size)
{
	struct pci_host_bridge *bridge = ctx;
	uint64_t value = 0;

	for (unsigned done = 0, n; done < size; done += n) {
		uint64_t at = offset + done;

		n = piece(at, size - done);
		value |= (uint64_t)config_read(bridge, (unsigned)(at >> BUS_SHIFT),
					       at >> DEVFN_SHIFT & 0xff, at % PCI_CONFIG_SIZE, n)
			 << 8 * done;
	}
	return value;
}

static void ecam_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct pci_host_bridge *bridge = ctx;

	for (unsigned done = 0, n; done < size; done += n) {
		uint64_t at = offset + done;

		n = piece(at, size - done);
		config_write(bridge, (unsigned)(at >> BUS_SHIFT), at >> DEVFN_SHIFT & 0xff,
			     at % PCI_CONFIG_SIZE, (uint32_t)(value >> 8 * done), n);
	}
}

static const struct bus_ops ecam_ops = {.read = ecam_read, .write = ecam_write};

/* ---- the root bus ----------------------------------------------------------------------------- */

void pci_lock(struct pci_host_bridge *bridge)
{
	pthread_mutex_lock(&bridge->lock);
}

void pci_unlock(struct pci_host_bridge *bridge)
{
	pthread_mutex_unlock(&bridge->lock);
}

const struct pci_host_bridge_config *pci_host_bridge_config(const struct pci_host_bridge *bridge)
{
	return &bridge->config;
}

void pci_function_attach(struct pci_function *fn, struct pci_host_bridge *bridge, uint8_t devfn,
			 uint8_t root_device, const uint8_t *bus)
{
	fn->bridge = bridge;
	fn->windows = &bridge->config.windows;
	fn->devfn = devfn;
	fn->root_device = root_device;
	fn->bus = bus;
}

static void drop_lines(struct pci_function *fn, bool dead)
{
	struct pci_host_bridge *bridge = fn->bridge;

	for (unsigned pin = 1; pin <= 4; pin++)
		pci_intx_set(fn, pin, 0);
	if (!dead)
		return;
	pthread_mutex_lock(&bridge->line_lock);
	fn->intx |= PCI_INTX_DEAD;
	pthread_mutex_unlock(&bridge->line_lock);
}

void pci_function_detach(struct pci_function *fn)
{
	pci_function_unmap_bars(fn);
	fn->windows = NULL;
	drop_lines(fn, true);
}

int pci_root_attach(struct pci_host_bridge *bridge, struct pci_function *fn, int device)
{
	if (device >= PCI_ROOT_DEVICES || device == 0 || device < -1)
		return -EINVAL;
	if (device < 0) {
		for (device = 1; device < PCI_ROOT_DEVICES && bridge->root[device];)
			device++;
		if (device == PCI_ROOT_DEVICES)
			return -ENOSPC;
	}
	if (bridge->root[device])
		return -EBUSY;
	bridge->root[device] = fn;
	pci_function_attach(fn, bridge, (uint8_t)(device << 3), (uint8_t)device, &bridge->bus);
	return device;
}

int pci_root_add(struct pci_host_bridge *bridge, struct pci_function *fn, int device)
{
	int err;

	pci_lock(bridge);
	err = pci_root_attach(bridge, fn, device);
	pci_unlock(bridge);
	return err < 0 ? err : 0;
}

static const struct pci_function_ops own_ops = {0};

int pci_host_bridge_create(const struct pci_host_bridge_config *config,
			   struct pci_host_bridge **out)
{
	struct pci_host_bridge *bridge;
	int err;

	if (config->bus_count < 1 || config->bus_count > 256)
		return -EINVAL;
	bridge = calloc(1, sizeof(*bridge));
	if (!bridge)
		return -ENOMEM;
	bridge->config = *config;
	pthread_mutex_init(&bridge->lock, NULL);
	pthread_mutex_init(&bridge->line_lock, NULL);

	pci_function_init(&bridge->fn, &own_ops, "host bridge", VENDOR_REDHAT, DEVICE_HOST_BRIDGE,
			  CLASS_HOST_BRIDGE, 0);
	bridge->root[0] = &bridge->fn;
	pci_function_attach(&bridge->fn, bridge, 0, 0, &bridge->bus);

	err = bus_add(config->mmio, config->ecam_base, (uint64_t)config->bus_count << BUS_SHIFT,
		      &ecam_ops, bridge, "pci configuration");
	if (err)
		goto free_bridge;
	*out = bridge;
	return 0;

free_bridge:
	pthread_mutex_destroy(&bridge->line_lock);
	pthread_mutex_destroy(&bridge->lock);
	free(bridge);
	return err;
}

void pci_host_bridge_destroy(struct pci_host_bridge *bridge)
{
	if (!bridge)
		return;
	bus_remove(bridge->config.mmio, bridge->config.ecam_base, bridge);

	for (unsigned i = PCI_ROOT_DEVICES; i-- > 1;) {
		struct pci_function *fn = bridge->root[i];

		if (!fn)
			continue;
		if (bridge->ports[i])
			pci_root_port_clear(bridge->ports[i]);
		pci_function_detach(fn);
		bridge->root[i] = NULL;
		bridge->ports[i] = NULL;
		if (fn->ops->destroy)
			fn->ops->destroy(fn);
	}
	pthread_mutex_destroy(&bridge->line_lock);
	pthread_mutex_destroy(&bridge->lock);
	free(bridge);
}

static void reset_function(struct pci_function *fn)
{
	pci_function_reset(fn);
	drop_lines(fn, false);
}

int pci_host_bridge_reset(struct pci_host_bridge *bridge)
{
	pci_lock(bridge);
	/* From the leaves up: a function is reset before the port that leads to it. */
	for (unsigned i = 0; i < PCI_ROOT_DEVICES; i++) {
		struct pci_root_port *port = bridge->ports[i];

		if (!port)
			continue;
		pci_root_port_finish_unplug(port);
		for (unsigned j = 0; j < PCI_PORT_FUNCTIONS; j++)
			if (port->functions[j])
				reset_function(port->functions[j]);
	}
	for (unsigned i = 0; i < PCI_ROOT_DEVICES; i++)
		if (bridge->root[i])
			reset_function(bridge->root[i]);
	pci_unlock(bridge);
	return pci_host_bridge_assign(bridge);
}

/* ---- INTx ------------------------------------------------------------------------------------- */

/*
 * Below a port there is device 0 alone, so the port's own swizzle changes nothing and only its place
 * on the root bus counts (PCI-to-PCI Bridge 1.2 section 9.1).
 */
static unsigned line_of(const struct pci_function *fn, unsigned pin)
{
	return (fn->root_device + pin - 1) % 4;
}

uint32_t pci_intx_gsi(const struct pci_function *fn, unsigned pin)
{
	return fn->bridge->config.intx_gsi[line_of(fn, pin)];
}

void pci_intx_set(struct pci_function *fn, unsigned pin, int level)
{
	struct pci_host_bridge *bridge = fn->bridge;
	unsigned line, before;
	uint8_t bit;

	if (!bridge || pin < 1 || pin > 4)
		return;
	bit = (uint8_t)(1u << (pin - 1));
	line = line_of(fn, pin);
	/* The lock also keeps the calls to the router in the order of the counts. */
	pthread_mutex_lock(&bridge->line_lock);
	if (!(fn->intx & PCI_INTX_DEAD) && !!(fn->intx & bit) != !!level) {
		fn->intx ^= bit;
		before = bridge->asserted[line];
		bridge->asserted[line] += level ? 1 : -1u;
		if (!before || !bridge->asserted[line])
			irq_line_set(bridge->config.irq, bridge->config.intx_gsi[line], level != 0);
	}
	pthread_mutex_unlock(&bridge->line_lock);
}
