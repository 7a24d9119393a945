// SPDX-License-Identifier: Apache-2.0
#include "vmm/option_keys.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "vmm/base/log.h"

static int refuse_unknown(const struct option_keys *keys, const char *part)
{
	char list[256] = "";

	for (unsigned i = 0; keys->allowed[i] != NULL; i++) {
		strncat(list, i > 0 ? ", " : "", sizeof(list) - strlen(list) - 1);
		strncat(list, keys->allowed[i], sizeof(list) - strlen(list) - 1);
	}
	log_error("%s %s: unknown key \"%s\"; allowed are %s", keys->option, keys->shown, part,
		  list);
	return -EINVAL;
}

/* The next part: its key's index, -1 at the end, UNKNOWN with the part in @out_part, or -EINVAL. */
enum { UNKNOWN = INT_MAX };
static int next_part(struct option_keys *keys, char **out_part)
{
	bool first = !keys->begun;
	char *part = keys->rest;
	int key;

	if (*keys->rest == '\0' && !first)
		return -1;
	keys->begun = true;
	key = getsubopt(&keys->rest, keys->allowed, &keys->value);
	if (key < 0 && first) {
		keys->value = part;
		key = 0;
	}
	if (key >= 0 && keys->seen >> key & 1) {
		log_error("%s %s: %s is given twice", keys->option, keys->shown,
			  keys->allowed[key]);
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
		if (r > 0)
			r = refuse_unknown(keys, part);
		if (r < 0)
			return r;
	}
	return key;
}

int keys_refuse(const struct option_keys *keys, const char *key, const char *allowed)
{
	log_error("%s %s: %s takes %s%s%s", keys->option, keys->shown, key, allowed,
		  keys->value != NULL && *keys->value != '\0' ? ", not " : "",
		  keys->value != NULL ? keys->value : "");
	return -EINVAL;
}

int keys_switch(const struct option_keys *keys, const char *key, bool *out)
{
	if (keys->value == NULL || strcmp(keys->value, "on") == 0)
		*out = true;
	else if (strcmp(keys->value, "off") == 0)
		*out = false;
	else
		return keys_refuse(keys, key, "on or off");
	return 0;
}

int keys_text(const struct option_keys *keys, const char *key, char **out)
{
	char *copy;

	if (keys->value == NULL || *keys->value == '\0')
		return keys_refuse(keys, key, "a value");
	copy = strdup(keys->value);
	if (copy == NULL)
		return -ENOMEM;
	free(*out);
	*out = copy;
	return 0;
}
