/* SPDX-License-Identifier: Apache-2.0 */
/* The plan of the capabilities that have rules of their own: PM, MSI, MSI-X, PCI Express, AF. */
#include <errno.h>
#include <linux/pci_regs.h>

#include "devices/vfio/front/config_policy.h"

#define LINK_CONTROL_BITS (PCI_EXP_LNKCTL_RCB | PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES)

/* The link an endpoint shows that has none of its own: 2.5 GT/s, one lane. */
#define LINK_CAP    (PCI_EXP_LNKCAP_SLS_2_5GB | (1u << 4))
#define LINK_STATUS (PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1)

/* Device control 2 bits about the link and the fabric, which are not the guest's. */
#define DEVCTL2_HOST (PCI_EXP_DEVCTL2_ARI | PCI_EXP_DEVCTL2_LTR_EN | PCI_EXP_DEVCTL2_OBFF_WAKE_EN)

void config_policy_set(struct config_plan *plan, uint32_t at, uint32_t length, uint8_t emulated,
		       uint8_t through)
{
	memset(plan->emulated + at, emulated, length);
	memset(plan->writable + at, 0, length);
	memset(plan->through + at, through, length);
}

void config_plan_pm(struct config_plan *plan, uint32_t at)
{
	uint16_t pmc = get16(plan->image, at + PCI_PM_PMC);
	uint16_t pmcsr = get16(plan->image, at + PCI_PM_CTRL);

	emulate(plan, at, PCI_PM_SIZEOF);
	/* A wake-up message has nowhere to go: the kernel hides its support as well. */
	pmc &= (uint16_t)~PCI_PM_CAP_PME_MASK;
	set16(plan->image, at + PCI_PM_PMC, pmc);
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
uint32_t config_msi_length(uint16_t flags)
{
	return 10 + (flags & PCI_MSI_FLAGS_64BIT ? 4 : 0) +
	       (flags & PCI_MSI_FLAGS_MASKBIT ? 10 : 0);
}

void config_plan_msi(struct config_plan *plan, const struct config_options *options, uint32_t at)
{
	uint16_t flags = get16(plan->image, at + PCI_MSI_FLAGS);
	uint32_t length = config_msi_length(flags), data, log2 = (flags & PCI_MSI_FLAGS_QMASK) >> 1;

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

int config_plan_msix(struct config_plan *plan, const struct config_options *options, uint32_t at)
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
uint32_t config_pcie_length(uint16_t flags, uint32_t *most)
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

void config_plan_pcie(struct config_plan *plan, const struct config_options *options, uint32_t at,
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

void config_plan_af(struct config_plan *plan, const struct config_options *options, uint32_t at)
{
	emulate(plan, at, PCI_CAP_AF_SIZEOF);
	if (!options->resets)
		plan->image[at + PCI_AF_CAP] &= (uint8_t)~PCI_AF_CAP_FLR;
	plan->af_flr = plan->image[at + PCI_AF_CAP] & PCI_AF_CAP_FLR;
	plan->image[at + PCI_AF_CTRL] = 0;
	look(plan, at + PCI_AF_STATUS, 1);
	plan->af = (uint16_t)at;
}
