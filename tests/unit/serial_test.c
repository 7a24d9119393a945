/* SPDX-License-Identifier: Apache-2.0 */
/* The 16550A and its back ends, driven as a guest drives them. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <jansson.h>
#include <linux/serial_reg.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <termios.h>
#include <unistd.h>

#include "devices/serial.h"
#include "tests/unit/fake_log.h"
#include "tests/unit/fake_loop.h"
#include "vmm/base/bus.h"
#include "vmm/base/irq.h"

/* Fakes of the bus and of the interrupt controller. */
static const struct bus_ops *ops;
static void *ops_ctx;
static int bus_add_result;
static int line_level = -1;
static unsigned line_changes;

int bus_add(struct bus *bus, uint64_t base, uint64_t size, const struct bus_ops *bus_ops, void *ctx,
	    const char *name)
{
	(void)bus, (void)name;
	cr_assert_eq(base, 0x3f8);
	cr_assert_eq(size, SERIAL_REGISTERS);
	ops = bus_ops;
	ops_ctx = ctx;
	return bus_add_result;
}

int bus_remove(struct bus *bus, uint64_t base, const void *ctx)
{
	(void)bus;
	cr_assert_eq(base, 0x3f8);
	cr_assert_eq(ctx, ops_ctx);
	return 0;
}

void bus_synchronize(struct bus *bus)
{
	(void)bus;
}

int irq_line_set(struct irq_router *router, uint32_t gsi, bool level)
{
	(void)router;
	cr_assert_eq(gsi, 4);
	line_level = level;
	line_changes++;
	return 0;
}

static struct serial *serial;
static struct loop *loop;
static int irq_fd;
static char file_path[64];

static uint8_t in(unsigned reg)
{
	return (uint8_t)ops->read(ops_ctx, reg, 1);
}

static void out(unsigned reg, uint8_t value)
{
	ops->write(ops_ctx, reg, value, 1);
}

static unsigned edges(void)
{
	eventfd_t count = 0;

	return eventfd_read(irq_fd, &count) < 0 ? 0 : (unsigned)count;
}

static void step(uint64_t ns)
{
	fake_loop_step(loop, ns);
}

static void make_with(enum serial_backend_kind kind, serial_filter_fn filter)
{
	struct serial_config config = {.kind = kind, .path = file_path};
	struct serial_wiring wiring = {.id = "serial0", .base = 0x3f8, .filter = filter};

	cr_assert_eq(loop_create(&loop), 0);
	irq_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	wiring.irq_fd = irq_fd;
	wiring.loop = loop;
	snprintf(file_path, sizeof(file_path), "/tmp/sluice-serial-test.%d", getpid());
	cr_assert_eq(serial_create(&config, &wiring, &serial), 0);
}

static void make(enum serial_backend_kind kind)
{
	make_with(kind, NULL);
}

static void drop(void)
{
	serial_destroy(serial);
	cr_assert_eq(fake_loop_sources(loop), 0);
	loop_destroy(loop);
	close(irq_fd);
	unlink(file_path);
}

/* Pipes in the place of descriptors 0 and 1. */
static int stdin_writer, stdout_reader;

static void make_piped(serial_filter_fn filter)
{
	int a[2], b[2];

	cr_assert_eq(pipe(a), 0);
	cr_assert_eq(pipe(b), 0);
	dup2(a[0], 0);
	dup2(b[1], 1);
	close(a[0]);
	close(b[1]);
	stdin_writer = a[1];
	stdout_reader = b[0];
	fcntl(stdin_writer, F_SETFL, O_NONBLOCK);
	fcntl(stdout_reader, F_SETFL, O_NONBLOCK);
	make_with(SERIAL_STDIO, filter);
}

static size_t file_content(char *buffer, size_t room)
{
	int fd = open(file_path, O_RDONLY);
	ssize_t n = read(fd, buffer, room - 1);

	close(fd);
	cr_assert_geq(n, 0);
	buffer[n] = 0;
	return (size_t)n;
}

