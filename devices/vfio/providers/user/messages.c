/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong with a server, why, and what to do about it. */
#include <string.h>
#include <unistd.h>

#include "devices/vfio/providers/user/user.h"
#include "vmm/base/log.h"

int user_explain_connect(const struct user_device *ud, int error)
{
	const char *path = ud->path;

	switch (error) {
	case -ENOENT:
		log_error(
			"vfio %s: there is no socket %s; start the server first (`sluice serve` is "
			"one)",
			ud->vdev.dev, path);
		break;
	case -ECONNREFUSED:
		log_error("vfio %s: nobody listens at %s; start the server (again)", ud->vdev.dev,
			  path);
		break;
	case -EACCES:
	case -EPERM:
		log_error("vfio %s: no permission to connect to %s; chown it to user %u",
			  ud->vdev.dev, path, (unsigned)geteuid());
		break;
	case -EAGAIN:
		log_error("vfio %s: the server at %s does not take the connection; it serves "
			  "somebody else, or is stopped",
			  ud->vdev.dev, path);
		break;
	case -EPROTOTYPE:
		log_error("vfio %s: %s is no stream socket", ud->vdev.dev, path);
		break;
	default:
		log_error("vfio %s: cannot connect to %s: %s", ud->vdev.dev, path,
			  strerror(-error));
		break;
	}
	return error;
}

void user_explain_failure(const struct user_device *ud, unsigned command, int error,
			  const char *why, bool open)
{
	const char *name = command ? vfio_user_command_name(command) : NULL;
	const char *next =
		!open ? "the device cannot be used"
		: ud->options.reconnect
			? "the guest reads ones until it resets the device while a server "
			  "listens again"
			: "the guest loses the device (reconnect=on lets another server "
			  "take over at a reset)";

	if (why) {
		log_error("vfio %s: %s, the server's answer cannot be true: %s; %s", ud->vdev.dev,
			  name ? name : "?", why, next);
		return;
	}
	switch (error) {
	case -ECONNRESET:
		log_error("vfio %s: the server ended the connection%s%s; %s", ud->vdev.dev,
			  name ? " instead of answering " : "", name ? name : "", next);
		break;
	case -ETIMEDOUT:
		log_error("vfio %s: the server did not answer %s within %u seconds%s (timeout=); "
			  "%s",
			  ud->vdev.dev, name ? name : "", ud->options.timeout_ms / 1000,
			  command == VFIO_USER_DMA_MAP || command == VFIO_USER_DMA_UNMAP
				  ? " and one more for each 256 MiB"
			  : command == VFIO_USER_VERSION ? ", or another client has it"
							 : "",
			  next);
		break;
	case -EPROTO:
	case -E2BIG:
		log_error("vfio %s: the server sent what is no answer%s%s; %s", ud->vdev.dev,
			  name ? " to " : "", name ? name : "", next);
		break;
	case -ENOBUFS:
		log_error("vfio %s: the server sends commands without end; %s", ud->vdev.dev, next);
		break;
	default:
		log_error("vfio %s: the connection failed%s%s: %s; %s", ud->vdev.dev,
			  name ? " in " : "", name ? name : "", strerror(-error), next);
		break;
	}
}
