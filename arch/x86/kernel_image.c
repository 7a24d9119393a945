// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/kernel_image.h"

#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <stddef.h>
#include <string.h>

#include "arch/x86/platform.h"

/* What a setup header of protocol 2.12 has at least: all up to init_size. */
#define HEADER_NEEDED offsetof(struct setup_header, handover_offset)

#define HEADER_MAGIC      0x53726448 /* "HdrS" */
#define PROTOCOL_2_12     0x020c
#define ENTRY_64_OFFSET   0x200
#define LINUX_CMDLINE_MAX 2047 /* COMMAND_LINE_SIZE of arch/x86 less the end */
#define MEMORY_LIMIT      (1ull << 46)
#define ELF_SEGMENTS_MAX  128
#define NOTES_MAX         256
#define NOTE_PHYS32_ENTRY 18 /* xen/include/public/elfnote.h */

static int refuse(const char **why, int error, const char *text)
{
	*why = text;
	return error;
}

static int plan_bzimage(const uint8_t *head, uint64_t file_size, struct kernel_image *out,
			const char **why)
{
	const struct setup_header *header = (const void *)(head + SETUP_HEADER_AT);
	uint64_t setup = ((header->setup_sects ? header->setup_sects : 4) + 1) * 512ull;
	uint64_t code = header->syssize * 16ull;
	uint64_t init_size = header->init_size;
	uint64_t alignment = header->kernel_alignment;
	/* The jump at its beginning leads behind it. */
	size_t header_size = offsetof(struct setup_header, header) + (header->jump >> 8);
	uint64_t base = header->pref_address;

	if (header->version < PROTOCOL_2_12 || !(header->loadflags & LOADED_HIGH))
		return refuse(why, -ENOEXEC,
			      "bzImage with a boot protocol older than 2.12 (Linux 3.8)");
	if (!(header->xloadflags & XLF_KERNEL_64))
		return refuse(why, -ENOEXEC, "bzImage of a 32-bit kernel; a 64-bit one is needed");
	/* The build rounds the size up to a paragraph, which need not be in the file. */
	if (file_size <= setup || file_size - setup + 15 < code)
		return refuse(why, -EINVAL, "bzImage is truncated");
	if (header_size < HEADER_NEEDED)
		return refuse(why, -EINVAL, "bzImage with a damaged setup header");
	if (code > file_size - setup)
		code = file_size - setup;
	if (code <= ENTRY_64_OFFSET || init_size < code)
		return refuse(why, -EINVAL, "bzImage whose sizes contradict each other");
	if (alignment < 4096 || (alignment & (alignment - 1)) != 0)
		return refuse(why, -EINVAL, "bzImage with an impossible alignment");
	if (base < KERNEL_LOWEST || base > MEMORY_LIMIT || base % 4096 != 0)
		return refuse(why, -EINVAL, "bzImage with an impossible load address");

	out->bzimage = true;
	out->segments[0] = (struct kernel_segment){
		.offset = setup,
		.file_size = code,
		.gpa = base,
		.size = init_size,
	};
	out->segment_count = 1;
	out->entry_64 = base + ENTRY_64_OFFSET;
	out->relocation_alignment = header->relocatable_kernel ? alignment : 0;
	out->initrd_limit = header->initrd_addr_max + 1ull;
	out->cmdline_max = header->cmdline_size;
	if (out->cmdline_max > BOOT_CMDLINE_MAX - 1)
		out->cmdline_max = BOOT_CMDLINE_MAX - 1;
	if (header_size > SETUP_HEADER_MAX)
		header_size = SETUP_HEADER_MAX;
	memcpy(out->setup_header, head + SETUP_HEADER_AT, header_size);
	out->setup_header_size = header_size;
	return 0;
}

