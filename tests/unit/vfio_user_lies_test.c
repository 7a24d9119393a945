/* SPDX-License-Identifier: Apache-2.0 */
/* The user provider against a server that lies, or dies. */
#include "tests/unit/user_client.h"

/* ---- lies ---- */

/* The answer to one command is spoilt by hook_kind, as the table says. */
struct lie {
	const char *name;
	uint16_t command;
	int expected; /* of the open; 0: the operation behind it fails */
	const char *says;
	void (*tell)(struct user_server *s, struct user_message *m);
};

#define LIE(name) static void name(struct user_server *s, struct user_message *m)

LIE(wrong_id)
{
	m->header.msg_id++;
	server_answer(s, m);
}

LIE(wrong_command)
{
	m->header.command = 99;
	server_reply(s, m, NULL, 0);
}

LIE(empty)
{
	server_reply(s, m, NULL, 0);
}

LIE(huge)
{
	const struct vfio_user_header header = {.msg_id = m->header.msg_id,
						.command = m->header.command,
						.msg_size = UINT32_MAX,
						.flags = VFIO_USER_FLAGS_REPLY};

	server_send(s, &header, NULL, 0, NULL, 0);
}

LIE(tiny)
{
	const struct vfio_user_header header = {.msg_id = m->header.msg_id,
						.command = m->header.command,
						.msg_size = 3,
						.flags = VFIO_USER_FLAGS_REPLY};

	server_send(s, &header, NULL, 0, NULL, 0);
}

LIE(half)
{
	const struct vfio_user_header header = {.msg_id = m->header.msg_id,
						.command = m->header.command,
						.msg_size = 32,
						.flags = VFIO_USER_FLAGS_REPLY};

	server_send(s, &header, "1234", 4, NULL, 0);
}

LIE(silence)
{
	(void)s, (void)m;
}

LIE(hang_up)
{
	(void)m;
	server_hang_up(s);
}

LIE(refusal)
{
	server_error(s, m, EPERM);
}

LIE(refusal_of_errno_0)
{
	server_error(s, m, 0);
}

LIE(refusal_of_any_errno)
{
	server_error(s, m, 123456789);
}

LIE(too_many_descriptors)
{
	int fds[20];

	for (unsigned i = 0; i < 20; i++)
		fds[i] = s->bar2;
	server_reply_fds(s, m, m->body, m->size, fds, 20);
}

LIE(flood)
{
	const struct vfio_user_header header = {.command = VFIO_USER_DMA_READ,
						.msg_size = sizeof(header) + 16};
	const struct vfio_user_dma_access access = {0, 8};

	(void)m;
	for (unsigned i = 0; i < 200000; i++)
		server_send(s, &header, &access, sizeof(access), NULL, 0);
	server_hang_up(s);
}

static void version(struct user_server *s, struct user_message *m, uint16_t major, uint16_t minor,
		    const char *text, size_t length)
{
	uint8_t body[5000] = {0};
	const struct vfio_user_version_header head = {major, minor};

	memcpy(body, &head, sizeof(head));
	memcpy(body + sizeof(head), text, length);
	server_reply(s, m, body, sizeof(head) + length);
}

LIE(major_1)
{
	version(s, m, 1, 0, "{}", 3);
}

LIE(minor_9)
{
	version(s, m, 0, 9, "{}", 3);
}

LIE(not_terminated)
{
	version(s, m, 0, 0, "{}", 2);
}

LIE(no_json)
{
	version(s, m, 0, 0, "{\"capa", 7);
}

LIE(no_descriptors)
{
	const char *text = "{\"capabilities\":{\"max_msg_fds\":0}}";

	version(s, m, 0, 0, text, strlen(text) + 1);
}

LIE(argsz_0)
{
	info(s, m, 0, 3, 9, 5);
}

LIE(million_regions)
{
	info(s, m, 16, 3, 1000000, 5);
}

LIE(million_irqs)
{
	info(s, m, 16, 3, 9, 1000000);
}

LIE(few_regions)
{
	info(s, m, 16, 3, 2, 5);
}

