/* SPDX-License-Identifier: Apache-2.0 */
/* A reference device on a bench: guest memory of two spaces, and a record of its interrupts. */
#ifndef SLUICE_TESTS_UNIT_REFERENCE_BENCH_H
#define SLUICE_TESTS_UNIT_REFERENCE_BENCH_H

#include <criterion/criterion.h>
#include <stdlib.h>

#include "devices/vfio/reference/model.h"

#define BENCH_VECTORS 8
#define BENCH_MEMORY  REFERENCE_MEMORY_MIN
#define BENCH_BASE    0x100000u /* IOVA of the first byte of the guest's memory */
#define BENCH_SIZE    0x80000u
#define BENCH_PASID   77u

#define BAR0   VFIO_PCI_BAR0_REGION_INDEX
#define BAR1   VFIO_PCI_BAR1_REGION_INDEX
#define BAR2   VFIO_PCI_BAR2_REGION_INDEX
#define CONFIG VFIO_PCI_CONFIG_REGION_INDEX

struct bench {
	struct reference_device device;
	uint8_t *ram;       /* of the space without a PASID */
	uint8_t *pasid_ram; /* of BENCH_PASID, same addresses */
	unsigned raised[BENCH_VECTORS];
	unsigned intx_changes;
	bool intx;
	unsigned accesses;
	uint32_t effects; /* of the last write */
};

static inline void bench_raise(void *ctx, uint32_t vector)
{
	struct bench *b = ctx;

	cr_assert_lt(vector, BENCH_VECTORS);
	b->raised[vector]++;
}

static inline void bench_intx(void *ctx, bool asserted)
{
	struct bench *b = ctx;

	cr_assert_neq(asserted, b->intx);
	b->intx = asserted;
	b->intx_changes++;
}

static inline uint8_t *bench_bytes(size_t size)
{
	uint8_t *bytes = malloc(size);

	memset(bytes, 0x5a, size);
	return bytes;
}

static inline void bench_write(struct bench *b, uint32_t region, uint64_t at, uint64_t value,
			       size_t size)
{
	cr_assert_eq(reference_write(&b->device, region, &value, size, at, &b->effects),
		     (ssize_t)size);
}

static inline uint64_t bench_read(struct bench *b, uint32_t region, uint64_t at, size_t size)
{
	uint64_t value = 0;

	cr_assert_eq(reference_read(&b->device, region, &value, size, at), (ssize_t)size);
	return value;
}

static inline void set32(struct bench *b, uint32_t at, uint32_t value)
{
	bench_write(b, BAR0, at, value, 4);
}

static inline void set64(struct bench *b, uint32_t at, uint64_t value)
{
	bench_write(b, BAR0, at, value, 8);
}

static inline uint32_t get32(struct bench *b, uint32_t at)
{
	return (uint32_t)bench_read(b, BAR0, at, 4);
}

static inline uint64_t get64(struct bench *b, uint32_t at)
{
	return bench_read(b, BAR0, at, 8);
}

