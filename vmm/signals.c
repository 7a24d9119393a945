// SPDX-License-Identifier: Apache-2.0
#include "vmm/signals.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "vmm/base/loop.h"

struct signals {
	struct loop *loop;
	struct loop_source *source;
	int fd;
	void (*arrived)(void *ctx, int number);
	void *ctx;
};

/* The number of the next one that has come, 0: none. */
static int next(struct signals *signals)
{
	struct signalfd_siginfo info;

	return read(signals->fd, &info, sizeof(info)) == sizeof(info) ? (int)info.ssi_signo : 0;
}

static void deliver(void *ctx, uint32_t events)
{
	struct signals *signals = ctx;
	int number;

	(void)events;
	while ((number = next(signals)) != 0)
		signals->arrived(signals->ctx, number);
}

int signals_create(struct loop *loop, void (*arrived)(void *ctx, int number), void *ctx,
		   struct signals **out)
{
	struct signals *signals = calloc(1, sizeof(*signals));
	const struct sigaction ignore = {.sa_handler = SIG_IGN};
	sigset_t set;
	int r;

	if (signals == NULL)
		return -ENOMEM;
	*signals = (struct signals){.loop = loop, .arrived = arrived, .ctx = ctx};
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGCONT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGPIPE, &ignore, NULL);
	sigaction(SIGXFSZ, &ignore, NULL);
	signals->fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	r = signals->fd < 0 ? -errno : 0;
	if (r == 0)
		r = loop_add_fd(loop, signals->fd, EPOLLIN, deliver, signals, &signals->source);
	if (r < 0) {
		signals_destroy(signals);
		return r;
	}
	*out = signals;
	return 0;
}

void signals_end_at_once(bool on)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	pthread_sigmask(on ? SIG_UNBLOCK : SIG_BLOCK, &set, NULL);
}

bool signals_end_is_asked(struct signals *signals)
{
	bool end = false, look = false;
	int number;

	while ((number = next(signals)) != 0) {
		end |= number == SIGTERM || number == SIGINT;
		look |= number == SIGUSR1;
	}
	/* That is the loop's, when it runs. */
	if (look)
		pthread_kill(pthread_self(), SIGUSR1);
	return end;
}

void signals_destroy(struct signals *signals)
{
	if (signals == NULL)
		return;
	loop_remove(signals->loop, signals->source);
	if (signals->fd >= 0)
		close(signals->fd);
	free(signals);
}
