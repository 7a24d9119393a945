/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/eventfd.h>

#include "tests/unit/kernel_host.h"

static unsigned maps(const struct host *h)
{
	unsigned count = 0;

	for (int i = 0; i < FAKE_MAPS; i++)
		count += h->fk->maps[i].used;
	return count;
}

static unsigned objects(const struct host *h, enum fake_object_kind kind)
{
	unsigned count = 0;

	for (int i = 0; i < FAKE_OBJECTS; i++)
		count += h->fk->objects[i].kind == kind;
	return count;
}

/* What the device's status says is mapped for it. */
static json_int_t mapped_bytes(struct vfio_device *vdev)
{
	json_t *status = vfio_device_status(vdev);
	const json_int_t bytes = json_integer_value(
		json_object_get(json_object_get(status, "kernel"), "mapped_bytes"));

	json_decref(status);
	return bytes;
}

/* ---- the healthy way ---- */

Test(kernel, a_whole_cycle_makes_its_calls_in_the_order_of_the_kernel)
{
	struct host *h = host_new();
	struct vfio_device *vdev;

	fake_kernel_add(h->fk, "0000:01:00.0", 3);
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "01:00.0");
	cr_expect_str_eq(vdev->dev, "0000:01:00.0");
	cr_expect_eq(vdev->index, 3);
	cr_expect_eq(vdev->iommufd_kind, VFIO_IOMMUFD_PHYSICAL);
	cr_expect_eq(h->fk->devices[0].kvm_at_bind, &h->kvm, "KVM comes before BIND");
	cr_expect_eq(maps(h), 2);
	give_back(vdev);
	cr_expect_str_eq(h->fk->log,
			 "open_iommu real_path list read_text link_name "
			 "open_vfio fstat kvm_add BIND HW_INFO "
			 "IRQ_INFO eventfd SET_IRQS IRQ_INFO eventfd SET_IRQS FEATURE FEATURE "
			 "IOAS_ALLOC ATTACH MAP_FILE MAP_FILE "
			 "SET_IRQS close SET_IRQS close "
			 "DETACH kvm_del close UNMAP UNMAP DESTROY");
	cr_expect_eq(fake_log_count, 0, "%s", fake_log_last);
	host_done(h);
}

Test(kernel, memory_is_mapped_once_for_all_devices)
{
	struct host *h = host_new();
	struct vfio_device *a, *b;

	fake_kernel_add(h->fk, "0000:01:00.0", 0);
	fake_kernel_add(h->fk, "0000:02:00.0", 1);
	cr_assert_eq(open_iommu(h), 0);
	a = attached(h, "0000:01:00.0");
	b = attached(h, "0000:02:00.0");
	cr_expect_eq(maps(h), 2);
	cr_expect_eq(objects(h, FAKE_IOAS), 1);
	map_area(h, 0x200000000, 4096);
	cr_expect_eq(maps(h), 3, "later memory reaches the kernel too");
	cr_expect_eq(ioas_unmap(h->ioas, 0x200000000, 4096), 0);
	cr_expect_eq(maps(h), 2);
	cr_expect_eq(mapped_bytes(a), MIB);
	give_back(a);
	cr_expect_eq(maps(h), 2, "the other device still has it");
	give_back(b);
	cr_expect_eq(maps(h), 0);
	cr_expect_eq(objects(h, FAKE_IOAS), 0);
	host_done(h);
}

static int no_message(void *ctx, uint64_t iova, void *buffer, size_t length)
{
	(void)ctx, (void)iova, (void)buffer, (void)length;
	return -EFAULT;
}

/* A client of the server's may map memory without a descriptor without end. */
Test(kernel, memory_that_cannot_be_mapped_is_said_so_many_times_a_minute)
{
	static const struct ioas_area_ops ops = {.read = no_message};
	const struct ioas_area area = {
		.iova = 0x200000000, .length = 4096, .fd = -1, .rights = IOAS_READ, .ops = &ops};
	struct host *h = host_new();
	struct vfio_device *vdev;

	fake_kernel_add(h->fk, "0000:01:00.0", 0);
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	for (unsigned i = 0; i < 100; i++) {
		cr_assert_eq(ioas_map(h->ioas, &area), 0);
		cr_assert_eq(ioas_unmap(h->ioas, area.iova, area.length), 0);
	}
	cr_expect(fake_log_count >= 16 && fake_log_count <= 32, "%d lines", fake_log_count);
	give_back(vdev);
	host_done(h);
}

Test(kernel, a_thousand_cycles_leave_nothing)
{
	struct host *h = host_new();
	struct vfio_device *vdev;
	unsigned held;

	fake_kernel_add(h->fk, "0000:01:00.0", 0)->capabilities = IOMMU_HW_CAP_DIRTY_TRACKING;
	cr_assert_eq(open_iommu(h), 0);
	cr_assert_eq(make(h, "0000:01:00.0", &vdev), 0);
	held = fake_kernel_held(h->fk);
	for (int i = 0; i < 1000; i++) {
		cr_assert_eq(attach(h, vdev), 0);
		vfio_device_close(vdev);
		cr_assert_eq(fake_kernel_held(h->fk), held, "cycle %d: %s", i,
			     fake_kernel_leaks(h->fk));
		cr_assert_eq(h->kvm.refcount, 1);
		h->fk->log[0] = '\0';
	}
	cr_expect_eq(h->fk->devices[0].binds, 1000);
	give_back(vdev);
	cr_expect_eq(fake_log_count, 0);
	host_done(h);
}

