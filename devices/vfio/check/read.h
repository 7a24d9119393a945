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

/* @root and the formatted path; "", where nothing is, without memory. */
const char *check_path(const struct check_source *source, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* What is at a path, each with the path formatted: check_read(source, "/proc/%d/comm", pid). */

/* The text of a small file (up to 4 KiB), NULL when it cannot be read. */
#define check_read(source, ...) check_read_at(source, check_path(source, __VA_ARGS__))
const char *check_read_at(const struct check_source *source, const char *path);
/* A whole file of up to 4 MiB, such as a kernel configuration. */
#define check_slurp(source, ...) check_slurp_at(source, check_path(source, __VA_ARGS__))
const char *check_slurp_at(const struct check_source *source, const char *path);
/* A number in a file, or @otherwise. */
#define check_read_number(source, otherwise, ...)                                                  \
	check_number_at(otherwise, check_path(source, __VA_ARGS__))
uint64_t check_number_at(uint64_t otherwise, const char *path);
/* The last component of a symbolic link's target, NULL when there is no such link. */
#define check_link(source, ...) check_link_at(source, check_path(source, __VA_ARGS__))
const char *check_link_at(const struct check_source *source, const char *path);
/* The path without links and without the root; NULL when it does not exist. */
#define check_real(source, ...) check_real_at(source, check_path(source, __VA_ARGS__))
const char *check_real_at(const struct check_source *source, const char *path);
#define check_exists(source, ...) check_exists_at(check_path(source, __VA_ARGS__))
bool check_exists_at(const char *path);
/* Names in a directory; an empty list when it cannot be read. Free it. */
#define check_list(source, ...) check_list_at(check_path(source, __VA_ARGS__))
struct host_list check_list_at(const char *path);

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
