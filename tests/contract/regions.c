/* SPDX-License-Identifier: Apache-2.0 */
/* Device and region info, and access to regions by every size and offset. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <linux/pci_regs.h>

#include "devices/vfio/reference/registers.h"
#include "tests/contract/contract.h"
#include "tests/contract/reference.h"

#define CONFIG  VFIO_PCI_CONFIG_REGION_INDEX
/* PCI_INTERRUPT_LINE: of no meaning to the device, and always writable. */
#define SCRATCH PCI_INTERRUPT_LINE

static void info_of_the_device(struct run *run)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	const size_t minimum = offsetof(struct vfio_device_info, num_irqs) + sizeof(info.num_irqs);

	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_INFO, NULL), -EFAULT,
		  "info without a structure");
	info.argsz = (uint32_t)minimum - 1;
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_INFO, &info), -EINVAL,
		  "info of %zu bytes", minimum - 1);
	info.argsz = (uint32_t)minimum;
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_INFO, &info), 0,
		  "info of %zu bytes", minimum);
	expect(run, info.flags & VFIO_DEVICE_FLAGS_PCI, "no PCI device: flags %#x", info.flags);
	expect(run, info.num_regions >= VFIO_PCI_NUM_REGIONS, "%u regions", info.num_regions);
	expect(run, info.num_irqs >= VFIO_PCI_MSIX_IRQ_INDEX + 1, "%u interrupts", info.num_irqs);
	expect(run, !!(info.flags & VFIO_DEVICE_FLAGS_RESET) == answer(run, "reset", 1),
	       "the reset flag is %d", !!(info.flags & VFIO_DEVICE_FLAGS_RESET));
}

static void info_of_every_region(struct run *run)
{
	struct vfio_region_info short_info = {.argsz = sizeof(short_info) - 1};
	uint64_t offsets[VFIO_PCI_NUM_REGIONS];

	for (uint32_t i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		struct vfio_region_info info = {.argsz = sizeof(info), .index = i};
		const int rc = vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_REGION_INFO, &info);

		offsets[i] = UINT64_MAX;
		if (i == VFIO_PCI_VGA_REGION_INDEX && rc == -EINVAL)
			continue;
		if (!expect_rc(run, rc, 0, "info of region %u", i))
			continue;
		expect_rc(run, info.index, i, "the index in the answer");
		if (i == CONFIG)
			expect(run,
			       info.size >= (uint64_t)answer(run, "config", 256) &&
				       info.size <= 4096,
			       "config space of %llu", (unsigned long long)info.size);
		/* No bit that only a later contract could mean. */
		expect(run,
		       !(info.flags & ~(VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
					VFIO_REGION_INFO_FLAG_MMAP | VFIO_REGION_INFO_FLAG_CAPS)),
		       "flags %#x of region %u", info.flags, i);
		if (info.size)
			offsets[i] = info.offset;
		for (uint32_t k = 0; k < i; k++)
			expect(run, offsets[i] == UINT64_MAX || offsets[i] != offsets[k],
			       "regions %u and %u at the same offset", i, k);
	}
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_REGION_INFO, NULL), -EFAULT,
		  "region info without a structure");
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_REGION_INFO, &short_info),
		  -EINVAL, "a structure that is too short");
	short_info = (struct vfio_region_info){.argsz = sizeof(short_info),
					       .index = run->info.num_regions};
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_REGION_INFO, &short_info),
		  -EINVAL, "a region beyond the last");
	short_info.index = UINT32_MAX;
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_REGION_INFO, &short_info),
		  -EINVAL, "region 0xffffffff");
}

/* A call with too little room says how much there is to be had; with that much it has the chain. */
static void capabilities_come_in_two_calls(struct run *run)
{
	unsigned chains = 0;

	for (uint32_t i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		struct vfio_region_info info = {.argsz = sizeof(info), .index = i}, *whole;
		struct vfio_info_cap_header *header;
		uint32_t at, links = 0;

		if (vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_REGION_INFO, &info) ||
		    !(info.flags & VFIO_REGION_INFO_FLAG_CAPS))
			continue;
		chains++;
		expect(run, info.argsz > sizeof(info) && !info.cap_offset,
		       "region %u: argsz %u and offset %u of a chain without room", i, info.argsz,
		       info.cap_offset);
		whole = calloc(1, info.argsz);
		whole->argsz = info.argsz;
		whole->index = i;
		expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_REGION_INFO, whole), 0,
			  "region %u with room", i);
		expect(run, whole->size == info.size && whole->offset == info.offset,
		       "region %u: two calls, two answers", i);
		for (at = whole->cap_offset; at && links < 16; at = header->next, links++) {
			if (!expect(run, at >= sizeof(*whole) && at + sizeof(*header) <= info.argsz,
				    "region %u: a capability at %u of %u", i, at, info.argsz))
				break;
			header = (struct vfio_info_cap_header *)((uint8_t *)whole + at);
		}
		expect(run, links && links < 16, "region %u: a chain of %u", i, links);
		free(whole);
	}
	expect(run, chains || !(run->target->has & HAS_MMAP) || answer(run, "chains", 1) == 0,
	       "no region has capabilities");
}

