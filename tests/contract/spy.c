/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/spy.h"

#include <string.h>

static struct spy spy;
static struct vfio_device_ops ops;
static const struct vfio_device_ops *real;
static struct vfio_migration_ops mig_ops;
static const struct vfio_migration_ops *real_mig;

static bool locked(struct vfio_device *vdev)
{
	if (pthread_mutex_trylock(&vdev->dev_set->lock))
		return true;
	pthread_mutex_unlock(&vdev->dev_set->lock);
	return false;
}

static void note(struct vfio_device *vdev, const char *call)
{
	spy.calls++;
	spy.unlocked += !locked(vdev);
	if (spy.order[0])
		strncat(spy.order, " ", sizeof(spy.order) - strlen(spy.order) - 1);
	strncat(spy.order, call, sizeof(spy.order) - strlen(spy.order) - 1);
}

static void spy_release(struct vfio_device *vdev)
{
	spy.releases++;
	if (real->release)
		real->release(vdev);
}

static int spy_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, uint32_t *out_device_id)
{
	note(vdev, "bind");
	return real->bind_iommufd(vdev, ictx, out_device_id);
}

static void spy_unbind(struct vfio_device *vdev)
{
	note(vdev, "unbind");
	real->unbind_iommufd(vdev);
}

static int spy_open(struct vfio_device *vdev)
{
	note(vdev, "open");
	return real->open_device ? real->open_device(vdev) : 0;
}

static void spy_close(struct vfio_device *vdev)
{
	note(vdev, "close");
	if (real->close_device)
		real->close_device(vdev);
}

static int spy_attach(struct vfio_device *vdev, uint32_t *pt_id)
{
	const int fail = spy.fail_attach;

	note(vdev, "attach");
	spy.fail_attach = 0;
	return fail ? fail : real->attach_ioas(vdev, pt_id);
}

static void spy_detach(struct vfio_device *vdev)
{
	note(vdev, "detach");
	real->detach_ioas(vdev);
}

static int spy_ioctl(struct vfio_device *vdev, unsigned command, void *arg)
{
	if (command != VFIO_DEVICE_PCI_HOT_RESET)
		return real->ioctl(vdev, command, arg);
	spy.hot_resets++;
	spy.unlocked_resets += !locked(vdev);
	return 0;
}

struct spy *spy_on(struct vfio_device *vdev)
{
	real = vdev->ops;
	ops = *real;
	ops.release = spy_release;
	ops.bind_iommufd = spy_bind;
	ops.unbind_iommufd = spy_unbind;
	ops.open_device = spy_open;
	ops.close_device = spy_close;
	ops.attach_ioas = spy_attach;
	ops.detach_ioas = spy_detach;
	ops.ioctl = spy_ioctl;
	vdev->ops = &ops;
	spy = (struct spy){0};
	return &spy;
}

static int spy_set_state(struct vfio_device *vdev, enum vfio_device_mig_state new_state,
			 int *data_fd)
{
	spy.set_states++;
	return real_mig->migration_set_state(vdev, new_state, data_fd);
}

void spy_on_migration(struct vfio_device *vdev)
{
	real_mig = vdev->mig_ops;
	mig_ops = *real_mig;
	mig_ops.migration_set_state = spy_set_state;
	vdev->mig_ops = &mig_ops;
}
