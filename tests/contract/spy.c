/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/contract/spy.h"

#include <string.h>
#include <unistd.h>

static struct spy spy;
static atomic_int inside; /* calls that have not returned */
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

static void enter(struct vfio_device *vdev, const char *call)
{
	spy.calls++;
	spy.unlocked += !locked(vdev);
	if (atomic_fetch_add(&inside, 1))
		atomic_fetch_add(&spy.overlaps, 1);
	if (spy.order[0])
		strncat(spy.order, " ", sizeof(spy.order) - strlen(spy.order) - 1);
	strncat(spy.order, call, sizeof(spy.order) - strlen(spy.order) - 1);
	/* Whoever would be let in meanwhile is given the time. */
	if (spy.dawdle_us)
		usleep(spy.dawdle_us);
}

static void leave(void)
{
	atomic_fetch_sub(&inside, 1);
}

static void spy_release(struct vfio_device *vdev)
{
	spy.releases++;
	if (real->release)
		real->release(vdev);
}

static int spy_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, uint32_t *out_device_id)
{
	int rc;

	enter(vdev, "bind");
	rc = real->bind_iommufd(vdev, ictx, out_device_id);
	leave();
	return rc;
}

static void spy_unbind(struct vfio_device *vdev)
{
	enter(vdev, "unbind");
	real->unbind_iommufd(vdev);
	leave();
}

static int spy_open(struct vfio_device *vdev)
{
	int rc;

	enter(vdev, "open");
	rc = real->open_device ? real->open_device(vdev) : 0;
	leave();
	return rc;
}

static void spy_close(struct vfio_device *vdev)
{
	enter(vdev, "close");
	if (real->close_device)
		real->close_device(vdev);
	leave();
}

static int spy_attach(struct vfio_device *vdev, uint32_t *pt_id)
{
	const int fail = spy.fail_attach;
	int rc;

	enter(vdev, "attach");
	spy.fail_attach = 0;
	rc = fail ? fail : real->attach_ioas(vdev, pt_id);
	leave();
	return rc;
}

static void spy_detach(struct vfio_device *vdev)
{
	enter(vdev, "detach");
	real->detach_ioas(vdev);
	leave();
}

static int spy_ioctl(struct vfio_device *vdev, unsigned command, void *arg)
{
	if (command != VFIO_DEVICE_PCI_HOT_RESET)
		return real->ioctl(vdev, command, arg);
	enter(vdev, "hot-reset");
	spy.hot_resets++;
	leave();
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

bool spy_also_on(struct vfio_device *vdev)
{
	if (vdev->ops != real)
		return false;
	vdev->ops = &ops;
	return true;
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
