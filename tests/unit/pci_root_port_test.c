/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root ports, driven by a guest that does what Linux does: struct guest below is pciehp
 * (drivers/pci/hotplug/pciehp_hpc.c and pciehp_ctrl.c of Linux 7.3) in short, without the waiting.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <unistd.h>

#include "tests/unit/pci_machine.h"

#define PORT_DEVICE 3

static struct pci_root_port *port;
static struct card card;
static unsigned express, msi; /* where the guest found the capabilities */
static unsigned dones;
static void *done_ctx;

static void done(void *ctx)
{
	dones++;
	done_ctx = ctx;
}

static uint32_t port_get(unsigned offset, unsigned size)
{
	return config_get(0, PORT_DEVICE, 0, offset, size);
}

static void port_set(unsigned offset, uint32_t value, unsigned size)
{
	config_set(0, PORT_DEVICE, 0, offset, value, size);
}

static uint16_t express_get(unsigned reg)
{
	return (uint16_t)port_get(express + reg, 2);
}

static void express_set(unsigned reg, uint16_t value)
{
	port_set(express + reg, value, 2);
}

static bool link_active(void)
{
	return express_get(PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_DLLLA;
}

static bool present(void)
{
	return express_get(PCI_EXP_SLTSTA) & PCI_EXP_SLTSTA_PDS;
}

static uint32_t card_id(void)
{
	return config_get(1, 0, 0, 0, 4);
}

/* ---- the guest -------------------------------------------------------------------------------- */

static struct {
	enum { OFF, BLINKING_ON, BLINKING_OFF, ON } state;
	unsigned seen; /* interrupts handled */
	unsigned added, removed, surprised;
} guest;

static void slot_command(uint16_t value, uint16_t mask)
{
	express_set(PCI_EXP_SLTCTL, (uint16_t)((express_get(PCI_EXP_SLTCTL) & ~mask) | value));
}

static void guest_find_port(void)
{
	static uint8_t bytes[4096];

	for (unsigned i = 0; i < 4096; i += 4) {
		uint32_t value = port_get(i, 4);

		memcpy(bytes + i, &value, 4);
	}
	express = pci_capability_offset(bytes, 4096, PCI_CAP_ID_EXP);
	msi = pci_capability_offset(bytes, 4096, PCI_CAP_ID_MSI);
	cr_assert(express && msi);
}

/* pcie_init() and pcie_enable_notification(): the port driver binds. */
static void guest_probe(void)
{
	guest_find_port();
	port_set(PCI_COMMAND, PCI_COMMAND_MASTER | PCI_COMMAND_MEMORY, 2);
	port_set(msi + PCI_MSI_ADDRESS_LO, 0xfee01000, 4);
	port_set(msi + PCI_MSI_ADDRESS_HI, 0, 4);
	port_set(msi + PCI_MSI_DATA_64, 0x4031, 2);
	port_set(msi + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | port_get(msi + PCI_MSI_FLAGS, 2), 2);
	guest.state = card_id() == 0xffffffff ? OFF : ON;
	express_set(PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PFD | PCI_EXP_SLTSTA_MRLSC |
					    PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC |
					    PCI_EXP_SLTSTA_PDC);
	if (!present() && !link_active())
		cr_expect(express_get(PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PCC,
			  "an empty slot is off already");
	slot_command(PCI_EXP_SLTCTL_DLLSCE | PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_HPIE,
		     PCI_EXP_SLTCTL_DLLSCE | PCI_EXP_SLTCTL_ABPE | PCI_EXP_SLTCTL_PDCE |
			     PCI_EXP_SLTCTL_HPIE | PCI_EXP_SLTCTL_CCIE | PCI_EXP_SLTCTL_PFDE);
}

static uint16_t guest_isr(void)
{
	uint16_t events = 0, status;

	while ((status = express_get(PCI_EXP_SLTSTA) &
			 (PCI_EXP_SLTSTA_ABP | PCI_EXP_SLTSTA_PFD | PCI_EXP_SLTSTA_PDC |
			  PCI_EXP_SLTSTA_CC | PCI_EXP_SLTSTA_DLLSC))) {
		events |= status;
		express_set(PCI_EXP_SLTSTA, status);
	}
	return events;
}

static void guest_remove_board(bool surprise)
{
	if (!surprise) {
		cr_expect_neq(card_id(), 0xffffffff);
		config_set(1, 0, 0, PCI_COMMAND, 0, 2);
	}
	slot_command(PCI_EXP_SLTCTL_PWR_OFF, PCI_EXP_SLTCTL_PCC);
	guest_isr(); /* link and presence changes by power off are thrown away, 1 s later */
	slot_command(PCI_EXP_SLTCTL_PWR_IND_OFF, PCI_EXP_SLTCTL_PIC);
	guest.state = OFF;
	guest.removed += !surprise;
	guest.surprised += surprise;
}

static void guest_add_board(void)
{
	cr_expect(express_get(PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PCC,
		  "pciehp takes a slot with power for enabled and does nothing");
	slot_command(PCI_EXP_SLTCTL_PWR_ON, PCI_EXP_SLTCTL_PCC);
	slot_command(PCI_EXP_SLTCTL_PWR_IND_BLINK, PCI_EXP_SLTCTL_PIC);
	cr_expect(link_active());
	cr_expect_neq(card_id(), 0xffffffff);
	guest_isr(); /* changes up to here are ignored */
	cr_expect(express_get(PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_NLW);
	cr_expect(!(express_get(PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_LT));
	slot_command(PCI_EXP_SLTCTL_PWR_IND_ON, PCI_EXP_SLTCTL_PIC);
	guest.state = ON;
	guest.added++;
}

static void guest_presence_or_link(void)
{
	if (guest.state == ON || guest.state == BLINKING_OFF)
		guest_remove_board(true);
	if (present() || link_active())
		guest_add_board();
}

static void guest_handle(uint16_t events)
{
	if (events & PCI_EXP_SLTSTA_ABP) {
		slot_command(guest.state == OFF || guest.state == ON ? PCI_EXP_SLTCTL_PWR_IND_BLINK
			     : guest.state == BLINKING_OFF           ? PCI_EXP_SLTCTL_PWR_IND_ON
								     : PCI_EXP_SLTCTL_PWR_IND_OFF,
			     PCI_EXP_SLTCTL_PIC);
		guest.state = guest.state == ON             ? BLINKING_OFF
			      : guest.state == OFF          ? BLINKING_ON
			      : guest.state == BLINKING_OFF ? ON
							    : OFF;
	}
	if (events & (PCI_EXP_SLTSTA_PDC | PCI_EXP_SLTSTA_DLLSC))
		guest_presence_or_link();
}

/* Take the interrupts that came, as a guest that is not busy does. */
static void guest_run(void)
{
	while (guest.seen < messages) {
		guest.seen = messages;
		guest_handle(guest_isr());
	}
}

static void guest_five_seconds_pass(void)
{
	if (guest.state == BLINKING_OFF)
		guest_remove_board(false);
	else if (guest.state == BLINKING_ON)
		guest_presence_or_link();
}

/* ---- the machine ------------------------------------------------------------------------------ */

static void start(void)
{
	machine_start();
	memset(&guest, 0, sizeof(guest));
	dones = 0;
	done_ctx = NULL;
	card_init(&card, "card");
	cr_assert_eq(pci_root_port_create(bridge, PORT_DEVICE, &port), 0);
}

static void start_with_card(void)
{
	start();
	cr_assert_eq(pci_root_port_plug(port, &card.fn, 0), 0);
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	guest_probe();
	config_set(1, 0, 0, PCI_COMMAND, 6, 2);
	cr_assert_neq(card.mapped[0], PCI_BAR_NONE);
	cr_assert_eq(messages, 0);
}

static void start_empty(void)
{
	start();
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	guest_probe();
	cr_assert_eq(messages, 0);
}

Test(pci_root_port, has_what_linux_looks_for, .init = start_with_card)
{
	uint32_t slot = port_get(express + PCI_EXP_SLTCAP, 4);
	uint32_t link = port_get(express + PCI_EXP_LNKCAP, 4);
	uint32_t acs;

	cr_expect_eq(port_get(PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_BRIDGE);
	cr_expect_eq(port_get(PCI_CLASS_DEVICE, 2), 0x0604);
	cr_expect_eq(port_get(PCI_INTERRUPT_PIN, 1), 1);
	cr_expect_eq(port_get(express + 2, 2), 0x0142, "version 2, root port, slot");
	cr_expect_eq(slot >> 19, PORT_DEVICE);
	cr_expect_eq(slot & 0x7ffff, PCI_EXP_SLTCAP_ABP | PCI_EXP_SLTCAP_PCP | PCI_EXP_SLTCAP_PIP |
					     PCI_EXP_SLTCAP_HPS | PCI_EXP_SLTCAP_HPC |
					     PCI_EXP_SLTCAP_NCCS);
	cr_expect(link & PCI_EXP_LNKCAP_DLLLARC);
	cr_expect_eq(link & PCI_EXP_LNKCAP_SLS, express_get(PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_CLS);
	cr_expect_eq(link & PCI_EXP_LNKCAP_MLW, express_get(PCI_EXP_LNKSTA) & PCI_EXP_LNKSTA_NLW);
	cr_expect(port_get(express + PCI_EXP_DEVCAP2, 4) & PCI_EXP_DEVCAP2_EE_PREFIX);
	cr_expect_eq(port_get(0x100, 2), PCI_EXT_CAP_ID_ACS);
	acs = port_get(0x100 + PCI_ACS_CAP, 2);
	cr_expect_eq(acs & (PCI_ACS_RR | PCI_ACS_UF), PCI_ACS_RR | PCI_ACS_UF);
	port_set(0x100 + PCI_ACS_CTRL, acs, 2);
	cr_expect_eq(port_get(0x100 + PCI_ACS_CTRL, 2), acs);
	machine_stop();
}

Test(pci_root_port, a_slot_at_boot_shows_its_card, .init = start)
{
	cr_assert_eq(pci_root_port_plug(port, &card.fn, 0), 0);
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	guest_find_port();
	cr_expect_eq(express_get(PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_PDS, "and no events");
	cr_expect_eq(express_get(PCI_EXP_SLTCTL), PCI_EXP_SLTCTL_PWR_IND_ON);
	cr_expect(link_active());
	cr_expect_eq(config_get(1, 0, 0, PCI_HEADER_TYPE, 1), 0);
	machine_stop();
}

Test(pci_root_port, an_empty_slot_at_boot_is_off, .init = start)
{
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	guest_find_port();
	cr_expect_eq(express_get(PCI_EXP_SLTSTA), 0);
	cr_expect_eq(express_get(PCI_EXP_SLTCTL),
		     PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
	cr_expect(!link_active());
	cr_expect_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, done, NULL), -ENODEV);
	cr_expect_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), -ENODEV);
	machine_stop();
}

Test(pci_root_port, event_bits_are_cleared_by_the_ones_written_only, .init = start)
{
	static const struct {
		unsigned offset, size;
		uint32_t value;
		uint16_t left;
	} rows[] = {
		{PCI_EXP_SLTSTA, 2, 0, 0x109},
		{PCI_EXP_SLTSTA, 2, 0x001, 0x108},
		{PCI_EXP_SLTSTA, 1, 0xff, 0x100},
		{PCI_EXP_SLTSTA + 1, 1, 0x01, 0x009},
		{PCI_EXP_SLTSTA + 1, 1, 0xfe, 0x109},
		{PCI_EXP_SLTSTA, 2, 0xffff, 0},
		{PCI_EXP_SLTCTL, 4, 0x01080000, 0x001},
		{PCI_EXP_SLTCTL, 2, 0xffff & ~PCI_EXP_SLTCTL_PCC, 0x109},
		{PCI_EXP_SLTCAP, 4, 0xffffffff, 0x109},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (i)
			start();
		cr_assert_eq(pci_host_bridge_assign(bridge), 0);
		guest_find_port();
		cr_assert_eq(pci_root_port_plug(port, &card.fn, 0), 0);
		cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, NULL, NULL), 0);
		cr_assert_eq(express_get(PCI_EXP_SLTSTA), 0x149);
		port_set(express + rows[i].offset, rows[i].value, rows[i].size);
		cr_expect_eq(express_get(PCI_EXP_SLTSTA) & ~PCI_EXP_SLTSTA_PDS, rows[i].left,
			     "row %zu: %#x", i, express_get(PCI_EXP_SLTSTA));
		machine_stop();
	}
}

Test(pci_root_port, a_card_plugged_in_is_taken_into_use_at_once, .init = start_empty)
{
	cr_assert_eq(pci_root_port_plug(port, &card.fn, 0), 0);
	cr_expect_eq(messages, 1);
	cr_expect_eq(last_message.address, 0xfee01000);
	cr_expect_eq(last_message.data, 0x4031);
	cr_expect_eq(last_devid, PORT_DEVICE << 3);
	guest_run();
	cr_expect_eq(guest.state, ON);
	cr_expect_eq(guest.added, 1);
	cr_expect_eq(guest.surprised, 0);
	cr_expect_eq(card.resets, 0);
	config_set(1, 0, 0, 0x14, 0x10, 4);
	config_set(1, 0, 0, PCI_COMMAND, 2, 2);
	cr_expect_eq(card.mapped[0], UINT64_C(0x1000000000));
	machine_stop();
}

Test(pci_root_port, a_package_is_announced_with_function_0, .init = start_empty)
{
	struct card second;

	card_init(&second, "second");
	cr_assert_eq(pci_root_port_plug(port, &second.fn, 1), 0);
	cr_expect_eq(messages, 0);
	cr_expect(!present() && !link_active());
	cr_expect_eq(config_get(1, 0, 1, 0, 4), 0xffffffff);
	cr_assert_eq(pci_root_port_plug(port, &card.fn, 0), 0);
	cr_expect_eq(messages, 1);
	guest_run();
	cr_expect_eq(guest.added, 1);
	cr_expect_eq(config_get(1, 0, 0, PCI_HEADER_TYPE, 1), PCI_HEADER_TYPE_MFD);
	cr_expect_eq(config_get(1, 0, 1, 0, 4), 0x00101b36);
	cr_expect_eq(config_get(1, 0, 2, 0, 4), 0xffffffff);
	cr_expect_eq(pci_root_port_plug(port, &second.fn, 1), -EBUSY);
	cr_expect_eq(pci_root_port_plug(port, &second.fn, 8), -EINVAL);

	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), 0);
	run_loop();
	cr_expect_eq(cards_destroyed, 2);
	cr_expect_eq(dones, 1);
	machine_stop();
}

Test(pci_root_port, the_guest_gives_back_what_it_is_asked_for, .init = start_with_card)
{
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, done, &card), 0);
	cr_expect_eq(messages, 1);
	cr_expect_eq(card_id(), 0x00101b36, "nothing has happened yet");
	cr_expect_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, done, &card), -EALREADY);
	guest_run();
	cr_expect_eq(guest.state, BLINKING_OFF);
	cr_expect_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, done, &card), -EALREADY);
	cr_expect_eq(messages, 1, "no second press, it would cancel");

	guest_five_seconds_pass();
	cr_expect_eq(guest.removed, 1);
	cr_expect_eq(card_id(), 0xffffffff);
	cr_expect_eq(card.mapped[0], PCI_BAR_NONE);
	cr_expect(!present() && !link_active());
	cr_expect(!card.destroyed, "only on the loop");
	cr_expect_eq(dones, 0);
	cr_expect_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), -EALREADY);
	cr_expect_eq(pci_root_port_plug(port, &card.fn, 0), -EBUSY);
	run_loop();
	cr_expect(card.destroyed);
	cr_expect_eq(dones, 1);
	cr_expect_eq(done_ctx, &card);
	cr_expect_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), -ENODEV);
	guest_run();
	cr_expect_eq(guest.state, OFF);
	cr_expect_eq(guest.added + guest.surprised, 0);

	/* The next card in the same slot. */
	card_init(&card, "next");
	cr_assert_eq(pci_root_port_plug(port, &card.fn, 0), 0);
	guest_run();
	cr_expect_eq(guest.added, 1);
	machine_stop();
}

