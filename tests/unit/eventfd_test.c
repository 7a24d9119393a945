/* SPDX-License-Identifier: Apache-2.0 */
/* Eventfds whose other owner means harm: they block, and their counters are full or empty. */
#include "vmm/base/eventfd.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "tests/unit/support.h"

static struct eventfd_signaller *new_signaller(void)
{
	struct eventfd_signaller *signaller;

	cr_assert_eq(eventfd_signaller_create(&signaller), 0);
	return signaller;
}

Test(eventfd, each_signal_counts, .timeout = 60)
{
	struct eventfd_signaller *signaller = new_signaller();
	const int fd = eventfd(0, EFD_CLOEXEC);
	eventfd_t count;

	for (unsigned i = 0; i < 1000; i++)
		cr_assert(eventfd_signal(signaller, fd));
	cr_assert_eq(eventfd_read(fd, &count), 0);
	cr_assert_eq(count, 1000);
	close(fd);
	eventfd_signaller_destroy(signaller);
}

Test(eventfd, a_full_counter_that_blocks_keeps_nobody, .timeout = 60)
{
	struct eventfd_signaller *signaller = new_signaller();
	const int fd = eventfd(0, EFD_CLOEXEC);
	struct pollfd ready = {.fd = fd, .events = POLLIN};

	cr_assert_eq(eventfd_write(fd, UINT64_MAX - 1), 0);
	for (unsigned i = 0; i < 3; i++)
		cr_assert(eventfd_signal(signaller, fd));
	cr_assert_eq(poll(&ready, 1, 0), 1);
	cr_assert(ready.revents & POLLIN, "and goes on to say so");
	cr_assert(eventfd_take(fd));
	close(fd);
	eventfd_signaller_destroy(signaller);
}

Test(eventfd, an_empty_counter_that_blocks_keeps_nobody, .timeout = 60)
{
	const int fd = eventfd(0, EFD_CLOEXEC), semaphore = eventfd(2, EFD_CLOEXEC | EFD_SEMAPHORE);

	cr_assert_not(eventfd_take(fd));
	cr_assert_eq(eventfd_write(fd, 5), 0);
	cr_assert(eventfd_take(fd));
	cr_assert_not(eventfd_take(fd));
	cr_assert(eventfd_take(semaphore));
	cr_assert(eventfd_take(semaphore));
	cr_assert_not(eventfd_take(semaphore));
	close(fd);
	close(semaphore);
}

Test(eventfd, what_is_no_eventfd_is_not_signalled, .timeout = 60)
{
	struct eventfd_signaller *signaller = new_signaller();
	int ends[2];
	char byte;

	cr_assert_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	cr_assert_not(eventfd_signal(signaller, ends[1]));
	cr_assert_eq(read(ends[0], &byte, 1), -1);
	close(ends[0]);
	close(ends[1]);
	cr_assert_not(eventfd_signal(signaller, ends[1]));
	cr_assert_not(eventfd_signal(signaller, -1));
	eventfd_signaller_destroy(signaller);
}

/* ---- a peer that fights for the counter ---- */

struct fight {
	struct eventfd_signaller *signaller;
	int fd;
	atomic_bool over;
};

/* The moment between a look and a write is what it waits for. */
static void *fill_and_empty(void *ctx)
{
	struct fight *fight = ctx;

	while (!atomic_load(&fight->over)) {
		eventfd_take(fight->fd);
		fcntl(fight->fd, F_SETFL, O_NONBLOCK);
		eventfd_write(fight->fd, UINT64_MAX - 1);
		fcntl(fight->fd, F_SETFL, 0);
	}
	return NULL;
}

static void *signal_often(void *ctx)
{
	const struct fight *fight = ctx;

	for (unsigned i = 0; i < 20000; i++)
		cr_assert(eventfd_signal(fight->signaller, fight->fd));
	return NULL;
}

Test(eventfd, a_peer_that_fills_it_at_the_worst_moment_stops_nobody, .timeout = 120)
{
	struct fight fight = {.signaller = new_signaller(), .fd = eventfd(0, EFD_CLOEXEC)};
	pthread_t peer, threads[2];

	pthread_create(&peer, NULL, fill_and_empty, &fight);
	for (unsigned i = 0; i < 2; i++)
		pthread_create(&threads[i], NULL, signal_often, &fight);
	for (unsigned i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&fight.over, true);
	pthread_join(peer, NULL);
	close(fight.fd);
	eventfd_signaller_destroy(fight.signaller);
}
