/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's panic notifier: one byte at an I/O port (QEMU0001 in ACPI) through which its kernel
 * says that it has panicked, that a crash kernel takes over, or that it shuts down.
 *
 * Source: QEMU docs/specs/pvpanic; Linux include/uapi/misc/pvpanic.h, drivers/misc/pvpanic.
 */
#ifndef SLUICE_PVPANIC_H
#define SLUICE_PVPANIC_H

#include <stdint.h>

struct bus;
struct pvpanic;

#define PVPANIC_PORT 0x505 /* where guests expect it, and its size there */
#define PVPANIC_SIZE 1

enum pvpanic_event {
	PVPANIC_EVENT_PANICKED,     /* the guest is dead */
	PVPANIC_EVENT_CRASH_LOADED, /* it panicked and has a crash kernel, which runs now */
	PVPANIC_EVENT_SHUTDOWN,     /* it wants to be switched off */
};

/* Called on the vCPU thread that wrote the port, once for each event the guest names. */
typedef void (*pvpanic_fn)(void *ctx, enum pvpanic_event event);

/* Answer @base on @bus. Errors, with a message: -ENOMEM, what bus_add() answered. */
int pvpanic_create(struct bus *bus, uint64_t base, pvpanic_fn fn, void *ctx, struct pvpanic **out);
/* NULL is allowed. No lock held that @fn takes. */
void pvpanic_destroy(struct pvpanic *pvpanic);

#endif
