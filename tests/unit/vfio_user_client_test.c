/* SPDX-License-Identifier: Apache-2.0 */
/* The user provider against a server that is honest (here) and one that is not (below). */
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

static void *run_loop(void *ctx)
{
	loop_run(ctx);
	return NULL;
}

static void on_gone(void *ctx)
{
	((struct client *)ctx)->gone++;
}

static void on_revoke(void *ctx)
{
	((struct client *)ctx)->revoked++;
}

static void on_request(void *ctx, unsigned count)
{
	(void)count;
	((struct client *)ctx)->requests++;
}

static void on_error(void *ctx)
{
	((struct client *)ctx)->errors++;
}

static const struct vfio_device_events events = {
	.gone = on_gone, .request = on_request, .error = on_error};

static const struct vfio_provider *provider(void)
{
	return vfio_provider_by_prefix("user:");
}

/* A client with the key=value pairs of @keys (a list ending with NULL). */
static struct client *client_new(struct user_server *server, const char *const *keys)
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

static int client_open(struct client *c)
{
	uint32_t id = ioas_id(c->space);
	int rc = vfio_device_open(c->vdev, c->ictx);

	return rc ? rc : vfio_device_attach(c->vdev, &id);
}

static void client_free(struct client *c)
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
static const char *logged(struct client *c)
{
	static char text[8192];
	const int fd = open(c->log, O_RDONLY);
	const ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);

	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	return text;
}

static unsigned lines(const char *text)
{
	unsigned count = 0;

	for (; *text; text++)
		count += *text == '\n';
	return count;
}

/* Until @value is at least @wanted; the test's own time limit is the bound. */
static void wait_for(const atomic_uint *value, unsigned wanted)
{
	const struct timespec pause = {.tv_nsec = 1000000};

	while (*value < wanted)
		nanosleep(&pause, NULL);
}

static uint64_t offset_of(struct client *c, uint32_t index)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	return info.offset;
}

static int set_irqs(struct client *c, uint32_t index, uint32_t start, uint32_t count,
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

static int feature(struct client *c, uint32_t flags, void *data, size_t size)
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

static int set_state(struct client *c, uint32_t state, int *fd)
{
	struct vfio_device_feature_mig_state mig = {.device_state = state, .data_fd = -1};
	const int rc = feature(c, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE,
			       &mig, sizeof(mig));

	*fd = mig.data_fd;
	return rc;
}

/* ---- honest ---- */

Test(user, a_device_is_opened_and_its_regions_are_read_and_written)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct vfio_device_info info = {.argsz = sizeof(info)};
	uint8_t bytes[256];
	uint32_t value = 0x12345678;
	uint8_t large[BAR0_SIZE];

	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_GET_INFO, &info), 0);
	cr_assert_eq(info.flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
	cr_assert_eq(vfio_device_read(c->vdev, bytes, 256, offset_of(c, 7)), 256);
	cr_assert_eq(bytes[0], 0xf4);
	cr_assert_eq(vfio_device_read(c->vdev, bytes, 4, offset_of(c, 7) + 254), -EFAULT);
	cr_assert_eq(vfio_device_write(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	value = 0;
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(value, 0x12345678);
	/* Cut at the end, in as many messages as the server's bound makes of it. */
	cr_assert_eq(vfio_device_read(c->vdev, large, sizeof(large), offset_of(c, 0) + 0x800),
		     0x800);
	cr_assert_eq(vfio_device_read(c->vdev, bytes, 4, offset_of(c, 0) + BAR0_SIZE), -EINVAL);
	cr_assert_eq(vfio_device_read(c->vdev, bytes, 4, offset_of(c, 1)), -EINVAL);
	cr_assert_eq(vfio_device_read(c->vdev, bytes, 4, UINT64_MAX / 2), -EINVAL);
	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL), 0);
	cr_assert_eq(s->resets, 1);
	client_free(c);
	cr_assert_eq(s->connections, 1);
	server_stop(s);
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

Test(user, a_closed_device_can_be_opened_again)
{
	unsigned open_files = 0;
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);

	for (unsigned i = 1; i <= 3; i++) {
		cr_assert_eq(client_open(c), 0);
		cr_assert_eq(s->connections, i);
		vfio_device_close(c->vdev);
		/* The server's side closes before ours is let go of. */
		if (i == 1)
			open_files = open_descriptors();
		cr_assert_eq(open_descriptors(), open_files);
	}
	cr_assert_eq(lines(logged(c)), 0, "%s", logged(c));
	client_free(c);
	server_stop(s);
}

Test(user, sparse_areas_are_mapped_and_nothing_else)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	uint8_t *where = mmap(NULL, BAR2_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t value = 0;
	uint64_t bar2;

	cr_assert_eq(client_open(c), 0);
	bar2 = offset_of(c, 2);
	cr_assert_eq(vfio_device_mmap(c->vdev, where, 0x1000, PROT_READ | PROT_WRITE, bar2), 0);
	cr_assert_eq(vfio_device_mmap(c->vdev, where + 0x2000, 0x1000, PROT_READ | PROT_WRITE,
				      bar2 + 0x2000),
		     0);
	cr_assert_eq(vfio_device_mmap(c->vdev, where, 0x1000, PROT_READ, bar2 + 0x1000), -EINVAL);
	cr_assert_eq(vfio_device_mmap(c->vdev, where, 0x2000, PROT_READ, bar2), -EINVAL);
	cr_assert_eq(vfio_device_mmap(c->vdev, where, 0x1000, PROT_READ, offset_of(c, 0)), -EINVAL);
	cr_assert_eq(vfio_device_mmap(c->vdev, where, 0x1000, PROT_READ, bar2 + BAR2_SIZE),
		     -EINVAL);
	where[0x2004] = 0x5a;
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, bar2 + 0x2004), 4);
	cr_assert_eq(value, 0x5a);
	munmap(where, BAR2_SIZE);
	client_free(c);
	server_stop(s);
}

/* Is region 2 to be mapped when its file is @fd, which is closed? By message it can be read all the same. */
static bool mappable_from(int fd)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct vfio_region_info *info = NULL;
	bool mappable;
	uint32_t value;

	cr_assert_geq(fd, 0);
	cr_assert_eq(dup2(fd, s->bar2), s->bar2);
	close(fd);
	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(vfio_device_region_info(c->vdev, 2, &info), 0);
	mappable = info->flags & VFIO_REGION_INFO_FLAG_MMAP;
	cr_assert_eq(info->cap_offset > 0, mappable);
	free(info);
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 2)), 4);
	client_free(c);
	server_stop(s);
	return mappable;
}

