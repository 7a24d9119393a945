/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/resource.h>

#include "tests/unit/fake_front.h"

#define ENABLE  0x8000
#define MASKALL 0x4000

static void start_enabled(void)
{
	machine_start();
	set_command(6);
	journal_clear();
}

static void control(uint16_t value)
{
	cfg_write(0x42, value, 2);
}

static void fire(unsigned vector)
{
	cr_assert_geq(trigger_of(vector), 0, "vector %u has no trigger", vector);
	eventfd_write(trigger_of(vector), 1);
}

/* As Linux does: enable masked, program all, unmask the function, then the vectors in use. */
static void linux_enable(unsigned programmed, unsigned used)
{
	control(ENABLE | MASKALL);
	for (unsigned i = 0; i < programmed; i++)
		program_vector(i, 0xfee00000, 0x20 + i);
	control(ENABLE);
	for (unsigned i = 0; i < used; i++)
		mask_vector(i, false);
}

Test(front_msix, the_way_of_linux_costs_one_call_to_the_device_and_one_commit)
{
	start_enabled();
	linux_enable(20, 20);
	cr_expect_eq(journal_times("irqs msix trigger"), 1);
	cr_expect_neq(journal_find("irqs msix trigger 0+20", 0), -1);
	cr_expect_eq(journal_times("commit"), 1);
	cr_expect_eq(journal_times("irqfd+"), 20);
	for (unsigned i = 0; i < 20; i++)
		cr_expect_eq(delivers(i), 0x20 + i);
	machine_end();
}

Test(front_msix, the_pin_is_off_before_the_vectors_are_on)
{
	start_enabled();
	cr_expect_eq(m.device.irq_type, VFIO_PCI_INTX_IRQ_INDEX);
	linux_enable(2, 2);
	cr_expect(journal_order("irqs intx off", "irqfd-", "irqs msix trigger", NULL));
	journal_clear();
	control(0);
	cr_expect(journal_order("irqfd- 24", "irqs msix off", "irqfd+ 17 resample",
				"irqs intx trigger", "irqs intx unmask", NULL));
	machine_end();
}

Test(front_msix, a_masked_vector_collects_shows_pending_and_delivers_when_unmasked)
{
	start_enabled();
	linux_enable(4, 4);
	mask_vector(2, true);
	cr_expect_eq(delivers(2), -1);
	cr_expect_eq(mem_read(PBA, 8), 0);
	fire(2);
	cr_expect_eq(mem_read(PBA, 8), 4);
	cr_expect_eq(mem_read(PBA, 1), 4);
	cr_expect_eq(mem_read(PBA + 1, 1), 0);
	cr_expect_eq(mem_read(PBA + 4, 4), 0);
	journal_clear();
	mask_vector(2, false);
	cr_expect_eq(delivers(2), 0x22);
	cr_expect_eq(mem_read(PBA, 8), 0);
	cr_expect_eq(journal_times("irqs"), 0, "the device is not asked");
	cr_expect_eq(journal_times("commit"), 0);
	machine_end();
}

Test(front_msix, the_function_mask_collects_for_all)
{
	start_enabled();
	linux_enable(20, 20);
	control(ENABLE | MASKALL);
	cr_expect_eq(fake_irqfd_count(), 0);
	fire(0);
	fire(19);
	cr_expect_eq(mem_read(PBA, 8), 0x80001);
	control(ENABLE);
	cr_expect_eq(fake_irqfd_count(), 20);
	cr_expect_eq(mem_read(PBA, 8), 0);
	machine_end();
}

Test(front_msix, pending_bits_of_vectors_without_a_trigger_are_the_devices_own)
{
	start_enabled();
	linux_enable(2, 2);
	m.device.regions[0].bytes[0x3000] = 0x30;
	cr_expect_eq(mem_read(PBA, 4), 0x30);
	mask_vector(0, true);
	fire(0);
	cr_expect_eq(mem_read(PBA, 4), 0x31);
	mem_write(PBA, 0, 8);
	cr_expect_eq(mem_read(PBA, 4), 0x31, "read-only");
	cr_expect_eq(journal_times("write 0"), 0);
	machine_end();
}

