/* SPDX-License-Identifier: Apache-2.0 */
/* `sluice serve`: a device for vfio-user clients, without a guest of its own. */
#ifndef SLUICE_SERVE_H
#define SLUICE_SERVE_H

#include <stdbool.h>

#include "devices/vfio/server/server.h"
#include "vmm/config.h"

#define SERVE_MAX_DOORBELLS 16

struct serve_config {
	struct vm_config vm; /* the device, --iommufd, -v, --log-file; the rest is of no use */
	char *path;
	bool share_fd;
	struct vfio_server_doorbell doorbells[SERVE_MAX_DOORBELLS];
	unsigned doorbell_count;
};

/*
 * Parse the arguments of `serve` (argv[0] is that word). Returns 0, 1 when only --help was asked for,
 * -EINVAL after one message, -ENOMEM. Free @config in every case.
 */
int serve_parse(int argc, char **argv, struct serve_config *config);
void serve_config_destroy(struct serve_config *config);

/* The whole command. Returns the exit status. */
int serve_main(int argc, char **argv);

extern const char serve_help[];

#endif
