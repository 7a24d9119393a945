/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Drives a PCI device from user space inside a guest, through the guest's own VFIO without an IOMMU
 * (the guest has none): what a driver would do, without needing one.
 *
 *   guestdev edu BDF                  INTx, then MSI, then DMA of QEMU's edu device
 *   guestdev identify BDF ADDRESS     NVMe: write the Identify data to that bus address by DMA
 *   guestdev bar BDF N [OFFSET]       memory BAR N: every access width at its start, OFFSET and end
 *   guestdev peek BDF N OFFSET        one 32-bit read of BAR N through sysfs
 *   guestdev poke BDF N OFFSET COUNT  so many 32-bit writes of 0 to BAR N through sysfs
 *   guestdev faults BDF N OFFSET      the same 5 times, each the first access after memory decode went
 *                                     off and on, and right after a page fault: all read alike
 *   guestdev cap BDF ID               has the function that extended capability?
 *   guestdev msix BDF                 trigger nothing, but enable every vector and count them
 *
 * Exit status 0 when all was as it must be; else one line says what was not.
 */
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/vfio.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOUND_MS 30000

static void write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err(1, "%s", path);
	close(fd);
}

/* Give the device to the guest's vfio-pci and open it. */
static int open_device(const char *bdf)
{
	char path[128], link[256];
	const char *group_name;
	int container, group, device;
	ssize_t n;

	write_file("/sys/module/vfio/parameters/enable_unsafe_noiommu_mode", "1");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver_override", bdf);
	write_file(path, "vfio-pci");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/driver/unbind", bdf);
	if (access(path, W_OK) == 0)
		write_file(path, bdf);
	write_file("/sys/bus/pci/drivers_probe", bdf);

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/iommu_group", bdf);
	n = readlink(path, link, sizeof(link) - 1);
	if (n < 0)
		err(1, "%s", path);
	link[n] = 0;
	group_name = strrchr(link, '/') + 1;
	snprintf(path, sizeof(path), "/dev/vfio/noiommu-%s", group_name);
	group = open(path, O_RDWR);
	if (group < 0)
		err(1, "%s", path);
	container = open("/dev/vfio/vfio", O_RDWR);
	if (container < 0 || ioctl(group, VFIO_GROUP_SET_CONTAINER, &container) < 0 ||
	    ioctl(container, VFIO_SET_IOMMU, VFIO_NOIOMMU_IOMMU) < 0)
		err(1, "VFIO without an IOMMU");
	device = ioctl(group, VFIO_GROUP_GET_DEVICE_FD, bdf);
	if (device < 0)
		err(1, "VFIO_GROUP_GET_DEVICE_FD %s", bdf);
	return device;
}

static struct vfio_region_info region_info(int device, unsigned index)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	if (ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) < 0)
		err(1, "region %u", index);
	return info;
}

static volatile uint8_t *map_region(int device, unsigned index)
{
	struct vfio_region_info info = region_info(device, index);
	void *where = mmap(NULL, info.size, PROT_READ | PROT_WRITE, MAP_SHARED, device,
			   (off_t)info.offset);

	if (where == MAP_FAILED)
		err(1, "mmap region %u", index);
	return where;
}

/* Memory space and bus mastering on. */
static void enable(int device)
{
	struct vfio_region_info info = region_info(device, VFIO_PCI_CONFIG_REGION_INDEX);
	uint16_t command = 0x6;

	if (pwrite(device, &command, 2, (off_t)info.offset + 4) != 2)
		err(1, "command register");
}

static int irq_eventfd(int device, unsigned index)
{
	struct {
		struct vfio_irq_set set;
		int fd;
	} irq = {{.argsz = sizeof(irq),
		  .flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER,
		  .index = index,
		  .count = 1},
		 eventfd(0, EFD_CLOEXEC)};

	if (ioctl(device, VFIO_DEVICE_SET_IRQS, &irq) < 0)
		err(1, "SET_IRQS index %u", index);
	return irq.fd;
}

static void irq_action(int device, unsigned index, uint32_t flags, uint32_t count)
{
	struct vfio_irq_set set = {
		.argsz = sizeof(set), .flags = flags, .index = index, .count = count};

	if (ioctl(device, VFIO_DEVICE_SET_IRQS, &set) < 0)
		err(1, "SET_IRQS index %u flags %x", index, flags);
}