Test(pci_root_port, a_card_that_is_pulled_is_noticed, .init = start_with_card)
{
	pci_intx_set(&card.fn, 1, 1);
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), 0);
	cr_expect_eq(card_id(), 0xffffffff);
	cr_expect_eq(card.mapped[0], PCI_BAR_NONE);
	cr_expect(!line[16 + (PORT_DEVICE + 0) % 4]);
	pci_intx_set(&card.fn, 1, 1);
	cr_expect(!line[16 + (PORT_DEVICE + 0) % 4], "its pins are dead");
	cr_expect_eq(messages, 1);
	run_loop();
	cr_expect_eq(dones, 1);
	guest_run();
	cr_expect_eq(guest.surprised, 1);
	cr_expect_eq(guest.added, 0);
	cr_expect_eq(guest.state, OFF);
	machine_stop();
}

Test(pci_root_port, force_overrides_ask_and_the_last_request_is_called_back,
     .init = start_with_card)
{
	int first, second;

	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, done, &first), 0);
	guest_run();
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, &second), 0);
	run_loop();
	cr_expect_eq(dones, 1);
	cr_expect_eq(done_ctx, &second);
	guest_run();
	guest_five_seconds_pass();
	cr_expect_eq(guest.state, OFF);
	machine_stop();
	cr_expect_eq(cards_destroyed, 1);
}

