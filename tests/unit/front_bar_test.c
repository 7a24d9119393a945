/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_front.h"

static void pio_read(uint64_t address, void *data, unsigned size)
{
	bus_read(m.pio, address, data, size);
}

static void start_enabled(void)
{
	machine_start();
	set_command(7);
	journal_clear();
}

Test(front_bar, areas_become_slots_and_the_rest_is_trapped)
{
	const struct fake_slot *low, *high;

	start_enabled();
	/* BAR 0 without the pages of the MSI-X table and its pending bits. */
	low = fake_slot_at(BAR0);
	high = fake_slot_at(BAR0 + 0x4000);
	cr_assert_not_null(low);
	cr_assert_not_null(high);
	cr_expect_eq(low->size, 0x2000);
	cr_expect_eq(high->size, 0xc000);
	cr_expect_eq((uint8_t *)high->hva - (uint8_t *)low->hva, 0x4000);
	cr_expect_null(fake_slot_at(TABLE));
	cr_expect_null(fake_slot_at(PBA));
	cr_assert_not_null(fake_slot_at(BAR4));
	cr_expect_eq(fake_slot_at(BAR4)->size, 0x100000);
	machine_end();
}

Test(front_bar, host_addresses_are_aligned_like_the_bar)
{
	machine_begin();
	m.device.regions[4].size = 64 << 20;
	fake_put32(&m.device, PCI_BASE_ADDRESS_0 + 16, 4);
	cr_assert_eq(machine_create(), 0);
	cr_expect_eq((uintptr_t)m.vf->bars[0].host % 0x10000, 0);
	cr_expect_eq((uintptr_t)m.vf->bars[4].host % (64 << 20), 0);
	pci_function_set_bar(m.fn, 4, 0x1004000000);
	set_command(6);
	cr_expect_eq(fake_slot_at(0x1004000000)->hva, m.vf->bars[4].host);
	machine_end();
}

Test(front_bar, trapped_accesses_reach_the_device_at_their_width)
{
	machine_begin();
	/* Registers in the page of the table, behind it. */
	m.device.irq_counts[VFIO_PCI_MSIX_IRQ_INDEX] = 20;
	cr_assert_eq(machine_create(), 0);
	pci_function_set_bar(m.fn, 0, BAR0);
	set_command(6);
	journal_clear();
	memcpy(m.device.regions[0].bytes + 0x2800, "\x11\x22\x33\x44\x55\x66\x77\x88", 8);
	cr_expect_eq(mem_read(BAR0 + 0x2800, 8), 0x8877665544332211);
	cr_expect_eq(mem_read(BAR0 + 0x2804, 4), 0x88776655);
	cr_expect_eq(mem_read(BAR0 + 0x2802, 2), 0x4433);
	cr_expect_eq(mem_read(BAR0 + 0x2807, 1), 0x88);
	cr_expect(journal_order("read 0 0x2800 8", "read 0 0x2804 4", "read 0 0x2802 2",
				"read 0 0x2807 1", NULL));
	cr_expect_eq(journal_count, 4);
	mem_write(BAR0 + 0x2810, 0xcafe, 2);
	cr_expect_neq(journal_find("write 0 0x2810 2 0xcafe", 0), -1);
	machine_end();
}

Test(front_bar, an_access_over_the_tables_end_is_split_there)
{
	start_enabled();
	/* 20 entries end at 0x2140. */
	mem_write(BAR0 + 0x213c, 0x1234567800000001, 8);
	cr_expect_neq(journal_find("write 0 0x2140 4 0x12345678", 0), -1);
	cr_expect_eq(journal_times("write 0 0x213c"), 0, "the real table is never written");
	cr_expect_eq(mem_read(TABLE + 19 * 16 + 12, 4), 1);
	machine_end();
}

