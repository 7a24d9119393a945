/* SPDX-License-Identifier: Apache-2.0 */
/* Every message of vfio-user: what is taken, what is refused, and that both ends read the same. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/user/protocol.h"

static const struct vfio_user_limits limits = {.max_msg_fds = 8, .max_data_xfer_size = 4096};

/* A message as bytes of exactly its size, so that the sanitizer sees a read behind it. */
struct wire {
	struct vfio_user_header header;
	uint8_t *payload;
	size_t size;
};

static struct wire to_wire(const struct vfio_user_message *message)
{
	uint8_t head[VFIO_USER_ENCODED_MAX];
	const size_t n = vfio_user_encode(message, head);
	struct wire wire = {.size = n - sizeof(wire.header) + message->data_size};

	memcpy(&wire.header, head, sizeof(wire.header));
	cr_assert_eq(wire.header.msg_size, sizeof(wire.header) + wire.size);
	wire.payload = malloc(wire.size ? wire.size : 1);
	memcpy(wire.payload, head + sizeof(wire.header), n - sizeof(wire.header));
	if (message->data_size)
		memcpy(wire.payload + n - sizeof(wire.header), message->data, message->data_size);
	return wire;
}

static int send_command(const struct vfio_user_message *message, unsigned fd_count)
{
	struct vfio_user_message out;
	struct wire wire = to_wire(message);
	int rc = vfio_user_decode_command(&wire.header, wire.payload, wire.size, fd_count, &limits,
					  &out);

	if (!rc) {
		cr_assert_eq(out.command, message->command);
		cr_assert_eq(out.id, message->id);
		cr_assert_eq(out.data_size, message->data_size);
		cr_assert(!out.data_size || !memcmp(out.data, message->data, message->data_size));
	}
	/* One byte less is never a whole message of a fixed part. */
	if (!rc && wire.size && !message->data_size && message->command != VFIO_USER_VERSION)
		cr_assert_eq(vfio_user_decode_command(&wire.header, wire.payload, wire.size - 1,
						      fd_count, &limits, &out),
			     -EINVAL);
	free(wire.payload);
	return rc;
}

static int send_reply(const struct vfio_user_message *command,
		      const struct vfio_user_message *reply, unsigned fd_count,
		      struct vfio_user_message *out)
{
	struct wire wire = to_wire(reply);
	int rc = vfio_user_decode_reply(command, &wire.header, wire.payload, wire.size, fd_count,
					&limits, out);

	out->data = NULL; /* dies here */
	free(wire.payload);
	return rc;
}

Test(protocol, commands_have_names_and_directions)
{
	cr_assert_str_eq(vfio_user_command_name(VFIO_USER_REGION_READ), "REGION_READ");
	cr_assert_str_eq(vfio_user_command_name(VFIO_USER_MIG_DATA_WRITE), "MIG_DATA_WRITE");
	cr_assert_null(vfio_user_command_name(0));
	cr_assert_null(vfio_user_command_name(14));
	cr_assert_null(vfio_user_command_name(19));
	cr_assert_null(vfio_user_command_name(65535));
	for (unsigned i = 0; i < 100; i++)
		cr_assert_eq(vfio_user_command_to_client(i), i == 11 || i == 12);
}

Test(protocol, a_header_is_followed_only_if_it_can_be)
{
	struct vfio_user_header header = {.msg_size = 16, .command = 9};

	cr_assert_eq(vfio_user_check_header(&header, 100), 0);
	header.msg_size = 15;
	cr_assert_eq(vfio_user_check_header(&header, 100), -EPROTO);
	header.msg_size = 0;
	cr_assert_eq(vfio_user_check_header(&header, 100), -EPROTO);
	header.msg_size = 116;
	cr_assert_eq(vfio_user_check_header(&header, 100), 0);
	header.msg_size = 117;
	cr_assert_eq(vfio_user_check_header(&header, 100), -EPROTO);
	header.msg_size = UINT32_MAX;
	cr_assert_eq(vfio_user_check_header(&header, VFIO_USER_MAX_PAYLOAD), -EPROTO);
	header.msg_size = 16;
	header.flags = VFIO_USER_FLAGS_REPLY | VFIO_USER_FLAGS_ERROR;
	cr_assert_eq(vfio_user_check_header(&header, 100), 0);
	header.flags = VFIO_USER_FLAGS_REPLY | VFIO_USER_FLAGS_NO_REPLY;
	cr_assert_eq(vfio_user_check_header(&header, 100), -EPROTO);
	for (uint32_t type = 2; type < 16; type++) {
		header.flags = type;
		cr_assert_eq(vfio_user_check_header(&header, 100), -EPROTO);
	}
}

