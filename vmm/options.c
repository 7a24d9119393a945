// SPDX-License-Identifier: Apache-2.0
/*
 * Two levels: getopt_long() finds the options, getsubopt() the keys inside a value. The first key of
 * an option may be left out: a first part that is no known key is its value.
 */
#include "vmm/options.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/log.h"
#include "vmm/config.h"

/* One option's value on its way through getsubopt(). */
struct keys {
	const char *option;   /* "--disk" */
	const char *shown;    /* the whole value, for messages */
	char *const *allowed; /* NULL-terminated */
	char *rest;           /* writable copy, consumed */
	char *value;          /* of the key just found; NULL: none */
	bool first;
	/* Takes a key that is not allowed: 0, -errno after a message, > 0 when it is none of its. */
	int (*unknown)(void *ctx, const char *part);
	void *ctx;
};

/* The next key's index in @allowed, 0 for a bare first part, -1 at the end, -EINVAL after a message. */
static int next_key(struct keys *keys)
{
	bool first = keys->first;
	char *part = keys->rest;
	char list[256] = "";
	int key;

	if (*keys->rest == '\0')
		return -1;
	keys->first = false;
	key = getsubopt(&keys->rest, keys->allowed, &keys->value);
	if (key >= 0)
		return key;
	if (first) {
		keys->value = part;
		return 0;
	}
	if (keys->unknown != NULL) {
		int r = keys->unknown(keys->ctx, part);

		if (r <= 0)
			return r < 0 ? r : next_key(keys);
	}
	for (unsigned i = 0; keys->allowed[i] != NULL; i++) {
		strncat(list, i > 0 ? ", " : "", sizeof(list) - strlen(list) - 1);
		strncat(list, keys->allowed[i], sizeof(list) - strlen(list) - 1);
	}
	log_error("%s %s: unknown key \"%s\"; allowed are %s", keys->option, keys->shown, part,
		  list);
	return -EINVAL;
}

static int bad_value(const struct keys *keys, const char *key, const char *allowed)
{
	log_error("%s %s: %s takes %s%s%s", keys->option, keys->shown, key, allowed,
		  keys->value != NULL && *keys->value != '\0' ? ", not " : "",
		  keys->value != NULL ? keys->value : "");
	return -EINVAL;
}

/* A switch: no value or "on" is true. */
static int take_switch(const struct keys *keys, const char *key, bool *out)
{
	if (keys->value == NULL || strcmp(keys->value, "on") == 0)
		*out = true;
	else if (strcmp(keys->value, "off") == 0)
		*out = false;
	else
		return bad_value(keys, key, "on or off");
	return 0;
}

/* A text that must not be empty; replaces *@out. */
static int take_text(const struct keys *keys, const char *key, char **out)
{
	char *copy;

	if (keys->value == NULL || *keys->value == '\0')
		return bad_value(keys, key, "a value");
	copy = strdup(keys->value);
	if (copy == NULL)
		return -ENOMEM;
	free(*out);
	*out = copy;
	return 0;
}

/* A number in @base up to @max; nothing may follow it. */
static bool parse_number(const char *text, int base, uint64_t max, uint64_t *out)
{
	unsigned long long n;
	char *end;

	/* strtoull() would take blanks and signs. */
	if (text == NULL || strchr("0123456789abcdefABCDEF", *text) == NULL || *text == '\0')
		return false;
	errno = 0;
	n = strtoull(text, &end, base);
	if (errno != 0 || *end != '\0' || end == text || n > max)
		return false;
	*out = n;
	return true;
}

