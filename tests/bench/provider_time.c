/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the reference device costs by each provider, in this process and without a guest.
 *
 *   provider_time TURNS NAME=DEVICE...     as in "user=user:/tmp/x.sock"
 *
 * The devices take turns, with what does the least: two threads that wake each other by eventfds, and memcpy.
 * Prints the medians as lines of "NAME_WHAT VALUE": read_ns, write_ns (of 4 bytes of a trapped register), irq_ns (a
 * request that does nothing: one write, until the interrupt has woken its thread), copy_ns (COPY_SIZE bytes by DMA, with
 * the interrupt); then bare_irq_ns and bare_copy_ns. What was copied is compared.
 */
#include <err.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "devices/vfio/device.h"
#include "devices/vfio/provider.h"
#include "devices/vfio/reference/registers.h"
#include "vmm/base/dma.h"
#include "vmm/base/host.h"
#include "vmm/base/loop.h"

#define MAX_TURNS   101
#define MAX_DEVICES 8
#define ROUNDS      500
#define MEMORY_IOVA 0x1000000ull
#define COPY_SIZE   (8u << 20)
#define MEMORY_SIZE (2ull * COPY_SIZE)

enum what { READ, WRITE, IRQ, COPY, WHATS };

static const char *const names[WHATS] = {"read", "write", "irq", "copy"};

struct tested {
	const char *name;
	struct vfio_device *vdev;
	uint64_t region_at[2]; /* where the registers and config space begin */
	int vector;            /* eventfd of MSI-X vector 0 */
	uint64_t took[WHATS][MAX_TURNS];
};

static uint8_t *memory; /* at MEMORY_IOVA of every device */

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void good(int rc, const char *what)
{
	if (rc < 0)
		errx(1, "%s: %s", what, strerror(-rc));
}

static void wait_for_event(int fd)
{
	uint64_t count;

	if (read(fd, &count, sizeof(count)) != sizeof(count))
		err(1, "an eventfd");
}

static void signal_event(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) != sizeof(one))
		err(1, "an eventfd");
}

/* ---- a device and its registers ---- */

static uint64_t region_offset(struct vfio_device *vdev, uint32_t index)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	good(vfio_device_ioctl(vdev, VFIO_DEVICE_GET_REGION_INFO, &info), "region info");
	return info.offset;
}

static void put(struct tested *t, uint32_t at, uint32_t value)
{
	if (vfio_device_write(t->vdev, &value, sizeof(value), t->region_at[0] + at) !=
	    sizeof(value))
		errx(1, "%s: a write failed", t->name);
}

static uint32_t get(struct tested *t, uint32_t at)
{
	uint32_t value;

	if (vfio_device_read(t->vdev, &value, sizeof(value), t->region_at[0] + at) != sizeof(value))
		errx(1, "%s: a read failed", t->name);
	return value;
}

static void set_vector(struct tested *t)
{
	struct {
		struct vfio_irq_set set;
		int fd;
	} irqs = {.set = {.argsz = sizeof(irqs.set) + sizeof(irqs.fd),
			  .flags = VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD,
			  .index = VFIO_PCI_MSIX_IRQ_INDEX,
			  .count = 1}};

	t->vector = irqs.fd = eventfd(0, EFD_CLOEXEC);
	if (t->vector < 0)
		err(1, "eventfd");
	good(vfio_device_ioctl(t->vdev, VFIO_DEVICE_SET_IRQS, &irqs), "interrupts");
}

static void open_device(struct tested *t, char *argument, const struct vfio_provider_env *env,
			struct ioas *space)
{
	char *device = strchr(argument, '=');
	struct vfio_config config = {.name = device ? device + 1 : argument, .fd = -1};
	const struct vfio_provider *provider = vfio_provider_by_prefix(config.name);
	uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	uint32_t id = ioas_id(space);

	if (!device || !provider)
		errx(2, "%s: not NAME=PROVIDER:DEVICE", argument);
	*device = '\0';
	t->name = argument;
	good(provider->create(env, &config, &t->vdev), t->name);
	good(vfio_device_open(t->vdev, env->ictx), t->name);
	good(vfio_device_attach(t->vdev, &id), t->name);
	t->region_at[0] = region_offset(t->vdev, REFERENCE_BAR_REGISTERS);
	t->region_at[1] = region_offset(t->vdev, VFIO_PCI_CONFIG_REGION_INDEX);
	if (vfio_device_write(t->vdev, &command, sizeof(command), t->region_at[1] + PCI_COMMAND) !=
		    sizeof(command) ||
	    get(t, REFERENCE_ID) != REFERENCE_ID_VALUE)
		errx(1, "%s: no reference device", t->name);
	set_vector(t);
}

static void close_device(struct tested *t)
{
	vfio_device_close(t->vdev);
	vfio_unregister_device(t->vdev);
	vfio_device_free(t->vdev);
	close(t->vector);
}

/* ---- what is timed ---- */

static void do_request(struct tested *t)
{
	put(t, REFERENCE_DOORBELL, 1);
	wait_for_event(t->vector);
}

