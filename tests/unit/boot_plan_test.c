// SPDX-License-Identifier: Apache-2.0
#include <asm/bootparam.h>
#include <criterion/criterion.h>
#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/x86/boot_plan.h"
#include "arch/x86/kernel_image.h"
#include "arch/x86/platform.h"

#define MIB (1ull << 20)
#define GIB (1ull << 30)

static uint8_t file[64 << 10];
static uint64_t file_size;
static struct kernel_image image;
static const char *why;
static struct arch_layout layout;

static int read_file(void *ctx, uint64_t offset, void *buffer, size_t size)
{
	(void)ctx;
	/* The plan must never ask for what the size says is not there. */
	cr_assert(offset <= file_size && size <= file_size - offset);
	memcpy(buffer, file + offset, size);
	return 0;
}

static int plan(void)
{
	const struct kernel_source source = {.read = read_file, .size = file_size};
	int r = kernel_image_plan(&source, &image, &why);

	cr_assert((r == 0) == (why == NULL));
	return r;
}

static void put(size_t at, uint64_t value, unsigned size)
{
	memcpy(file + at, &value, size);
}

/* ---- bzImage ---- */

static void make_bzimage(void)
{
	memset(file, 0, sizeof(file));
	file_size = 5 * 512 + 0x4000;
	put(0x1f1, 4, 1);
	put(0x1f4, 0x4000 / 16, 4);
	put(0x1fe, 0xaa55, 2);
	put(0x201, 0x6a, 1);
	memcpy(file + 0x202, "HdrS", 4);
	put(0x206, 0x020f, 2);
	put(0x211, 1, 1);
	put(0x22c, 0x7fffffff, 4);
	put(0x230, 0x200000, 4);
	put(0x234, 1, 1);
	put(0x236, 0x7f, 2);
	put(0x238, 2047, 4);
	put(0x258, 0x1000000, 8);
	put(0x260, 0x3c39000, 4);
}

Test(kernel_image, a_bzimage_is_loaded_at_its_preferred_address)
{
	make_bzimage();
	cr_assert_eq(plan(), 0);
	cr_assert(image.bzimage);
	cr_assert_eq(image.segment_count, 1);
	cr_assert_eq(image.segments[0].offset, 5 * 512);
	cr_assert_eq(image.segments[0].file_size, 0x4000);
	cr_assert_eq(image.segments[0].gpa, 16 * MIB);
	cr_assert_eq(image.segments[0].size, 0x3c39000);
	cr_assert_eq(image.entry_64, 16 * MIB + 0x200);
	cr_assert_eq(image.entry_pvh, 0);
	cr_assert_eq(image.relocation_alignment, 2 * MIB);
	cr_assert_eq(image.initrd_limit, 2 * GIB);
	cr_assert_eq(image.cmdline_max, 2047);
	cr_assert_eq(image.setup_header_size, 0x26c - 0x1f1);
	cr_assert_arr_eq(image.setup_header, file + 0x1f1, image.setup_header_size);
}

Test(kernel_image, the_last_paragraph_of_a_bzimage_may_be_short)
{
	make_bzimage();
	file_size -= 15;
	cr_assert_eq(plan(), 0);
	cr_assert_eq(image.segments[0].file_size, 0x4000 - 15);
	file_size--;
	cr_assert_eq(plan(), -EINVAL);
}

Test(kernel_image, setup_of_zero_sectors_means_four)
{
	make_bzimage();
	put(0x1f1, 0, 1);
	cr_assert_eq(plan(), 0);
	cr_assert_eq(image.segments[0].offset, 5 * 512);
}

Test(kernel_image, a_truncated_bzimage_is_refused_at_every_length)
{
	make_bzimage();
	uint64_t whole = file_size;

	for (file_size = 0; file_size < whole - 15; file_size++)
		cr_assert_lt(plan(), 0, "taken with %llu bytes", (unsigned long long)file_size);
}

