// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* The configuration space: an image and a mask of writable bits, and what some of them do. */
#include "devices/vfio/reference/internal.h"

#define DEVCTL (REFERENCE_CAP_EXP + PCI_EXP_DEVCTL)
#define DEVSTA (REFERENCE_CAP_EXP + PCI_EXP_DEVSTA)
#define PMCSR  (REFERENCE_CAP_PM + PCI_PM_CTRL)

#define D0    0
#define D3HOT 3

static void set_bar(struct reference_device *device, unsigned bar, uint64_t size, uint32_t type)
{
	const uint32_t at = PCI_BASE_ADDRESS_0 + 4 * bar;
	const uint64_t mask = ~(size - 1);

	reference_put32(device->config + at, type);
	reference_put32(device->writable + at, (uint32_t)mask);
	if (type & PCI_BASE_ADDRESS_MEM_TYPE_64)
		reference_put32(device->writable + at + 4, (uint32_t)(mask >> 32));
}

static void header(struct reference_device *device)
{
	uint8_t *c = device->config, *w = device->writable;

	reference_put16(c + PCI_VENDOR_ID, REFERENCE_VENDOR_ID);
	reference_put16(c + PCI_DEVICE_ID, REFERENCE_DEVICE_ID);
	reference_put16(c + PCI_STATUS, PCI_STATUS_CAP_LIST);
	c[PCI_REVISION_ID] = REFERENCE_REVISION;
	c[PCI_CLASS_PROG] = REFERENCE_CLASS & 0xff;
	reference_put16(c + PCI_CLASS_DEVICE, REFERENCE_CLASS >> 8);
	reference_put16(c + PCI_SUBSYSTEM_VENDOR_ID, REFERENCE_VENDOR_ID);
	reference_put16(c + PCI_SUBSYSTEM_ID, REFERENCE_DEVICE_ID);
	c[PCI_CAPABILITY_LIST] = REFERENCE_CAP_PM;
	c[PCI_INTERRUPT_PIN] = 1;
	set_bar(device, REFERENCE_BAR_REGISTERS, REFERENCE_BAR0_SIZE, 0);
	set_bar(device, REFERENCE_BAR_MSIX, REFERENCE_BAR1_SIZE, 0);
	set_bar(device, REFERENCE_BAR_MEMORY, device->geometry.memory_size,
		PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);

	reference_put16(w + PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER |
						 PCI_COMMAND_PARITY | PCI_COMMAND_SERR |
						 PCI_COMMAND_INTX_DISABLE);
	w[PCI_CACHE_LINE_SIZE] = 0xff;
	w[PCI_INTERRUPT_LINE] = 0xff;
}

