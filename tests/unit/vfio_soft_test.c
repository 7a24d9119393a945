/* SPDX-License-Identifier: Apache-2.0 */
/* The soft provider through the core, with a real loop, real eventfds and real address spaces. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "devices/vfio/device.h"
#include "devices/vfio/provider.h"
#include "devices/vfio/reference/registers.h"
#include "tests/unit/support.h"
#include "vmm/base/dma.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/loop.h"

#define RAM_IOVA 0x40000000ull
#define RAM_SIZE 0x400000ull
#define BAR(n)   ((uint64_t)(n) << 40)
#define CONFIG   BAR(VFIO_PCI_CONFIG_REGION_INDEX)

struct vm {
	struct loop *loop;
	pthread_t thread;
	struct iommufd_ctx *ictx;
	struct vfio_device_sets sets;
	struct ioas *ram, *other;
	uint8_t *bytes;
	int memfd;
	struct vfio_device *vdev;
	atomic_uint requests, last_request, gone, errors;
};

static void *run_loop(void *ctx)
{
	loop_run(ctx);
	return NULL;
}

static void on_request(void *ctx, unsigned count)
{
	struct vm *vm = ctx;

	atomic_store(&vm->last_request, count);
	atomic_fetch_add(&vm->requests, 1);
}

static void on_gone(void *ctx)
{
	struct vm *vm = ctx;

	atomic_fetch_add(&vm->gone, 1);
}

static void on_error(void *ctx)
{
	struct vm *vm = ctx;

	atomic_fetch_add(&vm->errors, 1);
}

static const struct vfio_device_events events = {
	.request = on_request, .error = on_error, .gone = on_gone};

/* Keys as "name=value name=value". */
static int make(struct vm *vm, const char *name, const char *keys, struct vfio_device **out)
{
	char *text = strdup(keys), *save = NULL;
	struct vfio_key list[8];
	struct vfio_config config = {.name = name, .fd = -1, .keys = list};
	const struct vfio_provider_env env = {
		.loop = vm->loop, .ictx = vm->ictx, .sets = &vm->sets};
	const struct vfio_provider *provider = vfio_provider_by_prefix(name);
	int rc;

	cr_assert(provider);
	for (char *part = strtok_r(text, " ", &save); part; part = strtok_r(NULL, " ", &save)) {
		char *equal = strchr(part, '=');

		if (equal)
			*equal++ = '\0';
		list[config.key_count++] = (struct vfio_key){.name = part, .value = equal};
	}
	rc = provider->match(&config);
	if (rc > 0)
		rc = provider->create(&env, &config, out);
	free(text);
	return rc;
}

static struct ioas *space(struct vm *vm, uint64_t offset, uint64_t size)
{
	const struct ioas_area area = {.iova = RAM_IOVA,
				       .length = size,
				       .fd = vm->memfd,
				       .offset = offset,
				       .hva = vm->bytes + offset,
				       .rights = IOAS_READ | IOAS_WRITE};
	struct ioas *ioas;

	cr_assert(ioas_create(vm->ictx, &ioas) == 0);
	cr_assert(ioas_map(ioas, &area) == 0);
	return ioas;
}

static void command_bits(struct vfio_device *vdev, uint16_t bits)
{
	cr_assert(vfio_device_write(vdev, &bits, 2, CONFIG + PCI_COMMAND) == 2);
}