static void expect_interrupt(int fd, const char *what)
{
	struct pollfd ready = {.fd = fd, .events = POLLIN};
	uint64_t count;

	if (poll(&ready, 1, BOUND_MS) != 1 || read(fd, &count, sizeof(count)) != sizeof(count))
		errx(1, "no %s interrupt", what);
}

/* A page that stays where it is, and the address a device knows it by. */
static void *dma_page(uint64_t *address)
{
	uint64_t entry;
	int fd = open("/proc/self/pagemap", O_RDONLY);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_LOCKED | MAP_POPULATE, -1, 0);

	if (page == MAP_FAILED || fd < 0 ||
	    pread(fd, &entry, 8, (off_t)((uintptr_t)page / 4096 * 8)) != 8 || !(entry >> 63))
		err(1, "DMA page");
	close(fd);
	*address = (entry & ((1ull << 55) - 1)) * 4096;
	return page;
}

static void reg_write(volatile uint8_t *bar, unsigned offset, uint32_t value)
{
	*(volatile uint32_t *)(bar + offset) = value;
}

static uint32_t reg_read(volatile uint8_t *bar, unsigned offset)
{
	return *(volatile uint32_t *)(bar + offset);
}

static void wait_clear(volatile uint8_t *bar, unsigned offset, uint32_t bits, const char *what)
{
	for (int i = 0; i < BOUND_MS; i++) {
		if (!(reg_read(bar, offset) & bits))
			return;
		usleep(1000);
	}
	errx(1, "%s did not end", what);
}

/* docs/specs/edu.rst of QEMU: 0x08 factorial, 0x20 status, 0x24/0x60/0x64 interrupt, 0x80.. DMA. */
static void edu(const char *bdf)
{
	int device = open_device(bdf);
	volatile uint8_t *bar = map_region(device, 0);
	uint64_t first, second;
	char *source, *target;
	int intx, msi;

	enable(device);
	if ((reg_read(bar, 0) & 0xff) != 0xed)
		errx(1, "no edu: identification %08x", reg_read(bar, 0));
	reg_write(bar, 4, 0x12345678);
	if (reg_read(bar, 4) != ~0x12345678u)
		errx(1, "liveness check");

	intx = irq_eventfd(device, VFIO_PCI_INTX_IRQ_INDEX);
	for (unsigned i = 0; i < 100; i++) {
		reg_write(bar, 0x60, 1u << (i % 8));
		expect_interrupt(intx, "INTx");
		if (reg_read(bar, 0x24) != 1u << (i % 8))
			errx(1, "INTx %u: status %x", i, reg_read(bar, 0x24));
		reg_write(bar, 0x64, 1u << (i % 8));
		irq_action(device, VFIO_PCI_INTX_IRQ_INDEX,
			   VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, 1);
	}
	irq_action(device, VFIO_PCI_INTX_IRQ_INDEX,
		   VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0);

	msi = irq_eventfd(device, VFIO_PCI_MSI_IRQ_INDEX);
	for (unsigned i = 0; i < 100; i++) {
		reg_write(bar, 0x20, 0x80);
		reg_write(bar, 0x08, 5);
		expect_interrupt(msi, "MSI");
		reg_write(bar, 0x64, reg_read(bar, 0x24));
		wait_clear(bar, 0x20, 1, "factorial");
		if (reg_read(bar, 0x08) != 120)
			errx(1, "5! is %u", reg_read(bar, 0x08));
	}

	source = dma_page(&first);
	target = dma_page(&second);
	if ((first | second) >> 28)
		errx(1,
		     "DMA pages at %#llx and %#llx: edu reaches 256 MiB; give the guest less RAM",
		     (unsigned long long)first, (unsigned long long)second);
	for (int i = 0; i < 4096; i++)
		source[i] = (char)(i * 7 + (i >> 8));
	for (unsigned direction = 0; direction < 2; direction++) {
		*(volatile uint64_t *)(bar + 0x80) = direction ? 0x40000 : first;
		*(volatile uint64_t *)(bar + 0x88) = direction ? second : 0x40000;
		*(volatile uint64_t *)(bar + 0x90) = 4096;
		*(volatile uint64_t *)(bar + 0x98) = 1 | direction << 1 | 4;
		expect_interrupt(msi, "DMA");
		reg_write(bar, 0x64, reg_read(bar, 0x24));
		wait_clear(bar, 0x98, 1, "DMA");
	}
	if (memcmp(source, target, 4096) != 0)
		errx(1, "DMA changed the data");
	printf("edu: 100 INTx, 100 MSI, 2 DMA of 4096 bytes\n");
}

