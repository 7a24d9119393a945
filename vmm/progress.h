/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Showing that a long piece of work goes on: nothing while it is quick, one redrawn line on a terminal,
 * a message now and then elsewhere.
 */
#ifndef SLUICE_PROGRESS_H
#define SLUICE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

#define PROGRESS_QUICK_MS   1000  /* nothing is drawn before, */
#define PROGRESS_REDRAW_MS  200   /* and then so often */
#define PROGRESS_MESSAGE_MS 10000 /* messages where there is no terminal */

struct progress {
	const char *what;    /* "memory: %llu of %llu MiB populated" begins with it */
	bool terminal;       /* messages go to one */
	uint64_t started_ms; /* monotonic */
	uint64_t said_ms;    /* when something was shown last, 0: never */
};

/* Pure: is there something to be shown at @now_ms? */
bool progress_due(const struct progress *progress, uint64_t now_ms);

void progress_begin(struct progress *progress, const char *what);
/* @done of @total bytes, whenever it is convenient. */
void progress_step(struct progress *progress, uint64_t done, uint64_t total);
/* Takes the redrawn line away. */
void progress_end(struct progress *progress);

#endif
