/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Criterion's names for a fuzz target that uses the harness of a unit test: an assertion ends the
 * process, a test is a function that nobody calls. Before any header of tests/unit.
 */
#ifndef SLUICE_TESTS_FUZZ_UNIT_STAND_IN_H
#define SLUICE_TESTS_FUZZ_UNIT_STAND_IN_H

#define SLUICE_TESTS_UNIT_SUPPORT_H /* it would bring Criterion and a main() */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define Test(suite_, name_, ...)                                                                   \
	__attribute__((unused)) static void suite_##_##name_##_unused(void);                       \
	__attribute__((unused)) static void suite_##_##name_##_unused(void)

#define cr_assert(what, ...)                                                                       \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)
#define cr_assert_fail(...)                                                                        \
	do {                                                                                       \
		fprintf(stderr, __VA_ARGS__);                                                      \
		fprintf(stderr, "\n");                                                             \
		abort();                                                                           \
	} while (0)
#define cr_assert_not(a, ...)      cr_assert(!(a))
#define cr_assert_eq(a, b, ...)    cr_assert((a) == (b))
#define cr_assert_neq(a, b, ...)   cr_assert((a) != (b))
#define cr_assert_geq(a, b, ...)   cr_assert((a) >= (b))
#define cr_assert_lt(a, b, ...)    cr_assert((a) < (b))
#define cr_assert_null(a, ...)     cr_assert(!(a))
#define cr_assert_not_null(a, ...) cr_assert(a)
#define cr_expect                  cr_assert
#define cr_expect_eq               cr_assert_eq
#define cr_expect_gt(a, b, ...)    cr_assert((a) > (b))

#endif
