/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel provider: a device node of VFIO, bound to /dev/iommu. */
#include "devices/vfio/providers/kernel/provider.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/kernel/kernel.h"
#include "devices/vfio/providers/kernel/reserved.h"

/* More than any chain of today: a sparse area takes 16 bytes. */
#define MAX_REGION_INFO 65536

int kernel_ioctl(struct kernel_device *kd, unsigned long request, void *arg)
{
	return kd->calls->ioctl(kd->calls->ctx, kd->fd, request, arg);
}

/* ---- bind and open ---------------------------------------------------------------------------- */

/* What stands behind the device: an IOMMU and what it can do, or software. */
static int get_hw_info(struct kernel_device *kd, uint32_t device_id)
{
	struct iommu_hw_info info = {.size = sizeof(info), .dev_id = device_id};
	const int rc = kernel_iommufd_ioctl(kd->iommufd, IOMMU_GET_HW_INFO, &info);

	kd->capabilities = 0;
	kd->max_pasid_log2 = 0;
	kd->wants_pasids = false;
	switch (rc) {
	case 0:
		kd->vdev.iommufd_kind = VFIO_IOMMUFD_PHYSICAL;
		kd->capabilities = info.out_capabilities;
		kd->max_pasid_log2 = info.out_max_pasid_log2;
		if (kd->max_pasid_log2)
			kd->vdev.max_pasids = kd->max_pasid_log2 < 20 ? 1u << kd->max_pasid_log2
								      : VFIO_DEVICE_MAX_PASIDS;
		return 0;
	case -ENOENT:
		/* The id is that of an access object, not of a device. */
		kd->vdev.iommufd_kind = VFIO_IOMMUFD_EMULATED;
		return 0;
	case -EOPNOTSUPP:
		/* By a passed descriptor, since its node's name would have told. */
		return vfio_error(kd->name, rc,
				  "it has no IOMMU, so a guest's DMA would hit the host's memory");
	case -ENOTTY:
		/* A kernel before the question. */
		kd->vdev.iommufd_kind = VFIO_IOMMUFD_PHYSICAL;
		return 0;
	default:
		return vfio_error(kd->name, rc, "what its IOMMU can do is not known: %m");
	}
}

static void kvm_file_del(struct kernel_device *kd)
{
	const struct kernel_calls *calls = kd->calls;
	int rc;

	if (!kd->vdev.kvm)
		return;
	rc = calls->kvm_file_del(calls->ctx, kd->vdev.kvm, kd->fd);
	/* KVM holds a reference to the file: the device would stay open until the VM is gone. */
	if (rc)
		vfio_error(kd->name, rc, "KVM does not let go of the device: %m");
}

static void close_node(struct kernel_device *kd)
{
	kd->calls->close(kd->calls->ctx, kd->fd);
	kd->fd = -1;
}

static int kernel_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, uint32_t *out_device_id)
{
	struct kernel_device *kd = kernel_device(vdev);
	const struct kernel_calls *calls = kd->calls;
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = kd->iommufd->fd,
	};
	int rc;

	(void)ictx;
	kd->fd = kernel_open_node(kd);
	if (kd->fd < 0)
		return kd->fd;

	/* Before BIND, inside of which the driver opens the device and may want the VM. */
	if (vdev->kvm) {
		rc = calls->kvm_file_add(calls->ctx, vdev->kvm, kd->fd);
		if (rc) {
			vfio_error(kd->name, rc, "KVM does not take the device: %m");
			goto close_node;
		}
	}

	if (vdev->has_token) {
		bind.flags |= VFIO_DEVICE_BIND_FLAG_TOKEN;
		bind.token_uuid_ptr = (uintptr_t)vdev->token;
	}
	rc = kernel_ioctl(kd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	if (rc) {
		kernel_explain_bind(kd, rc);
		goto kvm_file_del;
	}
	rc = get_hw_info(kd, bind.out_devid);
	if (rc)
		goto kvm_file_del; /* closing the node unbinds */

	*out_device_id = bind.out_devid;
	return 0;

kvm_file_del:
	kvm_file_del(kd);
close_node:
	close_node(kd);
	return rc;
}

/* Unbinding is closing (drivers/vfio/device_cdev.c). */
static void kernel_unbind(struct vfio_device *vdev)
{
	struct kernel_device *kd = kernel_device(vdev);

	kvm_file_del(kd);
	close_node(kd);
	kernel_attach_done(kd);
}

/* The node's own open happened inside BIND; what is left is to listen and to look. */
static int kernel_open(struct vfio_device *vdev)
{
	struct kernel_device *kd = kernel_device(vdev);
	int rc;

	rc = kernel_events_open(kd);
	if (rc)
		return rc;
	kernel_probe_features(kd);
	/* What iommufd tells of a device with an IOMMU, one without can only say itself. */
	if (kd->vdev.iommufd_kind == VFIO_IOMMUFD_EMULATED)
		kd->vdev.max_pasids = kernel_config_pasids(kd);
	return 0;
}