static void open_device(struct vm *vm, struct vfio_device *vdev)
{
	uint32_t id = ioas_id(vm->ram);

	vfio_device_set_events(vdev, &events, vm);
	cr_assert(vfio_device_open(vdev, vm->ictx) == 0);
	cr_assert(vfio_device_attach(vdev, &id) == 0);
	command_bits(vdev, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static struct vm *vm_new(const char *keys)
{
	struct vm *vm = calloc(1, sizeof(*vm));

	cr_assert(loop_create(&vm->loop) == 0);
	cr_assert(pthread_create(&vm->thread, NULL, run_loop, vm->loop) == 0);
	cr_assert(iommufd_ctx_create(&vm->ictx) == 0);
	vfio_device_sets_init(&vm->sets);
	vm->memfd = memfd_create("test-ram", MFD_CLOEXEC);
	cr_assert(ftruncate(vm->memfd, (off_t)RAM_SIZE) == 0);
	vm->bytes = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, vm->memfd, 0);
	cr_assert(vm->bytes != MAP_FAILED);
	for (uint64_t i = 0; i < RAM_SIZE; i++)
		vm->bytes[i] = (uint8_t)(i * 7 + i / 4096);
	vm->ram = space(vm, 0, RAM_SIZE);
	cr_assert(make(vm, "soft:reference", keys, &vm->vdev) == 0);
	open_device(vm, vm->vdev);
	return vm;
}

static void give_back(struct vfio_device *vdev)
{
	vfio_device_close(vdev);
	vfio_unregister_device(vdev);
	vfio_device_free(vdev);
}

static void vm_free(struct vm *vm)
{
	if (vm->vdev)
		give_back(vm->vdev);
	if (vm->other)
		cr_assert(ioas_destroy(vm->other) == 0);
	cr_assert(ioas_destroy(vm->ram) == 0);
	vfio_device_sets_destroy(&vm->sets);
	iommufd_ctx_destroy(vm->ictx);
	loop_stop(vm->loop);
	pthread_join(vm->thread, NULL);
	loop_destroy(vm->loop);
	munmap(vm->bytes, RAM_SIZE);
	close(vm->memfd);
	free(vm);
}

static void set32(struct vfio_device *vdev, uint32_t at, uint32_t value)
{
	cr_assert(vfio_device_write(vdev, &value, 4, BAR(0) + at) == 4);
}

static void set64(struct vfio_device *vdev, uint32_t at, uint64_t value)
{
	cr_assert(vfio_device_write(vdev, &value, 8, BAR(0) + at) == 8);
}

static uint32_t get32(struct vfio_device *vdev, uint32_t at)
{
	uint32_t value = 0;

	cr_assert(vfio_device_read(vdev, &value, 4, BAR(0) + at) == 4);
	return value;
}

static void post(struct vfio_device *vdev, uint32_t command, uint64_t source, uint64_t destination,
		 uint32_t length)
{
	set64(vdev, REFERENCE_SOURCE, source);
	set64(vdev, REFERENCE_DESTINATION, destination);
	set32(vdev, REFERENCE_LENGTH, length);
	set32(vdev, REFERENCE_COMMAND, command);
	set32(vdev, REFERENCE_DOORBELL, 1);
}

static uint32_t finish(struct vfio_device *vdev)
{
	while (get32(vdev, REFERENCE_STATUS) & REFERENCE_STATUS_BUSY)
		sched_yield();
	return get32(vdev, REFERENCE_ERROR);
}

static uint32_t request(struct vfio_device *vdev, uint32_t command, uint64_t source,
			uint64_t destination, uint32_t length)
{
	post(vdev, command, source, destination, length);
	return finish(vdev);
}

static int set_irqs(struct vfio_device *vdev, uint32_t index, uint32_t flags, uint32_t start,
		    uint32_t count, const void *data, size_t size)
{
	_Alignas(struct vfio_irq_set) uint8_t buffer[sizeof(struct vfio_irq_set) + 512];
	struct vfio_irq_set *set = (struct vfio_irq_set *)buffer;

	*set = (struct vfio_irq_set){.argsz = (uint32_t)(sizeof(*set) + size),
				     .flags = flags,
				     .index = index,
				     .start = start,
				     .count = count};
	if (size)
		memcpy(buffer + sizeof(*set), data, size);
	return vfio_device_ioctl(vdev, VFIO_DEVICE_SET_IRQS, set);
}

#define ON     (VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD)
#define UNMASK (VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_EVENTFD)

/* Wait, as long as it takes. */
static uint64_t wait_fd(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	eventfd_t value = 0;

	while (eventfd_read(fd, &value) != 0)
		poll(&p, 1, -1);
	return value;
}

static bool pending(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static int feature(struct vfio_device *vdev, uint32_t flags, void *data, size_t size)
{
	_Alignas(8) uint8_t buffer[sizeof(struct vfio_device_feature) + 128] = {0};
	struct vfio_device_feature *f = (struct vfio_device_feature *)buffer;
	int rc;

	f->argsz = (uint32_t)(sizeof(*f) + size);
	f->flags = flags;
	if (size)
		memcpy(f->data, data, size);
	rc = vfio_device_ioctl(vdev, VFIO_DEVICE_FEATURE, f);
	if (size)
		memcpy(data, f->data, size);
	return rc;
}

static int go(struct vfio_device *vdev, uint32_t state, int *fd)
{
	struct vfio_device_feature_mig_state mig = {.device_state = state, .data_fd = -1};
	const int rc = feature(vdev, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			       &mig, sizeof(mig));

	if (fd)
		*fd = mig.data_fd;
	return rc;
}

/* ---- keys ---- */

Test(vfio_soft, bad_names_and_keys_are_refused)
{
	static const char *const bad[] = {
		"vectors=0",         "vectors=2049",     "vectors",
		"vectors=x",         "memory=1M1",       "memory=3M",
		"memory=128M",       "memory=32K",       "memory",
		"migration=yes",     "migration",        "fail-state=error",
		"fail-state=stop:0", "fail-state=stop:", "fail-state=sto",
		"fail-state",        "pasid=maybe",      "lose-interrupt=-1",
		"dma-delay=1000001", "frobnicate=1",     "data-size=10001",
	};
	struct vm *vm = vm_new("");
	struct vfio_device *vdev;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		const int rc = make(vm, "soft:reference", bad[i], &vdev);

		if (rc != -EINVAL)
			fprintf(stderr, "%s: %d\n", bad[i], rc);
		cr_assert(rc == -EINVAL);
	}
	cr_assert(make(vm, "soft:", "", &vdev) == -EINVAL);
	cr_assert(make(vm, "soft:referenc", "", &vdev) == -EINVAL);
	vm_free(vm);
}

Test(vfio_soft, keys_shape_the_device)
{
	struct vm *vm = vm_new("vectors=3 memory=64K migration=p2p pasid=off log=off mmap=off");
	struct vfio_region_info region = {.argsz = sizeof(region), .index = 2};
	struct vfio_irq_info irq = {.argsz = sizeof(irq), .index = VFIO_PCI_MSIX_IRQ_INDEX};

	cr_assert(get32(vm->vdev, REFERENCE_VECTORS) == 3);
	cr_assert(vfio_device_ioctl(vm->vdev, VFIO_DEVICE_GET_REGION_INFO, &region) == 0);
	cr_assert(region.size == 0x10000 && !(region.flags & VFIO_REGION_INFO_FLAG_MMAP));
	cr_assert(vfio_device_ioctl(vm->vdev, VFIO_DEVICE_GET_IRQ_INFO, &irq) == 0);
	cr_assert(irq.count == 3);
	cr_assert(vm->vdev->migration_flags == (VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P));
	cr_assert(vm->vdev->max_pasids == 0);
	cr_assert(vm->vdev->log_ops == NULL);
	vm_free(vm);

	vm = vm_new("migration=none");
	cr_assert(vm->vdev->mig_ops == NULL);
	cr_assert(go(vm->vdev, VFIO_DEVICE_STATE_STOP, NULL) == -ENOTTY);
	vm_free(vm);
}

/* ---- DMA and interrupts ---- */

Test(vfio_soft, copies_guest_memory_and_tells_by_a_vector)
{
	struct vm *vm = vm_new("");
	const int32_t fds[2] = {eventfd(0, EFD_NONBLOCK), eventfd(0, EFD_NONBLOCK)};

	cr_assert(set_irqs(vm->vdev, VFIO_PCI_MSIX_IRQ_INDEX, ON, 7, 2, fds, 8) == 0);
	set32(vm->vdev, REFERENCE_VECTOR, 8);
	post(vm->vdev, REFERENCE_OPCODE_COPY | REFERENCE_COMMAND_INTERRUPT, RAM_IOVA + 3,
	     RAM_IOVA + 0x200001, 0x100000);
	cr_assert(wait_fd(fds[1]) == 1);
	cr_assert(!pending(fds[0]));
	cr_assert(finish(vm->vdev) == 0);
	cr_assert(memcmp(vm->bytes + 3, vm->bytes + 0x200001, 0x100000) == 0);
	/* Beyond what is mapped. */
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_COPY, RAM_IOVA, RAM_IOVA + RAM_SIZE, 4) ==
		  REFERENCE_ERROR_WRITE);
	close(fds[0]);
	close(fds[1]);
	vm_free(vm);
}

