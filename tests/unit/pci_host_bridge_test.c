/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/pci_machine.h"

TestSuite(pci_host_bridge, .init = machine_start);

static uint64_t get64(uint64_t address, unsigned size)
{
	uint64_t value = 0;

	bus_read(mmio, address, &value, size);
	return value;
}

Test(pci_host_bridge, ecam_answers_every_size_and_alignment)
{
	cr_expect_eq(get64(ECAM, 4), 0x00081b36);
	cr_expect_eq(get64(ECAM, 8), UINT64_C(0x00081b36));
	cr_expect_eq(get64(ECAM, 1), 0x36);
	cr_expect_eq(get64(ECAM + 1, 1), 0x1b);
	cr_expect_eq(get64(ECAM + 2, 2), 0x0008);
	cr_expect_eq(get64(ECAM + 1, 2), 0x081b);
	cr_expect_eq(get64(ECAM + 1, 4), 0x0000081b);
	cr_expect_eq(get64(ECAM + 8, 4), 0x06000000);
	cr_expect_eq(get64(ECAM + 0xa, 2), 0x0600);
	machine_stop();
}

Test(pci_host_bridge, what_is_not_there_reads_ones_and_takes_writes)
{
	static const unsigned places[][3] = {
		{0, 1, 0}, {0, 0, 1}, {0, 31, 7}, {1, 0, 0}, {255, 31, 7}, {7, 3, 2},
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		const unsigned *p = places[i];

		cr_expect_eq(config_get(p[0], p[1], p[2], 0, 4), 0xffffffff);
		cr_expect_eq(config_get(p[0], p[1], p[2], 0xffe, 2), 0xffff);
		cr_expect_eq(config_get(p[0], p[1], p[2], 3, 1), 0xff);
		config_set(p[0], p[1], p[2], 4, 0xffffffff, 4);
	}
	cr_expect_eq(get64(ECAM + 0x8000, 8), UINT64_MAX);
	machine_stop();
}

Test(pci_host_bridge, writes_arrive_at_any_size_also_across_dwords)
{
	struct card card;
	uint64_t eight = UINT64_C(0x1234567800000006);

	card_init(&card, "card");
	cr_assert_eq(pci_root_add(bridge, &card.fn, 3), 0);
	config_set(0, 3, 0, 0x10, 0xffffffff, 4);
	cr_expect_eq(config_get(0, 3, 0, 0x10, 4), 0xffffc004);
	config_set(0, 3, 0, 0x11, 0x0000, 2);
	cr_expect_eq(config_get(0, 3, 0, 0x10, 4), 0xff000004);
	/* Four bytes from 0x12 on: the upper half of one BAR and the lower of the next. */
	config_set(0, 3, 0, 0x12, 0xabcd1234, 4);
	cr_expect_eq(config_get(0, 3, 0, 0x10, 4), 0x12340004);
	cr_expect_eq(config_get(0, 3, 0, 0x14, 2), 0xabcd);
	bus_write(mmio, ecam(0, 3, 0, 4), &eight, 8);
	cr_expect_eq(config_get(0, 3, 0, 4, 2), 6);
	cr_expect_eq(config_get(0, 3, 0, 0xc, 1), 0);
	machine_stop();
}

Test(pci_host_bridge, device_numbers_are_given_or_found)
{
	static struct card cards[33];

	for (int i = 0; i < 33; i++)
		card_init(&cards[i], "card");
	cr_expect_eq(pci_root_add(bridge, &cards[0].fn, 0), -EINVAL);
	cr_expect_eq(pci_root_add(bridge, &cards[0].fn, 32), -EINVAL);
	cr_expect_eq(pci_root_add(bridge, &cards[0].fn, -2), -EINVAL);
	cr_expect_eq(pci_root_add(bridge, &cards[0].fn, 2), 0);
	cr_expect_eq(pci_root_add(bridge, &cards[1].fn, 2), -EBUSY);
	cr_expect_eq(pci_root_add(bridge, &cards[1].fn, -1), 0);
	cr_expect_eq(pci_function_bdf(&cards[1].fn), 1 << 3);
	cr_expect_eq(pci_root_add(bridge, &cards[2].fn, -1), 0);
	cr_expect_eq(pci_function_bdf(&cards[2].fn), 3 << 3);
	for (int i = 3; i < 31; i++)
		cr_assert_eq(pci_root_add(bridge, &cards[i].fn, -1), 0);
	cr_expect_eq(pci_root_add(bridge, &cards[31].fn, -1), -ENOSPC);
	machine_stop();
	cr_expect_eq(cards_destroyed, 31);
}