Test(front_bar, io_bars_go_by_the_port_bus)
{
	uint32_t value = 0;

	start_enabled();
	memcpy(m.device.regions[3].bytes + 4, "\x01\x02\x03\x04", 4);
	pio_read(BAR3 + 4, &value, 4);
	cr_expect_eq(value, 0x04030201);
	value = 0x55;
	bus_write(m.pio, BAR3 + 8, &value, 1);
	cr_expect_neq(journal_find("write 3 0x8 1 0x55", 0), -1);
	set_command(6);
	pio_read(BAR3 + 4, &value, 4);
	cr_expect_eq(value, 0xffffffff, "I/O decode is off");
	machine_end();
}

Test(front_bar, without_a_port_bus_an_io_bar_is_not_decoded_and_nothing_else_suffers)
{
	struct vfio_function_env env;

	machine_begin();
	env = machine_env();
	env.pio = NULL;
	cr_assert_eq(vfio_function_create(&env, &m.config, &m.device.vdev, &m.vf), 0);
	m.fn = vfio_function_pci(m.vf);
	plug(m.vf);
	pci_function_set_bar(m.fn, 3, BAR3);
	pci_function_set_bar(m.fn, 4, BAR4);
	set_command(7);
	cr_expect_eq(m.fn->bars[3].address, PCI_BAR_NONE);
	cr_expect_not_null(fake_slot_at(BAR4));
	machine_end();
}

Test(front_bar, a_bar_moves_with_slots_traps_and_peers)
{
	start_enabled();
	pci_function_set_bar(m.fn, 0, BAR0); /* as firmware: no effect by itself */
	cfg_write(PCI_BASE_ADDRESS_0, 0xc1000000, 4);
	cr_expect_null(fake_slot_at(BAR0));
	cr_expect_not_null(fake_slot_at(0xc1000000));
	cr_expect_eq(mem_read(0xc1002000 + 12, 4), 1, "the table is there now");
	cr_expect_eq(mem_read(TABLE + 12, 4), 0xffffffff);
	cr_expect(journal_order("peer- 0xc0000000", "slot- 0xc0000000", "slot+ 0xc1000000",
				"peer+ 0xc1000000", NULL));
	cr_expect_eq(journal_times("slot- 0xc0100000"), 0, "others stay");
	machine_end();
}

Test(front_bar, the_sizing_of_an_enabled_bar_ends_where_it_began)
{
	start_enabled();
	cfg_write(PCI_BASE_ADDRESS_0 + 16, 0xffffffff, 4);
	cr_expect_eq(cfg_read(PCI_BASE_ADDRESS_0 + 16, 4), 0xfff00000);
	cfg_write(PCI_BASE_ADDRESS_0 + 16, BAR4, 4);
	cr_expect_not_null(fake_slot_at(BAR4));
	machine_end();
}

Test(front_bar, a_bar_below_a_page_is_mapped_only_at_the_start_of_a_page_of_its_own)
{
	start_enabled();
	cr_expect_not_null(fake_slot_at(BAR2));
	cr_expect_eq(fake_slot_at(BAR2)->size, 4096);

	cfg_write(PCI_BASE_ADDRESS_0 + 8, 0xc0010100, 4);
	cr_expect_null(fake_slot_at(0xc0010100), "not aligned: trapped");
	memcpy(m.device.regions[2].bytes, "\xaa\xbb\xcc\xdd", 4);
	cr_expect_eq(mem_read(0xc0010100, 4), 0xddccbbaa);
	cr_expect_eq(mem_read(0xc0010000, 4), 0xffffffff);

	cfg_write(PCI_BASE_ADDRESS_0 + 8, BAR2, 4);
	cr_expect_not_null(fake_slot_at(BAR2));
	machine_end();
}

