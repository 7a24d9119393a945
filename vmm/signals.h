/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a user sends to a running sluice: SIGTERM, SIGINT, SIGUSR1 and SIGCONT, delivered on the event loop.
 */
#ifndef SLUICE_SIGNALS_H
#define SLUICE_SIGNALS_H

#include <stdbool.h>

struct loop;
struct signals;

/*
 * Block the four in the calling thread, and so in every thread that it starts later (before the first of
 * them, or that one would be killed), and call @arrived for each that comes, on the loop thread. SIGPIPE
 * and SIGXFSZ are ignored: a closed pipe and a file at its size limit are errors of write(). They stay
 * blocked and ignored after signals_destroy(). -errno: nothing was printed.
 */
int signals_create(struct loop *loop, void (*arrived)(void *ctx, int number), void *ctx,
		   struct signals **out);
/*
 * In the calling thread SIGTERM and SIGINT end the process as if it had none of this, or no longer. For waits
 * before the loop runs that another process can make long. A thread that is started meanwhile must block both.
 */
void signals_end_at_once(bool on);
/* While the loop does not run yet: take what has come. Was there SIGTERM or SIGINT? */
bool signals_end_is_asked(struct signals *signals);
/* Before the loop goes. NULL is allowed. */
void signals_destroy(struct signals *signals);

#endif
