/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every system call and look-up of the kernel provider, as a table: the real one is
 * kernel_calls_host, the unit tests put a kernel of their own behind it.
 *
 * All entries answer -errno on failure; ioctl answers what the command answers otherwise.
 */
#ifndef SLUICE_VFIO_KERNEL_CALLS_H
#define SLUICE_VFIO_KERNEL_CALLS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

struct host_list;
struct kvm;

struct kernel_calls {
	void *ctx; /* the first argument of all */

	int (*open_iommu)(void *ctx);
	int (*open_vfio)(void *ctx, const char *path);
	int (*take_device)(void *ctx, int fd); /* host_take_device() */
	int (*eventfd)(void *ctx);
	void (*close)(void *ctx, int fd);
	int (*fstat)(void *ctx, int fd, struct stat *st);

	int (*ioctl)(void *ctx, int fd, unsigned long request, void *arg);
	ssize_t (*pread)(void *ctx, int fd, void *buffer, size_t count, uint64_t offset);
	ssize_t (*pwrite)(void *ctx, int fd, const void *buffer, size_t count, uint64_t offset);
	/* Shared, at the fixed address @where. */
	int (*mmap)(void *ctx, void *where, size_t length, int prot, int fd, uint64_t offset);

	int (*kvm_file_add)(void *ctx, struct kvm *kvm, int fd);
	int (*kvm_file_del)(void *ctx, struct kvm *kvm, int fd);

	/* As the host_ functions of vmm/base/host.h. */
	ssize_t (*read_text)(void *ctx, const char *path, char *buffer, size_t size);
	ssize_t (*read_link)(void *ctx, const char *path, char *buffer, size_t size);
	ssize_t (*link_name)(void *ctx, const char *path, char *buffer, size_t size);
	int (*real_path)(void *ctx, const char *path, char *buffer, size_t size);
	int (*device_sysfs)(void *ctx, int fd, char *buffer, size_t size);
	int (*list)(void *ctx, const char *path, struct host_list *list);
	uint64_t (*memlock_limit)(void *ctx);
};

extern const struct kernel_calls kernel_calls_host;

#endif