Test(front_bar, a_neighbour_in_its_page_takes_the_slot_of_a_bar_below_a_page)
{
	machine_begin();
	m.device.regions[4].size = 0x100;
	cr_assert_eq(machine_create(), 0);
	pci_function_set_bar(m.fn, 2, 0xc0010000);
	pci_function_set_bar(m.fn, 4, 0xc0010100);
	set_command(6);
	cr_expect_null(fake_slot_at(0xc0010000), "it would hide the neighbour");
	memcpy(m.device.regions[4].bytes, "\x01\x02\x03\x04", 4);
	cr_expect_eq(mem_read(0xc0010100, 4), 0x04030201);
	cfg_write(PCI_BASE_ADDRESS_0 + 16, 0xc0011000, 4);
	cr_expect_not_null(fake_slot_at(0xc0010000));
	cr_expect_not_null(fake_slot_at(0xc0011000));
	cfg_write(PCI_BASE_ADDRESS_0 + 16, 0xc0010800, 4);
	cr_expect_null(fake_slot_at(0xc0010000));
	machine_end();
}

Test(front_bar, in_a_package_of_functions_no_page_is_known_to_be_free)
{
	machine_begin();
	cr_assert_eq(machine_create(), 0);
	m.fn->config[PCI_HEADER_TYPE] = 0x80;
	pci_function_set_bar(m.fn, 2, BAR2);
	set_command(6);
	cr_expect_null(fake_slot_at(BAR2));
	m.fn->config[PCI_HEADER_TYPE] = 0;
	m.fn->devfn = 1;
	set_command(0);
	set_command(6);
	cr_expect_null(fake_slot_at(BAR2));
	machine_end();
}

Test(front_bar, without_a_slot_the_area_is_trapped_with_one_warning)
{
	start_enabled();
	set_command(0);
	fake_kvm_state.slot_error = -ENOSPC;
	set_command(6);
	cr_expect_eq(fake_log_count, 1, "%s", fake_log_last);
	cr_expect_eq(fake_slot_count(), 0);
	memcpy(m.device.regions[0].bytes + 0x5000, "\x01\x00\x00\x80", 4);
	cr_expect_eq(mem_read(BAR0 + 0x5000, 4), 0x80000001);
	cr_expect_eq(mem_read(BAR0 + 0x10, 1), 0x10);
	cr_expect_eq(fake_peer_count, 0, "and no device reaches it");
	set_command(0);
	fake_kvm_state.slot_error = 0;
	set_command(6);
	cr_expect_eq(fake_slot_count(), 4);
	cr_expect_eq(fake_log_count, 1);
	machine_end();
}

Test(front_bar, a_mapping_that_fails_at_creation_traps_the_bar)
{
	machine_begin();
	m.device.fail_named = "mmap 4";
	cr_assert_eq(machine_create(), 0);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, "BAR 4"));
	pci_function_set_bar(m.fn, 4, BAR4);
	set_command(6);
	cr_expect_eq(fake_slot_count(), 0);
	cr_expect_eq(mem_read(BAR4 + 3, 1), 3 + 4 * 17);
	machine_end();
}

Test(front_bar, a_bar_over_anothers_traps_is_not_decoded)
{
	start_enabled();
	set_command(0);
	cfg_write(PCI_BASE_ADDRESS_0 + 16, 0xc0000000, 4); /* BAR 4 over BAR 0 */
	set_command(6);
	cr_expect_not_null(fake_slot_at(BAR0));
	cr_expect_eq(mem_read(TABLE + 12, 4), 1);
	cfg_write(PCI_BASE_ADDRESS_0 + 16, BAR4, 4);
	cr_expect_not_null(fake_slot_at(BAR4));
	machine_end();
}

Test(front_bar, sparse_areas_come_from_the_region_info)
{
	machine_begin();
	m.device.regions[4].sparse = true;
	m.device.regions[4].area_count = 2;
	m.device.regions[4].areas[0] =
		(struct vfio_region_sparse_mmap_area){.offset = 0x8000, .size = 0x1000};
	m.device.regions[4].areas[1] =
		(struct vfio_region_sparse_mmap_area){.offset = 0x10000, .size = 0x2000};
	cr_assert_eq(machine_create(), 0);
	pci_function_set_bar(m.fn, 4, BAR4);
	set_command(6);
	cr_expect_eq(fake_slot_count(), 2);
	cr_expect_eq(fake_slot_at(BAR4 + 0x11fff)->size, 0x2000);
	cr_expect_eq(mem_read(BAR4 + 1, 1), 1 + 4 * 17);
	machine_end();
}