Test(protocol, an_unknown_command_is_not_supported)
{
	struct vfio_user_header header = {.msg_id = 7, .msg_size = 16, .command = 14};
	struct vfio_user_message out;

	header.flags = VFIO_USER_FLAGS_NO_REPLY;
	cr_assert_eq(vfio_user_decode_command(&header, NULL, 0, 0, &limits, &out), -ENOTSUP);
	cr_assert_eq(out.id, 7);
	cr_assert_eq(out.command, 14);
	cr_assert(out.no_reply);
	header.command = 0;
	cr_assert_eq(vfio_user_decode_command(&header, NULL, 0, 0, &limits, &out), -ENOTSUP);
	header.command = 65535;
	cr_assert_eq(vfio_user_decode_command(&header, NULL, 0, 0, &limits, &out), -ENOTSUP);
}

Test(protocol, every_command_refuses_an_empty_payload_that_it_cannot_have)
{
	for (uint16_t command = 1; command < VFIO_USER_COMMANDS; command++) {
		struct vfio_user_header header = {.msg_size = 16, .command = command};
		struct vfio_user_message out;
		int rc = vfio_user_decode_command(&header, NULL, 0, 0, &limits, &out);

		if (command == VFIO_USER_DEVICE_RESET)
			cr_assert_eq(rc, 0);
		else
			cr_assert_eq(rc, command == 14 ? -ENOTSUP : -EINVAL, "command %u", command);
	}
}

Test(protocol, descriptors_come_only_where_they_belong)
{
	struct vfio_user_message m = {.command = VFIO_USER_DEVICE_RESET};

	cr_assert_eq(send_command(&m, 0), 0);
	cr_assert_eq(send_command(&m, 1), -EINVAL);
	m = (struct vfio_user_message){.command = VFIO_USER_VERSION};
	cr_assert_eq(send_command(&m, 0), 0);
	cr_assert_eq(send_command(&m, 1), -EINVAL);
	m = (struct vfio_user_message){.command = VFIO_USER_REGION_READ, .region = {.count = 4}};
	cr_assert_eq(send_command(&m, 1), -EINVAL);
}

Test(protocol, a_map_is_whole_and_has_one_way_of_access)
{
	const struct vfio_user_dma_map good = {32, 3, 0x1000, 0x2000, 0x3000};
	struct vfio_user_message m = {.command = VFIO_USER_DMA_MAP, .id = 5, .dma_map = good};

	cr_assert_eq(send_command(&m, 0), 0);
	cr_assert_eq(send_command(&m, 1), 0);
	cr_assert_eq(send_command(&m, 2), -EINVAL);
	m.dma_map.flags = 3 | VFIO_USER_DMA_MAP_MMAP;
	cr_assert_eq(send_command(&m, 1), 0);
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.dma_map.flags = 3 | VFIO_USER_DMA_MAP_FILE_IO;
	cr_assert_eq(send_command(&m, 1), 0);
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.dma_map.flags = 15;
	cr_assert_eq(send_command(&m, 1), -EINVAL);
	m.dma_map.flags = 16;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.dma_map = good;
	m.dma_map.argsz = 31;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.dma_map = good;
	m.dma_map.size = 0;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.dma_map = good;
	m.dma_map.addr = UINT64_MAX - 0xfff;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.dma_map.size = 0x1000; /* up to the last address */
	cr_assert_eq(send_command(&m, 0), 0);
	m.dma_map = good;
	m.dma_map.offset = UINT64_MAX;
	cr_assert_eq(send_command(&m, 1), -EINVAL);
	m.dma_map = good;
	m.data = "x";
	m.data_size = 1;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
}

Test(protocol, an_unmap_names_a_range_or_everything)
{
	struct vfio_user_message m = {.command = VFIO_USER_DMA_UNMAP,
				      .dma_unmap = {24, 0, 0x1000, 0x1000}};

	cr_assert_eq(send_command(&m, 0), 0);
	m.dma_unmap.flags = 1; /* with bitmap: 0.9.1 */
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.dma_unmap.flags = VFIO_USER_DMA_UNMAP_ALL;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.dma_unmap.addr = m.dma_unmap.size = 0;
	cr_assert_eq(send_command(&m, 0), 0);
	m.dma_unmap.flags = 0;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.dma_unmap = (struct vfio_user_dma_unmap){24, 0, UINT64_MAX, 2};
	cr_assert_eq(send_command(&m, 0), -EINVAL);
}

