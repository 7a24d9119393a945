/* SPDX-License-Identifier: Apache-2.0 */
/* The keys behind "user:/path.sock", as plain data. */
#ifndef SLUICE_VFIO_USER_OPTIONS_H
#define SLUICE_VFIO_USER_OPTIONS_H

#include <stdbool.h>

struct vfio_config;

/*
 * Which commands a server may be asked beyond those that every server has. Some servers end at a command
 * that they do not know, and nothing in the protocol says which they know.
 */
enum user_commands {
	USER_COMMANDS_AUTO,  /* all, when the server speaks a minor version above 0 */
	USER_COMMANDS_BASIC, /* no I/O descriptors, features, migration data */
	USER_COMMANDS_ALL,
};

struct user_options {
	const char *path;    /* of the socket; inside the vfio_config */
	unsigned timeout_ms; /* for a reply */
	bool reconnect;      /* a server that went away may be replaced when the guest resets */
	bool posted;         /* writes to BARs do not wait for their reply, where order allows */
	enum user_commands commands;
};

/* -EINVAL with a message when what follows "user:" cannot be the path of a socket. */
int user_path_check(const struct vfio_config *config);
/* Parse @config. -EINVAL with one message that names the key. */
int user_options_parse(const struct vfio_config *config, struct user_options *out);

/* The names of the keys, NULL-terminated. */
extern const char *const user_option_names[];

#endif
