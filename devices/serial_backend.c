/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/serial_backend.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/host.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define QUEUE_FIRST_ROOM  4096u
#define PTY_LOOK_AGAIN_NS 500000000u
#define DESTROY_WAIT_MS   1000

/* A ring of bytes that grows by doubling: idle ports cost nothing. */
struct byte_queue {
	uint8_t *bytes;
	size_t room; /* a power of two, or 0 */
	size_t head;
	size_t count;
};

/* How a write that must not block is made on a descriptor. */
enum write_style {
	WRITE_PLAIN,  /* non-blocking description of our own, or a file */
	WRITE_SOCKET, /* MSG_DONTWAIT */
	WRITE_CAREFUL /* a blocking description shared with others: poll, then little at a time */
};

struct serial_backend {
	struct serial_backend_params params;
	enum serial_backend_kind kind;

	int in_fd;
	struct loop_source *in_source; /* NULL while paused, at the end of input, not connected */
	bool in_open;                  /* more input may come */
	bool in_plain_file;            /* always readable, not known to epoll: read from a timer */
	bool in_reads_on;              /* escape keys must be seen: never pause */
	bool in_warned;
	struct byte_queue in;

	int out_fd;
	bool out_fd_owned;
	enum write_style out_style;
	size_t out_step;                /* bytes per write for WRITE_CAREFUL */
	struct loop_source *out_source; /* not NULL while the host takes no more */
	struct byte_queue out;
	uint64_t last_flush_ns;
	bool flush_armed;
	struct loop_source *flush_timer;
	bool out_warned;
	uint64_t dropped;

	bool connected; /* pty: somebody has the other end open */
	struct loop_source *look_timer;
	char pty_path[64];
};

static size_t queue_copy_out(const struct byte_queue *q, uint8_t *to, size_t count)
{
	size_t first;

	if (count > q->count)
		count = q->count;
	if (count == 0)
		return 0;
	first = q->room - q->head;
	if (first > count)
		first = count;
	memcpy(to, q->bytes + q->head, first);
	memcpy(to + first, q->bytes, count - first);
	return count;
}

static bool queue_grow(struct byte_queue *q, size_t limit)
{
	size_t room = q->room ? q->room * 2 : QUEUE_FIRST_ROOM;
	uint8_t *bytes;

	if (room > limit)
		return false;
	bytes = malloc(room);
	if (!bytes)
		return false;
	queue_copy_out(q, bytes, q->count);
	free(q->bytes);
	q->bytes = bytes;
	q->room = room;
	q->head = 0;
	return true;
}

static bool queue_push(struct byte_queue *q, uint8_t byte, size_t limit)
{
	if (q->count == q->room && !queue_grow(q, limit))
		return false;
	q->bytes[(q->head + q->count++) & (q->room - 1)] = byte;
	return true;
}

static void queue_drop(struct byte_queue *q, size_t count)
{
	q->head = (q->head + count) & (q->room - 1);
	q->count -= count;
}

/* Contiguous bytes at the head. */
static size_t queue_span(const struct byte_queue *q, uint8_t **start)
{
	size_t span = q->room - q->head;

	*start = q->bytes + q->head;
	return span < q->count ? span : q->count;
}

/* Output */

static void out_ready(void *ctx, uint32_t events);

static ssize_t out_write(struct serial_backend *b, const uint8_t *bytes, size_t count)
{
	struct pollfd pfd = {.fd = b->out_fd, .events = POLLOUT};

	switch (b->out_style) {
	case WRITE_SOCKET:
		return send(b->out_fd, bytes, count, MSG_DONTWAIT | MSG_NOSIGNAL);
	case WRITE_CAREFUL:
		if (poll(&pfd, 1, 0) == 0) {
			errno = EAGAIN;
			return -1;
		}
		return write(b->out_fd, bytes, count < b->out_step ? count : b->out_step);
	case WRITE_PLAIN:
		break;
	}
	return write(b->out_fd, bytes, count);
}

