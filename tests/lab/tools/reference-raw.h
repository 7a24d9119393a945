// SPDX-License-Identifier: Apache-2.0
// For reference-*.c: the reference device by bare system calls, and named checks.
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <linux/iommufd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

#include "devices/vfio/reference/registers.h"

#define IOVA          0x1000000ull
#define MEMORY        0x100000ull
#define REGION(index) ((uint64_t)(index) << 40)
#define CONFIG        REGION(VFIO_PCI_CONFIG_REGION_INDEX)

// How long to wait for what comes: only a hang is longer.
#define PATIENCE_MS 60000

static int failures;
static const char *sysfs; // of the platform device
static int iommufd, device;
static uint32_t device_id, ioas;
static uint8_t *memory; // mapped at IOVA of ioas
static int done_event;  // vector 0

static bool check(bool good, const char *name)
{
	const int error = errno;

	if (good)
		printf("ok %s\n", name);
	else
		printf("not ok %s (errno %d: %s)\n", name, error, strerror(error));
	failures += !good;
	// Of a device that is broken on purpose the first is enough, and the rest may wait for what never comes.
	if (failures && getenv("FIRST_FAILURE"))
		exit(1);
	errno = error;
	return good;
}

// The call failed with that errno.
static bool fails(int result, int error, const char *name)
{
	if (result < 0 && errno == error)
		return check(true, name);
	if (result >= 0)
		errno = 0;
	return check(false, name);
}

static inline void control(const char *name, const char *value)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/reference/%s", sysfs, name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		check(false, name);
	close(fd);
}

static inline long shown(const char *name)
{
	char path[512], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), "%s/reference/%s", sysfs, name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0)
		check(false, name);
	close(fd);
	return strtol(text, NULL, 0);
}

static void set32(uint64_t at, uint32_t value)
{
	if (pwrite(device, &value, 4, at) != 4)
		check(false, "a register is written");
}

static void set64(uint64_t at, uint64_t value)
{
	if (pwrite(device, &value, 8, at) != 8)
		check(false, "a register is written");
}

static inline uint32_t get32(uint64_t at)
{
	uint32_t value = 0;

	if (pread(device, &value, 4, at) != 4)
		check(false, "a register is read");
	return value;
}

static void enable(void)
{
	const uint16_t command = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	if (pwrite(device, &command, 2, CONFIG + PCI_COMMAND) != 2)
		check(false, "the command register is written");
}

static inline int reset(void)
{
	const int rc = ioctl(device, VFIO_DEVICE_RESET);

	enable();
	return rc;
}

// Fill @length bytes at @iova with @value. It runs by itself; request_end() waits for it.
static inline void fill_begin(uint32_t pasid, uint64_t iova, uint32_t length, uint8_t value)
{
	set64(REFERENCE_DESTINATION, iova);
	set32(REFERENCE_LENGTH, length);
	set64(REFERENCE_PATTERN, 0x0101010101010101ull * value);
	set32(REFERENCE_PASID, pasid);
	set32(REFERENCE_VECTOR, 0);
	set32(REFERENCE_COMMAND, REFERENCE_OPCODE_FILL | REFERENCE_COMMAND_INTERRUPT |
					 (pasid ? REFERENCE_COMMAND_PASID : 0));
	set32(REFERENCE_DOORBELL, 1);
}

static inline bool came(int fd, int ms)
{
	struct pollfd event = {.fd = fd, .events = POLLIN};

	return poll(&event, 1, ms) == 1 && event.revents & POLLIN;
}

// REFERENCE_ERROR_* of the request, or -1: it did not end.
static inline int request_end(void)
{
	uint64_t count;

	if (!came(done_event, PATIENCE_MS) || read(done_event, &count, sizeof(count)) < 0)
		return -1;
	return (int)get32(REFERENCE_ERROR);
}

static inline int fill(uint32_t pasid, uint64_t iova, uint32_t length, uint8_t value)
{
	fill_begin(pasid, iova, length, value);
	return request_end();
}

static inline int checksum(uint64_t iova, uint32_t length)
{
	set64(REFERENCE_SOURCE, iova);
	set32(REFERENCE_LENGTH, length);
	set32(REFERENCE_COMMAND, REFERENCE_OPCODE_CRC | REFERENCE_COMMAND_INTERRUPT);
	set32(REFERENCE_DOORBELL, 1);
	return request_end();
}

