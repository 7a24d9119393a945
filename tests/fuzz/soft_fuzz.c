/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest, a client and a source of migration that send anything, to a soft device through the contract.
 * The input: u8 which device (kinds below), then steps of 16 bytes (struct step), some with bytes that
 * follow them.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "devices/vfio/device.h"
#include "devices/vfio/provider.h"
#include "devices/vfio/providers/soft/soft.h"
#include "devices/vfio/reference/internal.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/dma.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define RAM_IOVA  0x40000000ull
#define RAM_SIZE  0x40000ull
#define MAX_STEPS 512
#define MAX_DATA  8192
#define BITMAP    65536u /* bytes */

struct step {
	uint8_t what;
	uint8_t a;
	uint16_t b;
	uint32_t c;
	uint64_t d;
};

enum what {
	READ,    /* region a, offset d, b bytes */
	WRITE,   /* region a, offset d, b bytes that follow */
	MEMORY,  /* u32 c into the guest's memory at d */
	IRQS,    /* index a, flags c, start b, count of d, and d >> 32 bytes of data that follow */
	FEATURE, /* flags c, argsz b, and d bytes that follow */
	STATE,   /* to state a */
	LOAD,    /* b bytes that follow go into the stream */
	RECORD, /* a record of type a goes into the stream; u32 c at byte b of its payload if d & 1, ... */
	SAVE,    /* read b bytes of the stream */
	INFO,    /* on what a says (do_info()); argsz b, index c */
	IOEVENT, /* flags c, offset d, and u64 data and u8 kind of descriptor that follow */
	ATTACH,  /* to space a, PASID c if b & 1; off again if b & 2 */
	UNMAP,   /* [d, d + c) of the guest's memory leaves, or comes back if a & 1 */
	LOOP,    /* what the loop has to do */
	WAIT,    /* until the engine is idle, for a time */
	RESET,
	RING, /* the doorbell's eventfd */
	WHATS
};

/* Of RECORD: what is wrong with it, in d. */
enum { PATCHED = 1, BAD_CRC = 2, BAD_SEQUENCE = 4, BAD_LENGTH = 8, IN_TWO = 16, BUSY = 32 };

static struct {
	struct loop *loop;
	struct iommufd_ctx *ictx;
	struct vfio_device_sets sets;
	struct ioas *spaces[2];
	int memfd, pipe;
	uint8_t *ram;

	struct vfio_device *vdev;
	int session, bell;
	uint32_t sequence; /* of the stream that is loaded */
	uint64_t position;
} world;

/* ---- eventfds in the place of vmm/base/eventfd.c, which takes the kernel 30 ms for each device ------ */

int eventfd_signaller_create(struct eventfd_signaller **out)
{
	*out = NULL;
	return 0;
}

void eventfd_signaller_destroy(struct eventfd_signaller *signaller)
{
	(void)signaller;
}

bool eventfd_signal(struct eventfd_signaller *signaller, int fd)
{
	(void)signaller;
	return eventfd_write(fd, 1) == 0;
}

uint64_t eventfd_take(int fd)
{
	eventfd_t count;

	return eventfd_read(fd, &count) == 0 ? count : 0;
}

/* ---- the world ---------------------------------------------------------------------------------- */

static struct ioas_area area(void)
{
	return (struct ioas_area){.iova = RAM_IOVA,
				  .length = RAM_SIZE,
				  .fd = world.memfd,
				  .hva = world.ram,
				  .rights = IOAS_READ | IOAS_WRITE};
}

static void make_world(void)
{
	const struct ioas_area ram = area();
	int ends[2];

	log_open("/dev/null", LOG_LEVEL_ERROR);
	fuzz_must(loop_create(&world.loop) == 0);
	fuzz_must(iommufd_ctx_create(&world.ictx) == 0);
	vfio_device_sets_init(&world.sets);
	world.memfd = memfd_create("fuzz-ram", MFD_CLOEXEC);
	fuzz_must(ftruncate(world.memfd, RAM_SIZE) == 0);
	world.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, world.memfd, 0);
	fuzz_must(world.ram != MAP_FAILED);
	for (unsigned i = 0; i < 2; i++) {
		struct ioas_area mapped = ram;

		mapped.hva = world.ram;
		fuzz_must(ioas_create(world.ictx, &world.spaces[i]) == 0);
		fuzz_must(ioas_map(world.spaces[i], &mapped) == 0);
	}
	fuzz_must(pipe2(ends, O_CLOEXEC) == 0);
	world.pipe = ends[1];
}

