/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/fake_provider.h"

#define PROBE VFIO_DEVICE_FEATURE_PROBE
#define GET   VFIO_DEVICE_FEATURE_GET
#define SET   VFIO_DEVICE_FEATURE_SET

static struct fake_device *device(bool migration, bool log, uint32_t flags)
{
	struct fake_device *fake = fake_device_new("a");

	fake->vdev.mig_ops = migration ? &fake->mig_ops : NULL;
	fake->vdev.log_ops = log ? &fake->log_ops : NULL;
	fake->vdev.migration_flags = flags;
	fake->feature = -ENOTTY;
	cr_assert_eq(vfio_register_device(&fake->vdev), 0);
	cr_assert_eq(vfio_device_open(&fake->vdev, fake_ictx()), 0);
	fake->log[0] = '\0';
	return fake;
}

/* A feature call with @size bytes of @data; what comes back is in @data. */
static int call(struct fake_device *fake, uint32_t flags, void *data, size_t size)
{
	_Alignas(8) char buffer[512] = {0};
	struct vfio_device_feature *feature = (void *)buffer;
	int rc;

	feature->argsz = (uint32_t)(sizeof(*feature) + size);
	feature->flags = flags;
	if (size)
		memcpy(feature->data, data, size);
	rc = vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_FEATURE, feature);
	if (size)
		memcpy(data, feature->data, size);
	return rc;
}

Test(feature, check_feature_answers_every_combination_as_the_kernel)
{
	/* Written out from the kernel's text: who asks, what is there, what comes back. */
	for (uint32_t ask = 0; ask < 8; ask++) {
		for (uint32_t have = 0; have < 4; have++) {
			for (size_t argsz = 7; argsz < 10; argsz++) {
				const bool get = ask & 1, set = ask & 2, probe = ask & 4;
				const uint32_t flags =
					(get ? GET : 0) | (set ? SET : 0) | (probe ? PROBE : 0);
				const uint32_t ops = (have & 1 ? GET : 0) | (have & 2 ? SET : 0);
				int expected = 1;

				if ((get && !(have & 1)) || (set && !(have & 2)))
					expected = -EINVAL;
				else if (probe)
					expected = 0;
				else if ((!get && !set) || argsz < 8)
					expected = -EINVAL;
				cr_expect_eq(vfio_check_feature(flags, argsz, ops, 8), expected,
					     "ask %u have %u argsz %zu", ask, have, argsz);
			}
		}
	}
}

Test(feature, the_header_is_checked_as_in_the_kernel)
{
	struct fake_device *fake = device(true, true, 7);
	struct vfio_device_feature feature = {.argsz = 7, .flags = PROBE | 1};

	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_FEATURE, NULL), -EFAULT);
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_FEATURE, &feature), -EINVAL);
	feature.argsz = 8;
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_FEATURE, &feature), 0);
	for (int bit = 19; bit < 32; bit++) {
		feature.flags = PROBE | 1 | 1u << bit;
		cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_FEATURE, &feature),
			     -EINVAL);
	}
	feature.flags = GET | SET | 2;
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_FEATURE, &feature), -EINVAL);
	feature.flags = PROBE | GET | SET | 2;
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_FEATURE, &feature), 0);
	cr_expect_str_empty(fake->log);
	fake_device_done(fake);
}

Test(feature, without_ops_every_core_feature_is_enotty)
{
	static const uint32_t core[] = {1, 2, 6, 7, 8, 9};
	struct fake_device *fake = device(false, false, 0);

	for (size_t i = 0; i < sizeof(core) / sizeof(core[0]); i++)
		cr_expect_eq(call(fake, PROBE | core[i], NULL, 0), -ENOTTY, "feature %u", core[i]);
	cr_expect_eq(call(fake, PROBE | 12, NULL, 0), -EINVAL);
	cr_expect_str_empty(fake->log);
	fake_device_done(fake);
}

Test(feature, the_others_go_to_the_provider_with_the_size_of_the_payload)
{
	static const uint32_t others[] = {0, 3, 4, 5, 10, 11, 13, 500, 65535};
	struct fake_device *fake = device(true, true, 7);

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		char expected[64], payload[24] = {0};

		fake->log[0] = '\0';
		fake->feature = -(int)i;
		cr_expect_eq(call(fake, SET | others[i], payload, sizeof(payload)), -(int)i);
		snprintf(expected, sizeof(expected), "feature(%x,24)", SET | others[i]);
		cr_expect_str_eq(fake->log, expected);
	}
	fake->feature = 0;
	fake_device_done(fake);
}

