/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scripted vfio_device for tests of the front end. It writes what it is asked into a journal, keeps
 * the rules of the kernel, and counts each breach of them:
 *
 *   - no memory slot and no peer mapping over a device that does not decode, or is being reset
 *   - one kind of interrupt at a time, the limits of SET_IRQS (drivers/vfio/pci/vfio_pci_intrs.c)
 *
 * Each call to the device can be made to fail: by its turn, or by its name.
 */
#ifndef SLUICE_TESTS_FAKE_VDEV_H
#define SLUICE_TESTS_FAKE_VDEV_H

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "devices/vfio/device.h"
#include "tests/unit/support.h"
#include "vmm/pci/function.h"

/* Tests of threads come here from all of them. */
static pthread_mutex_t fake_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

static inline pthread_mutex_t *fake_take(void)
{
	pthread_mutex_lock(&fake_lock);
	return &fake_lock;
}

static inline void fake_give(pthread_mutex_t **lock)
{
	pthread_mutex_unlock(*lock);
}

#define FAKE_LOCKED __attribute__((cleanup(fake_give), unused)) pthread_mutex_t *taken = fake_take()

/* ---- the journal --------------------------------------------------------------------------------- */

#define JOURNAL_MAX 4096

static char journal[JOURNAL_MAX][64];
static unsigned journal_count;

__attribute__((format(printf, 1, 2))) static void note(const char *fmt, ...)
{
	va_list args;

	if (journal_count == JOURNAL_MAX) /* of a long random run: the start is not looked at */
		journal_count = 0;
	va_start(args, fmt);
	vsnprintf(journal[journal_count++], sizeof(journal[0]), fmt, args);
	va_end(args);
}

static inline void journal_clear(void)
{
	journal_count = 0;
}

/* Position of the first entry that begins with @what from @from on, or -1. */
static inline int journal_find(const char *what, int from)
{
	for (unsigned i = from < 0 ? 0 : (unsigned)from; i < journal_count; i++)
		if (!strncmp(journal[i], what, strlen(what)))
			return (int)i;
	return -1;
}

static inline unsigned journal_times(const char *what)
{
	unsigned n = 0;

	for (int i = -1; (i = journal_find(what, i + 1)) >= 0;)
		n++;
	return n;
}

/* These entries, in this order, others in between. NULL ends the list. */
static inline bool journal_order(const char *first, ...)
{
	int at = -1;
	va_list args;

	va_start(args, first);
	for (const char *what = first; what; what = va_arg(args, const char *)) {
		at = journal_find(what, at + 1);
		if (at < 0) {
			va_end(args);
			return false;
		}
	}
	va_end(args);
	return true;
}

static inline void journal_print(void)
{
	for (unsigned i = 0; i < journal_count; i++)
		fprintf(stderr, "  %s\n", journal[i]);
}

/* ---- the device ---------------------------------------------------------------------------------- */

#define FAKE_BAR_BYTES  0x20000 /* of each BAR that are really there */
#define FAKE_VECTORS    64
#define FAKE_IRQ_NONE   VFIO_PCI_NUM_IRQS
#define FAKE_CONFIG_END 0x200

struct fake_vdev {
	struct vfio_device vdev;
	uint8_t config[4096];
	uint64_t config_size;
	struct {
		uint64_t size;
		uint32_t flags;
		bool sparse;
		struct vfio_region_sparse_mmap_area areas[4];
		unsigned area_count;
		uint8_t bytes[FAKE_BAR_BYTES];
	} regions[VFIO_PCI_NUM_REGIONS];
	uint32_t device_flags;
	uint32_t irq_counts[VFIO_PCI_NUM_IRQS], irq_flags[VFIO_PCI_NUM_IRQS];

	/* Interrupt state of the device. */
	unsigned irq_type;
	unsigned allocated;            /* vectors the index was enabled with */
	unsigned available;            /* vectors the host has, 0: enough */
	int32_t trigger[FAKE_VECTORS]; /* -1: none */
	int32_t unmask_fd;

	/* Hot reset: who goes along. */
	uint32_t hot_flags, hot_count, hot_ids[4];
	bool has_hot_reset;

	struct vfio_region_ioeventfd doorbells[8]; /* of BAR 0 */
	uint32_t doorbell_count;

	bool dma_bufs; /* exports BARs */
	unsigned exported;