Test(vfio_soft, memory_bar_is_the_same_mapped_trapped_and_by_dma)
{
	struct vm *vm = vm_new("");
	uint8_t *map = mmap(NULL, 0x100000, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint64_t value = 0, offset;
	int fd;

	cr_assert(vfio_device_mmap(vm->vdev, map, 0x100000, PROT_READ | PROT_WRITE, BAR(2)) == 0);
	memcpy(map + 0x8000, "across the border", 18);
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_COPY | REFERENCE_COMMAND_SOURCE_MEMORY, 0x8000,
			  RAM_IOVA + 0x1000, 18) == 0);
	cr_assert(strcmp((char *)vm->bytes + 0x1000, "across the border") == 0);
	cr_assert(vfio_device_read(vm->vdev, &value, 6, BAR(2) + 0x8000) == 6);
	cr_assert(memcmp(&value, "across", 6) == 0);
	cr_assert(vfio_device_region_fd(vm->vdev, 2, false, &fd, &offset) == 0);
	cr_assert(pread(fd, &value, 6, (off_t)(offset + 0x8000)) == 6);
	cr_assert(memcmp(&value, "across", 6) == 0);
	/* Registers are never mapped, the scratch memory behind them is. */
	cr_assert(vfio_device_mmap(vm->vdev, map, 4096, PROT_READ, BAR(0)) == -EINVAL);
	cr_assert(vfio_device_mmap(vm->vdev, map, 4096, PROT_READ | PROT_WRITE,
				   BAR(0) + REFERENCE_SCRATCH_OFFSET) == 0);
	map[5] = 0x77;
	cr_assert(vfio_device_read(vm->vdev, &value, 1, BAR(0) + REFERENCE_SCRATCH_OFFSET + 5) ==
		  1);
	cr_assert((uint8_t)value == 0x77);
	munmap(map, 0x100000);
	vm_free(vm);
}

Test(vfio_soft, memory_of_the_last_user_is_the_device_s_no_more)
{
	struct vm *vm = vm_new("");
	uint64_t value = 0x7777, offset;
	int fd, old;

	cr_assert(vfio_device_region_fd(vm->vdev, 2, false, &fd, &offset) == 0);
	old = dup(fd);
	cr_assert(pwrite(old, &value, 8, (off_t)offset) == 8);
	vfio_device_close(vm->vdev);
	open_device(vm, vm->vdev);
	/* Neither does it reach the device, nor see what the next one writes. */
	cr_assert(pwrite(old, &value, 8, (off_t)(offset + 8)) == 8);
	cr_assert(vfio_device_read(vm->vdev, &value, 8, BAR(2) + 8) == 8);
	cr_assert(value == 0);
	value = 0x5555;
	cr_assert(vfio_device_write(vm->vdev, &value, 8, BAR(2)) == 8);
	cr_assert(pread(old, &value, 8, (off_t)offset) == 8);
	cr_assert(value == 0x7777);
	cr_assert(vfio_device_region_fd(vm->vdev, 2, false, &fd, &offset) == 0);
	cr_assert(pread(fd, &value, 8, (off_t)offset) == 8);
	cr_assert(value == 0x5555);
	close(old);
	vm_free(vm);
}