/* A page of others comes when their owner likes, or not at all: a guest's access would wait for it. */
Test(user, only_memory_of_small_pages_is_mapped)
{
	const int huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	const int small = memfd_create("small", MFD_CLOEXEC);
	const int disk = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	cr_assert_eq(ftruncate(small, BAR2_SIZE), 0);
	cr_assert(mappable_from(small));
	cr_assert_eq(ftruncate(huge, 2 << 20), 0);
	cr_assert(!mappable_from(huge));
	/* Unless the tests were built in memory. */
	if (fcntl(disk, F_GET_SEALS) < 0)
		cr_assert(!mappable_from(disk));
}

Test(user, guest_memory_is_mapped_by_descriptor_once_and_taken_away)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct ioas_area area = {.iova = 0x800000,
				 .length = 0x1000,
				 .fd = c->memfd,
				 .offset = 0x1000,
				 .hva = c->ram + 0x1000,
				 .rights = IOAS_READ};
	uint32_t id;

	cr_assert_eq(client_open(c), 0);
	id = ioas_id(c->space);
	cr_assert_eq(vfio_device_attach(c->vdev, &id), 0);
	cr_assert_eq(s->map_count, 1);
	cr_assert_eq(s->maps[0].map.addr, RAM_IOVA);
	cr_assert_eq(s->maps[0].map.flags, 3);
	cr_assert(s->maps[0].fd >= 0);
	cr_assert_eq(ioas_map(c->space, &area), 0);
	cr_assert_eq(s->map_count, 2);
	cr_assert_eq(s->maps[1].map.flags, 1);
	cr_assert_eq(s->maps[1].map.offset, 0x1000);
	/* A device's memory is nothing that a server can map; the rest of the VM has it all the same. */
	area.iova = 0x900000;
	area.peer = true;
	area.hva = NULL;
	cr_assert_eq(ioas_map(c->space, &area), 0);
	cr_assert_eq(s->map_count, 2);
	cr_assert_eq(ioas_unmap(c->space, 0x800000, 0x1000), 0);
	cr_assert_eq(s->map_count, 1);
	vfio_device_dma_unmap(c->vdev, RAM_IOVA, 1);
	cr_assert_eq(s->map_count, 0);
	cr_assert_eq(vfio_device_detach(c->vdev), 0);
	client_free(c);
	server_stop(s);
}

#define LARGE (4ull << 30)

/* One that pins: answers, but late. */
static bool late_map(struct user_server *s, struct user_message *m)
{
	const struct timespec two_seconds = {.tv_sec = 2};
	struct vfio_user_dma_map map;

	memcpy(&map, m->body, sizeof(map));
	if (m->header.command != VFIO_USER_DMA_MAP || map.size < LARGE)
		return false;
	s->hook_at++;
	nanosleep(&two_seconds, NULL);
	return false;
}

Test(user, a_server_has_time_to_pin_large_memory, .timeout = 60)
{
	static const char *const keys[] = {"timeout", "1", NULL};
	struct user_server *s = server_start();
	struct client *c = client_new(s, keys);
	const int fd = memfd_create("large", MFD_CLOEXEC);
	struct ioas_area area = {
		.iova = RAM_IOVA + LARGE, .length = LARGE, .fd = fd, .rights = IOAS_READ};

	s->hook = late_map;
	cr_assert_eq(ftruncate(fd, LARGE), 0);
	area.hva = mmap(NULL, LARGE, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	cr_assert_neq(area.hva, MAP_FAILED);
	cr_assert_eq(ioas_map(c->space, &area), 0);
	cr_assert_eq(client_open(c), 0, "%s", logged(c));
	cr_assert_eq(s->hook_at, 1, "it was late");
	cr_assert_eq(s->map_count, 2);
	cr_assert_str_eq(logged(c), "");
	cr_assert_eq(vfio_device_detach(c->vdev), 0);
	cr_assert_eq(ioas_unmap(c->space, area.iova, LARGE), 0);
	munmap(area.hva, LARGE);
	close(fd);
	client_free(c);
	server_stop(s);
}

Test(user, dma_by_message_is_served_while_a_reply_is_awaited)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	uint64_t iova = RAM_IOVA, beyond = RAM_IOVA + RAM_SIZE;

	cr_assert_eq(client_open(c), 0);
	memset(c->ram, 0x77, 64);
	cr_assert_eq(vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY), 8);
	cr_assert_eq(memcmp(c->ram, c->ram + 0x1000, 64), 0);
	/* What is not mapped is refused, and the device lives on. */
	cr_assert_eq(vfio_device_write(c->vdev, &beyond, 8, offset_of(c, 0) + DMA_COPY), -EFAULT);
	cr_assert_eq(vfio_device_detach(c->vdev), 0);
	cr_assert_eq(vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY), -EFAULT);
	client_free(c);
	server_stop(s);
}

Test(user, vectors_go_to_the_server_in_runs)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	int32_t fds[SERVER_VECTORS];
	eventfd_t value;

	for (unsigned i = 0; i < SERVER_VECTORS; i++)
		fds[i] = i % 7 == 3 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, SERVER_VECTORS, fds), 0);
	/* The server signals what it has; each must come by the eventfd of its own vector. */
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, SERVER_VECTORS, NULL), 0);
	for (unsigned i = 0; i < SERVER_VECTORS; i++) {
		if (fds[i] < 0)
			continue;
		cr_assert_eq(eventfd_read(fds[i], &value), 0, "vector %u", i);
		cr_assert_eq(value, 1);
	}
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, NULL), 0);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 5, 1, NULL), 0);
	if (fds[5] >= 0)
		cr_assert_eq(eventfd_read(fds[5], &value), -1);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, SERVER_VECTORS, 1, fds), -EINVAL);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSI_IRQ_INDEX, 0, 1, fds), -EINVAL);
	client_free(c);
	server_stop(s);
	for (unsigned i = 0; i < SERVER_VECTORS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

Test(user, vectors_that_fail_at_first_are_off)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	int32_t fds[SERVER_VECTORS];

	for (unsigned i = 0; i < SERVER_VECTORS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	cr_assert_eq(client_open(c), 0);
	/* The last is none: what went before it in other messages is undone, and the index is off. */
	close(fds[SERVER_VECTORS - 1]);
	fds[SERVER_VECTORS - 1] = 1 << 28;
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, SERVER_VECTORS, fds), -EBADF);
	cr_assert_eq(s->vectors_off, 1);
	/* When it is on, only what failed is undone. */
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, fds), 0);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, SERVER_VECTORS - 1, 1,
			      fds + SERVER_VECTORS - 1),
		     -EBADF);
	cr_assert_eq(s->vectors_off, 1);
	client_free(c);
	server_stop(s);
	for (unsigned i = 0; i < SERVER_VECTORS - 1; i++)
		close(fds[i]);
}

