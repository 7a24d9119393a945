/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The vfio-user protocol: what is on the wire, and pure functions that put it there and check it.
 *
 * Both sides use them: the client (devices/vfio/providers/user) and the server
 * (devices/vfio/server). Nothing here touches a socket or a descriptor; see channel.h.
 *
 * Source: QEMU docs/interop/vfio-user.rst. Where the text and the servers and clients in the field
 * (QEMU, libvfio-user, rust-vmm) differ, the comment says what is taken. All numbers are in the
 * byte order of the host.
 */
#ifndef SLUICE_VFIO_USER_PROTOCOL_H
#define SLUICE_VFIO_USER_PROTOCOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <linux/vfio.h>

enum vfio_user_command {
	VFIO_USER_VERSION = 1,
	VFIO_USER_DMA_MAP = 2,
	VFIO_USER_DMA_UNMAP = 3,
	VFIO_USER_DEVICE_GET_INFO = 4,
	VFIO_USER_DEVICE_GET_REGION_INFO = 5,
	VFIO_USER_DEVICE_GET_REGION_IO_FDS = 6,
	VFIO_USER_DEVICE_GET_IRQ_INFO = 7,
	VFIO_USER_DEVICE_SET_IRQS = 8,
	VFIO_USER_REGION_READ = 9,
	VFIO_USER_REGION_WRITE = 10,
	VFIO_USER_DMA_READ = 11,  /* server to client */
	VFIO_USER_DMA_WRITE = 12, /* server to client */
	VFIO_USER_DEVICE_RESET = 13,
	/* 14 was DIRTY_PAGES, until 0.9.1 */
	VFIO_USER_REGION_WRITE_MULTI = 15,
	VFIO_USER_DEVICE_FEATURE = 16,
	VFIO_USER_MIG_DATA_READ = 17,
	VFIO_USER_MIG_DATA_WRITE = 18,
	VFIO_USER_COMMANDS, /* first number that is none */
};

/* ---- bounds of ours --------------------------------------------------------------------------- */

#define VFIO_USER_VERSION_MAJOR 0
#define VFIO_USER_VERSION_MINOR 2 /* what libvfio-user speaks; QEMU and rust-vmm say 0 */

#define VFIO_USER_MAX_MSG_FDS        16            /* we take in one message; QEMU refuses more */
#define VFIO_USER_MAX_DATA_XFER_SIZE (1024 * 1024) /* we take in one message; the default */
#define VFIO_USER_MAX_DMA_MAPS       65535         /* the default */
#define VFIO_USER_MAX_VERSION_TEXT   4096          /* JSON with its terminator */

/* Behind the header: the largest fixed part, and data with what precedes it. */
#define VFIO_USER_MAX_FIXED   32
#define VFIO_USER_MAX_PAYLOAD (VFIO_USER_MAX_DATA_XFER_SIZE + 4096)

/* ---- on the wire ------------------------------------------------------------------------------ */

#define VFIO_USER_FLAGS_TYPE     0xfu
#define VFIO_USER_FLAGS_COMMAND  0x0u
#define VFIO_USER_FLAGS_REPLY    0x1u
#define VFIO_USER_FLAGS_NO_REPLY (1u << 4)
#define VFIO_USER_FLAGS_ERROR    (1u << 5)

struct vfio_user_header {
	uint16_t msg_id;
	uint16_t command;
	uint32_t msg_size; /* with this header */
	uint32_t flags;
	uint32_t error_no; /* positive; may be 0 although the error flag is set */
};

struct vfio_user_version_header {
	uint16_t major;
	uint16_t minor;
};

#define VFIO_USER_DMA_MAP_READ    (1u << 0)
#define VFIO_USER_DMA_MAP_WRITE   (1u << 1)
#define VFIO_USER_DMA_MAP_MMAP    (1u << 2) /* the descriptor is to be mapped */
#define VFIO_USER_DMA_MAP_FILE_IO (1u << 3) /* the descriptor is to be read and written */

struct vfio_user_dma_map {
	uint32_t argsz;
	uint32_t flags;
	uint64_t offset; /* in the descriptor */
	uint64_t addr;
	uint64_t size;
};

/* Not in the text, but QEMU sends it and libvfio-user takes it: everything; addr and size are 0. */
#define VFIO_USER_DMA_UNMAP_ALL (1u << 1)

