/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "vmm/base/host.h"
#include "vmm/base/log.h"

#define SLOT_WORD_BITS 64

static void explain_open(int error)
{
	if (error == -EACCES || error == -EPERM)
		log_error("/dev/kvm: no permission; add the user to the group that owns it "
			  "(usermod -aG kvm $USER, then log in again)");
	else if (error == -ENOENT || error == -ENODEV || error == -ENXIO)
		log_error("/dev/kvm: %s; load kvm_intel or kvm_amd (or turn virtualization on in "
			  "the firmware)",
			  strerror(-error));
	else
		log_failure(error, "/dev/kvm");
}

int kvm_create(int dev_fd, struct kvm **out)
{
	struct kvm *kvm;
	int ret, slots;

	if (dev_fd < 0) {
		dev_fd = host_open_kvm();
		if (dev_fd < 0) {
			explain_open(dev_fd);
			return dev_fd;
		}
	}
	ret = host_ioctl(dev_fd, KVM_GET_API_VERSION, NULL);
	if (ret != KVM_API_VERSION) {
		if (ret < 0)
			log_error("/dev/kvm: this descriptor is no KVM (%s)", strerror(-ret));
		else
			log_error("/dev/kvm: API version %d, but sluice needs %d", ret,
				  KVM_API_VERSION);
		ret = ret < 0 ? ret : -EPROTO;
		goto close_dev;
	}

	kvm = calloc(1, sizeof(*kvm));
	if (!kvm) {
		ret = -ENOMEM;
		goto close_dev;
	}
	kvm->dev_fd = dev_fd;
	kvm->vfio_fd = -1;
	kvm->refcount = 1;

	kvm->vm_fd = host_ioctl(dev_fd, KVM_CREATE_VM, NULL);
	if (kvm->vm_fd < 0) {
		ret = kvm->vm_fd;
		log_failure(ret, "KVM: cannot create a VM");
		goto free_kvm;
	}
	kvm->vcpu_mmap_size = host_ioctl(dev_fd, KVM_GET_VCPU_MMAP_SIZE, NULL);
	if (kvm->vcpu_mmap_size < 0) {
		ret = kvm->vcpu_mmap_size;
		log_failure(ret, "KVM: cannot get the size of a vCPU's shared page");
		goto close_vm;
	}
	/* A kernel that does not say has 32 (Documentation/virt/kvm/api.rst, 4.35). */
	slots = kvm_check_extension(kvm, KVM_CAP_NR_MEMSLOTS);
	kvm->max_slots = slots > 0 ? (unsigned)slots : 32;
	kvm->slots =
		calloc((kvm->max_slots + SLOT_WORD_BITS - 1) / SLOT_WORD_BITS, sizeof(*kvm->slots));
	if (!kvm->slots) {
		ret = -ENOMEM;
		goto close_vm;
	}
	pthread_mutex_init(&kvm->lock, NULL);
	*out = kvm;
	return 0;

close_vm:
	close(kvm->vm_fd);
free_kvm:
	free(kvm);
close_dev:
	close(dev_fd);
	return ret;
}

struct kvm *kvm_get(struct kvm *kvm)
{
	pthread_mutex_lock(&kvm->lock);
	kvm->refcount++;
	pthread_mutex_unlock(&kvm->lock);
	return kvm;
}

void kvm_put(struct kvm *kvm)
{
	unsigned left;

	if (!kvm)
		return;
	pthread_mutex_lock(&kvm->lock);
	left = --kvm->refcount;
	pthread_mutex_unlock(&kvm->lock);
	if (left)
		return;
	/* The kvm-vfio device first: each KVM device holds the VM. */
	if (kvm->vfio_fd >= 0)
		close(kvm->vfio_fd);
	close(kvm->vm_fd);
	close(kvm->dev_fd);
	pthread_mutex_destroy(&kvm->lock);
	free(kvm->slots);
	free(kvm);
}

int kvm_check_extension(struct kvm *kvm, int cap)
{
	int ret = host_ioctl(kvm->vm_fd, KVM_CHECK_EXTENSION, (void *)(uintptr_t)cap);

	return ret < 0 ? 0 : ret;
}

/* ---- memory slots ---------------------------------------------------------------------------- */

static bool slot_reserve(struct kvm *kvm, uint32_t *slot)
{
	bool found = false;

	pthread_mutex_lock(&kvm->lock);
	for (unsigned base = 0; base < kvm->max_slots; base += SLOT_WORD_BITS) {
		uint64_t *word = &kvm->slots[base / SLOT_WORD_BITS];
		unsigned bit;

		if (~*word == 0)
			continue;
		bit = (unsigned)__builtin_ctzll(~*word);
		if (base + bit >= kvm->max_slots)
			break;
		*word |= 1ull << bit;
		*slot = base + bit;
		found = true;
		break;
	}
	pthread_mutex_unlock(&kvm->lock);
	return found;
}

static void slot_release(struct kvm *kvm, uint32_t slot)
{
	pthread_mutex_lock(&kvm->lock);
	kvm->slots[slot / SLOT_WORD_BITS] &= ~(1ull << slot % SLOT_WORD_BITS);
	pthread_mutex_unlock(&kvm->lock);
}

static bool slot_in_use(struct kvm *kvm, uint32_t slot)
{
	bool used = false;

	pthread_mutex_lock(&kvm->lock);
	if (slot < kvm->max_slots)
		used = kvm->slots[slot / SLOT_WORD_BITS] >> slot % SLOT_WORD_BITS & 1;
	pthread_mutex_unlock(&kvm->lock);
	return used;
}