Test(user, a_request_of_the_server_reaches_the_owner)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);

	cr_assert_eq(client_open(c), 0);
	cr_assert(s->req_fd >= 0);
	eventfd_write(s->req_fd, 1);
	wait_for(&c->requests, 1);
	client_free(c);
	server_stop(s);
}

/* A server that signals without end is told to the owner each time, and to the log once. */
Test(user, an_error_of_the_device_is_said_once)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);

	cr_assert_eq(client_open(c), 0);
	cr_assert(s->err_fd >= 0);
	for (unsigned i = 1; i <= 3; i++) {
		eventfd_write(s->err_fd, 1);
		wait_for(&c->errors, i);
	}
	cr_assert_eq(lines(logged(c)), 1, "%s", logged(c));
	client_free(c);
	server_stop(s);
}

Test(user, doorbells_are_told)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct vfio_region_ioeventfd list[4];
	uint32_t count = 4;
	eventfd_t value;

	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(vfio_device_region_ioeventfds(c->vdev, 0, list, &count), 0);
	cr_assert_eq(count, 2);
	cr_assert_eq(list[0].offset, DOORBELL);
	cr_assert_eq(list[0].size, 4);
	cr_assert(!list[0].match);
	cr_assert(list[1].match);
	cr_assert_eq(list[1].datamatch, 7);
	eventfd_write(list[0].fd, 1);
	cr_assert_eq(eventfd_read(s->doorbell, &value), 0);
	count = 4;
	cr_assert_eq(vfio_device_region_ioeventfds(c->vdev, 2, list, &count), 0);
	cr_assert_eq(count, 0);
	client_free(c);
	server_stop(s);
}

/* Whoever rings rings the present eventfd of the server. */
static void first_bell_reaches(struct client *c, struct user_server *s)
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

Test(user, doorbells_are_asked_for_anew_after_a_reset)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	int old;

	cr_assert_eq(client_open(c), 0);
	first_bell_reaches(c, s);
	old = s->doorbell;
	s->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	close(old);
	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL), 0);
	first_bell_reaches(c, s);
	client_free(c);
	server_stop(s);
}

Test(user, the_state_of_a_device_is_read_and_written)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct vfio_precopy_info precopy = {.argsz = sizeof(precopy)};
	static uint8_t state[SERVER_STATE + 1];
	size_t done = 0;
	ssize_t n;
	int fd, none;

	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(c->vdev->migration_flags, VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY);
	cr_assert_eq(set_state(c, VFIO_DEVICE_STATE_PRE_COPY, &fd), 0);
	cr_assert(fd >= 0);
	cr_assert_eq(vfio_device_mig_precopy_info(c->vdev, fd, &precopy), 0);
	cr_assert_eq(precopy.initial_bytes, 4096);
	while ((n = vfio_device_mig_read(c->vdev, fd, state + done, 3000)) > 0)
		done += (size_t)n;
	cr_assert_eq(n, -ENOMSG);
	cr_assert_eq(done, SERVER_STATE);
	for (size_t i = 0; i < done; i++)
		cr_assert_eq(state[i], (uint8_t)i);
	cr_assert_eq(set_state(c, VFIO_DEVICE_STATE_STOP_COPY, &none), 0);
	cr_assert_eq(none, -1);
	done = 0;
	while ((n = vfio_device_mig_read(c->vdev, fd, state + done, sizeof(state) - done)) > 0)
		done += (size_t)n;
	cr_assert_eq(n, 0);
	cr_assert_eq(done, SERVER_STATE);
	cr_assert_eq(set_state(c, VFIO_DEVICE_STATE_STOP, &none), 0);
	cr_assert_eq(vfio_device_mig_read(c->vdev, fd, state, 1), -ENODEV);
	close(fd);

	cr_assert_eq(set_state(c, VFIO_DEVICE_STATE_RESUMING, &fd), 0);
	done = 0;
	while (done < SERVER_STATE) {
		n = vfio_device_mig_write(c->vdev, fd, state + done, SERVER_STATE - done);
		cr_assert_gt(n, 0);
		done += (size_t)n;
	}
	cr_assert_eq(s->received, SERVER_STATE);
	/* Closed while it is stopped: no command but the end of the connection. */
	client_free(c);
	close(fd);
	server_stop(s);
}

Test(user, the_log_has_what_the_server_wrote_and_what_was_written_for_it)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct vfio_device_feature_dma_logging_range range = {RAM_IOVA, RAM_SIZE};
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range};
	uint64_t bitmap = 0, iova = RAM_IOVA + 0x6000;
	struct vfio_device_feature_dma_logging_report report = {
		.iova = RAM_IOVA,
		.length = RAM_SIZE / 2,
		.page_size = 4096,
		.bitmap = (uintptr_t)&bitmap,
	};
	const uint32_t get = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;

	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(feature(c, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			     &control, sizeof(control)),
		     0);
	cr_assert_eq(vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY), 8);
	iova += 0x2000;
	cr_assert_eq(vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY), 8);
	/* The first half, of a server that reports whole maps only. */
	cr_assert_eq(feature(c, get, &report, sizeof(report)), 0);
	cr_assert_eq(bitmap, 1u << 1 | 1u << 7, "%#llx", (unsigned long long)bitmap);
	bitmap = 0;
	report.iova += RAM_SIZE / 2;
	cr_assert_eq(feature(c, get, &report, sizeof(report)), 0);
	cr_assert_eq(bitmap, 1u << 1, "%#llx", (unsigned long long)bitmap);
	cr_assert_eq(
		feature(c, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0),
		0);
	client_free(c);
	server_stop(s);
}

/* Pages of 2^62 bytes, and any report is one of no writes. */
static bool huge_log_pages(struct user_server *s, struct user_message *m)
{
	const struct vfio_user_feature *feature = (const void *)m->body;
	const uint32_t number = feature->flags & VFIO_DEVICE_FEATURE_MASK;
	struct vfio_user_logging_control control = {.page_size = 1ull << 62, .num_ranges = 1};
	uint8_t body[256] = {0};

	if (m->header.command != VFIO_USER_DEVICE_FEATURE ||
	    feature->flags & VFIO_DEVICE_FEATURE_PROBE)
		return false;
	memcpy(body, m->body, m->size < sizeof(body) ? m->size : sizeof(body));
	if (number == VFIO_DEVICE_FEATURE_DMA_LOGGING_START)
		memcpy(body + sizeof(*feature), &control, sizeof(control));
	else if (number != VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT)
		return false;
	server_reply(s, m, body, sizeof(body));
	return true;
}

