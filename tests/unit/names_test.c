// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/names.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <limits.h>
#include <string.h>

struct good {
	const char *text;
	enum vfio_name_kind kind;
	const char *bdf;
	int fd;
	unsigned index;
	const char *path;
};

static const struct good good[] = {
	{"0000:01:00.0", VFIO_NAME_BDF, "0000:01:00.0", -1, 0, ""},
	{"01:00.0", VFIO_NAME_BDF, "0000:01:00.0", -1, 0, ""},
	{"1:0.7", VFIO_NAME_BDF, "0000:01:00.7", -1, 0, ""},
	{"ABCD:Ef:1F.3", VFIO_NAME_BDF, "abcd:ef:1f.3", -1, 0, ""},
	{"10000:e1:00.0", VFIO_NAME_BDF, "10000:e1:00.0", -1, 0, ""},
	{"7fffffff:ff:1f.7", VFIO_NAME_BDF, "7fffffff:ff:1f.7", -1, 0, ""},
	{"0:1:2.3", VFIO_NAME_BDF, "0000:01:02.3", -1, 0, ""},
	{"/sys/bus/pci/devices/0000:01:00.0", VFIO_NAME_SYSFS, "0000:01:00.0", -1, 0,
	 "/sys/bus/pci/devices/0000:01:00.0"},
	{"/sys/bus/pci/devices/0000:01:00.0///", VFIO_NAME_SYSFS, "0000:01:00.0", -1, 0,
	 "/sys/bus/pci/devices/0000:01:00.0"},
	{"/sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.1", VFIO_NAME_SYSFS, "0000:03:00.1", -1,
	 0, "/sys/devices/pci0000:00/0000:00:1c.0/0000:03:00.1"},
	{"/sys/devices/platform/svfio-emul.0", VFIO_NAME_SYSFS, "", -1, 0,
	 "/sys/devices/platform/svfio-emul.0"},
	{"/sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001", VFIO_NAME_SYSFS, "", -1, 0,
	 "/sys/bus/mdev/devices/83b8f4f2-509f-382f-3c1e-e6bfe0fa1001"},
	{"/dev/vfio/devices/vfio0", VFIO_NAME_CDEV, "", -1, 0, "/dev/vfio/devices/vfio0"},
	{"/dev/vfio/devices/vfio4294967295/", VFIO_NAME_CDEV, "", -1, UINT_MAX,
	 "/dev/vfio/devices/vfio4294967295"},
	{"fd=0", VFIO_NAME_FD, "", 0, 0, ""},
	{"fd=2147483647", VFIO_NAME_FD, "", INT_MAX, 0, ""},
};

Test(names, every_form_of_a_name_is_taken_apart)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct vfio_name n;

		cr_assert_eq(vfio_name_parse(good[i].text, &n), 0, "%s", good[i].text);
		cr_expect_eq(n.kind, good[i].kind, "%s", good[i].text);
		cr_expect_str_eq(n.bdf, good[i].bdf, "%s", good[i].text);
		cr_expect_eq(n.fd, good[i].fd, "%s", good[i].text);
		cr_expect_eq(n.index, good[i].index, "%s", good[i].text);
		cr_expect_str_eq(n.path, good[i].path, "%s", good[i].text);
	}
}