/* 512M, 4G, 65536: bytes, by powers of 1024. */
static bool parse_size(const char *text, uint64_t *out)
{
	static const char units[] = "kmgt";
	unsigned long long n;
	unsigned shift = 0;
	char *end;

	if (text == NULL || *text < '0' || *text > '9')
		return false;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0)
		return false;
	if (*end != '\0') {
		const char *unit = strchr(units, *end | 0x20);

		if (unit == NULL || end[1] != '\0')
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (n > UINT64_MAX >> shift)
		return false;
	*out = (uint64_t)n << shift;
	return true;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Pairs of hexadecimal digits; @layout has 'x' for each digit and the separators elsewhere. */
static bool parse_bytes(const char *text, const char *layout, uint8_t *out)
{
	unsigned digits = 0;

	if (text == NULL || strlen(text) != strlen(layout))
		return false;
	for (; *layout != '\0'; layout++, text++) {
		int digit = hex_digit(*text);

		if (*layout != 'x') {
			if (*text != *layout)
				return false;
			continue;
		}
		if (digit < 0)
			return false;
		out[digits / 2] = (uint8_t)(digits % 2 ? out[digits / 2] | digit : digit << 4);
		digits++;
	}
	return true;
}

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

static int parse_memory(struct keys *keys, struct vm_config *config)
{
	static char *const allowed[] = {(char *)"size", (char *)"hugepages", (char *)"prefault",
					NULL};
	int key, r = 0;

	keys->allowed = allowed;
	while (r == 0 && (key = next_key(keys)) != -1) {
		switch (key) {
		case 0:
			if (!parse_size(keys->value, &config->memory))
				r = bad_value(keys, "size", "a number with K, M, G or T");
			break;
		case 1:
			if (!parse_size(keys->value, &config->huge_page) ||
			    (config->huge_page != 2ull << 20 && config->huge_page != 1ull << 30))
				r = bad_value(keys, "hugepages", "2M or 1G");
			break;
		case 2:
			r = take_switch(keys, "prefault", &config->prefault);
			break;
		default:
			return key;
		}
	}
	return r;
}

static int parse_disk(struct keys *keys, struct vm_config *config)
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
	while (r == 0 && (key = next_key(keys)) != -1) {
		switch (key) {
		case 0:
			r = take_text(keys, "path", &disk->path);
			break;
		case 1:
			r = take_switch(keys, "readonly", &disk->readonly);
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

static int parse_net(struct keys *keys, struct vm_config *config)
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
	while (r == 0 && (key = next_key(keys)) != -1) {
		switch (key) {
		case 0:
			r = take_text(keys, "tap", &net->tap);
			/* IFNAMSIZ, with the end of the string */
			if (r == 0 && strlen(net->tap) > 15)
				r = bad_value(keys, "tap", "an interface name of up to 15 bytes");
			break;
		case 1:
			net->has_mac = parse_bytes(keys->value, "xx:xx:xx:xx:xx:xx", net->mac);
			if (!net->has_mac || (net->mac[0] & 1))
				r = bad_value(keys, "mac", "six bytes of a unicast address");
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

static int parse_serial(struct keys *keys, struct vm_config *config)
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

/* A guest slot, 1 to 1f, and a function in it: "5", "05", "05.0", "05.3". */
static bool parse_slot(const char *text, struct vfio_config *vfio)
{
	char slot[3] = "";
	uint64_t number;
	const char *dot;

	if (text == NULL)
		return false;
	dot = strchrnul(text, '.');
	if (dot - text > 2)
		return false;
	memcpy(slot, text, (size_t)(dot - text));
	if (!parse_number(slot, 16, 0x1f, &number) || number == 0)
		return false;
	vfio->slot = (int)number;
	if (*dot == '\0')
		return true;
	if (dot[1] < '0' || dot[1] > '7' || dot[2] != '\0')
		return false;
	vfio->function = (unsigned)(dot[1] - '0');
	return true;
}

static int take_id(const struct keys *keys, const char *key, int32_t *out)
{
	uint64_t number;

	if (!parse_number(keys->value, 0, 0xffff, &number))
		return bad_value(keys, key, "a number up to 0xffff");
	*out = (int32_t)number;
	return 0;
}

/* The first part of --vfio: a name, or fd=N which getsubopt() took for a key with a value. */
static int take_vfio_name(const struct keys *keys, struct vfio_config *vfio)
{
	uint64_t fd;

	if (vfio->name != NULL) {
		log_error("--vfio %s: a second device; give each its own --vfio", keys->shown);
		return -EINVAL;
	}
	if (keys->value == NULL || *keys->value == '\0')
		return bad_value(keys, "the first key", "a device");
	if (strncmp(keys->value, "fd=", 3) == 0) {
		if (!parse_number(keys->value + 3, 10, INT32_MAX, &fd))
			return bad_value(keys, "fd", "the number of an open descriptor");
		vfio->fd = (int)fd;
	}
	vfio->name = strdup(keys->value);
	return vfio->name == NULL ? -ENOMEM : 0;
}

static int take_rom(const struct keys *keys, struct vfio_config *vfio)
{
	if (keys->value == NULL || strcmp(keys->value, "on") == 0) {
		vfio->rom = VFIO_ROM_ON;
		return 0;
	}
	if (strcmp(keys->value, "off") == 0) {
		vfio->rom = VFIO_ROM_OFF;
		return 0;
	}
	vfio->rom = VFIO_ROM_FILE;
	return take_text(keys, "rom", (char **)&vfio->rom_file);
}

/* Behind "user:/path": a key of the provider's own. */
static int take_provider_key(void *ctx, const char *part)
{
	struct vfio_config *vfio = ctx;
	const char *equal = strchr(part, '=');
	struct vfio_key *more;

	if (vfio->name == NULL || vfio_provider_by_prefix(vfio->name) == NULL)
		return 1;
	more = grow(vfio->keys, vfio->key_count, sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	vfio->keys = more;
	more = &vfio->keys[vfio->key_count++];
	more->name = equal == NULL ? strdup(part) : strndup(part, (size_t)(equal - part));
	more->value = equal == NULL ? NULL : strdup(equal + 1);
	return more->name == NULL || (equal != NULL && more->value == NULL) ? -ENOMEM : 0;
}

static int parse_vfio(struct keys *keys, struct vm_config *config)
{
	enum { DEVICE, ID, ADDR, TOKEN, P2P, ROM, VENDOR, DEVICE_ID, SUB_VENDOR, SUB_ID, ON_ERROR };
	static char *const allowed[] = {[DEVICE] = (char *)"device",
					[ID] = (char *)"id",
					[ADDR] = (char *)"addr",
					[TOKEN] = (char *)"token",
					[P2P] = (char *)"p2p",
					[ROM] = (char *)"rom",
					[VENDOR] = (char *)"vendor-id",
					[DEVICE_ID] = (char *)"device-id",
					[SUB_VENDOR] = (char *)"subsystem-vendor-id",
					[SUB_ID] = (char *)"subsystem-id",
					[ON_ERROR] = (char *)"on-error",
					[ON_ERROR + 1] = NULL};
	struct vfio_config *more = grow(config->vfio, config->vfio_count, sizeof(*more));
	struct vfio_config *vfio;
	int key, r = 0;

	if (more == NULL)
		return -ENOMEM;
	config->vfio = more;
	vfio = &more[config->vfio_count++];
	*vfio = (struct vfio_config){
		.fd = -1,
		.slot = -1,
		.vendor_id = -1,
		.device_id = -1,
		.subsystem_vendor_id = -1,
		.subsystem_id = -1,
	};
	keys->allowed = allowed;
	keys->unknown = take_provider_key;
	keys->ctx = vfio;
	while (r == 0 && (key = next_key(keys)) != -1) {
		switch (key) {
		case DEVICE:
			r = take_vfio_name(keys, vfio);
			break;
		case ID:
			r = take_text(keys, "id", (char **)&vfio->id);
			break;
		case ADDR:
			if (!parse_slot(keys->value, vfio))
				r = bad_value(keys, "addr", "a slot from 01 to 1f, and .FUNCTION");
			break;
		case TOKEN:
			vfio->has_token = parse_bytes(
				keys->value, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx", vfio->token);
			if (!vfio->has_token)
				r = bad_value(keys, "token",
					      "a UUID like 00112233-4455-6677-8899-aabbccddeeff");
			break;
		case P2P:
			if (keys->value == NULL || strcmp(keys->value, "on") == 0)
				vfio->p2p = VFIO_P2P_ON;
			else if (strcmp(keys->value, "auto") == 0)
				vfio->p2p = VFIO_P2P_AUTO;
			else if (strcmp(keys->value, "off") == 0)
				vfio->p2p = VFIO_P2P_OFF;
			else
				r = bad_value(keys, "p2p", "auto, on or off");
			break;
		case ROM:
			r = take_rom(keys, vfio);
			break;
		case VENDOR:
			r = take_id(keys, "vendor-id", &vfio->vendor_id);
			break;
		case DEVICE_ID:
			r = take_id(keys, "device-id", &vfio->device_id);
			break;
		case SUB_VENDOR:
			r = take_id(keys, "subsystem-vendor-id", &vfio->subsystem_vendor_id);
			break;
		case SUB_ID:
			r = take_id(keys, "subsystem-id", &vfio->subsystem_id);
			break;
		case ON_ERROR:
			vfio->stop_on_error =
				keys->value != NULL && strcmp(keys->value, "stop") == 0;
			if (!vfio->stop_on_error &&
			    (keys->value == NULL || strcmp(keys->value, "report") != 0))
				r = bad_value(keys, "on-error", "report or stop");
			break;
		default:
			return key;
		}
	}
	if (r == 0 && vfio->name == NULL) {
		log_error("--vfio %s: the device is missing", keys->shown);
		r = -EINVAL;
	}
	return r;
}

static int parse_iommufd(struct keys *keys, struct vm_config *config)
{
	uint64_t fd;

	if (strncmp(keys->rest, "fd=", 3) != 0 ||
	    !parse_number(keys->rest + 3, 10, INT32_MAX, &fd)) {
		log_error("--iommufd %s: it takes fd=N, an open descriptor of /dev/iommu",
			  keys->rest);
		return -EINVAL;
	}
	config->iommufd = (int)fd;
	return 0;
}

static int parse_on_reset(struct keys *keys, struct vm_config *config)
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

	if (!parse_number(value, 10, max, &number)) {
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
static int (*const with_keys[])(struct keys *keys, struct vm_config *config) = {
	parse_memory, parse_disk,    parse_net,      parse_serial,
	parse_vfio,   parse_iommufd, parse_on_reset,
};

static int parse_keys(int option, const char *name, const char *value, struct vm_config *config)
{
	char *copy = strdup(value);
	char label[32];
	struct keys keys = {.option = label, .shown = value, .rest = copy, .first = true};
	int r;

	if (copy == NULL)
		return -ENOMEM;
	snprintf(label, sizeof(label), "--%s", name);
	r = with_keys[option - OPT_MEMORY](&keys, config);
	free(copy);
	return r;
}

static int parse_option(int option, const char *name, const char *value, struct vm_config *config)
{
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

	optind = 0; /* start again, also after an earlier parse in this process */
	opterr = 0;
	for (;;) {
		int at = optind == 0 ? 1 : optind;

		index = 0;
		option = getopt_long(argc, argv, ":v", long_options, &index);
		if (option == -1)
			break;
		if (option == OPT_HELP)
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
