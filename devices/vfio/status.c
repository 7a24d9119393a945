/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a device as data: debug_root of the kernel, as one JSON object. */
#include <jansson.h>
#include <limits.h>
#include <string.h>

#include "devices/vfio/core.h"
#include "devices/vfio/migration_states.h"

static const char *const feature_names[] = {
	[VFIO_DEVICE_FEATURE_PCI_VF_TOKEN] = "pci_vf_token",
	[VFIO_DEVICE_FEATURE_MIGRATION] = "migration",
	[VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE] = "mig_device_state",
	[VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY] = "low_power_entry",
	[VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP] = "low_power_entry_with_wakeup",
	[VFIO_DEVICE_FEATURE_LOW_POWER_EXIT] = "low_power_exit",
	[VFIO_DEVICE_FEATURE_DMA_LOGGING_START] = "dma_logging_start",
	[VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP] = "dma_logging_stop",
	[VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT] = "dma_logging_report",
	[VFIO_DEVICE_FEATURE_MIG_DATA_SIZE] = "mig_data_size",
	[VFIO_DEVICE_FEATURE_BUS_MASTER] = "bus_master",
	[VFIO_DEVICE_FEATURE_DMA_BUF] = "dma_buf",
	[VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2] = "mig_precopy_info_v2",
};

#define FEATURE_COUNT (sizeof(feature_names) / sizeof(feature_names[0]))

/* The names of the features that the device answers to. */
static json_t *features(struct vfio_device *vdev)
{
	json_t *list = json_array();

	for (uint32_t feature = 0; list && feature < FEATURE_COUNT; feature++) {
		struct vfio_device_feature probe = {
			.argsz = sizeof(probe),
			.flags = VFIO_DEVICE_FEATURE_PROBE | feature,
		};

		if (!vfio_device_ioctl(vdev, VFIO_DEVICE_FEATURE, &probe))
			json_array_append_new(list, json_string(feature_names[feature]));
	}
	return list;
}

/* What vdev->lock guards, as it was at one moment: resets and changes of state go on meanwhile. */
struct moment {
	enum vfio_device_mig_state state;
	uint64_t transition_ns;
	bool precopy_info_v2;
	bool dma_logging;
	const char *reset_method;
};

static struct moment moment_of(struct vfio_device *vdev)
{
	struct moment now;

	pthread_mutex_lock(&vdev->lock);
	now = (struct moment){
		.state = vdev->last_state,
		.transition_ns = vdev->last_transition_ns,
		.precopy_info_v2 = vdev->precopy_info_v2,
		.dma_logging = vdev->dma_logging,
		.reset_method = vdev->reset_method,
	};
	pthread_mutex_unlock(&vdev->lock);
	return now;
}

static json_t *migration(const struct vfio_device *vdev, const struct moment *now)
{
	static const char names[][10] = {"STOP_COPY", "P2P", "PRE_COPY"}; /* by bit */
	json_t *flags;

	if (!vdev->mig_ops)
		return json_null();

	flags = json_array();
	for (unsigned bit = 0; bit < sizeof(names) / sizeof(names[0]); bit++) {
		if (vdev->migration_flags & 1u << bit)
			json_array_append_new(flags, json_string(names[bit]));
	}
	return json_pack("{so ss sI sb}", "flags", flags, "state", vfio_mig_state_name(now->state),
			 "last_transition_ns", (json_int_t)now->transition_ns, "precopy_info_v2",
			 now->precopy_info_v2);
}

static json_t *pasids(struct vfio_device *vdev)
{
	json_t *list = json_array();

	for (uint32_t pasid = 0; vdev->pasids && pasid < vdev->max_pasids; pasid++) {
		if (vdev->pasids[pasid / 64] & 1ull << pasid % 64)
			json_array_append_new(list, json_integer(pasid));
	}
	return list;
}

static json_t *iommu(struct vfio_device *vdev)
{
	static const char *const kinds[] = {
		[VFIO_IOMMUFD_NONE] = "none",
		[VFIO_IOMMUFD_PHYSICAL] = "physical",
		[VFIO_IOMMUFD_EMULATED] = "emulated",
	};

	return json_pack("{ss sI sb sI sI so}", "kind", kinds[vdev->iommufd_kind], "device_id",
			 (json_int_t)vdev->iommufd_devid, "attached", vdev->iommufd_attached,
			 "pt_id", (json_int_t)vdev->iommufd_pt_id, "max_pasids",
			 (json_int_t)vdev->max_pasids, "pasids", pasids(vdev));
}

json_t *vfio_device_status(struct vfio_device *vdev)
{
	const bool open = atomic_load_explicit(&vdev->access_granted, memory_order_acquire);
	json_t *root, *supported = open ? features(vdev) : json_array();
	struct vfio_device_set *set = vdev->dev_set;
	struct moment now;

	if (set)
		pthread_mutex_lock(&set->lock);
	now = moment_of(vdev);
	root = json_pack("{ss ss sb sb sI sI so so so so ss sb ss?}", "device", vdev->dev,
			 "provider", vdev->ops->name ? vdev->ops->name : "", "open", open, "kvm",
			 vdev->kvm != NULL, "set_id", (json_int_t)(set ? set->set_id : 0),
			 "set_devices", (json_int_t)(set ? set->device_count : 0), "features",
			 supported, "iommu", iommu(vdev), "migration", migration(vdev, &now),
			 "index", vdev->index == UINT_MAX ? json_null() : json_integer(vdev->index),
			 "dirty_source", vdev->log_ops ? "device" : "none", "dma_logging",
			 now.dma_logging, "reset_method", now.reset_method);
	if (root && open && vdev->ops->debug)
		vdev->ops->debug(vdev, root);
	if (set)
		pthread_mutex_unlock(&set->lock);
	return root;
}