Test(migration, flags_and_sizes_are_told)
{
	struct fake_device *fake = device(true, false, 5);
	struct vfio_device_feature_migration flags = {0};
	struct vfio_device_feature_mig_data_size size = {0};

	cr_expect_eq(call(fake, GET | 1, &flags, sizeof(flags)), 0);
	cr_expect_eq(flags.flags, 5);
	cr_expect_eq(call(fake, GET | 1, &flags, sizeof(flags) - 1), -EINVAL);
	cr_expect_eq(call(fake, SET | 1, &flags, sizeof(flags)), -EINVAL);
	cr_expect_eq(call(fake, GET | 9, &size, sizeof(size)), 0);
	cr_expect_eq(size.stop_copy_length, 0x123456789abcull);
	cr_expect_eq(call(fake, SET | 9, &size, sizeof(size)), -EINVAL);
	cr_expect_eq(call(fake, GET | 9, &size, 7), -EINVAL);
	fake_device_done(fake);
}

Test(migration, a_state_is_set_and_its_descriptor_comes_back)
{
	struct fake_device *fake = device(true, false, 1);
	struct vfio_device_feature_mig_state state = {.device_state = VFIO_DEVICE_STATE_STOP_COPY,
						      .data_fd = 99};

	fake->data_fd = 33;
	cr_expect_eq(call(fake, SET | 2, &state, sizeof(state)), 0);
	cr_expect_eq(state.data_fd, 33);
	cr_expect_eq(fake->vdev.last_state, VFIO_DEVICE_STATE_STOP_COPY);
	state = (struct vfio_device_feature_mig_state){.data_fd = 99};
	cr_expect_eq(call(fake, GET | 2, &state, sizeof(state)), 0);
	cr_expect_eq(state.device_state, VFIO_DEVICE_STATE_STOP_COPY);
	cr_expect_eq(state.data_fd, -1);
	cr_expect_eq(call(fake, GET | 2, &state, sizeof(state) - 1), -EINVAL);
	fake_device_done(fake);
}

Test(migration, a_state_the_device_does_not_have_never_reaches_it)
{
	static const uint32_t bad[] = {VFIO_DEVICE_STATE_ERROR,
				       VFIO_DEVICE_STATE_RUNNING_P2P,
				       VFIO_DEVICE_STATE_PRE_COPY,
				       VFIO_DEVICE_STATE_PRE_COPY_P2P,
				       8,
				       UINT32_MAX};
	struct fake_device *fake = device(true, false, 1);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vfio_device_feature_mig_state state = {.device_state = bad[i], .data_fd = 4};

		cr_expect_eq(call(fake, SET | 2, &state, sizeof(state)), -EINVAL);
		cr_expect_eq(state.data_fd, -1);
	}
	cr_expect_str_empty(fake->log);
	fake_device_done(fake);
}

Test(migration, a_failed_arc_asks_where_the_device_is_and_error_is_left_by_reset_only)
{
	struct fake_device *fake = device(true, false, 1);
	struct vfio_device_feature_mig_state state = {.device_state = VFIO_DEVICE_STATE_STOP};

	fake->set_state = -EIO;
	cr_expect_eq(call(fake, SET | 2, &state, sizeof(state)), -EIO);
	cr_expect_eq(state.data_fd, -1);
	cr_expect_eq(fake->vdev.last_state, VFIO_DEVICE_STATE_ERROR);
	cr_expect_str_eq(fake->log, "set(1)");

	fake->set_state = 0;
	state.device_state = VFIO_DEVICE_STATE_RUNNING;
	cr_expect_eq(call(fake, SET | 2, &state, sizeof(state)), -EINVAL);
	cr_expect_str_eq(fake->log, "set(1)", "a kernel device would make the host warn");

	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_RESET, NULL), 0);
	fake->state = VFIO_DEVICE_STATE_RUNNING;
	state.device_state = VFIO_DEVICE_STATE_STOP;
	cr_expect_eq(call(fake, SET | 2, &state, sizeof(state)), 0);
	fake_device_done(fake);
}

