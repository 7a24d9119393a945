/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "devices/vfio/message.h"
#include "tests/unit/fake_log.h"

Test(vfio_message, names_the_device_and_the_reason)
{
	char expected[128];

	snprintf(expected, sizeof(expected), "vfio 0000:01:00.0: BAR 3: %s; it is trapped",
		 strerror(ENOSPC));
	cr_assert_eq(vfio_error("0000:01:00.0", -ENOSPC, "BAR %d: %m; it is trapped", 3), -ENOSPC);
	cr_assert_str_eq(fake_log_last, expected);
	cr_assert_eq(vfio_warn("fd=9", 0, "a percent sign (%%) and %s", "a word"), 0);
	cr_assert_str_eq(fake_log_last, "vfio fd=9: a percent sign (%) and a word");
	cr_assert_eq(fake_log_count, 2);
}

Test(vfio_message, below_the_level_it_still_answers)
{
	cr_assert_eq(vfio_info("fd=9", -EIO, "nobody wants to know"), -EIO);
	cr_assert_eq(vfio_debug("fd=9", -EPERM, "nor this"), -EPERM);
	cr_assert_eq(fake_log_count, 0);
}

Test(vfio_message, errno_stays)
{
	errno = ENOTTY;
	vfio_error("fd=9", -EIO, "%m");
	cr_assert_eq(errno, ENOTTY);
	vfio_debug("fd=9", -EIO, "%m");
	cr_assert_eq(errno, ENOTTY);
}