Test(front_msix, control_is_decoded_by_overlap)
{
	static const struct {
		uint32_t offset, value;
		unsigned size;
	} ways[] = {
		{0x42, 0x8000, 2},
		{0x43, 0x80, 1},
		{0x40, 0x80000000, 4},
	};

	for (unsigned i = 0; i < 3; i++) {
		start_enabled();
		program_vector(0, 0xfee00000, 0x99);
		mask_vector(0, false);
		cfg_write(ways[i].offset, ways[i].value, ways[i].size);
		cr_expect_eq(delivers(0), 0x99, "way %u", i);
		cfg_write(ways[i].offset, 0, ways[i].size);
		cr_expect_eq(m.device.irq_type, VFIO_PCI_INTX_IRQ_INDEX, "way %u", i);
		machine_end();
	}
}

Test(front_msix, the_table_takes_any_width_and_keeps_reserved_bits_zero)
{
	start_enabled();
	mem_write(TABLE, 0x1122334455667788, 8);
	mem_write(TABLE + 8, 0xffffffff000000aa, 8);
	cr_expect_eq(mem_read(TABLE, 8), 0x1122334455667788 & ~3ull);
	cr_expect_eq(mem_read(TABLE + 8, 8), 0x00000001000000aa);
	mem_write(TABLE + 9, 0xbb, 1);
	cr_expect_eq(mem_read(TABLE + 8, 4), 0xbbaa);
	mem_write(TABLE, 0xffff, 2);
	cr_expect_eq(mem_read(TABLE, 2), 0xfffc);
	cr_expect_eq(journal_times("write 0"), 0);
	machine_end();
}

Test(front_msix, a_new_message_of_an_open_vector_is_one_commit)
{
	start_enabled();
	linux_enable(1, 1);
	journal_clear();
	mem_write(TABLE + 8, 0x77, 4);
	cr_expect_eq(delivers(0), 0x77);
	cr_expect_eq(journal_times("commit"), 1);
	cr_expect_eq(journal_times("irq"), 0);
	machine_end();
}

Test(front_msix, a_late_vector_of_a_device_that_can_add_disturbs_none)
{
	start_enabled();
	linux_enable(2, 2);
	journal_clear();
	program_vector(15, 0xfee00000, 0xaa);
	mask_vector(15, false);
	cr_expect_neq(journal_find("irqs msix trigger 15+1", 0), -1);
	cr_expect_eq(journal_times("irqs"), 1);
	cr_expect_eq(delivers(15), 0xaa);
	machine_end();
}

Test(front_msix, a_late_vector_of_a_device_that_cannot_add_signals_the_others_once)
{
	int before;

	machine_start();
	m.vf->irqs.msix_resizable = false;
	m.device.irq_flags[VFIO_PCI_MSIX_IRQ_INDEX] |= VFIO_IRQ_INFO_NORESIZE;
	set_command(6);
	linux_enable(2, 2);
	mask_vector(1, true);
	before = trigger_of(0);
	journal_clear();
	program_vector(15, 0xfee00000, 0xaa);
	mask_vector(15, false);
	cr_expect(journal_order("irqs msix off", "irqs msix trigger 0+16", NULL));
	cr_expect_eq(trigger_of(0), before, "the same eventfd");
	cr_expect_eq(delivers(15), 0xaa);
	cr_expect_eq(delivers(0), 0x20);
	cr_expect_eq(mem_read(PBA, 8), 2, "what may have been lost is made good");
	machine_end();
}

Test(front_msix, a_host_short_of_vectors_gives_what_it_has)
{
	start_enabled();
	m.device.available = 5;
	linux_enable(20, 20);
	cr_expect(journal_order("irqs msix trigger 0+20", "irqs msix trigger 0+5", NULL));
	cr_expect_eq(fake_log_count, 1);
	for (unsigned i = 0; i < 20; i++)
		cr_expect_eq(delivers(i), i < 5 ? 0x20 + (int)i : -1);
	cr_expect_eq(m.device.breaches, 0);
	machine_end();
}

