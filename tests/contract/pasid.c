/* SPDX-License-Identifier: Apache-2.0 */
/* Address spaces of single PASIDs. */
#include <errno.h>
#include <jansson.h>
#include <string.h>

#include "tests/contract/contract.h"

static bool memory_is(struct run *run, uint64_t offset, size_t count, uint8_t value)
{
	for (size_t i = 0; i < count; i++) {
		if (run->memory[offset + i] != value)
			return false;
	}
	return true;
}

/* How many PASIDs the state as data names. */
static size_t pasids_attached(struct run *run)
{
	json_t *root = vfio_device_status(run->vdev);
	const size_t count =
		json_array_size(json_object_get(json_object_get(root, "iommu"), "pasids"));

	json_decref(root);
	return count;
}

/* The kernel would take them on a device with max_pasids == 0 (drivers/iommu/iommu.c). */
static void without_the_capability_they_are_refused(struct run *run)
{
	uint32_t id = ioas_id(run->space);
	struct vfio_device_attach_iommufd_pt call = {
		.argsz = sizeof(call), .flags = VFIO_DEVICE_ATTACH_PASID, .pt_id = id, .pasid = 5};

	if (run->target->has & HAS_PASID) {
		expect(run, run->vdev->max_pasids > 1, "%u PASIDs", run->vdev->max_pasids);
		return;
	}
	expect_rc(run, run->vdev->max_pasids, 0, "PASIDs");
	for (uint32_t pasid = 0; pasid < 3; pasid++)
		expect_rc(run, vfio_device_pasid_attach(run->vdev, pasid, &id), -EOPNOTSUPP,
			  "attach of PASID %u", pasid);
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &call),
		  -EOPNOTSUPP, "ATTACH with a PASID");
}

static void ids_are_checked(struct run *run)
{
	struct ioas *other = space_create(run, 0, 0x10000);
	struct vfio_device *vdev = run->vdev;
	struct vfio_device_attach_iommufd_pt call = {
		.argsz = 12, .flags = VFIO_DEVICE_ATTACH_PASID, .pasid = 5};
	struct vfio_device_detach_iommufd_pt detach = {
		.argsz = 8, .flags = VFIO_DEVICE_DETACH_PASID, .pasid = 5};
	uint32_t id;

	if (!other)
		return;
	id = ioas_id(other);
	expect_rc(run, vfio_device_pasid_attach(vdev, 0, &id), -EINVAL, "attach of PASID 0");
	expect_rc(run, vfio_device_pasid_attach(vdev, vdev->max_pasids, &id), -EINVAL,
		  "attach of PASID max_pasids");
	expect_rc(run, vfio_device_pasid_attach(vdev, UINT32_MAX, &id), -EINVAL,
		  "attach of PASID 0xffffffff");
	id = 12345;
	expect_rc(run, vfio_device_pasid_attach(vdev, 5, &id), -ENOENT, "an unknown space");
	expect(run, !pasids_attached(run), "a refused PASID is attached");
	call.pt_id = ioas_id(other);
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &call), -EINVAL,
		  "ATTACH of 12 bytes with a PASID");
	call.argsz = 16;
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &call), 0,
		  "ATTACH of 16 bytes");
	expect(run, pasids_attached(run) == 1, "%zu PASIDs", pasids_attached(run));
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach), -EINVAL,
		  "DETACH of 8 bytes with a PASID");
	detach.argsz = 12;
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach), 0,
		  "DETACH of 12 bytes");
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach), 0,
		  "DETACH again");
	expect_rc(run, vfio_device_pasid_detach(vdev, 77), 0, "detach of what is not attached");
	expect_rc(run, vfio_device_pasid_detach(vdev, UINT32_MAX), 0, "detach of no PASID");
	expect(run, !pasids_attached(run), "%zu PASIDs", pasids_attached(run));
	expect_rc(run, ioas_destroy(other), 0, "destroying the space");
}

