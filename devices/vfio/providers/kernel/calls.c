/* SPDX-License-Identifier: Apache-2.0 */
/* The system calls of the kernel provider, as they are. */
#include "devices/vfio/providers/kernel/calls.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/host.h"
#include "vmm/base/kvm.h"

static int call_open_iommu(void *ctx)
{
	(void)ctx;
	return host_open_iommu();
}

static int call_open_vfio(void *ctx, const char *path)
{
	(void)ctx;
	return host_open_vfio(path);
}

static int call_take_device(void *ctx, int fd)
{
	(void)ctx;
	return host_take_device(fd);
}

static int call_eventfd(void *ctx)
{
	(void)ctx;
	return host_result(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
}

static void call_close(void *ctx, int fd)
{
	(void)ctx;
	close(fd);
}

static int call_fstat(void *ctx, int fd, struct stat *st)
{
	(void)ctx;
	return host_result(fstat(fd, st));
}

static int call_ioctl(void *ctx, int fd, unsigned long request, void *arg)
{
	(void)ctx;
	return host_ioctl(fd, request, arg);
}

static ssize_t call_pread(void *ctx, int fd, void *buffer, size_t count, uint64_t offset)
{
	const ssize_t done = pread(fd, buffer, count, (off_t)offset);

	(void)ctx;
	return done < 0 ? -errno : done;
}

static ssize_t call_pwrite(void *ctx, int fd, const void *buffer, size_t count, uint64_t offset)
{
	const ssize_t done = pwrite(fd, buffer, count, (off_t)offset);

	(void)ctx;
	return done < 0 ? -errno : done;
}

static int call_mmap(void *ctx, void *where, size_t length, int prot, int fd, uint64_t offset)
{
	(void)ctx;
	if (mmap(where, length, prot, MAP_SHARED | MAP_FIXED, fd, (off_t)offset) == MAP_FAILED)
		return -errno;
	return 0;
}

static int call_kvm_file_add(void *ctx, struct kvm *kvm, int fd)
{
	(void)ctx;
	return kvm_vfio_file_add(kvm, fd);
}

static int call_kvm_file_del(void *ctx, struct kvm *kvm, int fd)
{
	(void)ctx;
	return kvm_vfio_file_del(kvm, fd);
}

static ssize_t call_read_text(void *ctx, const char *path, char *buffer, size_t size)
{
	(void)ctx;
	return host_read_text(path, buffer, size);
}

static ssize_t call_read_link(void *ctx, const char *path, char *buffer, size_t size)
{
	(void)ctx;
	return host_read_link(path, buffer, size);
}

static ssize_t call_link_name(void *ctx, const char *path, char *buffer, size_t size)
{
	(void)ctx;
	return host_link_name(path, buffer, size);
}

static int call_real_path(void *ctx, const char *path, char *buffer, size_t size)
{
	(void)ctx;
	return host_real_path(path, buffer, size);
}

static int call_device_sysfs(void *ctx, int fd, char *buffer, size_t size)
{
	(void)ctx;
	return host_device_sysfs(fd, buffer, size);
}

static int call_list(void *ctx, const char *path, struct host_list *list)
{
	(void)ctx;
	return host_list(path, list);
}

static uint64_t call_memlock_limit(void *ctx)
{
	(void)ctx;
	return host_memlock_limit();
}

const struct kernel_calls kernel_calls_host = {
	.open_iommu = call_open_iommu,
	.open_vfio = call_open_vfio,
	.take_device = call_take_device,
	.eventfd = call_eventfd,
	.close = call_close,
	.fstat = call_fstat,
	.ioctl = call_ioctl,
	.pread = call_pread,
	.pwrite = call_pwrite,
	.mmap = call_mmap,
	.kvm_file_add = call_kvm_file_add,
	.kvm_file_del = call_kvm_file_del,
	.read_text = call_read_text,
	.read_link = call_read_link,
	.link_name = call_link_name,
	.real_path = call_real_path,
	.device_sysfs = call_device_sysfs,
	.list = call_list,
	.memlock_limit = call_memlock_limit,
};