/* A lie about region @index; all others are told as they are. */
static void region(struct user_server *s, struct user_message *m, uint32_t index,
		   const struct vfio_region_info *told, const void *caps, size_t caps_size, int fd)
{
	struct vfio_region_info asked;
	uint8_t body[4096];

	memcpy(&asked, m->body, sizeof(asked));
	if (asked.index != index) {
		server_answer(s, m);
		return;
	}
	memcpy(body, told, sizeof(*told));
	if (caps_size)
		memcpy(body + sizeof(*told), caps, caps_size);
	server_reply_fds(s, m, body, sizeof(*told) + caps_size, &fd, fd >= 0);
}

LIE(odd_bar)
{
	const struct vfio_region_info told = {.argsz = 32, .flags = 3, .index = 1, .size = 0x3000};

	region(s, m, 1, &told, NULL, 0, -1);
}

LIE(endless_bar)
{
	const struct vfio_region_info told = {
		.argsz = 32, .flags = 3, .index = 1, .size = 1ull << 63};

	region(s, m, 1, &told, NULL, 0, -1);
}

LIE(odd_config)
{
	const struct vfio_region_info told = {.argsz = 32, .flags = 3, .index = 7, .size = 8192};

	region(s, m, 7, &told, NULL, 0, -1);
}

LIE(no_config)
{
	struct vfio_region_info asked;

	memcpy(&asked, m->body, sizeof(asked));
	if (asked.index == 7)
		server_error(s, m, EINVAL);
	else
		server_answer(s, m);
}

LIE(other_index)
{
	const struct vfio_region_info told = {.argsz = 32, .flags = 3, .index = 5, .size = 0x1000};

	region(s, m, 1, &told, NULL, 0, -1);
}

LIE(mappable_without_descriptor)
{
	const struct vfio_region_info told = {.argsz = 32, .flags = 7, .index = 1, .size = 0x1000};

	region(s, m, 1, &told, NULL, 0, -1);
}

LIE(short_file)
{
	const struct vfio_region_info told = {.argsz = 32, .flags = 7, .index = 1, .size = 0x8000};

	region(s, m, 1, &told, NULL, 0, s->bar2);
}

LIE(file_offset_beyond)
{
	const struct vfio_region_info told = {
		.argsz = 32, .flags = 7, .index = 1, .size = 0x1000, .offset = UINT64_MAX - 0xfff};

	region(s, m, 1, &told, NULL, 0, s->bar2);
}

LIE(greedy_argsz)
{
	const struct vfio_region_info told = {
		.argsz = UINT32_MAX, .flags = 15, .index = 1, .size = 0x4000};

	region(s, m, 1, &told, NULL, 0, s->bar2);
}

LIE(growing_argsz)
{
	struct vfio_region_info asked, told = {.flags = 15, .index = 1, .size = 0x4000};

	memcpy(&asked, m->body, sizeof(asked));
	told.argsz = asked.argsz + 8;
	region(s, m, 1, &told, NULL, 0, s->bar2);
}

/* Region 1 of 16 KiB with these capabilities, which begin at 32. */
static void caps(struct user_server *s, struct user_message *m, uint32_t cap_offset,
		 const void *bytes, size_t size)
{
	const struct vfio_region_info told = {.argsz = (uint32_t)(32 + size),
					      .flags = 15,
					      .index = 1,
					      .cap_offset = cap_offset,
					      .size = 0x4000};

	region(s, m, 1, &told, bytes, size, s->bar2);
}

struct sparse {
	struct vfio_region_info_cap_sparse_mmap head;
	struct vfio_region_sparse_mmap_area areas[2];
};

static void sparse(struct user_server *s, struct user_message *m, uint32_t count, uint64_t a,
		   uint64_t a_size, uint64_t b, uint64_t b_size)
{
	const struct sparse cap = {
		.head = {.header = {.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP, .version = 1},
			 .nr_areas = count},
		.areas = {{a, a_size}, {b, b_size}},
	};

	caps(s, m, 32, &cap, sizeof(cap));
}

