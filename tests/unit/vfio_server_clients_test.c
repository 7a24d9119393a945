/* SPDX-License-Identifier: Apache-2.0 */
/* The server between its clients: one after the other, those that mean harm, and what cannot be served at all. */
#include "tests/unit/server_client.h"

/* ---- one after the other ---- */

Test(server, when_a_client_has_gone_nothing_of_it_is_left, .timeout = 120)
{
	const uint32_t set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	struct vfio_device_feature_mig_state state = {.device_state = VFIO_DEVICE_STATE_PRE_COPY},
					     got;
	struct server s;
	uint8_t byte = 1;
	int fd = eventfd(0, EFD_CLOEXEC);

	start(&s);
	for (unsigned round = 0; round < 5; round++) {
		struct client *c = new_client(&s);

		cr_assert_eq(s.device->resets, round);
		cr_assert_eq(dma(c, 0x1000), -ENOENT, "the memory of the last one");
		cr_assert_eq(read_region(c, 2, 100, &byte, 1), 0);
		cr_assert_eq(byte, 0);
		byte = 1;
		cr_assert_eq(write_region(c, 2, 100, &byte, 1), 0);
		cr_assert_eq(map(c, 0, 65536, 3, -1), 0);
		cr_assert_eq(set_irqs(c, set, 2, 0, 1, &fd, 1), 0);
		cr_assert_eq(feature(c, 2 | VFIO_DEVICE_FEATURE_SET, &state, 8, &got, 8), 0);
		cr_assert_eq(feature(c, 3 | VFIO_DEVICE_FEATURE_SET, NULL, 0, NULL, 0), 0);
		cr_assert_eq(feature(c, 12 | VFIO_DEVICE_FEATURE_SET, NULL, 0, NULL, 0), 0);
		done(c);
	}
	close(fd);
	stop(&s);
}

Test(server, a_second_client_waits_for_the_first_to_leave, .timeout = 120)
{
	struct server s;

	start(&s);
	struct client *first = new_client(&s);
	const int second = connect_to(s.path);

	cr_assert_eq(dma(first, 0), -ENOENT, "the first goes on");
	cr_assert_not(readable(second));
	done(first);
	close(second); /* never said a word */
	struct client *third = new_client(&s);

	cr_assert_eq(dma(third, 0), -ENOENT);
	done(third);
	stop(&s);
}

/* The socket that listens at @path. */
static int listener_at(const char *path)
{
	struct sockaddr_un address;
	socklen_t size;
	int listens;

	for (int fd = 3; fd < 1024; fd++) {
		memset(&address, 0, sizeof(address));
		size = sizeof(address) - 1;
		if (getsockname(fd, (struct sockaddr *)&address, &size) ||
		    address.sun_family != AF_UNIX || strcmp(address.sun_path, path) != 0)
			continue;
		size = sizeof(listens);
		if (!getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size) && listens)
			return fd;
	}
	cr_assert(false);
	return -1;
}

/* Is @fd in the epoll set that @info (/proc/self/fdinfo/EPOLL) tells of? */
static bool watched(int info, int fd)
{
	char text[4096], line[32];
	const ssize_t n = pread(info, text, sizeof(text) - 1, 0);

	cr_assert_gt(n, 0);
	text[n] = '\0';
	snprintf(line, sizeof(line), "tfd: %8d ", fd);
	return strstr(text, line) != NULL;
}

/* What tells of the epoll set that watches @fd. */
static int epoll_info(int fd)
{
	char path[64], target[32];

	for (int i = 3; i < 1024; i++) {
		int info;

		snprintf(path, sizeof(path), "/proc/self/fd/%d", i);
		if (readlink(path, target, sizeof(target)) < 22 ||
		    memcmp(target, "anon_inode:[eventpoll]", 22) != 0)
			continue;
		snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", i);
		info = open(path, O_RDONLY | O_CLOEXEC);
		cr_assert_geq(info, 0);
		if (watched(info, fd))
			return info;
		close(info);
	}
	cr_assert(false);
	return -1;
}

