/* SPDX-License-Identifier: Apache-2.0 */
/* What went wrong with a server, why, and what to do about it. */
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/user/user.h"

int user_explain_connect(const struct user_device *ud, int error)
{
	const char *path = ud->path;

	switch (error) {
	case -ENOENT:
		return vfio_error(
			ud->vdev.dev, error,
			"there is no socket %s; start the server first (`sluice serve` is one)",
			path);
	case -ECONNREFUSED:
		return vfio_error(ud->vdev.dev, error,
				  "nobody listens at %s; start the server (again)", path);
	case -EACCES:
	case -EPERM:
		return vfio_error(ud->vdev.dev, error,
				  "no permission to connect to %s; chown it to user %u", path,
				  (unsigned)geteuid());
	case -EAGAIN:
		return vfio_error(
			ud->vdev.dev, error,
			"the server at %s does not take the connection; it serves somebody "
			"else, or is stopped",
			path);
	case -EPROTOTYPE:
		return vfio_error(ud->vdev.dev, error, "%s is no stream socket", path);
	default:
		return vfio_error(ud->vdev.dev, error, "cannot connect to %s: %m", path);
	}
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
		vfio_error(ud->vdev.dev, 0, "%s, the server's answer cannot be true: %s; %s",
			   name ? name : "?", why, next);
		return;
	}
	switch (error) {
	case -ECONNRESET:
		vfio_error(ud->vdev.dev, 0, "the server ended the connection%s%s; %s",
			   name ? " instead of answering " : "", name ? name : "", next);
		break;
	case -ETIMEDOUT:
		vfio_error(ud->vdev.dev, 0,
			   "the server did not answer %s within %u seconds%s (timeout=); %s",
			   name ? name : "", ud->options.timeout_ms / 1000,
			   command == VFIO_USER_DMA_MAP || command == VFIO_USER_DMA_UNMAP
				   ? " and one more for each 256 MiB"
			   : command == VFIO_USER_VERSION ? ", or another client has it"
							  : "",
			   next);
		break;
	case -EPROTO:
	case -E2BIG:
		vfio_error(ud->vdev.dev, 0, "the server sent what is no answer%s%s; %s",
			   name ? " to " : "", name ? name : "", next);
		break;
	case -ENOBUFS:
		vfio_error(ud->vdev.dev, 0, "the server sends commands without end; %s", next);
		break;
	default:
		vfio_error(ud->vdev.dev, error, "the connection failed%s%s: %m; %s",
			   name ? " in " : "", name ? name : "", next);
		break;
	}
}