Test(vfio_soft, pin_interrupt_is_masked_until_the_guest_is_done_with_it)
{
	struct vm *vm = vm_new("");
	const int32_t trigger = eventfd(0, EFD_NONBLOCK), unmask = eventfd(0, EFD_NONBLOCK);

	cr_assert(set_irqs(vm->vdev, VFIO_PCI_INTX_IRQ_INDEX, ON, 0, 1, &trigger, 4) == 0);
	cr_assert(set_irqs(vm->vdev, VFIO_PCI_INTX_IRQ_INDEX, UNMASK, 0, 1, &unmask, 4) == 0);
	set32(vm->vdev, REFERENCE_INT_ENABLE, REFERENCE_INT_DONE);
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_NOP, 0, 0, 0) == 0);
	cr_assert(wait_fd(trigger) == 1);
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_NOP, 0, 0, 0) == 0);
	cr_assert(!pending(trigger)); /* masked */
	eventfd_write(unmask, 1);     /* but its cause is there still: it fires again */
	cr_assert(wait_fd(trigger) == 1);
	set32(vm->vdev, REFERENCE_INT_STATUS, REFERENCE_INT_DONE);
	cr_assert(set_irqs(vm->vdev, VFIO_PCI_INTX_IRQ_INDEX,
			   VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_NONE, 0, 1, NULL,
			   0) == 0);
	cr_assert(!pending(trigger)); /* the line is down */
	cr_assert(set_irqs(vm->vdev, VFIO_PCI_INTX_IRQ_INDEX,
			   VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_DATA_NONE, 0, 1, NULL, 0) == 0);
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_NOP, 0, 0, 0) == 0);
	cr_assert(!pending(trigger));
	/* MSI-X besides is refused. */
	cr_assert(set_irqs(vm->vdev, VFIO_PCI_MSIX_IRQ_INDEX, ON, 0, 1, &trigger, 4) == -EINVAL);
	close(trigger);
	close(unmask);
	vm_free(vm);
}

Test(vfio_soft, a_full_counter_keeps_nobody)
{
	struct vm *vm = vm_new("");
	const int32_t fd = eventfd(0, 0); /* one that blocks */

	cr_assert(eventfd_write(fd, UINT64_MAX - 1) == 0);
	cr_assert(set_irqs(vm->vdev, VFIO_PCI_MSIX_IRQ_INDEX, ON, 0, 1, &fd, 4) == 0);
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_NOP | REFERENCE_COMMAND_INTERRUPT, 0, 0, 0) ==
		  0);
	close(fd);
	vm_free(vm);
}

struct fight {
	int full, empty;
	atomic_bool over;
};

/* What the device writes is full, and what it reads is empty, at the worst moment. */
static void *fight(void *ctx)
{
	struct fight *f = ctx;

	while (!atomic_load(&f->over)) {
		eventfd_take(f->full);
		fcntl(f->full, F_SETFL, O_NONBLOCK);
		eventfd_write(f->full, UINT64_MAX - 1);
		fcntl(f->full, F_SETFL, 0);
		eventfd_write(f->empty, 1);
		eventfd_take(f->empty);
	}
	return NULL;
}

Test(vfio_soft, a_user_that_fights_for_the_counters_stops_nobody)
{
	struct vm *vm = vm_new("");
	struct fight f = {.full = eventfd(0, 0), .empty = eventfd(0, 0)};
	const struct vfio_device_ioeventfd io = {.argsz = sizeof(io),
						 .flags = VFIO_DEVICE_IOEVENTFD_32,
						 .offset = BAR(0) + REFERENCE_SCRATCH_OFFSET,
						 .fd = f.empty};
	pthread_t peer;

	cr_assert(set_irqs(vm->vdev, VFIO_PCI_MSIX_IRQ_INDEX, ON, 0, 1, &f.full, 4) == 0);
	cr_assert(vfio_device_ioctl(vm->vdev, VFIO_DEVICE_IOEVENTFD, (void *)(uintptr_t)&io) == 0);
	cr_assert_eq(fcntl(f.empty, F_GETFL) & O_NONBLOCK, 0, "its flags are the user's");
	pthread_create(&peer, NULL, fight, &f);
	for (unsigned i = 0; i < 2000; i++)
		cr_assert(request(vm->vdev, REFERENCE_OPCODE_NOP | REFERENCE_COMMAND_INTERRUPT, 0,
				  0, 0) == 0);
	atomic_store(&f.over, true);
	pthread_join(peer, NULL);
	close(f.full);
	close(f.empty);
	vm_free(vm);
}

