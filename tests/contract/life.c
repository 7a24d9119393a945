/* SPDX-License-Identifier: Apache-2.0 */
/* Registration, open and close, the KVM association, names and the state as data. */
#include <errno.h>
#include <jansson.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/contract/contract.h"
#include "tests/contract/spy.h"
#include "vmm/base/kvm.h"

/* ---- open ------------------------------------------------------------------------------------- */

static void refuses_everything(struct run *run, const char *when)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct vfio_region_info region_info = {.argsz = sizeof(region_info)};
	struct vfio_device_feature probe = {
		.argsz = sizeof(probe),
		.flags = VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_MIGRATION,
	};
	struct vfio_device *vdev = run->vdev;
	struct vfio_precopy_info precopy = {.argsz = sizeof(precopy)};
	uint32_t id = ioas_id(run->space), count = 0;
	uint64_t offset;
	uint8_t byte = 0;
	int fd;

	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_GET_INFO, &info), -EINVAL, "%s: info",
		  when);
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_GET_REGION_INFO, &region_info), -EINVAL,
		  "%s: region info", when);
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_FEATURE, &probe), -EINVAL,
		  "%s: a feature", when);
	expect_rc(run, vfio_device_ioctl(vdev, VFIO_DEVICE_RESET, NULL), -EINVAL, "%s: reset",
		  when);
	expect_rc(run, vfio_device_read(vdev, &byte, 1, 0), -EINVAL, "%s: read", when);
	expect_rc(run, vfio_device_write(vdev, &byte, 1, 0), -EINVAL, "%s: write", when);
	expect_rc(run, vfio_device_mmap(vdev, run->memory, 4096, PROT_READ, 0), -EINVAL, "%s: mmap",
		  when);
	expect_rc(run, vfio_device_region_fd(vdev, 0, true, &fd, &offset), -EINVAL,
		  "%s: a region's descriptor", when);
	expect_rc(run, vfio_device_region_ioeventfds(vdev, 0, NULL, &count), -EINVAL,
		  "%s: a region's doorbells", when);
	expect_rc(run, vfio_device_mig_read(vdev, -1, &byte, 1), -EINVAL, "%s: migration data",
		  when);
	expect_rc(run, vfio_device_mig_write(vdev, -1, &byte, 1), -EINVAL, "%s: migration data in",
		  when);
	expect_rc(run, vfio_device_mig_precopy_info(vdev, -1, &precopy), -EINVAL,
		  "%s: PRE_COPY info", when);
	vfio_device_dma_unmap(vdev, MEMORY_IOVA, MEMORY_SIZE);
	expect_rc(run, vfio_device_attach(vdev, &id), -EINVAL, "%s: attach", when);
	expect_rc(run, vfio_device_detach(vdev), -EINVAL, "%s: detach", when);
	expect_rc(run, vfio_device_pasid_attach(vdev, 1, &id), -EINVAL, "%s: PASID attach", when);
	expect_rc(run, vfio_device_pasid_detach(vdev, 1), -EINVAL, "%s: PASID detach", when);
	expect(run, !vdev->access_granted, "%s: access is granted", when);
}

static void closed_refuses_everything(struct run *run)
{
	refuses_everything(run, "before open");
	step(run, "open and close");
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect(run, run->vdev->access_granted, "access is not granted after open");
	vfio_device_close(run->vdev);
	refuses_everything(run, "after close");
	/* Closing what is closed is nothing. */
	vfio_device_close(run->vdev);
}

static void one_open(struct run *run)
{
	expect(run, run->vdev->open_count == 1, "open_count is %u", run->vdev->open_count);
	expect_rc(run, vfio_device_open(run->vdev, run->ictx), -EINVAL, "a second open");
	expect(run, run->vdev->open_count == 1, "open_count is %u then", run->vdev->open_count);
	config_read(run, 0, 4);
	vfio_device_close(run->vdev);
	expect(run, !run->vdev->open_count, "open_count is %u at the end", run->vdev->open_count);
}

static void binding_is_no_command(struct run *run)
{
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = 0};

	expect_rc(run, vfio_device_ioctl(run->vdev, VFIO_DEVICE_BIND_IOMMUFD, &bind), -EINVAL,
		  "BIND of a bound device");
	expect(run, run->vdev->iommufd_ictx == run->ictx, "bound to another context");
}

static void open_wants_address_spaces(struct run *run)
{
	expect_rc(run, vfio_device_open(run->vdev, NULL), -EINVAL, "open without address spaces");
	expect(run, !run->vdev->open_count && !run->vdev->iommufd_ictx, "something is open");
}

