/* SPDX-License-Identifier: Apache-2.0 */
/* Bind, attach, replace, detach: which address space a device has. */
#include <errno.h>
#include <string.h>

#include "tests/contract/contract.h"
#include "tests/contract/spy.h"

static void bound_as_what_it_is(struct run *run)
{
	const bool physical = run->target->has & HAS_PHYSICAL;

	expect(run, run->vdev->iommufd_ictx == run->ictx, "bound to another context");
	expect_rc(run, run->vdev->iommufd_kind,
		  physical ? VFIO_IOMMUFD_PHYSICAL : VFIO_IOMMUFD_EMULATED, "the kind");
	expect(run, run->vdev->iommufd_devid, "no device id");
	expect(run, !run->vdev->iommufd_attached && !run->vdev->iommufd_pt_id, "attached already");
}

static void attach_and_detach(struct run *run)
{
	uint32_t id = ioas_id(run->space);

	expect_rc(run, vfio_device_attach(run->vdev, &id), 0, "attach");
	expect(run, run->vdev->iommufd_attached, "not attached");
	expect(run, id && run->vdev->iommufd_pt_id == id, "attached to %u, told %u",
	       run->vdev->iommufd_pt_id, id);
	expect_rc(run, ioas_destroy(run->space), -EBUSY, "destroying the space of a device");
	expect_rc(run, vfio_device_detach(run->vdev), 0, "detach");
	expect(run, !run->vdev->iommufd_attached && !run->vdev->iommufd_pt_id, "attached still");
	expect_rc(run, vfio_device_detach(run->vdev), 0, "detach again");
	expect_rc(run, attach(run, run->space), 0, "attach again");
}

static void an_unknown_space_is_refused(struct run *run)
{
	uint32_t id = 12345;

	expect_rc(run, vfio_device_attach(run->vdev, &id), -ENOENT, "an unknown space");
	expect_rc(run, id, 12345, "the id after the failure");
	expect(run, !run->vdev->iommufd_attached, "attached to nothing");
	id = 0;
	expect_rc(run, vfio_device_attach(run->vdev, &id), -ENOENT, "space 0");
}

static void replace_takes_the_old_one_along(struct run *run)
{
	struct ioas *other = space_create(run, MEMORY_SIZE / 2, 0x10000);
	uint32_t id;

	if (!other)
		return;
	id = ioas_id(other);
	expect_rc(run, vfio_device_attach(run->vdev, &id), 0, "replace");
	expect_rc(run, ioas_destroy(other), -EBUSY, "destroying the new space");
	expect_rc(run, attach(run, other), 0, "the same one again");
	expect_rc(run, attach(run, run->space), 0, "and back");
	expect_rc(run, ioas_destroy(other), 0, "destroying the space that was left");
}

static void replace_is_atomic(struct run *run)
{
	struct spy *spy = spy_on(run->vdev);
	uint32_t before, id = 12345;

	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, attach(run, run->space), 0, "attach");
	before = run->vdev->iommufd_pt_id;
	expect_rc(run, vfio_device_attach(run->vdev, &id), -ENOENT,
		  "replacing by an unknown space");
	expect(run, run->vdev->iommufd_attached && run->vdev->iommufd_pt_id == before,
	       "the old attachment is lost");
	expect_rc(run, ioas_destroy(run->space), -EBUSY, "destroying the space that stayed");
	spy->fail_attach = -ENOMEM;
	expect_rc(run, attach(run, run->space), -ENOMEM, "a replacement that fails");
	expect(run, run->vdev->iommufd_attached && run->vdev->iommufd_pt_id == before,
	       "the old attachment is lost");
}

static void detach_is_idempotent(struct run *run)
{
	struct spy *spy = spy_on(run->vdev);

	expect_rc(run, device_open(run, run->vdev), 0, "open");
	for (int i = 0; i < 3; i++)
		expect_rc(run, vfio_device_detach(run->vdev), 0, "detach of the detached");
	expect_rc(run, attach(run, run->space), 0, "attach");
	for (int i = 0; i < 3; i++)
		expect_rc(run, vfio_device_detach(run->vdev), 0, "detach %d", i);
	expect(run, !strcmp(spy->order, "bind open attach detach"), "the provider saw: %s",
	       spy->order);
}

static void close_detaches(struct run *run)
{
	struct ioas *other = space_create(run, 0, 0x10000);

	if (!other)
		return;
	expect_rc(run, attach(run, other), 0, "attach");
	vfio_device_close(run->vdev);
	expect(run, !run->vdev->iommufd_attached && !run->vdev->iommufd_pt_id, "attached still");
	expect_rc(run, ioas_destroy(other), 0, "destroying the space of a closed device");
	step(run, "open again");
	expect_rc(run, device_open(run, run->vdev), 0, "open again");
	expect(run, !run->vdev->iommufd_attached, "attached after the open");
}