Test(pci_host_bridge, bad_configurations_and_taken_ranges_are_refused_without_leftovers)
{
	struct pci_host_bridge_config config = *pci_host_bridge_config(bridge);
	struct pci_host_bridge *other = NULL;

	config.bus_count = 0;
	cr_expect_eq(pci_host_bridge_create(&config, &other), -EINVAL);
	config.bus_count = 257;
	cr_expect_eq(pci_host_bridge_create(&config, &other), -EINVAL);
	config.bus_count = 1;
	cr_expect_eq(pci_host_bridge_create(&config, &other), -EEXIST);
	config.ecam_base = 0x100000000;
	cr_expect_eq(pci_host_bridge_create(&config, &other), 0, "a second one elsewhere");
	pci_host_bridge_destroy(other);
	machine_stop();
}

Test(pci_host_bridge, a_function_below_a_port_moves_with_the_bus_number)
{
	struct pci_root_port *port;
	struct card card;

	card_init(&card, "card");
	cr_assert_eq(pci_root_port_create(bridge, 4, &port), 0);
	cr_assert_eq(pci_root_port_plug(port, &card.fn, 0), 0);
	cr_expect_eq(config_get(1, 0, 0, 0, 4), 0xffffffff, "no number yet");
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	cr_expect_eq(config_get(1, 0, 0, 0, 4), 0x00101b36);
	cr_expect_eq(config_get(1, 1, 0, 0, 4), 0xffffffff, "one device on a link");
	cr_expect_eq(config_get(1, 0, 1, 0, 4), 0xffffffff);
	cr_expect_eq(pci_function_bdf(&card.fn), 0x0100);

	config_set(0, 4, 0, PCI_SECONDARY_BUS, 0x2a, 1);
	cr_expect_eq(config_get(1, 0, 0, 0, 4), 0xffffffff);
	cr_expect_eq(config_get(0x2a, 0, 0, 0, 4), 0x00101b36);
	cr_expect_eq(pci_function_bdf(&card.fn), 0x2a00);

	/* Bus 0 stays the root bus whatever a port says. */
	config_set(0, 4, 0, PCI_SECONDARY_BUS, 0, 1);
	cr_expect_eq(config_get(0, 0, 0, 0, 4), 0x00081b36);
	machine_stop();
	cr_expect_eq(cards_destroyed, 1);
}

/* What Linux does when it claims what firmware assigned (drivers/pci/setup-res.c, pci_claim_resource). */
static void check_claims(unsigned port, unsigned bus, const struct card *card)
{
	uint64_t mem_base = (uint64_t)(config_get(0, port, 0, 0x20, 2) & 0xfff0) << 16;
	uint64_t mem_last = (uint64_t)(config_get(0, port, 0, 0x22, 2) & 0xfff0) << 16 | 0xfffff;
	uint64_t pre_base = (uint64_t)(config_get(0, port, 0, 0x24, 2) & 0xfff0) << 16 |
			    (uint64_t)config_get(0, port, 0, 0x28, 4) << 32;
	uint64_t pre_last = (uint64_t)(config_get(0, port, 0, 0x26, 2) & 0xfff0) << 16 | 0xfffff |
			    (uint64_t)config_get(0, port, 0, 0x2c, 4) << 32;
	uint64_t io_base = (config_get(0, port, 0, 0x1c, 1) & 0xf0) << 8;
	uint64_t io_last = (config_get(0, port, 0, 0x1d, 1) & 0xf0) << 8 | 0xfff;

	cr_assert_eq(config_get(0, port, 0, 0x18, 1), 0);
	cr_assert_eq(config_get(0, port, 0, 0x19, 1), bus);
	cr_assert_eq(config_get(0, port, 0, 0x1a, 1), bus);
	cr_assert_eq(config_get(0, port, 0, 4, 2), 0);
	cr_assert(mem_base >= 0xc0000000 && mem_base < mem_last && mem_last < 0xe0000000);
	cr_assert(pre_base >= machine_windows.mem64.base && pre_base < pre_last);
	cr_assert(io_base >= 0x1000 && io_base < io_last);
	cr_assert_eq(config_get(0, port, 0, 0x24, 1) & 0xf, 1, "64-bit window");
	for (unsigned i = 0; card && i < PCI_BAR_COUNT; i++) {
		const struct pci_bar *bar = &card->fn.bars[i];
		unsigned reg = 0x10 + 4 * i;
		uint64_t at = config_get(bus, 0, 0, reg, 4) & ~(bar->kind == PCI_BAR_IO ? 3u : 15u);

		if (bar->kind == PCI_BAR_ABSENT)
			continue;
		if (bar->kind == PCI_BAR_MEM64)
			at |= (uint64_t)config_get(bus, 0, 0, reg + 4, 4) << 32;
		cr_assert_neq(at, 0);
		cr_assert_eq(at % bar->size, 0);
		if (bar->kind == PCI_BAR_IO)
			cr_assert(at >= io_base && at + bar->size - 1 <= io_last);
		else
			cr_assert((at >= mem_base && at + bar->size - 1 <= mem_last) ||
				  (bar->prefetchable && at >= pre_base &&
				   at + bar->size - 1 <= pre_last));
	}
}