static void make_device(uint8_t kind)
{
	static const char *const migration[] = {"all", "stop-copy", "p2p", "pre-copy"};
	static const char *const fail[] = {"stop-copy", "resuming", "running", "pre-copy:2"};
	struct vfio_key keys[] = {
		{(char *)"memory", (char *)"64K"},
		{(char *)"vectors", (char *)(kind & 0x10 ? "3" : "64")},
		{(char *)"migration", (char *)(uintptr_t)migration[kind & 3]},
		{(char *)"pasid", (char *)(kind & 4 ? "off" : "on")},
		{(char *)"mmap", (char *)(kind & 8 ? "off" : "on")},
		{(char *)(kind & 0x40 ? "slow-stream" : "reinit"),
		 (char *)(kind & 0x40 ? "100" : "off")},
		{(char *)"fail-state", (char *)(uintptr_t)fail[kind & 3]},
		{(char *)(kind & 1 ? "remove-after" : "error-after"), (char *)"2"},
	};
	const struct vfio_config config = {.name = "soft:reference",
					   .fd = -1,
					   .keys = keys,
					   .key_count = kind & 0x80   ? 8
							: kind & 0x20 ? 7
								      : 6};
	const struct vfio_provider_env env = {
		.loop = world.loop, .ictx = world.ictx, .sets = &world.sets};
	const struct vfio_provider *provider = vfio_provider_by_prefix(config.name);
	uint32_t id = ioas_id(world.spaces[0]);
	uint16_t command = 6; /* memory, bus master */

	fuzz_must(provider->match(&config) > 0 && provider->check(&config) == 0);
	fuzz_must(provider->create(&env, &config, &world.vdev) == 0);
	fuzz_must(vfio_device_open(world.vdev, world.ictx) == 0);
	fuzz_must(vfio_device_attach(world.vdev, &id) == 0);
	fuzz_must(vfio_device_write(world.vdev, &command, 2,
				    SOFT_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + 4) == 2);
	world.session = world.bell = -1;
}

static void set_session(int fd)
{
	if (world.session >= 0)
		close(world.session);
	world.session = fd;
	world.sequence = 0;
	world.position = 0;
}

/* The session's descriptor is the caller's: gone when the state is left. */
static void note_state(uint32_t state, int fd)
{
	if (fd >= 0 ||
	    (state != VFIO_DEVICE_STATE_STOP_COPY && state != VFIO_DEVICE_STATE_RESUMING &&
	     state != VFIO_DEVICE_STATE_PRE_COPY && state != VFIO_DEVICE_STATE_PRE_COPY_P2P))
		set_session(fd);
}

/* ---- steps -------------------------------------------------------------------------------------- */

/* A descriptor by its number in the input; 1, 2 and 3 are this call's to close. */
static int make_fd(unsigned kind, int *mine)
{
	*mine = -1;
	switch (kind & 7) {
	case 0:
		return -1;
	case 1:
	case 2:
		return *mine = eventfd(kind == 2 ? 7 : 0, EFD_CLOEXEC | EFD_NONBLOCK);
	case 3:
		return world.pipe;
	case 4:
		return 100000;
	default:
		return -(int)kind;
	}
}

static void do_irqs(const struct step *step, struct fuzz_input *in)
{
	static _Alignas(struct vfio_irq_set) uint8_t bytes[sizeof(struct vfio_irq_set) + 2048 * 4];
	struct vfio_irq_set *set = (struct vfio_irq_set *)bytes;
	const uint32_t more = (uint32_t)(step->d >> 32) % 513;
	int mine[512];
	unsigned count = 0;

	memset(bytes, 0, sizeof(bytes));
	fuzz_take(in, set->data, more < in->size ? more : in->size);
	if (step->c & VFIO_IRQ_SET_DATA_EVENTFD) {
		int32_t *fds = (int32_t *)(void *)set->data;

		for (unsigned i = more / 4; i-- > 0;) {
			fds[i] = make_fd(set->data[i], &mine[count]);
			count += mine[count] >= 0;
		}
	}
	*set = (struct vfio_irq_set){.argsz = (uint32_t)sizeof(*set) + more,
				     .flags = step->c,
				     .index = step->a,
				     .start = step->b,
				     .count = (uint32_t)step->d};
	/* Data beyond argsz nobody may read; beyond the buffer nobody can be given. */
	vfio_device_ioctl(world.vdev, VFIO_DEVICE_SET_IRQS, set);
	while (count--)
		close(mine[count]);
}

