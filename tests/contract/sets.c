/* SPDX-License-Identifier: Apache-2.0 */
/* Device sets: who is reset together, and what is done under the set's lock. */
#include <errno.h>
#include <string.h>

#include "tests/contract/contract.h"
#include "tests/contract/spy.h"

static void a_device_is_in_one_set(struct run *run)
{
	struct vfio_device_set *set = run->vdev->dev_set;
	unsigned members = 0;

	if (!expect(run, set, "in no set"))
		return;
	for (struct vfio_device *member = set->device_list; member; member = member->dev_set_list)
		members += member == run->vdev ? 1 : 1000;
	expect(run, members == 1 && set->device_count == 1, "%u members, counted %u", members,
	       set->device_count);
	expect_rc(run, vfio_assign_device_set(run->vdev, &run->sets, 1), -EBUSY, "another set");
	expect_rc(run, vfio_device_set_open_count(set), 0, "open devices before open");
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, vfio_device_set_open_count(set), 1, "open devices");
	vfio_device_close(run->vdev);
	expect_rc(run, vfio_device_set_open_count(set), 0, "open devices after close");
}

static void life_is_under_the_lock(struct run *run)
{
	struct spy *spy = spy_on(run->vdev);

	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, attach(run, run->space), 0, "attach");
	expect_rc(run, vfio_device_detach(run->vdev), 0, "detach");
	vfio_device_close(run->vdev);
	expect(run, spy->calls == 6 && !spy->unlocked, "%u of %u calls without the lock: %s",
	       spy->unlocked, spy->calls, spy->order);
}

static void count_call(void *ctx)
{
	++*(unsigned *)ctx;
}

static void hot_reset_revokes_under_the_lock(struct run *run)
{
	struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset)};
	struct spy *spy = spy_on(run->vdev);
	unsigned revoked = 0;

	vfio_device_set_revoke(run->vdev, count_call, &revoked);
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_PCI_HOT_RESET, &reset), 0,
		  "hot reset");
	expect(run, spy->hot_resets == 1 && !spy->unlocked_resets, "%u resets, %u without the lock",
	       spy->hot_resets, spy->unlocked_resets);
	expect(run, revoked == 1, "revoked %u times", revoked);
	expect(run, run->vdev->reset_method && !strcmp(run->vdev->reset_method, "hot"),
	       "the reset is not noted");
	vfio_device_set_revoke(run->vdev, NULL, NULL);
}

const struct contract_test sets_tests[] = {
	{"sets.a_device_is_in_one_set",
	 "vfio_device.dev_set, vfio_device.dev_set_list, vfio_device_set.set_id, "
	 "vfio_device_set.device_list, vfio_device_set.device_count, vfio_device_set.sets, "
	 "vfio_device_set.next",
	 0, CLOSED, a_device_is_in_one_set},
	{"sets.life_is_under_the_lock", "vfio_device_set.lock", 0, CLOSED, life_is_under_the_lock},
	{"sets.hot_reset_revokes_under_the_lock",
	 "vfio_device_set.lock, vfio_device.revoke, vfio_device.revoke_ctx, "
	 "vfio_device.reset_method",
	 0, CLOSED, hot_reset_revokes_under_the_lock},
	{0},
};