static void attachments_are_tracked_and_freed(struct run *run)
{
	struct ioas *spaces[3];
	static const uint32_t pasids[3] = {1, 64, 1000};
	uint32_t id;

	for (int i = 0; i < 3; i++) {
		spaces[i] = space_create(run, 0x10000 * (uint64_t)i, 0x10000);
		if (!spaces[i])
			return;
		id = ioas_id(spaces[i]);
		expect_rc(run, vfio_device_pasid_attach(run->vdev, pasids[i], &id), 0,
			  "attach of PASID %u", pasids[i]);
		expect_rc(run, ioas_destroy(spaces[i]), -EBUSY, "destroying a space in use");
	}
	expect(run, pasids_attached(run) == 3, "%zu PASIDs", pasids_attached(run));
	/* Replaced by another, and by the one of the device itself. */
	id = ioas_id(spaces[0]);
	expect_rc(run, vfio_device_pasid_attach(run->vdev, pasids[1], &id), 0, "replace");
	expect_rc(run, ioas_destroy(spaces[1]), 0, "destroying the space that was left");
	id = 12345;
	expect_rc(run, vfio_device_pasid_attach(run->vdev, pasids[1], &id), -ENOENT,
		  "replacing by an unknown space");
	expect(run, pasids_attached(run) == 3, "%zu PASIDs", pasids_attached(run));
	id = ioas_id(run->space);
	expect_rc(run, vfio_device_pasid_attach(run->vdev, pasids[1], &id), 0, "the device's own");
	/* Close takes them all. */
	vfio_device_close(run->vdev);
	expect(run, !run->vdev->pasids && !run->vdev->max_pasids, "PASIDs of a closed device");
	expect_rc(run, ioas_destroy(spaces[0]), 0, "destroying a space after close");
	expect_rc(run, ioas_destroy(spaces[2]), 0, "destroying a space after close");
	expect_rc(run, device_open(run, run->vdev), 0, "open again");
	expect(run, !pasids_attached(run), "PASIDs of the last user");
}

static void each_reaches_its_own_space(struct run *run)
{
	const struct driver *driver = run->target->driver;
	struct ioas *other = space_create(run, MEMORY_SIZE / 2, 0x10000);
	uint32_t id;

	if (!other)
		return;
	id = ioas_id(other);
	expect_rc(run, driver->start(run), 0, "start");
	memset(run->memory, 0x11, MEMORY_SIZE);
	expect_rc(run, vfio_device_pasid_attach(run->vdev, 5, &id), 0, "attach of PASID 5");
	expect_rc(run, driver->fill(run, 5, MEMORY_IOVA, 4096, 0x22), 0, "DMA of PASID 5");
	expect(run, memory_is(run, 0, 4096, 0x11), "it went to the device's own space");
	expect(run, memory_is(run, MEMORY_SIZE / 2, 4096, 0x22), "it did not go to its space");
	expect_rc(run, driver->fill(run, 0, MEMORY_IOVA, 4096, 0x33), 0, "DMA without a PASID");
	expect(run, memory_is(run, 0, 4096, 0x33), "it did not go to the device's own space");
	expect(run, memory_is(run, MEMORY_SIZE / 2, 4096, 0x22), "it went to the PASID's space");
	expect(run, driver->fill(run, 6, MEMORY_IOVA, 16, 0x44) > 0, "DMA of a PASID without one");
	id = ioas_id(run->space);
	expect_rc(run, vfio_device_pasid_attach(run->vdev, 5, &id), 0, "replace");
	expect_rc(run, driver->fill(run, 5, MEMORY_IOVA, 4096, 0x55), 0, "DMA of PASID 5");
	expect(run, memory_is(run, 0, 4096, 0x55), "the replacement did not take");
	expect_rc(run, vfio_device_pasid_detach(run->vdev, 5), 0, "detach");
	expect(run, driver->fill(run, 5, MEMORY_IOVA, 16, 0x66) > 0, "DMA of a detached PASID");
	expect(run, memory_is(run, 0, 4096, 0x55), "a detached PASID reached memory");
	/* The device's own space is replaced and the PASID's stays. */
	id = ioas_id(other);
	expect_rc(run, vfio_device_pasid_attach(run->vdev, 5, &id), 0, "attach of PASID 5");
	expect_rc(run, vfio_device_detach(run->vdev), 0, "detach of the device");
	expect(run, driver->fill(run, 0, MEMORY_IOVA, 16, 0x77) > 0, "DMA of a detached device");
	expect_rc(run, attach(run, run->space), 0, "attach of the device");
	expect_rc(run, driver->fill(run, 5, MEMORY_IOVA, 4096, 0x66), 0, "DMA of PASID 5");
	expect_rc(run, vfio_device_pasid_detach(run->vdev, 5), 0, "detach of PASID 5");
	expect_rc(run, ioas_destroy(other), 0, "destroying the space");
}

const struct contract_test pasid_tests[] = {
	{"pasid.without_the_capability_they_are_refused",
	 "vfio_device_ops.pasid_attach_ioas, vfio_device.max_pasids", 0, 0,
	 without_the_capability_they_are_refused},
	{"pasid.ids_are_checked",
	 "vfio_device_ops.pasid_attach_ioas, vfio_device_ops.pasid_detach_ioas, "
	 "vfio_device.max_pasids",
	 HAS_PASID, 0, ids_are_checked},
	{"pasid.attachments_are_tracked_and_freed",
	 "vfio_device.pasids, vfio_device_ops.unbind_iommufd", HAS_PASID, 0,
	 attachments_are_tracked_and_freed},
	{"pasid.each_reaches_its_own_space",
	 "vfio_device_ops.pasid_attach_ioas, vfio_device_ops.pasid_detach_ioas",
	 HAS_PASID | HAS_DMA, 0, each_reaches_its_own_space},
	{0},
};