Test(kernel, without_map_file_memory_is_mapped_by_address)
{
	struct host *h = host_new();
	struct vfio_device *vdev;

	fake_kernel_add(h->fk, "0000:01:00.0", 0);
	h->fk->no_map_file = true;
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(maps(h), 2);
	cr_expect_not(h->fk->maps[0].by_file);
	cr_expect(strstr(h->fk->log, "MAP_FILE MAP MAP"), "asked once: %s", h->fk->log);
	give_back(vdev);
	cr_expect_eq(fake_log_count, 0);
	host_done(h);
}

Test(kernel, an_emulated_device_is_told_by_get_hw_info)
{
	struct host *h = host_new();
	struct vfio_device *vdev;

	fake_kernel_add(h->fk, "0000:01:00.0", 0)->emulated = true;
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(vdev->iommufd_kind, VFIO_IOMMUFD_EMULATED);
	give_back(vdev);
	host_done(h);
}

Test(kernel, a_kernel_without_get_hw_info_serves_a_physical_device)
{
	struct host *h = host_new();
	struct vfio_device *vdev;

	fake_kernel_add(h->fk, "0000:01:00.0", 0);
	h->fk->no_hw_info = true;
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(vdev->iommufd_kind, VFIO_IOMMUFD_PHYSICAL);
	give_back(vdev);
	cr_expect_eq(fake_log_count, 0);
	host_done(h);
}

/* ---- names ---- */

Test(names, every_way_to_name_a_device_finds_it)
{
	static const char *const names[] = {
		"01:00.0",
		"0000:01:00.0",
		"/sys/bus/pci/devices/0000:01:00.0",
		"/sys/devices/pci0000:00/0000:00:04.0/0000:01:00.0/",
		"/dev/vfio/devices/vfio3",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct host *h = host_new();
		struct vfio_device *vdev, *again;

		fake_kernel_add(h->fk, "0000:01:00.0", 3);
		cr_assert_eq(open_iommu(h), 0);
		vdev = attached(h, names[i]);
		cr_expect_str_eq(vdev->dev, "0000:01:00.0", "%s", names[i]);
		cr_expect_eq(fake_log_count, 0);
		/* Under whichever name: the second time it is refused. */
		cr_expect_eq(make(h, names[sizeof(names) / sizeof(names[0]) - 1 - i], &again),
			     -EEXIST);
		cr_expect(strstr(fake_log_last, "named twice"), "%s", fake_log_last);
		cr_expect(strstr(fake_log_last, names[i]), "%s", fake_log_last);
		cr_expect(strstr(fake_log_last, names[sizeof(names) / sizeof(names[0]) - 1 - i]),
			  "%s", fake_log_last);
		give_back(vdev);
		host_done(h);
	}
}

Test(names, a_device_is_not_taken_by_name_and_by_descriptor)
{
	for (int by_name_first = 0; by_name_first < 2; by_name_first++) {
		struct host *h = host_new();
		struct vfio_device *vdev, *again;
		char name[16], expected[64];
		int fd;

		fake_kernel_add(h->fk, "0000:01:00.0", 3);
		cr_assert_eq(open_iommu(h), 0);
		fd = h->fk->calls.open_vfio(h->fk, "/dev/vfio/devices/vfio3");
		snprintf(name, sizeof(name), "fd=%d", fd);
		cr_assert_eq(make(h, by_name_first ? "01:00.0" : name, &vdev), 0);
		cr_expect_eq(make(h, by_name_first ? name : "01:00.0", &again), -EEXIST);
		snprintf(expected, sizeof(expected), "named twice, %s and %s",
			 by_name_first ? "01:00.0" : name, by_name_first ? name : "01:00.0");
		cr_expect(strstr(fake_log_last, expected), "%s", fake_log_last);
		give_back(vdev);
		cr_expect_eq(fake_kernel_held(h->fk), 1, "the iommufd alone: %s",
			     fake_kernel_leaks(h->fk));
		host_done(h);
	}
}

Test(names, a_passed_descriptor_is_used_up_by_the_first_open)
{
	struct host *h = host_new();
	struct vfio_device *vdev;
	char name[16];
	int fd, iommu;

	fake_kernel_add(h->fk, "0000:01:00.0", 3);
	iommu = h->fk->calls.open_iommu(h->fk);
	fd = h->fk->calls.open_vfio(h->fk, "/dev/vfio/devices/vfio3");
	cr_assert_eq(kernel_iommufd_create(h->ictx, iommu, &h->fk->calls, &h->iommufd), 0);
	h->env.iommufd = h->iommufd;
	snprintf(name, sizeof(name), "fd=%d", fd);
	vdev = attached(h, name);
	cr_expect_str_eq(vdev->dev, "0000:01:00.0");
	cr_expect_eq(vdev->index, 3);
	vfio_device_close(vdev);
	cr_expect_eq(vfio_device_open(vdev, h->ictx), -ENODEV);
	cr_expect_eq(fake_log_count, 1);
	give_back(vdev);
	host_done(h);
}

