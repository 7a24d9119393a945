/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vfio/front/config_plan.h"

#include <errno.h>
#include <string.h>
#include <linux/pci_regs.h>

#include "vmm/pci/capability.h"

/* Bits of the command register a PCIe function may have (PCI Express 6.0 section 7.5.1.1.3). */
#define COMMAND_BITS                                                                               \
	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY |           \
	 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

#define LINK_CONTROL_BITS (PCI_EXP_LNKCTL_RCB | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES)

/* The link an endpoint shows that has none of its own: 2.5 GT/s, one lane. */
#define LINK_CAP    (PCI_EXP_LNKCAP_SLS_2_5GB | (1u << 4))
#define LINK_STATUS (PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1)

/* Device control 2 bits about the link and the fabric, which are not the guest's. */
#define DEVCTL2_HOST (PCI_EXP_DEVCTL2_ARI | PCI_EXP_DEVCTL2_LTR_EN | PCI_EXP_DEVCTL2_OBFF_WAKE_EN)

static uint16_t get16(const uint8_t *bytes, uint32_t at)
{
	return (uint16_t)(bytes[at] | bytes[at + 1] << 8);
}

static uint32_t get32(const uint8_t *bytes, uint32_t at)
{
	return get16(bytes, at) | (uint32_t)get16(bytes, at + 2) << 16;
}

static void set16(uint8_t *bytes, uint32_t at, uint16_t value)
{
	bytes[at] = (uint8_t)value;
	bytes[at + 1] = (uint8_t)(value >> 8);
}

static void set32(uint8_t *bytes, uint32_t at, uint32_t value)
{
	set16(bytes, at, (uint16_t)value);
	set16(bytes, at + 2, (uint16_t)(value >> 16));
}

static void begin(struct config_plan *plan, uint32_t at)
{
	if (at < CONFIG_PLAN_SIZE)
		plan->starts[at / 8] |= (uint8_t)(1u << at % 8);
}

/* The guest reads the image, which holds a copy of the device's bytes unless it was changed. */
static void emulate(struct config_plan *plan, uint32_t at, uint32_t length)
{
	memset(plan->emulated + at, 0xff, length);
	memset(plan->writable + at, 0, length);
	memset(plan->through + at, 0, length);
}

static void hide(struct config_plan *plan, uint32_t at, uint32_t length)
{
	memset(plan->image + at, 0, length);
	emulate(plan, at, length);
}

/* The guest reads the device; its writes are dropped. */
static void look(struct config_plan *plan, uint32_t at, uint32_t length)
{
	memset(plan->emulated + at, 0, length);
	memset(plan->writable + at, 0, length);
	memset(plan->through + at, 0, length);
}

static void pass(struct config_plan *plan, uint32_t at, uint32_t length)
{
	look(plan, at, length);
	memset(plan->through + at, 0xff, length);
}

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

static void plan_pm(struct config_plan *plan, uint32_t at)
{
	uint16_t pmc = get16(plan->image, at + PCI_PM_PMC);
	uint16_t pmcsr = get16(plan->image, at + PCI_PM_CTRL);

	emulate(plan, at, PCI_PM_SIZEOF);
	/* A wake-up message has nowhere to go: the kernel hides its support as well. */
	pmc &= (uint16_t)~PCI_PM_CAP_PME_MASK;
	set16(plan->image, at + PCI_PM_PMC, pmc);
	plan->no_soft_reset = pmcsr & PCI_PM_CTRL_NO_SOFT_RESET;
	plan->power_states = (uint8_t)(1u << 0 | 1u << 3 | (pmc & PCI_PM_CAP_D1 ? 1u << 1 : 0) |
				       (pmc & PCI_PM_CAP_D2 ? 1u << 2 : 0));
	set16(plan->image, at + PCI_PM_CTRL, pmcsr & PCI_PM_CTRL_NO_SOFT_RESET);
	set16(plan->writable, at + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);
	set16(plan->through, at + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK | PCI_PM_CTRL_DATA_SEL_MASK);
	set16(plan->emulated, at + PCI_PM_CTRL,
	      (uint16_t) ~(PCI_PM_CTRL_DATA_SEL_MASK | PCI_PM_CTRL_DATA_SCALE_MASK));
	look(plan, at + PCI_PM_DATA_REGISTER, 1);
	plan->pm = (uint16_t)at;
}

/* Bytes of an MSI capability with these flags (PCI Local Bus 3.0 section 6.8.1). */
static uint32_t msi_length(uint16_t flags)
{
	return 10 + (flags & PCI_MSI_FLAGS_64BIT ? 4 : 0) +
	       (flags & PCI_MSI_FLAGS_MASKBIT ? 10 : 0);
}

