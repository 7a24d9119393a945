/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/host.h"
#include "vmm/base/memory.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/mman.h>

#include "vmm/base/kvm.h"
#include "vmm/base/log.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* since Linux 5.14; not in the C library of Debian 12 */
#endif

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25 /* since Linux 6.1 */
#endif

#define MIB              (1ull << 20)
#define HUGE             (2 * MIB)
#define POPULATE_CHUNK   (64 * MIB)
#define POPULATE_THREADS 16
#define POPULATE_STACK   (64u << 10)

struct memory {
	int fd;
	uint8_t *hva; /* of offset 0 of the file */
	uint64_t file_size;
	enum host_page_kind pages;
	unsigned count;
	struct memory_piece pieces[MEMORY_MAX_PIECES];
};

/* ---- life ------------------------------------------------------------------------------------ */

static void explain_create(const struct memory *memory, int error)
{
	unsigned long long size = memory->file_size, page = host_page_bytes(memory->pages);

	if (memory->pages == HOST_PAGES_NORMAL)
		log_failure(error, "memory: %llu MiB cannot be had", size / MIB);
	else
		log_error("memory: %llu huge pages of %llu MiB are needed and %llu are free: %s; "
			  "write the number to /sys/kernel/mm/hugepages/hugepages-%llukB/"
			  "nr_hugepages",
			  size / page, page / MIB,
			  (unsigned long long)host_huge_pages_free(memory->pages), strerror(-error),
			  page / 1024);
}

/*
 * Map the file at an address that is a multiple of 2 MiB or of its huge page: KVM maps large pages
 * only where guest and host addresses agree modulo the page.
 */
