// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/boot_plan.h"

#include <asm/bootparam.h>
#include <errno.h>
#include <string.h>

#include "arch/x86/platform.h"

#define PAGE 4096ull

/* boot_params.hdr */
#define LOADER_UNDEFINED 0xff
#define HEADER_MAGIC     0x53726448 /* "HdrS" */
#define PROTOCOL_2_15    0x020f

/* xen/include/public/arch-x86/hvm/start_info.h, version 1 */
struct hvm_start_info {
	uint32_t magic;
	uint32_t version;
	uint32_t flags;
	uint32_t nr_modules;
	uint64_t modlist_paddr;
	uint64_t cmdline_paddr;
	uint64_t rsdp_paddr;
	uint64_t memmap_paddr;
	uint32_t memmap_entries;
	uint32_t reserved;
};

struct hvm_modlist_entry {
	uint64_t paddr;
	uint64_t size;
	uint64_t cmdline_paddr;
	uint64_t reserved;
};

struct hvm_memmap_entry {
	uint64_t addr;
	uint64_t size;
	uint32_t type;
	uint32_t reserved;
};

#define HVM_START_MAGIC 0x336ec578
#define MODLIST_AT      sizeof(struct hvm_start_info)
#define MEMMAP_AT       (MODLIST_AT + sizeof(struct hvm_modlist_entry))

_Static_assert(sizeof(struct boot_params) == PAGE, "boot_params is the zero page");
_Static_assert(offsetof(struct boot_params, hdr) == SETUP_HEADER_AT, "setup header");
_Static_assert(offsetof(struct boot_params, edd_mbr_sig_buffer) ==
		       SETUP_HEADER_AT + SETUP_HEADER_MAX,
	       "the setup header may not run into what follows");
_Static_assert(MEMMAP_AT + BOOT_MEMORY_MAX * sizeof(struct hvm_memmap_entry) <= PAGE,
	       "hvm_start_info and what it points to is one page");
_Static_assert(BOOT_MEMORY_MAX <= E820_MAX_ENTRIES_ZEROPAGE, "the zero page holds the map");
_Static_assert(BOOT_CMDLINE + BOOT_CMDLINE_MAX <= LOW_RAM_END, "boot data is in low RAM");
_Static_assert(BOOT_PML4 + BOOT_PAGE_TABLE_BYTES <= BOOT_CMDLINE, "page tables");

static uint64_t align_up(uint64_t value, uint64_t alignment)
{
	return (value + alignment - 1) & ~(alignment - 1);
}

/* The piece of RAM that holds [@gpa, @gpa + @size), or NULL. */
static const struct memory_piece *find_ram(const struct arch_layout *layout, uint64_t gpa,
					   uint64_t size)
{
	for (unsigned i = 0; i < layout->ram_count; i++) {
		const struct memory_piece *ram = &layout->ram[i];

		if (gpa >= ram->gpa && gpa - ram->gpa <= ram->size &&
		    size <= ram->size - (gpa - ram->gpa))
			return ram;
	}
	return NULL;
}

uint64_t boot_initrd_offset(const uint64_t *sizes, unsigned index)
{
	uint64_t offset = 0;

	for (unsigned i = 0; i < index; i++)
		offset = align_up(offset + sizes[i], 4);
	return offset;
}

/* Where it wants to be, or, a bzImage, at the lowest place that has room. */
static int place_kernel(const struct boot_request *request, uint64_t *shift, const char **why)
{
	const struct kernel_image *image = request->image;
	const struct kernel_segment *first = &image->segments[0];
	const struct arch_layout *layout = request->layout;
	bool fits = true;

	*shift = 0;
	for (unsigned i = 0; i < image->segment_count; i++)
		fits &= find_ram(layout, image->segments[i].gpa, image->segments[i].size) != NULL;
	if (fits)
		return 0;
	if (image->relocation_alignment != 0 && image->segment_count == 1) {
		uint64_t base = align_up(KERNEL_LOWEST, image->relocation_alignment);

		if (find_ram(layout, base, first->size) != NULL) {
			*shift = base - first->gpa;
			return 0;
		}
	}
	*why = "the kernel does not fit; give it more --memory";
	return -E2BIG;
}

