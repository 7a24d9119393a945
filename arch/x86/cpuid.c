// SPDX-License-Identifier: Apache-2.0
/*
 * Sources: Intel SDM volume 2A (CPUID), AMD APM volume 3 appendix E, Documentation/virt/kvm/x86/cpuid.
 */
#include "arch/x86/cpuid.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

#define LEAF_FEATURES       0x1
#define LEAF_CACHES         0x4
#define LEAF_THERMAL        0x6
#define LEAF_PERFMON        0xa
#define LEAF_TOPOLOGY       0xb
#define LEAF_TSC            0x15
#define LEAF_FREQUENCY      0x16
#define LEAF_TOPOLOGY_2     0x1f
#define LEAF_KVM            0x40000000
#define LEAF_KVM_TIMING     0x40000010
#define LEAF_AMD_FEATURES   0x80000001
#define LEAF_AMD_SIZES      0x80000008
#define LEAF_AMD_SVM        0x8000000a
#define LEAF_AMD_CACHES     0x8000001d
#define LEAF_AMD_TOPOLOGY   0x8000001e
#define LEAF_AMD_PERFMON    0x80000022
#define LEAF_AMD_TOPOLOGY_2 0x80000026

/* leaf 1 */
#define ECX_VMX          (1u << 5)
#define ECX_MONITOR      (1u << 3)
#define ECX_PDCM         (1u << 15)
#define ECX_TSC_DEADLINE (1u << 24)
#define ECX_HYPERVISOR   (1u << 31)
#define EDX_HTT          (1u << 28)
/* leaf 0x80000001, ecx */
#define ECX_CMP_LEGACY   (1u << 1)
#define ECX_SVM          (1u << 2)
#define ECX_PERFCTR_CORE (1u << 23)
#define ECX_PERFCTR_NB   (1u << 24)
#define ECX_PERFCTR_LLC  (1u << 28)
/* leaf 6, eax */
#define EAX_ARAT         (1u << 2)

#define CACHE_LEVEL(eax) ((eax) >> 5 & 7)

/* KVM's APIC timer counts at this rate in its other modes (arch/x86/kvm/lapic.h). */
#define APIC_BUS_KHZ 1000000u

struct plan {
	const struct cpuid_request *request;
	enum cpuid_vendor vendor;
	struct kvm_cpuid_entry2 *out;
	unsigned room;
	unsigned count;
	bool full;
};

static const struct kvm_cpuid_entry2 *find(const struct kvm_cpuid_entry2 *entries, unsigned count,
					   uint32_t function)
{
	for (unsigned i = 0; i < count; i++) {
		if (entries[i].function == function)
			return &entries[i];
	}
	return NULL;
}

enum cpuid_vendor cpuid_vendor(const struct kvm_cpuid_entry2 *entries, unsigned count)
{
	const struct kvm_cpuid_entry2 *leaf = find(entries, count, 0);
	char name[12];

	if (leaf == NULL)
		return CPUID_OTHER;
	memcpy(name, &leaf->ebx, 4);
	memcpy(name + 4, &leaf->edx, 4);
	memcpy(name + 8, &leaf->ecx, 4);
	if (memcmp(name, "GenuineIntel", 12) == 0)
		return CPUID_INTEL;
	if (memcmp(name, "AuthenticAMD", 12) == 0 || memcmp(name, "HygonGenuine", 12) == 0)
		return CPUID_AMD;
	return CPUID_OTHER;
}

unsigned cpuid_address_bits(const struct kvm_cpuid_entry2 *entries, unsigned count)
{
	const struct kvm_cpuid_entry2 *leaf = find(entries, count, LEAF_AMD_SIZES);
	/* eax 23:16 is the guest's width where nested paging narrows it */
	unsigned bits = leaf != NULL ? leaf->eax & 0xff : 36;
	unsigned narrow = leaf != NULL ? leaf->eax >> 16 & 0xff : 0;

	if (narrow != 0 && narrow < bits)
		bits = narrow;
	return bits < 32 ? 32 : bits > 52 ? 52 : bits;
}

