/* SPDX-License-Identifier: Apache-2.0 */
/* VFIO_DEVICE_GET_IRQ_INFO and VFIO_DEVICE_SET_IRQS. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "tests/contract/contract.h"

#define MAX_VECTORS 64

/* The kind of message-signalled interrupt that the target has; MSI-X where it has both. */
static uint32_t message_index(const struct run *run)
{
	return run->target->has & HAS_MSIX ? VFIO_PCI_MSIX_IRQ_INDEX : VFIO_PCI_MSI_IRQ_INDEX;
}

struct vectors {
	uint32_t index, count;
	int32_t fds[MAX_VECTORS];
};

/* An eventfd for each vector, none connected. */
static bool vectors_make(struct run *run, struct vectors *vectors)
{
	struct vfio_irq_info info;

	vectors->index = message_index(run);
	if (!expect_rc(run, irq_info(run, vectors->index, &info), 0, "irq info") ||
	    !expect(run, info.count, "no vectors"))
		return false;
	vectors->count = info.count < MAX_VECTORS ? info.count : MAX_VECTORS;
	for (uint32_t i = 0; i < vectors->count; i++)
		vectors->fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return true;
}

static int vectors_connect(struct run *run, const struct vectors *vectors)
{
	return set_irqs(run, TRIGGER_EVENTFD, vectors->index, 0, vectors->count, vectors->fds,
			vectors->count * sizeof(vectors->fds[0]));
}

/* Which vectors arrived since the last look: one bit each. */
static uint64_t vectors_arrived(const struct vectors *vectors)
{
	uint64_t arrived = 0;
	eventfd_t value;

	for (uint32_t i = 0; i < vectors->count; i++) {
		if (!eventfd_read(vectors->fds[i], &value))
			arrived |= 1ull << i;
	}
	return arrived;
}

static void vectors_free(const struct vectors *vectors)
{
	for (uint32_t i = 0; i < vectors->count; i++)
		close(vectors->fds[i]);
}

static void info_of_every_interrupt(struct run *run)
{
	struct vfio_irq_info info = {.argsz = 15};

	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_IRQ_INFO, &info), -EINVAL,
		  "a structure of 15 bytes");
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_IRQ_INFO, NULL), -EFAULT,
		  "no structure");
	expect_rc(run, irq_info(run, run->info.num_irqs, &info), -EINVAL, "beyond the last");
	expect_rc(run, irq_info(run, UINT32_MAX, &info), -EINVAL, "index 0xffffffff");

	for (uint32_t i = 0; i <= VFIO_PCI_REQ_IRQ_INDEX; i++) {
		static const uint32_t has[] = {0, HAS_MSI, HAS_MSIX, 0, HAS_REQ};
		const bool wanted = run->target->has & has[i];
		const int rc = irq_info(run, i, &info);

		/* What a device lacks has no vectors, or is no index to it (a PCI device without AER). */
		if (has[i] && !wanted)
			expect(run, rc == -EINVAL || (!rc && !info.count),
			       "index %u is not declared: %d, %u vectors", i, rc, info.count);
		else if (has[i])
			expect(run, !rc && info.count && (info.flags & VFIO_IRQ_INFO_EVENTFD),
			       "index %u: %d, %u vectors, flags %#x", i, rc, info.count,
			       info.flags);
	}
	if (!irq_info(run, VFIO_PCI_INTX_IRQ_INDEX, &info) && info.count)
		expect(run,
		       (info.flags & VFIO_IRQ_INFO_MASKABLE) &&
			       (info.flags & VFIO_IRQ_INFO_AUTOMASKED),
		       "INTx has flags %#x", info.flags);
}

