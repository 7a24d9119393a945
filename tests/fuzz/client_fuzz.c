/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that lies: the user provider, used through the contract, against our own server whose replies
 * are changed on their way. The input: u32 which uses are made of the device (bits), then lies of 8
 * bytes: u8 in which reply, u8 how, u16 where, u32 what.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "devices/vfio/front/region.h"
#include "devices/vfio/provider.h"
#include "devices/vfio/server/session.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/served_device.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

#define RAM_SIZE  65536u
#define MAX_LIES  16
#define MAX_REPLY (VFIO_USER_MAX_PAYLOAD + 64)
#define PATIENCE  100 /* ms that a client may take after a lie, which may have made it wait */

enum how { SET_BYTES, CUT, GROW, FAIL, FEWER_FDS, MORE_FDS, TWICE, COMMAND, HANG_UP, HOWS };

struct lie {
	uint8_t reply, how;
	uint16_t where;
	uint32_t what;
};

static struct {
	struct served_device *device;
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	struct loop *loop;
	pthread_t loop_thread;
	int listener;
	struct sockaddr_un address;
	uint8_t *reply;
	int ram_fd;
	uint8_t *ram;

	struct lie lies[MAX_LIES];
	unsigned lie_count;
} world;

/* ---- the server --------------------------------------------------------------------------------- */

static void send_raw(int fd, const void *bytes, size_t size, const int *fds, unsigned fd_count)
{
	union {
		char bytes[CMSG_SPACE(32 * sizeof(int))];
		struct cmsghdr align;
	} control = {0};
	struct iovec iov = {(void *)(uintptr_t)bytes, size};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (fd_count && size) {
		control.align = (struct cmsghdr){.cmsg_len = CMSG_LEN(fd_count * sizeof(int)),
						 .cmsg_level = SOL_SOCKET,
						 .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&control.align), fds, fd_count * sizeof(int));
		m.msg_control = &control;
		m.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
	}
	if (size)
		(void)!sendmsg(fd, &m, MSG_NOSIGNAL);
}

/* A command of the server's own, asked for by nobody. */
static void send_command(int fd, uint32_t what)
{
	uint8_t bytes[VFIO_USER_ENCODED_MAX + 16] = {0};
	const struct vfio_user_message m = {
		.command = what & 1 ? VFIO_USER_DMA_READ : (uint16_t)(what >> 8 & 31),
		.id = (uint16_t)(what >> 16),
		.no_reply = !(what & 1) && what & 8,
		.dma = {.addr = what & 2 ? 0x1000 : what, .count = what & 4 ? 16 : what},
		.data_size = what & 1 ? 0 : 16,
	};

	send_raw(fd, bytes, vfio_user_encode(&m, bytes) + m.data_size, NULL, 0);
}

/* The reply number @index, as it leaves. False: the connection is to be closed. */
static bool send_lying(int fd, unsigned index, const struct server_reply *reply, bool *lied)
{
	size_t size = vfio_user_encode(&reply->message, world.reply);
	unsigned fd_count = reply->fd_count, times = 1;
	int fds[32];
	bool open = true;

	if (!reply->message.error && reply->message.data_size) {
		memcpy(world.reply + size, reply->message.data, reply->message.data_size);
		size += reply->message.data_size;
	}
	memcpy(fds, reply->fds, sizeof(reply->fds));
	for (unsigned i = 0; i < world.lie_count; i++) {
		const struct lie *lie = &world.lies[i];

		if (lie->reply != index)
			continue;
		*lied = true;
		switch (lie->how % HOWS) {
		case SET_BYTES:
			memcpy(world.reply + lie->where % (size > 4 ? size - 3 : 1), &lie->what, 4);
			break;
		case CUT:
			size = lie->where % (size + 1);
			break;
		case GROW:
			memset(world.reply + size, lie->what, lie->where % 64);
			size += lie->where % 64;
			((struct vfio_user_header *)world.reply)->msg_size = (uint32_t)size;
			break;
		case FAIL:
			((struct vfio_user_header *)world.reply)->flags |= VFIO_USER_FLAGS_ERROR;
			((struct vfio_user_header *)world.reply)->error_no = lie->what;
			break;
		case FEWER_FDS:
			fd_count = fd_count ? fd_count - 1 : 0;
			break;
		case MORE_FDS:
			for (unsigned n = lie->where % 24; n && fd_count < 32; n--)
				fds[fd_count++] = lie->what & 1 ? world.ram_fd : fd;
			break;
		case TWICE:
			times = 2;
			break;
		case COMMAND:
			send_command(fd, lie->what);
			break;
		default:
			open = false;
			break;
		}
	}
	while (times--)
		send_raw(fd, world.reply, size, fds, fd_count);
	return open;
}

