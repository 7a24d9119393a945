/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eventfds that another process has as well: a client's interrupts, a doorbell that a client rings.
 *
 * Counter and flags belong to all who have the descriptor. A peer that takes O_NONBLOCK away and fills
 * the counter, or empties it, could make whoever writes or reads it wait for ever; nothing here
 * does. The kernel is not asked to be careful: its own signals (VFIO, KVM) never wait.
 */
#ifndef SLUICE_BASE_EVENTFD_H
#define SLUICE_BASE_EVENTFD_H

#include <stdbool.h>
#include <stdint.h>

struct eventfd_signaller;

/*
 * What signals eventfds. It has a descriptor of its own. -ENOMEM, -errno of memfd_create. A kernel that
 * has no asynchronous I/O, or has too much of it under way (fs.aio-max-nr), is no error: a signal
 * is a look at the counter and a write then, in between which a peer could come.
 */
int eventfd_signaller_create(struct eventfd_signaller **out);
/* NULL is allowed. */
void eventfd_signaller_destroy(struct eventfd_signaller *signaller);

/*
 * Add one to the counter of @fd as the kernel does (eventfd_signal(), fs/eventfd.c): a full counter
 * stays full. Never waits. Any thread, any number at once. False: @fd is no eventfd, or the
 * host had no memory.
 */
bool eventfd_signal(struct eventfd_signaller *signaller, int fd);

/*
 * Set the counter of @fd to 0 (EFD_SEMAPHORE: one less). What was taken; 0 also for what is no eventfd.
 * Never waits (on Linux before 5.8: as its flags say).
 */
uint64_t eventfd_take(int fd);

#endif
