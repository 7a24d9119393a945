// SPDX-License-Identifier: Apache-2.0
/* Two levels: getopt_long() finds the options, option_keys.c the keys inside a value. */
#include "vmm/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/log.h"
#include "vmm/base/text.h"
#include "vmm/config.h"
#include "vmm/option_keys.h"

/* Make room for one more in an array of @count elements. NULL: no memory. */
static void *grow(void *array, unsigned count, size_t size)
{
	return reallocarray(array, count + 1, size);
}

static int add_initrd(struct vm_config *config, const char *path)
{
	char **more = grow(config->initrds, config->initrd_count, sizeof(*more));
	char *copy;

	if (more == NULL)
		return -ENOMEM;
	config->initrds = more;
	copy = strdup(path);
	if (copy == NULL)
		return -ENOMEM;
	config->initrds[config->initrd_count++] = copy;
	return 0;
}

static int parse_memory(struct option_keys *keys, struct vm_config *config)
{
	static char *const allowed[] = {(char *)"size", (char *)"hugepages", (char *)"prefault",
					NULL};
	int key, r = 0;

	keys->allowed = allowed;
	while (r == 0 && (key = keys_next(keys)) != -1) {
		switch (key) {
		case 0:
			if (!text_size(keys->value, &config->memory))
				r = keys_refuse(keys, "size", "a number with K, M, G or T");
			break;
		case 1:
			if (!text_size(keys->value, &config->huge_page) ||
			    (config->huge_page != 2ull << 20 && config->huge_page != 1ull << 30))
				r = keys_refuse(keys, "hugepages", "2M or 1G");
			break;
		case 2:
			r = keys_switch(keys, "prefault", &config->prefault);
			break;
		default:
			return key;
		}
	}
	return r;
}

static int parse_disk(struct option_keys *keys, struct vm_config *config)
{
	static char *const allowed[] = {(char *)"path", (char *)"readonly", NULL};
	struct vm_disk *more = grow(config->disks, config->disk_count, sizeof(*more));
	struct vm_disk *disk;
	int key, r = 0;

	if (more == NULL)
		return -ENOMEM;
	config->disks = more;
	disk = &more[config->disk_count++];
	*disk = (struct vm_disk){0};
	keys->allowed = allowed;
	while (r == 0 && (key = keys_next(keys)) != -1) {
		switch (key) {
		case 0:
			r = keys_text(keys, "path", &disk->path);
			break;
		case 1:
			r = keys_switch(keys, "readonly", &disk->readonly);
			break;
		default:
			return key;
		}
	}
	if (r == 0 && disk->path == NULL) {
		log_error("--disk %s: path= is missing", keys->shown);
		r = -EINVAL;
	}
	return r;
}

static int parse_net(struct option_keys *keys, struct vm_config *config)
{
	static char *const allowed[] = {(char *)"tap", (char *)"mac", NULL};
	struct vm_net *more = grow(config->nets, config->net_count, sizeof(*more));
	struct vm_net *net;
	int key, r = 0;

	if (more == NULL)
		return -ENOMEM;
	config->nets = more;
	net = &more[config->net_count++];
	*net = (struct vm_net){0};
	keys->allowed = allowed;
	while (r == 0 && (key = keys_next(keys)) != -1) {
		switch (key) {
		case 0:
			r = keys_text(keys, "tap", &net->tap);
			/* IFNAMSIZ, with the end of the string */
			if (r == 0 && strlen(net->tap) > 15)
				r = keys_refuse(keys, "tap", "an interface name of up to 15 bytes");
			break;
		case 1:
			net->has_mac = text_bytes(keys->value, "xx:xx:xx:xx:xx:xx", net->mac);
			if (!net->has_mac || (net->mac[0] & 1))
				r = keys_refuse(keys, "mac", "six bytes of a unicast address");
			break;
		default:
			return key;
		}
	}
	if (r == 0 && net->tap == NULL) {
		log_error("--net %s: tap= is missing", keys->shown);
		r = -EINVAL;
	}
	return r;
}

