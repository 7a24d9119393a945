// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>

#include "vmm/progress.h"

/* How often something is shown in @ms milliseconds of work that reports every 50. */
static unsigned shown(bool terminal, uint64_t ms)
{
	struct progress progress = {.what = "x", .terminal = terminal, .started_ms = 5000};
	unsigned count = 0;

	for (uint64_t now = 5000; now <= 5000 + ms; now += 50) {
		if (progress_due(&progress, now)) {
			progress.said_ms = now;
			count++;
		}
	}
	return count;
}

Test(progress, quick_work_is_silent)
{
	cr_assert_eq(shown(true, 950), 0);
	cr_assert_eq(shown(false, 9950), 0);
}

Test(progress, a_terminal_is_redrawn_and_a_log_is_told_now_and_then)
{
	cr_assert_eq(shown(true, 1000), 1);
	cr_assert_eq(shown(true, 3000), 11);
	cr_assert_eq(shown(false, 10000), 1);
	cr_assert_eq(shown(false, 19950), 1);
	cr_assert_eq(shown(false, 31000), 3);
}