Test(server, without_a_descriptor_for_a_client_it_waits_and_does_not_spin, .timeout = 120)
{
	struct rlimit limit, none;
	struct server s;

	start(&s);
	const int listener = listener_at(s.path), info = epoll_info(listener);
	const int early = connect_to(s.path);

	/* One that leaves at once, so that all which the server needs for one is there. */
	close(early);
	done(new_client(&s));
	while (!watched(info, listener))
		usleep(1000);

	const int socket_of_next = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int lowest;

	strcpy(address.sun_path, s.path);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	lowest = dup(0);
	close(lowest);
	none = (struct rlimit){(rlim_t)lowest, limit.rlim_max};
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	cr_assert_eq(connect(socket_of_next, (struct sockaddr *)&address, sizeof(address)), 0);
	/* It is in the queue, and the loop does not look at the queue any more... */
	while (watched(info, listener))
		usleep(1000);
	cr_assert_not(readable(socket_of_next));
	/* ...until there is one. */
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	close(socket_of_next);
	done(new_client(&s));
	close(info);
	stop(&s);
}

Test(server, a_device_without_reset_is_closed_and_opened, .timeout = 120)
{
	struct server s;

	start(&s);
	s.device->reset_rc = -EIO;
	for (unsigned round = 1; round <= 3; round++) {
		struct client *c = new_client(&s);

		cr_assert_eq(s.device->opens, round);
		done(c);
	}
	/* And when it does not open any more there is nothing to serve. */
	struct client *last = new_client(&s);

	s.device->open_rc = -EIO;
	done(last);
	pthread_join(s.thread, NULL);
	cr_assert_eq(atomic_load(&s.ended), 1 + EIO);
	stop_parts(&s);
}

Test(server, whose_memory_a_client_may_have_mapped_is_opened_anew, .timeout = 120)
{
	struct vfio_user_message reply, m = {.command = VFIO_USER_DEVICE_GET_REGION_INFO,
					     .region_info = {.argsz = 4096, .index = 2}};
	struct server s;

	start(&s);
	for (unsigned round = 0; round < 4; round++) {
		struct client *c = new_client(&s);

		/* Each gets it; after the first two it is the same memory all the same. */
		cr_assert_eq(s.device->opens, round < 3 ? 1 : 2);
		s.device->vdev.region_fd_renewed = round >= 2;
		if (round < 3)
			cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), 0);
		done(c);
	}
	done(new_client(&s));
	cr_assert_eq(s.device->opens, 2, "the last was given none");
	stop(&s);
}

/* ---- what cannot be served ---- */

