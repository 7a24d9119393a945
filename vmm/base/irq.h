/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Interrupt routes: global system interrupt numbers (GSIs), message routes and their batching.
 *
 * KVM_SET_GSI_ROUTING replaces the whole table, so routes are changed in memory and committed once.
 * The interrupt controller itself (IOAPIC and LAPIC, or GIC and ITS) is behind arch/arch.h.
 */
#ifndef SLUICE_BASE_IRQ_H
#define SLUICE_BASE_IRQ_H

#include <stdbool.h>
#include <stdint.h>

struct kvm;
struct irq_router;

struct msi_message {
	uint64_t address;
	uint32_t data;
};

/*
 * @first_msi: the first GSI free for message routes (above the controller's pins). Takes a reference
 * to @kvm. Returns 0 or -ENOMEM. All functions are for any thread.
 */
int irq_router_create(struct kvm *kvm, uint32_t first_msi, struct irq_router **out);
void irq_router_destroy(struct irq_router *router);

/*
 * Add the fixed route of a controller pin (arch code, before the first commit). One GSI may reach a
 * pin of several chips. -EINVAL: not below first_msi, there already, or the table is full; -ENOMEM.
 */
int irq_router_add_pin(struct irq_router *router, uint32_t gsi, uint32_t chip, uint32_t pin);

/*
 * Reserve a GSI for one message vector of the function with requester id @devid (needed on arm64,
 * kept on x86). The route is empty until irq_msi_set(). -ENOSPC when the table is full (4096 routes
 * with the pins, GSI 4095), -ENOMEM. Calls with a GSI that is not reserved do nothing.
 */
int irq_msi_alloc(struct irq_router *router, uint32_t devid, uint32_t *gsi);
void irq_msi_free(struct irq_router *router, uint32_t gsi);

/* Change the message of a GSI in memory; takes effect with the next commit. */
void irq_msi_set(struct irq_router *router, uint32_t gsi, const struct msi_message *message);
/* The route goes, the GSI stays reserved: an irqfd on it delivers nothing after the commit. */
void irq_msi_clear(struct irq_router *router, uint32_t gsi);
/*
 * Write the table to KVM when anything changed since the last commit. 0 or -errno. KVM refuses some
 * messages (x86 with 32-bit APIC ids): these lose their route, all others are in force, and -EINVAL
 * is returned. With any other error nothing changed, and the next commit tries again.
 */
int irq_router_commit(struct irq_router *router);

/* Send one message now, without a route (virtio, root ports; not for a data path). */
int irq_msi_send(struct irq_router *router, uint32_t devid, const struct msi_message *message);

/* Drive a controller pin by hand (shared INTx wiring is the caller's business). */
int irq_line_set(struct irq_router *router, uint32_t gsi, bool level);

struct kvm *irq_router_kvm(struct irq_router *router);

#endif
