// SPDX-License-Identifier: Apache-2.0
// reference-iommu SYSFS: what the kernel test device's software IOMMU has and sluice does not ask for (yet): domains with
// dirty tracking, with PASIDs, with page requests. SYSFS: of the platform device. Prints "ok NAME", "not ok NAME (why)".
#include "reference-raw.h"

#define HOLE 0x40000000ull // not mapped

static int fault_fd;
static uint32_t fault_id;

static uint32_t hwpt(uint32_t space, uint32_t flags)
{
	struct iommu_hwpt_alloc alloc = {
		.size = sizeof(alloc),
		.flags = flags,
		.dev_id = device_id,
		.pt_id = space,
		.fault_id = flags & IOMMU_HWPT_FAULT_ID_VALID ? fault_id : 0,
	};

	return ioctl(iommufd, IOMMU_HWPT_ALLOC, &alloc) ? 0 : alloc.out_hwpt_id;
}

static void destroy(uint32_t id)
{
	struct iommu_destroy destroy = {.size = sizeof(destroy), .id = id};

	check(!ioctl(iommufd, IOMMU_DESTROY, &destroy), "nothing holds it any more");
}

static int pasid_attach(uint32_t pasid, uint32_t id)
{
	struct vfio_device_attach_iommufd_pt arg = {.argsz = sizeof(arg),
						    .flags = VFIO_DEVICE_ATTACH_PASID,
						    .pt_id = id,
						    .pasid = pasid};

	return ioctl(device, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &arg);
}

static int pasid_detach(uint32_t pasid)
{
	struct vfio_device_detach_iommufd_pt arg = {
		.argsz = sizeof(arg), .flags = VFIO_DEVICE_DETACH_PASID, .pasid = pasid};

	return ioctl(device, VFIO_DEVICE_DETACH_IOMMUFD_PT, &arg);
}

static void capabilities(void)
{
	struct iommu_hw_info info = {.size = sizeof(info), .dev_id = device_id};
	struct iommu_iova_range ranges[8];
	struct iommu_ioas_iova_ranges allowed = {.size = sizeof(allowed),
						 .ioas_id = ioas,
						 .num_iovas = 8,
						 .allowed_iovas = (uintptr_t)ranges};
	bool hole = true;

	check(!ioctl(iommufd, IOMMU_GET_HW_INFO, &info), "hardware info");
	check(info.out_capabilities & IOMMU_HW_CAP_DIRTY_TRACKING, "it can track dirty pages");
	check(info.out_max_pasid_log2 == 16, "16 bits of PASID");
	check(!ioctl(iommufd, IOMMU_IOAS_IOVA_RANGES, &allowed), "IOVA ranges");
	for (uint32_t i = 0; i < allowed.num_iovas && i < 8; i++)
		hole = hole && !(ranges[i].start <= 0xfeefffff && ranges[i].last >= 0xfee00000);
	check(allowed.num_iovas == 2 && hole && ranges[1].last == (1ull << 48) - 1,
	      "48 bits without the interrupt window");
	check(!hwpt(ioas, IOMMU_HWPT_ALLOC_NEST_PARENT) && errno == EOPNOTSUPP, "no nesting");
}

// ---- dirty tracking ----------------------------------------------------------------------------

static int dirty(uint32_t id, uint32_t flags, uint64_t *bitmap)
{
	struct iommu_hwpt_get_dirty_bitmap get = {
		.size = sizeof(get),
		.hwpt_id = id,
		.flags = flags,
		.iova = IOVA,
		.length = MEMORY,
		.page_size = 4096,
		.data = (uintptr_t)bitmap,
	};

	memset(bitmap, 0, MEMORY / 4096 / 8);
	return ioctl(iommufd, IOMMU_HWPT_GET_DIRTY_BITMAP, &get);
}

static int track(uint32_t id, bool on)
{
	struct iommu_hwpt_set_dirty_tracking set = {.size = sizeof(set),
						    .flags = on ? IOMMU_HWPT_DIRTY_TRACKING_ENABLE
								: 0,
						    .hwpt_id = id};

	return ioctl(iommufd, IOMMU_HWPT_SET_DIRTY_TRACKING, &set);
}

