/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "devices/vfio/front/rom.h"

#define IMAGE 1024

static uint8_t rom[4 * IMAGE];

static void image(unsigned n, uint8_t code, bool last)
{
	uint8_t *at = rom + n * IMAGE, sum = 0;

	memset(at, (int)(n + 3), IMAGE);
	at[0] = 0x55;
	at[1] = 0xaa;
	at[0x18] = 0x40;
	at[0x19] = 0;
	memcpy(at + 0x40, "PCIR\x36\x1b\x10\x00", 8);
	at[0x50] = IMAGE / 512;
	at[0x51] = 0;
	at[0x54] = code;
	at[0x55] = last ? 0x80 : 0;
	for (unsigned i = 0; i < IMAGE; i++)
		sum = (uint8_t)(sum + at[i]);
	at[IMAGE - 1] = (uint8_t)(at[IMAGE - 1] - sum);
}

static uint8_t sum(unsigned n)
{
	uint8_t total = 0;

	for (unsigned i = 0; i < IMAGE; i++)
		total = (uint8_t)(total + rom[n * IMAGE + i]);
	return total;
}

Test(front_rom_patch, every_image_names_the_new_device)
{
	image(0, 0, false);
	image(1, 3, true);
	cr_expect_eq(front_rom_patch(rom, sizeof(rom), 0x1234, 0x5678), 2);
	for (unsigned n = 0; n < 2; n++)
		cr_expect_eq(memcmp(rom + n * IMAGE + 0x44, "\x34\x12\x78\x56", 4), 0);
}

Test(front_rom_patch, an_id_that_is_not_overridden_stays)
{
	image(0, 0, true);
	cr_expect_eq(front_rom_patch(rom, sizeof(rom), -1, 0x5678), 1);
	cr_expect_eq(memcmp(rom + 0x44, "\x36\x1b\x78\x56", 4), 0);
}

Test(front_rom_patch, the_sum_of_an_x86_image_is_zero_again)
{
	image(0, 0, true);
	cr_expect_eq(sum(0), 0);
	front_rom_patch(rom, sizeof(rom), 0x9999, 0x8877);
	cr_expect_eq(sum(0), 0);
}

Test(front_rom_patch, an_image_of_other_code_has_no_sum)
{
	image(0, 3, true);
	rom[IMAGE - 1]++;
	front_rom_patch(rom, sizeof(rom), 0x1111, 0x2222);
	cr_expect_eq(rom[6], 3, "nothing but the ids was touched");
}

Test(front_rom_patch, it_ends_with_the_image_that_says_so)
{
	image(0, 0, true);
	image(1, 0, true);
	cr_expect_eq(front_rom_patch(rom, sizeof(rom), 1, 2), 1);
	cr_expect_eq(rom[IMAGE + 0x44], 0x36);
}

Test(front_rom_patch, what_is_no_rom_is_left_alone)
{
	uint8_t before[sizeof(rom)];

	for (unsigned broken = 0; broken < 7; broken++) {
		size_t size = sizeof(rom);

		memset(rom, 0, sizeof(rom));
		image(0, 0, true);
		switch (broken) {
		case 0:
			rom[1] = 0;
			break;
		case 1:
			rom[0x40] = 'X';
			break;
		case 2:
			rom[0x19] = 0xff; /* data structure outside */
			break;
		case 3:
			rom[0x18] = 4; /* inside the header */
			break;
		case 4:
			rom[0x50] = 0; /* no length */
			break;
		case 5:
			rom[0x50] = 9; /* longer than the ROM */
			break;
		default:
			size = 0x19;
			break;
		}
		memcpy(before, rom, sizeof(rom));
		cr_expect_eq(front_rom_patch(rom, size, 1, 2), 0, "%u", broken);
		cr_expect_eq(memcmp(before, rom, sizeof(rom)), 0, "%u", broken);
	}
	cr_expect_eq(front_rom_patch(rom, 0, 1, 2), 0);
}

