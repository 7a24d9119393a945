/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In a guest with the reference device and its driver: what an access, an interrupt and a byte of DMA take.
 *
 *   refdev_time read|write COUNT     accesses of 4 bytes to a trapped register of BAR0
 *   refdev_time irq COUNT            requests that do nothing, from the doorbell to the thread that waited for the interrupt
 *   refdev_time copy|crc BYTES       one request over memory of this program
 *
 * Done once untimed, then TURNS times. Prints "NAME MEDIAN_NS MIN_NS MAX_NS": of one access, one interrupt round, or the
 * whole request, the driver's pinning of the memory included. With a minus before the amount, as in "irq -1000", there are
 * no turns: it is done once, for who counts what it costs. What was copied is compared.
 */
#include <err.h>
#include <fcntl.h>
#include <glob.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "devices/vfio/reference/registers.h"
#include "guest-images/refdev/refdev.h"

#define TURNS 5

struct bench {
	int fd;                     /* of the driver's node */
	volatile uint32_t *pattern; /* a register that no request here looks at */
	uint64_t amount;
	uint8_t *from, *to;
};

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static struct refdev_request request(struct bench *b, uint32_t opcode, uint64_t length)
{
	struct refdev_request r = {
		.argsz = sizeof(r),
		.opcode = opcode,
		.source = opcode == REFERENCE_OPCODE_NOP ? 0 : (uintptr_t)b->from,
		.destination = opcode == REFERENCE_OPCODE_COPY ? (uintptr_t)b->to : 0,
		.length = length,
	};

	if (ioctl(b->fd, REFDEV_REQUEST, &r) < 0)
		err(1, "request");
	if (r.error)
		errx(1, "the device ended a request with error %u", r.error);
	return r;
}

/* ---- what is timed ---- */

static void do_read(struct bench *b)
{
	for (uint64_t i = 0; i < b->amount; i++)
		if (*b->pattern == UINT32_MAX)
			errx(1, "the device has gone");
}

static void do_write(struct bench *b)
{
	for (uint64_t i = 0; i < b->amount; i++)
		*b->pattern = 0x5a;
	/* Writes may be posted: what is read behind them has waited for them. */
	if (*b->pattern != 0x5a)
		errx(1, "a write was lost");
}

static void do_irq(struct bench *b)
{
	for (uint64_t i = 0; i < b->amount; i++)
		request(b, REFERENCE_OPCODE_NOP, 0);
}

static void do_copy(struct bench *b)
{
	request(b, REFERENCE_OPCODE_COPY, b->amount);
}

static void do_crc(struct bench *b)
{
	request(b, REFERENCE_OPCODE_CRC, b->amount);
}

static const struct {
	const char *name;
	void (*run)(struct bench *);
	bool bytes; /* the amount is bytes of one request, not a count */
} works[] = {
	{"read", do_read, false}, {"write", do_write, false}, {"irq", do_irq, false},
	{"copy", do_copy, true},  {"crc", do_crc, true},
};

static int by_value(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* ---- the device ---- */

static volatile uint32_t *map_register(uint32_t offset)
{
	glob_t found;
	void *bar;
	int fd;

	if (glob("/sys/bus/pci/drivers/refdev/0*/resource0", 0, NULL, &found))
		errx(1, "no reference device");
	fd = open(found.gl_pathv[0], O_RDWR | O_CLOEXEC);
	bar = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (fd < 0 || bar == MAP_FAILED)
		err(1, "%s", found.gl_pathv[0]);
	globfree(&found);
	return (volatile uint32_t *)((uint8_t *)bar + offset);
}

static uint8_t *pages(uint64_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (memory == MAP_FAILED)
		err(1, "memory");
	return memory;
}

static void prepare_memory(struct bench *b)
{
	b->from = pages(b->amount);
	b->to = pages(b->amount);
	for (uint64_t i = 0; i < b->amount; i++)
		b->from[i] = (uint8_t)(i * 31 + (i >> 12));
}

int main(int argc, char **argv)
{
	struct bench b = {0};
	uint64_t took[TURNS];
	bool once;

	if (argc != 3)
		errx(2, "usage: refdev_time read|write|irq|copy|crc AMOUNT");
	once = argv[2][0] == '-';
	b.amount = strtoull(argv[2] + once, NULL, 0);
	if (!b.amount)
		errx(2, "an amount of nothing");
	b.fd = open("/dev/refdev0", O_RDWR | O_CLOEXEC);
	if (b.fd < 0)
		err(1, "/dev/refdev0");
	b.pattern = map_register(0x120);
	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++) {
		uint64_t divisor = works[i].bytes ? 1 : b.amount;

		if (strcmp(argv[1], works[i].name))
			continue;
		if (works[i].bytes)
			prepare_memory(&b);
		works[i].run(&b);
		for (int turn = 0; !once && turn < TURNS; turn++) {
			uint64_t begun = now_ns();

			works[i].run(&b);
			took[turn] = (now_ns() - begun) / divisor;
		}
		if (!strcmp(argv[1], "copy") && memcmp(b.from, b.to, b.amount))
			errx(1, "what was copied differs from its source");
		if (once)
			return 0;
		qsort(took, TURNS, sizeof(took[0]), by_value);
		printf("%s %llu %llu %llu\n", argv[1], (unsigned long long)took[TURNS / 2],
		       (unsigned long long)took[0], (unsigned long long)took[TURNS - 1]);
		return 0;
	}
	errx(2, "%s: no such work", argv[1]);
}