/* What Linux leaves behind when a tty is open. */
static void linux_open(uint8_t ier)
{
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR | UART_FCR_CLEAR_XMIT);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8);
	in(UART_LSR);
	in(UART_RX);
	in(UART_IIR);
	in(UART_MSR);
	out(UART_LCR, UART_LCR_WLEN8);
	out(UART_MCR, UART_MCR_OUT2 | UART_MCR_DTR | UART_MCR_RTS);
	out(UART_IER, ier);
}

Test(serial, is_seen_as_a_16550a_by_the_probe_of_linux)
{
	uint8_t first, second;

	make(SERIAL_NONE);
	/* autoconfig(): is there a port at all? */
	out(UART_IER, 0);
	cr_expect_eq(in(UART_IER), 0);
	out(UART_IER, 0x0f);
	cr_expect_eq(in(UART_IER), 0x0f);
	out(UART_IER, 0);
	out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT2 | UART_MCR_RTS);
	cr_expect_eq(in(UART_MSR)&0xf0, UART_MSR_DCD | UART_MSR_CTS);
	out(UART_MCR, 0);
	/* which one? */
	out(UART_LCR, UART_LCR_CONF_MODE_B);
	out(UART_EFR, 0);
	out(UART_LCR, 0);
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	cr_expect_eq(in(UART_IIR) >> 6, 3);
	/* autoconfig_16550a(): none of the variants */
	out(UART_LCR, UART_LCR_CONF_MODE_A);
	cr_expect_neq(in(UART_EFR), 0);
	out(UART_LCR, UART_LCR_CONF_MODE_B);
	cr_expect_neq(in(UART_EFR), 0);
	out(UART_LCR, 0xe0);
	first = in(2);
	out(UART_LCR, 0);
	out(UART_MCR, UART_MCR_LOOP);
	out(UART_LCR, 0xe0);
	second = in(2);
	out(UART_LCR, 0);
	out(UART_MCR, 0);
	cr_expect_eq((first ^ second) & UART_MCR_LOOP, 0);
	out(UART_LCR, UART_LCR_CONF_MODE_A);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR7_64BYTE);
	cr_expect_eq(in(UART_IIR) >> 5, 6);
	out(UART_LCR, 0);
	out(UART_IER, UART_IER_UUE);
	cr_expect_eq(in(UART_IER)&UART_IER_UUE, 0);
	cr_expect_eq(edges(), 0);
	drop();
}

Test(serial, has_a_fifo_of_16_bytes_in_loopback_and_reports_the_overrun)
{
	unsigned count = 0;

	make(SERIAL_NONE);
	out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR);
	out(UART_MCR, UART_MCR_LOOP);
	for (unsigned i = 0; i < 256; i++)
		out(UART_TX, (uint8_t)i);
	out(UART_IER, UART_IER_RLSI);
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_RLSI);
	cr_expect(in(UART_LSR)&UART_LSR_OE);
	cr_expect_not(in(UART_LSR)&UART_LSR_OE, "reading takes the error away");
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_NO_INT);
	while (in(UART_LSR)&UART_LSR_DR)
		cr_expect_eq(in(UART_RX), count++);
	cr_expect_eq(count, 16);
	drop();
}

Test(serial, clears_its_receive_fifo_when_told_to)
{
	make(SERIAL_NONE);
	out(UART_FCR, UART_FCR_ENABLE_FIFO);
	out(UART_MCR, UART_MCR_LOOP);
	for (unsigned i = 0; i < 2; i++) {
		out(UART_TX, 'a');
		out(UART_TX, 'b');
		out(UART_FCR, UART_FCR_ENABLE_FIFO);
		cr_expect(in(UART_LSR)&UART_LSR_DR, "not by switching on what is on");
		out(UART_FCR, i == 0 ? UART_FCR_ENABLE_FIFO | UART_FCR_CLEAR_RCVR : 0);
		cr_expect_not(in(UART_LSR)&UART_LSR_DR);
		out(UART_FCR, UART_FCR_ENABLE_FIFO);
	}
	drop();
}