static void order_is_the_kernels(struct run *run)
{
	struct spy *spy = spy_on(run->vdev);

	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, attach(run, run->space), 0, "attach");
	vfio_device_close(run->vdev);
	expect(run, !strcmp(spy->order, "bind open attach close detach unbind"),
	       "the order was: %s", spy->order);
	expect(run,
	       !run->vdev->iommufd_ictx && run->vdev->iommufd_kind == VFIO_IOMMUFD_NONE &&
		       !run->vdev->iommufd_devid,
	       "bound after close");
}

static void cycles_leave_nothing(struct run *run)
{
	size_t fds;

	/* The first makes what stays for the VM: the kvm-vfio device. */
	expect_rc(run, device_open(run, run->vdev), 0, "the first open");
	vfio_device_close(run->vdev);
	fds = count_fds(run);
	for (int i = 0; i < 3; i++) {
		step(run, "cycle %d", i);
		expect_rc(run, device_open(run, run->vdev), 0, "open in cycle %d", i);
		expect_rc(run, attach(run, run->space), 0, "attach in cycle %d", i);
		vfio_device_close(run->vdev);
	}
	expect(run, count_fds(run) == fds, "%zu descriptors, %zu before", count_fds(run), fds);
	expect(run, run->kvm->refcount == 1, "%u references to the VM", run->kvm->refcount);
}

/* ---- other processes -------------------------------------------------------------------------- */

static const struct contract_test in_other_process = {.id = "another process", .flags = CLOSED};

/* A VM of its own with the same device, opened. */
static int other_open(struct run *run, struct run *other)
{
	int rc;

	*other = (struct run){.target = run->target,
			      .test = &in_other_process,
			      .device = run->device,
			      .other = run->other,
			      .result = run->result};
	rc = run_begin(other);
	return rc ? rc : device_open(other, other->vdev);
}

static int opens(struct run *run)
{
	static struct run other;

	return other_open(run, &other);
}

static void one_open_in_the_system(struct run *run)
{
	other_do(run, opens);
	expect_rc(run, other_done(run), answer(run, "errno", -EINVAL), "open by another process");
	config_read(run, 0, 4);
}

static int opens_and_attaches(struct run *run)
{
	static struct run other;
	const int rc = other_open(run, &other);

	return rc ? rc : attach(&other, other.space);
}

static bool opens_again(void *ctx)
{
	struct run *run = ctx;

	return !device_open(run, run->vdev);
}

static void kill_leaves_nothing(struct run *run)
{
	other_do(run, opens_and_attaches);
	step(run, "waiting for the other process to open the device");
	expect_rc(run, other_done(run), 0, "open and attach by the other process");
	other_end(run, SIGKILL);
	/* The last reference of a dead process is dropped by a worker of the kernel, or the server. */
	step(run, "opening the device that a dead process had");
	wait_until(opens_again, run);
	expect_rc(run, attach(run, run->space), 0, "attach");
	config_read(run, 0, 4);
	expect(run, run->kvm->refcount == 2, "%u references to the VM", run->kvm->refcount);
}

/* ---- registration ----------------------------------------------------------------------------- */

static void open_wants_registration(struct run *run)
{
	expect(run, vfio_device_try_get_registration(run->vdev), "not registered");
	expect(run, run->vdev->refcount == 2, "%u registration references", run->vdev->refcount);
	vfio_device_put_registration(run->vdev);
	vfio_unregister_device(run->vdev);
	expect(run, !vfio_device_try_get_registration(run->vdev), "registered still");
	expect_rc(run, device_open(run, run->vdev), -ENODEV, "open of an unregistered device");
	vfio_device_free(run->vdev);
	run->vdev = NULL;
}

struct unregister {
	struct vfio_device *vdev;
	atomic_bool done;
};

static void *unregister_thread(void *arg)
{
	struct unregister *unregister = arg;

	vfio_unregister_device(unregister->vdev);
	atomic_store(&unregister->done, true);
	return NULL;
}

static bool unregistering(void *ctx)
{
	struct unregister *unregister = ctx;
	bool begun;

	pthread_mutex_lock(&unregister->vdev->lock);
	begun = !unregister->vdev->registered;
	pthread_mutex_unlock(&unregister->vdev->lock);
	return begun;
}

static void unregister_waits_for_the_last_reference(struct run *run)
{
	struct unregister unregister = {.vdev = run->vdev};
	pthread_t thread;

	pthread_create(&thread, NULL, unregister_thread, &unregister);
	step(run, "waiting for the unregister to begin");
	wait_until(unregistering, &unregister);
	expect(run, !vfio_device_try_get_registration(run->vdev),
	       "a new reference while it unregisters");
	/* The device works as long as it is open. */
	config_read(run, 0, 4);
	expect(run, !atomic_load(&unregister.done), "unregister returned before the close");
	step(run, "closing, which ends the unregister");
	vfio_device_close(run->vdev);
	pthread_join(thread, NULL);
	vfio_device_free(run->vdev);
	run->vdev = NULL;
}

