/* SPDX-License-Identifier: Apache-2.0 */
/* Devices as the machine runs them: a loop thread, vCPU threads, the real bus and address space. */
#include <errno.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <linux/serial_reg.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <pthread.h>
#include <jansson.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/serial.h"
#include "devices/virtio/block.h"
#include "devices/virtio/pci.h"
#include "tests/unit/support.h"
#include "vmm/base/bus.h"
#include "vmm/base/dma.h"
#include "vmm/base/irq.h"
#include "vmm/base/kvm.h"
#include "vmm/base/loop.h"
#include "vmm/pci/function.h"
#include "vmm/pci/host_bridge.h"

#define BAR       0xe0000000ull
#define RAM_SIZE  0x200000u
#define RING_SIZE 64u
#define DESC      0x1000u
#define AVAIL     0x2000u
#define USED      0x3000u
#define HEADERS   0x4000u
#define DATA      0x10000u
#define DISK_SIZE (1u << 20)

/* ---- the machine around the devices ---- */

static struct loop *loop;
static struct bus *mmio, *pio;
static struct pci_host_bridge_config bridge_config = {
	.windows.mem32 = {.base = 0xe0000000, .size = 0x10000000},
};
static atomic_uint messages;
static pthread_t loop_thread;

const struct pci_host_bridge_config *pci_host_bridge_config(const struct pci_host_bridge *bridge)
{
	(void)bridge;
	return &bridge_config;
}

void pci_intx_set(struct pci_function *fn, unsigned pin, int level)
{
	(void)fn, (void)pin, (void)level;
}

struct kvm *irq_router_kvm(struct irq_router *router)
{
	(void)router;
	return NULL;
}

int irq_msi_send(struct irq_router *router, uint32_t devid, const struct msi_message *message)
{
	(void)router, (void)devid, (void)message;
	atomic_fetch_add(&messages, 1);
	return 0;
}

int irq_line_set(struct irq_router *router, uint32_t gsi, bool level)
{
	(void)router, (void)gsi, (void)level;
	return 0;
}

int kvm_ioeventfd_add(struct kvm *kvm, int fd, bool is_pio, uint64_t address, unsigned size,
		      const uint64_t *match)
{
	(void)kvm, (void)fd, (void)is_pio, (void)address, (void)size, (void)match;
	return -ENOSPC; /* doorbells come through the bus */
}

int kvm_ioeventfd_remove(struct kvm *kvm, int fd, bool is_pio, uint64_t address, unsigned size,
			 const uint64_t *match)
{
	(void)kvm, (void)fd, (void)is_pio, (void)address, (void)size, (void)match;
	return 0;
}

static void *run_loop(void *ctx)
{
	loop_run(ctx);
	return NULL;
}

static void start_machine(void)
{
	cr_assert_eq(loop_create(&loop), 0);
	cr_assert_eq(bus_create(&mmio), 0);
	cr_assert_eq(bus_create(&pio), 0);
	bridge_config.mmio = mmio;
	cr_assert_eq(pthread_create(&loop_thread, NULL, run_loop, loop), 0);
}

static void end_machine(void)
{
	loop_stop(loop);
	pthread_join(loop_thread, NULL);
	bus_destroy(mmio);
	bus_destroy(pio);
	loop_destroy(loop);
}

/* Run @fn on the loop thread and wait for it. */
struct call {
	loop_fn fn;
	void *ctx;
	int done_fd;
};

static void call_it(void *ctx)
{
	struct call *call = ctx;

	call->fn(call->ctx);
	eventfd_write(call->done_fd, 1);
}

static void on_loop(loop_fn fn, void *ctx)
{
	struct call call = {.fn = fn, .ctx = ctx, .done_fd = eventfd(0, EFD_CLOEXEC)};
	eventfd_t count;

	cr_assert_eq(loop_post(loop, call_it, &call), 0);
	cr_assert_eq(eventfd_read(call.done_fd, &count), 0);
	close(call.done_fd);
}

/* ---- a block driver on one vCPU, somebody curious on another ---- */