Test(serial, receives_the_break_that_it_sends_in_loopback)
{
	make(SERIAL_NONE);
	out(UART_LCR, UART_LCR_SBC);
	cr_expect_not(in(UART_LSR)&UART_LSR_BI, "there is nobody on the line to hear it");
	out(UART_LCR, 0);
	out(UART_MCR, UART_MCR_LOOP);
	out(UART_LCR, UART_LCR_SBC);
	out(UART_LCR, UART_LCR_SBC);
	cr_expect_eq(in(UART_LSR) & (UART_LSR_BI | UART_LSR_OE), UART_LSR_BI, "one break");
	drop();
}

Test(serial, without_fifo_holds_one_character_and_the_newest_wins)
{
	make(SERIAL_NONE);
	out(UART_MCR, UART_MCR_LOOP);
	out(UART_TX, 'a');
	out(UART_TX, 'b');
	cr_expect_eq(in(UART_LSR) & (UART_LSR_DR | UART_LSR_OE), UART_LSR_DR | UART_LSR_OE);
	cr_expect_eq(in(UART_RX), 'b');
	cr_expect_eq(in(UART_LSR)&UART_LSR_DR, 0);
	cr_expect_eq(in(UART_IIR), UART_IIR_NO_INT);
	drop();
}

Test(serial, keeps_registers_and_the_divisor_apart)
{
	make(SERIAL_NONE);
	out(UART_SCR, 0x5a);
	out(UART_LCR, UART_LCR_DLAB | UART_LCR_WLEN8);
	out(UART_DLL, 0x34);
	out(UART_DLM, 0x12);
	cr_expect_eq(ops->read(ops_ctx, UART_DLL, 2), 0x1234, "a wide read is two byte reads");
	out(UART_LCR, UART_LCR_WLEN8);
	out(UART_IER, 5);
	cr_expect_eq(in(UART_IER), 5);
	cr_expect_eq(in(UART_LCR), UART_LCR_WLEN8);
	cr_expect_eq(in(UART_SCR), 0x5a);
	out(UART_LSR, 0);
	out(UART_MSR, 0);
	cr_expect_eq(in(UART_LSR), UART_LSR_THRE | UART_LSR_TEMT);
	cr_expect_eq(in(UART_MSR), UART_MSR_DCD | UART_MSR_DSR | UART_MSR_CTS);
	serial_reset(serial);
	cr_expect_eq(in(UART_IER), 0);
	cr_expect_eq(in(UART_LCR), 0);
	drop();
}

Test(serial, reasserts_thre_each_time_the_interrupt_is_enabled)
{
	make(SERIAL_NONE);
	/* serial8250_THRE_test() and serial8250_iir_txen_test() */
	out(UART_MCR, UART_MCR_OUT2);
	for (unsigned i = 0; i < 3; i++) {
		out(UART_IER, UART_IER_THRI);
		cr_expect_eq(edges(), 1);
		cr_expect_eq(in(UART_IIR), UART_IIR_THRI);
		cr_expect_eq(in(UART_IIR), UART_IIR_NO_INT, "reading IIR takes the cause away");
		out(UART_IER, 0);
	}
	cr_expect_eq(edges(), 0);
	drop();
}

Test(serial, interrupts_reach_the_guest_only_with_out2_and_without_loopback)
{
	make(SERIAL_NONE);
	out(UART_IER, UART_IER_THRI);
	cr_expect_eq(edges(), 0);
	out(UART_MCR, UART_MCR_OUT2);
	cr_expect_eq(edges(), 1);
	out(UART_MCR, UART_MCR_OUT2 | UART_MCR_LOOP);
	cr_expect_eq(in(UART_IIR), UART_IIR_THRI, "the cause is there in loopback");
	out(UART_MCR, UART_MCR_OUT2);
	cr_expect_eq(edges(), 0);
	drop();
}

