/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vfio/front/config_plan.h"

#include <errno.h>
#include <string.h>
#include <linux/pci_regs.h>

#include "devices/vfio/front/config_policy.h"
#include "vmm/pci/capability.h"

/* Bits of the command register a PCIe function may have (PCI Express 6.0 section 7.5.1.1.3). */
#define COMMAND_BITS                                                                               \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |           \
	 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

static void plan_header(struct config_plan *plan, const struct config_options *options)
{
	uint8_t *image = plan->image;

	emulate(plan, 0, PCI_STD_HEADER_SIZEOF);
	if (options->vendor_id >= 0)
		set16(image, PCI_VENDOR_ID, (uint16_t)options->vendor_id);
	if (options->device_id >= 0)
		set16(image, PCI_DEVICE_ID, (uint16_t)options->device_id);
	if (options->subsystem_vendor_id >= 0)
		set16(image, PCI_SUBSYSTEM_VENDOR_ID, (uint16_t)options->subsystem_vendor_id);
	if (options->subsystem_id >= 0)
		set16(image, PCI_SUBSYSTEM_ID, (uint16_t)options->subsystem_id);

	/* The guest writes the shadow; the device follows in the order config_space.c keeps. */
	set16(image, PCI_COMMAND, 0);
	set16(plan->writable, PCI_COMMAND, COMMAND_BITS);
	set16(plan->through, PCI_COMMAND, COMMAND_BITS);

	/* Status comes from the device, but for the bit that says whether there is a chain. */
	look(plan, PCI_STATUS, 2);
	plan->emulated[PCI_STATUS] = PCI_STATUS_CAP_LIST;

	plan->writable[PCI_CACHE_LINE_SIZE] = 0xff;
	image[PCI_CACHE_LINE_SIZE] = 0;
	image[PCI_HEADER_TYPE] = options->multifunction ? PCI_HEADER_TYPE_MFD : 0;
	image[PCI_BIST] = 0;
	/* BAR and ROM registers belong to vmm/pci: it declares and sizes them. */
	memset(image + PCI_BASE_ADDRESS_0, 0, 24);
	memset(image + PCI_ROM_ADDRESS, 0, 4);
	memset(image + PCI_CAPABILITY_LIST + 1, 0, 7);
	image[PCI_INTERRUPT_LINE] = 0;
	plan->writable[PCI_INTERRUPT_LINE] = 0xff;
	if (!options->intx || image[PCI_INTERRUPT_PIN] > 4)
		image[PCI_INTERRUPT_PIN] = 0;
	plan->pin = image[PCI_INTERRUPT_PIN];
}

/* Of which there is one in a function; a second is hidden. */
static bool comes_once(uint16_t id)
{
	switch (id) {
	case PCI_CAP_ID_PM:
	case PCI_CAP_ID_VPD:
	case PCI_CAP_ID_MSI:
	case PCI_CAP_ID_PCIX:
	case PCI_CAP_ID_EXP:
	case PCI_CAP_ID_MSIX:
	case PCI_CAP_ID_AF:
		return true;
	default:
		return false;
	}
}

/* Of bridges, or about the place where the device sits on the host. */
static bool never_shown(uint16_t id)
{
	switch (id) {
	case 0:
	case PCI_CAP_ID_AGP:
	case PCI_CAP_ID_SLOTID:
	case PCI_CAP_ID_CHSWP:
	case PCI_CAP_ID_SHPC:
	case PCI_CAP_ID_SSVID:
	case PCI_CAP_ID_AGP3:
	case PCI_CAP_ID_EA:
	case 0x15: /* Flattening Portal Bridge, of switch ports */
	case 0xff:
		return true;
	default:
		return false;
	}
}

/*
 * Give the capability its policies. Returns 1 when it is shown, 0 when it is hidden, -EOPNOTSUPP
 * when the whole function cannot be shown. *@length: what it really takes of its room.
 */
