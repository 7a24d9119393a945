/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vfio/message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#define TEXT_MOST 8192 /* more than a path and what is said of it */

static void say(enum log_level level, const char *name, int error, const char *fmt, va_list args)
{
	const int saved = errno;
	char text[TEXT_MOST];

	if (!log_enabled(level))
		return;
	errno = -error; /* for %m */
	vsnprintf(text, sizeof(text), fmt, args);
	log_message(level, "vfio %s: %s", name, text);
	errno = saved;
}

int vfio_error(const char *name, int error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(LOG_LEVEL_ERROR, name, error, fmt, args);
	va_end(args);
	return error;
}

int vfio_message(enum log_level level, const char *name, int error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	say(level, name, error, fmt, args);
	va_end(args);
	return error;
}
