/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_provider.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct fake_device *fake_of(struct vfio_device *vdev)
{
	return (struct fake_device *)vdev;
}

void fake_say(struct fake_device *fake, const char *fmt, ...)
{
	const size_t used = strlen(fake->log);
	va_list args;

	va_start(args, fmt);
	if (used + 2 < sizeof(fake->log)) {
		if (used)
			fake->log[used] = ' ';
		vsnprintf(fake->log + used + (used > 0), sizeof(fake->log) - used - 1, fmt, args);
	}
	va_end(args);
}

static int fake_init(struct vfio_device *vdev)
{
	return fake_of(vdev)->init;
}

static void fake_release(struct vfio_device *vdev)
{
	fake_of(vdev)->released++;
}

static int fake_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, uint32_t *out_device_id)
{
	struct fake_device *fake = fake_of(vdev);

	(void)ictx;
	fake_say(fake, "bind");
	fake->kvm_at_bind = vdev->kvm;
	if (fake->bind)
		return fake->bind;
	*out_device_id = 42;
	vdev->iommufd_kind = VFIO_IOMMUFD_PHYSICAL;
	vdev->max_pasids = fake->max_pasids;
	return 0;
}

static void fake_unbind(struct vfio_device *vdev)
{
	fake_say(fake_of(vdev), "unbind");
}

static int fake_attach(struct vfio_device *vdev, uint32_t *pt_id)
{
	struct fake_device *fake = fake_of(vdev);

	fake_say(fake, "attach(%u)", *pt_id);
	if (fake->lose_attachment)
		vdev->iommufd_attached = false;
	if (!fake->attach && fake->pt_id)
		*pt_id = fake->pt_id;
	return fake->attach;
}

static void fake_detach(struct vfio_device *vdev)
{
	fake_say(fake_of(vdev), "detach");
}

static int fake_pasid_attach(struct vfio_device *vdev, uint32_t pasid, uint32_t *pt_id)
{
	struct fake_device *fake = fake_of(vdev);

	fake_say(fake, "pasid_attach(%u,%u)", pasid, *pt_id);
	if (!fake->pasid_attach && fake->pt_id)
		*pt_id = fake->pt_id;
	return fake->pasid_attach;
}

static void fake_pasid_detach(struct vfio_device *vdev, uint32_t pasid)
{
	fake_say(fake_of(vdev), "pasid_detach(%u)", pasid);
}

static int fake_open(struct vfio_device *vdev)
{
	fake_say(fake_of(vdev), "open");
	return fake_of(vdev)->open_device;
}

static void fake_close(struct vfio_device *vdev)
{
	fake_say(fake_of(vdev), "close");
}

static ssize_t fake_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset)
{
	fake_say(fake_of(vdev), "read(%zu,%llu)", count, (unsigned long long)offset);
	memset(buffer, 0x5a, count);
	return (ssize_t)count;
}

static ssize_t fake_write(struct vfio_device *vdev, const void *buffer, size_t count,
			  uint64_t offset)
{
	(void)buffer;
	fake_say(fake_of(vdev), "write(%zu,%llu)", count, (unsigned long long)offset);
	return (ssize_t)count;
}

static int fake_ioctl(struct vfio_device *vdev, unsigned command, void *arg)
{
	struct fake_device *fake = fake_of(vdev);

	(void)arg;
	fake->last_command = command;
	fake->set_lock_held = NULL;
	if (pthread_mutex_trylock(&vdev->dev_set->lock))
		fake->set_lock_held = vdev->dev_set;
	else
		pthread_mutex_unlock(&vdev->dev_set->lock);
	return fake->ioctl_rc;
}

static int fake_region(struct vfio_device *vdev, struct vfio_region_info *info,
		       struct vfio_info_cap *caps)
{
	struct fake_device *fake = fake_of(vdev);

	if (info->index > 8)
		return -EINVAL;
	info->size = 0x1000;
	info->offset = (uint64_t)info->index << 40;
	info->flags = VFIO_REGION_INFO_FLAG_READ;
	return fake->cap ? vfio_info_add_capability(caps, fake->cap, fake->cap_size) : 0;
}

static int fake_mmap(struct vfio_device *vdev, void *where, size_t length, int prot,
		     uint64_t offset)
{
	(void)where;
	(void)prot;
	fake_say(fake_of(vdev), "mmap(%zu,%llu)", length, (unsigned long long)offset);
	return fake_of(vdev)->map;
}

static void fake_request(struct vfio_device *vdev, unsigned count)
{
	struct fake_device *fake = fake_of(vdev);

	fake->requests = count + 1;
	if (fake->close_on_request && count >= 2)
		vfio_device_close(vdev);
}

int fake_token(struct vfio_device *vdev, const uint8_t *uuid)
{
	struct fake_device *fake = fake_of(vdev);

	fake_say(fake, uuid ? "token" : "no-token");
	if (uuid)
		memcpy(fake->seen_token, uuid, 16);
	return fake->token;
}