static void kernel_close(struct vfio_device *vdev)
{
	kernel_events_close(kernel_device(vdev));
}

/* The kernel checks the token at BIND; there is nobody else who knows it. */
static int kernel_match_token_uuid(struct vfio_device *vdev, const uint8_t *uuid)
{
	(void)vdev;
	(void)uuid;
	return 0;
}

static int kernel_match_name(struct vfio_device *vdev, const char *name)
{
	const struct kernel_device *kd = kernel_device(vdev);

	return !strcmp(name, vdev->dev) || (kd->sysfs[0] && !strcmp(name, kd->sysfs)) ||
	       (kd->node[0] && !strcmp(name, kd->node));
}

/* ---- use -------------------------------------------------------------------------------------- */

/*
 * -EIO is vfio-pci's word for a BAR whose memory decode is off, or a device that is powered down
 * (vfio_pci_rdwr.c, __vfio_pci_memory_enabled). On the bus nobody is told: a read gives ones and a
 * write goes nowhere, and so it does with every provider.
 */
static ssize_t kernel_read(struct vfio_device *vdev, void *buffer, size_t count, uint64_t offset)
{
	struct kernel_device *kd = kernel_device(vdev);
	const ssize_t done = kd->calls->pread(kd->calls->ctx, kd->fd, buffer, count, offset);

	if (done != -EIO)
		return done;
	memset(buffer, 0xff, count);
	return (ssize_t)count;
}

static ssize_t kernel_write(struct vfio_device *vdev, const void *buffer, size_t count,
			    uint64_t offset)
{
	struct kernel_device *kd = kernel_device(vdev);
	const ssize_t done = kd->calls->pwrite(kd->calls->ctx, kd->fd, buffer, count, offset);

	return done == -EIO ? (ssize_t)count : done;
}

static int kernel_command(struct vfio_device *vdev, unsigned command, void *arg)
{
	return kernel_ioctl(kernel_device(vdev), command, arg);
}

static int kernel_mmap(struct vfio_device *vdev, void *where, size_t length, int prot,
		       uint64_t offset)
{
	struct kernel_device *kd = kernel_device(vdev);

	return kd->calls->mmap(kd->calls->ctx, where, length, prot, kd->fd, offset);
}

static int kernel_region_info(struct vfio_device *vdev, struct vfio_region_info *info,
			      struct vfio_info_cap *caps)
{
	struct kernel_device *kd = kernel_device(vdev);
	const uint32_t asked = info->argsz;
	uint32_t size = sizeof(*info) + 128; /* enough for MSIX_MAPPABLE and some sparse areas */
	struct vfio_region_info *reply;
	int rc;

	for (;;) {
		reply = calloc(1, size);
		if (!reply)
			return -ENOMEM;
		reply->argsz = size;
		reply->index = info->index;
		rc = kernel_ioctl(kd, VFIO_DEVICE_GET_REGION_INFO, reply);
		if (rc || reply->argsz <= size || reply->argsz > MAX_REGION_INFO)
			break;
		size = reply->argsz;
		free(reply);
	}
	if (!rc && reply->argsz > MAX_REGION_INFO)
		rc = -E2BIG;
	if (!rc && (reply->flags & VFIO_REGION_INFO_FLAG_CAPS))
		rc = vfio_info_add_chain(caps, reply, size, reply->cap_offset);
	if (!rc) {
		*info = *reply;
		info->argsz = asked;
		info->cap_offset = 0;
		info->flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_CAPS;
	}
	free(reply);
	return rc;
}

/* One file for all regions, and every command: nothing less can be given away. */
static int kernel_region_fd(struct vfio_device *vdev, uint32_t index, bool device, int *fd,
			    uint64_t *offset)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};
	int rc;

	if (!device)
		return -ENODEV;
	rc = kernel_ioctl(kernel_device(vdev), VFIO_DEVICE_GET_REGION_INFO, &info);
	if (rc)
		return rc;
	*fd = kernel_device(vdev)->fd;
	*offset = info.offset;
	return 0;
}

static int kernel_device_feature(struct vfio_device *vdev, uint32_t flags, void *arg, size_t argsz)
{
	return kernel_feature(kernel_device(vdev), flags, arg, argsz);
}

/* ---- status ----------------------------------------------------------------------------------- */