Test(names, a_passed_descriptor_that_is_never_opened_is_closed)
{
	struct host *h = host_new();
	struct vfio_device *vdev;
	char name[16];

	fake_kernel_add(h->fk, "0000:01:00.0", 3);
	cr_assert_eq(open_iommu(h), 0);
	snprintf(name, sizeof(name), "fd=%d",
		 h->fk->calls.open_vfio(h->fk, "/dev/vfio/devices/vfio3"));
	cr_assert_eq(make(h, name, &vdev), 0);
	give_back(vdev);
	cr_expect_eq(fake_kernel_held(h->fk), 1, "the iommufd alone: %s", fake_kernel_leaks(h->fk));
	host_done(h);
}

Test(names, a_passed_descriptor_of_something_else_is_refused_and_closed)
{
	struct host *h = host_new();
	struct vfio_device *vdev;
	char name[16];

	cr_assert_eq(open_iommu(h), 0);
	fake_kernel_path(h->fk, "/proc/self/fd/1002", "/dev/null");
	snprintf(name, sizeof(name), "fd=%d", h->fk->calls.open_iommu(h->fk));
	cr_expect_eq(make(h, name, &vdev), -EBADF);
	cr_expect_eq(fake_log_count, 1);
	cr_expect(strstr(fake_log_last, "it has to be /dev/vfio/devices/vfioN"), "%s",
		  fake_log_last);
	cr_expect_eq(make(h, "fd=999", &vdev), -EBADF);
	cr_expect_eq(fake_log_count, 2);
	cr_expect(strstr(fake_log_last, "nothing is open at that number"), "%s", fake_log_last);
	cr_expect_eq(make(h, "fd=1", &vdev), -EBADF);
	cr_expect(strstr(fake_log_last, "standard descriptors"), "%s", fake_log_last);
	cr_expect_eq(fake_kernel_held(h->fk), 1);
	host_done(h);
}

Test(names, a_passed_iommufd_of_something_else_is_refused_and_left_alone)
{
	static const struct {
		const char *what;
		int fd, error;
		const char *says;
	} table[] = {
		{"standard error", 2, 0, "--iommufd fd=2: 0 to 2 are the standard descriptors"},
		{"nothing", 999, 0, "--iommufd fd=999: nothing is open at that number"},
		{"a device node", FAKE_FD_BASE, 0,
		 "--iommufd fd=1000: /dev/zero is open at that number; it has to be /dev/iommu"},
		{"a pipe", FAKE_FD_BASE, ENOTTY, "/dev/zero is open at that number"},
		{"for reading", FAKE_FD_BASE, EACCES,
		 "/dev/zero is not open for reading and writing"},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct host *h = host_new();
		int node;

		fake_kernel_add(h->fk, "0000:01:00.0", 3);
		fake_kernel_path(h->fk, "/proc/self/fd/1000", "/dev/zero");
		node = h->fk->calls.open_vfio(h->fk, "/dev/vfio/devices/vfio3");
		cr_assert_eq(node, FAKE_FD_BASE);
		h->fk->fail_error = table[i].error;
		h->fk->fail_at = table[i].error ? h->fk->calls_made + 1 : 0;
		cr_expect_eq(
			kernel_iommufd_create(h->ictx, table[i].fd, &h->fk->calls, &h->iommufd),
			-EBADF, "%s", table[i].what);
		cr_expect_eq(fake_log_count, 1, "%s", table[i].what);
		cr_expect(strstr(fake_log_last, table[i].says), "%s: %s", table[i].what,
			  fake_log_last);
		cr_expect_eq(fake_kernel_held(h->fk), 1, "%s", table[i].what);
		h->fk->calls.close(h->fk, node);
		host_done(h);
	}
}

Test(names, a_stale_node_of_another_device_is_refused)
{
	struct host *h = host_new();
	struct vfio_device *vdev;
	struct fake_kernel_device *device = fake_kernel_add(h->fk, "0000:01:00.0", 3);
	char path[200];

	cr_assert_eq(open_iommu(h), 0);
	snprintf(path, sizeof(path), "%s/vfio-dev/vfio3/dev", device->real);
	fake_kernel_path(h->fk, path, "511:9");
	cr_assert_eq(make(h, "0000:01:00.0", &vdev), 0);
	cr_expect_eq(vfio_device_open(vdev, h->ictx), -ENODEV);
	cr_expect(strstr(fake_log_last, "511:3"), "%s", fake_log_last);
	give_back(vdev);
	host_done(h);
}

