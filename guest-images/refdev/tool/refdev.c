// SPDX-License-Identifier: Apache-2.0
/* refdev: move data with the reference device from a shell in the guest, and check what it did. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/vfio/reference/registers.h"
#include "guest-images/refdev/tool/tool.h"

static const char usage_text[] =
	"refdev [-d DEV] COMMAND   the reference device (default: /dev/refdev0)\n"
	"\n"
	"  info                    what it is\n"
	"  count                   what it has counted, and interrupts of each vector\n"
	"  copy SIZE [CHUNK]       copy SIZE bytes by DMA, CHUNK (4M) at a time, and compare\n"
	"  fill SIZE [PATTERN]     fill memory with 8 bytes again and again, and compare\n"
	"  checksum SIZE           CRC-32C by the device and by this program\n"
	"  memory                  through the device's memory: DMA in, mmap, DMA out\n"
	"  irqs N                  N requests that do nothing, interrupt by interrupt over all "
	"vectors\n"
	"  errors                  requests that must fail, and how they do\n"
	"  stress SIZE [THREADS]   SIZE bytes copied and compared by threads (as many as "
	"processors)\n"
	"\n"
	"SIZE and CHUNK may end in k, M or G. The exit status is 0 when all was as it must be.\n";

/* ---- commands ---- */

static int do_info(struct device *device)
{
	const struct refdev_info *info = &device->info;

	printf("version %u.%u, features %#x\n", info->version >> 16, info->version & 0xffff,
	       info->features);
	printf("memory %llu bytes, requests of up to %u bytes\n",
	       (unsigned long long)info->memory_size, info->length_limit);
	printf("interrupts by %s: %u of %u vectors\n",
	       info->flags & REFDEV_INFO_MSIX ? "MSI-X" : "pin", info->vectors,
	       info->vectors_device);
	return 0;
}

static int do_count(struct device *device)
{
	const struct refdev_info *info = &device->info;
	uint64_t *counts = get_counts(device);

	if (!counts)
		return 1;
	printf("completed %llu, failed %llu, rejected %llu\n", (unsigned long long)info->completed,
	       (unsigned long long)info->failed, (unsigned long long)info->rejected);
	printf("bytes %llu\n", (unsigned long long)info->bytes);
	printf("interrupts sent %llu, arrived %llu, lost %llu\n",
	       (unsigned long long)info->interrupts, (unsigned long long)info->irqs,
	       (unsigned long long)info->lost);
	for (uint32_t i = 0; i < info->vectors; i++)
		if (counts[i])
			printf("vector %u: %llu\n", i, (unsigned long long)counts[i]);
	free(counts);
	return 0;
}

/* What one thread copies. Vectors first, first + step, ... in turn. */
struct copier {
	struct device *device;
	uint64_t size, chunk, requests, seed;
	uint32_t first, step;
	uint64_t *by_vector; /* requests of each vector; its own */
	int processor;       /* -1: any */
	int failed;
	pthread_t thread;
};

static int copy_chunk(struct copier *copier, uint8_t *from, uint8_t *to, uint64_t length,
		      uint32_t vector)
{
	struct refdev_request r = {
		.opcode = REFERENCE_OPCODE_COPY,
		.flags = REFDEV_CRC,
		.vector = vector,
		.source = (uintptr_t)from,
		.destination = (uintptr_t)to,
		.length = length,
	};
	uint32_t crc;

	if (request(copier->device, &r))
		return 1;
	copier->requests++;
	copier->by_vector[vector]++;
	if (memcmp(from, to, length))
		return complain("what was copied differs from its source");
	crc = crc32c(to, length);
	if (crc != r.crc)
		return complain("checksum %08x by the device, %08x by this program", r.crc, crc);
	return 0;
}

static void *copy(void *cookie)
{
	struct copier *copier = cookie;
	/* Begins and ends in the midst of a page: the scatter list has odd ends. */
	size_t room = copier->chunk + 8192;
	uint8_t *from = pages(room), *to = pages(room);
	uint32_t vector = copier->first;

	copier->failed = 1;
	if (!from || !to) {
		complain("no memory");
		return NULL;
	}
	if (copier->processor >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET(copier->processor, &set);
		sched_setaffinity(0, sizeof(set), &set);
	}
	for (uint64_t done = 0; done < copier->size;) {
		uint64_t left = copier->size - done;
		uint64_t length = left < copier->chunk ? left : copier->chunk;

		noise(from, room, copier->seed + done);
		if (copy_chunk(copier, from + 24, to + 1000, length, vector))
			goto out;
		done += length;
		vector = vector + copier->step < copier->device->info.vectors
				 ? vector + copier->step
				 : copier->first;
	}
	copier->failed = 0;
out:
	munmap(from, room);
	munmap(to, room);
	return NULL;
}

