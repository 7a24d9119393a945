/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_front.h"

Test(front_config, the_image_is_read_without_the_device)
{
	machine_start();
	cr_expect_eq(cfg_read(PCI_CLASS_REVISION, 4), 0x01080202);
	cr_expect_eq(cfg_read(0x42, 2), 19);
	cr_expect_eq(cfg_read(PCI_COMMAND, 2), 0);
	cr_expect_eq(journal_count, 0);
	machine_end();
}

Test(front_config, what_is_not_emulated_is_read_from_the_device_at_its_own_width)
{
	machine_start();
	fake_put16(&m.device, PCI_STATUS, 0x0819);
	cr_expect_eq(cfg_read(PCI_COMMAND, 4), 0x08190000, "status with the image's list bit");
	cr_expect_eq(journal_times("read 7"), 1);
	cr_expect_eq(journal_find("read 7 0x6 2", 0), 0);
	journal_clear();
	fake_put32(&m.device, 0x104, 0x12345678);
	cr_expect_eq(cfg_read(0x104, 4), 0x12345678);
	cr_expect_eq(journal_find("read 7 0x104 4", 0), 0);
	journal_clear();
	fake_put32(&m.device, 0xe4, 0xaabbccdd);
	cr_expect_eq(cfg_read(0xe5, 1), 0xcc);
	cr_expect_eq(journal_find("read 7 0xe5 1", 0), 0);
	machine_end();
}

Test(front_config, the_reset_bit_reads_zero_beside_bits_of_the_device)
{
	machine_start();
	fake_put16(&m.device, 0x88, 0xffff);
	cr_expect_eq(cfg_read(0x88, 2), 0x7fff);
	machine_end();
}

Test(front_config, no_access_crosses_a_capability)
{
	machine_begin();
	/* Six bytes of advanced features, and a gap in the same dword. */
	fake_put32(&m.device, 0xe0, 0x06000000 | 0xf0 << 8 | PCI_CAP_ID_AF);
	fake_put32(&m.device, 0xe4, 0x44332200);
	fake_put32(&m.device, 0xf0, 0x00080000 | PCI_CAP_ID_VNDR);
	cr_assert_eq(machine_create(), 0);
	journal_clear();
	cr_expect_eq(cfg_read(0xe4, 4), 0x44332200);
	cr_expect(journal_order("read 7 0xe5 1", "read 7 0xe6 2", NULL));
	cr_expect_eq(journal_count, 2);
	journal_clear();
	cfg_write(0xe4, 0xaabbccdc, 4); /* without the reset bit */
	cr_expect_eq(journal_count, 1, "the capability's own bytes are not written");
	cr_expect_eq(journal_find("write 7 0xe6 2 0xaabb", 0), 0);
	machine_end();
}

Test(front_config, command_reaches_the_device_before_slots_and_after_they_went)
{
	machine_start();
	set_command(6);
	cr_expect(journal_order("write 7 0x4 2 0x6", "slot+ 0xc0000000", NULL));
	cr_expect_eq(fake_slot_count(), 4);
	journal_clear();
	set_command(0);
	cr_expect(journal_order("peer-", "slot-", "slot-", "slot-", "slot-", "write 7 0x4 2 0",
				NULL));
	cr_expect_eq(fake_slot_count(), 0);
	machine_end();
}

Test(front_config, a_write_that_turns_one_on_and_another_off_keeps_both_orders)
{
	machine_start();
	set_command(6);
	journal_clear();
	set_command(5);
	cr_expect(journal_order("slot-", "write 7 0x4 2 0x5", NULL));
	journal_clear();
	set_command(6);
	cr_expect(journal_order("write 7 0x4 2 0x6", "slot+", NULL));
	machine_end();
}

Test(front_config, command_is_written_whole_whatever_the_guest_writes)
{
	machine_start();
	cfg_write(PCI_COMMAND, 0x02, 1);
	cr_expect_neq(journal_find("write 7 0x4 2 0x2", 0), -1);
	cfg_write(PCI_COMMAND + 1, 0x04, 1);
	cr_expect_neq(journal_find("write 7 0x4 2 0x402", 0), -1);
	cfg_write(PCI_COMMAND, 0xffffffff, 4);
	cr_expect_neq(journal_find("write 7 0x4 2 0x547", 0), -1, "reserved bits stay zero");
	cr_expect_eq(cfg_read(PCI_COMMAND, 2), 0x547);
	machine_end();
}

Test(front_config, the_way_to_d3_takes_the_slots_first_and_brings_them_last)
{
	machine_start();
	set_command(6);
	journal_clear();
	cfg_write(0x64, 3, 2);
	cr_expect(journal_order("slot-", "write 7 0x64 2 0x3", NULL));
	cr_expect_eq(fake_slot_count(), 0);
	cr_expect_eq(cfg_read(0x64, 2) & 3, 3);
	journal_clear();
	cfg_write(0x64, 0, 1);
	cr_expect(journal_order("write 7 0x64 2 0", "slot+", NULL));
	cr_expect_eq(fake_slot_count(), 4);
	machine_end();
}

