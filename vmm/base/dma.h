/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I/O address spaces: what a device sees at which IOVA.
 *
 * A `struct ioas` is sluice's own object and exists without /dev/iommu. Providers of devices mirror
 * it (the kernel by IOMMU_IOAS_MAP_FILE, a vfio-user server by DMA_MAP), soft devices and virtio
 * read it directly. Every device reaches guest memory only through the space of its (device, PASID).
 *
 * Locking: every access, a copy or a request, pins the area it uses. ioas_unmap() waits until no pin
 * is left, and then tells the mirrors: when it returns, nobody holds or touches the memory. So it must
 * not run on a thread that has to give the pins back (peer areas are never pinned: no such care).
 * Mirrors are told of one change at a time, and may read and write the space, but not change it.
 */
#ifndef SLUICE_BASE_DMA_H
#define SLUICE_BASE_DMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IOAS_READ  (1u << 0) /* the device may read */
#define IOAS_WRITE (1u << 1) /* the device may write */

/*
 * Bytes that no pointer reaches, but somebody fetches and brings: the memory of a vfio-user client that
 * gave no descriptor. Called on the thread of the access, with the area pinned, without a lock; ranges
 * are inside the area. 0 or -errno, which the access answers.
 */
struct ioas_area_ops {
	int (*read)(void *ctx, uint64_t iova, void *buffer, size_t length);
	int (*write)(void *ctx, uint64_t iova, const void *buffer, size_t length);
};

struct ioas_area {
	uint64_t iova;
	uint64_t length;
	int fd;          /* memfd or dma-buf that holds the bytes; the area's owner keeps it open */
	uint64_t offset; /* of the area in @fd */
	void *hva; /* the same bytes in this process; NULL when they are not mapped (a dma-buf) */
	uint32_t rights; /* IOAS_READ | IOAS_WRITE */
	bool peer; /* device memory (P2P), not RAM: a mirror that cannot map it is no failure */
	/*
	 * NULL: memory. Else ioas_read() and ioas_write() go there (@hva is NULL), ioas_pin() answers NULL,
	 * and without @fd a mirror that cannot map the area is no failure.
	 */
	const struct ioas_area_ops *ops;
	void *ops_ctx;
};

struct iova_range {
	uint64_t first;
	uint64_t last; /* inclusive */
};

struct ioas;
struct iommufd_ctx; /* the address spaces of one VM: id -> ioas; the ictx of bind_iommufd */

/* A mirror is told of every area: those there when it joins, then each change. */
struct ioas_mirror_ops {
	/* Returns 0 or -errno; on failure the area is taken back from the mirrors already told. */
	int (*map)(void *ctx, const struct ioas_area *area);
	/* No access may be left when it returns. Not called for a peer area that map refused. */
	void (*unmap)(void *ctx, const struct ioas_area *area);
	/*
	 * The IOVA that this mirror can take: sorted ranges, @count in: room, out: number.
	 * -EMSGSIZE when @count is too small (then @count is what is needed). NULL op: everything.
	 */
	int (*ranges)(void *ctx, struct iova_range *ranges, size_t *count);
};

int iommufd_ctx_create(struct iommufd_ctx **out);
void iommufd_ctx_destroy(struct iommufd_ctx *ictx); /* all its ioas must be gone */

/* A new empty space with an id of its own (never 0). */
int ioas_create(struct iommufd_ctx *ictx, struct ioas **out);
/* Unmaps what is left, waiting for pins. -EBUSY while mirrors are registered. */
int ioas_destroy(struct ioas *ioas);
uint32_t ioas_id(const struct ioas *ioas);
/* The space with @id, or NULL. Valid while its owner keeps it. */
struct ioas *ioas_find(struct iommufd_ctx *ictx, uint32_t id);

/*
 * Errors: -EINVAL empty/unaligned (4 KiB)/wrapping/no or unknown rights, -EEXIST overlap, -ENOMEM, or
 * what a mirror answered.
 */
int ioas_map(struct ioas *ioas, const struct ioas_area *area);
/* Removes exactly the area that was mapped at @iova with @length; -ENOENT otherwise. May wait. */
int ioas_unmap(struct ioas *ioas, uint64_t iova, uint64_t length);
/*
 * Who took the area over @iova: *@holders counts the mirrors that have it, *@refusal is what one of
 * those said that refused a peer area, 0 when none did. -ENOENT: nothing is mapped there.
 */
int ioas_peer_state(struct ioas *ioas, uint64_t iova, unsigned *holders, int *refusal);

/*
 * @ctx names the mirror. -EEXIST when it is registered, -ENOSPC at 256 mirrors, or what the mirror
 * said to one of the areas (then it has none of them).
 */
int ioas_mirror_add(struct ioas *ioas, const struct ioas_mirror_ops *ops, void *ctx);
/* Unmaps every area from that mirror and forgets it. -ENOENT when not registered. */
int ioas_mirror_remove(struct ioas *ioas, void *ctx);

/* The intersection of what all mirrors can take; same rules as the ranges op, or -ENOMEM. */
int ioas_iova_ranges(struct ioas *ioas, struct iova_range *ranges, size_t *count);

/*
 * Copy between a buffer and guest memory. All or nothing is NOT promised: bytes before a hole may
 * have been written. Errors: -ENOENT a byte is not mapped (or only peer memory), -EPERM rights, or
 * what the ops of the area say. They may wait where an area has ops.
 */
int ioas_read(struct ioas *ioas, uint64_t iova, void *buffer, size_t length);
int ioas_write(struct ioas *ioas, uint64_t iova, const void *buffer, size_t length);

/*
 * Hold [@iova, @iova + *@length) in place for I/O by pointer: returns the host address of the first
 * byte with *@length cut to what is contiguous there. The area stays until ioas_unpin() with the same
 * address, on whatever thread. For the time of one request only; requests that complete
 * asynchronously keep the pin until then. @write says that the device writes. NULL with *@length = 0 when
 * not mapped, not permitted, empty, or reached by ops.
 */
void *ioas_pin(struct ioas *ioas, uint64_t iova, size_t *length, bool write);
void ioas_unpin(struct ioas *ioas, uint64_t iova, size_t length, bool write);

#endif
