// SPDX-License-Identifier: Apache-2.0
/* Sizes and shapes of every message; nothing that a peer sends is believed before it was here. */
#include "devices/vfio/user/protocol.h"

#include <errno.h>
#include <string.h>

#define MAX_ERRNO 4095 /* include/linux/err.h */

_Static_assert(sizeof(struct vfio_user_header) == 16, "wire format");
_Static_assert(sizeof(struct vfio_user_dma_map) == 32, "wire format");
_Static_assert(sizeof(struct vfio_user_dma_unmap) == 24, "wire format");
_Static_assert(sizeof(struct vfio_region_info) == 32, "wire format");
_Static_assert(sizeof(struct vfio_irq_info) == 16, "wire format");
_Static_assert(sizeof(struct vfio_user_irq_set) == 20, "wire format");
_Static_assert(sizeof(struct vfio_user_sub_region) == 40, "wire format");
_Static_assert(sizeof(struct vfio_user_single_write) == 24, "wire format");
_Static_assert(sizeof(struct vfio_user_logging_report) == 24, "wire format");

#define DATA_FLAGS   VFIO_IRQ_SET_DATA_TYPE_MASK
#define ACTION_FLAGS VFIO_IRQ_SET_ACTION_TYPE_MASK

/* What can be said of every command alike; the rest is its own check. */
enum {
	TO_CLIENT = 1 << 0,
	FDS = 1 << 1,        /* descriptors may come with the command, */
	REPLY_FDS = 1 << 2,  /* with its reply */
	ARGSZ = 1 << 3,      /* the command begins with an argsz, of its fixed part at least */
	BARE = 1 << 4,       /* nothing follows the fixed part of the command, */
	REPLY_BARE = 1 << 5, /* of its reply */
	TRANSFER = 1 << 6,   /* bytes are moved: struct transfer */
};

struct shape {
	const char *name;
	uint8_t command, reply; /* bytes of the fixed part */
	uint8_t traits;
};

static const struct shape shapes[VFIO_USER_COMMANDS] = {
	[VFIO_USER_VERSION] = {"VERSION", 4, 4, REPLY_FDS}, /* the twin socket */
	[VFIO_USER_DMA_MAP] = {"DMA_MAP", 32, 0, FDS | ARGSZ | BARE | REPLY_BARE},
	[VFIO_USER_DMA_UNMAP] = {"DMA_UNMAP", 24, 24, ARGSZ | BARE | REPLY_BARE},
	[VFIO_USER_DEVICE_GET_INFO] = {"DEVICE_GET_INFO", 16, 16, ARGSZ | BARE},
	[VFIO_USER_DEVICE_GET_REGION_INFO] = {"DEVICE_GET_REGION_INFO", 32, 32,
					      REPLY_FDS | ARGSZ | BARE},
	[VFIO_USER_DEVICE_GET_REGION_IO_FDS] = {"DEVICE_GET_REGION_IO_FDS", 16, 16,
						REPLY_FDS | ARGSZ | BARE},
	[VFIO_USER_DEVICE_GET_IRQ_INFO] = {"DEVICE_GET_IRQ_INFO", 16, 16, ARGSZ | BARE},
	[VFIO_USER_DEVICE_SET_IRQS] = {"DEVICE_SET_IRQS", 20, 0, FDS | ARGSZ | REPLY_BARE},
	[VFIO_USER_REGION_READ] = {"REGION_READ", 16, 16, BARE | TRANSFER},
	[VFIO_USER_REGION_WRITE] = {"REGION_WRITE", 16, 16, REPLY_BARE | TRANSFER},
	[VFIO_USER_DMA_READ] = {"DMA_READ", 16, 16, TO_CLIENT | BARE | TRANSFER},
	[VFIO_USER_DMA_WRITE] = {"DMA_WRITE", 16, 16, TO_CLIENT | REPLY_BARE | TRANSFER},
	[VFIO_USER_DEVICE_RESET] = {"DEVICE_RESET", 0, 0, BARE | REPLY_BARE},
	[VFIO_USER_REGION_WRITE_MULTI] = {"REGION_WRITE_MULTI", 8, 8, REPLY_BARE},
	[VFIO_USER_DEVICE_FEATURE] = {"DEVICE_FEATURE", 8, 8, ARGSZ},
	[VFIO_USER_MIG_DATA_READ] = {"MIG_DATA_READ", 8, 8, ARGSZ | BARE | TRANSFER},
	[VFIO_USER_MIG_DATA_WRITE] = {"MIG_DATA_WRITE", 8, 0, REPLY_BARE | TRANSFER},
};

