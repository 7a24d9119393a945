/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/unit/support.h"
#include "vmm/base/loop.h"

#define MS 1000000ull

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

static struct loop *new_loop(void)
{
	struct loop *loop = NULL;

	cr_assert_eq(loop_create(&loop), 0);
	return loop;
}

/* A loop on a thread of its own. */
static void *run_thread(void *arg)
{
	struct loop *loop = arg;

	loop_run(loop);
	return NULL;
}

static pthread_t start(struct loop *loop)
{
	pthread_t thread;

	cr_assert_eq(pthread_create(&thread, NULL, run_thread, loop), 0);
	return thread;
}

static void finish(struct loop *loop, pthread_t thread)
{
	loop_stop(loop);
	cr_assert_eq(pthread_join(thread, NULL), 0);
	loop_destroy(loop);
}

/* The everyday callback: counts, and ends the loop at a limit. */
struct counter {
	struct loop *loop;
	struct loop_source *source;
	int fd;
	_Atomic unsigned count;
	unsigned stop_at;
	uint32_t events;
};

static void count_event(void *ctx, uint32_t events)
{
	struct counter *counter = ctx;
	uint64_t value;

	counter->events = events;
	if (events & EPOLLIN)
		cr_assert_gt(read(counter->fd, &value, sizeof(value)), 0);
	if (atomic_fetch_add(&counter->count, 1) + 1 == counter->stop_at)
		loop_stop(counter->loop);
}

static void count_call(void *ctx)
{
	struct counter *counter = ctx;

	if (atomic_fetch_add(&counter->count, 1) + 1 == counter->stop_at)
		loop_stop(counter->loop);
}

static void signal_fd(int fd)
{
	uint64_t one = 1;

	cr_assert_eq(write(fd, &one, sizeof(one)), sizeof(one));
}

Test(loop, tells_of_a_readable_descriptor, .timeout = 10)
{
	struct counter counter = {.loop = new_loop(), .fd = eventfd(0, 0), .stop_at = 1};

	cr_assert_eq(loop_add_fd(counter.loop, counter.fd, EPOLLIN, count_event, &counter,
				 &counter.source),
		     0);
	signal_fd(counter.fd);
	cr_assert_eq(loop_run(counter.loop), 0);
	cr_assert_eq(counter.count, 1);
	cr_assert_eq(counter.events, EPOLLIN);
	loop_remove(counter.loop, counter.source);
	close(counter.fd);
	loop_destroy(counter.loop);
}

Test(loop, is_level_triggered, .timeout = 10)
{
	struct counter counter = {.loop = new_loop(), .stop_at = 5};

	counter.fd = eventfd(5, EFD_SEMAPHORE);
	cr_assert_eq(loop_add_fd(counter.loop, counter.fd, EPOLLIN, count_event, &counter,
				 &counter.source),
		     0);
	cr_assert_eq(loop_run(counter.loop), 0);
	cr_assert_eq(counter.count, 5);
	loop_remove(counter.loop, counter.source);
	close(counter.fd);
	loop_destroy(counter.loop);
}

Test(loop, refuses_descriptors_that_epoll_refuses)
{
	struct loop *loop = new_loop();
	struct loop_source *source = NULL, *second = NULL;
	int null = open("/dev/null", O_RDWR), event = eventfd(0, 0);

	cr_assert_eq(loop_add_fd(loop, null, EPOLLIN, count_event, NULL, &source), -EPERM);
	cr_assert_null(source);
	cr_assert_eq(loop_add_fd(loop, -1, EPOLLIN, count_event, NULL, &source), -EBADF);
	cr_assert_eq(loop_add_fd(loop, event, EPOLLIN, count_event, NULL, &source), 0);
	cr_assert_eq(loop_add_fd(loop, event, EPOLLIN, count_event, NULL, &second), -EEXIST);
	loop_remove(loop, source);
	loop_remove(loop, NULL);
	close(null);
	close(event);
	loop_destroy(loop);
}

static void resume_source(void *ctx)
{
	struct counter *counter = ctx;

	cr_assert_eq(counter->count, 0, "a paused source was told");
	cr_assert_eq(loop_set_events(counter->loop, counter->source, EPOLLIN), 0);
}

