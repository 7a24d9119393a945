// SPDX-License-Identifier: Apache-2.0
/* Threads beside the one that has the loop. */
#include <pthread.h>
#include <signal.h>

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
