// SPDX-License-Identifier: Apache-2.0
#include "vmm/progress.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/host.h"
#include "vmm/base/log.h"

static uint64_t now_ms(void)
{
	return host_now_ns() / 1000000;
}

bool progress_due(const struct progress *progress, uint64_t now)
{
	uint64_t pause = progress->terminal ? PROGRESS_REDRAW_MS : PROGRESS_MESSAGE_MS;

	if (progress->said_ms == 0)
		return now - progress->started_ms >=
		       (progress->terminal ? PROGRESS_QUICK_MS : PROGRESS_MESSAGE_MS);
	return now - progress->said_ms >= pause;
}

void progress_begin(struct progress *progress, const char *what)
{
	*progress = (struct progress){
		.what = what,
		.terminal = log_to_terminal(),
		.started_ms = now_ms(),
	};
}

/* Past the log: the line is not to stay. Nobody is to wait for it, or to mind that it got lost. */
static void draw(const char *text)
{
	ssize_t n = write(STDERR_FILENO, text, strlen(text));

	(void)n;
}

void progress_step(struct progress *progress, uint64_t done, uint64_t total)
{
	unsigned long long done_mib = done >> 20, total_mib = total >> 20;
	uint64_t now = now_ms();
	char line[128];

	if (!progress_due(progress, now))
		return;
	progress->said_ms = now;
	if (!progress->terminal) {
		log_answer("%s: %llu of %llu MiB", progress->what, done_mib, total_mib);
		return;
	}
	snprintf(line, sizeof(line), "\r\033[Ksluice: %s: %llu of %llu MiB", progress->what,
		 done_mib, total_mib);
	draw(line);
}

void progress_end(struct progress *progress)
{
	if (progress->terminal && progress->said_ms != 0)
		draw("\r\033[K");
}
