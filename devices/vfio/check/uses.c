// SPDX-License-Identifier: Apache-2.0
/*
 * What the host loses when a device leaves it: file systems, swap, volumes on its disks, and the
 * network over its interfaces.
 */
#include "devices/vfio/check/read.h"

#include <errno.h>
#include <ifaddrs.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* How deep block devices and interfaces may be stacked on each other; sysfs has no loops. */
#define STACK_MAX 16

struct scan {
	const struct check_source *source;
	struct check_facts *facts;
	const char *mounts[2]; /* of this process and of init, which may live elsewhere */
	const char *swaps;
	const char *routes, *routes6;
	bool held_only;    /* look for disks in use for what neither sysfs nor a mount tells */
	const char *login; /* where the caller's SSH connection arrives; "": there is none */
	int error;
};

static void add_use(struct scan *scan, enum check_use_kind kind, const char *name,
		    const char *where)
{
	struct check_facts *facts = scan->facts;
	struct check_use *use;

	for (size_t i = 0; i < facts->use_count; i++) {
		use = &facts->uses[i];
		if (use->kind == kind && strcmp(use->name, name) == 0 &&
		    strcmp(use->where, where) == 0)
			return;
	}
	use = check_append(scan->source->arena, (void **)&facts->uses, &facts->use_count,
			   sizeof(*use));
	if (!use) {
		scan->error = -ENOMEM;
		return;
	}
	use->kind = kind;
	use->name = check_string(scan->source->arena, name);
	use->where = check_string(scan->source->arena, where);
	if (!use->name || !use->where)
		scan->error = -ENOMEM;
}

/* The @n-th field (from 0) of the line at @line, copied; "" when there is none. */
static void field(const char *line, unsigned n, char *out, size_t size)
{
	const char *p = line;

	while (n-- > 0) {
		p += strcspn(p, " \t\n");
		p += strspn(p, " \t");
	}
	snprintf(out, size, "%.*s", (int)strcspn(p, " \t\n"), p);
}

/* mountinfo and swaps write white space as \ooo (three octal digits). */
static void unescape(char *text)
{
	char *out = text;

	for (const char *p = text; *p; out++) {
		if (p[0] == '\\' && p[1] >= '0' && p[1] <= '3' && p[2] >= '0' && p[2] <= '7' &&
		    p[3] >= '0' && p[3] <= '7') {
			*out = (char)((p[1] - '0') << 6 | (p[2] - '0') << 3 | (p[3] - '0'));
			p += 4;
		} else {
			*out = *p++;
		}
	}
	*out = '\0';
}

static const char *next_line(const char *line)
{
	line = strchr(line, '\n');
	return line ? line + 1 : NULL;
}

/* Does @source name block device @name (@mapper: its name with device-mapper, or NULL)? */
static bool is_source(const char *source, const char *name, const char *mapper)
{
	if (strncmp(source, "/dev/", 5) != 0)
		return false;
	if (strcmp(source + 5, name) == 0)
		return true;
	return mapper && strncmp(source + 5, "mapper/", 7) == 0 && strcmp(source + 12, mapper) == 0;
}

static bool add_mounts(struct scan *scan, const char *name, const char *number, const char *mapper)
{
	bool found = false;

	for (unsigned i = 0; i < 2; i++) {
		for (const char *line = scan->mounts[i]; line && *line; line = next_line(line)) {
			char device[32], where[512], source[256] = "";
			const char *end = strchr(line, '\n');
			const char *separator = strstr(line, " - ");

			field(line, 2, device, sizeof(device));
			if (separator && (!end || separator < end))
				field(separator + 3, 1, source, sizeof(source));
			/* btrfs has a number of its own; there the source tells. */
			if ((!number || strcmp(device, number) != 0) &&
			    !is_source(source, name, mapper))
				continue;
			field(line, 4, where, sizeof(where));
			unescape(where);
			add_use(scan, CHECK_USE_MOUNT, name, where);
			found = true;
		}
	}
	return found;
}

static bool add_swaps(struct scan *scan, const char *name, const char *mapper)
{
	bool found = false;

	for (const char *line = scan->swaps; line && *line; line = next_line(line)) {
		char source[256];

		field(line, 0, source, sizeof(source));
		unescape(source);
		if (is_source(source, name, mapper)) {
			add_use(scan, CHECK_USE_SWAP, name, "");
			found = true;
		}
	}
	return found;
}