Test(front_msix, a_process_short_of_files_says_how_many_it_needs)
{
	struct rlimit before, tight;
	char number[32];
	int next;

	start_enabled();
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	next = dup(0); /* the lowest that is free */
	close(next);
	tight = (struct rlimit){(rlim_t)next + 1, before.rlim_max}; /* the pin gives two back */
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	linux_enable(10, 10);
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, "7 MSI-X vectors, from 3 on,"), "%s",
			   fake_log_last);
	snprintf(number, sizeof(number), "ulimit -n %d ", next + 1 + 7 + 64);
	cr_expect_not_null(strstr(fake_log_last, number), "%s", fake_log_last);
	for (unsigned i = 0; i < 3; i++)
		cr_expect_eq(delivers(i), 0x20 + i);
	machine_end();
}

Test(front_msix, a_host_short_of_one_more_vector_keeps_the_others)
{
	start_enabled();
	linux_enable(4, 4);
	m.device.available = 10;
	for (unsigned i = 8; i < 12; i++) {
		program_vector(i, 0xfee00000, 0x40 + i);
		mask_vector(i, false);
	}
	cr_expect_eq(delivers(9), 0x49);
	cr_expect_eq(delivers(10), -1);
	cr_expect_eq(delivers(3), 0x23);
	cr_expect_eq(fake_log_count, 1);
	m.device.breaches = 0; /* asking for more than there is, is what this is about */
	machine_end();
}

Test(front_msix, an_enable_that_fails_is_one_warning_and_the_next_enable_tries_again)
{
	start_enabled();
	m.device.fail_named = "irqs msix trigger";
	m.device.fail_with = -ENOSPC;
	linux_enable(8, 8);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_eq(fake_irqfd_count(), 0);
	m.device.fail_named = NULL;
	control(0);
	linux_enable(8, 8);
	cr_expect_eq(delivers(7), 0x27);
	cr_expect_eq(fake_log_count, 1);
	machine_end();
}

Test(front_msix, routes_or_irqfds_that_cannot_be_had_cost_their_vectors_only)
{
	start_enabled();
	router.room = 3;
	linux_enable(8, 8);
	for (unsigned i = 0; i < 8; i++)
		cr_expect_eq(delivers(i), i < 3 ? 0x20 + (int)i : -1);
	cr_expect_eq(fake_log_count, 1);
	control(0);
	router.room = 0;
	fake_kvm_state.irqfd_error = -ENOMEM;
	linux_enable(8, 8);
	cr_expect_eq(delivers(0), -1);
	cr_expect_leq(fake_log_count, 3);
	fake_kvm_state.irqfd_error = 0;
	control(0);
	linux_enable(8, 8);
	cr_expect_eq(delivers(7), 0x27);
	machine_end();
}

Test(front_msix, a_commit_that_fails_is_made_good_by_the_next_change)
{
	start_enabled();
	router.commit_error = -ENOMEM;
	linux_enable(1, 1);
	cr_expect_eq(delivers(0), -1);
	cr_expect_eq(fake_irqfd_count(), 0);
	router.commit_error = 0;
	mask_vector(0, true);
	mask_vector(0, false);
	cr_expect_eq(delivers(0), 0x20);
	machine_end();
}

Test(front_msix, a_message_that_kvm_refuses_costs_nobody_else_a_route)
{
	start_enabled();
	router.commit_error = -EINVAL; /* of some message; the others are in force */
	linux_enable(2, 2);
	cr_expect_eq(fake_irqfd_count(), 2);
	cr_expect_eq(fake_log_count, 0, "a guest may write what it likes");
	router.commit_error = 0;
	machine_end();
}

Test(front_msix, an_enable_without_vectors_reaches_the_device)
{
	start_enabled();
	control(ENABLE);
	cr_expect_neq(journal_find("irqs msix trigger 0+1", 0), -1);
	cr_expect_eq(m.device.irq_type, VFIO_PCI_MSIX_IRQ_INDEX);
	machine_end();
}

Test(front_msix, disable_forgets_what_fired_and_keeps_the_table)
{
	start_enabled();
	linux_enable(2, 2);
	mask_vector(1, true);
	fire(1);
	control(0);
	cr_expect_eq(mem_read(PBA, 8), 0);
	cr_expect_eq(mem_read(TABLE + 16 + 8, 4), 0x21);
	control(ENABLE);
	cr_expect_eq(delivers(0), 0x20);
	cr_expect_eq(mem_read(PBA, 8), 0);
	machine_end();
}

