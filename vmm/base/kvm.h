/* SPDX-License-Identifier: Apache-2.0 */
/*
 * KVM, one kernel call each: the VM, its memory slots, irqfds, ioeventfds and the kvm-vfio device.
 * No policy here. All functions return -errno of the ioctl unless they say otherwise.
 */
#ifndef SLUICE_BASE_KVM_H
#define SLUICE_BASE_KVM_H

#include <stdbool.h>
#include <stdint.h>
#include <pthread.h>

struct kvm_irq_routing;

struct kvm {
	int dev_fd; /* /dev/kvm */
	int vm_fd;
	int vfio_fd; /* the kvm-vfio device, -1 until the first file is added; one per VM */
	int vcpu_mmap_size;
	unsigned max_slots;   /* KVM_CAP_NR_MEMSLOTS */
	uint64_t *slots;      /* bitmap of the slot ids in use */
	unsigned refcount;    /* kvm_get / kvm_put; the VM closes with the last one */
	pthread_mutex_t lock; /* slots, vfio_fd, refcount */
};

/*
 * Open /dev/kvm (@dev_fd >= 0: use that one, ownership passes even on failure) and create a VM.
 * Only KVM_GET_API_VERSION is asked for, no CPU flags: some hosts have a KVM without svm or vmx.
 * Prints the reason on failure (no /dev/kvm, no permission, wrong API version).
 */
int kvm_create(int dev_fd, struct kvm **out);

struct kvm *kvm_get(struct kvm *kvm);
void kvm_put(struct kvm *kvm);

/* KVM_CHECK_EXTENSION on the VM: 0 absent, else the capability's value. */
int kvm_check_extension(struct kvm *kvm, int cap);

/*
 * Put host memory [@hva, @hva + @size) at guest-physical @gpa; @flags are KVM_MEM_*.
 * @slot receives the id to give back. -ENOSPC when no slot is left; -EEXIST overlap; -EINVAL empty
 * or not aligned to pages. Removing: -EINVAL when @slot is not in use.
 */
int kvm_slot_add(struct kvm *kvm, uint64_t gpa, uint64_t size, void *hva, uint32_t flags,
		 uint32_t *slot);
int kvm_slot_remove(struct kvm *kvm, uint32_t slot);

/*
 * Deliver @gsi whenever @fd is signalled. @resample_fd >= 0: level interrupt, that eventfd is
 * signalled at the guest's EOI. One irqfd per eventfd: a second is -EBUSY (virt/kvm/eventfd.c).
 */
int kvm_irqfd_add(struct kvm *kvm, int fd, uint32_t gsi, int resample_fd);
int kvm_irqfd_remove(struct kvm *kvm, int fd, uint32_t gsi);

/* Signal @fd on a guest write of @size (0: any size) at @address; @match NULL: any value. */
int kvm_ioeventfd_add(struct kvm *kvm, int fd, bool pio, uint64_t address, unsigned size,
		      const uint64_t *match);
int kvm_ioeventfd_remove(struct kvm *kvm, int fd, bool pio, uint64_t address, unsigned size,
			 const uint64_t *match);

/* KVM_SET_GSI_ROUTING: replaces the whole table. */
int kvm_set_routing(struct kvm *kvm, const struct kvm_irq_routing *routing);

/*
 * KVM_IRQ_LINE / KVM_SIGNAL_MSI. A message that the guest masks is no error. @devid: requester id,
 * used where the interrupt controller translates by it.
 */
int kvm_irq_line(struct kvm *kvm, uint32_t gsi, bool level);
int kvm_signal_msi(struct kvm *kvm, uint64_t address, uint32_t data, uint32_t devid);

/*
 * KVM_DEV_VFIO_FILE_ADD / DEL (Documentation/virt/kvm/devices/vfio.rst). ADD comes before the
 * device is bound, since the device opens inside BIND; DEL before its descriptor is closed, since
 * the kvm-vfio device holds a reference to the file. ADD: -EBADF, -EINVAL no VFIO file, -EEXIST
 * there already. DEL: -ENOENT not there.
 */
int kvm_vfio_file_add(struct kvm *kvm, int device_fd);
int kvm_vfio_file_del(struct kvm *kvm, int device_fd);

#endif