static void release_runs_once(struct run *run)
{
	struct spy *spy = spy_on(run->vdev);

	expect_rc(run, device_open(run, run->vdev), 0, "open");
	vfio_device_close(run->vdev);
	vfio_unregister_device(run->vdev);
	expect(run, !spy->releases, "released before it was freed");
	vfio_device_free(run->vdev);
	run->vdev = NULL;
	expect(run, spy->releases == 1, "released %u times", spy->releases);
}

/* ---- KVM -------------------------------------------------------------------------------------- */

static void kvm_is_referenced_while_open(struct run *run)
{
	expect(run, run->kvm->refcount == 1, "%u references at first", run->kvm->refcount);
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect(run, run->vdev->kvm == run->kvm && run->vdev->put_kvm, "no VM in the device");
	expect(run, run->kvm->refcount == 2, "%u references while open", run->kvm->refcount);
	expect_rc(run, vfio_device_set_kvm(run->vdev, NULL), -EBUSY, "another VM while open");
	vfio_device_close(run->vdev);
	expect(run, !run->vdev->kvm && !run->vdev->put_kvm, "a VM in the closed device");
	expect(run, run->kvm->refcount == 1, "%u references after close", run->kvm->refcount);

	step(run, "open without a VM");
	expect_rc(run, vfio_device_set_kvm(run->vdev, NULL), 0, "no VM");
	expect_rc(run, vfio_device_open(run->vdev, run->ictx), 0, "open without a VM");
	expect(run, !run->vdev->kvm, "a VM that nobody gave");
}

/* What the driver itself says: a real KVM, not a number of ours. */
static void the_driver_sees_the_kvm(struct run *run)
{
	expect_rc(run, control_get(run, "holds_kvm"), 0, "a KVM held before open");
	expect_rc(run, device_open(run, run->vdev), 0, "open");
	expect_rc(run, control_get(run, "opened_with_kvm"), 1, "a KVM at open");
	expect_rc(run, control_get(run, "holds_kvm"), 1, "a KVM held while open");
	vfio_device_close(run->vdev);
	expect_rc(run, control_get(run, "holds_kvm"), 0, "a KVM held after close");
	expect_rc(run, vfio_device_set_kvm(run->vdev, NULL), 0, "no VM");
	expect_rc(run, vfio_device_open(run->vdev, run->ictx), 0, "open without a VM");
	expect_rc(run, control_get(run, "opened_with_kvm"), 0, "a KVM at an open without");
	expect_rc(run, control_get(run, "holds_kvm"), 0, "a KVM held without");
}

static void a_device_may_need_a_kvm(struct run *run)
{
	control_set(run, "needs_kvm", "1");
	expect_rc(run, vfio_device_set_kvm(run->vdev, NULL), 0, "no VM");
	expect_rc(run, vfio_device_open(run->vdev, run->ictx), -ESRCH, "open without a KVM");
	expect_rc(run, control_get(run, "open_count"), 0, "opened in spite of that");
	expect_rc(run, vfio_device_set_kvm(run->vdev, run->kvm), 0, "a VM");
	expect_rc(run, device_open(run, run->vdev), 0, "open with one");
	control_set(run, "needs_kvm", "0");
}

static bool closed_in_the_kernel(void *ctx)
{
	return control_get(ctx, "open_count") == 0;
}

/* Of the other device (--other), which this process has not. */
static long other_control_get(struct run *run, const char *name)
{
	char directory[128];
	long value;

	snprintf(directory, sizeof(directory), "%s/reference", run->other);
	run->control = directory;
	value = control_get(run, name);
	run->control = NULL;
	return value;
}

static bool both_closed_in_the_kernel(void *ctx)
{
	return closed_in_the_kernel(ctx) && other_control_get(ctx, "open_count") == 0;
}

static int opens_both(struct run *run)
{
	static struct run other;
	struct vfio_device *second;
	const int rc = other_open(run, &other);

	if (rc)
		return rc;
	second = other_make(&other);
	return second ? device_open(&other, second) : -EIO;
}

