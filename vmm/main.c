// SPDX-License-Identifier: Apache-2.0
#include <malloc.h>
#include <string.h>

#include "devices/vfio/check/check.h"
#include "vmm/base/help.h"
#include "vmm/base/host.h"
#include "vmm/base/log.h"
#include "vmm/config.h"
#include "vmm/machine.h"
#include "vmm/options.h"
#include "vmm/serve.h"

/* What was asked for on standard output; half of it is a failure. */
static int print(const char *text)
{
	return help_print(text) < 0 ? STATUS_HOST_FAILURE : STATUS_OFF;
}

static int run(int argc, char **argv)
{
	struct vm_config config;
	int status = STATUS_BAD_ARGUMENTS;
	int r;

	r = vm_config_init(&config);
	if (r == 0)
		r = options_parse_run(argc, argv, &config);
	if (r > 0)
		status = print(options_run_help);
	if (r == 0) {
		r = options_open_log(&config);
		status = r < 0 ? STATUS_HOST_FAILURE : machine_run(&config);
	}
	if (r < 0)
		log_unsaid(r);
	vm_config_destroy(&config);
	return status;
}

static const struct command {
	const char *name;
	int (*main)(int argc, char **argv);
} commands[] = {
	{"run", run},        {"check", check_main},   {"list", list_main},
	{"bind", bind_main}, {"unbind", unbind_main}, {"serve", serve_main},
};

int main(int argc, char **argv)
{
	static const char version[] = "sluice " SLUICE_VERSION "\n";

	/* One heap for all threads: every further arena would cost memory of its own. */
	mallopt(M_ARENA_MAX, 1);
	host_fill_standard();
	/* Each vector of a device takes a descriptor, and each map of a served device's client. */
	host_raise_nofile();

	if (argc < 2) {
		log_error("what is to be done? `sluice --help` lists the commands");
		return STATUS_BAD_ARGUMENTS;
	}
	if (strcmp(argv[1], "--version") == 0)
		return print(version);
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0)
		return print(options_help);
	for (unsigned i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[1], commands[i].name) != 0)
			continue;
		if (argc > 2 && strcmp(argv[2], "--version") == 0)
			return print(version);
		return commands[i].main(argc - 1, argv + 1);
	}
	log_error("%s: no such command; `sluice --help` lists them", argv[1]);
	return STATUS_BAD_ARGUMENTS;
}