Test(serial, loopback_turns_modem_outputs_to_inputs_with_change_bits)
{
	make(SERIAL_NONE);
	in(UART_MSR);
	out(UART_MCR, UART_MCR_LOOP | UART_MCR_OUT1);
	cr_expect_eq(in(UART_MSR), UART_MSR_RI | UART_MSR_DCTS | UART_MSR_DDSR | UART_MSR_DDCD);
	cr_expect_eq(in(UART_MSR), UART_MSR_RI);
	out(UART_MCR, UART_MCR_LOOP | UART_MCR_DTR);
	cr_expect_eq(in(UART_MSR), UART_MSR_DSR | UART_MSR_TERI | UART_MSR_DDSR);
	out(UART_IER, UART_IER_MSI);
	cr_expect_eq(in(UART_IIR), UART_IIR_NO_INT);
	out(UART_MCR, UART_MCR_LOOP);
	cr_expect_eq(in(UART_IIR), UART_IIR_MSI);
	in(UART_MSR);
	cr_expect_eq(in(UART_IIR), UART_IIR_NO_INT);
	drop();
}

/* serial8250_interrupt() with a tty that has @left bytes to send. Returns bytes sent. */
static unsigned linux_interrupt(unsigned left)
{
	unsigned sent = 0;

	while (!(in(UART_IIR)&UART_IIR_NO_INT)) {
		uint8_t lsr = in(UART_LSR);

		in(UART_MSR);
		if (!(lsr & UART_LSR_THRE) || !(in(UART_IER)&UART_IER_THRI))
			continue;
		for (unsigned i = 0; i < 16 && left > 0; i++, left--, sent++)
			out(UART_TX, 'x');
		if (left == 0)
			out(UART_IER, UART_IER_RDI | UART_IER_RLSI);
	}
	return sent;
}

Test(serial, costs_linux_one_interrupt_for_a_whole_write)
{
	char content[256];

	make(SERIAL_FILE);
	linux_open(UART_IER_RDI | UART_IER_RLSI);
	out(UART_IER, UART_IER_RDI | UART_IER_RLSI | UART_IER_THRI);
	cr_expect_eq(edges(), 1);
	cr_expect_eq(linux_interrupt(100), 100);
	step(10000000);
	cr_expect_eq(edges(), 0, "no spurious interrupt afterwards");
	cr_expect_eq(file_content(content, sizeof(content)), 100);
	drop();
}

Test(serial, interrupts_a_driver_that_writes_and_waits)
{
	make(SERIAL_NONE);
	linux_open(UART_IER_THRI);
	cr_expect_eq(edges(), 1);
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_THRI);
	for (unsigned round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 16; i++)
			out(UART_TX, 'x');
		cr_expect_eq(edges(), 0);
		step(1000000);
		cr_expect_eq(edges(), 1);
		cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_THRI);
	}
	drop();
}

Test(serial, writes_a_lone_byte_at_once_and_a_burst_by_lines)
{
	char content[256];

	make(SERIAL_FILE);
	usleep(5000);
	out(UART_TX, 'a');
	cr_expect_eq(file_content(content, sizeof(content)), 1);
	for (const char *c = "bc\nde"; *c; c++)
		out(UART_TX, (uint8_t)*c);
	file_content(content, sizeof(content));
	cr_expect(strncmp(content, "abc\n", 4) == 0);
	step(SERIAL_BURST_NS);
	file_content(content, sizeof(content));
	cr_expect_str_eq(content, "abc\nde");
	out(UART_TX, '!');
	serial_destroy(serial);
	file_content(content, sizeof(content));
	cr_expect_str_eq(content, "abc\nde!", "nothing is left behind at the end");
	unlink(file_path);
}