/* Both devices of a VM: nobody but the kernel is left to put what they hold. */
static void kill_puts_the_kvm(struct run *run)
{
	if (!expect(run, run->other, "--other names no second device"))
		return;
	other_do(run, opens_both);
	step(run, "waiting for the other process to open the devices");
	expect_rc(run, other_done(run), 0, "open by the other process");
	expect_rc(run, control_get(run, "holds_kvm"), 1, "a KVM held by the other process");
	expect_rc(run, other_control_get(run, "holds_kvm"), 1, "a KVM held by its other device");
	other_end(run, SIGKILL);
	step(run, "waiting for the kernel to close what a dead process had");
	wait_until(both_closed_in_the_kernel, run);
	expect_rc(run, control_get(run, "holds_kvm"), 0, "a KVM held after the kill");
	expect_rc(run, other_control_get(run, "holds_kvm"), 0,
		  "a KVM held by the other device after the kill");
}

/* ---- names and state -------------------------------------------------------------------------- */

static void names_match(struct run *run)
{
	struct vfio_config config = {.name = run->device, .fd = -1};
	struct vfio_device *vdev = run->vdev;
	unsigned takers = 0;

	for (const struct vfio_provider *const *p = vfio_providers; *p; p++)
		takers += (*p)->match(&config) > 0;
	expect(run, takers == 1, "%u providers take the name", takers);
	expect(run, vdev->dev && vdev->dev[0], "no name");
	expect(run, vdev->ops->name && vdev->ops->name[0], "no provider's name");
	expect(run,
	       vdev->ops->bind_iommufd && vdev->ops->unbind_iommufd && vdev->ops->attach_ioas &&
		       vdev->ops->detach_ioas,
	       "registered with less than the ops that are required");
	expect(run, vfio_device_match(vdev, vdev->dev) > 0, "it does not answer to %s", vdev->dev);
	expect_rc(run, vfio_device_match(vdev, "no such device"), 0, "a name of something else");
	expect(run, vfio_device_sets_find(&run->sets, vdev->dev) == vdev, "not found in its set");
	expect(run, !vfio_device_sets_find(&run->sets, "no such device"), "found something else");
}

/* @format with the device's name in it. */
static int match_with(struct run *run, const char *format)
{
	char name[512];

	snprintf(name, sizeof(name), format, run->vdev->dev);
	return vfio_device_match(run->vdev, name);
}

/* The name and what may follow it: vfio_pci_core_match() of the kernel. */
static void malformed_names_are_refused(struct run *run)
{
	static const char *const others[] = {"", " ", "%sx", "x%s", "%s/.x", " %s"};
	static const char *const malformed[] = {
		"%s ",
		"%s  vf_token=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001",
		"%s vf_token",
		"%s vf_token=",
		"%s vf_token=83b8f4f2-509f-382f-3c1e-e6bfe0fa100",
		"%s vf_token=83b8f4f2-509f-382f-3c1e-e6bfe0fa10011",
		"%s vf_token=83b8f4f2509f382f3c1ee6bfe0fa1001",
		"%s vf_token=83b8f4f2-509f-382f-3c1e-e6bfe0fa100g",
		"%s vf_token=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001 more",
		"%s another=option",
	};
	/* To a provider, who has not got the device yet. */
	static const char *const kinds[] = {
		"",         "0000:01:00", "soft:", "soft:nothing",
		"user:",    "fd=",        "fd=-1", "/dev/vfio/devices/vfio",
		"/dev/null"};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		expect_rc(run, match_with(run, others[i]), 0, "\"%s\"", others[i]);
	for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
		expect_rc(run, match_with(run, malformed[i]), -EINVAL, "\"%s\"", malformed[i]);
	/* Well-formed, of a device that needs none; of a kernel device only BIND can tell. */
	expect_rc(run, match_with(run, "%s vf_token=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"),
		  run->vdev->ops->match_token_uuid ? 1 : -EINVAL, "a token");

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct vfio_config config = {.name = kinds[i], .fd = -1};
		int rc = 0;

		for (const struct vfio_provider *const *p = vfio_providers; *p && !rc; p++)
			rc = (*p)->match(&config);
		expect_rc(run, rc, -EINVAL, "a device called \"%s\"", kinds[i]);
	}
}

static void index_is_the_nodes(struct run *run)
{
	char path[64];

	if (!(run->target->has & HAS_NODE)) {
		expect(run, run->vdev->index == UINT_MAX, "index %u without a node",
		       run->vdev->index);
		return;
	}
	snprintf(path, sizeof(path), "/dev/vfio/devices/vfio%u", run->vdev->index);
	expect_rc(run, access(path, F_OK), 0, "%s", path);
}