Test(vfio_soft, a_doorbell_by_eventfd)
{
	struct vm *vm = vm_new("");
	const int32_t bell = eventfd(0, EFD_NONBLOCK), done = eventfd(0, EFD_NONBLOCK);
	struct vfio_device_ioeventfd io = {.argsz = sizeof(io),
					   .flags = VFIO_DEVICE_IOEVENTFD_32,
					   .offset = BAR(0) + REFERENCE_DOORBELL,
					   .data = 0x1234,
					   .fd = bell};

	cr_assert(set_irqs(vm->vdev, VFIO_PCI_MSIX_IRQ_INDEX, ON, 0, 1, &done, 4) == 0);
	cr_assert(vfio_device_ioctl(vm->vdev, VFIO_DEVICE_IOEVENTFD, &io) == 0);
	cr_assert(vfio_device_ioctl(vm->vdev, VFIO_DEVICE_IOEVENTFD, &io) == -EEXIST);
	set32(vm->vdev, REFERENCE_COMMAND, REFERENCE_COMMAND_INTERRUPT);
	for (unsigned i = 0; i < 100; i++) {
		eventfd_write(bell, 1);
		wait_fd(done);
	}
	cr_assert(get32(vm->vdev, REFERENCE_TAG) == 0x1234);
	cr_assert(get32(vm->vdev, REFERENCE_COMPLETED) == 100);
	io.fd = -1;
	cr_assert(vfio_device_ioctl(vm->vdev, VFIO_DEVICE_IOEVENTFD, &io) == 0);
	cr_assert(vfio_device_ioctl(vm->vdev, VFIO_DEVICE_IOEVENTFD, &io) == -ENODEV);
	close(bell);
	close(done);
	vm_free(vm);
}

/* The one doorbell that the device has itself: where, and its eventfd. */
static int own_doorbell(struct vm *vm)
{
	struct vfio_region_ioeventfd list[2];
	uint32_t count = 2;

	cr_assert(vfio_device_region_ioeventfds(vm->vdev, 0, list, &count) == 0);
	cr_assert(count == 1);
	cr_assert(list[0].offset == REFERENCE_RING && list[0].size == 4 && !list[0].match);
	return list[0].fd;
}

static uint64_t rung(struct vm *vm)
{
	return get32(vm->vdev, REFERENCE_COMPLETED) + get32(vm->vdev, REFERENCE_REJECTED);
}

Test(vfio_soft, each_ring_counts_and_comes_before_what_follows)
{
	struct vm *vm = vm_new("");
	const int bell = own_doorbell(vm);
	uint32_t count = 0;

	cr_assert(vfio_device_region_ioeventfds(vm->vdev, 2, NULL, &count) == 0 && count == 0);
	cr_assert(vfio_device_region_ioeventfds(vm->vdev, 99, NULL, &count) == -EINVAL);
	cr_assert(vfio_device_region_ioeventfds(vm->vdev, 0, NULL, &count) == 0 && count == 1);
	set32(vm->vdev, REFERENCE_COMMAND, REFERENCE_OPCODE_NOP);
	for (unsigned i = 1; i <= 1000; i++) {
		eventfd_write(bell, 1);
		/* On a bus, a read does not overtake a write. */
		cr_assert(get32(vm->vdev, REFERENCE_STATUS) & REFERENCE_STATUS_BUSY ||
			  rung(vm) == i);
	}
	while (get32(vm->vdev, REFERENCE_STATUS) & REFERENCE_STATUS_BUSY)
		sched_yield();
	cr_assert(rung(vm) == 1000);
	/* Many at once; and one by the register is the same. */
	eventfd_write(bell, 5000);
	set32(vm->vdev, REFERENCE_RING, 77);
	while (get32(vm->vdev, REFERENCE_STATUS) & REFERENCE_STATUS_BUSY)
		sched_yield();
	cr_assert(rung(vm) == 6001);
	cr_assert(get32(vm->vdev, REFERENCE_TAG) == 0);
	/* More than anybody can mean: done with in no time. */
	eventfd_write(bell, UINT64_MAX - 1);
	while (get32(vm->vdev, REFERENCE_STATUS) & REFERENCE_STATUS_BUSY)
		sched_yield();
	cr_assert(rung(vm) == 6001 + 65536);
	vm_free(vm);
}

Test(vfio_soft, a_ring_is_heard_although_nobody_asks)
{
	struct vm *vm = vm_new("");
	const int32_t done = eventfd(0, EFD_NONBLOCK);
	const int bell = own_doorbell(vm);

	cr_assert(set_irqs(vm->vdev, VFIO_PCI_MSIX_IRQ_INDEX, ON, 0, 1, &done, 4) == 0);
	set32(vm->vdev, REFERENCE_COMMAND, REFERENCE_OPCODE_NOP | REFERENCE_COMMAND_INTERRUPT);
	for (unsigned i = 0; i < 100; i++) {
		eventfd_write(bell, 1);
		wait_fd(done);
	}
	close(done);
	vm_free(vm);
}