Test(names, reset_domains_follow_the_bus)
{
	static const struct {
		const char *bdf, *real;
		bool physfn;
		uint64_t id;
	} table[] = {
		{"0000:00:05.0", "/sys/devices/pci0000:00/0000:00:05.0", false, 0},
		{"10000:00:05.0", "/sys/devices/pci0000:00/0000:00:0e.0/pci10000:00/10000:00:05.0",
		 false, 0},
		{"0000:01:00.0", "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0", false, 2},
		{"0000:01:00.1", "/sys/devices/pci0000:00/0000:00:01.0/0000:01:00.1", false, 2},
		{"0000:01:10.1", "/sys/devices/pci0000:00/0000:00:01.0/0000:01:10.1", true, 0},
		{"0000:02:00.0", "/sys/devices/pci0000:00/0000:00:02.0/0000:02:00.0", false, 3},
		{"0001:01:00.0", "/sys/devices/pci0001:00/0001:00:02.0/0001:01:00.0", false, 0x102},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct host *h = host_new();
		struct vfio_device *vdev;
		char path[200];

		cr_assert_eq(open_iommu(h), 0);
		snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", table[i].bdf);
		fake_kernel_path(h->fk, path, table[i].real);
		snprintf(path, sizeof(path), "%s/vfio-dev/vfio0/dev", table[i].real);
		fake_kernel_path(h->fk, path, "511:0");
		snprintf(path, sizeof(path), "%s/physfn", table[i].real);
		if (table[i].physfn)
			fake_kernel_path(h->fk, path, "0000:01:00.0");
		cr_assert_eq(make(h, table[i].bdf, &vdev), 0);
		cr_expect_eq(vdev->dev_set->set_id, table[i].id, "%s", table[i].bdf);
		give_back(vdev);
		host_done(h);
	}
}

/* ---- page tables ---- */

static struct vfio_device *migratable(struct host *h, const char *name)
{
	const struct vfio_config config = {.name = name, .fd = -1, .migratable = true};
	struct vfio_device *vdev;

	cr_assert_eq(vfio_kernel_provider.create(&h->env, &config, &vdev), 0);
	cr_assert_eq(attach(h, vdev), 0);
	return vdev;
}

Test(tables, a_migratable_device_tracks_dirty_pages_in_small_ones)
{
	struct host *h = host_new();
	struct vfio_device *vdev;
	struct json_t *status;

	fake_kernel_add(h->fk, "0000:01:00.0", 0)->capabilities = IOMMU_HW_CAP_DIRTY_TRACKING;
	cr_assert_eq(open_iommu(h), 0);
	vdev = migratable(h, "0000:01:00.0");
	cr_expect_eq(objects(h, FAKE_HWPT), 1);
	cr_expect_eq(h->fk->objects[h->fk->devices[0].attached - 1].flags,
		     IOMMU_HWPT_ALLOC_DIRTY_TRACKING);
	cr_expect(h->fk->objects[h->fk->objects[h->fk->devices[0].attached - 1].ioas - 1]
			  .small_pages);
	status = vfio_device_status(vdev);
	cr_expect_str_eq(json_string_value(json_object_get(status, "dirty_source")), "iommu");
	json_decref(status);
	give_back(vdev);
	cr_expect_eq(objects(h, FAKE_HWPT), 0);
	host_done(h);
}

Test(tables, devices_share_one_that_fits_and_get_another_where_it_does_not)
{
	struct host *h = host_new();
	struct vfio_device *a, *b, *c;

	for (unsigned i = 0; i < 3; i++) {
		char bdf[16];

		snprintf(bdf, sizeof(bdf), "0000:0%u:00.0", i + 1);
		fake_kernel_add(h->fk, bdf, i)->capabilities = IOMMU_HW_CAP_DIRTY_TRACKING;
	}
	h->fk->devices[1].iommu = 1;
	cr_assert_eq(open_iommu(h), 0);
	a = migratable(h, "0000:01:00.0");
	b = migratable(h, "0000:02:00.0");
	cr_expect_eq(objects(h, FAKE_HWPT), 2, "EINVAL of the first table means another");
	c = migratable(h, "0000:03:00.0");
	cr_expect_eq(objects(h, FAKE_HWPT), 2);
	cr_expect_eq(h->fk->devices[0].attached, h->fk->devices[2].attached);
	give_back(a);
	cr_expect_eq(objects(h, FAKE_HWPT), 2, "the third device still uses it");
	give_back(c);
	cr_expect_eq(objects(h, FAKE_HWPT), 1);
	give_back(b);
	cr_expect_eq(fake_log_count, 0);
	host_done(h);
}

Test(tables, an_iommu_that_promises_too_much_falls_back)
{
	struct host *h = host_new();
	struct vfio_device *vdev;

	fake_kernel_add(h->fk, "0000:01:00.0", 0)->capabilities = IOMMU_HW_CAP_DIRTY_TRACKING;
	h->fk->attach_error = EINVAL;
	cr_assert_eq(open_iommu(h), 0);
	vdev = migratable(h, "0000:01:00.0");
	cr_expect_eq(objects(h, FAKE_HWPT), 0);
	cr_expect_eq(h->fk->objects[h->fk->devices[0].attached - 1].kind, FAKE_IOAS);
	give_back(vdev);
	cr_expect_eq(fake_log_count, 0);
	host_done(h);
}