static inline struct bench *bench_new_flags(uint32_t flags)
{
	struct bench *b = calloc(1, sizeof(*b));
	const struct reference_env env = {.ctx = b, .raise = bench_raise, .intx = bench_intx};
	const struct reference_geometry geometry = {.vectors = BENCH_VECTORS,
						    .memory_size = BENCH_MEMORY,
						    .serial = 0x1122334455667788};
	const size_t bitmap = REFERENCE_BITMAP_BYTES(BENCH_MEMORY);
	const struct reference_memory memory = {
		.scratch = bench_bytes(REFERENCE_SCRATCH_SIZE),
		.memory = bench_bytes(BENCH_MEMORY),
		.dirty = (uint64_t *)bench_bytes(bitmap),
		.fresh = (uint64_t *)bench_bytes(bitmap),
		.bounce = bench_bytes(8192),
		.bounce_size = 8192,
	};

	b->ram = bench_bytes(BENCH_SIZE);
	b->pasid_ram = bench_bytes(BENCH_SIZE);
	for (uint32_t i = 0; i < BENCH_SIZE; i++) {
		b->ram[i] = (uint8_t)(i * 7 + i / 256);
		b->pasid_ram[i] = (uint8_t)(i * 11 + i / 512);
	}
	memset(&b->device, 0x5a, sizeof(b->device));
	cr_assert_eq(reference_init(&b->device, &env, &geometry, &memory, flags), 0);
	bench_write(b, CONFIG, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	return b;
}

static inline struct bench *bench_new(void)
{
	return bench_new_flags(VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P |
			       VFIO_MIGRATION_PRE_COPY);
}

static inline void bench_free(struct bench *b)
{
	free(b->device.mem.scratch);
	free(b->device.mem.memory);
	free(b->device.mem.dirty);
	free(b->device.mem.fresh);
	free(b->device.mem.bounce);
	free(b->ram);
	free(b->pasid_ram);
	free(b);
}

/* Do one access as an embedder would. */
static inline int bench_access(struct bench *b, const struct reference_access *access)
{
	uint8_t *ram = access->has_pasid ? b->pasid_ram : b->ram;

	b->accesses++;
	cr_assert_leq(access->length, b->device.mem.bounce_size);
	cr_assert_gt(access->length, 0);
	if (access->has_pasid && access->pasid != BENCH_PASID)
		return -ENOENT;
	if (access->iova < BENCH_BASE || access->iova >= BENCH_BASE + BENCH_SIZE ||
	    access->length > BENCH_BASE + BENCH_SIZE - access->iova)
		return -ENOENT;
	ram += access->iova - BENCH_BASE;
	if (access->kind == REFERENCE_ACCESS_READ)
		memcpy(access->buffer, ram, access->length);
	else
		memcpy(ram, access->buffer, access->length);
	return 0;
}

/* One step; false when there is nothing to do. */
static inline bool bench_step(struct bench *b)
{
	struct reference_access access;

	if (!reference_next(&b->device, &access))
		return false;
	if (access.kind != REFERENCE_ACCESS_NONE)
		reference_done(&b->device, bench_access(b, &access));
	return true;
}

static inline void bench_run(struct bench *b)
{
	while (bench_step(b))
		;
}

/* A request with what the registers have, to its end. Returns ERROR. */
static inline uint32_t bench_request(struct bench *b, uint32_t command, uint64_t source,
				     uint64_t destination, uint32_t length)
{
	set64(b, REFERENCE_SOURCE, source);
	set64(b, REFERENCE_DESTINATION, destination);
	set32(b, REFERENCE_LENGTH, length);
	set32(b, REFERENCE_COMMAND, command);
	set32(b, REFERENCE_DOORBELL, 0xbe11);
	bench_run(b);
	return get32(b, REFERENCE_ERROR);
}

static inline void bench_entry(struct bench *b, uint32_t list, uint32_t index, uint64_t address,
			       uint32_t length, uint32_t flags)
{
	uint8_t *at = b->ram + list - BENCH_BASE + index * REFERENCE_ENTRY_SIZE;

	memcpy(at, &address, 8);
	memcpy(at + 8, &length, 4);
	memcpy(at + 12, &flags, 4);
}

/* Make the sums right again after a change: a hostile sender, not an unlucky one. */
static inline void bench_seal(struct bench *b, uint8_t *bytes, size_t size)
{
	for (size_t at = 0; at + 16 <= size;) {
		uint8_t *record = bytes + at;
		uint32_t length, crc = ~0u;

		memcpy(&length, record + 4, 4);
		if (length > size - at - 16)
			return;
		for (size_t i = 0; i < 12 + (size_t)length; i++)
			crc = crc >> 8 ^
			      b->device.crc_table[0][(crc ^ record[i < 12 ? i : i + 4]) & 0xff];
		crc = ~crc;
		memcpy(record + 12, &crc, 4);
		at += 16 + (size_t)length;
	}
}

#endif