Test(user, a_log_of_pages_of_any_size_is_read_to_its_end, .timeout = 60)
{
	static const char *const versions[] = {
		NULL, "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1}}"};

	for (unsigned i = 0; i < 2; i++) {
		struct user_server *s = server_start();
		struct client *c = client_new(s, NULL);
		struct vfio_device_feature_dma_logging_range range = {RAM_IOVA, RAM_SIZE};
		struct vfio_device_feature_dma_logging_control control = {
			.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range};
		uint64_t bitmap = 0;
		struct vfio_device_feature_dma_logging_report report = {
			.iova = RAM_IOVA,
			.length = RAM_SIZE,
			.page_size = 4096,
			.bitmap = (uintptr_t)&bitmap,
		};

		s->version = versions[i];
		s->hook = huge_log_pages;
		cr_assert_eq(client_open(c), 0);
		cr_assert_eq(
			feature(c, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
				&control, sizeof(control)),
			0);
		cr_assert_eq(
			feature(c, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
				&report, sizeof(report)),
			0);
		cr_assert_eq(bitmap, 0);
		client_free(c);
		server_stop(s);
	}
}

static bool no_extended(struct user_server *s, struct user_message *m)
{
	/* As the rust-vmm server: what it does not know, it does not survive. */
	if (m->header.command == VFIO_USER_DEVICE_GET_REGION_IO_FDS || m->header.command > 13) {
		server_hang_up(s);
		return true;
	}
	return false;
}

Test(user, a_server_of_version_0_0_is_asked_for_nothing_that_it_may_not_know)
{
	struct user_server *s = server_start();
	struct client *c;
	int32_t fd = eventfd(0, EFD_CLOEXEC);

	s->hook = no_extended;
	s->minor = 0;
	s->max_msg_fds = 1;
	c = client_new(s, NULL);
	cr_assert_eq(client_open(c), 0);
	cr_assert_null(c->vdev->mig_ops);
	cr_assert_null(c->vdev->log_ops);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, &fd), 0);
	cr_assert_eq(feature(c,
			     VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_GET |
				     VFIO_DEVICE_FEATURE_BUS_MASTER,
			     NULL, 0),
		     -ENOTTY);
	cr_assert_eq(c->gone, 0);
	client_free(c);
	server_stop(s);
	close(fd);
}

