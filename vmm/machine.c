// SPDX-License-Identifier: Apache-2.0
/*
 * The composition root: machine_create() is the parts list, in the order in which the parts need each
 * other; machine_destroy() is the same list backwards. What a part does is in its own file.
 */
#include "vmm/machine.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "arch/arch.h"
#include "devices/power.h"
#include "devices/pvpanic.h"
#include "devices/serial.h"
#include "vmm/base/bus.h"
#include "vmm/base/dma.h"
#include "vmm/base/host.h"
#include "vmm/base/irq.h"
#include "vmm/base/kvm.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/base/memory.h"
#include "vmm/boot_files.h"
#include "vmm/config.h"
#include "vmm/passthrough.h"
#include "vmm/ram.h"
#include "vmm/signals.h"
#include "vmm/slots.h"
#include "vmm/terminal.h"
#include "vmm/vcpu.h"

/* Why the machine has to end or begin again. The first reason counts. */
enum machine_request {
	REQUEST_NONE = -1,
	/* 0 to 255: end with this exit status */
	REQUEST_RESET = 256,
};

struct machine {
	const struct vm_config *config;
	atomic_int request;
	int status;
	unsigned power_presses;
	struct escape escape;
	bool on_terminal; /* the serial port is */

	struct loop *loop;
	struct signals *signals;
	struct kvm *kvm;
	struct bus *mmio, *pio;
	struct arch_cpus *cpus;
	struct memory *memory;
	struct irq_router *irq;
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	int serial_irq_fd;
	struct serial *serial;
	struct power *power;
	struct pvpanic *panic;
	struct passthrough *passthrough;
	struct slots *slots;
	bool exit_port, reset_port; /* on the bus */
	struct vcpus *vcpus;

	struct arch_layout layout;
	struct arch_machine description;
	struct arch_boot_files files;
};

/* ---- what ends it ------------------------------------------------------------------------------ */

/* On the loop thread: act on the request that was made. */
static void serve_request(void *ctx);

/* Any thread. The vCPUs stop where they are; the loop does the rest. */
static void request(struct machine *m, int what)
{
	int none = REQUEST_NONE;

	if (!atomic_compare_exchange_strong(&m->request, &none, what))
		return;
	if (m->vcpus != NULL)
		vcpus_request_pause(m->vcpus);
	if (loop_post(m->loop, serve_request, m) < 0) {
		/* Without memory to say so, the loop can still be stopped. */
		m->status = STATUS_HOST_FAILURE;
		loop_stop(m->loop);
	}
}

static void request_off(void *ctx)
{
	request(ctx, STATUS_OFF);
}

static void request_reset(void *ctx)
{
	struct machine *m = ctx;

	request(m, m->config->on_reset == VM_ON_RESET_REBOOT ? REQUEST_RESET : STATUS_RESET);
}

static void request_crash(void *ctx, unsigned index)
{
	log_warn("vcpu%u: the guest crashed: triple fault", index);
	request(ctx, STATUS_CRASH);
}

static void request_failed(void *ctx, unsigned index)
{
	(void)index;
	request(ctx, STATUS_HOST_FAILURE);
}

static bool memory_fault(void *ctx)
{
	struct machine *m = ctx;

	return passthrough_fault(m->passthrough);
}

/* The device's own message says what happened. */
static void device_fatal(void *ctx, struct vfio_function *vf)
{
	(void)vf;
	request(ctx, STATUS_HOST_FAILURE);
}

static const struct vcpu_events vcpu_events = {
	.fault = memory_fault,
	.off = request_off,
	.reset = request_reset,
	.crash = request_crash,
	.failed = request_failed,
};

static const struct power_events power_events = {.off = request_off, .reset = request_reset};

static void panic_event(void *ctx, enum pvpanic_event event)
{
	struct machine *m = ctx;

	switch (event) {
	case PVPANIC_EVENT_PANICKED:
		log_warn("the guest crashed: its kernel panicked");
		request(m, STATUS_CRASH);
		break;
	case PVPANIC_EVENT_CRASH_LOADED:
		log_info("the guest's kernel panicked, its crash kernel runs");
		break;
	case PVPANIC_EVENT_SHUTDOWN:
		request(m, STATUS_OFF);
		break;
	}
}

/* A test guest's own exit status: a byte written to the port. */
static void write_exit_port(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	(void)offset, (void)size;
	request(ctx, (uint8_t)value);
}

/* The keyboard controller's way to reset: all that is there of one. */
static void write_reset_port(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	(void)offset, (void)size;
	if ((value & 0xff) == 0xfe)
		request_reset(ctx);
}

