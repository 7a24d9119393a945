/* SPDX-License-Identifier: Apache-2.0 */
/*
 * /dev/iommu of one VM. Each address space of the VM (struct ioas) that a kernel device is attached to
 * has a mirror in the kernel: RAM is mapped into it once, for all devices.
 */
#ifndef SLUICE_VFIO_KERNEL_IOMMUFD_H
#define SLUICE_VFIO_KERNEL_IOMMUFD_H

struct iommufd_ctx;
struct kernel_calls;
struct kernel_iommufd;

/*
 * Open /dev/iommu, or take over the descriptor @fd (>= 0) of it. @calls NULL: those of the host.
 * Prints why not: -ENOENT the kernel lacks iommufd, -EACCES, -EPERM permission, -EBADF @fd is
 * no /dev/iommu that is open for reading and writing, -ENOMEM. @fd stays the caller's on failure.
 */
int kernel_iommufd_create(struct iommufd_ctx *ictx, int fd, const struct kernel_calls *calls,
			  struct kernel_iommufd **out);
/* All its devices are closed. NULL is allowed. */
void kernel_iommufd_destroy(struct kernel_iommufd *iommufd);

/*
 * Is @fd, passed for the device that is called @name, a device node open for reading and writing? 0, or -EBADF
 * after a message. @calls as above.
 */
int kernel_take_fd(const struct kernel_calls *calls, const char *name, int fd);

#endif