Test(front_bar, one_call_takes_every_slot_and_peer_mapping)
{
	start_enabled();
	cr_expect_gt(fake_peer_count, 0);
	vfio_device_revoke(&m.device.vdev);
	cr_expect_eq(fake_slot_count(), 0);
	cr_expect_eq(fake_peer_count, 0);
	vfio_device_revoke(&m.device.vdev);
	/* The next use brings them back, and an unmap in between finds nothing to take. */
	set_command(6);
	cr_expect_eq(fake_slot_count(), 4);
	cr_expect_gt(fake_peer_count, 0);
	vfio_device_revoke(&m.device.vdev);
	set_command(0);
	cr_expect_eq(fake_slot_count(), 0);
	machine_end();
}

Test(front_bar, reads_that_fail_are_ones)
{
	start_enabled();
	m.device.fail_named = "read 0 0x2800";
	cr_expect_eq(mem_read(BAR0 + 0x2800, 4), 0xffffffff);
	cr_expect_eq(mem_read(BAR0 + 0x2800, 1), 0xff);
	cr_expect_eq(fake_log_count, 0);
	machine_end();
}

Test(front_bar, a_trapped_read_of_ones_finds_out_that_the_device_is_gone)
{
	start_enabled();
	m.device.gone = true;
	cr_expect_eq(mem_read(BAR0 + 0x2800, 4), 0xffffffff);
	cr_expect_eq(fake_slot_count(), 0);
	cr_expect_eq(fake_log_count, 1);
	machine_end();
}

/* ---- peers --------------------------------------------------------------------------------------- */

static const struct front_peer *peer(unsigned bar, unsigned area)
{
	return &m.vf->bars[bar].peers[area];
}

Test(front_p2p, each_area_is_one_dma_buf_mapped_where_the_guest_has_it)
{
	machine_start();
	set_command(6);
	cr_expect_eq(m.device.exported, 3, "two areas of BAR 0, one of BAR 4");
	cr_expect_neq(journal_find("dmabuf 0 0+0x2000", 0), -1);
	cr_expect_neq(journal_find("dmabuf 0 0x4000+0xc000", 0), -1);
	cr_expect_neq(journal_find("peer+ 0xc0004000 0xc000", 0), -1);
	cr_expect_eq(fake_peer_count, 3);
	cr_expect_str_eq(front_peer_state(m.vf, peer(0, 1)), "mapped");
	machine_end();
}

Test(front_p2p, decode_toggles_and_resets_map_anew_with_the_same_dma_buf)
{
	machine_start();
	set_command(6);
	set_command(0);
	cr_expect_eq(fake_peer_count, 0);
	set_command(6);
	cr_expect_eq(fake_peer_count, 3);
	cfg_write(0x88, 0x8000, 2);
	cr_expect_eq(fake_peer_count, 0);
	pci_function_set_bar(m.fn, 0, BAR0);
	pci_function_set_bar(m.fn, 4, BAR4);
	set_command(6);
	cr_expect_eq(fake_peer_count, 3);
	cfg_write(0x64, 3, 2);
	cr_expect_eq(fake_peer_count, 0);
	cfg_write(0x64, 0, 2);
	cr_expect_eq(fake_peer_count, 3);
	cr_expect_eq(m.device.exported, 3);
	machine_end();
}