static int map_file(struct memory *memory)
{
	uint64_t page = host_page_bytes(memory->pages);
	uint64_t align = page > HUGE ? page : memory->file_size < HUGE ? page : HUGE;
	int flags = MAP_SHARED | MAP_FIXED;
	uint64_t room, head;
	uint8_t *hole;

	if (__builtin_add_overflow(memory->file_size, align, &room) || room > SIZE_MAX)
		return -ENOMEM;
	hole = mmap(NULL, room, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (hole == MAP_FAILED)
		return -errno;
	head = -(uintptr_t)hole & (align - 1);
	/* Huge pages are reserved by the mapping: better no launch than SIGBUS in the guest. */
	if (memory->pages == HOST_PAGES_NORMAL)
		flags |= MAP_NORESERVE;
	memory->hva =
		mmap(hole + head, memory->file_size, PROT_READ | PROT_WRITE, flags, memory->fd, 0);
	if (memory->hva == MAP_FAILED) {
		int error = -errno;

		munmap(hole, room);
		return error;
	}
	if (head)
		munmap(hole, head);
	if (align - head)
		munmap(memory->hva + memory->file_size, align - head);
	return 0;
}

int memory_create(struct memory_piece *pieces, unsigned count, enum host_page_kind pages,
		  struct memory **out)
{
	const struct memory_piece *last;
	uint64_t page = host_page_bytes(pages);
	struct memory *memory;
	int ret;

	if (count == 0 || count > MEMORY_MAX_PIECES)
		return -EINVAL;
	last = &pieces[count - 1];
	memory = calloc(1, sizeof(*memory));
	if (!memory)
		return -ENOMEM;
	memory->pages = pages;
	memory->count = count;
	memory->file_size = (last->offset + last->size + page - 1) & ~(page - 1);

	memory->fd = host_memfd("sluice-ram", memory->file_size, pages);
	if (memory->fd < 0) {
		ret = memory->fd;
		goto explain;
	}
	ret = map_file(memory);
	if (ret)
		goto close_fd;
	/* Where the host allows it (shmem_enabled=advise), faults are then 512 times fewer. */
	if (pages == HOST_PAGES_NORMAL && memory->file_size >= HUGE)
		(void)madvise(memory->hva, memory->file_size, MADV_HUGEPAGE);
	/* A crash dump of sluice is no place for the guest's secrets, nor for its gigabytes. */
	(void)madvise(memory->hva, memory->file_size, MADV_DONTDUMP);

	for (unsigned i = 0; i < count; i++) {
		pieces[i].hva = memory->hva + pieces[i].offset;
		memory->pieces[i] = pieces[i];
	}
	*out = memory;
	return 0;

close_fd:
	close(memory->fd);
explain:
	explain_create(memory, ret);
	free(memory);
	return ret;
}

void memory_destroy(struct memory *memory)
{
	if (!memory)
		return;
	munmap(memory->hva, memory->file_size);
	close(memory->fd);
	free(memory);
}

int memory_fd(const struct memory *memory)
{
	return memory->fd;
}

/* ---- populate -------------------------------------------------------------------------------- */

struct populate {
	struct memory *memory;
	uint64_t total;
	pthread_mutex_t lock; /* piece, at: where the next chunk begins */
	unsigned piece;
	uint64_t at;
	_Atomic uint64_t done;
	_Atomic int error; /* the first */
};

/* Take the next chunk. False when there is none, or the work is to end. */
static bool take_chunk(struct populate *work, uint8_t **start, uint64_t *length)
{
	const struct memory *memory = work->memory;
	bool taken = false;

	pthread_mutex_lock(&work->lock);
	if (work->piece < memory->count && atomic_load(&work->error) == 0) {
		const struct memory_piece *piece = &memory->pieces[work->piece];
		uint64_t left = piece->size - work->at;

		*start = piece->hva + work->at;
		*length = left < POPULATE_CHUNK ? left : POPULATE_CHUNK;
		/* A gigabyte page is one chunk. */
		if (memory->pages == HOST_PAGES_1G)
			*length = left < 1024 * MIB ? left : 1024 * MIB;
		work->at += *length;
		if (work->at == piece->size) {
			work->piece++;
			work->at = 0;
		}
		taken = true;
	}
	pthread_mutex_unlock(&work->lock);
	return taken;
}

/*
 * Ask for huge pages in [@start, @start + @length). Kernels give shared memory none of themselves
 * (shmem_enabled is "never" by default), but they collapse what they are told to, holes included, where
 * one page of each 2 MiB is there. Nested page faults of a Linux boot are a hundredth then, and devices
 * pin it sooner. Where it fails, the pages stay small.
 */
static void make_huge(uint8_t *start, uint64_t length)
{
	size_t page = host_page_bytes(HOST_PAGES_NORMAL);

	if (length < HUGE)
		return;
	for (uint64_t at = 0; at < length; at += HUGE)
		madvise(start + at, page, MADV_POPULATE_WRITE);
	madvise(start, length, MADV_COLLAPSE);
}

/* Populate one chunk. False when there is nothing more to do. */
static bool populate_one(struct populate *work)
{
	uint64_t length;
	uint8_t *start;

	if (!take_chunk(work, &start, &length))
		return false;
	if (work->memory->pages == HOST_PAGES_NORMAL)
		make_huge(start, length);
	while (madvise(start, length, MADV_POPULATE_WRITE) < 0) {
		int none = 0;

		if (errno == EINTR || errno == EAGAIN)
			continue;
		atomic_compare_exchange_strong(&work->error, &none, -errno);
		return false;
	}
	atomic_fetch_add(&work->done, length);
	return true;
}

static void *populate_thread(void *arg)
{
	while (populate_one(arg))
		;
	return NULL;
}

/* Helpers; fewer than wanted are only slower. */
static unsigned start_helpers(struct populate *work, pthread_t *helpers, unsigned wanted)
{
	unsigned count = 0;

	while (count < wanted &&
	       host_thread_start(&helpers[count], POPULATE_STACK, populate_thread, work) == 0) {
		pthread_setname_np(helpers[count], "populate");
		count++;
	}
	return count;
}

int memory_populate(struct memory *memory, unsigned threads,
		    bool (*progress)(void *ctx, uint64_t done, uint64_t total), void *ctx)
{
	struct populate work = {.memory = memory};
	pthread_t helpers[POPULATE_THREADS];
	unsigned count;
	uint64_t chunks;
	int error;

	for (unsigned i = 0; i < memory->count; i++)
		work.total += memory->pieces[i].size;
	chunks = (work.total + POPULATE_CHUNK - 1) / POPULATE_CHUNK;
	if (threads == 0) {
		long cpus = sysconf(_SC_NPROCESSORS_ONLN);

		threads = cpus > 0 ? (unsigned)cpus : 1;
	}
	if (threads > POPULATE_THREADS)
		threads = POPULATE_THREADS;
	if (threads > chunks)
		threads = (unsigned)chunks;

	pthread_mutex_init(&work.lock, NULL);
	count = start_helpers(&work, helpers, threads - 1);
	while (populate_one(&work)) {
		int none = 0;

		if (progress && !progress(ctx, atomic_load(&work.done), work.total))
			atomic_compare_exchange_strong(&work.error, &none, -ECANCELED);
	}
	while (count)
		pthread_join(helpers[--count], NULL);
	pthread_mutex_destroy(&work.lock);

	error = atomic_load(&work.error);
	if (!error && progress)
		progress(ctx, work.total, work.total);
	if (error && error != -ECANCELED)
		log_failure(error, "memory: %llu MiB cannot be populated",
			    (unsigned long long)(work.total / MIB));
	return error;
}

/* ---- who sees it ----------------------------------------------------------------------------- */

int memory_add_slots(struct memory *memory, struct kvm *kvm)
{
	uint32_t slots[MEMORY_MAX_PIECES];

	for (unsigned i = 0; i < memory->count; i++) {
		const struct memory_piece *piece = &memory->pieces[i];
		int ret = kvm_slot_add(kvm, piece->gpa, piece->size, piece->hva, 0, &slots[i]);

		if (ret) {
			log_failure(ret, "memory: no KVM memory slot for %llu MiB at 0x%llx",
				    (unsigned long long)(piece->size / MIB),
				    (unsigned long long)piece->gpa);
			while (i--)
				kvm_slot_remove(kvm, slots[i]);
			return ret;
		}
	}
	return 0;
}

static void unmap_ioas(struct memory *memory, struct ioas *ioas, unsigned count)
{
	while (count--)
		ioas_unmap(ioas, memory->pieces[count].gpa, memory->pieces[count].size);
}

int memory_map_ioas(struct memory *memory, struct ioas *ioas)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct memory_piece *piece = &memory->pieces[i];
		const struct ioas_area area = {
			.iova = piece->gpa,
			.length = piece->size,
			.fd = memory->fd,
			.offset = piece->offset,
			.hva = piece->hva,
			.rights = IOAS_READ | IOAS_WRITE,
		};
		int ret = ioas_map(ioas, &area);

		if (ret) {
			log_failure(ret, "memory: %llu MiB at 0x%llx cannot be mapped for devices",
				    (unsigned long long)(piece->size / MIB),
				    (unsigned long long)piece->gpa);
			unmap_ioas(memory, ioas, i);
			return ret;
		}
	}
	return 0;
}

void memory_unmap_ioas(struct memory *memory, struct ioas *ioas)
{
	unmap_ioas(memory, ioas, memory->count);
}

/* ---- access ---------------------------------------------------------------------------------- */

void *memory_at(struct memory *memory, uint64_t gpa, uint64_t length)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct memory_piece *piece = &memory->pieces[i];

		if (gpa >= piece->gpa && gpa - piece->gpa < piece->size)
			return length <= piece->size - (gpa - piece->gpa)
				       ? piece->hva + (gpa - piece->gpa)
				       : NULL;
	}
	return NULL;
}

int memory_read(struct memory *memory, uint64_t gpa, void *buffer, size_t length)
{
	const void *hva = memory_at(memory, gpa, length);

	if (!hva)
		return -EFAULT;
	memcpy(buffer, hva, length);
	return 0;
}

int memory_write(struct memory *memory, uint64_t gpa, const void *buffer, size_t length)
{
	void *hva = memory_at(memory, gpa, length);

	if (!hva)
		return -EFAULT;
	memcpy(hva, buffer, length);
	return 0;
}
