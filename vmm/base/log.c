/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log sink. A line is built in memory and leaves by one write(2), so that lines of different
 * threads do not mix, and neither do those of several processes that append to one file.
 */
#include "vmm/base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/host.h"

#define LINE_ON_STACK 512

static pthread_mutex_t sink_lock = PTHREAD_MUTEX_INITIALIZER;
static int sink_fd = -1; /* -1: stderr */
static _Atomic int sink_level = LOG_LEVEL_WARN;
static atomic_bool error_said;

static const char *const level_prefix[] = {
	[LOG_LEVEL_ANSWER] = "", [LOG_LEVEL_ERROR] = "error: ", [LOG_LEVEL_WARN] = "warning: ",
	[LOG_LEVEL_INFO] = "",   [LOG_LEVEL_DEBUG] = "debug: ",
};

int log_open(const char *path, enum log_level level)
{
	int fd = -1;

	if (path) {
		fd = host_open_output(path, true);
		if (fd < 0)
			return fd;
	}
	pthread_mutex_lock(&sink_lock);
	if (sink_fd >= 0)
		close(sink_fd);
	sink_fd = fd;
	atomic_store(&sink_level, (int)level);
	pthread_mutex_unlock(&sink_lock);
	return 0;
}

bool log_to_terminal(void)
{
	bool file;

	pthread_mutex_lock(&sink_lock);
	file = sink_fd >= 0;
	pthread_mutex_unlock(&sink_lock);
	return !file && isatty(STDERR_FILENO);
}

bool log_enabled(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&sink_level, memory_order_relaxed);
}

/* "2026-01-31T12:00:00.123Z ", the time in UTC; nothing for stderr but the program's name. */
static size_t write_prefix(char *line, size_t size, bool file, enum log_level level)
{
	struct timespec now;
	struct tm tm;
	int n;

	if (!file) {
		n = snprintf(line, size, "sluice: %s", level_prefix[level]);
		return (size_t)n;
	}
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	n = snprintf(line, size, "%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ %s", tm.tm_year + 1900,
		     tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
		     now.tv_nsec / 1000000, level_prefix[level]);
	return (size_t)n;
}

/* False when not all of it was taken. */
static bool write_all(int fd, const char *bytes, size_t length)
{
	while (length) {
		ssize_t n = write(fd, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		bytes += n;
		length -= (size_t)n;
	}
	return true;
}

/* @error: 0, or -errno, whose meaning ends the line. */
static void write_line(enum log_level level, int error, const char *fmt, va_list args)
{
	char stack[LINE_ON_STACK];
	char *line = stack;
	size_t prefix, text, length;
	int saved = errno;
	const char *why;
	va_list again;
	bool file;
	int n;

	if (level == LOG_LEVEL_ERROR)
		atomic_store(&error_said, true);
	if (!log_enabled(level))
		return;

	why = error ? host_strerror(-error) : NULL;
	va_copy(again, args);
	pthread_mutex_lock(&sink_lock);
	file = sink_fd >= 0;
	prefix = write_prefix(stack, sizeof(stack), file, level);
	n = vsnprintf(stack + prefix, sizeof(stack) - prefix, fmt, args);
	text = prefix + (n < 0 ? 0 : (size_t)n);
	length = text + (why ? strlen(why) + 2 : 0);
	if (length >= sizeof(stack)) {
		line = malloc(length + 1);
		if (line) {
			memcpy(line, stack, prefix);
			vsnprintf(line + prefix, length + 1 - prefix, fmt, again);
		} else {
			line = stack;
			length = sizeof(stack) - 1;
		}
	}
	va_end(again);
	if (why && text < length)
		snprintf(line + text, length + 1 - text, ": %s", why);
	/* Part of the text may come from a guest, a device or a file: it does not steer a terminal. */
	for (size_t i = prefix; i < length; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = ' ';
	line[length] = '\n'; /* in place of the terminator */
	if (!write_all(file ? sink_fd : STDERR_FILENO, line, length + 1) && file)
		write_all(STDERR_FILENO, line, length + 1);
	pthread_mutex_unlock(&sink_lock);

	if (line != stack)
		free(line);
	errno = saved;
}

void log_message(enum log_level level, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(level, 0, fmt, args);
	va_end(args);
}

void log_error(const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(LOG_LEVEL_ERROR, 0, fmt, args);
	va_end(args);
}

int log_failure(int error, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	write_line(LOG_LEVEL_ERROR, error, fmt, args);
	va_end(args);
	return error;
}

void log_unsaid(int error)
{
	if (!atomic_load(&error_said))
		log_error("%s", host_strerror(-error));
}

int log_stdout(const char *text)
{
	if ((text == NULL || fputs(text, stdout) >= 0) && fflush(stdout) != EOF && !ferror(stdout))
		return 0;
	log_error("standard output does not take what is written");
	return -EIO;
}
