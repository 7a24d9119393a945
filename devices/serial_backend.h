/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a serial port is connected to on the host: the terminal, a pseudo terminal, a file, nothing.
 *
 * Output never blocks the caller. Bytes that the host does not take at once wait in a queue; past
 * SERIAL_OUTPUT_HIGH of them serial_backend_room() is false and the port tells its guest that the
 * transmitter is busy, which is the flow control that a real line has. A guest that transmits all
 * the same (Linux's kernel console does after 10 ms a character) is served up to
 * SERIAL_OUTPUT_LIMIT; what comes after that is dropped, with one warning. Input is read from the
 * host only as fast as the guest takes it, so nothing is lost there either; the exception is a
 * terminal with an input filter, which is read on up to SERIAL_INPUT_LIMIT, since its escape keys
 * must work while the guest hangs.
 *
 * Bytes of a burst go out together: at each newline, at SERIAL_OUTPUT_BATCH bytes, or after
 * SERIAL_BURST_NS; a byte that comes after a pause goes out at once.
 *
 * The program has to ignore SIGPIPE, which a closed pipe on standard output would raise.
 * The owner calls everything under one lock of its own (`lock`); the callbacks of the loop take it.
 */
#ifndef SLUICE_SERIAL_BACKEND_H
#define SLUICE_SERIAL_BACKEND_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct serial_backend;

#define SERIAL_OUTPUT_BATCH 256u
#define SERIAL_OUTPUT_HIGH  (64u << 10)
#define SERIAL_OUTPUT_LIMIT (1u << 20)
#define SERIAL_INPUT_HIGH   4096u
#define SERIAL_INPUT_LIMIT  (1u << 20)
#define SERIAL_BURST_NS     2000000u

enum serial_backend_kind {
	SERIAL_STDIO, /* descriptors 0 and 1 */
	SERIAL_NONE,  /* output goes nowhere, input never comes */
	SERIAL_PTY,   /* a new pseudo terminal; its path is printed on standard output */
	SERIAL_FILE,  /* output only, into `path`, which is truncated */
};

/* What the user asked for. */
struct serial_config {
	enum serial_backend_kind kind;
	const char *path; /* SERIAL_FILE */
};

/*
 * Looks at input before the guest does, on the loop thread and without the owner's lock: may change
 * @bytes in place and returns how many are left for the guest (at most @count).
 */
typedef size_t (*serial_filter_fn)(void *ctx, uint8_t *bytes, size_t count);

struct serial_backend_params {
	const struct serial_config *config;
	const char *id; /* "serial0", for messages */
	struct loop *loop;
	pthread_mutex_t *lock; /* the owner's */
	serial_filter_fn filter;
	void *filter_ctx;
	void (*input)(void *ctx); /* input arrived; called with the lock held */
	void (*room)(void *ctx);  /* serial_backend_room() became true; called with the lock held */
	void *ctx;
};

/* Errors, with a message: -errno of opening, -ENOMEM. */
int serial_backend_create(const struct serial_backend_params *params, struct serial_backend **out);

/*
 * Waits up to a second for the host to take the queued output, then says how much was lost. On the
 * loop thread or after the loop has ended, without the lock. NULL is allowed.
 */
void serial_backend_destroy(struct serial_backend *backend);

void serial_backend_put(struct serial_backend *backend, uint8_t byte);
bool serial_backend_room(const struct serial_backend *backend);

/* Bytes put that the host has not taken. */
size_t serial_backend_queued(const struct serial_backend *backend);

/* The next byte of input, or -1. */
int serial_backend_get(struct serial_backend *backend);

/* The path of the pseudo terminal; NULL for the other kinds. */
const char *serial_backend_pty(const struct serial_backend *backend);

#endif
