/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/kernel_host.h"

/* ---- what goes wrong, and how it is said ---- */

struct complaint {
	const char *what;
	void (*spoil)(struct host *h, struct fake_kernel_device *d);
	const char *name;
	int expected;
	const char *says[3];
};

#define CASE(name, ...)                                                                            \
	static void name(struct host *h, struct fake_kernel_device *d)                             \
	{                                                                                          \
		(void)h, (void)d;                                                                  \
		__VA_ARGS__                                                                        \
	}

static void set_path(struct host *h, const char *base, const char *tail, const char *value)
{
	char path[256];

	snprintf(path, sizeof(path), "%s%s", base, tail);
	if (value)
		fake_kernel_path(h->fk, path, value);
	else
		fake_kernel_no_path(h->fk, path);
}

CASE(healthy, )
CASE(unbound, set_path(h, d->real, "/vfio-dev", NULL); set_path(h, d->real, "/driver", NULL);)
CASE(host_driver, set_path(h, d->real, "/vfio-dev", NULL); set_path(h, d->real, "/driver", "nvme");)
CASE(no_cdev, set_path(h, d->real, "/vfio-dev", NULL);)
CASE(noiommu, set_path(h, d->real, "/vfio-dev", NULL);
     set_path(h, d->real, "/vfio-dev/noiommu-vfio0/dev", "511:0");)
CASE(noiommu_fd, d->noiommu = true;)
CASE(no_node, d->node[0] = '\0';)
CASE(forbidden, h->fk->fail_at = h->fk->calls_made + 5; h->fk->fail_error = EACCES;)
CASE(not_isolated, h->fk->allow_unsafe = false;)
CASE(sibling, h->fk->allow_unsafe = false;
     set_path(h, d->real, "/iommu_group/devices/0000:01:00.1/driver", "snd_hda_intel");)
CASE(bridge, h->fk->allow_unsafe = false;
     set_path(h, d->real, "/iommu_group/devices/0000:00:01.0/driver", "pcieport");)
CASE(other_vm, h->fk->allow_unsafe = false;
     set_path(h, d->real, "/iommu_group/devices/0000:01:00.1/driver", "vfio-pci");
     set_path(h, d->real, "/iommu_group/devices/0000:01:00.1/vfio-dev/vfio8/dev", "511:8");
     fake_kernel_path(h->fk, "/proc/77/fd/5", "/dev/vfio/devices/vfio8");
     fake_kernel_path(h->fk, "/proc/77/comm", "other");)
CASE(legacy, strcpy(h->fk->legacy_group, "x");
     fake_kernel_path(h->fk, "/proc/42/fd/3", "/dev/vfio/20");
     fake_kernel_path(h->fk, "/proc/42/comm", "qemu");)
CASE(legacy_hidden, strcpy(h->fk->legacy_group, "x");)
CASE(token_missing, d->token_needed = true;)
CASE(in_use, d->owner = 5; fake_kernel_path(h->fk, "/proc/99/fd/8", "/dev/vfio/devices/vfio0");
     fake_kernel_path(h->fk, "/proc/99/comm", "sluice");)
CASE(in_use_hidden, d->owner = 5;)
CASE(memlock, h->fk->memlock = 64 * 1024;)
CASE(over_reserved, map_area(h, 0xfee00000, 4096); h->fk->attach_error = EADDRINUSE;)
CASE(attach_busy, h->fk->attach_error = EBUSY;)

/* As of `sluice serve`, which has no guest. */
Test(messages, a_device_that_needs_a_kvm_says_so)
{
	struct host *h = host_new();
	struct fake_kernel_device *device = fake_kernel_add(h->fk, "0000:01:00.0", 0);
	struct vfio_device *vdev = NULL;

	device->kvm_needed = true;
	cr_assert_eq(open_iommu(h), 0);
	cr_assert_eq(make(h, "0000:01:00.0", &vdev), 0);
	cr_assert_eq(vfio_device_open(vdev, h->ictx), -ESRCH);
	cr_expect_eq(fake_log_count, 1);
	cr_expect(strstr(fake_log_last, "vfio 0000:01:00.0: its driver works only with a KVM"));
	cr_expect(strstr(fake_log_last, "cannot be served"));
	cr_expect_eq(attach(h, vdev), 0, "with one it opens");
	give_back(vdev);
	host_done(h);
}