/* vfio_set_irqs_validate_and_prepare() of the kernel. */
static void bad_calls_are_refused(struct run *run)
{
	const int32_t fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const uint32_t index = message_index(run);
	struct vfio_irq_set set = {.argsz = sizeof(set) - 1, .flags = TRIGGER_NONE, .index = index};
	struct vfio_irq_info info = {0};

	irq_info(run, index, &info);
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_SET_IRQS, NULL), -EFAULT,
		  "no structure");
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_SET_IRQS, &set), -EINVAL,
		  "a structure of 19 bytes");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, run->info.num_irqs, 0, 1, &fd, 4), -EINVAL,
		  "an index beyond the last");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, UINT32_MAX, 0, 1, &fd, 4), -EINVAL,
		  "index 0xffffffff");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD | 1u << 6, index, 0, 1, &fd, 4), -EINVAL,
		  "an unknown flag");
	expect_rc(run, set_irqs(run, VFIO_IRQ_SET_ACTION_TRIGGER, index, 0, 1, &fd, 4), -EINVAL,
		  "no type of data");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD | TRIGGER_BOOL, index, 0, 1, &fd, 4), -EINVAL,
		  "two types of data");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, index, 0, 1, &fd, 3), -EINVAL,
		  "less data than vectors");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, index, info.count, 1, &fd, 4), -EINVAL,
		  "a vector beyond the last");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, index, info.count, 0, NULL, 0), -EINVAL,
		  "no vector, beyond the last");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, index, 1, info.count, NULL, 0), -EINVAL,
		  "vectors across the end");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, index, 2, UINT32_MAX, NULL, 0), -EINVAL,
		  "a count that wraps");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, index, 0, 1, NULL, 0),
		  answer(run, "trigger", -EINVAL), "a trigger of vectors that are off");
	close(fd);
}

static void vectors_arrive(struct run *run)
{
	struct vectors vectors;
	uint8_t bools[MAX_VECTORS] = {0};

	if (!vectors_make(run, &vectors))
		return;
	expect_rc(run, vectors_connect(run, &vectors), 0, "all vectors");
	for (uint32_t i = 0; i < vectors.count; i++) {
		uint64_t arrived;

		bools[i] = 1;
		expect_rc(run,
			  set_irqs(run, TRIGGER_BOOL, vectors.index, 0, vectors.count, bools,
				   vectors.count),
			  0, "the loopback of vector %u", i);
		bools[i] = 0;
		arrived = vectors_arrived(&vectors);
		expect(run, arrived == 1ull << i, "vector %u: %#llx arrived", i,
		       (unsigned long long)arrived);
	}
	for (uint32_t i = 0; i < vectors.count; i++) {
		expect_rc(run, set_irqs(run, TRIGGER_NONE, vectors.index, i, 1, NULL, 0), 0,
			  "vector %u by NONE", i);
		expect(run, vectors_arrived(&vectors) == 1ull << i, "vector %u by NONE", i);
	}
	expect_rc(run, set_irqs(run, TRIGGER_NONE, vectors.index, 0, 0, NULL, 0), 0, "off");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, vectors.index, 0, 1, NULL, 0),
		  answer(run, "off", -EINVAL), "a trigger after that");
	expect(run, !vectors_arrived(&vectors), "vectors arrive although they are off");
	expect_rc(run, vectors_connect(run, &vectors), 0, "all vectors again");
	vectors_free(&vectors);
}

static void a_vector_can_be_taken_off(struct run *run)
{
	struct vectors vectors;
	const int32_t none = -1;
	uint8_t one = 1;

	if (!vectors_make(run, &vectors))
		return;
	expect_rc(run, vectors_connect(run, &vectors), 0, "all vectors");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, vectors.index, 0, 1, &none, 4), 0,
		  "vector 0 off");
	set_irqs(run, TRIGGER_BOOL, vectors.index, 0, 1, &one, 1);
	expect(run, !vectors_arrived(&vectors), "it arrives although it is off");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, vectors.index, 0, 1, vectors.fds, 4), 0,
		  "vector 0 on again");
	expect_rc(run, set_irqs(run, TRIGGER_BOOL, vectors.index, 0, 1, &one, 1), 0,
		  "its loopback");
	expect(run, vectors_arrived(&vectors) == 1, "it does not arrive again");
	vectors_free(&vectors);
}