/* What is a pointer for the contract is the input's on the wire only: here it points at something. */
static void give_pointers(uint32_t number, void *data, const void *ranges, void *bitmap)
{
	struct vfio_device_feature_dma_logging_control *control = data;
	struct vfio_device_feature_dma_logging_report *report = data;

	if (number == VFIO_DEVICE_FEATURE_DMA_LOGGING_START) {
		control->num_ranges %= 9;
		control->ranges = (uintptr_t)ranges;
	} else if (number == VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT) {
		if (report->page_size)
			report->length %= report->page_size > UINT64_MAX / (BITMAP * 8)
						  ? UINT64_MAX
						  : report->page_size * (BITMAP * 8 - 64);
		else
			report->length %= BITMAP;
		report->bitmap = (uintptr_t)bitmap;
	}
}

static void do_feature(const struct step *step, struct fuzz_input *in)
{
	static _Alignas(8) uint8_t bytes[sizeof(struct vfio_device_feature) + 512];
	static uint64_t ranges[16], bitmap[BITMAP / 8];
	struct vfio_device_feature *feature = (struct vfio_device_feature *)bytes;
	const uint32_t number = step->c & VFIO_DEVICE_FEATURE_MASK;
	int mine = -1;

	memset(bytes, 0, sizeof(bytes));
	fuzz_take(in, feature->data, step->d % 25);
	if (number == VFIO_DEVICE_FEATURE_DMA_LOGGING_START)
		fuzz_take(in, ranges, sizeof(ranges));
	give_pointers(number, feature->data, ranges, bitmap);
	if (number == VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY_WITH_WAKEUP)
		*(int32_t *)(void *)feature->data = make_fd(feature->data[0], &mine);
	feature->argsz = step->b % (sizeof(bytes) + 1);
	feature->flags = step->c;
	if (vfio_device_ioctl(world.vdev, VFIO_DEVICE_FEATURE, feature) == 0 &&
	    number == VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE && (step->c & VFIO_DEVICE_FEATURE_SET) &&
	    !(step->c & VFIO_DEVICE_FEATURE_PROBE)) {
		const struct vfio_device_feature_mig_state *mig = (const void *)feature->data;

		note_state(mig->device_state, mig->data_fd);
	}
	if (mine >= 0)
		close(mine);
}

static void do_state(uint32_t state)
{
	uint64_t room[2 + sizeof(struct vfio_device_feature_mig_state) / 8] = {0};
	struct vfio_device_feature *feature = (struct vfio_device_feature *)room;
	struct vfio_device_feature_mig_state *mig = (void *)feature->data;

	feature->argsz = sizeof(room);
	feature->flags = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE;
	*mig = (struct vfio_device_feature_mig_state){.device_state = state, .data_fd = -1};
	if (vfio_device_ioctl(world.vdev, VFIO_DEVICE_FEATURE, feature) == 0)
		note_state(state, mig->data_fd);
}

static void load(const uint8_t *bytes, size_t size)
{
	if (vfio_device_mig_write(world.vdev, world.session, bytes, size) > 0)
		world.position += size;
}

/* What a source would send, for the fuzzer to spoil. */
static void fill_record(uint32_t type, const struct reference_device *model, uint8_t *payload,
			uint32_t page)
{
	switch (type) {
	case REFERENCE_RECORD_HEADER:
		reference_put64(payload, REFERENCE_STREAM_MAGIC);
		reference_put32(payload + 8, REFERENCE_STREAM_VERSION);
		reference_put32(payload + 12, model->geometry.vectors);
		reference_put64(payload + 16, model->geometry.memory_size);
		reference_put64(payload + 24, REFERENCE_SCRATCH_SIZE);
		reference_put16(payload + 32, REFERENCE_VENDOR_ID);
		reference_put16(payload + 34, REFERENCE_DEVICE_ID);
		break;
	case REFERENCE_RECORD_PAGE:
		reference_put64(payload, (uint64_t)page * REFERENCE_PAGE);
		break;
	case REFERENCE_RECORD_CONFIG:
		memcpy(payload, model->config, REFERENCE_CONFIG_SIZE);
		break;
	case REFERENCE_RECORD_STATE:
		reference_state_encode(model, payload);
		break;
	default:
		reference_put64(payload, world.position);
		break;
	}
}