/* NVMe base specification: 0x14 CC, 0x1c CSTS, 0x24 AQA, 0x28 ASQ, 0x30 ACQ, 0x1000 doorbells. */
static void identify(const char *bdf, uint64_t destination)
{
	int device = open_device(bdf);
	volatile uint8_t *bar = map_region(device, 0);
	uint64_t sq_address, cq_address;
	uint32_t *sq = dma_page(&sq_address);
	volatile uint32_t *cq = dma_page(&cq_address);

	enable(device);
	reg_write(bar, 0x14, 0);
	wait_clear(bar, 0x1c, 1, "disabling the controller");
	reg_write(bar, 0x24, 0x000f000f);
	*(volatile uint64_t *)(bar + 0x28) = sq_address;
	*(volatile uint64_t *)(bar + 0x30) = cq_address;
	reg_write(bar, 0x14, 0x00460001);
	for (int i = 0; !(reg_read(bar, 0x1c) & 1); i++) {
		if (i == BOUND_MS)
			errx(1, "the controller does not become ready");
		usleep(1000);
	}
	memset(sq, 0, 64);
	sq[0] = 0x06 | 1u << 16; /* Identify, command id 1 */
	sq[6] = (uint32_t)destination;
	sq[7] = (uint32_t)(destination >> 32);
	sq[10] = 1; /* the controller */
	reg_write(bar, 0x1000, 1);
	for (int i = 0; !(cq[3] & 1u << 16); i++) {
		if (i == BOUND_MS)
			errx(1, "Identify does not complete");
		usleep(1000);
	}
	if (cq[3] >> 17)
		errx(1, "Identify failed: status %#x", cq[3] >> 17);
	printf("identify: complete\n");
}

static uint8_t *sysfs_bar(const char *bdf, unsigned index, size_t *size)
{
	char path[128];
	struct stat st;
	int fd;
	void *where;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable", bdf);
	write_file(path, "1");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource%u", bdf, index);
	fd = open(path, O_RDWR);
	if (fd < 0 || fstat(fd, &st) < 0)
		err(1, "%s", path);
	*size = (size_t)st.st_size;
	where = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (where == MAP_FAILED)
		err(1, "mmap %s", path);
	return where;
}

static void set_command(int config, uint16_t command)
{
	if (pwrite(config, &command, 2, 4) != 2)
		err(1, "command register");
}

/*
 * When the slots of a device change, KVM forgets all it had mapped. The first faults on the page teach
 * it anew; the last one makes no exit, so the read is the first exit after an exception.
 */
static void after_faults(const char *bdf, unsigned index, unsigned offset)
{
	size_t size;
	volatile uint8_t *bar = sysfs_bar(bdf, index, &size);
	const uint32_t first = reg_read(bar, offset);
	void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	char path[128];
	int config;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	config = open(path, O_RDWR);
	if (page == MAP_FAILED || config < 0)
		err(1, "%s", path);
	for (unsigned round = 0; round < 5; round++) {
		set_command(config, 0);
		set_command(config, 2);
		for (unsigned i = 0; i < 3; i++) {
			if (madvise(page, 4096, MADV_DONTNEED) < 0)
				err(1, "madvise");
			*(volatile uint8_t *)page = 1;
		}
		if (reg_read(bar, offset) != first)
			errx(1, "read %u differs", round);
	}
	printf("faults: %08x\n", first);
}

