/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A client that sends anything: decoder and dispatcher of the vfio-user server over a device that has
 * one of everything. The input:
 *
 *   u8   1: greeted already
 *   u16  n
 *   n    bytes of commands, as on the wire; error_no, which commands do not use, says which
 *        descriptors come along: bits 0-4 how many, bits 5-7 of which kind
 *   ...  what the client sends while the server waits for its memory
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/vfio/server/session.h"
#include "devices/vfio/user/receiver.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/served_device.h"

static const struct vfio_server_doorbell bells[] = {
	{.region = 0, .size = 4, .offset = 8, .value = 1},
	{.region = 2, .size = 8, .offset = SERVED_MEMORY - 4, .value = 1}, /* outside */
	{.region = 0, .size = 4, .offset = 12, .value = 0xbad}, /* refused by the device */
};
static const struct vfio_server_config config = {.doorbells = bells, .doorbell_count = 3};

static struct {
	struct served_device *device;
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
} world;

static void make_world(void)
{
	uint32_t id;

	world.device = served_device_new();
	fuzz_must(iommufd_ctx_create(&world.ictx) == 0);
	fuzz_must(ioas_create(world.ictx, &world.ioas) == 0);
	fuzz_must(vfio_device_open(&world.device->vdev, world.ictx) == 0);
	id = ioas_id(world.ioas);
	fuzz_must(vfio_device_attach(&world.device->vdev, &id) == 0);
}

static int make_fd(unsigned kind)
{
	int ends[2], fd;

	switch (kind) {
	case 0:
		return eventfd(0, EFD_CLOEXEC);
	case 1:
	case 2:
	case 3:
		fd = memfd_create("fuzz", MFD_CLOEXEC | (kind == 1 ? MFD_ALLOW_SEALING : 0));
		fuzz_must(ftruncate(fd, kind == 3 ? 5000 : 65536) == 0);
		return fd;
	case 5:
		/* Of a file system that is no memory. */
		return open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	default:
		fuzz_must(pipe2(ends, O_CLOEXEC) == 0);
		close(ends[1]);
		return ends[0];
	}
}

/* As they would have come beside the message. */
static void add_fds(struct vfio_user_packet *packet)
{
	const unsigned wanted = packet->header.error_no & 31;

	if (wanted > VFIO_USER_MAX_MSG_FDS) {
		packet->error = -E2BIG;
		return;
	}
	while (packet->fd_count < wanted)
		packet->fds[packet->fd_count++] = make_fd(packet->header.error_no >> 5 & 7);
}

static void check_reply(const struct vfio_user_packet *packet, const struct server_reply *reply)
{
	uint8_t head[VFIO_USER_ENCODED_MAX];
	struct vfio_user_header header;
	size_t size = vfio_user_encode(&reply->message, head);

	memcpy(&header, head, sizeof(header));
	fuzz_must(header.msg_id == packet->header.msg_id);
	fuzz_must(header.command == packet->header.command);
	fuzz_must(header.msg_size <= sizeof(header) + VFIO_USER_MAX_PAYLOAD);
	fuzz_must(reply->fd_count <= VFIO_USER_MAX_MSG_FDS);
	if (reply->message.error)
		fuzz_must(size == sizeof(header) && !reply->fd_count && header.msg_size == size);
	/* Whatever is sent is there: the sanitizer looks at each byte. */
	for (size_t i = 0; i < reply->message.data_size && !reply->message.error; i++)
		size += ((const uint8_t *)reply->message.data)[i];
	fuzz_must(size);
}

static void serve(struct session *session, const uint8_t *bytes, size_t size)
{
	struct vfio_user_receiver *receiver = calloc(1, sizeof(*receiver));
	struct vfio_user_packet *packets = NULL, **tail = &packets, *next;
	bool greeted = true;
	int rc = 0;

	fuzz_must(receiver);
	receiver->max_payload = VFIO_USER_MAX_PAYLOAD;
	while (size && !rc) {
		struct iovec room[2];
		const unsigned count = vfio_user_receiver_room(receiver, room);
		size_t done = 0;

		for (unsigned i = 0; i < count && done < size; i++) {
			const size_t part =
				room[i].iov_len < size - done ? room[i].iov_len : size - done;

			memcpy(room[i].iov_base, bytes + done, part);
			done += part;
		}
		bytes += done;
		size -= done;
		rc = vfio_user_receiver_take(receiver, done, NULL, 0, false, &tail);
	}
	for (; packets; packets = next) {
		struct server_reply reply;

		next = packets->next;
		add_fds(packets);
		if (greeted) {
			greeted = session_answer(session, packets, &reply) == 0;
			if (greeted)
				check_reply(packets, &reply);
		}
		vfio_user_packet_free(packets);
	}
	vfio_user_receiver_destroy(receiver);
	free(receiver);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	struct vfio_user_channel *channel;
	struct session *session;
	uint8_t greeted;
	uint16_t length;
	int fds[2], lowest;

	if (!world.device)
		make_world();
	lowest = dup(0);
	close(lowest);
	greeted = fuzz_u8(&in);
	fuzz_take(&in, &length, sizeof(length));
	if (length > in.size)
		length = (uint16_t)in.size;

	fuzz_must(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
	fuzz_must(in.size == length ||
		  send(fds[1], in.data + length, in.size - length, MSG_NOSIGNAL) >= 0);
	shutdown(fds[1], SHUT_WR);
	fuzz_must(vfio_user_channel_create(fds[0], &(struct vfio_user_channel_config){0},
					   &channel) == 0);
	fuzz_must(session_create(&world.device->vdev, world.ioas, &config, channel, &session) == 0);
	session->greeted = greeted & 1;
	serve(session, in.data, length);
	session_run(session); /* commands among those answers, and the end of the connection */
	session_signal(session, VFIO_PCI_ERR_IRQ_INDEX);
	session_signal(session, VFIO_PCI_REQ_IRQ_INDEX);
	fuzz_must(session_destroy(session) == 0);
	vfio_user_channel_destroy(channel);
	close(fds[1]);

	/* As after power-on, and nothing of the client is left. */
	fuzz_must(world.device->state == VFIO_DEVICE_STATE_RUNNING);
	fuzz_must(!world.device->vector_count && world.device->intx < 0);
	fuzz_must(!world.device->vdev.dma_logging && !world.device->vdev.precopy_info_v2);
	fuzz_must(ioas_read(world.ioas, 0, &greeted, 1) == -ENOENT);
	fds[0] = dup(0);
	fuzz_must(fds[0] == lowest);
	close(fds[0]);
	return 0;
}