Test(protocol, questions_have_room_for_their_answer)
{
	struct vfio_user_message m = {.command = VFIO_USER_DEVICE_GET_INFO, .device_info = {16}};

	cr_assert_eq(send_command(&m, 0), 0);
	m.device_info.argsz = 15;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m = (struct vfio_user_message){.command = VFIO_USER_DEVICE_GET_REGION_INFO,
				       .region_info = {.argsz = 32, .index = UINT32_MAX}};
	cr_assert_eq(send_command(&m, 0), 0);
	m.region_info.argsz = 31;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m = (struct vfio_user_message){.command = VFIO_USER_DEVICE_GET_IRQ_INFO,
				       .irq_info = {.argsz = 16}};
	cr_assert_eq(send_command(&m, 0), 0);
	m.irq_info.argsz = 0;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m = (struct vfio_user_message){.command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
				       .io_fds = {.argsz = 16}};
	cr_assert_eq(send_command(&m, 0), 0);
	m.io_fds.count = 1;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.io_fds.count = 0;
	m.io_fds.flags = 1;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m = (struct vfio_user_message){.command = VFIO_USER_DEVICE_FEATURE, .feature = {8, 1}};
	cr_assert_eq(send_command(&m, 0), 0);
	m.feature.argsz = 7;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
}

Test(protocol, set_irqs_has_one_kind_of_data_and_one_action)
{
	static const uint8_t bools[4] = {1, 0, 1, 1};
	struct vfio_user_message m = {
		.command = VFIO_USER_DEVICE_SET_IRQS,
		.irq_set = {20, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 2, 4, 3},
	};

	cr_assert_eq(send_command(&m, 3), 0);
	cr_assert_eq(send_command(&m, 0), 0); /* takes them away */
	cr_assert_eq(send_command(&m, 2), -EINVAL);
	cr_assert_eq(send_command(&m, 4), -EINVAL);
	m.irq_set.count = 9;
	cr_assert_eq(send_command(&m, 9), -EINVAL); /* above what one message may carry */
	m.irq_set.start = UINT32_MAX;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.irq_set.start = 0;
	m.irq_set.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
	m.irq_set.count = 0;
	cr_assert_eq(send_command(&m, 0), 0);
	cr_assert_eq(send_command(&m, 1), -EINVAL);
	for (uint32_t flags = 0; flags < 128; flags++) {
		const bool one_data = __builtin_popcount(flags & 7) == 1;
		const bool one_action = __builtin_popcount(flags & 0x38) == 1;

		m.irq_set.flags = flags;
		cr_assert_eq(send_command(&m, 0),
			     one_data && one_action && flags < 64 ? 0 : -EINVAL, "flags %x", flags);
	}
	m.irq_set = (struct vfio_user_irq_set){
		24, VFIO_IRQ_SET_DATA_BOOL | VFIO_IRQ_SET_ACTION_MASK, 2, 0, 4};
	m.data = bools;
	m.data_size = 4;
	cr_assert_eq(send_command(&m, 0), 0);
	cr_assert_eq(send_command(&m, 4), -EINVAL);
	m.irq_set.argsz = 23;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.irq_set.argsz = 24;
	m.irq_set.count = 5;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.irq_set.flags = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_MASK;
	m.irq_set.count = 4;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
}