Test(pci_root_port, a_press_that_booting_threw_away_can_be_repeated, .init = start)
{
	cr_assert_eq(pci_root_port_plug(port, &card.fn, 0), 0);
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, done, NULL), 0);
	cr_expect_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, done, NULL), -EALREADY);
	cr_expect_eq(messages, 0);
	guest_probe();
	cr_expect_eq(messages, 0);
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, done, NULL), 0);
	guest_run();
	guest_five_seconds_pass();
	run_loop();
	cr_expect_eq(dones, 1);
	machine_stop();
}

Test(pci_root_port, a_card_is_replaced_while_the_guest_looks_away, .init = start_with_card)
{
	struct card next;

	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), 0);
	run_loop();
	card_init(&next, "next");
	cr_assert_eq(pci_root_port_plug(port, &next.fn, 0), 0);
	cr_expect_eq(messages, 1, "one message while the events are pending");
	guest_run();
	cr_expect_eq(guest.surprised, 1);
	cr_expect_eq(guest.added, 1);
	cr_expect_eq(guest.state, ON);
	cr_expect_eq(card_id(), 0x00101b36);
	machine_stop();
}

Test(pci_root_port, power_off_without_being_asked_keeps_the_card, .init = start_with_card)
{
	guest_remove_board(false);
	cr_expect_eq(card_id(), 0xffffffff);
	cr_expect_eq(card.mapped[0], PCI_BAR_NONE);
	cr_expect_eq(card.resets, 1);
	cr_expect(present() && !link_active());
	pci_function_update_bars(&card.fn);
	run_loop();
	cr_expect(!card.destroyed);

	guest_add_board();
	cr_expect_eq(config_get(1, 0, 0, PCI_COMMAND, 2), 0, "as after power on");
	cr_expect_eq(card.resets, 1);

	/* Off again: there is nobody to ask, so an unplug happens at once. */
	guest_remove_board(false);
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, done, NULL), 0);
	run_loop();
	cr_expect_eq(dones, 1);
	machine_stop();
}