Test(user, posted_writes_wait_for_nothing_and_keep_their_order)
{
	static const char *const keys[] = {"posted-writes", "on", "commands", "basic", NULL};
	static const char *const reconnect[] = {"posted-writes", "on", "commands", "basic",
						"reconnect",     "on", NULL};
	struct user_server *s = server_start();
	struct client *c = client_new(s, keys);
	uint32_t value = 0;

	/* BAR 2 can be mapped: a store there could overtake. */
	cr_assert_eq(client_open(c), 0);
	cr_assert_not_null(strstr(logged(c), "no effect"));
	cr_assert_eq(vfio_device_write(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(s->posted, 0);
	client_free(c);

	c = client_new(s, reconnect);
	cr_assert_eq(client_open(c), 0);
	for (uint32_t i = 1; i <= 100; i++)
		cr_assert_eq(vfio_device_write(c->vdev, &i, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(value, 100);
	cr_assert_eq(s->posted, 100);
	client_free(c);
	server_stop(s);
}

/* ---- keys ---- */

Test(user, wrong_keys_are_refused_by_name)
{
	static const char *const bad[][3] = {
		{"timeout", "0", "timeout takes"},
		{"timeout", NULL, "timeout takes"},
		{"timeout", "1s", "timeout takes"},
		{"timeout", "99999", "timeout takes"},
		{"reconnect", "yes", "reconnect takes"},
		{"posted-writes", "1", "posted-writes takes"},
		{"commands", "some", "commands takes"},
		{"colour", "red", "unknown key \"colour\""},
	};
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vfio_key key = {(char *)(uintptr_t)bad[i][0], (char *)(uintptr_t)bad[i][1]};
		const struct vfio_config config = {
			.name = c->name, .fd = -1, .keys = &key, .key_count = 1};
		struct vfio_provider_env env = {.ictx = c->ictx};
		struct vfio_device *vdev;

		cr_assert_eq(provider()->create(&env, &config, &vdev), -EINVAL);
		cr_assert_not_null(strstr(logged(c), bad[i][2]), "%s", logged(c));
	}
	client_free(c);
	server_stop(s);
}

Test(user, where_nobody_listens_it_says_so)
{
	struct user_server *s = server_new();
	struct client *c = client_new(s, NULL);

	close(s->listener);
	cr_assert_eq(client_open(c), -ECONNREFUSED);
	cr_assert_not_null(strstr(logged(c), "nobody listens"));
	unlink(s->path);
	cr_assert_eq(client_open(c), -ENOENT);
	cr_assert_not_null(strstr(logged(c), "start the server first"));
	cr_assert_eq(lines(logged(c)), 2);
	server_listen(s);
	client_free(c);
	server_free(s);
}

/* ---- lies ---- */

/* The answer to one command is spoilt by hook_kind, as the table says. */
struct lie {
	const char *name;
	uint16_t command;
	int expected; /* of the open; 0: the operation behind it fails */
	const char *says;
	void (*tell)(struct user_server *s, struct user_message *m);
};

#define LIE(name) static void name(struct user_server *s, struct user_message *m)

LIE(wrong_id)
{
	m->header.msg_id++;
	server_answer(s, m);
}

LIE(wrong_command)
{
	m->header.command = 99;
	server_reply(s, m, NULL, 0);
}

LIE(empty)
{
	server_reply(s, m, NULL, 0);
}

LIE(huge)
{
	const struct vfio_user_header header = {.msg_id = m->header.msg_id,
						.command = m->header.command,
						.msg_size = UINT32_MAX,
						.flags = VFIO_USER_FLAGS_REPLY};

	server_send(s, &header, NULL, 0, NULL, 0);
}

LIE(tiny)
{
	const struct vfio_user_header header = {.msg_id = m->header.msg_id,
						.command = m->header.command,
						.msg_size = 3,
						.flags = VFIO_USER_FLAGS_REPLY};

	server_send(s, &header, NULL, 0, NULL, 0);
}

LIE(half)
{
	const struct vfio_user_header header = {.msg_id = m->header.msg_id,
						.command = m->header.command,
						.msg_size = 32,
						.flags = VFIO_USER_FLAGS_REPLY};

	server_send(s, &header, "1234", 4, NULL, 0);
}

LIE(silence)
{
	(void)s, (void)m;
}

LIE(hang_up)
{
	(void)m;
	server_hang_up(s);
}

LIE(refusal)
{
	server_error(s, m, EPERM);
}

LIE(refusal_of_errno_0)
{
	server_error(s, m, 0);
}

LIE(refusal_of_any_errno)
{
	server_error(s, m, 123456789);
}

LIE(too_many_descriptors)
{
	int fds[20];

	for (unsigned i = 0; i < 20; i++)
		fds[i] = s->bar2;
	server_reply_fds(s, m, m->body, m->size, fds, 20);
}

LIE(flood)
{
	const struct vfio_user_header header = {.command = VFIO_USER_DMA_READ,
						.msg_size = sizeof(header) + 16};
	const struct vfio_user_dma_access access = {0, 8};

	(void)m;
	for (unsigned i = 0; i < 200000; i++)
		server_send(s, &header, &access, sizeof(access), NULL, 0);
	server_hang_up(s);
}

static void version(struct user_server *s, struct user_message *m, uint16_t major, uint16_t minor,
		    const char *text, size_t length)
{
	uint8_t body[5000] = {0};
	const struct vfio_user_version_header head = {major, minor};

	memcpy(body, &head, sizeof(head));
	memcpy(body + sizeof(head), text, length);
	server_reply(s, m, body, sizeof(head) + length);
}

LIE(major_1)
{
	version(s, m, 1, 0, "{}", 3);
}

LIE(minor_9)
{
	version(s, m, 0, 9, "{}", 3);
}

LIE(not_terminated)
{
	version(s, m, 0, 0, "{}", 2);
}

LIE(no_json)
{
	version(s, m, 0, 0, "{\"capa", 7);
}

LIE(no_descriptors)
{
	const char *text = "{\"capabilities\":{\"max_msg_fds\":0}}";

	version(s, m, 0, 0, text, strlen(text) + 1);
}

static void info(struct user_server *s, struct user_message *m, uint32_t argsz, uint32_t flags,
		 uint32_t regions, uint32_t irqs)
{
	const struct vfio_user_device_info reply = {argsz, flags, regions, irqs};

	server_reply(s, m, &reply, sizeof(reply));
}

LIE(argsz_0)
{
	info(s, m, 0, 3, 9, 5);
}

LIE(million_regions)
{
	info(s, m, 16, 3, 1000000, 5);
}

LIE(million_irqs)
{
	info(s, m, 16, 3, 9, 1000000);
}

LIE(few_regions)
{
	info(s, m, 16, 3, 2, 5);
}

/* A lie about region @index; all others are told as they are. */
static void region(struct user_server *s, struct user_message *m, uint32_t index,
		   const struct vfio_region_info *told, const void *caps, size_t caps_size, int fd)
{
	struct vfio_region_info asked;
	uint8_t body[4096];

	memcpy(&asked, m->body, sizeof(asked));
	if (asked.index != index) {
		server_answer(s, m);
		return;
	}
	memcpy(body, told, sizeof(*told));
	if (caps_size)
		memcpy(body + sizeof(*told), caps, caps_size);
	server_reply_fds(s, m, body, sizeof(*told) + caps_size, &fd, fd >= 0);
}

LIE(odd_bar)
{
	const struct vfio_region_info told = {.argsz = 32, .flags = 3, .index = 1, .size = 0x3000};

	region(s, m, 1, &told, NULL, 0, -1);
}

LIE(endless_bar)
{
	const struct vfio_region_info told = {
		.argsz = 32, .flags = 3, .index = 1, .size = 1ull << 63};

	region(s, m, 1, &told, NULL, 0, -1);
}

LIE(odd_config)
{
	const struct vfio_region_info told = {.argsz = 32, .flags = 3, .index = 7, .size = 8192};

	region(s, m, 7, &told, NULL, 0, -1);
}

LIE(no_config)
{
	struct vfio_region_info asked;

	memcpy(&asked, m->body, sizeof(asked));
	if (asked.index == 7)
		server_error(s, m, EINVAL);
	else
		server_answer(s, m);
}

LIE(other_index)
{
	const struct vfio_region_info told = {.argsz = 32, .flags = 3, .index = 5, .size = 0x1000};

	region(s, m, 1, &told, NULL, 0, -1);
}

LIE(mappable_without_descriptor)
{
	const struct vfio_region_info told = {.argsz = 32, .flags = 7, .index = 1, .size = 0x1000};

	region(s, m, 1, &told, NULL, 0, -1);
}

LIE(short_file)
{
	const struct vfio_region_info told = {.argsz = 32, .flags = 7, .index = 1, .size = 0x8000};

	region(s, m, 1, &told, NULL, 0, s->bar2);
}

LIE(file_offset_beyond)
{
	const struct vfio_region_info told = {
		.argsz = 32, .flags = 7, .index = 1, .size = 0x1000, .offset = UINT64_MAX - 0xfff};

	region(s, m, 1, &told, NULL, 0, s->bar2);
}

LIE(greedy_argsz)
{
	const struct vfio_region_info told = {
		.argsz = UINT32_MAX, .flags = 15, .index = 1, .size = 0x4000};

	region(s, m, 1, &told, NULL, 0, s->bar2);
}

LIE(growing_argsz)
{
	struct vfio_region_info asked, told = {.flags = 15, .index = 1, .size = 0x4000};

	memcpy(&asked, m->body, sizeof(asked));
	told.argsz = asked.argsz + 8;
	region(s, m, 1, &told, NULL, 0, s->bar2);
}

/* Region 1 of 16 KiB with these capabilities, which begin at 32. */
static void caps(struct user_server *s, struct user_message *m, uint32_t cap_offset,
		 const void *bytes, size_t size)
{
	const struct vfio_region_info told = {.argsz = (uint32_t)(32 + size),
					      .flags = 15,
					      .index = 1,
					      .cap_offset = cap_offset,
					      .size = 0x4000};

	region(s, m, 1, &told, bytes, size, s->bar2);
}

struct sparse {
	struct vfio_region_info_cap_sparse_mmap head;
	struct vfio_region_sparse_mmap_area areas[2];
};

static void sparse(struct user_server *s, struct user_message *m, uint32_t count, uint64_t a,
		   uint64_t a_size, uint64_t b, uint64_t b_size)
{
	const struct sparse cap = {
		.head = {.header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1},
			 .nr_areas = count},
		.areas = {{a, a_size}, {b, b_size}},
	};

	caps(s, m, 32, &cap, sizeof(cap));
}

LIE(overlapping_areas)
{
	sparse(s, m, 2, 0, 0x2000, 0x1000, 0x1000);
}

LIE(area_outside)
{
	sparse(s, m, 2, 0, 0x1000, 0x4000, 0x1000);
}

LIE(area_that_wraps)
{
	sparse(s, m, 2, 0, 0x1000, 0x1000, UINT64_MAX - 0xfff);
}

LIE(area_of_nothing)
{
	sparse(s, m, 2, 0, 0, 0x1000, 0x1000);
}

LIE(area_of_bytes)
{
	sparse(s, m, 2, 0, 0x800, 0x1000, 0x1000);
}

LIE(million_areas)
{
	sparse(s, m, 1000000, 0, 0x1000, 0x1000, 0x1000);
}

LIE(chain_outside)
{
	const struct vfio_info_cap_header header = {.id = 1, .version = 1};

	caps(s, m, 100000, &header, sizeof(header));
}

LIE(chain_in_a_circle)
{
	const struct vfio_info_cap_header header = {.id = 1, .version = 1, .next = 32};

	caps(s, m, 32, &header, sizeof(header));
}

LIE(million_vectors)
{
	struct vfio_irq_info told;

	memcpy(&told, m->body, sizeof(told));
	told.count = 1000000;
	server_reply(s, m, &told, sizeof(told));
}

LIE(other_irq)
{
	struct vfio_irq_info told;

	memcpy(&told, m->body, sizeof(told));
	told.index++;
	server_reply(s, m, &told, sizeof(told));
}

LIE(wrong_fd_index)
{
	struct {
		struct vfio_user_region_io_fds head;
		struct vfio_user_sub_region sub;
	} told = {{.argsz = 56, .count = 1}, {.size = 4, .fd_index = 9}};
	const struct vfio_user_region_io_fds *asked = (const void *)m->body;

	told.head.index = asked->index;
	if (asked->argsz < sizeof(told))
		server_reply(s, m, &told.head, sizeof(told.head));
	else
		server_reply_fds(s, m, &told, sizeof(told), &s->doorbell, 1);
}

LIE(count_too_large)
{
	struct vfio_user_region_access told;
	uint8_t body[64] = {0};

	memcpy(&told, m->body, sizeof(told));
	told.count += 4;
	memcpy(body, &told, sizeof(told));
	server_reply(s, m, body, sizeof(told) + told.count);
}

LIE(count_without_data)
{
	server_reply(s, m, m->body, sizeof(struct vfio_user_region_access));
}

LIE(descriptor_for_nothing)
{
	struct vfio_user_region_access told;
	uint8_t body[64] = {0};

	memcpy(&told, m->body, sizeof(told));
	memcpy(body, &told, sizeof(told));
	server_reply_fds(s, m, body, sizeof(told) + told.count, &s->bar2, 1);
}

LIE(nobody_asked)
{
	const struct vfio_user_header header = {.msg_id = 4711,
						.command = VFIO_USER_DMA_MAP,
						.msg_size = sizeof(header),
						.flags = VFIO_USER_FLAGS_REPLY};

	server_send(s, &header, NULL, 0, NULL, 0);
	server_answer(s, m);
}

static const struct lie lies[] = {
	{"wrong id", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", wrong_id},
	{"wrong command", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", wrong_command},
	{"empty", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", empty},
	{"huge", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", huge},
	{"tiny", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", tiny},
	{"half", VFIO_USER_VERSION, -ENODEV, "VERSION", half},
	{"silence", VFIO_USER_VERSION, -ENODEV, "did not answer VERSION within 1 s", silence},
	{"hang up", VFIO_USER_VERSION, -ENODEV, "ended the connection", hang_up},
	{"refusal", VFIO_USER_VERSION, -EPERM, "refuses version", refusal},
	{"major", VFIO_USER_VERSION, -EPROTO, "answers version 1.0", major_1},
	{"minor", VFIO_USER_VERSION, -EPROTO, "answers version 0.9", minor_9},
	{"text", VFIO_USER_VERSION, -EPROTO, "cannot be read", not_terminated},
	{"json", VFIO_USER_VERSION, -EPROTO, "cannot be read", no_json},
	{"no fds", VFIO_USER_VERSION, -EPROTO, "cannot be read", no_descriptors},
	{"20 fds", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", too_many_descriptors},
	{"flood", VFIO_USER_VERSION, -ENODEV, "", flood},

	{"info empty", VFIO_USER_DEVICE_GET_INFO, -ENODEV, "no answer to DEVICE_GET_INFO", empty},
	{"info argsz", VFIO_USER_DEVICE_GET_INFO, -ENODEV, "no answer to DEVICE_GET_INFO", argsz_0},
	{"info regions", VFIO_USER_DEVICE_GET_INFO, -EPROTO, "1000000 regions", million_regions},
	{"info irqs", VFIO_USER_DEVICE_GET_INFO, -EPROTO, "1000000 kinds", million_irqs},
	{"info few", VFIO_USER_DEVICE_GET_INFO, -EPROTO, "2 regions", few_regions},
	{"info errno", VFIO_USER_DEVICE_GET_INFO, -EIO, "does not say", refusal_of_errno_0},
	{"info odd errno", VFIO_USER_DEVICE_GET_INFO, -EIO, "does not say", refusal_of_any_errno},
	{"info hang up", VFIO_USER_DEVICE_GET_INFO, -ENODEV, "ended the connection", hang_up},

	{"region empty", VFIO_USER_DEVICE_GET_REGION_INFO, -ENODEV, "no answer", empty},
	{"region odd", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "no power of two", odd_bar},
	{"region endless", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "larger", endless_bar},
	{"region config", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "configuration", odd_config},
	{"region no config", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "configuration", no_config},
	{"region index", VFIO_USER_DEVICE_GET_REGION_INFO, -ENODEV, "no answer", other_index},
	{"region no fd", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "without a descriptor",
	 mappable_without_descriptor},
	{"region file", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "longer than the file",
	 short_file},
	{"region offset", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "longer than the file",
	 file_offset_beyond},
	{"region argsz", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "more capabilities",
	 greedy_argsz},
	{"region grows", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "more room", growing_argsz},
	{"sparse overlap", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "overlap", overlapping_areas},
	{"sparse outside", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "outside", area_outside},
	{"sparse wraps", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "outside", area_that_wraps},
	{"sparse nothing", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "pages", area_of_nothing},
	{"sparse bytes", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "pages", area_of_bytes},
	{"sparse million", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "than fit", million_areas},
	{"chain outside", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "leads nowhere",
	 chain_outside},
	{"chain circle", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "leads nowhere",
	 chain_in_a_circle},
	{"irq vectors", VFIO_USER_DEVICE_GET_IRQ_INFO, -EPROTO, "1000000 vectors", million_vectors},
	{"irq index", VFIO_USER_DEVICE_GET_IRQ_INFO, -ENODEV, "no answer", other_irq},
	{"io fds index", VFIO_USER_DEVICE_GET_REGION_IO_FDS, -ENODEV, "no answer", wrong_fd_index},
	{"feature hang up", VFIO_USER_DEVICE_FEATURE, -ENODEV, "ended the connection", hang_up},
	{"map refused", VFIO_USER_DMA_MAP, -EPERM, "does not take the guest's memory", refusal},
	{"map hang up", VFIO_USER_DMA_MAP, -ENODEV, "ended the connection", hang_up},

	{"read empty", VFIO_USER_REGION_READ, 0, "no answer to REGION_READ", empty},
	{"read count", VFIO_USER_REGION_READ, 0, "no answer to REGION_READ", count_too_large},
	{"read no data", VFIO_USER_REGION_READ, 0, "no answer to REGION_READ", count_without_data},
	{"read fd", VFIO_USER_REGION_READ, 0, "no answer to REGION_READ", descriptor_for_nothing},
	{"read unasked", VFIO_USER_REGION_READ, 0, "no answer", nobody_asked},
	{"read silence", VFIO_USER_REGION_READ, 0, "did not answer REGION_READ", silence},
	{"read flood", VFIO_USER_REGION_READ, 0, "", flood},
};

static bool tell(struct user_server *s, struct user_message *m)
{
	const struct lie *lie = &lies[s->hook_kind];

	if (m->header.command != lie->command)
		return false;
	lie->tell(s, m);
	return true;
}

Test(user_lies, each_is_refused_with_one_message_and_harms_nothing, .timeout = 120)
{
	static const char *const keys[] = {"timeout", "1", NULL};
	uint32_t value;

	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct user_server *s = server_start();
		struct client *c;
		int rc;

		s->hook = tell;
		s->hook_kind = i;
		c = client_new(s, keys);
		rc = client_open(c);
		cr_assert_eq(rc, lies[i].expected, "%s: %d", lies[i].name, rc);
		if (!rc) {
			/* An answer that came along with the lie is one. */
			while (vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)) != -ENODEV)
				cr_assert_eq(lies[i].tell, nobody_asked, "%s", lies[i].name);
			wait_for(&c->gone, 1);
			cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)),
				     -ENODEV);
		}
		cr_assert_not_null(strstr(logged(c), lies[i].says), "%s: %s", lies[i].name,
				   logged(c));
		cr_assert_eq(lines(logged(c)), 1, "%s: %s", lies[i].name, logged(c));
		client_free(c);
		server_stop(s);
	}
}

/* ---- death at every message ---- */

static bool die_at(struct user_server *s, struct user_message *m)
{
	(void)m;
	if (s->messages != s->hook_at)
		return false;
	server_hang_up(s);
	return true;
}

/* Everything that a device is asked in its life; failures are no matter here. */
static void whole_life(struct client *c)
{
	struct vfio_device_feature_dma_logging_range range = {RAM_IOVA, RAM_SIZE};
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range};
	uint64_t bitmap = 0, iova = RAM_IOVA;
	struct vfio_device_feature_dma_logging_report report = {
		.iova = RAM_IOVA,
		.length = RAM_SIZE,
		.page_size = 4096,
		.bitmap = (uintptr_t)&bitmap,
	};
	int32_t fds[8];
	uint8_t bytes[64];
	int fd = -1, none = -1;

	for (unsigned i = 0; i < 8; i++)
		fds[i] = i == 5 ? -1 : eventfd(0, EFD_CLOEXEC);
	if (!client_open(c)) {
		vfio_device_read(c->vdev, bytes, 64, offset_of(c, 7));
		vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY);
		set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, 8, fds);
		feature(c, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			&control, sizeof(control));
		feature(c, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
			&report, sizeof(report));
		set_state(c, VFIO_DEVICE_STATE_STOP_COPY, &fd);
		vfio_device_mig_read(c->vdev, fd, bytes, sizeof(bytes));
		set_state(c, VFIO_DEVICE_STATE_RUNNING, &none);
		vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL);
		set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, NULL);
	}
	if (fd >= 0)
		close(fd);
	for (unsigned i = 0; i < 8; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

Test(user_lies, a_server_that_dies_at_any_message_is_said_once, .timeout = 120)
{
	unsigned messages = 0;

	/* How many there are, of a server that lives: more than a dozen, and it does not end early. */
	for (unsigned at = 1; at <= messages + 1; at++) {
		struct user_server *s = server_start();
		struct client *c = client_new(s, NULL);
		const bool lives = at == 1;

		s->hook = die_at;
		s->hook_at = lives ? UINT32_MAX : at - 1;
		whole_life(c);
		if (lives)
			messages = s->messages;
		cr_assert_gt(messages, 30, "%u", messages);
		cr_assert_eq(lines(logged(c)), lives ? 0 : 1, "at %u: %s", at - 1, logged(c));
		client_free(c);
		server_stop(s);
	}
}

/* ---- another server ---- */

static bool die_now(struct user_server *s, struct user_message *m)
{
	if (m->header.command != VFIO_USER_REGION_READ)
		return false;
	s->hook = NULL;
	server_hang_up(s);
	return true;
}

Test(user_reconnect, another_server_takes_over_at_a_reset)
{
	static const char *const keys[] = {"reconnect", NULL, NULL, NULL};
	struct user_server *s = server_start();
	struct client *c = client_new(s, keys);
	struct vfio_region_info info = {.argsz = sizeof(info), .index = 2};
	struct ioas_area area = {.iova = 0x800000,
				 .length = 0x1000,
				 .fd = c->memfd,
				 .hva = c->ram,
				 .rights = IOAS_READ};
	uint64_t iova = RAM_IOVA;
	uint32_t value;

	s->hook = die_now;
	cr_assert_eq(client_open(c), 0);
	/* A mapping would go on to show the memory of the server that is gone. */
	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	cr_assert(!(info.flags & VFIO_REGION_INFO_FLAG_MMAP));
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)), -EAGAIN);
	wait_for(&c->revoked, 1);
	cr_assert_eq(c->gone, 0);
	/* What changes meanwhile the next server is told. */
	cr_assert_eq(ioas_map(c->space, &area), 0);
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)), -EAGAIN);
	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL), 0);
	cr_assert_eq(s->connections, 2);
	cr_assert_eq(s->resets, 1);
	cr_assert_eq(s->map_count, 2);
	cr_assert(s->req_fd >= 0);
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)), 4);
	memset(c->ram, 0x33, 64);
	cr_assert_eq(vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY), 8);
	cr_assert_eq(c->ram[0x1000], 0x33);
	first_bell_reaches(c, s);
	client_free(c);
	server_stop(s);
}

