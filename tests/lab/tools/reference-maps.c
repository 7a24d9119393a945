// SPDX-License-Identifier: Apache-2.0
// reference-maps SYSFS OTHER: what the kernel's selftests of VFIO check of its PCI devices (tools/testing/selftests/vfio), of the
// kernel test device: set-up, mappings at the limits, huge pages, mapped BARs, two devices at once. SYSFS, OTHER: of the platform
// devices. Prints "ok NAME", "not ok NAME (why)".
#include <pthread.h>

#include "reference-raw.h"

#define PAGE   4096ull
#define HUGE   0x200000ull
#define AT     (IOVA + 4 * HUGE) // a multiple of HUGE, nothing is mapped there
#define LIMIT  (~0ull & ~(PAGE - 1))
#define ROUNDS 10

// What was unmapped, or -1.
static long long unmapped(uint64_t iova, uint64_t length)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap), .ioas_id = ioas, .iova = iova, .length = length};

	return ioctl(iommufd, IOMMU_IOAS_UNMAP, &unmap) ? -1 : (long long)unmap.length;
}

static int bind_to(int fd, int context)
{
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = context};

	return ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
}

static int device_info(int fd)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};

	return ioctl(fd, VFIO_DEVICE_GET_INFO, &info);
}

// ---- set-up: vfio_iommufd_setup_test -------------------------------------------------------------

static void set_up(void)
{
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	const int none = eventfd(0, EFD_CLOEXEC);

	device = open_node();
	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	fails(device_info(device), EINVAL, "no information before the bind");
	fails(attach(1), EINVAL, "no attachment before the bind");
	fails(bind_to(device, -2), EINVAL, "no bind to a number that is no descriptor");
	fails(bind_to(device, none), EBADFD, "no bind to a descriptor of something else");
	check(!bind_to(device, iommufd) && !device_info(device), "bind, information");
	fails(bind_to(device, iommufd), EINVAL, "no second bind");
	fails(attach(UINT32_MAX), ENOENT, "no attachment to a space that is none");
	check(!ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc) && !attach(alloc.out_ioas_id), "attach");
	check(!detach() && !detach(), "detach, and what is detached");
	close(device);
	close(iommufd);
	close(none);
}

// ---- mappings: vfio_dma_mapping_test --------------------------------------------------------------

// Of @length bytes at @where; @name: "a page".
static void map_unmap(uint8_t *where, uint64_t iova, uint64_t length, const char *name)
{
	char text[128];

	snprintf(text, sizeof(text), "%s: mapped", name);
	check(!map(ioas, where, iova, length), text);
	snprintf(text, sizeof(text), "%s: the device reaches its first and last bytes", name);
	check(!fill(0, iova, 16, 0x51) && !fill(0, iova + length - 16, 16, 0x52) &&
		      memory_is(where, 16, 0x51) && memory_is(where + length - 16, 16, 0x52),
	      text);
	snprintf(text, sizeof(text), "%s: not mapped twice", name);
	fails(map(ioas, where, iova, PAGE), EEXIST, text);
	snprintf(text, sizeof(text), "%s: all of it is unmapped", name);
	check(unmapped(iova, length) == (long long)length, text);
	snprintf(text, sizeof(text), "%s: out of reach", name);
	check(fill(0, iova, 16, 0x53) == REFERENCE_ERROR_WRITE &&
		      fill(0, iova + length - 16, 16, 0x53) == REFERENCE_ERROR_WRITE &&
		      memory_is(where, 16, 0x51) && memory_is(where + length - 16, 16, 0x52),
	      text);
	snprintf(text, sizeof(text), "%s: not unmapped twice", name);
	fails((int)unmapped(iova, length), ENOENT, text);
}

// The last page that the device takes.
static uint64_t last_page(void)
{
	struct iommu_iova_range ranges[8];
	struct iommu_ioas_iova_ranges query = {.size = sizeof(query),
					       .ioas_id = ioas,
					       .num_iovas = 8,
					       .allowed_iovas = (uintptr_t)ranges};

	if (!check(!ioctl(iommufd, IOMMU_IOAS_IOVA_RANGES, &query) && query.num_iovas, "ranges"))
		return 0;
	return ranges[query.num_iovas - 1].last & ~(PAGE - 1);
}

