/* SPDX-License-Identifier: Apache-2.0 */
/* BARs that are mapped from files of another process, which may cut them under the guest. */
#include <fcntl.h>
#include <jansson.h>

#include "tests/unit/fake_front.h"

#define SECOND 1000000000ull

static int files[VFIO_PCI_NUM_REGIONS];

/* BAR @bar is mapped from a file of @size bytes, which cannot be sealed without MFD_ALLOW_SEALING. */
static void from_file(unsigned bar, off_t size, unsigned flags)
{
	files[bar] = memfd_create("bar", MFD_CLOEXEC | flags);
	cr_assert_eq(ftruncate(files[bar], size), 0);
	m.device.region_fds[bar] = files[bar] + 1;
}

static void cut(unsigned bar, off_t size)
{
	cr_assert_eq(ftruncate(files[bar], size), 0);
}

/* The guest uses its device, and its processors run. */
static void start(void)
{
	cr_assert_eq(machine_create(), 0);
	pci_function_set_bar(m.fn, 0, BAR0);
	pci_function_set_bar(m.fn, 2, BAR2);
	pci_function_set_bar(m.fn, 4, BAR4);
	set_command(6);
	journal_clear();
	fake_log_count = 0;
}

static void end(void)
{
	for (unsigned i = 0; i < VFIO_PCI_NUM_REGIONS; i++) {
		if (files[i])
			close(files[i]);
		files[i] = 0;
	}
	machine_end();
}

static bool status_of(unsigned bar, const char *key)
{
	json_t *status = vfio_function_status(m.vf), *each;
	bool value = false;
	size_t i;

	json_array_foreach(json_object_get(status, "bars"), i, each)
	{
		if (json_integer_value(json_object_get(each, "bar")) == (int)bar)
			value = json_is_true(json_object_get(each, key));
	}
	json_decref(status);
	return value;
}

Test(front_cut, a_file_that_is_cut_costs_its_bar_the_slots_within_a_second)
{
	machine_begin();
	from_file(0, 0x10000, 0);
	from_file(4, 0x100000, 0);
	start();
	cr_expect_eq(fake_slot_count(), 4);
	cr_expect_eq(fake_loop_step(m.loop, SECOND), 1, "it is looked at");
	cr_expect_eq(fake_slot_count(), 4, "and whole");
	cr_expect(status_of(4, "watched"));
	cr_expect(!status_of(2, "watched"));

	cut(4, 0xfffff);
	cr_expect_eq(fake_loop_step(m.loop, SECOND), 1);
	cr_expect_null(fake_slot_at(BAR4));
	cr_expect_eq(fake_slot_count(), 3, "the others keep theirs");
	cr_expect_eq(fake_peer_count, 2, "no device reaches it any more");
	cr_expect_eq(mem_read(BAR4 + 0x102, 2),
		     (0x102 + 4 * 17) % 256 | (0x103 + 4 * 17) % 256 << 8);
	cr_expect_eq(journal_times("read 4 0x102 2"), 1, "by message");
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, "its server cut the file behind BAR 4"), "%s",
			   fake_log_last);
	cr_expect(status_of(4, "distrusted"));
	cr_expect(!status_of(0, "distrusted"));

	/* It is not trusted again, long enough or not, and not looked at. */
	cut(4, 0x100000);
	set_command(0);
	set_command(6);
	cfg_write(0x88, 0x8000, 2); /* function level reset */
	pci_function_set_bar(m.fn, 0, BAR0);
	pci_function_set_bar(m.fn, 4, BAR4);
	set_command(6);
	cr_expect_null(fake_slot_at(BAR4));
	cr_expect_not_null(fake_slot_at(BAR0));
	cr_expect_eq(fake_peer_count, 2);
	cr_expect_eq(mem_read(BAR4 + 1, 1), 1 + 4 * 17);
	cut(0, 0);
	cr_expect_eq(fake_loop_step(m.loop, SECOND), 1);
	cr_expect_eq(fake_log_count, 2, "each is named once");
	cr_expect_null(fake_slot_at(BAR0));
	cr_expect_eq(fake_loop_step(m.loop, SECOND), 0, "there is nothing left to look at");
	end();
}

/* An access between the slot and what comes in its place. */
static unsigned answered;

static void access_meanwhile(uint64_t gpa)
{
	answered += mem_read(gpa + 1, 1) != 0xff;
}

Test(front_cut, no_access_of_the_guest_finds_nothing)
{
	machine_begin();
	from_file(0, 0x10000, 0);
	from_file(2, 0x100, 0);
	start();
	cut(0, 0);
	cut(2, 0xff);
	answered = 0;
	fake_slot_removed = access_meanwhile;
	fake_loop_step(m.loop, SECOND);
	fake_slot_removed = NULL;
	cr_expect_eq(answered, 3, "two areas of BAR 0, and the page of BAR 2");
	cr_expect_null(fake_slot_at(BAR2));
	cr_expect_eq(mem_read(BAR2 + 1, 1), 1 + 2 * 17);
	cr_expect_eq(fake_log_count, 2);
	end();
}

Test(front_cut, a_bar_that_is_nowhere_at_that_time_gets_no_slots_later)
{
	machine_begin();
	from_file(4, 0x100000, 0);
	start();
	set_command(0);
	cut(4, 0x1000);
	cr_expect_eq(fake_loop_step(m.loop, SECOND), 1);
	cr_expect_eq(fake_log_count, 1);
	set_command(6);
	cr_expect_null(fake_slot_at(BAR4));
	cr_expect_eq(mem_read(BAR4 + 5, 1), 5 + 4 * 17);
	end();
}

Test(front_cut, what_cannot_be_cut_is_not_looked_at)
{
	machine_begin();
	from_file(0, 0x10000, MFD_ALLOW_SEALING);
	m.device.region_fds[4] = open("/dev/zero", O_RDWR | O_CLOEXEC) + 1;
	files[4] = m.device.region_fds[4] - 1;
	start();
	cr_expect_eq(ftruncate(files[0], 0), -1, "it is sealed");
	cr_expect_eq(fake_loop_sources(m.loop), 1, "the timer of leaving");
	cr_expect_eq(fake_loop_step(m.loop, SECOND), 0);
	cr_expect(!status_of(0, "watched"));
	end();
}

Test(front_cut, a_bar_that_is_not_mapped_is_not_looked_at)
{
	machine_begin();
	from_file(4, 0x100000, 0);
	m.device.fail_named = "mmap 4";
	start();
	cr_expect_eq(fake_loop_sources(m.loop), 1);
	end();
}
