/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream cut anywhere, with descriptors anywhere. The input is a list of chunks: u8 length, u8 how
 * many descriptors (bits 0-4) and whether some are lost (bit 7), then the bytes.
 */
#include <fcntl.h>
#include <unistd.h>

#include "devices/vfio/user/receiver.h"
#include "tests/fuzz/fuzz.h"

/* @size bytes into the room, in its order. */
static void put(struct vfio_user_receiver *receiver, const uint8_t *bytes, size_t size)
{
	struct iovec room[2];
	const unsigned count = vfio_user_receiver_room(receiver, room);

	for (unsigned i = 0; i < count && size; i++) {
		const size_t part = room[i].iov_len < size ? room[i].iov_len : size;

		memcpy(room[i].iov_base, bytes, part);
		bytes += part;
		size -= part;
	}
	fuzz_must(!size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct vfio_user_receiver *receiver = calloc(1, sizeof(*receiver));
	struct vfio_user_packet *packets = NULL, **tail = &packets, *next;
	struct fuzz_input in = {data, size};
	size_t taken = 0, seen = 0;
	int lowest = dup(0), rc = 0;

	close(lowest);
	fuzz_must(receiver);
	receiver->max_payload = 1024;
	while (in.size && !rc) {
		uint8_t length = fuzz_u8(&in), how = fuzz_u8(&in), bytes[255];
		int fds[31];
		unsigned count = how & 31;

		length = length ? length : 1;
		fuzz_take(&in, bytes, length);
		for (unsigned i = 0; i < count; i++)
			fds[i] = fcntl(0, F_DUPFD_CLOEXEC, 0);
		put(receiver, bytes, length);
		rc = vfio_user_receiver_take(receiver, length, fds, count, how & 0x80, &tail);
		taken += length;
		fuzz_must(rc || vfio_user_receiver_partial(receiver) ==
					(receiver->packet || receiver->head_filled));
	}
	for (; packets; packets = next) {
		next = packets->next;
		seen += sizeof(packets->header) + packets->size;
		fuzz_must(packets->size <= 1024);
		fuzz_must(packets->header.msg_size == sizeof(packets->header) + packets->size);
		fuzz_must(!packets->error || !packets->fd_count);
		vfio_user_packet_free(packets);
	}
	fuzz_must(seen <= taken);
	vfio_user_receiver_destroy(receiver);
	free(receiver);
	rc = dup(0);
	fuzz_must(rc == lowest);
	close(rc);
	return 0;
}
