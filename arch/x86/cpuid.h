/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What CPUID answers on one vCPU (plan), made from what KVM can virtualise on this host.
 */
#ifndef SLUICE_X86_CPUID_H
#define SLUICE_X86_CPUID_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct cpuid_request {
	unsigned cpus;     /* in the VM: one package, a core each, one thread per core */
	unsigned index;    /* of this one; also its APIC id */
	uint32_t tsc_khz;  /* of the guest's TSC; 0: unknown */
	bool tsc_deadline; /* the APIC timer can run in TSC-deadline mode */
};

#define CPUID_MAX_ENTRIES 256

/*
 * @supported: KVM_GET_SUPPORTED_CPUID's entries. Fills @out; returns their number, or -E2BIG when
 * there are more than @room. Leaves that would be all zero are left out: KVM answers them with zero.
 */
int cpuid_plan(const struct kvm_cpuid_entry2 *supported, unsigned supported_count,
	       const struct cpuid_request *request, struct kvm_cpuid_entry2 *out, unsigned room);

enum cpuid_vendor {
	CPUID_INTEL,
	CPUID_AMD, /* and Hygon */
	CPUID_OTHER,
};
enum cpuid_vendor cpuid_vendor(const struct kvm_cpuid_entry2 *entries, unsigned count);

/* Bits of a guest-physical address: leaf 0x80000008, or 36 where it is missing. */
unsigned cpuid_address_bits(const struct kvm_cpuid_entry2 *entries, unsigned count);

#endif
