/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that make findings of facts. */
#ifndef SLUICE_VFIO_CHECK_JUDGE_H
#define SLUICE_VFIO_CHECK_JUDGE_H

#include "devices/vfio/check/findings.h"

struct judge {
	struct check_arena *arena;
	const struct check_facts *facts;
	struct check_report *report;
	const char *sudo; /* "sudo " unless the caller is root */
	bool host;        /* the findings made now are about the host */
	bool out_of_memory;
	struct check_finding nowhere; /* takes a finding for which there was no memory */
};

/* A new finding; the pointer is good until the next one. */
struct check_finding *judge_say(struct judge *judge, enum check_severity severity, const char *code,
				const char *subject, const char *fmt, ...)
	__attribute__((format(printf, 5, 6)));

#define judge_ok(judge, ...)       judge_say(judge, CHECK_OK, __VA_ARGS__)
#define judge_warning(judge, ...)  judge_say(judge, CHECK_WARNING, __VA_ARGS__)
#define judge_obstacle(judge, ...) judge_say(judge, CHECK_OBSTACLE, __VA_ARGS__)

/* A command that mends @finding. */
void judge_remedy(struct judge *judge, struct check_finding *finding, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* The command that writes @value into the file @path as root. */
void judge_remedy_write(struct judge *judge, struct check_finding *finding, const char *value,
			const char *path);
/* How the caller gets to open @node, which exists. */
void judge_remedy_node(struct judge *judge, struct check_finding *finding,
		       const struct check_node *node);
/* Add @parameter to the kernel command line, or take it away. */
void judge_remedy_cmdline(struct judge *judge, struct check_finding *finding, const char *parameter,
			  bool add);

/* @text with @more behind it, parted by ", " when @text is not empty. */
const char *judge_join(struct judge *judge, const char *text, const char *more);

/* @word as one word of a shell command: in quotes when it needs them. */
const char *judge_quote(struct judge *judge, const char *word);

/* The parts, in the order in which obstacles are to be mended. */
void judge_host(struct judge *judge);   /* findings_host.c: KVM, iommufd, memory, limits */
void judge_device(struct judge *judge); /* findings_device.c: driver, group, node, hardware */
void judge_launch(struct judge *judge); /* findings_launch.c: what opening it told */

#endif
