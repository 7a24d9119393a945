// SPDX-License-Identifier: Apache-2.0
#include "vmm/base/arguments.h"

#include <errno.h>
#include <getopt.h>
#include <stddef.h>

#include "vmm/base/log.h"
#include "vmm/base/text.h"

/* What getopt_long() returns for the first option; above all letters. */
#define FIRST 256

int arguments_next(struct arguments *arguments)
{
	struct option options[ARGUMENTS_MAX + 2] = {0};
	const char *command = arguments->argv[0];
	const struct argument *found;
	char letter[] = "-?";
	unsigned i;
	int option;

	for (i = 0; i < arguments->count; i++)
		options[i] = (struct option){
			.name = arguments->options[i].name,
			.has_arg = arguments->options[i].flags & ARGUMENT_VALUE ? required_argument
										: no_argument,
			.val = FIRST + (int)i,
		};
	options[i] = (struct option){.name = "help", .val = ARGUMENTS_HELP};
	/* Its state is the process's: start again, also after an earlier walk. */
	optind = arguments->rest;
	opterr = 0;
	option = getopt_long(arguments->argc, arguments->argv, ":vh", options, NULL);
	arguments->rest = optind;
	arguments->value = optarg;
	if (option == ':' || option == '?') {
		letter[1] = (char)optopt; /* none of a long option */
		log_error(option == ':' ? "%s needs a value; see sluice %s --help"
					: "unknown option %s; see sluice %s --help",
			  optopt > 0 && optopt < FIRST ? letter : arguments->argv[optind - 1],
			  command);
		return -EINVAL;
	}
	if (option < FIRST)
		return option;

	i = (unsigned)(option - FIRST);
	found = &arguments->options[i];
	if (found->flags & ARGUMENT_ONCE && arguments->seen >> i & 1) {
		log_error("--%s %s: given twice, and there can be one; leave one out", found->name,
			  optarg);
		return -EINVAL;
	}
	arguments->seen |= 1u << i;
	if ((found->flags & (ARGUMENT_VALUE | ARGUMENT_EMPTY)) == ARGUMENT_VALUE &&
	    *optarg == '\0') {
		log_error("--%s: its value is empty; see sluice %s --help", found->name, command);
		return -EINVAL;
	}
	return (int)i;
}

int arguments_no_more(const struct arguments *arguments)
{
	if (arguments->rest >= arguments->argc)
		return 0;
	log_error("%s: %s takes options only; see sluice %s --help",
		  arguments->argv[arguments->rest], arguments->argv[0], arguments->argv[0]);
	return -EINVAL;
}

int argument_iommufd(const char *value, int *fd)
{
	if (text_fd(value, fd))
		return 0;
	log_error("--iommufd %s: it takes fd=N, an open descriptor of /dev/iommu", value);
	return -EINVAL;
}
