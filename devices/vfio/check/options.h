/* SPDX-License-Identifier: Apache-2.0 */
/* The command lines of check, list, bind and unbind. */
#ifndef SLUICE_VFIO_CHECK_OPTIONS_H
#define SLUICE_VFIO_CHECK_OPTIONS_H

#include "devices/vfio/check/facts.h"

struct check_options {
	const char *command; /* "check" */
	bool help;
	bool json;
	bool all;
	bool verbose;
	bool no_color;
	bool group;
	bool force;
	const char *driver; /* --driver, NULL: the best one */
	struct check_request request;
	char name[VFIO_PATH_SIZE]; /* DEV without keys; request.name points here */
};

/* Which options a command takes besides --help. */
#define CHECK_TAKES_JSON    (1u << 0)
#define CHECK_TAKES_ALL     (1u << 1)
#define CHECK_TAKES_VERBOSE (1u << 2)
#define CHECK_TAKES_LAUNCH  (1u << 3) /* --memory, --iommufd, --no-open */
#define CHECK_TAKES_BIND    (1u << 4) /* --group, --force */
#define CHECK_TAKES_DRIVER  (1u << 5)
#define CHECK_TAKES_DEVICE  (1u << 6) /* one DEV, which must be there */
#define CHECK_TAKES_COLOR   (1u << 7)

/*
 * Parse the arguments of command argv[0]. Returns 0 (with --help too), or -EINVAL after one message
 * that names the argument and what it may be.
 */
int check_options_parse(int argc, char **argv, unsigned takes, struct check_options *options);

/*
 * A whole command that @takes what it says and has the text @help. @run gets what was parsed, prints
 * to standard output and returns the exit status or -errno after a message (-ENOMEM without one).
 * Returns the exit status.
 */
int check_command(int argc, char **argv, unsigned takes, const char *help,
		  int (*run)(struct check_arena *arena, const struct check_options *options));

#endif
