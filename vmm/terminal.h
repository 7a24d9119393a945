/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user's terminal while the guest's serial port is on it: raw mode, and keys for sluice itself.
 */
#ifndef SLUICE_TERMINAL_H
#define SLUICE_TERMINAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- the escape key (plan) ---- */

#define ESCAPE_KEY 0x01 /* Ctrl-A */

enum escape_action {
	ESCAPE_NONE = 0,
	ESCAPE_QUIT = 1 << 0, /* Ctrl-A x */
	ESCAPE_HELP = 1 << 1, /* Ctrl-A h */
};

struct escape {
	bool armed; /* the last byte was the escape key */
};

/*
 * Take the keys for sluice out of @bytes, in place: Ctrl-A x, Ctrl-A h; Ctrl-A Ctrl-A leaves one
 * Ctrl-A, and what follows a lone Ctrl-A otherwise is dropped with it. The two bytes may come in
 * different calls. Returns how many bytes are left; *@actions is what was asked for, ESCAPE_*.
 */
size_t escape_filter(struct escape *escape, uint8_t *bytes, size_t count, unsigned *actions);

extern const char escape_help[];

/* ---- raw mode ---- */

/*
 * Put standard input in raw mode when it is a terminal and this process is in its foreground; output
 * processing stays on, so that messages still look right. Returns true when it is a terminal. May be
 * called again and again: a process that began in the background comes to the foreground unasked.
 *
 * The mode is put back by terminal_restore(), at exit, when the process dies of a signal, and by SIGTSTP. The
 * saved mode is therefore process-wide, as the terminal is.
 */
bool terminal_raw(void);
void terminal_restore(void);

/* After SIGCONT: the shell has its own mode there, or the terminal to itself. Only after terminal_raw(). */
void terminal_continued(void);

#endif
