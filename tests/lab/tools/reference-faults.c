// SPDX-License-Identifier: Apache-2.0
// reference-faults SYSFS: what a user of the kernel test device can see beyond the contract: INTx, ioeventfds, revoked
// mappings, the legacy group, and the faults that can be injected. SYSFS: of the platform device. Prints "ok NAME", "not
// ok NAME (why)".
#include <limits.h>
#include <signal.h>
#include <sys/wait.h>

#include "reference-raw.h"

#define STREAM (4u << 20)

#define TRIGGER (VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD)
#define OFF     (VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE)
#define UNMASK  VFIO_IRQ_SET_ACTION_UNMASK
#define MASK    VFIO_IRQ_SET_ACTION_MASK

static void nop(uint32_t flags)
{
	set32(REFERENCE_COMMAND, REFERENCE_OPCODE_NOP | flags);
	set32(REFERENCE_DOORBELL, 1);
}

// Until it has ended; no interrupt is waited for.
static bool idle(void)
{
	for (int i = 0; i < PATIENCE_MS; i++) {
		if (!(get32(REFERENCE_STATUS) & REFERENCE_STATUS_BUSY))
			return true;
		usleep(1000);
	}
	return false;
}

static bool took(int fd)
{
	uint64_t count;

	return came(fd, PATIENCE_MS) && read(fd, &count, sizeof(count)) == sizeof(count) &&
	       count == 1;
}

static int irq_off(uint32_t index)
{
	struct vfio_irq_set set = {.argsz = sizeof(set), .flags = OFF, .index = index};

	return ioctl(device, VFIO_DEVICE_SET_IRQS, &set);
}

// ---- INTx --------------------------------------------------------------------------------------

static void pin(void)
{
	const int line = eventfd(0, EFD_NONBLOCK), served = eventfd(0, EFD_NONBLOCK);
	const uint64_t one = 1;

	fails(set_irq(VFIO_PCI_INTX_IRQ_INDEX, TRIGGER, line), EINVAL, "no INTx beside MSI-X");
	check(!irq_off(VFIO_PCI_MSIX_IRQ_INDEX), "MSI-X off");
	check(!set_irq(VFIO_PCI_INTX_IRQ_INDEX, TRIGGER, line), "INTx");
	set32(REFERENCE_INT_ENABLE, REFERENCE_INT_DONE);
	nop(0);
	check(took(line), "the end of a request drives it");
	set32(REFERENCE_INT_STATUS, REFERENCE_INT_DONE);
	nop(0);
	check(idle() && !came(line, 0), "masked now: another does not");
	check(!set_irq(VFIO_PCI_INTX_IRQ_INDEX, UNMASK | VFIO_IRQ_SET_DATA_NONE, 0) && took(line),
	      "unmasked, and still driven: again");
	set32(REFERENCE_INT_STATUS, REFERENCE_INT_DONE);
	check(!set_irq(VFIO_PCI_INTX_IRQ_INDEX, UNMASK | VFIO_IRQ_SET_DATA_NONE, 0) &&
		      !came(line, 0),
	      "served and unmasked: not again");
	check(!set_irq(VFIO_PCI_INTX_IRQ_INDEX, MASK | VFIO_IRQ_SET_DATA_NONE, 0),
	      "masked by its user");
	nop(0);
	check(idle() && !came(line, 0), "it is silent");
	check(!set_irq(VFIO_PCI_INTX_IRQ_INDEX, UNMASK | VFIO_IRQ_SET_DATA_EVENTFD, served) &&
		      write(served, &one, sizeof(one)) == sizeof(one) && took(line),
	      "unmasked by an eventfd");
	check(!irq_off(VFIO_PCI_INTX_IRQ_INDEX), "INTx off");
	set32(REFERENCE_INT_ENABLE, 0);
	check(!set_irq(VFIO_PCI_MSIX_IRQ_INDEX, TRIGGER, done_event), "MSI-X on");
	close(line);
	close(served);
}