Test(serial, slow_reader_makes_the_transmitter_busy_and_loses_nothing)
{
	static char buffer[1 << 16];
	unsigned sent = 0, received = 0;
	bool was_busy = false;

	make_piped(NULL);
	linux_open(0);
	while (received < 300000) {
		while (sent < 300000 && (in(UART_LSR)&UART_LSR_THRE)) {
			out(UART_TX, (uint8_t)(sent % 251));
			sent++;
		}
		was_busy |= sent < 300000;
		ssize_t n = read(stdout_reader, buffer, 5000);
		for (ssize_t i = 0; i < n; i++)
			cr_assert_eq((uint8_t)buffer[i], (received + i) % 251);
		received += n > 0 ? (unsigned)n : 0;
		step(SERIAL_BURST_NS);
	}
	cr_expect(was_busy);
	cr_expect_eq(received, 300000);
	drop();
}

Test(serial, interrupts_again_once_a_slow_reader_has_made_room)
{
	static char buffer[1 << 16];
	unsigned rounds = 0;

	make_piped(NULL);
	linux_open(UART_IER_THRI);
	while (in(UART_LSR)&UART_LSR_THRE)
		out(UART_TX, 'x');
	in(UART_IIR);
	step(SERIAL_BURST_NS);
	edges();
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_NO_INT);
	while (edges() == 0 && rounds++ < 1000) {
		cr_expect_gt(read(stdout_reader, buffer, sizeof(buffer)), 0);
		step(SERIAL_BURST_NS);
	}
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_THRI);
	cr_expect(in(UART_LSR)&UART_LSR_THRE);
	drop();
}

Test(serial, guest_that_ignores_a_busy_transmitter_is_bounded)
{
	make_piped(NULL);
	for (unsigned i = 0; i < SERIAL_OUTPUT_LIMIT + (1u << 18); i++)
		out(UART_TX, 'x');
	cr_expect_not(in(UART_LSR)&UART_LSR_THRE);
	close(stdout_reader);
	signal(SIGPIPE, SIG_IGN);
	step(SERIAL_BURST_NS);
	cr_expect(in(UART_LSR)&UART_LSR_THRE, "a reader that is gone holds nobody up");
	drop();
}

Test(serial, input_waits_until_the_guest_asserts_rts)
{
	char text[4] = {0};

	make_piped(NULL);
	cr_assert_eq(write(stdin_writer, "abc", 3), 3);
	step(0);
	cr_expect_not(in(UART_LSR)&UART_LSR_DR);
	in(UART_RX);
	linux_open(UART_IER_RDI);
	cr_expect_eq(edges(), 1);
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_RX_TIMEOUT, "less than the trigger level");
	for (unsigned i = 0; in(UART_LSR)&UART_LSR_DR; i++)
		text[i & 3] = (char)in(UART_RX);
	cr_expect_str_eq(text, "abc");
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_NO_INT);
	drop();
}

struct trigger_case {
	uint8_t fcr;
	unsigned level;
};

Test(serial, received_data_interrupt_follows_the_trigger_level)
{
	static const struct trigger_case cases[] = {{UART_FCR_TRIGGER_1, 1},
						    {UART_FCR_TRIGGER_4, 4},
						    {UART_FCR_TRIGGER_8, 8},
						    {UART_FCR_TRIGGER_14, 14}};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		make(SERIAL_NONE);
		out(UART_FCR, UART_FCR_ENABLE_FIFO | cases[c].fcr);
		out(UART_MCR, UART_MCR_LOOP);
		out(UART_IER, UART_IER_RDI);
		for (unsigned i = 1; i <= 16; i++) {
			out(UART_TX, 'x');
			cr_expect_eq(in(UART_IIR)&0x0f,
				     i < cases[c].level ? UART_IIR_RX_TIMEOUT : UART_IIR_RDI);
		}
		drop();
	}
}

