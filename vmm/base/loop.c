/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Life of a source: an event that epoll handed out may name it until the loop thread has gone
 * through that batch, so a removed source is only marked, and freed between two batches.
 */
#include "vmm/base/loop.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "vmm/base/host.h"

#define BATCH      16
#define NS_PER_SEC 1000000000ull

struct loop_source {
	struct loop_source *next, **link; /* in loop->sources, or next alone in loop->removed */
	int fd;
	uint32_t events; /* 0: not in the epoll set */
	bool timer;      /* fd is a timerfd of ours */
	bool gone;       /* removed */
	loop_fd_fn fd_fn;
	loop_fn timer_fn;
	void *ctx;
};

struct post {
	struct post *next;
	loop_fn fn;
	void *ctx;
};

struct loop {
	int epoll_fd;
	int wake_fd; /* eventfd: there are posts, or the loop is to stop */
	_Atomic bool stop;

	pthread_mutex_t lock; /* everything below */
	pthread_cond_t returned;
	bool running;
	pthread_t thread;
	struct loop_source *current; /* whose callback runs */
	unsigned waiters;            /* threads that wait for it to return */
	struct loop_source *sources;
	struct loop_source *removed;
	struct post *posts, **last_post;
};

int loop_create(struct loop **out)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
	struct loop *loop = calloc(1, sizeof(*loop));
	int ret;

	if (!loop)
		return -ENOMEM;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0) {
		ret = -errno;
		goto free_loop;
	}
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0) {
		ret = -errno;
		goto close_epoll;
	}
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &event) < 0) {
		ret = -errno;
		goto close_wake;
	}
	pthread_mutex_init(&loop->lock, NULL);
	pthread_cond_init(&loop->returned, NULL);
	loop->last_post = &loop->posts;
	*out = loop;
	return 0;

close_wake:
	close(loop->wake_fd);
close_epoll:
	close(loop->epoll_fd);
free_loop:
	free(loop);
	return ret;
}

static void source_free(struct loop_source *source)
{
	if (source->timer)
		close(source->fd);
	free(source);
}

/* Free what was removed. Caller holds the lock, and no batch of events is under way. */
static void reap(struct loop *loop)
{
	while (loop->removed) {
		struct loop_source *source = loop->removed;

		loop->removed = source->next;
		source_free(source);
	}
}

void loop_destroy(struct loop *loop)
{
	if (!loop)
		return;
	reap(loop);
	while (loop->sources) {
		struct loop_source *source = loop->sources;

		loop->sources = source->next;
		source_free(source);
	}
	while (loop->posts) {
		struct post *post = loop->posts;

		loop->posts = post->next;
		free(post);
	}
	pthread_mutex_destroy(&loop->lock);
	pthread_cond_destroy(&loop->returned);
	close(loop->wake_fd);
	close(loop->epoll_fd);
	free(loop);
}

static void wake(struct loop *loop)
{
	/* A full counter (EAGAIN) wakes as well. */
	while (!host_eventfd_add(loop->wake_fd) && errno == EINTR)
		;
}

/* ---- sources --------------------------------------------------------------------------------- */

/*
 * Bring the epoll set in line with @events. A paused source is taken out of the set: EPOLLHUP and
 * EPOLLERR cannot be masked, and the loop would spin. Caller holds the lock.
 */
static int source_watch(struct loop *loop, struct loop_source *source, uint32_t events)
{
	struct epoll_event event = {.events = events, .data.ptr = source};
	int op = !source->events ? EPOLL_CTL_ADD : events ? EPOLL_CTL_MOD : EPOLL_CTL_DEL;

	if (events == source->events)
		return 0;
	if (epoll_ctl(loop->epoll_fd, op, source->fd, &event) < 0)
		return -errno;
	source->events = events;
	return 0;
}

static int source_add(struct loop *loop, const struct loop_source *init, uint32_t events,
		      struct loop_source **out)
{
	struct loop_source *source = malloc(sizeof(*source));
	int ret;

	if (!source)
		return -ENOMEM;
	*source = *init;
	pthread_mutex_lock(&loop->lock);
	/* The caller's pointer is set before the first callback can look at it. */
	*out = source;
	ret = source_watch(loop, source, events);
	if (ret) {
		*out = NULL;
		free(source);
	} else {
		source->next = loop->sources;
		source->link = &loop->sources;
		if (source->next)
			source->next->link = &source->next;
		loop->sources = source;
	}
	pthread_mutex_unlock(&loop->lock);
	return ret;
}

int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *ctx,
		struct loop_source **out)
{
	struct loop_source init = {.fd = fd, .fd_fn = fn, .ctx = ctx};

	return source_add(loop, &init, events, out);
}

int loop_set_events(struct loop *loop, struct loop_source *source, uint32_t events)
{
	int ret;

	pthread_mutex_lock(&loop->lock);
	ret = source_watch(loop, source, events);
	pthread_mutex_unlock(&loop->lock);
	return ret;
}

