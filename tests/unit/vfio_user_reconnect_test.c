/* SPDX-License-Identifier: Apache-2.0 */
/* The user provider when its server goes away: another one, and threads that are in the middle of it. */
#include "tests/unit/user_client.h"

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
	struct vfio_irq_info told;

	if (s->connections == 1)
		return die_now(s, m) ? (s->hook = other_device, true) : false;
	if (m->header.command != VFIO_USER_DEVICE_GET_IRQ_INFO)
		return false;
	memcpy(&told, m->body, sizeof(told));
	told.count++;
	server_reply(s, m, &told, sizeof(told));
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
