/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside vmm/pci only: root ports and their slots (host_bridge.h has what others may use). All of it
 * is under the configuration lock.
 */
#ifndef SLUICE_PCI_ROOT_PORT_H
#define SLUICE_PCI_ROOT_PORT_H

#include <linux/pci_regs.h>

#include "vmm/pci/topology.h"

#define PCI_PORT_FUNCTIONS 8

/*
 * The fastest link there is, so that no device below reports to be held back by its port (Linux
 * compares the two and says so).
 */
#define PCI_PORT_LINK_SPEED  PCI_EXP_LNKCAP_SLS_32_0GB
#define PCI_PORT_LINK_WIDTH  16
#define PCI_PORT_LINK_SPEEDS 0x3e /* 2.5 to 32 GT/s, LNKCAP2 */

/* The events of the slot status register, cleared by writing ones. */
#define PCI_SLOT_EVENTS                                                                            \
	(PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PFD | PCI_EXP_SLTSTA_MRLSC | PCI_EXP_SLTSTA_PDC |     \
	 PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC)
struct pci_root_port {
	struct pci_function fn; /* the port itself, type 1 */
	char id[24];
	uint8_t express, msi; /* offsets of its capabilities */

	struct pci_function *functions[PCI_PORT_FUNCTIONS]; /* plugged in; the card */
	bool link;      /* data link layer active: the card answers */
	bool signalled; /* the interrupt condition was true when last looked at */

	bool asked; /* the attention button was pressed for an unplug that has not happened yet */
	void (*done)(void *ctx); /* of the unplug that is asked for or under way */
	void *done_ctx;

	struct pci_function *leaving[PCI_PORT_FUNCTIONS]; /* unreachable, not destroyed yet */
	bool posted;                                      /* their end is queued on the loop */
};

/* ---- root_port.c: registers and interrupts ---------------------------------------------------- */

/* The 16-bit register @reg (PCI_EXP_*) of the PCI Express capability. */
uint16_t pci_root_port_express(const struct pci_root_port *port, uint32_t reg);
void pci_root_port_set_express(struct pci_root_port *port, uint32_t reg, uint32_t clear,
			       uint32_t set);
void pci_root_port_update_interrupt(struct pci_root_port *port);
/* Set event bits of the slot status and tell the guest. */
void pci_root_port_raise(struct pci_root_port *port, uint16_t events);
void pci_root_port_set_bus(struct pci_root_port *port, uint8_t bus);
void pci_root_port_set_windows(struct pci_root_port *port,
			       const struct pci_bridge_windows *windows);

/* ---- slot.c: the card ------------------------------------------------------------------------- */

/* The function that answers at @devfn of the port's secondary bus now, or NULL. */
struct pci_function *pci_root_port_find(const struct pci_root_port *port, uint8_t devfn);
/* Is the secondary bus held in reset? */
bool pci_root_port_in_reset(const struct pci_root_port *port);
/* The guest changed power, link disable or bus reset in the registers. */
void pci_root_port_power_changed(struct pci_root_port *port);
void pci_root_port_link_control_changed(struct pci_root_port *port);
void pci_root_port_bus_reset_changed(struct pci_root_port *port);
/* The slot as firmware leaves it: no events pending, power on when there is a card. */
void pci_root_port_settle(struct pci_root_port *port);
/* An unplug that the guest was asked for happens now: it will not answer any more. */
void pci_root_port_finish_unplug(struct pci_root_port *port);
/* Machine end: destroy the functions below, call nobody back. */
void pci_root_port_clear(struct pci_root_port *port);

#endif