static void do_record(const struct step *step)
{
	static uint8_t record[REFERENCE_RECORD_OVERHEAD + REFERENCE_PAGE_LENGTH + 8];
	const struct reference_device *model = &soft_device(world.vdev)->model;
	const uint32_t length = reference_record_length(step->a);
	uint8_t *payload = record + REFERENCE_RECORD_OVERHEAD;
	size_t first;

	memset(record, 0, sizeof(record));
	fill_record(step->a, model, payload, step->c);
	/* A request that is under way (stream.c, all_fields()). */
	if (step->d & BUSY && step->a == REFERENCE_RECORD_STATE) {
		reference_put32(payload + 116, 1);
		reference_put32(payload + 120, 1);
	}
	if (step->d & PATCHED && length >= 4)
		reference_put32(payload + step->b % (length - 3), step->c);
	reference_put32(record, step->a);
	reference_put32(record + 4, length + (step->d & BAD_LENGTH ? 1 : 0));
	reference_put32(record + 8, world.sequence + (step->d & BAD_SEQUENCE ? 1 : 0));
	reference_put32(record + 12,
			reference_record_crc(model, record, length) ^ (step->d & BAD_CRC ? 1 : 0));
	world.sequence++;
	first = step->d & IN_TWO ? step->b % (REFERENCE_RECORD_OVERHEAD + length) : 0;
	if (first)
		load(record, first);
	load(record + first, REFERENCE_RECORD_OVERHEAD + length - first);
}

