/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages to the user: one line each, at the lowest layer that knows the object.
 *
 * The log sink is the one piece of process-wide state in sluice: every layer may speak, and a
 * message must reach the user even before a machine exists. It is set up once in main().
 */
#ifndef SLUICE_BASE_LOG_H
#define SLUICE_BASE_LOG_H

#include <stdbool.h>

enum log_level {
	LOG_LEVEL_ANSWER, /* what the user asked for (SIGUSR1): always written */
	LOG_LEVEL_ERROR,  /* the operation failed; says what, why and what to do next */
	LOG_LEVEL_WARN,   /* goes on, but not as asked; says what is lost */
	LOG_LEVEL_INFO,   /* -v: one line per device and phase */
	LOG_LEVEL_DEBUG,  /* -vv: every decision */
};

/*
 * Send messages up to @level to the file @path (appended), or to stderr when @path is NULL.
 * A second call replaces the first sink. Returns 0 or -errno of opening @path (sink unchanged).
 */
int log_open(const char *path, enum log_level level);

/* True when messages go to standard error and that is a terminal. */
bool log_to_terminal(void);

/* True when a message of @level would be written: guards work done only for the message. */
bool log_enabled(enum log_level level);

/*
 * Write one line: "sluice: LEVEL: text" on stderr, "TIME LEVEL: text" in a log file; ANSWER and INFO
 * have no level. @fmt carries no newline; control characters in the text become spaces. Thread-safe:
 * lines of different threads do not mix. What the log file does not take, for its disk is full, goes to
 * stderr. errno is kept.
 */
void log_message(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The program ends by @error (-errno): that is said, where no error was. */
void log_unsaid(int error);

/*
 * Standard output gets @text, and all that was printed before: a help, the end of a list. 0, or -EIO after a
 * message when it did not take everything since the process began. @text may be NULL.
 */
int log_stdout(const char *text);

/* Most messages are errors: one of @level ERROR, and one that ends with ": " and what -errno @error means. */
void log_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Returns @error, for the caller to return in turn. */
int log_failure(int error, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_answer(...) log_message(LOG_LEVEL_ANSWER, __VA_ARGS__)
#define log_warn(...)   log_message(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...)   log_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...)  log_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