/* Of a block in which one descriptor is bad, nothing stays connected. */
static void a_bad_descriptor_undoes_the_block(struct run *run)
{
	struct vectors vectors;
	uint8_t one = 1;
	int32_t last;

	if (!vectors_make(run, &vectors))
		return;
	/* A number that nobody has open, whatever a provider opens meanwhile. */
	last = vectors.fds[vectors.count - 1];
	vectors.fds[vectors.count - 1] = 1 << 28;
	expect_rc(run, vectors_connect(run, &vectors), -EBADF, "a descriptor that is none");
	vectors.fds[vectors.count - 1] = last;
	if (vectors.count > 1) {
		set_irqs(run, TRIGGER_BOOL, vectors.index, 0, 1, &one, 1);
		expect(run, !vectors_arrived(&vectors), "vector 0 is connected");
	}
	expect_rc(run, set_irqs(run, TRIGGER_NONE, vectors.index, 0, 0, NULL, 0),
		  answer(run, "off", -EINVAL), "off what is off");
	expect_rc(run, vectors_connect(run, &vectors), 0, "all vectors");
	/* A descriptor of something else: not an eventfd. */
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, vectors.index, 0, 1, &run->memfd, 4), -EINVAL,
		  "a memfd as a vector");
	set_irqs(run, TRIGGER_BOOL, vectors.index, 0, 1, &one, 1);
	expect(run, !vectors_arrived(&vectors), "vector 0 is still connected");
	vectors_free(&vectors);
}

static void masking_a_message_is_no_command(struct run *run)
{
	struct vectors vectors;

	if (!vectors_make(run, &vectors))
		return;
	expect_rc(run, vectors_connect(run, &vectors), 0, "all vectors");
	expect_rc(run,
		  set_irqs(run, VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_DATA_NONE, vectors.index, 0,
			   1, NULL, 0),
		  -ENOTTY, "MASK");
	expect_rc(run,
		  set_irqs(run, VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_NONE, vectors.index,
			   0, 1, NULL, 0),
		  -ENOTTY, "UNMASK");
	vectors_free(&vectors);
}

static void one_kind_at_a_time(struct run *run)
{
	struct vectors vectors;
	const int32_t fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

	if (!vectors_make(run, &vectors))
		return;
	expect_rc(run, vectors_connect(run, &vectors), 0, "MSI-X");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, VFIO_PCI_MSI_IRQ_INDEX, 0, 1, &fd, 4),
		  -EINVAL, "MSI besides");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, vectors.index, 0, 0, NULL, 0), 0, "MSI-X off");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, VFIO_PCI_MSI_IRQ_INDEX, 0, 1, &fd, 4), 0,
		  "MSI alone");
	expect_rc(run, vectors_connect(run, &vectors), -EINVAL, "MSI-X besides");
	close(fd);
	vectors_free(&vectors);
}

/* Without NORESIZE later calls add vectors one by one. */
static void vectors_are_added_later(struct run *run)
{
	struct vfio_irq_info info;
	struct vectors vectors;
	uint8_t one = 1;

	if (!vectors_make(run, &vectors))
		return;
	irq_info(run, vectors.index, &info);
	if (info.flags & VFIO_IRQ_INFO_NORESIZE) {
		expect(run, answer(run, "noresize", 0) == 1, "the vectors cannot be added to");
		vectors_free(&vectors);
		return;
	}
	expect(run, vectors.count > 1, "%u vectors", vectors.count);
	for (uint32_t i = 0; i < vectors.count; i += vectors.count - 1)
		expect_rc(run,
			  set_irqs(run, TRIGGER_EVENTFD, vectors.index, i, 1, &vectors.fds[i], 4),
			  0, "vector %u by itself", i);
	expect_rc(run, set_irqs(run, TRIGGER_BOOL, vectors.index, vectors.count - 1, 1, &one, 1), 0,
		  "the loopback of the last");
	expect(run, vectors_arrived(&vectors) == 1ull << (vectors.count - 1),
	       "the last did not arrive");
	vectors_free(&vectors);
}

static void close_lets_go_of_the_descriptors(struct run *run)
{
	struct vectors vectors;
	size_t fds;

	/* The first open makes what stays for the VM. */
	vfio_device_close(run->vdev);
	fds = count_fds(run);
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	if (!vectors_make(run, &vectors))
		return;
	expect_rc(run, vectors_connect(run, &vectors), 0, "all vectors");
	/* The device does not need the user's own any more. */
	vectors_free(&vectors);
	expect_rc(run, set_irqs(run, TRIGGER_NONE, vectors.index, 0, 1, NULL, 0), 0,
		  "a vector whose descriptor the user closed");
	vfio_device_close(run->vdev);
	expect(run, count_fds(run) == fds, "%zu descriptors, %zu before", count_fds(run), fds);
	expect_rc(run, device_open(run, run->vdev), 0, "open again");
	if (!vectors_make(run, &vectors))
		return;
	expect_rc(run, set_irqs(run, TRIGGER_NONE, vectors.index, 0, 1, NULL, 0), -EINVAL,
		  "vectors of the last user");
	expect_rc(run, vectors_connect(run, &vectors), 0, "all vectors of the fresh device");
	vectors_free(&vectors);
}