	bool gone; /* answers all ones */
	int region_fds
		[VFIO_PCI_NUM_REGIONS]; /* descriptor + 1 behind a region's mapping, 0: none */
	bool frozen; /* decode is off whatever the command register says (D3cold, surprise) */
	unsigned resets, hot_resets, reset_busy;
	unsigned calls, fail_at; /* the call that fails, 0: none */
	int fail_with;
	const char *fail_named; /* a call whose journal entry begins so fails */
	unsigned breaches, mapping_breaches;
	bool released;
	unsigned mapped_bytes;
};

static struct fake_vdev *fake_devices[2];

static inline void breach(struct fake_vdev *f, const char *what)
{
	f->breaches++;
	f->mapping_breaches += strstr(what, "slot") || strstr(what, "mapping");
	note("BREACH %s", what);
}

static inline struct fake_vdev *fake_of(struct vfio_device *vdev)
{
	return (struct fake_vdev *)((char *)vdev - offsetof(struct fake_vdev, vdev));
}

static inline uint16_t fake_word(const struct fake_vdev *f, unsigned at)
{
	return (uint16_t)(f->config[at] | f->config[at + 1] << 8);
}

static bool fake_decodes(const struct fake_vdev *f)
{
	return !f->frozen && fake_word(f, PCI_COMMAND) & PCI_COMMAND_MEMORY &&
	       (f->config[0x64] & 3) == 0; /* power management sits at 0x60 in every fake */
}

/* Whether any slot or peer mapping lies over this device: fake_kvm.h, or the test itself. */
static bool fake_is_mapped(const struct fake_vdev *f);

/* Is it this call's turn to fail? @what is also its journal entry. */
__attribute__((format(printf, 2, 3))) static int fake_call(struct fake_vdev *f, const char *fmt,
							   ...)
{
	char what[64];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	note("%s", what);
	f->calls++;
	if (f->calls == f->fail_at ||
	    (f->fail_named && !strncmp(what, f->fail_named, strlen(f->fail_named))))
		return f->fail_with ? f->fail_with : -EIO;
	return 0;
}

static unsigned fake_region_of(uint64_t offset)
{
	return (unsigned)(offset >> 40);
}

static ssize_t fake_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset)
{
	FAKE_LOCKED;
	struct fake_vdev *f = fake_of(vdev);
	unsigned region = fake_region_of(offset);
	uint64_t at = offset & ((1ull << 40) - 1);
	int ret;

	ret = fake_call(f, "read %u %#llx %zu", region, (unsigned long long)at, count);
	if (ret)
		return ret;
	if (region >= VFIO_PCI_NUM_REGIONS)
		return -EINVAL;
	if (f->gone) {
		memset(buffer, 0xff, count);
		return (ssize_t)count;
	}
	if (region == VFIO_PCI_CONFIG_REGION_INDEX) {
		if (at >= f->config_size || count > f->config_size - at)
			return -EFAULT;
		memcpy(buffer, f->config + at, count);
		return (ssize_t)count;
	}
	if (at >= f->regions[region].size)
		return -EINVAL;
	if (region < PCI_BAR_COUNT && !fake_decodes(f) && !(f->config[0x10 + 4 * region] & 1))
		return -EIO;
	if (count > f->regions[region].size - at)
		count = f->regions[region].size - at;
	if (at + count > FAKE_BAR_BYTES)
		memset(buffer, 0, count);
	else
		memcpy(buffer, f->regions[region].bytes + at, count);
	return (ssize_t)count;
}

static ssize_t fake_write(struct vfio_device *vdev, const void *buffer, size_t count,
			  uint64_t offset)
{
	FAKE_LOCKED;
	struct fake_vdev *f = fake_of(vdev);
	unsigned region = fake_region_of(offset);
	uint64_t at = offset & ((1ull << 40) - 1), value = 0;
	uint16_t command = fake_word(f, PCI_COMMAND);
	bool decoded;
	int ret;

	memcpy(&value, buffer, count < 8 ? count : 8);
	ret = fake_call(f, "write %u %#llx %zu %#llx", region, (unsigned long long)at, count,
			(unsigned long long)value);
	if (ret)
		return ret;
	if (f->gone)
		return (ssize_t)count;
	if (region == VFIO_PCI_CONFIG_REGION_INDEX) {
		if (at >= f->config_size || count > f->config_size - at)
			return -EFAULT;
		if (count != 1 && count != 2 && count != 4)
			breach(f, "a configuration write of an odd size");
		if (at % count)
			breach(f, "an unaligned configuration write");
		decoded = fake_decodes(f);
		memcpy(f->config + at, buffer, count);
		/* Status is not written, and BARs are no one's business. */
		if (at < 0x40 && at != PCI_COMMAND)
			breach(f, "a write into the header beyond the command register");
		if (decoded && !fake_decodes(f) && fake_is_mapped(f))
			breach(f, "decode goes off below a mapping");
		(void)command;
		return (ssize_t)count;
	}
	if (region >= PCI_BAR_COUNT || at >= f->regions[region].size)
		return -EINVAL;
	if (!fake_decodes(f) && !(f->config[0x10 + 4 * region] & 1))
		return -EIO;
	if (at + count <= FAKE_BAR_BYTES)
		memcpy(f->regions[region].bytes + at, buffer, count);
	return (ssize_t)count;
}