static void config_reads_the_same_by_every_size(struct run *run)
{
	uint8_t bytes[64], other[64];
	const uint32_t size = (uint32_t)region(run, CONFIG).size;

	for (uint32_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)config_read(run, i, 1);
	for (size_t width = 2; width <= 8; width *= 2) {
		for (uint32_t i = 0; i < sizeof(bytes); i += (uint32_t)width) {
			expect_rc(run, region_read(run, CONFIG, i, other, width), (long)width,
				  "read of %zu at %#x", width, i);
			expect(run, !memcmp(bytes + i, other, width), "%zu bytes at %#x differ",
			       width, i);
		}
	}
	/* In one piece, and unaligned in every way. */
	expect_rc(run, region_read(run, CONFIG, 0, other, sizeof(other)), sizeof(other),
		  "read of 64 bytes");
	expect(run, !memcmp(bytes, other, sizeof(other)), "64 bytes differ");
	for (uint32_t from = 1; from < 4; from++) {
		for (size_t length = 1; length < 12; length++) {
			expect_rc(run, region_read(run, CONFIG, from, other, length), (long)length,
				  "read of %zu at %u", length, from);
			expect(run, !memcmp(bytes + from, other, length), "%zu bytes at %u differ",
			       length, from);
		}
	}
	expect_rc(run, region_read(run, CONFIG, size - 4, other, 4), 4, "the last four bytes");
	expect_rc(run, vfio_device_read(run->vdev, other, 0, region(run, CONFIG).offset), 0,
		  "a read of nothing");
}

static void config_keeps_what_is_written(struct run *run)
{
	const uint32_t vendor = config_read(run, PCI_VENDOR_ID, 4);

	config_write(run, SCRATCH, 0x5a, 1);
	expect_rc(run, config_read(run, SCRATCH, 1), answer(run, "kept", 0x5a),
		  "the interrupt line");
	/* What is read-only stays, whoever writes it how. */
	config_write(run, PCI_VENDOR_ID, 0x12345678, 4);
	config_write(run, PCI_VENDOR_ID + 1, 0x99, 1);
	expect_rc(run, config_read(run, PCI_VENDOR_ID, 4), vendor, "vendor and device id");
	for (int on = 1; on >= 0; on--) {
		command(run, on ? PCI_COMMAND_MASTER : 0, on ? 0 : PCI_COMMAND_MASTER);
		expect_rc(run, config_read(run, PCI_COMMAND, 2) & PCI_COMMAND_MASTER,
			  on ? answer(run, "master", PCI_COMMAND_MASTER) : 0, "bus master, %s",
			  on ? "on" : "off");
	}
}

static void config_ends(struct run *run)
{
	const uint64_t size = region(run, CONFIG).size;
	uint32_t value = 0;

	expect_rc(run, region_read(run, CONFIG, size, &value, 4), answer(run, "beyond", -EFAULT),
		  "a read beyond config space");
	expect_rc(run, region_read(run, CONFIG, size - 2, &value, 4),
		  answer(run, "across", -EFAULT), "a read across its end");
	expect_rc(run, region_write(run, CONFIG, size, &value, 4), answer(run, "beyond", -EFAULT),
		  "a write beyond config space");
	expect_rc(run, region_read(run, CONFIG, 0x10000000, &value, 4),
		  answer(run, "beyond", -EFAULT), "a read far beyond it");
}

/* ---- BARs ------------------------------------------------------------------------------------- */

static void bar_reads_the_same_by_every_size(struct run *run)
{
	const uint32_t bar = run->target->bar;
	const uint64_t at = run->target->bar_at;
	uint8_t bytes[4] = {0}, other[4] = {0};

	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, region_read(run, bar, at, bytes, 4), 4, "a read of 4");
	expect(run, bytes[0] != 0xff || bytes[1] != 0xff || bytes[2] != 0xff || bytes[3] != 0xff,
	       "the register reads all ones: a bad choice of the target");
	expect_rc(run, region_read(run, bar, at, other, 4), 4, "a read of 4 again");
	expect(run, !memcmp(bytes, other, 4), "the register changes: a bad choice of the target");
	for (size_t i = 0; i < 4; i += 2)
		expect_rc(run, region_read(run, bar, at + i, other + i, 2), 2, "a read of 2");
	expect_rc(run, !memcmp(bytes, other, 4), answer(run, "narrow", 1), "two of 2 are one of 4");
	for (size_t i = 0; i < 4; i++)
		expect_rc(run, region_read(run, bar, at + i, other + i, 1), 1, "a read of 1");
	expect_rc(run, !memcmp(bytes, other, 4), answer(run, "narrow", 1),
		  "four of 1 are one of 4");
	expect_rc(run, region_read(run, bar, at + 1, other, 3), 3, "an unaligned read");
	expect_rc(run, !memcmp(bytes + 1, other, 3), answer(run, "narrow", 1),
		  "an unaligned read is the same");
	expect_rc(run, region_read(run, bar, at, other, 0), 0, "a read of nothing");
}