int loop_add_timer(struct loop *loop, loop_fn fn, void *ctx, struct loop_source **out)
{
	struct loop_source init = {.timer = true, .timer_fn = fn, .ctx = ctx};
	int ret;

	init.fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	if (init.fd < 0)
		return -errno;
	ret = source_add(loop, &init, EPOLLIN, out);
	if (ret)
		close(init.fd);
	return ret;
}

int loop_timer_set(struct loop *loop, struct loop_source *timer, uint64_t delay_ns)
{
	struct itimerspec when = {
		.it_value.tv_sec = (time_t)(delay_ns / NS_PER_SEC),
		.it_value.tv_nsec = (long)(delay_ns % NS_PER_SEC),
	};

	(void)loop;
	return host_result(timerfd_settime(timer->fd, 0, &when, NULL));
}

void loop_remove(struct loop *loop, struct loop_source *source)
{
	if (!source)
		return;
	pthread_mutex_lock(&loop->lock);
	source->gone = true;
	source_watch(loop, source, 0); /* fails when the descriptor is closed already: also out */
	*source->link = source->next;
	if (source->next)
		source->next->link = source->link;

	if (!loop->running) {
		source_free(source);
	} else {
		if (loop->thread != pthread_self()) {
			loop->waiters++;
			while (loop->current == source)
				pthread_cond_wait(&loop->returned, &loop->lock);
			loop->waiters--;
		}
		source->next = loop->removed;
		loop->removed = source;
		if (!loop->running)
			reap(loop); /* it ended while we waited */
	}
	pthread_mutex_unlock(&loop->lock);
}

/* ---- posts ----------------------------------------------------------------------------------- */

int loop_post(struct loop *loop, loop_fn fn, void *ctx)
{
	struct post *post = malloc(sizeof(*post));
	bool first;

	if (!post)
		return -ENOMEM;
	*post = (struct post){.fn = fn, .ctx = ctx};
	pthread_mutex_lock(&loop->lock);
	first = !loop->posts;
	*loop->last_post = post;
	loop->last_post = &post->next;
	pthread_mutex_unlock(&loop->lock);
	if (first)
		wake(loop);
	return 0;
}

/* Run what is posted now; what these post in turn waits for the next round, as descriptors do. */
static void run_posts(struct loop *loop)
{
	struct post *posts;

	pthread_mutex_lock(&loop->lock);
	posts = loop->posts;
	loop->posts = NULL;
	loop->last_post = &loop->posts;
	pthread_mutex_unlock(&loop->lock);
	while (posts) {
		struct post *post = posts;

		posts = post->next;
		post->fn(post->ctx);
		free(post);
	}
}

/* ---- serving --------------------------------------------------------------------------------- */

static void drain_wake(struct loop *loop)
{
	uint64_t count;

	while (read(loop->wake_fd, &count, sizeof(count)) < 0 && errno == EINTR)
		;
}

static void dispatch(struct loop *loop, struct loop_source *source, uint32_t events)
{
	uint64_t expirations;

	pthread_mutex_lock(&loop->lock);
	/* Removed or paused by an earlier callback of the batch, or by another thread. */
	events &= source->events | EPOLLHUP | EPOLLERR;
	if (source->gone || !source->events || !events) {
		pthread_mutex_unlock(&loop->lock);
		return;
	}
	loop->current = source;
	pthread_mutex_unlock(&loop->lock);

	if (!source->timer)
		source->fd_fn(source->ctx, events);
	else if (read(source->fd, &expirations, sizeof(expirations)) > 0)
		source->timer_fn(source->ctx); /* else it was set anew meanwhile */

	pthread_mutex_lock(&loop->lock);
	loop->current = NULL;
	if (loop->waiters)
		pthread_cond_broadcast(&loop->returned);
	pthread_mutex_unlock(&loop->lock);
}

int loop_run(struct loop *loop)
{
	struct epoll_event events[BATCH];
	int ret = 0;

	pthread_mutex_lock(&loop->lock);
	if (loop->running)
		ret = -EBUSY;
	loop->running = true;
	if (!ret)
		loop->thread = pthread_self();
	pthread_mutex_unlock(&loop->lock);
	if (ret)
		return ret;

	while (!atomic_load(&loop->stop)) {
		int n = epoll_wait(loop->epoll_fd, events, BATCH, -1);
		bool posts = false;

		if (n < 0 && errno != EINTR) {
			ret = -errno;
			break;
		}
		for (int i = 0; i < n; i++) {
			if (events[i].data.ptr)
				dispatch(loop, events[i].data.ptr, events[i].events);
			else
				posts = true;
		}
		if (posts) {
			drain_wake(loop);
			run_posts(loop);
		}
		pthread_mutex_lock(&loop->lock);
		reap(loop);
		pthread_mutex_unlock(&loop->lock);
	}
	atomic_store(&loop->stop, false);
	pthread_mutex_lock(&loop->lock);
	loop->running = false;
	reap(loop);
	pthread_mutex_unlock(&loop->lock);
	return ret;
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	wake(loop);
}