static int fake_mmap(struct vfio_device *vdev, void *where, size_t length, int prot,
		     uint64_t offset)
{
	FAKE_LOCKED;
	struct fake_vdev *f = fake_of(vdev);
	int ret;

	(void)prot;
	ret = fake_call(f, "mmap %u %#llx %#zx", fake_region_of(offset),
			(unsigned long long)(offset & ((1ull << 40) - 1)), length);
	if (ret)
		return ret;
	/* Not readable: whoever touches a BAR through its mapping dies. */
	if (mmap(where, length, PROT_NONE, MAP_FIXED | MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
		 -1, 0) == MAP_FAILED)
		return -errno;
	f->mapped_bytes += (unsigned)length;
	return 0;
}

static int fake_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
			    struct vfio_info_cap *caps)
{
	FAKE_LOCKED;
	struct fake_vdev *f = fake_of(vdev);
	int ret = fake_call(f, "region %u", info->index);

	if (ret)
		return ret;
	if (info->index >= VFIO_PCI_NUM_REGIONS || info->index == VFIO_PCI_VGA_REGION_INDEX)
		return -EINVAL;
	info->offset = (uint64_t)info->index << 40;
	if (info->index == VFIO_PCI_CONFIG_REGION_INDEX) {
		info->size = f->config_size;
		info->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
		return 0;
	}
	info->size = f->regions[info->index].size;
	info->flags = f->regions[info->index].flags;
	if (f->regions[info->index].sparse) {
		const struct vfio_region_info_cap_sparse_mmap head = {
			.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP,
			.header.version = 1,
			.nr_areas = f->regions[info->index].area_count,
		};
		uint8_t cap[sizeof(head) + sizeof(f->regions[0].areas)] __attribute__((aligned(8)));

		memcpy(cap, &head, sizeof(head));
		memcpy(cap + sizeof(head), f->regions[info->index].areas,
		       sizeof(f->regions[0].areas));
		return vfio_info_add_capability(caps, (struct vfio_info_cap_header *)cap,
						sizeof(cap));
	}
	return 0;
}

/* drivers/vfio/pci/vfio_pci_intrs.c, vfio_pci_set_msi_trigger() and below. */
static int fake_set_msi(struct fake_vdev *f, const struct vfio_irq_set *set, const int32_t *fds)
{
	bool dynamic = !(f->irq_flags[set->index] & VFIO_IRQ_INFO_NORESIZE);

	if (!set->count && set->flags & VFIO_IRQ_SET_DATA_NONE) {
		if (f->irq_type != set->index)
			return -EINVAL;
		f->irq_type = FAKE_IRQ_NONE;
		memset(f->trigger, 0xff, sizeof(f->trigger));
		return 0;
	}
	if (f->irq_type != set->index && f->irq_type != FAKE_IRQ_NONE)
		return -EINVAL;
	if (!(set->flags & VFIO_IRQ_SET_DATA_EVENTFD))
		return -EINVAL;
	if (f->irq_type == FAKE_IRQ_NONE) {
		if (f->available && set->start + set->count > f->available)
			return (int)f->available;
		f->irq_type = set->index;
		f->allocated = set->start + set->count;
	}
	for (unsigned i = 0; i < set->count; i++) {
		unsigned vector = set->start + i;

		if (fds[i] < 0) {
			f->trigger[vector] = -1;
			continue;
		}
		if ((vector >= f->allocated && !dynamic) ||
		    (f->available && vector >= f->available)) {
			for (unsigned n = 0; n <= i; n++)
				f->trigger[set->start + n] = -1;
			return vector >= f->allocated && !dynamic ? -EINVAL : -ENOSPC;
		}
		f->trigger[vector] = fds[i];
	}
	return 0;
}

