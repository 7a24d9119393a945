// SPDX-License-Identifier: Apache-2.0
/* The soft provider: the reference device behind the contract. */
#include "devices/vfio/providers/soft/provider.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/migration_states.h"
#include "devices/vfio/own_log.h"
#include "devices/vfio/providers/soft/soft.h"

/* An id that no object has: what is emulated cannot be asked for hardware (iommufd answers ENOENT). */
#define EMULATED_ID 1

/* ---- bind and open ------------------------------------------------------------------------------ */

static int soft_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, uint32_t *out_device_id)
{
	struct soft_device *sd = soft_device(vdev);

	(void)ictx;
	if (sd->gone)
		return vfio_error(vdev->dev, -ENODEV, "the device was taken away");
	vdev->iommufd_kind = VFIO_IOMMUFD_EMULATED;
	vdev->max_pasids = sd->keys.pasid ? 1u << REFERENCE_PASID_BITS : 0;
	*out_device_id = EMULATED_ID;
	return 0;
}

static void soft_unbind(struct vfio_device *vdev)
{
	(void)vdev;
}

/* As after the reset at a bind of vfio-pci: nothing of the last user is left. */
static int soft_open(struct vfio_device *vdev)
{
	struct soft_device *sd = soft_device(vdev);
	int rc;

	rc = sd->model.mapped ? soft_memory_create(sd) : 0;
	if (rc)
		return rc;
	soft_lock(sd);
	sd->ring.count = sd->reads = sd->writes = 0;
	sd->requested = sd->failed = false;
	reference_set_mapped(&sd->model, false);
	rc = reference_reset(&sd->model);
	soft_unlock(sd);
	if (rc)
		return rc;
	rc = soft_events_open(sd);
	if (rc)
		return rc;
	rc = soft_worker_start(sd);
	if (rc)
		soft_events_close(sd);
	return rc;
}

static void soft_close(struct vfio_device *vdev)
{
	struct soft_device *sd = soft_device(vdev);

	soft_ioeventfds_close(sd);
	soft_ring_close(sd);
	soft_events_close(sd);
	soft_worker_stop(sd);
	soft_irqs_close(sd);
	soft_lock(sd);
	soft_session_end(sd);
	vfio_own_log_free(&sd->model.log);
	soft_unlock(sd);
}

/* ---- commands ----------------------------------------------------------------------------------- */

static int get_info(struct vfio_device_info *info)
{
	const size_t least = offsetof(struct vfio_device_info, num_irqs) + sizeof(info->num_irqs);
	const size_t with_caps =
		offsetof(struct vfio_device_info, cap_offset) + sizeof(info->cap_offset);

	if (info->argsz < least)
		return -EINVAL;
	info->flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET;
	info->num_regions = VFIO_PCI_NUM_REGIONS;
	info->num_irqs = VFIO_PCI_NUM_IRQS;
	if (info->argsz >= with_caps)
		info->cap_offset = 0;
	return 0;
}

static int reset(struct soft_device *sd)
{
	int rc;

	soft_ring_close(sd);
	soft_lock(sd);
	soft_quiesce(sd);
	rc = reference_reset(&sd->model);
	if (rc == 0)
		soft_effects(sd, REFERENCE_EFFECT_RESET);
	soft_resume(sd);
	soft_unlock(sd);
	return rc;
}

static int soft_command(struct vfio_device *vdev, unsigned command, void *arg)
{
	struct soft_device *sd = soft_device(vdev);

	if (!arg && (command == VFIO_DEVICE_GET_INFO || command == VFIO_DEVICE_GET_IRQ_INFO ||
		     command == VFIO_DEVICE_SET_IRQS || command == VFIO_DEVICE_IOEVENTFD))
		return -EFAULT;
	soft_lock(sd);
	soft_wake(sd);
	soft_unlock(sd);
	switch (command) {
	case VFIO_DEVICE_GET_INFO:
		return get_info(arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return soft_irq_info(sd, arg);
	case VFIO_DEVICE_SET_IRQS:
		return soft_set_irqs(sd, arg);
	case VFIO_DEVICE_IOEVENTFD:
		return soft_ioeventfd(sd, arg);
	case VFIO_DEVICE_RESET:
		return reset(sd);
	default:
		return -ENOTTY;
	}
}

/* ---- features ----------------------------------------------------------------------------------- */

/* vfio_pci_core_pm_entry(): a second entry is refused. */
static int low_power(struct soft_device *sd, int wakeup)
{
	int rc = 0;

	soft_lock(sd);
	soft_wake(sd);
	if (sd->low_power) {
		rc = -EINVAL;
	} else {
		sd->low_power = true;
		sd->wakeup = wakeup;
	}
	soft_unlock(sd);
	if (rc && wakeup >= 0)
		close(wakeup);
	return rc;
}

static void low_power_exit(struct soft_device *sd)
{
	soft_lock(sd);
	soft_wake(sd);
	sd->low_power = false;
	soft_unlock(sd);
}

static int low_power_wakeup(struct soft_device *sd, uint32_t flags, void *arg, size_t argsz)
{
	const struct vfio_device_low_power_entry_with_wakeup *entry = arg;
	int rc, fd;

	rc = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_SET, sizeof(*entry));
	if (rc != 1)
		return rc;
	if (entry->reserved || entry->wakeup_eventfd < 0)
		return -EINVAL;
	fd = soft_eventfd_get(entry->wakeup_eventfd);
	return fd < 0 ? fd : low_power(sd, fd);
}