static uint64_t read_nothing(void *ctx, uint64_t offset, unsigned size)
{
	(void)ctx, (void)offset, (void)size;
	return UINT64_MAX;
}

static const struct bus_ops exit_port = {.read = read_nothing, .write = write_exit_port};
static const struct bus_ops reset_port = {.read = read_nothing, .write = write_reset_port};

/* ---- the user: signals and keys ----------------------------------------------------------------- */

static void log_state(struct machine *m)
{
	json_t *vcpus = json_array();
	json_t *state;
	char *text;

	vcpus_status(m->vcpus, vcpus);
	state = json_pack("{sI so so so}", "memory", (json_int_t)m->config->memory.size, "vcpus",
			  vcpus, "serial", serial_status(m->serial), "devices",
			  slots_status(m->slots));
	text = state != NULL ? json_dumps(state, JSON_COMPACT) : NULL;
	if (text != NULL)
		log_answer("state %s", text);
	free(text);
	json_decref(state);
}

/* The first asks the guest; whoever asks twice means it. */
static void press_power(struct machine *m)
{
	if (m->power_presses++ == 0)
		power_press(m->power);
	else
		request(m, STATUS_OFF);
}

static void signal_arrived(void *ctx, int number)
{
	struct machine *m = ctx;

	switch (number) {
	case SIGTERM:
		press_power(m);
		break;
	case SIGINT:
		request(m, STATUS_OFF);
		break;
	case SIGUSR1:
		log_state(m);
		break;
	case SIGCONT:
		if (m->on_terminal)
			terminal_continued();
		break;
	}
}

static size_t filter_keys(void *ctx, uint8_t *bytes, size_t count)
{
	struct machine *m = ctx;
	unsigned actions;

	terminal_raw();
	count = escape_filter(&m->escape, bytes, count, &actions);
	if (actions & ESCAPE_HELP)
		fputs(escape_help, stderr);
	if (actions & ESCAPE_QUIT)
		request(m, STATUS_OFF);
	return count;
}

/* ---- parts ------------------------------------------------------------------------------------- */

static struct bus *bus_of(struct machine *m, const struct arch_device *device)
{
	return device->pio ? m->pio : m->mmio;
}

static int create_loop(struct machine *m)
{
	int r = loop_create(&m->loop);

	if (r < 0)
		log_failure(r, "event loop");
	return r;
}

static int create_signals(struct machine *m)
{
	int r = signals_create(m->loop, signal_arrived, m, &m->signals);

	if (r < 0)
		log_failure(r, "signals");
	return r;
}

static int create_layout(struct machine *m)
{
	const struct vm_config *config = m->config;
	struct arch_layout_request wanted = {
		.memory = config->memory.size,
		.alignment = config->memory.huge_page ? config->memory.huge_page
						      : (uint64_t)sysconf(_SC_PAGESIZE),
		.address_bits = arch_cpus_address_bits(m->cpus),
		.buses = 1 + passthrough_port_count(m->passthrough),
	};
	int r = passthrough_reserved(m->passthrough, &wanted.reserved, &wanted.reserved_count);

	if (r < 0)
		return r;
	r = arch_plan_layout(&wanted, &m->layout);
	if (r < 0)
		log_error("--memory: %llu MiB do not fit into the %u address bits of this host's "
			  "guests",
			  (unsigned long long)(config->memory.size >> 20), wanted.address_bits);
	return r;
}

/* There is no machine yet to press the button of. */
static bool asked_to_end(void *ctx)
{
	struct machine *m = ctx;

	return signals_end_is_asked(m->signals);
}

static int create_ram(struct machine *m)
{
	const struct ram_request request = {
		.pieces = m->layout.ram,
		.count = m->layout.ram_count,
		.size = m->config->memory.size,
		.huge_page = m->config->memory.huge_page,
		.prefault = m->config->memory.prefault,
		.pinned = passthrough_pins_memory(m->passthrough),
		.cancelled = asked_to_end,
		.ctx = m,
	};
	int r = ram_create(&request, &m->memory);

	return r < 0 ? r : memory_add_slots(m->memory, m->kvm);
}

static int create_address_space(struct machine *m)
{
	int r = ioas_create(m->ictx, &m->ioas);

	if (r < 0)
		return log_failure(r, "address space of the devices");
	return memory_map_ioas(m->memory, m->ioas);
}