// Of a call that fails half way nothing stays.
static void half_a_block(void)
{
	const int good = eventfd(0, EFD_NONBLOCK);
	struct {
		struct vfio_irq_set set;
		int32_t fds[2];
	} arg = {.set = {.argsz = sizeof(arg),
			 .flags = TRIGGER,
			 .index = VFIO_PCI_MSIX_IRQ_INDEX,
			 .start = 1,
			 .count = 2},
		 .fds = {good, 9999}};

	fails(ioctl(device, VFIO_DEVICE_SET_IRQS, &arg), EBADF,
	      "two vectors, one of a bad descriptor");
	set32(REFERENCE_VECTOR, 1);
	nop(REFERENCE_COMMAND_INTERRUPT);
	check(idle() && !came(good, 0), "the good one is not set either");
	set32(REFERENCE_VECTOR, 0);
	nop(REFERENCE_COMMAND_INTERRUPT);
	check(request_end() == 0, "one that was set before is");
	close(good);
}

// ---- ioeventfd ---------------------------------------------------------------------------------

static int ioeventfd(int fd)
{
	struct vfio_device_ioeventfd arg = {.argsz = sizeof(arg),
					    .flags = VFIO_DEVICE_IOEVENTFD_32,
					    .offset = REFERENCE_DOORBELL,
					    .data = 0x77,
					    .fd = fd};

	return ioctl(device, VFIO_DEVICE_IOEVENTFD, &arg);
}

static void doorbell(void)
{
	const int bell = eventfd(0, EFD_NONBLOCK);
	const uint64_t one = 1;

	check(!ioeventfd(bell), "an eventfd at the doorbell");
	fails(ioeventfd(bell), EEXIST, "not twice");
	set32(REFERENCE_VECTOR, 0);
	set32(REFERENCE_COMMAND, REFERENCE_OPCODE_NOP | REFERENCE_COMMAND_INTERRUPT);
	check(write(bell, &one, sizeof(one)) == sizeof(one) && request_end() == 0 &&
		      get32(REFERENCE_TAG) == 0x77,
	      "it rings");
	check(!ioeventfd(-1), "taken off");
	fails(ioeventfd(-1), ENODEV, "there is none any more");
	close(bell);
}

// ---- mappings ----------------------------------------------------------------------------------

// Does a touch of it end with SIGBUS? In another process, which then ends.
static bool kills(volatile uint32_t *where)
{
	int status = 0;
	const pid_t child = fork();

	if (!child) {
		(void)*where;
		_exit(0);
	}
	waitpid(child, &status, 0);
	return WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS;
}

static void decode(bool on)
{
	const uint16_t command = on ? PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER : PCI_COMMAND_MASTER;

	if (pwrite(device, &command, 2, CONFIG + PCI_COMMAND) != 2)
		check(false, "the command register is written");
}

static void mappings(void)
{
	volatile uint32_t *bar = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED, device,
				      REGION(REFERENCE_BAR_MEMORY));
	volatile uint32_t *scratch =
		mmap(NULL, REFERENCE_SCRATCH_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, device,
		     REGION(REFERENCE_BAR_REGISTERS) + REFERENCE_SCRATCH_OFFSET);

	if (!check(bar != MAP_FAILED && scratch != MAP_FAILED,
		   "device and scratch memory are mapped"))
		return;
	bar[5] = 0xabcd;
	scratch[6] = 0x1234;
	check(get32(REGION(REFERENCE_BAR_MEMORY) + 20) == 0xabcd, "the same bytes by read");
	check(get32(REFERENCE_SCRATCH_OFFSET + 24) == 0x1234, "and in BAR 0");
	check(mmap(NULL, 4096, PROT_READ, MAP_SHARED, device, REGION(REFERENCE_BAR_REGISTERS)) ==
			      MAP_FAILED &&
		      errno == EINVAL,
	      "registers are not mapped");
	check(mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, device, REGION(REFERENCE_BAR_MEMORY)) ==
			      MAP_FAILED &&
		      errno == EINVAL,
	      "nor is a private copy");
	decode(false);
	check(kills(bar) && kills(scratch), "decode off: the mappings are gone");
	check(get32(REGION(REFERENCE_BAR_MEMORY) + 20) == 0xffffffff, "and reads are ones");
	decode(true);
	check(bar[5] == 0xabcd && scratch[6] == 0x1234, "on again: as they were");
	ioctl(device, VFIO_DEVICE_RESET);
	check(kills(bar), "a reset takes them away");
	decode(true);
	check(bar[5] == 0 && scratch[6] == 0, "and the memory is zero");
	munmap((void *)bar, 0x10000);
	munmap((void *)scratch, REFERENCE_SCRATCH_SIZE);
}

// ---- injected faults ---------------------------------------------------------------------------