static void *serve(void *arg)
{
	static const struct vfio_server_doorbell bell = {.size = 4, .offset = 8, .value = 1};
	static const struct vfio_server_config config = {.doorbells = &bell, .doorbell_count = 1};
	const int fd = accept4(world.listener, NULL, NULL, SOCK_CLOEXEC);
	struct vfio_user_channel *channel;
	struct vfio_user_packet *packet;
	struct server_reply reply;
	struct session *session;
	bool open = true, lied = false;

	(void)arg;
	fuzz_must(fd >= 0);
	fuzz_must(vfio_user_channel_create(fd, &(struct vfio_user_channel_config){0}, &channel) ==
		  0);
	fuzz_must(session_create(&world.device->vdev, world.ioas, &config, channel, &session) == 0);
	for (unsigned i = 0;
	     open && vfio_user_channel_next(channel, lied ? PATIENCE : -1, &packet) == 0;) {
		open = session_answer(session, packet, &reply) == 0;
		if (open && !reply.message.no_reply)
			open = send_lying(fd, i++, &reply, &lied);
		vfio_user_packet_free(packet);
	}
	session_destroy(session);
	vfio_user_channel_destroy(channel);
	return NULL;
}

/* ---- the client --------------------------------------------------------------------------------- */

static int feature(struct vfio_device *vdev, uint32_t flags, const void *in, size_t size)
{
	uint64_t room[9] = {0};
	struct vfio_device_feature *f = (struct vfio_device_feature *)room;

	f->argsz = (uint32_t)(sizeof(*f) + size);
	f->flags = flags;
	if (in)
		memcpy(f->data, in, size);
	if (vfio_device_ioctl(vdev, VFIO_DEVICE_FEATURE, f))
		return -1;
	/* Of SET_STATE: the session. */
	return (int)((struct vfio_device_feature_mig_state *)f->data)->data_fd;
}

static void use_regions(struct vfio_device *vdev)
{
	static uint8_t bytes[70000];
	struct vfio_region_ioeventfd bells[4];
	uint64_t offset;
	void *where;
	int fd;

	for (uint32_t i = 0; i < 10; i++) {
		union {
			struct vfio_region_info info;
			uint64_t room[128];
		} r = {.info = {.argsz = sizeof(r), .index = i}};
		struct bar_region region;
		uint32_t count = 4;

		if (!front_region_get(vdev, i, &region)) {
			fuzz_must(region.sparse_count <= BAR_SPARSE_MAX);
			front_region_read_all(vdev, &region, 0, bytes, sizeof(bytes));
		}
		if (vfio_device_ioctl(vdev, VFIO_DEVICE_GET_REGION_INFO, &r.info))
			continue;
		vfio_device_region_fd(vdev, i, false, &fd, &offset);
		vfio_device_region_ioeventfds(vdev, i, bells, &count);
		vfio_device_read(vdev, bytes, 4, r.info.offset);
		vfio_device_write(vdev, bytes, 8, r.info.offset);
		vfio_device_read(vdev, bytes, i == 2 ? 65536 : 64, r.info.offset + 4);
		where = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		fuzz_must(where != MAP_FAILED);
		vfio_device_mmap(vdev, where, 4096, PROT_READ, r.info.offset + 4096);
		munmap(where, 4096);
	}
}

