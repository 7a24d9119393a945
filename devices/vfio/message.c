/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vfio/message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static void say(enum log_level level, const char *name, int error, const char *fmt, va_list args)
{
	const int saved = errno;
	char *text = NULL;

	if (!log_enabled(level))
		return;
	errno = -error; /* for %m */
	if (vasprintf(&text, fmt, args) < 0)
		text = NULL;
	/* Without memory as it stands here: better than nothing. */
	log_message(level, "vfio %s: %s", name, text ? text : fmt);
	free(text);
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