/* Before memory is laid out: devices have addresses where no RAM may be. */
static int find_devices(struct machine *m)
{
	int r = iommufd_ctx_create(&m->ictx);

	if (r < 0)
		return r;
	r = passthrough_find(m->config, m->loop, m->ictx, &m->passthrough);
	if (passthrough_misnamed(r))
		m->status = STATUS_BAD_ARGUMENTS;
	return r;
}

static int create_serial(struct machine *m)
{
	static const enum serial_backend_kind kinds[] = {
		[VM_SERIAL_STDIO] = SERIAL_STDIO,
		[VM_SERIAL_NONE] = SERIAL_NONE,
		[VM_SERIAL_PTY] = SERIAL_PTY,
		[VM_SERIAL_FILE] = SERIAL_FILE,
	};
	const struct arch_device *uart = &m->layout.uart;
	const struct serial_config config = {
		.kind = kinds[m->config->serial],
		.path = m->config->serial_path,
	};
	struct serial_wiring wiring = {
		.id = "serial0",
		.loop = m->loop,
		.bus = bus_of(m, uart),
		.base = uart->base,
	};
	int r;

	m->serial_irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = m->serial_irq_fd < 0 ? -errno : kvm_irqfd_add(m->kvm, m->serial_irq_fd, uart->gsi, -1);
	if (r < 0)
		return log_failure(r, "serial0: interrupt");
	wiring.irq_fd = m->serial_irq_fd;
	m->on_terminal = m->config->serial == VM_SERIAL_STDIO && isatty(STDIN_FILENO);
	if (m->on_terminal) {
		wiring.filter = filter_keys;
		wiring.filter_ctx = m;
	}
	return serial_create(&config, &wiring, &m->serial);
}

static int add_port(struct machine *m, const struct arch_device *port, const struct bus_ops *ops,
		    const char *name, bool *added)
{
	int r;

	if (port->size == 0)
		return 0;
	r = bus_add(bus_of(m, port), port->base, port->size, ops, m, name);
	if (r < 0)
		log_failure(r, "%s", name);
	*added = r == 0;
	return r;
}

static int create_board(struct machine *m)
{
	const struct power_wiring wiring = {
		.bus = m->mmio,
		.base = m->layout.power.base,
		.kvm = m->kvm,
		.gsi = m->layout.power.gsi,
		.events = &power_events,
		.ctx = m,
	};
	int r;

	r = power_create(&wiring, &m->power);
	if (r == 0)
		r = pvpanic_create(bus_of(m, &m->layout.panic), m->layout.panic.base, panic_event,
				   m, &m->panic);
	if (r == 0)
		r = add_port(m, &m->layout.exit, &exit_port, "exit port", &m->exit_port);
	if (r == 0)
		r = add_port(m, &m->layout.reset, &reset_port, "reset port", &m->reset_port);
	return r;
}

static int create_slots(struct machine *m)
{
	const struct slots_wiring wiring = {
		.config = m->config,
		.layout = &m->layout,
		.kvm = m->kvm,
		.loop = m->loop,
		.mmio = m->mmio,
		.pio = m->pio,
		.irq = m->irq,
		.ictx = m->ictx,
		.ioas = m->ioas,
		.passthrough = m->passthrough,
		.fatal = device_fatal,
		.ctx = m,
	};
	int r;

	/* A device's server may keep us waiting, and nothing of ours is there yet that must be put back. */
	signals_end_at_once(true);
	r = slots_create(&wiring, &m->slots);
	signals_end_at_once(false);
	return r;
}

static int create_vcpus(struct machine *m)
{
	const struct vcpus_config config = {
		.kvm = m->kvm,
		.cpus = m->cpus,
		.mmio = m->mmio,
		.pio = m->pio,
		.count = m->config->cpus,
		.events = &vcpu_events,
		.ctx = m,
	};

	return vcpus_create(&config, &m->vcpus);
}

/* Load what boots, and put every vCPU where it begins. */
static int boot(struct machine *m)
{
	struct arch_entry entry;
	int r;

	r = arch_boot_load(&m->description, &m->files, &entry);
	if (r == 0)
		r = vcpus_reset(m->vcpus, &entry);
	m->files.again = true;
	return r;
}

/* ---- the parts list ---------------------------------------------------------------------------- */