static void requests_have_an_interrupt(struct run *run)
{
	const int32_t fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), none = -1;
	const uint32_t index = VFIO_PCI_REQ_IRQ_INDEX;
	const uint8_t yes = 1;
	eventfd_t value;

	expect_rc(run,
		  set_irqs(run, VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_DATA_NONE, index, 0, 1,
			   NULL, 0),
		  -ENOTTY, "MASK");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, index, 0, 1, &fd, 4), 0, "an eventfd");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, index, 0, 1, NULL, 0), 0, "its loopback");
	expect(run, !eventfd_read(fd, &value), "it does not arrive");
	expect_rc(run, set_irqs(run, TRIGGER_BOOL, index, 0, 1, &yes, 1), 0, "by bool");
	expect(run, !eventfd_read(fd, &value), "it does not arrive by bool");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, index, 0, 0, NULL, 0), 0, "off");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, index, 0, 0, NULL, 0), -EINVAL,
		  "off what is off");
	expect_rc(run, set_irqs(run, TRIGGER_BOOL, index, 0, 1, &yes, 1), 0, "nobody's, by bool");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, index, 0, 1, &fd, 4), 0, "the eventfd again");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, index, 0, 1, &none, 4), 0, "taken off");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, index, 0, 1, NULL, 0), -EINVAL,
		  "the loopback of none");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, index, 0, 2, &fd, 4), -EINVAL, "two of them");
	close(fd);
}

static void the_device_raises_its_vectors(struct run *run)
{
	struct vectors vectors;

	if (!vectors_make(run, &vectors))
		return;
	expect_rc(run, run->target->driver->start(run), 0, "start");
	expect_rc(run, vectors_connect(run, &vectors), 0, "all vectors");
	for (uint32_t i = 0; i < vectors.count; i++) {
		uint64_t arrived = 0;

		step(run, "waiting for vector %u", i);
		expect_rc(run, run->target->driver->raise(run, i), 0, "raise %u", i);
		while (!arrived)
			arrived = vectors_arrived(&vectors);
		expect(run, arrived == 1ull << i, "vector %u: %#llx arrived", i,
		       (unsigned long long)arrived);
	}
	vectors_free(&vectors);
}

/* How often vector 0 has arrived since the last look, and no other has. */
static eventfd_t first_arrived(const struct vectors *vectors)
{
	eventfd_t value = 0, other;

	if (eventfd_read(vectors->fds[0], &value))
		value = 0;
	for (uint32_t i = 1; i < vectors->count; i++) {
		if (!eventfd_read(vectors->fds[i], &other))
			return UINT64_MAX;
	}
	return value;
}

/* It comes, once. */
static bool wait_for_first(struct run *run, const struct vectors *vectors)
{
	eventfd_t arrived = 0;

	while (!arrived)
		arrived = first_arrived(vectors);
	return expect(run, arrived == 1, "%llu interrupts of vector 0, or others",
		      (unsigned long long)arrived);
}