Test(pci_host_bridge, assignment_leaves_a_machine_that_linux_only_has_to_claim)
{
	struct card nvme, nic, virtio;
	struct pci_root_port *ports[3];
	uint64_t at;

	card_init(&nvme, "nvme0");
	card_init(&nic, "0000:02:00.0");
	card_init(&virtio, "virtio0");
	pci_function_add_bar(&nic.fn, 2, PCI_BAR_MEM64, true, 32 << 20);
	pci_function_add_bar(&nic.fn, 4, PCI_BAR_IO, false, 32);
	pci_function_add_bar(&nic.fn, 5, PCI_BAR_MEM32, true, 4096);
	pci_function_add_bar(&nic.fn, PCI_BAR_ROM, PCI_BAR_MEM32, false, 512 << 10);
	cr_assert_eq(pci_root_add(bridge, &virtio.fn, 1), 0);
	for (int i = 0; i < 3; i++)
		cr_assert_eq(pci_root_port_create(bridge, -1, &ports[i]), 0);
	cr_expect_eq(pci_root_port_device(ports[2]), 4);
	cr_assert_eq(pci_root_port_plug(ports[0], &nvme.fn, 0), 0);
	cr_assert_eq(pci_root_port_plug(ports[2], &nic.fn, 0), 0);
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);

	check_claims(2, 1, &nvme);
	check_claims(3, 2, NULL); /* empty, with room for hotplug */
	check_claims(4, 3, &nic);
	at = config_get(0, 1, 0, 0x10, 4) & ~15u;
	at |= (uint64_t)config_get(0, 1, 0, 0x14, 4) << 32;
	cr_expect_geq(at, machine_windows.mem64.base);
	cr_expect_eq(config_get(3, 0, 0, PCI_ROM_ADDRESS, 4) & 1, 0);
	cr_expect_neq(config_get(3, 0, 0, PCI_ROM_ADDRESS, 4), 0);
	/* Decode is off until the guest says so. */
	cr_expect_eq(nvme.mapped[0], PCI_BAR_NONE);
	cr_expect_eq(config_get(1, 0, 0, 4, 2), 0);
	config_set(1, 0, 0, 4, 2, 2);
	cr_expect_neq(nvme.mapped[0], PCI_BAR_NONE);

	/* A second time is the same again, and keeps what is on where it is. */
	at = nvme.mapped[0];
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	cr_expect_eq(nvme.mapped[0], at);
	machine_stop();
	cr_expect_eq(cards_destroyed, 3);
}

Test(pci_host_bridge, thirty_one_ports_share_what_there_is)
{
	struct pci_root_port *port;
	unsigned with_io = 0;

	for (int i = 0; i < 31; i++)
		cr_assert_eq(pci_root_port_create(bridge, -1, &port), 0);
	cr_expect_eq(pci_root_port_create(bridge, -1, &port), -ENOSPC);
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	for (unsigned i = 1; i < 32; i++) {
		cr_expect_eq(config_get(0, i, 0, 0x19, 1), i);
		with_io += config_get(0, i, 0, 0x1c, 2) != 0;
		config_set(0, i, 0, 0x1c, 0xe0f0, 2); /* how Linux looks for an I/O window */
	}
	cr_expect_eq(with_io, 15);
	cr_expect_eq(config_get(0, 31, 0, 0x1c, 2), 0, "no window, and none to be found");
	cr_expect_eq(config_get(0, 1, 0, 0x1c, 2), 0xe0f0);
	machine_stop();
}