static int machine_create(struct machine *m)
{
	int r;

	/* Files first: a wrong path is said before anything is built. */
	if ((r = boot_files_open(&m->files, m->config)) < 0 || (r = create_loop(m)) < 0 ||
	    (r = create_signals(m)) < 0 || (r = kvm_create(-1, &m->kvm)) < 0 ||
	    (r = bus_create(&m->mmio)) < 0 || (r = bus_create(&m->pio)) < 0 ||
	    (r = find_devices(m)) < 0)
		return r;

	/* Memory slots before the interrupt controller (arch.h). */
	if ((r = arch_cpus_create(m->kvm, m->config->cpus, &m->cpus)) < 0 ||
	    (r = create_layout(m)) < 0 || (r = create_ram(m)) < 0 ||
	    (r = arch_irqchip_create(m->kvm, m->config->cpus, &m->layout, &m->irq)) < 0 ||
	    (r = create_address_space(m)) < 0)
		return r;

	if ((r = create_serial(m)) < 0 || (r = create_board(m)) < 0 || (r = create_slots(m)) < 0 ||
	    (r = create_vcpus(m)) < 0)
		return r;

	m->description = (struct arch_machine){
		.layout = &m->layout,
		.cpus = m->config->cpus,
		.uart = true,
		.panic = true,
	};
	return boot(m);
}

static void machine_destroy(struct machine *m)
{
	/* No guest code runs and no access is under way from here on. */
	vcpus_destroy(m->vcpus);
	m->vcpus = NULL;
	slots_destroy(m->slots);
	passthrough_destroy(m->passthrough);
	if (m->reset_port)
		bus_remove(bus_of(m, &m->layout.reset), m->layout.reset.base, m);
	if (m->exit_port)
		bus_remove(bus_of(m, &m->layout.exit), m->layout.exit.base, m);
	pvpanic_destroy(m->panic);
	power_destroy(m->power);
	serial_destroy(m->serial);
	if (m->serial_irq_fd >= 0) {
		kvm_irqfd_remove(m->kvm, m->serial_irq_fd, m->layout.uart.gsi);
		close(m->serial_irq_fd);
	}
	terminal_restore();
	if (m->ioas != NULL) {
		memory_unmap_ioas(m->memory, m->ioas);
		ioas_destroy(m->ioas);
	}
	iommufd_ctx_destroy(m->ictx);
	irq_router_destroy(m->irq);
	arch_cpus_destroy(m->cpus);
	bus_destroy(m->pio);
	bus_destroy(m->mmio);
	kvm_put(m->kvm);
	memory_destroy(m->memory); /* its slots went with the VM, all at once */
	signals_destroy(m->signals);
	loop_destroy(m->loop);
	boot_files_close(&m->files);
}

/* ---- life -------------------------------------------------------------------------------------- */

/* Every part back to power-on state, the kernel loaded anew. */
static int reboot(struct machine *m)
{
	int r;

	vcpus_pause(m->vcpus);
	serial_reset(m->serial);
	power_reset(m->power);
	m->power_presses = 0;
	r = slots_reset(m->slots);
	if (r == 0)
		r = arch_irqchip_reset(m->kvm);
	if (r == 0)
		r = boot(m);
	if (r < 0)
		return r;
	/* From here on the next request counts. */
	atomic_store(&m->request, REQUEST_NONE);
	return vcpus_resume(m->vcpus);
}

static void serve_request(void *ctx)
{
	struct machine *m = ctx;
	int what = atomic_load(&m->request);
	int r;

	if (what == REQUEST_RESET) {
		log_info("reboot");
		r = reboot(m);
		if (r == 0)
			return;
		log_unsaid(r);
		what = STATUS_HOST_FAILURE;
	}
	m->status = what;
	loop_stop(m->loop);
}

int machine_run(const struct vm_config *config)
{
	struct machine *m = calloc(1, sizeof(*m));
	int r, status;

	if (m == NULL) {
		log_failure(-ENOMEM, "the machine");
		return STATUS_HOST_FAILURE;
	}
	m->config = config;
	atomic_init(&m->request, REQUEST_NONE);
	m->status = STATUS_HOST_FAILURE;
	m->serial_irq_fd = -1;
	boot_files_init(&m->files);
	r = machine_create(m);
	if (r == 0 && m->on_terminal)
		terminal_raw();
	if (r == 0)
		r = vcpus_resume(m->vcpus);
	if (r == -ECANCELED)
		m->status = STATUS_OFF; /* the user ended it before the guest began */
	if (r == 0) {
		r = loop_run(m->loop);
		if (r < 0)
			m->status = STATUS_HOST_FAILURE;
	}
	machine_destroy(m);
	if (r < 0 && r != -ECANCELED)
		log_unsaid(r);
	status = m->status;
	free(m);
	return status;
}