/* Every disk of a btrfs is in sysfs while it is mounted; mountinfo names one. */
static bool add_btrfs(struct scan *scan, const char *name)
{
	struct host_list all = check_list(scan->source, "/sys/fs/btrfs");
	bool found = false;

	for (size_t i = 0; i < all.count && !found; i++) {
		found = check_exists(scan->source, "/sys/fs/btrfs/%s/devices/%s", all.names[i],
				     name);
		if (found)
			add_use(scan, CHECK_USE_STACK, name, all.names[i]);
	}
	host_list_free(&all);
	return found;
}

/* The uses of @name and of what is stacked on it. True when there is one. */
static bool block_uses(struct scan *scan, const char *name, unsigned depth)
{
	const struct check_source *source = scan->source;
	const char *number = check_read(source, "/sys/class/block/%s/dev", name);
	const char *mapper = check_read(source, "/sys/class/block/%s/dm/name", name);
	struct host_list holders;
	bool found;

	if (scan->held_only) {
		if (host_is_held(check_path(source, "/dev/%s", name)))
			add_use(scan, CHECK_USE_HELD, name, "");
		return true;
	}
	found = add_mounts(scan, name, number, mapper);
	found = add_swaps(scan, name, mapper) || found;
	found = found || add_btrfs(scan, name);
	if (depth >= STACK_MAX)
		return found;
	holders = check_list(source, "/sys/class/block/%s/holders", name);
	for (size_t i = 0; i < holders.count; i++) {
		if (!block_uses(scan, holders.names[i], depth + 1))
			add_use(scan, CHECK_USE_STACK, name, holders.names[i]);
		found = true;
	}
	host_list_free(&holders);
	return found;
}

static void add_block(struct scan *scan, const char *sysfs)
{
	const struct check_source *source = scan->source;
	struct host_list blocks = check_list(source, "/sys/class/block");
	unsigned subsystem, controller, space;

	for (size_t i = 0; i < blocks.count; i++) {
		const char *name = blocks.names[i];
		const char *real = check_real(source, "/sys/class/block/%s", name);
		const char *head;

		if (!real || !check_below(real, sysfs))
			continue;
		block_uses(scan, name, 0);
		/*
		 * A path of NVMe multipath, hidden: the disk is its head, which lives outside of
		 * the PCI device (drivers/nvme/host/multipath.c).
		 */
		if (sscanf(name, "nvme%uc%un%u", &subsystem, &controller, &space) != 3)
			continue;
		head = check_format(source->arena, "nvme%un%u", subsystem, space);
		real = head ? check_real(source, "/sys/class/block/%s", head) : NULL;
		if (!real)
			continue;
		for (size_t j = 0; j < blocks.count; j++) {
			const char *part =
				check_real(source, "/sys/class/block/%s", blocks.names[j]);

			if (part && check_below(part, real))
				block_uses(scan, blocks.names[j], 0);
		}
	}
	host_list_free(&blocks);
}

static bool has_default_route(const struct scan *scan, const char *interface)
{
	for (const char *line = scan->routes; line && *line; line = next_line(line)) {
		char name[32], to[16], mask[16];

		field(line, 0, name, sizeof(name));
		field(line, 1, to, sizeof(to));
		field(line, 7, mask, sizeof(mask));
		if (strcmp(name, interface) == 0 && strcmp(to, "00000000") == 0 &&
		    strcmp(mask, "00000000") == 0)
			return true;
	}
	for (const char *line = scan->routes6; line && *line; line = next_line(line)) {
		char to[40], bits[8], name[32];

		field(line, 0, to, sizeof(to));
		field(line, 1, bits, sizeof(bits));
		field(line, 9, name, sizeof(name));
		if (strcmp(name, interface) == 0 && strspn(to, "0") == 32 &&
		    strcmp(bits, "00") == 0)
			return true;
	}
	return false;
}

/*
 * The address (text) at which the caller's SSH connection arrives, or "". It is in the environment of who logged in: sudo
 * takes it out of ours.
 */