struct vfio_user_dma_unmap {
	uint32_t argsz;
	uint32_t flags;
	uint64_t addr;
	uint64_t size;
};

/* struct vfio_device_info without capabilities. */
struct vfio_user_device_info {
	uint32_t argsz;
	uint32_t flags;
	uint32_t num_regions;
	uint32_t num_irqs;
};

struct vfio_user_region_io_fds {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t count;
};

enum vfio_user_io_fd_type {
	VFIO_USER_IO_FD_TYPE_IOEVENTFD = 0,
	VFIO_USER_IO_FD_TYPE_IOREGIONFD = 1,
	VFIO_USER_IO_FD_TYPE_IOEVENTFD_SHADOW = 2, /* libvfio-user alone */
};

/* The entries begin right behind struct vfio_user_region_io_fds; the text's formula is off by 16. */
struct vfio_user_sub_region {
	uint64_t offset; /* in the region */
	uint64_t size;   /* 0: any */
	uint32_t fd_index;
	uint32_t type;
	uint32_t flags; /* KVM_IOEVENTFD_FLAG_* */
	uint32_t padding;
	uint64_t datamatch;
};

/* The start of struct vfio_irq_set; bools follow, eventfds ride beside the message. */
struct vfio_user_irq_set {
	uint32_t argsz;
	uint32_t flags;
	uint32_t index;
	uint32_t start;
	uint32_t count;
};

struct vfio_user_region_access {
	uint64_t offset;
	uint32_t region;
	uint32_t count;
};

struct vfio_user_dma_access {
	uint64_t addr;
	uint64_t count;
};

struct vfio_user_write_multi {
	uint64_t wr_cnt;
};

struct vfio_user_single_write {
	uint64_t offset;
	uint32_t region;
	uint32_t count; /* up to 8 */
	uint8_t data[8];
};

struct vfio_user_feature {
	uint32_t argsz;
	uint32_t flags; /* VFIO_DEVICE_FEATURE_*, as the kernel's */
};

struct vfio_user_mig_data {
	uint32_t argsz;
	uint32_t size;
};

/*
 * Payloads of features that the kernel passes by pointer. DMA_LOGGING_START: this and ranges
 * (struct vfio_device_feature_dma_logging_range); num_ranges 0 is everything.
 */
struct vfio_user_logging_control {
	uint64_t page_size;
	uint32_t num_ranges;
	uint32_t reserved;
};

/*
 * DMA_LOGGING_REPORT: this, and behind it in the reply a bitmap of 64-bit words: bit n of the whole is
 * page n from @iova on (the text's formula is a slip of the kernel's comment).
 */
struct vfio_user_logging_report {
	uint64_t iova;
	uint64_t length;
	uint64_t page_size;
};

/* ---- a message, taken apart -------------------------------------------------------------------- */

/* What a side takes; the smaller of its own and the agreed one. */
struct vfio_user_limits {
	uint32_t max_msg_fds;
	uint32_t max_data_xfer_size;
};

/* Header, fixed part (which member is the command's; replies have the same), and what follows it. */
struct vfio_user_message {
	uint16_t id;
	uint16_t command;
	bool reply;
	bool no_reply;
	uint32_t error; /* of a reply: positive errno, 0 success. With it there is nothing else. */
	union {
		struct vfio_user_version_header version;
		struct vfio_user_dma_map dma_map;
		struct vfio_user_dma_unmap dma_unmap;
		struct vfio_user_device_info device_info;
		struct vfio_region_info region_info;
		struct vfio_user_region_io_fds io_fds;
		struct vfio_irq_info irq_info;
		struct vfio_user_irq_set irq_set;
		struct vfio_user_region_access region; /* REGION_READ, REGION_WRITE */
		struct vfio_user_dma_access dma;       /* DMA_READ, DMA_WRITE */
		struct vfio_user_write_multi write_multi;
		struct vfio_user_feature feature;
		struct vfio_user_mig_data mig_data;
		uint8_t fixed[VFIO_USER_MAX_FIXED];
	};
	const void *data; /* not owned: of the sender, or inside the payload that was decoded */
	size_t data_size;
};

/* The name of a command for messages: "REGION_READ"; "command 99" has no name: NULL. */
const char *vfio_user_command_name(unsigned command);
/* Commands that the server sends to the client. */
bool vfio_user_command_to_client(unsigned command);

