/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The ACPI tables of the machine (plan): bytes ready to lie at a given guest address.
 */
#ifndef SLUICE_X86_TABLES_H
#define SLUICE_X86_TABLES_H

#include <stddef.h>
#include <stdint.h>

struct arch_machine;

/*
 * Build RSDP (first), XSDT, FADT, MADT, MCFG and DSDT for the guest address @base into @bytes. On
 * success *@used is their length. -ENOSPC when @size is too small.
 */
int acpi_tables_build(const struct arch_machine *machine, uint64_t base, uint8_t *bytes,
		      size_t size, size_t *used);

#endif