static int plan_capability(struct config_plan *plan, const struct config_options *options,
			   const struct pci_capability *cap, uint32_t *length)
{
	uint32_t at = cap->offset, room = cap->room, least = PCI_CAP_SIZEOF, most = room;
	uint16_t flags = room >= 4 ? get16(plan->image, at + PCI_CAP_FLAGS) : 0;
	unsigned type;

	switch (cap->id) {
	case PCI_CAP_ID_PM:
		least = most = PCI_PM_SIZEOF;
		break;
	case PCI_CAP_ID_VPD:
		least = most = PCI_CAP_VPD_SIZEOF;
		break;
	case PCI_CAP_ID_MSI:
		least = most = config_msi_length(flags);
		break;
	case PCI_CAP_ID_PCIX:
		least = most = PCI_CAP_PCIX_SIZEOF_V0;
		break;
	case PCI_CAP_ID_VNDR: /* its third byte is its length; one that makes no sense is ignored */
		most = plan->image[at + PCI_CAP_FLAGS];
		if (most < least || most > room)
			most = room;
		break;
	case PCI_CAP_ID_EXP:
		type = (flags & PCI_EXP_FLAGS_TYPE) >> 4;
		if (type != PCI_EXP_TYPE_ENDPOINT && type != PCI_EXP_TYPE_LEG_END &&
		    type != PCI_EXP_TYPE_RC_END)
			return -EOPNOTSUPP;
		least = config_pcie_length(flags, &most);
		break;
	case PCI_CAP_ID_MSIX:
		least = most = PCI_CAP_MSIX_SIZEOF;
		break;
	case PCI_CAP_ID_AF:
		least = most = PCI_CAP_AF_SIZEOF;
		break;
	default:
		break;
	}
	*length = most < room ? most : room;
	if (room < least) {
		plan->broken |= CONFIG_BROKEN_OVERLAP;
		return 0;
	}

	switch (cap->id) {
	case PCI_CAP_ID_PM:
		config_plan_pm(plan, at);
		return 1;
	case PCI_CAP_ID_VPD:
		pass(plan, at + PCI_VPD_ADDR, PCI_CAP_VPD_SIZEOF - PCI_VPD_ADDR);
		return 1;
	case PCI_CAP_ID_MSI:
		if (!options->msi_vectors)
			return 0;
		config_plan_msi(plan, options, at);
		return 1;
	case PCI_CAP_ID_PCIX:
		look(plan, at + PCI_X_CMD, PCI_CAP_PCIX_SIZEOF_V0 - PCI_X_CMD);
		pass(plan, at + PCI_X_CMD, 2);
		return 1;
	case PCI_CAP_ID_VNDR:
		emulate(plan, at + PCI_CAP_FLAGS, 1);
		pass(plan, at + PCI_CAP_FLAGS + 1, *length - PCI_CAP_FLAGS - 1);
		return 1;
	case PCI_CAP_ID_EXP:
		config_plan_pcie(plan, options, at, *length & ~3u);
		return 1;
	case PCI_CAP_ID_MSIX:
		return config_plan_msix(plan, options, at);
	case PCI_CAP_ID_AF:
		config_plan_af(plan, options, at);
		return 1;
	default:
		look(plan, at + PCI_CAP_FLAGS, *length - PCI_CAP_FLAGS);
		return 1;
	}
}

static int plan_chain(struct config_plan *plan, const struct config_options *options)
{
	struct pci_capability caps[PCI_CAPABILITY_MAX], shown[PCI_CAPABILITY_MAX];
	size_t count = 0, kept = 0;
	uint8_t seen[256] = {0};
	uint32_t length;
	int ret;

	if (pci_capability_walk(plan->image, plan->size, caps, PCI_CAPABILITY_MAX, &count))
		plan->broken |= CONFIG_BROKEN_CHAIN;

	for (size_t i = 0; i < count; i++) {
		uint8_t id = (uint8_t)caps[i].id;

		begin(plan, caps[i].offset);
		length = caps[i].room;
		if (comes_once(id) && seen[id]++) {
			plan->broken |= CONFIG_BROKEN_TWICE;
			ret = 0;
		} else if (never_shown(id)) {
			ret = 0;
		} else {
			ret = plan_capability(plan, options, &caps[i], &length);
		}
		if (ret < 0)
			return ret;
		begin(plan, caps[i].offset + length);
		if (!ret) {
			hide(plan, caps[i].offset, length);
			plan->hidden++;
			continue;
		}
		emulate(plan, caps[i].offset, PCI_CAP_FLAGS);
		shown[kept++] = caps[i];
	}
	plan->shown = (uint16_t)(plan->shown + kept);
	return pci_capability_link(plan->image, shown, kept);
}

enum extended_policy { EXTENDED_HIDE, EXTENDED_LOOK, EXTENDED_PASS };

/*
 * Hidden: what creates functions or moves BARs behind the plan's back (SR-IOV, ARI, resizable
 * BARs), what needs a virtual IOMMU (PASID, ATS, PRI), what belongs to the link or the port above,
 * which are virtual, and channels to the device's security state.
 * Passed through: what the kernel lets a user write (drivers/vfio/pci/vfio_pci_config.c).
 * *@length: bytes to hide of its room, where the size is known.
 */
