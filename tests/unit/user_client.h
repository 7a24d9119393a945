/* SPDX-License-Identifier: Apache-2.0 */
/* A client of the server of user_server.h: the user provider with a loop, an address space and its log. */
#ifndef SLUICE_TESTS_USER_CLIENT_H
#define SLUICE_TESTS_USER_CLIENT_H

#include <fcntl.h>
#include <stdarg.h>
#include <time.h>

#include "devices/vfio/device.h"
#include "devices/vfio/provider.h"
#include "tests/unit/support.h"
#include "tests/unit/user_server.h"
#include "vmm/base/dma.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define RAM_SIZE 0x10000u
#define RAM_IOVA 0x100000ull

struct client {
	struct user_server *server;
	struct loop *loop;
	pthread_t loop_thread;
	struct iommufd_ctx *ictx;
	struct ioas *space;
	int memfd;
	uint8_t *ram;
	struct vfio_device *vdev;
	char name[128], log[96];
	atomic_uint gone, revoked, requests, errors;
};

static inline void *run_loop(void *ctx)
{
	loop_run(ctx);
	return NULL;
}

static inline void on_gone(void *ctx)
{
	((struct client *)ctx)->gone++;
}

static inline void on_revoke(void *ctx)
{
	((struct client *)ctx)->revoked++;
}

static inline void on_request(void *ctx, unsigned count)
{
	(void)count;
	((struct client *)ctx)->requests++;
}

static inline void on_error(void *ctx)
{
	((struct client *)ctx)->errors++;
}

static const struct vfio_device_events events = {
	.gone = on_gone, .request = on_request, .error = on_error};

static inline const struct vfio_provider *provider(void)
{
	return vfio_provider_by_prefix("user:");
}

/* A client with the key=value pairs of @keys (a list ending with NULL). */
static inline struct client *client_new(struct user_server *server, const char *const *keys)
{
	struct client *c = calloc(1, sizeof(*c));
	struct vfio_key list[8] = {0};
	struct vfio_config config = {.fd = -1, .keys = list};
	struct vfio_provider_env env = {0};
	struct ioas_area area;

	c->server = server;
	snprintf(c->name, sizeof(c->name), "user:%s", server->path);
	snprintf(c->log, sizeof(c->log), "%s/log", server->dir);
	log_open(c->log, LOG_LEVEL_WARN);
	cr_assert_eq(loop_create(&c->loop), 0);
	pthread_create(&c->loop_thread, NULL, run_loop, c->loop);
	cr_assert_eq(iommufd_ctx_create(&c->ictx), 0);
	cr_assert_eq(ioas_create(c->ictx, &c->space), 0);
	c->memfd = memfd_create("ram", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(c->memfd, RAM_SIZE), 0);
	c->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, c->memfd, 0);
	area = (struct ioas_area){.iova = RAM_IOVA,
				  .length = RAM_SIZE,
				  .fd = c->memfd,
				  .hva = c->ram,
				  .rights = IOAS_READ | IOAS_WRITE};
	cr_assert_eq(ioas_map(c->space, &area), 0);

	config.name = c->name;
	for (; keys && *keys; keys += 2)
		list[config.key_count++] =
			(struct vfio_key){(char *)(uintptr_t)keys[0], (char *)(uintptr_t)keys[1]};
	env = (struct vfio_provider_env){.loop = c->loop, .ictx = c->ictx};
	cr_assert_eq(provider()->create(&env, &config, &c->vdev), 0);
	vfio_device_set_events(c->vdev, &events, c);
	vfio_device_set_revoke(c->vdev, on_revoke, c);
	return c;
}

static inline int client_open(struct client *c)
{
	uint32_t id = ioas_id(c->space);
	int rc = vfio_device_open(c->vdev, c->ictx);

	return rc ? rc : vfio_device_attach(c->vdev, &id);
}

static inline void client_free(struct client *c)
{
	vfio_device_close(c->vdev);
	vfio_unregister_device(c->vdev);
	vfio_device_free(c->vdev);
	cr_assert_eq(ioas_destroy(c->space), 0);
	iommufd_ctx_destroy(c->ictx);
	loop_stop(c->loop);
	pthread_join(c->loop_thread, NULL);
	loop_destroy(c->loop);
	munmap(c->ram, RAM_SIZE);
	close(c->memfd);
	log_open(NULL, LOG_LEVEL_WARN);
	unlink(c->log);
	free(c);
}

/* The whole log so far. */
static inline const char *logged(struct client *c)
{
	static char text[8192];
	const int fd = open(c->log, O_RDONLY);
	const ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

static inline unsigned lines(const char *text)
{
	unsigned count = 0;

	for (; *text; text++)
		count += *text == '\n';
	return count;
}

/* Until @value is at least @wanted; the test's own time limit is the bound. */
static inline void wait_for(const atomic_uint *value, unsigned wanted)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	while (*value < wanted)
		nanosleep(&pause, NULL);
}

static inline uint64_t offset_of(struct client *c, uint32_t index)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	return info.offset;
}

static inline int set_irqs(struct client *c, uint32_t index, uint32_t start, uint32_t count,
			   const int32_t *fds)
{
	union {
		struct vfio_irq_set set;
		uint8_t bytes[sizeof(struct vfio_irq_set) + 64 * 4];
	} arg = {.set = {
			 .argsz = sizeof(struct vfio_irq_set) + (fds ? count * 4 : 0),
			 .flags = VFIO_IRQ_SET_ACTION_TRIGGER |
				  (fds ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
			 .index = index,
			 .start = start,
			 .count = count,
		 }};

	if (fds)
		memcpy(arg.bytes + sizeof(struct vfio_irq_set), fds, count * 4);
	return vfio_device_ioctl(c->vdev, VFIO_DEVICE_SET_IRQS, &arg.set);
}

static inline int feature(struct client *c, uint32_t flags, void *data, size_t size)
{
	union {
		struct vfio_device_feature feature;
		uint8_t bytes[256];
	} arg = {.feature = {.argsz = (uint32_t)(sizeof(arg.feature) + size), .flags = flags}};
	int rc;

	if (size)
		memcpy(arg.feature.data, data, size);
	rc = vfio_device_ioctl(c->vdev, VFIO_DEVICE_FEATURE, &arg.feature);
	if (size)
		memcpy(data, arg.feature.data, size);
	return rc;
}

static inline int set_state(struct client *c, uint32_t state, int *fd)
{
	struct vfio_device_feature_mig_state mig = {.device_state = state, .data_fd = -1};
	const int rc = feature(c, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			       &mig, sizeof(mig));

	*fd = mig.data_fd;
	return rc;
}

/* Whoever rings rings the present eventfd of the server. */
static inline void first_bell_reaches(struct client *c, struct user_server *s)
{
	struct vfio_region_ioeventfd list[4];
	uint32_t count = 4;
	eventfd_t value;

	cr_assert_eq(vfio_device_region_ioeventfds(c->vdev, 0, list, &count), 0);
	cr_assert_eq(count, 2);
	eventfd_write(list[0].fd, 2);
	cr_assert_eq(eventfd_read(s->doorbell, &value), 0);
	cr_assert_eq(value, 2);
}

/* The server answers a GET_INFO with these. */
static inline void info(struct user_server *s, struct user_message *m, uint32_t argsz,
			uint32_t flags, uint32_t regions, uint32_t irqs)
{
	const struct vfio_user_device_info reply = {argsz, flags, regions, irqs};

	server_reply(s, m, &reply, sizeof(reply));
}

#endif