/* A driver that comes and goes: copies raise nothing that was not asked for, and errors disturb nobody. */
static void copies_errors_and_vectors_take_turns(struct run *run)
{
	const struct driver *driver = run->target->driver;
	const uint64_t hole = MEMORY_IOVA + 2 * MEMORY_SIZE;
	const uint32_t length = 0x20000;
	struct vectors vectors;

	if (!vectors_make(run, &vectors))
		return;
	for (int i = 0; i < 10; i++) {
		step(run, "round %d", i);
		expect_rc(run, driver->start(run), 0, "start");
		expect_rc(run, vectors_connect(run, &vectors), 0, "all vectors");
		memset(run->memory, 'x' + i, length);
		memset(run->memory + length, 'A', length);
		expect_rc(run, driver->copy(run, 0, MEMORY_IOVA, MEMORY_IOVA + length, length), 0,
			  "a copy");
		expect(run, !memcmp(run->memory, run->memory + length, length), "the bytes differ");
		expect(run, driver->copy(run, 0, hole, MEMORY_IOVA, length) > 0, "from a hole");
		expect(run, driver->copy(run, 0, MEMORY_IOVA, hole, length) > 0, "into a hole");
		expect(run, !first_arrived(&vectors), "vectors that nobody asked for");
		expect_rc(run, driver->raise(run, 0), 0, "raise");
		if (!wait_for_first(run, &vectors))
			return;
		expect(run, !first_arrived(&vectors), "it came again");
		expect_rc(run, set_irqs(run, TRIGGER_NONE, vectors.index, 0, 0, NULL, 0), 0, "off");
		expect_rc(run, device_reset(run), 0, "reset");
	}
	vectors_free(&vectors);
}

/* ---- the pin ------------------------------------------------------------------------------------ */

#define PIN         VFIO_PCI_INTX_IRQ_INDEX
#define MASK_NONE   (VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_DATA_NONE)
#define UNMASK_NONE (VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_NONE)
#define UNMASK_FD   (VFIO_IRQ_SET_ACTION_UNMASK | VFIO_IRQ_SET_DATA_EVENTFD)

static bool told(int fd)
{
	eventfd_t value;

	return !eventfd_read(fd, &value);
}

/* A pin of which nothing is set up, besides nothing else (@why) or MSI-X. */
static void pin_is_off(struct run *run, const char *why)
{
	expect_rc(run, set_irqs(run, TRIGGER_NONE, PIN, 0, 0, NULL, 0), -EINVAL, "off, %s", why);
	expect_rc(run, set_irqs(run, TRIGGER_NONE, PIN, 0, 1, NULL, 0), -EINVAL, "a trigger, %s",
		  why);
	expect_rc(run, set_irqs(run, MASK_NONE, PIN, 0, 1, NULL, 0), -EINVAL, "MASK, %s", why);
	expect_rc(run, set_irqs(run, UNMASK_NONE, PIN, 0, 1, NULL, 0), -EINVAL, "UNMASK, %s", why);
}

static void the_pin_is_one_of_the_kinds(struct run *run)
{
	const int32_t fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), none = -1, bad = 1 << 28;
	const int32_t other = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct vectors vectors;

	if (!vectors_make(run, &vectors))
		return;
	pin_is_off(run, "nothing in use");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &bad, 4), -EBADF,
		  "a descriptor that is none");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &run->memfd, 4), -EINVAL,
		  "a memfd");
	pin_is_off(run, "nothing in use after that");

	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &fd, 4), 0, "on");
	expect_rc(run, vectors_connect(run, &vectors), -EINVAL, "messages besides");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &other, 4), 0,
		  "another eventfd in its place");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, PIN, 0, 1, NULL, 0), 0, "its loopback");
	expect(run, told(other) && !told(fd), "it arrives elsewhere");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, PIN, 0, 0, NULL, 0), 0, "off");
	pin_is_off(run, "after it was on");

	expect_rc(run, vectors_connect(run, &vectors), 0, "messages");
	pin_is_off(run, "besides messages");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &fd, 4), -EINVAL,
		  "the pin besides messages");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, vectors.index, 0, 0, NULL, 0), 0,
		  "messages off");

	/* In use without an eventfd: nobody is told, and messages are refused all the same. */
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &fd, 4), 0, "on again");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &none, 4), 0, "its eventfd off");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, PIN, 0, 1, NULL, 0), answer(run, "none", 0),
		  "the loopback of nobody");
	expect(run, !told(fd), "it arrives although it is off");
	expect_rc(run, vectors_connect(run, &vectors), answer(run, "besides", -EINVAL),
		  "messages besides a pin without an eventfd");
	close(fd);
	close(other);
	vectors_free(&vectors);
}

