/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A vfio-user server for tests of the client: a thread behind a real socket, with a small PCI device that
 * is honest, and a hook by which a test makes it lie, stall or die. It has code of its own for the
 * wire: a mistake of the shared one is not made twice.
 */
#ifndef SLUICE_TESTS_USER_SERVER_H
#define SLUICE_TESTS_USER_SERVER_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/vfio/user/protocol.h"

#define SERVER_VECTORS 32
#define SERVER_MAPS    64
#define SERVER_STATE   10000 /* bytes of migration data */
#define BAR0_SIZE      0x1000u
#define BAR2_SIZE      0x4000u
#define DOORBELL       0x10 /* of BAR 0, by eventfd too */
#define DMA_COPY       0x20 /* a write of an IOVA: 64 bytes from there go 0x1000 further, by message */

struct user_message {
	struct vfio_user_header header;
	uint8_t body[1 << 17];
	size_t size;
	int fds[32];
	unsigned fd_count;
};

struct user_server {
	char dir[64], path[96];
	int listener, fd;
	pthread_t thread;
	atomic_bool stopping;

	/* Called for each message first; true: that was the answer, close the connection when fd is -1. */
	bool (*hook)(struct user_server *s, struct user_message *m);
	unsigned hook_at, hook_kind; /* for the hook's own use */
	unsigned messages;           /* of this connection */
	atomic_uint connections, resets, posted;

	const char *version; /* the text of the answer, NULL: the usual */
	uint16_t minor;
	uint32_t max_msg_fds;
	uint8_t config[256], bar0[BAR0_SIZE];
	int bar2, doorbell;
	int vectors[SERVER_VECTORS], err_fd, req_fd;
	unsigned vectors_off; /* how often all were switched off */
	struct {
		struct vfio_user_dma_map map;
		int fd;
	} maps[SERVER_MAPS];
	atomic_uint map_count;
	uint32_t state;
	size_t sent, received;
	bool logging;
	uint8_t body[1 << 17];
};

/* ---- the wire ---- */

static inline bool server_io(int fd, void *buffer, size_t size, int *fds, unsigned *fd_count)
{
	size_t done = 0;

	while (done < size) {
		struct iovec iov = {(char *)buffer + done, size - done};
		union {
			char bytes[CMSG_SPACE(32 * sizeof(int))];
			struct cmsghdr align;
		} control;
		struct msghdr message = {
			.msg_iov = &iov,
			.msg_iovlen = 1,
			.msg_control = &control,
			.msg_controllen = sizeof(control),
		};
		const ssize_t n = recvmsg(fd, &message, MSG_CMSG_CLOEXEC);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c; c = CMSG_NXTHDR(&message, c)) {
			const unsigned count =
				(unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

			memcpy(fds + *fd_count, CMSG_DATA(c), count * sizeof(int));
			*fd_count += count;
		}
		done += (size_t)n;
	}
	return true;
}

static inline bool server_receive(struct user_server *s, struct user_message *m)
{
	m->fd_count = 0;
	if (!server_io(s->fd, &m->header, sizeof(m->header), m->fds, &m->fd_count))
		return false;
	m->size = m->header.msg_size - sizeof(m->header);
	return m->size <= sizeof(m->body) &&
	       server_io(s->fd, m->body, m->size, m->fds, &m->fd_count);
}