/* copy_by - SIZE bytes by so many threads. */
static int copy_by(struct device *device, uint64_t size, uint64_t chunk, unsigned int threads)
{
	uint32_t vectors = device->info.vectors;
	struct copier *copiers = calloc(threads, sizeof(*copiers));
	uint64_t *wanted = calloc(vectors, sizeof(*wanted));
	long processors = sysconf(_SC_NPROCESSORS_ONLN);
	struct tally tally;
	uint64_t requests = 0;
	int failed = 0;

	if (!copiers || !wanted)
		return complain("no memory");
	if (!chunk || chunk > device->info.length_limit)
		return complain("the device takes 1 to %u bytes at a time",
				device->info.length_limit);
	if (tally_begin(device, &tally))
		return 1;
	for (unsigned int i = 0; i < threads; i++) {
		copiers[i] = (struct copier){
			.device = device,
			.size = size / threads + (i < size % threads),
			.chunk = chunk,
			.seed = (uint64_t)i << 40,
			.first = i % vectors,
			.step = threads,
			.by_vector = calloc(vectors, sizeof(uint64_t)),
			.processor = threads > 1 ? (int)(i % (unsigned long)processors) : -1,
		};
		if (!copiers[i].by_vector ||
		    pthread_create(&copiers[i].thread, NULL, copy, &copiers[i]))
			return complain("no thread");
	}
	for (unsigned int i = 0; i < threads; i++) {
		pthread_join(copiers[i].thread, NULL);
		failed |= copiers[i].failed;
		requests += copiers[i].requests;
		for (uint32_t v = 0; v < vectors; v++)
			wanted[v] += copiers[i].by_vector[v];
		free(copiers[i].by_vector);
	}
	failed |= tally_end(device, &tally, requests, wanted);
	free(copiers);
	free(wanted);
	if (!failed)
		printf("copied %llu bytes in %llu requests by %u threads, %llu interrupts: "
		       "verified\n",
		       (unsigned long long)size, (unsigned long long)requests, threads,
		       (unsigned long long)requests);
	return failed;
}

static int do_fill(struct device *device, uint64_t size, uint64_t pattern)
{
	uint8_t *memory = pages(size + 8);
	struct refdev_request r = {
		.opcode = REFERENCE_OPCODE_FILL,
		.destination = (uintptr_t)memory,
		.length = size,
		.pattern = pattern,
	};

	if (!memory)
		return complain("no memory");
	if (request(device, &r))
		return 1;
	for (uint64_t i = 0; i < size; i++)
		if (memory[i] != (uint8_t)(pattern >> i % 8 * 8))
			return complain("byte %llu is %02x", (unsigned long long)i, memory[i]);
	if (memory[size])
		return complain("a byte behind the end was written");
	printf("filled %llu bytes: verified\n", (unsigned long long)size);
	return 0;
}

static int do_checksum(struct device *device, uint64_t size)
{
	uint8_t *memory = pages(size + 8);
	struct refdev_request r = {
		.opcode = REFERENCE_OPCODE_CRC,
		.source = (uintptr_t)memory,
		.length = size,
	};
	uint32_t crc;

	if (!memory)
		return complain("no memory");
	noise(memory, size & ~7ull, size);
	if (request(device, &r))
		return 1;
	crc = crc32c(memory, size);
	if (crc != r.crc)
		return complain("checksum %08x by the device, %08x by this program", r.crc, crc);
	printf("checksum of %llu bytes: %08x, verified\n", (unsigned long long)size, crc);
	return 0;
}

static int do_memory(struct device *device)
{
	uint64_t size = device->info.memory_size;
	uint8_t *buffer = pages(size), *memory;
	struct refdev_request r = {
		.opcode = REFERENCE_OPCODE_COPY,
		.flags = REFDEV_DESTINATION_MEMORY,
		.source = (uintptr_t)buffer,
		.length = size,
	};

	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, device->fd, 0);
	if (!buffer || memory == MAP_FAILED)
		return complain("no memory: %s", strerror(errno));
	noise(buffer, size, 1);
	if (request(device, &r))
		return 1;
	if (memcmp(buffer, memory, size))
		return complain("what DMA wrote is not what the mapping shows");
	noise(memory, size, 2);
	r = (struct refdev_request){
		.opcode = REFERENCE_OPCODE_COPY,
		.flags = REFDEV_SOURCE_MEMORY,
		.destination = (uintptr_t)buffer,
		.length = size,
	};
	if (request(device, &r))
		return 1;
	if (memcmp(buffer, memory, size))
		return complain("what the mapping wrote is not what DMA reads");
	printf("%llu bytes of device memory, both ways: verified\n", (unsigned long long)size);
	return 0;
}