Test(pci_root_port, secondary_bus_reset_resets_what_is_below, .init = start_with_card)
{
	port_set(PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET, 2);
	cr_expect_eq(card.resets, 1);
	cr_expect_eq(card.mapped[0], PCI_BAR_NONE);
	cr_expect_eq(card_id(), 0xffffffff);
	cr_expect(!link_active());
	port_set(PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET | PCI_BRIDGE_CTL_SERR, 1);
	cr_expect_eq(card.resets, 1, "once per reset");
	port_set(PCI_BRIDGE_CONTROL, 0, 2);
	cr_expect(link_active());
	cr_expect_eq(card_id(), 0x00101b36);
	cr_expect_eq(config_get(1, 0, 0, PCI_COMMAND, 2), 0);
	cr_expect_eq(config_get(1, 0, 0, 0x14, 4), 0);
	cr_expect_eq(messages, 0, "no hotplug event");
	cr_expect_eq(express_get(PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_PDS);
	machine_stop();
}

Test(pci_root_port, link_disable_takes_the_card_away_and_brings_it_back, .init = start_with_card)
{
	express_set(PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_LD);
	cr_expect(!link_active());
	cr_expect_eq(card_id(), 0xffffffff);
	cr_expect_eq(card.mapped[0], PCI_BAR_NONE);
	cr_expect_eq(card.resets, 1);
	cr_expect_eq(messages, 1);
	guest_isr();
	express_set(PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_RL);
	cr_expect(link_active());
	cr_expect_eq(express_get(PCI_EXP_LNKCTL), 0, "retraining is over at once");
	cr_expect_eq(messages, 2);
	cr_expect_eq(card_id(), 0x00101b36);

	/* A card plugged in behind a disabled link waits for it. */
	guest_isr();
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), 0);
	run_loop();
	guest_isr();
	express_set(PCI_EXP_LNKCTL, PCI_EXP_LNKCTL_LD);
	card_init(&card, "next");
	cr_assert_eq(pci_root_port_plug(port, &card.fn, 0), 0);
	cr_expect(present() && !link_active());
	express_set(PCI_EXP_LNKCTL, 0);
	cr_expect(link_active());
	machine_stop();
}