static void bar_ends(struct run *run)
{
	const uint32_t bar = run->target->bar;
	const uint64_t size = region(run, bar).size;
	uint8_t bytes[8];

	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, region_read(run, bar, size - 4, bytes, 8), answer(run, "across", 4),
		  "a read across the end is cut");
	expect_rc(run, region_read(run, bar, size, bytes, 4), answer(run, "beyond", -EINVAL),
		  "a read beyond the end");
	expect_rc(run, region_write(run, bar, size, bytes, 4), answer(run, "beyond", -EINVAL),
		  "a write beyond the end");
	expect_rc(run, region_read(run, bar, size + 0x10000000, bytes, 4),
		  answer(run, "beyond", -EINVAL), "a read far beyond the end");
}

static void an_absent_region_is_einval(struct run *run)
{
	uint32_t value = 0, tried = 0;

	for (uint32_t i = 0; i <= VFIO_PCI_BAR5_REGION_INDEX; i++) {
		const struct vfio_region_info info = region(run, i);

		if (info.size)
			continue;
		tried++;
		expect_rc(run, vfio_device_read(run->vdev, &value, 4, info.offset), -EINVAL,
			  "a read of BAR %u, which is not there", i);
		expect_rc(run, vfio_device_write(run->vdev, &value, 4, info.offset), -EINVAL,
			  "a write of BAR %u, which is not there", i);
	}
	expect(run, tried, "every BAR is there");
	/* An offset that no region has. */
	expect_rc(run, vfio_device_read(run->vdev, &value, 4, UINT64_MAX / 4), -EINVAL,
		  "a read of no region");
}

static void bar_without_decode_reads_ones(struct run *run)
{
	const uint32_t bar = run->target->bar;
	uint8_t before[4], off[4] = {0}, after[4] = {0}, zeros[4] = {0};

	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, region_read(run, bar, run->target->bar_at, before, 4), 4, "with decode on");
	command(run, 0, PCI_COMMAND_MEMORY);
	expect_rc(run, region_read(run, bar, run->target->bar_at, off, 4), 4,
		  "a read with decode off");
	expect(run, off[0] == 0xff && off[1] == 0xff && off[2] == 0xff && off[3] == 0xff,
	       "with decode off it reads %02x%02x%02x%02x", off[3], off[2], off[1], off[0]);
	/* A write goes nowhere; nobody is told, as on the bus. */
	expect_rc(run, region_write(run, bar, run->target->bar_at, zeros, 4), 4,
		  "a write with decode off");
	command(run, PCI_COMMAND_MEMORY, 0);
	expect_rc(run, region_read(run, bar, run->target->bar_at, after, 4), 4,
		  "with decode on again");
	expect(run, !memcmp(before, after, 4), "with decode on again it reads something else");
}

/* Where the MSI-X table is, user space does not write: vectors are SET_IRQS' affair. */
static void msix_table_is_hidden(struct run *run)
{
	const uint32_t cap = config_capability(run, PCI_CAP_ID_MSIX);
	uint32_t where, entry[4] = {1, 1, 1, 1};
	const uint32_t zeros[4] = {0};

	if (!expect(run, cap, "no MSI-X capability"))
		return;
	command(run, PCI_COMMAND_MEMORY, 0);
	where = config_read(run, cap + PCI_MSIX_TABLE, 4);
	expect_rc(run, region_write(run, where & 7, where & ~7u, zeros, 16), 16,
		  "a write of the table");
	expect_rc(run, region_read(run, where & 7, where & ~7u, entry, 16), 16,
		  "a read of the table");
	for (int i = 0; i < 4; i++)
		expect(run, entry[i] == (uint32_t)answer(run, "reads", -1), "word %d reads %#x", i,
		       entry[i]);
}

static uint32_t reference_read(struct run *run, uint32_t at)
{
	uint32_t value = 0;

	expect_rc(run, region_read(run, REFERENCE_BAR_REGISTERS, at, &value, 4), 4, "register %#x",
		  at);
	return value;
}

static uint64_t reference_rung(struct run *run)
{
	return (uint64_t)reference_read(run, REFERENCE_COMPLETED) +
	       reference_read(run, REFERENCE_REJECTED);
}