/* ---- PASIDs ---- */

static struct fake_kernel_device *with_pasids(struct host *h)
{
	struct fake_kernel_device *d = fake_kernel_add(h->fk, "0000:01:00.0", 0);

	d->pasid_log2 = 16;
	return d;
}

static struct ioas *another_space(struct host *h)
{
	struct ioas *space;

	cr_assert_eq(ioas_create(h->ictx, &space), 0);
	return space;
}

static uint32_t flags_of(struct host *h, uint32_t id)
{
	return id && h->fk->objects[id - 1].kind == FAKE_HWPT ? h->fk->objects[id - 1].flags : 0;
}

Test(pasids, the_first_moves_the_device_to_a_table_made_for_them)
{
	struct host *h = host_new();
	struct fake_kernel_device *d = with_pasids(h);
	struct ioas *other = another_space(h);
	struct vfio_device *vdev;
	uint32_t id = ioas_id(other);

	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(vdev->max_pasids, 65536);
	cr_expect_eq(objects(h, FAKE_HWPT), 0, "nobody asked yet");
	cr_expect_eq(vfio_device_pasid_attach(vdev, 5, &id), 0);
	cr_expect_eq(flags_of(h, d->attached), IOMMU_HWPT_ALLOC_PASID);
	cr_expect(d->reserves);
	cr_expect_eq(flags_of(h, d->pasids[0].attached), IOMMU_HWPT_ALLOC_PASID);
	cr_expect_neq(d->attached, d->pasids[0].attached);
	cr_expect_eq(objects(h, FAKE_IOAS), 2);

	/* A second PASID of the same space shares its table; the device's own space does too. */
	cr_expect_eq(vfio_device_pasid_attach(vdev, 6, &id), 0);
	cr_expect_eq(d->pasids[1].attached, d->pasids[0].attached);
	id = ioas_id(h->ioas);
	cr_expect_eq(vfio_device_pasid_attach(vdev, 7, &id), 0);
	cr_expect_eq(d->pasids[2].attached, d->attached);
	cr_expect_eq(objects(h, FAKE_HWPT), 2);

	/* Replaced, the old table goes with its last user. */
	cr_expect_eq(vfio_device_pasid_attach(vdev, 5, &id), 0);
	cr_expect_eq(objects(h, FAKE_HWPT), 2);
	cr_expect_eq(vfio_device_pasid_attach(vdev, 6, &id), 0);
	cr_expect_eq(objects(h, FAKE_HWPT), 1);
	cr_expect_eq(ioas_destroy(other), 0);
	give_back(vdev);
	cr_expect_eq(objects(h, FAKE_HWPT), 0);
	cr_expect_eq(fake_log_count, 0);
	host_done(h);
}

Test(pasids, a_device_that_is_attached_later_gets_such_a_table_at_once)
{
	struct host *h = host_new();
	struct fake_kernel_device *d = with_pasids(h);
	struct vfio_device *vdev;
	uint32_t id = ioas_id(h->ioas);

	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(vfio_device_detach(vdev), 0);
	cr_expect_eq(vfio_device_pasid_attach(vdev, 5, &id), 0);
	id = ioas_id(h->ioas);
	cr_expect_eq(vfio_device_attach(vdev, &id), 0);
	cr_expect_eq(d->attached, d->pasids[0].attached);
	cr_expect_eq(vfio_device_pasid_detach(vdev, 5), 0);
	cr_expect_eq(d->pasids[0].attached, 0);
	cr_expect_eq(objects(h, FAKE_HWPT), 1);
	give_back(vdev);
	cr_expect_eq(fake_log_count, 0);
	host_done(h);
}

Test(pasids, a_failure_leaves_what_was)
{
	struct host *h = host_new();
	struct fake_kernel_device *d = with_pasids(h);
	struct ioas *other = another_space(h);
	struct vfio_device *vdev;
	uint32_t id = ioas_id(h->ioas), table;

	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(vfio_device_pasid_attach(vdev, 5, &id), 0);
	table = d->pasids[0].attached;
	id = ioas_id(other);
	h->fk->attach_error = ENOMEM;
	cr_expect_eq(vfio_device_pasid_attach(vdev, 5, &id), -ENOMEM);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_eq(d->pasids[0].attached, table);
	h->fk->attach_error = ENOMEM;
	cr_expect_eq(vfio_device_pasid_attach(vdev, 6, &id), -ENOMEM);
	cr_expect_eq(d->pasids[1].attached, 0);
	cr_expect_eq(objects(h, FAKE_IOAS), 1);
	cr_expect_eq(ioas_destroy(other), 0, "nothing of it is left");
	id = 0x7fffffff;
	cr_expect_eq(vfio_device_pasid_attach(vdev, 5, &id), -ENOENT);
	give_back(vdev);
	host_done(h);
}

