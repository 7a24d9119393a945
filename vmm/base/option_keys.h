/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The keys inside the value of one option: --disk [path=]FILE[,readonly]. The first key may be left
 * out: a first part that is no known key is its value.
 */
#ifndef SLUICE_BASE_OPTION_KEYS_H
#define SLUICE_BASE_OPTION_KEYS_H

#include <stdbool.h>
#include <stdint.h>

/* One option's value on its way through its keys. */
struct option_keys {
	const char *option;  /* "disk" */
	const char *shown;   /* the whole value, for messages */
	const char *allowed; /* "path, readonly": up to 64, as a message lists them */
	char *rest;          /* writable copy, consumed */
	const char *key;     /* the key just found, @key_length bytes of it */
	int key_length;
	char *value;   /* of it; NULL: none */
	bool begun;    /* the first part was taken */
	uint64_t seen; /* keys found so far, by their index */
	/* Takes a key that is not allowed: 0, -errno after a message, > 0 when it is none of its. NULL: none. */
	int (*unknown)(const struct option_keys *keys, const char *part);
	void *ctx;
};

/*
 * The next key's index in @allowed with ->value set, 0 for a bare first part, -1 at the end; -EINVAL
 * after a message for a key that is not allowed or comes a second time.
 */
int keys_next(struct option_keys *keys);

/* Say that the key takes @allowed and not what it got. Returns -EINVAL. */
int keys_refuse(const struct option_keys *keys, const char *allowed);
/* Say that the option lacks @what. Returns -EINVAL. */
int keys_missing(const struct option_keys *keys, const char *what);

/* A switch: no value or "on" is true. -EINVAL after a message. */
int keys_switch(const struct option_keys *keys, bool *out);

/* A text that must not be empty; replaces *@out, which is freed. -EINVAL after a message, -ENOMEM. */
int keys_text(const struct option_keys *keys, char **out);

/* The text of an option without keys; replaces *@out, which is freed. -ENOMEM. */
int option_text(const char *value, char **out);

/* Let @parse take the keys in @value of option @option ("disk") into its @config. What it returns, or -ENOMEM. */
int option_keys_parse(const char *option, const char *value,
		      int (*parse)(struct option_keys *keys, void *config), void *config);

#endif