Test(serial, input_of_a_pipe_arrives_whole_and_in_order)
{
	const unsigned total = 100000;
	unsigned written = 0, received = 0, idle = 0;
	uint8_t chunk[3000];

	make_piped(NULL);
	linux_open(UART_IER_RDI);
	while (received < total && idle < 100) {
		unsigned before = received;

		for (unsigned i = 0; i < sizeof(chunk); i++)
			chunk[i] = (uint8_t)((written + i) % 251);
		size_t want = total - written < sizeof(chunk) ? total - written : sizeof(chunk);
		ssize_t n = write(stdin_writer, chunk, want);
		written += n > 0 ? (unsigned)n : 0;
		step(1);
		for (unsigned i = 0; i < 1000 && (in(UART_LSR)&UART_LSR_DR); i++) {
			cr_assert_eq(in(UART_RX), received % 251);
			received++;
		}
		idle = received == before ? idle + 1 : 0;
	}
	cr_expect_eq(received, total);
	cr_expect_lt(loop->now, 1000);
	drop();
}

Test(serial, input_of_a_guest_that_does_not_read_stays_on_the_host)
{
	uint8_t chunk[4096] = {0};
	unsigned taken = 0;

	make_piped(NULL);
	for (unsigned i = 0; i < 100; i++) {
		ssize_t n = write(stdin_writer, chunk, sizeof(chunk));

		taken += n > 0 ? (unsigned)n : 0;
		step(1);
	}
	cr_expect_lt(taken, 80000, "the pipe fills up");
	cr_expect_eq(fake_loop_step(loop, 1), 0, "and nothing spins");
	drop();
}