/* A guest that resets and resets, and nobody listens: one line for the server's end, one for each time that it is away. */
Test(user_reconnect, that_nobody_listens_is_said_once)
{
	static const char *const keys[] = {"reconnect", NULL, NULL, NULL};
	struct user_server *s = server_start();
	struct client *c = client_new(s, keys);
	char away[sizeof(s->path) + 5];
	uint32_t value;

	snprintf(away, sizeof(away), "%s.away", s->path);
	cr_assert_eq(client_open(c), 0);
	for (unsigned time = 1; time <= 2; time++) {
		s->hook = die_now;
		cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)), -EAGAIN);
		cr_assert_eq(rename(s->path, away), 0);
		for (unsigned i = 0; i < 3; i++)
			cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL), -ENODEV);
		cr_assert_eq(rename(away, s->path), 0);
		cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL), 0);
		/* The end, nobody there, another server. */
		cr_assert_eq(lines(logged(c)), 3 * time, "%s", logged(c));
	}
	client_free(c);
	server_stop(s);
}

/* The first server has no eventfds and dies of a reset; the second has some. */
static bool bells_later(struct user_server *s, struct user_message *m)
{
	if (s->connections != 1)
		return false;
	if (m->header.command == VFIO_USER_DEVICE_GET_REGION_IO_FDS) {
		server_error(s, m, EINVAL);
		return true;
	}
	if (m->header.command == VFIO_USER_DEVICE_RESET) {
		server_hang_up(s);
		return true;
	}
	return false;
}