/* Put a segment in its place by address; those that overlap are refused. */
static int add_segment(const struct kernel_segment *segment, struct kernel_image *out,
		       const char **why)
{
	unsigned at = out->segment_count;

	if (at == KERNEL_SEGMENTS)
		return refuse(why, -EINVAL, "ELF kernel with more than 16 segments to load");
	while (at > 0 && out->segments[at - 1].gpa > segment->gpa) {
		out->segments[at] = out->segments[at - 1];
		at--;
	}
	out->segments[at] = *segment;
	out->segment_count++;
	if ((at > 0 && out->segments[at - 1].gpa + out->segments[at - 1].size > segment->gpa) ||
	    (at + 1 < out->segment_count &&
	     segment->gpa + segment->size > out->segments[at + 1].gpa))
		return refuse(why, -EINVAL, "ELF kernel whose segments overlap");
	return 0;
}

static bool inside_segment(const struct kernel_image *image, uint64_t gpa)
{
	for (unsigned i = 0; i < image->segment_count; i++) {
		if (gpa >= image->segments[i].gpa &&
		    gpa - image->segments[i].gpa < image->segments[i].size)
			return true;
	}
	return false;
}

static int plan_load(const Elf64_Phdr *header, uint64_t file_size, struct kernel_image *out,
		     const char **why)
{
	const struct kernel_segment segment = {
		.offset = header->p_offset,
		.file_size = header->p_filesz,
		.gpa = header->p_paddr,
		.size = header->p_memsz,
	};

	if (segment.size == 0)
		return 0;
	if (segment.file_size > segment.size)
		return refuse(why, -EINVAL,
			      "ELF segment with more bytes in the file than in memory");
	if (segment.offset > file_size || segment.file_size > file_size - segment.offset)
		return refuse(why, -EINVAL, "ELF kernel is truncated");
	if (segment.gpa > MEMORY_LIMIT || segment.size > MEMORY_LIMIT)
		return refuse(why, -EINVAL, "ELF segment with an impossible address");
	if (segment.gpa < KERNEL_LOWEST)
		return refuse(why, -EINVAL, "ELF segment below 1 MiB, where boot data is");
	return add_segment(&segment, out, why);
}

/* Look for the PVH entry among the notes of one PT_NOTE segment; only headers are read. */
static int find_pvh_note(const struct kernel_source *source, const Elf64_Phdr *header,
			 struct kernel_image *out, const char **why)
{
	uint64_t alignment = header->p_align == 8 ? 8 : 4;
	uint64_t at = header->p_offset;
	uint64_t end;

	if (at > source->size || header->p_filesz > source->size - at)
		return refuse(why, -EINVAL, "ELF kernel is truncated");
	end = at + header->p_filesz;
	for (unsigned i = 0; i < NOTES_MAX && end - at >= sizeof(Elf64_Nhdr); i++) {
		uint8_t name[4];
		uint64_t value = 0;
		Elf64_Nhdr note;
		uint64_t name_size, value_size;
		int r;

		r = source->read(source->ctx, at, &note, sizeof(note));
		if (r < 0)
			return r;
		at += sizeof(note);
		name_size = ((uint64_t)note.n_namesz + alignment - 1) & ~(alignment - 1);
		value_size = ((uint64_t)note.n_descsz + alignment - 1) & ~(alignment - 1);
		if (alignment == 8) /* the header of 12 bytes counts */
			name_size =
				((uint64_t)note.n_namesz + sizeof(note) + 7) / 8 * 8 - sizeof(note);
		if (name_size > end - at || note.n_descsz > end - at - name_size)
			return refuse(why, -EINVAL, "ELF kernel with a damaged note");
		if (note.n_type == NOTE_PHYS32_ENTRY && note.n_namesz == 4 &&
		    (note.n_descsz == 4 || note.n_descsz == 8)) {
			r = source->read(source->ctx, at, name, sizeof(name));
			if (r == 0)
				r = source->read(source->ctx, at + name_size, &value,
						 note.n_descsz);
			if (r < 0)
				return r;
			if (memcmp(name, "Xen", 4) == 0)
				out->entry_pvh = value;
		}
		at += name_size;
		at += value_size < end - at ? value_size : end - at;
	}
	return 0;
}

