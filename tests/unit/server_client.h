/* SPDX-License-Identifier: Apache-2.0 */
/* A server of served_device.h's device on a thread of its own, and clients of it by bare messages. */
#ifndef SLUICE_TESTS_SERVER_CLIENT_H
#define SLUICE_TESTS_SERVER_CLIENT_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "devices/vfio/server/server.h"
#include "devices/vfio/user/channel.h"
#include "tests/unit/served_device.h"
#include "tests/unit/support.h"
#include "vmm/base/dma.h"
#include "vmm/base/loop.h"

#define TIMEOUT_MS 30000

struct server {
	struct served_device *device;
	struct loop *loop;
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	struct vfio_server *server;
	pthread_t thread;
	char path[64];
	atomic_int ended; /* 0: not; 1 + -errno */
};

static inline void ended(void *ctx, int error)
{
	struct server *s = ctx;

	atomic_store(&s->ended, 1 - error);
	loop_stop(s->loop);
}

static inline void *run(void *ctx)
{
	loop_run(ctx);
	return NULL;
}

static inline int try_start(struct server *s)
{
	static const struct vfio_server_doorbell bell = {
		.region = 0, .size = 4, .offset = 8, .value = 1};
	const struct vfio_server_config config = {
		.path = s->path, .doorbells = &bell, .doorbell_count = 1, .ended = ended, .ctx = s};

	snprintf(s->path, sizeof(s->path), "/tmp/sluice-served-%d", getpid());
	cr_assert_eq(loop_create(&s->loop), 0);
	cr_assert_eq(iommufd_ctx_create(&s->ictx), 0);
	cr_assert_eq(ioas_create(s->ictx, &s->ioas), 0);
	return vfio_server_create(s->loop, s->ictx, s->ioas, &s->device->vdev, &config, &s->server);
}

static inline void start(struct server *s)
{
	*s = (struct server){.device = served_device_new()};
	cr_assert_eq(try_start(s), 0);
	pthread_create(&s->thread, NULL, run, s->loop);
}

static inline void stop_parts(struct server *s)
{
	vfio_server_destroy(s->server);
	cr_assert_eq(ioas_destroy(s->ioas), 0);
	iommufd_ctx_destroy(s->ictx);
	loop_destroy(s->loop);
	served_device_done(s->device);
	cr_assert_eq(access(s->path, F_OK), -1, "the socket is removed");
}

static inline void stop(struct server *s)
{
	loop_stop(s->loop);
	pthread_join(s->thread, NULL);
	stop_parts(s);
}

/* ---- a client ---- */

struct client {
	struct vfio_user_channel *channel;
	uint8_t memory[65536]; /* behind DMA_READ and DMA_WRITE, from address 0 on */
	atomic_uint reads, writes;
	bool silent; /* answers no DMA */
};

static inline void serve_dma(void *ctx, struct vfio_user_packet *packet)
{
	const struct vfio_user_limits limits = {16, 65536};
	struct client *c = ctx;
	struct vfio_user_message in, out;

	if (c->silent)
		return;
	cr_assert_eq(vfio_user_decode_command(&packet->header, packet->payload, packet->size, 0,
					      &limits, &in),
		     0);
	out = (struct vfio_user_message){
		.id = in.id, .command = in.command, .reply = true, .dma = in.dma};
	if (in.dma.addr + in.dma.count > sizeof(c->memory)) {
		out.error = EFAULT;
	} else if (in.command == VFIO_USER_DMA_READ) {
		out.data = c->memory + in.dma.addr;
		out.data_size = in.dma.count;
		atomic_fetch_add(&c->reads, 1);
	} else {
		memcpy(c->memory + in.dma.addr, in.data, in.data_size);
		atomic_fetch_add(&c->writes, 1);
	}
	vfio_user_channel_send(c->channel, &out, NULL, 0);
}

static inline int connect_to(const char *path)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

/* A command; returns 0 or -errno of the reply, which is kept in *@packet when that is wanted. */
static inline int ask(struct client *c, struct vfio_user_message *m, const int *fds,
		      unsigned fd_count, struct vfio_user_message *reply,
		      struct vfio_user_packet **packet)
{
	const struct vfio_user_limits limits = {16, VFIO_USER_MAX_DATA_XFER_SIZE};
	struct vfio_user_packet *got;
	int rc = vfio_user_channel_call(c->channel, m, fds, fd_count, TIMEOUT_MS, &got);

	if (rc)
		return rc;
	cr_assert_eq(vfio_user_decode_reply(m, &got->header, got->payload, got->size, got->fd_count,
					    &limits, reply),
		     0);
	rc = -(int)reply->error;
	if (packet && !rc)
		*packet = got;
	else
		vfio_user_packet_free(got);
	return rc;
}

