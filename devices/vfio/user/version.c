// SPDX-License-Identifier: Apache-2.0
/* VERSION of vfio-user: the JSON text of the capabilities, and what two sides agree on. */
#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/user/protocol.h"

#define DEFAULT_PGSIZES 4096

void vfio_user_version_own(struct vfio_user_version *version)
{
	*version = (struct vfio_user_version){
		.major = VFIO_USER_VERSION_MAJOR,
		.minor = VFIO_USER_VERSION_MINOR,
		.max_msg_fds = VFIO_USER_MAX_MSG_FDS,
		.max_data_xfer_size = VFIO_USER_MAX_DATA_XFER_SIZE,
		.max_dma_maps = VFIO_USER_MAX_DMA_MAPS,
		.pgsizes = DEFAULT_PGSIZES,
		.write_multiple = true,
		.twin_fd_index = -1,
	};
}

/* ---- to text ------------------------------------------------------------------------------------ */

static int add_optional(json_t *capabilities, const struct vfio_user_version *version)
{
	json_t *object;
	int r = 0;

	if (version->twin_socket) {
		object = json_pack("{sb}", "supported", 1);
		if (object && version->twin_fd_index >= 0)
			r = json_object_set_new(object, "fd_index",
						json_integer(version->twin_fd_index));
		r |= json_object_set_new(capabilities, "twin_socket", object);
	}
	if (version->migration_pgsize) {
		object = json_pack("{sI}", "pgsize", (json_int_t)version->migration_pgsize);
		if (object && version->migration_max_bitmap_size)
			r |= json_object_set_new(
				object, "max_bitmap_size",
				json_integer((json_int_t)version->migration_max_bitmap_size));
		r |= json_object_set_new(capabilities, "migration", object);
	}
	return r ? -ENOMEM : 0;
}

int vfio_user_version_encode(const struct vfio_user_version *version, char *text, size_t room)
{
	json_t *capabilities =
		json_pack("{sI sI sI sI sb}", "max_msg_fds", (json_int_t)version->max_msg_fds,
			  "max_data_xfer_size", (json_int_t)version->max_data_xfer_size,
			  "max_dma_maps", (json_int_t)version->max_dma_maps, "pgsizes",
			  (json_int_t)version->pgsizes, "write_multiple", version->write_multiple);
	char *dump = NULL;
	json_t *root;
	int rc;

	if (!capabilities)
		return -ENOMEM;
	rc = add_optional(capabilities, version);
	root = json_pack("{so}", "capabilities", capabilities);
	if (root && !rc)
		dump = json_dumps(root, JSON_COMPACT);
	json_decref(root);
	if (!dump)
		return -ENOMEM;
	rc = snprintf(text, room, "%s", dump) + 1;
	free(dump);
	return (size_t)rc <= room ? rc : -EMSGSIZE;
}

/* ---- from text ---------------------------------------------------------------------------------- */

#define ABSENT                                                                                     \
	INT64_MIN /* of a number that may be left out, and has no default within its bounds */

static bool within(json_int_t number, json_int_t least, json_int_t most)
{
	return number >= least && number <= most;
}