Test(front_config, a_power_state_that_does_not_exist_is_not_entered)
{
	machine_start();
	set_command(6);
	cfg_write(0x64, 1, 2);
	cr_expect_eq(cfg_read(0x64, 2) & 3, 0);
	cr_expect_eq(fake_slot_count(), 4);
	cfg_write(0x64, 3, 2);
	cfg_write(0x64, 2, 4);
	cr_expect_eq(cfg_read(0x64, 2) & 3, 3);
	machine_end();
}

Test(front_config, data_select_passes_and_wake_up_bits_do_not)
{
	machine_start();
	cfg_write(0x64, 0x9f00, 2);
	cr_expect_neq(journal_find("write 7 0x64 2 0x1e00", 0), -1);
	cr_expect_eq(cfg_read(0x64, 2), 0x1e00);
	machine_end();
}

Test(front_config, bits_that_are_the_hosts_are_written_back_as_they_are)
{
	machine_start();
	fake_put16(&m.device, 0xa8, 0x0400); /* LTR, which the host turned on */
	cfg_write(0xa8, 0x0009, 2);
	cr_expect_eq(fake_word(&m.device, 0xa8), 0x0409);
	cfg_write(0xa8, 0xffff, 2);
	cr_expect_eq(fake_word(&m.device, 0xa8), (uint16_t)(0xffff & ~0x6020));
	machine_end();
}

Test(front_config, status_bits_beside_a_control_register_are_not_written)
{
	machine_start();
	fake_put16(&m.device, 0x8a, 0x000f); /* device status: write one to clear */
	journal_clear();
	cfg_write(0x88, 0xffff2810, 4);
	cr_expect_neq(journal_find("write 7 0x88 2 0x2810", 0), -1);
	cr_expect_eq(journal_times("write 7 0x8a"), 0);
	cr_expect_eq(journal_times("write 7 0x88 4"), 0);
	machine_end();
}

Test(front_config, vendor_data_gaps_and_error_masks_pass_whole)
{
	machine_start();
	cfg_write(0xe4, 0x11223344, 4);
	cfg_write(0x108, 0x55, 4);
	cfg_write(0xf0, 0x77, 1);
	cr_expect_neq(journal_find("write 7 0xe4 4 0x11223344", 0), -1);
	cr_expect_neq(journal_find("write 7 0x108 4 0x55", 0), -1);
	cr_expect_neq(journal_find("write 7 0xf0 1 0x77", 0), -1);
	machine_end();
}

Test(front_config, ids_bars_and_capability_headers_never_reach_the_device)
{
	machine_start();
	for (unsigned at = 0; at < 0x40; at += 4)
		if (at != PCI_COMMAND)
			cfg_write(at, 0xffffffff, 4);
	cfg_write(0x40, 0xffffffff & ~0xc0000000u, 4);
	cfg_write(0x44, 0xffffffff, 4);
	cfg_write(0xc0, 0x0000ffff, 4);
	cfg_write(0x100, 0xffffffff, 4);
	cr_expect_eq(journal_times("write"), 0);
	cr_expect_eq(cfg_read(0, 4), 0x00101b36);
	machine_end();
}

Test(front_config, a_function_level_reset_is_bracketed)
{
	machine_start();
	set_command(7);
	program_vector(2, 0xfee00000, 0x61);
	mask_vector(2, false);
	cfg_write(0x42, 0x8000, 2);
	cr_expect_eq(delivers(2), 0x61);
	journal_clear();
	cfg_write(0x88, 0x8810, 2);
	cr_expect(journal_order("peer-", "slot-", "irqfd-", "irqs msix off", "write 7 0x4 2 0",
				"reset", NULL));
	cr_expect_eq(m.device.resets, 1);
	cr_expect_eq(journal_times("write 7 0x88 2 0x88"), 0, "the bit is not passed");
	cr_expect_eq(cfg_read(PCI_COMMAND, 2), 0, "power-on state");
	cr_expect_eq(cfg_read(0x42, 2), 19);
	cr_expect_eq(cfg_read(PCI_BASE_ADDRESS_0, 4), 4);
	cr_expect_eq(mem_read(TABLE + 16 * 2, 4), 0xffffffff, "nothing is decoded");

	/* A driver restores what it saved, and is back where it was. */
	pci_function_set_bar(m.fn, 0, BAR0);
	set_command(7);
	cr_expect_eq(mem_read(TABLE + 16 * 2, 4), 0, "the table is blank");
	cr_expect_eq(mem_read(TABLE + 16 * 2 + 12, 4), 1, "and masked");
	program_vector(2, 0xfee00000, 0x62);
	mask_vector(2, false);
	cfg_write(0x42, 0x8000, 2);
	cr_expect_eq(delivers(2), 0x62);
	machine_end();
}