Test(protocol, accesses_have_their_bytes_and_keep_to_the_agreed_size)
{
	static const uint8_t bytes[4097];
	struct vfio_user_message m = {.command = VFIO_USER_REGION_READ,
				      .region = {.offset = 8, .region = 2, .count = 4096}};

	cr_assert_eq(send_command(&m, 0), 0);
	m.region.count = 0;
	cr_assert_eq(send_command(&m, 0), 0);
	m.region.count = 4097;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.region.count = 4;
	m.region.offset = UINT64_MAX - 2;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.region.offset = UINT64_MAX - 3;
	cr_assert_eq(send_command(&m, 0), 0);
	m.data = bytes;
	m.data_size = 4;
	cr_assert_eq(send_command(&m, 0), -EINVAL);

	m.command = VFIO_USER_REGION_WRITE;
	cr_assert_eq(send_command(&m, 0), 0);
	m.data_size = 3;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.region = (struct vfio_user_region_access){.count = 4097};
	m.data_size = 4097;
	cr_assert_eq(send_command(&m, 0), -EINVAL);

	m = (struct vfio_user_message){.command = VFIO_USER_DMA_READ, .dma = {0x1000, 4096}};
	cr_assert_eq(send_command(&m, 0), 0);
	m.dma.count = 1ull << 32;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.dma = (struct vfio_user_dma_access){UINT64_MAX, 2};
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m = (struct vfio_user_message){.command = VFIO_USER_DMA_WRITE,
				       .dma = {0x1000, 16},
				       .data = bytes,
				       .data_size = 16};
	cr_assert_eq(send_command(&m, 0), 0);
	m.dma.count = 17;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
}

Test(protocol, several_writes_are_all_there)
{
	struct vfio_user_single_write writes[3] = {{.offset = 4, .region = 1, .count = 8},
						   {.offset = 8, .region = 1, .count = 1},
						   {.offset = 8, .region = 1, .count = 0}};
	struct vfio_user_message m = {.command = VFIO_USER_REGION_WRITE_MULTI,
				      .write_multi = {3},
				      .data = writes,
				      .data_size = sizeof(writes)};
	struct vfio_user_single_write out;

	cr_assert_eq(send_command(&m, 0), 0);
	vfio_user_single_write_at(&m, 1, &out);
	cr_assert_eq(out.offset, 8);
	m.write_multi.wr_cnt = 2;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.write_multi.wr_cnt = UINT64_MAX / 24 + 2; /* whose size would wrap */
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.write_multi.wr_cnt = 3;
	m.data_size--;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.data_size++;
	writes[2].count = 9;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	writes[2] = (struct vfio_user_single_write){.offset = UINT64_MAX, .count = 2};
	cr_assert_eq(send_command(&m, 0), -EINVAL);
}

Test(protocol, migration_data_has_the_size_it_says)
{
	static const uint8_t bytes[64];
	struct vfio_user_message m = {.command = VFIO_USER_MIG_DATA_READ, .mig_data = {4104, 4096}};

	cr_assert_eq(send_command(&m, 0), 0);
	m.mig_data.size = 4097;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m.mig_data = (struct vfio_user_mig_data){7, 1};
	cr_assert_eq(send_command(&m, 0), -EINVAL);
	m = (struct vfio_user_message){.command = VFIO_USER_MIG_DATA_WRITE,
				       .mig_data = {72, 64},
				       .data = bytes,
				       .data_size = 64};
	cr_assert_eq(send_command(&m, 0), 0);
	m.mig_data.size = 63;
	cr_assert_eq(send_command(&m, 0), -EINVAL);
}

/* ---- replies ---- */

Test(protocol, an_error_is_an_errno_whatever_stands_behind_it)
{
	struct vfio_user_message asked = {.command = VFIO_USER_REGION_READ, .region = {.count = 4}};
	struct vfio_user_header header = {.command = 9, .flags = 0x21, .error_no = 22};
	const uint8_t junk[5] = {0};
	struct vfio_user_message out;

	header.msg_size = 16;
	cr_assert_eq(vfio_user_decode_reply(&asked, &header, NULL, 0, 0, &limits, &out), 0);
	cr_assert_eq(out.error, 22);
	cr_assert_eq(vfio_user_decode_reply(&asked, &header, junk, 5, 0, &limits, &out), 0);
	cr_assert_eq(out.error, 22);
	cr_assert_eq(out.data_size, 0);
	header.error_no = 0;
	cr_assert_eq(vfio_user_decode_reply(&asked, &header, NULL, 0, 0, &limits, &out), 0);
	cr_assert_eq(out.error, EIO);
	header.error_no = 4096;
	cr_assert_eq(vfio_user_decode_reply(&asked, &header, NULL, 0, 0, &limits, &out), 0);
	cr_assert_eq(out.error, EIO);
	header.command = 10; /* not what was asked */
	cr_assert_eq(vfio_user_decode_reply(&asked, &header, NULL, 0, 0, &limits, &out), -EPROTO);
}