static void use_irqs(struct vfio_device *vdev)
{
	for (uint32_t i = 0; i < 6; i++) {
		struct vfio_irq_info info = {.argsz = sizeof(info), .index = i};
		uint32_t room[sizeof(struct vfio_irq_set) / 4 + 20];
		struct vfio_irq_set *set = (struct vfio_irq_set *)room;
		uint32_t count;

		if (vfio_device_ioctl(vdev, VFIO_DEVICE_GET_IRQ_INFO, &info) || !info.count)
			continue;
		count = info.count < 20 ? info.count : 20;
		*set = (struct vfio_irq_set){.argsz = sizeof(room),
					     .flags = VFIO_IRQ_SET_DATA_EVENTFD |
						      VFIO_IRQ_SET_ACTION_TRIGGER,
					     .index = i,
					     .count = count};
		for (uint32_t n = 0; n < count; n++)
			((int32_t *)set->data)[n] = n % 3 ? -1 : eventfd(0, EFD_CLOEXEC);
		vfio_device_ioctl(vdev, VFIO_DEVICE_SET_IRQS, set);
		for (uint32_t n = 0; n < count; n += 3)
			close(((int32_t *)set->data)[n]);
		/* All pairs of data and action, then off. */
		for (uint32_t flags = 0; flags < 128; flags++) {
			set->flags = flags;
			memset(set->data, flags & VFIO_IRQ_SET_DATA_EVENTFD ? 0xff : 1,
			       sizeof(room) - sizeof(*set));
			vfio_device_ioctl(vdev, VFIO_DEVICE_SET_IRQS, set);
		}
		set->start = info.count;
		vfio_device_ioctl(vdev, VFIO_DEVICE_SET_IRQS, set);
		*set = (struct vfio_irq_set){.argsz = sizeof(*set),
					     .flags = VFIO_IRQ_SET_DATA_NONE |
						      VFIO_IRQ_SET_ACTION_TRIGGER,
					     .index = i};
		vfio_device_ioctl(vdev, VFIO_DEVICE_SET_IRQS, set);
	}
}

static void use_migration(struct vfio_device *vdev)
{
	static const enum vfio_device_mig_state states[] = {
		VFIO_DEVICE_STATE_PRE_COPY, VFIO_DEVICE_STATE_STOP_COPY, VFIO_DEVICE_STATE_STOP,
		VFIO_DEVICE_STATE_RESUMING, VFIO_DEVICE_STATE_STOP,      VFIO_DEVICE_STATE_RUNNING};
	static uint8_t bytes[5000];

	feature(vdev, VFIO_DEVICE_FEATURE_MIGRATION | VFIO_DEVICE_FEATURE_GET, NULL, 8);
	feature(vdev, VFIO_DEVICE_FEATURE_MIG_DATA_SIZE | VFIO_DEVICE_FEATURE_GET, NULL, 8);
	for (unsigned i = 0; i < sizeof(states) / sizeof(states[0]); i++) {
		const struct vfio_device_feature_mig_state state = {.device_state = states[i]};
		struct vfio_precopy_info info = {.argsz = sizeof(info)};
		const int fd = feature(
			vdev, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_SET,
			&state, sizeof(state));

		if (fd < 0)
			continue;
		if (states[i] == VFIO_DEVICE_STATE_RESUMING) {
			vfio_device_mig_write(vdev, fd, bytes, sizeof(bytes));
		} else {
			vfio_device_mig_precopy_info(vdev, fd, &info);
			vfio_device_mig_read(vdev, fd, bytes, sizeof(bytes));
		}
		close(fd);
	}
	feature(vdev, VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_GET, NULL, 8);
}

/* The device reads and writes our memory, by the server's own way to it. */
static void use_dma(struct vfio_device *vdev)
{
	static const uint64_t address = 0x1000;
	static const uint32_t go = 1;
	struct vfio_region_info info = {.argsz = sizeof(info)};

	if (vfio_device_ioctl(vdev, VFIO_DEVICE_GET_REGION_INFO, &info))
		return;
	vfio_device_write(vdev, &address, sizeof(address), info.offset);
	vfio_device_write(vdev, &go, sizeof(go), info.offset + 8);
}

