/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of a unit test: kept for the test to look at, in the place of vmm/base/log. */
#ifndef SLUICE_TESTS_FAKE_LOG_H
#define SLUICE_TESTS_FAKE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

#include "vmm/base/log.h"

static char fake_log_last[512];
static unsigned fake_log_count; /* of errors and warnings */

int log_open(const char *path, enum log_level level)
{
	(void)path, (void)level;
	return 0;
}

bool log_enabled(enum log_level level)
{
	return level <= LOG_LEVEL_WARN;
}

void log_message(enum log_level level, const char *fmt, ...)
{
	va_list args;

	if (level > LOG_LEVEL_WARN)
		return;
	va_start(args, fmt);
	vsnprintf(fake_log_last, sizeof(fake_log_last), fmt, args);
	va_end(args);
	fake_log_count++;
}

#endif