static int soft_feature(struct vfio_device *vdev, uint32_t flags, void *arg, size_t argsz)
{
	struct soft_device *sd = soft_device(vdev);
	int rc;

	switch (flags & VFIO_DEVICE_FEATURE_MASK) {
	case VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY:
		rc = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_SET, 0);
		return rc == 1 ? low_power(sd, -1) : rc;
	case VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP:
		return low_power_wakeup(sd, flags, arg, argsz);
	case VFIO_DEVICE_FEATURE_LOW_POWER_EXIT:
		rc = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_SET, 0);
		if (rc == 1)
			low_power_exit(sd);
		return rc == 1 ? 0 : rc;
	default:
		return -ENOTTY;
	}
}

/* ---- memory that leaves, names, status ---------------------------------------------------------- */

/* ioas_unmap() has waited already; what the engine had read is no access any more. */
static void soft_dma_unmap(struct vfio_device *vdev, uint64_t iova, uint64_t length)
{
	struct soft_device *sd = soft_device(vdev);

	(void)iova;
	(void)length;
	soft_lock(sd);
	soft_quiesce(sd);
	soft_resume(sd);
	soft_unlock(sd);
}

static int soft_match_name(struct vfio_device *vdev, const char *name)
{
	return !strcmp(name, vdev->dev);
}

static void soft_debug(struct vfio_device *vdev, struct json_t *root)
{
	struct soft_device *sd = soft_device(vdev);
	const struct reference_status *status = &sd->model.status;
	json_t *soft;

	soft_lock(sd);
	soft = json_pack("{ss sI sI sI sI sI sI sI sI si sb sb ss}", "model", "reference", "reads",
			 (json_int_t)sd->reads, "writes", (json_int_t)sd->writes, "rings",
			 (json_int_t)sd->ring.count, "rejected", (json_int_t)status->rejected,
			 "requests", (json_int_t)status->completed, "failed",
			 (json_int_t)status->failed, "bytes", (json_int_t)status->bytes,
			 "interrupts", (json_int_t)status->interrupts, "last_error",
			 (int)status->error, "busy", sd->model.request.busy, "gone", sd->gone,
			 "state", vfio_mig_state_name(reference_state(&sd->model)));
	soft_unlock(sd);
	if (soft)
		json_object_set_new(root, "soft", soft);
}

/* ---- life --------------------------------------------------------------------------------------- */

static void soft_release(struct vfio_device *vdev)
{
	struct soft_device *sd = soft_device(vdev);

	soft_irqs_destroy(sd);
	soft_memory_destroy(sd);
	free(sd->model.mem.dirty);
	free(sd->model.mem.fresh);
	free(sd->model.mem.bounce);
	pthread_cond_destroy(&sd->turn);
	pthread_cond_destroy(&sd->idle);
	pthread_cond_destroy(&sd->work);
	pthread_mutex_destroy(&sd->irq_lock);
	pthread_mutex_destroy(&sd->lock);
	free(sd);
}

static const struct vfio_device_ops soft_ops = {
	.name = "soft",
	.release = soft_release,
	.bind_iommufd = soft_bind,
	.unbind_iommufd = soft_unbind,
	.attach_ioas = soft_attach,
	.detach_ioas = soft_detach,
	.pasid_attach_ioas = soft_pasid_attach,
	.pasid_detach_ioas = soft_pasid_detach,
	.open_device = soft_open,
	.close_device = soft_close,
	.read = soft_read,
	.write = soft_write,
	.ioctl = soft_command,
	.get_region_info_caps = soft_region_info,
	.get_region_ioeventfds = soft_region_ioeventfds,
	.mmap = soft_mmap,
	.region_fd = soft_region_fd,
	.request = soft_request,
	.match = soft_match_name,
	.dma_unmap = soft_dma_unmap,
	.device_feature = soft_feature,
	.debug = soft_debug,
};