Test(kernel_image, a_damaged_bzimage_is_refused)
{
	static const struct {
		size_t at;
		unsigned size;
		uint64_t value;
		int error;
	} damage[] = {
		{0x1fe, 2, 0, -ENOEXEC},         {0x202, 4, 0, -ENOEXEC},
		{0x206, 2, 0x020b, -ENOEXEC},    {0x211, 1, 0, -ENOEXEC},
		{0x236, 2, 0x7e, -ENOEXEC},      {0x1f4, 4, 0xffffffff, -EINVAL},
		{0x1f4, 4, 0, -EINVAL},          {0x1f4, 4, 0x20, -EINVAL},
		{0x1f1, 1, 255, -EINVAL},        {0x201, 1, 0x10, -EINVAL},
		{0x230, 4, 0, -EINVAL},          {0x230, 4, 0x300000, -EINVAL},
		{0x230, 4, 0x800, -EINVAL},      {0x258, 8, 0, -EINVAL},
		{0x258, 8, 0x1000001, -EINVAL},  {0x258, 8, UINT64_MAX, -EINVAL},
		{0x258, 8, 1ull << 63, -EINVAL}, {0x260, 4, 0, -EINVAL},
		{0x260, 4, 0x3fff, -EINVAL},
	};

	for (unsigned i = 0; i < sizeof(damage) / sizeof(damage[0]); i++) {
		make_bzimage();
		put(damage[i].at, damage[i].value, damage[i].size);
		cr_assert_eq(plan(), damage[i].error, "damage %u: %s", i, why);
	}
	/* the greatest header length runs over the zero page's other fields: cut */
	make_bzimage();
	put(0x201, 255, 1);
	cr_assert_eq(plan(), 0);
	cr_assert_eq(image.setup_header_size, SETUP_HEADER_MAX);
	put(0x238, UINT32_MAX, 4);
	cr_assert_eq(plan(), 0);
	cr_assert_eq(image.cmdline_max, BOOT_CMDLINE_MAX - 1);
}

Test(kernel_image, random_bytes_in_a_bzimage_header_never_break_the_rules)
{
	srand(1);
	for (unsigned n = 0; n < 20000; n++) {
		make_bzimage();
		for (unsigned k = rand() % 6; k < 6; k++)
			put(0x1f1 + rand() % 0x80, (uint64_t)rand(), 1 + rand() % 4);
		if (plan() < 0)
			continue;
		const struct kernel_segment *s = &image.segments[0];
		cr_assert_leq(s->offset + s->file_size, file_size);
		cr_assert_leq(s->file_size, s->size);
		cr_assert_geq(s->gpa, MIB);
	}
}

/* ---- ELF ---- */

#define NOTE_AT 0x800

static Elf64_Ehdr *elf_header(void)
{
	return (Elf64_Ehdr *)file;
}

static Elf64_Phdr *elf_segment(unsigned i)
{
	return (Elf64_Phdr *)(file + sizeof(Elf64_Ehdr)) + i;
}

/* Two segments and a note, as a vmlinux has them; linked high, loaded low. */
static void make_elf(void)
{
	static const uint32_t note[] = {4, 8, 18, 0x006e6558, 0x1000100, 0};

	memset(file, 0, sizeof(file));
	file_size = 0x8000;
	*elf_header() = (Elf64_Ehdr){
		.e_ident = {0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB, 1},
		.e_type = ET_EXEC,
		.e_machine = EM_X86_64,
		.e_entry = 0x1000000,
		.e_phoff = sizeof(Elf64_Ehdr),
		.e_phentsize = sizeof(Elf64_Phdr),
		.e_phnum = 3,
	};
	*elf_segment(0) = (Elf64_Phdr){.p_type = PT_LOAD,
				       .p_offset = 0x1000,
				       .p_filesz = 0x2000,
				       .p_memsz = 0x2000,
				       .p_vaddr = 0xffffffff81000000,
				       .p_paddr = 0x1000000};
	*elf_segment(1) = (Elf64_Phdr){.p_type = PT_LOAD,
				       .p_offset = 0x4000,
				       .p_filesz = 0x100,
				       .p_memsz = 0x100000,
				       .p_vaddr = 0xffffffff81200000,
				       .p_paddr = 0x1200000};
	*elf_segment(2) = (Elf64_Phdr){
		.p_type = PT_NOTE, .p_offset = NOTE_AT, .p_filesz = sizeof(note), .p_align = 4};
	memcpy(file + NOTE_AT, note, sizeof(note));
}

Test(kernel_image, an_elf_kernel_with_a_pvh_note_has_both_entries)
{
	make_elf();
	cr_assert_eq(plan(), 0, "%s", why);
	cr_assert_not(image.bzimage);
	cr_assert_eq(image.segment_count, 2);
	cr_assert_eq(image.entry_pvh, 0x1000100);
	cr_assert_eq(image.entry_64, 0x1000000);
	cr_assert_eq(image.segments[1].file_size, 0x100);
	cr_assert_eq(image.segments[1].size, 0x100000);
	cr_assert_eq(image.setup_header_size, 0);
	cr_assert_eq(image.relocation_alignment, 0);
}

