/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk along a command line, the same for all commands: --name VALUE, --name=VALUE, a name cut
 * short where it stays unique, -v, and -h or --help, in any order with what is no option.
 */
#ifndef SLUICE_BASE_ARGUMENTS_H
#define SLUICE_BASE_ARGUMENTS_H

#include <stdint.h>

/* An option of a command; --help is everyone's and is in no table. */
struct argument {
	char name[16]; /* without its dashes */
	uint8_t flags;
};
#define ARGUMENT_VALUE (1u << 0) /* it has a value, which is not empty ... */
#define ARGUMENT_EMPTY (1u << 1) /* ... but for this one */
#define ARGUMENT_ONCE  (1u << 2) /* two of them are a slip */
#define ARGUMENTS_MAX  20

struct arguments {
	int argc;
	char **argv; /* argv[0] is the command's name; is put in order: options first */
	const struct argument *options;
	unsigned count;
	const char *value; /* of the option just found, NULL: it has none */
	int rest;          /* at the end: where in @argv what is no option begins */
	/* ---- its own ---- */
	uint32_t seen;
};

#define ARGUMENTS_END  (-1)
#define ARGUMENTS_HELP 'h'
#define ARGUMENTS_V    'v' /* -v */

/*
 * The next option: its index, one of the three above, or -EINVAL after a message that names it. One
 * walk at a time in a process, from the first call on a zeroed struct to its end.
 */
int arguments_next(struct arguments *arguments);

/* At the end, for a command that takes options only: -EINVAL after a message when there is more. */
int arguments_no_more(const struct arguments *arguments);

/* "fd=N", the value of --iommufd. -EINVAL after a message. */
int argument_iommufd(const char *value, int *fd);

#endif