static void the_pin_can_be_masked(struct run *run)
{
	const int32_t fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), none = -1;
	const int32_t served = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const uint32_t bools = VFIO_IRQ_SET_DATA_BOOL;
	const bool by_eventfd = answer(run, "eventfd", 1);
	const uint8_t yes = 1, no = 0;

	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &fd, 4), 0, "on");
	expect_rc(run, set_irqs(run, TRIGGER_BOOL, PIN, 0, 1, &no, 1), 0, "no loopback");
	expect(run, !told(fd), "a loopback that nobody asked for");
	expect_rc(run, set_irqs(run, TRIGGER_BOOL, PIN, 0, 1, &yes, 1), 0, "a loopback");
	expect(run, told(fd), "it does not arrive");

	expect_rc(run, set_irqs(run, MASK_NONE, PIN, 0, 1, NULL, 0), 0, "MASK");
	expect_rc(run, set_irqs(run, UNMASK_NONE, PIN, 0, 1, NULL, 0), 0, "UNMASK");
	expect_rc(run, set_irqs(run, VFIO_IRQ_SET_ACTION_MASK | bools, PIN, 0, 1, &yes, 1), 0,
		  "MASK by bool");
	expect_rc(run, set_irqs(run, VFIO_IRQ_SET_ACTION_UNMASK | bools, PIN, 0, 1, &yes, 1), 0,
		  "UNMASK by bool");
	expect(run, !told(fd), "it arrives, and nothing asserts it");
	expect_rc(run,
		  set_irqs(run, VFIO_IRQ_SET_ACTION_MASK | VFIO_IRQ_SET_DATA_EVENTFD, PIN, 0, 1,
			   &served, 4),
		  -ENOTTY, "MASK by eventfd");
	expect_rc(run, set_irqs(run, MASK_NONE, PIN, 0, 0, NULL, 0), -EINVAL, "MASK of none");
	expect_rc(run, set_irqs(run, UNMASK_NONE, PIN, 0, 2, NULL, 0), -EINVAL, "UNMASK of two");

	expect_rc(run, set_irqs(run, UNMASK_FD, PIN, 0, 1, &served, 4), by_eventfd ? 0 : -ENOTTY,
		  "UNMASK by eventfd");
	if (by_eventfd) {
		expect_rc(run, set_irqs(run, UNMASK_FD, PIN, 0, 1, &served, 4), -EBUSY,
			  "a second one");
		expect_rc(run, set_irqs(run, UNMASK_FD, PIN, 0, 1, &none, 4), 0, "taken off");
		expect_rc(run, set_irqs(run, UNMASK_FD, PIN, 0, 1, &served, 4), 0, "on again");
	}
	/* Off, and on again: of the last time nothing is left. */
	expect_rc(run, set_irqs(run, MASK_NONE, PIN, 0, 1, NULL, 0), 0, "MASK");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, PIN, 0, 0, NULL, 0), 0, "off");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &fd, 4), 0, "on again");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, PIN, 0, 1, NULL, 0), 0, "a loopback");
	expect(run, told(fd), "it does not arrive after that");
	if (by_eventfd)
		expect_rc(run, set_irqs(run, UNMASK_FD, PIN, 0, 1, &served, 4), 0,
			  "UNMASK by eventfd after that");
	close(fd);
	close(served);
}

/* It is told, once for each time that it was asserted or unmasked since. */
static bool wait_for_pin(struct run *run, int fd, const char *why)
{
	eventfd_t times = 0;

	step(run, "waiting for the pin, %s", why);
	while (eventfd_read(fd, &times))
		;
	return expect(run, times == 1 && !told(fd), "%llu interrupts, %s",
		      (unsigned long long)times, why);
}