static void huge_pages(void)
{
	uint8_t *huge = mmap(NULL, HUGE, PROT_READ | PROT_WRITE,
			     MAP_ANONYMOUS | MAP_PRIVATE | MAP_HUGETLB, -1, 0);

	if (!check(huge != MAP_FAILED, "a huge page"))
		return;
	map_unmap(huge, AT, HUGE, "a huge page");
	// A device that translates by small pages sees the whole of it.
	check(!map(ioas, huge, AT, HUGE) && !fill(0, AT, HUGE, 0x54) && memory_is(huge, HUGE, 0x54),
	      "the device reaches every byte of it");
	fails((int)unmapped(AT, PAGE), ENOENT, "a part of it is not unmapped");
	fails((int)unmapped(AT + PAGE, HUGE), ENOENT, "nor a part and more");
	check(!fill(0, AT, HUGE, 0x55) && memory_is(huge, HUGE, 0x55), "and nothing of it is gone");
	check(unmapped(AT, HUGE) == (long long)HUGE, "all of it is");
	munmap(huge, HUGE);
}

static void limits(void)
{
	const uint64_t last = last_page();

	map_unmap(memory, AT, PAGE, "a page");
	map_unmap(memory, last, PAGE, "the last page");
	if (last != LIMIT) {
		fails(map(ioas, memory, last + PAGE, PAGE), EINVAL, "no page behind it");
		fails(map(ioas, memory, last, 2 * PAGE), EINVAL, "nor one that goes beyond");
	}
	fails(map(ioas, memory, LIMIT, 2 * PAGE), EOVERFLOW, "no range that wraps");
	fails((int)unmapped(LIMIT, 2 * PAGE), EOVERFLOW, "nor is one unmapped");
	fails(map(ioas, memory, AT, ~0ull), EOVERFLOW, "no length of all");
	fails((int)unmapped(AT, ~0ull), EOVERFLOW, "nor is it unmapped from amid");
	fails((int)unmapped(AT, 0), EINVAL, "nor nothing");

	check(!map(ioas, memory, last, PAGE) && !map(ioas, memory, AT, PAGE),
	      "two pages beside the memory");
	check(unmapped(0, ~0ull) == MEMORY + 2 * (long long)PAGE, "everything goes at once");
	memset(memory, 0x56, PAGE);
	check(fill(0, last, 16, 1) == REFERENCE_ERROR_WRITE &&
		      fill(0, AT, 16, 1) == REFERENCE_ERROR_WRITE &&
		      fill(0, IOVA, 16, 1) == REFERENCE_ERROR_WRITE &&
		      memory_is(memory, PAGE, 0x56),
	      "and is out of reach");
	check(unmapped(0, ~0ull) == 0, "of nothing it takes nothing, and is no error");
	check(!map(ioas, memory, IOVA, MEMORY) && !fill(0, IOVA, PAGE, 0x57) &&
		      memory_is(memory, PAGE, 0x57),
	      "the memory is back");
}

// ---- mapped BARs: vfio_dma_mapping_mmio_test --------------------------------------------------------

// Behind an IOMMU iommufd pins pages, and a BAR has none. Without one it copies for the device, as the user could.
static void map_bar(uint8_t *where, uint64_t length, bool physical, const char *name)
{
	char text[128];

	if (physical) {
		snprintf(text, sizeof(text), "%s: not for DMA", name);
		fails(map(ioas, where, AT, length), EFAULT, text);
		return;
	}
	where[0] = where[length - 1] = 0x11;
	map_unmap(where, AT, length, name);
}