Test(migration, the_device_is_asked_whether_it_is_in_error)
{
	struct fake_device *fake = device(true, false, 1);
	struct vfio_device_feature_mig_state state = {.device_state = VFIO_DEVICE_STATE_STOP};

	/* By itself, of which the core does not know. */
	fake->state = VFIO_DEVICE_STATE_ERROR;
	cr_expect_eq(call(fake, SET | 2, &state, sizeof(state)), -EINVAL);
	cr_expect_eq(state.data_fd, -1);
	cr_expect_eq(fake->vdev.last_state, VFIO_DEVICE_STATE_ERROR);
	cr_expect_str_empty(fake->log, "a device in ERROR is never told to go anywhere");

	/* And out of it by an FLR of the guest, of which it does not know either. */
	fake->state = VFIO_DEVICE_STATE_RUNNING;
	cr_expect_eq(call(fake, SET | 2, &state, sizeof(state)), 0);
	cr_expect_str_eq(fake->log, "set(1)");

	fake->get_state = -EIO;
	cr_expect_eq(call(fake, SET | 2, &state, sizeof(state)), -EIO);
	cr_expect_str_eq(fake->log, "set(1)", "whose state is not known is left alone");
	fake_device_done(fake);
}

static ssize_t session_read(struct vfio_device *vdev, int data_fd, void *buffer, size_t count)
{
	(void)buffer;
	fake_say((struct fake_device *)vdev, "read(%d,%zu)", data_fd, count);
	return -ENOMSG;
}

static ssize_t session_write(struct vfio_device *vdev, int data_fd, const void *buffer,
			     size_t count)
{
	(void)buffer;
	fake_say((struct fake_device *)vdev, "write(%d,%zu)", data_fd, count);
	return (ssize_t)count;
}

Test(migration, data_go_by_the_descriptor_or_by_the_providers_ops)
{
	struct fake_device *fake = device(true, false, 1), *without = device(false, false, 0);
	char text[8] = "";
	int ends[2];

	cr_assert_eq(pipe(ends), 0);
	cr_expect_eq(vfio_device_mig_write(&fake->vdev, ends[1], "state", 5), 5);
	cr_expect_eq(vfio_device_mig_read(&fake->vdev, ends[0], text, sizeof(text)), 5);
	cr_expect_str_eq(text, "state");
	cr_expect_eq(vfio_device_mig_write(&fake->vdev, ends[0], "state", 5), -EBADF);
	cr_expect_eq(vfio_device_mig_read(&fake->vdev, ends[1], text, 1), -EBADF);
	close(ends[0]);
	close(ends[1]);

	fake->mig_ops.migration_read = session_read;
	fake->mig_ops.migration_write = session_write;
	cr_expect_eq(vfio_device_mig_read(&fake->vdev, 44, text, 8), -ENOMSG);
	cr_expect_eq(vfio_device_mig_write(&fake->vdev, 45, text, 8), 8);
	cr_expect_str_eq(fake->log, "read(44,8) write(45,8)");

	cr_expect_eq(vfio_device_mig_read(&without->vdev, 0, text, 1), -ENOTTY);
	cr_expect_eq(vfio_device_mig_write(&without->vdev, 0, text, 1), -ENOTTY);
	vfio_device_close(&fake->vdev);
	cr_expect_eq(vfio_device_mig_read(&fake->vdev, 44, text, 8), -EINVAL);
	cr_expect_eq(vfio_device_mig_write(&fake->vdev, 44, text, 8), -EINVAL);
	fake_device_done(fake);
	fake_device_done(without);
}

Test(migration, precopy_info_is_checked_as_in_the_kernel)
{
	struct fake_device *fake = device(true, false, 5), *plain = device(true, false, 1),
			   *without = device(false, false, 0);
	struct vfio_precopy_info info = {.argsz = sizeof(info) - 1, .flags = 0xffff};

	cr_expect_eq(vfio_device_mig_precopy_info(&without->vdev, 3, &info), -ENOTTY);
	cr_expect_eq(vfio_device_mig_precopy_info(&plain->vdev, 3, &info), -ENOTTY);
	cr_expect_eq(vfio_device_mig_precopy_info(&fake->vdev, 3, NULL), -EFAULT);
	cr_expect_eq(vfio_device_mig_precopy_info(&fake->vdev, 3, &info), -EINVAL);
	cr_expect_str_empty(fake->log);
	info.argsz = sizeof(info);
	cr_expect_eq(vfio_device_mig_precopy_info(&fake->vdev, 3, &info), 0);
	cr_expect_str_eq(fake->log, "precopy_info(3)");
	cr_expect_eq(info.initial_bytes, 77);
	cr_expect_eq(info.flags, 0);
	fake->precopy_info = -EINVAL;
	cr_expect_eq(vfio_device_mig_precopy_info(&fake->vdev, 3, &info), -EINVAL);
	vfio_device_close(&fake->vdev);
	cr_expect_eq(vfio_device_mig_precopy_info(&fake->vdev, 3, &info), -EINVAL);
	fake_device_done(fake);
	fake_device_done(plain);
	fake_device_done(without);
}