Test(serial, reads_a_plain_file_on_standard_input_to_its_end)
{
	unsigned received = 0;
	int fd;

	snprintf(file_path, sizeof(file_path), "/tmp/sluice-serial-test.in.%d", getpid());
	fd = open(file_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	for (unsigned i = 0; i < 20000; i++)
		cr_assert_eq(write(fd, "0123456789", 10), 10);
	lseek(fd, 0, SEEK_SET);
	dup2(fd, 0);
	close(fd);
	unlink(file_path);
	make(SERIAL_STDIO);
	linux_open(0);
	for (unsigned i = 0; i < 5000; i++) {
		step(1);
		while (in(UART_LSR)&UART_LSR_DR) {
			cr_assert_eq(in(UART_RX), '0' + received % 10);
			received++;
		}
	}
	cr_expect_eq(received, 200000);
	drop();
}

static unsigned filter_saw;

static size_t upper_only(void *ctx, uint8_t *bytes, size_t count)
{
	size_t kept = 0;

	(void)ctx;
	for (size_t i = 0; i < count; i++)
		if (bytes[i] >= 'A' && bytes[i] <= 'Z')
			bytes[kept++] = bytes[i];
	filter_saw += (unsigned)count;
	return kept;
}

Test(serial, filter_sees_all_input_and_decides_what_the_guest_gets)
{
	make_piped(upper_only);
	linux_open(0);
	cr_assert_eq(write(stdin_writer, "aBcD", 4), 4);
	step(1);
	cr_expect_eq(filter_saw, 4);
	cr_expect_eq(in(UART_RX), 'B');
	cr_expect_eq(in(UART_RX), 'D');
	cr_expect_not(in(UART_LSR)&UART_LSR_DR);
	drop();
}

static int raw_terminal(void)
{
	struct termios tio;
	int master = posix_openpt(O_RDWR | O_NOCTTY);

	cr_assert_geq(master, 0);
	grantpt(master);
	unlockpt(master);
	int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
	cr_assert_geq(slave, 0);
	tcgetattr(slave, &tio);
	cfmakeraw(&tio);
	tcsetattr(slave, TCSANOW, &tio);
	dup2(slave, 0);
	dup2(slave, 1);
	close(slave);
	fcntl(master, F_SETFL, O_NONBLOCK);
	return master;
}

Test(serial, escape_keys_of_a_terminal_are_seen_while_the_guest_hangs)
{
	uint8_t chunk[1000];
	int master = raw_terminal();

	memset(chunk, 'A', sizeof(chunk));
	make_with(SERIAL_STDIO, upper_only);
	for (unsigned i = 0; i < 20; i++) {
		cr_assert_eq(write(master, chunk, sizeof(chunk)), sizeof(chunk));
		for (unsigned k = 0; k < 4; k++)
			step(1);
	}
	cr_expect_eq(filter_saw, 20000);
	linux_open(0);
	unsigned received = 0;
	for (; in(UART_LSR)&UART_LSR_DR; received++)
		in(UART_RX);
	cr_expect_eq(received, 20000, "and nothing is lost");
	drop();
}

Test(serial, terminal_output_leaves_the_flags_of_the_shell_alone)
{
	char text[8] = {0};
	int master = raw_terminal();

	make(SERIAL_STDIO);
	cr_expect_eq(fcntl(1, F_GETFL) & O_NONBLOCK, 0);
	cr_expect_eq(fcntl(0, F_GETFL) & O_NONBLOCK, 0);
	for (const char *c = "hello\n"; *c; c++)
		out(UART_TX, (uint8_t)*c);
	cr_expect_eq(read(master, text, 6), 6);
	cr_expect_str_eq(text, "hello\n");
	drop();
}

Test(serial, pseudo_terminal_serves_clients_that_come_and_go)
{
	char text[128] = {0};
	struct termios tio;
	int out_pipe[2], client;
	ssize_t n;

	cr_assert_eq(pipe(out_pipe), 0);
	dup2(out_pipe[1], 1);
	make(SERIAL_PTY);
	n = read(out_pipe[0], text, sizeof(text) - 1);
	cr_expect_gt(n, 0);
	cr_expect(strncmp(text, "serial0: /dev/pts/", 18) == 0);
	linux_open(0);
	for (unsigned i = 0; i < 200000; i++) {
		cr_assert(in(UART_LSR)&UART_LSR_THRE, "nobody there holds nobody up");
		out(UART_TX, 'x');
	}
	for (const char *c = "late\n"; *c; c++)
		out(UART_TX, (uint8_t)*c);
	step(500000000);

	for (unsigned round = 0; round < 3; round++) {
		client = open(serial_pty(serial), O_RDWR | O_NOCTTY | O_NONBLOCK);
		cr_assert_geq(client, 0);
		tcgetattr(client, &tio);
		cfmakeraw(&tio);
		tcsetattr(client, TCSANOW, &tio);
		step(500000000);
		unsigned got = 0;
		char last[6] = {0};
		for (unsigned i = 0; i < 1000; i++) {
			n = read(client, text, sizeof(text));
			for (ssize_t k = 0; k < n; k++, got++) {
				memmove(last, last + 1, 4);
				last[4] = text[k];
			}
			step(1000);
		}
		if (round == 0) {
			cr_expect_eq(got, SERIAL_OUTPUT_HIGH, "the latest output was kept: %u",
				     got);
			cr_expect_str_eq(last, "late\n");
		}
		cr_assert_eq(write(client, "ab", 2), 2);
		for (unsigned i = 0; i < 10; i++)
			step(1000);
		cr_expect_eq(in(UART_RX), 'a');
		cr_expect_eq(in(UART_RX), 'b');
		close(client);
		for (unsigned i = 0; i < 10; i++)
			step(1000);
		cr_expect_eq(fake_loop_step(loop, 1000), 0, "a closed terminal does not spin");
	}
	drop();
}

Test(serial, break_is_a_line_status_interrupt)
{
	make(SERIAL_NONE);
	linux_open(UART_IER_RDI | UART_IER_RLSI);
	serial_send_break(serial);
	cr_expect_eq(edges(), 1);
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_RLSI);
	cr_expect_eq(in(UART_LSR) & (UART_LSR_BI | UART_LSR_DR | UART_LSR_FIFOE),
		     UART_LSR_BI | UART_LSR_DR | UART_LSR_FIFOE);
	cr_expect_eq(in(UART_LSR) & (UART_LSR_BI | UART_LSR_FIFOE), 0);
	cr_expect_eq(in(UART_RX), 0);
	cr_expect_eq(in(UART_IIR)&0x0f, UART_IIR_NO_INT);
	drop();
}