static void do_info(const struct step *step)
{
	union {
		struct vfio_device_info device;
		struct vfio_region_info region;
		struct vfio_irq_info irq;
		uint64_t room[32];
	} info = {0};
	struct vfio_precopy_info precopy = {.argsz = step->b};
	uint64_t offset;
	void *where;
	int fd;

	info.device.argsz = step->b % (sizeof(info) + 1);
	info.device.flags = (uint32_t)step->d;
	switch (step->a % 6) {
	case 0:
		vfio_device_ioctl(world.vdev, VFIO_DEVICE_GET_INFO, &info);
		break;
	case 1:
		info.region.index = step->c;
		vfio_device_ioctl(world.vdev, VFIO_DEVICE_GET_REGION_INFO, &info);
		break;
	case 2:
		info.irq.index = step->c;
		vfio_device_ioctl(world.vdev, VFIO_DEVICE_GET_IRQ_INFO, &info);
		break;
	case 3:
		vfio_device_mig_precopy_info(world.vdev, world.session, &precopy);
		break;
	case 4:
		vfio_device_region_fd(world.vdev, step->c, step->d & 1, &fd, &offset);
		break;
	default:
		where = mmap(NULL, 65536, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		fuzz_must(where != MAP_FAILED);
		if (vfio_device_mmap(world.vdev, where, step->b % 65537, PROT_READ | PROT_WRITE,
				     SOFT_OFFSET(step->c % 10) + step->d) == 0 &&
		    step->b % 65537)
			*(volatile uint8_t *)where = 1;
		munmap(where, 65536);
		break;
	}
}

static void do_ioevent(const struct step *step, struct fuzz_input *in)
{
	struct vfio_device_ioeventfd io = {.argsz = step->b % (sizeof(io) + 1),
					   .flags = step->c,
					   .offset = SOFT_OFFSET(step->a % 10) + step->d};
	int mine;

	fuzz_take(in, &io.data, sizeof(io.data));
	io.fd = make_fd(fuzz_u8(in), &mine);
	if (io.fd == -1 && world.bell >= 0) {
		close(world.bell);
		world.bell = -1;
	}
	if (vfio_device_ioctl(world.vdev, VFIO_DEVICE_IOEVENTFD, &io) == 0 && world.bell < 0 &&
	    mine >= 0) {
		world.bell = mine;
		return;
	}
	if (mine >= 0)
		close(mine);
}

static void do_attach(const struct step *step)
{
	uint32_t id = step->a < 2 ? ioas_id(world.spaces[step->a]) : step->a;

	switch (step->b & 3) {
	case 0:
		vfio_device_attach(world.vdev, &id);
		break;
	case 1:
		vfio_device_pasid_attach(world.vdev, step->c, &id);
		break;
	case 2:
		vfio_device_detach(world.vdev);
		break;
	default:
		vfio_device_pasid_detach(world.vdev, step->c);
		break;
	}
}

static void do_unmap(const struct step *step)
{
	const struct ioas_area ram = area();
	uint8_t byte;

	vfio_device_dma_unmap(world.vdev, step->d, step->c);
	if (step->a & 2)
		ioas_unmap(world.spaces[0], RAM_IOVA, RAM_SIZE);
	if (step->a & 1 && ioas_read(world.spaces[0], RAM_IOVA, &byte, 1))
		fuzz_must(ioas_map(world.spaces[0], &ram) == 0);
}

static void end_turn(void *ctx)
{
	loop_stop(ctx);
}

static void run_loop(void)
{
	fuzz_must(loop_post(world.loop, end_turn, world.loop) == 0);
	fuzz_must(loop_run(world.loop) == 0);
}

/* A request may be large; what is not done by then goes on beside the next steps. */
static void wait_for_engine(void)
{
	uint32_t status;

	for (unsigned i = 0; i < 50; i++) {
		if (vfio_device_read(world.vdev, &status, 4, SOFT_OFFSET(0) + REFERENCE_STATUS) !=
			    4 ||
		    !(status & REFERENCE_STATUS_BUSY))
			return;
		usleep(20);
	}
}

static void do_step(const struct step *step, struct fuzz_input *in)
{
	static uint8_t data[MAX_DATA];
	const size_t size = step->b % (MAX_DATA + 1);

	switch (step->what % WHATS) {
	case READ:
		vfio_device_read(world.vdev, data, size, SOFT_OFFSET(step->a % 12) + step->d);
		break;
	case WRITE:
		fuzz_take(in, data, size < in->size ? size : in->size);
		vfio_device_write(world.vdev, data, size, SOFT_OFFSET(step->a % 12) + step->d);
		break;
	case MEMORY:
		memcpy(world.ram + step->d % (RAM_SIZE - 3), &step->c, 4);
		break;
	case IRQS:
		do_irqs(step, in);
		break;
	case FEATURE:
		do_feature(step, in);
		break;
	case STATE:
		do_state(step->a);
		break;
	case LOAD:
		fuzz_take(in, data, size < in->size ? size : in->size);
		load(data, size);
		break;
	case RECORD:
		do_record(step);
		break;
	case SAVE:
		vfio_device_mig_read(world.vdev, world.session, data, size);
		break;
	case INFO:
		do_info(step);
		break;
	case IOEVENT:
		do_ioevent(step, in);
		break;
	case ATTACH:
		do_attach(step);
		break;
	case UNMAP:
		do_unmap(step);
		break;
	case LOOP:
		run_loop();
		break;
	case WAIT:
		wait_for_engine();
		break;
	case RESET:
		vfio_device_ioctl(world.vdev, VFIO_DEVICE_RESET, NULL);
		break;
	default:
		if (world.bell >= 0)
			eventfd_write(world.bell, 1);
		run_loop();
		break;
	}
}

/* After a reset it is a device that works. */
static void check_device(void)
{
	uint32_t id = ioas_id(world.spaces[0]), value = 0;
	uint16_t command = 6;

	if (vfio_device_ioctl(world.vdev, VFIO_DEVICE_RESET, NULL))
		return; /* it was taken away */
	do_state(VFIO_DEVICE_STATE_RUNNING);
	do_unmap(&(struct step){.a = 1});
	fuzz_must(vfio_device_attach(world.vdev, &id) == 0);
	vfio_device_write(world.vdev, &command, 2, SOFT_OFFSET(VFIO_PCI_CONFIG_REGION_INDEX) + 4);
	fuzz_must(vfio_device_read(world.vdev, &value, 4, SOFT_OFFSET(0) + REFERENCE_ID) == 4);
	fuzz_must(value == REFERENCE_ID_VALUE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct step step;
	int lowest;

	if (!world.loop)
		make_world();
	lowest = dup(0);
	close(lowest);
	memset(world.ram, 0x5a, RAM_SIZE);
	make_device(fuzz_u8(&in));
	for (unsigned i = 0; i < MAX_STEPS && fuzz_take(&in, &step, sizeof(step)); i++)
		do_step(&step, &in);
	check_device();
	vfio_device_close(world.vdev);
	set_session(-1);
	if (world.bell >= 0)
		close(world.bell);
	vfio_unregister_device(world.vdev);
	vfio_device_free(world.vdev);
	run_loop();

	/* Nothing of it is left. */
	world.bell = dup(0);
	fuzz_must(world.bell == lowest);
	close(world.bell);
	return 0;
}
