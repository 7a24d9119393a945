/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vfio/providers/user/options.h"

#include <errno.h>
#include <string.h>
#include <sys/un.h>

#include "devices/vfio/message.h"
#include "devices/vfio/provider.h"
#include "vmm/base/text.h"

#define PREFIX            "user:"
#define DEFAULT_TIMEOUT_S 10
#define MAX_TIMEOUT_S     3600

static int refuse(const struct vfio_config *config, const char *key, const char *allowed)
{
	return vfio_error(config->name, -EINVAL, "%s takes %s", key, allowed);
}

static bool take_seconds(const char *value, unsigned *out_ms)
{
	uint64_t seconds;

	if (!text_number(value, 10, MAX_TIMEOUT_S, &seconds) || seconds == 0)
		return false;
	*out_ms = (unsigned)seconds * 1000;
	return true;
}

static bool take_commands(const char *value, enum user_commands *out)
{
	static const char *const words[] = {
		[USER_COMMANDS_AUTO] = "auto",
		[USER_COMMANDS_BASIC] = "basic",
		[USER_COMMANDS_ALL] = "all",
	};

	for (unsigned i = 0; value && i < sizeof(words) / sizeof(words[0]); i++) {
		if (strcmp(value, words[i]) == 0) {
			*out = (enum user_commands)i;
			return true;
		}
	}
	return false;
}

const char *const user_option_names[] = {"timeout", "reconnect", "posted-writes", "commands", NULL};

static int take_key(const struct vfio_config *config, const struct vfio_key *key,
		    struct user_options *out)
{
	if (strcmp(key->name, "timeout") == 0)
		return take_seconds(key->value, &out->timeout_ms)
			       ? 0
			       : refuse(config, "timeout", "seconds from 1 to 3600");
	if (strcmp(key->name, "reconnect") == 0)
		return text_switch(key->value, &out->reconnect)
			       ? 0
			       : refuse(config, "reconnect", "on or off");
	if (strcmp(key->name, "posted-writes") == 0)
		return text_switch(key->value, &out->posted)
			       ? 0
			       : refuse(config, "posted-writes", "on or off");
	if (strcmp(key->name, "commands") == 0)
		return take_commands(key->value, &out->commands)
			       ? 0
			       : refuse(config, "commands", "auto, basic or all");
	return vfio_error(config->name, -EINVAL,
			  "unknown key \"%s\"; a device behind a socket has timeout, reconnect, "
			  "posted-writes and commands",
			  key->name);
}

int user_path_check(const struct vfio_config *config)
{
	const char *path = config->name + strlen(PREFIX);

	if (*path && strlen(path) < sizeof(((struct sockaddr_un *)0)->sun_path))
		return 0;
	return vfio_error(config->name, -EINVAL,
			  "after \"" PREFIX
			  "\" comes the path of a server's socket, up to %zu bytes",
			  sizeof(((struct sockaddr_un *)0)->sun_path) - 1);
}

int user_options_parse(const struct vfio_config *config, struct user_options *out)
{
	int rc = user_path_check(config);

	*out = (struct user_options){
		.path = config->name + strlen(PREFIX),
		.timeout_ms = DEFAULT_TIMEOUT_S * 1000,
	};
	for (unsigned i = 0; i < config->key_count && !rc; i++)
		rc = take_key(config, &config->keys[i], out);
	return rc;
}