Test(serial, tells_its_state_as_data)
{
	json_t *state;

	make_piped(NULL);
	linux_open(UART_IER_RDI);
	for (unsigned i = 0; i < 100000; i++)
		out(UART_TX, 'x');
	serial_send_break(serial);
	state = serial_status(serial);
	cr_assert_not_null(state);
	cr_expect_str_eq(json_string_value(json_object_get(state, "id")), "serial0");
	cr_expect_eq(json_integer_value(json_object_get(state, "ier")), UART_IER_RDI);
	cr_expect_eq(json_integer_value(json_object_get(state, "unread")), 1);
	cr_expect_eq(json_integer_value(json_object_get(state, "queued")), 100000 - 65536);
	cr_expect(json_is_true(json_object_get(state, "interrupt")));
	cr_expect(json_is_null(json_object_get(state, "pty")));
	json_decref(state);
	drop();
}

Test(serial, level_wiring_follows_the_cause)
{
	struct serial_config config = {.kind = SERIAL_NONE};
	struct serial_wiring wiring = {.id = "serial0", .base = 0x3f8, .irq_fd = -1, .gsi = 4};

	cr_assert_eq(loop_create(&loop), 0);
	wiring.loop = loop;
	wiring.irq = (struct irq_router *)&config;
	cr_assert_eq(serial_create(&config, &wiring, &serial), 0);
	out(UART_MCR, UART_MCR_OUT2);
	cr_expect_eq(line_changes, 0);
	out(UART_IER, UART_IER_THRI);
	cr_expect_eq(line_level, 1);
	in(UART_IIR);
	cr_expect_eq(line_level, 0);
	cr_expect_eq(line_changes, 2);
	serial_send_break(serial);
	out(UART_IER, UART_IER_RDI);
	cr_expect_eq(line_level, 1);
	serial_reset(serial);
	cr_expect_eq(line_level, 0);
	serial_destroy(serial);
}

Test(serial, failing_to_open_undoes_everything)
{
	struct serial_config config = {.kind = SERIAL_FILE, .path = "/nonexistent/console"};
	struct serial_wiring wiring = {.id = "serial0", .base = 0x3f8, .irq_fd = -1};

	cr_assert_eq(loop_create(&loop), 0);
	wiring.loop = loop;
	cr_expect_eq(serial_create(&config, &wiring, &serial), -ENOENT);
	cr_expect(strstr(fake_log_last, "serial0: cannot open /nonexistent/console"));
	config.kind = SERIAL_NONE;
	bus_add_result = -EEXIST;
	cr_expect_eq(serial_create(&config, &wiring, &serial), -EEXIST);
	cr_expect_eq(fake_loop_sources(loop), 0);
	loop_destroy(loop);
}

Test(serial, survives_random_accesses)
{
	unsigned seed = 1;

	make_piped(NULL);
	fcntl(stdout_reader, F_SETPIPE_SZ, 1 << 20);
	for (unsigned i = 0; i < 200000; i++) {
		unsigned r = (unsigned)rand_r(&seed);
		unsigned size = 1u << (r >> 8) % 4;
		unsigned offset = (r >> 4) % (SERIAL_REGISTERS - size + 1);

		if (r & 1)
			ops->write(ops_ctx, offset, (uint64_t)rand_r(&seed) * 0x100000001, size);
		else
			ops->read(ops_ctx, offset, size);
		if (r % 64 == 0)
			serial_send_break(serial);
		if (r % 128 == 0) {
			char drain[4096];

			cr_assert_leq(write(stdin_writer, "random input", 12), 12);
			step(1000000);
			while (read(stdout_reader, drain, sizeof(drain)) > 0)
				;
		}
	}
	drop();
}