Test(messages, each_obstacle_is_one_message_with_its_remedy)
{
	static const struct complaint table[] = {
		{"healthy", healthy, NULL, 0, {NULL}},
		{"no such device",
		 healthy,
		 "0000:09:00.0",
		 -ENOENT,
		 {"no such device", "sluice list"}},
		{"no such node", healthy, "/dev/vfio/devices/vfio9", -ENOENT, {"sluice list"}},
		{"malformed", healthy, "nonsense", -EINVAL, {"nonsense", "PCI address"}},
		{"legacy name", healthy, "/dev/vfio/20", -EOPNOTSUPP, {"legacy groups"}},
		{"unbound", unbound, NULL, -ENODEV, {"not bound", "sluice bind 0000:01:00.0"}},
		{"host driver", host_driver, NULL, -EBUSY, {"nvme", "sluice bind 0000:01:00.0"}},
		{"no cdev", no_cdev, NULL, -EOPNOTSUPP, {"VFIO_DEVICE_CDEV", "vfio-pci"}},
		{"noiommu", noiommu, NULL, -EOPNOTSUPP, {"no IOMMU"}},
		{"noiommu by descriptor", noiommu_fd, NULL, -EOPNOTSUPP, {"no IOMMU"}},
		{"no node", no_node, NULL, -ENOENT, {"/dev/vfio/devices/vfio0"}},
		{"no permission", forbidden, NULL, -EACCES, {"chown", "vfio0"}},
		{"no isolation", not_isolated, NULL, -EPERM, {"allow_unsafe_interrupts"}},
		{"sibling",
		 sibling,
		 NULL,
		 -EPERM,
		 {"IOMMU group 20 also holds 0000:01:00.1 (snd_hda_intel)", "--group"}},
		{"bridge in the group", bridge, NULL, -EPERM, {"allow_unsafe_interrupts"}},
		{"group of another VM", other_vm, NULL, -EPERM, {"process 77 (other)"}},
		{"legacy user", legacy, NULL, -EBUSY, {"process 42 (qemu)", "group 20"}},
		{"legacy user, hidden", legacy_hidden, NULL, -EBUSY, {"somebody", "group 20"}},
		{"no token", token_missing, NULL, -EACCES, {"token=UUID"}},
		{"in use", in_use, NULL, -EINVAL, {"process 99 (sluice)"}},
		{"in use, hidden", in_use_hidden, NULL, -EINVAL, {"in use already"}},
		{"memlock", memlock, NULL, -ENOMEM, {"RLIMIT_MEMLOCK is 64 KiB", "ulimit -l"}},
		{"reserved", over_reserved, NULL, -EADDRINUSE, {"reserves addresses"}},
		{"attach while reset", attach_busy, NULL, -EBUSY, {"being reset"}},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		const struct complaint *c = &table[i];
		struct host *h = host_new();
		struct fake_kernel_device *device = fake_kernel_add(h->fk, "0000:01:00.0", 0);
		struct vfio_device *vdev = NULL;
		int rc;

		cr_assert_eq(open_iommu(h), 0);
		c->spoil(h, device);
		rc = make(h, c->name ? c->name : "0000:01:00.0", &vdev);
		if (!rc)
			rc = attach(h, vdev);
		cr_expect_eq(rc, c->expected, "%s: %d", c->what, rc);
		cr_expect_eq(fake_log_count, c->expected != 0, "%s: %s", c->what, fake_log_last);
		for (int s = 0; s < 3 && c->says[s]; s++)
			cr_expect(strstr(fake_log_last, c->says[s]), "%s: %s", c->what,
				  fake_log_last);
		if (c->expected)
			cr_expect(!strncmp(fake_log_last, "vfio", 4), "%s: %s", c->what,
				  fake_log_last);
		if (device->owner == 5)
			device->owner = -1;
		if (vdev)
			give_back(vdev);
		host_done(h);
	}
}

Test(messages, a_wrong_or_needless_token_is_said)
{
	struct vfio_config config = {.name = "0000:01:00.0", .fd = -1, .has_token = true};

	for (int needed = 0; needed < 2; needed++) {
		for (int right = 0; right < 2; right++) {
			const int expected = !needed ? -EINVAL : right ? 0 : -EACCES;
			struct host *h = host_new();
			struct fake_kernel_device *d = fake_kernel_add(h->fk, "0000:01:00.0", 0);
			struct vfio_device *vdev;

			d->token_needed = needed;
			memset(d->token, 7, sizeof(d->token));
			memset(config.token, right ? 7 : 8, sizeof(config.token));
			cr_assert_eq(open_iommu(h), 0);
			cr_assert_eq(vfio_kernel_provider.create(&h->env, &config, &vdev), 0);
			cr_expect_eq(attach(h, vdev), expected);
			cr_expect_eq(fake_log_count, expected != 0);
			cr_expect(!expected || strstr(fake_log_last, "token"), "%s", fake_log_last);
			give_back(vdev);
			host_done(h);
		}
	}
}

Test(messages, no_iommufd_is_said_by_name)
{
	struct host *h = host_new();

	h->fk->no_iommufd = true;
	cr_expect_eq(open_iommu(h), -ENOENT);
	cr_expect_eq(fake_log_count, 1);
	cr_expect(strstr(fake_log_last, "CONFIG_IOMMUFD"));
	cr_expect_eq(kernel_iommufd_create(h->ictx, 999, &h->fk->calls, &h->iommufd), -EBADF);
	cr_expect_eq(fake_log_count, 2);
	cr_expect(strstr(fake_log_last, "--iommufd"));
	host_done(h);
}

Test(messages, memory_in_a_hole_names_the_first_address_that_is_refused)
{
	struct host *h = host_new();
	struct ioas_area area = {.iova = 0xfed00000,
				 .length = 0x200000,
				 .fd = h->memfd,
				 .hva = h->memory,
				 .rights = IOAS_READ};
	struct vfio_device *vdev;

	fake_kernel_add(h->fk, "0000:01:00.0", 0);
	cr_assert_eq(open_iommu(h), 0);
	vdev = attached(h, "0000:01:00.0");
	cr_expect_eq(ioas_map(h->ioas, &area), -EINVAL);
	cr_expect(strstr(fake_log_last, "0xfee00000"), "%s", fake_log_last);
	cr_expect_eq(fake_log_count, 1);

	/* Peer memory is tried, and its owner tells. */
	area.peer = true;
	ioas_map(h->ioas, &area);
	cr_expect_eq(fake_log_count, 1);
	give_back(vdev);
	host_done(h);
}
