/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A 16550A serial port at eight consecutive port or memory addresses.
 *
 * Time does not pass on the emulated line: a byte written is sent at once, and received bytes below
 * the trigger level count as timed out. What a guest can see of a real part is otherwise there:
 * 16-byte FIFOs with trigger levels, the four interrupt causes with their priorities, loopback,
 * modem lines and their change bits, break, overrun (in loopback), interrupts gated by OUT2.
 *
 * Input is handed over only while the guest asserts RTS (MCR bit 1), as a terminal with hardware
 * flow control does: Linux raises it after it has cleared the FIFOs for the last time, so what was
 * typed or piped in before the port was opened is not lost. A polling guest has to set RTS, too.
 *
 * Source: National Semiconductor PC16550D data sheet; Linux drivers/tty/serial/8250.
 */
#ifndef SLUICE_SERIAL_H
#define SLUICE_SERIAL_H

#include <stdint.h>

#include "devices/serial_backend.h"

struct bus;
struct irq_router;
struct json_t;
struct serial;

#define SERIAL_REGISTERS 8 /* addresses taken on the bus */

/* How the port is wired into the machine. */
struct serial_wiring {
	const char *id; /* "serial0"; static storage */
	struct loop *loop;
	struct bus *bus; /* port or memory bus */
	uint64_t base;
	/*
	 * Interrupt, one of: an eventfd (>= 0) that the machine has made an irqfd of an edge
	 * triggered pin; else, with @irq not NULL, the level of pin @gsi; else none.
	 */
	int irq_fd;
	struct irq_router *irq;
	uint32_t gsi;
	serial_filter_fn filter; /* NULL: all input is the guest's */
	void *filter_ctx;
};

/* Errors: -ENOMEM, what opening the back end or bus_add() answered; a message was printed. */
int serial_create(const struct serial_config *config, const struct serial_wiring *wiring,
		  struct serial **out);

/*
 * Takes the port off the bus and waits up to a second for queued output (serial_backend.h). On the
 * loop thread, or after the loop has ended; no access may be in progress on the port afterwards
 * (bus_synchronize() is called here).
 */
void serial_destroy(struct serial *serial);

/* Machine reset: registers as at power-on. Queued output still goes out. */
void serial_reset(struct serial *serial);

/* Let the guest receive a break condition (Linux: SysRq). Any thread. */
void serial_send_break(struct serial *serial);

/*
 * The port's state as data (jansson, new reference, NULL without memory): registers that tell what
 * its guest does, bytes received and not read, bytes sent that the host has not taken. Any thread.
 */
struct json_t *serial_status(struct serial *serial);

/* The path of the pseudo terminal behind the port; NULL for the other back ends. */
const char *serial_pty(const struct serial *serial);

#endif