static void plan_msi(struct config_plan *plan, const struct config_options *options, uint32_t at)
{
	uint16_t flags = get16(plan->image, at + PCI_MSI_FLAGS);
	uint32_t length = msi_length(flags), data, log2 = (flags & PCI_MSI_FLAGS_QMASK) >> 1;

	if (log2 > 5)
		log2 = 5;
	while (log2 && 1u << log2 > options->msi_vectors)
		log2--;
	flags &= PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT;

	hide(plan, at + PCI_CAP_FLAGS, length - PCI_CAP_FLAGS);
	set16(plan->image, at + PCI_MSI_FLAGS, (uint16_t)(flags | log2 << 1));
	set16(plan->writable, at + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE);
	set32(plan->writable, at + PCI_MSI_ADDRESS_LO, 0xfffffffc);
	data = flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;
	if (flags & PCI_MSI_FLAGS_64BIT)
		set32(plan->writable, at + PCI_MSI_ADDRESS_HI, 0xffffffff);
	set16(plan->writable, at + data, 0xffff);
	if (flags & PCI_MSI_FLAGS_MASKBIT)
		set32(plan->writable, at + data + 4,
		      log2 == 5 ? 0xffffffff : (1u << (1u << log2)) - 1);
	plan->msi = (uint16_t)at;
	plan->msi_form.vectors = (uint8_t)(1u << log2);
	plan->msi_form.address64 = flags & PCI_MSI_FLAGS_64BIT;
	plan->msi_form.masking = flags & PCI_MSI_FLAGS_MASKBIT;
}