Test(loop, a_paused_source_is_silent_even_about_a_hang_up, .timeout = 10)
{
	struct counter counter = {.loop = new_loop(), .stop_at = 1};
	struct loop_source *timer;
	int pair[2];

	cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	counter.fd = pair[0];
	cr_assert_eq(write(pair[1], "12345678", 8), 8);
	close(pair[1]);
	cr_assert_eq(
		loop_add_fd(counter.loop, pair[0], EPOLLIN, count_event, &counter, &counter.source),
		0);
	cr_assert_eq(loop_set_events(counter.loop, counter.source, 0), 0);
	cr_assert_eq(loop_set_events(counter.loop, counter.source, 0), 0);
	cr_assert_eq(loop_add_timer(counter.loop, resume_source, &counter, &timer), 0);
	cr_assert_eq(loop_timer_set(counter.loop, timer, 20 * MS), 0);
	cr_assert_eq(loop_run(counter.loop), 0);
	cr_assert_eq(counter.count, 1);
	cr_assert_eq(counter.events, EPOLLIN | EPOLLHUP);
	loop_remove(counter.loop, timer);
	loop_remove(counter.loop, counter.source);
	close(pair[0]);
	loop_destroy(counter.loop);
}

/* ---- timers ---------------------------------------------------------------------------------- */

Test(loop, a_timer_fires_once_and_not_early, .timeout = 10)
{
	struct counter counter = {.loop = new_loop(), .stop_at = 1}, end = counter;
	struct loop_source *timer, *last;
	uint64_t begin;

	end.loop = counter.loop;
	counter.stop_at = 0;
	cr_assert_eq(loop_add_timer(counter.loop, count_call, &counter, &timer), 0);
	cr_assert_eq(loop_add_timer(counter.loop, count_call, &end, &last), 0);
	begin = now_ns();
	cr_assert_eq(loop_timer_set(counter.loop, timer, 10 * MS), 0);
	cr_assert_eq(loop_timer_set(counter.loop, last, 60 * MS), 0);
	cr_assert_eq(loop_run(counter.loop), 0);
	cr_assert_geq(now_ns() - begin, 60 * MS);
	cr_assert_eq(counter.count, 1);
	loop_remove(counter.loop, timer);
	loop_remove(counter.loop, last);
	loop_destroy(counter.loop);
}

Test(loop, a_timer_can_be_disarmed_armed_again_and_set_for_ever, .timeout = 10)
{
	struct counter counter = {.loop = new_loop()}, end = {.stop_at = 1};
	struct loop_source *timer, *last;

	end.loop = counter.loop;
	cr_assert_eq(loop_add_timer(counter.loop, count_call, &counter, &timer), 0);
	cr_assert_eq(loop_add_timer(counter.loop, count_call, &end, &last), 0);
	cr_assert_eq(loop_timer_set(counter.loop, timer, 1), 0);
	cr_assert_eq(loop_timer_set(counter.loop, timer, 0), 0);
	cr_assert_eq(loop_timer_set(counter.loop, last, 20 * MS), 0);
	cr_assert_eq(loop_run(counter.loop), 0);
	cr_assert_eq(counter.count, 0);
	cr_assert_eq(loop_timer_set(counter.loop, timer, UINT64_MAX), 0);
	end.stop_at = 2;
	cr_assert_eq(loop_timer_set(counter.loop, last, 20 * MS), 0);
	cr_assert_eq(loop_run(counter.loop), 0);
	cr_assert_eq(counter.count, 0);
	cr_assert_eq(loop_timer_set(counter.loop, timer, 1), 0);
	end.stop_at = 3;
	cr_assert_eq(loop_timer_set(counter.loop, last, 20 * MS), 0);
	cr_assert_eq(loop_run(counter.loop), 0);
	cr_assert_eq(counter.count, 1);
	loop_remove(counter.loop, timer);
	loop_remove(counter.loop, last);
	loop_destroy(counter.loop);
}

/* ---- changes inside callbacks ---------------------------------------------------------------- */

struct pack {
	struct loop *loop;
	struct loop_source *sources[8];
	int fds[8];
	unsigned calls;
	bool closes; /* a slip: descriptors are closed before their sources are removed */
	struct loop_source *timer;
};

/* Whoever is called first removes all, itself included, and is the only one called. */
static void remove_pack(void *ctx, uint32_t events)
{
	struct pack *pack = ctx;

	(void)events;
	pack->calls++;
	for (int i = 0; i < 8; i++) {
		if (pack->closes)
			close(pack->fds[i]);
		loop_remove(pack->loop, pack->sources[i]);
	}
}

static void pause_pack(void *ctx, uint32_t events)
{
	struct pack *pack = ctx;

	(void)events;
	pack->calls++;
	for (int i = 0; i < 8; i++)
		cr_assert_eq(loop_set_events(pack->loop, pack->sources[i], 0), 0);
}

static void stop_pack(void *ctx)
{
	struct pack *pack = ctx;

	loop_stop(pack->loop);
}