static void lost_interrupts(void)
{
	unsigned came_through = 0;

	control("lose_interrupt", "2");
	for (int i = 0; i < 6; i++) {
		nop(REFERENCE_COMMAND_INTERRUPT);
		idle();
		came_through += came(done_event, 0) && took(done_event);
	}
	control("lose_interrupt", "0");
	check(came_through == 3, "every second interrupt is lost");
	nop(REFERENCE_COMMAND_INTERRUPT);
	check(request_end() == 0, "none any more");
}

// The whole stream of the device as it is; *@longest: the most one read returned.
static ssize_t save(uint8_t *data, ssize_t *longest)
{
	ssize_t done = 0, got;
	int fd;

	if (!check(!set_state(VFIO_DEVICE_STATE_STOP_COPY, &fd) && fd >= 0, "to STOP_COPY"))
		return -1;
	*longest = 0;
	while ((got = read(fd, data + done, STREAM - done)) > 0) {
		*longest = got > *longest ? got : *longest;
		done += got;
	}
	check(got == 0, "the end of the stream");
	close(fd);
	check(!set_state(VFIO_DEVICE_STATE_RUNNING, NULL), "to RUNNING");
	return done;
}

// Load it: the errno of the arc out of RESUMING, or of the first write that fails.
static int load(const uint8_t *data, ssize_t size)
{
	int fd, rc, error = 0;

	reset();
	if (!check(!set_state(VFIO_DEVICE_STATE_RESUMING, &fd) && fd >= 0, "to RESUMING"))
		return -1;
	for (ssize_t done = 0; done < size; done += rc) {
		rc = (int)write(fd, data + done, size - done);
		if (rc <= 0) {
			error = errno;
			break;
		}
	}
	rc = set_state(VFIO_DEVICE_STATE_STOP, NULL);
	error = rc ? errno : error;
	close(fd);
	if (rc)
		check(state() == VFIO_DEVICE_STATE_ERROR, "what cannot be loaded leaves ERROR");
	else
		check(!set_state(VFIO_DEVICE_STATE_RUNNING, NULL), "to RUNNING");
	return error;
}

static void streams(void)
{
	struct vfio_device_feature_mig_data_size size = {0}, lie = {0};
	const uint32_t get_size = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_MIG_DATA_SIZE;
	uint8_t *data = malloc(STREAM);
	ssize_t whole, longest, slow;
	char number[24];

	set32(REGION(REFERENCE_BAR_MEMORY) + 0x8000, 0x600d);
	whole = save(data, &longest);
	check(!feature(get_size, &size, sizeof(size)) && whole > 0 &&
		      size.stop_copy_length >= (uint64_t)whole,
	      "the size promised is enough");
	check(load(data, whole) == 0 && get32(REGION(REFERENCE_BAR_MEMORY) + 0x8000) == 0x600d,
	      "what was saved is loaded");

	control("lie_size_percent", "10");
	check(!feature(get_size, &lie, sizeof(lie)) &&
		      lie.stop_copy_length == size.stop_copy_length / 10,
	      "a size that lies");
	control("lie_size_percent", "0");

	control("slow_bytes", "1000");
	slow = save(data, &longest);
	control("slow_bytes", "0");
	check(slow == whole && load(data, slow) == 0, "a slow stream is the same");

	snprintf(number, sizeof(number), "%zd", whole / 2);
	control("truncate_at", number);
	slow = save(data, &longest);
	control("truncate_at", "0");
	check(slow == whole / 2 && load(data, slow) == EINVAL, "half a stream is refused");
	fails(set_state(VFIO_DEVICE_STATE_RUNNING, NULL), EINVAL, "no state leads out of ERROR");
	check(!reset() && state() == VFIO_DEVICE_STATE_RUNNING, "a reset does");

	control("flip_at", number);
	slow = save(data, &longest);
	control("flip_at", "0");
	check(slow == whole && load(data, slow) == EINVAL, "one with a wrong bit, too");
	check(!reset(), "reset");
	free(data);
}

// A descriptor is of its session, even when there is another.
static void sessions(void)
{
	uint8_t byte;
	int first, second;

	check(!set_state(VFIO_DEVICE_STATE_STOP_COPY, &first) && read(first, &byte, 1) == 1,
	      "a session");
	check(!set_state(VFIO_DEVICE_STATE_STOP, NULL) &&
		      !set_state(VFIO_DEVICE_STATE_STOP_COPY, &second),
	      "another");
	fails((int)read(first, &byte, 1), ENODEV, "the first one's descriptor is of no use");
	check(read(second, &byte, 1) == 1, "the second one's is");
	check(!reset(), "reset");
	fails((int)read(second, &byte, 1), ENODEV, "ends that, too");
	close(first);
	close(second);
}

