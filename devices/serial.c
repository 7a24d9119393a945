/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/serial.h"

#include <errno.h>
#include <jansson.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

#include "vmm/base/bus.h"
#include "vmm/base/host.h"
#include "vmm/base/irq.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define FIFO_DEPTH    16u
/*
 * Sending is instantaneous, so each byte written makes the transmitter "empty" at once. Raising the
 * interrupt for each of the 16 bytes a driver writes in a row would cost it one spurious interrupt
 * per batch: it finds the cause when it reads IIR again, as Linux does before it leaves its handler.
 * The line follows after this time for a driver that just waits (16 characters at 115200 baud take
 * 1.4 ms).
 */
#define THRE_QUIET_NS 300000u

#define IER_BITS     (UART_IER_RDI | UART_IER_THRI | UART_IER_RLSI | UART_IER_MSI)
#define MCR_BITS     (UART_MCR_DTR | UART_MCR_RTS | UART_MCR_OUT1 | UART_MCR_OUT2 | UART_MCR_LOOP)
#define IIR_FIFO_ON  0xc0 /* both bits: a 16550A, whose FIFO works */
/* A terminal that is switched on, with a cable that has all its wires. */
#define MSR_ONLINE   (UART_MSR_CTS | UART_MSR_DSR | UART_MSR_DCD)
#define MSR_DELTAS   (UART_MSR_DCTS | UART_MSR_DDSR | UART_MSR_TERI | UART_MSR_DDCD)
#define MSR_STATUS   (UART_MSR_CTS | UART_MSR_DSR | UART_MSR_RI | UART_MSR_DCD)
#define DIVISOR_9600 12u

/* Everything a guest can change: what a saved machine has to carry. */
struct serial_state {
	uint8_t ier, fcr, lcr, mcr, scr;
	uint8_t dll, dlm;
	uint8_t msr;
	bool overrun;
	bool thre_pending; /* cause THRE, until IIR is read */
	uint8_t rx[FIFO_DEPTH];
	uint8_t rx_error[FIFO_DEPTH]; /* LSR bits of that character */
	unsigned rx_head, rx_count;
};

struct serial {
	struct serial_wiring wiring;
	struct serial_backend *backend;
	pthread_mutex_t lock;
	struct serial_state state;
	bool thre_quiet; /* thre_pending does not drive the line yet */
	bool quiet_armed;
	struct loop_source *quiet_timer;
	bool line;
};

/* Interrupts */

static unsigned rx_trigger(const struct serial_state *s)
{
	static const uint8_t levels[] = {1, 4, 8, 14};

	return levels[s->fcr >> 6];
}

static bool fifo_enabled(const struct serial_state *s)
{
	return s->fcr & UART_FCR_ENABLE_FIFO;
}

/* The cause of highest priority, as IIR names it (data sheet table IV). */
static uint8_t pending_cause(const struct serial_state *s, bool thre)
{
	if ((s->ier & UART_IER_RLSI) &&
	    (s->overrun || (s->rx_count > 0 && s->rx_error[s->rx_head])))
		return UART_IIR_RLSI;
	if ((s->ier & UART_IER_RDI) && s->rx_count > 0)
		return fifo_enabled(s) && s->rx_count < rx_trigger(s) ? UART_IIR_RX_TIMEOUT
								      : UART_IIR_RDI;
	if ((s->ier & UART_IER_THRI) && thre)
		return UART_IIR_THRI;
	if ((s->ier & UART_IER_MSI) && (s->msr & MSR_DELTAS))
		return UART_IIR_MSI;
	return UART_IIR_NO_INT;
}

static void update_line(struct serial *serial)
{
	const struct serial_state *s = &serial->state;
	bool thre = s->thre_pending && !serial->thre_quiet;
	bool line = pending_cause(s, thre) != UART_IIR_NO_INT;

	/* On a PC OUT2 switches the interrupt through; loopback takes the output pins away. */
	if (!(s->mcr & UART_MCR_OUT2) || (s->mcr & UART_MCR_LOOP))
		line = false;
	if (line == serial->line)
		return;
	serial->line = line;
	if (serial->wiring.irq_fd >= 0) {
		if (line)
			host_eventfd_add(serial->wiring.irq_fd);
	} else if (serial->wiring.irq) {
		irq_line_set(serial->wiring.irq, serial->wiring.gsi, line);
	}
}