static const struct shape *shape_of(unsigned command)
{
	return command < VFIO_USER_COMMANDS && shapes[command].name ? &shapes[command] : NULL;
}

const char *vfio_user_command_name(unsigned command)
{
	const struct shape *shape = shape_of(command);

	return shape ? shape->name : NULL;
}

bool vfio_user_command_to_client(unsigned command)
{
	const struct shape *shape = shape_of(command);

	return shape && shape->traits & TO_CLIENT;
}

int vfio_user_check_header(const struct vfio_user_header *header, size_t max_payload)
{
	const uint32_t type = header->flags & VFIO_USER_FLAGS_TYPE;

	if (header->msg_size < sizeof(*header) || header->msg_size - sizeof(*header) > max_payload)
		return -EPROTO;
	if (type != VFIO_USER_FLAGS_COMMAND && type != VFIO_USER_FLAGS_REPLY)
		return -EPROTO;
	if (type == VFIO_USER_FLAGS_REPLY && (header->flags & VFIO_USER_FLAGS_NO_REPLY))
		return -EPROTO;
	return 0;
}

size_t vfio_user_encode(const struct vfio_user_message *message, void *buffer)
{
	const struct shape *shape = shape_of(message->command);
	const size_t fixed = !shape || message->error ? 0
			     : message->reply         ? shape->reply
						      : shape->command;
	const size_t data = message->error ? 0 : message->data_size;
	struct vfio_user_header header = {
		.msg_id = message->id,
		.command = message->command,
		.msg_size = (uint32_t)(sizeof(header) + fixed + data),
		.flags = message->reply ? VFIO_USER_FLAGS_REPLY : VFIO_USER_FLAGS_COMMAND,
		.error_no = message->error,
	};

	if (message->no_reply)
		header.flags |= VFIO_USER_FLAGS_NO_REPLY;
	if (message->error)
		header.flags |= VFIO_USER_FLAGS_ERROR;
	memcpy(buffer, &header, sizeof(header));
	memcpy((char *)buffer + sizeof(header), message->fixed, fixed);
	return sizeof(header) + fixed;
}

/* ---- commands ----------------------------------------------------------------------------------- */

static bool wraps(uint64_t start, uint64_t size)
{
	uint64_t last;

	return size && __builtin_add_overflow(start, size - 1, &last);
}

/* Where bytes are moved to or from, and how many. */
struct transfer {
	uint32_t region;
	uint64_t start, count;
};

static struct transfer transfer_of(const struct vfio_user_message *m)
{
	switch (m->command) {
	case VFIO_USER_REGION_READ:
	case VFIO_USER_REGION_WRITE:
		return (struct transfer){m->region.region, m->region.offset, m->region.count};
	case VFIO_USER_DMA_READ:
	case VFIO_USER_DMA_WRITE:
		return (struct transfer){0, m->dma.addr, m->dma.count};
	default:
		return (struct transfer){0, 0, m->mig_data.size};
	}
}

static bool check_dma_map(const struct vfio_user_message *m, unsigned fd_count)
{
	const struct vfio_user_dma_map *map = &m->dma_map;
	const uint32_t modes = VFIO_USER_DMA_MAP_MMAP | VFIO_USER_DMA_MAP_FILE_IO;
	const uint32_t rights = VFIO_USER_DMA_MAP_READ | VFIO_USER_DMA_MAP_WRITE;

	if (fd_count > 1)
		return false;
	/* One way of access, if any is named, and then to something. */
	if (map->flags & ~(rights | modes) || (map->flags & modes) == modes ||
	    ((map->flags & modes) && !fd_count))
		return false;
	return map->size && !wraps(map->addr, map->size) && !wraps(map->offset, map->size);
}

static bool check_dma_unmap(const struct vfio_user_message *m)
{
	const struct vfio_user_dma_unmap *unmap = &m->dma_unmap;

	if (unmap->flags == VFIO_USER_DMA_UNMAP_ALL)
		return !unmap->addr && !unmap->size;
	return !unmap->flags && unmap->size && !wraps(unmap->addr, unmap->size);
}

static bool one_bit(uint32_t bits)
{
	return bits && !(bits & (bits - 1));
}

