/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys inside the value of one option: --disk [path=]FILE[,readonly]. The first key may be left
 * out: a first part that is no known key is its value.
 */
#ifndef SLUICE_OPTION_KEYS_H
#define SLUICE_OPTION_KEYS_H

#include <stdbool.h>
#include <stdint.h>

struct vm_config;

/* One option's value on its way through getsubopt(). */
struct option_keys {
	const char *option;   /* "--disk" */
	const char *shown;    /* the whole value, for messages */
	char *const *allowed; /* NULL-terminated, up to 64 */
	char *rest;           /* writable copy, consumed */
	char *value;          /* of the key just found; NULL: none */
	bool begun;           /* the first part was taken */
	uint64_t seen;        /* keys found so far, by their index */
	/* Takes a key that is not allowed: 0, -errno after a message, > 0 when it is none of its. NULL: none. */
	int (*unknown)(const struct option_keys *keys, const char *part);
	void *ctx;
};

/*
 * The next key's index in @allowed with ->value set, 0 for a bare first part, -1 at the end; -EINVAL
 * after a message for a key that is not allowed or comes a second time.
 */
int keys_next(struct option_keys *keys);

/* Say that @key takes @allowed and not what it got. Returns -EINVAL. */
int keys_refuse(const struct option_keys *keys, const char *key, const char *allowed);

/* A switch: no value or "on" is true. -EINVAL after a message. */
int keys_switch(const struct option_keys *keys, const char *key, bool *out);

/* A text that must not be empty; replaces *@out, which is freed. -EINVAL after a message, -ENOMEM. */
int keys_text(const struct option_keys *keys, const char *key, char **out);

/* The parser of --vfio (options_vfio.c): adds one to @config->vfio. -EINVAL after a message, -ENOMEM. */
int parse_vfio(struct option_keys *keys, struct vm_config *config);

#endif
