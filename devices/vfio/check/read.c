// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/read.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SLURP_MAX (4u << 20)

static bool make_path(const struct check_source *source, char out[CHECK_PATH], const char *fmt,
		      va_list args)
{
	int root = snprintf(out, CHECK_PATH, "%s", source->root);
	int rest;

	if (root < 0 || root >= CHECK_PATH)
		return false;
	rest = vsnprintf(out + root, (size_t)(CHECK_PATH - root), fmt, args);
	return rest >= 0 && rest < CHECK_PATH - root;
}

/* The formatted path in a local buffer, and whether it fits. */
#define MAKE_PATH(source, buffer, fits, fmt)                                                       \
	do {                                                                                       \
		va_list args_;                                                                     \
		va_start(args_, fmt);                                                              \
		(fits) = make_path((source), (buffer), (fmt), args_);                              \
		va_end(args_);                                                                     \
	} while (0)

bool check_path(const struct check_source *source, char out[CHECK_PATH], const char *fmt, ...)
{
	bool fits;

	MAKE_PATH(source, out, fits, fmt);
	return fits;
}

const char *check_read(const struct check_source *source, const char *fmt, ...)
{
	char path[CHECK_PATH], text[4096];
	bool fits;

	MAKE_PATH(source, path, fits, fmt);
	if (!fits || host_read_text(path, text, sizeof(text)) < 0)
		return NULL;
	return check_string(source->arena, text);
}

const char *check_slurp(const struct check_source *source, const char *fmt, ...)
{
	char path[CHECK_PATH];
	bool fits;

	MAKE_PATH(source, path, fits, fmt);
	if (!fits)
		return NULL;
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

uint64_t check_read_number(const struct check_source *source, uint64_t otherwise, const char *fmt,
			   ...)
{
	char path[CHECK_PATH];
	uint64_t value;
	bool fits;

	MAKE_PATH(source, path, fits, fmt);
	if (!fits || host_read_u64(path, &value) < 0)
		return otherwise;
	return value;
}

const char *check_link(const struct check_source *source, const char *fmt, ...)
{
	char path[CHECK_PATH], name[256];
	bool fits;

	MAKE_PATH(source, path, fits, fmt);
	if (!fits || host_link_name(path, name, sizeof(name)) < 0)
		return NULL;
	return check_string(source->arena, name);
}

const char *check_real(const struct check_source *source, const char *fmt, ...)
{
	char path[CHECK_PATH], real[CHECK_PATH];
	size_t root = strlen(source->root);
	bool fits;

	MAKE_PATH(source, path, fits, fmt);
	if (!fits || host_real_path(path, real, sizeof(real)) < 0)
		return NULL;
	if (strncmp(real, source->root, root) != 0)
		return NULL;
	return check_string(source->arena, real + root);
}

bool check_exists(const struct check_source *source, const char *fmt, ...)
{
	char path[CHECK_PATH];
	struct stat st;
	bool fits;

	MAKE_PATH(source, path, fits, fmt);
	return fits && host_stat(path, &st) == 0;
}

struct host_list check_list(const struct check_source *source, const char *fmt, ...)
{
	struct host_list list = {.count = 0};
	char path[CHECK_PATH];
	bool fits;

	MAKE_PATH(source, path, fits, fmt);
	if (!fits || host_list(path, &list) < 0)
		return (struct host_list){.count = 0};
	return list;
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