/* The same for all devices of a kind, so that one resumes what another saved; told apart by slot. */
#define SERIAL 0x5349554c43450001ull

static int make_model(struct soft_device *sd)
{
	const struct reference_env env = {.ctx = sd, .raise = soft_raise, .intx = soft_intx};
	const struct reference_geometry geometry = {
		.vectors = sd->keys.vectors,
		.memory_size = sd->keys.memory,
		.serial = SERIAL,
	};
	const uint64_t bitmap = REFERENCE_BITMAP_BYTES(sd->keys.memory);
	const uint32_t flags = sd->keys.migration_flags;
	struct reference_memory memory = {.bounce_size = SOFT_BOUNCE};
	int rc = soft_memory_create(sd);

	if (rc)
		return rc;
	memory.scratch = sd->model.mem.scratch;
	memory.memory = sd->model.mem.memory;
	memory.dirty = sd->model.mem.dirty = malloc(bitmap);
	memory.fresh = sd->model.mem.fresh = malloc(bitmap);
	memory.bounce = sd->model.mem.bounce = malloc(SOFT_BOUNCE);
	if (!memory.dirty || !memory.fresh || !memory.bounce)
		return -ENOMEM;
	rc = reference_init(&sd->model, &env, &geometry, &memory,
			    flags ? flags : VFIO_MIGRATION_STOP_COPY);
	sd->model.faults = sd->keys.faults;
	return rc;
}

static int match(const struct vfio_config *config)
{
	if (strncmp(config->name, vfio_soft_provider.prefix, strlen(vfio_soft_provider.prefix)) !=
	    0)
		return 0;
	if (!strcmp(config->name, "soft:reference"))
		return 1;
	return vfio_error(config->name, -EINVAL, "no such soft device; there is soft:reference");
}

static struct soft_device *allocate(void)
{
	struct soft_device *sd = calloc(1, sizeof(*sd));

	if (!sd)
		return NULL;
	pthread_mutex_init(&sd->lock, NULL);
	pthread_mutex_init(&sd->irq_lock, NULL);
	pthread_cond_init(&sd->work, NULL);
	pthread_cond_init(&sd->idle, NULL);
	pthread_cond_init(&sd->turn, NULL);
	sd->bar0.fd = sd->bar2.fd = -1;
	sd->event_fd = sd->session_fd = sd->session_id = sd->ring.fd = -1;
	return sd;
}

static int check_text(const struct vfio_config *config, struct soft_keys *keys)
{
	if (config->has_token)
		return vfio_error(config->name, -EINVAL,
				  "a soft device takes no VF token; leave token= out");
	return soft_keys_parse(config, keys);
}

static int check(const struct vfio_config *config)
{
	struct soft_keys keys;

	return check_text(config, &keys);
}

static int create(const struct vfio_provider_env *env, const struct vfio_config *config,
		  struct vfio_device **out)
{
	struct soft_device *sd;
	struct soft_keys keys;
	int rc;

	rc = check_text(config, &keys);
	if (rc)
		return rc;
	sd = allocate();
	if (!sd)
		return -ENOMEM;
	sd->loop = env->loop;
	sd->keys = keys;
	rc = vfio_device_init(&sd->vdev, config->id ? config->id : config->name, &soft_ops);
	if (rc) {
		soft_release(&sd->vdev);
		return rc;
	}
	sd->vdev.region_fd_renewed = true;
	sd->vdev.mig_ops = keys.migration_flags ? &soft_migration_ops : NULL;
	sd->vdev.migration_flags = keys.migration_flags;
	sd->vdev.log_ops = keys.log ? &soft_log_ops : NULL;
	rc = soft_irqs_create(sd);
	if (rc == 0)
		rc = make_model(sd);
	/* Reset alone, but among the VM's devices. */
	if (rc == 0)
		rc = vfio_assign_device_set(&sd->vdev, env->sets, 0);
	if (rc == 0)
		rc = vfio_register_device(&sd->vdev);
	if (rc) {
		vfio_device_free(&sd->vdev); /* releases sd too */
		return rc;
	}
	*out = &sd->vdev;
	return 0;
}

static const struct vfio_named named[] = {
	{"soft:reference",
	 "a PCI Express device that sluice makes: DMA, MSI-X, memory, PASIDs, migration",
	 soft_key_names},
	{NULL, NULL, NULL},
};

const struct vfio_provider vfio_soft_provider = {
	.name = "soft",
	.named = named,
	.prefix = "soft:",
	.many = true,
	.match = match,
	.check = check,
	.create = create,
};