static inline int ask_simply(struct client *c, struct vfio_user_message *m)
{
	struct vfio_user_message reply;

	return ask(c, m, NULL, 0, &reply, NULL);
}

static inline struct client *new_client(struct server *s)
{
	struct client *c = calloc(1, sizeof(*c));
	const struct vfio_user_channel_config config = {.serve = serve_dma, .ctx = c};
	struct vfio_user_message m = {.command = VFIO_USER_VERSION, .version = {0, 2}}, reply;
	struct vfio_user_packet *packet;
	struct vfio_user_version v;
	char text[VFIO_USER_MAX_VERSION_TEXT];

	cr_assert_eq(vfio_user_channel_create(connect_to(s->path), &config, &c->channel), 0);
	vfio_user_version_own(&v);
	m.data = text;
	m.data_size = (size_t)vfio_user_version_encode(&v, text, sizeof(text));
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, &packet), 0);
	cr_assert_eq(vfio_user_version_decode(&reply, &v), 0);
	cr_assert_eq(v.max_msg_fds, VFIO_USER_MAX_MSG_FDS);
	cr_assert(v.write_multiple);
	cr_assert_eq(v.migration_pgsize, 4096);
	vfio_user_packet_free(packet);
	return c;
}

static inline void done(struct client *c)
{
	vfio_user_channel_destroy(c->channel);
	free(c);
}

static inline int write_region(struct client *c, uint32_t region, uint64_t offset, const void *data,
			       uint32_t count)
{
	struct vfio_user_message m = {.command = VFIO_USER_REGION_WRITE,
				      .region = {offset, region, count},
				      .data = data,
				      .data_size = count};

	return ask_simply(c, &m);
}

static inline int read_region(struct client *c, uint32_t region, uint64_t offset, void *data,
			      uint32_t count)
{
	struct vfio_user_message m = {.command = VFIO_USER_REGION_READ,
				      .region = {offset, region, count}},
				 reply;
	struct vfio_user_packet *packet;
	int rc = ask(c, &m, NULL, 0, &reply, &packet);

	if (rc)
		return rc;
	cr_assert_eq(reply.data_size, count);
	if (count)
		memcpy(data, reply.data, count);
	vfio_user_packet_free(packet);
	return 0;
}

static inline int map(struct client *c, uint64_t iova, uint64_t size, uint32_t flags, int fd)
{
	struct vfio_user_message m = {.command = VFIO_USER_DMA_MAP,
				      .dma_map = {32, flags, 0, iova, size}},
				 reply;

	return ask(c, &m, &fd, fd >= 0, &reply, NULL);
}

static inline int unmap(struct client *c, uint64_t iova, uint64_t size, uint32_t flags)
{
	struct vfio_user_message m = {.command = VFIO_USER_DMA_UNMAP,
				      .dma_unmap = {24, flags, iova, size}};

	return ask_simply(c, &m);
}

/* The device copies from @iova; its result. */
static inline int32_t dma(struct client *c, uint64_t iova)
{
	const uint32_t go = 1;
	int32_t result;

	cr_assert_eq(write_region(c, 0, 0, &iova, 8), 0);
	cr_assert_eq(write_region(c, 0, 8, &go, 4), 0);
	cr_assert_eq(read_region(c, 0, 12, &result, 4), 0);
	return result;
}

static inline int set_irqs(struct client *c, uint32_t flags, uint32_t index, uint32_t first,
			   uint32_t count, const int *fds, unsigned fd_count)
{
	struct vfio_user_message m = {.command = VFIO_USER_DEVICE_SET_IRQS,
				      .irq_set = {20, flags, index, first, count}},
				 reply;

	return ask(c, &m, fds, fd_count, &reply, NULL);
}

static inline int feature(struct client *c, uint32_t flags, const void *data, size_t size,
			  void *answer, size_t answer_size)
{
	struct vfio_user_message m = {.command = VFIO_USER_DEVICE_FEATURE,
				      .feature = {4096, flags},
				      .data = data,
				      .data_size = size},
				 reply;
	struct vfio_user_packet *packet;
	int rc = ask(c, &m, NULL, 0, &reply, &packet);

	if (rc)
		return rc;
	cr_assert_eq(reply.data_size, answer_size);
	if (answer_size)
		memcpy(answer, reply.data, answer_size);
	vfio_user_packet_free(packet);
	return 0;
}

static inline bool readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	return poll(&poll_fd, 1, 0) == 1;
}

static inline void wait_readable(int fd)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	cr_assert_eq(poll(&poll_fd, 1, TIMEOUT_MS), 1);
}

#endif