/* Linux's e_entry is a physical address; in other kernels it is a virtual one. */
static uint64_t entry_address(uint64_t entry, const Elf64_Phdr *load, uint64_t known)
{
	if (entry >= load->p_paddr && entry - load->p_paddr < load->p_memsz)
		return entry;
	if (known == 0 && entry >= load->p_vaddr && entry - load->p_vaddr < load->p_memsz)
		return load->p_paddr + (entry - load->p_vaddr);
	return known;
}

static int plan_elf(const struct kernel_source *source, const Elf64_Ehdr *elf,
		    struct kernel_image *out, const char **why)
{
	uint64_t table = elf->e_phoff;
	int r = 0;

	if (elf->e_ident[EI_CLASS] != ELFCLASS64 || elf->e_ident[EI_DATA] != ELFDATA2LSB ||
	    elf->e_machine != EM_X86_64)
		return refuse(why, -ENOEXEC, "ELF file, but not for x86-64");
	if (elf->e_type != ET_EXEC && elf->e_type != ET_DYN)
		return refuse(why, -ENOEXEC, "ELF file that is no executable");
	if (elf->e_phentsize != sizeof(Elf64_Phdr) || elf->e_phnum == 0 ||
	    elf->e_phnum > ELF_SEGMENTS_MAX)
		return refuse(why, -EINVAL, "ELF kernel with a damaged segment table");
	if (table > source->size || elf->e_phnum * sizeof(Elf64_Phdr) > source->size - table)
		return refuse(why, -EINVAL, "ELF kernel is truncated");

	for (unsigned i = 0; i < elf->e_phnum; i++) {
		Elf64_Phdr header;

		r = source->read(source->ctx, table + i * sizeof(header), &header, sizeof(header));
		if (r == 0 && header.p_type == PT_LOAD) {
			r = plan_load(&header, source->size, out, why);
			if (r == 0)
				out->entry_64 = entry_address(elf->e_entry, &header, out->entry_64);
		} else if (r == 0 && header.p_type == PT_NOTE) {
			r = find_pvh_note(source, &header, out, why);
		}
		if (r < 0)
			return r;
	}
	if (out->segment_count == 0)
		return refuse(why, -EINVAL, "ELF kernel with nothing to load");
	if (out->entry_pvh != 0 &&
	    (out->entry_pvh > UINT32_MAX || !inside_segment(out, out->entry_pvh)))
		return refuse(why, -EINVAL, "ELF kernel whose PVH entry is outside its segments");
	if (out->entry_pvh == 0 && out->entry_64 == 0)
		return refuse(why, -EINVAL, "ELF kernel whose entry is outside its segments");
	out->initrd_limit = PCI_MEM32_BASE;
	out->cmdline_max = LINUX_CMDLINE_MAX;
	return 0;
}

int kernel_image_plan(const struct kernel_source *source, struct kernel_image *out,
		      const char **why)
{
	uint8_t head[SETUP_HEADER_AT + SETUP_HEADER_MAX] = {0};
	const struct setup_header *header = (const void *)(head + SETUP_HEADER_AT);
	size_t have = source->size < sizeof(head) ? source->size : sizeof(head);
	Elf64_Ehdr elf;
	int r;

	*out = (struct kernel_image){0};
	*why = NULL;
	r = source->read(source->ctx, 0, head, have);
	if (r < 0)
		return r;
	if (have >= sizeof(elf) && memcmp(head, ELFMAG, SELFMAG) == 0) {
		memcpy(&elf, head, sizeof(elf));
		return plan_elf(source, &elf, out, why);
	}
	if (have >= SETUP_HEADER_AT + HEADER_NEEDED && header->boot_flag == 0xaa55 &&
	    header->header == HEADER_MAGIC)
		return plan_bzimage(head, source->size, out, why);
	return refuse(why, -ENOEXEC, "neither a vmlinux (ELF) nor a bzImage");
}