static int fake_set_intx(struct fake_vdev *f, const struct vfio_irq_set *set, const int32_t *fds)
{
	if (set->flags & VFIO_IRQ_SET_ACTION_UNMASK) {
		if (f->irq_type != VFIO_PCI_INTX_IRQ_INDEX)
			return -EINVAL;
		f->unmask_fd = fds[0];
		return 0;
	}
	if (!set->count && set->flags & VFIO_IRQ_SET_DATA_NONE) {
		if (f->irq_type != VFIO_PCI_INTX_IRQ_INDEX)
			return -EINVAL;
		f->irq_type = FAKE_IRQ_NONE;
		f->trigger[0] = f->unmask_fd = -1;
		return 0;
	}
	if (f->irq_type != VFIO_PCI_INTX_IRQ_INDEX && f->irq_type != FAKE_IRQ_NONE)
		return -EINVAL;
	f->irq_type = VFIO_PCI_INTX_IRQ_INDEX;
	f->trigger[0] = fds[0];
	return 0;
}

static int fake_set_irqs(struct fake_vdev *f, const struct vfio_irq_set *set)
{
	static const char *const names[] = {"intx", "msi", "msix", "err", "req"};
	const int32_t *fds = (const int32_t *)set->data;
	int ret;

	ret = fake_call(f, "irqs %s %s %u+%u", set->index < 5 ? names[set->index] : "?",
			set->flags & VFIO_IRQ_SET_ACTION_UNMASK              ? "unmask"
			: set->flags & VFIO_IRQ_SET_DATA_NONE && !set->count ? "off"
									     : "trigger",
			set->start, set->count);
	if (ret)
		return ret;
	if (set->index > VFIO_PCI_MSIX_IRQ_INDEX ||
	    set->start + set->count > f->irq_counts[set->index] ||
	    set->start + set->count > FAKE_VECTORS)
		return -EINVAL;
	if (set->flags & VFIO_IRQ_SET_DATA_EVENTFD &&
	    set->argsz < sizeof(*set) + set->count * sizeof(int32_t))
		return -EINVAL;
	ret = set->index == VFIO_PCI_INTX_IRQ_INDEX ? fake_set_intx(f, set, fds)
						    : fake_set_msi(f, set, fds);
	if (ret < 0)
		breach(f, "SET_IRQS that the kernel would refuse");
	return ret;
}

static int fake_hot_info(struct fake_vdev *f, struct vfio_pci_hot_reset_info *info)
{
	if (!f->has_hot_reset)
		return -ENODEV;
	if (info->argsz < sizeof(*info) + f->hot_count * sizeof(info->devices[0])) {
		info->count = f->hot_count;
		return -ENOSPC;
	}
	info->flags = f->hot_flags;
	info->count = f->hot_count;
	for (unsigned i = 0; i < f->hot_count; i++)
		info->devices[i].devid = f->hot_ids[i];
	return 0;
}

static void fake_after_reset(struct fake_vdev *f)
{
	if (fake_is_mapped(f))
		breach(f, "reset below a mapping");
	if (fake_word(f, PCI_COMMAND) & (PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY))
		breach(f, "reset of a device that may still do DMA or decodes");
	if (f->irq_type != FAKE_IRQ_NONE)
		breach(f, "reset with interrupts on");
}

static int fake_ioctl(struct vfio_device *vdev, unsigned command, void *arg)
{
	FAKE_LOCKED;
	struct fake_vdev *f = fake_of(vdev);
	struct vfio_device_info *info = arg;
	struct vfio_irq_info *irq = arg;
	int ret;

	switch (command) {
	case VFIO_DEVICE_GET_INFO:
		ret = fake_call(f, "info");
		if (ret)
			return ret;
		info->flags = f->device_flags;
		info->num_regions = VFIO_PCI_NUM_REGIONS;
		info->num_irqs = VFIO_PCI_NUM_IRQS;
		return 0;
	case VFIO_DEVICE_GET_IRQ_INFO:
		ret = fake_call(f, "irqinfo %u", irq->index);
		if (ret)
			return ret;
		irq->count = f->irq_counts[irq->index];
		irq->flags = f->irq_flags[irq->index];
		return 0;
	case VFIO_DEVICE_SET_IRQS:
		return fake_set_irqs(f, arg);
	case VFIO_DEVICE_RESET:
		ret = fake_call(f, "reset");
		if (ret)
			return ret;
		if (f->reset_busy) {
			f->reset_busy--;
			return -EAGAIN;
		}
		fake_after_reset(f);
		f->resets++;
		return 0;
	case VFIO_DEVICE_GET_PCI_HOT_RESET_INFO:
		ret = fake_call(f, "hotinfo");
		return ret ? ret : fake_hot_info(f, arg);
	case VFIO_DEVICE_PCI_HOT_RESET:
		ret = fake_call(f, "hotreset");
		if (ret)
			return ret;
		for (unsigned i = 0; i < 2; i++)
			if (fake_devices[i]) {
				fake_after_reset(fake_devices[i]);
				fake_devices[i]->hot_resets++;
			}
		return 0;
	default:
		return -ENOTTY;
	}
}