/*
 * Is this header one that a message can follow? @max_payload: what the receiver takes behind it.
 * -EPROTO: size below the header or too large, no known type, a reply that is not to be replied to.
 * There is no way on after that: the stream cannot be followed any more. The command is not looked at.
 */
int vfio_user_check_header(const struct vfio_user_header *header, size_t max_payload);

/*
 * Header and fixed part of @message into @buffer; message->data is to follow. Returns the bytes put
 * there (VFIO_USER_ENCODED_MAX is room enough). The caller keeps to the bounds.
 */
#define VFIO_USER_ENCODED_MAX (sizeof(struct vfio_user_header) + VFIO_USER_MAX_FIXED)
size_t vfio_user_encode(const struct vfio_user_message *message, void *buffer);

/*
 * A command as it came, with @fd_count descriptors. Everything that does not depend on the device is
 * checked: sizes, counts, flags, overflow, the number of descriptors. Returns 0 or what to answer:
 * -EINVAL malformed, -ENOTSUP no such command. out->id, command and no_reply are set either way.
 * out->data points into @payload.
 */
int vfio_user_decode_command(const struct vfio_user_header *header, const void *payload,
			     size_t size, unsigned fd_count, const struct vfio_user_limits *limits,
			     struct vfio_user_message *out);

/*
 * The reply to @command (as it was sent). Returns 0, with out->error when the peer refused (a reply of
 * an error may have bytes behind its header, as libvfio-user's: they are ignored; an errno of 0 or
 * an unlikely one becomes EIO), or -EPROTO: the reply does not fit the command. Counts in it are no
 * more than were asked for, and are there.
 */
int vfio_user_decode_reply(const struct vfio_user_message *command,
			   const struct vfio_user_header *header, const void *payload, size_t size,
			   unsigned fd_count, const struct vfio_user_limits *limits,
			   struct vfio_user_message *out);

/* Entry @i of a checked reply of GET_REGION_IO_FDS or of a checked REGION_WRITE_MULTI command. */
void vfio_user_sub_region_at(const struct vfio_user_message *reply, uint32_t i,
			     struct vfio_user_sub_region *out);
void vfio_user_single_write_at(const struct vfio_user_message *command, uint64_t i,
			       struct vfio_user_single_write *out);

/* ---- VERSION ------------------------------------------------------------------------------------ */

/* What a side offers: version and capabilities, the defaults where the text has none. */
struct vfio_user_version {
	uint16_t major, minor;
	uint32_t max_msg_fds;
	uint32_t max_data_xfer_size;
	uint32_t max_dma_maps;
	uint64_t pgsizes;
	bool write_multiple;
	bool twin_socket;  /* supported */
	int twin_fd_index; /* of a reply; -1: none */
	/* Not in the text since 0.9.2, but sent by QEMU and libvfio-user: 0 when it is not there. */
	uint64_t migration_pgsize;
	uint64_t migration_max_bitmap_size;
};

/* What sluice offers, as client and as server. */
void vfio_user_version_own(struct vfio_user_version *version);

/*
 * JSON text of the capabilities with its terminator into @text. Returns its length with the
 * terminator, -EMSGSIZE when @room is too small, -ENOMEM.
 */
int vfio_user_version_encode(const struct vfio_user_version *version, char *text, size_t room);

/*
 * Take a decoded VERSION message apart. No data: the defaults. Capabilities that nobody knows are
 * passed over. -EINVAL: not terminated, no JSON, a value of the wrong kind, negative or out of
 * bounds (no descriptors, a transfer size of 0, page sizes without 4 KiB); -E2BIG the text is too
 * long; -ENOMEM.
 */
int vfio_user_version_decode(const struct vfio_user_message *message,
			     struct vfio_user_version *version);

/*
 * Server: the answer to what a client @proposed, out of its @own. The answer's capabilities are what
 * the server itself takes; *@limits what both can. -EINVAL another major version.
 */
int vfio_user_version_answer(const struct vfio_user_version *own,
			     const struct vfio_user_version *proposed,
			     struct vfio_user_version *answer, struct vfio_user_limits *limits);

/*
 * Client: is the server's @answer one to what we @proposed? *@limits: what may be sent to the
 * server. -EPROTO: another major or a higher minor version, twin socket unasked or without descriptor.
 */
int vfio_user_version_accept(const struct vfio_user_version *proposed,
			     const struct vfio_user_version *answer, unsigned fd_count,
			     struct vfio_user_limits *limits);

#endif