Test(pci_root_port, a_message_is_sent_once_per_time_that_events_are_pending,
     .init = start_with_card)
{
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, NULL, NULL), 0);
	cr_expect_eq(messages, 1);
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, NULL, NULL), 0);
	cr_expect_eq(messages, 1, "still pending");
	express_set(PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_ABP);
	cr_expect_eq(messages, 1, "the link event is left");
	express_set(PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_DLLSC);
	cr_expect_eq(express_get(PCI_EXP_SLTSTA), PCI_EXP_SLTSTA_PDC, "not enabled");

	/* Enabling is a reason too. */
	slot_command(PCI_EXP_SLTCTL_PDCE, PCI_EXP_SLTCTL_PDCE);
	cr_expect_eq(messages, 2);
	slot_command(0, PCI_EXP_SLTCTL_HPIE);
	slot_command(PCI_EXP_SLTCTL_HPIE, PCI_EXP_SLTCTL_HPIE);
	cr_expect_eq(messages, 3);
	port_set(PCI_COMMAND, 0, 2);
	slot_command(0, PCI_EXP_SLTCTL_HPIE);
	slot_command(PCI_EXP_SLTCTL_HPIE, PCI_EXP_SLTCTL_HPIE);
	cr_expect_eq(messages, 3, "no bus mastering, no message");
	port_set(PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	cr_expect_eq(messages, 4);
	run_loop();
	machine_stop();
}