static void drain(int fd, uint8_t *data, ssize_t *size)
{
	ssize_t got;

	while ((got = read(fd, data + *size, STREAM - *size)) > 0)
		*size += got;
}

// What is written after it was sent is sent again: by a register access, and by a mapping, whose stores nobody sees.
static void late_stores(bool mapped)
{
	struct vfio_precopy_info info = {.argsz = sizeof(info), .flags = 0xabcd};
	const uint64_t at = mapped ? 0x3000 : 0x5000;
	uint8_t *data = malloc(STREAM);
	volatile uint32_t *bar;
	ssize_t size = 0;
	int fd;

	check(!reset() && !set_state(VFIO_DEVICE_STATE_PRE_COPY, &fd), "to PRE_COPY");
	check(!ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, &info) && info.initial_bytes &&
		      info.flags == 0xabcd,
	      "sizes, and flags left alone for who knows none");
	drain(fd, data, &size);
	check(errno == ENOMSG, "all of it for now");
	if (mapped) {
		bar = mmap(NULL, 0x10000, PROT_READ | PROT_WRITE, MAP_SHARED, device,
			   REGION(REFERENCE_BAR_MEMORY));
		check(bar != MAP_FAILED, "a mapping");
		bar[at / 4] = 0x5eed;
		munmap((void *)bar, 0x10000);
	} else {
		set32(REGION(REFERENCE_BAR_MEMORY) + at, 0x5eed);
		check(!ioctl(fd, VFIO_MIG_GET_PRECOPY_INFO, &info) && info.dirty_bytes,
		      "it is dirty");
	}
	check(!set_state(VFIO_DEVICE_STATE_STOP_COPY, NULL), "to STOP_COPY");
	drain(fd, data, &size);
	check(!set_state(VFIO_DEVICE_STATE_RUNNING, NULL), "to RUNNING");
	close(fd);
	check(load(data, size) == 0 && get32(REGION(REFERENCE_BAR_MEMORY) + at) == 0x5eed,
	      mapped ? "a mapped store after the memory was sent is loaded"
		     : "a write after it was sent is loaded");
	free(data);
}

// ---- DMA ---------------------------------------------------------------------------------------

// The last byte of a range is logged, too.
static void log_to_the_end(void)
{
	struct vfio_device_feature_dma_logging_range range = {.iova = IOVA, .length = 0x10000};
	struct vfio_device_feature_dma_logging_control start = {
		.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range};
	uint64_t bitmap = 0;
	struct vfio_device_feature_dma_logging_report report = {
		.iova = IOVA, .length = 0x10000, .page_size = 4096, .bitmap = (uintptr_t)&bitmap};

	check(!feature(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START, &start,
		       sizeof(start)),
	      "logging");
	check(fill(0, IOVA + 0xffff, 1, 1) == 0, "a write to the last byte");
	check(!feature(VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT, &report,
		       sizeof(report)) &&
		      bitmap == 0x8000,
	      "is in the log");
	check(!feature(VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0),
	      "no more logging");
}

// A page that was read is no page to be written.
static void read_only(void)
{
	const uint64_t at = IOVA + 2 * MEMORY;

	memset(memory, 0x33, 4096);
	check(!map_for(ioas, memory, at, 4096, IOMMU_IOAS_MAP_READABLE), "a page for reading");
	check(checksum(at, 4096) == 0 && fill(0, at, 16, 0x44) == REFERENCE_ERROR_WRITE &&
		      memory_is(memory, 16, 0x33),
	      "is read, and not written");
	check(!unmap(ioas, at, 4096), "and goes");
}

static void failed_attach(void)
{
	struct iommu_ioas_alloc other = {.size = sizeof(other)};

	check(!ioctl(iommufd, IOMMU_IOAS_ALLOC, &other), "another space");
	control("fail_attach", "12");
	fails(attach(other.out_ioas_id), ENOMEM, "an attachment that is made to fail");
	control("fail_attach", "0");
	check(fill(0, IOVA, 4096, 0x44) == 0 && memory_is(memory, 4096, 0x44),
	      "leaves the old one");
	check(!detach() && !attach(ioas), "detach, attach");
}