static bool check_set_irqs(const struct vfio_user_message *m, unsigned fd_count)
{
	const struct vfio_user_irq_set *set = &m->irq_set;
	uint32_t end;

	if (set->argsz < sizeof(*set) + m->data_size || set->flags & ~(DATA_FLAGS | ACTION_FLAGS) ||
	    !one_bit(set->flags & DATA_FLAGS) || !one_bit(set->flags & ACTION_FLAGS) ||
	    __builtin_add_overflow(set->start, set->count, &end))
		return false;
	switch (set->flags & DATA_FLAGS) {
	case VFIO_IRQ_SET_DATA_BOOL:
		return m->data_size == set->count && !fd_count;
	case VFIO_IRQ_SET_DATA_EVENTFD:
		/* None takes the eventfds away. */
		return !m->data_size && (!fd_count || fd_count == set->count);
	default:
		return !m->data_size && !fd_count;
	}
}

static bool check_write_multi(const struct vfio_user_message *m)
{
	const uint64_t count = m->write_multi.wr_cnt;
	struct vfio_user_single_write write;

	if (count != m->data_size / sizeof(write) || m->data_size % sizeof(write))
		return false;
	for (uint64_t i = 0; i < count; i++) {
		vfio_user_single_write_at(m, i, &write);
		if (write.count > sizeof(write.data) || wraps(write.offset, write.count))
			return false;
	}
	return true;
}

static bool check_command(const struct vfio_user_message *m, const struct shape *shape,
			  unsigned fd_count, const struct vfio_user_limits *limits)
{
	uint32_t argsz;

	if (fd_count > (shape->traits & FDS ? limits->max_msg_fds : 0))
		return false;
	memcpy(&argsz, m->fixed, sizeof(argsz));
	if (shape->traits & ARGSZ && argsz < shape->command)
		return false;
	if (shape->traits & BARE && m->data_size)
		return false;
	if (shape->traits & TRANSFER) {
		const struct transfer moved = transfer_of(m);

		return moved.count <= limits->max_data_xfer_size &&
		       !wraps(moved.start, moved.count) &&
		       (shape->traits & BARE || m->data_size == moved.count);
	}

	switch (m->command) {
	case VFIO_USER_DMA_MAP:
		return check_dma_map(m, fd_count);
	case VFIO_USER_DMA_UNMAP:
		return check_dma_unmap(m);
	case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
		return !m->io_fds.flags && !m->io_fds.count;
	case VFIO_USER_DEVICE_SET_IRQS:
		return check_set_irqs(m, fd_count);
	case VFIO_USER_REGION_WRITE_MULTI:
		return check_write_multi(m);
	default: /* VERSION: its text is vfio_user_version_decode()'s */
		return true;
	}
}

/* The fixed part into @out, the rest into its data. */
static void take_apart(struct vfio_user_message *out, const void *payload, size_t size,
		       size_t fixed)
{
	if (fixed)
		memcpy(out->fixed, payload, fixed);
	out->data_size = size - fixed;
	if (out->data_size)
		out->data = (const char *)payload + fixed;
}

int vfio_user_decode_command(const struct vfio_user_header *header, const void *payload,
			     size_t size, unsigned fd_count, const struct vfio_user_limits *limits,
			     struct vfio_user_message *out)
{
	const struct shape *shape = shape_of(header->command);

	*out = (struct vfio_user_message){
		.id = header->msg_id,
		.command = header->command,
		.no_reply = header->flags & VFIO_USER_FLAGS_NO_REPLY,
	};
	if (!shape)
		return -ENOTSUP;
	if (size < shape->command)
		return -EINVAL;
	take_apart(out, payload, size, shape->command);
	return check_command(out, shape, fd_count, limits) ? 0 : -EINVAL;
}

/* ---- replies ------------------------------------------------------------------------------------ */

/* The entries that the reply holds, or, where there was no room, how many there would be. */
static bool check_io_fds(const struct vfio_user_message *asked, const struct vfio_user_message *m,
			 unsigned fd_count)
{
	const size_t entries = m->data_size / sizeof(struct vfio_user_sub_region);
	struct vfio_user_sub_region sub;

	if (m->io_fds.index != asked->io_fds.index)
		return false;
	if (m->io_fds.argsz > asked->io_fds.argsz)
		return !m->data_size && !fd_count;
	if (m->data_size % sizeof(sub) || entries != m->io_fds.count)
		return false;
	for (uint32_t i = 0; i < m->io_fds.count; i++) {
		vfio_user_sub_region_at(m, i, &sub);
		if (sub.fd_index >= fd_count || wraps(sub.offset, sub.size))
			return false;
	}
	return true;
}