static void quiet_timer_fired(void *ctx)
{
	struct serial *serial = ctx;

	pthread_mutex_lock(&serial->lock);
	serial->quiet_armed = false;
	serial->thre_quiet = false;
	update_line(serial);
	pthread_mutex_unlock(&serial->lock);
}

/* Receiver */

static void rx_push(struct serial_state *s, uint8_t byte, uint8_t error)
{
	unsigned depth = fifo_enabled(s) ? FIFO_DEPTH : 1;
	unsigned at;

	if (s->rx_count >= depth) {
		s->overrun = true;
		if (fifo_enabled(s))
			return; /* the FIFO keeps what it has; a lone register is overwritten */
		s->rx_count = 0;
	}
	at = (s->rx_head + s->rx_count++) % FIFO_DEPTH;
	s->rx[at] = byte;
	s->rx_error[at] = error;
}

static void rx_clear(struct serial_state *s)
{
	s->rx_head = 0;
	s->rx_count = 0;
}

/* Take what the back end has, as long as there is room and the guest says that it listens. */
static void rx_fill(struct serial *serial)
{
	struct serial_state *s = &serial->state;
	unsigned depth = fifo_enabled(s) ? FIFO_DEPTH : 1;
	int byte;

	if ((s->mcr & UART_MCR_LOOP) || !(s->mcr & UART_MCR_RTS))
		return;
	while (s->rx_count < depth) {
		byte = serial_backend_get(serial->backend);
		if (byte < 0)
			break;
		rx_push(s, (uint8_t)byte, 0);
	}
}

static uint8_t rx_pop(struct serial *serial)
{
	struct serial_state *s = &serial->state;
	uint8_t byte;

	if (s->rx_count == 0)
		return 0;
	byte = s->rx[s->rx_head];
	s->rx_head = (s->rx_head + 1) % FIFO_DEPTH;
	s->rx_count--;
	rx_fill(serial);
	return byte;
}

static void input_arrived(void *ctx)
{
	struct serial *serial = ctx;

	rx_fill(serial);
	update_line(serial);
}

void serial_send_break(struct serial *serial)
{
	pthread_mutex_lock(&serial->lock);
	rx_push(&serial->state, 0, UART_LSR_BI);
	update_line(serial);
	pthread_mutex_unlock(&serial->lock);
}

/* Transmitter */

static bool tx_empty(const struct serial *serial)
{
	return (serial->state.mcr & UART_MCR_LOOP) || serial_backend_room(serial->backend);
}

static void tx_write(struct serial *serial, uint8_t byte)
{
	struct serial_state *s = &serial->state;

	if (s->mcr & UART_MCR_LOOP)
		rx_push(s, byte, 0);
	else
		serial_backend_put(serial->backend, byte);
	s->thre_pending = tx_empty(serial);
	serial->thre_quiet = true;
	if ((s->ier & UART_IER_THRI) && s->thre_pending && !serial->quiet_armed)
		serial->quiet_armed = loop_timer_set(serial->wiring.loop, serial->quiet_timer,
						     THRE_QUIET_NS) == 0;
}

static void room_came(void *ctx)
{
	struct serial *serial = ctx;

	serial->state.thre_pending = true;
	serial->thre_quiet = false;
	update_line(serial);
}

/* Registers */

static uint8_t modem_inputs(const struct serial_state *s)
{
	uint8_t in = 0;

	if (!(s->mcr & UART_MCR_LOOP))
		return MSR_ONLINE;
	if (s->mcr & UART_MCR_RTS)
		in |= UART_MSR_CTS;
	if (s->mcr & UART_MCR_DTR)
		in |= UART_MSR_DSR;
	if (s->mcr & UART_MCR_OUT1)
		in |= UART_MSR_RI;
	if (s->mcr & UART_MCR_OUT2)
		in |= UART_MSR_DCD;
	return in;
}

static void modem_update(struct serial_state *s)
{
	uint8_t in = modem_inputs(s);
	uint8_t changed = (uint8_t)((s->msr ^ in) & MSR_STATUS);

	if (changed & UART_MSR_CTS)
		s->msr |= UART_MSR_DCTS;
	if (changed & UART_MSR_DSR)
		s->msr |= UART_MSR_DDSR;
	if (changed & UART_MSR_DCD)
		s->msr |= UART_MSR_DDCD;
	if ((changed & UART_MSR_RI) && !(in & UART_MSR_RI))
		s->msr |= UART_MSR_TERI; /* the trailing edge alone */
	s->msr = (uint8_t)((s->msr & MSR_DELTAS) | in);
}