/* Hand queued bytes to the host until it takes no more. True when the queue is empty. */
static bool out_push(struct serial_backend *b)
{
	uint8_t *start;
	size_t span;
	ssize_t n;

	while (b->out.count > 0) {
		span = queue_span(&b->out, &start);
		n = out_write(b, start, span);
		if (n > 0) {
			queue_drop(&b->out, (size_t)n);
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0 || errno == EAGAIN)
			return false;
		if (!b->out_warned)
			log_warn("%s: cannot write console output: %s; it is lost until that is "
				 "mended",
				 b->params.id, strerror(errno));
		b->out_warned = true;
		b->dropped += b->out.count;
		queue_drop(&b->out, b->out.count);
	}
	return true;
}

static void out_flush(struct serial_backend *b)
{
	int ret;

	if (b->out_source || !b->connected)
		return;
	b->last_flush_ns = host_now_ns();
	if (out_push(b))
		return;
	ret = loop_add_fd(b->params.loop, b->out_fd, EPOLLOUT, out_ready, b, &b->out_source);
	if (ret == 0)
		return;
	/* Not a descriptor to wait for: come back with the burst timer. */
	b->out_source = NULL;
	if (!b->flush_armed)
		b->flush_armed =
			loop_timer_set(b->params.loop, b->flush_timer, SERIAL_BURST_NS) == 0;
}

static void out_ready(void *ctx, uint32_t events)
{
	struct serial_backend *b = ctx;
	bool had_room;

	(void)events;
	pthread_mutex_lock(b->params.lock);
	had_room = serial_backend_room(b);
	if (out_push(b)) {
		loop_remove(b->params.loop, b->out_source);
		b->out_source = NULL;
	}
	if (!had_room && serial_backend_room(b))
		b->params.room(b->params.ctx);
	pthread_mutex_unlock(b->params.lock);
}

static void flush_timer_fired(void *ctx)
{
	struct serial_backend *b = ctx;
	bool had_room;

	pthread_mutex_lock(b->params.lock);
	b->flush_armed = false;
	had_room = serial_backend_room(b);
	out_flush(b);
	if (!had_room && serial_backend_room(b))
		b->params.room(b->params.ctx);
	pthread_mutex_unlock(b->params.lock);
}

void serial_backend_put(struct serial_backend *b, uint8_t byte)
{
	if (b->kind == SERIAL_NONE)
		return;
	/* Nobody looks at the pseudo terminal: keep the latest for whoever comes. */
	if (!b->connected && b->out.count >= SERIAL_OUTPUT_HIGH)
		queue_drop(&b->out, 1);
	if (!queue_push(&b->out, byte, SERIAL_OUTPUT_LIMIT)) {
		b->dropped++;
		if (!b->out_warned)
			log_warn("%s: the host takes no console output and %u KiB wait; further "
				 "output of a guest that does not wait is lost",
				 b->params.id, SERIAL_OUTPUT_LIMIT >> 10);
		b->out_warned = true;
		return;
	}
	if (b->out_source || !b->connected)
		return;
	if (byte == '\n' || b->out.count >= SERIAL_OUTPUT_BATCH ||
	    host_now_ns() - b->last_flush_ns >= SERIAL_BURST_NS)
		out_flush(b);
	else if (!b->flush_armed)
		b->flush_armed =
			loop_timer_set(b->params.loop, b->flush_timer, SERIAL_BURST_NS) == 0;
}

bool serial_backend_room(const struct serial_backend *b)
{
	return b->out.count < SERIAL_OUTPUT_HIGH || !b->connected;
}

size_t serial_backend_queued(const struct serial_backend *b)
{
	return b->out.count;
}

/* Input */

static void in_ready(void *ctx, uint32_t events);
static void look_timer_fired(void *ctx);

/* The look timer is for input that epoll cannot wait for. */
static int look_soon(struct serial_backend *b, uint64_t delay_ns)
{
	int ret = 0;

	if (!b->look_timer)
		ret = loop_add_timer(b->params.loop, look_timer_fired, b, &b->look_timer);
	return ret < 0 ? ret : loop_timer_set(b->params.loop, b->look_timer, delay_ns);
}

static void in_resume(struct serial_backend *b)
{
	int ret;

	if (!b->in_open || b->in_source)
		return;
	if (b->in_plain_file) {
		look_soon(b, 1);
		return;
	}
	ret = loop_add_fd(b->params.loop, b->in_fd, EPOLLIN, in_ready, b, &b->in_source);
	if (ret == 0)
		return;
	b->in_source = NULL;
	b->in_plain_file = ret == -EPERM;
	if (b->in_plain_file) {
		look_soon(b, 1);
		return;
	}
	b->in_open = false;
	log_warn("%s: cannot wait for console input: %s; the guest gets none", b->params.id,
		 strerror(-ret));
}