Test(migration, precopy_info_v2_needs_pre_copy_and_ends_with_the_close)
{
	struct fake_device *without = device(true, false, 3), *with = device(true, false, 5);

	cr_expect_eq(call(without, SET | 12, NULL, 0), -EINVAL);
	cr_expect_eq(call(without, PROBE | 12, NULL, 0), -EINVAL);
	cr_expect_eq(call(with, PROBE | 12, NULL, 0), 0);
	cr_expect_not(with->vdev.precopy_info_v2);
	cr_expect_eq(call(with, GET | 12, NULL, 0), -EINVAL);
	cr_expect_str_empty(with->log);
	with->feature = -EIO;
	cr_expect_eq(call(with, SET | 12, NULL, 0), -EIO);
	cr_expect_not(with->vdev.precopy_info_v2, "the device was not told");
	with->log[0] = '\0';
	with->feature = -ENOTTY;
	cr_expect_eq(call(with, SET | 12, NULL, 0), 0, "nobody else wants to know");
	cr_expect_str_eq(with->log, "feature(2000c,0)");
	cr_expect(with->vdev.precopy_info_v2);
	vfio_device_close(&with->vdev);
	cr_expect_not(with->vdev.precopy_info_v2);
	fake_device_done(without);
	fake_device_done(with);
}

static int log_start(struct fake_device *fake, uint64_t page_size, uint32_t count,
		     struct vfio_device_feature_dma_logging_range *ranges)
{
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = page_size, .num_ranges = count, .ranges = (uintptr_t)ranges};

	return call(fake, SET | 6, &control, sizeof(control));
}

Test(dma_log, ranges_are_checked_as_in_the_kernel)
{
	static const struct {
		uint64_t page_size;
		uint32_t count;
		struct vfio_device_feature_dma_logging_range ranges[3];
		int expected;
	} table[] = {
		{4096, 1, {{0, 4096}}, 0},
		{4096, 2, {{0, 4096}, {4096, 4096}}, 0},
		{4096, 3, {{0x8000, 0x1000}, {0, 0x1000}, {0x4000, 0x4000}}, 0},
		{4096, 0, {{0, 4096}}, -EINVAL},
		{4096, 257, {{0, 4096}}, -E2BIG},
		{4096, 1, {{1, 4096}}, -EINVAL},
		{4096, 1, {{0, 4095}}, -EINVAL},
		{8192, 1, {{4096, 8192}}, -EINVAL},
		{0, 1, {{0, 4096}}, -EINVAL},
		{12288, 1, {{0, 12288}}, -EINVAL},
		{4096, 1, {{0, 0}}, -EINVAL},
		{4096, 1, {{0xfffffffffffff000, 0x1000}}, -EOVERFLOW},
		{4096, 1, {{0xffffffffffffe000, 0x1000}}, 0},
		{4096, 1, {{0x1000, 0xfffffffffffff000}}, -EOVERFLOW},
		{4096, 2, {{0, 8192}, {4096, 4096}}, -EINVAL},
		{4096, 2, {{4096, 4096}, {0, 8192}}, -EINVAL},
		{4096, 2, {{4096, 4096}, {4096, 4096}}, -EINVAL},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct vfio_device_feature_dma_logging_range ranges[257];
		struct fake_device *fake = device(false, true, 0);

		memset(ranges, 0, sizeof(ranges));
		memcpy(ranges, table[i].ranges, sizeof(table[i].ranges));
		cr_expect_eq(log_start(fake, table[i].page_size, table[i].count, ranges),
			     table[i].expected, "row %zu", i);
		cr_expect_eq(fake->vdev.dma_logging, !table[i].expected, "row %zu", i);
		cr_expect_str_eq(fake->log, table[i].expected ? "" : "log_start");
		fake_device_done(fake);
	}
}