Test(front_msix, a_table_programmed_before_the_enable_counts)
{
	start_enabled();
	program_vector(5, 0xfee01000, 0x55);
	mask_vector(5, false);
	cr_expect_eq(journal_times("irqs msix"), 0);
	control(ENABLE);
	cr_expect_eq(delivers(5), 0x55);
	cr_expect_eq(router.gsis[fake_irqfd_gsi(trigger_of(5))].committed.address, 0xfee01000);
	machine_end();
}

/* ---- MSI ----------------------------------------------------------------------------------------- */

static void msi(uint16_t flags, uint64_t address, uint16_t data)
{
	cfg_write(0xc4, (uint32_t)address, 4);
	cfg_write(0xc8, (uint32_t)(address >> 32), 4);
	cfg_write(0xcc, data, 2);
	cfg_write(0xc2, flags, 2);
}

Test(front_msi, one_message_is_one_vector)
{
	start_enabled();
	msi(1, 0xfee00000, 0x31);
	cr_expect_neq(journal_find("irqs msi trigger 0+1", 0), -1);
	cr_expect_eq(delivers(0), 0x31);
	msi(0, 0xfee00000, 0x31);
	cr_expect_eq(m.device.irq_type, VFIO_PCI_INTX_IRQ_INDEX);
	machine_end();
}

Test(front_msi, several_messages_differ_in_their_low_bits)
{
	start_enabled();
	msi(1 | 3 << 4, 0x1fee00000, 0x45);
	cr_expect_neq(journal_find("irqs msi trigger 0+8", 0), -1);
	for (unsigned i = 0; i < 8; i++)
		cr_expect_eq(delivers(i), 0x40 + i);
	cr_expect_eq(router.gsis[fake_irqfd_gsi(trigger_of(0))].committed.address, 0x1fee00000);
	machine_end();
}

Test(front_msi, a_new_message_is_routed_while_enabled)
{
	start_enabled();
	msi(1, 0xfee00000, 0x31);
	journal_clear();
	cfg_write(0xcc, 0x32, 2);
	cr_expect_eq(delivers(0), 0x32);
	cr_expect_eq(journal_times("irq"), 0);
	cr_expect_eq(journal_times("commit"), 1);
	machine_end();
}

Test(front_msi, masks_collect_and_show_as_pending)
{
	start_enabled();
	msi(1 | 2 << 4, 0xfee00000, 0x40);
	cfg_write(0xd0, 0x6, 4);
	cr_expect_eq(delivers(0), 0x40);
	cr_expect_eq(delivers(1), -1);
	fire(2);
	cr_expect_eq(cfg_read(0xd4, 4), 4);
	cfg_write(0xd0, 0, 4);
	cr_expect_eq(cfg_read(0xd4, 4), 0);
	cr_expect_eq(delivers(2), 0x42);
	machine_end();
}

Test(front_msi, more_messages_while_enabled_start_it_anew)
{
	start_enabled();
	msi(1, 0xfee00000, 0x40);
	cfg_write(0xc2, 1 | 2 << 4, 2);
	cr_expect(journal_order("irqs msi off", "irqs msi trigger 0+4", NULL));
	cr_expect_eq(delivers(3), 0x43);
	cfg_write(0xc2, 1 | 7 << 4, 2); /* more than there are */
	cr_expect_eq(delivers(7), 0x47);
	machine_end();
}

Test(front_msi, fewer_vectors_than_asked_for_are_used)
{
	start_enabled();
	m.device.available = 2;
	msi(1 | 3 << 4, 0xfee00000, 0x40);
	cr_expect_eq(delivers(1), 0x41);
	cr_expect_eq(delivers(2), -1);
	cr_expect_eq(fake_log_count, 1);
	machine_end();
}

Test(front_msi, msix_wins_over_it)
{
	start_enabled();
	msi(1, 0xfee00000, 0x31);
	linux_enable(1, 1);
	cr_expect_eq(m.device.irq_type, VFIO_PCI_MSIX_IRQ_INDEX);
	cr_expect_eq(delivers(0), 0x20);
	control(0);
	cr_expect_eq(m.device.irq_type, VFIO_PCI_MSI_IRQ_INDEX);
	cr_expect_eq(delivers(0), 0x31);
	machine_end();
}

