/* SPDX-License-Identifier: Apache-2.0 */
/* The data of a migration session: what the kernel does by the file that SET_STATE returns. */
#include <unistd.h>

#include "devices/vfio/core.h"

/* Is there migration to speak of? */
static int check(struct vfio_device *vdev)
{
	if (!atomic_load_explicit(&vdev->access_granted, memory_order_acquire))
		return -EINVAL;
	return vdev->mig_ops ? 0 : -ENOTTY;
}

ssize_t vfio_device_mig_read(struct vfio_device *vdev, int data_fd, void *buffer, size_t count)
{
	const int rc = check(vdev);
	ssize_t done;

	if (rc)
		return rc;
	if (vdev->mig_ops->migration_read)
		return vdev->mig_ops->migration_read(vdev, data_fd, buffer, count);
	done = read(data_fd, buffer, count);
	return done < 0 ? -errno : done;
}

ssize_t vfio_device_mig_write(struct vfio_device *vdev, int data_fd, const void *buffer,
			      size_t count)
{
	const int rc = check(vdev);
	ssize_t done;

	if (rc)
		return rc;
	if (vdev->mig_ops->migration_write)
		return vdev->mig_ops->migration_write(vdev, data_fd, buffer, count);
	done = write(data_fd, buffer, count);
	return done < 0 ? -errno : done;
}

int vfio_device_mig_precopy_info(struct vfio_device *vdev, int data_fd,
				 struct vfio_precopy_info *info)
{
	const int rc = check(vdev);

	if (rc)
		return rc;
	if (!(vdev->migration_flags & VFIO_MIGRATION_PRE_COPY))
		return -ENOTTY;
	if (!info)
		return -EFAULT;
	if (info->argsz < offsetofend(struct vfio_precopy_info, dirty_bytes))
		return -EINVAL;
	/* The kernel leaves the flags of a user who did not opt in as they came; nobody is to read them. */
	info->flags = 0;
	return vdev->mig_ops->migration_get_precopy_info(vdev, data_fd, info);
}
