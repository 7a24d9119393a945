/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of a unit test: kept for the test to look at, in the place of vmm/base/log. */
#ifndef SLUICE_TESTS_FAKE_LOG_H
#define SLUICE_TESTS_FAKE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

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

static void fake_log_keep(const char *fmt, va_list args)
{
	vsnprintf(fake_log_last, sizeof(fake_log_last), fmt, args);
	fake_log_count++;
}

void log_message(enum log_level level, const char *fmt, ...)
{
	va_list args;

	if (level > LOG_LEVEL_WARN)
		return;
	va_start(args, fmt);
	fake_log_keep(fmt, args);
	va_end(args);
}

void log_error(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	fake_log_keep(fmt, args);
	va_end(args);
}

int log_failure(int error, const char *fmt, ...)
{
	size_t length;
	va_list args;

	va_start(args, fmt);
	fake_log_keep(fmt, args);
	va_end(args);
	length = strlen(fake_log_last);
	snprintf(fake_log_last + length, sizeof(fake_log_last) - length, ": %s", strerror(-error));
	return error;
}

#endif