static int place_initrd(const struct boot_request *request, struct boot_placement *out,
			const char **why)
{
	const struct kernel_image *image = request->image;
	const struct memory_piece *low = &request->layout->ram[0];
	uint64_t bottom = KERNEL_LOWEST;
	uint64_t top = low->gpa + low->size;
	uint64_t size = 0;

	if (request->initrd_count == 0)
		return 0;
	/* Sizes of files: below 2^63, but the sum may not wrap either. */
	for (unsigned i = 0; i < request->initrd_count; i++) {
		if (request->initrd_sizes[i] > top || size > top) {
			*why = "the initrds do not fit below 2 GiB; give more --memory or less "
			       "initrd";
			return -E2BIG;
		}
		size = align_up(size, 4) + request->initrd_sizes[i];
	}
	if (size == 0)
		return 0;

	for (unsigned i = 0; i < image->segment_count; i++) {
		const struct kernel_segment *segment = &image->segments[i];
		uint64_t end = segment->gpa + out->kernel_shift + segment->size;

		if (find_ram(request->layout, segment->gpa + out->kernel_shift, 1) == low)
			bottom = end;
	}
	if (top > image->initrd_limit)
		top = image->initrd_limit;
	bottom = align_up(bottom, PAGE);
	if (size > top || ((top - size) & ~(PAGE - 1)) < bottom) {
		*why = "the initrds do not fit above the kernel; give more --memory";
		return -E2BIG;
	}
	out->initrd = (top - size) & ~(PAGE - 1);
	out->initrd_size = size;
	return 0;
}

int boot_plan(const struct boot_request *request, struct boot_placement *out, const char **why)
{
	const struct kernel_image *image = request->image;
	const struct arch_layout *layout = request->layout;
	int r;

	*out = (struct boot_placement){0};
	*why = NULL;
	if (layout->ram_count == 0 || find_ram(layout, 0, TABLES_END) != &layout->ram[0]) {
		*why = "no RAM in the first MiB; a device passed through reserves it";
		return -E2BIG;
	}
	if (request->cmdline_length > image->cmdline_max ||
	    request->cmdline_length > BOOT_CMDLINE_MAX - 1) {
		*why = "the --cmdline is longer than the kernel takes";
		return -E2BIG;
	}
	r = place_kernel(request, &out->kernel_shift, why);
	if (r == 0)
		r = place_initrd(request, out, why);
	if (r < 0)
		return r;

	out->entry.gdt = BOOT_GDT;
	if (image->entry_pvh != 0) {
		out->entry.mode = ARCH_ENTRY_PROTECTED;
		out->entry.ip = image->entry_pvh;
		out->entry.argument = BOOT_START_INFO;
	} else {
		out->entry.mode = ARCH_ENTRY_LONG;
		out->entry.ip = image->entry_64 + out->kernel_shift;
		out->entry.argument = BOOT_ZERO_PAGE;
		out->entry.page_tables = BOOT_PML4;
	}
	return 0;
}

unsigned boot_memory_map(const struct arch_layout *layout, struct boot_memory *out)
{
	unsigned count = 0;
	bool ecam_done = false;

	for (unsigned i = 0; i < layout->ram_count; i++) {
		uint64_t base = layout->ram[i].gpa;
		uint64_t size = layout->ram[i].size;

		if (base == 0) {
			out[count++] = (struct boot_memory){0, LOW_RAM_END, BOOT_MEMORY_RAM};
			out[count++] = (struct boot_memory){LOW_RAM_END, TABLES_END - LOW_RAM_END,
							    BOOT_MEMORY_RESERVED};
			base = TABLES_END;
			size -= TABLES_END;
		}
		if (!ecam_done && base > layout->ecam.base) {
			out[count++] = (struct boot_memory){layout->ecam.base, layout->ecam.size,
							    BOOT_MEMORY_RESERVED};
			ecam_done = true;
		}
		if (size > 0)
			out[count++] = (struct boot_memory){base, size, BOOT_MEMORY_RAM};
	}
	if (!ecam_done)
		out[count++] = (struct boot_memory){layout->ecam.base, layout->ecam.size,
						    BOOT_MEMORY_RESERVED};
	return count;
}

