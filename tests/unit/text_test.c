// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "vmm/base/text.h"

Test(text, numbers_are_taken_whole_or_not_at_all)
{
	static const char *const bad[] = {NULL, "", " 1", "+1", "-1", "1 ", "1x", "x", "0x", "256"};
	uint64_t n = 7;

	cr_assert(text_number("255", 10, 255, &n));
	cr_assert_eq(n, 255);
	cr_assert(text_number("0xff", 0, 255, &n));
	cr_assert_eq(n, 255);
	cr_assert(text_number("1F", 16, 255, &n));
	cr_assert_eq(n, 0x1f);
	cr_assert(text_number("18446744073709551615", 10, UINT64_MAX, &n));
	cr_assert_eq(n, UINT64_MAX);
	n = 7;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_not(text_number(bad[i], 10, 255, &n), "%s", bad[i]);
	cr_assert_not(text_number("18446744073709551616", 10, UINT64_MAX, &n));
	cr_assert_eq(n, 7);
}

Test(text, sizes_have_one_unit)
{
	static const char *const bad[] = {
		NULL,  "",   "M",         "1MB",   "1 M", "-1M", "1.5G",
		"0x1", "1Q", "16777216T", "1\xcd", "1+",  "1M ", "18446744073709551616"};
	static const struct {
		const char *text;
		uint64_t size;
	} good[] = {{"0", 0},           {"65536", 65536},
		    {"64k", 65536},     {"64M", 64ull << 20},
		    {"3g", 3ull << 30}, {"16777215T", 16777215ull << 40}};
	uint64_t size;

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		cr_expect(text_size(good[i].text, &size), "%s", good[i].text);
		cr_expect_eq(size, good[i].size);
	}
	size = 7;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		cr_expect_not(text_size(bad[i], &size), "%s", bad[i]);
	cr_assert_eq(size, 7);
}

Test(text, bytes_follow_their_layout)
{
	uint8_t mac[6];

	cr_assert(text_bytes("52:54:00:aB:Cd:Ff", "xx:xx:xx:xx:xx:xx", mac));
	cr_assert_arr_eq(mac, "\x52\x54\x00\xab\xcd\xff", 6);
	cr_assert_not(text_bytes(NULL, "xx", mac));
	cr_assert_not(text_bytes("5", "xx", mac));
	cr_assert_not(text_bytes("525", "xx", mac));
	cr_assert_not(text_bytes("5g", "xx", mac));
	cr_assert_not(text_bytes("52-54", "xx:xx", mac));
}

Test(text, a_switch_is_on_off_or_missing)
{
	static const char *const bad[] = {"", "On", "off ", "1", "true"};
	bool on = false;

	cr_assert(text_switch("on", &on) && on);
	cr_assert(text_switch("off", &on) && !on);
	cr_assert(text_switch(NULL, &on) && on);
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		cr_assert(!text_switch(bad[i], &on), "%s", bad[i]);
		cr_assert(on, "touched by %s", bad[i]);
	}
}