Test(pasids, a_driver_without_them_says_so)
{
	struct host *h = host_new();
	struct vfio_device *vdev;
	uint32_t id = ioas_id(h->ioas);

	with_pasids(h)->no_pasid_ops = true;
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(vfio_device_pasid_attach(vdev, 5, &id), -EOPNOTSUPP);
	cr_expect_eq(fake_log_count, 1);
	cr_expect(vdev->iommufd_attached);
	give_back(vdev);
	host_done(h);
}

Test(pasids, a_device_without_an_iommu_tells_by_its_config_space)
{
	struct host *h = host_new();
	struct fake_kernel_device *d = fake_kernel_add(h->fk, "0000:01:00.0", 0);
	struct ioas *other = another_space(h);
	struct vfio_device *vdev;
	uint32_t id = ioas_id(other);

	d->emulated = true;
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(vdev->max_pasids, 0);
	vfio_device_close(vdev);
	d->config_pasid_bits = 16;
	cr_assert_eq(attach(h, vdev), 0);
	cr_expect_eq(vdev->max_pasids, 65536);
	cr_expect_eq(vfio_device_pasid_attach(vdev, 5, &id), 0);
	cr_expect_eq(h->fk->objects[d->pasids[0].attached - 1].kind, FAKE_IOAS);
	cr_expect_eq(objects(h, FAKE_HWPT), 0);
	vfio_device_close(vdev);
	d->config_pasid_bits = 31;
	cr_assert_eq(attach(h, vdev), 0);
	cr_expect_eq(vdev->max_pasids, VFIO_DEVICE_MAX_PASIDS, "no PASID has more than 20 bits");
	give_back(vdev);
	cr_expect_eq(ioas_destroy(other), 0);
	cr_expect_eq(fake_log_count, 0);
	host_done(h);
}

/* ---- replacement and its kernel bug ---- */

static struct fake_kernel_device *reserving(struct host *h)
{
	struct fake_kernel_device *d = fake_kernel_add(h->fk, "0000:01:00.0", 0);

	d->capabilities = IOMMU_HW_CAP_DIRTY_TRACKING;
	return d;
}

Test(replace, a_failed_one_does_not_lose_the_reserved_addresses)
{
	struct host *h = host_new();
	struct fake_kernel_device *device = reserving(h);
	struct iova_range ranges[4];
	struct vfio_device *vdev;
	uint32_t id = ioas_id(h->ioas);
	size_t count = 4;

	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	h->fk->attach_error = ENODEV;
	cr_expect_eq(vfio_device_attach(vdev, &id), -ENODEV);
	cr_expect_eq(fake_log_count, 1);
	cr_expect(vdev->iommufd_attached);
	cr_expect(device->attached);
	cr_expect(device->reserves, "detached and attached again");
	cr_expect_eq(ioas_iova_ranges(h->ioas, ranges, &count), 0);
	cr_expect_eq(count, 2);
	cr_expect_eq(ranges[0].last, 0xfedfffff);
	cr_expect_eq(ranges[1].first, 0xfef00000);
	give_back(vdev);
	host_done(h);
}

Test(replace, one_that_cannot_go_back_says_that_the_device_is_detached)
{
	struct host *h = host_new();
	struct vfio_device *vdev;
	uint32_t id = ioas_id(h->ioas);

	reserving(h);
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	/* Fails the replacement, and memory has moved onto what the device reserves by then. */
	h->fk->attach_error = ENODEV;
	h->fk->maps[FAKE_MAPS - 1] =
		(struct fake_map){true, h->fk->devices[0].attached, 0xfee00000, 4096, true};
	cr_expect_eq(vfio_device_attach(vdev, &id), -ENODEV);
	cr_expect_not(vdev->iommufd_attached);
	h->fk->maps[FAKE_MAPS - 1].used = false;
	give_back(vdev);
	host_done(h);
}

Test(replace, one_that_works_at_the_second_table_does_not_lose_them_either)
{
	struct host *h = host_new();
	struct fake_kernel_device *device = reserving(h);
	struct vfio_device *a, *b;
	uint32_t id = ioas_id(h->ioas);

	fake_kernel_add(h->fk, "0000:02:00.0", 1)->capabilities = IOMMU_HW_CAP_DIRTY_TRACKING;
	h->fk->devices[1].iommu = 1;
	cr_assert_eq(open_iommu(h), 0);
	a = migratable(h, "0000:01:00.0");
	b = migratable(h, "0000:02:00.0");
	/* The other device's table is tried first, and refused. */
	cr_expect_eq(vfio_device_attach(a, &id), 0);
	cr_expect(device->reserves);
	give_back(a);
	give_back(b);
	cr_expect_eq(fake_log_count, 0);
	host_done(h);
}

