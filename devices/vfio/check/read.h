/* SPDX-License-Identifier: Apache-2.0 */
/* Reading sysfs and procfs below a root directory, for check, list and bind. */
#ifndef SLUICE_VFIO_CHECK_READ_H
#define SLUICE_VFIO_CHECK_READ_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/vfio/check/facts.h"
#include "vmm/base/host.h"

#define CHECK_PATH 1024

/* Where to read and where to put what was read. @root has no slash at its end. */
struct check_source {
	struct check_arena *arena;
	const char *root;
};

/* @root and the formatted path. False when it does not fit. */
bool check_path(const struct check_source *source, char out[CHECK_PATH], const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* The text of a small file (up to 4 KiB), NULL when it cannot be read. */
const char *check_read(const struct check_source *source, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A whole file of up to 4 MiB, such as a kernel configuration. */
const char *check_slurp(const struct check_source *source, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* A number in a file, or @otherwise. */
uint64_t check_read_number(const struct check_source *source, uint64_t otherwise, const char *fmt,
			   ...) __attribute__((format(printf, 3, 4)));
/* The last component of a symbolic link's target, NULL when there is no such link. */
const char *check_link(const struct check_source *source, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* The path without links and without the root; NULL when it does not exist. */
const char *check_real(const struct check_source *source, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
bool check_exists(const struct check_source *source, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
/* Names in a directory; an empty list when it cannot be read. Free it. */
struct host_list check_list(const struct check_source *source, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* Is @path @directory or below it? */
bool check_below(const char *path, const char *directory);

/* The word behind @key at the start of a line of @text, up to white space; NULL: no such line. */
const char *check_field(struct check_arena *arena, const char *text, const char *key);

/* Is @word one of the words of @text, which are parted by white space? */
bool check_has_word(const char *text, const char *word);

/* What the host does with the device at @sysfs (uses.c). 0 or -ENOMEM. */
int check_gather_uses(const struct check_source *source, const char *sysfs,
		      struct check_facts *facts);

#endif
