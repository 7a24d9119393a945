/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The event loop: one thread, epoll underneath. Descriptors, timers and calls posted from other
 * threads are all served on it; a callback may add and remove any source, its own included.
 */
#ifndef SLUICE_BASE_LOOP_H
#define SLUICE_BASE_LOOP_H

#include <stdint.h>

struct loop;
struct loop_source;

/* @events: the EPOLL* bits that are ready (EPOLLIN, EPOLLOUT, EPOLLHUP, EPOLLERR). */
typedef void (*loop_fd_fn)(void *ctx, uint32_t events);
typedef void (*loop_fn)(void *ctx);

/*
 * Returns 0 or -errno of epoll_create1/eventfd. Destroy when no thread runs it or calls into it:
 * sources that are left are freed, posts that are left are dropped.
 */
int loop_create(struct loop **out);
void loop_destroy(struct loop *loop);

/*
 * Watch @fd (level-triggered) for @events; the descriptor stays the caller's, and stays open until
 * loop_remove(). The source belongs to the loop until then. @out is set before the first callback.
 * Any thread may call. Errors: -ENOMEM, -errno of epoll_ctl: -EPERM for files that are always ready
 * (regular files, /dev/null), -EEXIST for a descriptor that has a source.
 */
int loop_add_fd(struct loop *loop, int fd, uint32_t events, loop_fd_fn fn, void *ctx,
		struct loop_source **out);

/* Change the events of a descriptor source. 0 pauses it: not even EPOLLHUP and EPOLLERR are told. */
int loop_set_events(struct loop *loop, struct loop_source *source, uint32_t events);

/*
 * A timer source: disarmed at first. loop_timer_set() arms it to fire once, @delay_ns from now
 * (monotonic clock), or disarms it with 0. On the loop thread a callback that was due but has not
 * begun does not run after it was disarmed.
 */
int loop_add_timer(struct loop *loop, loop_fn fn, void *ctx, struct loop_source **out);
int loop_timer_set(struct loop *loop, struct loop_source *timer, uint64_t delay_ns);

/*
 * Take a source off. On the loop thread its callback never runs again after the return; any other
 * thread waits until a running callback has returned (so: no lock held that the callback takes).
 * NULL is allowed.
 */
void loop_remove(struct loop *loop, struct loop_source *source);

/* Run @fn(@ctx) on the loop thread, in the order posted. Any thread. Returns 0 or -ENOMEM. */
int loop_post(struct loop *loop, loop_fn fn, void *ctx);

/*
 * Serve until loop_stop(); returns 0 or -errno of epoll_wait, -EBUSY when a thread runs it already.
 * A stop that comes before the run ends it at once. loop_stop() is for any thread, and for signal
 * handlers.
 */
int loop_run(struct loop *loop);
void loop_stop(struct loop *loop);

#endif