Test(dma_log, ranges_arrive_sorted_and_the_page_size_comes_back)
{
	struct vfio_device_feature_dma_logging_range ranges[] = {{0x8000, 0x1000}, {0, 0x1000}};
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = 4096, .num_ranges = 2, .ranges = (uintptr_t)ranges};
	struct fake_device *fake = device(false, true, 0);

	cr_expect_eq(call(fake, SET | 6, &control, sizeof(control)), 0);
	cr_expect_eq(control.page_size, 8192);
	cr_expect_eq(fake->range_count, 2);
	cr_expect_eq(fake->ranges[0].iova, 0);
	cr_expect_eq(fake->ranges[1].iova, 0x8000);
	cr_expect_eq(ranges[0].iova, 0x8000, "the user's array is not touched");
	control.ranges = 0;
	cr_expect_eq(call(fake, SET | 6, &control, sizeof(control)), -EFAULT);
	cr_expect_eq(call(fake, GET | 6, &control, sizeof(control)), -EINVAL);
	cr_expect_eq(call(fake, SET | 6, &control, sizeof(control) - 1), -EINVAL);
	fake_device_done(fake);
}

Test(dma_log, wrong_order_is_refused_never_undefined)
{
	struct vfio_device_feature_dma_logging_range range = {0, 0x10000};
	struct fake_device *fake = device(false, true, 0);
	uint64_t bitmap = 0;
	struct vfio_device_feature_dma_logging_report report = {
		.length = 0x10000, .page_size = 4096, .bitmap = (uintptr_t)&bitmap};

	cr_expect_eq(call(fake, GET | 8, &report, sizeof(report)), -EINVAL);
	cr_expect_eq(call(fake, SET | 7, NULL, 0), -EINVAL);
	fake->log_start_rc = -ENOMEM;
	cr_expect_eq(log_start(fake, 4096, 1, &range), -ENOMEM);
	cr_expect_eq(call(fake, SET | 7, NULL, 0), -EINVAL);
	fake->log_start_rc = 0;
	cr_expect_eq(log_start(fake, 4096, 1, &range), 0);
	cr_expect_eq(log_start(fake, 4096, 1, &range), -EBUSY);
	cr_expect_eq(call(fake, GET | 8, &report, sizeof(report)), 0);
	cr_expect_eq(bitmap, 1);
	cr_expect_eq(call(fake, GET | 7, NULL, 0), -EINVAL);
	cr_expect_eq(call(fake, SET | 7, NULL, 0), 0);
	cr_expect_eq(call(fake, SET | 7, NULL, 0), -EINVAL);
	cr_expect_str_eq(fake->log, "log_start log_start log_read log_stop");
	fake_device_done(fake);
}

Test(dma_log, reports_are_checked)
{
	static const struct {
		uint64_t iova, length, page_size;
		bool bitmap;
		int expected;
	} table[] = {
		{0, 0x1000, 4096, true, 0},
		{0, 0x100000, 65536, true, 0},
		{0, 0x1000, 2048, true, -EINVAL},
		{0, 0x1000, 0, true, -EINVAL},
		{0, 0x3000, 12288, true, -EINVAL},
		{0, 0, 4096, true, -EINVAL},
		{UINT64_MAX, 1, 4096, true, -EOVERFLOW},
		{0x1000, UINT64_MAX, 4096, true, -EOVERFLOW},
		{0, 0x1000, 4096, false, -EFAULT},
	};
	struct vfio_device_feature_dma_logging_range range = {0, 0x100000};
	struct fake_device *fake = device(false, true, 0);
	uint64_t bitmap[8] = {0};

	cr_assert_eq(log_start(fake, 4096, 1, &range), 0);
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct vfio_device_feature_dma_logging_report report = {
			.iova = table[i].iova,
			.length = table[i].length,
			.page_size = table[i].page_size,
			.bitmap = table[i].bitmap ? (uintptr_t)bitmap : 0};

		cr_expect_eq(call(fake, GET | 8, &report, sizeof(report)), table[i].expected,
			     "row %zu", i);
	}
	fake_device_done(fake);
}

/* ---- region info ---- */

struct fake_cap {
	struct vfio_info_cap_header header;
	uint32_t words[3];
};