Test(kernel_image, a_virtual_entry_is_made_physical)
{
	make_elf();
	elf_header()->e_entry = 0xffffffff81000200;
	cr_assert_eq(plan(), 0);
	cr_assert_eq(image.entry_64, 0x1000200);
}

Test(kernel_image, a_physical_entry_wins_over_a_virtual_look_alike)
{
	make_elf();
	elf_segment(0)->p_vaddr = 0x1200000;
	elf_header()->e_entry = 0x1200010;
	cr_assert_eq(plan(), 0);
	cr_assert_eq(image.entry_64, 0x1200010);
}

Test(kernel_image, segments_are_sorted_by_address)
{
	make_elf();
	Elf64_Phdr first = *elf_segment(0);
	*elf_segment(0) = *elf_segment(1);
	*elf_segment(1) = first;
	cr_assert_eq(plan(), 0);
	cr_assert_eq(image.segments[0].gpa, 0x1000000);
	cr_assert_eq(image.segments[1].gpa, 0x1200000);
}

Test(kernel_image, without_a_note_the_64_bit_entry_is_left)
{
	make_elf();
	elf_header()->e_phnum = 2;
	cr_assert_eq(plan(), 0);
	cr_assert_eq(image.entry_pvh, 0);
	cr_assert_eq(image.entry_64, 0x1000000);
}

Test(kernel_image, other_notes_are_stepped_over)
{
	static const uint32_t notes[] = {/* GNU build id of 5 bytes */
					 4, 5, 3, 0x00554e47, 1, 2,
					 /* another type of Xen's */
					 4, 4, 2, 0x006e6558, 7, 4, 4, 18, 0x006e6558, 0x1000040};

	make_elf();
	memcpy(file + NOTE_AT, notes, sizeof(notes));
	elf_segment(2)->p_filesz = sizeof(notes);
	cr_assert_eq(plan(), 0, "%s", why);
	cr_assert_eq(image.entry_pvh, 0x1000040);
}

Test(kernel_image, a_truncated_elf_kernel_is_refused_at_every_length)
{
	make_elf();
	for (file_size = 0; file_size < 0x4100; file_size++)
		cr_assert_lt(plan(), 0, "taken with %llu bytes", (unsigned long long)file_size);
	file_size = 0x4100;
	cr_assert_eq(plan(), 0);
}