Test(protocol, an_error_reply_is_a_header_alone)
{
	struct vfio_user_message m = {.command = VFIO_USER_REGION_READ,
				      .reply = true,
				      .error = 5,
				      .data = "abcd",
				      .data_size = 4};
	uint8_t head[VFIO_USER_ENCODED_MAX];
	struct vfio_user_header header;

	cr_assert_eq(vfio_user_encode(&m, head), 16);
	memcpy(&header, head, sizeof(header));
	cr_assert_eq(header.msg_size, 16);
	cr_assert_eq(header.flags, VFIO_USER_FLAGS_REPLY | VFIO_USER_FLAGS_ERROR);
	cr_assert_eq(header.error_no, 5);
}

Test(protocol, replies_without_payload_have_none)
{
	static const uint16_t empty[] = {VFIO_USER_DMA_MAP, VFIO_USER_DEVICE_SET_IRQS,
					 VFIO_USER_DEVICE_RESET, VFIO_USER_MIG_DATA_WRITE};
	struct vfio_user_message out;

	for (unsigned i = 0; i < sizeof(empty) / sizeof(empty[0]); i++) {
		struct vfio_user_message asked = {.command = empty[i]};
		struct vfio_user_message reply = {.command = empty[i], .reply = true};

		cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
		cr_assert_eq(send_reply(&asked, &reply, 1, &out), -EPROTO);
		reply.data = "x";
		reply.data_size = 1;
		cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
	}
}

Test(protocol, a_read_brings_no_more_than_was_asked_for)
{
	static const uint8_t bytes[16];
	struct vfio_user_message asked = {.command = VFIO_USER_REGION_READ,
					  .region = {.offset = 8, .region = 2, .count = 8}};
	struct vfio_user_message reply = asked, out;

	reply.reply = true;
	reply.data = bytes;
	reply.data_size = 8;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	reply.region.count = 7;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
	reply.data_size = 7; /* short */
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	reply.region.count = reply.data_size = 9;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
	reply.region.count = reply.data_size = 8;
	reply.region.region = 3;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
	reply.region.region = 2;
	reply.region.offset = 9;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);

	asked.command = reply.command = VFIO_USER_REGION_WRITE;
	reply.region = asked.region;
	reply.data_size = 0;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	reply.region.count = 9;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
}

Test(protocol, dma_replies_fit_and_the_short_count_of_0_9_2_is_taken)
{
	static const uint8_t bytes[16];
	struct vfio_user_message asked = {.command = VFIO_USER_DMA_READ, .dma = {0x1000, 16}};
	struct vfio_user_message reply = asked, out;
	struct vfio_user_header header = {.command = VFIO_USER_DMA_WRITE, .flags = 1};
	uint8_t payload[12] = {0};
	const uint64_t addr = 0x1000;
	const uint32_t count = 16;

	reply.reply = true;
	reply.data = bytes;
	reply.data_size = 16;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	reply.dma.count = 17;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);

	asked.command = VFIO_USER_DMA_WRITE;
	memcpy(payload, &addr, 8);
	memcpy(payload + 8, &count, 4);
	cr_assert_eq(vfio_user_decode_reply(&asked, &header, payload, 12, 0, &limits, &out), 0);
	cr_assert_eq(out.dma.count, 16);
	cr_assert_eq(vfio_user_decode_reply(&asked, &header, payload, 11, 0, &limits, &out),
		     -EPROTO);
	asked.dma.addr = 0x2000;
	cr_assert_eq(vfio_user_decode_reply(&asked, &header, payload, 12, 0, &limits, &out),
		     -EPROTO);
}

Test(protocol, an_unmap_may_be_answered_with_nothing)
{
	struct vfio_user_message asked = {.command = VFIO_USER_DMA_UNMAP,
					  .dma_unmap = {24, 0, 0x1000, 0x1000}};
	struct vfio_user_header header = {.command = VFIO_USER_DMA_UNMAP, .flags = 1};
	struct vfio_user_message reply = asked, out;

	reply.reply = true;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	cr_assert_eq(vfio_user_decode_reply(&asked, &header, NULL, 0, 0, &limits, &out), 0);
	cr_assert_eq(vfio_user_decode_reply(&asked, &header, "abc", 3, 0, &limits, &out), -EPROTO);
	/* But not with another map. */
	reply.dma_unmap.addr = 0x2000;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
	reply.dma_unmap = (struct vfio_user_dma_unmap){24, 0, 0x1000, 0x2000};
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
}

