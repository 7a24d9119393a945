// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/read.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>

#define SLURP_MAX (4u << 20)

const char *check_path(const struct check_source *source, const char *fmt, ...)
{
	const char *path;
	va_list args;

	va_start(args, fmt);
	path = check_vformat(source->arena, fmt, args);
	va_end(args);
	if (path && source->root[0])
		path = check_format(source->arena, "%s%s", source->root, path);
	return path ? path : "";
}

const char *check_read_at(const struct check_source *source, const char *path)
{
	char text[4096];

	if (host_read_text(path, text, sizeof(text)) < 0)
		return NULL;
	return check_string(source->arena, text);
}

const char *check_slurp_at(const struct check_source *source, const char *path)
{
	for (size_t size = 16384; size <= SLURP_MAX; size *= 4) {
		char *text = check_alloc(source->arena, size);
		ssize_t length;

		if (!text)
			return NULL;
		length = host_read_text(path, text, size);
		if (length >= 0)
			return text;
		if (length != -EFBIG)
			return NULL;
	}
	return NULL;
}

uint64_t check_number_at(uint64_t otherwise, const char *path)
{
	uint64_t value;

	return host_read_u64(path, &value) < 0 ? otherwise : value;
}

const char *check_link_at(const struct check_source *source, const char *path)
{
	char name[256];

	if (host_link_name(path, name, sizeof(name)) < 0)
		return NULL;
	return check_string(source->arena, name);
}

const char *check_real_at(const struct check_source *source, const char *path)
{
	char real[CHECK_PATH];
	size_t root = strlen(source->root);

	if (host_real_path(path, real, sizeof(real)) < 0 || strncmp(real, source->root, root) != 0)
		return NULL;
	return check_string(source->arena, real + root);
}

bool check_exists_at(const char *path)
{
	struct stat st;

	return host_stat(path, &st) == 0;
}

struct host_list check_list_at(const char *path)
{
	struct host_list list = {.count = 0};

	return host_list(path, &list) < 0 ? (struct host_list){.count = 0} : list;
}

bool check_below(const char *path, const char *directory)
{
	size_t length = strlen(directory);

	return strncmp(path, directory, length) == 0 &&
	       (path[length] == '\0' || path[length] == '/');
}

const char *check_field(struct check_arena *arena, const char *text, const char *key)
{
	size_t length = strlen(key);

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncmp(line, key, length) == 0) {
			const char *value = line + length + strspn(line + length, " \t");

			return check_format(arena, "%.*s", (int)strcspn(value, " \t\n"), value);
		}
	}
	return NULL;
}

bool check_has_word(const char *text, const char *word)
{
	size_t length = strlen(word);

	for (const char *p = text; (p = strstr(p, word)) != NULL; p += length) {
		bool starts = p == text || strchr(" \t\n", p[-1]);
		bool ends = strchr(" \t\n", p[length]) != NULL; /* the terminator counts */

		if (starts && ends)
			return true;
	}
	return false;
}
