/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that make findings of facts. */
#ifndef SLUICE_VFIO_CHECK_JUDGE_H
#define SLUICE_VFIO_CHECK_JUDGE_H

#include "devices/vfio/check/findings.h"

struct judge {
	struct check_arena *arena;
	const struct check_facts *facts;
	struct check_report *report;
	bool host; /* the findings made now are about the host */
	bool out_of_memory;
	struct check_finding *last;   /* the finding said last: remedies are for it */
	struct check_finding nowhere; /* takes a finding for which there was no memory */
};

/*
 * A new finding, "CODE: SENTENCE" or "CODE: SENTENCE\nREMEDY". The code begins with what it is about:
 * "driver.host: the host's nvme has it". The remedy is as of judge_remedy(), which must be used where a
 * sentence takes what may have a new line in it, such as the name of a process.
 */
void judge_say(struct judge *judge, enum check_severity severity, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

#define judge_ok(judge, ...)       judge_say(judge, CHECK_OK, __VA_ARGS__)
#define judge_warning(judge, ...)  judge_say(judge, CHECK_WARNING, __VA_ARGS__)
#define judge_obstacle(judge, ...) judge_say(judge, CHECK_OBSTACLE, __VA_ARGS__)

/* The obstacle @code: the caller may not open @node, which exists. With its remedy. */
void judge_permission(struct judge *judge, const char *code, const struct check_node *node);

/*
 * A command that mends the finding said last, as an ordinary user types it: each "sudo " in @fmt is
 * left out for root.
 */
void judge_remedy(struct judge *judge, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Add @parameter to the kernel command line, or take it away. */
void judge_remedy_cmdline(struct judge *judge, const char *parameter, bool add);
/* A kernel that is configured by the @options of scripts/config. */
void judge_remedy_kernel(struct judge *judge, const char *options);
/* A guest with less memory. */
void judge_remedy_memory(struct judge *judge, uint64_t bytes);

/*
 * Parts of sentences and commands. None of them is NULL: without memory they are empty, and the whole
 * verdict fails.
 */
const char *judge_format(struct judge *judge, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* As check_size(). */
const char *judge_size(struct judge *judge, uint64_t bytes);
/* @text with @more behind it, parted by ", " when @text is not empty. */
const char *judge_join(struct judge *judge, const char *text, const char *more);
/* @word as one word of a shell command: in quotes when it needs them. */
const char *judge_quote(struct judge *judge, const char *word);
/* The command by which the caller writes @value into the file @path of root's. */
const char *judge_write(struct judge *judge, const char *value, const char *path);

/* The parts, in the order in which obstacles are to be mended. */
void judge_host(struct judge *judge);   /* findings_host.c: KVM, iommufd, memory, limits */
void judge_device(struct judge *judge); /* findings_device.c: driver, group, node, hardware */
void judge_launch(struct judge *judge); /* findings_launch.c: what opening it told */

#endif
