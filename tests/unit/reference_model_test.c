/* SPDX-License-Identifier: Apache-2.0 */
/* The reference device as its driver meets it: docs/reference-device.md, sentence by sentence. */
#include "tests/unit/reference_bench.h"

#define COPY REFERENCE_OPCODE_COPY
#define FILL REFERENCE_OPCODE_FILL
#define CRC  REFERENCE_OPCODE_CRC
#define NOP  REFERENCE_OPCODE_NOP
#define A    (BENCH_BASE + 0x1003u)
#define B    (BENCH_BASE + 0x40005u)

static uint32_t slow_crc(const uint8_t *data, size_t length)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < length; i++) {
		crc ^= data[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

/* ---- identity and configuration ---- */

Test(reference_model, bad_geometry_is_refused)
{
	struct bench *b = bench_new();
	struct reference_geometry g = b->device.geometry;
	struct reference_memory m = b->device.mem;
	struct reference_device other;
	const struct reference_env env = b->device.env;
	const uint32_t flags = b->device.migration_flags;

	for (unsigned i = 0; i < 8; i++) {
		struct reference_geometry bad = g;
		struct reference_memory bad_memory = m;
		uint32_t bad_flags = flags;

		switch (i) {
		case 0:
			bad.vectors = 0;
			break;
		case 1:
			bad.vectors = REFERENCE_VECTORS_MAX + 1;
			break;
		case 2:
			bad.memory_size = REFERENCE_MEMORY_MIN / 2;
			break;
		case 3:
			bad.memory_size = REFERENCE_MEMORY_MAX * 2ull;
			break;
		case 4:
			bad.memory_size = REFERENCE_MEMORY_MIN * 3;
			break;
		case 5:
			bad_memory.bounce_size = REFERENCE_PAGE - 1;
			break;
		case 6:
			bad_flags &= ~(uint32_t)VFIO_MIGRATION_STOP_COPY;
			break;
		default:
			bad_flags |= 8;
			break;
		}
		cr_expect_eq(reference_init(&other, &env, &bad, &bad_memory, bad_flags), -EINVAL,
			     "case %u", i);
	}
	bench_free(b);
}

Test(reference_model, configuration_space_has_the_capabilities_in_one_chain)
{
	struct bench *b = bench_new();
	unsigned at = (unsigned)bench_read(b, CONFIG, PCI_CAPABILITY_LIST, 1);
	const unsigned want[] = {PCI_CAP_ID_PM, PCI_CAP_ID_MSIX, PCI_CAP_ID_EXP};
	const unsigned want_ext[] = {PCI_EXT_CAP_ID_DSN, PCI_EXT_CAP_ID_ATS, PCI_EXT_CAP_ID_PRI,
				     PCI_EXT_CAP_ID_PASID};

	cr_assert_eq(bench_read(b, CONFIG, 0, 4),
		     REFERENCE_VENDOR_ID | (uint32_t)REFERENCE_DEVICE_ID << 16);
	cr_assert_eq(bench_read(b, CONFIG, PCI_CLASS_REVISION, 4) >> 8, REFERENCE_CLASS);
	for (unsigned i = 0; i < 3; i++) {
		cr_assert_eq(bench_read(b, CONFIG, at, 1), want[i]);
		at = (unsigned)bench_read(b, CONFIG, at + 1, 1);
	}
	cr_assert_eq(at, 0);
	at = 0x100;
	for (unsigned i = 0; i < 4; i++) {
		const uint32_t header = (uint32_t)bench_read(b, CONFIG, at, 4);

		cr_assert_eq(PCI_EXT_CAP_ID(header), want_ext[i]);
		at = PCI_EXT_CAP_NEXT(header);
	}
	cr_assert_eq(at, 0);
	cr_assert_eq(bench_read(b, CONFIG, REFERENCE_CAP_MSIX + PCI_MSIX_FLAGS, 2),
		     BENCH_VECTORS - 1);
	cr_assert_eq(bench_read(b, CONFIG, REFERENCE_EXT_CAP_DSN + 4, 8), 0x1122334455667788);
	bench_free(b);
}

Test(reference_model, bars_tell_their_size)
{
	struct bench *b = bench_new();

	for (unsigned i = 0; i < 6; i++)
		bench_write(b, CONFIG, PCI_BASE_ADDRESS_0 + 4 * i, 0xffffffff, 4);
	cr_assert_eq(bench_read(b, CONFIG, PCI_BASE_ADDRESS_0, 4), (uint32_t)-REFERENCE_BAR0_SIZE);
	cr_assert_eq(bench_read(b, CONFIG, PCI_BASE_ADDRESS_1, 4), (uint32_t)-REFERENCE_BAR1_SIZE);
	cr_assert_eq(bench_read(b, CONFIG, PCI_BASE_ADDRESS_2, 8), -(uint64_t)BENCH_MEMORY | 0xc);
	cr_assert_eq(bench_read(b, CONFIG, PCI_BASE_ADDRESS_4, 8), 0);
	cr_assert_eq(bench_read(b, CONFIG, PCI_ROM_ADDRESS, 4), 0);
	bench_free(b);
}

Test(reference_model, read_only_bits_of_the_configuration_stay)
{
	struct bench *b = bench_new();
	uint8_t before[REFERENCE_CONFIG_SIZE], after[REFERENCE_CONFIG_SIZE];

	cr_assert_eq(reference_read(&b->device, CONFIG, before, sizeof(before), 0), 4096);
	for (unsigned at = 0; at < REFERENCE_CONFIG_SIZE; at++) {
		/* Not the byte that resets. */
		bench_write(b, CONFIG, at,
			    at == REFERENCE_CAP_EXP + PCI_EXP_DEVCTL + 1 ? 0x7f : 0xff, 1);
		cr_assert_eq(reference_read(&b->device, CONFIG, after, sizeof(after), 0), 4096);
		cr_assert_eq((before[at] ^ after[at]) & ~b->device.writable[at], 0, "byte %x", at);
	}
	cr_assert_eq(bench_read(b, CONFIG, REFERENCE_EXT_CAP_PASID + PCI_PASID_CTRL, 2), 0);
	reference_set_translation(&b->device, true, true, true);
	cr_assert_eq(bench_read(b, CONFIG, REFERENCE_EXT_CAP_PASID + PCI_PASID_CTRL, 2), 1);
	bench_write(b, CONFIG, REFERENCE_EXT_CAP_PASID + PCI_PASID_CTRL, 0, 2);
	cr_assert_eq(bench_read(b, CONFIG, REFERENCE_EXT_CAP_PASID + PCI_PASID_CTRL, 2), 1);
	cr_assert_eq(reference_reset(&b->device), 0);
	cr_assert_eq(bench_read(b, CONFIG, REFERENCE_EXT_CAP_ATS + PCI_ATS_CTRL, 2), 0x8000);
	bench_free(b);
}

/* ---- regions ---- */

Test(reference_model, regions_have_edges)
{
	struct bench *b = bench_new();
	const uint64_t sizes[9] = {REFERENCE_BAR0_SIZE,
				   REFERENCE_BAR1_SIZE,
				   BENCH_MEMORY,
				   0,
				   0,
				   0,
				   0,
				   REFERENCE_CONFIG_SIZE,
				   0};
	uint8_t buffer[64];

	for (uint32_t i = 0; i < 9; i++) {
		/* As vfio-pci has it: BARs cut an access, configuration space takes none that is not whole. */
		const bool config = i == VFIO_PCI_CONFIG_REGION_INDEX;
		const int beyond = config ? -EFAULT : -EINVAL, across = config ? -EFAULT : 3;
		const uint64_t size = sizes[i];

		cr_expect_eq(reference_region_size(&b->device, i), size);
		cr_expect_eq(reference_read(&b->device, i, buffer, 1, size), beyond);
		cr_expect_eq(reference_write(&b->device, i, buffer, 1, size, NULL), beyond);
		cr_expect_eq(reference_read(&b->device, i, buffer, 1, UINT64_MAX), beyond);
		if (size == 0)
			continue;
		cr_expect_eq(reference_read(&b->device, i, buffer, 64, size - 3), across);
		cr_expect_eq(reference_write(&b->device, i, buffer, 64, size - 3, NULL), across);
		cr_expect_eq(reference_read(&b->device, i, buffer, 0, 0), 0);
		cr_expect_eq(reference_write(&b->device, i, buffer, 0, 0, NULL), 0);
	}
	bench_free(b);
}

Test(reference_model, registers_read_the_same_in_any_piece)
{
	struct bench *b = bench_new();
	uint8_t all[0x200];

	set64(b, REFERENCE_SOURCE, 0x1122334455667788);
	cr_assert_eq(reference_read(&b->device, BAR0, all, sizeof(all), 0), sizeof(all));
	for (unsigned size = 1; size <= 16; size++) {
		for (unsigned at = 0; at + size <= sizeof(all); at++) {
			uint8_t piece[16];

			cr_assert_eq(reference_read(&b->device, BAR0, piece, size, at), size);
			cr_assert_eq(memcmp(piece, all + at, size), 0, "%u at %x", size, at);
		}
	}
	bench_free(b);
}

Test(reference_model, partial_register_writes_are_dropped)
{
	struct bench *b = bench_new();

	set32(b, REFERENCE_LENGTH, 0x11223344);
	bench_write(b, BAR0, REFERENCE_LENGTH, 0, 1);
	bench_write(b, BAR0, REFERENCE_LENGTH + 2, 0, 2);
	bench_write(b, BAR0, REFERENCE_LENGTH + 1, 0, 3);
	cr_assert_eq(get32(b, REFERENCE_LENGTH), 0x11223344);
	/* The whole unit inside a crooked write counts. */
	bench_write(b, BAR0, REFERENCE_LENGTH - 2, 0xaabbccdd0000, 6);
	cr_assert_eq(get32(b, REFERENCE_LENGTH), 0xaabbccdd);
	set32(b, REFERENCE_ID, 5);
	set32(b, REFERENCE_COMPLETED, 5);
	set32(b, 0x800, 5);
	cr_assert_eq(get32(b, REFERENCE_ID), REFERENCE_ID_VALUE);
	cr_assert_eq(get64(b, REFERENCE_COMPLETED), 0);
	cr_assert_eq(get32(b, 0x800), 0);
	cr_assert_eq(get32(b, REFERENCE_DOORBELL), 0);
	bench_free(b);
}

Test(reference_model, an_access_can_lie_over_registers_and_scratch_memory)
{
	struct bench *b = bench_new();

	bench_write(b, BAR0, REFERENCE_SCRATCH_OFFSET - 4, 0x8877665544332211, 8);
	cr_assert_eq(bench_read(b, BAR0, REFERENCE_SCRATCH_OFFSET - 4, 8), 0x8877665500000000);
	cr_assert_eq(b->device.mem.scratch[0], 0x55);
	bench_free(b);
}

Test(reference_model, bars_are_ones_while_decode_is_off)
{
	struct bench *b = bench_new();

	bench_write(b, BAR2, 16, 0x1234, 2);
	cr_assert(reference_decodes(&b->device));
	bench_write(b, CONFIG, PCI_COMMAND, 0, 2);
	cr_assert(b->effects & REFERENCE_EFFECT_DECODE);
	cr_assert_not(reference_decodes(&b->device));
	cr_assert_eq(bench_read(b, BAR2, 16, 4), 0xffffffff);
	cr_assert_eq(bench_read(b, BAR0, 0, 8), UINT64_MAX);
	bench_write(b, BAR2, 16, 0, 8);
	set32(b, REFERENCE_LENGTH, 9);
	bench_write(b, CONFIG, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	cr_assert_eq(bench_read(b, BAR2, 16, 4), 0x1234);
	cr_assert_eq(get32(b, REFERENCE_LENGTH), 0);
	/* The MSI-X table is nobody's to read here. */
	bench_write(b, BAR1, 0, 0x55, 4);
	cr_assert_eq(bench_read(b, BAR1, 0, 4), 0xffffffff);
	bench_free(b);
}

/* ---- reset and power ---- */

static void dirty_everything(struct bench *b)
{
	bench_write(b, BAR2, 100, 0x55, 1);
	bench_write(b, BAR0, REFERENCE_SCRATCH_OFFSET, 0x55, 1);
	bench_write(b, CONFIG, PCI_INTERRUPT_LINE, 9, 1);
	set32(b, REFERENCE_INT_ENABLE, REFERENCE_INT_DONE);
	cr_assert_eq(bench_request(b, FILL, 0, A, 100), 0);
	cr_assert(b->intx);
}

static void expect_power_on(struct bench *b)
{
	cr_expect_eq(bench_read(b, CONFIG, PCI_COMMAND, 2), 0);
	cr_expect_eq(bench_read(b, CONFIG, PCI_INTERRUPT_LINE, 1), 0);
	cr_expect_not(b->intx);
	bench_write(b, CONFIG, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	cr_expect_eq(bench_read(b, BAR2, 100, 1), 0);
	cr_expect_eq(bench_read(b, BAR0, REFERENCE_SCRATCH_OFFSET, 1), 0);
	cr_expect_eq(get64(b, REFERENCE_COMPLETED), 0);
	cr_expect_eq(get32(b, REFERENCE_COMMAND), 0);
	cr_expect_eq(get32(b, REFERENCE_INT_STATUS), 0);
	cr_expect_eq(reference_state(&b->device), VFIO_DEVICE_STATE_RUNNING);
}

Test(reference_model, all_three_resets_go_back_to_power_on)
{
	struct bench *b = bench_new();
	const unsigned devctl = REFERENCE_CAP_EXP + PCI_EXP_DEVCTL;
	const unsigned pmcsr = REFERENCE_CAP_PM + PCI_PM_CTRL;

	dirty_everything(b);
	cr_assert_eq(reference_reset(&b->device), 0);
	expect_power_on(b);

	dirty_everything(b);
	bench_write(b, CONFIG, devctl, PCI_EXP_DEVCTL_BCR_FLR, 2);
	cr_assert_eq(b->effects, REFERENCE_EFFECT_RESET | REFERENCE_EFFECT_DECODE);
	expect_power_on(b);

	dirty_everything(b);
	bench_write(b, CONFIG, pmcsr, 1, 2); /* D1: there is none */
	cr_assert_eq(bench_read(b, CONFIG, pmcsr, 2), 0);
	bench_write(b, CONFIG, pmcsr, 3, 2);
	cr_assert(b->effects & REFERENCE_EFFECT_DECODE);
	cr_assert_not(b->effects & REFERENCE_EFFECT_RESET);
	cr_assert_eq(bench_read(b, BAR2, 100, 1), 0xff);
	bench_write(b, CONFIG, pmcsr, 0, 2);
	cr_assert(b->effects & REFERENCE_EFFECT_RESET);
	expect_power_on(b);
	bench_free(b);
}

Test(reference_model, a_reset_waits_for_the_access_that_is_out)
{
	struct bench *b = bench_new();
	struct reference_access access;
	uint16_t flr = PCI_EXP_DEVCTL_BCR_FLR;
	enum reference_session_change session;

	set64(b, REFERENCE_DESTINATION, A);
	set32(b, REFERENCE_LENGTH, 100);
	set32(b, REFERENCE_COMMAND, FILL);
	set32(b, REFERENCE_DOORBELL, 1);
	do {
		cr_assert_eq(reference_next(&b->device, &access), 1);
	} while (access.kind == REFERENCE_ACCESS_NONE);
	cr_assert(reference_access_out(&b->device));
	cr_assert_eq(reference_reset(&b->device), -EAGAIN);
	cr_assert_eq(reference_write(&b->device, CONFIG, &flr, 2,
				     REFERENCE_CAP_EXP + PCI_EXP_DEVCTL, NULL),
		     -EAGAIN);
	cr_assert_eq(reference_arc(&b->device, VFIO_DEVICE_STATE_RUNNING_P2P, &session), -EAGAIN);
	cr_assert_eq(reference_arc(&b->device, VFIO_DEVICE_STATE_PRE_COPY, &session), 0);
	cr_assert_eq(reference_next(&b->device, &access), 0); /* one at a time */
	reference_hold(&b->device);
	reference_done(&b->device, 0);
	cr_assert_eq(reference_next(&b->device, &access), 0); /* held */
	cr_assert_eq(reference_reset(&b->device), 0);
	reference_release(&b->device);
	expect_power_on(b);
	cr_assert_eq(reference_next(&b->device, &access), 0); /* forgotten */
	bench_free(b);
}

Test(reference_model, reset_by_register_keeps_memory_and_discards_the_request)
{
	struct bench *b = bench_new();
	struct reference_access access;

	bench_write(b, BAR2, 100, 0x55, 1);
	set64(b, REFERENCE_SOURCE, A);
	set64(b, REFERENCE_DESTINATION, B);
	set32(b, REFERENCE_LENGTH, 100);
	set32(b, REFERENCE_COMMAND, COPY | REFERENCE_COMMAND_INTERRUPT);
	set32(b, REFERENCE_DOORBELL, 1);
	do {
		cr_assert_eq(reference_next(&b->device, &access), 1);
	} while (access.kind == REFERENCE_ACCESS_NONE);
	set32(b, REFERENCE_CONTROL, REFERENCE_CONTROL_RESET);
	cr_assert_eq(get32(b, REFERENCE_STATUS), REFERENCE_STATUS_BUSY); /* the access is out */
	set32(b, REFERENCE_DOORBELL, 2);
	cr_assert_eq(get64(b, REFERENCE_REJECTED), 1);
	reference_done(&b->device, -ENOENT);
	cr_assert_eq(get32(b, REFERENCE_STATUS), 0);
	cr_assert_eq(get64(b, REFERENCE_COMPLETED), 0);
	cr_assert_eq(b->raised[0], 0);
	cr_assert_eq(bench_read(b, BAR2, 100, 1), 0x55);
	cr_assert_eq(bench_request(b, COPY, A, B, 50), 0);
	bench_free(b);
}

/* ---- the engine ---- */

Test(reference_model, crc_is_crc32c)
{
	struct bench *b = bench_new();

	memcpy(b->ram, "123456789", 9);
	cr_assert_eq(bench_request(b, CRC, BENCH_BASE, 0, 9), 0);
	cr_assert_eq(get32(b, REFERENCE_RESULT), 0xe3069283);
	for (uint32_t length = 1; length < 40; length++) {
		cr_assert_eq(bench_request(b, CRC, A + length, 0, length), 0);
		cr_assert_eq(get32(b, REFERENCE_RESULT),
			     slow_crc(b->ram + (A + length - BENCH_BASE), length));
	}
	bench_free(b);
}

Test(reference_model, copy_moves_between_all_kinds_of_ends)
{
	struct bench *b = bench_new();

	for (unsigned ends = 0; ends < 4; ends++) {
		const bool from_memory = ends & 1, to_memory = ends & 2;
		const uint64_t from = from_memory ? 0x123 : A, to = to_memory ? 0x8765 : B;
		uint8_t *source =
			from_memory ? b->device.mem.memory + from : b->ram + (A - BENCH_BASE);
		uint8_t *destination =
			to_memory ? b->device.mem.memory + to : b->ram + (B - BENCH_BASE);

		for (uint32_t length = 1; length < 0x7000; length = length * 3 + 1) {
			for (uint32_t i = 0; i < length; i++)
				source[i] = (uint8_t)(i * 13 + length);
			memset(destination - 1, 0xee, length + 2);
			cr_assert_eq(
				bench_request(
					b,
					COPY | REFERENCE_COMMAND_CRC |
						(from_memory ? REFERENCE_COMMAND_SOURCE_MEMORY
							     : 0) |
						(to_memory ? REFERENCE_COMMAND_DESTINATION_MEMORY
							   : 0),
					from, to, length),
				0);
			cr_assert_eq(memcmp(source, destination, length), 0);
			cr_assert_eq(destination[-1], 0xee);
			cr_assert_eq(destination[length], 0xee);
			cr_assert_eq(get32(b, REFERENCE_RESULT), slow_crc(source, length));
		}
	}
	bench_free(b);
}

Test(reference_model, fill_repeats_its_pattern_over_chunks)
{
	struct bench *b = bench_new();
	const uint64_t pattern = 0x0807060504030201;

	set64(b, REFERENCE_PATTERN, pattern);
	cr_assert_eq(bench_request(b, FILL, 0, A, 30001), 0);
	for (uint32_t i = 0; i < 30001; i++)
		cr_assert_eq(b->ram[A - BENCH_BASE + i], 1 + i % 8);
	cr_assert_eq(bench_request(b, FILL | REFERENCE_COMMAND_DESTINATION_MEMORY, 0, 3, 9000), 0);
	for (uint32_t i = 0; i < 9000; i++)
		cr_assert_eq(b->device.mem.memory[3 + i], 1 + i % 8);
	cr_assert_eq(get64(b, REFERENCE_BYTES), 39001);
	bench_free(b);
}

Test(reference_model, lists_scatter_and_gather)
{
	struct bench *b = bench_new();
	const uint32_t from = BENCH_BASE, to = BENCH_BASE + 0x200;
	uint8_t expected[30000];
	uint32_t done = 0;

	/* Source: uneven pieces of memory and device memory; destination likewise, other bounds. */
	for (uint32_t i = 0; i < 30000; i++)
		expected[i] = (uint8_t)(i * 31 >> 3);
	for (uint32_t i = 0; i < 6; i++) {
		const bool memory = i % 2;
		const uint64_t at = memory ? 0x1000 * i + 7 : A + 0x3000 * i;

		memcpy(memory ? b->device.mem.memory + at : b->ram + (at - BENCH_BASE),
		       expected + done, 5000);
		bench_entry(b, from, i, at, 5000, memory ? REFERENCE_ENTRY_MEMORY : 0);
		done += 5000;
	}
	bench_entry(b, to, 0, B, 1, 0);
	bench_entry(b, to, 1, B + 1, 20998, 0);
	bench_entry(b, to, 2, 0x9000, 9001, REFERENCE_ENTRY_MEMORY);
	set32(b, REFERENCE_SOURCE_ENTRIES, 6);
	set32(b, REFERENCE_DESTINATION_ENTRIES, 3);
	cr_assert_eq(bench_request(b,
				   COPY | REFERENCE_COMMAND_SOURCE_LIST | REFERENCE_COMMAND_CRC |
					   REFERENCE_COMMAND_DESTINATION_LIST,
				   from, to, 30000),
		     0);
	cr_assert_eq(memcmp(b->ram + (B - BENCH_BASE), expected, 20999), 0);
	cr_assert_eq(memcmp(b->device.mem.memory + 0x9000, expected + 20999, 9001), 0);
	cr_assert_eq(get32(b, REFERENCE_RESULT), slow_crc(expected, 30000));
	bench_free(b);
}

Test(reference_model, pasid_requests_use_their_own_space_for_lists_too)
{
	struct bench *b = bench_new();
	const uint32_t command = COPY | REFERENCE_COMMAND_PASID;

	set32(b, REFERENCE_PASID, BENCH_PASID);
	cr_assert_eq(bench_request(b, command, A, B, 64), REFERENCE_ERROR_PASID); /* not enabled */
	reference_set_translation(&b->device, true, false, false);
	cr_assert_eq(bench_request(b, command, A, B, 64), 0);
	cr_assert_eq(memcmp(b->pasid_ram + (B - BENCH_BASE), b->pasid_ram + (A - BENCH_BASE), 64),
		     0);
	cr_assert_neq(memcmp(b->ram + (B - BENCH_BASE), b->ram + (A - BENCH_BASE), 64), 0);
	set32(b, REFERENCE_PASID, 1u << REFERENCE_PASID_BITS);
	cr_assert_eq(bench_request(b, command, A, B, 64), REFERENCE_ERROR_PASID);
	set32(b, REFERENCE_PASID, BENCH_PASID + 1);
	cr_assert_eq(bench_request(b, command, A, B, 64), REFERENCE_ERROR_READ);
	/* A list that is in the other space only is not seen. */
	bench_entry(b, BENCH_BASE, 0, A, 64, 0);
	memset(b->pasid_ram, 0, 16);
	set32(b, REFERENCE_PASID, BENCH_PASID);
	set32(b, REFERENCE_SOURCE_ENTRIES, 1);
	cr_assert_eq(bench_request(b, command | REFERENCE_COMMAND_SOURCE_LIST, BENCH_BASE, B, 64),
		     REFERENCE_ERROR_LIST);
	bench_free(b);
}

struct bad_request {
	uint32_t command;
	uint64_t source, destination;
	uint32_t length, error;
	uint64_t address;
};

#define END (BENCH_BASE + BENCH_SIZE)

static const struct bad_request bad_requests[] = {
	{4, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{0xff, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{COPY | 1u << 15, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{COPY | 1u << 31, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{COPY | 0x500, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{COPY | 0xa00, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{FILL | 0x100, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{FILL | 0x400, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{FILL | REFERENCE_COMMAND_CRC, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{CRC | 0x200, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{CRC | REFERENCE_COMMAND_CRC, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{NOP | 0x100, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{NOP | 0x800, A, B, 8, REFERENCE_ERROR_COMMAND, 0},
	{COPY, A, B, 0, REFERENCE_ERROR_LENGTH, 0},
	{COPY, A, B, REFERENCE_LENGTH_LIMIT_VALUE + 1, REFERENCE_ERROR_LENGTH, 0},
	{COPY, 0, B, 8, REFERENCE_ERROR_READ, 0},
	{COPY, A, 16, 8, REFERENCE_ERROR_WRITE, 16},
	{COPY, END - 4, B, 8, REFERENCE_ERROR_READ, END - 4},
	{COPY, END - 0x6000, B, 0x6001, REFERENCE_ERROR_READ, END},
	{FILL, 0, UINT64_MAX - 6, 8, REFERENCE_ERROR_WRITE, UINT64_MAX - 6},
	{CRC, UINT64_MAX, 0, 2, REFERENCE_ERROR_READ, UINT64_MAX},
	{CRC, UINT64_MAX, 0, 1, REFERENCE_ERROR_READ, UINT64_MAX},
	{CRC | 0x100, BENCH_MEMORY, 0, 1, REFERENCE_ERROR_MEMORY, BENCH_MEMORY},
	{CRC | 0x100, BENCH_MEMORY - 1, 0, 2, REFERENCE_ERROR_MEMORY, BENCH_MEMORY},
	{FILL | 0x200, 0, UINT64_MAX, 2, REFERENCE_ERROR_MEMORY, UINT64_MAX},
	{CRC | 0x400, A, 0, 8, REFERENCE_ERROR_LIST, A},  /* no entries */
	{FILL | 0x800, 0, A, 8, REFERENCE_ERROR_LIST, A}, /* likewise */
};

Test(reference_model, every_error_is_told_and_stops_nothing)
{
	struct bench *b = bench_new();
	const size_t count = sizeof(bad_requests) / sizeof(bad_requests[0]);

	set32(b, REFERENCE_VECTOR, 3);
	for (size_t i = 0; i < count; i++) {
		const struct bad_request *bad = &bad_requests[i];

		cr_assert_eq(bench_request(b, bad->command | REFERENCE_COMMAND_INTERRUPT,
					   bad->source, bad->destination, bad->length),
			     bad->error, "request %zu", i);
		cr_assert_eq(get64(b, REFERENCE_ERROR_ADDRESS), bad->address, "request %zu", i);
		cr_assert_eq(get64(b, REFERENCE_FAILED), i + 1);
		cr_assert_eq(get64(b, REFERENCE_COMPLETED), 2 * i + 1);
		cr_assert_eq(b->raised[3], i + 1);
		cr_assert_eq(get32(b, REFERENCE_INT_STATUS) & REFERENCE_INT_ERROR,
			     REFERENCE_INT_ERROR);
		cr_assert_eq(get32(b, REFERENCE_STATUS), 0);
		cr_assert_eq(bench_request(b, COPY, A, B, 8), 0, "after request %zu", i);
		cr_assert_eq(get64(b, REFERENCE_ERROR_ADDRESS), 0);
	}
	bench_free(b);
}

Test(reference_model, lists_that_do_not_fit_are_refused)
{
	struct bench *b = bench_new();
	const uint32_t list = BENCH_BASE, command = CRC | REFERENCE_COMMAND_SOURCE_LIST;

	bench_entry(b, list, 0, A, 100, 0);
	bench_entry(b, list, 1, A + 200, 100, 0);
	set32(b, REFERENCE_SOURCE_ENTRIES, 2);
	cr_assert_eq(bench_request(b, command, list, 0, 200), 0);
	cr_assert_eq(bench_request(b, command, list, 0, 201), REFERENCE_ERROR_LIST);
	cr_assert_eq(get64(b, REFERENCE_ERROR_ADDRESS), list + 32);
	cr_assert_eq(bench_request(b, command, list, 0, 199), REFERENCE_ERROR_LIST);
	cr_assert_eq(get64(b, REFERENCE_ERROR_ADDRESS), list + 16);
	cr_assert_eq(bench_request(b, command, list, 0, 100), REFERENCE_ERROR_LIST);
	cr_assert_eq(get64(b, REFERENCE_ERROR_ADDRESS), list + 16);
	bench_entry(b, list, 1, A + 200, 100, 2);
	cr_assert_eq(bench_request(b, command, list, 0, 200), REFERENCE_ERROR_LIST);
	bench_entry(b, list, 1, A + 200, 0, 0);
	cr_assert_eq(bench_request(b, command, list, 0, 200), REFERENCE_ERROR_LIST);
	cr_assert_eq(get64(b, REFERENCE_ERROR_ADDRESS), list + 16);
	set32(b, REFERENCE_SOURCE_ENTRIES, REFERENCE_LIST_LIMIT_VALUE + 1);
	cr_assert_eq(bench_request(b, command, list, 0, 200), REFERENCE_ERROR_LIST);
	/* The list itself runs off the guest's memory. */
	set32(b, REFERENCE_SOURCE_ENTRIES, 2);
	bench_entry(b, END - 16, 0, A, 100, 0);
	cr_assert_eq(bench_request(b, command, END - 16, 0, 200), REFERENCE_ERROR_READ);
	cr_assert_eq(get64(b, REFERENCE_ERROR_ADDRESS), END);
	bench_free(b);
}

Test(reference_model, without_bus_master_only_the_device_itself_is_reached)
{
	struct bench *b = bench_new();

	bench_write(b, CONFIG, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	cr_assert_eq(bench_request(b, COPY, A, B, 8), REFERENCE_ERROR_BUS_MASTER);
	cr_assert_eq(b->accesses, 0);
	cr_assert_eq(bench_request(b, FILL | REFERENCE_COMMAND_DESTINATION_MEMORY, 0, 0, 8), 0);
	cr_assert_eq(bench_request(b, NOP, 0, 0, 0), 0);
	bench_free(b);
}

Test(reference_model, a_doorbell_while_busy_is_counted_and_dropped)
{
	struct bench *b = bench_new();

	set32(b, REFERENCE_COMMAND, NOP | REFERENCE_COMMAND_INTERRUPT);
	set32(b, REFERENCE_VECTOR, BENCH_VECTORS - 1);
	set32(b, REFERENCE_DOORBELL, 7);
	cr_assert(b->effects & REFERENCE_EFFECT_KICK);
	cr_assert_eq(get32(b, REFERENCE_STATUS), REFERENCE_STATUS_BUSY);
	cr_assert_eq(bench_read(b, CONFIG, REFERENCE_CAP_EXP + PCI_EXP_DEVSTA, 2),
		     PCI_EXP_DEVSTA_TRPND);
	set32(b, REFERENCE_COMMAND, 0xff); /* the request was read at the doorbell */
	set32(b, REFERENCE_DOORBELL, 8);
	bench_run(b);
	cr_assert_eq(get32(b, REFERENCE_ERROR), 0);
	cr_assert_eq(get32(b, REFERENCE_TAG), 7);
	cr_assert_eq(get64(b, REFERENCE_REJECTED), 1);
	cr_assert_eq(get64(b, REFERENCE_COMPLETED), 1);
	cr_assert_eq(get64(b, REFERENCE_INTERRUPTS), 1);
	cr_assert_eq(b->raised[BENCH_VECTORS - 1], 1);
	set32(b, REFERENCE_VECTOR, BENCH_VECTORS);
	cr_assert_eq(bench_request(b, NOP | REFERENCE_COMMAND_INTERRUPT, 0, 0, 0),
		     REFERENCE_ERROR_VECTOR);
	cr_assert_eq(get64(b, REFERENCE_INTERRUPTS), 1);
	bench_free(b);
}

Test(reference_model, abort_ends_a_long_request)
{
	struct bench *b = bench_new();

	set32(b, REFERENCE_CONTROL, REFERENCE_CONTROL_ABORT); /* nothing there: nothing happens */
	set64(b, REFERENCE_SOURCE, A);
	set32(b, REFERENCE_LENGTH, 0x70000);
	set32(b, REFERENCE_COMMAND, CRC);
	set32(b, REFERENCE_DOORBELL, 1);
	for (unsigned i = 0; i < 5; i++)
		cr_assert(bench_step(b));
	set32(b, REFERENCE_CONTROL, REFERENCE_CONTROL_ABORT);
	bench_run(b);
	cr_assert_eq(get32(b, REFERENCE_ERROR), REFERENCE_ERROR_ABORTED);
	cr_assert_lt(get64(b, REFERENCE_BYTES), 0x70000);
	cr_assert_eq(get32(b, REFERENCE_RESULT), 0);
	cr_assert_eq(bench_request(b, NOP, 0, 0, 0), 0);
	bench_free(b);
}

/* ---- interrupts and faults ---- */

Test(reference_model, the_pin_follows_status_enable_and_disable)
{
	struct bench *b = bench_new();
	const uint16_t on = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;

	cr_assert_eq(bench_request(b, NOP, 0, 0, 0), 0);
	cr_assert_not(b->intx);
	set32(b, REFERENCE_INT_ENABLE, 0xffffffff);
	cr_assert_eq(get32(b, REFERENCE_INT_ENABLE), 3);
	cr_assert(b->intx);
	cr_assert(bench_read(b, CONFIG, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	bench_write(b, CONFIG, PCI_COMMAND, on | PCI_COMMAND_INTX_DISABLE, 2);
	cr_assert_not(b->intx);
	bench_write(b, CONFIG, PCI_COMMAND, on, 2);
	cr_assert(b->intx);
	set32(b, REFERENCE_INT_STATUS, REFERENCE_INT_ERROR);
	cr_assert(b->intx);
	set32(b, REFERENCE_INT_STATUS, REFERENCE_INT_DONE);
	cr_assert_not(b->intx);
	cr_assert_not(bench_read(b, CONFIG, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	bench_free(b);
}

Test(reference_model, an_access_that_is_cut_short_comes_again)
{
	struct bench *b = bench_new();
	struct reference_access access;

	/* A copy over two chunks: each read and each write is interrupted once. */
	set64(b, REFERENCE_SOURCE, A);
	set64(b, REFERENCE_DESTINATION, B);
	set32(b, REFERENCE_LENGTH, 10000);
	set32(b, REFERENCE_COMMAND, COPY);
	set32(b, REFERENCE_DOORBELL, 1);
	for (bool cut = true; get32(b, REFERENCE_STATUS) & REFERENCE_STATUS_BUSY;) {
		if (!reference_next(&b->device, &access) || access.kind == REFERENCE_ACCESS_NONE)
			continue;
		if (cut) {
			cr_assert_eq(reference_done(&b->device, -EINTR), REFERENCE_EFFECT_KICK);
			cr_assert_not(reference_access_out(&b->device));
		} else {
			reference_done(&b->device, bench_access(b, &access));
		}
		cut = !cut;
	}
	cr_assert_eq(get32(b, REFERENCE_ERROR), REFERENCE_ERROR_NONE);
	cr_assert_eq(get64(b, REFERENCE_BYTES), 10000);
	cr_assert_arr_eq(b->ram + B - BENCH_BASE, b->ram + A - BENCH_BASE, 10000);
	bench_free(b);
}

Test(reference_model, every_nth_interrupt_is_lost_when_it_is_to_be)
{
	struct bench *b = bench_new();

	b->device.faults.lose_interrupt = 3;
	for (unsigned i = 0; i < 30; i++)
		cr_assert_eq(bench_request(b, NOP | REFERENCE_COMMAND_INTERRUPT, 0, 0, 0), 0);
	cr_assert_eq(b->raised[0], 20);
	cr_assert_eq(get64(b, REFERENCE_INTERRUPTS), 30);
	bench_free(b);
}

Test(reference_model, a_removed_device_is_ones_and_silent)
{
	struct bench *b = bench_new();
	struct reference_access access;
	enum reference_session_change session;
	uint8_t byte;

	set32(b, REFERENCE_INT_ENABLE, 3);
	b->device.faults.remove_after = 2;
	cr_assert_eq(bench_request(b, NOP, 0, 0, 0), 0);
	cr_assert(b->intx);
	set32(b, REFERENCE_DOORBELL, 1);
	cr_assert(b->effects & REFERENCE_EFFECT_REMOVED);
	cr_assert_not(b->intx);
	cr_assert_eq(bench_read(b, CONFIG, 0, 4), 0xffffffff);
	cr_assert_eq(bench_read(b, BAR0, 0, 4), 0xffffffff);
	cr_assert_eq(bench_read(b, BAR2, 0, 4), 0xffffffff);
	bench_write(b, BAR2, 0, 1, 1);
	cr_assert_eq(b->device.mem.memory[0], 0);
	cr_assert_eq(reference_next(&b->device, &access), 0);
	cr_assert_eq(reference_reset(&b->device), -ENODEV);
	cr_assert_eq(reference_arc(&b->device, VFIO_DEVICE_STATE_PRE_COPY, &session), -ENODEV);
	cr_assert_eq(reference_save(&b->device, &byte, 1), -ENODEV);
	cr_assert_eq(reference_load(&b->device, &byte, 1), -ENODEV);
	bench_free(b);
}

Test(reference_model, removal_with_an_access_out_is_reported_when_it_is_done)
{
	struct bench *b = bench_new();
	struct reference_access access;

	set64(b, REFERENCE_SOURCE, A);
	set32(b, REFERENCE_LENGTH, 10);
	set32(b, REFERENCE_COMMAND, CRC);
	set32(b, REFERENCE_DOORBELL, 1);
	do {
		cr_assert_eq(reference_next(&b->device, &access), 1);
	} while (access.kind == REFERENCE_ACCESS_NONE);
	reference_remove(&b->device);
	cr_assert_eq(reference_done(&b->device, 0), REFERENCE_EFFECT_REMOVED);
	cr_assert_not(reference_access_out(&b->device));
	cr_assert_eq(reference_done(&b->device, 0), 0);
	bench_free(b);
}