Test(user_reconnect, posted_writes_are_not_overtaken_by_the_eventfds_of_another_server)
{
	static const char *const keys[] = {"posted-writes", "on", "reconnect", "on", NULL};
	struct user_server *s = server_start();
	struct client *c = client_new(s, keys);
	uint32_t count = 0, value = 5;

	s->hook = bells_later;
	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(vfio_device_write(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(s->posted, 1);
	while (vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL))
		cr_assert_leq(s->connections, 2);
	cr_assert_eq(s->connections, 2);
	cr_assert_eq(vfio_device_write(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(vfio_device_region_ioeventfds(c->vdev, 0, NULL, &count), 0);
	cr_assert_eq(count, 0);
	client_free(c);
	server_stop(s);
}

static bool no_reset(struct user_server *s, struct user_message *m)
{
	if (m->header.command != VFIO_USER_DEVICE_GET_INFO)
		return die_now(s, m);
	info(s, m, 16, VFIO_DEVICE_FLAGS_PCI, 9, 5);
	return true;
}

/* A guest could never ask for another server: it loses the device, rather than read ones for ever. */
Test(user_reconnect, a_device_that_cannot_be_reset_has_no_other_server)
{
	static const char *const keys[] = {"reconnect", "on", NULL, NULL};
	struct user_server *s = server_start();
	struct client *c = client_new(s, keys);
	uint32_t value;

	s->hook = no_reset;
	cr_assert_eq(client_open(c), 0);
	cr_assert(strstr(logged(c), "reconnect=on has no effect"));
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)), -ENODEV);
	wait_for(&c->gone, 1);
	client_free(c);
	server_stop(s);
}

