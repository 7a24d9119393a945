// SPDX-License-Identifier: Apache-2.0
/* Threads beside the one that has the loop, and the clock that they wait by. */
#include <pthread.h>
#include <signal.h>
#include <time.h>

#include "vmm/base/host.h"

int host_thread_start(pthread_t *thread, size_t stack, void *(*run)(void *ctx), void *ctx)
{
	sigset_t all, before;
	pthread_attr_t attr;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_attr_init(&attr);
	if (stack)
		pthread_attr_setstacksize(&attr, stack);
	error = pthread_create(thread, &attr, run, ctx);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -error;
}

#define SECOND_NS 1000000000u

uint64_t host_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND_NS + (uint64_t)now.tv_nsec;
}

int host_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline)
{
	const struct timespec until = {
		.tv_sec = (time_t)(deadline / SECOND_NS),
		.tv_nsec = (long)(deadline % SECOND_NS),
	};

	return -pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, &until);
}
