/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "devices/vfio/front/doorbell_plan.h"

#define AT 0xc0000000u

/* A BAR of 64 KiB: registers, a mapping in the middle, the MSI-X table in the last page. */
static const struct bar_layout layout = {
	.kind = PCI_BAR_MEM32,
	.size = 0x10000,
	.area_count = 1,
	.areas = {{0x4000, 0x4000}},
};

static struct doorbell_input input(const struct vfio_region_ioeventfd *list, unsigned count)
{
	return (struct doorbell_input){
		.address = AT,
		.layout = &layout,
		.region_size = 0xff00,
		.writable = true,
		.table = {0xf000, 0x400},
		.pba = {0xf800, 8},
		.list = list,
		.count = count,
	};
}

/* Why one entry alone is left out; NULL: it is taken. */
static const char *why(uint64_t offset, uint32_t size, bool match, uint64_t datamatch)
{
	const struct vfio_region_ioeventfd bell = {
		.offset = offset, .size = size, .fd = 5, .match = match, .datamatch = datamatch};
	const struct doorbell_input in = input(&bell, 1);
	struct doorbell out[1];
	const char *reason;
	const unsigned taken = doorbell_plan_make(&in, out, &reason);

	cr_expect_eq(taken, reason ? 0 : 1);
	if (taken) {
		cr_expect_eq(out[0].address, AT + offset);
		cr_expect_eq(out[0].size, size);
		cr_expect_eq(out[0].fd, 5);
		cr_expect_eq(out[0].match, match);
		cr_expect_eq(out[0].datamatch, match ? datamatch : 0);
		cr_expect(!out[0].pio);
	}
	return reason;
}

static void refused(const char *reason, const char *words)
{
	cr_assert_not_null(reason, "%s", words);
	cr_expect_not_null(strstr(reason, words), "%s", reason);
}

Test(doorbell_plan, registers_take_every_width_and_value)
{
	static const uint32_t sizes[] = {0, 1, 2, 4, 8};

	for (unsigned i = 0; i < 5; i++)
		cr_expect_null(why(0x1000, sizes[i], false, 0));
	cr_expect_null(why(0x1000, 1, true, 0xff));
	cr_expect_null(why(0x1000, 4, true, 0xffffffff));
	cr_expect_null(why(0x1000, 8, true, UINT64_MAX));
	cr_expect_null(why(0x1002, 4, false, 0), "KVM compares addresses, aligned or not");
	cr_expect_null(why(0x1000, 4, false, UINT64_MAX), "a value that is not looked at");
}

Test(doorbell_plan, what_no_write_can_be_is_left_out)
{
	refused(why(0x1000, 3, false, 0), "malformed");
	refused(why(0x1000, 16, false, 0), "malformed");
	refused(why(0x1000, UINT32_MAX, false, 0), "malformed");
	refused(why(0x1000, 0, true, 1), "value");
	refused(why(0x1000, 1, true, 0x100), "value");
	refused(why(0x1000, 4, true, 0x100000000), "value");
}

Test(doorbell_plan, a_descriptor_that_is_none_is_left_out)
{
	const struct vfio_region_ioeventfd bell = {.offset = 0x1000, .size = 4, .fd = -1};
	const struct doorbell_input in = input(&bell, 1);
	struct doorbell out[1];

	cr_expect_eq(doorbell_plan_make(&in, out, NULL), 0);
}

Test(doorbell_plan, nothing_over_a_mapping)
{
	cr_expect_null(why(0x3ffc, 4, false, 0));
	refused(why(0x3ffd, 4, false, 0), "mapping");
	refused(why(0x4000, 4, false, 0), "mapping");
	refused(why(0x7fff, 1, false, 0), "mapping");
	cr_expect_null(why(0x8000, 8, false, 0));
	refused(why(0x3ffc, 0, false, 0), "mapping");
	cr_expect_null(why(0x3ff8, 0, false, 0));
}