static int parse_serial(struct option_keys *keys, struct vm_config *config)
{
	const char *value = keys->rest;

	free(config->serial_path);
	config->serial_path = NULL;
	if (strcmp(value, "stdio") == 0) {
		config->serial = VM_SERIAL_STDIO;
	} else if (strcmp(value, "none") == 0) {
		config->serial = VM_SERIAL_NONE;
	} else if (strcmp(value, "pty") == 0) {
		config->serial = VM_SERIAL_PTY;
	} else if (strncmp(value, "file=", 5) == 0 && value[5] != '\0') {
		config->serial = VM_SERIAL_FILE;
		config->serial_path = strdup(value + 5);
		return config->serial_path == NULL ? -ENOMEM : 0;
	} else {
		log_error("--serial %s: allowed are stdio, none, pty and file=PATH", value);
		return -EINVAL;
	}
	return 0;
}

static int parse_iommufd(struct option_keys *keys, struct vm_config *config)
{
	uint64_t fd;

	if (strncmp(keys->rest, "fd=", 3) != 0 ||
	    !text_number(keys->rest + 3, 10, INT32_MAX, &fd)) {
		log_error("--iommufd %s: it takes fd=N, an open descriptor of /dev/iommu",
			  keys->rest);
		return -EINVAL;
	}
	config->iommufd = (int)fd;
	return 0;
}

static int parse_on_reset(struct option_keys *keys, struct vm_config *config)
{
	if (strcmp(keys->rest, "exit") == 0) {
		config->on_reset = VM_ON_RESET_EXIT;
	} else if (strcmp(keys->rest, "reboot") == 0) {
		config->on_reset = VM_ON_RESET_REBOOT;
	} else {
		log_error("--on-reset %s: allowed are exit and reboot", keys->rest);
		return -EINVAL;
	}
	return 0;
}

static int replace_text(char **text, const char *value)
{
	char *copy = strdup(value);

	if (copy == NULL)
		return -ENOMEM;
	free(*text);
	*text = copy;
	return 0;
}

static int parse_count(const char *option, const char *value, uint64_t max, const char *what,
		       uint32_t *out)
{
	uint64_t number;

	if (!text_number(value, 10, max, &number)) {
		log_error("%s %s: it takes %s", option, value, what);
		return -EINVAL;
	}
	*out = (uint32_t)number;
	return 0;
}

enum {
	OPT_KERNEL = 256,
	OPT_INITRD,
	OPT_CMDLINE,
	OPT_CPUS,
	OPT_LOG_FILE,
	OPT_UNPLUG_TIMEOUT,
	OPT_MIGRATABLE,
	OPT_HELP,
	/* with keys inside */
	OPT_MEMORY,
	OPT_DISK,
	OPT_NET,
	OPT_SERIAL,
	OPT_VFIO,
	OPT_IOMMUFD,
	OPT_ON_RESET,
};