Test(vfio_soft, after_a_reset_who_had_the_eventfd_rings_nothing)
{
	struct vm *vm = vm_new("");
	const int old = dup(own_doorbell(vm));

	eventfd_write(old, 5);
	cr_assert(vfio_device_ioctl(vm->vdev, VFIO_DEVICE_RESET, NULL) == 0);
	eventfd_write(old, 5);
	command_bits(vm->vdev, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	cr_assert(rung(vm) == 0);
	eventfd_write(own_doorbell(vm), 1);
	while (get32(vm->vdev, REFERENCE_STATUS) & REFERENCE_STATUS_BUSY)
		sched_yield();
	cr_assert(rung(vm) == 1);
	close(old);
	vm_free(vm);
}

/* ---- spaces ---- */

Test(vfio_soft, each_pasid_has_its_own_space)
{
	struct vm *vm = vm_new("");
	const uint32_t fill = REFERENCE_OPCODE_FILL;
	uint32_t id;

	vm->other = space(vm, RAM_SIZE / 2, 0x10000);
	id = ioas_id(vm->other);
	set64(vm->vdev, REFERENCE_PATTERN, 0x2222222222222222);
	set32(vm->vdev, REFERENCE_PASID, 5);
	cr_assert(request(vm->vdev, fill | REFERENCE_COMMAND_PASID, 0, RAM_IOVA, 16) ==
		  REFERENCE_ERROR_PASID); /* none is attached */
	cr_assert(vfio_device_pasid_attach(vm->vdev, 5, &id) == 0);
	cr_assert(ioas_destroy(vm->other) == -EBUSY);
	cr_assert(request(vm->vdev, fill | REFERENCE_COMMAND_PASID, 0, RAM_IOVA, 16) == 0);
	cr_assert(vm->bytes[RAM_SIZE / 2] == 0x22 && vm->bytes[0] == 0);
	set32(vm->vdev, REFERENCE_PASID, 6);
	cr_assert(request(vm->vdev, fill | REFERENCE_COMMAND_PASID, 0, RAM_IOVA, 16) ==
		  REFERENCE_ERROR_WRITE);
	/* Replaced by one that does not exist: the old one stays. */
	id = 12345;
	cr_assert(vfio_device_pasid_attach(vm->vdev, 5, &id) == -ENOENT);
	set32(vm->vdev, REFERENCE_PASID, 5);
	cr_assert(request(vm->vdev, fill | REFERENCE_COMMAND_PASID, 0, RAM_IOVA, 16) == 0);
	cr_assert(vfio_device_pasid_detach(vm->vdev, 5) == 0);
	cr_assert(request(vm->vdev, fill | REFERENCE_COMMAND_PASID, 0, RAM_IOVA, 16) ==
		  REFERENCE_ERROR_PASID);
	vm_free(vm);
}

/* Memory comes and goes, the space is replaced, registers are read: all while DMA runs. */
Test(vfio_soft, everything_may_change_under_a_long_request)
{
	struct vm *vm = vm_new("");
	uint32_t ids[2], slow = 0;

	vm->other = space(vm, 0, RAM_SIZE);
	ids[0] = ioas_id(vm->ram);
	ids[1] = ioas_id(vm->other);
	for (unsigned i = 0; i < 200; i++) {
		post(vm->vdev, REFERENCE_OPCODE_COPY, RAM_IOVA, RAM_IOVA + RAM_SIZE / 2,
		     RAM_SIZE / 2);
		slow += get32(vm->vdev, REFERENCE_STATUS) & REFERENCE_STATUS_BUSY;
		cr_assert(vfio_device_attach(vm->vdev, &ids[i % 2]) == 0);
		switch (i % 4) {
		case 0:
			set32(vm->vdev, REFERENCE_CONTROL, REFERENCE_CONTROL_ABORT);
			break;
		case 1:
			vfio_device_dma_unmap(vm->vdev, RAM_IOVA, RAM_SIZE);
			break;
		case 2:
			cr_assert(vfio_device_ioctl(vm->vdev, VFIO_DEVICE_RESET, NULL) == 0);
			command_bits(vm->vdev, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
			cr_assert(get32(vm->vdev, REFERENCE_STATUS) == 0);
			break;
		default:
			cr_assert(vfio_device_detach(vm->vdev) == 0);
			break;
		}
		finish(vm->vdev);
	}
	cr_assert(slow > 0);
	vm_free(vm);
}

Test(vfio_soft, unmapped_memory_is_left_alone_at_once)
{
	struct vm *vm = vm_new("");
	const struct ioas_area area = {.iova = RAM_IOVA,
				       .length = RAM_SIZE,
				       .fd = vm->memfd,
				       .hva = vm->bytes,
				       .rights = IOAS_READ | IOAS_WRITE};

	for (unsigned i = 0; i < 50; i++) {
		set64(vm->vdev, REFERENCE_PATTERN, 0x0101010101010101 * (i + 1));
		post(vm->vdev, REFERENCE_OPCODE_FILL, 0, RAM_IOVA, RAM_SIZE);
		cr_assert(ioas_unmap(vm->ram, RAM_IOVA, RAM_SIZE) == 0);
		vfio_device_dma_unmap(vm->vdev, RAM_IOVA, RAM_SIZE);
		memset(vm->bytes, 0, RAM_SIZE);
		finish(vm->vdev);
		for (uint64_t at = 0; at < RAM_SIZE; at += 64)
			cr_assert(vm->bytes[at] == 0);
		cr_assert(ioas_map(vm->ram, &area) == 0);
	}
	vm_free(vm);
}

/* ---- events ---- */

Test(vfio_soft, removal_is_told_once_and_the_device_stays_away)
{
	struct vm *vm = vm_new("remove-after=3");

	for (unsigned i = 0; i < 2; i++)
		cr_assert(request(vm->vdev, REFERENCE_OPCODE_NOP, 0, 0, 0) == 0);
	post(vm->vdev, REFERENCE_OPCODE_NOP, 0, 0, 0);
	while (!atomic_load(&vm->gone))
		sched_yield();
	cr_assert(get32(vm->vdev, REFERENCE_ID) == UINT32_MAX);
	vfio_device_close(vm->vdev);
	cr_assert(atomic_load(&vm->gone) == 1);
	cr_assert(vfio_device_open(vm->vdev, vm->ictx) == -ENODEV);
	vfio_unregister_device(vm->vdev);
	vfio_device_free(vm->vdev);
	vm->vdev = NULL;
	vm_free(vm);
}

Test(vfio_soft, an_error_is_told_as_event_and_as_interrupt)
{
	struct vm *vm = vm_new("error-after=2");
	const int32_t fd = eventfd(0, EFD_NONBLOCK);

	cr_assert(set_irqs(vm->vdev, VFIO_PCI_ERR_IRQ_INDEX, ON, 0, 1, &fd, 4) == 0);
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_NOP, 0, 0, 0) == 0);
	cr_assert(!pending(fd));
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_NOP, 0, 0, 0) == 0);
	cr_assert(wait_fd(fd) == 1);
	while (!atomic_load(&vm->errors))
		sched_yield();
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_NOP, 0, 0, 0) == 0);
	cr_assert(atomic_load(&vm->errors) == 1);
	close(fd);
	vm_free(vm);
}

