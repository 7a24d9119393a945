/* SPDX-License-Identifier: Apache-2.0 */
/* /dev/iommu: the kernel's mirrors of our address spaces. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/providers/kernel/kernel.h"
#include "vmm/base/host.h"
#include "vmm/base/log.h"

#define MAX_RANGES 64
#define MAX_SAID   16
#define MINUTE_NS  60000000000ull

int kernel_iommufd_ioctl(struct kernel_iommufd *iommufd, unsigned long request, void *arg)
{
	return iommufd->calls->ioctl(iommufd->calls->ctx, iommufd->fd, request, arg);
}

static int explain_open(int error)
{
	switch (error) {
	case -ENOENT:
	case -ENODEV:
	case -ENXIO:
		log_error(
			"/dev/iommu: this kernel lacks iommufd, or its module is not loaded; it "
			"needs CONFIG_IOMMUFD (Linux 6.6 or newer; Debian's kernels have it off): "
			"modprobe iommufd");
		break;
	case -EACCES:
	case -EPERM:
		log_error(
			"/dev/iommu: no permission; run as root, or have it opened by somebody who "
			"may: --iommufd fd=N");
		break;
	default:
		log_failure(error, "/dev/iommu");
		break;
	}
	return error;
}

/* A descriptor that somebody passed; another device's would only be found out by the first BIND. */
static int take_passed(struct kernel_iommufd *iommufd, int fd)
{
	struct iommu_ioas_iova_ranges query = {.size = sizeof(query)};
	const struct kernel_calls *calls = iommufd->calls;
	char who[32];
	int rc;

	snprintf(who, sizeof(who), "--iommufd fd=%d", fd);
	rc = calls->take_device(calls->ctx, fd);
	if (rc < 0)
		return kernel_explain_fd(calls, who, fd, "/dev/iommu", rc);
	iommufd->fd = fd;
	/* No object has the id 0. */
	rc = kernel_iommufd_ioctl(iommufd, IOMMU_IOAS_IOVA_RANGES, &query);
	return rc == -ENOENT ? 0 : kernel_explain_fd(calls, who, fd, "/dev/iommu", -ENOTTY);
}

int kernel_iommufd_create(struct iommufd_ctx *ictx, int fd, const struct kernel_calls *calls,
			  struct kernel_iommufd **out)
{
	struct kernel_iommufd *iommufd = calloc(1, sizeof(*iommufd));
	int rc;

	if (!iommufd)
		return -ENOMEM;
	iommufd->calls = calls ? calls : &kernel_calls_host;
	iommufd->ictx = ictx;
	pthread_mutex_init(&iommufd->lock, NULL);

	if (fd >= 0) {
		rc = take_passed(iommufd, fd);
	} else {
		rc = iommufd->calls->open_iommu(iommufd->calls->ctx);
		if (rc < 0)
			explain_open(rc);
		else
			iommufd->fd = rc;
	}
	if (rc < 0) {
		pthread_mutex_destroy(&iommufd->lock);
		free(iommufd);
		return rc;
	}
	*out = iommufd;
	return 0;
}

void kernel_iommufd_destroy(struct kernel_iommufd *iommufd)
{
	if (!iommufd)
		return;
	iommufd->calls->close(iommufd->calls->ctx, iommufd->fd);
	pthread_mutex_destroy(&iommufd->lock);
	free(iommufd);
}

/* ---- what can be mapped ----------------------------------------------------------------------- */

/* ioas_mirror_ops.ranges: read anew each time, since every attach may narrow them. */
static int mirror_ranges(void *ctx, struct iova_range *ranges, size_t *count)
{
	struct kernel_ioas *space = ctx;
	struct iommu_iova_range list[MAX_RANGES];
	struct iommu_ioas_iova_ranges query = {
		.size = sizeof(query),
		.ioas_id = space->id,
		.num_iovas = MAX_RANGES,
		.allowed_iovas = (uintptr_t)list,
	};
	const size_t room = *count;
	int rc;

	rc = kernel_iommufd_ioctl(space->iommufd, IOMMU_IOAS_IOVA_RANGES, &query);
	if (rc < 0)
		return rc;
	*count = query.num_iovas;
	if (query.num_iovas > room)
		return -EMSGSIZE;
	for (size_t i = 0; i < query.num_iovas; i++)
		ranges[i] = (struct iova_range){list[i].start, list[i].last};
	return 0;
}