LIE(overlapping_areas)
{
	sparse(s, m, 2, 0, 0x2000, 0x1000, 0x1000);
}

LIE(area_outside)
{
	sparse(s, m, 2, 0, 0x1000, 0x4000, 0x1000);
}

LIE(area_that_wraps)
{
	sparse(s, m, 2, 0, 0x1000, 0x1000, UINT64_MAX - 0xfff);
}

LIE(area_of_nothing)
{
	sparse(s, m, 2, 0, 0, 0x1000, 0x1000);
}

LIE(area_of_bytes)
{
	sparse(s, m, 2, 0, 0x800, 0x1000, 0x1000);
}

LIE(million_areas)
{
	sparse(s, m, 1000000, 0, 0x1000, 0x1000, 0x1000);
}

LIE(chain_outside)
{
	const struct vfio_info_cap_header header = {.id = 1, .version = 1};

	caps(s, m, 100000, &header, sizeof(header));
}

LIE(chain_in_a_circle)
{
	const struct vfio_info_cap_header header = {.id = 1, .version = 1, .next = 32};

	caps(s, m, 32, &header, sizeof(header));
}

LIE(million_vectors)
{
	struct vfio_irq_info told;

	memcpy(&told, m->body, sizeof(told));
	told.count = 1000000;
	server_reply(s, m, &told, sizeof(told));
}

LIE(other_irq)
{
	struct vfio_irq_info told;

	memcpy(&told, m->body, sizeof(told));
	told.index++;
	server_reply(s, m, &told, sizeof(told));
}

LIE(wrong_fd_index)
{
	struct {
		struct vfio_user_region_io_fds head;
		struct vfio_user_sub_region sub;
	} told = {{.argsz = 56, .count = 1}, {.size = 4, .fd_index = 9}};
	const struct vfio_user_region_io_fds *asked = (const void *)m->body;

	told.head.index = asked->index;
	if (asked->argsz < sizeof(told))
		server_reply(s, m, &told.head, sizeof(told.head));
	else
		server_reply_fds(s, m, &told, sizeof(told), &s->doorbell, 1);
}

LIE(count_too_large)
{
	struct vfio_user_region_access told;
	uint8_t body[64] = {0};

	memcpy(&told, m->body, sizeof(told));
	told.count += 4;
	memcpy(body, &told, sizeof(told));
	server_reply(s, m, body, sizeof(told) + told.count);
}

LIE(count_without_data)
{
	server_reply(s, m, m->body, sizeof(struct vfio_user_region_access));
}

LIE(descriptor_for_nothing)
{
	struct vfio_user_region_access told;
	uint8_t body[64] = {0};

	memcpy(&told, m->body, sizeof(told));
	memcpy(body, &told, sizeof(told));
	server_reply_fds(s, m, body, sizeof(told) + told.count, &s->bar2, 1);
}

LIE(nobody_asked)
{
	const struct vfio_user_header header = {.msg_id = 4711,
						.command = VFIO_USER_DMA_MAP,
						.msg_size = sizeof(header),
						.flags = VFIO_USER_FLAGS_REPLY};

	server_send(s, &header, NULL, 0, NULL, 0);
	server_answer(s, m);
}