static void state_is_data(struct run *run)
{
	static const char *const members[] = {"device",      "provider",     "open",        "kvm",
					      "set_id",      "set_devices",  "features",    "iommu",
					      "migration",   "dirty_source", "dma_logging", "index",
					      "reset_method"};
	json_t *root = vfio_device_status(run->vdev), *iommu;

	if (!expect(run, json_is_object(root), "no object"))
		return;
	for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
		expect(run, json_object_get(root, members[i]), "no member %s", members[i]);
	/* What the provider adds is under its own name. */
	expect(run, json_object_size(json_object_get(root, run->vdev->ops->name)),
	       "nothing of the provider");
	expect(run, json_is_true(json_object_get(root, "open")), "not open");
	expect(run, json_is_true(json_object_get(root, "kvm")), "no VM");
	iommu = json_object_get(root, "iommu");
	expect(run, json_is_true(json_object_get(iommu, "attached")), "not attached");
	expect(run,
	       !strcmp(json_string_value(json_object_get(iommu, "kind")),
		       run->target->has & HAS_PHYSICAL ? "physical" : "emulated"),
	       "kind %s", json_string_value(json_object_get(iommu, "kind")));
	expect(run,
	       json_is_null(json_object_get(root, "migration")) ==
		       !(run->target->has & HAS_MIGRATION),
	       "migration is %s", run->target->has & HAS_MIGRATION ? "null" : "there");
	json_decref(root);

	vfio_device_close(run->vdev);
	root = vfio_device_status(run->vdev);
	expect(run, json_is_false(json_object_get(root, "open")), "open after close");
	json_decref(root);
}

const struct contract_test life_tests[] = {
	{"life.closed_refuses_everything", "vfio_device.access_granted", 0, CLOSED,
	 closed_refuses_everything},
	{"life.one_open", "vfio_device.open_count", 0, 0, one_open},
	{"life.binding_is_no_command", "vfio_device.iommufd_ictx, vfio_device_ops.bind_iommufd", 0,
	 0, binding_is_no_command},
	{"life.open_wants_address_spaces", "vfio_device_ops.bind_iommufd", 0, CLOSED,
	 open_wants_address_spaces},
	{"life.order_is_the_kernels",
	 "vfio_device_ops.bind_iommufd, vfio_device_ops.open_device, vfio_device_ops.close_device, "
	 "vfio_device_ops.unbind_iommufd, vfio_device.iommufd_devid",
	 0, CLOSED, order_is_the_kernels},
	{"life.cycles_leave_nothing",
	 "vfio_device_ops.close_device, vfio_device_ops.unbind_iommufd", 0, CLOSED,
	 cycles_leave_nothing},
	{"life.one_open_in_the_system", "vfio_device.open_count", HAS_NODE, OTHERS,
	 one_open_in_the_system},
	{"life.kill_leaves_nothing", "vfio_device.kvm, vfio_device.put_kvm", HAS_OTHERS,
	 CLOSED | OTHERS, kill_leaves_nothing},
	{"life.open_wants_registration", "vfio_device.registered, vfio_device.refcount", 0, CLOSED,
	 open_wants_registration},
	{"life.unregister_waits_for_the_last_reference",
	 "vfio_device.refcount, vfio_device.comp, vfio_device.lock", 0, 0,
	 unregister_waits_for_the_last_reference},
	{"life.release_runs_once", "vfio_device_ops.release, vfio_device_ops.init", 0, CLOSED,
	 release_runs_once},
	{"life.kvm_is_referenced_while_open",
	 "vfio_device.user_kvm, vfio_device.kvm, vfio_device.put_kvm", 0, CLOSED,
	 kvm_is_referenced_while_open},
	{"life.the_driver_sees_the_kvm", "vfio_device.kvm, vfio_device.put_kvm", HAS_DRIVER_SEEN,
	 CLOSED, the_driver_sees_the_kvm},
	{"life.a_device_may_need_a_kvm", "vfio_device.kvm, vfio_device_ops.bind_iommufd",
	 HAS_DRIVER_SEEN, CLOSED, a_device_may_need_a_kvm},
	{"life.kill_puts_the_kvm", "vfio_device.kvm, vfio_device.put_kvm", HAS_DRIVER_SEEN,
	 CLOSED | OTHERS, kill_puts_the_kvm},
	{"life.names_match",
	 "vfio_device.dev, vfio_device.ops, vfio_device_ops.name, vfio_device_ops.match", 0, 0,
	 names_match},
	{"life.malformed_names_are_refused", "vfio_device_ops.match", 0, 0,
	 malformed_names_are_refused},
	{"life.index_is_the_nodes", "vfio_device.index", 0, 0, index_is_the_nodes},
	{"life.state_is_data", "vfio_device_ops.debug, vfio_device.last_state", 0, 0,
	 state_is_data},
	{0},
};