Test(front_p2p, what_the_device_or_the_address_space_refuses_is_seen_and_not_fatal)
{
	machine_begin();
	m.device.dma_bufs = false;
	cr_assert_eq(machine_create(), 0);
	pci_function_set_bar(m.fn, 4, BAR4);
	set_command(6);
	cr_expect_not_null(fake_slot_at(BAR4));
	cr_expect_str_eq(front_peer_state(m.vf, peer(4, 0)), "export as dma-buf");
	cr_expect_eq(peer(4, 0)->error, -ENOTTY);
	cr_expect_eq(fake_log_count, 0, "nobody asked for it by name");

	m.device.dma_bufs = true;
	m.mirror_error = -EINVAL;
	set_command(0);
	set_command(6);
	cr_expect_str_eq(front_peer_state(m.vf, peer(4, 0)), "map for DMA");
	cr_expect_eq(peer(4, 0)->error, -EINVAL);

	m.mirror_error = 0;
	set_command(0);
	set_command(6);
	cr_expect_str_eq(front_peer_state(m.vf, peer(4, 0)), "mapped");
	machine_end();
}

Test(front_p2p, asked_for_by_name_a_failure_is_a_warning)
{
	machine_begin();
	m.config.p2p = VFIO_P2P_ON;
	m.device.dma_bufs = false;
	cr_assert_eq(machine_create(), 0);
	pci_function_set_bar(m.fn, 4, BAR4);
	set_command(6);
	cr_expect_eq(fake_log_count, 1);
	set_command(0);
	set_command(6);
	cr_expect_eq(fake_log_count, 1);
	machine_end();
}

Test(front_p2p, turned_off_nothing_is_exported)
{
	machine_begin();
	m.config.p2p = VFIO_P2P_OFF;
	cr_assert_eq(machine_create(), 0);
	pci_function_set_bar(m.fn, 4, BAR4);
	set_command(6);
	cr_expect_eq(journal_times("dmabuf"), 0);
	cr_expect_str_eq(front_peer_state(m.vf, peer(4, 0)), "off");
	machine_end();
}

/* ---- the expansion ROM --------------------------------------------------------------------------- */

Test(front_rom, is_read_from_the_device_when_the_guest_first_looks)
{
	machine_start();
	set_command(6);
	cfg_write(PCI_ROM_ADDRESS, ROM | 1, 4);
	cr_expect_eq(journal_times("read 6"), 0);
	cr_expect_eq(mem_read(ROM + 2, 2), (2 + 6 * 17) | (3 + 6 * 17) << 8);
	cr_expect_eq(mem_read(ROM + 0x800, 1), (uint8_t)(0x800 + 6 * 17));
	cr_expect_eq(journal_times("read 6"), 1, "at once, and once");
	mem_write(ROM, 0, 4);
	cfg_write(PCI_ROM_ADDRESS, ROM, 4);
	cr_expect_eq(mem_read(ROM, 4), 0xffffffff);
	machine_end();
}

Test(front_rom, that_cannot_be_read_is_ones_with_one_warning)
{
	machine_start();
	set_command(6);
	m.device.fail_named = "read 6";
	cfg_write(PCI_ROM_ADDRESS, ROM | 1, 4);
	cr_expect_eq(mem_read(ROM, 4), 0xffffffff);
	cr_expect_eq(mem_read(ROM, 4), 0xffffffff);
	cr_expect_eq(fake_log_count, 1);
	machine_end();
}

Test(front_rom, turned_off_it_does_not_exist)
{
	machine_begin();
	m.config.rom = VFIO_ROM_OFF;
	cr_assert_eq(machine_create(), 0);
	cr_expect_eq(m.fn->bars[PCI_BAR_ROM].kind, PCI_BAR_ABSENT);
	cfg_write(PCI_ROM_ADDRESS, 0xffffffff, 4);
	cr_expect_eq(cfg_read(PCI_ROM_ADDRESS, 4), 0);
	cr_expect_eq(journal_times("region 6"), 0);
	machine_end();
}

