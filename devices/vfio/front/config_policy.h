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

#include <stdint.h>
#include <string.h>

#include "devices/vfio/front/config_plan.h"

static inline uint16_t get16(const uint8_t *bytes, uint32_t at)
{
	return (uint16_t)(bytes[at] | bytes[at + 1] << 8);
}

static inline uint32_t get32(const uint8_t *bytes, uint32_t at)
{
	return get16(bytes, at) | (uint32_t)get16(bytes, at + 2) << 16;
}

static inline void set16(uint8_t *bytes, uint32_t at, uint16_t value)
{
	bytes[at] = (uint8_t)value;
	bytes[at + 1] = (uint8_t)(value >> 8);
}

static inline void set32(uint8_t *bytes, uint32_t at, uint32_t value)
{
	set16(bytes, at, (uint16_t)value);
	set16(bytes, at + 2, (uint16_t)(value >> 16));
}

static inline void begin(struct config_plan *plan, uint32_t at)
{
	if (at < CONFIG_PLAN_SIZE)
		plan->starts[at / 8] |= (uint8_t)(1u << at % 8);
}

/* The guest reads the image, which holds a copy of the device's bytes unless it was changed. */
static inline void emulate(struct config_plan *plan, uint32_t at, uint32_t length)
{
	memset(plan->emulated + at, 0xff, length);
	memset(plan->writable + at, 0, length);
	memset(plan->through + at, 0, length);
}

static inline void hide(struct config_plan *plan, uint32_t at, uint32_t length)
{
	memset(plan->image + at, 0, length);
	emulate(plan, at, length);
}

/* The guest reads the device; its writes are dropped. */
static inline void look(struct config_plan *plan, uint32_t at, uint32_t length)
{
	memset(plan->emulated + at, 0, length);
	memset(plan->writable + at, 0, length);
	memset(plan->through + at, 0, length);
}

static inline void pass(struct config_plan *plan, uint32_t at, uint32_t length)
{
	look(plan, at, length);
	memset(plan->through + at, 0xff, length);
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