/*
 * Say that @more bytes on top of what is mapped cannot be pinned (for @device, or as they are added). The kernel counts them against
 * RLIMIT_MEMLOCK of the user.
 */
void kernel_explain_pin(const struct kernel_ioas *space, const char *device, uint64_t more)
{
	const char *blank = device ? " " : "";
	const struct kernel_calls *calls = space->iommufd->calls;
	const uint64_t limit = calls->memlock_limit(calls->ctx), need = space->mapped + more;

	if (limit == UINT64_MAX)
		log_error("vfio%s%s: the host has no memory left for pinning %" PRIu64
			  " MiB for DMA",
			  blank, device ? device : "", need >> 20);
	else
		log_error("vfio%s%s: %" PRIu64 " MiB of guest memory must be pinned for DMA, but "
			  "RLIMIT_MEMLOCK is %" PRIu64 " KiB; ulimit -l %" PRIu64
			  ", LimitMEMLOCK= of the unit, or CAP_IPC_LOCK",
			  blank, device ? device : "", need >> 20, limit >> 10,
			  (need >> 10) + 1024);
}

/* EINVAL of a map: outside of every range that the devices' IOMMUs take. */
static void explain_range(struct kernel_ioas *space, const struct ioas_area *area)
{
	const uint64_t last = area->iova + (area->length - 1);
	struct iova_range ranges[MAX_RANGES];
	size_t count = MAX_RANGES;
	uint64_t hole = 0;

	if (mirror_ranges(space, ranges, &count)) {
		log_error("vfio: guest memory 0x%" PRIx64 "-0x%" PRIx64 ": Invalid argument",
			  area->iova, last);
		return;
	}
	/* The first address of the area that no range holds. */
	hole = area->iova;
	for (size_t i = 0; i < count; i++) {
		if (ranges[i].first <= hole && hole <= ranges[i].last)
			hole = ranges[i].last + 1;
	}
	log_error("vfio: guest memory 0x%" PRIx64 "-0x%" PRIx64 ": the IOMMU of a device takes no "
		  "address from 0x%" PRIx64 " on (reserved, or its address width is too small)",
		  area->iova, last, hole);
}

static int explain_map(struct kernel_ioas *space, const struct ioas_area *area, int error)
{
	const uint64_t last = area->iova + (area->length - 1);

	switch (error) {
	case -ENOMEM:
		kernel_explain_pin(space, NULL, area->length);
		break;
	case -EINVAL:
		explain_range(space, area);
		break;
	default:
		log_failure(error,
			    "vfio: guest memory 0x%" PRIx64 "-0x%" PRIx64
			    " cannot be mapped for DMA",
			    area->iova, last);
		break;
	}
	return error;
}

static int map_file(struct kernel_ioas *space, const struct ioas_area *area, uint32_t flags)
{
	struct iommu_ioas_map_file map = {
		.size = sizeof(map),
		.flags = flags,
		.ioas_id = space->id,
		.fd = area->fd,
		.start = area->offset,
		.length = area->length,
		.iova = area->iova,
	};

	return kernel_iommufd_ioctl(space->iommufd, IOMMU_IOAS_MAP_FILE, &map);
}

static int map_memory(struct kernel_ioas *space, const struct ioas_area *area, uint32_t flags)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = flags,
		.ioas_id = space->id,
		.user_va = (uintptr_t)area->hva,
		.length = area->length,
		.iova = area->iova,
	};

	if (!area->hva)
		return -EOPNOTSUPP;
	return kernel_iommufd_ioctl(space->iommufd, IOMMU_IOAS_MAP, &map);
}

/* A client of the server's maps what it likes as often as it likes: no more lines than these in a minute. */
static bool may_say(struct kernel_ioas *space)
{
	const uint64_t now = host_now_ns();

	if (now >= space->said_until) {
		space->said_until = now + MINUTE_NS;
		space->said = 0;
	}
	return space->said++ < MAX_SAID;
}