Test(region_info, without_capabilities_the_structure_is_all)
{
	struct fake_device *fake = device(false, false, 0);
	struct vfio_region_info info = {.argsz = sizeof(info), .index = 3};

	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_GET_REGION_INFO, &info), 0);
	cr_expect_eq(info.size, 0x1000);
	cr_expect_eq(info.flags, VFIO_REGION_INFO_FLAG_READ);
	cr_expect_eq(info.cap_offset, 0);
	info.argsz = sizeof(info) - 1;
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_GET_REGION_INFO, &info), -EINVAL);
	info = (struct vfio_region_info){.argsz = sizeof(info), .index = 9};
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_GET_REGION_INFO, &info), -EINVAL);
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_GET_REGION_INFO, NULL), -EFAULT);
	fake_device_done(fake);
}

Test(region_info, a_short_structure_learns_how_much_room_it_needs)
{
	struct fake_device *fake = device(false, false, 0);
	struct fake_cap cap = {.header = {.id = 3, .version = 1}, .words = {7, 8, 9}};
	struct {
		struct vfio_region_info info;
		struct fake_cap cap;
	} reply = {.info = {.argsz = sizeof(reply.info)}};

	fake->cap = &cap.header;
	fake->cap_size = sizeof(cap);
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_GET_REGION_INFO, &reply.info), 0);
	cr_expect(reply.info.flags & VFIO_REGION_INFO_FLAG_CAPS);
	cr_expect_eq(reply.info.argsz, sizeof(reply.info) + 24);
	cr_expect_eq(reply.info.cap_offset, 0);
	cr_expect_eq(reply.cap.header.id, 0);

	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_GET_REGION_INFO, &reply.info), 0);
	cr_expect_eq(reply.info.cap_offset, sizeof(reply.info));
	cr_expect_eq(reply.cap.header.id, 3);
	cr_expect_eq(reply.cap.header.next, 0);
	cr_expect_eq(reply.cap.words[2], 9);
	fake_device_done(fake);
}

Test(region_info, a_chain_is_copied_link_by_link)
{
	/* As a kernel returns it: 32 bytes, then two capabilities, the second at 56. */
	_Alignas(8) uint8_t reply[96] = {0};
	struct vfio_info_cap_header first = {.id = 1, .version = 1, .next = 56},
				    second = {.id = 3, .version = 2, .next = 0}, out;
	struct vfio_info_cap caps = {0};

	memcpy(reply + 32, &first, sizeof(first));
	memset(reply + 40, 0x11, 16);
	memcpy(reply + 56, &second, sizeof(second));
	memset(reply + 64, 0x22, 32);
	cr_assert_eq(vfio_info_add_chain(&caps, reply, sizeof(reply), 32), 0);
	cr_expect_eq(caps.size, 64);
	memcpy(&out, caps.buf, sizeof(out));
	cr_expect_eq(out.id, 1);
	cr_expect_eq(out.next, 24);
	memcpy(&out, (uint8_t *)caps.buf + 24, sizeof(out));
	cr_expect_eq(out.id, 3);
	cr_expect_eq(out.version, 2);
	cr_expect_eq(out.next, 0);
	cr_expect_eq(((uint8_t *)caps.buf)[63], 0x22);
	vfio_info_cap_free(&caps);
	cr_expect_null(caps.buf);
}

Test(region_info, a_hostile_chain_is_refused)
{
	static const struct {
		uint32_t offset, next;
		size_t size;
	} table[] = {
		{32, 32, 64},         /* onto itself */
		{32, 8, 64},          /* backwards */
		{32, 36, 64},         /* into its own header */
		{32, 65, 64},         /* past the end */
		{32, 62, 64},         /* unaligned */
		{32, 60, 64},         /* half a header at the end */
		{32, 0xfffffff8, 64}, /* far away */
		{60, 0, 64},          /* the first one cut short */
		{33, 0, 64},          /* unaligned start */
		{0xfffffffc, 0, 64},  /* start far away */
		{64, 0, 64},          /* start at the end */
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		_Alignas(8) uint8_t reply[128] = {0};
		struct vfio_info_cap_header header = {.id = 1, .version = 1, .next = table[i].next};
		struct vfio_info_cap caps = {0};

		if (table[i].offset < 100)
			memcpy(reply + table[i].offset, &header, sizeof(header));
		cr_expect_eq(vfio_info_add_chain(&caps, reply, table[i].size, table[i].offset),
			     -EINVAL, "row %zu", i);
		vfio_info_cap_free(&caps);
	}
}