static void in_pause(struct serial_backend *b)
{
	loop_remove(b->params.loop, b->in_source);
	b->in_source = NULL;
}

static void pty_disconnect(struct serial_backend *b)
{
	in_pause(b);
	loop_remove(b->params.loop, b->out_source);
	b->out_source = NULL;
	b->connected = false;
	look_soon(b, PTY_LOOK_AGAIN_NS);
	b->params.room(b->params.ctx);
}

/* One read; the filter runs without the lock. */
static void in_read(struct serial_backend *b)
{
	uint8_t bytes[1024];
	size_t count, i;
	ssize_t n;

	n = read(b->in_fd, bytes, sizeof(bytes));
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return;
	count = n > 0 ? (size_t)n : 0;
	if (count > 0 && b->params.filter)
		count = b->params.filter(b->params.filter_ctx, bytes, count);

	pthread_mutex_lock(b->params.lock);
	if (n <= 0) {
		if (b->kind == SERIAL_PTY) {
			pty_disconnect(b);
		} else {
			in_pause(b);
			b->in_open = false;
		}
		goto unlock;
	}
	for (i = 0; i < count; i++) {
		if (queue_push(&b->in, bytes[i], SERIAL_INPUT_LIMIT))
			continue;
		if (!b->in_warned)
			log_warn("%s: the guest reads no input and %u KiB wait; further input is "
				 "lost",
				 b->params.id, SERIAL_INPUT_LIMIT >> 10);
		b->in_warned = true;
		break;
	}
	if (count > 0)
		b->params.input(b->params.ctx);
	if (!b->in_reads_on && b->in.count >= SERIAL_INPUT_HIGH)
		in_pause(b);
	else if (b->in_plain_file)
		look_soon(b, 1);
unlock:
	pthread_mutex_unlock(b->params.lock);
}

static void in_ready(void *ctx, uint32_t events)
{
	(void)events;
	in_read(ctx);
}

int serial_backend_get(struct serial_backend *b)
{
	uint8_t byte;

	if (queue_copy_out(&b->in, &byte, 1) == 0)
		return -1;
	queue_drop(&b->in, 1);
	if (b->in.count == 0 && !b->in_source && b->connected)
		in_resume(b);
	return byte;
}

/* A file has no readiness to wait for, a pseudo terminal none for "somebody opened it". */
static void look_timer_fired(void *ctx)
{
	struct serial_backend *b = ctx;
	struct pollfd pfd = {.fd = b->in_fd, .events = POLLOUT};

	if (b->kind != SERIAL_PTY) {
		in_read(b);
		return;
	}
	pthread_mutex_lock(b->params.lock);
	if (poll(&pfd, 1, 0) < 0 || (pfd.revents & POLLHUP)) {
		look_soon(b, PTY_LOOK_AGAIN_NS);
	} else {
		b->connected = true;
		in_resume(b);
		out_flush(b);
	}
	pthread_mutex_unlock(b->params.lock);
}

/* Opening */

/* Find out how to write to out_fd without ever waiting. */
static void choose_style(struct serial_backend *b)
{
	struct stat st;
	int fd;

	b->out_style = WRITE_PLAIN;
	if (fstat(b->out_fd, &st) < 0 || S_ISREG(st.st_mode))
		return;
	if (S_ISSOCK(st.st_mode)) {
		b->out_style = WRITE_SOCKET;
		return;
	}
	if (!S_ISFIFO(st.st_mode) && !isatty(b->out_fd))
		return;
	fd = host_reopen_output(b->out_fd);
	if (fd >= 0) {
		if (b->out_fd_owned)
			close(b->out_fd);
		b->out_fd = fd;
		b->out_fd_owned = true;
		return;
	}
	b->out_style = WRITE_CAREFUL;
	/* A pipe that polls writable takes PIPE_BUF bytes at once, a terminal at least one. */
	b->out_step = S_ISFIFO(st.st_mode) ? PIPE_BUF : 1;
}