Test(front_rom_judge, what_firmware_takes_is_good)
{
	size_t at;

	image(0, 0, false);
	image(1, 3, true);
	cr_expect_eq(front_rom_judge(rom, sizeof(rom), &at), FRONT_ROM_GOOD);
	cr_expect_eq(front_rom_judge(rom, 2 * IMAGE, &at), FRONT_ROM_GOOD, "nothing behind it");
	rom[2 * IMAGE] = 0x77;
	cr_expect_eq(front_rom_judge(rom, sizeof(rom), &at), FRONT_ROM_GOOD, "behind the last");
}

Test(front_rom_judge, the_sum_may_be_that_of_the_code_alone)
{
	size_t at;
	uint8_t code = 0;

	image(0, 0, true);
	rom[2] = 1;
	rom[IMAGE - 1] = 0x5a;
	for (unsigned i = 0; i < 512; i++)
		code = (uint8_t)(code + rom[i]);
	rom[511] = (uint8_t)(rom[511] - code);
	cr_expect_neq(sum(0), 0);
	cr_expect_eq(front_rom_judge(rom, IMAGE, &at), FRONT_ROM_GOOD);
	rom[2] = 3; /* more than there is */
	cr_expect_eq(front_rom_judge(rom, IMAGE, &at), FRONT_ROM_BAD_SUM);
}

Test(front_rom_judge, every_fault_is_found_where_it_is)
{
	static const struct {
		unsigned offset;
		uint8_t value;
		enum front_rom_fault fault;
		size_t at;
	} faults[] = {
		{0, 0x4e, FRONT_ROM_NO_SIGNATURE, 0},
		{1, 0x55, FRONT_ROM_NO_SIGNATURE, 0},
		{0x18, 4, FRONT_ROM_NO_DATA, 0},    /* inside the header */
		{0x19, 0xff, FRONT_ROM_NO_DATA, 0}, /* outside */
		{0x43, 'X', FRONT_ROM_NO_DATA, 0},  /* not "PCIR" */
		{0x50, 0, FRONT_ROM_BAD_LENGTH, 0}, /* none */
		{0x50, 5, FRONT_ROM_BAD_LENGTH, 0}, /* longer than the file */
		{0x51, 0xff, FRONT_ROM_BAD_LENGTH, 0},
		{0x60, 0, FRONT_ROM_BAD_SUM, 0},
		{IMAGE, 0x4e, FRONT_ROM_NO_LAST, IMAGE},
		{IMAGE + 0x40, 'X', FRONT_ROM_NO_DATA, IMAGE},
		{IMAGE + 0x50, 3, FRONT_ROM_BAD_LENGTH, IMAGE},
		{IMAGE + 0x55, 0, FRONT_ROM_NO_LAST, 2 * IMAGE},
	};

	for (unsigned i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
		size_t at = 1;

		image(0, 0, false);
		image(1, 3, true);
		rom[faults[i].offset] = faults[i].value;
		cr_expect_eq(front_rom_judge(rom, 2 * IMAGE, &at), faults[i].fault, "%u", i);
		cr_expect_eq(at, faults[i].at, "%u: at %zu", i, at);
	}
}

Test(front_rom_judge, less_than_a_header_has_no_signature)
{
	size_t at;

	image(0, 0, true);
	for (size_t size = 0; size < 0x1a; size++)
		cr_expect_eq(front_rom_judge(rom, size, &at), FRONT_ROM_NO_SIGNATURE);
	cr_expect_eq(front_rom_judge(rom, 0x1a, &at), FRONT_ROM_NO_DATA);
}

Test(front_rom_patch, random_bytes_are_never_read_beyond_their_end)
{
	uint32_t seed = 1;

	for (unsigned round = 0; round < 20000; round++) {
		size_t size = round % sizeof(rom), at;

		image(0, round & 1, false);
		image(1, 0, true);
		for (unsigned i = 0; i < 4; i++) {
			seed = seed * 1664525 + 1013904223;
			rom[(seed >> 8) % 0x60 + (i & 1) * IMAGE] = (uint8_t)(seed >> 24);
		}
		/* Where it ends, so does the memory: under ASan this tells. */
		uint8_t *copy = malloc(size ? size : 1);

		memcpy(copy, rom, size);
		front_rom_judge(copy, size, &at);
		cr_assert_leq(at, size);
		front_rom_patch(copy, size, 1, 2);
		free(copy);
	}
}
