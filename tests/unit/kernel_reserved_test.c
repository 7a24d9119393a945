// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>

#include "devices/vfio/providers/kernel/reserved.h"

static struct iova_range ranges[4];
static size_t count;

static int parse(const char *text)
{
	count = 4;
	return kernel_reserved_parse(text, ranges, &count);
}

Test(kernel_reserved, lines_become_ranges_and_relaxable_ones_are_allowed)
{
	cr_assert_eq(parse("0x00000000000a0000 0x00000000000bffff direct\n"
			   "0x000000007d000000 0x000000007f7fffff direct-relaxable\n"
			   "0x00000000fee00000 0x00000000feefffff msi\n"
			   "0x000000fd00000000 0xffffffffffffffff reserved"),
		     0);
	cr_assert_eq(count, 3);
	cr_assert_eq(ranges[0].first, 0xa0000);
	cr_assert_eq(ranges[0].last, 0xbffff);
	cr_assert_eq(ranges[1].first, 0xfee00000);
	cr_assert_eq(ranges[2].last, UINT64_MAX);
}

Test(kernel_reserved, no_lines_are_no_ranges)
{
	cr_assert_eq(parse(""), 0);
	cr_assert_eq(count, 0);
}

Test(kernel_reserved, too_many_say_how_many)
{
	cr_assert_eq(parse("0 1 msi\n2 3 msi\n4 5 msi\n6 7 msi\n8 9 msi\n"), -EMSGSIZE);
	cr_assert_eq(count, 5);
}

Test(kernel_reserved, other_text_is_refused)
{
	cr_assert_eq(parse("hello"), -EINVAL);
	cr_assert_eq(parse("0x1000 msi\n"), -EINVAL);
	cr_assert_eq(parse("0x2000 0x1000 msi\n"), -EINVAL);
}