static void *unregister(void *ctx)
{
	vfio_unregister_device(ctx);
	return NULL;
}

struct busy {
	int fd;
	atomic_bool begun;
};

static void be_busy(void *ctx)
{
	struct busy *busy = ctx;
	eventfd_t value;

	atomic_store(&busy->begun, true);
	eventfd_read(busy->fd, &value);
}

/* The loop is busy, so the error is not told before the close: it is none of the next user's. */
Test(vfio_soft, an_error_that_nobody_heard_of_ends_with_the_close)
{
	struct vm *vm = vm_new("error-after=1");
	struct busy busy = {.fd = eventfd(0, 0)};
	pthread_t thread;

	cr_assert(loop_post(vm->loop, be_busy, &busy) == 0);
	while (!atomic_load(&busy.begun))
		sched_yield();
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_NOP, 0, 0, 0) == 0);
	vfio_device_close(vm->vdev);
	eventfd_write(busy.fd, 1);
	open_device(vm, vm->vdev);
	cr_assert(pthread_create(&thread, NULL, unregister, vm->vdev) == 0);
	while (!atomic_load(&vm->requests))
		sched_yield();
	cr_assert(atomic_load(&vm->errors) == 0);
	vfio_device_close(vm->vdev);
	pthread_join(thread, NULL);
	vfio_device_free(vm->vdev);
	vm->vdev = NULL;
	close(busy.fd);
	vm_free(vm);
}

Test(vfio_soft, who_unregisters_asks_the_user_and_waits)
{
	struct vm *vm = vm_new("");
	const int32_t fd = eventfd(0, EFD_NONBLOCK);
	pthread_t thread;

	cr_assert(set_irqs(vm->vdev, VFIO_PCI_REQ_IRQ_INDEX, ON, 0, 1, &fd, 4) == 0);
	cr_assert(pthread_create(&thread, NULL, unregister, vm->vdev) == 0);
	while (!atomic_load(&vm->requests))
		sched_yield();
	cr_assert(wait_fd(fd) >= 1);
	vfio_device_close(vm->vdev);
	pthread_join(thread, NULL);
	vfio_device_free(vm->vdev);
	vm->vdev = NULL;
	close(fd);
	vm_free(vm);
}

/* ---- migration ---- */

static void copy_stream(struct vfio_device *from, int from_fd, struct vfio_device *to, int to_fd)
{
	uint8_t *buffer = malloc(70000);
	ssize_t n;

	while ((n = vfio_device_mig_read(from, from_fd, buffer, 70000)) > 0) {
		for (ssize_t at = 0, done; at < n; at += done) {
			done = vfio_device_mig_write(to, to_fd, buffer + at, (size_t)(n - at));
			cr_assert(done > 0);
		}
	}
	cr_assert(n == 0 || n == -ENOMSG);
	free(buffer);
}