static const struct option long_options[] = {
	{"kernel", required_argument, NULL, OPT_KERNEL},
	{"initrd", required_argument, NULL, OPT_INITRD},
	{"cmdline", required_argument, NULL, OPT_CMDLINE},
	{"cpus", required_argument, NULL, OPT_CPUS},
	{"memory", required_argument, NULL, OPT_MEMORY},
	{"disk", required_argument, NULL, OPT_DISK},
	{"net", required_argument, NULL, OPT_NET},
	{"serial", required_argument, NULL, OPT_SERIAL},
	{"vfio", required_argument, NULL, OPT_VFIO},
	{"iommufd", required_argument, NULL, OPT_IOMMUFD},
	{"migratable", no_argument, NULL, OPT_MIGRATABLE},
	{"unplug-timeout", required_argument, NULL, OPT_UNPLUG_TIMEOUT},
	{"on-reset", required_argument, NULL, OPT_ON_RESET},
	{"log-file", required_argument, NULL, OPT_LOG_FILE},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

/* Options whose value has keys, in the order of their numbers. */
static int (*const with_keys[])(struct option_keys *keys, struct vm_config *config) = {
	parse_memory, parse_disk,    parse_net,      parse_serial,
	parse_vfio,   parse_iommufd, parse_on_reset,
};

static int parse_keys(int option, const char *name, const char *value, struct vm_config *config)
{
	char *copy = strdup(value);
	char label[32];
	struct option_keys keys = {.option = label, .shown = value, .rest = copy};
	int r;

	if (copy == NULL)
		return -ENOMEM;
	snprintf(label, sizeof(label), "--%s", name);
	r = with_keys[option - OPT_MEMORY](&keys, config);
	free(copy);
	return r;
}

/* What may stand there more than once: lists, and switches. Two values for one thing are a slip. */
static bool may_repeat(int option)
{
	return option == OPT_INITRD || option == OPT_DISK || option == OPT_NET ||
	       option == OPT_VFIO || option == OPT_MIGRATABLE || option == 'v';
}

static int parse_option(int option, const char *name, const char *value, struct vm_config *config)
{
	if (value != NULL && *value == '\0' && option != OPT_CMDLINE) {
		log_error("--%s: its value is empty; see sluice run --help", name);
		return -EINVAL;
	}
	switch (option) {
	case OPT_KERNEL:
		return replace_text(&config->kernel, value);
	case OPT_INITRD:
		return add_initrd(config, value);
	case OPT_CMDLINE:
		return replace_text(&config->cmdline, value);
	case OPT_CPUS:
		return parse_count("--cpus", value, UINT16_MAX, "the number of virtual CPUs",
				   &config->cpus);
	case OPT_LOG_FILE:
		return replace_text(&config->log_file, value);
	case OPT_UNPLUG_TIMEOUT:
		return parse_count("--unplug-timeout", value, 24 * 3600, "seconds, up to a day",
				   &config->unplug_timeout_s);
	case OPT_MIGRATABLE:
		config->migratable = true;
		return 0;
	case 'v':
		config->verbosity++;
		return 0;
	default:
		return parse_keys(option, name, value, config);
	}
}

int options_parse_run(int argc, char **argv, struct vm_config *config)
{
	int option, index, r;
	uint64_t seen = 0; /* by place in long_options */

	optind = 0; /* start again, also after an earlier parse in this process */
	opterr = 0;
	for (;;) {
		int at = optind == 0 ? 1 : optind;

		index = 0;
		option = getopt_long(argc, argv, ":vh", long_options, &index);
		if (option == -1)
			break;
		if (option == OPT_HELP || option == 'h')
			return 1;
		if (option == ':') {
			log_error("%s needs a value; see sluice run --help", argv[optind - 1]);
			return -EINVAL;
		}
		if (option == '?') {
			log_error("unknown option %s; see sluice run --help",
				  at < argc ? argv[at] : "");
			return -EINVAL;
		}
		if (!may_repeat(option)) {
			if (seen >> index & 1) {
				log_error("--%s %s: given twice, and there can be one; leave one "
					  "out",
					  long_options[index].name, optarg);
				return -EINVAL;
			}
			seen |= 1ull << index;
		}
		r = parse_option(option, long_options[index].name, optarg, config);
		if (r == -ENOMEM)
			log_error("out of memory");
		if (r < 0)
			return r;
	}
	if (optind < argc) {
		log_error("%s: run takes options only; see sluice run --help", argv[optind]);
		return -EINVAL;
	}
	for (unsigned i = 0; i < config->vfio_count; i++) {
		config->vfio[i].unplug_timeout_s = config->unplug_timeout_s;
		config->vfio[i].migratable = config->migratable;
	}
	return vm_config_check(config);
}