static const struct lie lies[] = {
	{"wrong id", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", wrong_id},
	{"wrong command", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", wrong_command},
	{"empty", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", empty},
	{"huge", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", huge},
	{"tiny", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", tiny},
	{"half", VFIO_USER_VERSION, -ENODEV, "VERSION", half},
	{"silence", VFIO_USER_VERSION, -ENODEV, "did not answer VERSION within 1 s", silence},
	{"hang up", VFIO_USER_VERSION, -ENODEV, "ended the connection", hang_up},
	{"refusal", VFIO_USER_VERSION, -EPERM, "refuses version", refusal},
	{"major", VFIO_USER_VERSION, -EPROTO, "answers version 1.0", major_1},
	{"minor", VFIO_USER_VERSION, -EPROTO, "answers version 0.9", minor_9},
	{"text", VFIO_USER_VERSION, -EPROTO, "cannot be read", not_terminated},
	{"json", VFIO_USER_VERSION, -EPROTO, "cannot be read", no_json},
	{"no fds", VFIO_USER_VERSION, -EPROTO, "cannot be read", no_descriptors},
	{"20 fds", VFIO_USER_VERSION, -ENODEV, "no answer to VERSION", too_many_descriptors},
	{"flood", VFIO_USER_VERSION, -ENODEV, "", flood},

	{"info empty", VFIO_USER_DEVICE_GET_INFO, -ENODEV, "no answer to DEVICE_GET_INFO", empty},
	{"info argsz", VFIO_USER_DEVICE_GET_INFO, -ENODEV, "no answer to DEVICE_GET_INFO", argsz_0},
	{"info regions", VFIO_USER_DEVICE_GET_INFO, -EPROTO, "1000000 regions", million_regions},
	{"info irqs", VFIO_USER_DEVICE_GET_INFO, -EPROTO, "1000000 kinds", million_irqs},
	{"info few", VFIO_USER_DEVICE_GET_INFO, -EPROTO, "2 regions", few_regions},
	{"info errno", VFIO_USER_DEVICE_GET_INFO, -EIO, "does not say", refusal_of_errno_0},
	{"info odd errno", VFIO_USER_DEVICE_GET_INFO, -EIO, "does not say", refusal_of_any_errno},
	{"info hang up", VFIO_USER_DEVICE_GET_INFO, -ENODEV, "ended the connection", hang_up},

	{"region empty", VFIO_USER_DEVICE_GET_REGION_INFO, -ENODEV, "no answer", empty},
	{"region odd", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "no power of two", odd_bar},
	{"region endless", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "larger", endless_bar},
	{"region config", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "configuration", odd_config},
	{"region no config", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "configuration", no_config},
	{"region index", VFIO_USER_DEVICE_GET_REGION_INFO, -ENODEV, "no answer", other_index},
	{"region no fd", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "without a descriptor",
	 mappable_without_descriptor},
	{"region file", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "longer than the file",
	 short_file},
	{"region offset", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "longer than the file",
	 file_offset_beyond},
	{"region argsz", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "more capabilities",
	 greedy_argsz},
	{"region grows", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "more room", growing_argsz},
	{"sparse overlap", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "overlap", overlapping_areas},
	{"sparse outside", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "outside", area_outside},
	{"sparse wraps", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "outside", area_that_wraps},
	{"sparse nothing", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "pages", area_of_nothing},
	{"sparse bytes", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "pages", area_of_bytes},
	{"sparse million", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "than fit", million_areas},
	{"chain outside", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "leads nowhere",
	 chain_outside},
	{"chain circle", VFIO_USER_DEVICE_GET_REGION_INFO, -EPROTO, "leads nowhere",
	 chain_in_a_circle},
	{"irq vectors", VFIO_USER_DEVICE_GET_IRQ_INFO, -EPROTO, "1000000 vectors", million_vectors},
	{"irq index", VFIO_USER_DEVICE_GET_IRQ_INFO, -ENODEV, "no answer", other_irq},
	{"io fds index", VFIO_USER_DEVICE_GET_REGION_IO_FDS, -ENODEV, "no answer", wrong_fd_index},
	{"feature hang up", VFIO_USER_DEVICE_FEATURE, -ENODEV, "ended the connection", hang_up},
	{"map refused", VFIO_USER_DMA_MAP, -EPERM, "does not take the guest's memory", refusal},
	{"map hang up", VFIO_USER_DMA_MAP, -ENODEV, "ended the connection", hang_up},

	{"read empty", VFIO_USER_REGION_READ, 0, "no answer to REGION_READ", empty},
	{"read count", VFIO_USER_REGION_READ, 0, "no answer to REGION_READ", count_too_large},
	{"read no data", VFIO_USER_REGION_READ, 0, "no answer to REGION_READ", count_without_data},
	{"read fd", VFIO_USER_REGION_READ, 0, "no answer to REGION_READ", descriptor_for_nothing},
	{"read unasked", VFIO_USER_REGION_READ, 0, "no answer", nobody_asked},
	{"read silence", VFIO_USER_REGION_READ, 0, "did not answer REGION_READ", silence},
	{"read flood", VFIO_USER_REGION_READ, 0, "", flood},
};

static bool tell(struct user_server *s, struct user_message *m)
{
	const struct lie *lie = &lies[s->hook_kind];

	if (m->header.command != lie->command)
		return false;
	lie->tell(s, m);
	return true;
}

Test(user_lies, each_is_refused_with_one_message_and_harms_nothing, .timeout = 120)
{
	static const char *const keys[] = {"timeout", "1", NULL};
	uint32_t value;

	for (unsigned i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		struct user_server *s = server_start();
		struct client *c;
		int rc;

		s->hook = tell;
		s->hook_kind = i;
		c = client_new(s, keys);
		rc = client_open(c);
		cr_assert_eq(rc, lies[i].expected, "%s: %d", lies[i].name, rc);
		if (!rc) {
			/* An answer that came along with the lie is one. */
			while (vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)) != -ENODEV)
				cr_assert_eq(lies[i].tell, nobody_asked, "%s", lies[i].name);
			wait_for(&c->gone, 1);
			cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0)),
				     -ENODEV);
		}
		cr_assert_not_null(strstr(logged(c), lies[i].says), "%s: %s", lies[i].name,
				   logged(c));
		cr_assert_eq(lines(logged(c)), 1, "%s: %s", lies[i].name, logged(c));
		client_free(c);
		server_stop(s);
	}
}