/* The device holds its line until it is served: told once, masked, and told again if it still holds it. */
static void the_device_asserts_its_pin(struct run *run)
{
	const int32_t fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const int32_t served = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const struct driver *driver = run->target->driver;

	expect_rc(run, driver->start(run), 0, "start");
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &fd, 4), 0, "on");
	expect_rc(run, driver->assert_pin(run, true), 0, "asserted");
	wait_for_pin(run, fd, "asserted");
	expect_rc(run, driver->assert_pin(run, true), 0, "asserted besides");
	expect(run, !told(fd), "told although it is masked");
	expect_rc(run, set_irqs(run, UNMASK_NONE, PIN, 0, 1, NULL, 0), 0, "UNMASK");
	wait_for_pin(run, fd, "unmasked and still asserted");
	expect_rc(run, driver->assert_pin(run, false), 0, "served");
	expect_rc(run, set_irqs(run, UNMASK_NONE, PIN, 0, 1, NULL, 0), 0, "UNMASK");
	expect(run, !told(fd), "told although nothing asserts it");

	expect_rc(run, set_irqs(run, MASK_NONE, PIN, 0, 1, NULL, 0), 0, "MASK");
	expect_rc(run, driver->assert_pin(run, true), 0, "asserted while it is masked");
	expect(run, !told(fd), "told although it was masked");
	expect_rc(run, set_irqs(run, UNMASK_FD, PIN, 0, 1, &served, 4), 0, "UNMASK by eventfd");
	for (int i = 0; i < 3; i++) {
		eventfd_write(served, 1);
		wait_for_pin(run, fd, "unmasked by eventfd");
	}
	/* Another eventfd does not unmask it. */
	expect_rc(run, set_irqs(run, TRIGGER_EVENTFD, PIN, 0, 1, &fd, 4), 0, "connected anew");
	expect(run, !told(fd), "told by a new eventfd although it is masked");

	/* The driver's own switch, in PCI_COMMAND. */
	command(run, PCI_COMMAND_INTX_DISABLE, 0);
	expect_rc(run, set_irqs(run, UNMASK_NONE, PIN, 0, 1, NULL, 0), 0, "UNMASK");
	expect(run, !told(fd), "told although the device has it disabled");
	expect_rc(run, set_irqs(run, TRIGGER_NONE, PIN, 0, 1, NULL, 0), 0, "TRIGGER");
	expect(run, !told(fd), "told by a trial although the device has it disabled");
	command(run, 0, PCI_COMMAND_INTX_DISABLE);
	wait_for_pin(run, fd, "enabled, and still asserted");
	close(fd);
	close(served);
}

const struct contract_test irqs_tests[] = {
	{"irqs.info_of_every_interrupt", "vfio_device_ops.ioctl", 0, 0, info_of_every_interrupt},
	{"irqs.bad_calls_are_refused", "vfio_device_ops.ioctl", 0, 0, bad_calls_are_refused},
	{"irqs.vectors_arrive", "vfio_device_ops.ioctl", 0, 0, vectors_arrive},
	{"irqs.a_vector_can_be_taken_off", "vfio_device_ops.ioctl", 0, 0,
	 a_vector_can_be_taken_off},
	{"irqs.a_bad_descriptor_undoes_the_block", "vfio_device_ops.ioctl", 0, 0,
	 a_bad_descriptor_undoes_the_block},
	{"irqs.masking_a_message_is_no_command", "vfio_device_ops.ioctl", 0, 0,
	 masking_a_message_is_no_command},
	{"irqs.one_kind_at_a_time", "vfio_device_ops.ioctl", HAS_MSI | HAS_MSIX, 0,
	 one_kind_at_a_time},
	{"irqs.vectors_are_added_later", "vfio_device_ops.ioctl", HAS_MSIX, 0,
	 vectors_are_added_later},
	{"irqs.the_pin_is_one_of_the_kinds", "vfio_device_ops.ioctl", 0, 0,
	 the_pin_is_one_of_the_kinds},
	{"irqs.the_pin_can_be_masked", "vfio_device_ops.ioctl", 0, 0, the_pin_can_be_masked},
	{"irqs.the_device_asserts_its_pin", "vfio_device_ops.ioctl", HAS_DMA, 0,
	 the_device_asserts_its_pin},
	{"irqs.close_lets_go_of_the_descriptors", "vfio_device_ops.close_device", 0, 0,
	 close_lets_go_of_the_descriptors},
	{"irqs.requests_have_an_interrupt", "vfio_device_ops.ioctl, vfio_device_ops.request",
	 HAS_REQ, 0, requests_have_an_interrupt},
	{"irqs.the_device_raises_its_vectors", "vfio_device_ops.ioctl", HAS_MSIX | HAS_DRIVER, 0,
	 the_device_raises_its_vectors},
	{"irqs.copies_errors_and_vectors_take_turns", "vfio_device_ops.ioctl", HAS_MSIX | HAS_DMA,
	 0, copies_errors_and_vectors_take_turns},
	{0},
};