#define REFUSED(error, ...)                                                                        \
	do {                                                                                       \
		make_elf();                                                                        \
		__VA_ARGS__;                                                                       \
		cr_expect_eq(plan(), error, "%s: %s", #__VA_ARGS__, why);                          \
	} while (0)

Test(kernel_image, a_hostile_elf_kernel_is_refused)
{
	REFUSED(-ENOEXEC, elf_header()->e_ident[EI_CLASS] = ELFCLASS32);
	REFUSED(-ENOEXEC, elf_header()->e_ident[EI_DATA] = ELFDATA2MSB);
	REFUSED(-ENOEXEC, elf_header()->e_machine = EM_AARCH64);
	REFUSED(-ENOEXEC, elf_header()->e_type = ET_REL);
	REFUSED(-ENOEXEC, file[1] = 'x');
	REFUSED(-EINVAL, elf_header()->e_phnum = 0);
	REFUSED(-EINVAL, elf_header()->e_phnum = 0xffff);
	REFUSED(-EINVAL, elf_header()->e_phentsize = 32);
	REFUSED(-EINVAL, elf_header()->e_phoff = UINT64_MAX);
	REFUSED(-EINVAL, elf_header()->e_phoff = UINT64_MAX - 100);
	REFUSED(-EINVAL, elf_header()->e_phoff = file_size - 10);
	REFUSED(-EINVAL, elf_segment(0)->p_type = elf_segment(1)->p_type = PT_NULL);
	REFUSED(-EINVAL, elf_segment(0)->p_offset = UINT64_MAX);
	REFUSED(-EINVAL, elf_segment(0)->p_offset = UINT64_MAX - 0x1fff);
	REFUSED(-EINVAL, elf_segment(0)->p_filesz = UINT64_MAX);
	REFUSED(-EINVAL, elf_segment(0)->p_filesz = 0x2001);
	REFUSED(-EINVAL, elf_segment(0)->p_paddr = UINT64_MAX);
	REFUSED(-EINVAL, elf_segment(0)->p_paddr = 0xff000);
	REFUSED(-EINVAL, elf_segment(0)->p_paddr = 0);
	REFUSED(-EINVAL, elf_segment(0)->p_memsz = UINT64_MAX);
	REFUSED(-EINVAL, elf_segment(0)->p_memsz = 0x200001);
	REFUSED(-EINVAL, elf_segment(1)->p_paddr = 0x1001fff);
	REFUSED(-EINVAL, elf_segment(1)->p_paddr = 0x1000000);
	REFUSED(-EINVAL, elf_segment(1)->p_paddr = 0xffffff);
	REFUSED(-EINVAL, elf_segment(2)->p_offset = file_size + 1);
	REFUSED(-EINVAL, elf_segment(2)->p_filesz = UINT64_MAX);
	REFUSED(-EINVAL, put(NOTE_AT, 0xffffffff, 4));
	REFUSED(-EINVAL, put(NOTE_AT + 4, 0xffffffff, 4));
	REFUSED(-EINVAL, put(NOTE_AT + 4, 100, 4));
	REFUSED(-EINVAL, put(NOTE_AT + 16, 0x999, 8));
	REFUSED(-EINVAL, put(NOTE_AT + 16, 0x101000100, 8));
	REFUSED(-EINVAL, elf_header()->e_phnum = 2; elf_header()->e_entry = 0x5000000);
	REFUSED(-EINVAL, elf_header()->e_phnum = 2; elf_header()->e_entry = 0);
}

Test(kernel_image, more_segments_than_there_is_room_for_are_refused)
{
	make_elf();
	elf_header()->e_phnum = 40;
	for (unsigned i = 0; i < 40; i++)
		*elf_segment(i) = (Elf64_Phdr){
			.p_type = PT_LOAD, .p_memsz = 0x1000, .p_paddr = 0x1000000 + i * 0x1000};
	cr_assert_eq(plan(), -EINVAL);
	elf_header()->e_phnum = 16;
	cr_assert_eq(plan(), 0);
}

Test(kernel_image, endless_notes_end)
{
	make_elf();
	file_size = sizeof(file);
	elf_segment(2)->p_filesz = file_size - NOTE_AT;
	memset(file + NOTE_AT, 0, sizeof(file) - NOTE_AT);
	elf_segment(0)->p_filesz = 0;
	cr_assert_eq(plan(), 0);
	cr_assert_eq(image.entry_pvh, 0);
}

Test(kernel_image, random_damage_to_an_elf_kernel_never_breaks_the_rules)
{
	srand(2);
	for (unsigned n = 0; n < 50000; n++) {
		make_elf();
		for (unsigned k = rand() % 4; k < 4; k++) {
			unsigned at = rand() % 2 ? rand() % 232 : NOTE_AT + rand() % 24;
			put(at, (uint64_t)rand() << (rand() % 40), 1 + rand() % 8);
		}
		if (plan() < 0)
			continue;
		for (unsigned i = 0; i < image.segment_count; i++) {
			const struct kernel_segment *s = &image.segments[i];
			cr_assert_leq(s->file_size, file_size);
			cr_assert_leq(s->offset, file_size - s->file_size);
			cr_assert_leq(s->file_size, s->size);
			cr_assert_geq(s->gpa, MIB);
			if (i > 0)
				cr_assert_leq(s[-1].gpa + s[-1].size, s->gpa);
		}
	}
}

/* ---- placement ---- */

static struct boot_placement placement;

static int place(uint64_t memory, const uint64_t *initrds, unsigned count, size_t cmdline)
{
	const struct arch_layout_request request = {
		.memory = memory, .alignment = 4096, .address_bits = 40};
	const struct boot_request boot = {.layout = &layout,
					  .image = &image,
					  .initrd_sizes = initrds,
					  .initrd_count = count,
					  .cmdline_length = cmdline};
	int r;

	cr_assert_eq(arch_plan_layout(&request, &layout), 0);
	r = boot_plan(&boot, &placement, &why);
	cr_assert((r == 0) == (why == NULL));
	return r;
}

Test(boot_plan, pvh_is_preferred_and_64_bit_taken_otherwise)
{
	make_elf();
	cr_assert_eq(plan(), 0);
	cr_assert_eq(place(64 * MIB, NULL, 0, 10), 0);
	cr_assert_eq(placement.entry.mode, ARCH_ENTRY_PROTECTED);
	cr_assert_eq(placement.entry.ip, 0x1000100);
	cr_assert_eq(placement.entry.argument, BOOT_START_INFO);
	cr_assert_eq(placement.entry.page_tables, 0);

	image.entry_pvh = 0;
	cr_assert_eq(place(64 * MIB, NULL, 0, 10), 0);
	cr_assert_eq(placement.entry.mode, ARCH_ENTRY_LONG);
	cr_assert_eq(placement.entry.ip, 0x1000000);
	cr_assert_eq(placement.entry.argument, BOOT_ZERO_PAGE);
	cr_assert_eq(placement.entry.page_tables, BOOT_PML4);
}

Test(boot_plan, a_bzimage_moves_down_when_memory_is_small)
{
	make_bzimage();
	cr_assert_eq(plan(), 0);
	cr_assert_eq(place(128 * MIB, NULL, 0, 0), 0);
	cr_assert_eq(placement.kernel_shift, 0);
	cr_assert_eq(place(64 * MIB, NULL, 0, 0), 0);
	cr_assert_eq(image.segments[0].gpa + placement.kernel_shift, 2 * MIB);
	cr_assert_eq(placement.entry.ip, 2 * MIB + 0x200);
	cr_assert_eq(place(32 * MIB, NULL, 0, 0), -E2BIG);
	image.relocation_alignment = 0;
	cr_assert_eq(place(64 * MIB, NULL, 0, 0), -E2BIG);
}

Test(boot_plan, initrds_lie_high_in_order_on_four_bytes)
{
	static const uint64_t sizes[] = {5, 0, 4096, 3};

	make_elf();
	cr_assert_eq(plan(), 0);
	cr_assert_eq(place(64 * MIB, sizes, 4, 0), 0);
	cr_assert_eq(placement.initrd_size, 8 + 4096 + 3);
	cr_assert_eq(placement.initrd, 64 * MIB - 2 * 4096);
	cr_assert_eq(boot_initrd_offset(sizes, 0), 0);
	cr_assert_eq(boot_initrd_offset(sizes, 1), 8);
	cr_assert_eq(boot_initrd_offset(sizes, 2), 8);
	cr_assert_eq(boot_initrd_offset(sizes, 3), 8 + 4096);
}

Test(boot_plan, initrds_keep_below_the_kernels_limit)
{
	static const uint64_t sizes[] = {MIB};

	make_bzimage();
	put(0x22c, 0x37ffffff, 4);
	cr_assert_eq(plan(), 0);
	cr_assert_eq(place(8 * GIB, sizes, 1, 0), 0);
	cr_assert_eq(placement.initrd, 0x38000000 - MIB);
	make_elf();
	cr_assert_eq(plan(), 0);
	cr_assert_eq(place(8 * GIB, sizes, 1, 0), 0);
	cr_assert_eq(placement.initrd, 2 * GIB - MIB);
}

Test(boot_plan, what_does_not_fit_is_refused)
{
	static const uint64_t huge[] = {1, UINT64_MAX, 5};
	static const uint64_t wrap[] = {1ull << 62, 1ull << 62, 1ull << 62, 1ull << 62};
	static const uint64_t snug[] = {64 * MIB - 0x1300000};
	static const uint64_t over[] = {64 * MIB - 0x1300000 + 1};

	make_elf();
	cr_assert_eq(plan(), 0);
	cr_assert_eq(place(64 * MIB, huge, 3, 0), -E2BIG);
	cr_assert_eq(place(64 * MIB, wrap, 4, 0), -E2BIG);
	cr_assert_eq(place(64 * MIB, snug, 1, 0), 0);
	cr_assert_eq(place(64 * MIB, over, 1, 0), -E2BIG);
	cr_assert_eq(place(16 * MIB, NULL, 0, 0), -E2BIG);
	cr_assert_eq(place(64 * MIB, NULL, 0, 2047), 0);
	cr_assert_eq(place(64 * MIB, NULL, 0, 2048), -E2BIG);
}

Test(boot_plan, the_memory_map_reserves_the_first_mib_and_the_ecam)
{
	struct boot_memory map[BOOT_MEMORY_MAX];
	unsigned count;
	uint64_t ram = 0;
	bool ecam = false;

	make_elf();
	cr_assert_eq(plan(), 0);
	for (uint64_t memory = 64 * MIB; memory <= 64 * GIB; memory *= 4) {
		cr_assert_eq(place(memory, NULL, 0, 0), 0);
		count = boot_memory_map(&layout, map);
		cr_assert_leq(count, BOOT_MEMORY_MAX);
		ram = 0;
		ecam = false;
		for (unsigned i = 0; i < count; i++) {
			cr_assert_gt(map[i].size, 0);
			if (i > 0)
				cr_assert_leq(map[i - 1].base + map[i - 1].size, map[i].base);
			if (map[i].type == BOOT_MEMORY_RAM)
				ram += map[i].size;
			ecam |= map[i].type == BOOT_MEMORY_RESERVED &&
				map[i].base == layout.ecam.base && map[i].size == layout.ecam.size;
		}
		cr_assert(ecam);
		cr_assert_eq(ram, memory - (MIB - LOW_RAM_END));
	}
}

Test(boot_plan, the_zero_page_says_what_the_boot_protocol_asks)
{
	static const uint64_t sizes[] = {1000};
	const struct boot_request request = {.layout = &layout, .image = &image};
	static uint8_t page[4096];
	struct boot_params *params = (void *)page;

	make_bzimage();
	cr_assert_eq(plan(), 0);
	cr_assert_eq(place(256 * MIB, sizes, 1, 5), 0);
	boot_zero_page(&request, &placement, page);
	cr_assert_eq(params->hdr.header, 0x53726448);
	cr_assert_eq(params->hdr.boot_flag, 0xaa55);
	cr_assert_eq(params->hdr.type_of_loader, 0xff);
	cr_assert_eq(params->hdr.cmd_line_ptr, BOOT_CMDLINE);
	cr_assert_eq(params->hdr.ramdisk_image, placement.initrd);
	cr_assert_eq(params->hdr.ramdisk_size, 1000);
	cr_assert_eq(params->hdr.init_size, 0x3c39000);
	cr_assert_eq(params->acpi_rsdp_addr, TABLES_BASE);
	cr_assert_eq(params->e820_entries, 4);
	cr_assert_eq(params->e820_table[0].addr, 0);
	cr_assert_eq(params->e820_table[0].type, BOOT_MEMORY_RAM);
	cr_assert_eq(params->e820_table[3].addr, layout.ecam.base);

	make_elf();
	cr_assert_eq(plan(), 0);
	cr_assert_eq(place(256 * MIB, NULL, 0, 5), 0);
	boot_zero_page(&request, &placement, page);
	cr_assert_eq(params->hdr.header, 0x53726448);
	cr_assert_eq(params->hdr.version, 0x020f);
	cr_assert_eq(params->hdr.ramdisk_image, 0);
	cr_assert_eq(params->hdr.ramdisk_size, 0);
}

Test(boot_plan, the_start_info_names_modules_and_memory)
{
	static const uint64_t sizes[] = {1000};
	const struct boot_request request = {.layout = &layout, .image = &image};
	static uint8_t page[4096];
	uint32_t word[32];
	uint64_t quad[64];

	make_elf();
	cr_assert_eq(plan(), 0);
	cr_assert_eq(place(256 * MIB, sizes, 1, 5), 0);
	boot_start_info(&request, &placement, page);
	memcpy(word, page, sizeof(word));
	memcpy(quad, page, sizeof(quad));
	cr_assert_eq(word[0], 0x336ec578);
	cr_assert_eq(word[1], 1);
	cr_assert_eq(word[3], 1);
	cr_assert_eq(quad[2], BOOT_START_INFO + 56);
	cr_assert_eq(quad[3], BOOT_CMDLINE);
	cr_assert_eq(quad[4], TABLES_BASE);
	cr_assert_eq(quad[5], BOOT_START_INFO + 88);
	cr_assert_eq(word[12], 4);
	cr_assert_eq(quad[7], placement.initrd);
	cr_assert_eq(quad[8], 1000);
	cr_assert_eq(quad[11], 0);
	cr_assert_eq(quad[12], LOW_RAM_END);
	cr_assert_eq(word[26], BOOT_MEMORY_RAM);
}

Test(boot_plan, page_tables_map_4_gib_to_itself)
{
	static uint64_t tables[6 * 512];

	boot_page_tables(tables);
	for (uint64_t address = 0; address < 4 * GIB; address += 2 * MIB) {
		uint64_t pdpt = tables[address >> 39] & ~0xfffull;
		uint64_t pd, entry;

		cr_assert_eq(pdpt, BOOT_PML4 + 4096);
		pd = tables[(pdpt - BOOT_PML4) / 8 + (address >> 30 & 511)] & ~0xfffull;
		entry = tables[(pd - BOOT_PML4) / 8 + (address >> 21 & 511)];
		cr_assert_eq(entry, address | 0x83);
	}
}
