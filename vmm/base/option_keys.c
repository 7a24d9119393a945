// SPDX-License-Identifier: Apache-2.0
#include "vmm/base/option_keys.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/log.h"
#include "vmm/base/text.h"

/* The place of the @length bytes at @word in @words, which are parted by ", "; -1: they are not there. */
static int find(const char *words, const char *word, size_t length)
{
	for (int i = 0;; i++) {
		size_t n = strcspn(words, ",");

		if (n == length && memcmp(words, word, n) == 0)
			return i;
		if (words[n] == '\0')
			return -1;
		words += n + strlen(", ");
	}
}

/* The next part: its key's index, -1 at the end, UNKNOWN with the part in @out_part, or -EINVAL. */
enum { UNKNOWN = INT_MAX };
static int next_part(struct option_keys *keys, char **out_part)
{
	bool first = !keys->begun;
	char *part = keys->rest;
	char *end = part + strcspn(part, ",");
	int key;

	if (*part == '\0' && !first)
		return -1;
	keys->begun = true;
	keys->rest = *end != '\0' ? end + 1 : end;
	*end = '\0';
	keys->key = part;
	keys->key_length = (int)strcspn(part, "=");
	keys->value = part[keys->key_length] == '=' ? part + keys->key_length + 1 : NULL;
	key = find(keys->allowed, part, (size_t)keys->key_length);
	if (key < 0 && first) {
		key = 0;
		keys->key = keys->allowed;
		keys->key_length = (int)strcspn(keys->allowed, ",");
		keys->value = part;
	}
	if (key >= 0 && keys->seen >> key & 1) {
		log_error("--%s %s: %.*s is given twice", keys->option, keys->shown,
			  keys->key_length, keys->key);
		return -EINVAL;
	}
	*out_part = part;
	if (key < 0)
		return UNKNOWN;
	keys->seen |= 1ull << key;
	return key;
}

int keys_next(struct option_keys *keys)
{
	char *part;
	int key, r;

	while ((key = next_part(keys, &part)) == UNKNOWN) {
		r = keys->unknown != NULL ? keys->unknown(keys, part) : 1;
		if (r > 0) {
			log_error("--%s %s: unknown key \"%s\"; allowed are %s", keys->option,
				  keys->shown, part, keys->allowed);
			r = -EINVAL;
		}
		if (r < 0)
			return r;
	}
	return key;
}

int keys_refuse(const struct option_keys *keys, const char *allowed)
{
	log_error("--%s %s: %.*s takes %s%s%s", keys->option, keys->shown, keys->key_length,
		  keys->key, allowed, keys->value != NULL && *keys->value != '\0' ? ", not " : "",
		  keys->value != NULL ? keys->value : "");
	return -EINVAL;
}

int keys_missing(const struct option_keys *keys, const char *what)
{
	log_error("--%s %s: %s is missing", keys->option, keys->shown, what);
	return -EINVAL;
}

int keys_switch(const struct option_keys *keys, bool *out)
{
	return text_switch(keys->value, out) ? 0 : keys_refuse(keys, "on or off");
}

int keys_text(const struct option_keys *keys, char **out)
{
	if (keys->value == NULL || *keys->value == '\0')
		return keys_refuse(keys, "a value");
	return option_text(keys->value, out);
}

int option_text(const char *value, char **out)
{
	char *copy = strdup(value);

	if (copy == NULL)
		return -ENOMEM;
	free(*out);
	*out = copy;
	return 0;
}

int option_keys_parse(const char *option, const char *value,
		      int (*parse)(struct option_keys *keys, void *config), void *config)
{
	char *copy = strdup(value);
	struct option_keys keys = {.option = option, .shown = value, .rest = copy};
	int r = copy != NULL ? parse(&keys, config) : -ENOMEM;

	free(copy);
	return r;
}