static int plan_msix(struct config_plan *plan, const struct config_options *options, uint32_t at)
{
	uint32_t table = get32(plan->image, at + PCI_MSIX_TABLE);
	uint32_t pba = get32(plan->image, at + PCI_MSIX_PBA);
	uint32_t vectors = (get16(plan->image, at + PCI_MSIX_FLAGS) & PCI_MSIX_FLAGS_QSIZE) + 1u;

	plan->msix_form.entries = (uint16_t)vectors;
	plan->msix_form.table_bar = table & PCI_MSIX_TABLE_BIR;
	plan->msix_form.table_offset = table & PCI_MSIX_TABLE_OFFSET;
	plan->msix_form.pba_bar = pba & PCI_MSIX_PBA_BIR;
	plan->msix_form.pba_offset = pba & PCI_MSIX_PBA_OFFSET;
	if (!options->msix_vectors)
		return 0;

	if (vectors > options->msix_vectors)
		vectors = options->msix_vectors;
	emulate(plan, at, PCI_CAP_MSIX_SIZEOF);
	set16(plan->image, at + PCI_MSIX_FLAGS, (uint16_t)(vectors - 1));
	set16(plan->writable, at + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	plan->msix = (uint16_t)at;
	plan->msix_form.vectors = (uint16_t)vectors;
	return 1;
}

/* Bytes of a PCIe capability: what the type and version have to have, and what they may have. */
static uint32_t pcie_length(uint16_t flags, uint32_t *most)
{
	bool integrated = (flags & PCI_EXP_FLAGS_TYPE) >> 4 == PCI_EXP_TYPE_RC_END;

	*most = (flags & PCI_EXP_FLAGS_VERS) >= 2 ? PCI_CAP_EXP_ENDPOINT_SIZEOF_V2
						  : PCI_CAP_EXP_ENDPOINT_SIZEOF_V1;
	return integrated ? PCI_CAP_EXP_RC_ENDPOINT_SIZEOF_V1 : PCI_CAP_EXP_ENDPOINT_SIZEOF_V1;
}

/*
 * A function below a virtual root port is an endpoint with a link, whatever it is on the host. An
 * integrated endpoint, and a virtual function (its link registers are zero, SR-IOV 1.1 section
 * 3.5), get a link; the real link of others is shown, for drivers that report their bandwidth.
 * Power management of the link is the host's business.
 */
static void plan_link(struct config_plan *plan, uint32_t at)
{
	uint32_t cap = get32(plan->image, at + PCI_EXP_LNKCAP);
	uint16_t control = get16(plan->image, at + PCI_EXP_LNKCTL);

	if (!(cap & PCI_EXP_LNKCAP_SLS) || !(cap & PCI_EXP_LNKCAP_MLW)) {
		cap = LINK_CAP;
		set16(plan->image, at + PCI_EXP_LNKSTA, LINK_STATUS);
	} else {
		cap &= ~(uint32_t)(PCI_EXP_LNKCAP_ASPMS | PCI_EXP_LNKCAP_CLKPM);
		look(plan, at + PCI_EXP_LNKSTA, 2);
	}
	set32(plan->image, at + PCI_EXP_LNKCAP, cap);
	set16(plan->image, at + PCI_EXP_LNKCTL, control & LINK_CONTROL_BITS);
	set16(plan->writable, at + PCI_EXP_LNKCTL, LINK_CONTROL_BITS);
}

static void plan_pcie(struct config_plan *plan, const struct config_options *options, uint32_t at,
		      uint32_t length)
{
	uint16_t flags = get16(plan->image, at + PCI_EXP_FLAGS);
	uint32_t devcap = get32(plan->image, at + PCI_EXP_DEVCAP), devcap2;
	bool link = length >= PCI_CAP_EXP_ENDPOINT_SIZEOF_V1;

	emulate(plan, at, length);
	/* Some virtual functions of the 82599 say version 0, which does not exist. */
	if (!(flags & PCI_EXP_FLAGS_VERS))
		flags |= 1;
	/* Without room for link registers an integrated endpoint has to stay one. */
	if ((flags & PCI_EXP_FLAGS_TYPE) >> 4 == PCI_EXP_TYPE_RC_END && link)
		flags &= (uint16_t)~PCI_EXP_FLAGS_TYPE;
	flags &= (uint16_t) ~(PCI_EXP_FLAGS_SLOT | PCI_EXP_FLAGS_IRQ);
	set16(plan->image, at + PCI_EXP_FLAGS, flags);

	if (!options->resets)
		devcap &= ~(uint32_t)PCI_EXP_DEVCAP_FLR;
	devcap &= ~(uint32_t)(PCI_EXP_DEVCAP_PHANTOM | PCI_EXP_DEVCAP_TEE);
	set32(plan->image, at + PCI_EXP_DEVCAP, devcap);
	plan->flr = devcap & PCI_EXP_DEVCAP_FLR;

	pass(plan, at + PCI_EXP_DEVCTL, 2);
	set16(plan->through, at + PCI_EXP_DEVCTL,
	      (uint16_t) ~(PCI_EXP_DEVCTL_BCR_FLR | PCI_EXP_DEVCTL_PHANTOM));
	set16(plan->emulated, at + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
	set16(plan->image, at + PCI_EXP_DEVCTL, 0);
	look(plan, at + PCI_EXP_DEVSTA, 2);
	plan->pcie = (uint16_t)at;
	if (link)
		plan_link(plan, at);

	if (length < PCI_EXP_DEVCAP2 + 8u)
		return;
	/* Slot and root registers are not an endpoint's. */
	hide(plan, at + PCI_EXP_SLTCAP, PCI_EXP_DEVCAP2 - PCI_EXP_SLTCAP);
	devcap2 = get32(plan->image, at + PCI_EXP_DEVCAP2);
	devcap2 &= ~(uint32_t)(PCI_EXP_DEVCAP2_LTR | PCI_EXP_DEVCAP2_OBFF_MASK |
			       PCI_EXP_DEVCAP2_ARI | PCI_EXP_DEVCAP2_ATOMIC_ROUTE);
	set32(plan->image, at + PCI_EXP_DEVCAP2, devcap2);
	pass(plan, at + PCI_EXP_DEVCTL2, 2);
	set16(plan->through, at + PCI_EXP_DEVCTL2, (uint16_t)~DEVCTL2_HOST);
	set16(plan->emulated, at + PCI_EXP_DEVCTL2, DEVCTL2_HOST);
	set16(plan->image, at + PCI_EXP_DEVCTL2, 0);
}

static void plan_af(struct config_plan *plan, const struct config_options *options, uint32_t at)
{
	emulate(plan, at, PCI_CAP_AF_SIZEOF);
	if (!options->resets)
		plan->image[at + PCI_AF_CAP] &= (uint8_t)~PCI_AF_CAP_FLR;
	plan->af_flr = plan->image[at + PCI_AF_CAP] & PCI_AF_CAP_FLR;
	plan->image[at + PCI_AF_CTRL] = 0;
	look(plan, at + PCI_AF_STATUS, 1);
	plan->af = (uint16_t)at;
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
		least = most = msi_length(flags);
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
		least = pcie_length(flags, &most);
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
		plan_pm(plan, at);
		return 1;
	case PCI_CAP_ID_VPD:
		pass(plan, at + PCI_VPD_ADDR, PCI_CAP_VPD_SIZEOF - PCI_VPD_ADDR);
		return 1;
	case PCI_CAP_ID_MSI:
		if (!options->msi_vectors)
			return 0;
		plan_msi(plan, options, at);
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
		plan_pcie(plan, options, at, *length & ~3u);
		return 1;
	case PCI_CAP_ID_MSIX:
		return plan_msix(plan, options, at);
	case PCI_CAP_ID_AF:
		plan_af(plan, options, at);
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