Test(protocol, region_descriptors_exist)
{
	struct vfio_user_sub_region subs[2] = {{.offset = 0x1000, .size = 4, .fd_index = 0},
					       {.offset = 0x1004, .size = 4, .fd_index = 1}};
	struct vfio_user_message asked = {.command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
					  .io_fds = {.argsz = 96, .index = 2}};
	struct vfio_user_message reply = {.command = asked.command,
					  .reply = true,
					  .io_fds = {96, 0, 2, 2},
					  .data = subs,
					  .data_size = sizeof(subs)};
	struct vfio_user_sub_region sub;
	struct vfio_user_message out;

	cr_assert_eq(send_reply(&asked, &reply, 2, &out), 0);
	vfio_user_sub_region_at(&reply, 1, &sub);
	cr_assert_eq(sub.offset, 0x1004);
	cr_assert_eq(send_reply(&asked, &reply, 1, &out), -EPROTO);
	cr_assert_eq(send_reply(&asked, &reply, 9, &out), -EPROTO);
	reply.io_fds.count = 3;
	cr_assert_eq(send_reply(&asked, &reply, 2, &out), -EPROTO);
	reply.io_fds.count = 2;
	reply.io_fds.index = 1;
	cr_assert_eq(send_reply(&asked, &reply, 2, &out), -EPROTO);
	reply.io_fds.index = 2;
	subs[1].offset = UINT64_MAX;
	cr_assert_eq(send_reply(&asked, &reply, 2, &out), -EPROTO);
	subs[1].offset = 0;
	/* No room: a count and nothing else. */
	asked.io_fds.argsz = 16;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
	reply.data_size = 0;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	cr_assert_eq(out.io_fds.count, 2);
	cr_assert_eq(send_reply(&asked, &reply, 1, &out), -EPROTO);
}

Test(protocol, answers_belong_to_their_questions)
{
	struct vfio_user_message asked = {.command = VFIO_USER_DEVICE_GET_IRQ_INFO,
					  .irq_info = {.argsz = 16, .index = 2}};
	struct vfio_user_message reply = asked, out;

	reply.reply = true;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	reply.irq_info.index = 1;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);

	asked = (struct vfio_user_message){.command = VFIO_USER_DEVICE_GET_REGION_INFO,
					   .region_info = {.argsz = 32, .index = 2}};
	reply = asked;
	reply.reply = true;
	cr_assert_eq(send_reply(&asked, &reply, 1, &out), 0);
	reply.region_info.index = 1;
	cr_assert_eq(send_reply(&asked, &reply, 1, &out), -EPROTO);
	reply.region_info.index = 2;
	reply.region_info.argsz = 31;
	cr_assert_eq(send_reply(&asked, &reply, 1, &out), -EPROTO);

	asked = (struct vfio_user_message){.command = VFIO_USER_DEVICE_GET_INFO,
					   .device_info = {.argsz = 16}};
	reply = asked;
	reply.reply = true;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	reply.device_info.argsz = 0;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);

	asked = (struct vfio_user_message){.command = VFIO_USER_DEVICE_FEATURE,
					   .feature = {.argsz = 16, .flags = 1 | 1u << 16}};
	reply = asked;
	reply.reply = true;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	reply.feature.flags = 2;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);

	asked = (struct vfio_user_message){.command = VFIO_USER_REGION_WRITE_MULTI,
					   .write_multi = {3}};
	reply = asked;
	reply.reply = true;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	reply.write_multi.wr_cnt = 4;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
	/* No command at all. */
	asked.command = reply.command = 14;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
}

Test(protocol, migration_data_may_be_short_with_rubbish_behind_it)
{
	static const uint8_t bytes[32];
	struct vfio_user_message asked = {.command = VFIO_USER_MIG_DATA_READ, .mig_data = {40, 32}};
	struct vfio_user_message reply = asked, out;

	reply.reply = true;
	reply.data = bytes;
	reply.data_size = 32;
	reply.mig_data.size = 5;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), 0);
	cr_assert_eq(out.data_size, 5);
	reply.mig_data.size = 33;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
	reply.mig_data.size = 32;
	reply.data_size = 31;
	cr_assert_eq(send_reply(&asked, &reply, 0, &out), -EPROTO);
}

/* ---- VERSION ---- */

