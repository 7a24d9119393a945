/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/support.h"
#include "vmm/base/log.h"

#define LOG_MAX (4 << 20)

static char path[64];

/* The log goes to a file of the test; what stands there so far. */
static void open_log(enum log_level level)
{
	int fd;

	strcpy(path, "/tmp/sluice-log-XXXXXX");
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	close(fd);
	cr_assert_eq(log_open(path, level), 0);
}

static char *text_of(const char *file)
{
	FILE *f = fopen(file, "r");
	char *text = calloc(1, LOG_MAX);

	cr_assert_not_null(f);
	cr_assert_lt(fread(text, 1, LOG_MAX - 1, f), (size_t)LOG_MAX - 1);
	fclose(f);
	return text;
}

static void close_log(void)
{
	cr_assert_eq(log_open(NULL, LOG_LEVEL_WARN), 0);
	unlink(path);
}

/* "2026-01-31T12:00:00.123Z " */
#define STAMP 25

Test(log, stamps_lines_in_a_file_and_names_every_level_but_info)
{
	static const char *const want[] = {"error: one 1\n", "warning: two 2\n", "three 3\n",
					   "debug: four 4\n"};
	char *text, *line;

	open_log(LOG_LEVEL_DEBUG);
	log_error("one %d", 1);
	log_warn("two %d", 2);
	log_info("three %d", 3);
	log_debug("four %d", 4);
	line = text = text_of(path);
	for (int i = 0; i < 4; i++) {
		cr_assert_eq(line[4], '-');
		cr_assert_eq(line[10], 'T');
		cr_assert_eq(line[STAMP - 2], 'Z');
		cr_assert_eq(strncmp(line + STAMP, want[i], strlen(want[i])), 0, "%s", line);
		line += STAMP + strlen(want[i]);
	}
	cr_assert_eq(*line, '\0');
	free(text);
	close_log();
}

Test(log, writes_up_to_its_level)
{
	for (int level = LOG_LEVEL_ERROR; level <= LOG_LEVEL_DEBUG; level++) {
		int lines = 0;
		char *text;

		open_log((enum log_level)level);
		for (int l = LOG_LEVEL_ERROR; l <= LOG_LEVEL_DEBUG; l++) {
			cr_assert_eq(log_enabled((enum log_level)l), l <= level);
			log_message((enum log_level)l, "text");
		}
		text = text_of(path);
		for (char *p = text; *p; p++)
			lines += *p == '\n';
		cr_assert_eq(lines, level - LOG_LEVEL_ERROR + 1);
		free(text);
		close_log();
	}
}

/* Of the whole process, which the stand-in has one of for all tests. */
#ifndef SUPPORT_STAND_IN
Test(log, the_reason_of_an_end_is_said_where_no_error_was)
{
	char *text;

	open_log(LOG_LEVEL_WARN);
	log_warn("no error");
	log_unsaid(-ENOMEM);
	log_unsaid(-EIO);
	text = text_of(path);
	cr_expect(strstr(text, "error: Cannot allocate memory\n"), "%s", text);
	cr_expect(!strstr(text, "Input/output"), "%s", text);
	free(text);
	close_log();
}
#endif

Test(log, a_full_log_file_loses_no_message)
{
	char file[] = "/tmp/sluice-stderr-XXXXXX", *text;
	int fd = mkstemp(file), saved = dup(STDERR_FILENO);

	cr_assert_geq(fd, 0);
	cr_assert_eq(log_open("/dev/full", LOG_LEVEL_WARN), 0);
	dup2(fd, STDERR_FILENO);
	log_error("the device is gone");
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fd);
	log_open(NULL, LOG_LEVEL_WARN);
	text = text_of(file);
	cr_assert_not_null(strstr(text, "Z error: the device is gone\n"), "%s", text);
	free(text);
	unlink(file);
}

Test(log, speaks_to_stderr_under_its_name)
{
	char file[] = "/tmp/sluice-stderr-XXXXXX", *text;
	int fd = mkstemp(file), saved = dup(STDERR_FILENO);

	cr_assert_geq(fd, 0);
	cr_assert_eq(log_open(NULL, LOG_LEVEL_INFO), 0);
	dup2(fd, STDERR_FILENO);
	log_error("vfio %s: gone", "0000:01:00.0");
	log_info("ready");
	log_debug("not this");
	dup2(saved, STDERR_FILENO);
	close(saved);
	close(fd);
	text = text_of(file);
	cr_assert_str_eq(text, "sluice: error: vfio 0000:01:00.0: gone\nsluice: ready\n", "%s",
			 text);
	free(text);
	unlink(file);
}