static const struct {
	const char *text;
	int error;
} bad[] = {
	{"", -EINVAL},
	{"0000:01:00", -EINVAL},
	{"0000:01:00.8", -EINVAL},
	{"0000:01:20.0", -EINVAL},
	{"0000:100:00.0", -EINVAL},
	{"0000:01:00.0 ", -EINVAL},
	{" 0000:01:00.0", -EINVAL},
	{"0000:01:00.0,id=x", -EINVAL},
	{"0000:01:00.00", -EINVAL},
	{"80000000:01:00.0", -EINVAL},
	{"000000001:01:00.0", -EINVAL},
	{"0x0:01:00.0", -EINVAL},
	{"+1:00.0", -EINVAL},
	{":01:00.0", -EINVAL},
	{"0000:01:00.", -EINVAL},
	{"0000:01.00.0", -EINVAL},
	{"nvme0", -EINVAL},
	{"0000:00:01:00.0", -EINVAL},
	{"fd=", -EINVAL},
	{"fd=-1", -EINVAL},
	{"fd=+1", -EINVAL},
	{"fd=0x1", -EINVAL},
	{"fd=1a", -EINVAL},
	{"fd=2147483648", -EINVAL},
	{"fd=99999999999999999999", -EINVAL},
	{"FD=1", -EINVAL},
	{"/", -EINVAL},
	{"/sys", -EINVAL},
	{"/sys/", -EINVAL},
	{"/sysfs/bus/pci", -EINVAL},
	{"/dev/iommu", -EINVAL},
	{"/dev/vfio", -EINVAL},
	{"/dev/vfio/vfio", -EINVAL},
	{"/dev/vfio/devices", -EINVAL},
	{"/dev/vfio/devices/", -EINVAL},
	{"/dev/vfio/devices/vfio", -EINVAL},
	{"/dev/vfio/devices/vfio1x", -EINVAL},
	{"/dev/vfio/devices/vfio-1", -EINVAL},
	{"/dev/vfio/devices/vfio4294967296", -EINVAL},
	{"/dev/vfio/devices/../22", -EINVAL},
	{"/dev/vfio/devices/noiommu-vfio", -EINVAL},
	{"/dev/vfio/devices/noiommu-vfio0", -EOPNOTSUPP},
	{"/dev/vfio/22", -EOPNOTSUPP},
	{"/dev/vfio/noiommu-3", -EOPNOTSUPP},
};

Test(names, what_is_no_name_is_refused_and_leaves_the_result_alone)
{
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vfio_name n, untouched;

		memset(&n, 0x5a, sizeof(n));
		memset(&untouched, 0x5a, sizeof(untouched));
		cr_expect_eq(vfio_name_parse(bad[i].text, &n), bad[i].error, "\"%s\"", bad[i].text);
		cr_expect_eq(memcmp(&n, &untouched, sizeof(n)), 0, "\"%s\"", bad[i].text);
	}
}

Test(names, every_prefix_and_every_changed_byte_of_a_name_is_survived)
{
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char text[VFIO_PATH_SIZE];
		size_t length = strlen(good[i].text);
		struct vfio_name n;

		for (size_t cut = 0; cut < length; cut++) {
			memcpy(text, good[i].text, cut);
			text[cut] = '\0';
			(void)vfio_name_parse(text, &n);
			strcpy(text, good[i].text);
			for (int c = -128; c < 128; c++) {
				text[cut] = (char)c;
				if (vfio_name_parse(text, &n) == 0)
					cr_assert(strlen(n.bdf) < VFIO_BDF_SIZE);
			}
		}
	}
}

Test(names, a_path_that_does_not_fit_is_refused)
{
	char text[VFIO_PATH_SIZE + 8];
	struct vfio_name n;

	memset(text, 'a', sizeof(text));
	memcpy(text, "/sys/", 5);
	text[VFIO_PATH_SIZE] = '\0';
	cr_expect_eq(vfio_name_parse(text, &n), -ENAMETOOLONG);
	text[VFIO_PATH_SIZE - 1] = '\0';
	cr_expect_eq(vfio_name_parse(text, &n), 0);
	cr_expect_eq(strlen(n.path), VFIO_PATH_SIZE - 1);
	/* Trailing slashes do not count. */
	memset(text + VFIO_PATH_SIZE - 1, '/', 4);
	text[VFIO_PATH_SIZE + 3] = '\0';
	cr_expect_eq(vfio_name_parse(text, &n), 0);
}

Test(names, every_error_has_words)
{
	static const int errors[] = {-EINVAL, -ENAMETOOLONG, -EOPNOTSUPP};

	for (size_t i = 0; i < 3; i++) {
		cr_expect(strlen(vfio_name_reason(errors[i])) > 10);
		for (size_t j = 0; j < i; j++)
			cr_expect_str_neq(vfio_name_reason(errors[i]), vfio_name_reason(errors[j]));
	}
}