static void dirty_tracking(void)
{
	const uint32_t id = hwpt(ioas, IOMMU_HWPT_ALLOC_DIRTY_TRACKING), plain = hwpt(ioas, 0);
	uint64_t bitmap[MEMORY / 4096 / 64];

	check(id && plain && !attach(id), "attached to a domain that tracks");
	fails(track(plain, true), EOPNOTSUPP, "a domain without the flag does not track");
	check(!fill(0, IOVA, 4096, 1), "a write before it is on");
	/* iommufd swallows the driver's answer (iopt_read_and_clear_dirty_data): no bits, and no error. */
	check(!dirty(id, 0, bitmap) && !bitmap[0], "no bits while it is off");
	check(!track(id, true) && !dirty(id, 0, bitmap) && !bitmap[0],
	      "turned on: what came before is forgotten");
	check(!fill(0, IOVA + 0x7800, 0x1000, 2) && !fill(0, IOVA + 0x40000, 1, 2), "writes");
	check(checksum(IOVA + 0x20000, 4096) == 0, "a read");
	check(!dirty(id, IOMMU_HWPT_GET_DIRTY_BITMAP_NO_CLEAR, bitmap) && bitmap[0] == 0x180 &&
		      bitmap[1] == 1,
	      "three pages, read without clearing");
	check(!bitmap[2] && !bitmap[3], "and no other");
	check(!dirty(id, 0, bitmap) && bitmap[0] == 0x180 && bitmap[1] == 1, "the same, cleared");
	check(!dirty(id, 0, bitmap) && !bitmap[0] && !bitmap[1], "none any more");
	check(!track(id, false) && !fill(0, IOVA, 4096, 3), "a write when it is off again");
	check(!dirty(id, 0, bitmap) && !bitmap[0], "makes no bits");
	check(!track(id, true) && !dirty(id, 0, bitmap) && !bitmap[0], "is not seen");
	check(!attach(ioas), "back");
	destroy(id);
	destroy(plain);
}

// ---- page requests -----------------------------------------------------------------------------

static bool next_fault(struct iommu_hwpt_pgfault *fault)
{
	memset(fault, 0, sizeof(*fault));
	return came(fault_fd, PATIENCE_MS) &&
	       read(fault_fd, fault, sizeof(*fault)) == sizeof(*fault);
}

static int respond(uint32_t cookie, uint32_t code)
{
	struct iommu_hwpt_page_response response = {.cookie = cookie, .code = code};

	return write(fault_fd, &response, sizeof(response)) == sizeof(response) ? 0 : -1;
}

static void page_requests(void)
{
	struct iommu_hwpt_pgfault fault;
	const uint32_t id = hwpt(ioas, IOMMU_HWPT_FAULT_ID_VALID);
	long requests;

	check(fill(0, HOLE, 4096, 1) == REFERENCE_ERROR_WRITE,
	      "without a queue a hole is an error");
	check(id && !attach(id), "attached to a domain with a queue");

	fill_begin(0, HOLE + 0x123, 0x10, 0x5a);
	check(next_fault(&fault), "a write to a hole asks for the page");
	check(fault.addr == HOLE && fault.dev_id == device_id &&
		      fault.perm == IOMMU_PGFAULT_PERM_WRITE &&
		      !(fault.flags & IOMMU_PGFAULT_FLAGS_PASID_VALID) &&
		      fault.flags & IOMMU_PGFAULT_FLAGS_LAST_PAGE,
	      "of that address, for writing, without a PASID");
	check(get32(REFERENCE_STATUS) & REFERENCE_STATUS_BUSY, "registers can be read meanwhile");
	check(!map(ioas, memory, HOLE, 4096) && !respond(fault.cookie, IOMMUFD_PAGE_RESP_SUCCESS),
	      "the page comes");
	check(request_end() == 0 && memory_is(memory + 0x123, 0x10, 0x5a), "and is written");
	check(!unmap(ioas, HOLE, 4096), "it goes");

	fill_begin(0, HOLE, 16, 1);
	check(next_fault(&fault) && !respond(fault.cookie, IOMMUFD_PAGE_RESP_INVALID),
	      "another, refused");
	check(request_end() == REFERENCE_ERROR_WRITE, "the request fails");
	fails(respond(fault.cookie, IOMMUFD_PAGE_RESP_SUCCESS), EINVAL, "an answer counts once");

	requests = shown("page_requests");
	fill_begin(0, HOLE, 16, 1);
	for (int i = 0; i < 4; i++)
		check(next_fault(&fault) && !respond(fault.cookie, IOMMUFD_PAGE_RESP_SUCCESS),
		      "a success without the page");
	check(request_end() == REFERENCE_ERROR_WRITE && shown("page_requests") - requests == 4,
	      "is believed four times");

	fill_begin(0, HOLE, 16, 1);
	check(next_fault(&fault) && !attach(ioas), "the domain goes while a request is open");
	check(request_end() == REFERENCE_ERROR_WRITE, "the request fails");
	destroy(id);
}