static int open_pty(struct serial_backend *b)
{
	int ret;

	b->in_fd = host_open_pty(b->pty_path, sizeof(b->pty_path));
	if (b->in_fd < 0) {
		ret = b->in_fd;
		log_error("%s: cannot make a pseudo terminal: %s; is devpts mounted on /dev/pts?",
			  b->params.id, strerror(-ret));
		return ret;
	}
	/* Input and output are watched apart, so each has a descriptor. */
	b->out_fd = fcntl(b->in_fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (b->out_fd < 0)
		return log_failure(-errno, "%s: no second descriptor of %s", b->params.id,
				   b->pty_path);
	b->out_fd_owned = true;
	return 0;
}

static int open_file(struct serial_backend *b, const char *path)
{
	b->out_fd = host_open_output(path, false);
	if (b->out_fd < 0) {
		log_error("%s: cannot open %s for console output: %s", b->params.id, path,
			  host_output_strerror(-b->out_fd));
		return b->out_fd;
	}
	b->out_fd_owned = true;
	choose_style(b);
	return 0;
}

static int open_kind(struct serial_backend *b)
{
	switch (b->kind) {
	case SERIAL_STDIO:
		b->out_fd = STDOUT_FILENO;
		choose_style(b);
		b->in_fd = STDIN_FILENO;
		b->in_open = true;
		b->in_reads_on = b->params.filter && isatty(b->in_fd);
		return 0;
	case SERIAL_PTY:
		b->params.filter = NULL;
		b->in_open = true;
		b->connected = false;
		return open_pty(b);
	case SERIAL_FILE:
		return open_file(b, b->params.config->path);
	case SERIAL_NONE:
		break;
	}
	return 0;
}

int serial_backend_create(const struct serial_backend_params *params, struct serial_backend **out)
{
	struct serial_backend *b;
	int ret;

	b = calloc(1, sizeof(*b));
	if (!b)
		return -ENOMEM;
	b->params = *params;
	b->kind = params->config->kind;
	b->in_fd = -1;
	b->out_fd = -1;
	b->connected = true;

	ret = open_kind(b);
	if (ret == 0 && b->kind != SERIAL_NONE) {
		ret = loop_add_timer(b->params.loop, flush_timer_fired, b, &b->flush_timer);
		if (ret < 0)
			log_failure(ret, "%s: no timer", b->params.id);
	}
	if (ret == 0 && b->kind == SERIAL_PTY)
		ret = look_soon(b, PTY_LOOK_AGAIN_NS);
	if (ret < 0) {
		serial_backend_destroy(b);
		return ret;
	}
	if (b->kind == SERIAL_PTY) {
		printf("%s: %s\n", b->params.id, b->pty_path);
		fflush(stdout);
	} else {
		in_resume(b);
	}
	*out = b;
	return 0;
}

/* The last lines of a guest that is gone already: give a slow host a moment for them. */
static void last_flush(struct serial_backend *b)
{
	struct pollfd pfd = {.fd = b->out_fd, .events = POLLOUT};
	uint64_t end = host_now_ns() + DESTROY_WAIT_MS * 1000000ull;
	uint64_t now;

	while (!out_push(b)) {
		now = host_now_ns();
		if (now >= end || poll(&pfd, 1, (int)((end - now) / 1000000u) + 1) < 0)
			break;
	}
	b->dropped += b->out.count;
	if (b->dropped > 0)
		log_warn("%s: %llu bytes of console output were not taken by the host",
			 b->params.id, (unsigned long long)b->dropped);
}

void serial_backend_destroy(struct serial_backend *b)
{
	if (!b)
		return;
	loop_remove(b->params.loop, b->flush_timer);
	loop_remove(b->params.loop, b->look_timer);
	loop_remove(b->params.loop, b->in_source);
	loop_remove(b->params.loop, b->out_source);
	if (b->out_fd >= 0 && b->connected)
		last_flush(b);
	if (b->out_fd_owned)
		close(b->out_fd);
	if (b->in_fd > STDIN_FILENO)
		close(b->in_fd);
	free(b->in.bytes);
	free(b->out.bytes);
	free(b);
}

const char *serial_backend_pty(const struct serial_backend *b)
{
	return b->kind == SERIAL_PTY ? b->pty_path : NULL;
}