static uint8_t read_iir(struct serial *serial)
{
	struct serial_state *s = &serial->state;
	uint8_t cause = pending_cause(s, s->thre_pending);

	if (cause == UART_IIR_THRI)
		s->thre_pending = false;
	return (uint8_t)(cause | (fifo_enabled(s) ? IIR_FIFO_ON : 0));
}

static uint8_t read_lsr(struct serial *serial)
{
	struct serial_state *s = &serial->state;
	uint8_t lsr = tx_empty(serial) ? UART_LSR_THRE | UART_LSR_TEMT : 0;
	unsigned i;

	if (s->overrun)
		lsr |= UART_LSR_OE;
	s->overrun = false;
	if (s->rx_count == 0)
		return lsr;
	for (i = 0; fifo_enabled(s) && i < s->rx_count; i++)
		if (s->rx_error[(s->rx_head + i) % FIFO_DEPTH])
			lsr |= UART_LSR_FIFOE;
	lsr |= UART_LSR_DR | s->rx_error[s->rx_head];
	s->rx_error[s->rx_head] = 0;
	return lsr;
}

static uint8_t read_register(struct serial *serial, unsigned reg)
{
	struct serial_state *s = &serial->state;
	bool dlab = s->lcr & UART_LCR_DLAB;
	uint8_t value;

	switch (reg) {
	case UART_RX:
		return dlab ? s->dll : rx_pop(serial);
	case UART_IER:
		return dlab ? s->dlm : s->ier;
	case UART_IIR:
		return read_iir(serial);
	case UART_LCR:
		return s->lcr;
	case UART_MCR:
		return s->mcr;
	case UART_LSR:
		return read_lsr(serial);
	case UART_MSR:
		value = s->msr;
		s->msr &= MSR_STATUS;
		return value;
	default:
		return s->scr;
	}
}

static void write_ier(struct serial *serial, uint8_t value)
{
	struct serial_state *s = &serial->state;
	bool rises = (value & UART_IER_THRI) && !(s->ier & UART_IER_THRI);

	s->ier = value & IER_BITS;
	/* Enabling the cause while the transmitter is empty raises it (Linux: THRE test). */
	if (rises && tx_empty(serial))
		s->thre_pending = true;
	serial->thre_quiet = false;
}

static void write_fcr(struct serial *serial, uint8_t value)
{
	struct serial_state *s = &serial->state;
	bool toggled = (s->fcr ^ value) & UART_FCR_ENABLE_FIFO;

	if (toggled || (value & UART_FCR_CLEAR_RCVR))
		rx_clear(s);
	s->fcr = value & UART_FCR_ENABLE_FIFO
			 ? value & (UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_MASK)
			 : 0;
	rx_fill(serial);
}

static void write_mcr(struct serial *serial, uint8_t value)
{
	struct serial_state *s = &serial->state;

	s->mcr = value & MCR_BITS;
	modem_update(s);
	rx_fill(serial);
}

static void write_lcr(struct serial *serial, uint8_t value)
{
	struct serial_state *s = &serial->state;

	/* A break that is sent while in loopback is received. */
	if ((value & ~s->lcr & UART_LCR_SBC) && (s->mcr & UART_MCR_LOOP))
		rx_push(s, 0, UART_LSR_BI);
	s->lcr = value;
}

static void write_register(struct serial *serial, unsigned reg, uint8_t value)
{
	struct serial_state *s = &serial->state;
	bool dlab = s->lcr & UART_LCR_DLAB;

	switch (reg) {
	case UART_TX:
		if (dlab)
			s->dll = value;
		else
			tx_write(serial, value);
		break;
	case UART_IER:
		if (dlab)
			s->dlm = value;
		else
			write_ier(serial, value);
		break;
	case UART_FCR:
		write_fcr(serial, value);
		break;
	case UART_LCR:
		write_lcr(serial, value);
		break;
	case UART_MCR:
		write_mcr(serial, value);
		break;
	case UART_SCR:
		s->scr = value;
		break;
	default:
		break; /* LSR and MSR are read only */
	}
}