Test(replace, a_failed_one_by_another_space_leaves_the_device_attached_throughout)
{
	struct host *h = host_new();
	struct fake_kernel_device *device = reserving(h);
	struct vfio_device *vdev;
	unsigned detaches;
	struct ioas *other;
	uint32_t id, before;

	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_assert_eq(ioas_create(h->ictx, &other), 0);
	before = device->attached;
	detaches = device->detaches;
	id = ioas_id(other);
	h->fk->attach_error = ENOMEM;
	cr_expect_eq(vfio_device_attach(vdev, &id), -ENOMEM);
	cr_expect(vdev->iommufd_attached);
	cr_expect_eq(device->attached, before);
	cr_expect_eq(device->detaches, detaches);
	cr_expect(device->reserves);
	give_back(vdev);
	cr_expect_eq(ioas_destroy(other), 0);
	host_done(h);
}

Test(replace, another_space_takes_over_and_the_old_one_goes)
{
	struct host *h = host_new();
	struct vfio_device *vdev;
	struct ioas *other;
	uint32_t id;

	reserving(h);
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_assert_eq(ioas_create(h->ictx, &other), 0);
	id = ioas_id(other);
	cr_expect_eq(vfio_device_attach(vdev, &id), 0);
	cr_expect_eq(objects(h, FAKE_IOAS), 1);
	cr_expect_eq(maps(h), 0);
	id = 0x7fffffff;
	cr_expect_eq(vfio_device_attach(vdev, &id), -ENOENT);
	give_back(vdev);
	cr_expect_eq(ioas_destroy(other), 0);
	host_done(h);
}

/* ---- events ---- */

struct heard {
	unsigned requests, last, errors;
	struct vfio_device *close;
};

static void on_request(void *ctx, unsigned count)
{
	struct heard *heard = ctx;

	heard->requests++;
	heard->last = count;
	if (heard->close)
		give_back(heard->close);
}

static void on_error(void *ctx)
{
	((struct heard *)ctx)->errors++;
}

static const struct vfio_device_events events = {.request = on_request, .error = on_error};

Test(events, request_and_error_arrive_on_the_loop_with_a_rising_count)
{
	struct host *h = host_new();
	struct fake_kernel_device *device = fake_kernel_add(h->fk, "0000:01:00.0", 0);
	struct heard heard = {0};
	struct vfio_device *vdev;

	cr_assert_eq(open_iommu(h), 0);
	cr_assert_eq(make(h, "0000:01:00.0", &vdev), 0);
	vfio_device_set_events(vdev, &events, &heard);
	cr_assert_eq(attach(h, vdev), 0);
	cr_expect_eq(fake_loop_step(h->loop, 0), 0);

	for (unsigned i = 0; i < 3; i++) {
		eventfd_write(device->triggers[VFIO_PCI_REQ_IRQ_INDEX], 1);
		cr_expect_eq(fake_loop_step(h->loop, 0), 1);
		cr_expect_eq(heard.requests, i + 1);
		cr_expect_eq(heard.last, i);
	}
	eventfd_write(device->triggers[VFIO_PCI_REQ_IRQ_INDEX], 2);
	fake_loop_step(h->loop, 0);
	cr_expect_eq(heard.requests, 4);
	cr_expect_eq(heard.last, 4, "two signals at once count as two");

	eventfd_write(device->triggers[VFIO_PCI_ERR_IRQ_INDEX], 1);
	fake_loop_step(h->loop, 0);
	cr_expect_eq(heard.errors, 1);
	give_back(vdev);
	cr_expect_eq(heard.requests, 4);
	host_done(h);
}

Test(events, a_handler_may_close_and_free_the_device)
{
	struct host *h = host_new();
	struct fake_kernel_device *device = fake_kernel_add(h->fk, "0000:01:00.0", 0);
	struct heard heard = {0};
	struct vfio_device *vdev;

	cr_assert_eq(open_iommu(h), 0);
	cr_assert_eq(make(h, "0000:01:00.0", &vdev), 0);
	vfio_device_set_events(vdev, &events, &heard);
	cr_assert_eq(attach(h, vdev), 0);
	heard.close = vdev;
	eventfd_write(device->triggers[VFIO_PCI_REQ_IRQ_INDEX], 1);
	cr_expect_eq(fake_loop_step(h->loop, 0), 1);
	cr_expect_eq(heard.requests, 1);
	host_done(h);
}

Test(events, a_device_without_them_is_fine)
{
	struct host *h = host_new();
	struct fake_kernel_device *device = fake_kernel_add(h->fk, "0000:01:00.0", 0);
	struct vfio_device *vdev;

	device->has_err = false;
	device->has_req = false;
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(fake_loop_sources(h->loop), 0);
	give_back(vdev);
	cr_expect_eq(fake_log_count, 0);
	host_done(h);
}

/* ---- use ---- */