Test(pci_host_bridge, what_does_not_fit_is_refused)
{
	struct card big;

	card_init(&big, "gpu0");
	pci_function_add_bar(&big.fn, 2, PCI_BAR_MEM64, true, UINT64_C(1) << 40);
	cr_assert_eq(pci_root_add(bridge, &big.fn, -1), 0);
	cr_expect_eq(pci_host_bridge_assign(bridge), -ENOSPC);
	machine_stop();

	struct pci_root_port *port;
	struct pci_host_bridge_config config = {
		.ecam_base = ECAM, .bus_count = 2, .windows = machine_windows};

	cr_assert_eq(bus_create(&mmio), 0);
	config.mmio = mmio;
	cr_assert_eq(pci_host_bridge_create(&config, &bridge), 0);
	cr_assert_eq(pci_root_port_create(bridge, -1, &port), 0);
	cr_expect_eq(pci_host_bridge_assign(bridge), 0);
	cr_assert_eq(pci_root_port_create(bridge, -1, &port), 0);
	cr_expect_eq(pci_host_bridge_assign(bridge), -ENOSPC);
	pci_host_bridge_destroy(bridge);
	bus_destroy(mmio);
}

Test(pci_host_bridge, reset_brings_everything_back_to_where_it_began)
{
	static uint8_t before[4096];
	struct pci_root_port *port;
	struct card below, beside;
	uint64_t address;

	card_init(&below, "below");
	card_init(&beside, "beside");
	cr_assert_eq(pci_root_port_create(bridge, 1, &port), 0);
	cr_assert_eq(pci_root_port_plug(port, &below.fn, 0), 0);
	cr_assert_eq(pci_root_add(bridge, &beside.fn, 2), 0);
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	for (unsigned i = 0; i < 4096; i++)
		before[i] = (uint8_t)config_get(0, 1, 0, i, 1);
	config_set(1, 0, 0, 4, 7, 2);
	config_set(0, 2, 0, 4, 7, 2);
	config_set(0, 1, 0, 0x19, 9, 1);
	config_set(0, 1, 0, 0x20, 0, 4);
	config_set(9, 0, 0, 0x14, 0x17, 4);
	pci_intx_set(&below.fn, 1, 1);
	address = beside.mapped[0];
	cr_expect_neq(address, PCI_BAR_NONE);
	cr_expect_neq(below.mapped[0], PCI_BAR_NONE);

	cr_assert_eq(pci_host_bridge_reset(bridge), 0);
	cr_expect_eq(below.resets, 1);
	cr_expect_eq(beside.resets, 1);
	cr_expect_eq(below.mapped[0], PCI_BAR_NONE);
	cr_expect_eq(beside.mapped[0], PCI_BAR_NONE);
	cr_expect(!line[pci_intx_gsi(&below.fn, 1)]);
	for (unsigned i = 0; i < 4096; i++)
		cr_assert_eq(config_get(0, 1, 0, i, 1), before[i], "port register %#x", i);
	config_set(0, 2, 0, 4, 2, 2);
	cr_expect_eq(beside.mapped[0], address, "the same place as before");
	machine_stop();
}

Test(pci_host_bridge, intx_pins_are_swizzled_and_shared)
{
	struct card a, b, below;
	struct pci_root_port *port;

	card_init(&a, "a");
	card_init(&b, "b");
	card_init(&below, "below");
	cr_assert_eq(pci_root_add(bridge, &a.fn, 1), 0);
	cr_assert_eq(pci_root_add(bridge, &b.fn, 5), 0);
	cr_assert_eq(pci_root_port_create(bridge, 4, &port), 0);
	cr_assert_eq(pci_root_port_plug(port, &below.fn, 0), 0);
	cr_expect_eq(pci_intx_gsi(&a.fn, 1), 17);
	cr_expect_eq(pci_intx_gsi(&a.fn, 4), 16);
	cr_expect_eq(pci_intx_gsi(&b.fn, 1), 17);
	cr_expect_eq(pci_intx_gsi(&below.fn, 1), 16);
	cr_expect_eq(pci_intx_gsi(&below.fn, 2), 17);

	pci_intx_set(&a.fn, 1, 1);
	pci_intx_set(&a.fn, 1, 1);
	pci_intx_set(&b.fn, 1, 1);
	pci_intx_set(&below.fn, 2, 5);
	cr_expect(line[17]);
	pci_intx_set(&a.fn, 1, 0);
	pci_intx_set(&a.fn, 1, 0);
	pci_intx_set(&below.fn, 2, 0);
	cr_expect(line[17], "b still holds it");
	pci_intx_set(&b.fn, 1, 0);
	cr_expect(!line[17]);
	cr_expect_eq(line_changes, 2);
	pci_intx_set(&b.fn, 0, 1);
	pci_intx_set(&b.fn, 5, 1);
	cr_expect_eq(line_changes, 2);
	pci_intx_set(&b.fn, 3, 1);
	cr_expect(line[19]);
	machine_stop(); /* checks that destroying lowers it */
}