/* ---- the pin ------------------------------------------------------------------------------------- */

Test(front_intx, is_set_up_when_the_guest_uses_the_device)
{
	machine_start();
	cr_expect_eq(m.device.irq_type, FAKE_IRQ_NONE);
	set_command(PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	cr_expect_eq(m.device.irq_type, FAKE_IRQ_NONE);
	set_command(PCI_COMMAND_MEMORY);
	cr_expect(journal_order("irqfd+ 17 resample", "irqs intx trigger 0+1",
				"irqs intx unmask 0+1", NULL));
	cr_expect_eq(fake_irqfd_gsi(m.device.trigger[0]), 17);
	cr_expect_eq(m.device.unmask_fd, fake_kvm_state.irqfds[0].resample);
	machine_end();
}

Test(front_intx, its_disable_bit_is_the_devices_business_once_set_up)
{
	machine_start();
	set_command(6);
	journal_clear();
	set_command(6 | PCI_COMMAND_INTX_DISABLE);
	cr_expect_neq(journal_find("write 7 0x4 2 0x406", 0), -1);
	cr_expect_eq(journal_times("irq"), 0);
	set_command(6);
	cr_expect_eq(journal_times("irq"), 0);
	machine_end();
}

Test(front_intx, each_step_that_fails_is_undone_and_said_once)
{
	static const char *const steps[] = {"irqs intx trigger", "irqs intx unmask"};

	for (unsigned i = 0; i < 3; i++) {
		machine_start();
		if (i == 2)
			fake_kvm_state.irqfd_error = -EINVAL;
		else
			m.device.fail_named = steps[i];
		set_command(6);
		set_command(6);
		cr_expect_eq(fake_log_count, 1);
		cr_expect_eq(fake_irqfd_count(), 0);
		m.device.fail_named = NULL;
		fake_kvm_state.irqfd_error = 0;
		cr_expect_eq(m.device.irq_type, FAKE_IRQ_NONE, "step %u", i);
		/* A reset is a new beginning. */
		cfg_write(0x88, 0x8000, 2);
		set_command(6);
		cr_expect_eq(fake_irqfd_count(), 1);
		machine_end();
	}
}

Test(front_intx, a_function_without_a_pin_has_none)
{
	machine_begin();
	m.device.config[PCI_INTERRUPT_PIN] = 0;
	cr_assert_eq(machine_create(), 0);
	set_command(6);
	cr_expect_eq(journal_times("irqs"), 0);
	machine_end();
}

Test(front_irqs, every_call_that_fails_in_a_drivers_life_leaves_nothing_behind)
{
	unsigned turns = 0;

	for (unsigned turn = 1; turn < 400; turn++) {
		machine_start();
		m.device.fail_at = m.device.calls + turn;
		set_command(7);
		linux_enable(6, 6);
		mask_vector(3, true);
		mem_read(PBA, 8);
		control(ENABLE | MASKALL);
		control(ENABLE);
		control(0);
		msi(1 | 2 << 4, 0xfee00000, 0x40);
		msi(0, 0, 0);
		cfg_write(0x64, 3, 2);
		cfg_write(0x64, 0, 2);
		cfg_write(0x88, 0x8000, 2);
		turns += m.device.calls >= m.device.fail_at;
		m.device.fail_at = 0;
		cr_expect_eq(m.device.mapping_breaches, 0, "turn %u", turn);
		m.device.breaches =
			0; /* a refused `off` leaves the device behind what it was told */
		m.device.irq_type = FAKE_IRQ_NONE;
		machine_end();
	}
	cr_expect_gt(turns, 20);
	cr_expect_lt(turns, 399);
}

Test(front_vectors, of_a_device_that_is_gone_are_not_what_is_reported)
{
	machine_start();
	program_vector(0, 0xfee00000, 0x41);
	mask_vector(0, false);
	m.device.fail_named = "irqs msix";
	m.device.gone = true;
	cfg_write(0x42, 0x8000, 2);
	cr_expect_eq(fake_log_count, 1, "%s", fake_log_last);
	cr_expect_not_null(strstr(fake_log_last, "does not answer"), "%s", fake_log_last);
	m.device.fail_named = NULL;
	machine_end();
}