static int mirror_map(void *ctx, const struct ioas_area *area)
{
	struct kernel_ioas *space = ctx;
	uint32_t flags = IOMMU_IOAS_MAP_FIXED_IOVA;
	int rc = -ENOTTY;

	/* Fetched and brought by messages: there is nothing that could be mapped. */
	if (area->ops && area->fd < 0) {
		if (may_say(space))
			log_warn("vfio: the device cannot reach guest memory 0x%" PRIx64
				 "-0x%" PRIx64
				 ": it came without a descriptor; use shared memory (memfd)",
				 area->iova, area->iova + (area->length - 1));
		return -EOPNOTSUPP;
	}
	if (area->rights & IOAS_READ)
		flags |= IOMMU_IOAS_MAP_READABLE;
	if (area->rights & IOAS_WRITE)
		flags |= IOMMU_IOAS_MAP_WRITEABLE;

	if (!space->no_map_file && area->fd >= 0) {
		rc = map_file(space, area, flags);
		space->no_map_file = rc == -ENOTTY;
	}
	if (rc == -ENOTTY)
		rc = map_memory(space, area, flags);
	if (rc < 0) {
		/* Whether peer memory can be mapped is up to the kernel, and its owner shows it. */
		if (area->peer)
			log_debug("vfio: peer memory at 0x%" PRIx64 ": %s", area->iova,
				  strerror(-rc));
		return area->peer || !may_say(space) ? rc : explain_map(space, area, rc);
	}
	space->mapped += area->length;
	return 0;
}

static void mirror_unmap(void *ctx, const struct ioas_area *area)
{
	struct kernel_ioas *space = ctx;
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = space->id,
		.iova = area->iova,
		.length = area->length,
	};
	const int rc = kernel_iommufd_ioctl(space->iommufd, IOMMU_IOAS_UNMAP, &unmap);

	/* ENOENT: peer memory that could not be mapped in the first place. */
	if (!rc)
		space->mapped -= area->length;
	else if (rc != -ENOENT)
		log_failure(rc, "vfio: guest memory at 0x%" PRIx64 " stays mapped for DMA",
			    area->iova);
}

static const struct ioas_mirror_ops mirror_ops = {
	.map = mirror_map,
	.unmap = mirror_unmap,
	.ranges = mirror_ranges,
};

/* ---- spaces ----------------------------------------------------------------------------------- */

static int destroy_object(struct kernel_iommufd *iommufd, uint32_t id)
{
	struct iommu_destroy destroy = {.size = sizeof(destroy), .id = id};

	return kernel_iommufd_ioctl(iommufd, IOMMU_DESTROY, &destroy);
}

int kernel_space_get(struct kernel_iommufd *iommufd, struct ioas *ioas, struct kernel_ioas **out)
{
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct kernel_ioas *space;
	int rc;

	for (space = iommufd->spaces; space; space = space->next) {
		if (space->ioas == ioas) {
			space->users++;
			*out = space;
			return 0;
		}
	}

	space = calloc(1, sizeof(*space));
	if (!space)
		return -ENOMEM;
	rc = kernel_iommufd_ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc);
	if (rc < 0) {
		free(space);
		return rc;
	}
	*space = (struct kernel_ioas){
		.iommufd = iommufd,
		.ioas = ioas,
		.id = alloc.out_ioas_id,
		.users = 1,
		.next = iommufd->spaces,
	};
	iommufd->spaces = space;
	*out = space;
	return 0;
}

void kernel_space_put(struct kernel_ioas *space)
{
	struct kernel_iommufd *iommufd = space->iommufd;
	struct kernel_ioas **link = &iommufd->spaces;
	int rc;

	if (--space->users)
		return;
	if (space->mirrored)
		ioas_mirror_remove(space->ioas, space);
	rc = destroy_object(iommufd, space->id);
	if (rc)
		log_failure(rc, "vfio: address space %u stays in the kernel", space->id);
	while (*link != space)
		link = &(*link)->next;
	*link = space->next;
	free(space);
}

int kernel_space_mirror(struct kernel_ioas *space)
{
	int rc;

	if (space->mirrored)
		return 0;
	rc = ioas_mirror_add(space->ioas, &mirror_ops, space);
	space->mirrored = !rc;
	return rc;
}

void kernel_space_small_pages(struct kernel_ioas *space)
{
	struct iommu_option option = {
		.size = sizeof(option),
		.option_id = IOMMU_OPTION_HUGE_PAGES,
		.op = IOMMU_OPTION_OP_SET,
		.object_id = space->id,
		.val64 = 0,
	};
	const int rc = kernel_iommufd_ioctl(space->iommufd, IOMMU_OPTION, &option);

	/* The log of written pages is coarser then, and still right. */
	if (rc)
		log_debug("vfio: address space %u keeps huge pages: %s", space->id, strerror(-rc));
}
