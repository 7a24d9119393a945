// SPDX-License-Identifier: Apache-2.0
/* Two levels: arguments.c finds the options, option_keys.c the keys inside a value. */
#include "vmm/options.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/arguments.h"
#include "vmm/base/host.h"
#include "vmm/base/log.h"
#include "vmm/base/text.h"
#include "vmm/config.h"
#include "vmm/base/option_keys.h"

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

static int parse_disk(struct option_keys *keys, void *ctx)
{
	struct vm_config *config = ctx;
	struct vm_disk *more = grow(config->disks, config->disk_count, sizeof(*more));
	struct vm_disk *disk;
	int key, r = 0;

	if (more == NULL)
		return -ENOMEM;
	config->disks = more;
	disk = &more[config->disk_count++];
	*disk = (struct vm_disk){0};
	keys->allowed = "path, readonly";
	while (r == 0 && (key = keys_next(keys)) != -1) {
		switch (key) {
		case 0:
			r = keys_text(keys, &disk->path);
			break;
		case 1:
			r = keys_switch(keys, &disk->readonly);
			break;
		default:
			return key;
		}
	}
	return r == 0 && disk->path == NULL ? keys_missing(keys, "path=") : r;
}

static int parse_net(struct option_keys *keys, void *ctx)
{
	struct vm_config *config = ctx;
	struct vm_net *more = grow(config->nets, config->net_count, sizeof(*more));
	struct vm_net *net;
	int key, r = 0;

	if (more == NULL)
		return -ENOMEM;
	config->nets = more;
	net = &more[config->net_count++];
	*net = (struct vm_net){0};
	keys->allowed = "tap, mac";
	while (r == 0 && (key = keys_next(keys)) != -1) {
		switch (key) {
		case 0:
			r = keys_text(keys, &net->tap);
			/* IFNAMSIZ, with the end of the string */
			if (r == 0 && strlen(net->tap) > 15)
				r = keys_refuse(keys, "an interface name of up to 15 bytes");
			break;
		case 1:
			net->has_mac = text_bytes(keys->value, "xx:xx:xx:xx:xx:xx", net->mac);
			if (!net->has_mac || (net->mac[0] & 1))
				r = keys_refuse(keys, "six bytes of a unicast address");
			break;
		default:
			return key;
		}
	}
	return r == 0 && net->tap == NULL ? keys_missing(keys, "tap=") : r;
}

static int parse_serial(const char *value, struct vm_config *config)
{
	if (strncmp(value, "file=", 5) == 0 && value[5] != '\0') {
		config->serial = VM_SERIAL_FILE;
		return option_text(value + 5, &config->serial_path);
	}
	if (strcmp(value, "stdio") == 0) {
		config->serial = VM_SERIAL_STDIO;
	} else if (strcmp(value, "none") == 0) {
		config->serial = VM_SERIAL_NONE;
	} else if (strcmp(value, "pty") == 0) {
		config->serial = VM_SERIAL_PTY;
	} else {
		log_error("--serial %s: allowed are stdio, none, pty and file=PATH", value);
		return -EINVAL;
	}
	return 0;
}

static int parse_on_reset(const char *value, struct vm_config *config)
{
	if (strcmp(value, "exit") == 0) {
		config->on_reset = VM_ON_RESET_EXIT;
	} else if (strcmp(value, "reboot") == 0) {
		config->on_reset = VM_ON_RESET_REBOOT;
	} else {
		log_error("--on-reset %s: allowed are exit and reboot", value);
		return -EINVAL;
	}
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
	OPT_KERNEL,
	OPT_INITRD,
	OPT_CMDLINE,
	OPT_CPUS,
	OPT_MEMORY,
	OPT_DISK,
	OPT_NET,
	OPT_SERIAL,
	OPT_VFIO,
	OPT_IOMMUFD,
	OPT_MIGRATABLE,
	OPT_UNPLUG_TIMEOUT,
	OPT_ON_RESET,
	OPT_LOG_FILE,
	OPT_COUNT,
};