/* Bits needed to number @cpus cores. */
static unsigned id_bits(unsigned cpus)
{
	unsigned bits = 0;

	while (1u << bits < cpus)
		bits++;
	return bits;
}

static void add(struct plan *plan, const struct kvm_cpuid_entry2 *entry)
{
	if ((entry->eax | entry->ebx | entry->ecx | entry->edx) == 0)
		return;
	if (plan->count == plan->room) {
		plan->full = true;
		return;
	}
	plan->out[plan->count++] = *entry;
}

static void features(const struct plan *plan, struct kvm_cpuid_entry2 *leaf)
{
	const struct cpuid_request *request = plan->request;

	leaf->ebx = request->index << 24 | (request->cpus < 255 ? request->cpus : 255) << 16 |
		    (leaf->ebx & 0xff00);
	/*
	 * No nested virtualisation and no performance counters: neither is part of what can be saved
	 * and moved. MONITOR is not virtualised.
	 */
	leaf->ecx &= ~(ECX_VMX | ECX_MONITOR | ECX_PDCM | ECX_TSC_DEADLINE);
	leaf->ecx |= ECX_HYPERVISOR | (request->tsc_deadline ? ECX_TSC_DEADLINE : 0);
	leaf->edx = request->cpus > 1 ? leaf->edx | EDX_HTT : leaf->edx & ~EDX_HTT;
}

/* How many share a cache: everyone the third level, nobody the others. */
static uint32_t sharing(uint32_t eax, unsigned ids)
{
	uint32_t others = CACHE_LEVEL(eax) >= 3 ? ids - 1 : 0;

	return (eax & ~0x03ffc000u) | (others & 0xfff) << 14;
}

static void intel_caches(const struct plan *plan, struct kvm_cpuid_entry2 *leaf)
{
	unsigned ids = 1u << id_bits(plan->request->cpus);

	if ((leaf->eax & 0x1f) == 0)
		return; /* no more caches */
	leaf->eax = sharing(leaf->eax, ids);
	leaf->eax = (leaf->eax & 0x03ffffff) | (ids - 1 < 63 ? ids - 1 : 63) << 26;
}

static void amd_features(const struct plan *plan, struct kvm_cpuid_entry2 *leaf)
{
	leaf->ecx &= ~(ECX_SVM | ECX_PERFCTR_CORE | ECX_PERFCTR_NB | ECX_PERFCTR_LLC);
	if (plan->vendor == CPUID_AMD)
		leaf->ecx = plan->request->cpus > 1 ? leaf->ecx | ECX_CMP_LEGACY
						    : leaf->ecx & ~ECX_CMP_LEGACY;
}

static void amd_sizes(const struct plan *plan, struct kvm_cpuid_entry2 *leaf)
{
	unsigned cpus = plan->request->cpus;

	if (plan->vendor == CPUID_AMD)
		leaf->ecx = (leaf->ecx & 0xffff0f00) | id_bits(cpus) << 12 |
			    (cpus < 256 ? cpus - 1 : 255);
}

static void amd_topology(const struct plan *plan, struct kvm_cpuid_entry2 *leaf)
{
	leaf->eax = plan->request->index;
	leaf->ebx = plan->request->index & 0xff; /* core id; one thread each */
	leaf->ecx = 0;                           /* node 0 of one */
	leaf->edx = 0;
}

/* Leaves 0xb and 0x1f: thread, core, end. */
static void topology(struct plan *plan, uint32_t function)
{
	const struct cpuid_request *request = plan->request;
	const struct kvm_cpuid_entry2 levels[] = {
		{.eax = 0, .ebx = 1, .ecx = 1 << 8 | 0},
		{.eax = id_bits(request->cpus), .ebx = request->cpus, .ecx = 2 << 8 | 1},
		{.eax = 0, .ebx = 0, .ecx = 2},
	};

	for (unsigned i = 0; i < 3; i++) {
		struct kvm_cpuid_entry2 entry = levels[i];

		entry.function = function;
		entry.index = i;
		entry.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		entry.edx = request->index;
		add(plan, &entry);
	}
}