static int decode_text(const char *text, size_t size, struct vfio_user_version *version)
{
	char *copy = malloc(size ? size : 1);
	struct vfio_user_message m = {
		.command = VFIO_USER_VERSION, .data = copy, .data_size = size};
	int rc;

	memcpy(copy, text, size);
	rc = vfio_user_version_decode(&m, version);
	free(copy);
	return rc;
}

#define decode(text, version) decode_text(text, sizeof(text), version)

Test(version, without_capabilities_the_defaults_hold)
{
	struct vfio_user_version v;

	cr_assert_eq(decode_text("", 0, &v), 0);
	cr_assert_eq(v.max_msg_fds, 1);
	cr_assert_eq(v.max_data_xfer_size, 1048576);
	cr_assert_eq(v.max_dma_maps, 65535);
	cr_assert_eq(v.pgsizes, 4096);
	cr_assert_not(v.write_multiple);
	cr_assert_eq(v.twin_fd_index, -1);
	cr_assert_eq(decode("{}", &v), 0);
	cr_assert_eq(decode("{\"capabilities\":{}}", &v), 0);
	cr_assert_eq(decode("{\"capabilities\":{\"new\":[1,2]},\"x\":1}", &v), 0);
	cr_assert_eq(v.max_msg_fds, 1);
}

Test(version, what_is_encoded_is_decoded)
{
	struct vfio_user_version own, v;
	char text[VFIO_USER_MAX_VERSION_TEXT];
	int n;

	vfio_user_version_own(&own);
	own.max_dma_maps = 77;
	own.twin_socket = true;
	own.twin_fd_index = 3;
	own.migration_pgsize = 4096;
	own.migration_max_bitmap_size = 1 << 20;
	n = vfio_user_version_encode(&own, text, sizeof(text));
	cr_assert_gt(n, 0);
	cr_assert_eq(text[n - 1], '\0');
	cr_assert_eq(decode_text(text, (size_t)n, &v), 0);
	cr_assert_eq(v.max_msg_fds, own.max_msg_fds);
	cr_assert_eq(v.max_data_xfer_size, own.max_data_xfer_size);
	cr_assert_eq(v.max_dma_maps, 77);
	cr_assert_eq(v.pgsizes, 4096);
	cr_assert(v.write_multiple);
	cr_assert(v.twin_socket);
	cr_assert_eq(v.twin_fd_index, 3);
	cr_assert_eq(v.migration_pgsize, 4096);
	cr_assert_eq(v.migration_max_bitmap_size, 1 << 20);
	for (int room = 0; room < n; room++)
		cr_assert_eq(vfio_user_version_encode(&own, text, (size_t)room), -EMSGSIZE);
}

Test(version, the_greetings_of_qemu_and_libvfio_user_are_understood)
{
	struct vfio_user_version v;

	cr_assert_eq(decode("{\"capabilities\": {\"migration\": {\"max_bitmap_size\": 268435456, "
			    "\"pgsize\": 4096}, \"max_msg_fds\": 16, \"write_multiple\": true, "
			    "\"max_data_xfer_size\": 1048576, \"max_dma_maps\": 65535, "
			    "\"pgsizes\": 4096}}",
			    &v),
		     0);
	cr_assert_eq(v.max_msg_fds, 16);
	cr_assert(v.write_multiple);
	cr_assert_eq(v.migration_max_bitmap_size, 268435456);
	cr_assert_eq(decode("{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1048576,"
			    "\"migration\":{\"pgsize\":4096},\"twin_socket\":{\"supported\":true,"
			    "\"fd_index\":0}}}",
			    &v),
		     0);
	cr_assert(v.twin_socket);
	cr_assert_eq(v.twin_fd_index, 0);
}

