/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plan: from what the guest programmed into MSI or MSI-X to what device and KVM have to be told.
 *
 * A vector on its way to the guest has three links, made in this order and each kept as long as it
 * does no harm, since guests mask and unmask often and reprogram seldom:
 *
 *   armed   the device signals the vector's eventfd (VFIO_DEVICE_SET_IRQS)
 *   routed  the message stands in KVM's routing table (one ioctl writes the whole table)
 *   linked  an irqfd takes the eventfd to the route: the guest is interrupted without an exit
 *
 * A vector is masked by taking its irqfd away, and nothing else: the eventfd collects, which is the
 * pending bit, and KVM delivers what it holds when the irqfd comes back (virt/kvm/eventfd.c).
 *
 * Linux enables MSI-X with the function masked, programs all entries, and unmasks the function
 * before any vector: all programmed vectors are armed and routed then, with one call each.
 */
#ifndef SLUICE_VFIO_FRONT_VECTOR_PLAN_H
#define SLUICE_VFIO_FRONT_VECTOR_PLAN_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/irq.h"

#define VECTOR_MAX 2048

enum {
	/* What a vector has. */
	VECTOR_ARMED = 1 << 0,
	VECTOR_ROUTED = 1 << 1,
	VECTOR_LINKED = 1 << 2,
	/* A step on this vector failed: reported, not tried again until the next enable. */
	VECTOR_FAILED = 1 << 3,
};

enum {
	/* What has to be done to a vector. */
	VECTOR_UNLINK = 1 << 0,
	VECTOR_ARM = 1 << 1,
	VECTOR_ROUTE = 1 << 2,
	VECTOR_UNROUTE = 1 << 3,
	VECTOR_LINK = 1 << 4,
};

struct vector {
	struct msi_message message; /* as the guest programmed it; address 0: not yet */
	struct msi_message routed;  /* what the route says, when VECTOR_ROUTED */
	int fd;                     /* eventfd, -1 before it is needed */
	uint32_t gsi;               /* when VECTOR_ROUTED */
	uint8_t has;                /* VECTOR_ARMED .. VECTOR_FAILED */
	uint8_t todo;               /* out: VECTOR_UNLINK .. VECTOR_LINK */
	bool masked;                /* its own mask bit */
};

struct vectors {
	/* What the guest wants. */
	bool enabled;
	bool function_masked;
	unsigned count; /* vectors in use: MSI-X table entries, or 1 << multiple message enable */
	struct vector *list;

	/* What is. */
	bool device_enabled; /* the device has the interrupt index enabled */
	bool settled;        /* the programmed vectors were armed and routed at once */
	bool resizable;      /* the device takes further vectors one by one (no NORESIZE) */
	unsigned granted;    /* vectors the device was enabled with */
	unsigned limit;      /* what the host can give at most; count, until it said less */
};

enum vector_device_step {
	VECTOR_DEVICE_KEEP,    /* arm what is to be armed, when anything is */
	VECTOR_DEVICE_DISABLE, /* everything of this index off */
	VECTOR_DEVICE_ENABLE,  /* on, with `allocate` vectors, arming what is to be armed */
	VECTOR_DEVICE_GROW,    /* off, then on with `allocate` vectors; the armed ones stay armed */
};

struct vector_steps {
	enum vector_device_step device;
	unsigned allocate;
	unsigned arm_first, arm_count; /* range that holds all vectors to be armed; count 0: none */
	bool links;                    /* some vector is to be linked or unlinked */
	bool routes;                   /* some route changes: commit once */
};

/*
 * Fill in @steps and every vector's todo. Applied in this order: unlink, device, arm, route and
 * unroute, commit, link. Pure, but for todo and @v->settled.
 */
void vector_plan(struct vectors *v, struct vector_steps *steps);

/* The guest can be interrupted by this vector now. */
bool vector_delivers(const struct vectors *v, const struct vector *vector);

#endif