static int fake_feature(struct vfio_device *vdev, uint32_t flags, void *arg, size_t argsz)
{
	FAKE_LOCKED;
	struct fake_vdev *f = fake_of(vdev);
	const struct vfio_device_feature_dma_buf *dma_buf = arg;
	int ret, fd;

	if ((flags & VFIO_DEVICE_FEATURE_MASK) != VFIO_DEVICE_FEATURE_DMA_BUF)
		return -ENOTTY;
	ret = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_GET, sizeof(*dma_buf));
	if (ret != 1)
		return f->dma_bufs ? ret : -ENOTTY;
	ret = fake_call(f, "dmabuf %u %#llx+%#llx", dma_buf->region_index,
			(unsigned long long)dma_buf->dma_ranges[0].offset,
			(unsigned long long)dma_buf->dma_ranges[0].length);
	if (ret)
		return ret;
	if (!f->dma_bufs)
		return -ENOTTY;
	if (dma_buf->nr_ranges != 1 || dma_buf->flags || dma_buf->dma_ranges[0].length % 4096)
		breach(f, "a dma-buf that iommufd would not take");
	fd = memfd_create("dmabuf", MFD_CLOEXEC);
	f->exported += fd >= 0;
	return fd < 0 ? -errno : fd;
}

static int fake_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, uint32_t *devid)
{
	static uint32_t next = 7;
	int ret = fake_call(fake_of(vdev), "bind");

	(void)ictx;
	*devid = next++;
	vdev->iommufd_kind = VFIO_IOMMUFD_PHYSICAL;
	return ret;
}

static void fake_unbind(struct vfio_device *vdev)
{
	struct fake_vdev *f = fake_of(vdev);

	note("unbind");
	if (fake_is_mapped(f))
		breach(f, "unbind below a mapping");
}

static int fake_attach(struct vfio_device *vdev, uint32_t *pt_id)
{
	(void)pt_id;
	return fake_call(fake_of(vdev), "attach");
}

static void fake_detach(struct vfio_device *vdev)
{
	(void)vdev;
	note("detach");
}

static void fake_close(struct vfio_device *vdev)
{
	struct fake_vdev *f = fake_of(vdev);

	note("close");
	if (f->irq_type != FAKE_IRQ_NONE && !f->gone && !f->fail_at && !f->fail_named)
		breach(f, "close with interrupts on");
}

static int fake_ioeventfds(struct vfio_device *vdev, uint32_t index,
			   struct vfio_region_ioeventfd *list, uint32_t *count)
{
	const struct fake_vdev *f = fake_of(vdev);
	const uint32_t room = *count;

	*count = index == 0 ? f->doorbell_count : 0;
	for (uint32_t i = 0; i < *count && i < room; i++)
		list[i] = f->doorbells[i];
	return 0;
}

static void fake_release(struct vfio_device *vdev)
{
	fake_of(vdev)->released = true;
}

static int fake_region_fd(struct vfio_device *vdev, uint32_t index, bool device, int *fd,
			  uint64_t *offset)
{
	struct fake_vdev *f = fake_of(vdev);

	(void)device;
	if (index >= VFIO_PCI_NUM_REGIONS || !f->region_fds[index])
		return -ENODEV;
	*fd = f->region_fds[index] - 1;
	*offset = 0;
	return 0;
}

static const struct vfio_device_ops fake_ops = {
	.name = "fake",
	.release = fake_release,
	.bind_iommufd = fake_bind,
	.unbind_iommufd = fake_unbind,
	.attach_ioas = fake_attach,
	.detach_ioas = fake_detach,
	.close_device = fake_close,
	.read = fake_read,
	.write = fake_write,
	.ioctl = fake_ioctl,
	.get_region_info_caps = fake_region_info,
	.get_region_ioeventfds = fake_ioeventfds,
	.mmap = fake_mmap,
	.region_fd = fake_region_fd,
	.device_feature = fake_feature,
};

static inline void fake_put16(struct fake_vdev *f, unsigned at, uint16_t value)
{
	memcpy(f->config + at, &value, 2);
}

