/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/pci_regs.h>

#include "devices/vfio/front/config_plan.h"
#include "vmm/pci/capability.h"

/* Criterion records each assertion, which is too much for the loops of random tests. */
#define must(what)                                                                                 \
	do {                                                                                       \
		if (!(what))                                                                       \
			cr_assert_fail("line %d: %s", __LINE__, #what);                            \
	} while (0)

static uint8_t dev[4096];
static uint8_t *last_next; /* where the next conventional capability is linked from */
static unsigned last_ext;  /* the extended one before; 0: none yet */
static struct config_plan plan;
static const char *why;

static const struct config_options plain = {
	.vendor_id = -1,
	.device_id = -1,
	.subsystem_vendor_id = -1,
	.subsystem_id = -1,
	.resets = true,
	.intx = true,
	.msi_vectors = 32,
	.msix_vectors = 2048,
};

static void put16(unsigned at, uint16_t value)
{
	memcpy(dev + at, &value, 2);
}

static void put32(unsigned at, uint32_t value)
{
	memcpy(dev + at, &value, 4);
}

static uint16_t word(const uint8_t *bytes, unsigned at)
{
	uint16_t value;

	memcpy(&value, bytes + at, 2);
	return value;
}

static uint32_t dword(const uint8_t *bytes, unsigned at)
{
	uint32_t value;

	memcpy(&value, bytes + at, 4);
	return value;
}

static void blank(void)
{
	memset(dev, 0, sizeof(dev));
	put16(PCI_VENDOR_ID, 0x1b36);
	put16(PCI_DEVICE_ID, 0x0010);
	put16(PCI_COMMAND, 0x0407);
	put16(PCI_STATUS, 0x0010);
	put32(PCI_CLASS_REVISION, 0x01080202);
	dev[PCI_HEADER_TYPE] = 0x80;
	put32(PCI_BASE_ADDRESS_0, 0xfe000004);
	put16(PCI_SUBSYSTEM_VENDOR_ID, 0x1af4);
	put16(PCI_SUBSYSTEM_ID, 0x1100);
	dev[PCI_INTERRUPT_LINE] = 11;
	dev[PCI_INTERRUPT_PIN] = 1;
	last_next = &dev[PCI_CAPABILITY_LIST];
	last_ext = 0;
}

static void cap(unsigned at, uint8_t id)
{
	*last_next = (uint8_t)at;
	dev[at] = id;
	dev[at + 1] = 0;
	last_next = &dev[at + 1];
}

static void ext(unsigned at, uint16_t id, unsigned version)
{
	if (last_ext)
		put32(last_ext, dword(dev, last_ext) | at << 20);
	put32(at, id | version << 16);
	last_ext = at;
}

/* The capabilities of QEMU's nvme with SR-IOV: the everyday device. */
static void nvme(void)
{
	blank();
	cap(0x40, PCI_CAP_ID_MSIX);
	put16(0x42, 64);
	put32(0x44, 0x00002000);
	put32(0x48, 0x00003000);
	cap(0x80, PCI_CAP_ID_EXP);
	put16(0x82, 0x0002);
	put32(0x84, 0x10008fe2 | 0x18);
	put16(0x88, 0x2010);
	put32(0x8c, 0x00000c11);
	put16(0x90, 0x0043);
	put16(0x92, 0x0011);
	put32(0xa4, 0x000c0810 | PCI_EXP_DEVCAP2_EE_PREFIX);
	cap(0x60, PCI_CAP_ID_PM);
	put16(0x62, 0xf803);
	put16(0x64, 0x8108);
	ext(0x100, PCI_EXT_CAP_ID_ARI, 1);
	ext(0x120, PCI_EXT_CAP_ID_SRIOV, 1);
	put32(0x128, 0xffffffff);
	ext(0x160, PCI_EXT_CAP_ID_ERR, 2);
	ext(0x1c0, PCI_EXT_CAP_ID_DSN, 1);
	put32(0x1c4, 0xaabbccdd);
}

static int make_with(const struct config_options *options, size_t size)
{
	return config_plan_make(dev, size, options, &plan, &why);
}

static void make(void)
{
	cr_assert_eq(make_with(&plain, 4096), 0);
}

static bool all(const uint8_t *bytes, unsigned at, unsigned length, uint8_t value)
{
	for (unsigned i = at; i < at + length; i++)
		if (bytes[i] != value)
			return false;
	return true;
}

static bool is_hidden(unsigned at, unsigned length)
{
	return all(plan.image, at, length, 0) && all(plan.emulated, at, length, 0xff) &&
	       all(plan.writable, at, length, 0) && all(plan.through, at, length, 0);
}

static bool is_read_only(unsigned at, unsigned length)
{
	return all(plan.emulated, at, length, 0) && all(plan.writable, at, length, 0) &&
	       all(plan.through, at, length, 0);
}

static bool is_passed(unsigned at, unsigned length)
{
	return all(plan.emulated, at, length, 0) && all(plan.through, at, length, 0xff);
}

/* The ids shown, in the order of the chain. */
static unsigned shown(uint16_t *ids, unsigned max)
{
	struct pci_capability caps[PCI_CAPABILITY_MAX];
	size_t count = 0;

	cr_assert_eq(pci_capability_walk(plan.image, 4096, caps, PCI_CAPABILITY_MAX, &count), 0);
	cr_assert_leq(count, max);
	for (size_t i = 0; i < count; i++)
		ids[i] = caps[i].id;
	return (unsigned)count;
}

static unsigned shown_extended(uint16_t *ids, unsigned max)
{
	struct pci_capability caps[PCI_EXTENDED_MAX];
	size_t count = 0;

	cr_assert_eq(pci_extended_walk(plan.image, 4096, caps, PCI_EXTENDED_MAX, &count), 0);
	cr_assert_leq(count, max);
	for (size_t i = 0; i < count; i++)
		ids[i] = caps[i].id;
	return (unsigned)count;
}

static bool shows(uint16_t id)
{
	uint16_t ids[64];
	unsigned count = shown(ids, 64);

	for (unsigned i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

static bool shows_extended(uint16_t id)
{
	uint16_t ids[1024];
	unsigned count = shown_extended(ids, 1024);

	for (unsigned i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

Test(config_plan, the_header_is_a_shadow_but_for_status)
{
	nvme();
	make();
	cr_expect_eq(word(plan.image, PCI_VENDOR_ID), 0x1b36);
	cr_expect_eq(dword(plan.image, PCI_CLASS_REVISION), 0x01080202);
	cr_expect(all(plan.emulated, 0, PCI_STATUS, 0xff));
	cr_expect(all(plan.emulated, PCI_STATUS + 2, 0x40 - PCI_STATUS - 2, 0xff));
	cr_expect_eq(word(plan.emulated, PCI_STATUS), PCI_STATUS_CAP_LIST);
	cr_expect_eq(word(plan.through, PCI_STATUS), 0);
	cr_expect_eq(plan.image[PCI_HEADER_TYPE], 0,
		     "the host's multi-function bit is not the guest's");
	cr_expect_eq(plan.image[PCI_INTERRUPT_LINE], 0);
	cr_expect_eq(plan.writable[PCI_INTERRUPT_LINE], 0xff);
	cr_expect_eq(plan.pin, 1);
	cr_expect(all(plan.image, PCI_BASE_ADDRESS_0, 24, 0), "BARs are the guest's own");
	cr_expect(all(plan.through, PCI_BASE_ADDRESS_0, 24, 0));
}

Test(config_plan, the_command_register_starts_at_zero_and_takes_seven_bits)
{
	nvme();
	make();
	cr_expect_eq(word(plan.image, PCI_COMMAND), 0);
	cr_expect_eq(word(plan.writable, PCI_COMMAND), 0x0547);
	cr_expect_eq(word(plan.through, PCI_COMMAND), 0x0547);
	cr_expect_eq(word(plan.emulated, PCI_COMMAND), 0xffff);
}

Test(config_plan, ids_are_overridden_one_by_one)
{
	struct config_options options = plain;

	nvme();
	options.device_id = 0x1234;
	options.subsystem_id = 0xffff;
	cr_assert_eq(make_with(&options, 4096), 0);
	cr_expect_eq(word(plan.image, PCI_VENDOR_ID), 0x1b36);
	cr_expect_eq(word(plan.image, PCI_DEVICE_ID), 0x1234);
	cr_expect_eq(word(plan.image, PCI_SUBSYSTEM_VENDOR_ID), 0x1af4);
	cr_expect_eq(word(plan.image, PCI_SUBSYSTEM_ID), 0xffff);
	options.vendor_id = 0;
	options.subsystem_vendor_id = 7;
	cr_assert_eq(make_with(&options, 4096), 0);
	cr_expect_eq(word(plan.image, PCI_VENDOR_ID), 0);
	cr_expect_eq(word(plan.image, PCI_SUBSYSTEM_VENDOR_ID), 7);
}

Test(config_plan, the_multifunction_bit_is_of_the_guest_package)
{
	struct config_options options = plain;

	nvme();
	options.multifunction = true;
	cr_assert_eq(make_with(&options, 4096), 0);
	cr_expect_eq(plan.image[PCI_HEADER_TYPE], 0x80);
}

Test(config_plan, a_pin_that_cannot_be_delivered_or_does_not_exist_is_not_shown)
{
	struct config_options options = plain;

	nvme();
	options.intx = false;
	cr_assert_eq(make_with(&options, 4096), 0);
	cr_expect_eq(plan.image[PCI_INTERRUPT_PIN], 0);
	cr_expect_eq(plan.pin, 0);
	dev[PCI_INTERRUPT_PIN] = 5;
	make();
	cr_expect_eq(plan.image[PCI_INTERRUPT_PIN], 0);
}

Test(config_plan, capabilities_keep_their_place_and_order)
{
	uint16_t ids[8];

	nvme();
	make();
	cr_assert_eq(shown(ids, 8), 3);
	cr_expect_eq(ids[0], PCI_CAP_ID_MSIX);
	cr_expect_eq(ids[1], PCI_CAP_ID_EXP);
	cr_expect_eq(ids[2], PCI_CAP_ID_PM);
	cr_expect_eq(plan.msix, 0x40);
	cr_expect_eq(plan.pcie, 0x80);
	cr_expect_eq(plan.pm, 0x60);
	cr_expect_eq(plan.broken, 0);
	cr_expect_eq(plan.shown, 5);
	cr_expect_eq(plan.hidden, 2);
}

Test(config_plan, function_creating_and_iommu_capabilities_are_hidden)
{
	static const uint16_t ids[] = {
		PCI_EXT_CAP_ID_SRIOV, PCI_EXT_CAP_ID_ARI,  PCI_EXT_CAP_ID_REBAR,
		PCI_EXT_CAP_ID_PASID, PCI_EXT_CAP_ID_ATS,  PCI_EXT_CAP_ID_PRI,
		PCI_EXT_CAP_ID_MRIOV, PCI_EXT_CAP_ID_L1SS, PCI_EXT_CAP_ID_VF_REBAR,
		PCI_EXT_CAP_ID_DOE,   PCI_EXT_CAP_ID_DPC,  PCI_EXT_CAP_ID_PTM,
	};

	for (unsigned i = 0; i < sizeof(ids) / sizeof(ids[0]); i++) {
		for (unsigned first = 0; first < 2; first++) {
			uint16_t out[4];

			blank();
			if (!first)
				ext(0x100, PCI_EXT_CAP_ID_DSN, 1);
			ext(first ? 0x100 : 0x140, ids[i], 1);
			put32(last_ext + 4, 0xdeadbeef);
			ext(0x200, PCI_EXT_CAP_ID_VNDR, 1);
			make();
			cr_expect(!shows_extended(ids[i]), "%#x", ids[i]);
			cr_expect(shows_extended(PCI_EXT_CAP_ID_VNDR), "%#x", ids[i]);
			cr_expect_eq(shown_extended(out, 4), 2);
			cr_expect_eq(out[0], first ? 0xffff : PCI_EXT_CAP_ID_DSN);
			cr_expect_eq(dword(plan.image, (first ? 0x100 : 0x140) + 4), 0);
			cr_expect(all(plan.through, first ? 0x100 : 0x140, 8, 0));
		}
	}
}

Test(config_plan, an_extended_chain_of_hidden_ones_reads_as_none)
{
	blank();
	ext(0x100, PCI_EXT_CAP_ID_SRIOV, 1);
	ext(0x180, PCI_EXT_CAP_ID_PASID, 1);
	make();
	cr_expect_eq(dword(plan.image, 0x100), 0);
	cr_expect_eq(dword(plan.emulated, 0x100), 0xffffffff);
	cr_expect(is_hidden(0x180, 8));
	cr_expect(is_passed(0x188, 0x20), "what follows a hidden capability is a gap");
}

Test(config_plan, no_extended_chain_reads_as_none_even_with_bytes_in_its_place)
{
	blank();
	put32(0x100, 0);
	put32(0x104, 0x12345678);
	make();
	cr_expect_eq(dword(plan.emulated, 0x100), 0xffffffff);
	cr_expect(is_passed(0x104, 4));
}

Test(config_plan, other_extended_capabilities_are_read_through)
{
	nvme();
	make();
	cr_expect(is_read_only(0x1c4, 8), "serial number");
	cr_expect(is_passed(0x164, 0x28), "error reporting: masks are the guest's");
	cr_expect_eq(dword(plan.emulated, 0x160), 0xffffffff);
	cr_expect_eq(dword(plan.image, 0x160), PCI_EXT_CAP_ID_ERR | 2 << 16 | 0x1c0u << 20);
	cr_expect_eq(dword(plan.image, 0x100), 0xffff | 0x160u << 20);
}

Test(config_plan, msix_shadows_enable_and_mask_only)
{
	nvme();
	make();
	cr_expect_eq(word(plan.writable, 0x42), 0xc000);
	cr_expect_eq(word(plan.image, 0x42), 64);
	cr_expect(all(plan.emulated, 0x40, 12, 0xff));
	cr_expect(all(plan.through, 0x40, 12, 0));
	cr_expect(all(plan.writable, 0x44, 8, 0));
	cr_expect_eq(plan.msix_form.vectors, 65);
	cr_expect_eq(plan.msix_form.table_bar, 0);
	cr_expect_eq(plan.msix_form.table_offset, 0x2000);
	cr_expect_eq(plan.msix_form.pba_offset, 0x3000);
}

Test(config_plan, an_enabled_msix_of_the_host_is_not_shown_enabled)
{
	nvme();
	put16(0x42, 0xc000 | 64);
	make();
	cr_expect_eq(word(plan.image, 0x42), 64);
}

Test(config_plan, msix_is_cut_to_what_can_be_delivered_and_hidden_when_none_can)
{
	struct config_options options = plain;

	nvme();
	options.msix_vectors = 5;
	cr_assert_eq(make_with(&options, 4096), 0);
	cr_expect_eq(plan.msix_form.vectors, 5);
	cr_expect_eq(word(plan.image, 0x42), 4);
	options.msix_vectors = 0;
	cr_assert_eq(make_with(&options, 4096), 0);
	cr_expect_eq(plan.msix, 0);
	cr_expect(!shows(PCI_CAP_ID_MSIX));
	cr_expect(is_hidden(0x40, 12));
	cr_expect_eq(plan.msix_form.vectors, 0);
	cr_expect_eq(plan.msix_form.entries, 65, "the table is still there, to be kept away");
	cr_expect_eq(plan.msix_form.table_offset, 0x2000);
	cr_expect(shows(PCI_CAP_ID_PM));
}

Test(config_plan, msi_of_every_form_is_a_shadow)
{
	for (unsigned form = 0; form < 4; form++) {
		unsigned flags = (form & 1 ? PCI_MSI_FLAGS_64BIT : 0) |
				 (form & 2 ? PCI_MSI_FLAGS_MASKBIT : 0);
		unsigned length = 10 + (form & 1 ? 4 : 0) + (form & 2 ? 10 : 0);
		unsigned data = form & 1 ? 0x5c : 0x58;

		blank();
		memset(dev + 0x50, 0x5a, 0x30);
		cap(0x50, PCI_CAP_ID_MSI);
		put16(0x52, (uint16_t)(flags | 3 << 1 | 1 | 2 << 4));
		make();
		cr_expect_eq(plan.msi, 0x50);
		cr_expect_eq(plan.msi_form.vectors, 8);
		cr_expect_eq(plan.msi_form.address64, form & 1);
		cr_expect_eq(plan.msi_form.masking, !!(form & 2));
		cr_expect_eq(word(plan.image, 0x52), flags | 3 << 1);
		cr_expect_eq(word(plan.writable, 0x52), 0x71);
		cr_expect(all(plan.image, 0x54, length - 4, 0), "power-on state, not the host's");
		cr_expect(all(plan.emulated, 0x50, length, 0xff));
		cr_expect(all(plan.through, 0x50, length, 0));
		cr_expect_eq(dword(plan.writable, 0x54), 0xfffffffc);
		cr_expect_eq(word(plan.writable, data), 0xffff);
		if (form & 2) {
			cr_expect_eq(dword(plan.writable, data + 4), 0xff);
			cr_expect_eq(dword(plan.writable, data + 8), 0, "pending bits");
		}
		cr_expect(is_passed(0x50 + length, 4));
	}
}

Test(config_plan, msi_vectors_are_cut_to_a_power_of_two_that_can_be_delivered)
{
	static const struct {
		unsigned log2, can, shown;
	} cases[] = {{5, 32, 32}, {5, 31, 16}, {5, 1, 1}, {2, 32, 4}, {7, 64, 32}, {0, 9, 1}};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct config_options options = plain;

		blank();
		cap(0x50, PCI_CAP_ID_MSI);
		put16(0x52, (uint16_t)(cases[i].log2 << 1 | PCI_MSI_FLAGS_MASKBIT));
		options.msi_vectors = cases[i].can;
		cr_assert_eq(make_with(&options, 4096), 0);
		cr_expect_eq(plan.msi_form.vectors, cases[i].shown, "case %u", i);
		cr_expect_eq(1u << ((word(plan.image, 0x52) & 0xe) >> 1), cases[i].shown);
		cr_expect_eq(dword(plan.writable, 0x5c),
			     cases[i].shown == 32 ? 0xffffffff : (1u << cases[i].shown) - 1);
	}
}

Test(config_plan, power_management_shadows_the_state_and_knows_no_wake_up)
{
	nvme();
	make();
	cr_expect_eq(word(plan.image, 0x62) & 0xf800, 0);
	cr_expect_eq(word(plan.image, 0x64), PCI_PM_CTRL_NO_SOFT_RESET);
	cr_expect_eq(word(plan.writable, 0x64), 3);
	cr_expect_eq(word(plan.emulated, 0x64), 0x81ff);
	cr_expect_eq(word(plan.through, 0x64), 0x1e03);
	cr_expect(is_read_only(0x67, 1));
	cr_expect_eq(plan.power_states, 0x9);
	put16(0x62, 0x0603);
	make();
	cr_expect_eq(plan.power_states, 0xf);
}

Test(config_plan, power_management_at_the_very_end_fits_to_the_byte)
{
	blank();
	cap(0xf8, PCI_CAP_ID_PM);
	make();
	cr_expect_eq(plan.pm, 0xf8);
	cr_expect(is_read_only(0xff, 1));
	blank();
	cap(0xfc, PCI_CAP_ID_PM);
	make();
	cr_expect_eq(plan.pm, 0, "four bytes at the very end hold no state register");
	cr_expect(!shows(PCI_CAP_ID_PM));
	cr_expect_eq(plan.broken, CONFIG_BROKEN_OVERLAP);
}

Test(config_plan, the_pcie_capability_is_an_endpoint_with_the_host_link_read_only)
{
	nvme();
	make();
	cr_expect_eq(word(plan.image, 0x82), 2);
	cr_expect_eq(dword(plan.image, 0x84) & PCI_EXP_DEVCAP_PHANTOM, 0);
	cr_expect_neq(dword(plan.image, 0x84) & PCI_EXP_DEVCAP_FLR, 0);
	cr_expect(plan.flr);
	cr_expect_eq(word(plan.through, 0x88), 0x7dff);
	cr_expect_eq(word(plan.emulated, 0x88), 0x8000);
	cr_expect_eq(word(plan.image, 0x88), 0, "the reset bit always reads zero");
	cr_expect(is_read_only(0x8a, 2));
	cr_expect_eq(dword(plan.image, 0x8c), 0x11, "no link power management");
	cr_expect_eq(word(plan.image, 0x90), 0x40);
	cr_expect_eq(word(plan.writable, 0x90), 0xc8);
	cr_expect(is_read_only(0x92, 2));
	cr_expect_eq(dword(plan.image, 0xa4), 0x10 | PCI_EXP_DEVCAP2_EE_PREFIX);
	cr_expect_eq(word(plan.through, 0xa8), (uint16_t)~0x6420);
	cr_expect(is_hidden(0x94, 0x10));
}

Test(config_plan, reset_bits_are_offered_only_when_the_device_resets)
{
	struct config_options options = plain;

	nvme();
	cap(0xe0, PCI_CAP_ID_AF);
	dev[0xe2] = 6;
	dev[0xe3] = 3;
	make();
	cr_expect(plan.flr);
	cr_expect(plan.af_flr);
	cr_expect_eq(plan.af, 0xe0);
	cr_expect_eq(plan.image[0xe3], 3);
	cr_expect(all(plan.through, 0xe0, 6, 0));
	options.resets = false;
	cr_assert_eq(make_with(&options, 4096), 0);
	cr_expect(!plan.flr);
	cr_expect(!plan.af_flr);
	cr_expect_eq(dword(plan.image, 0x84) & PCI_EXP_DEVCAP_FLR, 0);
	cr_expect_eq(plan.image[0xe3], 1);
}

Test(config_plan, version_zero_becomes_one)
{
	blank();
	cap(0xa0, PCI_CAP_ID_EXP);
	make();
	cr_expect_eq(word(plan.image, 0xa2) & PCI_EXP_FLAGS_VERS, 1);
}

Test(config_plan, an_integrated_endpoint_becomes_an_endpoint_with_a_link)
{
	blank();
	cap(0x80, PCI_CAP_ID_EXP);
	put16(0x82, 0x0092);
	make();
	cr_expect_eq(word(plan.image, 0x82), 2);
	cr_expect_eq(dword(plan.image, 0x8c), 0x11);
	cr_expect_eq(word(plan.image, 0x92), 0x11);
	cr_expect_eq(word(plan.emulated, 0x92), 0xffff);
}

Test(config_plan, an_integrated_endpoint_without_room_for_a_link_stays_one)
{
	blank();
	cap(0x80, PCI_CAP_ID_EXP);
	put16(0x82, 0x0091);
	cap(0x8c, PCI_CAP_ID_PM);
	put16(0x8e, 3);
	make();
	cr_expect_eq(word(plan.image, 0x82), 0x91);
	cr_expect_eq(plan.pm, 0x8c);
	cr_expect_eq(word(plan.image, 0x8e), 3);
}

Test(config_plan, a_virtual_function_without_link_registers_gets_a_link)
{
	blank();
	cap(0xa0, PCI_CAP_ID_EXP);
	put16(0xa2, 2);
	make();
	cr_expect_eq(dword(plan.image, 0xac), 0x11);
	cr_expect_eq(word(plan.image, 0xb2), 0x11);
}

Test(config_plan, ports_bridges_and_event_collectors_are_refused)
{
	for (unsigned type = 0; type < 16; type++) {
		bool endpoint = type == 0 || type == 1 || type == 9;

		blank();
		cap(0x80, PCI_CAP_ID_EXP);
		put16(0x82, (uint16_t)(type << 4 | 2));
		cr_expect_eq(make_with(&plain, 4096), endpoint ? 0 : -EOPNOTSUPP, "type %u", type);
	}
	for (unsigned type = 1; type < 0x80; type++) {
		blank();
		dev[PCI_HEADER_TYPE] = (uint8_t)type;
		cr_expect_eq(make_with(&plain, 4096), -EOPNOTSUPP);
		cr_expect_not_null(strstr(why, "bridge"));
	}
}

Test(config_plan, a_device_that_is_gone_is_refused)
{
	memset(dev, 0xff, sizeof(dev));
	cr_expect_eq(make_with(&plain, 4096), -ENODEV);
	cr_expect_eq(make_with(&plain, 256), -ENODEV);
	put32(0, 0x12348086); /* a virtual function: its ids come from the kernel */
	cr_expect_eq(make_with(&plain, 4096), -ENODEV);
}

Test(config_plan, a_space_too_small_is_refused_and_an_odd_one_counts_as_conventional)
{
	nvme();
	cr_expect_eq(make_with(&plain, 0), -EINVAL);
	cr_expect_eq(make_with(&plain, 255), -EINVAL);
	cr_assert_eq(make_with(&plain, 1024), 0);
	cr_expect_eq(plan.size, 256);
	cr_expect(is_hidden(256, 4096 - 256));
}

Test(config_plan, bridge_and_slot_capabilities_are_hidden)
{
	static const uint8_t ids[] = {0x02, 0x04, 0x06, 0x0c, 0x0d, 0x0e, 0x14, 0x15, 0x00};

	for (unsigned i = 0; i < sizeof(ids); i++) {
		blank();
		cap(0x40, ids[i]);
		put32(0x44, 0x11223344);
		cap(0x60, PCI_CAP_ID_PM);
		make();
		cr_expect(!shows(ids[i]), "%#x", ids[i]);
		cr_expect(shows(PCI_CAP_ID_PM));
		cr_expect_eq(plan.image[PCI_CAPABILITY_LIST], 0x60);
		cr_expect(is_hidden(0x40, 0x20));
	}
}

Test(config_plan, an_empty_chain_has_no_status_bit)
{
	blank();
	cap(0x40, PCI_CAP_ID_AGP);
	make();
	cr_expect_eq(word(plan.image, PCI_STATUS) & PCI_STATUS_CAP_LIST, 0);
	cr_expect_eq(plan.image[PCI_CAPABILITY_LIST], 0);
}

Test(config_plan, vendor_data_passes_with_its_length_fixed)
{
	blank();
	cap(0x40, PCI_CAP_ID_VNDR);
	dev[0x42] = 0x14;
	make();
	cr_expect(is_passed(0x43, 0x11));
	cr_expect_eq(plan.emulated[0x42], 0xff);
	cr_expect_eq(plan.through[0x42], 0);
	cr_expect_eq(config_plan_piece(&plan, 0x40, 4), 4);
	dev[0x42] = 0xff; /* longer than the space */
	make();
	cr_expect(is_passed(0x43, 0xbd));
	dev[0x42] = 1;
	make();
	cr_expect(is_passed(0x43, 4));
}

Test(config_plan, vital_product_data_passes)
{
	blank();
	cap(0x40, PCI_CAP_ID_VPD);
	make();
	cr_expect(is_passed(0x42, 6));
	cr_expect_eq(word(plan.emulated, 0x40), 0xffff);
}

Test(config_plan, a_second_of_a_kind_that_comes_once_is_hidden)
{
	uint16_t ids[8];

	nvme();
	cap(0xe0, PCI_CAP_ID_MSIX);
	put16(0xe2, 7);
	cap(0xf0, PCI_CAP_ID_VNDR);
	cap(0xf8, PCI_CAP_ID_VNDR);
	make();
	cr_expect_eq(plan.msix, 0x40);
	cr_expect_eq(plan.broken, CONFIG_BROKEN_TWICE);
	cr_expect_eq(shown(ids, 8), 5);
}

Test(config_plan, loops_and_pointers_outside_cut_the_chain)
{
	static const uint8_t pointers[] = {0x40, 0x80, 0x60, 0x41, 0x04, 0x3c, 0x01};

	for (unsigned i = 0; i < sizeof(pointers); i++) {
		uint16_t ids[8];

		nvme();
		*last_next = pointers[i];
		make();
		cr_expect_eq(shown(ids, 8), 3, "%#x", pointers[i]);
		cr_expect_eq(plan.broken, CONFIG_BROKEN_CHAIN, "%#x", pointers[i]);
	}
	nvme();
	dev[PCI_CAPABILITY_LIST] = 0x20;
	make();
	cr_expect_eq(plan.shown, 2);
	cr_expect_eq(plan.broken, CONFIG_BROKEN_CHAIN);
}

Test(config_plan, an_entry_of_all_ones_ends_its_chain)
{
	nvme();
	*last_next = 0xf0;
	dev[0xf0] = dev[0xf1] = 0xff;
	put32(0x160, 0xffffffff);
	make();
	cr_expect_eq(plan.broken, CONFIG_BROKEN_CHAIN | CONFIG_BROKEN_EXTENDED);
	cr_expect(shows(PCI_CAP_ID_PM));
	cr_expect(!shows_extended(PCI_EXT_CAP_ID_DSN));
}

Test(config_plan, extended_loops_are_cut)
{
	nvme();
	put32(0x1c0, dword(dev, 0x1c0) | 0x160u << 20);
	make();
	cr_expect_eq(plan.broken, CONFIG_BROKEN_EXTENDED);
	cr_expect(shows_extended(PCI_EXT_CAP_ID_DSN));
	nvme();
	put32(0x1c0, (dword(dev, 0x1c0) & 0xfffff) | 0x100u << 20);
	make();
	cr_expect_eq(plan.broken, CONFIG_BROKEN_EXTENDED);
}

Test(config_plan, a_capability_that_another_lies_inside_of_is_hidden)
{
	blank();
	cap(0x40, PCI_CAP_ID_MSIX);
	cap(0x48, PCI_CAP_ID_PM);
	make();
	cr_expect_eq(plan.msix, 0);
	cr_expect_eq(plan.pm, 0x48);
	cr_expect_eq(plan.broken, CONFIG_BROKEN_OVERLAP);
}

Test(config_plan, an_msix_capability_at_the_very_end_fits_to_the_byte)
{
	for (unsigned at = 0xf0; at < 0x100; at += 4) {
		blank();
		cap(at, PCI_CAP_ID_MSIX);
		make();
		cr_expect_eq(plan.msix, at <= 0xf4 ? at : 0);
	}
}

Test(config_plan, gaps_are_passed_and_accesses_are_split_at_capabilities)
{
	blank();
	cap(0x40, PCI_CAP_ID_AF); /* six bytes */
	dev[0x42] = 6;
	make();
	cr_expect(is_passed(0x46, 0x100 - 0x46));
	cr_expect_eq(config_plan_piece(&plan, 0x44, 4), 2);
	cr_expect_eq(config_plan_piece(&plan, 0x46, 2), 2);
	cr_expect_eq(config_plan_piece(&plan, 0x48, 4), 4);
	cr_expect_eq(config_plan_piece(&plan, 0x49, 3), 1);
	cr_expect_eq(config_plan_piece(&plan, 0x4a, 3), 2);
	cr_expect_eq(config_plan_piece(&plan, 0, 4), 4);
}

/* What has to hold for every plan, whatever the device. */
static void check_sound(void)
{
	struct pci_capability caps[PCI_EXTENDED_MAX];
	size_t count = 0;

	must(pci_capability_walk(plan.image, 4096, caps, PCI_EXTENDED_MAX, &count) == 0);
	for (size_t i = 0; i < count; i++) {
		must(caps[i].id == dev[caps[i].offset]);
		must(word(plan.emulated, caps[i].offset) == 0xffff);
		must(word(plan.writable, caps[i].offset) == 0);
		must(word(plan.through, caps[i].offset) == 0);
	}
	must(pci_extended_walk(plan.image, 4096, caps, PCI_EXTENDED_MAX, &count) == 0);
	for (size_t i = 0; i < count; i++) {
		must(caps[i].id != PCI_EXT_CAP_ID_SRIOV);
		must(caps[i].id != PCI_EXT_CAP_ID_PASID);
		must(dword(plan.emulated, caps[i].offset) == 0xffffffff);
		must(dword(plan.writable, caps[i].offset) == 0);
		must(dword(plan.through, caps[i].offset) == 0);
	}
	for (unsigned i = 0; i < 4096; i++) {
		uint8_t writable = plan.writable[i], through = plan.through[i];

		must(!(writable & ~plan.emulated[i])); /* no shadow bit that nobody reads */
		must(!(through & plan.emulated[i] & ~writable)); /* none written blindly */
	}
	must(word(plan.image, PCI_COMMAND) == 0);
	must(all(plan.through, PCI_BASE_ADDRESS_0, 24, 0));
	for (unsigned at = 0; at < 4096; at += 4)
		for (unsigned done = 0, piece; done < 4; done += piece) {
			piece = config_plan_piece(&plan, at + done, 4 - done);
			must(piece == 1 || piece == 2 || piece == 4);
			must(done + piece <= 4);
			for (unsigned i = at + done + 1; i < at + done + piece; i++)
				must(!(plan.starts[i / 8] & 1u << i % 8));
		}
	if (plan.msix) {
		must(plan.msix <= 0xf4);
		must(plan.msix_form.vectors >= 1);
		must(plan.msix_form.vectors <= 2048);
	}
	if (plan.msi)
		must(plan.msi_form.vectors <= 32);
	must(plan.pin <= 4);
}

/* Deterministic, and the same on every machine. */
static uint32_t seed;

static uint32_t draw(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed >> 8;
}

Test(config_plan, random_bytes_give_a_sound_plan)
{
	for (unsigned round = 0; round < 3000; round++) {
		seed = round;
		for (unsigned i = 0; i < 4096; i++)
			dev[i] = (uint8_t)draw();
		dev[PCI_HEADER_TYPE] = 0;
		put16(PCI_VENDOR_ID, 0x8086);
		put16(PCI_STATUS, 0x10);
		if (make_with(&plain, round % 3 ? 4096 : 256)) {
			must(why);
			continue;
		}
		check_sound();
	}
}

Test(config_plan, a_device_with_broken_bytes_gives_a_sound_plan)
{
	unsigned made = 0;

	for (unsigned round = 0; round < 6000; round++) {
		struct config_options options = plain;

		seed = round;
		nvme();
		cap(0xc0, PCI_CAP_ID_MSI);
		put16(0xc2, 0x018a);
		cap(0xe0, PCI_CAP_ID_VNDR);
		dev[0xe2] = 8;
		cap(0xe8, PCI_CAP_ID_AF);
		dev[0xea] = 6;
		for (unsigned i = 0, changes = 1 + draw() % 6; i < changes; i++) {
			unsigned at = draw() % 3 ? 0x34 + draw() % 0xcc : 0x100 + draw() % 0x100;

			dev[at] = (uint8_t)(draw() % 2 ? draw() : draw() & 0xfc);
		}
		options.msi_vectors = draw() % 40;
		options.msix_vectors = draw() % 3000;
		options.resets = draw() % 2;
		if (make_with(&options, 4096))
			continue;
		made++;
		check_sound();
	}
	cr_expect_gt(made, 3000);
}