Test(doorbell_plan, nothing_over_msix)
{
	cr_expect_null(why(0xeffc, 4, false, 0));
	refused(why(0xeffe, 4, false, 0), "MSI-X");
	refused(why(0xf3fc, 4, false, 0), "MSI-X");
	cr_expect_null(why(0xf400, 4, false, 0));
	refused(why(0xf804, 4, false, 0), "MSI-X");
	cr_expect_null(why(0xf808, 4, false, 0));
}

Test(doorbell_plan, nothing_beyond_the_region)
{
	cr_expect_null(why(0xfefc, 4, false, 0));
	refused(why(0xfefd, 4, false, 0), "outside");
	refused(why(0xff00, 1, false, 0), "outside");
	refused(why(0x10000, 4, false, 0), "outside");
	refused(why(UINT64_MAX, 4, false, 0), "outside");
	refused(why(UINT64_MAX, 0, false, 0), "outside");
	cr_expect_null(why(0xfeff, 0, false, 0), "a byte may be written there");
}

Test(doorbell_plan, a_bar_as_a_whole)
{
	const struct vfio_region_ioeventfd bell = {.offset = 0x10, .size = 4, .fd = 5};
	struct doorbell_input in = input(&bell, 1);
	struct bar_layout other = layout;
	struct doorbell out[1];
	const char *reason;

	in.layout = &other;
	in.address = PCI_BAR_NONE;
	cr_expect_eq(doorbell_plan_make(&in, out, &reason), 0);
	refused(reason, "nowhere");
	in.address = AT;
	in.writable = false;
	cr_expect_eq(doorbell_plan_make(&in, out, &reason), 0);
	refused(reason, "written");
	in.writable = true;
	other.sub_page = true;
	cr_expect_eq(doorbell_plan_make(&in, out, &reason), 0);
	refused(reason, "page of its own");
	other.sub_page = false;
	other.kind = PCI_BAR_IO;
	in.address = 0xe000;
	cr_expect_eq(doorbell_plan_make(&in, out, &reason), 1);
	cr_expect(out[0].pio);
	cr_expect_eq(out[0].address, 0xe010);
}

Test(doorbell_plan, of_those_that_kvm_takes_for_the_same_the_first_wins)
{
	const struct vfio_region_ioeventfd list[] = {
		{.offset = 0x10, .size = 4, .fd = 5, .match = true, .datamatch = 1},
		{.offset = 0x10, .size = 4, .fd = 6, .match = true, .datamatch = 2},
		{.offset = 0x10, .size = 4, .fd = 7, .match = true, .datamatch = 1},
		{.offset = 0x10, .size = 4, .fd = 8},
		{.offset = 0x10, .size = 2, .fd = 9},
		{.offset = 0x10, .size = 0, .fd = 10},
		{.offset = 0x4000, .size = 4, .fd = 11},
		{.offset = 0x14, .size = 0, .fd = 12},
		{.offset = 0x14, .size = 8, .fd = 13},
	};
	const struct doorbell_input in = input(list, 9);
	struct doorbell out[9];
	const char *reasons[9];

	cr_assert_eq(doorbell_plan_make(&in, out, reasons), 4);
	cr_expect_eq(out[0].fd, 5);
	cr_expect_eq(out[1].fd, 6);
	cr_expect_eq(out[2].fd, 9);
	cr_expect_eq(out[3].fd, 12);
	refused(reasons[2], "same write");
	refused(reasons[3], "same write");
	refused(reasons[5], "same write");
	refused(reasons[6], "mapping");
	refused(reasons[8], "same write");
}

Test(doorbell_plan, a_flood_is_cut)
{
	static struct vfio_region_ioeventfd list[DOORBELL_MAX + 10];
	static struct doorbell out[DOORBELL_MAX];
	struct doorbell_input in;

	for (unsigned i = 0; i < DOORBELL_MAX + 10; i++)
		list[i] = (struct vfio_region_ioeventfd){.offset = 4 * i, .size = 4, .fd = 5};
	in = input(list, DOORBELL_MAX + 10);
	cr_expect_eq(doorbell_plan_make(&in, out, NULL), DOORBELL_MAX);
}