static struct iommufd_ctx *ictx;
static struct ioas *ioas;
static uint8_t *ram;
static struct pci_function *fn;
static uint32_t common, notify, table, msix;
static char disk_path[64];
static atomic_bool over;
static uint16_t avail_index, used_seen;

static uint64_t bar_in(uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	bus_read(mmio, BAR + offset, &value, size);
	return value;
}

static void bar_out(uint64_t offset, uint64_t value, unsigned size)
{
	bus_write(mmio, BAR + offset, &value, size);
}

static void make_block(void *ctx)
{
	struct virtio_block_config config = {.id = "disk0", .path = disk_path};

	(void)ctx;
	cr_assert_eq(virtio_block_create(&config, loop, ioas, &fn), 0);
	fn->bridge = (struct pci_host_bridge *)&bridge_config;
	fn->windows = &bridge_config.windows;
	fn->ops->config_write(fn, PCI_BASE_ADDRESS_0, (uint32_t)BAR, 4);
	fn->ops->config_write(fn, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	for (uint32_t at = fn->config[PCI_CAPABILITY_LIST]; at; at = fn->config[at + 1]) {
		uint32_t offset = pci_get(fn->config, at + VIRTIO_PCI_CAP_OFFSET, 4);
		uint8_t type = fn->config[at + VIRTIO_PCI_CAP_CFG_TYPE];

		if (fn->config[at] == PCI_CAP_ID_MSIX) {
			msix = at;
			table = pci_get(fn->config, at + PCI_MSIX_TABLE, 4);
		} else if (type == VIRTIO_PCI_CAP_COMMON_CFG) {
			common = offset;
		} else if (type == VIRTIO_PCI_CAP_NOTIFY_CFG) {
			notify = offset;
		}
	}
}

static void destroy_block(void *ctx)
{
	(void)ctx;
	pci_function_unmap_bars(fn);
	bus_synchronize(mmio);
	fn->ops->destroy(fn);
}

static void make_memory(void)
{
	int fd = memfd_create("guest", MFD_CLOEXEC);
	struct ioas_area area = {.length = RAM_SIZE, .fd = fd, .rights = IOAS_READ | IOAS_WRITE};

	cr_assert_eq(ftruncate(fd, RAM_SIZE), 0);
	ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	cr_assert_neq(ram, MAP_FAILED);
	area.hva = ram;
	cr_assert_eq(iommufd_ctx_create(&ictx), 0);
	cr_assert_eq(ioas_create(ictx, &ioas), 0);
	cr_assert_eq(ioas_map(ioas, &area), 0);
}

static void out_status(uint8_t value)
{
	bar_out(common + VIRTIO_PCI_COMMON_STATUS, value, 1);
}

static void driver_up(void)
{
	out_status(0);
	memset(ram + DESC, 0, HEADERS - DESC);
	avail_index = used_seen = 0;
	out_status(1);
	out_status(3);
	bar_out(common + VIRTIO_PCI_COMMON_GFSELECT, 1, 4);
	bar_out(common + VIRTIO_PCI_COMMON_GF, 1, 4);
	out_status(11);
	bar_out(common + VIRTIO_PCI_COMMON_Q_SIZE, RING_SIZE, 2);
	bar_out(common + VIRTIO_PCI_COMMON_Q_MSIX, 0, 2);
	bar_out(common + VIRTIO_PCI_COMMON_Q_DESCLO, DESC, 8);
	bar_out(common + VIRTIO_PCI_COMMON_Q_AVAILLO, AVAIL, 8);
	bar_out(common + VIRTIO_PCI_COMMON_Q_USEDLO, USED, 8);
	bar_out(common + VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	out_status(15);
}

/* A request in slot @slot (of 16): 4 KiB at block @block. */
static void offer(unsigned slot, bool write, unsigned block)
{
	struct vring_desc *desc = (struct vring_desc *)(ram + DESC) + 3 * slot;
	struct vring_avail *avail = (struct vring_avail *)(ram + AVAIL);
	struct virtio_blk_outhdr *header = (void *)(ram + HEADERS + 64 * slot);
	uint16_t data_flag = write ? 0 : VRING_DESC_F_WRITE;

	*header = (struct virtio_blk_outhdr){.type = write ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN,
					     .sector = 8 * block};
	ram[HEADERS + 64 * slot + 32] = 0xff;
	desc[0] = (struct vring_desc){HEADERS + 64 * slot, 16, VRING_DESC_F_NEXT,
				      (uint16_t)(3 * slot + 1)};
	desc[1] = (struct vring_desc){DATA + 4096 * slot, 4096,
				      (uint16_t)(data_flag | VRING_DESC_F_NEXT),
				      (uint16_t)(3 * slot + 2)};
	desc[2] = (struct vring_desc){HEADERS + 64 * slot + 32, 1, VRING_DESC_F_WRITE, 0};
	avail->ring[avail_index % RING_SIZE] = (uint16_t)(3 * slot);
	__atomic_store_n(&avail->idx, ++avail_index, __ATOMIC_RELEASE);
}

static bool wait_for(unsigned count)
{
	struct vring_used *used = (struct vring_used *)(ram + USED);

	for (unsigned i = 0; i < 100000; i++) {
		if ((uint16_t)(__atomic_load_n(&used->idx, __ATOMIC_ACQUIRE) - used_seen) >=
		    count) {
			used_seen = (uint16_t)(used_seen + count);
			return true;
		}
		usleep(50);
	}
	return false;
}

static void *drive_block(void *ctx)
{
	(void)ctx;
	for (unsigned round = 0; round < 150; round++) {
		if (round % 10 == 0)
			driver_up();
		for (unsigned slot = 0; slot < 16; slot++) {
			memset(ram + DATA + 4096 * slot, (int)(round + slot), 4096);
			offer(slot, true, slot);
		}
		bar_out(notify, 0, 2);
		if (round % 10 == 9) {
			out_status(0); /* with all of it in flight */
			continue;
		}
		cr_assert(wait_for(16));
		for (unsigned slot = 0; slot < 16; slot++) {
			cr_assert_eq(ram[HEADERS + 64 * slot + 32], 0);
			memset(ram + DATA + 4096 * slot, 0, 4096);
			offer(slot, false, slot);
			bar_out(notify, 0, 2);
		}
		cr_assert(wait_for(16));
		for (unsigned slot = 0; slot < 16; slot++) {
			cr_assert_eq(ram[DATA + 4096 * slot], (uint8_t)(round + slot));
			cr_assert_eq(ram[DATA + 4096 * slot + 4095], (uint8_t)(round + slot));
		}
	}
	atomic_store(&over, true);
	return NULL;
}

/* Looks everywhere and masks and unmasks vectors meanwhile. */
static void *look_around(void *ctx)
{
	unsigned seed = 5;

	(void)ctx;
	for (unsigned i = 0; !atomic_load(&over); i++) {
		bar_in((unsigned)rand_r(&seed) % 0x3000 & ~3u, 4);
		bar_out(table + 12, i & 1, 4);
		bar_out(table, 0xfee00000, 8);
		/* Configuration accesses have one lock in the machine; here they have one thread. */
		fn->ops->config_write(fn, msix + PCI_MSIX_FLAGS,
				      PCI_MSIX_FLAGS_ENABLE | (i & 2 ? PCI_MSIX_FLAGS_MASKALL : 0),
				      2);
		if (i % 16 == 0)
			json_decref(virtio_pci_status(fn));
	}
	return NULL;
}

Test(devices_threads, a_disk_serves_one_processor_while_another_looks_around, .timeout = 60)
{
	pthread_t driver, looker;
	int fd;

	start_machine();
	make_memory();
	snprintf(disk_path, sizeof(disk_path), "/tmp/sluice-threads-test.%d", getpid());
	fd = open(disk_path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	cr_assert_eq(ftruncate(fd, DISK_SIZE), 0);
	on_loop(make_block, NULL);
	pthread_create(&driver, NULL, drive_block, NULL);
	pthread_create(&looker, NULL, look_around, NULL);
	pthread_join(driver, NULL);
	pthread_join(looker, NULL);
	cr_expect(atomic_load(&messages) > 0);
	on_loop(destroy_block, NULL);
	end_machine();
	cr_expect_eq(ioas_destroy(ioas), 0);
	iommufd_ctx_destroy(ictx);
	munmap(ram, RAM_SIZE);
	close(fd);
	unlink(disk_path);
}

/* ---- a serial port whose guest sends back what it receives ---- */

#define ECHO_BYTES 60000u

static struct serial *serial;
static int serial_irq;

static void make_serial(void *ctx)
{
	struct serial_config config = {.kind = SERIAL_STDIO};
	struct serial_wiring wiring = {
		.id = "serial0", .loop = loop, .bus = pio, .base = 0x3f8, .irq_fd = serial_irq};

	(void)ctx;
	cr_assert_eq(serial_create(&config, &wiring, &serial), 0);
}

static void destroy_serial(void *ctx)
{
	(void)ctx;
	serial_destroy(serial);
}

static uint8_t port_in(unsigned reg)
{
	uint8_t value = 0;

	bus_read(pio, 0x3f8 + reg, &value, 1);
	return value;
}

static void port_out(unsigned reg, uint8_t value)
{
	bus_write(pio, 0x3f8 + reg, &value, 1);
}

/* By interrupts: sleeps on the irqfd, reads what is there and sends it on. */
static void *echo_guest(void *ctx)
{
	unsigned echoed = 0;
	eventfd_t count;

	(void)ctx;
	port_out(UART_FCR, UART_FCR_ENABLE_FIFO | UART_FCR_TRIGGER_8);
	port_out(UART_MCR, UART_MCR_OUT2 | UART_MCR_RTS);
	port_out(UART_IER, UART_IER_RDI);
	while (echoed < ECHO_BYTES) {
		struct pollfd pfd = {.fd = serial_irq, .events = POLLIN};

		cr_assert_eq(poll(&pfd, 1, 20000), 1, "an interrupt was lost");
		eventfd_read(serial_irq, &count);
		while (!(port_in(UART_IIR) & UART_IIR_NO_INT))
			while (port_in(UART_LSR) & UART_LSR_DR) {
				uint8_t byte = port_in(UART_RX);

				while (!(port_in(UART_LSR) & UART_LSR_THRE))
					usleep(10);
				port_out(UART_TX, byte);
				echoed++;
			}
	}
	return NULL;
}

static int feed_fd;

static void *feed(void *ctx)
{
	uint8_t bytes[997];
	unsigned done = 0;

	(void)ctx;
	while (done < ECHO_BYTES) {
		unsigned step =
			ECHO_BYTES - done < sizeof(bytes) ? ECHO_BYTES - done : sizeof(bytes);

		for (unsigned i = 0; i < step; i++)
			bytes[i] = (uint8_t)((done + i) % 251);
		ssize_t n = write(feed_fd, bytes, step);
		cr_assert(n > 0);
		done += (unsigned)n;
	}
	return NULL;
}

Test(devices_threads, a_serial_port_loses_no_byte_and_no_interrupt, .timeout = 60)
{
	int saved[2] = {dup(0), dup(1)}, in[2], out[2];
	pthread_t guest, feeder;
	unsigned received = 0;
	uint8_t bytes[4096];

	cr_assert_eq(pipe(in), 0);
	cr_assert_eq(pipe(out), 0);
	dup2(in[0], 0);
	dup2(out[1], 1);
	feed_fd = in[1];
	start_machine();
	serial_irq = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	on_loop(make_serial, NULL);
	pthread_create(&guest, NULL, echo_guest, NULL);
	pthread_create(&feeder, NULL, feed, NULL);
	while (received < ECHO_BYTES) {
		struct pollfd pfd = {.fd = out[0], .events = POLLIN};

		cr_assert_eq(poll(&pfd, 1, 20000), 1, "output stopped");
		ssize_t n = read(out[0], bytes, sizeof(bytes));
		cr_assert(n > 0);
		for (ssize_t i = 0; i < n; i++, received++)
			cr_assert_eq(bytes[i], received % 251);
	}
	pthread_join(feeder, NULL);
	pthread_join(guest, NULL);
	on_loop(destroy_serial, NULL);
	end_machine();
	dup2(saved[0], 0);
	dup2(saved[1], 1);
	cr_expect_eq(received, ECHO_BYTES);
}