static void use_log(struct vfio_device *vdev)
{
	const struct vfio_device_feature_dma_logging_range range = {0, RAM_SIZE};
	uint64_t bitmap[2] = {0};
	const struct vfio_device_feature_dma_logging_control control = {
		.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range};
	const struct vfio_device_feature_dma_logging_report report = {
		.length = RAM_SIZE, .page_size = 4096, .bitmap = (uintptr_t)bitmap};

	feature(vdev, VFIO_DEVICE_FEATURE_DMA_LOGGING_START | VFIO_DEVICE_FEATURE_SET, &control,
		sizeof(control));
	use_dma(vdev);
	feature(vdev, VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT | VFIO_DEVICE_FEATURE_GET, &report,
		sizeof(report));
	feature(vdev, VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP | VFIO_DEVICE_FEATURE_SET, NULL, 0);
}

/* What the server answers to features that it may have, in both directions. */
static void use_features(struct vfio_device *vdev)
{
	static const uint32_t numbers[] = {
		VFIO_DEVICE_FEATURE_PCI_VF_TOKEN,       VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY,
		VFIO_DEVICE_FEATURE_LOW_POWER_EXIT,     VFIO_DEVICE_FEATURE_BUS_MASTER,
		VFIO_DEVICE_FEATURE_MIG_PRECOPY_INFOv2, 99};
	static const uint32_t flags[] = {VFIO_DEVICE_FEATURE_GET, VFIO_DEVICE_FEATURE_SET,
					 VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_PROBE};
	static const uint8_t bytes[16];

	for (unsigned i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		for (unsigned n = 0; n < sizeof(flags) / sizeof(flags[0]); n++)
			feature(vdev, numbers[i] | flags[n], bytes, sizeof(bytes));
		feature(vdev, numbers[i] | VFIO_DEVICE_FEATURE_SET, NULL, 0);
	}
}

/* Memory comes and goes; one space takes the place of the other. */
static void use_spaces(struct vfio_device *vdev, struct ioas *ioas, struct ioas *other)
{
	uint32_t first = ioas_id(ioas), second = ioas_id(other), none = UINT32_MAX;

	vfio_device_dma_unmap(vdev, 0, 0);
	vfio_device_attach(vdev, &second);
	vfio_device_attach(vdev, &second);
	vfio_device_attach(vdev, &none);
	use_dma(vdev);
	vfio_device_dma_unmap(vdev, 0x2000, 16);
	vfio_device_attach(vdev, &first);
	vfio_device_dma_unmap(vdev, 1, UINT64_MAX);
}

static void use(struct vfio_device *vdev, uint32_t uses, struct ioas *ioas, struct ioas *other)
{
	uint32_t id = ioas_id(ioas);

	if (vfio_device_attach(vdev, &id))
		return;
	if (uses & 1)
		use_regions(vdev);

	if (uses & 2)
		use_irqs(vdev);
	if (uses & 4)
		use_migration(vdev);
	if (uses & 8)
		use_log(vdev);
	if (uses & 16)
		vfio_device_ioctl(vdev, VFIO_DEVICE_RESET, NULL);
	if (uses & 128)
		use_features(vdev);
	if (uses & 256)
		use_spaces(vdev, ioas, other);
	if (uses & 32)
		vfio_device_detach(vdev);
}

