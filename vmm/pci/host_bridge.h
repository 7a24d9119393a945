/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ECAM host bridge with the root bus (segment 0, bus 0), and the lock of configuration space.
 */
#ifndef SLUICE_PCI_HOST_BRIDGE_H
#define SLUICE_PCI_HOST_BRIDGE_H

#include <stdint.h>

#include "vmm/pci/window.h"

struct bus;
struct irq_router;
struct loop;
struct pci_function;
struct pci_host_bridge;
struct pci_root_port;

struct pci_host_bridge_config {
	/*
	 * Guest memory bus, with the ECAM, and port bus, or NULL: functions have their BARs there. There
	 * are no configuration ports (0xcf8, 0xcfc): a guest that has both would take two exits by them
	 * where the ECAM takes one.
	 */
	struct bus *mmio, *pio;
	struct irq_router *irq;
	struct loop *loop;
	uint64_t ecam_base;         /* 1 MiB per bus */
	unsigned bus_count;         /* 1..256 */
	struct pci_windows windows; /* what the bridge may decode (window.h) */
	/*
	 * Where INTA..INTD of the root bus arrive. Pin p (0..3) of root bus device d reaches
	 * intx_gsi[(d + p) % 4]; the tables for the guest (_PRT or FDT) have to say the same.
	 */
	uint32_t intx_gsi[4];
};

/* -EINVAL bad bus_count, -ENOMEM, or what bus_add() answered. */
int pci_host_bridge_create(const struct pci_host_bridge_config *config,
			   struct pci_host_bridge **out);
/* After vCPUs and loop have ended. Destroys every function that is plugged in. */
void pci_host_bridge_destroy(struct pci_host_bridge *bridge);
const struct pci_host_bridge_config *pci_host_bridge_config(const struct pci_host_bridge *bridge);

/* The configuration lock. Taken by every guest access; recursion is an error. */
void pci_lock(struct pci_host_bridge *bridge);
void pci_unlock(struct pci_host_bridge *bridge);

/*
 * Put an emulated function on the root bus at @device (1..31; -1: the first free one), function 0.
 * -EINVAL no such device number, -EBUSY taken, -ENOSPC none free. The bridge calls ops->destroy at
 * its own end.
 */
int pci_root_add(struct pci_host_bridge *bridge, struct pci_function *fn, int device);

/*
 * Add a root port at @device (-1: first free), before the guest runs. Its slot takes part in native
 * hotplug, the physical slot number is the device number. Up to 8 functions (one multi-function
 * package) can be plugged below it. Errors as of pci_root_add(), -ENOMEM.
 */
int pci_root_port_create(struct pci_host_bridge *bridge, int device, struct pci_root_port **out);

/* The port's device number on the root bus. */
unsigned pci_root_port_device(const struct pci_root_port *port);

/*
 * Plug @fn in at function number @function (0..7) below the port. Before the guest runs, or later:
 * then the guest is told by link and presence events, when function 0 comes; so that one is last.
 * -EINVAL no such number, -EBUSY taken, or functions unplugged earlier are not destroyed yet.
 */
int pci_root_port_plug(struct pci_root_port *port, struct pci_function *fn, unsigned function);

enum pci_unplug_how {
	PCI_UNPLUG_ASK,   /* attention button: the guest decides, and powers the slot off */
	PCI_UNPLUG_FORCE, /* link and presence go down now, as when a card is pulled */
};

/*
 * Take all functions below the port out. @done(@ctx) (may be NULL) runs on the loop thread once they
 * are unreachable and destroyed; with ASK that is after the guest powered the slot off, maybe never
 * (Linux blinks 5 s first), or at a machine reset. A later request replaces the @done of an earlier
 * one that has not happened yet: of all accepted requests, the last is called back.
 *
 * 0 accepted; -ENODEV nothing plugged in; -EALREADY the same request is under way (FORCE overrides
 * ASK). To ask again is accepted, and presses the button again, when the guest has taken note of the
 * press but shows no sign of work: it was booting, or had cancelled.
 */
int pci_root_port_unplug(struct pci_root_port *port, enum pci_unplug_how how,
			 void (*done)(void *ctx), void *ctx);

/*
 * Assign bus numbers, bridge windows and BAR addresses to everything plugged in (window.h plan) and
 * write them into the registers, as firmware would. Decode stays off; the guest turns it on. Slots
 * are left powered when there is a card. -ENOSPC with a message naming the BAR that found no room.
 */
int pci_host_bridge_assign(struct pci_host_bridge *bridge);

/*
 * Machine reset, with the vCPUs stopped: every function and port back to power-on state, then
 * pci_host_bridge_assign(). Unplugs the guest was asked for happen now.
 */
int pci_host_bridge_reset(struct pci_host_bridge *bridge);

/*
 * Level of an INTx pin (1..4 = INTA..INTD) of a function; the bridge swizzles and ORs the shared
 * lines onto its four GSIs. For passed-through devices with irqfd: which GSI that pin reaches.
 * Any thread.
 */
void pci_intx_set(struct pci_function *fn, unsigned pin, int level);
uint32_t pci_intx_gsi(const struct pci_function *fn, unsigned pin);

#endif