/* What is not there stays as it is. False: no object, a value of the wrong kind or out of bounds. */
static bool get_capabilities(json_t *root, struct vfio_user_version *version)
{
	json_int_t fds = version->max_msg_fds, bytes = version->max_data_xfer_size;
	json_int_t maps = version->max_dma_maps, pgsizes = (json_int_t)version->pgsizes;
	json_int_t twin_fd = ABSENT, pgsize = ABSENT, bitmap_size = 0;
	int multiple = version->write_multiple, twin = version->twin_socket;

	if (json_unpack(root, "{s?{s?I s?I s?I s?I s?b s?{s?b s?I} s?{s?I s?I}}}", "capabilities",
			"max_msg_fds", &fds, "max_data_xfer_size", &bytes, "max_dma_maps", &maps,
			"pgsizes", &pgsizes, "write_multiple", &multiple, "twin_socket",
			"supported", &twin, "fd_index", &twin_fd, "migration", "pgsize", &pgsize,
			"max_bitmap_size", &bitmap_size) ||
	    !within(fds, 1, UINT32_MAX) || !within(bytes, 1, UINT32_MAX) ||
	    !within(maps, 1, UINT32_MAX) || pgsizes < 0 || !(pgsizes & DEFAULT_PGSIZES) ||
	    (twin_fd != ABSENT && !within(twin_fd, 0, VFIO_USER_MAX_MSG_FDS - 1)) ||
	    (pgsize != ABSENT && pgsize < 1) || bitmap_size < 0)
		return false;
	version->max_msg_fds = (uint32_t)fds;
	version->max_data_xfer_size = (uint32_t)bytes;
	version->max_dma_maps = (uint32_t)maps;
	version->pgsizes = (uint64_t)pgsizes;
	version->write_multiple = multiple;
	version->twin_socket = twin;
	if (twin_fd != ABSENT)
		version->twin_fd_index = (int)twin_fd;
	if (pgsize != ABSENT)
		version->migration_pgsize = (uint64_t)pgsize;
	version->migration_max_bitmap_size = (uint64_t)bitmap_size;
	return true;
}

int vfio_user_version_decode(const struct vfio_user_message *message,
			     struct vfio_user_version *version)
{
	const char *text = message->data;
	json_t *root;
	int rc;

	*version = (struct vfio_user_version){
		.major = message->version.major,
		.minor = message->version.minor,
		.max_msg_fds = 1,
		.max_data_xfer_size = VFIO_USER_MAX_DATA_XFER_SIZE,
		.max_dma_maps = VFIO_USER_MAX_DMA_MAPS,
		.pgsizes = DEFAULT_PGSIZES,
		.twin_fd_index = -1,
	};
	if (!message->data_size)
		return 0;
	if (message->data_size > VFIO_USER_MAX_VERSION_TEXT)
		return -E2BIG;
	if (text[message->data_size - 1] != '\0')
		return -EINVAL;
	root = json_loadb(text, strlen(text), JSON_REJECT_DUPLICATES, NULL);
	rc = root && get_capabilities(root, version) ? 0 : -EINVAL;
	json_decref(root);
	return rc;
}

/* ---- agreement ---------------------------------------------------------------------------------- */

static uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* What may be sent to a side that takes @peer, by one that itself is bound by @own. */
static void set_limits(const struct vfio_user_version *own, const struct vfio_user_version *peer,
		       struct vfio_user_limits *limits)
{
	*limits = (struct vfio_user_limits){
		.max_msg_fds = least(own->max_msg_fds, peer->max_msg_fds),
		.max_data_xfer_size = least(own->max_data_xfer_size, peer->max_data_xfer_size),
	};
}

int vfio_user_version_answer(const struct vfio_user_version *own,
			     const struct vfio_user_version *proposed,
			     struct vfio_user_version *answer, struct vfio_user_limits *limits)
{
	if (proposed->major != own->major)
		return -EINVAL;
	*answer = *own;
	if (answer->minor > proposed->minor)
		answer->minor = proposed->minor;
	/* A subset of what was proposed. */
	answer->write_multiple = own->write_multiple && proposed->write_multiple;
	answer->twin_socket = own->twin_socket && proposed->twin_socket;
	if (!answer->twin_socket)
		answer->twin_fd_index = -1;
	set_limits(own, proposed, limits);
	return 0;
}

int vfio_user_version_accept(const struct vfio_user_version *proposed,
			     const struct vfio_user_version *answer, unsigned fd_count,
			     struct vfio_user_limits *limits)
{
	if (answer->major != proposed->major || answer->minor > proposed->minor)
		return -EPROTO;
	if (answer->twin_socket && (!proposed->twin_socket || answer->twin_fd_index < 0 ||
				    (unsigned)answer->twin_fd_index >= fd_count))
		return -EPROTO;
	if (!answer->twin_socket && fd_count)
		return -EPROTO;
	set_limits(proposed, answer, limits);
	return 0;
}
