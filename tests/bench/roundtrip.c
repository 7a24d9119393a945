/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a message costs: region reads and writes of a vfio-user server beside messages of the same sizes
 * between two bare processes.
 *
 *   roundtrip TURNS SOCKET [PID]     PID: of the server, to count its system calls too
 *
 * The three take turns; each figure is the median of the turns' means. Prints lines of "NAME VALUE":
 * bare_ns, read_ns, write_ns, then client_calls and server_calls: system calls for a hundred reads.
 */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "devices/vfio/user/channel.h"
#include "devices/vfio/user/protocol.h"
#include "tests/bench/seize.h"

#define MAX_TURNS  101
#define ROUNDS     2000
#define COUNTED    1000
#define MEMORY_BAR 2
#define REQUEST    32 /* header, offset, region, count */
#define REPLY      36 /* the same and 4 bytes */
#define TIMEOUT_MS 10000

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- two bare processes ---- */

static void whole(ssize_t done, ssize_t wanted)
{
	if (done != wanted)
		errx(1, "a message of the bare processes was cut");
}

static int bare_start(void)
{
	char request[REQUEST], reply[REPLY] = {0};
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds))
		err(1, "socketpair");
	switch (fork()) {
	case -1:
		err(1, "fork");
	case 0:
		close(fds[0]);
		while (recv(fds[1], request, sizeof(request), 0) == sizeof(request))
			whole(send(fds[1], reply, sizeof(reply), MSG_NOSIGNAL), sizeof(reply));
		_exit(0);
	}
	close(fds[1]);
	return fds[0];
}

static void bare_turn(int fd)
{
	char request[REQUEST] = {0}, reply[REPLY];

	whole(send(fd, request, sizeof(request), MSG_NOSIGNAL), sizeof(request));
	whole(recv(fd, reply, sizeof(reply), 0), sizeof(reply));
}

/* ---- a client ---- */

static void serve_nothing(void *ctx, struct vfio_user_packet *packet)
{
	(void)ctx, (void)packet;
	errx(1, "the server sends a command");
}

static void ask(struct vfio_user_channel *channel, struct vfio_user_message *m)
{
	const struct vfio_user_limits limits = {VFIO_USER_MAX_MSG_FDS,
						VFIO_USER_MAX_DATA_XFER_SIZE};
	struct vfio_user_message reply;
	struct vfio_user_packet *packet;
	int rc = vfio_user_channel_call(channel, m, NULL, 0, TIMEOUT_MS, &packet);

	if (!rc)
		rc = vfio_user_decode_reply(m, &packet->header, packet->payload, packet->size,
					    packet->fd_count, &limits, &reply);
	if (rc || reply.error)
		errx(1, "%s: %s", vfio_user_command_name(m->command),
		     strerror(rc ? -rc : (int)reply.error));
	vfio_user_packet_free(packet);
}

static struct vfio_user_channel *connect_to(const char *path)
{
	const struct vfio_user_channel_config config = {.serve = serve_nothing};
	struct vfio_user_message m = {.command = VFIO_USER_VERSION,
				      .version = {0, VFIO_USER_VERSION_MINOR}};
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	struct vfio_user_channel *channel;
	const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(address.sun_path, path, sizeof(address.sun_path) - 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof(address)))
		err(1, "%s", path);
	if (vfio_user_channel_create(fd, &config, &channel))
		errx(1, "no memory");
	ask(channel, &m);
	return channel;
}

static void read_turn(struct vfio_user_channel *channel)
{
	struct vfio_user_message m = {.command = VFIO_USER_REGION_READ,
				      .region = {0, MEMORY_BAR, 4}};

	ask(channel, &m);
}

static void write_turn(struct vfio_user_channel *channel)
{
	static const uint32_t value = 1;
	struct vfio_user_message m = {.command = VFIO_USER_REGION_WRITE,
				      .region = {0, MEMORY_BAR, sizeof(value)},
				      .data = &value,
				      .data_size = sizeof(value)};

	ask(channel, &m);
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static void measure(const char *path, unsigned turns)
{
	struct vfio_user_channel *channel = connect_to(path);
	static uint64_t took[3][MAX_TURNS];
	static const char *const names[] = {"bare_ns", "read_ns", "write_ns"};
	const int bare = bare_start();

	for (unsigned turn = 0; turn < turns; turn++) {
		uint64_t at = now_ns(), next;

		for (unsigned i = 0; i < ROUNDS; i++)
			bare_turn(bare);
		next = now_ns();
		took[0][turn] = (next - at) / ROUNDS;
		for (unsigned i = 0; i < ROUNDS; i++)
			read_turn(channel);
		at = now_ns();
		took[1][turn] = (at - next) / ROUNDS;
		for (unsigned i = 0; i < ROUNDS; i++)
			write_turn(channel);
		took[2][turn] = (now_ns() - at) / ROUNDS;
	}
	for (unsigned i = 0; i < 3; i++) {
		qsort(took[i], turns, sizeof(took[i][0]), compare);
		printf("%s %llu\n", names[i], (unsigned long long)took[i][turns / 2]);
	}
	close(bare);
	vfio_user_channel_destroy(channel);
	while (wait(NULL) > 0)
		;
}

/* ---- system calls ---- */

/* A client that makes COUNTED reads between two stops of its own. */
static pid_t counted_client(const char *path)
{
	struct vfio_user_channel *channel;
	const pid_t pid = fork();

	if (pid)
		return pid;
	channel = connect_to(path);
	read_turn(channel);
	raise(SIGSTOP);
	for (unsigned i = 0; i < COUNTED; i++)
		read_turn(channel);
	raise(SIGSTOP);
	vfio_user_channel_destroy(channel);
	_exit(0);
}

static void count_calls(const char *path, pid_t server)
{
	const pid_t client = counted_client(path);
	unsigned long client_stops = 0, server_stops = 0;
	int status;

	if (waitpid(client, &status, WUNTRACED) != client || !WIFSTOPPED(status))
		errx(1, "the counted client did not begin");
	seize_all(client, PTRACE_O_TRACESYSGOOD);
	seize_all(server, PTRACE_O_TRACESYSGOOD);
	kill(client, SIGCONT);
	for (;;) {
		const pid_t tid = waitpid(-1, &status, __WALL);

		if (tid < 0 || (tid == client && (WIFEXITED(status) || WIFSIGNALED(status))))
			errx(1, "the counted client ended");
		if (!WIFSTOPPED(status))
			continue;
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			++*(tid == client ? &client_stops : &server_stops);
		else if (tid == client && WSTOPSIG(status) == SIGSTOP && status >> 16 == 0)
			break; /* the second stop of its own */
		ptrace(PTRACE_SYSCALL, tid, NULL, NULL);
	}
	/* A call is two stops, at its entry and at its exit. */
	printf("client_calls %lu\nserver_calls %lu\n", client_stops * 100 / 2 / COUNTED,
	       server_stops * 100 / 2 / COUNTED);
	kill(client, SIGKILL);
}

int main(int argc, char **argv)
{
	const int turns = argc > 2 ? atoi(argv[1]) : 0;

	if (turns < 1 || turns > MAX_TURNS)
		errx(2, "usage: roundtrip TURNS SOCKET [PID]");
	measure(argv[2], (unsigned)turns);
	if (argc > 3)
		count_calls(argv[2], (pid_t)atoi(argv[3]));
	return 0;
}
