// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/options.h"

#include <errno.h>
#include <string.h>

#include "devices/vfio/provider.h"
#include "vmm/base/arguments.h"
#include "vmm/base/help.h"
#include "vmm/base/log.h"
#include "vmm/base/text.h"

enum {
	OPT_JSON,
	OPT_ALL,
	OPT_VERBOSE,
	OPT_NO_COLOR,
	OPT_MEMORY,
	OPT_IOMMUFD,
	OPT_NO_OPEN,
	OPT_GROUP,
	OPT_FORCE,
	OPT_DRIVER,
	OPT_COUNT,
};

static const struct argument arguments[OPT_COUNT] = {
	[OPT_JSON] = {"json", 0},
	[OPT_ALL] = {"all", 0},
	[OPT_VERBOSE] = {"verbose", 0},
	[OPT_NO_COLOR] = {"no-color", 0},
	[OPT_MEMORY] = {"memory", ARGUMENT_VALUE},
	[OPT_IOMMUFD] = {"iommufd", ARGUMENT_VALUE},
	[OPT_NO_OPEN] = {"no-open", 0},
	[OPT_GROUP] = {"group", 0},
	[OPT_FORCE] = {"force", 0},
	[OPT_DRIVER] = {"driver", ARGUMENT_VALUE},
};

/* What a command must take for an option to be one of its. */
static const uint8_t needed[OPT_COUNT] = {
	[OPT_JSON] = CHECK_TAKES_JSON,       [OPT_ALL] = CHECK_TAKES_ALL,
	[OPT_VERBOSE] = CHECK_TAKES_VERBOSE, [OPT_NO_COLOR] = CHECK_TAKES_COLOR,
	[OPT_MEMORY] = CHECK_TAKES_LAUNCH,   [OPT_IOMMUFD] = CHECK_TAKES_LAUNCH,
	[OPT_NO_OPEN] = CHECK_TAKES_LAUNCH,  [OPT_GROUP] = CHECK_TAKES_BIND,
	[OPT_FORCE] = CHECK_TAKES_BIND,      [OPT_DRIVER] = CHECK_TAKES_DRIVER,
};

/* DEV[,token=UUID], as --vfio takes it. */
static int parse_device(const char *text, struct check_options *options)
{
	struct check_request *request = &options->request;
	size_t length = strcspn(text, ",");
	const char *key = text[length] ? text + length + 1 : NULL;
	int ret;

	if (key &&
	    (strncmp(key, "token=", 6) != 0 || !text_bytes(key + 6, TEXT_UUID, request->token))) {
		log_error("%s: behind the device only token=UUID may stand", text);
		return -EINVAL;
	}
	request->has_token = key != NULL;
	if (length >= sizeof(options->name)) {
		log_error("%s: %s", text, vfio_name_reason(-ENAMETOOLONG));
		return -EINVAL;
	}
	memcpy(options->name, text, length);
	options->name[length] = '\0';
	request->name = options->name;
	if (vfio_provider_by_prefix(options->name)) {
		log_error("%s: no device of this host, so nothing stands in its way here; `sluice "
			  "run "
			  "--vfio %s` takes it as it is",
			  options->name, options->name);
		return -EINVAL;
	}
	ret = vfio_name_parse(options->name, &request->parsed);
	if (ret < 0) {
		log_error("%s: %s", options->name, vfio_name_reason(ret));
		return -EINVAL;
	}
	return 0;
}

static int take(int option, const char *value, struct check_options *options)
{
	switch (option) {
	case OPT_JSON:
		options->json = true;
		break;
	case OPT_ALL:
		options->all = true;
		break;
	case OPT_VERBOSE:
		options->verbose = true;
		break;
	case OPT_NO_COLOR:
		options->no_color = true;
		break;
	case OPT_NO_OPEN:
		options->request.open = false;
		break;
	case OPT_GROUP:
		options->group = true;
		break;
	case OPT_FORCE:
		options->force = true;
		break;
	case OPT_DRIVER:
		/* The kernel would let any driver have it: a disk to one for network cards, which then crashes. */
		if (!strstr(value, "vfio") || strchr(value, '/')) {
			log_error("--driver %s: it takes a VFIO driver: vfio-pci, or a variant of "
				  "it such "
				  "as mlx5_vfio_pci",
				  value);
			return -EINVAL;
		}
		options->driver = value;
		break;
	case OPT_MEMORY:
		return memory_option_parse(value, &options->request.memory);
	case OPT_IOMMUFD:
		return argument_iommufd(value, &options->request.iommufd);
	}
	return 0;
}

int check_options_parse(int argc, char **argv, unsigned takes, struct check_options *options)
{
	const char *command = argv[0];
	struct arguments walk = {
		.argc = argc,
		.argv = argv,
		.options = arguments,
		.count = OPT_COUNT,
	};
	int option, ret;

	*options = (struct check_options){
		.command = command,
		.request = {.root = "", .memory.size = MEMORY_DEFAULT, .iommufd = -1, .open = true},
	};
	while ((option = arguments_next(&walk)) != ARGUMENTS_END) {
		if (option == ARGUMENTS_HELP) {
			options->help = true;
			return 0;
		}
		if (option == ARGUMENTS_V)
			option = OPT_VERBOSE;
		if (option >= 0 && !(takes & needed[option])) {
			log_error("%s does not take --%s; see sluice %s --help", command,
				  arguments[option].name, command);
			return -EINVAL;
		}
		ret = option < 0 ? option : take(option, walk.value, options);
		if (ret < 0)
			return ret;
	}
	ret = memory_option_check(&options->request.memory);
	if (ret < 0)
		return ret;
	if (!(takes & CHECK_TAKES_DEVICE))
		return arguments_no_more(&walk);
	if (walk.rest == argc) {
		log_error("%s needs a device; see sluice %s --help", command, command);
		return -EINVAL;
	}
	if (walk.rest + 1 < argc) {
		log_error("%s: %s takes one device", argv[walk.rest + 1], command);
		return -EINVAL;
	}
	ret = parse_device(argv[walk.rest], options);
	if (ret == 0 && (takes & CHECK_TAKES_LAUNCH) &&
	    options->request.parsed.kind == VFIO_NAME_FD && options->request.iommufd < 0) {
		log_error("%s: a passed descriptor needs --iommufd fd=N as well, an "
			  "open descriptor of /dev/iommu",
			  options->name);
		ret = -EINVAL;
	}
	return ret;
}

int check_command(int argc, char **argv, unsigned takes, const char *help,
		  int (*run)(struct check_arena *arena, const struct check_options *options))
{
	struct check_options options;
	struct check_arena *arena;
	int ret;

	if (check_options_parse(argc, argv, takes, &options) < 0)
		return 2;
	if (options.help)
		return help_print(help) < 0;
	arena = check_arena_create();
	ret = arena ? run(arena, &options) : -ENOMEM;
	check_arena_destroy(arena);
	if (ret == -ENOMEM)
		log_error("out of memory");
	/* What was printed before a failure is good, too. */
	if (log_stdout(NULL) < 0 || ret < 0)
		return 1;
	return ret;
}