static void be_client(uint32_t uses)
{
	struct vfio_key keys[] = {{(char *)"timeout", (char *)"1"},
				  {(char *)"commands", (char *)"all"}};
	char name[sizeof(world.address.sun_path) + 8];
	const struct vfio_config config = {
		.fd = -1, .name = name, .keys = keys, .key_count = uses & 64 ? 2 : 1};
	const struct vfio_provider *provider = vfio_provider_by_prefix("user:");
	struct vfio_provider_env env = {.loop = world.loop};
	struct ioas_area area = {.length = RAM_SIZE,
				 .fd = world.ram_fd,
				 .hva = world.ram,
				 .rights = IOAS_READ | IOAS_WRITE};
	struct vfio_device *vdev;
	struct ioas *ioas, *other;

	snprintf(name, sizeof(name), "user:%s", world.address.sun_path);
	fuzz_must(iommufd_ctx_create(&env.ictx) == 0 && ioas_create(env.ictx, &ioas) == 0);
	fuzz_must(ioas_map(ioas, &area) == 0);
	area.length /= 2;
	fuzz_must(ioas_create(env.ictx, &other) == 0 && ioas_map(other, &area) == 0);
	fuzz_must(provider->create(&env, &config, &vdev) == 0);
	if (vfio_device_open(vdev, env.ictx) == 0) {
		use(vdev, uses, ioas, other);
		vfio_device_close(vdev);
	}
	vfio_unregister_device(vdev);
	vfio_device_free(vdev);
	fuzz_must(ioas_destroy(ioas) == 0 && ioas_destroy(other) == 0);
	iommufd_ctx_destroy(env.ictx);
}

/* ---- */

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void remove_socket(void)
{
	unlink(world.address.sun_path);
}

static void make_world(void)
{
	uint32_t id;

	log_open("/dev/null", LOG_LEVEL_ERROR);
	world.device = served_device_new();
	fuzz_must(iommufd_ctx_create(&world.ictx) == 0);
	fuzz_must(ioas_create(world.ictx, &world.ioas) == 0);
	fuzz_must(vfio_device_open(&world.device->vdev, world.ictx) == 0);
	id = ioas_id(world.ioas);
	fuzz_must(vfio_device_attach(&world.device->vdev, &id) == 0);
	fuzz_must(loop_create(&world.loop) == 0);
	pthread_create(&world.loop_thread, NULL, run_loop, world.loop);
	world.reply = malloc(MAX_REPLY);
	world.ram_fd = memfd_create("ram", MFD_CLOEXEC);
	fuzz_must(world.reply && ftruncate(world.ram_fd, RAM_SIZE) == 0);
	world.ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, world.ram_fd, 0);
	fuzz_must(world.ram != MAP_FAILED);

	world.address.sun_family = AF_UNIX;
	snprintf(world.address.sun_path, sizeof(world.address.sun_path), "/tmp/client-fuzz-%d",
		 getpid());
	atexit(remove_socket);
	world.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	fuzz_must(bind(world.listener, (struct sockaddr *)&world.address, sizeof(world.address)) ==
		  0);
	fuzz_must(listen(world.listener, 4) == 0);
}

static void turned(void *ctx)
{
	sem_post(ctx);
}

/* The loop closes what was removed from it on a turn of its own. */
static void let_loop_turn(void)
{
	sem_t done;

	sem_init(&done, 0, 0);
	for (unsigned i = 0; i < 2; i++) {
		fuzz_must(loop_post(world.loop, turned, &done) == 0);
		while (sem_wait(&done))
			;
	}
	sem_destroy(&done);
}

/* What was left open. */
static void show_descriptor(int fd)
{
	char path[32], target[128] = "";

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)!readlink(path, target, sizeof(target) - 1);
	fprintf(stderr, "descriptor %d is left open: %s\n", fd, target);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	pthread_t server;
	uint32_t uses;
	int lowest, left;

	if (!world.device)
		make_world();
	uses = fuzz_u32(&in);
	world.lie_count = 0;
	while (in.size && world.lie_count < MAX_LIES) {
		struct lie *lie = &world.lies[world.lie_count++];

		lie->reply = fuzz_u8(&in) % 64;
		lie->how = fuzz_u8(&in);
		fuzz_take(&in, &lie->where, sizeof(lie->where));
		lie->what = fuzz_u32(&in);
	}
	lowest = dup(0);
	close(lowest);
	fuzz_must(pthread_create(&server, NULL, serve, NULL) == 0);
	be_client(uses);
	pthread_join(server, NULL);
	let_loop_turn();
	left = dup(0);
	if (left != lowest)
		show_descriptor(lowest);
	fuzz_must(left == lowest);
	close(left);
	return 0;
}