void boot_zero_page(const struct boot_request *request, const struct boot_placement *placement,
		    uint8_t *page)
{
	const struct kernel_image *image = request->image;
	struct boot_memory map[BOOT_MEMORY_MAX];
	struct boot_params params = {0};

	if (image->setup_header_size != 0) {
		memcpy(&params.hdr, image->setup_header, image->setup_header_size);
	} else {
		params.hdr.boot_flag = 0xaa55;
		params.hdr.header = HEADER_MAGIC;
		params.hdr.version = PROTOCOL_2_15;
		params.hdr.cmdline_size = image->cmdline_max;
	}
	params.hdr.type_of_loader = LOADER_UNDEFINED;
	params.hdr.loadflags |= LOADED_HIGH;
	params.hdr.cmd_line_ptr = BOOT_CMDLINE;
	params.hdr.ramdisk_image = (uint32_t)placement->initrd;
	params.hdr.ramdisk_size = (uint32_t)placement->initrd_size;
	params.hdr.code32_start = (uint32_t)(image->segments[0].gpa + placement->kernel_shift);
	params.acpi_rsdp_addr = TABLES_BASE;
	params.e820_entries = (uint8_t)boot_memory_map(request->layout, map);
	for (unsigned i = 0; i < params.e820_entries; i++) {
		params.e820_table[i].addr = map[i].base;
		params.e820_table[i].size = map[i].size;
		params.e820_table[i].type = map[i].type;
	}
	memcpy(page, &params, sizeof(params));
}

void boot_start_info(const struct boot_request *request, const struct boot_placement *placement,
		     uint8_t *page)
{
	struct boot_memory map[BOOT_MEMORY_MAX];
	unsigned count = boot_memory_map(request->layout, map);
	const struct hvm_start_info info = {
		.magic = HVM_START_MAGIC,
		.version = 1,
		.nr_modules = placement->initrd != 0,
		.modlist_paddr = placement->initrd != 0 ? BOOT_START_INFO + MODLIST_AT : 0,
		.cmdline_paddr = BOOT_CMDLINE,
		.rsdp_paddr = TABLES_BASE,
		.memmap_paddr = BOOT_START_INFO + MEMMAP_AT,
		.memmap_entries = count,
	};
	const struct hvm_modlist_entry module = {
		.paddr = placement->initrd,
		.size = placement->initrd_size,
	};

	memcpy(page, &info, sizeof(info));
	memcpy(page + MODLIST_AT, &module, sizeof(module));
	for (unsigned i = 0; i < count; i++) {
		const struct hvm_memmap_entry entry = {map[i].base, map[i].size, map[i].type, 0};

		memcpy(page + MEMMAP_AT + i * sizeof(entry), &entry, sizeof(entry));
	}
}

/* Identity map of 4 GiB: root, one directory of pointers, four of 2 MiB pages. */
void boot_page_tables(uint64_t *tables)
{
	const uint64_t present_writable = 3, large = 0x80;

	memset(tables, 0, 1024 * sizeof(*tables));
	tables[0] = (BOOT_PML4 + PAGE) | present_writable;
	for (uint64_t i = 0; i < 4; i++)
		tables[512 + i] = (BOOT_PML4 + (2 + i) * PAGE) | present_writable;
	for (uint64_t i = 0; i < 4 * 512; i++)
		tables[1024 + i] = i << 21 | large | present_writable;
}

void boot_gdt(uint64_t *entries)
{
	entries[BOOT_CS / 8] =
		0x00af9b000000ffff; /* 64-bit code; cs of the PVH entry is never reloaded */
	entries[BOOT_DS / 8] = 0x00cf93000000ffff;
	entries[BOOT_TSS / 8] = 0x00008b0000000067;
}