// Nothing of one user is left when it has closed, even before the next one opens.
static void closing(void)
{
	int fd;
	uint8_t byte;

	check(!set_state(VFIO_DEVICE_STATE_STOP_COPY, &fd), "to STOP_COPY");
	end();
	check(shown("migration_state") == VFIO_DEVICE_STATE_RUNNING, "closed: it runs again");
	check(shown("pinned") == 0, "and has nothing pinned");
	fails((int)read(fd, &byte, 1), ENODEV, "a descriptor that outlives it is of no use");
	close(fd);
	begin();
}

static void removal(void)
{
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind)};
	const int error = eventfd(0, EFD_NONBLOCK);

	check(!set_irq(VFIO_PCI_ERR_IRQ_INDEX, TRIGGER, error), "the error interrupt");
	control("remove_after", "2");
	nop(REFERENCE_COMMAND_INTERRUPT);
	check(request_end() == 0 && !came(error, 0), "one more request");
	nop(0);
	check(took(error), "then it is gone, and says so");
	check(get32(REFERENCE_ID) == 0xffffffff && get32(CONFIG) == 0xffffffff,
	      "all reads are ones");
	fails(set_state(VFIO_DEVICE_STATE_STOP, NULL), ENODEV, "it changes no state");
	close(error);
	end();

	// Open resets a device, and there is none left to be reset.
	bind.iommufd = iommufd = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	device = open_node();
	fails(ioctl(device, VFIO_DEVICE_BIND_IOMMUFD, &bind), ENODEV, "nobody opens it again");
	close(device);
	close(iommufd);
}

// ---- the legacy group --------------------------------------------------------------------------

static int device_of_group(int group, const char *name)
{
	return ioctl(group, VFIO_GROUP_GET_DEVICE_FD, name);
}

static void legacy_group(void)
{
	static const char token[] = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";
	const char *name = strrchr(sysfs, '/') + 1;
	char path[600], link[512] = "", text[256];
	int group, fd, iommu = open("/dev/iommu", O_RDWR | O_CLOEXEC);
	struct vfio_device_info info = {.argsz = sizeof(info)};

	snprintf(path, sizeof(path), "%s/iommu_group", sysfs);
	if (readlink(path, link, sizeof(link) - 1) < 0)
		check(false, "the IOMMU group");
	snprintf(path, sizeof(path), "/dev/vfio/%s", strrchr(link, '/') + 1);
	group = open(path, O_RDWR | O_CLOEXEC);
	check(group >= 0 && !ioctl(group, VFIO_GROUP_SET_CONTAINER, &iommu),
	      "the group, with an iommufd");
	fails(device_of_group(group, "vfio-reference"), ENODEV, "no such name");
	snprintf(text, sizeof(text), "%s0", name);
	fails(device_of_group(group, text), ENODEV, "a name that only begins so");
	snprintf(text, sizeof(text), "%s vf_token=%s", name, token);
	fails(device_of_group(group, text), EINVAL, "a token that nobody wants");
	fd = device_of_group(group, name);
	check(fd >= 0 && !ioctl(fd, VFIO_DEVICE_GET_INFO, &info) &&
		      info.flags & VFIO_DEVICE_FLAGS_PCI,
	      "the device");
	close(fd);
	control("token", token);
	fails(device_of_group(group, name), EACCES, "a token is wanted");
	snprintf(text, sizeof(text), "%s vf_token=%.*s2", name, 35, token);
	fails(device_of_group(group, text), EACCES, "another one");
	snprintf(text, sizeof(text), "%s vf_token=%s ", name, token);
	fails(device_of_group(group, text), EINVAL, "a malformed one");
	snprintf(text, sizeof(text), "%s vf_token=%s", name, token);
	fd = device_of_group(group, text);
	check(fd >= 0, "the right one");
	close(fd);
	control("token", "\n");
	close(group);
	close(iommu);
}

int main(int argc, char **argv)
{
	if (argc != 2) {
		fprintf(stderr, "usage: reference-faults SYSFS\n");
		return 2;
	}
	sysfs = argv[1];
	setvbuf(stdout, NULL, _IOLBF, 0);
	legacy_group();
	if (!begin())
		return 1;
	pin();
	half_a_block();
	doorbell();
	mappings();
	lost_interrupts();
	streams();
	sessions();
	late_stores(false);
	late_stores(true);
	log_to_the_end();
	read_only();
	failed_attach();
	closing();
	removal();
	return failures > 0;
}