Test(vfio_soft, a_request_goes_on_in_another_device)
{
	struct vm *vm = vm_new("dma-delay=1000");
	struct vfio_device *to;
	struct vfio_precopy_info info = {.argsz = sizeof(info)};
	int save = -1, load = -1, none = -1;
	uint32_t bytes;

	cr_assert(make(vm, "soft:reference", "", &to) == 0);
	open_device(vm, to);
	cr_assert(feature(vm->vdev,
			  VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, NULL,
			  0) == 0);
	cr_assert(go(vm->vdev, VFIO_DEVICE_STATE_PRE_COPY, &save) == 0);
	cr_assert(go(to, VFIO_DEVICE_STATE_RESUMING, &load) == 0);
	cr_assert(save >= 0 && load >= 0 && pending(save));
	cr_assert(vfio_device_mig_precopy_info(vm->vdev, save, &info) == 0);
	cr_assert(info.initial_bytes > 0x100000 && info.dirty_bytes == 0);
	copy_stream(vm->vdev, save, to, load);
	cr_assert(!pending(save)); /* nothing now */
	/* A long request into its memory makes it dirty again, and is halted halfway. */
	post(vm->vdev, REFERENCE_OPCODE_COPY | REFERENCE_COMMAND_CRC, RAM_IOVA,
	     RAM_IOVA + RAM_SIZE / 2, RAM_SIZE / 2);
	while (get32(vm->vdev, REFERENCE_BYTES) == 0)
		sched_yield();
	cr_assert(vfio_device_write(vm->vdev, "x", 1, BAR(2) + 5) == 1);
	cr_assert(pending(save));
	cr_assert(go(vm->vdev, VFIO_DEVICE_STATE_STOP_COPY, &none) == 0);
	cr_assert(none == -1);
	cr_assert(get32(vm->vdev, REFERENCE_STATUS) ==
		  (REFERENCE_STATUS_BUSY | REFERENCE_STATUS_PENDING));
	bytes = get32(vm->vdev, REFERENCE_BYTES);
	cr_assert(bytes < RAM_SIZE / 2);
	copy_stream(vm->vdev, save, to, load);
	cr_assert(go(vm->vdev, VFIO_DEVICE_STATE_STOP, NULL) == 0);
	cr_assert(vfio_device_mig_read(vm->vdev, save, &info, 1) == -ENODEV);
	cr_assert(go(to, VFIO_DEVICE_STATE_RUNNING, NULL) == 0);
	cr_assert(finish(to) == 0);
	cr_assert(get32(to, REFERENCE_BYTES) == RAM_SIZE / 2);
	cr_assert(memcmp(vm->bytes, vm->bytes + RAM_SIZE / 2, RAM_SIZE / 2) == 0);
	cr_assert(vfio_device_mig_write(to, load, &info, 1) == -ENODEV);
	close(save);
	close(load);
	give_back(to);
	vm_free(vm);
}

Test(vfio_soft, a_session_ends_with_reset_failure_and_removal)
{
	struct vm *vm = vm_new("fail-state=stop-copy");
	uint32_t state[2] = {0};
	uint8_t byte;
	int fd = -1;

	cr_assert(go(vm->vdev, VFIO_DEVICE_STATE_PRE_COPY, &fd) == 0);
	cr_assert(vfio_device_ioctl(vm->vdev, VFIO_DEVICE_RESET, NULL) == 0);
	cr_assert(pending(fd));
	cr_assert(vfio_device_mig_read(vm->vdev, fd, &byte, 1) == -ENODEV);
	close(fd);
	cr_assert(go(vm->vdev, VFIO_DEVICE_STATE_PRE_COPY, &fd) == 0);
	cr_assert(go(vm->vdev, VFIO_DEVICE_STATE_STOP_COPY, NULL) == -EIO);
	cr_assert(vfio_device_mig_read(vm->vdev, fd, &byte, 1) == -ENODEV);
	cr_assert(feature(vm->vdev, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			  state, sizeof(state)) == 0);
	cr_assert(state[0] == VFIO_DEVICE_STATE_ERROR);
	close(fd);
	vm_free(vm);
}

Test(vfio_soft, the_log_tells_what_was_written)
{
	struct vm *vm = vm_new("");
	const struct vfio_device_feature_dma_logging_range range = {.iova = RAM_IOVA,
								    .length = RAM_SIZE};
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range};
	uint64_t bitmap[RAM_SIZE / 4096 / 64] = {0};
	struct vfio_device_feature_dma_logging_report report = {.iova = RAM_IOVA,
								.length = RAM_SIZE,
								.page_size = 4096,
								.bitmap = (uintptr_t)bitmap};
	const uint32_t start = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START;
	const uint32_t read = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;
	const uint32_t stop = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP;

	cr_assert(feature(vm->vdev, start, &control, sizeof(control)) == 0);
	cr_assert(control.page_size == 4096);
	cr_assert(feature(vm->vdev, start, &control, sizeof(control)) == -EBUSY);
	cr_assert(request(vm->vdev, REFERENCE_OPCODE_FILL, 0, RAM_IOVA + 0x40fff, 2) == 0);
	cr_assert(feature(vm->vdev, read, &report, sizeof(report)) == 0);
	cr_assert(bitmap[1] == 3 && bitmap[0] == 0);
	bitmap[1] = 0;
	cr_assert(feature(vm->vdev, read, &report, sizeof(report)) == 0);
	cr_assert(bitmap[1] == 0);
	cr_assert(feature(vm->vdev, stop, NULL, 0) == 0);
	/* Left running: close stops it. */
	cr_assert(feature(vm->vdev, start, &control, sizeof(control)) == 0);
	vm_free(vm);
}