static void turn_of(struct tested *t, unsigned turn)
{
	uint64_t at = now_ns(), next;

	for (unsigned i = 0; i < ROUNDS; i++)
		get(t, REFERENCE_PATTERN);
	next = now_ns();
	t->took[READ][turn] = (next - at) / ROUNDS;
	for (unsigned i = 0; i < ROUNDS; i++)
		put(t, REFERENCE_PATTERN, i);
	at = now_ns();
	t->took[WRITE][turn] = (at - next) / ROUNDS;

	put(t, REFERENCE_VECTOR, 0);
	put(t, REFERENCE_COMMAND, REFERENCE_OPCODE_NOP | REFERENCE_COMMAND_INTERRUPT);
	at = now_ns();
	for (unsigned i = 0; i < ROUNDS; i++)
		do_request(t);
	t->took[IRQ][turn] = (now_ns() - at) / ROUNDS;

	memset(memory + COPY_SIZE, 0, COPY_SIZE);
	put(t, REFERENCE_SOURCE, (uint32_t)MEMORY_IOVA);
	put(t, REFERENCE_DESTINATION, (uint32_t)(MEMORY_IOVA + COPY_SIZE));
	put(t, REFERENCE_LENGTH, COPY_SIZE);
	put(t, REFERENCE_COMMAND, REFERENCE_OPCODE_COPY | REFERENCE_COMMAND_INTERRUPT);
	at = now_ns();
	do_request(t);
	t->took[COPY][turn] = now_ns() - at;
	if (get(t, REFERENCE_ERROR) || memcmp(memory, memory + COPY_SIZE, COPY_SIZE) != 0)
		errx(1, "%s: what was copied differs from its source", t->name);
}

/* ---- what does the least ---- */

static int ping[2]; /* eventfds there and back */

static void *echo(void *unused)
{
	for (;;) {
		wait_for_event(ping[0]);
		signal_event(ping[1]);
	}
	return unused;
}

static void bare_turn(struct tested *bare, unsigned turn)
{
	uint64_t at = now_ns();

	for (unsigned i = 0; i < ROUNDS; i++) {
		signal_event(ping[0]);
		wait_for_event(ping[1]);
	}
	bare->took[IRQ][turn] = (now_ns() - at) / ROUNDS;
	memset(memory + COPY_SIZE, 0, COPY_SIZE);
	at = now_ns();
	memcpy(memory + COPY_SIZE, memory, COPY_SIZE);
	bare->took[COPY][turn] = now_ns() - at;
}

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void print(struct tested *t, unsigned turns)
{
	for (int i = 0; i < WHATS; i++) {
		qsort(t->took[i], turns, sizeof(t->took[i][0]), by_value);
		if (t->took[i][turns / 2])
			printf("%s_%s_ns %llu\n", t->name, names[i],
			       (unsigned long long)t->took[i][turns / 2]);
	}
}

/* ---- the machine around them ---- */

static void *loop_thread(void *loop)
{
	loop_run(loop);
	return NULL;
}

int main(int argc, char **argv)
{
	static struct tested devices[MAX_DEVICES], bare = {.name = "bare"};
	struct ioas_area area = {
		.iova = MEMORY_IOVA, .length = MEMORY_SIZE, .rights = IOAS_READ | IOAS_WRITE};
	const unsigned turns = argc > 1 ? (unsigned)atoi(argv[1]) : 0, count = (unsigned)argc - 2;
	struct vfio_provider_env env = {0};
	struct vfio_device_sets sets;
	struct ioas *space;
	pthread_t thread;

	if (argc < 3 || count > MAX_DEVICES || !turns || turns > MAX_TURNS)
		errx(2, "usage: provider_time TURNS NAME=DEVICE...");
	area.fd = host_memfd("guest", MEMORY_SIZE, HOST_PAGES_NORMAL);
	good(area.fd, "memory");
	memory = area.hva = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE,
				 MAP_SHARED | MAP_POPULATE, area.fd, 0);
	if (memory == MAP_FAILED)
		err(1, "memory");
	for (size_t i = 0; i < COPY_SIZE; i++)
		memory[i] = (uint8_t)(i * 31 + (i >> 12));
	vfio_device_sets_init(&sets);
	env.sets = &sets;
	good(loop_create(&env.loop), "loop");
	good(iommufd_ctx_create(&env.ictx), "address spaces");
	good(ioas_create(env.ictx, &space), "address space");
	good(ioas_map(space, &area), "memory");
	good(-pthread_create(&thread, NULL, loop_thread, env.loop), "thread");
	for (unsigned i = 0; i < count; i++)
		open_device(&devices[i], argv[i + 2], &env, space);
	ping[0] = eventfd(0, EFD_CLOEXEC);
	ping[1] = eventfd(0, EFD_CLOEXEC);
	if (pthread_create(&(pthread_t){0}, NULL, echo, NULL))
		errx(1, "no thread");

	for (unsigned turn = 0; turn < turns; turn++) {
		bare_turn(&bare, turn);
		for (unsigned i = 0; i < count; i++)
			turn_of(&devices[i], turn);
	}
	for (unsigned i = 0; i < count; i++) {
		print(&devices[i], turns);
		close_device(&devices[i]);
	}
	print(&bare, turns);
	loop_stop(env.loop);
	pthread_join(thread, NULL);
	good(ioas_destroy(space), "the space at the end");
	iommufd_ctx_destroy(env.ictx);
	vfio_device_sets_destroy(&sets);
	loop_destroy(env.loop);
	return 0;
}