Test(server, what_cannot_be_served_is_refused_at_the_start, .timeout = 60)
{
	struct server s = {.device = served_device_new()};
	int fd;

	s.device->device_flags = VFIO_DEVICE_FLAGS_PLATFORM;
	cr_assert_eq(try_start(&s), -EOPNOTSUPP);
	cr_assert_eq(s.device->vdev.open_count, 0);
	s.server = NULL;
	stop_parts(&s);

	s = (struct server){.device = served_device_new()};
	s.device->open_rc = -ENODEV;
	cr_assert_eq(try_start(&s), -ENODEV);
	stop_parts(&s);

	/* A file that is no socket stays. */
	s = (struct server){.device = served_device_new()};
	snprintf(s.path, sizeof(s.path), "/tmp/sluice-served-%d", getpid());
	fd = open(s.path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
	cr_assert_eq(try_start(&s), -EEXIST);
	cr_assert_eq(access(s.path, F_OK), 0);
	close(fd);
	unlink(s.path);
	stop_parts(&s);
}

Test(server, a_stale_socket_is_replaced_and_a_living_one_is_not, .timeout = 60)
{
	struct server s = {.device = served_device_new()}, second;
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct stat st;
	int fd;

	snprintf(address.sun_path, sizeof(address.sun_path), "/tmp/sluice-served-%d", getpid());
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	cr_assert_eq(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	close(fd);
	cr_assert_eq(try_start(&s), 0);
	cr_assert_eq(stat(s.path, &st), 0);
	cr_assert_eq(st.st_mode & 07777, 0600);

	second = (struct server){.device = served_device_new()};
	cr_assert_eq(try_start(&second), -EADDRINUSE);
	cr_assert_eq(access(s.path, F_OK), 0);
	stop_parts(&s);
	stop_parts(&second);
}

/* ---- clients that mean harm ---- */

static void greet_badly(struct server *s, const void *bytes, size_t size)
{
	const int fd = connect_to(s->path);
	char byte;

	cr_assert_eq(send(fd, bytes, size, MSG_NOSIGNAL), (ssize_t)size);
	cr_assert_leq(read(fd, &byte, 1), 0, "it is sent away without an answer");
	close(fd);
}

Test(server, who_does_not_greet_is_sent_away, .timeout = 120)
{
	struct {
		struct vfio_user_header header;
		uint8_t payload[64];
	} m;
	struct server s;

	start(&s);
	memset(&m, 0, sizeof(m));
	greet_badly(&s, &m, 16); /* size 0 */
	m.header = (struct vfio_user_header){.command = VFIO_USER_DEVICE_RESET, .msg_size = 16};
	greet_badly(&s, &m, 16);
	m.header = (struct vfio_user_header){.command = VFIO_USER_VERSION, .msg_size = UINT32_MAX};
	greet_badly(&s, &m, 16);
	m.header = (struct vfio_user_header){.command = VFIO_USER_VERSION, .msg_size = 16 + 4};
	m.payload[0] = 1; /* major */
	greet_badly(&s, &m, 20);
	m.payload[0] = 0;
	m.header.msg_size = 16 + 8;
	memcpy(m.payload + 4, "{no}", 4);
	greet_badly(&s, &m, 24);
	m.header = (struct vfio_user_header){
		.command = VFIO_USER_VERSION, .msg_size = 20, .flags = VFIO_USER_FLAGS_REPLY};
	greet_badly(&s, &m, 20);
	done(new_client(&s));
	stop(&s);
}

Test(server, a_client_is_told_what_is_wrong_and_may_go_on, .timeout = 120)
{
	struct vfio_user_message m = {.command = VFIO_USER_VERSION, .version = {0, 2}};
	struct server s;
	int fds[16];

	start(&s);
	struct client *c = new_client(&s);

	cr_assert_eq(ask_simply(c, &m), -EINVAL, "greeted already");
	m = (struct vfio_user_message){.command = VFIO_USER_DMA_READ, .dma = {0, 4}};
	cr_assert_eq(ask_simply(c, &m), -ENOTSUP, "the other direction");
	m = (struct vfio_user_message){.command = VFIO_USER_DEVICE_RESET};
	for (unsigned i = 0; i < 16; i++)
		fds[i] = 0;
	struct vfio_user_message reply;

	cr_assert_eq(ask(c, &m, fds, 16, &reply, NULL), -EINVAL, "descriptors that nobody wants");
	cr_assert_eq(ask_simply(c, &m), 0);
	done(c);
	stop(&s);
}

Test(server, a_client_that_dies_in_the_middle_of_dma_harms_nobody, .timeout = 120)
{
	struct server s;
	const uint64_t iova = 0x1000;
	const uint32_t go = 1;

	start(&s);
	for (unsigned round = 0; round < 3; round++) {
		struct client *c = new_client(&s);
		struct vfio_user_message m = {.command = VFIO_USER_REGION_WRITE,
					      .no_reply = true,
					      .region = {8, 0, 4},
					      .data = &go,
					      .data_size = 4};

		cr_assert_eq(map(c, 0, 65536, 3, -1), 0);
		cr_assert_eq(write_region(c, 0, 0, &iova, 8), 0);
		/* The device asks for memory of a client that closes instead of answering. */
		cr_assert_eq(vfio_user_channel_send(c->channel, &m, NULL, 0), 0);
		wait_readable(vfio_user_channel_fd(c->channel));
		done(c);
	}
	done(new_client(&s));
	stop(&s);
}

Test(server, ending_with_a_client_there_waits_for_nobody, .timeout = 60)
{
	struct server s;

	start(&s);
	struct client *c = new_client(&s);

	stop(&s);
	struct vfio_user_message m = {.command = VFIO_USER_DEVICE_RESET};

	cr_assert_eq(ask_simply(c, &m), -ECONNRESET);
	done(c);
}
