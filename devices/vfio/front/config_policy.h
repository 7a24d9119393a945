/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the parts of the configuration space plan are made of: policies of ranges, and the capabilities
 * that have rules of their own. Of use to config_plan.c and config_capabilities.c alone.
 *
 * Each range of the plan has one policy (struct config_plan): what is emulated the guest reads from
 * the image, what is written through reaches the device.
 */
#ifndef SLUICE_VFIO_CONFIG_POLICY_H
#define SLUICE_VFIO_CONFIG_POLICY_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

#include "devices/vfio/front/config_plan.h"

static inline uint16_t get16(const uint8_t *bytes, uint32_t at)
{
	uint16_t value;

	memcpy(&value, bytes + at, sizeof(value));
	return le16toh(value);
}

static inline uint32_t get32(const uint8_t *bytes, uint32_t at)
{
	uint32_t value;

	memcpy(&value, bytes + at, sizeof(value));
	return le32toh(value);
}

static inline void set16(uint8_t *bytes, uint32_t at, uint16_t value)
{
	value = htole16(value);
	memcpy(bytes + at, &value, sizeof(value));
}

static inline void set32(uint8_t *bytes, uint32_t at, uint32_t value)
{
	value = htole32(value);
	memcpy(bytes + at, &value, sizeof(value));
}

static inline void begin(struct config_plan *plan, uint32_t at)
{
	if (at < CONFIG_PLAN_SIZE)
		plan->starts[at / 8] |= (uint8_t)(1u << at % 8);
}

/* Every byte of the range: its mask of emulated bits, and of those that are written through. */
void config_policy_set(struct config_plan *plan, uint32_t at, uint32_t length, uint8_t emulated,
		       uint8_t through);

/* The guest reads the image, which holds a copy of the device's bytes unless it was changed. */
static inline void emulate(struct config_plan *plan, uint32_t at, uint32_t length)
{
	config_policy_set(plan, at, length, 0xff, 0);
}

static inline void hide(struct config_plan *plan, uint32_t at, uint32_t length)
{
	memset(plan->image + at, 0, length);
	emulate(plan, at, length);
}

/* The guest reads the device; its writes are dropped. */
static inline void look(struct config_plan *plan, uint32_t at, uint32_t length)
{
	config_policy_set(plan, at, length, 0, 0);
}

static inline void pass(struct config_plan *plan, uint32_t at, uint32_t length)
{
	config_policy_set(plan, at, length, 0, 0xff);
}

/* ---- capabilities ---- */

/* Bytes of an MSI capability with these flags (PCI Local Bus 3.0 section 6.8.1). */
uint32_t config_msi_length(uint16_t flags);
/* Bytes of a PCIe capability: what the type and version have to have, and what they may have. */
uint32_t config_pcie_length(uint16_t flags, uint32_t *most);
/*
 * Each gives the capability at @at its policies; the caller saw to it that it fits. config_plan_msix()
 * returns 1 when it is shown, 0 when the device has no vector to go with it: it is hidden then.
 */
void config_plan_pm(struct config_plan *plan, uint32_t at);
void config_plan_msi(struct config_plan *plan, const struct config_options *options, uint32_t at);
int config_plan_msix(struct config_plan *plan, const struct config_options *options, uint32_t at);
void config_plan_pcie(struct config_plan *plan, const struct config_options *options, uint32_t at,
		      uint32_t length);
void config_plan_af(struct config_plan *plan, const struct config_options *options, uint32_t at);

#endif
