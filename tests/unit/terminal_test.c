// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <string.h>

#include "vmm/terminal.h"

static struct escape escape;

static unsigned feed(const char *input, const char *expected)
{
	uint8_t bytes[64];
	size_t count = strlen(input);
	unsigned actions;

	memcpy(bytes, input, count);
	count = escape_filter(&escape, bytes, count, &actions);
	cr_assert_eq(count, strlen(expected));
	cr_assert_arr_eq(bytes, expected, count);
	return actions;
}

Test(escape, other_keys_pass)
{
	cr_assert_eq(feed("hello x h\r\x03\x1b[A", "hello x h\r\x03\x1b[A"), ESCAPE_NONE);
	cr_assert_eq(feed("", ""), ESCAPE_NONE);
}

Test(escape, keys_of_sluice_are_taken_out)
{
	cr_assert_eq(feed("ab\x01xcd", "abcd"), ESCAPE_QUIT);
	cr_assert_eq(feed("ab\x01hcd", "abcd"), ESCAPE_HELP);
	cr_assert_eq(feed("\x01h\x01x", ""), ESCAPE_HELP | ESCAPE_QUIT);
}

Test(escape, the_escape_key_twice_sends_it_once)
{
	cr_assert_eq(feed("\x01\x01x", "\x01x"), ESCAPE_NONE);
	cr_assert_eq(feed("\x01\x01\x01\x01", "\x01\x01"), ESCAPE_NONE);
	cr_assert_eq(feed("\x01\x01\x01x", "\x01"), ESCAPE_QUIT);
}

Test(escape, the_two_keys_may_come_apart)
{
	cr_assert_eq(feed("a\x01", "a"), ESCAPE_NONE);
	cr_assert_eq(feed("", ""), ESCAPE_NONE);
	cr_assert_eq(feed("x", ""), ESCAPE_QUIT);
	cr_assert_eq(feed("x", "x"), ESCAPE_NONE);
}

Test(escape, unknown_keys_are_dropped_with_the_escape_key)
{
	cr_assert_eq(feed("\x01q", ""), ESCAPE_NONE);
	cr_assert_eq(feed("q", "q"), ESCAPE_NONE);
}