Test(pci_root_port, without_msi_the_pin_follows_the_events, .init = start_with_card)
{
	unsigned gsi = 16 + PORT_DEVICE % 4;

	port_set(msi + PCI_MSI_FLAGS, 0, 2);
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, NULL, NULL), 0);
	cr_expect_eq(messages, 0);
	cr_expect(line[gsi]);
	cr_expect(port_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	port_set(PCI_COMMAND, PCI_COMMAND_INTX_DISABLE, 2);
	cr_expect(!line[gsi]);
	cr_expect(port_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT);
	port_set(PCI_COMMAND, 0, 2);
	cr_expect(line[gsi]);
	express_set(PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_ABP);
	cr_expect(!line[gsi]);
	cr_expect(!(port_get(PCI_STATUS, 2) & PCI_STATUS_INTERRUPT));
	machine_stop();
}

Test(pci_root_port, a_machine_reset_finishes_what_was_asked_and_keeps_the_rest, .init = start)
{
	struct pci_root_port *other;
	struct card stays;

	card_init(&stays, "stays");
	cr_assert_eq(pci_root_port_create(bridge, PORT_DEVICE + 1, &other), 0);
	cr_assert_eq(pci_root_port_plug(port, &card.fn, 0), 0);
	cr_assert_eq(pci_root_port_plug(other, &stays.fn, 0), 0);
	cr_assert_eq(pci_host_bridge_assign(bridge), 0);
	guest_probe();
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_ASK, done, NULL), 0);
	/* The guest had switched the other one off. */
	config_set(0, PORT_DEVICE + 1, 0, express + PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_PCC, 2);
	cr_expect_eq(stays.resets, 1);
	cr_assert_eq(pci_host_bridge_reset(bridge), 0);
	cr_expect_eq(card_id(), 0xffffffff);
	cr_expect_eq(express_get(PCI_EXP_SLTSTA), 0, "no events in a fresh machine");
	run_loop();
	cr_expect_eq(dones, 1);
	cr_expect(card.destroyed && !stays.destroyed);
	cr_expect_eq(config_get(2, 0, 0, 0, 4), 0x00101b36);
	cr_expect_eq(stays.resets, 2);
	machine_stop();
}

