/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <string.h>

#include "devices/vfio/front/vector_plan.h"

#define COUNT 70

/* Criterion records each assertion, which is too much for the loops of random tests. */
#define must(what)                                                                                 \
	do {                                                                                       \
		if (!(what))                                                                       \
			cr_assert_fail("line %d: %s", __LINE__, #what);                            \
	} while (0)

static struct vector list[COUNT];
static struct vectors v;
static struct vector_steps steps;

static void begin(unsigned count, bool resizable)
{
	memset(list, 0, sizeof(list));
	for (unsigned i = 0; i < COUNT; i++)
		list[i] = (struct vector){.fd = -1, .masked = true};
	v = (struct vectors){.count = count, .list = list, .resizable = resizable, .limit = count};
}

static void program(unsigned i)
{
	list[i].message = (struct msi_message){0xfee00000, i + 1};
}

/* Do what the plan says, as a device and a KVM that never fail would. */
static void apply(void)
{
	switch (steps.device) {
	case VECTOR_DEVICE_KEEP:
		break;
	case VECTOR_DEVICE_DISABLE:
		v.device_enabled = false;
		v.granted = 0;
		for (unsigned i = 0; i < v.count; i++)
			list[i].has &= (uint8_t)~VECTOR_ARMED;
		break;
	case VECTOR_DEVICE_ENABLE:
		must(!v.device_enabled);
		v.device_enabled = true;
		v.granted = steps.allocate;
		break;
	case VECTOR_DEVICE_GROW:
		must(v.device_enabled);
		must(steps.allocate > v.granted);
		v.granted = steps.allocate;
		break;
	}
	for (unsigned i = 0; i < v.count; i++) {
		uint8_t todo = list[i].todo;

		if (todo & VECTOR_UNLINK) {
			must(list[i].has & VECTOR_LINKED);
			list[i].has &= (uint8_t)~VECTOR_LINKED;
		}
		if (todo & VECTOR_ARM) {
			must(!(list[i].has & VECTOR_ARMED));
			must(v.device_enabled);
			must(v.resizable || i < v.granted);
			must(i >= steps.arm_first);
			must(i < steps.arm_first + steps.arm_count);
			list[i].has |= VECTOR_ARMED;
		}
		if (todo & VECTOR_ROUTE) {
			must(steps.routes);
			list[i].has |= VECTOR_ROUTED;
			list[i].routed = list[i].message;
		}
		if (todo & VECTOR_UNROUTE) {
			must(steps.routes);
			list[i].has &= (uint8_t)~VECTOR_ROUTED;
		}
		if (todo & VECTOR_LINK) {
			must(steps.links);
			must(!(list[i].has & VECTOR_LINKED));
			must(list[i].has & VECTOR_ROUTED);
			must(list[i].has & VECTOR_ARMED);
			list[i].has |= VECTOR_LINKED;
		}
	}
}

static void plan(void)
{
	vector_plan(&v, &steps);
	apply();
}

static unsigned having(uint8_t bit)
{
	unsigned n = 0;

	for (unsigned i = 0; i < v.count; i++)
		n += !!(list[i].has & bit);
	return n;
}

Test(vector_plan, nothing_happens_before_the_guest_enables)
{
	begin(4, true);
	program(0);
	list[0].masked = false;
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_KEEP);
	cr_expect_eq(steps.arm_count, 0);
	cr_expect(!steps.links);
	cr_expect(!steps.routes);
}

Test(vector_plan, the_way_of_linux_takes_one_call_for_all_vectors)
{
	begin(COUNT, true);
	v.enabled = v.function_masked = true;
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_KEEP, "still programming");
	for (unsigned i = 0; i < 33; i++) {
		program(i);
		plan();
		cr_expect_eq(steps.device, VECTOR_DEVICE_KEEP);
		cr_expect_eq(steps.arm_count, 0);
	}
	v.function_masked = false;
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_ENABLE);
	cr_expect_eq(steps.allocate, 33);
	cr_expect_eq(steps.arm_first, 0);
	cr_expect_eq(steps.arm_count, 33);
	cr_expect_eq(having(VECTOR_ROUTED), 33);
	cr_expect_eq(having(VECTOR_LINKED), 0);
	for (unsigned i = 0; i < 33; i++) {
		list[i].masked = false;
		plan();
		cr_expect_eq(steps.device, VECTOR_DEVICE_KEEP);
		cr_expect_eq(steps.arm_count, 0);
		cr_expect(!steps.routes, "the route stands already");
		cr_expect(list[i].has & VECTOR_LINKED);
	}
}

Test(vector_plan, masking_takes_the_irqfd_and_nothing_else)
{
	begin(2, true);
	program(0);
	v.enabled = true;
	list[0].masked = false;
	plan();
	cr_assert_eq(list[0].has, VECTOR_ARMED | VECTOR_ROUTED | VECTOR_LINKED);
	list[0].masked = true;
	plan();
	cr_expect_eq(list[0].has, VECTOR_ARMED | VECTOR_ROUTED);
	cr_expect(!steps.routes);
	cr_expect_eq(steps.arm_count, 0);
	list[0].masked = false;
	plan();
	cr_expect_eq(list[0].has, VECTOR_ARMED | VECTOR_ROUTED | VECTOR_LINKED);
	cr_expect(!steps.routes);
}

Test(vector_plan, a_new_message_of_a_masked_vector_waits_for_its_unmask)
{
	begin(1, true);
	program(0);
	v.enabled = true;
	list[0].masked = false;
	plan();
	list[0].masked = true;
	plan();
	list[0].message.data = 99;
	plan();
	cr_expect(!steps.routes);
	list[0].masked = false;
	plan();
	cr_expect(steps.routes);
	cr_expect_eq(list[0].routed.data, 99);
}