static uint32_t divisor(uint32_t a, uint32_t b)
{
	while (b != 0) {
		uint32_t rest = a % b;

		a = b;
		b = rest;
	}
	return a;
}

/*
 * The TSC's frequency as a fraction of a crystal, which is also the APIC timer's clock. Linux
 * multiplies in 32 bits (arch/x86/kernel/tsc.c): where that overflows, say nothing; there is kvmclock.
 */
static void tsc_ratio(struct plan *plan)
{
	uint32_t khz = plan->request->tsc_khz;
	uint32_t by;
	struct kvm_cpuid_entry2 entry = {.function = LEAF_TSC};

	if (khz == 0)
		return;
	by = divisor(khz, APIC_BUS_KHZ);
	if ((uint64_t)APIC_BUS_KHZ * (khz / by) > UINT32_MAX)
		return;
	entry.eax = APIC_BUS_KHZ / by;
	entry.ebx = khz / by;
	entry.ecx = APIC_BUS_KHZ * 1000;
	add(plan, &entry);
}

/* One leaf of KVM's, changed where the VM differs from the host. */
static void leaf(struct plan *plan, const struct kvm_cpuid_entry2 *supported)
{
	struct kvm_cpuid_entry2 entry = *supported;

	switch (entry.function) {
	case 0:
		if (entry.eax < LEAF_TOPOLOGY)
			entry.eax = LEAF_TOPOLOGY;
		if (plan->vendor == CPUID_INTEL && entry.eax < LEAF_FREQUENCY)
			entry.eax = LEAF_FREQUENCY;
		break;
	case LEAF_FEATURES:
		features(plan, &entry);
		break;
	case LEAF_CACHES:
		intel_caches(plan, &entry);
		break;
	case LEAF_THERMAL:
		entry.eax &= EAX_ARAT;
		entry.ebx = entry.ecx = entry.edx = 0;
		break;
	case LEAF_AMD_FEATURES:
		amd_features(plan, &entry);
		break;
	case LEAF_AMD_SIZES:
		amd_sizes(plan, &entry);
		break;
	case LEAF_AMD_CACHES:
		entry.eax = sharing(entry.eax, plan->request->cpus);
		break;
	case LEAF_AMD_TOPOLOGY:
		amd_topology(plan, &entry);
		break;
	case LEAF_KVM:
		if (entry.eax < LEAF_KVM_TIMING)
			entry.eax = LEAF_KVM_TIMING;
		break;
	/* Made here, or not there for a guest. */
	case LEAF_TOPOLOGY:
	case LEAF_TOPOLOGY_2:
	case LEAF_TSC:
	case LEAF_FREQUENCY:
	case LEAF_PERFMON:
	case LEAF_AMD_SVM:
	case LEAF_AMD_PERFMON:
	case LEAF_AMD_TOPOLOGY_2:
	case LEAF_KVM_TIMING:
		return;
	}
	add(plan, &entry);
}

int cpuid_plan(const struct kvm_cpuid_entry2 *supported, unsigned supported_count,
	       const struct cpuid_request *request, struct kvm_cpuid_entry2 *out, unsigned room)
{
	struct plan plan = {
		.request = request,
		.vendor = cpuid_vendor(supported, supported_count),
		.out = out,
		.room = room,
	};
	const struct kvm_cpuid_entry2 *first = find(supported, supported_count, 0);
	struct kvm_cpuid_entry2 timing = {
		.function = LEAF_KVM_TIMING,
		.eax = request->tsc_khz,
		.ebx = APIC_BUS_KHZ,
	};

	for (unsigned i = 0; i < supported_count; i++)
		leaf(&plan, &supported[i]);
	topology(&plan, LEAF_TOPOLOGY);
	if (first != NULL && first->eax >= LEAF_TOPOLOGY_2)
		topology(&plan, LEAF_TOPOLOGY_2);
	if (plan.vendor == CPUID_INTEL)
		tsc_ratio(&plan);
	if (request->tsc_khz != 0)
		add(&plan, &timing);
	return plan.full ? -E2BIG : (int)plan.count;
}
