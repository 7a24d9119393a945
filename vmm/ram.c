// SPDX-License-Identifier: Apache-2.0
#include "vmm/ram.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/base/dma.h"
#include "vmm/base/host.h"
#include "vmm/base/kvm.h"
#include "vmm/base/log.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; missing in the C library's headers of Debian 12 */
#endif

#define MIB              (1ull << 20)
#define POPULATE_CHUNK   (64 * MIB)
#define POPULATE_THREADS 16
#define POPULATE_STACK   (64u << 10)

static int no_memory(uint64_t size, uint64_t huge_page, int error)
{
	enum host_page_kind kind = huge_page >= 1ull << 30 ? HOST_PAGES_1G : HOST_PAGES_2M;

	if (huge_page == 0)
		log_error("--memory: %llu MiB cannot be had: %s", (unsigned long long)(size / MIB),
			  strerror(-error));
	else
		log_error(
			"--memory: %llu huge pages of %lluM are needed and %llu are free: %s; set "
			"/sys/kernel/mm/hugepages/hugepages-%llukB/nr_hugepages",
			(unsigned long long)(size / huge_page),
			(unsigned long long)(huge_page / MIB),
			(unsigned long long)(host_huge_pages_free(kind)), strerror(-error),
			(unsigned long long)(huge_page / 1024));
	return error;
}

int ram_create(uint64_t size, uint64_t huge_page, struct ram *ram)
{
	enum host_page_kind kind = huge_page == 0            ? HOST_PAGES_NORMAL
				   : huge_page >= 1ull << 30 ? HOST_PAGES_1G
							     : HOST_PAGES_2M;
	void *hva;
	int fd, r;

	*ram = (struct ram){.fd = -1, .size = size};
	fd = host_memfd("guest-ram", size, kind);
	if (fd < 0)
		return no_memory(size, huge_page, fd);
	/* Huge pages are reserved here; ordinary memory is not, and costs nothing until it is used. */
	hva = mmap(NULL, size, PROT_READ | PROT_WRITE,
		   MAP_SHARED | (huge_page == 0 ? MAP_NORESERVE : 0), fd, 0);
	if (hva == MAP_FAILED) {
		r = -errno;
		close(fd);
		return no_memory(size, huge_page, r);
	}
	/* Transparent huge pages where the host allows them for shared memory; else no loss. */
	if (huge_page == 0)
		(void)madvise(hva, size, MADV_HUGEPAGE);
	/* A crash dump of the VMM needs no guest memory. */
	(void)madvise(hva, size, MADV_DONTDUMP);
	ram->fd = fd;
	ram->hva = hva;
	return 0;
}

void ram_destroy(struct ram *ram)
{
	if (ram->fd < 0)
		return;
	munmap(ram->hva, ram->size);
	close(ram->fd);
	ram->fd = -1;
}

/* ---- populate ---- */

struct populate {
	struct ram *ram;
	atomic_ullong next; /* first byte that nobody has taken yet */
	atomic_ullong done;
	atomic_int error; /* the first */
};

static void *populate_chunks(void *ctx)
{
	struct populate *work = ctx;
	const struct ram *ram = work->ram;

	while (atomic_load(&work->error) == 0) {
		uint64_t at = atomic_fetch_add(&work->next, POPULATE_CHUNK);
		uint64_t length, before;

		if (at >= ram->size)
			break;
		length = ram->size - at < POPULATE_CHUNK ? ram->size - at : POPULATE_CHUNK;
		while (madvise(ram->hva + at, length, MADV_POPULATE_WRITE) < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			atomic_store(&work->error, -errno);
			return NULL;
		}
		before = atomic_fetch_add(&work->done, length);
		if (before * 10 / ram->size != (before + length) * 10 / ram->size)
			log_info("memory: %llu%% of %llu MiB populated",
				 (unsigned long long)((before + length) * 100 / ram->size),
				 (unsigned long long)(ram->size / MIB));
	}
	return NULL;
}

int ram_populate(struct ram *ram)
{
	struct populate work = {.ram = ram};
	pthread_t threads[POPULATE_THREADS];
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t chunks = (ram->size + POPULATE_CHUNK - 1) / POPULATE_CHUNK;
	unsigned count = 0;
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, POPULATE_STACK);
	/* This thread does its share; fewer threads than wanted are only slower. */
	while (count < POPULATE_THREADS && (long)count + 1 < cpus && count + 1 < chunks &&
	       pthread_create(&threads[count], &attr, populate_chunks, &work) == 0) {
		pthread_setname_np(threads[count], "populate");
		count++;
	}
	pthread_attr_destroy(&attr);
	populate_chunks(&work);
	while (count > 0)
		pthread_join(threads[--count], NULL);

	if (work.error == -EINVAL) {
		/* Linux before 5.14: devices populate it themselves, more slowly. */
		log_debug("memory: MADV_POPULATE_WRITE is not in this kernel");
		return 0;
	}
	if (work.error != 0)
		log_error("--memory: %llu MiB cannot be populated: %s",
			  (unsigned long long)(ram->size / MIB), strerror(-work.error));
	return work.error;
}

/* ---- mappings ---- */

int ram_map_kvm(struct ram *ram, struct arch_layout *layout, struct kvm *kvm)
{
	for (unsigned i = 0; i < layout->ram_count; i++) {
		struct arch_ram *piece = &layout->ram[i];
		int r;

		piece->hva = ram->hva + piece->offset;
		r = kvm_slot_add(kvm, piece->gpa, piece->size, piece->hva, 0, &ram->slots[i]);
		if (r < 0) {
			log_error("memory: %llu MiB at 0x%llx as a KVM slot: %s",
				  (unsigned long long)(piece->size / MIB),
				  (unsigned long long)piece->gpa, strerror(-r));
			return r;
		}
		ram->slot_count++;
	}
	return 0;
}

void ram_unmap_kvm(struct ram *ram, struct kvm *kvm)
{
	while (ram->slot_count > 0)
		kvm_slot_remove(kvm, ram->slots[--ram->slot_count]);
}

int ram_map_ioas(struct ram *ram, const struct arch_layout *layout, struct ioas *ioas)
{
	for (unsigned i = 0; i < layout->ram_count; i++) {
		const struct arch_ram *piece = &layout->ram[i];
		const struct ioas_area area = {
			.iova = piece->gpa,
			.length = piece->size,
			.fd = ram->fd,
			.offset = piece->offset,
			.hva = piece->hva,
			.rights = IOAS_READ | IOAS_WRITE,
		};
		int r = ioas_map(ioas, &area);

		if (r < 0) {
			log_error("memory: %llu MiB at 0x%llx for devices: %s",
				  (unsigned long long)(piece->size / MIB),
				  (unsigned long long)piece->gpa, strerror(-r));
			return r;
		}
		ram->area_count++;
	}
	return 0;
}

void ram_unmap_ioas(struct ram *ram, const struct arch_layout *layout, struct ioas *ioas)
{
	while (ram->area_count > 0) {
		const struct arch_ram *piece = &layout->ram[--ram->area_count];

		ioas_unmap(ioas, piece->gpa, piece->size);
	}
}