static enum extended_policy extended_policy(uint16_t id, uint32_t *length)
{
	switch (id) {
	case PCI_EXT_CAP_ID_SRIOV:
		*length = PCI_EXT_CAP_SRIOV_SIZEOF;
		return EXTENDED_HIDE;
	case PCI_EXT_CAP_ID_ARI:
		*length = PCI_EXT_CAP_ARI_SIZEOF;
		return EXTENDED_HIDE;
	case PCI_EXT_CAP_ID_ATS:
		*length = PCI_EXT_CAP_ATS_SIZEOF;
		return EXTENDED_HIDE;
	case PCI_EXT_CAP_ID_PRI:
		*length = PCI_EXT_CAP_PRI_SIZEOF;
		return EXTENDED_HIDE;
	case PCI_EXT_CAP_ID_PASID:
		*length = PCI_EXT_CAP_PASID_SIZEOF;
		return EXTENDED_HIDE;
	case 0: /* a null capability, which may hide one: nothing but its header is known */
	case 0xffff:
		*length = PCI_CAP_SIZEOF;
		return EXTENDED_HIDE;
	case PCI_EXT_CAP_ID_REBAR:
	case PCI_EXT_CAP_ID_VF_REBAR:
	case PCI_EXT_CAP_ID_MRIOV:
	case PCI_EXT_CAP_ID_RCLD:
	case PCI_EXT_CAP_ID_RCILC:
	case PCI_EXT_CAP_ID_RCEC:
	case PCI_EXT_CAP_ID_RCRB:
	case PCI_EXT_CAP_ID_CAC:
	case PCI_EXT_CAP_ID_SECPCI:
	case PCI_EXT_CAP_ID_PMUX:
	case PCI_EXT_CAP_ID_DPC:
	case PCI_EXT_CAP_ID_L1SS:
	case PCI_EXT_CAP_ID_PTM:
	case PCI_EXT_CAP_ID_DLF:
	case PCI_EXT_CAP_ID_PL_16GT:
	case 0x27: /* lane margining at the receiver */
	case PCI_EXT_CAP_ID_NPEM:
	case PCI_EXT_CAP_ID_PL_32GT:
	case 0x2b: /* alternate protocol */
	case PCI_EXT_CAP_ID_DOE:
	case PCI_EXT_CAP_ID_IDE:
	case PCI_EXT_CAP_ID_PL_64GT:
		return EXTENDED_HIDE;
	case PCI_EXT_CAP_ID_ERR:
	case PCI_EXT_CAP_ID_PWR:
	case PCI_EXT_CAP_ID_VNDR:
	case PCI_EXT_CAP_ID_DVSEC:
		return EXTENDED_PASS;
	default:
		return EXTENDED_LOOK;
	}
}

static int plan_extended(struct config_plan *plan)
{
	struct pci_capability caps[PCI_EXTENDED_MAX];
	size_t count = 0, kept = 0;

	if (pci_extended_walk(plan->image, plan->size, caps, PCI_EXTENDED_MAX, &count))
		plan->broken |= CONFIG_BROKEN_EXTENDED;

	/* The header that has to be at 0x100 carries the pointer to the first one shown. */
	begin(plan, PCI_EXTENDED_FIRST);
	begin(plan, PCI_EXTENDED_FIRST + 4);
	hide(plan, PCI_EXTENDED_FIRST, 4);
	for (size_t i = 0; i < count; i++) {
		uint32_t at = caps[i].offset, room = caps[i].room, length = room;
		enum extended_policy policy = extended_policy(caps[i].id, &length);

		if (length > room)
			length = room;
		begin(plan, at);
		begin(plan, at + length);
		if (policy == EXTENDED_HIDE) {
			hide(plan, at, length);
			plan->hidden += caps[i].id != 0;
			continue;
		}
		emulate(plan, at, 4);
		if (policy == EXTENDED_LOOK)
			look(plan, at + 4, length - 4);
		else
			pass(plan, at + 4, length - 4);
		caps[kept++] = caps[i];
	}
	plan->shown = (uint16_t)(plan->shown + kept);
	return pci_extended_link(plan->image, caps, kept);
}

int config_plan_make(const uint8_t *config, size_t size, const struct config_options *options,
		     struct config_plan *plan, const char **why)
{
	int ret;

	*plan = (struct config_plan){
		.size = size >= CONFIG_PLAN_SIZE ? CONFIG_PLAN_SIZE : PCI_CFG_SPACE_SIZE,
		.power_states = 1u << 0,
	};
	if (size < PCI_CFG_SPACE_SIZE) {
		*why = "its configuration space is too small";
		return -EINVAL;
	}
	if (get16(config, PCI_VENDOR_ID) == 0xffff || get16(config, PCI_STATUS) == 0xffff) {
		*why = "it does not answer (all ones)";
		return -ENODEV;
	}
	if (config[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) {
		*why = "it is a bridge, not an endpoint";
		return -EOPNOTSUPP;
	}
	memcpy(plan->image, config, plan->size);

	/* Devices keep registers of their own in the gaps, as be2net does; the kernel trusts them. */
	pass(plan, 0, plan->size);
	emulate(plan, plan->size, CONFIG_PLAN_SIZE - plan->size);
	begin(plan, 0);
	begin(plan, PCI_STD_HEADER_SIZEOF);

	plan_header(plan, options);
	ret = plan_chain(plan, options);
	if (!ret && plan->size == CONFIG_PLAN_SIZE)
		ret = plan_extended(plan);
	if (ret)
		*why = ret == -EOPNOTSUPP ? "it is a port or an event collector, not an endpoint"
					  : "its capabilities cannot be linked";
	return ret;
}

unsigned config_plan_piece(const struct config_plan *plan, uint32_t offset, unsigned size)
{
	unsigned piece = size >= 4 ? 4 : size >= 2 ? 2 : 1;

	for (;; piece /= 2) {
		bool whole = offset % piece == 0;

		for (uint32_t i = offset + 1; whole && i < offset + piece; i++)
			whole = !(plan->starts[i / 8] & 1u << i % 8);
		if (whole)
			return piece;
	}
}
