/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arch.h keeps closed: shared by cpu.c and state.c.
 */
#ifndef SLUICE_X86_CPUS_H
#define SLUICE_X86_CPUS_H

#include <linux/kvm.h>
#include <stdbool.h>

#include "arch/x86/cpuid.h"

/* struct kvm_cpuid2 with room; its entries follow the header. */
struct cpuid_table {
	struct kvm_cpuid2 header;
	struct kvm_cpuid_entry2 entries[CPUID_MAX_ENTRIES];
};
_Static_assert(sizeof(struct cpuid_table) ==
		       sizeof(struct kvm_cpuid2) +
			       CPUID_MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2),
	       "entries follow the header");

struct arch_cpus {
	unsigned count;
	bool tsc_deadline;
	enum cpuid_vendor vendor;
	struct cpuid_table supported;
};

/* power_on.c: -errno after a message. @boot: the CPU that the others wait for. */
int vcpu_power_on(int vcpu_fd, unsigned index, bool boot);

#endif
