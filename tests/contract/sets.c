/* SPDX-License-Identifier: Apache-2.0 */
/* Device sets: who is reset together, and what is done under the set's lock. */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/core.h"
#include "tests/contract/contract.h"
#include "tests/contract/spy.h"
#include "vmm/base/kvm.h"

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
	expect(run, set->sets == &run->sets && run->sets.list == set && !set->next,
	       "not the only set of the VM");
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
	expect(run, spy->hot_resets == 1 && !spy->unlocked, "%u resets, %u without the lock",
	       spy->hot_resets, spy->unlocked);
	expect(run, revoked == 1, "revoked %u times", revoked);
	expect(run, run->vdev->reset_method && !strcmp(run->vdev->reset_method, "hot"),
	       "the reset is not noted");
	vfio_device_set_revoke(run->vdev, NULL, NULL);
}

/* ---- two devices of one set ------------------------------------------------------------------- */

#define SHARED_SET 0x5e7

/*
 * The device of the test and another of the VM in one set, whatever their buses say: what the core does
 * with a set is the same for any two. NULL: failed.
 */
static struct vfio_device *pair(struct run *run)
{
	struct vfio_device *other = other_make(run);

	if (!other)
		return NULL;
	vfio_release_device_set(run->vdev);
	vfio_release_device_set(other);
	expect_rc(run, vfio_assign_device_set(run->vdev, &run->sets, SHARED_SET), 0, "the set");
	expect_rc(run, vfio_assign_device_set(other, &run->sets, SHARED_SET), 0, "the same set");
	return other;
}

static void two_devices_share_one(struct run *run)
{
	struct vfio_device *other = pair(run);
	struct vfio_device_set *set = run->vdev->dev_set;

	if (!other)
		return;
	expect(run, other->dev_set == set, "they are in two sets");
	expect(run, set->set_id == SHARED_SET, "the id is %#llx", (unsigned long long)set->set_id);
	expect(run, set->device_count == 2, "%u devices", set->device_count);
	expect(run,
	       set->device_list == other && other->dev_set_list == run->vdev &&
		       !run->vdev->dev_set_list,
	       "the list is not the two of them");
	expect(run, run->sets.list == set && !set->next, "another set besides");
	expect(run, vfio_device_sets_find(&run->sets, other->dev) != NULL,
	       "the other is not found");

	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, vfio_device_set_open_count(set), 1, "open devices");
	expect_rc(run, device_open(run, other), 0, "open of the other");
	expect_rc(run, vfio_device_set_open_count(set), 2, "open devices");
	expect(run, run->kvm->refcount == 3, "%u references to the VM", run->kvm->refcount);
	vfio_device_close(run->vdev);
	expect_rc(run, vfio_device_set_open_count(set), 1, "open devices after one close");
	expect(run, run->kvm->refcount == 2, "%u references to the VM", run->kvm->refcount);

	/* The one that goes does not take the set along; the other goes on in it. */
	step(run, "giving the other one back");
	device_give_back(other);
	expect(run, set->device_count == 1 && set->device_list == run->vdev, "%u devices are left",
	       set->device_count);
	expect_rc(run, device_open(run, run->vdev), 0, "open again");
}

struct user {
	struct run *run;
	struct vfio_device *vdev;
	int rc;
};

static void *open_and_close(void *arg)
{
	struct user *user = arg;
	uint32_t id;

	for (int i = 0; i < 3 && !user->rc; i++) {
		id = ioas_id(user->run->space);
		user->rc = device_open(user->run, user->vdev);
		user->rc = user->rc ? user->rc : vfio_device_attach(user->vdev, &id);
		vfio_device_close(user->vdev);
	}
	return NULL;
}

/* Two threads, each with a device of its own: what happens to one waits for what happens to the other. */
static void one_lock_is_for_all(struct run *run)
{
	struct spy *spy = spy_on(run->vdev);
	struct vfio_device *other = pair(run);
	struct user users[2] = {{run, run->vdev, 0}, {run, other, 0}};
	struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset)};
	pthread_t thread;

	if (!other || !expect(run, spy_also_on(other), "the other is of another provider"))
		return;
	spy->dawdle_us = 1000;
	pthread_create(&thread, NULL, open_and_close, &users[1]);
	open_and_close(&users[0]);
	pthread_join(thread, NULL);
	expect_rc(run, users[0].rc, 0, "open and attach");
	expect_rc(run, users[1].rc, 0, "open and attach of the other");
	expect(run, spy->calls == 36 && !spy->unlocked && !spy->overlaps,
	       "%u calls, %u of them without the lock, %u while another was not back", spy->calls,
	       spy->unlocked, spy->overlaps);

	step(run, "hot resets of one beside open and close of the other");
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	pthread_create(&thread, NULL, open_and_close, &users[1]);
	for (int i = 0; i < 6; i++)
		expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_PCI_HOT_RESET, &reset), 0,
			  "hot reset");
	pthread_join(thread, NULL);
	expect_rc(run, users[1].rc, 0, "open and attach of the other");
	expect(run, spy->hot_resets == 6 && !spy->unlocked && !spy->overlaps,
	       "%u resets, %u calls without the lock, %u while another was not back",
	       spy->hot_resets, spy->unlocked, spy->overlaps);
	vfio_device_close(run->vdev);
	device_give_back(other);
}