static bool other_device(struct user_server *s, struct user_message *m)
{
	if (s->connections == 1)
		return die_now(s, m) ? (s->hook = other_device, true) : false;
	if (m->header.command != VFIO_USER_DEVICE_GET_IRQ_INFO)
		return false;
	million_vectors(s, m);
	return true;
}

Test(user_reconnect, another_device_is_refused)
{
	static const char *const keys[] = {"reconnect", "on", NULL, NULL};
	struct user_server *s = server_start();
	struct client *c = client_new(s, keys);
	uint32_t value;

	s->hook = other_device;
	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)), -EAGAIN);
	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL), -ENODEV);
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)), -EAGAIN);
	client_free(c);
	server_stop(s);
}

/* ---- threads ---- */

static atomic_bool threads_stop;

static void *access_thread(void *ctx)
{
	struct client *c = ctx;
	const uint64_t bar0 = offset_of(c, 0);
	uint32_t value = 0;

	while (!threads_stop) {
		vfio_device_read(c->vdev, &value, 4, bar0 + 0x100);
		vfio_device_write(c->vdev, &value, 4, bar0 + 0x104);
	}
	return NULL;
}

static bool die_often(struct user_server *s, struct user_message *m)
{
	(void)m;
	if (s->messages < 60)
		return false;
	server_hang_up(s);
	return true;
}

Test(user_threads, accesses_resets_and_maps_beside_each_other, .timeout = 60)
{
	static const char *const keys[] = {"reconnect", "on", NULL, NULL};
	struct user_server *s = server_start();
	struct client *c = client_new(s, keys);
	pthread_t threads[3];

	cr_assert_eq(client_open(c), 0);
	s->hook = die_often;
	threads_stop = false;
	for (unsigned i = 0; i < 3; i++)
		pthread_create(&threads[i], NULL, access_thread, c);
	for (unsigned i = 0; i < 200; i++) {
		struct ioas_area area = {.iova = 0x800000,
					 .length = 0x1000,
					 .fd = c->memfd,
					 .hva = c->ram,
					 .rights = IOAS_READ};

		cr_assert_eq(ioas_map(c->space, &area), 0);
		vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL);
		cr_assert_eq(ioas_unmap(c->space, area.iova, area.length), 0);
	}
	threads_stop = true;
	for (unsigned i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	cr_assert_gt(s->connections, 1);
	client_free(c);
	server_stop(s);
}