static const char *login_address(const struct check_source *source)
{
	static const char name[] = "SSH_CONNECTION=";
	const char *pid = "self", *status;
	char text[32768], address[64];

	for (unsigned i = 0; pid && i < 64; i++) {
		ssize_t n = host_read_bytes(check_path(source, "/proc/%s/environ", pid), text,
					    sizeof(text) - 1);

		text[n < 0 ? 0 : n] = '\0';
		for (const char *at = text; at - text < n; at += strlen(at) + 1) {
			if (strncmp(at, name, sizeof(name) - 1) != 0)
				continue;
			field(at + sizeof(name) - 1, 2, address, sizeof(address));
			/* Behind a link-local address comes the interface. */
			address[strcspn(address, "%")] = '\0';
			return check_string(source->arena, address);
		}
		status = check_read(source, "/proc/%s/status", pid);
		pid = status ? check_field(source->arena, status, "PPid:") : NULL;
	}
	return "";
}

/* Does the caller's SSH connection arrive at @interface? */
static bool has_login(struct scan *scan, const char *interface)
{
	struct ifaddrs *all, *one;
	bool found = false;

	if (!scan->login)
		scan->login = login_address(scan->source);
	if (!scan->login || !*scan->login || getifaddrs(&all) < 0)
		return false;
	for (one = all; one && !found; one = one->ifa_next) {
		char text[INET6_ADDRSTRLEN] = "";

		if (!one->ifa_addr || strcmp(one->ifa_name, interface) != 0)
			continue;
		if (one->ifa_addr->sa_family == AF_INET)
			inet_ntop(AF_INET, &((struct sockaddr_in *)one->ifa_addr)->sin_addr, text,
				  sizeof(text));
		else if (one->ifa_addr->sa_family == AF_INET6)
			inet_ntop(AF_INET6, &((struct sockaddr_in6 *)one->ifa_addr)->sin6_addr,
				  text, sizeof(text));
		found = strcmp(text, scan->login) == 0;
	}
	freeifaddrs(all);
	return found;
}

/* @interface itself or a bridge, bond or VLAN above it; @name is the one of the device. */
static void net_uses(struct scan *scan, const char *name, const char *interface, unsigned depth)
{
	struct host_list entries;

	if (has_default_route(scan, interface))
		add_use(scan, CHECK_USE_ROUTE, name, interface);
	if (has_login(scan, interface))
		add_use(scan, CHECK_USE_LOGIN, name, interface);
	if (depth >= STACK_MAX)
		return;
	entries = check_list(scan->source, "/sys/class/net/%s", interface);
	for (size_t i = 0; i < entries.count; i++) {
		if (strncmp(entries.names[i], "upper_", 6) == 0)
			net_uses(scan, name, entries.names[i] + 6, depth + 1);
	}
	host_list_free(&entries);
}

static void add_net(struct scan *scan, const char *sysfs)
{
	const struct check_source *source = scan->source;
	struct host_list names = check_list(source, "/sys/class/net");

	for (size_t i = 0; i < names.count; i++) {
		const char *real = check_real(source, "/sys/class/net/%s", names.names[i]);
		const char *state;

		if (!real || !check_below(real, sysfs))
			continue;
		net_uses(scan, names.names[i], names.names[i], 0);
		state = check_read(source, "/sys/class/net/%s/operstate", names.names[i]);
		if (state && strcmp(state, "up") == 0)
			add_use(scan, CHECK_USE_UP, names.names[i], "");
	}
	host_list_free(&names);
}

int check_gather_uses(const struct check_source *source, const char *sysfs,
		      struct check_facts *facts)
{
	struct scan scan = {
		.source = source,
		.facts = facts,
		.mounts = {check_slurp(source, "/proc/self/mountinfo"),
			   check_slurp(source, "/proc/1/mountinfo")},
		.swaps = check_slurp(source, "/proc/swaps"),
		.routes = check_slurp(source, "/proc/net/route"),
		.routes6 = check_slurp(source, "/proc/net/ipv6_route"),
	};

	add_block(&scan, sysfs);
	scan.held_only = !source->root[0];
	if (!facts->use_count && scan.held_only)
		add_block(&scan, sysfs);
	add_net(&scan, sysfs);
	return scan.error;
}