static void memory_comes_and_goes_while_attached(struct run *run)
{
	struct ioas_area area = {.iova = MEMORY_IOVA + 2 * MEMORY_SIZE,
				 .length = 0x10000,
				 .fd = run->memfd,
				 .hva = run->memory,
				 .rights = IOAS_READ | IOAS_WRITE};

	for (int i = 0; i < 3; i++) {
		expect_rc(run, ioas_map(run->space, &area), 0, "map while attached");
		expect_rc(run, ioas_map(run->space, &area), -EEXIST, "map it again");
		expect_rc(run, ioas_unmap(run->space, area.iova, 0x1000), -ENOENT,
			  "unmap a part of it");
		expect_rc(run, ioas_unmap(run->space, area.iova, area.length), 0,
			  "unmap while attached");
	}
	/* The call of a device that reads memory without a mirror: nothing to wait for is fine too. */
	vfio_device_dma_unmap(run->vdev, area.iova, area.length);
}

static void commands_are_checked_as_in_the_kernel(struct run *run)
{
	struct vfio_device_attach_iommufd_pt attach_pt = {.argsz = 12,
							  .pt_id = ioas_id(run->space)};
	struct vfio_device_detach_iommufd_pt detach_pt = {.argsz = 8};
	struct vfio_device *vdev = run->vdev;

	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, NULL), -EFAULT,
		  "ATTACH without a structure");
	attach_pt.argsz = 11;
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach_pt), -EINVAL,
		  "ATTACH of 11 bytes");
	attach_pt.argsz = 12;
	attach_pt.flags = 2;
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach_pt), -EINVAL,
		  "ATTACH with an unknown flag");
	attach_pt.flags = 0;
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach_pt), 0,
		  "ATTACH");
	expect(run, vdev->iommufd_attached && attach_pt.pt_id == vdev->iommufd_pt_id,
	       "attached to %u, told %u", vdev->iommufd_pt_id, attach_pt.pt_id);

	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, NULL), -EFAULT,
		  "DETACH without a structure");
	detach_pt.argsz = 7;
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach_pt), -EINVAL,
		  "DETACH of 7 bytes");
	detach_pt.argsz = 8;
	detach_pt.flags = 2;
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach_pt), -EINVAL,
		  "DETACH with an unknown flag");
	expect(run, vdev->iommufd_attached, "a refused DETACH detached");
	detach_pt.flags = 0;
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach_pt), 0,
		  "DETACH");
	expect(run, !vdev->iommufd_attached, "attached still");
}

const struct contract_test iommu_tests[] = {
	{"iommu.bound_as_what_it_is",
	 "vfio_device.iommufd_ictx, vfio_device.iommufd_kind, vfio_device.iommufd_devid", 0,
	 DETACHED, bound_as_what_it_is},
	{"iommu.attach_and_detach",
	 "vfio_device_ops.attach_ioas, vfio_device_ops.detach_ioas, vfio_device.iommufd_attached, "
	 "vfio_device.iommufd_pt_id",
	 0, DETACHED, attach_and_detach},
	{"iommu.an_unknown_space_is_refused", "vfio_device_ops.attach_ioas", 0, DETACHED,
	 an_unknown_space_is_refused},
	{"iommu.replace_takes_the_old_one_along", "vfio_device_ops.attach_ioas", 0, 0,
	 replace_takes_the_old_one_along},
	{"iommu.replace_is_atomic", "vfio_device_ops.attach_ioas, vfio_device.iommufd_attached", 0,
	 CLOSED, replace_is_atomic},
	{"iommu.detach_is_idempotent", "vfio_device_ops.detach_ioas", 0, CLOSED,
	 detach_is_idempotent},
	{"iommu.close_detaches", "vfio_device_ops.detach_ioas, vfio_device_ops.unbind_iommufd", 0,
	 DETACHED, close_detaches},
	{"iommu.memory_comes_and_goes_while_attached", "vfio_device_ops.dma_unmap", 0, 0,
	 memory_comes_and_goes_while_attached},
	{"iommu.commands_are_checked_as_in_the_kernel",
	 "vfio_device_ops.attach_ioas, vfio_device_ops.detach_ioas", 0, DETACHED,
	 commands_are_checked_as_in_the_kernel},
	{0},
};