Test(pci_root_port, when_the_loop_takes_no_work_the_unplug_can_be_asked_for_again,
     .init = start_with_card)
{
	post_error = -ENOMEM;
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), 0);
	cr_expect_eq(card_id(), 0xffffffff);
	run_loop();
	cr_expect_eq(dones, 0);
	post_error = 0;
	cr_expect_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), -EALREADY);
	cr_expect_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), -EALREADY);
	run_loop();
	cr_expect_eq(dones, 1);
	machine_stop();
	cr_expect_eq(cards_destroyed, 1);
}

Test(pci_root_port, the_end_of_the_machine_may_come_at_any_point, .init = start_with_card)
{
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), 0);
	machine_stop(); /* the loop has ended, the call on it never runs */
	cr_expect_eq(cards_destroyed, 1);
	cr_expect_eq(dones, 0);
}

/* ---- a vCPU inside ---------------------------------------------------------------------------- */

static atomic_int inside, let_go, late;

static uint64_t slow_read(void *ctx, uint64_t offset, unsigned size)
{
	struct card *c = ctx;

	(void)offset;
	(void)size;
	inside = 1;
	while (!let_go)
		sched_yield();
	late = c->destroyed;
	return 0;
}

static const struct bus_ops slow_ops = {.read = slow_read};

#define SLOW 0xc000 /* of memory as of ports */

static void *vcpu(void *arg)
{
	uint32_t value;

	bus_read(arg, SLOW, &value, 4);
	return NULL;
}

static void *loop_thread(void *arg)
{
	(void)arg;
	run_loop();
	return NULL;
}

static void unplug_with_a_vcpu_inside(struct bus *bus)
{
	pthread_t cpu, loop;

	inside = let_go = 0;
	late = -1;
	cr_assert_eq(bus_add(bus, SLOW, 16, &slow_ops, &card, "slow"), 0);
	cr_assert_eq(pthread_create(&cpu, NULL, vcpu, bus), 0);
	while (!inside)
		sched_yield();
	cr_assert_eq(pci_root_port_unplug(port, PCI_UNPLUG_FORCE, done, NULL), 0);
	cr_assert_eq(bus_remove(bus, SLOW, &card), 0);
	cr_assert_eq(pthread_create(&loop, NULL, loop_thread, NULL), 0);
	usleep(20000);
	cr_expect_eq(dones, 0);
	let_go = 1;
	pthread_join(cpu, NULL);
	pthread_join(loop, NULL);
	cr_expect_eq(late, 0);
	cr_expect(card.destroyed);
	cr_expect_eq(dones, 1);
	machine_stop();
}

Test(pci_root_port, a_card_is_not_destroyed_while_a_vcpu_is_inside_of_it, .init = start_with_card,
     .timeout = 20)
{
	unplug_with_a_vcpu_inside(mmio);
}

Test(pci_root_port, nor_while_one_is_inside_of_its_ports, .init = start_with_card, .timeout = 20)
{
	unplug_with_a_vcpu_inside(pio);
}