/* A machine whose device has a file for a ROM; what machine_create() says to it. */
static int create_with_rom(const void *bytes, size_t size)
{
	static char path[32];
	int fd, ret;

	strcpy(path, "/tmp/sluice-rom-XXXXXX");
	fd = mkstemp(path);
	cr_assert_eq(write(fd, bytes, size), (ssize_t)size);
	close(fd);
	machine_begin();
	m.config.rom = VFIO_ROM_FILE;
	m.config.rom_file = path;
	ret = machine_create();
	unlink(path);
	return ret;
}

/* One image, of code that is not for x86 firmware, in a file of @size. */
static void make_rom(uint8_t *bytes, size_t size)
{
	static const uint8_t data[] = {'P', 'C', 'I', 'R', 0, 0, 0, 0, 0, 0,    0x18, 0,
				       0,   0,   0,   0,   5, 0, 0, 0, 3, 0x80, 0,    0};

	memset(bytes, 0x5c, size);
	memcpy(bytes, "\x55\xaa", 2);
	memcpy(bytes + 0x18, "\x1c", 2);
	memcpy(bytes + 0x1c, data, sizeof(data));
}

Test(front_rom, from_a_file_replaces_the_devices_own)
{
	uint8_t bytes[3000];

	make_rom(bytes, sizeof(bytes));
	cr_assert_eq(create_with_rom(bytes, sizeof(bytes)), 0);
	cr_expect_eq(fake_log_count, 0);
	cr_expect_eq(m.fn->bars[PCI_BAR_ROM].size, 4096);
	set_command(6);
	cfg_write(PCI_ROM_ADDRESS, ROM | 1, 4);
	cr_expect_eq(mem_read(ROM + 2996, 8), 0xffffffff5c5c5c5c);
	cr_expect_eq(journal_times("read 6"), 0);
	machine_end();
}

static void refused(const char *why)
{
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, why), "%s", fake_log_last);
	vfio_unregister_device(&m.device.vdev);
	vfio_device_free(&m.device.vdev);
	machine_free();
}

Test(front_rom, a_file_without_the_signature_is_refused)
{
	uint8_t bytes[3000];

	make_rom(bytes, sizeof(bytes));
	memcpy(bytes, "NV", 2);
	cr_expect_eq(create_with_rom(bytes, sizeof(bytes)), -EINVAL);
	refused("it begins with 4e 56 in place of 55 aa");
	cr_expect_eq(create_with_rom("\x55\xaa", 2), -EINVAL);
	refused("2 bytes are too few");
}

Test(front_rom, a_file_larger_than_a_rom_can_be_is_refused)
{
	const size_t size = (16 << 20) + 1;
	uint8_t *bytes = malloc(size);

	make_rom(bytes, size);
	cr_expect_eq(create_with_rom(bytes, size), -EINVAL);
	refused("larger than 16 MiB");
	free(bytes);
}

Test(front_rom, a_file_with_faults_is_the_guests_to_judge)
{
	uint8_t bytes[3000];

	make_rom(bytes, sizeof(bytes));
	bytes[0x1c] = 'Q';
	cr_assert_eq(create_with_rom(bytes, sizeof(bytes)), 0);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, "the image at 0x0 has no PCI data structure"));
	set_command(6);
	cfg_write(PCI_ROM_ADDRESS, ROM | 1, 4);
	cr_expect_eq(mem_read(ROM + 0x1c, 4), 0x52494351, "as it is");
	machine_end();
}

Test(front_rom, a_file_that_is_no_rom_is_refused)
{
	static const char *const files[] = {"/nonexistent/rom", "/dev/null", "/tmp"};

	for (unsigned i = 0; i < 3; i++) {
		machine_begin();
		m.config.rom = VFIO_ROM_FILE;
		m.config.rom_file = files[i];
		cr_expect_neq(machine_create(), 0);
		cr_expect_eq(fake_log_count, 1);
		cr_expect_not_null(strstr(fake_log_last, files[i]));
		vfio_unregister_device(&m.device.vdev);
		vfio_device_free(&m.device.vdev);
		machine_free();
	}
}