static void capabilities(struct reference_device *device)
{
	uint8_t *c = device->config + REFERENCE_CAP_PM, *w = device->writable + REFERENCE_CAP_PM;

	c[PCI_CAP_LIST_ID] = PCI_CAP_ID_PM;
	c[PCI_CAP_LIST_NEXT] = REFERENCE_CAP_MSIX;
	reference_put16(c + PCI_PM_PMC, 3); /* version of the capability; D0 and D3hot only */
	reference_put16(w + PCI_PM_CTRL, PCI_PM_CTRL_STATE_MASK);

	c = device->config + REFERENCE_CAP_MSIX;
	w = device->writable + REFERENCE_CAP_MSIX;
	c[PCI_CAP_LIST_ID] = PCI_CAP_ID_MSIX;
	c[PCI_CAP_LIST_NEXT] = REFERENCE_CAP_EXP;
	reference_put16(c + PCI_MSIX_FLAGS, (uint16_t)(device->geometry.vectors - 1));
	reference_put32(c + PCI_MSIX_TABLE, REFERENCE_MSIX_TABLE_OFFSET | REFERENCE_BAR_MSIX);
	reference_put32(c + PCI_MSIX_PBA, REFERENCE_MSIX_PBA_OFFSET | REFERENCE_BAR_MSIX);
	reference_put16(w + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);

	c = device->config + REFERENCE_CAP_EXP;
	w = device->writable + REFERENCE_CAP_EXP;
	c[PCI_CAP_LIST_ID] = PCI_CAP_ID_EXP;
	reference_put16(c + PCI_EXP_FLAGS, 2); /* version 2, endpoint */
	/* 128 bytes of payload, extended tags, role-based error reporting, function level reset */
	reference_put32(c + PCI_EXP_DEVCAP,
			PCI_EXP_DEVCAP_EXT_TAG | PCI_EXP_DEVCAP_RBER | PCI_EXP_DEVCAP_FLR);
	reference_put16(c + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_RELAX_EN | PCI_EXP_DEVCTL_NOSNOOP_EN |
						    2 << 12 /* reads of 512 bytes */);
	reference_put16(w + PCI_EXP_DEVCTL, 0x7fff & ~PCI_EXP_DEVCTL_AUX_PME);
	reference_put32(c + PCI_EXP_LNKCAP, PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4 /* one lane */);
	reference_put16(c + PCI_EXP_LNKSTA, PCI_EXP_LNKSTA_CLS_2_5GB | 1 << 4);
	reference_put32(c + PCI_EXP_LNKCAP2, PCI_EXP_LNKCAP2_SLS_2_5GB);
	reference_put16(c + PCI_EXP_LNKCTL2, PCI_EXP_LNKCTL2_TLS_2_5GT);
}

static void extended(struct reference_device *device, uint32_t at, uint32_t id, uint32_t next)
{
	reference_put32(device->config + at, id | 1u << 16 | next << 20);
}

static void extended_capabilities(struct reference_device *device)
{
	uint8_t *c = device->config;

	extended(device, REFERENCE_EXT_CAP_DSN, PCI_EXT_CAP_ID_DSN, REFERENCE_EXT_CAP_ATS);
	reference_put64(c + REFERENCE_EXT_CAP_DSN + 4, device->geometry.serial);

	extended(device, REFERENCE_EXT_CAP_ATS, PCI_EXT_CAP_ID_ATS, REFERENCE_EXT_CAP_PRI);
	reference_put16(c + REFERENCE_EXT_CAP_ATS + PCI_ATS_CAP, PCI_ATS_CAP_PAGE_ALIGNED);

	extended(device, REFERENCE_EXT_CAP_PRI, PCI_EXT_CAP_ID_PRI, REFERENCE_EXT_CAP_PASID);
	reference_put16(c + REFERENCE_EXT_CAP_PRI + PCI_PRI_STATUS,
			PCI_PRI_STATUS_STOPPED | PCI_PRI_STATUS_PASID);
	reference_put32(c + REFERENCE_EXT_CAP_PRI + PCI_PRI_MAX_REQ, 32);

	extended(device, REFERENCE_EXT_CAP_PASID, PCI_EXT_CAP_ID_PASID, 0);
	reference_put16(c + REFERENCE_EXT_CAP_PASID + PCI_PASID_CAP, REFERENCE_PASID_BITS << 8);
}

void reference_set_translation(struct reference_device *device, bool pasid, bool ats, bool pri)
{
	uint8_t *c = device->config;

	reference_put16(c + REFERENCE_EXT_CAP_PASID + PCI_PASID_CTRL,
			pasid ? PCI_PASID_CTRL_ENABLE : 0);
	reference_put16(c + REFERENCE_EXT_CAP_ATS + PCI_ATS_CTRL, ats ? PCI_ATS_CTRL_ENABLE : 0);
	reference_put16(c + REFERENCE_EXT_CAP_PRI + PCI_PRI_CTRL, pri ? PCI_PRI_CTRL_ENABLE : 0);
	reference_put16(c + REFERENCE_EXT_CAP_PRI + PCI_PRI_STATUS,
			PCI_PRI_STATUS_PASID | (pri ? 0 : PCI_PRI_STATUS_STOPPED));
}