static inline bool memory_is(const uint8_t *at, size_t length, uint8_t value)
{
	for (size_t i = 0; i < length; i++) {
		if (at[i] != value)
			return false;
	}
	return true;
}

static inline int map_for(uint32_t space, void *where, uint64_t iova, uint64_t length,
			  uint32_t rights)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | rights,
		.ioas_id = space,
		.user_va = (uintptr_t)where,
		.length = length,
		.iova = iova,
	};

	return ioctl(iommufd, IOMMU_IOAS_MAP, &map);
}

static inline int map(uint32_t space, void *where, uint64_t iova, uint64_t length)
{
	return map_for(space, where, iova, length,
		       IOMMU_IOAS_MAP_WRITEABLE | IOMMU_IOAS_MAP_READABLE);
}

static inline int unmap(uint32_t space, uint64_t iova, uint64_t length)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = space, .iova = iova, .length = length};

	return ioctl(iommufd, IOMMU_IOAS_UNMAP, &unmap);
}

static inline int attach(uint32_t id)
{
	struct vfio_device_attach_iommufd_pt arg = {.argsz = sizeof(arg), .pt_id = id};

	return ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &arg);
}

static inline int detach(void)
{
	struct vfio_device_detach_iommufd_pt arg = {.argsz = sizeof(arg)};

	return ioctl(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &arg);
}

static inline int set_irq(uint32_t index, uint32_t flags, int fd)
{
	struct {
		struct vfio_irq_set set;
		int32_t fd;
	} arg = {.set = {.argsz = sizeof(arg), .flags = flags, .index = index, .count = 1},
		 .fd = fd};

	return ioctl(device, VFIO_DEVICE_SET_IRQS, &arg);
}

static inline int feature(uint32_t flags, void *data, size_t size)
{
	uint8_t buffer[128] = {0};
	struct vfio_device_feature *arg = (void *)buffer;
	int rc;

	arg->argsz = sizeof(*arg) + size;
	arg->flags = flags;
	if (size)
		memcpy(arg->data, data, size);
	rc = ioctl(device, VFIO_DEVICE_FEATURE, arg);
	if (size)
		memcpy(data, arg->data, size);
	return rc;
}

// @fd: the descriptor of the session, if any; NULL: closed.
static inline int set_state(uint32_t state, int *fd)
{
	struct vfio_device_feature_mig_state arg = {.device_state = state, .data_fd = -1};
	const int rc = feature(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &arg,
			       sizeof(arg));

	if (fd)
		*fd = rc ? -1 : arg.data_fd;
	else if (!rc && arg.data_fd >= 0)
		close(arg.data_fd);
	return rc;
}

static inline uint32_t state(void)
{
	struct vfio_device_feature_mig_state arg = {0};

	if (feature(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &arg,
		    sizeof(arg)))
		check(false, "the state is read");
	return arg.device_state;
}

// Open the device of @sysfs_dir, with memory mapped and vector 0 set.
static inline int open_node(void)
{
	char path[512], name[32];
	int index;

	for (index = 0; index < 64; index++) {
		snprintf(path, sizeof(path), "%s/vfio-dev/vfio%d", sysfs, index);
		if (!access(path, F_OK))
			break;
	}
	snprintf(name, sizeof(name), "/dev/vfio/devices/vfio%d", index);
	return open(name, O_RDWR | O_CLOEXEC);
}

static inline bool begin(void)
{
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind)};
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};

	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	device = open_node();
	bind.iommufd = iommufd;
	if (!check(!ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind), "bind"))
		return false;
	device_id = bind.out_devid;
	ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc);
	ioas = alloc.out_ioas_id;
	if (!memory)
		memory = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
			      0);
	if (!check(!attach(ioas) && !map(ioas, memory, IOVA, MEMORY), "attach, map"))
		return false;
	done_event = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	enable();
	return check(!set_irq(VFIO_PCI_MSIX_IRQ_INDEX,
			      VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD, done_event),
		     "vector 0");
}

static inline void end(void)
{
	close(device);
	close(iommufd);
	close(done_event);
}