Test(use, accesses_regions_and_features_reach_the_kernel)
{
	struct host *h = host_new();
	struct fake_kernel_device *device = fake_kernel_add(h->fk, "0000:01:00.0", 0);
	struct {
		struct vfio_region_info info;
		uint8_t caps[512];
	} region = {.info = {.argsz = sizeof(region)}};
	_Alignas(8) uint8_t set[16] = {0};
	struct vfio_device_feature *header = (void *)set;
	struct vfio_device_feature_mig_state *state = (void *)header->data;
	struct vfio_info_cap_header *cap;
	struct vfio_device *vdev;
	uint32_t word = 0;

	header->argsz = sizeof(set);
	header->flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
	state->device_state = VFIO_DEVICE_STATE_STOP_COPY;
	device->migration = VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | 1u << 20;
	device->logs = true;
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(vdev->migration_flags, VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P);
	cr_expect_not_null(vdev->log_ops);

	cr_expect_eq(vfio_device_read(vdev, &word, 4, 7ull << 40), 4);
	cr_expect_eq(word, 0x86868686);
	cr_expect_eq(vfio_device_write(vdev, &word, 2, 7ull << 40), 2);
	cr_expect_eq(vfio_device_mmap(vdev, NULL, 4096, PROT_READ, 0), 0);
	cr_expect_eq(vfio_device_ioctl(vdev, VFIO_DEVICE_RESET, NULL), 0);
	cr_expect_eq(vfio_device_ioctl(vdev, 0x1234, NULL), -ENOTTY);

	cr_expect_eq(vfio_device_ioctl(vdev, VFIO_DEVICE_GET_REGION_INFO, &region), 0);
	cr_expect_eq(region.info.size, 0x4000);
	cr_assert_eq(region.info.cap_offset, sizeof(region.info));
	cap = (void *)((uint8_t *)&region + region.info.cap_offset);
	cr_expect_eq(cap->id, VFIO_REGION_INFO_CAP_MSIX_MAPPABLE);
	cap = (void *)((uint8_t *)&region + cap->next);
	cr_expect_eq(cap->id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
	cr_expect_eq(((struct vfio_region_info_cap_sparse_mmap *)cap)->areas[0].offset, 0x1000);

	cr_expect_eq(vfio_device_ioctl(vdev, VFIO_DEVICE_FEATURE, set), 0);
	cr_expect_eq(state->data_fd, FAKE_SESSION);
	give_back(vdev);
	host_done(h);
}

/* As on the bus: vfio-pci's word for it is -EIO. */
Test(use, a_bar_that_is_switched_off_reads_ones_and_drops_writes)
{
	struct host *h = host_new();
	struct vfio_device *vdev;
	uint32_t word = 0;

	fake_kernel_add(h->fk, "0000:01:00.0", 0);
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");

	h->fk->fail_error = EIO;
	h->fk->fail_at = h->fk->calls_made + 1;
	cr_expect_eq(vfio_device_read(vdev, &word, 4, 0), 4);
	cr_expect_eq(word, UINT32_MAX);
	h->fk->fail_at = h->fk->calls_made + 1;
	cr_expect_eq(vfio_device_write(vdev, &word, 4, 0), 4);
	/* What else goes wrong is said. */
	h->fk->fail_error = EFAULT;
	h->fk->fail_at = h->fk->calls_made + 1;
	cr_expect_eq(vfio_device_read(vdev, &word, 4, 0), -EFAULT);
	h->fk->fail_at = h->fk->calls_made + 1;
	cr_expect_eq(vfio_device_write(vdev, &word, 4, 0), -EFAULT);
	give_back(vdev);
	host_done(h);
}

Test(sizes, of_the_kernel_structures_are_those_of_linux_7_3)
{
	cr_expect_eq(sizeof(struct vfio_device_bind_iommufd), 24);
	cr_expect_eq(sizeof(struct vfio_device_attach_iommufd_pt), 16);
	cr_expect_eq(sizeof(struct vfio_device_detach_iommufd_pt), 12);
	cr_expect_eq(sizeof(struct vfio_region_info), 32);
	cr_expect_eq(sizeof(struct vfio_irq_info), 16);
	cr_expect_eq(sizeof(struct vfio_irq_set), 20);
	cr_expect_eq(sizeof(struct vfio_device_feature), 8);
	cr_expect_eq(sizeof(struct vfio_device_feature_mig_state), 8);
	cr_expect_eq(sizeof(struct vfio_device_feature_dma_logging_control), 24);
	cr_expect_eq(sizeof(struct vfio_device_feature_dma_logging_report), 32);
	cr_expect_eq(sizeof(struct iommu_ioas_map), 40);
	cr_expect_eq(sizeof(struct iommu_ioas_map_file), 40);
	cr_expect_eq(sizeof(struct iommu_ioas_unmap), 24);
	cr_expect_eq(sizeof(struct iommu_ioas_iova_ranges), 32);
	cr_expect_eq(sizeof(struct iommu_hwpt_alloc), 48);
	cr_expect_eq(sizeof(struct iommu_hw_info), 40);
	cr_expect_eq(sizeof(struct iommu_option), 24);
	cr_expect_eq((unsigned long)VFIO_DEVICE_BIND_IOMMUFD, 0x3b76ul);
	cr_expect_eq((unsigned long)VFIO_DEVICE_ATTACH_IOMMUFD_PT, 0x3b77ul);
	cr_expect_eq((unsigned long)VFIO_DEVICE_FEATURE, 0x3b75ul);
}