/* Power-on, but for the enable bits of translation. */
void reference_config_init(struct reference_device *device)
{
	const uint8_t *c = device->config;
	const bool pasid = reference_pasid_enabled(device);
	const bool ats = reference_get16(c + REFERENCE_EXT_CAP_ATS + PCI_ATS_CTRL) != 0;
	const bool pri = reference_get16(c + REFERENCE_EXT_CAP_PRI + PCI_PRI_CTRL) != 0;

	memset(device->config, 0, sizeof(device->config));
	memset(device->writable, 0, sizeof(device->writable));
	header(device);
	capabilities(device);
	extended_capabilities(device);
	reference_set_translation(device, pasid, ats, pri);
}

bool reference_pasid_enabled(const struct reference_device *device)
{
	return device->config[REFERENCE_EXT_CAP_PASID + PCI_PASID_CTRL] & PCI_PASID_CTRL_ENABLE;
}

bool reference_bus_master(const struct reference_device *device)
{
	return (device->config[PCI_COMMAND] & PCI_COMMAND_MASTER) &&
	       (device->config[PMCSR] & PCI_PM_CTRL_STATE_MASK) == D0;
}

bool reference_decodes(const struct reference_device *device)
{
	return !device->removed && (device->config[PCI_COMMAND] & PCI_COMMAND_MEMORY) &&
	       (device->config[PMCSR] & PCI_PM_CTRL_STATE_MASK) == D0;
}

void reference_config_read(const struct reference_device *device, uint8_t *buffer, size_t count,
			   uint64_t offset)
{
	for (size_t i = 0; i < count; i++) {
		const uint64_t at = offset + i;

		buffer[i] = device->config[at];
		if (at == PCI_STATUS && (device->status.int_status & device->status.int_enable))
			buffer[i] |= PCI_STATUS_INTERRUPT;
		if (at == DEVSTA && device->request.busy)
			buffer[i] |= PCI_EXP_DEVSTA_TRPND;
	}
}

/* What byte @at would be after the write; the power state knows only two values. */
static uint8_t written(const struct reference_device *device, uint64_t at, uint8_t value)
{
	const uint8_t mask = device->writable[at];
	const uint8_t state = value & PCI_PM_CTRL_STATE_MASK;

	if (at == PMCSR && state != D0 && state != D3HOT)
		return device->config[at];
	return (uint8_t)((device->config[at] & ~mask) | (value & mask));
}

/* A function level reset, or the way from D3hot to D0. */
static bool resets(const struct reference_device *device, uint64_t at, uint8_t value)
{
	const uint8_t was = device->config[at] & PCI_PM_CTRL_STATE_MASK;

	if (at == DEVCTL + 1)
		return value & PCI_EXP_DEVCTL_BCR_FLR >> 8;
	return at == PMCSR && was == D3HOT &&
	       (written(device, at, value) & PCI_PM_CTRL_STATE_MASK) == D0;
}

int reference_config_write(struct reference_device *device, const uint8_t *buffer, size_t count,
			   uint64_t offset, uint32_t *effects)
{
	const bool decoded = reference_decodes(device);
	bool reset = false;

	for (size_t i = 0; i < count; i++)
		reset |= resets(device, offset + i, buffer[i]);
	if (reset && reference_access_out(device))
		return -EAGAIN;
	if (reset) {
		reference_reset(device);
		*effects |= REFERENCE_EFFECT_RESET | (decoded ? REFERENCE_EFFECT_DECODE : 0);
		return 0;
	}
	for (size_t i = 0; i < count; i++)
		device->config[offset + i] = written(device, offset + i, buffer[i]);
	if (decoded && !reference_decodes(device))
		*effects |= REFERENCE_EFFECT_DECODE;
	*effects |= REFERENCE_EFFECT_KICK; /* the bus master bit, or power, may have come */
	reference_intx_update(device);
	return 0;
}
