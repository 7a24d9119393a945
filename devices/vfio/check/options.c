// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/options.h"

#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/provider.h"
#include "vmm/base/log.h"
#include "vmm/base/text.h"

enum {
	OPT_HELP = 256,
	OPT_JSON,
	OPT_ALL,
	OPT_NO_COLOR,
	OPT_MEMORY,
	OPT_IOMMUFD,
	OPT_NO_OPEN,
	OPT_GROUP,
	OPT_FORCE,
	OPT_DRIVER,
};

static const struct option long_options[] = {
	{"help", no_argument, NULL, OPT_HELP},
	{"json", no_argument, NULL, OPT_JSON},
	{"all", no_argument, NULL, OPT_ALL},
	{"verbose", no_argument, NULL, 'v'},
	{"no-color", no_argument, NULL, OPT_NO_COLOR},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"iommufd", required_argument, NULL, OPT_IOMMUFD},
	{"no-open", no_argument, NULL, OPT_NO_OPEN},
	{"group", no_argument, NULL, OPT_GROUP},
	{"force", no_argument, NULL, OPT_FORCE},
	{"driver", required_argument, NULL, OPT_DRIVER},
	{NULL, 0, NULL, 0},
};

static unsigned needed(int option)
{
	switch (option) {
	case OPT_JSON:
		return CHECK_TAKES_JSON;
	case OPT_ALL:
		return CHECK_TAKES_ALL;
	case 'v':
		return CHECK_TAKES_VERBOSE;
	case OPT_NO_COLOR:
		return CHECK_TAKES_COLOR;
	case OPT_MEMORY:
	case OPT_IOMMUFD:
	case OPT_NO_OPEN:
		return CHECK_TAKES_LAUNCH;
	case OPT_GROUP:
	case OPT_FORCE:
		return CHECK_TAKES_BIND;
	case OPT_DRIVER:
		return CHECK_TAKES_DRIVER;
	default:
		return 0;
	}
}

/* The value of --memory as `run` takes it: SIZE[,hugepages=2M|1G][,prefault]. */
static int parse_memory(const char *value, struct check_request *request)
{
	char copy[128], *rest = copy, *part;
	bool first = true;

	if (strlen(value) >= sizeof(copy))
		goto bad;
	strcpy(copy, value);
	while ((part = strsep(&rest, ",")) != NULL) {
		const char *size = strncmp(part, "size=", 5) == 0 ? part + 5 : part;

		if (strcmp(part, "prefault") == 0 || strcmp(part, "prefault=on") == 0 ||
		    strcmp(part, "prefault=off") == 0)
			continue;
		if (strncmp(part, "hugepages=", 10) == 0) {
			if (!text_size(part + 10, &request->huge_page) ||
			    (request->huge_page != 2u << 20 && request->huge_page != 1u << 30))
				goto bad;
			continue;
		}
		if ((!first && size == part) || !text_size(size, &request->memory))
			goto bad;
		first = false;
	}
	/* As `run` has it (vmm/config.c). */
	if (request->memory >= 2u << 20 &&
	    request->memory % (request->huge_page ? request->huge_page : 4096) == 0)
		return 0;
bad:
	log_error("--memory %s: it takes SIZE[,hugepages=2M|1G], for example 1G: whole pages, and "
		  "2M at "
		  "least",
		  value);
	return -EINVAL;
}

static int parse_iommufd(const char *value, struct check_request *request)
{
	uint64_t fd;

	if (strncmp(value, "fd=", 3) != 0 || !text_number(value + 3, 10, INT_MAX, &fd)) {
		log_error("--iommufd %s: it takes fd=N, an open descriptor of /dev/iommu", value);
		return -EINVAL;
	}
	request->iommufd = (int)fd;
	return 0;
}

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

static int take(int option, struct check_options *options)
{
	switch (option) {
	case OPT_HELP:
		options->help = true;
		return 0;
	case OPT_JSON:
		options->json = true;
		return 0;
	case OPT_ALL:
		options->all = true;
		return 0;
	case 'v':
		options->verbose = true;
		return 0;
	case OPT_NO_COLOR:
		options->no_color = true;
		return 0;
	case OPT_NO_OPEN:
		options->request.open = false;
		return 0;
	case OPT_GROUP:
		options->group = true;
		return 0;
	case OPT_FORCE:
		options->force = true;
		return 0;
	case OPT_DRIVER:
		/* The kernel would let any driver have it: a disk to one for network cards, which then crashes. */
		if (!strstr(optarg, "vfio") || strchr(optarg, '/')) {
			log_error(
				"--driver %s: it takes a VFIO driver: vfio-pci, or a variant of it "
				"such as mlx5_vfio_pci",
				optarg);
			return -EINVAL;
		}
		options->driver = optarg;
		return 0;
	case OPT_MEMORY:
		return parse_memory(optarg, &options->request);
	case OPT_IOMMUFD:
		return parse_iommufd(optarg, &options->request);
	default:
		return -EINVAL;
	}
}

int check_options_parse(int argc, char **argv, unsigned takes, struct check_options *options)
{
	const char *command = argv[0];
	int option, ret;

	*options = (struct check_options){
		.command = command,
		.request = {.root = "",
			    .memory = CHECK_DEFAULT_MEMORY,
			    .iommufd = -1,
			    .open = true},
	};
	optind = 0;
	opterr = 0;
	for (;;) {
		int index = -1;

		option = getopt_long(argc, argv, ":v", long_options, &index);
		if (option == -1)
			break;
		if (option == ':') {
			log_error("%s needs a value; see sluice %s --help", argv[optind - 1],
				  command);
			return -EINVAL;
		}
		if (option == '?') {
			log_error("unknown option %s; see sluice %s --help", argv[optind - 1],
				  command);
			return -EINVAL;
		}
		if (option != OPT_HELP && !(takes & needed(option))) {
			log_error("%s does not take %s%s; see sluice %s --help", command,
				  index < 0 ? "-v" : "--",
				  index < 0 ? "" : long_options[index].name, command);
			return -EINVAL;
		}
		ret = take(option, options);
		if (ret < 0)
			return ret;
	}
	if (options->help)
		return 0;
	if (!(takes & CHECK_TAKES_DEVICE)) {
		if (optind == argc)
			return 0;
		log_error("%s: %s takes options only; see sluice %s --help", argv[optind], command,
			  command);
		return -EINVAL;
	}
	if (optind == argc) {
		log_error("%s needs a device; see sluice %s --help", command, command);
		return -EINVAL;
	}
	if (optind + 1 < argc) {
		log_error("%s: %s takes one device", argv[optind + 1], command);
		return -EINVAL;
	}
	ret = parse_device(argv[optind], options);
	if (ret == 0 && (takes & CHECK_TAKES_LAUNCH) &&
	    options->request.parsed.kind == VFIO_NAME_FD && options->request.iommufd < 0) {
		log_error("%s: a launch with a passed descriptor needs --iommufd fd=N as well, an "
			  "open descriptor of /dev/iommu",
			  options->name);
		ret = -EINVAL;
	}
	return ret;
}
