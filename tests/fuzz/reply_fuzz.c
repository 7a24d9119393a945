/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server that answers anything: decoder of replies and of VERSION. The input: u8 command, u8 how many
 * descriptors, the fixed part of the command (32 bytes), a header (16 bytes), the payload.
 */
#include <errno.h>

#include "devices/vfio/user/protocol.h"
#include "tests/fuzz/fuzz.h"

static void check_version(const struct vfio_user_message *reply, unsigned fd_count)
{
	char text[VFIO_USER_MAX_VERSION_TEXT];
	struct vfio_user_version own, version, again, answer;
	struct vfio_user_limits limits;
	struct vfio_user_message message = *reply;
	int length;

	if (vfio_user_version_decode(reply, &version))
		return;
	vfio_user_version_own(&own);
	own.twin_socket = fd_count & 1;
	if (vfio_user_version_accept(&own, &version, fd_count, &limits) == 0) {
		fuzz_must(limits.max_msg_fds && limits.max_msg_fds <= own.max_msg_fds);
		fuzz_must(limits.max_data_xfer_size &&
			  limits.max_data_xfer_size <= own.max_data_xfer_size);
		fuzz_must(!version.twin_socket || (unsigned)version.twin_fd_index < fd_count);
	}
	if (vfio_user_version_answer(&own, &version, &answer, &limits) == 0)
		fuzz_must(answer.minor <= version.minor && answer.minor <= own.minor);

	/* What was understood is said and understood again. */
	length = vfio_user_version_encode(&version, text, sizeof(text));
	fuzz_must(length > 0);
	message.data = text;
	message.data_size = (size_t)length;
	fuzz_must(vfio_user_version_decode(&message, &again) == 0);
	fuzz_must(again.max_msg_fds == version.max_msg_fds);
	fuzz_must(again.max_data_xfer_size == version.max_data_xfer_size);
	fuzz_must(again.max_dma_maps == version.max_dma_maps);
	fuzz_must(again.pgsizes == version.pgsizes);
	fuzz_must(again.write_multiple == version.write_multiple);
	fuzz_must(again.twin_socket == version.twin_socket);
	fuzz_must(!version.twin_socket || again.twin_fd_index == version.twin_fd_index);
	fuzz_must(again.migration_pgsize == version.migration_pgsize);
	fuzz_must(!version.migration_pgsize ||
		  again.migration_max_bitmap_size == version.migration_max_bitmap_size);
}

/* Counts are no more than what was asked for and what is there. */
static void check_counts(const struct vfio_user_message *asked, const struct vfio_user_message *m,
			 unsigned fd_count)
{
	struct vfio_user_sub_region sub;

	switch (m->command) {
	case VFIO_USER_REGION_READ:
		fuzz_must(m->region.count <= asked->region.count);
		fuzz_must(m->data_size == m->region.count);
		break;
	case VFIO_USER_DMA_READ:
		fuzz_must(m->dma.count <= asked->dma.count && m->data_size == m->dma.count);
		break;
	case VFIO_USER_MIG_DATA_READ:
		fuzz_must(m->mig_data.size <= asked->mig_data.size);
		fuzz_must(m->data_size == m->mig_data.size);
		break;
	case VFIO_USER_DEVICE_GET_REGION_IO_FDS:
		for (uint32_t i = 0; m->data_size && i < m->io_fds.count; i++) {
			vfio_user_sub_region_at(m, i, &sub);
			fuzz_must(sub.fd_index < fd_count);
		}
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct vfio_user_limits limits = {8, 65536};
	struct fuzz_input in = {data, size};
	struct vfio_user_message asked = {.command = fuzz_u8(&in)}, reply;
	struct vfio_user_header header;
	const unsigned fd_count = fuzz_u8(&in) & 15;
	uint8_t *payload, sum = 0;

	fuzz_take(&in, asked.fixed, sizeof(asked.fixed));
	fuzz_take(&in, &header, sizeof(header));
	payload = malloc(in.size ? in.size : 1); /* of exactly its size, for the sanitizer */
	fuzz_must(payload);
	if (in.size)
		memcpy(payload, in.data, in.size);
	header.msg_size = (uint32_t)(sizeof(header) + in.size);
	(void)vfio_user_command_name(header.command);
	(void)vfio_user_command_to_client(asked.command);
	if (vfio_user_check_header(&header, 65536) == 0 &&
	    vfio_user_decode_reply(&asked, &header, payload, in.size, fd_count, &limits, &reply) ==
		    0) {
		fuzz_must(reply.error <= 4095);
		fuzz_must(!reply.error || !reply.data_size);
		for (size_t i = 0; i < reply.data_size; i++)
			sum += ((const uint8_t *)reply.data)[i];
		if (!reply.error && reply.command == VFIO_USER_VERSION)
			check_version(&reply, fd_count);
		else if (!reply.error)
			check_counts(&asked, &reply, fd_count);
	}
	free(payload);
	return sum == 0 ? 0 : 0;
}