/* Lists and switches may stand there more than once; two values for one thing are a slip. */
static const struct argument options[OPT_COUNT] = {
	[OPT_KERNEL] = {"kernel", ARGUMENT_VALUE | ARGUMENT_ONCE},
	[OPT_INITRD] = {"initrd", ARGUMENT_VALUE},
	[OPT_CMDLINE] = {"cmdline", ARGUMENT_VALUE | ARGUMENT_EMPTY | ARGUMENT_ONCE},
	[OPT_CPUS] = {"cpus", ARGUMENT_VALUE | ARGUMENT_ONCE},
	[OPT_MEMORY] = {"memory", ARGUMENT_VALUE | ARGUMENT_ONCE},
	[OPT_DISK] = {"disk", ARGUMENT_VALUE},
	[OPT_NET] = {"net", ARGUMENT_VALUE},
	[OPT_SERIAL] = {"serial", ARGUMENT_VALUE | ARGUMENT_ONCE},
	[OPT_VFIO] = {"vfio", ARGUMENT_VALUE},
	[OPT_IOMMUFD] = {"iommufd", ARGUMENT_VALUE | ARGUMENT_ONCE},
	[OPT_MIGRATABLE] = {"migratable", 0},
	[OPT_UNPLUG_TIMEOUT] = {"unplug-timeout", ARGUMENT_VALUE | ARGUMENT_ONCE},
	[OPT_ON_RESET] = {"on-reset", ARGUMENT_VALUE | ARGUMENT_ONCE},
	[OPT_LOG_FILE] = {"log-file", ARGUMENT_VALUE | ARGUMENT_ONCE},
};

static int parse_option(int option, const char *value, struct vm_config *config)
{
	switch (option) {
	case OPT_KERNEL:
		return option_text(value, &config->kernel);
	case OPT_INITRD:
		return add_initrd(config, value);
	case OPT_CMDLINE:
		return option_text(value, &config->cmdline);
	case OPT_CPUS:
		return parse_count("--cpus", value, UINT16_MAX, "the number of virtual CPUs",
				   &config->cpus);
	case OPT_MEMORY:
		return memory_option_parse(value, &config->memory);
	case OPT_DISK:
		return option_keys_parse("disk", value, parse_disk, config);
	case OPT_NET:
		return option_keys_parse("net", value, parse_net, config);
	case OPT_SERIAL:
		return parse_serial(value, config);
	case OPT_VFIO:
		return option_keys_parse("vfio", value, parse_vfio, config);
	case OPT_IOMMUFD:
		return argument_iommufd(value, &config->iommufd);
	case OPT_MIGRATABLE:
		config->migratable = true;
		return 0;
	case OPT_UNPLUG_TIMEOUT:
		return parse_count("--unplug-timeout", value, 24 * 3600, "seconds, up to a day",
				   &config->unplug_timeout_s);
	case OPT_ON_RESET:
		return parse_on_reset(value, config);
	case OPT_LOG_FILE:
		return option_text(value, &config->log_file);
	default: /* -v */
		config->verbosity++;
		return 0;
	}
}

int options_parse_run(int argc, char **argv, struct vm_config *config)
{
	struct arguments arguments = {
		.argc = argc,
		.argv = argv,
		.options = options,
		.count = OPT_COUNT,
	};
	int option, r;

	while ((option = arguments_next(&arguments)) != ARGUMENTS_END) {
		if (option == ARGUMENTS_HELP)
			return 1;
		r = option < 0 ? option : parse_option(option, arguments.value, config);
		if (r < 0)
			return r;
	}
	r = arguments_no_more(&arguments);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < config->vfio_count; i++) {
		config->vfio[i].unplug_timeout_s = config->unplug_timeout_s;
		config->vfio[i].migratable = config->migratable;
	}
	return vm_config_check(config);
}

int options_open_log(const struct vm_config *config)
{
	int level = LOG_LEVEL_WARN + config->verbosity;
	int r = log_open(config->log_file,
			 level < LOG_LEVEL_DEBUG ? (enum log_level)level : LOG_LEVEL_DEBUG);

	if (r < 0)
		log_error("--log-file %s: %s", config->log_file, host_output_strerror(-r));
	return r;
}