Test(version, nonsense_is_refused)
{
	static const char *const texts[] = {
		"",
		"{",
		"[]",
		"1",
		"{} {}",
		"{\"capabilities\":[]}",
		"{\"capabilities\":1}",
		"{\"capabilities\":{\"max_msg_fds\":0}}",
		"{\"capabilities\":{\"max_msg_fds\":-1}}",
		"{\"capabilities\":{\"max_msg_fds\":4294967296}}",
		"{\"capabilities\":{\"max_msg_fds\":\"8\"}}",
		"{\"capabilities\":{\"max_msg_fds\":8.0}}",
		"{\"capabilities\":{\"max_msg_fds\":8,\"max_msg_fds\":9}}",
		"{\"capabilities\":{\"max_data_xfer_size\":0}}",
		"{\"capabilities\":{\"max_dma_maps\":0}}",
		"{\"capabilities\":{\"pgsizes\":65536}}",
		"{\"capabilities\":{\"pgsizes\":99999999999999999999}}",
		"{\"capabilities\":{\"write_multiple\":1}}",
		"{\"capabilities\":{\"twin_socket\":true}}",
		"{\"capabilities\":{\"twin_socket\":{\"supported\":1}}}",
		"{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":-1}}}",
		"{\"capabilities\":{\"twin_socket\":{\"supported\":true,\"fd_index\":16}}}",
		"{\"capabilities\":{\"migration\":4096}}",
		"{\"capabilities\":{\"migration\":{\"pgsize\":0}}}",
	};
	struct vfio_user_version v;

	for (unsigned i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		cr_assert_eq(decode_text(texts[i], strlen(texts[i]) + 1, &v), -EINVAL, "%s",
			     texts[i]);
	cr_assert_eq(decode_text("{}", 2, &v), -EINVAL, "not terminated");
	cr_assert_eq(decode_text("{}\0{}", 6, &v), 0, "what follows the end is nothing");
}

Test(version, a_long_or_deep_text_is_refused)
{
	char text[VFIO_USER_MAX_VERSION_TEXT + 1];
	struct vfio_user_version v;

	memset(text, ' ', sizeof(text));
	text[sizeof(text) - 1] = '\0';
	cr_assert_eq(decode_text(text, sizeof(text), &v), -E2BIG);
	memset(text, '[', sizeof(text));
	text[VFIO_USER_MAX_VERSION_TEXT - 1] = '\0';
	cr_assert_eq(decode_text(text, VFIO_USER_MAX_VERSION_TEXT, &v), -EINVAL);
}

Test(version, the_answer_is_what_both_can)
{
	struct vfio_user_version own, proposed, answer;
	struct vfio_user_limits l;

	vfio_user_version_own(&own);
	proposed = own;
	proposed.minor = 0;
	proposed.max_msg_fds = 1;
	proposed.max_data_xfer_size = 1 << 30;
	proposed.write_multiple = false;
	proposed.twin_socket = true;
	cr_assert_eq(vfio_user_version_answer(&own, &proposed, &answer, &l), 0);
	cr_assert_eq(answer.minor, 0);
	cr_assert_not(answer.write_multiple);
	cr_assert_not(answer.twin_socket);
	cr_assert_eq(answer.max_msg_fds, own.max_msg_fds);
	cr_assert_eq(l.max_msg_fds, 1);
	cr_assert_eq(l.max_data_xfer_size, own.max_data_xfer_size);
	proposed.minor = 99;
	cr_assert_eq(vfio_user_version_answer(&own, &proposed, &answer, &l), 0);
	cr_assert_eq(answer.minor, own.minor);
	proposed.major = 1;
	cr_assert_eq(vfio_user_version_answer(&own, &proposed, &answer, &l), -EINVAL);
}

Test(version, an_answer_that_was_not_proposed_is_refused)
{
	struct vfio_user_version own, answer;
	struct vfio_user_limits l;

	vfio_user_version_own(&own);
	answer = own;
	answer.max_msg_fds = 1000;
	cr_assert_eq(vfio_user_version_accept(&own, &answer, 0, &l), 0);
	cr_assert_eq(l.max_msg_fds, own.max_msg_fds);
	cr_assert_eq(vfio_user_version_accept(&own, &answer, 1, &l), -EPROTO);
	answer.minor++;
	cr_assert_eq(vfio_user_version_accept(&own, &answer, 0, &l), -EPROTO);
	answer = own;
	answer.major++;
	cr_assert_eq(vfio_user_version_accept(&own, &answer, 0, &l), -EPROTO);
	answer = own;
	answer.twin_socket = true;
	answer.twin_fd_index = 0;
	cr_assert_eq(vfio_user_version_accept(&own, &answer, 1, &l), -EPROTO);
	own.twin_socket = true;
	cr_assert_eq(vfio_user_version_accept(&own, &answer, 1, &l), 0);
	answer.twin_fd_index = 1;
	cr_assert_eq(vfio_user_version_accept(&own, &answer, 1, &l), -EPROTO);
	answer.twin_fd_index = -1;
	cr_assert_eq(vfio_user_version_accept(&own, &answer, 1, &l), -EPROTO);
}
