/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands of refdev stand on. */
#ifndef REFDEV_TOOL_H
#define REFDEV_TOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "guest-images/refdev/refdev.h"

/* ---- support.c ---- */

/* complain - one line on standard error; returns 1. */
int complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* parse_size - a number with k, M or G behind it. False when it is none. */
bool parse_size(const char *text, uint64_t *size);
/* crc_init - once, before crc32c(). */
void crc_init(void);
uint32_t crc32c(const uint8_t *data, size_t size);
/* noise - fill memory with what depends on @seed alone; @size is a multiple of 8. */
void noise(void *to, size_t size, uint64_t seed);
/* pages - whole pages of zeros, or NULL. */
void *pages(size_t size);

/* ---- device.c: each returns 0, or 1 after a complaint ---- */

struct device {
	const char *path;
	int fd;
	struct refdev_info info;
};

/* request - 0 when the device did it. */
int request(struct device *device, struct refdev_request *r);
int get_info(struct device *device);
/* get_counts - interrupts of each vector, to be freed; NULL after a complaint. */
uint64_t *get_counts(struct device *device);

/* What interrupts must have come. */
struct tally {
	struct refdev_info before;
	uint64_t *counts;
};

int tally_begin(struct device *device, struct tally *tally);
/*
 * tally_end - since tally_begin() @requests requests were made, @wanted[i] of them by vector i (any, if
 * NULL): is that what the device and the interrupt handler have counted?
 */
int tally_end(struct device *device, struct tally *tally, uint64_t requests,
	      const uint64_t *wanted);

#endif
