/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The command line of `sluice run`: argv in, a struct vm_config out.
 */
#ifndef SLUICE_OPTIONS_H
#define SLUICE_OPTIONS_H

struct option_keys;
struct vm_config;

/*
 * Parse the arguments of `run` (argv[0] is the word "run"). @config comes from vm_config_init() and
 * is checked as a whole at the end. Returns 0, 1 when only --help was asked for, -EINVAL after one
 * message that names the option and what it takes, or -ENOMEM.
 */
int options_parse_run(int argc, char **argv, struct vm_config *config);

/* The parser of --vfio (options_vfio.c): adds one to a struct vm_config. -EINVAL after a message, -ENOMEM. */
int parse_vfio(struct option_keys *keys, void *config);

/* Open the log as --log-file and -v want it. 0, or -errno after a message. */
int options_open_log(const struct vm_config *config);

/* The text of `sluice --help` and `sluice run --help`. */
extern const char options_help[];
extern const char options_run_help[];

#endif