static void bars(bool physical)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = REFERENCE_BAR_MEMORY};
	const int rights = PROT_READ | PROT_WRITE;
	uint8_t *bar, *room, *odd;

	if (!check(!ioctl(device, VFIO_DEVICE_GET_REGION_INFO, &info) &&
			   info.flags & VFIO_REGION_INFO_FLAG_MMAP,
		   "a BAR that can be mapped"))
		return;
	bar = mmap(NULL, info.size, rights, MAP_SHARED, device, info.offset);
	room = mmap(NULL, info.size + 2 * HUGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	odd = room + (HUGE - (uintptr_t)room % HUGE) + PAGE;
	if (!check(bar != MAP_FAILED && room != MAP_FAILED &&
			   mmap(odd, info.size, rights, MAP_SHARED | MAP_FIXED, device,
				info.offset) == odd,
		   "it is, twice"))
		return;
	map_bar(bar, info.size, physical, "all of a BAR");
	map_bar(bar, PAGE, physical, "a page of it");
	map_bar(odd, info.size, physical, "it at an odd address");
	check(!fill(0, IOVA, PAGE, 0x58) && memory_is(memory, PAGE, 0x58), "memory is, as before");
	munmap(bar, info.size);
	munmap(room, info.size + 2 * HUGE);
}

// ---- two at once: vfio_pci_device_init_perf_test -----------------------------------------------------

struct one {
	pthread_barrier_t *barrier;
	int fd, context;
	uint32_t space;
	int error;
};

// 0, or the errno of the first call that failed.
static int use(const struct one *one)
{
	struct vfio_device_attach_iommufd_pt to = {.argsz = sizeof(to), .pt_id = one->space};
	struct vfio_device_info about = {.argsz = sizeof(about)};

	if (bind_to(one->fd, one->context) || ioctl(one->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &to) ||
	    ioctl(one->fd, VFIO_DEVICE_GET_INFO, &about))
		return errno;
	// The last one is VGA's, which there is not.
	for (uint32_t i = 0; i < VFIO_PCI_VGA_REGION_INDEX; i++) {
		struct vfio_region_info info = {.argsz = sizeof(info), .index = i};

		if (ioctl(one->fd, VFIO_DEVICE_GET_REGION_INFO, &info))
			return errno;
	}
	return ioctl(one->fd, VFIO_DEVICE_RESET) ? errno : 0;
}

static void *bring_up(void *arg)
{
	struct one *one = arg;

	pthread_barrier_wait(one->barrier);
	one->error = use(one);
	pthread_barrier_wait(one->barrier);
	close(one->fd);
	return NULL;
}

static void together(const char *const *names)
{
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};
	struct iommu_destroy destroy = {.size = sizeof(destroy)};
	int error = 0;

	iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	ioctl(iommufd, IOMMU_IOAS_ALLOC, &alloc);
	for (int round = 0; round < ROUNDS; round++) {
		pthread_barrier_t barrier;
		pthread_t threads[2];
		struct one ones[2];

		pthread_barrier_init(&barrier, NULL, 2);
		for (int i = 0; i < 2; i++) {
			sysfs = names[i];
			ones[i] = (struct one){.barrier = &barrier,
					       .fd = open_node(),
					       .context = iommufd,
					       .space = alloc.out_ioas_id};
			pthread_create(&threads[i], NULL, bring_up, &ones[i]);
		}
		for (int i = 0; i < 2; i++) {
			pthread_join(threads[i], NULL);
			error = error ? error : ones[i].error;
		}
		pthread_barrier_destroy(&barrier);
	}
	errno = error;
	check(!error, "two devices come and go at once, in one space");
	destroy.id = alloc.out_ioas_id;
	check(!ioctl(iommufd, IOMMU_DESTROY, &destroy), "which nobody holds then");
	close(iommufd);
}

int main(int argc, char **argv)
{
	if (argc != 3) {
		fprintf(stderr, "usage: reference-maps SYSFS OTHER\n");
		return 2;
	}
	sysfs = argv[1];
	setvbuf(stdout, NULL, _IOLBF, 0);
	set_up();
	if (!begin())
		return 1;
	limits();
	huge_pages();
	bars(strstr(sysfs, "physical"));
	end();
	together((const char *const *)argv + 1);
	return failures > 0;
}