static bool check_reply(const struct vfio_user_message *asked, const struct vfio_user_message *m,
			const struct shape *shape, unsigned fd_count,
			const struct vfio_user_limits *limits)
{
	if (fd_count > (shape->traits & REPLY_FDS ? limits->max_msg_fds : 0))
		return false;
	if (shape->traits & REPLY_BARE && m->data_size)
		return false;
	if (shape->traits & TRANSFER) {
		const struct transfer wanted = transfer_of(asked), moved = transfer_of(m);

		if (moved.region != wanted.region || moved.start != wanted.start ||
		    moved.count > wanted.count)
			return false;
		/* libvfio-user sends as many bytes as were asked for, whatever it has. */
		if (m->command == VFIO_USER_MIG_DATA_READ)
			return m->data_size >= moved.count;
		return shape->traits & REPLY_BARE || m->data_size == moved.count;
	}

	switch (m->command) {
	case VFIO_USER_DEVICE_GET_INFO:
		return m->device_info.argsz >= sizeof(m->device_info);
	case VFIO_USER_DEVICE_GET_REGION_INFO:
		return m->region_info.index == asked->region_info.index &&
		       m->region_info.argsz >= sizeof(m->region_info);
	case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
		return check_io_fds(asked, m, fd_count);
	case VFIO_USER_DEVICE_GET_IRQ_INFO:
		return m->irq_info.index == asked->irq_info.index;
	case VFIO_USER_REGION_WRITE_MULTI:
		return m->write_multi.wr_cnt <= asked->write_multi.wr_cnt;
	case VFIO_USER_DEVICE_FEATURE:
		return m->feature.flags == asked->feature.flags;
	default: /* nothing but that it was done; VERSION: vfio_user_version_decode() */
		return true;
	}
}

int vfio_user_decode_reply(const struct vfio_user_message *command,
			   const struct vfio_user_header *header, const void *payload, size_t size,
			   unsigned fd_count, const struct vfio_user_limits *limits,
			   struct vfio_user_message *out)
{
	const struct shape *shape = shape_of(command->command);
	size_t fixed;

	*out = (struct vfio_user_message){
		.id = header->msg_id,
		.command = header->command,
		.reply = true,
	};
	if (!shape || header->command != command->command)
		return -EPROTO;
	if (header->flags & VFIO_USER_FLAGS_ERROR) {
		out->error =
			header->error_no && header->error_no <= MAX_ERRNO ? header->error_no : EIO;
		return 0;
	}

	fixed = shape->reply;
	/* The count in a reply of DMA_WRITE had 4 bytes in the text of 0.9.2. */
	if (command->command == VFIO_USER_DMA_WRITE && size == 12)
		fixed = 12;
	/* Servers may leave the reply to an unmap empty: it says nothing new. */
	if (command->command == VFIO_USER_DMA_UNMAP && size == 0)
		fixed = 0;
	if (size < fixed)
		return -EPROTO;
	take_apart(out, payload, size, fixed);
	if (!check_reply(command, out, shape, fd_count, limits))
		return -EPROTO;
	/* The maps that are gone are those that were to go. */
	if (command->command == VFIO_USER_DMA_UNMAP && fixed &&
	    (out->dma_unmap.addr != command->dma_unmap.addr ||
	     out->dma_unmap.size != command->dma_unmap.size))
		return -EPROTO;
	if (command->command == VFIO_USER_MIG_DATA_READ)
		out->data_size = out->mig_data.size;
	return 0;
}

/* ---- arrays ------------------------------------------------------------------------------------- */

void vfio_user_sub_region_at(const struct vfio_user_message *reply, uint32_t i,
			     struct vfio_user_sub_region *out)
{
	memcpy(out, (const char *)reply->data + i * sizeof(*out), sizeof(*out));
}

void vfio_user_single_write_at(const struct vfio_user_message *command, uint64_t i,
			       struct vfio_user_single_write *out)
{
	memcpy(out, (const char *)command->data + i * sizeof(*out), sizeof(*out));
}
