/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside vmm/pci only: what the host bridge and its root ports know of each other.
 *
 * The tree has two levels: the root bus with one function per device number, and below a root port
 * one bus with device 0 alone, as on any PCIe link.
 */
#ifndef SLUICE_PCI_TOPOLOGY_H
#define SLUICE_PCI_TOPOLOGY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "vmm/pci/function.h"
#include "vmm/pci/host_bridge.h"

#define PCI_ROOT_DEVICES 32

/* In fn->intx: the function is on its way out, its pins are dead. */
#define PCI_INTX_DEAD 0x80

struct pci_host_bridge {
	struct pci_host_bridge_config config;
	pthread_mutex_t lock;   /* configuration space of the whole machine */
	struct pci_function fn; /* 00:00.0 */
	uint8_t bus;            /* 0: where the functions of the root bus find their number */
	struct pci_function *root[PCI_ROOT_DEVICES];
	struct pci_root_port *ports[PCI_ROOT_DEVICES]; /* those of root[] that are ports */

	pthread_mutex_t line_lock; /* INTx; taken inside of any other lock */
	unsigned asserted[4];      /* how many pins drive each of intx_gsi[] */
};

/*
 * Give @fn its place, or take it away. Under the lock. Attaching maps nothing, detaching unmaps all
 * and lets go of INTx for good.
 */
void pci_function_attach(struct pci_function *fn, struct pci_host_bridge *bridge, uint8_t devfn,
			 uint8_t root_device, const uint8_t *bus);
void pci_function_detach(struct pci_function *fn);

/* pci_root_add() under the lock. The device number, or -EBUSY, -ENOSPC. */
int pci_root_attach(struct pci_host_bridge *bridge, struct pci_function *fn, int device);

#endif