static inline void server_send(struct user_server *s, const struct vfio_user_header *header,
			       const void *body, size_t size, const int *fds, unsigned fd_count)
{
	struct iovec iov[2] = {
		{(void *)(uintptr_t)header, sizeof(*header)},
		{(void *)(uintptr_t)body, size},
	};
	union {
		char bytes[CMSG_SPACE(64 * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct msghdr message = {.msg_iov = iov, .msg_iovlen = 2};

	if (s->fd < 0)
		return;
	memset(&control, 0, sizeof(control));
	if (fd_count) {
		message.msg_control = &control;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		control.align.cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		control.align.cmsg_level = SOL_SOCKET;
		control.align.cmsg_type = SCM_RIGHTS;
		memcpy(CMSG_DATA(&control.align), fds, fd_count * sizeof(int));
	}
	while (message.msg_iovlen) {
		ssize_t n = sendmsg(s->fd, &message, MSG_NOSIGNAL);

		if (n < 0)
			return;
		message.msg_controllen = 0;
		while (message.msg_iovlen && (size_t)n >= message.msg_iov->iov_len) {
			n -= (ssize_t)message.msg_iov->iov_len;
			message.msg_iov++;
			message.msg_iovlen--;
		}
		if (message.msg_iovlen) {
			message.msg_iov->iov_base = (char *)message.msg_iov->iov_base + n;
			message.msg_iov->iov_len -= (size_t)n;
		}
	}
}

static inline void server_reply_fds(struct user_server *s, const struct user_message *m,
				    const void *body, size_t size, const int *fds,
				    unsigned fd_count)
{
	const struct vfio_user_header header = {
		.msg_id = m->header.msg_id,
		.command = m->header.command,
		.msg_size = (uint32_t)(sizeof(header) + size),
		.flags = VFIO_USER_FLAGS_REPLY,
	};

	if (!(m->header.flags & VFIO_USER_FLAGS_NO_REPLY))
		server_send(s, &header, body, size, fds, fd_count);
}

static inline void server_reply(struct user_server *s, const struct user_message *m,
				const void *body, size_t size)
{
	server_reply_fds(s, m, body, size, NULL, 0);
}

/* As libvfio-user: the payload comes along with the error. */
static inline void server_error(struct user_server *s, const struct user_message *m, int error)
{
	const struct vfio_user_header header = {
		.msg_id = m->header.msg_id,
		.command = m->header.command,
		.msg_size = (uint32_t)(sizeof(header) + m->size),
		.flags = VFIO_USER_FLAGS_REPLY | VFIO_USER_FLAGS_ERROR,
		.error_no = (uint32_t)error,
	};

	server_send(s, &header, m->body, m->size, NULL, 0);
}

static inline void server_hang_up(struct user_server *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* A command of the server, and the reply to it; what comes in between is dropped. False: no good reply. */
static inline bool server_dma(struct user_server *s, uint16_t command, uint64_t addr, void *data,
			      size_t size)
{
	const bool write = command == VFIO_USER_DMA_WRITE;
	uint8_t body[4096 + 16];
	struct vfio_user_dma_access access = {addr, size};
	const struct vfio_user_header header = {
		.msg_id = 77,
		.command = command,
		.msg_size = (uint32_t)(sizeof(header) + sizeof(access) + (write ? size : 0)),
	};
	static _Thread_local struct user_message answer;

	memcpy(body, &access, sizeof(access));
	if (write)
		memcpy(body + sizeof(access), data, size);
	server_send(s, &header, body, sizeof(access) + (write ? size : 0), NULL, 0);
	if (!server_receive(s, &answer) || answer.header.command != command ||
	    answer.header.msg_id != 77 || answer.header.flags & VFIO_USER_FLAGS_ERROR)
		return false;
	if (!write && answer.size == sizeof(access) + size)
		memcpy(data, answer.body + sizeof(access), size);
	return write || answer.size == sizeof(access) + size;
}

/* ---- the device ---- */

static inline void server_forget(struct user_server *s)
{
	for (unsigned i = 0; i < SERVER_VECTORS; i++) {
		if (s->vectors[i] >= 0)
			close(s->vectors[i]);
		s->vectors[i] = -1;
	}
	if (s->err_fd >= 0)
		close(s->err_fd);
	if (s->req_fd >= 0)
		close(s->req_fd);
	s->err_fd = s->req_fd = -1;
	for (unsigned i = 0; i < s->map_count; i++) {
		if (s->maps[i].fd >= 0)
			close(s->maps[i].fd);
	}
	s->map_count = 0;
	s->state = VFIO_DEVICE_STATE_RUNNING;
	s->logging = false;
}

static inline void server_version(struct user_server *s, const struct user_message *m)
{
	char text[512];
	uint8_t body[520];
	const struct vfio_user_version_header head = {0, s->minor};
	size_t length;

	snprintf(text, sizeof(text),
		 "{\"capabilities\":{\"max_msg_fds\":%u,\"max_data_xfer_size\":4096,"
		 "\"max_dma_maps\":%u,\"migration\":{\"pgsize\":4096},\"unheard\":{\"of\":[1]}}}",
		 s->max_msg_fds, SERVER_MAPS);
	length = strlen(s->version ? s->version : text) + 1;
	memcpy(body, &head, sizeof(head));
	memcpy(body + sizeof(head), s->version ? s->version : text, length);
	server_reply(s, m, body, sizeof(head) + length);
}

static inline void server_region_info(struct user_server *s, const struct user_message *m)
{
	struct {
		struct vfio_region_info info;
		struct vfio_region_info_cap_sparse_mmap sparse;
		struct vfio_region_sparse_mmap_area areas[2];
	} reply = {0};
	const struct vfio_region_info *asked = (const void *)m->body;

	reply.info = *asked;
	reply.info.argsz = sizeof(reply.info);
	reply.info.flags = 0;
	reply.info.size = 0;
	reply.info.offset = 0;
	switch (asked->index) {
	case 0:
		reply.info.size = BAR0_SIZE;
		reply.info.flags = 3;
		break;
	case 2:
		reply.info.size = BAR2_SIZE;
		reply.info.flags = 7 | VFIO_REGION_INFO_FLAG_CAPS;
		reply.info.argsz = sizeof(reply);
		reply.sparse.header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
		reply.sparse.header.version = 1;
		reply.sparse.nr_areas = 2;
		reply.areas[0] = (struct vfio_region_sparse_mmap_area){0, 0x1000};
		reply.areas[1] = (struct vfio_region_sparse_mmap_area){0x2000, 0x1000};
		if (asked->argsz >= sizeof(reply)) {
			reply.info.cap_offset = sizeof(reply.info);
			server_reply_fds(s, m, &reply, sizeof(reply), &s->bar2, 1);
			return;
		}
		break;
	case VFIO_PCI_CONFIG_REGION_INDEX:
		reply.info.size = 256;
		reply.info.flags = 3;
		break;
	case VFIO_PCI_VGA_REGION_INDEX:
		server_error(s, m, EINVAL);
		return;
	default:
		break;
	}
	server_reply(s, m, &reply.info, sizeof(reply.info));
}

static inline void server_io_fds(struct user_server *s, const struct user_message *m)
{
	struct {
		struct vfio_user_region_io_fds head;
		struct vfio_user_sub_region sub[3];
	} reply = {0};
	const struct vfio_user_region_io_fds *asked = (const void *)m->body;

	reply.head = *asked;
	if (asked->index != 0) {
		reply.head.argsz = sizeof(reply.head);
		server_reply(s, m, &reply.head, sizeof(reply.head));
		return;
	}
	reply.head.argsz = sizeof(reply);
	reply.head.count = 3;
	reply.sub[0] = (struct vfio_user_sub_region){.offset = DOORBELL, .size = 4};
	/* With a value, by the same descriptor; and one that is none of KVM's. */
	reply.sub[1] = (struct vfio_user_sub_region){
		.offset = DOORBELL + 8, .size = 2, .flags = 1, .datamatch = 7};
	reply.sub[2] = (struct vfio_user_sub_region){.offset = 0x40, .size = 4, .type = 2};
	if (asked->argsz >= sizeof(reply))
		server_reply_fds(s, m, &reply, sizeof(reply), &s->doorbell, 1);
	else
		server_reply(s, m, &reply.head, sizeof(reply.head));
}

static inline void server_set_irqs(struct user_server *s, struct user_message *m)
{
	const struct vfio_user_irq_set *set = (const void *)m->body;
	int *one = set->index == VFIO_PCI_ERR_IRQ_INDEX   ? &s->err_fd
		   : set->index == VFIO_PCI_REQ_IRQ_INDEX ? &s->req_fd
							  : NULL;

	if (m->fd_count > s->max_msg_fds || (m->fd_count && m->fd_count != set->count)) {
		server_error(s, m, EINVAL);
		return;
	}
	if (one && set->flags & VFIO_IRQ_SET_DATA_EVENTFD) {
		if (*one >= 0)
			close(*one);
		*one = m->fd_count ? m->fds[0] : -1;
		m->fd_count = 0;
	} else if (set->index == VFIO_PCI_MSIX_IRQ_INDEX) {
		const bool all = set->flags & VFIO_IRQ_SET_DATA_NONE && !set->count;

		s->vectors_off += all;
		if (set->start + set->count > SERVER_VECTORS) {
			server_error(s, m, EINVAL);
			return;
		}
		for (unsigned i = all ? 0 : set->start;
		     i < (all ? SERVER_VECTORS : set->start + set->count); i++) {
			if (set->flags & VFIO_IRQ_SET_DATA_EVENTFD || all) {
				if (s->vectors[i] >= 0)
					close(s->vectors[i]);
				s->vectors[i] = m->fd_count ? m->fds[i - set->start] : -1;
			} else if (s->vectors[i] >= 0) {
				eventfd_write(s->vectors[i], 1);
			}
		}
		m->fd_count = 0;
	}
	server_reply(s, m, NULL, 0);
}

static inline void server_region(struct user_server *s, const struct user_message *m)
{
	const struct vfio_user_region_access *access = (const void *)m->body;
	uint8_t reply[16 + 8192], bytes[64], *memory = NULL;
	uint64_t size = 0, iova = 0;

	if (access->region == 0) {
		memory = s->bar0;
		size = BAR0_SIZE;
	} else if (access->region == VFIO_PCI_CONFIG_REGION_INDEX) {
		memory = s->config;
		size = sizeof(s->config);
	}
	if (access->region == 2 && access->offset < BAR2_SIZE &&
	    access->count <= BAR2_SIZE - access->offset && access->count <= 8192) {
		memcpy(reply, access, 16);
		if (m->header.command == VFIO_USER_REGION_READ) {
			pread(s->bar2, reply + 16, access->count, (off_t)access->offset);
			server_reply(s, m, reply, 16 + access->count);
		} else {
			pwrite(s->bar2, m->body + 16, access->count, (off_t)access->offset);
			server_reply(s, m, reply, 16);
		}
		return;
	}
	if (!memory || access->offset >= size || access->count > size - access->offset) {
		server_error(s, m, EINVAL);
		return;
	}
	memcpy(reply, access, 16);
	if (m->header.command == VFIO_USER_REGION_READ) {
		memcpy(reply + 16, memory + access->offset, access->count);
		server_reply(s, m, reply, 16 + access->count);
		return;
	}
	memcpy(memory + access->offset, m->body + 16, access->count);
	if (access->region == 0 && access->offset == DMA_COPY && access->count == 8) {
		memcpy(&iova, m->body + 16, 8);
		if (!server_dma(s, VFIO_USER_DMA_READ, iova, bytes, sizeof(bytes)) ||
		    !server_dma(s, VFIO_USER_DMA_WRITE, iova + 0x1000, bytes, sizeof(bytes))) {
			server_error(s, m, EFAULT);
			return;
		}
	}
	if (m->header.flags & VFIO_USER_FLAGS_NO_REPLY)
		s->posted++;
	server_reply(s, m, reply, 16);
}

static inline void server_feature(struct user_server *s, const struct user_message *m)
{
	const struct vfio_user_feature *feature = (const void *)m->body;
	uint8_t reply[8192];
	uint8_t *data = reply + sizeof(*feature);
	size_t size = 0;

	memcpy(reply, m->body, m->size);
	if (feature->flags & VFIO_DEVICE_FEATURE_PROBE) {
		const uint32_t number = feature->flags & VFIO_DEVICE_FEATURE_MASK;

		if (number != VFIO_DEVICE_FEATURE_DMA_LOGGING_START &&
		    number != VFIO_DEVICE_FEATURE_BUS_MASTER)
			server_error(s, m, ENOTTY);
		else
			server_reply(s, m, reply, sizeof(*feature));
		return;
	}
	switch (feature->flags & VFIO_DEVICE_FEATURE_MASK) {
	case VFIO_DEVICE_FEATURE_MIGRATION: {
		const uint64_t flags =
			VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY | 1ull << 40;

		memcpy(data, &flags, 8);
		size = 8;
		break;
	}
	case VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE:
		size = 8;
		if (feature->flags & VFIO_DEVICE_FEATURE_GET) {
			memcpy(data, &s->state, 4);
			break;
		}
		memcpy(&s->state, m->body + sizeof(*feature), 4);
		s->sent = s->received = 0;
		break;
	case VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: {
		const uint64_t bytes = SERVER_STATE;

		memcpy(data, &bytes, 8);
		size = 8;
		break;
	}
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_START:
		s->logging = true;
		size = m->size - sizeof(*feature);
		break;
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP:
		s->logging = false;
		break;
	case VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT: {
		struct vfio_user_logging_report report;
		bool whole = false;

		memcpy(&report, m->body + sizeof(*feature), sizeof(report));
		for (unsigned i = 0; i < s->map_count; i++)
			whole |= s->maps[i].map.addr == report.iova &&
				 s->maps[i].map.size == report.length;
		if (!whole) {
			server_error(s, m, ENOTSUP);
			return;
		}
		size = sizeof(report) + (report.length / report.page_size + 63) / 64 * 8;
		memset(data + sizeof(report), 0, size - sizeof(report));
		data[sizeof(report)] = 0x02; /* the second page */
		break;
	}
	default:
		server_error(s, m, ENOTTY);
		return;
	}
	server_reply(s, m, reply, sizeof(*feature) + size);
}

static inline void server_mig_data(struct user_server *s, const struct user_message *m)
{
	struct vfio_user_mig_data data;
	uint8_t *reply = s->body;

	memcpy(&data, m->body, sizeof(data));
	if (m->header.command == VFIO_USER_MIG_DATA_WRITE) {
		s->received += data.size;
		server_reply(s, m, NULL, 0);
		return;
	}
	const size_t asked = data.size;

	if (data.size > SERVER_STATE - s->sent)
		data.size = (uint32_t)(SERVER_STATE - s->sent);
	memcpy(reply, &data, sizeof(data));
	memset(reply + sizeof(data), 0, asked);
	for (uint32_t i = 0; i < data.size; i++)
		reply[sizeof(data) + i] = (uint8_t)(s->sent + i);
	s->sent += data.size;
	/* As libvfio-user: as long as was asked for, whatever there is. */
	server_reply(s, m, reply, sizeof(data) + asked);
}

static inline void server_dma_map(struct user_server *s, struct user_message *m)
{
	struct vfio_user_dma_map map;

	memcpy(&map, m->body, sizeof(map));
	if (s->map_count == SERVER_MAPS || map.flags & ~3u) {
		server_error(s, m, EINVAL);
		return;
	}
	s->maps[s->map_count].map = map;
	s->maps[s->map_count].fd = m->fd_count ? m->fds[0] : -1;
	m->fd_count = 0;
	s->map_count++;
	server_reply(s, m, NULL, 0);
}

static inline void server_dma_unmap(struct user_server *s, struct user_message *m)
{
	struct vfio_user_dma_unmap unmap;

	memcpy(&unmap, m->body, sizeof(unmap));
	for (unsigned i = 0; i < s->map_count; i++) {
		if (s->maps[i].map.addr != unmap.addr || s->maps[i].map.size != unmap.size)
			continue;
		if (s->maps[i].fd >= 0)
			close(s->maps[i].fd);
		s->maps[i] = s->maps[s->map_count - 1];
		s->map_count--;
		server_reply(s, m, &unmap, sizeof(unmap));
		return;
	}
	server_error(s, m, ENOENT);
}

static inline void server_answer(struct user_server *s, struct user_message *m)
{
	switch (m->header.command) {
	case VFIO_USER_VERSION:
		server_version(s, m);
		break;
	case VFIO_USER_DMA_MAP:
		server_dma_map(s, m);
		break;
	case VFIO_USER_DMA_UNMAP:
		server_dma_unmap(s, m);
		break;
	case VFIO_USER_DEVICE_GET_INFO: {
		const struct vfio_user_device_info info = {16, 3, 9, 5};

		server_reply(s, m, &info, sizeof(info));
		break;
	}
	case VFIO_USER_DEVICE_GET_REGION_INFO:
		server_region_info(s, m);
		break;
	case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
		server_io_fds(s, m);
		break;
	case VFIO_USER_DEVICE_GET_IRQ_INFO: {
		struct vfio_irq_info info;
		static const uint32_t counts[] = {1, 0, SERVER_VECTORS, 1, 1};

		memcpy(&info, m->body, sizeof(info));
		info.flags = VFIO_IRQ_INFO_EVENTFD;
		info.count = counts[info.index];
		server_reply(s, m, &info, sizeof(info));
		break;
	}
	case VFIO_USER_DEVICE_SET_IRQS:
		server_set_irqs(s, m);
		break;
	case VFIO_USER_REGION_READ:
	case VFIO_USER_REGION_WRITE:
		server_region(s, m);
		break;
	case VFIO_USER_DEVICE_RESET:
		s->resets++;
		memset(s->bar0, 0, sizeof(s->bar0));
		server_reply(s, m, NULL, 0);
		break;
	case VFIO_USER_DEVICE_FEATURE:
		server_feature(s, m);
		break;
	case VFIO_USER_MIG_DATA_READ:
	case VFIO_USER_MIG_DATA_WRITE:
		server_mig_data(s, m);
		break;
	default:
		server_error(s, m, ENOTSUP);
		break;
	}
}

static inline void *server_thread(void *ctx)
{
	struct user_server *s = ctx;
	struct user_message *m = calloc(1, sizeof(*m));

	while (!s->stopping) {
		s->fd = accept4(s->listener, NULL, NULL, SOCK_CLOEXEC);
		if (s->fd < 0)
			break;
		s->connections++;
		s->messages = 0;
		while (s->fd >= 0 && server_receive(s, m)) {
			s->messages++;
			if (!s->hook || !s->hook(s, m))
				server_answer(s, m);
			while (m->fd_count)
				close(m->fds[--m->fd_count]);
		}
		server_forget(s);
		server_hang_up(s);
	}
	free(m);
	return NULL;
}

/* ---- life ---- */

static inline void server_listen(struct user_server *s)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", s->path);
	s->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (bind(s->listener, (struct sockaddr *)&address, sizeof(address)) ||
	    listen(s->listener, 4))
		abort();
}

/* Listening, and nobody accepts. */
static inline struct user_server *server_new(void)
{
	struct user_server *s = calloc(1, sizeof(*s));

	strcpy(s->dir, "/tmp/user-server-XXXXXX");
	if (!mkdtemp(s->dir))
		abort();
	snprintf(s->path, sizeof(s->path), "%s/s", s->dir);
	s->fd = s->err_fd = s->req_fd = -1;
	for (unsigned i = 0; i < SERVER_VECTORS; i++)
		s->vectors[i] = -1;
	s->state = VFIO_DEVICE_STATE_RUNNING;
	s->minor = 1;
	s->max_msg_fds = 4;
	s->bar2 = memfd_create("bar2", MFD_CLOEXEC);
	if (ftruncate(s->bar2, BAR2_SIZE))
		abort();
	s->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	memcpy(s->config, "\xf4\x1a\x01\x00", 4);
	server_listen(s);
	return s;
}

static inline struct user_server *server_start(void)
{
	struct user_server *s = server_new();

	pthread_create(&s->thread, NULL, server_thread, s);
	return s;
}

static inline void server_free(struct user_server *s)
{
	close(s->listener);
	close(s->bar2);
	close(s->doorbell);
	unlink(s->path);
	rmdir(s->dir);
	free(s);
}

/* No client is connected any more. */
static inline void server_stop(struct user_server *s)
{
	s->stopping = true;
	shutdown(s->listener, SHUT_RDWR);
	pthread_join(s->thread, NULL);
	server_free(s);
}

#endif