static void run_pack(loop_fd_fn fn, struct pack *pack)
{
	pack->loop = new_loop();
	for (int i = 0; i < 8; i++) {
		int pair[2];

		/* Hung up, which cannot be masked. */
		cr_assert_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
		pack->fds[i] = pair[0];
		close(pair[1]);
		cr_assert_eq(
			loop_add_fd(pack->loop, pack->fds[i], EPOLLIN, fn, pack, &pack->sources[i]),
			0);
	}
	cr_assert_eq(loop_add_timer(pack->loop, stop_pack, pack, &pack->timer), 0);
	cr_assert_eq(loop_timer_set(pack->loop, pack->timer, 20 * MS), 0);
	cr_assert_eq(loop_run(pack->loop), 0);
	cr_assert_eq(pack->calls, 1);
	for (int i = 0; i < 8 && !pack->closes; i++)
		close(pack->fds[i]);
	loop_destroy(pack->loop);
}

Test(loop, a_callback_removes_itself_and_others_of_the_same_batch, .timeout = 10)
{
	struct pack kept = {0}, closed = {.closes = true};

	run_pack(remove_pack, &kept);
	run_pack(remove_pack, &closed);
}

Test(loop, a_callback_pauses_others_of_the_same_batch, .timeout = 10)
{
	struct pack pack = {0};

	run_pack(pause_pack, &pack);
}

struct chain {
	struct loop *loop;
	struct loop_source *source;
	unsigned left;
};

/* A timer that replaces itself by a new one. */
static void next_timer(void *ctx)
{
	struct chain *chain = ctx;

	loop_remove(chain->loop, chain->source);
	if (--chain->left == 0) {
		loop_stop(chain->loop);
		return;
	}
	cr_assert_eq(loop_add_timer(chain->loop, next_timer, chain, &chain->source), 0);
	cr_assert_eq(loop_timer_set(chain->loop, chain->source, 1), 0);
}

Test(loop, a_callback_adds_sources, .timeout = 10)
{
	struct chain chain = {.loop = new_loop(), .left = 500};

	cr_assert_eq(loop_add_timer(chain.loop, next_timer, &chain, &chain.source), 0);
	cr_assert_eq(loop_timer_set(chain.loop, chain.source, 1), 0);
	cr_assert_eq(loop_run(chain.loop), 0);
	cr_assert_eq(chain.left, 0);
	loop_destroy(chain.loop);
}

/* ---- posts ----------------------------------------------------------------------------------- */

struct order {
	struct loop *loop;
	unsigned next[4]; /* what comes next of each poster */
	unsigned wrong, seen, stop_at;
};

struct order_post {
	struct order *order;
	unsigned poster, number;
};

static void check_order(void *ctx)
{
	struct order_post *post = ctx;
	struct order *order = post->order;

	order->wrong += order->next[post->poster]++ != post->number;
	if (++order->seen == order->stop_at)
		loop_stop(order->loop);
	free(post);
}

struct poster {
	struct order *order;
	unsigned id, count;
};

static void *post_many(void *arg)
{
	struct poster *poster = arg;

	for (unsigned i = 0; i < poster->count; i++) {
		struct order_post *post = malloc(sizeof(*post));

		*post = (struct order_post){poster->order, poster->id, i};
		if (loop_post(poster->order->loop, check_order, post))
			abort();
	}
	return NULL;
}

Test(loop, runs_posts_of_every_thread_in_their_order, .timeout = 30)
{
	enum { COUNT = 20000 };
	struct order order = {.loop = new_loop(), .stop_at = 4 * COUNT};
	struct poster posters[4];
	pthread_t threads[4];

	for (unsigned i = 0; i < 4; i++) {
		posters[i] = (struct poster){&order, i, COUNT};
		cr_assert_eq(pthread_create(&threads[i], NULL, post_many, &posters[i]), 0);
	}
	cr_assert_eq(loop_run(order.loop), 0);
	for (unsigned i = 0; i < 4; i++) {
		cr_assert_eq(pthread_join(threads[i], NULL), 0);
		cr_assert_eq(order.next[i], COUNT);
	}
	cr_assert_eq(order.wrong, 0);
	loop_destroy(order.loop);
}

static void post_again(void *ctx)
{
	struct counter *counter = ctx;

	count_call(counter);
	if (counter->count < counter->stop_at)
		cr_assert_eq(loop_post(counter->loop, post_again, counter), 0);
}

