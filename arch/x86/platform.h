/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fixed addresses of the x86 machine, for the files of this folder only.
 */
#ifndef SLUICE_X86_PLATFORM_H
#define SLUICE_X86_PLATFORM_H

/* The address space; the picture is in layout.c. */
#define PCI_MEM32_BASE    0x80000000ull
#define ECAM_BASE         0xe0000000ull
#define ECAM_BUSES        256u
#define BOARD_BASE        0xf0000000ull
#define IOAPIC_BASE       0xfec00000ull
#define LAPIC_BASE        0xfee00000ull
/* Intel without unrestricted guest: one page of page table, three of task state (kvm/api.rst 4.32). */
#define KVM_IDENTITY_BASE 0xfffbc000ull
#define KVM_TSS_BASE      0xfffbd000ull
#define HIGH_RAM_BASE     0x100000000ull
#define PCI_IO_BASE       0x1000u
#define PCI_IO_SIZE       0xf000u

#define IOAPIC_PINS 24u

/* What the boot loader puts below 1 MiB; all of it in RAM. */
#define BOOT_GDT         0x0500u
#define BOOT_START_INFO  0x1000u /* hvm_start_info, its module and memory map */
#define BOOT_ZERO_PAGE   0x2000u /* boot_params, one page */
#define BOOT_PML4        0x3000u /* 1 + 1 + 4 pages: identity map of 4 GiB in 2 MiB pages */
#define BOOT_CMDLINE     0x20000u
#define BOOT_CMDLINE_MAX 0x10000u
#define LOW_RAM_END      0x9fc00u /* as if the extended BIOS data area began here */
#define TABLES_BASE      0xe0000u /* ACPI; where the guest looks for the RSDP without being told */
#define TABLES_END       0x100000u
#define KERNEL_LOWEST    0x100000u

#endif
