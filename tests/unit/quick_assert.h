/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Criterion's assertions, quick when they hold. Each of Criterion's own is a message to another
 * process even when it passes, which turns an exhaustive test of milliseconds into minutes. The
 * Makefile includes this in every unit test; the tests are written as its documentation says.
 */
#ifndef SLUICE_TESTS_QUICK_ASSERT_H
#define SLUICE_TESTS_QUICK_ASSERT_H

/* Under the thread sanitizer there is no Criterion (support.h). */
#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUICK_NOTHING 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define QUICK_NOTHING 1
#endif

#ifndef QUICK_NOTHING
#include <criterion/criterion.h>

#define QUICK_FAIL(fail, text, format, ...) fail("%s does not hold. " format, text, ##__VA_ARGS__)
#define QUICK(fail, condition, text, ...)                                                          \
	do {                                                                                       \
		if (!(condition))                                                                  \
			QUICK_FAIL(fail, text, "" __VA_ARGS__);                                    \
	} while (0)

#undef cr_assert
#undef cr_assert_not
#undef cr_assert_eq
#undef cr_assert_neq
#undef cr_assert_lt
#undef cr_assert_leq
#undef cr_assert_gt
#undef cr_assert_geq
#undef cr_assert_null
#undef cr_assert_not_null
#undef cr_expect
#undef cr_expect_not
#undef cr_expect_eq
#undef cr_expect_neq
#undef cr_expect_lt
#undef cr_expect_leq
#undef cr_expect_gt
#undef cr_expect_geq
#undef cr_expect_null
#undef cr_expect_not_null

#define cr_assert(a, ...)          QUICK(cr_assert_fail, a, #a, ##__VA_ARGS__)
#define cr_assert_not(a, ...)      QUICK(cr_assert_fail, !(a), "!(" #a ")", ##__VA_ARGS__)
#define cr_assert_eq(a, b, ...)    QUICK(cr_assert_fail, (a) == (b), #a " == " #b, ##__VA_ARGS__)
#define cr_assert_neq(a, b, ...)   QUICK(cr_assert_fail, (a) != (b), #a " != " #b, ##__VA_ARGS__)
#define cr_assert_lt(a, b, ...)    QUICK(cr_assert_fail, (a) < (b), #a " < " #b, ##__VA_ARGS__)
#define cr_assert_leq(a, b, ...)   QUICK(cr_assert_fail, (a) <= (b), #a " <= " #b, ##__VA_ARGS__)
#define cr_assert_gt(a, b, ...)    QUICK(cr_assert_fail, (a) > (b), #a " > " #b, ##__VA_ARGS__)
#define cr_assert_geq(a, b, ...)   QUICK(cr_assert_fail, (a) >= (b), #a " >= " #b, ##__VA_ARGS__)
#define cr_assert_null(a, ...)     QUICK(cr_assert_fail, (a) == NULL, #a " == NULL", ##__VA_ARGS__)
#define cr_assert_not_null(a, ...) QUICK(cr_assert_fail, (a) != NULL, #a " != NULL", ##__VA_ARGS__)
#define cr_expect(a, ...)          QUICK(cr_expect_fail, a, #a, ##__VA_ARGS__)
#define cr_expect_not(a, ...)      QUICK(cr_expect_fail, !(a), "!(" #a ")", ##__VA_ARGS__)
#define cr_expect_eq(a, b, ...)    QUICK(cr_expect_fail, (a) == (b), #a " == " #b, ##__VA_ARGS__)
#define cr_expect_neq(a, b, ...)   QUICK(cr_expect_fail, (a) != (b), #a " != " #b, ##__VA_ARGS__)
#define cr_expect_lt(a, b, ...)    QUICK(cr_expect_fail, (a) < (b), #a " < " #b, ##__VA_ARGS__)
#define cr_expect_leq(a, b, ...)   QUICK(cr_expect_fail, (a) <= (b), #a " <= " #b, ##__VA_ARGS__)
#define cr_expect_gt(a, b, ...)    QUICK(cr_expect_fail, (a) > (b), #a " > " #b, ##__VA_ARGS__)
#define cr_expect_geq(a, b, ...)   QUICK(cr_expect_fail, (a) >= (b), #a " >= " #b, ##__VA_ARGS__)
#define cr_expect_null(a, ...)     QUICK(cr_expect_fail, (a) == NULL, #a " == NULL", ##__VA_ARGS__)
#define cr_expect_not_null(a, ...) QUICK(cr_expect_fail, (a) != NULL, #a " != NULL", ##__VA_ARGS__)

#endif
#endif