Test(loop, posts_that_post_do_not_starve_descriptors, .timeout = 10)
{
	struct counter posts = {.loop = new_loop(), .stop_at = UINT32_MAX};
	struct counter event = {.loop = posts.loop, .stop_at = 1, .fd = eventfd(1, 0)};

	cr_assert_eq(loop_post(posts.loop, post_again, &posts), 0);
	cr_assert_eq(loop_add_fd(posts.loop, event.fd, EPOLLIN, count_event, &event, &event.source),
		     0);
	cr_assert_eq(loop_run(posts.loop), 0);
	cr_assert_eq(event.count, 1);
	loop_remove(posts.loop, event.source);
	close(event.fd);
	loop_destroy(posts.loop); /* with a post that never ran */
}

/* ---- other threads --------------------------------------------------------------------------- */

struct slow {
	_Atomic int inside; /* 1 in the callback, 2 out of it */
	int fd;
};

static void slow_event(void *ctx, uint32_t events)
{
	struct slow *slow = ctx;

	(void)events;
	atomic_store(&slow->inside, 1);
	usleep(50000);
	atomic_store(&slow->inside, 2);
}

Test(loop, remove_from_another_thread_waits_for_the_callback, .timeout = 10)
{
	struct loop *loop = new_loop();
	struct slow slow = {.fd = eventfd(1, 0)};
	struct loop_source *source;
	pthread_t thread = start(loop);

	cr_assert_eq(loop_add_fd(loop, slow.fd, EPOLLIN, slow_event, &slow, &source), 0);
	while (atomic_load(&slow.inside) != 1)
		usleep(100);
	loop_remove(loop, source);
	cr_assert_eq(atomic_load(&slow.inside), 2);
	usleep(60000);
	cr_assert_eq(atomic_load(&slow.inside), 2, "it ran after the removal");
	close(slow.fd);
	finish(loop, thread);
}

struct victim {
	uint64_t magic;
	int fd;
};

static void touch_victim(void *ctx, uint32_t events)
{
	struct victim *victim = ctx;
	uint64_t value;

	(void)events;
	if (victim->magic != 0x600d || read(victim->fd, &value, sizeof(value)) < 0)
		abort();
}

Test(loop, contexts_can_be_freed_after_remove_from_another_thread, .timeout = 60)
{
	struct loop *loop = new_loop();
	pthread_t thread = start(loop);

	for (int i = 0; i < 5000; i++) {
		struct victim *victim = malloc(sizeof(*victim));
		struct loop_source *source;

		*victim = (struct victim){0x600d, eventfd(3, EFD_SEMAPHORE | EFD_NONBLOCK)};
		cr_assert_eq(loop_add_fd(loop, victim->fd, EPOLLIN, touch_victim, victim, &source),
			     0);
		if (i % 8 == 0)
			usleep(50);
		loop_remove(loop, source);
		close(victim->fd);
		victim->magic = 0xbad;
		free(victim);
	}
	finish(loop, thread);
}

static void fire_timer(void *ctx)
{
	atomic_fetch_add((_Atomic unsigned *)ctx, 1);
}

Test(loop, timers_are_set_and_removed_by_another_thread, .timeout = 60)
{
	struct loop *loop = new_loop();
	pthread_t thread = start(loop);
	_Atomic unsigned fired = 0;

	for (int i = 0; i < 2000; i++) {
		struct loop_source *timer;

		cr_assert_eq(loop_add_timer(loop, fire_timer, &fired, &timer), 0);
		cr_assert_eq(loop_timer_set(loop, timer, 1), 0);
		if (i % 8 == 0)
			usleep(100);
		loop_remove(loop, timer);
	}
	cr_assert_gt(atomic_load(&fired), 0);
	finish(loop, thread);
}

/* ---- stop ------------------------------------------------------------------------------------ */

Test(loop, a_stop_before_the_run_ends_it_and_only_it, .timeout = 10)
{
	struct counter counter = {.loop = new_loop(), .stop_at = 1};

	loop_stop(counter.loop);
	cr_assert_eq(loop_run(counter.loop), 0);
	cr_assert_eq(loop_post(counter.loop, count_call, &counter), 0);
	cr_assert_eq(loop_run(counter.loop), 0);
	cr_assert_eq(counter.count, 1);
	loop_destroy(counter.loop);
}

static void run_nested(void *ctx)
{
	struct counter *counter = ctx;

	cr_assert_eq(loop_run(counter->loop), -EBUSY);
	count_call(ctx);
}

Test(loop, is_run_by_one_thread_only, .timeout = 10)
{
	struct counter counter = {.loop = new_loop(), .stop_at = 1};

	cr_assert_eq(loop_post(counter.loop, run_nested, &counter), 0);
	cr_assert_eq(loop_run(counter.loop), 0);
	cr_assert_eq(counter.count, 1);
	loop_destroy(counter.loop);
}