/* Bus: wider accesses are what a bus makes of them for an 8-bit part, one register after another. */

static uint64_t serial_read(void *ctx, uint64_t offset, unsigned size)
{
	struct serial *serial = ctx;
	uint64_t value = 0;
	unsigned i;

	pthread_mutex_lock(&serial->lock);
	for (i = 0; i < size; i++)
		value |= (uint64_t)read_register(serial, (offset + i) % SERIAL_REGISTERS)
			 << (8 * i);
	update_line(serial);
	pthread_mutex_unlock(&serial->lock);
	return value;
}

static void serial_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct serial *serial = ctx;
	unsigned i;

	pthread_mutex_lock(&serial->lock);
	for (i = 0; i < size; i++)
		write_register(serial, (offset + i) % SERIAL_REGISTERS,
			       (uint8_t)(value >> (8 * i)));
	update_line(serial);
	pthread_mutex_unlock(&serial->lock);
}

static const struct bus_ops serial_bus_ops = {.read = serial_read, .write = serial_write};

/* Life */

static void power_on(struct serial *serial)
{
	serial->state = (struct serial_state){.dll = DIVISOR_9600, .msr = MSR_ONLINE};
	serial->thre_quiet = false;
}

int serial_create(const struct serial_config *config, const struct serial_wiring *wiring,
		  struct serial **out)
{
	struct serial_backend_params params = {
		.config = config,
		.id = wiring->id,
		.loop = wiring->loop,
		.filter = wiring->filter,
		.filter_ctx = wiring->filter_ctx,
		.input = input_arrived,
		.room = room_came,
	};
	struct serial *serial;
	int ret;

	serial = calloc(1, sizeof(*serial));
	if (!serial)
		return -ENOMEM;
	serial->wiring = *wiring;
	pthread_mutex_init(&serial->lock, NULL);
	power_on(serial);
	ret = loop_add_timer(wiring->loop, quiet_timer_fired, serial, &serial->quiet_timer);
	if (ret < 0) {
		log_failure(ret, "%s: no timer", wiring->id);
		goto free_serial;
	}
	params.lock = &serial->lock;
	params.ctx = serial;
	ret = serial_backend_create(&params, &serial->backend);
	if (ret < 0)
		goto remove_timer;
	ret = bus_add(wiring->bus, wiring->base, SERIAL_REGISTERS, &serial_bus_ops, serial,
		      "serial");
	if (ret < 0) {
		log_failure(ret, "%s: cannot take bus address %#llx", wiring->id,
			    (unsigned long long)wiring->base);
		goto destroy_backend;
	}
	*out = serial;
	return 0;

destroy_backend:
	serial_backend_destroy(serial->backend);
remove_timer:
	loop_remove(wiring->loop, serial->quiet_timer);
free_serial:
	pthread_mutex_destroy(&serial->lock);
	free(serial);
	return ret;
}

void serial_destroy(struct serial *serial)
{
	if (!serial)
		return;
	bus_remove(serial->wiring.bus, serial->wiring.base, serial);
	bus_synchronize(serial->wiring.bus);
	loop_remove(serial->wiring.loop, serial->quiet_timer);
	serial_backend_destroy(serial->backend);
	pthread_mutex_destroy(&serial->lock);
	free(serial);
}

void serial_reset(struct serial *serial)
{
	pthread_mutex_lock(&serial->lock);
	power_on(serial);
	update_line(serial);
	pthread_mutex_unlock(&serial->lock);
}

json_t *serial_status(struct serial *serial)
{
	const struct serial_state *s = &serial->state;
	json_t *status;

	pthread_mutex_lock(&serial->lock);
	status = json_pack("{ss si si si si sb si sI ss?}", "id", serial->wiring.id, "ier", s->ier,
			   "lcr", s->lcr, "mcr", s->mcr, "fcr", s->fcr, "interrupt", serial->line,
			   "unread", (int)s->rx_count, "queued",
			   (json_int_t)serial_backend_queued(serial->backend), "pty",
			   serial_backend_pty(serial->backend));
	pthread_mutex_unlock(&serial->lock);
	return status;
}

const char *serial_pty(const struct serial *serial)
{
	return serial_backend_pty(serial->backend);
}