/* ---- death at every message ---- */

static bool die_at(struct user_server *s, struct user_message *m)
{
	(void)m;
	if (s->messages != s->hook_at)
		return false;
	server_hang_up(s);
	return true;
}

/* Everything that a device is asked in its life; failures are no matter here. */
static void whole_life(struct client *c)
{
	struct vfio_device_feature_dma_logging_range range = {RAM_IOVA, RAM_SIZE};
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range};
	uint64_t bitmap = 0, iova = RAM_IOVA;
	struct vfio_device_feature_dma_logging_report report = {
		.iova = RAM_IOVA,
		.length = RAM_SIZE,
		.page_size = 4096,
		.bitmap = (uintptr_t)&bitmap,
	};
	int32_t fds[8];
	uint8_t bytes[64];
	int fd = -1, none = -1;

	for (unsigned i = 0; i < 8; i++)
		fds[i] = i == 5 ? -1 : eventfd(0, EFD_CLOEXEC);
	if (!client_open(c)) {
		vfio_device_read(c->vdev, bytes, 64, offset_of(c, 7));
		vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY);
		set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, 8, fds);
		feature(c, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			&control, sizeof(control));
		feature(c, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
			&report, sizeof(report));
		set_state(c, VFIO_DEVICE_STATE_STOP_COPY, &fd);
		vfio_device_mig_read(c->vdev, fd, bytes, sizeof(bytes));
		set_state(c, VFIO_DEVICE_STATE_RUNNING, &none);
		vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL);
		set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, NULL);
	}
	if (fd >= 0)
		close(fd);
	for (unsigned i = 0; i < 8; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

Test(user_lies, a_server_that_dies_at_any_message_is_said_once, .timeout = 120)
{
	unsigned messages = 0;

	/* How many there are, of a server that lives: more than a dozen, and it does not end early. */
	for (unsigned at = 1; at <= messages + 1; at++) {
		struct user_server *s = server_start();
		struct client *c = client_new(s, NULL);
		const bool lives = at == 1;

		s->hook = die_at;
		s->hook_at = lives ? UINT32_MAX : at - 1;
		whole_life(c);
		if (lives)
			messages = s->messages;
		cr_assert_gt(messages, 30, "%u", messages);
		cr_assert_eq(lines(logged(c)), lives ? 0 : 1, "at %u: %s", at - 1, logged(c));
		client_free(c);
		server_stop(s);
	}
}
