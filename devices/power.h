/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The power device of the board: a button that can be pressed from outside, and the registers by
 * which the guest powers off and resets (ACPI: Generic Event Device, sleep control and reset
 * register of hardware-reduced ACPI 6.5, 4.8.3.7; the registers are ours and the same on every
 * architecture).
 *
 *   offset 0, 4 bytes, read     events since the last read, cleared by it (POWER_EVENT_*)
 *   offset 8, 1 byte, write     sleep control: POWER_SLEEP_ENABLE with type 5 powers off
 *   offset 9, 1 byte            sleep status: reads 0
 *   offset 10, 1 byte, write    POWER_RESET_VALUE resets the machine
 */
#ifndef SLUICE_POWER_H
#define SLUICE_POWER_H

#include <stdint.h>

#define POWER_EVENT_STATUS  0
#define POWER_SLEEP_CONTROL 8
#define POWER_SLEEP_STATUS  9
#define POWER_RESET         10
#define POWER_SIZE          16

#define POWER_EVENT_BUTTON (1u << 0)
#define POWER_SLEEP_ENABLE (1u << 5)
#define POWER_SLEEP_TYPE   5 /* in bits 2 to 4, as \_S5 says */
#define POWER_RESET_VALUE  0x42

struct bus;
struct kvm;
struct power;

/* What the guest asked for. Called on a vCPU thread. */
struct power_events {
	void (*off)(void *ctx);
	void (*reset)(void *ctx);
};

struct power_wiring {
	struct bus *bus;
	uint64_t base;
	struct kvm *kvm;
	uint32_t gsi; /* edge-triggered pin of the button */
	const struct power_events *events;
	void *ctx;
};

/* -ENOMEM, or -errno of the eventfd, the irqfd or the bus; a message was printed. */
int power_create(const struct power_wiring *wiring, struct power **out);
void power_destroy(struct power *power);
void power_reset(struct power *power);

/* Press the button once. Any thread. */
void power_press(struct power *power);

#endif