#define CHECK_WIDTH(type, at, seed)                                                                \
	do {                                                                                       \
		volatile type *p = (volatile type *)(at);                                          \
		for (unsigned k = 0; k < 8 / sizeof(type); k++)                                    \
			p[k] = (type)((seed)*0x0123456789abcdefull + k);                           \
		for (unsigned k = 0; k < 8 / sizeof(type); k++)                                    \
			if (p[k] != (type)((seed)*0x0123456789abcdefull + k))                      \
				errx(1, "BAR %u: " #type " at %#zx reads back wrong", index,       \
				     (size_t)((uint8_t *)(at)-bar));                               \
	} while (0)

static void bar_widths(const char *bdf, unsigned index, size_t offset)
{
	size_t size;
	uint8_t *bar = sysfs_bar(bdf, index, &size);
	const size_t places[] = {0, offset, size / 2, size - 8};

	for (unsigned i = 0; i < 4; i++) {
		uint8_t *at = bar + (places[i] & ~(size_t)7);

		CHECK_WIDTH(uint8_t, at, i + 1);
		CHECK_WIDTH(uint16_t, at, i + 2);
		CHECK_WIDTH(uint32_t, at, i + 3);
		CHECK_WIDTH(uint64_t, at, i + 4);
	}
	printf("bar: %zu bytes\n", size);
}

/* 0 when the chain has extended capability @id, 1 when not. */
static int has_extended(const char *bdf, unsigned id)
{
	char path[128];
	uint32_t header;
	int fd, offset = 256;

	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", bdf);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		err(2, "%s", path);
	for (int i = 0; offset >= 256 && i < 960; i++, offset = (int)(header >> 20)) {
		if (pread(fd, &header, 4, offset) != 4)
			err(2, "%s at %#x", path, offset);
		if ((header & 0xffff) == id)
			return 0;
	}
	return 1;
}

static void msix(const char *bdf)
{
	int device = open_device(bdf);
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_MSIX_IRQ_INDEX};
	size_t bytes;
	struct vfio_irq_set *set;

	enable(device);
	if (ioctl(device, VFIO_DEVICE_GET_IRQ_INFO, &info) < 0 || info.count == 0)
		err(1, "no MSI-X");
	bytes = sizeof(*set) + info.count * sizeof(int);
	set = calloc(1, bytes);
	set->argsz = (uint32_t)bytes;
	set->flags = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	set->index = VFIO_PCI_MSIX_IRQ_INDEX;
	set->count = info.count;
	for (unsigned i = 0; i < info.count; i++)
		((int *)set->data)[i] = eventfd(0, EFD_CLOEXEC);
	if (ioctl(device, VFIO_DEVICE_SET_IRQS, set) < 0)
		err(1, "SET_IRQS");
	printf("msix: %u vectors\n", info.count);
}

static void poke(volatile uint8_t *bar, unsigned offset, unsigned long count)
{
	while (count-- > 0)
		reg_write(bar, offset, 0);
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	size_t size;

	if (strcmp(what, "edu") == 0)
		edu(argv[2]);
	else if (strcmp(what, "identify") == 0 && argc == 4)
		identify(argv[2], strtoull(argv[3], NULL, 0));
	else if (strcmp(what, "bar") == 0 && argc >= 4)
		bar_widths(argv[2], (unsigned)atoi(argv[3]),
			   argc > 4 ? strtoull(argv[4], NULL, 0) : 0);
	else if (strcmp(what, "peek") == 0 && argc == 5)
		printf("%08x\n", reg_read(sysfs_bar(argv[2], (unsigned)atoi(argv[3]), &size),
					  (unsigned)strtoul(argv[4], NULL, 0)));
	else if (strcmp(what, "poke") == 0 && argc == 6)
		poke(sysfs_bar(argv[2], (unsigned)atoi(argv[3]), &size),
		     (unsigned)strtoul(argv[4], NULL, 0), strtoul(argv[5], NULL, 0));
	else if (strcmp(what, "faults") == 0 && argc == 5)
		after_faults(argv[2], (unsigned)atoi(argv[3]), (unsigned)strtoul(argv[4], NULL, 0));
	else if (strcmp(what, "cap") == 0 && argc == 4)
		return has_extended(argv[2], (unsigned)strtoul(argv[3], NULL, 0));
	else if (strcmp(what, "msix") == 0)
		msix(argv[2]);
	else
		errx(2, "usage: guestdev edu|identify|bar|peek|poke|faults|cap|msix BDF ...");
	return 0;
}