/* Every device that is open loses its mappings before decode goes off, whoever asked for the reset. */
static void hot_reset_revokes_every_member(struct run *run)
{
	struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset)};
	struct spy *spy = spy_on(run->vdev);
	struct vfio_device *other = pair(run);
	unsigned revoked = 0, revoked_other = 0;

	if (!other)
		return;
	vfio_device_set_revoke(run->vdev, count_call, &revoked);
	vfio_device_set_revoke(other, count_call, &revoked_other);
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_PCI_HOT_RESET, &reset), 0,
		  "hot reset");
	expect(run, revoked == 1 && !revoked_other, "revoked %u times, and %u times a closed one",
	       revoked, revoked_other);
	expect(run, !other->reset_method, "a closed device has a reset method");

	expect_rc(run, device_open(run, other), 0, "open of the other");
	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_PCI_HOT_RESET, &reset), 0,
		  "hot reset of both");
	expect(run, revoked == 2 && revoked_other == 1, "revoked %u times, the other %u times",
	       revoked, revoked_other);
	expect(run, other->reset_method && !strcmp(other->reset_method, "hot"),
	       "the other does not know of it");
	expect(run, spy->hot_resets == 2, "the provider was asked %u times", spy->hot_resets);
	vfio_device_set_revoke(run->vdev, NULL, NULL);
	vfio_device_set_revoke(other, NULL, NULL);
	vfio_device_close(run->vdev);
	device_give_back(other);
}

/* ---- the kernel's own set, as the driver of the device sees it ---------------------------------- */

/* In another process: another VM, with the other device. */
static int other_user(struct run *run)
{
	static const struct contract_test test = {.id = "another process", .flags = ALONE};
	static struct run other;
	struct user user = {.run = &other};

	other = (struct run){
		.target = run->target, .test = &test, .device = run->other, .result = run->result};
	user.rc = run_begin(&other);
	user.rc = user.rc ? user.rc : device_make(&other, &user.vdev);
	for (int i = 0; i < 3 && !user.rc; i++)
		open_and_close(&user);
	return user.rc;
}

/* Two processes, which share no lock of ours. */
static void the_driver_is_called_under_the_lock(struct run *run)
{
	struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset)};
	struct user user = {.run = run, .vdev = run->vdev};
	const long before = control_get(run, "set_calls");

	if (!expect(run, run->other, "--other names no second device"))
		return;
	control_set(run, "set_delay_us", "1000");
	other_do(run, other_user);
	for (int i = 0; i < 3 && !user.rc; i++)
		open_and_close(&user);
	expect_rc(run, user.rc, 0, "open and attach");
	/* A hot reset is under the lock as well: refused, since the sibling is another's, or nobody's. */
	if (run->target->has & HAS_SIBLING) {
		expect_rc(run, device_open(run, run->vdev), 0, "open");
		for (int i = 0; i < 6; i++)
			expect_rc(run,
				  vfio_device_ioctl(run->vdev, VFIO_DEVICE_PCI_HOT_RESET, &reset),
				  -EINVAL, "hot reset of a set that another process has");
		vfio_device_close(run->vdev);
	}
	expect_rc(run, other_done(run), 0, "open and attach of the other");
	control_set(run, "set_delay_us", "0");
	expect(run, control_get(run, "set_calls") >= before + 36, "the driver was called %ld times",
	       control_get(run, "set_calls") - before);
	expect_rc(run, control_get(run, "set_unlocked"), 0, "calls without the set's lock");
	expect_rc(run, control_get(run, "set_overlaps"), 0, "calls while another was not back");
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
	{"sets.two_devices_share_one",
	 "vfio_device.dev_set, vfio_device.dev_set_list, vfio_device_set.set_id, "
	 "vfio_device_set.device_list, vfio_device_set.device_count, vfio_device_set.next",
	 0, CLOSED, two_devices_share_one},
	{"sets.one_lock_is_for_all", "vfio_device_set.lock", 0, CLOSED, one_lock_is_for_all},
	{"sets.hot_reset_revokes_every_member",
	 "vfio_device_set.lock, vfio_device.revoke, vfio_device.reset_method", 0, CLOSED,
	 hot_reset_revokes_every_member},
	{"sets.the_driver_is_called_under_the_lock",
	 "vfio_device_set.lock, vfio_device_ops.open_device, vfio_device_ops.close_device",
	 HAS_DRIVER_SEEN, CLOSED | OTHERS, the_driver_is_called_under_the_lock},
	{0},
};