int kvm_slot_add(struct kvm *kvm, uint64_t gpa, uint64_t size, void *hva, uint32_t flags,
		 uint32_t *slot)
{
	struct kvm_userspace_memory_region region = {
		.flags = flags,
		.guest_phys_addr = gpa,
		.memory_size = size,
		.userspace_addr = (uintptr_t)hva,
	};
	int ret;

	if (size == 0)
		return -EINVAL; /* KVM would take it for a removal */
	if (!slot_reserve(kvm, &region.slot))
		return -ENOSPC;
	ret = host_ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
	if (ret < 0) {
		slot_release(kvm, region.slot);
		return ret;
	}
	*slot = region.slot;
	return 0;
}

int kvm_slot_remove(struct kvm *kvm, uint32_t slot)
{
	struct kvm_userspace_memory_region region = {.slot = slot};
	int ret;

	if (!slot_in_use(kvm, slot))
		return -EINVAL;
	ret = host_ioctl(kvm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
	if (ret == 0)
		slot_release(kvm, slot);
	return ret;
}

/* ---- events ---------------------------------------------------------------------------------- */

int kvm_irqfd_add(struct kvm *kvm, int fd, uint32_t gsi, int resample_fd)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = resample_fd >= 0 ? KVM_IRQFD_FLAG_RESAMPLE : 0,
		.resamplefd = resample_fd >= 0 ? (uint32_t)resample_fd : 0,
	};

	return host_ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd);
}

int kvm_irqfd_remove(struct kvm *kvm, int fd, uint32_t gsi)
{
	struct kvm_irqfd irqfd = {
		.fd = (uint32_t)fd,
		.gsi = gsi,
		.flags = KVM_IRQFD_FLAG_DEASSIGN,
	};

	return host_ioctl(kvm->vm_fd, KVM_IRQFD, &irqfd);
}

static int ioeventfd(struct kvm *kvm, uint32_t flags, int fd, bool pio, uint64_t address,
		     unsigned size, const uint64_t *match)
{
	struct kvm_ioeventfd event = {
		.datamatch = match ? *match : 0,
		.addr = address,
		.len = size,
		.fd = fd,
		.flags = flags | (match ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0) |
			 (pio ? KVM_IOEVENTFD_FLAG_PIO : 0),
	};

	return host_ioctl(kvm->vm_fd, KVM_IOEVENTFD, &event);
}

int kvm_ioeventfd_add(struct kvm *kvm, int fd, bool pio, uint64_t address, unsigned size,
		      const uint64_t *match)
{
	return ioeventfd(kvm, 0, fd, pio, address, size, match);
}

int kvm_ioeventfd_remove(struct kvm *kvm, int fd, bool pio, uint64_t address, unsigned size,
			 const uint64_t *match)
{
	return ioeventfd(kvm, KVM_IOEVENTFD_FLAG_DEASSIGN, fd, pio, address, size, match);
}

int kvm_set_routing(struct kvm *kvm, const struct kvm_irq_routing *routing)
{
	return host_ioctl(kvm->vm_fd, KVM_SET_GSI_ROUTING, (void *)(uintptr_t)routing);
}

int kvm_irq_line(struct kvm *kvm, uint32_t gsi, bool level)
{
	struct kvm_irq_level line = {.irq = gsi, .level = level};

	return host_ioctl(kvm->vm_fd, KVM_IRQ_LINE, &line);
}

int kvm_signal_msi(struct kvm *kvm, uint64_t address, uint32_t data, uint32_t devid)
{
	struct kvm_msi msi = {
		.address_lo = (uint32_t)address,
		.address_hi = (uint32_t)(address >> 32),
		.data = data,
		.flags = KVM_MSI_VALID_DEVID, /* the ITS needs it; x86 takes it and looks away */
		.devid = devid,
	};
	int ret = host_ioctl(kvm->vm_fd, KVM_SIGNAL_MSI, &msi);

	return ret < 0 ? ret : 0; /* 0: the guest masks it, positive: how many vCPUs got it */
}

/* ---- kvm-vfio -------------------------------------------------------------------------------- */

/* The device is made when the first file comes: a VM without VFIO does not pay for it. */
static int vfio_device(struct kvm *kvm, bool create)
{
	struct kvm_create_device device = {.type = KVM_DEV_TYPE_VFIO};
	int ret = 0;

	pthread_mutex_lock(&kvm->lock);
	if (kvm->vfio_fd < 0) {
		ret = create ? host_ioctl(kvm->vm_fd, KVM_CREATE_DEVICE, &device) : -ENOENT;
		if (ret == 0)
			kvm->vfio_fd = (int)device.fd;
	}
	if (ret == 0)
		ret = kvm->vfio_fd;
	pthread_mutex_unlock(&kvm->lock);
	return ret;
}

static int vfio_file(int vfio_fd, uint64_t what, int device_fd)
{
	int32_t fd = device_fd;
	struct kvm_device_attr attr = {
		.group = KVM_DEV_VFIO_FILE,
		.attr = what,
		.addr = (uintptr_t)&fd,
	};

	return vfio_fd < 0 ? vfio_fd : host_ioctl(vfio_fd, KVM_SET_DEVICE_ATTR, &attr);
}

int kvm_vfio_file_add(struct kvm *kvm, int device_fd)
{
	return vfio_file(vfio_device(kvm, true), KVM_DEV_VFIO_FILE_ADD, device_fd);
}

int kvm_vfio_file_del(struct kvm *kvm, int device_fd)
{
	return vfio_file(vfio_device(kvm, false), KVM_DEV_VFIO_FILE_DEL, device_fd);
}