static void kernel_debug(struct vfio_device *vdev, struct json_t *root)
{
	struct kernel_device *kd = kernel_device(vdev);
	json_t *kernel =
		json_pack("{ss ss sb sI si}", "node", kd->node, "sysfs", kd->sysfs, "token",
			  vdev->has_token, "iommu_capabilities", (json_int_t)kd->capabilities,
			  "max_pasid_log2", (int)kd->max_pasid_log2);

	if (!kernel)
		return;
	pthread_mutex_lock(&kd->iommufd->lock);
	if (kd->space) {
		json_object_set_new(kernel, "ioas", json_integer(kd->space->id));
		json_object_set_new(kernel, "ioas_devices", json_integer(kd->space->users));
		json_object_set_new(kernel, "mapped_bytes",
				    json_integer((json_int_t)kd->space->mapped));
		json_object_set_new(kernel, "map_by_file", json_pack("b", !kd->space->no_map_file));
	}
	if (kd->hwpt) {
		json_object_set_new(kernel, "hwpt", json_integer(kd->hwpt->id));
		json_object_set_new(kernel, "hwpt_flags", json_integer(kd->hwpt->flags));
		if (!vdev->log_ops && (kd->hwpt->flags & IOMMU_HWPT_ALLOC_DIRTY_TRACKING))
			json_object_set_new(root, "dirty_source", json_string("iommu"));
	}
	pthread_mutex_unlock(&kd->iommufd->lock);
	json_object_set_new(root, "kernel", kernel);
}

/* ---- life ------------------------------------------------------------------------------------- */

static void kernel_release(struct vfio_device *vdev)
{
	struct kernel_device *kd = kernel_device(vdev);

	if (kd->passed_fd >= 0)
		kd->calls->close(kd->calls->ctx, kd->passed_fd);
	free(kd);
}

static const struct vfio_device_ops kernel_ops = {
	.name = "kernel",
	.release = kernel_release,
	.bind_iommufd = kernel_bind,
	.unbind_iommufd = kernel_unbind,
	.attach_ioas = kernel_attach_ioas,
	.detach_ioas = kernel_detach_ioas,
	.pasid_attach_ioas = kernel_pasid_attach_ioas,
	.pasid_detach_ioas = kernel_pasid_detach_ioas,
	.open_device = kernel_open,
	.close_device = kernel_close,
	.read = kernel_read,
	.write = kernel_write,
	.ioctl = kernel_command,
	.get_region_info_caps = kernel_region_info,
	.mmap = kernel_mmap,
	.region_fd = kernel_region_fd,
	.match = kernel_match_name,
	.match_token_uuid = kernel_match_token_uuid,
	.device_feature = kernel_device_feature,
	.debug = kernel_debug,
};

static int match(const struct vfio_config *config)
{
	struct vfio_name name;
	const int rc = vfio_name_parse(config->name, &name);

	if (!rc)
		return 1;
	return vfio_error(config->name, rc, "%s", vfio_name_reason(rc));
}

/* Is the device there already, under this name or another? */
static int check_twice(const struct vfio_provider_env *env, const struct kernel_device *kd)
{
	const char *key = kd->sysfs[0] ? kd->sysfs : kd->name;
	struct vfio_device *other = env->sets ? vfio_device_sets_find(env->sets, key) : NULL;

	if (!other || other->ops != &kernel_ops)
		return 0;
	return vfio_error(kd->name, -EEXIST, "the device is named twice, %s and %s; name it once",
			  kernel_device(other)->spelled, kd->spelled);
}

static int create(const struct vfio_provider_env *env, const struct vfio_config *config,
		  struct vfio_device **out)
{
	struct kernel_device *kd;
	unsigned index;
	int rc;

	if (!env->iommufd)
		return -EINVAL;
	kd = calloc(1, sizeof(*kd));
	if (!kd)
		return -ENOMEM;
	kd->calls = env->iommufd->calls;
	kd->iommufd = env->iommufd;
	kd->loop = env->loop;
	kd->migratable = config->migratable;
	kd->fd = -1;
	kd->passed_fd = -1;
	kd->err.fd = -1;
	kd->req.fd = -1;

	rc = kernel_find(kd, config, &index);
	if (rc)
		goto free_kd;
	rc = check_twice(env, kd);
	if (rc)
		goto free_kd;

	rc = vfio_device_init(&kd->vdev, kd->name, &kernel_ops);
	if (rc)
		goto free_kd;
	kd->vdev.index = index;
	if (config->has_token)
		vfio_device_set_token(&kd->vdev, config->token);
	rc = vfio_assign_device_set(&kd->vdev, env->sets, kernel_set_id(kd));
	if (!rc)
		rc = vfio_register_device(&kd->vdev);
	if (rc) {
		vfio_device_free(&kd->vdev); /* releases kd too */
		return rc;
	}
	*out = &kd->vdev;
	return 0;

free_kd:
	kernel_release(&kd->vdev);
	return rc;
}

const struct vfio_provider vfio_kernel_provider = {
	.name = "kernel",
	.needs_iommufd = true,
	.match = match,
	.create = create,
	.reserved = kernel_reserved,
};
