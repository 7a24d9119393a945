/* SPDX-License-Identifier: Apache-2.0 */
/* Many times open, use and close: what is left in this process and in the kernel. */
#include "tests/contract/provider.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/iommufd.h>
#include <linux/pci_regs.h>

#include "vmm/base/host.h"
#include "vmm/base/kvm.h"

static size_t count_of(const char *directory)
{
	struct host_list list;
	size_t count = 0;

	if (!host_list(directory, &list)) {
		count = list.count;
		host_list_free(&list);
	}
	return count;
}

static size_t count_maps(void)
{
	FILE *file = fopen("/proc/self/maps", "r");
	size_t count = 0;
	int c;

	while (file && (c = getc(file)) != EOF)
		count += c == '\n';
	if (file)
		fclose(file);
	return count;
}

/* What the kernel has pinned of this process, in KiB. */
static long pinned_kib(void)
{
	FILE *file = fopen("/proc/self/status", "r");
	char line[128];
	long pinned = -1;

	while (file && fgets(line, sizeof(line), file))
		sscanf(line, "VmPin: %ld", &pinned);
	if (file)
		fclose(file);
	return pinned;
}

/* The kernel gives away the lowest id that is free: one that is left moves all later ones. */
static uint32_t next_object(int iommu)
{
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct iommu_destroy destroy = {.size = sizeof(destroy)};

	if (iommu < 0 || ioctl(iommu, IOMMU_IOAS_ALLOC, &alloc))
		return 0;
	destroy.id = alloc.out_ioas_id;
	ioctl(iommu, IOMMU_DESTROY, &destroy);
	return alloc.out_ioas_id;
}

/* The descriptor of /dev/iommu that the provider has, for questions behind its back. */
static int find_iommu(void)
{
	char path[64], target[64];

	for (int fd = 3; fd < 64; fd++) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		if (host_read_link(path, target, sizeof(target)) > 0 &&
		    !strcmp(target, "/dev/iommu"))
			return fd;
	}
	return -1;
}

/* A BAR in the guest's memory and out of it, and vectors that the close has to take down. */
static int touch(struct vm *vm, struct vfio_device *vdev, void *where, const int32_t *fd)
{
	const struct vfio_region_info bar = region(vdev, 0);
	struct vfio_irq_info irq = {.argsz = sizeof(irq), .index = VFIO_PCI_MSI_IRQ_INDEX};
	uint32_t slot;
	int rc;

	if (vfio_device_ioctl(vdev, VFIO_DEVICE_GET_IRQ_INFO, &irq) || !irq.count)
		irq.index = VFIO_PCI_MSIX_IRQ_INDEX;
	config_write(vdev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	rc = vfio_device_mmap(vdev, where, PAGE, PROT_READ | PROT_WRITE, bar.offset);
	rc = rc ? rc : kvm_slot_add(vm->kvm, 0xc0000000, PAGE, where, 0, &slot);
	if (rc)
		return rc;
	rc = set_irqs(vdev, irq.index, VFIO_IRQ_SET_DATA_EVENTFD, 1, fd, sizeof(*fd));
	kvm_slot_remove(vm->kvm, slot);
	mmap(where, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
	return rc;
}

void cycle(struct vm *vm, int times, const char *name)
{
	void *where = mmap(NULL, PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	const int32_t event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	const int iommu = find_iommu();
	const uint32_t object = next_object(iommu);
	struct vfio_device *vdev;
	size_t fds, maps;
	int done = 0;

	if (make_device(vm, name, NULL, &vdev)) {
		vm->failed = 1;
		return;
	}
	/* The first one makes what stays: the kvm-vfio device. */
	if (step(vm, open_device(vm, vdev), "first cycle")) {
		step(vm, touch(vm, vdev, where, &event), "it is used");
		verdict(vm, pinned_kib() == MIB / 1024, "memory is pinned while it is open",
			pinned_kib());
		verdict(vm, next_object(iommu) > object, "and the kernel has objects", 0);
		vfio_device_close(vdev);
	}
	fds = count_of("/proc/self/fd");
	maps = count_maps();
	for (; done < times && !open_device(vm, vdev); done++) {
		const int rc = touch(vm, vdev, where, &event);

		vfio_device_close(vdev);
		if (rc)
			break;
	}
	verdict(vm, done == times, "all cycles", done);
	verdict(vm, count_of("/proc/self/fd") == fds, "no descriptor is left",
		(long)count_of("/proc/self/fd") - (long)fds);
	verdict(vm, count_maps() <= maps + 1, "no mapping is left",
		(long)count_maps() - (long)maps);
	verdict(vm, object && next_object(iommu) == object, "no object of iommufd is left",
		next_object(iommu));
	verdict(vm, pinned_kib() == 0, "no page is pinned", pinned_kib());
	verdict(vm, !vm->kvm->slots[0], "no memory slot is left", (long)vm->kvm->slots[0]);
	verdict(vm, vm->kvm->refcount == 1, "no reference to the VM is left",
		(long)vm->kvm->refcount);
	verdict(vm, !pthread_mutex_trylock(&vdev->dev_set->lock), "no lock is held", 0);
	pthread_mutex_unlock(&vdev->dev_set->lock);
	give_back(vdev);
	close(event);
	munmap(where, PAGE);
}