static inline void fake_put32(struct fake_vdev *f, unsigned at, uint32_t value)
{
	memcpy(f->config + at, &value, 4);
}

/*
 * The device of most tests: BAR 0 64 KiB, 64-bit, with the MSI-X table of 20 vectors at 0x2000 and
 * the pending bits at 0x3000; BAR 2 of 256 bytes; BAR 3 I/O; BAR 4 1 MiB; a ROM of 4 KiB. At 0x40
 * MSI-X, at 0x60 power management, at 0x80 PCIe with function level reset, at 0xc0 MSI of 8 vectors
 * with masks and 64-bit addresses, at 0xe0 vendor data; error reporting at 0x100.
 */
static inline void fake_describe(struct fake_vdev *f)
{
	const uint32_t rwm = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
			     VFIO_REGION_INFO_FLAG_MMAP;

	f->config_size = 4096;
	fake_put32(f, 0, 0x00101b36);
	fake_put16(f, PCI_COMMAND, 0x0003);
	fake_put16(f, PCI_STATUS, 0x0010);
	fake_put32(f, PCI_CLASS_REVISION, 0x01080202);
	fake_put32(f, PCI_BASE_ADDRESS_0, 4);
	fake_put32(f, PCI_BASE_ADDRESS_0 + 12, 1);
	f->config[PCI_INTERRUPT_PIN] = 2;
	f->config[PCI_CAPABILITY_LIST] = 0x40;
	fake_put32(f, 0x40, 0x00130000 | 0x60 << 8 | PCI_CAP_ID_MSIX);
	fake_put32(f, 0x44, 0x2000);
	fake_put32(f, 0x48, 0x3000);
	fake_put32(f, 0x60, 0x00030000 | 0x80 << 8 | PCI_CAP_ID_PM);
	fake_put32(f, 0x80, 0x00020000 | 0xc0 << 8 | PCI_CAP_ID_EXP);
	fake_put32(f, 0x84, PCI_EXP_DEVCAP_FLR | 1);
	fake_put16(f, 0x88, 0x2010);
	fake_put32(f, 0x8c, 0x11);
	fake_put16(f, 0x92, 0x11);
	fake_put32(f, 0xc0, 0x01860000 | 0xe0 << 8 | PCI_CAP_ID_MSI);
	fake_put32(f, 0xe0, 0x00080000 | PCI_CAP_ID_VNDR);
	fake_put32(f, 0x100, PCI_EXT_CAP_ID_ERR | 2 << 16);

	f->regions[0].size = 0x10000;
	f->regions[0].flags = rwm;
	f->regions[2].size = 0x100;
	f->regions[2].flags = rwm;
	f->regions[3].size = 0x20;
	f->regions[3].flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	f->regions[4].size = 0x100000;
	f->regions[4].flags = rwm;
	f->regions[6].size = 0x1000;
	f->regions[6].flags = VFIO_REGION_INFO_FLAG_READ;
	for (unsigned r = 0; r < 7; r++)
		for (unsigned i = 0; i < FAKE_BAR_BYTES; i++)
			f->regions[r].bytes[i] = (uint8_t)(i + r * 17);
	memset(f->regions[0].bytes + 0x3000, 0, 0x10); /* pending bits */

	f->device_flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	f->irq_counts[VFIO_PCI_INTX_IRQ_INDEX] = 1;
	f->irq_flags[VFIO_PCI_INTX_IRQ_INDEX] =
		VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
	f->irq_counts[VFIO_PCI_MSI_IRQ_INDEX] = 8;
	f->irq_flags[VFIO_PCI_MSI_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
	f->irq_counts[VFIO_PCI_MSIX_IRQ_INDEX] = 20;
	f->irq_flags[VFIO_PCI_MSIX_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD;
	f->irq_type = FAKE_IRQ_NONE;
	f->dma_bufs = true;
}

static inline void fake_init(struct fake_vdev *f, const char *name, struct vfio_device_sets *sets,
			     uint64_t set_id)
{
	memset(f, 0, sizeof(*f));
	memset(f->trigger, 0xff, sizeof(f->trigger));
	f->unmask_fd = -1;
	cr_assert_eq(vfio_device_init(&f->vdev, name, &fake_ops), 0);
	if (sets)
		cr_assert_eq(vfio_assign_device_set(&f->vdev, sets, set_id), 0);
	cr_assert_eq(vfio_register_device(&f->vdev), 0);
	fake_describe(f);
}

#endif
