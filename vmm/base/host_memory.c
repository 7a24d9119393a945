/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/host_memory.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/host.h"

#define TEXT_SIZE 16384 /* /proc/meminfo and memory.stat take some 2 KiB */
#define PATH_SIZE 512

/* The number behind "@key " or "@key:" at the start of a line; 0 when there is none. */
static uint64_t field(const char *text, const char *key)
{
	size_t length = strlen(key);

	for (const char *line = text; line != NULL; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, length) == 0 && (line[length] == ' ' || line[length] == ':'))
			return strtoull(line + length + 1, NULL, 10);
		if (*line == '\0')
			break;
	}
	return 0;
}

/* The files of a memory cgroup: version 1 and 2 call them differently. */
struct cgroup_names {
	const char *limit, *used, *active_file, *inactive_file;
};

static const struct cgroup_names version1 = {"memory.limit_in_bytes", "memory.usage_in_bytes",
					     "total_active_file", "total_inactive_file"};
static const struct cgroup_names version2 = {"memory.max", "memory.current", "active_file",
					     "inactive_file"};

static bool read_number(const char *directory, const char *name, uint64_t *value)
{
	char path[PATH_SIZE];

	return (size_t)snprintf(path, sizeof(path), "%s/%s", directory, name) < sizeof(path) &&
	       host_read_u64(path, value) == 0; /* "max" is no number: no limit */
}

/* What one cgroup leaves of its @limit; both UINT64_MAX without one. */
static uint64_t cgroup_left(const char *directory, const struct cgroup_names *names, char *text,
			    uint64_t *limit)
{
	uint64_t used, cache = 0;
	char path[PATH_SIZE];

	if (!read_number(directory, names->limit, limit) ||
	    !read_number(directory, names->used, &used)) {
		*limit = UINT64_MAX;
		return UINT64_MAX;
	}
	if ((size_t)snprintf(path, sizeof(path), "%s/memory.stat", directory) < sizeof(path) &&
	    host_read_text(path, text, TEXT_SIZE) > 0)
		cache = field(text, names->active_file) + field(text, names->inactive_file);
	used -= cache < used ? cache : used;
	return *limit > used ? *limit - used : 0;
}

/* The cgroup @path below @mount and all above it: each may have a limit. */
static void read_cgroups(const char *mount, const char *path, const struct cgroup_names *names,
			 char *text, struct host_memory *out)
{
	char directory[PATH_SIZE];
	size_t top = strlen(mount);
	int n = snprintf(directory, sizeof(directory), "%s%s", mount, path);

	if (n < 0 || (size_t)n >= sizeof(directory))
		return;
	for (;;) {
		uint64_t limit, left = cgroup_left(directory, names, text, &limit);
		char *slash;

		if (limit < out->most)
			out->most = limit;
		if (left < out->available) {
			const char *name = directory[top] ? directory + top : "/";

			out->available = left;
			snprintf(out->cgroup, sizeof(out->cgroup), "%.*s",
				 (int)sizeof(out->cgroup) - 1, name);
		}
		slash = strrchr(directory + top, '/');
		if (slash == NULL)
			return;
		*slash = '\0';
	}
}

/* Is "memory" one of the controllers in a line of /proc/self/cgroup, "4:cpu,memory:/path"? */
static bool has_memory(const char *list, const char *end)
{
	while (list < end) {
		size_t length = strcspn(list, ",:");

		if (length == 6 && memcmp(list, "memory", 6) == 0)
			return true;
		list += length + 1;
	}
	return false;
}

void host_memory_read(const char *root, struct host_memory *out)
{
	char path[PATH_SIZE], mount[PATH_SIZE], lines[4096];
	char *text = malloc(TEXT_SIZE);
	uint64_t swap = 0;

	*out = (struct host_memory){.available = UINT64_MAX, .most = UINT64_MAX};
	if (text == NULL)
		return;
	snprintf(path, sizeof(path), "%s/proc/meminfo", root);
	if (host_read_text(path, text, TEXT_SIZE) > 0) {
		uint64_t available = field(text, "MemAvailable") << 10;
		uint64_t total = field(text, "MemTotal") << 10;

		if (available != 0)
			out->available = available;
		if (total != 0)
			out->most = total;
		swap = field(text, "SwapTotal") << 10;
		out->swap_free = field(text, "SwapFree") << 10;
	}
	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	if (host_read_text(path, lines, sizeof(lines)) > 0) {
		char *rest = lines, *line;

		while ((line = strsep(&rest, "\n")) != NULL) {
			char *controllers = strchr(line, ':');
			char *group = controllers ? strchr(controllers + 1, ':') : NULL;

			if (group == NULL)
				continue;
			if (group == controllers + 1) {
				/* Of version 2: alone, or beside those of version 1. */
				snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup", root);
				read_cgroups(mount, group + 1, &version2, text, out);
				snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/unified", root);
				read_cgroups(mount, group + 1, &version2, text, out);
			} else if (has_memory(controllers + 1, group)) {
				snprintf(mount, sizeof(mount), "%s/sys/fs/cgroup/memory", root);
				read_cgroups(mount, group + 1, &version1, text, out);
			}
		}
	}
	out->most = out->most > UINT64_MAX - swap ? UINT64_MAX : out->most + swap;
	free(text);
}

uint64_t host_memory_need(uint64_t ram)
{
	uint64_t tables = ram / 512 * 3;

	return ram > UINT64_MAX - tables ? UINT64_MAX : ram + tables;
}
