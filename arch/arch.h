/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an architecture provides to the machine. arch/x86 and arch/arm64 have files of the same names
 * with these functions; the Makefile chooses the folder, and no other file asks which one it is.
 *
 * The order at launch, which is also the order of this file:
 *
 *   arch_cpus_create     ask KVM for the CPU features, once for all vCPUs
 *   arch_plan_layout     (plan) where RAM, ECAM, PCI windows and the devices of the board are
 *   ...                  memory slots: before the interrupt controller, since the first slot added
 *                        after KVM_CREATE_IRQCHIP waits 7 ms for an SRCU grace period
 *   arch_irqchip_create  the interrupt controller and the routes of its pins
 *   arch_boot_load       kernel, initrds, command line and firmware tables into guest memory
 *   arch_vcpu_setup      features of one vCPU: once in its life
 *   arch_vcpu_reset      architectural reset state, and the entry point for the boot CPU
 *   arch_vcpu_exit       exits that only this architecture has
 *   arch_vcpu_goes_on    internal errors of KVM that are none
 *
 * All functions return 0 or -errno and print the reason of a failure, unless they say otherwise.
 */
#ifndef SLUICE_ARCH_H
#define SLUICE_ARCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/memory.h"
#include "vmm/pci/window.h"

struct bus;
struct irq_router;
struct kvm;
struct kvm_run;

/* ---- CPUs ------------------------------------------------------------------------------------- */

/* The most vCPUs that this architecture's machine can have. */
extern const unsigned arch_max_cpus;

/* The CPU model of the VM: what is the same on every vCPU. */
struct arch_cpus;

int arch_cpus_create(struct kvm *kvm, unsigned count, struct arch_cpus **out);
void arch_cpus_destroy(struct arch_cpus *cpus);

/* Width of guest-physical addresses in bits: nothing may be laid out above. */
unsigned arch_cpus_address_bits(const struct arch_cpus *cpus);

/* ---- layout (plan) ----------------------------------------------------------------------------- */

#define ARCH_RAM_RANGES 16

/* A small device of the board: registers and one interrupt pin. */
struct arch_device {
	bool pio;      /* @base is a port number */
	uint64_t base; /* of the registers */
	uint64_t size;
	uint32_t gsi; /* interrupt pin; 0 where the device has none */
};

/*
 * The guest-physical address space. Everything the tables tell the guest about addresses comes from
 * here, and so does what the host bridge and the devices answer.
 */
struct arch_layout {
	struct memory_piece ram[ARCH_RAM_RANGES];
	unsigned ram_count;
	struct pci_range ecam; /* 1 MiB per bus, bus 0 first */
	unsigned bus_count;
	struct pci_windows windows;
	struct pci_range msi;     /* message window: no RAM, no BAR here */
	uint32_t intx_gsi[4];     /* INTA..INTD of the root bus */
	struct arch_device uart;  /* 16550 */
	struct arch_device power; /* devices/power.h: button, power-off, reset */
	struct arch_device panic; /* pvpanic */
	struct arch_device exit;  /* a test guest's own status; size 0: not on this architecture */
	struct arch_device reset; /* a second way to reset (keyboard controller); size 0: none */
};

struct arch_layout_request {
	uint64_t memory;       /* bytes of RAM, a multiple of @alignment */
	uint64_t alignment;    /* of every piece of RAM: host page or huge page size, >= 4 KiB */
	unsigned address_bits; /* arch_cpus_address_bits() */
	/* Addresses that no RAM may have: reserved IOVA of the devices passed through. Any order. */
	const struct pci_range *reserved;
	size_t reserved_count;
	/*
	 * PCI buses the guest may number, 1..256; 0 is 256. Linux looks for 32 devices on every bus
	 * that no bridge leads to, one exit each: give the root bus and the ports theirs, no more.
	 */
	unsigned buses;
};

/*
 * Pure. Errors, without a message: -EINVAL no memory, a bad alignment or more than 256 buses; -ENOSPC
 * it does not fit below the address limit, in ARCH_RAM_RANGES pieces, or with a 64-bit PCI window
 * beside it; -EADDRINUSE the first address of RAM is reserved; -ENOMEM.
 */
int arch_plan_layout(const struct arch_layout_request *request, struct arch_layout *out);

/* ---- interrupts -------------------------------------------------------------------------------- */

/*
 * Create the in-kernel interrupt controller for @cpus vCPUs and a router that knows its pins. What
 * KVM needs on the way (x86: TSS and identity map pages; arm64: the ITS and its address) too.
 */
int arch_irqchip_create(struct kvm *kvm, unsigned cpus, const struct arch_layout *layout,
			struct irq_router **out);

/* Back to power-on state, with all vCPUs stopped. */
int arch_irqchip_reset(struct kvm *kvm);

/* ---- boot -------------------------------------------------------------------------------------- */

/* The machine as the firmware tables describe it (ACPI on x86, FDT on arm64). */
struct arch_machine {
	const struct arch_layout *layout;
	unsigned cpus;
	bool uart; /* is there a serial port? */
	bool panic;
};

/* Opened by the machine; names are for messages. */
struct arch_file {
	int fd;
	const char *name;
};

struct arch_boot_files {
	struct arch_file kernel;
	const struct arch_file *initrds; /* handed over as one, in this order */
	unsigned initrd_count;
	const char *cmdline;
	bool again; /* the memory has been used: what must be zero is cleared */
};

/* Where the boot CPU starts. */
struct arch_entry {
	enum arch_entry_mode {
		ARCH_ENTRY_LONG,      /* x86: 64-bit, rsi = boot_params */
		ARCH_ENTRY_PROTECTED, /* x86: 32-bit unpaged, ebx = hvm_start_info (PVH) */
		ARCH_ENTRY_EL1,       /* arm64: x0 = device tree */
	} mode;
	uint64_t ip;
	uint64_t argument;
	uint64_t page_tables; /* ARCH_ENTRY_LONG: physical address of the root; else 0 */
	uint64_t gdt;         /* x86: physical address of the descriptor table */
};

/*
 * Load everything by pread() straight into the RAM of @machine->layout (hva filled in). Damaged or hostile files are refused: -ENOEXEC not a
 * kernel, -EINVAL damaged, -E2BIG does not fit, -errno of reading.
 */
int arch_boot_load(const struct arch_machine *machine, const struct arch_boot_files *files,
		   struct arch_entry *out);

/* ---- vCPUs ------------------------------------------------------------------------------------- */

int arch_vcpu_setup(struct arch_cpus *cpus, int vcpu_fd, unsigned index);

/*
 * Reset state. @entry: start there; NULL: wait to be started by the boot CPU. @again: the vCPU ran
 * before, so that everything a guest can change has to be put back, not only what boot needs.
 */
int arch_vcpu_reset(struct arch_cpus *cpus, int vcpu_fd, unsigned index,
		    const struct arch_entry *entry, bool again);

/*
 * An exit that vmm/vcpu.c does not know (x86: port I/O, answered by @pio).
 * Returns true when it was handled and the vCPU goes on. Prints nothing.
 */
bool arch_vcpu_exit(struct kvm_run *run, struct bus *pio);

/*
 * KVM_RUN ended with KVM_EXIT_INTERNAL_ERROR. Returns true when no state was lost and the vCPU is
 * entered again, which does the instruction anew; false when the vCPU cannot go on. Prints nothing.
 */
bool arch_vcpu_goes_on(int vcpu_fd, const struct kvm_run *run);

/* Registers of a stopped vCPU as text, for the message about an exit that must not happen. */
void arch_vcpu_describe(int vcpu_fd, char *text, size_t size);

#endif
