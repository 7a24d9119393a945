// SPDX-License-Identifier: Apache-2.0
/*
 * The boot protocol: walks the plans of kernel_image.c and boot_plan.c and puts the bytes into guest
 * memory.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/x86/boot_plan.h"
#include "arch/x86/kernel_image.h"
#include "arch/x86/platform.h"
#include "arch/x86/tables.h"
#include "vmm/base/log.h"

/* All @size bytes at @offset of @fd. -EINVAL when the file ends before. */
static int read_all(int fd, uint64_t offset, void *buffer, size_t size)
{
	uint8_t *to = buffer;

	while (size > 0) {
		ssize_t n = pread(fd, to, size, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EINVAL;
		to += n;
		offset += (size_t)n;
		size -= (size_t)n;
	}
	return 0;
}

static int read_kernel(void *ctx, uint64_t offset, void *buffer, size_t size)
{
	const struct arch_file *file = ctx;

	return read_all(file->fd, offset, buffer, size);
}

/* Where the host sees @gpa; the plans made sure that it is RAM. */
static uint8_t *at(const struct arch_layout *layout, uint64_t gpa)
{
	for (unsigned i = 0; i < layout->ram_count; i++) {
		const struct memory_piece *ram = &layout->ram[i];

		if (gpa >= ram->gpa && gpa - ram->gpa < ram->size)
			return ram->hva + (gpa - ram->gpa);
	}
	return NULL;
}

static int file_size(const struct arch_file *file, uint64_t *size)
{
	struct stat st;

	if (fstat(file->fd, &st) < 0)
		return -errno;
	*size = (uint64_t)st.st_size;
	return 0;
}

static int failed(const char *what, const char *name, int error)
{
	log_error("%s %s: %s", what, name,
		  error == -EINVAL ? "the file ends too early; did it change just now?"
				   : strerror(-error));
	return error;
}

static int load_kernel(const struct boot_request *request, const struct boot_placement *placement,
		       const struct arch_boot_files *files)
{
	const struct kernel_image *image = request->image;

	for (unsigned i = 0; i < image->segment_count; i++) {
		const struct kernel_segment *segment = &image->segments[i];
		uint8_t *to = at(request->layout, segment->gpa + placement->kernel_shift);
		int r = read_all(files->kernel.fd, segment->offset, to, segment->file_size);

		if (r < 0)
			return failed("--kernel", files->kernel.name, r);
		/* Fresh memory is zero already, and is better not touched. */
		if (files->again)
			memset(to + segment->file_size, 0, segment->size - segment->file_size);
	}
	return 0;
}

static int load_initrds(const struct boot_request *request, const struct boot_placement *placement,
			const struct arch_boot_files *files)
{
	for (unsigned i = 0; i < files->initrd_count && placement->initrd != 0; i++) {
		uint64_t gpa = placement->initrd + boot_initrd_offset(request->initrd_sizes, i);
		uint64_t size = request->initrd_sizes[i];
		uint8_t *to = at(request->layout, gpa);
		int r = size == 0 ? 0 : read_all(files->initrds[i].fd, 0, to, size);

		if (r < 0)
			return failed("--initrd", files->initrds[i].name, r);
		if (files->again) /* the padding to the next */
			memset(to + size, 0, -size & 3);
	}
	return 0;
}

static int load_tables(const struct arch_machine *machine)
{
	size_t used;
	int r;

	r = acpi_tables_build(machine, TABLES_BASE, at(machine->layout, TABLES_BASE),
			      TABLES_END - TABLES_BASE, &used);
	if (r < 0)
		log_error("ACPI tables do not fit below 1 MiB");
	return r;
}

int arch_boot_load(const struct arch_machine *machine, const struct arch_boot_files *files,
		   struct arch_entry *out)
{
	const struct arch_layout *layout = machine->layout;
	struct kernel_source source = {.read = read_kernel, .ctx = (void *)&files->kernel};
	struct kernel_image image;
	struct boot_placement placement;
	uint64_t *sizes = calloc(files->initrd_count + 1, sizeof(*sizes));
	struct boot_request request = {
		.layout = layout,
		.image = &image,
		.initrd_sizes = sizes,
		.initrd_count = files->initrd_count,
		.cmdline_length = strlen(files->cmdline),
	};
	const char *why;
	int r;

	if (sizes == NULL)
		return -ENOMEM;
	for (unsigned i = 0; i < files->initrd_count; i++) {
		r = file_size(&files->initrds[i], &sizes[i]);
		if (r < 0) {
			failed("--initrd", files->initrds[i].name, r);
			goto free_sizes;
		}
	}
	r = file_size(&files->kernel, &source.size);
	if (r < 0) {
		failed("--kernel", files->kernel.name, r);
		goto free_sizes;
	}
	r = kernel_image_plan(&source, &image, &why);
	if (r == 0)
		r = boot_plan(&request, &placement, &why);
	if (r < 0) {
		if (why != NULL)
			log_error("--kernel %s: %s", files->kernel.name, why);
		else
			failed("--kernel", files->kernel.name, r);
		goto free_sizes;
	}

	r = load_kernel(&request, &placement, files);
	if (r == 0)
		r = load_initrds(&request, &placement, files);
	if (r == 0)
		r = load_tables(machine);
	if (r < 0)
		goto free_sizes;
	memcpy(at(layout, BOOT_CMDLINE), files->cmdline, request.cmdline_length + 1);
	boot_gdt((uint64_t *)at(layout, BOOT_GDT));
	if (placement.entry.mode == ARCH_ENTRY_LONG) {
		boot_page_tables((uint64_t *)at(layout, BOOT_PML4));
		boot_zero_page(&request, &placement, at(layout, BOOT_ZERO_PAGE));
	} else {
		boot_start_info(&request, &placement, at(layout, BOOT_START_INFO));
	}
	*out = placement.entry;
free_sizes:
	free(sizes);
	return r;
}
