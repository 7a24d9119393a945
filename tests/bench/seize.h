/* SPDX-License-Identifier: Apache-2.0 */
/* What the programs that count system calls begin with. */
#ifndef SLUICE_TESTS_BENCH_SEIZE_H
#define SLUICE_TESTS_BENCH_SEIZE_H

#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>

/* Trace all threads that @pid has, with these PTRACE_O_*, and stop them. */
static inline void seize_all(pid_t pid, long options)
{
	char path[32];
	struct dirent *entry;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	if (!dir)
		err(1, "%s", path);
	while ((entry = readdir(dir))) {
		const pid_t tid = atoi(entry->d_name);

		if (tid > 0 && ptrace(PTRACE_SEIZE, tid, NULL, options) == 0)
			ptrace(PTRACE_INTERRUPT, tid, NULL, NULL);
	}
	closedir(dir);
}

#endif