Test(front_config, a_reset_by_the_upper_byte_alone_counts)
{
	machine_start();
	cfg_write(0x89, 0x80, 1);
	cr_expect_eq(m.device.resets, 1);
	cfg_write(0x88, 0x8000, 4);
	cr_expect_eq(m.device.resets, 2);
	cfg_write(0x88, 0x80, 1);
	cr_expect_eq(m.device.resets, 2);
	machine_end();
}

Test(front_config, a_reset_by_advanced_features_counts)
{
	machine_begin();
	fake_put32(&m.device, 0xe0, 0x03060000 | PCI_CAP_ID_AF);
	cr_assert_eq(machine_create(), 0);
	cfg_write(0xe4, 1, 1);
	cr_expect_eq(m.device.resets, 1);
	cfg_write(0xe4, 0, 1);
	cr_expect_eq(m.device.resets, 1);
	cr_expect_eq(cfg_read(0xe4, 1), 0);
	machine_end();
}

Test(front_config, a_device_that_cannot_reset_has_no_reset_bit)
{
	machine_begin();
	m.device.device_flags = VFIO_DEVICE_FLAGS_PCI;
	cr_assert_eq(machine_create(), 0);
	cr_expect_eq(cfg_read(0x84, 4) & PCI_EXP_DEVCAP_FLR, 0);
	cfg_write(0x88, 0x8000, 2);
	cr_expect_eq(journal_times("reset"), 0);
	machine_end();
}

Test(front_config, a_failed_reset_is_one_warning_and_the_guest_goes_on)
{
	machine_start();
	set_command(6);
	m.device.fail_named = "reset";
	cfg_write(0x88, 0x8000, 2);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, "not reset"));
	cr_expect_eq(cfg_read(PCI_COMMAND, 2), 0);
	m.device.fail_named = NULL;
	pci_function_set_bar(m.fn, 0, BAR0);
	set_command(6);
	cr_expect_neq(fake_slot_at(BAR0), NULL);
	machine_end();
}

Test(front_config, a_reset_that_is_busy_is_tried_again)
{
	machine_start();
	m.device.reset_busy = 2;
	cfg_write(0x88, 0x8000, 2);
	cr_expect_eq(m.device.resets, 1);
	cr_expect_eq(fake_log_count, 0);
	machine_end();
}

Test(front_config, a_device_that_is_gone_is_noticed_once_and_reads_as_ones)
{
	machine_start();
	set_command(7);
	m.device.gone = true;
	journal_clear();
	cr_expect_eq(cfg_read(0x104, 4), 0xffffffff);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, "does not answer"));
	cr_expect_eq(fake_slot_count(), 0, "its slots went at once");
	cr_expect_eq(fake_peer_count, 0);
	cr_expect_eq(cfg_read(0, 4), 0xffffffff, "the image is gone too");
	cr_expect_eq(mem_read(BAR0, 4), 0xffffffff);
	journal_clear();
	set_command(0);
	cfg_write(0x64, 3, 2);
	cfg_write(0x88, 0x8000, 2);
	cr_expect_eq(journal_count, 0, "and nothing is written to it");
	cr_expect_eq(fake_log_count, 1);
	fake_loop_step(m.loop, 1000);
	cr_expect_eq(m.forced, 1);
	fake_loop_step(m.loop, 1000000000);
	cr_expect_eq(m.forced, 1);
	machine_end();
}

Test(front_config, registers_of_ones_do_not_make_a_device_gone)
{
	machine_start();
	fake_put32(&m.device, 0x11c, 0xffffffff);
	cr_expect_eq(cfg_read(0x11c, 4), 0xffffffff);
	cr_expect_eq(fake_log_count, 0);
	cr_expect_eq(cfg_read(0, 4), 0x00101b36);
	machine_end();
}

Test(front_config, a_register_that_cannot_be_read_is_one_warning)
{
	machine_start();
	m.device.fail_named = "read 7 0x10";
	cr_expect_eq(cfg_read(0x104, 4), 0xffffffff);
	cr_expect_eq(cfg_read(0x108, 4), 0xffffffff);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_eq(cfg_read(0, 4), 0x00101b36, "the device itself still answers");
	machine_end();
}

Test(front_config, beyond_a_conventional_space_there_is_nothing)
{
	machine_begin();
	m.device.config_size = 256;
	cr_assert_eq(machine_create(), 0);
	journal_clear();
	cr_expect_eq(cfg_read(0x100, 4), 0);
	cfg_write(0x104, 1, 4);
	cr_expect_eq(cfg_read(0xffc, 4), 0);
	cr_expect_eq(journal_count, 0);
	machine_end();
}
