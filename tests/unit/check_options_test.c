// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/options.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "vmm/base/log.h"

#define CHECK                                                                                      \
	(CHECK_TAKES_JSON | CHECK_TAKES_VERBOSE | CHECK_TAKES_LAUNCH | CHECK_TAKES_DEVICE |        \
	 CHECK_TAKES_COLOR)
#define LIST (CHECK_TAKES_JSON | CHECK_TAKES_ALL | CHECK_TAKES_COLOR)
#define BIND (CHECK_TAKES_BIND | CHECK_TAKES_DRIVER | CHECK_TAKES_DEVICE)

static void setup(void)
{
	log_open("/dev/null", LOG_LEVEL_ERROR);
}

TestSuite(check_options, .init = setup);

/* Parse words parted by blanks. */
static int parse(const char *line, unsigned takes, struct check_options *options)
{
	static char copy[2048];
	char *argv[32];
	int argc = 0;

	strcpy(copy, line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	argv[argc] = NULL;
	return check_options_parse(argc, argv, takes, options);
}

Test(check_options, a_device_alone_is_enough)
{
	struct check_options o;

	cr_assert_eq(parse("check 01:00.0", CHECK, &o), 0);
	cr_expect_str_eq(o.request.name, "01:00.0");
	cr_expect_str_eq(o.request.parsed.bdf, "0000:01:00.0");
	cr_expect_str_eq(o.request.root, "");
	cr_expect_eq(o.request.memory.size, MEMORY_DEFAULT);
	cr_expect_eq(o.request.memory.huge_page, 0);
	cr_expect_eq(o.request.iommufd, -1);
	cr_expect(o.request.open);
	cr_expect_not(o.request.has_token);
	cr_expect_not(o.json);
	cr_expect_not(o.verbose);
}

Test(check_options, all_options_of_check_are_taken_in_any_order)
{
	static const uint8_t token[16] = {0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77,
					  0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff};
	struct check_options o;

	cr_assert_eq(parse("check --json 01:00.0,token=00112233-4455-6677-8899-aabbCCddeeff -v "
			   "--no-open --no-color --memory 4G,hugepages=1G,prefault --iommufd fd=7",
			   CHECK, &o),
		     0);
	cr_expect(o.json);
	cr_expect(o.verbose);
	cr_expect(o.no_color);
	cr_expect_not(o.request.open);
	cr_expect_eq(o.request.memory.size, 4ull << 30);
	cr_expect_eq(o.request.memory.huge_page, 1ull << 30);
	cr_expect_eq(o.request.iommufd, 7);
	cr_expect(o.request.has_token);
	cr_expect_eq(memcmp(o.request.token, token, 16), 0);
	cr_expect_str_eq(o.request.name, "01:00.0");
}

Test(check_options, the_others_take_theirs)
{
	struct check_options o;

	cr_assert_eq(parse("list --all --json", LIST, &o), 0);
	cr_expect(o.all);
	cr_expect(o.json);
	cr_assert_eq(parse("bind --group 01:00.0 --force --driver mlx5-vfio-pci", BIND, &o), 0);
	cr_expect(o.group);
	cr_expect(o.force);
	cr_expect_str_eq(o.driver, "mlx5-vfio-pci");
	cr_assert_eq(parse("check --help", CHECK, &o), 0);
	cr_expect(o.help);
	cr_assert_eq(parse("check 01:00.0 --memory size=2G", CHECK, &o), 0);
	cr_expect_eq(o.request.memory.size, 2ull << 30);
}

Test(check_options, wrong_arguments_are_refused)
{
	static const struct {
		const char *line;
		unsigned takes;
	} cases[] = {
		{"check", CHECK},
		{"check nvme0", CHECK},
		{"check 01:00.0 02:00.0", CHECK},
		{"check 01:00.0 -x", CHECK},
		{"check 01:00.0 --bogus", CHECK},
		{"check 01:00.0 --group", CHECK},
		{"check 01:00.0 --all", CHECK},
		{"check 01:00.0,id=x", CHECK},
		{"check 01:00.0,token=1", CHECK},
		{"check 01:00.0,token=00112233-4455-6677-8899-aabbccddeefg", CHECK},
		{"check 01:00.0,token=0011223344556677-8899-aabbccddeeff-00", CHECK},
		{"check 01:00.0,", CHECK},
		{"check 01:00.0 --memory", CHECK},
		{"check 01:00.0 --memory 0", CHECK},
		{"check 01:00.0 --memory x", CHECK},
		{"check 01:00.0 --memory -1", CHECK},
		{"check 01:00.0 --memory 1X", CHECK},
		{"check 01:00.0 --memory 1GG", CHECK},
		{"check 01:00.0 --memory 99999999999999999999", CHECK},
		{"check 01:00.0 --memory 99999999T", CHECK},
		{"check 01:00.0 --memory 1G,2G", CHECK},
		{"check 01:00.0 --memory 1G,hugepages=3M", CHECK},
		{"check 01:00.0 --memory 1G,hugepages", CHECK},
		{"check 01:00.0 --memory 1G,prefault=maybe", CHECK},
		{"check 01:00.0 --memory 1M", CHECK},
		{"check 01:00.0 --memory 2097153", CHECK},
		{"check 01:00.0 --memory 3M,hugepages=2M", CHECK},
		{"check 01:00.0 --memory hugepages=1G", CHECK},
		{"check fd=9", CHECK},
		{"check 01:00.0 --iommufd 7", CHECK},
		{"check 01:00.0 --iommufd fd=", CHECK},
		{"check 01:00.0 --iommufd fd=-1", CHECK},
		{"check 01:00.0 --iommufd fd=7x", CHECK},
		{"check 01:00.0 --iommufd fd=99999999999", CHECK},
		{"check /dev/vfio/22", CHECK},
		{"list x", LIST},
		{"list -v", LIST},
		{"list --memory 1G", LIST},
		{"bind", BIND},
		{"bind 01:00.0 --json", BIND},
		{"bind 01:00.0 --driver", BIND},
		{"bind 01:00.0 --driver e1000e", BIND},
		{"bind 01:00.0 --driver ../vfio-pci", BIND},
		{"bind 01:00.0 --driver=", BIND},
		{"list --verbose", LIST},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct check_options o;

		cr_expect_eq(parse(cases[i].line, cases[i].takes, &o), -EINVAL, "%s",
			     cases[i].line);
	}
}

Test(check_options, a_name_that_is_too_long_is_refused)
{
	struct check_options o;
	char line[1100] = "check /sys/";

	memset(line + strlen(line), 'a', 1000);
	cr_expect_eq(parse(line, CHECK, &o), -EINVAL);
}

Test(check_options, a_device_that_is_none_of_the_hosts_is_refused)
{
	struct check_options o;

	cr_assert_eq(parse("check soft:reference", CHECK, &o), -EINVAL);
}