Test(log, one_message_is_one_line_whatever_is_in_it)
{
	char *text;

	open_log(LOG_LEVEL_ERROR);
	errno = EXDEV;
	log_error("a\nb\rc\033[2Jd\te\x7f \xc3\xa4");
	cr_assert_eq(errno, EXDEV);
	text = text_of(path);
	cr_assert_str_eq(text + STAMP, "error: a b c [2Jd e  \xc3\xa4\n", "%s", text + STAMP);
	free(text);
	close_log();
}

Test(log, lines_of_every_length_are_whole)
{
	char message[2000], *text, *line;

	open_log(LOG_LEVEL_INFO);
	for (size_t n = 0; n < sizeof(message); n++) {
		memset(message, 'x', n);
		message[n] = '\0';
		if (n < 5 || (n > 400 && n < 600) || n % 97 == 0)
			log_info("%s", message);
	}
	line = text = text_of(path);
	for (size_t n = 0; n < sizeof(message); n++) {
		size_t length = 0;

		if (!(n < 5 || (n > 400 && n < 600) || n % 97 == 0))
			continue;
		line += STAMP;
		while (line[length] == 'x')
			length++;
		if (length != n || line[length] != '\n')
			cr_assert(false, "line of %zu has %zu", n, length);
		line += length + 1;
	}
	cr_assert_eq(*line, '\0');
	free(text);
	close_log();
}

Test(log, a_failure_ends_with_what_its_error_means_and_returns_it)
{
	char message[1200], want[1300], *text;

	for (size_t n = 0; n < sizeof(message); n++) {
		if (!(n < 3 || (n > 430 && n < 500) || n % 97 == 0))
			continue;
		memset(message, 'x', n);
		message[n] = '\0';
		open_log(LOG_LEVEL_ERROR);
		errno = EXDEV;
		cr_assert_eq(log_failure(-ENOENT, "disk%u: %s", 3, message), -ENOENT);
		cr_assert_eq(errno, EXDEV);
		text = text_of(path);
		snprintf(want, sizeof(want), "error: disk3: %s: No such file or directory\n",
			 message);
		cr_assert_str_eq(text + STAMP, want, "%zu: %s", n, text);
		free(text);
		close_log();
	}
	/* Where an errno says little, it is explained. */
	open_log(LOG_LEVEL_ERROR);
	cr_assert_eq(log_failure(-EMFILE, "event loop"), -EMFILE);
	text = text_of(path);
	cr_assert_not_null(strstr(text, "raise its hard limit"), "%s", text);
	free(text);
	close_log();
}

Test(log, appends_and_keeps_the_old_sink_when_the_new_one_fails)
{
	char *text;

	open_log(LOG_LEVEL_WARN);
	log_warn("first");
	cr_assert_eq(log_open("/nonexistent/log", LOG_LEVEL_DEBUG), -ENOENT);
	cr_assert_not(log_enabled(LOG_LEVEL_DEBUG));
	log_warn("second");
	cr_assert_eq(log_open(path, LOG_LEVEL_WARN), 0);
	log_warn("third");
	text = text_of(path);
	cr_assert_not_null(strstr(text, "first\n"));
	cr_assert_not_null(strstr(text, "second\n"));
	cr_assert_not_null(strstr(text, "third\n"));
	free(text);
	close_log();
}

static void *speak(void *arg)
{
	for (int i = 0; i < 500; i++)
		log_info("%s", (const char *)arg);
	return NULL;
}

Test(log, lines_of_threads_do_not_mix, .timeout = 30)
{
	char texts[4][700], *text, *line;
	pthread_t threads[4];
	unsigned seen[4] = {0}, wrong = 0;

	open_log(LOG_LEVEL_INFO);
	for (int i = 0; i < 4; i++) {
		size_t length = 50 + (size_t)i * 200;

		memset(texts[i], 'a' + i, length);
		texts[i][length] = '\0';
		cr_assert_eq(pthread_create(&threads[i], NULL, speak, texts[i]), 0);
	}
	for (int i = 0; i < 50; i++) { /* and the sink is changed under them */
		cr_assert_eq(log_open(path, LOG_LEVEL_INFO), 0);
		usleep(100);
	}
	for (int i = 0; i < 4; i++)
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
	text = text_of(path);
	for (line = text; *line;) {
		char *end = strchr(line, '\n');
		unsigned who;

		if (!end || end - line <= STAMP) {
			wrong++;
			break;
		}
		who = (unsigned)(line[STAMP] - 'a') % 4;
		*end = '\0';
		wrong += strcmp(line + STAMP, texts[who]) != 0;
		seen[who]++;
		line = end + 1;
	}
	cr_assert_eq(wrong, 0);
	for (int i = 0; i < 4; i++)
		cr_assert_eq(seen[i], 500);
	free(text);
	close_log();
}