// The queue is the device's, the domains are two.
static void page_requests_of_two(void)
{
	const uint32_t flags = IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_PASID;
	struct iommu_ioas_alloc other = {.size = sizeof(other)};
	struct iommu_hwpt_pgfault fault;
	uint32_t rid = hwpt(ioas, flags), of_pasid;

	ioctl(iommufd, IOMMU_IOAS_ALLOC, &other);
	of_pasid = hwpt(other.out_ioas_id, flags);
	check(rid && of_pasid && !attach(rid) && !pasid_attach(7, of_pasid),
	      "two domains, one with a PASID");
	fill_begin(7, IOVA, 4096, 0x77);
	check(next_fault(&fault) && fault.addr == IOVA && fault.pasid == 7 &&
		      fault.flags & IOMMU_PGFAULT_FLAGS_PASID_VALID,
	      "the PASID's space asks, though the other has the page");
	check(!map(other.out_ioas_id, memory + 0x8000, IOVA, 4096) &&
		      !respond(fault.cookie, IOMMUFD_PAGE_RESP_SUCCESS) && request_end() == 0 &&
		      memory_is(memory + 0x8000, 4096, 0x77),
	      "and gets it");
	check(fill(8, IOVA, 16, 1) == REFERENCE_ERROR_WRITE,
	      "a PASID without a domain reaches nothing");
	check(!pasid_detach(7), "one goes");
	fill_begin(0, HOLE, 16, 1);
	check(next_fault(&fault) && !respond(fault.cookie, IOMMUFD_PAGE_RESP_INVALID) &&
		      request_end() == REFERENCE_ERROR_WRITE,
	      "the other still asks");
	check(!attach(ioas), "back");
	destroy(rid);
	destroy(of_pasid);
}

// Whatever must stop the engine does not wait for an answer that may never come.
static void open_page_request(void)
{
	const uint32_t id = hwpt(ioas, IOMMU_HWPT_FAULT_ID_VALID);
	struct iommu_hwpt_pgfault fault, again;

	check(id && !attach(id), "attached to a domain with a queue");
	fill_begin(0, HOLE, 4096, 0x66);
	check(next_fault(&fault), "a request is open");
	check(!set_state(VFIO_DEVICE_STATE_STOP, NULL), "the device stops");
	check(!came(fault_fd, 0) && get32(REFERENCE_STATUS) & REFERENCE_STATUS_BUSY,
	      "the request waits");
	check(!set_state(VFIO_DEVICE_STATE_RUNNING, NULL) && next_fault(&again) &&
		      again.addr == HOLE,
	      "it runs: the page is asked for again");
	check(!respond(fault.cookie, IOMMUFD_PAGE_RESP_INVALID),
	      "the answer to the first comes late");
	check(!came(done_event, 200), "and is nobody's");
	check(!map(ioas, memory, HOLE, 4096) && !respond(again.cookie, IOMMUFD_PAGE_RESP_SUCCESS) &&
		      request_end() == 0 && memory_is(memory, 4096, 0x66),
	      "and written");
	check(!unmap(ioas, HOLE, 4096), "it goes");

	fill_begin(0, HOLE, 4096, 0x66);
	check(next_fault(&fault) && !reset(), "a reset while a request is open");
	check(!(get32(REFERENCE_STATUS) & REFERENCE_STATUS_BUSY), "the request is forgotten");

	fill_begin(0, HOLE, 4096, 0x66);
	check(next_fault(&fault), "a request is open");
	close(device);
	check(true, "the device closes");
}

// ---- a race -------------------------------------------------------------------------------------

// When an unmap has returned, no DMA reaches the memory any more: the kernel has unpinned it.
static void unmap_drains(void)
{
	const uint64_t at = IOVA + 2 * MEMORY;
	unsigned late = 0, early = 0;

	control("delay_dma", "5000");
	for (int i = 0; i < 20; i++) {
		memset(memory, 0x22, 4096);
		check(!map(ioas, memory, at, 4096), "mapped");
		fill_begin(0, at, 4096, 0x11);
		// Until the engine has begun, in most cases.
		usleep(1000);
		check(!unmap(ioas, at, 4096), "unmapped");
		early += memory[0] == 0x11;
		memset(memory, 0x33, 4096);
		request_end();
		late += !memory_is(memory, 4096, 0x33);
	}
	control("delay_dma", "0");
	check(late == 0, "no DMA after the unmap");
	check(early > 0, "DMA and unmapping have met");
}

static void failed_attach(void)
{
	const uint32_t id = hwpt(ioas, 0);

	control("fail_attach", "12");
	fails(attach(id), ENOMEM, "an attachment that the IOMMU refuses");
	control("fail_attach", "0");
	check(!fill(0, IOVA, 4096, 0x44) && memory_is(memory, 4096, 0x44), "leaves the old one");
	// The failure took the reserved ranges along (drivers/iommu/iommufd/device.c): attach from scratch.
	check(!detach() && !attach(ioas), "detach, attach");
	destroy(id);
}

int main(int argc, char **argv)
{
	struct iommu_fault_alloc queue = {.size = sizeof(queue)};

	if (argc != 2) {
		fprintf(stderr, "usage: reference-iommu SYSFS\n");
		return 2;
	}
	sysfs = argv[1];
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!begin())
		return 1;
	if (!check(!ioctl(iommufd, IOMMU_FAULT_QUEUE_ALLOC, &queue), "a fault queue"))
		return 1;
	fault_fd = (int)queue.out_fault_fd;
	fault_id = queue.out_fault_id;
	capabilities();
	dirty_tracking();
	page_requests();
	page_requests_of_two();
	failed_attach();
	unmap_drains();
	open_page_request();
	return failures > 0;
}
