/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Criterion, or under the thread sanitizer a stand-in for the part of it that the tests of threads
 * use: Criterion wants memory at an address that the sanitizer keeps for itself. The stand-in runs
 * every test in one process, and ends it at the first that fails.
 *
 *   make BUILD=build/tsan SAN=-fsanitize=thread build/tsan/tests/unit/bus_test
 */
#ifndef SLUICE_TESTS_UNIT_SUPPORT_H
#define SLUICE_TESTS_UNIT_SUPPORT_H

#if defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define SUPPORT_STAND_IN 1
#endif
#elif defined(__SANITIZE_THREAD__)
#define SUPPORT_STAND_IN 1
#endif

#ifndef SUPPORT_STAND_IN
#include <criterion/criterion.h>
#else

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct support_test {
	const char *suite, *name;
	void (*run)(void);
	unsigned timeout;
	void (*init)(void), (*fini)(void);
};

static struct support_test support_tests[256];
static unsigned support_count;

#define Test(suite_, name_, ...)                                                                   \
	static void suite_##_##name_##_run(void);                                                  \
	__attribute__((constructor)) static void suite_##_##name_##_register(void)                 \
	{                                                                                          \
		support_tests[support_count++] =                                                   \
			(struct support_test){.suite = #suite_,                                    \
					      .name = #name_,                                      \
					      .run = suite_##_##name_##_run,                       \
					      __VA_ARGS__};                                        \
	}                                                                                          \
	static void suite_##_##name_##_run(void)

/* The messages of the tests are Criterion's affair; here the expression is enough. */
#define cr_assert(what, ...)                                                                       \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                 \
			printf("Tested: 1 | Passing: 0 | Failing: 1 | Crashing: 0\n");             \
			fflush(stdout);                                                            \
			_exit(1);                                                                  \
		}                                                                                  \
	} while (0)
#define cr_assert_not(a, ...)       cr_assert(!(a))
#define cr_assert_eq(a, b, ...)     cr_assert((a) == (b))
#define cr_assert_neq(a, b, ...)    cr_assert((a) != (b))
#define cr_assert_lt(a, b, ...)     cr_assert((a) < (b))
#define cr_assert_leq(a, b, ...)    cr_assert((a) <= (b))
#define cr_assert_gt(a, b, ...)     cr_assert((a) > (b))
#define cr_assert_geq(a, b, ...)    cr_assert((a) >= (b))
#define cr_assert_null(a, ...)      cr_assert(!(a))
#define cr_assert_not_null(a, ...)  cr_assert(a)
#define cr_assert_str_eq(a, b, ...) cr_assert(strcmp(a, b) == 0)
#define cr_expect                   cr_assert
#define cr_expect_eq                cr_assert_eq
#define cr_expect_neq               cr_assert_neq
#define cr_skip_test(...)           return

int main(void)
{
	for (unsigned i = 0; i < support_count; i++) {
		const struct support_test *test = &support_tests[i];

		alarm(test->timeout ? test->timeout * 10 : 300);
		if (test->init)
			test->init();
		test->run();
		if (test->fini)
			test->fini();
		fprintf(stderr, "%s::%s\n", test->suite, test->name);
	}
	printf("Tested: %u | Passing: %u | Failing: 0 | Crashing: 0\n", support_count,
	       support_count);
	return 0;
}

#endif
#endif