static int do_irqs(struct device *device, uint64_t count)
{
	uint64_t *wanted = calloc(device->info.vectors, sizeof(*wanted));
	struct tally tally;

	if (!wanted)
		return complain("no memory");
	if (tally_begin(device, &tally))
		return 1;
	for (uint64_t i = 0; i < count; i++) {
		struct refdev_request r = {
			.opcode = REFERENCE_OPCODE_NOP,
			.vector = (uint32_t)(i % device->info.vectors),
		};

		if (request(device, &r))
			return 1;
		wanted[r.vector]++;
	}
	if (tally_end(device, &tally, count, wanted))
		return 1;
	free(wanted);
	printf("%llu interrupts over %u vectors: verified\n", (unsigned long long)count,
	       device->info.vectors);
	return 0;
}

static int do_errors(struct device *device)
{
	static const struct {
		const char *what;
		uint32_t opcode, flags;
		uint64_t offset, length;
		uint32_t error;
	} cases[] = {
		{"an opcode that there is not", 0x55, 0, 0, 8, REFERENCE_ERROR_COMMAND},
		{"a source of FILL", REFERENCE_OPCODE_FILL,
		 REFDEV_SOURCE_MEMORY | REFDEV_DESTINATION_MEMORY, 0, 8, REFERENCE_ERROR_COMMAND},
		{"no bytes", REFERENCE_OPCODE_CRC, REFDEV_SOURCE_MEMORY, 0, 0,
		 REFERENCE_ERROR_LENGTH},
		{"beyond the device's memory", REFERENCE_OPCODE_CRC, REFDEV_SOURCE_MEMORY,
		 1ull << 40, 8, REFERENCE_ERROR_MEMORY},
	};
	uint64_t failed_before = device->info.failed;
	int failed = 0;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct refdev_request r = {
			.argsz = sizeof(r),
			.opcode = cases[i].opcode,
			.flags = cases[i].flags,
			.source = cases[i].offset,
			.destination = cases[i].offset,
			.length = cases[i].length,
		};

		if (ioctl(device->fd, REFDEV_REQUEST, &r) < 0)
			failed = complain("%s: %s", cases[i].what, strerror(errno));
		else if (r.error != cases[i].error)
			failed = complain("%s: error %u, not %u", cases[i].what, r.error,
					  cases[i].error);
		else
			printf("%s: error %u\n", cases[i].what, r.error);
	}
	if (get_info(device))
		return 1;
	if (device->info.failed - failed_before != sizeof(cases) / sizeof(cases[0]))
		failed = complain("the device counted %llu failures",
				  (unsigned long long)(device->info.failed - failed_before));
	return failed;
}

static int usage(void)
{
	fputs(usage_text, stderr);
	return 2;
}

static int run(struct device *device, const char *command, int count, char **arguments)
{
	uint64_t first = 0, second = 0;

	for (int i = 0; i < count; i++)
		if (i > 1 || !parse_size(arguments[i], i ? &second : &first))
			return usage();
	if (!strcmp(command, "info") && count == 0)
		return do_info(device);
	if (!strcmp(command, "count") && count == 0)
		return do_count(device);
	if (!strcmp(command, "memory") && count == 0)
		return do_memory(device);
	if (!strcmp(command, "errors") && count == 0)
		return do_errors(device);
	if (count < 1 || !first)
		return usage();
	if (!strcmp(command, "copy"))
		return copy_by(device, first, count > 1 ? second : 4u << 20, 1);
	if (!strcmp(command, "fill"))
		return do_fill(device, first, count > 1 ? second : 0x0123456789abcdef);
	if (!strcmp(command, "checksum") && count == 1)
		return do_checksum(device, first);
	if (!strcmp(command, "irqs") && count == 1)
		return do_irqs(device, first);
	if (!strcmp(command, "stress")) {
		if (count == 1)
			second = (uint64_t)sysconf(_SC_NPROCESSORS_ONLN);
		return second && second <= 256
			       ? copy_by(device, first, 1u << 20, (unsigned int)second)
			       : usage();
	}
	return usage();
}

int main(int argc, char **argv)
{
	struct device device = {.path = "/dev/refdev0"};
	int option, status;

	while ((option = getopt(argc, argv, "+d:h")) != -1) {
		switch (option) {
		case 'd':
			device.path = optarg;
			break;
		case 'h':
			fputs(usage_text, stdout);
			return 0;
		default:
			return usage();
		}
	}
	if (optind == argc)
		return usage();
	crc_init();
	device.fd = open(device.path, O_RDWR | O_CLOEXEC);
	if (device.fd < 0)
		return complain("%s: %s", device.path, strerror(errno));
	status = get_info(&device);
	if (!status)
		status = run(&device, argv[optind], argc - optind - 1, argv + optind + 1);
	close(device.fd);
	return status;
}
