/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arch.h keeps closed: shared by cpu.c and state.c.
 */
#ifndef SLUICE_X86_CPUS_H
#define SLUICE_X86_CPUS_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "arch/x86/cpuid.h"

/* struct kvm_cpuid2 with room: what the ioctls read and write, entries behind the header. */
struct cpuid_table {
	uint32_t nent;
	uint32_t padding;
	struct kvm_cpuid_entry2 entries[CPUID_MAX_ENTRIES];
};
_Static_assert(offsetof(struct cpuid_table, nent) == offsetof(struct kvm_cpuid2, nent) &&
		       offsetof(struct cpuid_table, entries) ==
			       offsetof(struct kvm_cpuid2, entries),
	       "laid out as struct kvm_cpuid2");

/* struct kvm_msrs with one entry: KVM_GET_MSRS and KVM_SET_MSRS return how many of nmsrs they did. */
struct vcpu_msr {
	uint32_t nmsrs;
	uint32_t padding;
	struct kvm_msr_entry entry;
};
_Static_assert(offsetof(struct vcpu_msr, entry) == offsetof(struct kvm_msrs, entries),
	       "laid out as struct kvm_msrs");

struct arch_cpus {
	unsigned count;
	bool tsc_deadline;
	enum cpuid_vendor vendor;
	struct cpuid_table supported;
};

/* One call on a vCPU, which hands in or gets @argument. 0, or -errno after a message with its @name. */
int vcpu_ioctl(int vcpu_fd, unsigned index, unsigned long request, const char *name,
	       const void *argument);
#define VCPU_IOCTL(vcpu_fd, index, request, argument)                                              \
	vcpu_ioctl(vcpu_fd, index, request, #request, argument)

/* power_on.c: -errno after a message. @boot: the CPU that the others wait for. */
int vcpu_power_on(int vcpu_fd, unsigned index, bool boot);

#endif