Test(vector_plan, a_new_message_of_an_open_vector_is_routed_at_once)
{
	begin(1, true);
	program(0);
	v.enabled = true;
	list[0].masked = false;
	plan();
	list[0].message.address = 0xfee01000;
	plan();
	cr_expect(steps.routes);
	cr_expect(!steps.links);
	cr_expect_eq(list[0].routed.address, 0xfee01000);
}

Test(vector_plan, an_enable_without_vectors_reaches_the_device)
{
	begin(8, false);
	v.enabled = true;
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_ENABLE);
	cr_expect_eq(steps.allocate, 1);
	cr_expect_eq(steps.arm_count, 0);
}

Test(vector_plan, a_late_vector_is_added_alone_where_the_device_can)
{
	begin(COUNT, true);
	program(0);
	v.enabled = true;
	plan();
	program(40);
	list[40].masked = false;
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_KEEP);
	cr_expect_eq(steps.arm_first, 40);
	cr_expect_eq(steps.arm_count, 1);
	cr_expect(list[40].has & VECTOR_LINKED);
}

Test(vector_plan, a_late_vector_grows_the_block_where_the_device_cannot_add)
{
	begin(COUNT, false);
	program(0);
	program(1);
	v.enabled = true;
	list[1].masked = false;
	plan();
	cr_expect_eq(v.granted, 2);
	program(40);
	list[40].masked = false;
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_GROW);
	cr_expect_eq(steps.allocate, 41);
	cr_expect_eq(list[1].has, VECTOR_ARMED | VECTOR_ROUTED | VECTOR_LINKED);
	program(39);
	list[39].masked = false;
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_KEEP, "inside the block");
}

Test(vector_plan, vectors_the_host_could_not_give_are_left_alone)
{
	begin(8, false);
	for (unsigned i = 0; i < 8; i++) {
		program(i);
		list[i].masked = false;
	}
	v.enabled = true;
	v.limit = 3;
	plan();
	cr_expect_eq(steps.allocate, 3);
	cr_expect_eq(having(VECTOR_LINKED), 3);
	plan();
	cr_expect_eq(steps.arm_count, 0);
}

Test(vector_plan, a_failed_vector_is_not_tried_again_before_the_next_enable)
{
	begin(2, true);
	program(0);
	list[0].masked = false;
	list[0].has = VECTOR_FAILED;
	v.enabled = true;
	plan();
	cr_expect_eq(list[0].has, VECTOR_FAILED);
	cr_expect_eq(steps.arm_count, 0);
}

Test(vector_plan, an_enable_that_failed_is_made_good_by_the_next_vector)
{
	begin(4, false);
	program(0);
	v.enabled = true;
	vector_plan(&v, &steps); /* not applied: the device refused */
	list[0].has = VECTOR_FAILED;
	program(2);
	list[2].masked = false;
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_ENABLE);
	cr_expect_eq(steps.allocate, 3);
	cr_expect(list[2].has & VECTOR_LINKED);
}

Test(vector_plan, disable_takes_everything_back)
{
	begin(8, true);
	v.enabled = true;
	for (unsigned i = 0; i < 8; i++) {
		program(i);
		list[i].masked = i & 1;
	}
	plan();
	v.enabled = false;
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_DISABLE);
	for (unsigned i = 0; i < 8; i++)
		cr_expect_eq(list[i].has, 0);
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_KEEP);
	v.enabled = true;
	plan();
	cr_expect_eq(steps.device, VECTOR_DEVICE_ENABLE);
	cr_expect_eq(having(VECTOR_LINKED), 4);
}

Test(vector_plan, the_function_mask_silences_all_and_arms_nothing_anew)
{
	begin(4, true);
	v.enabled = true;
	for (unsigned i = 0; i < 4; i++) {
		program(i);
		list[i].masked = false;
	}
	plan();
	v.function_masked = true;
	plan();
	cr_expect_eq(having(VECTOR_LINKED), 0);
	cr_expect_eq(having(VECTOR_ARMED), 4, "they collect");
	v.function_masked = false;
	plan();
	cr_expect_eq(having(VECTOR_LINKED), 4);
	cr_expect_eq(steps.arm_count, 0);
}

Test(vector_plan, an_unmasked_entry_that_was_never_written_is_no_vector)
{
	begin(4, true);
	list[3].masked = false;
	v.enabled = true;
	plan();
	cr_expect_eq(list[3].has, 0);
}

static uint32_t seed;

static uint32_t draw(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % below;
}

Test(vector_plan, random_guests_end_with_exactly_what_they_asked_for)
{
	for (unsigned round = 0; round < 3000; round++) {
		seed = round;
		begin(1 + draw(COUNT), draw(2));
		if (draw(4) == 0)
			v.limit = 1 + draw(v.count);
		for (unsigned step = 0; step < 60; step++) {
			unsigned i = draw(v.count);

			switch (draw(6)) {
			case 0:
				v.enabled = draw(4) > 0;
				break;
			case 1:
				v.function_masked = draw(3) == 0;
				break;
			case 2:
				list[i].message.data = draw(1000);
				break;
			case 3:
				program(i);
				break;
			default:
				list[i].masked = draw(2);
				break;
			}
			plan();
			must(v.granted <= v.count);
			for (unsigned n = 0; n < v.count; n++) {
				bool wanted = vector_delivers(&v, &list[n]) && n < v.limit;

				must(!!(list[n].has & VECTOR_LINKED) == wanted);
				if (wanted)
					must(list[n].routed.data == list[n].message.data);
				if (!v.enabled)
					must(list[n].has == 0);
			}
			if (v.enabled && !v.function_masked)
				must(v.device_enabled);
			if (!v.enabled)
				must(!v.device_enabled);
		}
	}
}
