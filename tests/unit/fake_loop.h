/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop of a unit test: the interface of vmm/base/loop.h with time that passes only when
 * the test says so. Included by one source file of a test program, which then does not take the
 * real loop from the library.
 */
#ifndef SLUICE_TESTS_FAKE_LOOP_H
#define SLUICE_TESTS_FAKE_LOOP_H

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/stat.h>

#include "vmm/base/loop.h"

#define FAKE_LOOP_SOURCES 32

struct loop_source {
	bool used;
	int fd; /* -1: a timer or a posted call */
	uint32_t events;
	loop_fd_fn fd_fn;
	loop_fn fn;
	void *ctx;
	bool posted;
	uint64_t due; /* 0: disarmed */
};

struct loop {
	uint64_t now;
	bool stopped;
	unsigned timer_sets;
	struct loop_source sources[FAKE_LOOP_SOURCES];
};

int loop_create(struct loop **out)
{
	*out = calloc(1, sizeof(**out));
	if (!*out)
		return -ENOMEM;
	(*out)->now = 1;
	return 0;
}

void loop_destroy(struct loop *loop)
{
	free(loop);
}

static inline int fake_loop_new(struct loop *loop, struct loop_source **out)
{
	for (unsigned i = 0; i < FAKE_LOOP_SOURCES; i++) {
		if (loop->sources[i].used)
			continue;
		loop->sources[i] = (struct loop_source){.used = true, .fd = -1};
		*out = &loop->sources[i];
		return 0;
	}
	return -ENOMEM;
}

int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *ctx,
		struct loop_source **out)
{
	struct stat st;
	int ret;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (S_ISREG(st.st_mode) || S_ISDIR(st.st_mode))
		return -EPERM; /* as epoll_ctl() */
	ret = fake_loop_new(loop, out);
	if (ret < 0)
		return ret;
	(*out)->fd = fd;
	(*out)->events = events;
	(*out)->fd_fn = fn;
	(*out)->ctx = ctx;
	return 0;
}

int loop_set_events(struct loop *loop, struct loop_source *source, uint32_t events)
{
	(void)loop;
	source->events = events;
	return 0;
}

int loop_add_timer(struct loop *loop, loop_fn fn, void *ctx, struct loop_source **out)
{
	int ret = fake_loop_new(loop, out);

	if (ret < 0)
		return ret;
	(*out)->fn = fn;
	(*out)->ctx = ctx;
	return 0;
}

int loop_timer_set(struct loop *loop, struct loop_source *timer, uint64_t delay_ns)
{
	loop->timer_sets++;
	timer->due = delay_ns ? loop->now + delay_ns : 0;
	return 0;
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
	(void)loop;
	if (source)
		source->used = false;
}

int loop_post(struct loop *loop, loop_fn fn, void *ctx)
{
	struct loop_source *source;
	int ret = loop_add_timer(loop, fn, ctx, &source);

	if (ret < 0)
		return ret;
	source->posted = true;
	source->due = loop->now;
	return 0;
}

int loop_run(struct loop *loop)
{
	(void)loop;
	return -ENOSYS;
}

void loop_stop(struct loop *loop)
{
	loop->stopped = true;
}

/* Let @ns pass and serve each source that is ready once. Returns how many callbacks ran. */
static inline unsigned fake_loop_step(struct loop *loop, uint64_t ns)
{
	unsigned ran = 0;

	loop->now += ns;
	for (unsigned i = 0; i < FAKE_LOOP_SOURCES; i++) {
		struct loop_source *s = &loop->sources[i];

		if (!s->used)
			continue;
		if (s->fd >= 0) {
			struct pollfd pfd = {.fd = s->fd, .events = (short)s->events};

			if (poll(&pfd, 1, 0) > 0) {
				s->fd_fn(s->ctx, (uint32_t)pfd.revents);
				ran++;
			}
		} else if (s->due && s->due <= loop->now) {
			s->due = 0;
			if (s->posted)
				s->used = false;
			s->fn(s->ctx);
			ran++;
		}
	}
	return ran;
}

/* How many sources are registered: all must be gone at the end of a device. */
static inline unsigned fake_loop_sources(const struct loop *loop)
{
	unsigned count = 0;

	for (unsigned i = 0; i < FAKE_LOOP_SOURCES; i++)
		count += loop->sources[i].used;
	return count;
}

#endif