static void fake_dma_unmap(struct vfio_device *vdev, uint64_t iova, uint64_t length)
{
	fake_say(fake_of(vdev), "dma_unmap(%llu,%llu)", (unsigned long long)iova,
		 (unsigned long long)length);
}

static int fake_feature(struct vfio_device *vdev, uint32_t flags, void *arg, size_t argsz)
{
	(void)arg;
	fake_say(fake_of(vdev), "feature(%x,%zu)", flags, argsz);
	return fake_of(vdev)->feature;
}

const struct vfio_device_ops fake_ops = {
	.name = "fake",
	.init = fake_init,
	.release = fake_release,
	.bind_iommufd = fake_bind,
	.unbind_iommufd = fake_unbind,
	.attach_ioas = fake_attach,
	.detach_ioas = fake_detach,
	.pasid_attach_ioas = fake_pasid_attach,
	.pasid_detach_ioas = fake_pasid_detach,
	.open_device = fake_open,
	.close_device = fake_close,
	.read = fake_read,
	.write = fake_write,
	.ioctl = fake_ioctl,
	.get_region_info_caps = fake_region,
	.mmap = fake_mmap,
	.request = fake_request,
	.dma_unmap = fake_dma_unmap,
	.device_feature = fake_feature,
};

static int fake_set_state(struct vfio_device *vdev, enum vfio_device_mig_state new_state,
			  int *data_fd)
{
	struct fake_device *fake = fake_of(vdev);

	fake_say(fake, "set(%d)", new_state);
	if (fake->set_state) {
		fake->state = VFIO_DEVICE_STATE_ERROR;
		return fake->set_state;
	}
	fake->state = new_state;
	*data_fd = fake->data_fd;
	return 0;
}

static int fake_get_state(struct vfio_device *vdev, enum vfio_device_mig_state *state)
{
	*state = fake_of(vdev)->state;
	return fake_of(vdev)->get_state;
}

static int fake_data_size(struct vfio_device *vdev, uint64_t *stop_copy_length)
{
	(void)vdev;
	*stop_copy_length = 0x123456789abcull;
	return 0;
}

static int fake_precopy_info(struct vfio_device *vdev, int data_fd, struct vfio_precopy_info *info)
{
	struct fake_device *fake = fake_of(vdev);

	fake_say(fake, "precopy_info(%d)", data_fd);
	if (!fake->precopy_info)
		info->initial_bytes = 77;
	return fake->precopy_info;
}

const struct vfio_migration_ops fake_mig_ops = {
	.migration_set_state = fake_set_state,
	.migration_get_state = fake_get_state,
	.migration_get_data_size = fake_data_size,
	.migration_get_precopy_info = fake_precopy_info,
};

static int fake_log_start(struct vfio_device *vdev, const struct vfio_log_range *ranges,
			  uint32_t count, uint64_t *page_size)
{
	struct fake_device *fake = fake_of(vdev);

	fake_say(fake, "log_start");
	fake->range_count = count;
	for (uint32_t i = 0; i < count && i < 8; i++)
		fake->ranges[i] = ranges[i];
	*page_size *= 2;
	return fake->log_start_rc;
}

static int fake_log_stop(struct vfio_device *vdev)
{
	fake_say(fake_of(vdev), "log_stop");
	return fake_of(vdev)->log_stop_rc;
}

static int fake_log_read(struct vfio_device *vdev, uint64_t iova, uint64_t length,
			 uint64_t page_size, uint64_t *bitmap)
{
	(void)iova;
	(void)length;
	(void)page_size;
	fake_say(fake_of(vdev), "log_read");
	*bitmap |= 1;
	return 0;
}

const struct vfio_log_ops fake_log_ops = {
	.log_start = fake_log_start,
	.log_stop = fake_log_stop,
	.log_read_and_clear = fake_log_read,
};

struct fake_device *fake_device_new(const char *name)
{
	struct fake_device *fake = calloc(1, sizeof(*fake));

	if (!fake)
		abort();
	fake->ops = fake_ops;
	fake->mig_ops = fake_mig_ops;
	fake->state = VFIO_DEVICE_STATE_RUNNING;
	fake->log_ops = fake_log_ops;
	fake->state = VFIO_DEVICE_STATE_RUNNING;
	fake->data_fd = -1;
	if (vfio_device_init(&fake->vdev, name, &fake->ops))
		abort();
	return fake;
}

struct fake_device *fake_device_registered(const char *name)
{
	struct fake_device *fake = fake_device_new(name);

	if (vfio_register_device(&fake->vdev))
		abort();
	return fake;
}

void fake_device_done(struct fake_device *fake)
{
	vfio_device_close(&fake->vdev);
	vfio_unregister_device(&fake->vdev);
	vfio_device_free(&fake->vdev);
	free(fake);
}

struct iommufd_ctx *fake_ictx(void)
{
	static char somewhere;

	return (struct iommufd_ctx *)&somewhere;
}