static bool reference_is_idle(void *ctx)
{
	return !(reference_read(ctx, REFERENCE_STATUS) & REFERENCE_STATUS_BUSY);
}

/* Each time that the eventfd is signalled is a write of the register, and comes before what follows it. */
static void rings_arrive(struct run *run, int fd)
{
	const uint32_t nop = REFERENCE_OPCODE_NOP;
	uint64_t before;

	command(run, PCI_COMMAND_MEMORY, 0);
	before = reference_rung(run);
	expect_rc(run, region_write(run, REFERENCE_BAR_REGISTERS, REFERENCE_COMMAND, &nop, 4), 4,
		  "a command");
	for (unsigned i = 0; i < 5; i++)
		eventfd_write(fd, 1000);
	step(run, "waiting for the end of what was rung");
	wait_until(reference_is_idle, run);
	expect_rc(run, (long)(reference_rung(run) - before), 5000, "doorbells that arrived");
}

/* Writes that may be signalled: a list that fits the region, of which each call gives as much as there is room. */
static void doorbells_are_told(struct run *run)
{
	struct vfio_region_ioeventfd list[64];
	struct vfio_device *vdev = run->vdev;
	uint32_t count = 64, total = 0;

	expect_rc(run, vfio_device_region_ioeventfds(vdev, run->info.num_regions, list, &count),
		  -EINVAL, "doorbells of a region beyond the last");
	count = 64;
	expect_rc(run, vfio_device_region_ioeventfds(vdev, UINT32_MAX, list, &count), -EINVAL,
		  "doorbells of region 0xffffffff");
	for (uint32_t i = 0; i < run->info.num_regions; i++) {
		const uint64_t size = region(run, i).size;
		uint32_t none = 0;

		if (!size)
			continue;
		count = 64;
		expect_rc(run, vfio_device_region_ioeventfds(vdev, i, list, &count), 0,
			  "doorbells of region %u", i);
		expect_rc(run, vfio_device_region_ioeventfds(vdev, i, NULL, &none), 0,
			  "how many doorbells region %u has", i);
		expect_rc(run, none, count, "the number of doorbells of region %u", i);
		for (uint32_t k = 0; k < count && k < 64; k++) {
			const struct vfio_region_ioeventfd *doorbell = &list[k];

			expect(run,
			       doorbell->offset < size && doorbell->size <= 8 &&
				       doorbell->size <= size - doorbell->offset,
			       "doorbell %u of region %u: %u bytes at %#llx", k, i, doorbell->size,
			       (unsigned long long)doorbell->offset);
			expect(run, fcntl(doorbell->fd, F_GETFD) >= 0,
			       "doorbell %u of region %u: descriptor %d", k, i, doorbell->fd);
			if (run->target->driver == &reference_driver &&
			    i == REFERENCE_BAR_REGISTERS && doorbell->offset == REFERENCE_RING)
				rings_arrive(run, doorbell->fd);
		}
		total += count;
	}
	expect_rc(run, total, answer(run, "count", 0), "doorbells in all");
}

const struct contract_test regions_tests[] = {
	{"regions.info_of_the_device", "vfio_device_ops.ioctl", 0, 0, info_of_the_device},
	{"regions.info_of_every_region", "vfio_device_ops.get_region_info_caps", 0, 0,
	 info_of_every_region},
	{"regions.capabilities_come_in_two_calls", "vfio_device_ops.get_region_info_caps", 0, 0,
	 capabilities_come_in_two_calls},
	{"regions.config_reads_the_same_by_every_size", "vfio_device_ops.read", 0, 0,
	 config_reads_the_same_by_every_size},
	{"regions.config_keeps_what_is_written", "vfio_device_ops.write", 0, 0,
	 config_keeps_what_is_written},
	{"regions.config_ends", "vfio_device_ops.read, vfio_device_ops.write", 0, 0, config_ends},
	{"regions.bar_reads_the_same_by_every_size", "vfio_device_ops.read", HAS_BAR, 0,
	 bar_reads_the_same_by_every_size},
	{"regions.bar_ends", "vfio_device_ops.read, vfio_device_ops.write", HAS_BAR, 0, bar_ends},
	{"regions.an_absent_region_is_einval", "vfio_device_ops.read, vfio_device_ops.write",
	 HAS_BAR, 0, an_absent_region_is_einval},
	{"regions.bar_without_decode_reads_ones", "vfio_device_ops.read, vfio_device.revoke",
	 HAS_BAR | HAS_DECODE, 0, bar_without_decode_reads_ones},
	{"regions.doorbells_are_told", "vfio_device_ops.get_region_ioeventfds", 0, 0,
	 doorbells_are_told},
	{"regions.msix_table_is_hidden", "vfio_device_ops.read, vfio_device_ops.write",
	 HAS_MSIX_TABLE, 0, msix_table_is_hidden},
	{0},
};
