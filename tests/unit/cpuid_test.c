// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "arch/x86/cpuid.h"

#define INTEL   .ebx = 0x756e6547, .edx = 0x49656e69, .ecx = 0x6c65746e
#define AMD     .ebx = 0x68747541, .edx = 0x69746e65, .ecx = 0x444d4163
#define INDEXED .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX

static const struct kvm_cpuid_entry2 intel[] = {
	{.function = 0, .eax = 0x1f, INTEL},
	{.function = 1, .eax = 0x806f8, .ebx = 0x07400800, .ecx = 0xfffaf38b, .edx = 0xffffffff},
	{.function = 4, .index = 0, INDEXED, .eax = 0xfc004121, .ebx = 0x2c0003f, .ecx = 63},
	{.function = 4, .index = 3, INDEXED, .eax = 0xfc1fc163, .ebx = 0x380003f, .ecx = 1},
	{.function = 4, .index = 4, INDEXED},
	{.function = 6, .eax = 0x77, .ebx = 2, .ecx = 9},
	{.function = 7, .index = 0, INDEXED, .eax = 2, .ebx = 0xf1bf07ab},
	{.function = 0xa, .eax = 0x8300805},
	{.function = 0xb, .index = 0, INDEXED, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 7},
	{.function = 0xb, .index = 1, INDEXED, .eax = 7, .ebx = 0x70, .ecx = 0x201, .edx = 7},
	{.function = 0x15, .eax = 2, .ebx = 208, .ecx = 25000000},
	{.function = 0x16, .eax = 2600},
	{.function = 0x1f, .index = 0, INDEXED, .eax = 1, .ebx = 2, .ecx = 0x100, .edx = 7},
	{.function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b},
	{.function = 0x40000001, .eax = 0x01007efb},
	{.function = 0x80000001, .ecx = 0x121, .edx = 0x2c100800},
	{.function = 0x80000008, .eax = 0x00303934},
};

static const struct kvm_cpuid_entry2 amd[] = {
	{.function = 0, .eax = 0xd, AMD},
	{.function = 1, .eax = 0xb00f21, .ebx = 0x01020800, .ecx = 0x81202000, .edx = 0x078bfbff},
	{.function = 0x40000000, .eax = 0x40000001, .ebx = 0x4b4d564b},
	{.function = 0x40000001, .eax = 0x01007efb},
	{.function = 0x80000001, .ecx = 0x11c003f7, .edx = 0x23d3fbff},
	{.function = 0x80000008, .eax = 0x3030, .ecx = 0x7001, .ebx = 5},
	{.function = 0x8000000a, .eax = 1, .ebx = 8},
	{.function = 0x8000001d, .index = 0, INDEXED, .eax = 0x4121, .ebx = 1},
	{.function = 0x8000001d, .index = 3, INDEXED, .eax = 0x4163, .ebx = 1},
	{.function = 0x8000001e, .eax = 9, .ebx = 0x104, .ecx = 0x203},
	{.function = 0x80000022, .eax = 1, .ebx = 0x46},
	{.function = 0x80000026, .index = 0, INDEXED, .eax = 1, .ebx = 2},
};

static struct kvm_cpuid_entry2 out[CPUID_MAX_ENTRIES];
static int count;

static void plan(const struct kvm_cpuid_entry2 *table, size_t size, unsigned cpus, unsigned index,
		 uint32_t khz)
{
	const struct cpuid_request request = {
		.cpus = cpus, .index = index, .tsc_khz = khz, .tsc_deadline = true};

	count = cpuid_plan(table, (unsigned)(size / sizeof(*table)), &request, out,
			   CPUID_MAX_ENTRIES);
	cr_assert_gt(count, 0);
	for (int i = 0; i < count; i++) {
		cr_assert_neq(out[i].eax | out[i].ebx | out[i].ecx | out[i].edx, 0);
		for (int j = 0; j < i; j++)
			cr_assert(out[i].function != out[j].function ||
					  out[i].index != out[j].index,
				  "leaf %x.%u twice", out[i].function, out[i].index);
	}
}

/* The leaf, or one of zeroes. */
static struct kvm_cpuid_entry2 leaf(uint32_t function, uint32_t index)
{
	for (int i = 0; i < count; i++) {
		if (out[i].function == function && out[i].index == index)
			return out[i];
	}
	return (struct kvm_cpuid_entry2){0};
}

Test(cpuid, the_makers_are_told_apart)
{
	static const struct kvm_cpuid_entry2 other[] = {{.function = 0, .ebx = 1}};

	cr_assert_eq(cpuid_vendor(intel, 1), CPUID_INTEL);
	cr_assert_eq(cpuid_vendor(amd, 1), CPUID_AMD);
	cr_assert_eq(cpuid_vendor(other, 1), CPUID_OTHER);
	cr_assert_eq(cpuid_vendor(other, 0), CPUID_OTHER);
}

Test(cpuid, address_width_is_the_narrower_of_host_and_guest)
{
	struct kvm_cpuid_entry2 entry = {.function = 0x80000008, .eax = 0x3934};

	cr_assert_eq(cpuid_address_bits(&entry, 1), 52);
	entry.eax = 0x00303934;
	cr_assert_eq(cpuid_address_bits(&entry, 1), 48);
	entry.eax = 0x3027;
	cr_assert_eq(cpuid_address_bits(&entry, 1), 39);
	entry.eax = 0xff;
	cr_assert_eq(cpuid_address_bits(&entry, 1), 52);
	entry.eax = 0;
	cr_assert_eq(cpuid_address_bits(&entry, 1), 32);
	cr_assert_eq(cpuid_address_bits(&entry, 0), 36);
}

Test(cpuid, every_processor_has_its_own_apic_id_everywhere)
{
	static const unsigned counts[] = {1, 2, 3, 4, 7, 8, 64, 100, 254};

	for (unsigned c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		unsigned cpus = counts[c];
		unsigned bits = 0;

		while (1u << bits < cpus)
			bits++;
		for (unsigned i = 0; i < cpus; i++) {
			plan(intel, sizeof(intel), cpus, i, 2600000);
			cr_assert_eq(leaf(1, 0).ebx >> 24, i);
			cr_assert_eq(leaf(1, 0).ebx >> 16 & 0xff, cpus);
			cr_assert_eq(leaf(1, 0).ebx & 0xffff, 0x0800);
			cr_assert_eq(leaf(1, 0).edx >> 28 & 1, cpus > 1);
			for (uint32_t f = 0xb; f <= 0x1f; f += 0x1f - 0xb) {
				cr_assert_eq(leaf(f, 0).edx, i);
				cr_assert_eq(leaf(f, 1).edx, i);
				cr_assert_eq(leaf(f, 0).eax, 0);
				cr_assert_eq(leaf(f, 0).ebx, 1);
				cr_assert_eq(leaf(f, 0).ecx, 0x100);
				cr_assert_eq(leaf(f, 1).eax, bits);
				cr_assert_eq(leaf(f, 1).ebx, cpus);
				cr_assert_eq(leaf(f, 1).ecx, 0x201);
				cr_assert_eq(leaf(f, 2).ebx, 0);
				cr_assert_eq(leaf(f, 2).ecx, 2);
				/* ids fit into the bits */
				cr_assert_eq(i >> bits, 0);
			}
			plan(amd, sizeof(amd), cpus, i, 2600000);
			cr_assert_eq(leaf(0x8000001e, 0).eax, i);
			cr_assert_eq(leaf(0x8000001e, 0).ebx, i & 0xff);
			cr_assert_eq(leaf(0x8000001e, 0).ecx, 0);
			cr_assert_eq(leaf(0x80000008, 0).ecx & 0xff, cpus - 1);
			cr_assert_eq(leaf(0x80000008, 0).ecx >> 12 & 0xf, bits);
			cr_assert_eq(leaf(0x80000001, 0).ecx >> 1 & 1, cpus > 1);
			cr_assert_eq(leaf(0xb, 1).ebx, cpus);
			cr_assert_eq(leaf(0, 0).eax, 0xd);
		}
	}
}

Test(cpuid, caches_are_private_but_the_last)
{
	plan(intel, sizeof(intel), 6, 1, 0);
	cr_assert_eq(leaf(4, 0).eax >> 14 & 0xfff, 0);
	cr_assert_eq(leaf(4, 3).eax >> 14 & 0xfff, 7);
	cr_assert_eq(leaf(4, 0).eax >> 26, 7);
	cr_assert_eq(leaf(4, 3).eax & 0x3fff, 0x163);
	cr_assert_eq(leaf(4, 0).ebx, 0x2c0003f);
	plan(intel, sizeof(intel), 200, 1, 0);
	cr_assert_eq(leaf(4, 0).eax >> 26, 63);
	plan(amd, sizeof(amd), 6, 1, 0);
	cr_assert_eq(leaf(0x8000001d, 0).eax >> 14 & 0xfff, 0);
	cr_assert_eq(leaf(0x8000001d, 3).eax >> 14 & 0xfff, 5);
}

Test(cpuid, what_is_not_virtualised_is_hidden)
{
	plan(intel, sizeof(intel), 2, 0, 2600000);
	cr_assert_eq(leaf(1, 0).ecx & (1u << 3 | 1u << 5 | 1u << 15), 0);
	cr_assert_eq(leaf(1, 0).ecx >> 31, 1);
	cr_assert_eq(leaf(1, 0).ecx >> 24 & 1, 1);
	cr_assert_eq(leaf(0xa, 0).eax, 0);
	cr_assert_eq(leaf(6, 0).eax, 4);
	cr_assert_eq(leaf(6, 0).ecx, 0);
	cr_assert_eq(leaf(7, 0).ebx, 0xf1bf07ab);
	plan(amd, sizeof(amd), 2, 0, 2600000);
	cr_assert_eq(leaf(0x80000001, 0).ecx & (1u << 2 | 1u << 23 | 1u << 24 | 1u << 28), 0);
	cr_assert_eq(leaf(0x80000001, 0).ecx & (1u << 22), 1u << 22);
	cr_assert_eq(leaf(0x8000000a, 0).ebx, 0);
	cr_assert_eq(leaf(0x80000022, 0).eax, 0);
	cr_assert_eq(leaf(0x80000026, 0).ebx, 0);
}

Test(cpuid, the_tsc_frequency_is_told_where_it_can_be)
{
	plan(intel, sizeof(intel), 1, 0, 2600000);
	cr_assert_eq(leaf(0x40000000, 0).eax, 0x40000010);
	cr_assert_eq(leaf(0x40000010, 0).eax, 2600000);
	cr_assert_eq(leaf(0x40000010, 0).ebx, 1000000);
	cr_assert_eq(leaf(0x15, 0).ecx, 1000000000);
	cr_assert_eq((uint64_t)leaf(0x15, 0).ecx * leaf(0x15, 0).ebx / leaf(0x15, 0).eax,
		     2600000000);
	/* a fraction that 32 bits do not hold is not told, the rest is */
	plan(intel, sizeof(intel), 1, 0, 2599999);
	cr_assert_eq(leaf(0x15, 0).ebx, 0);
	cr_assert_eq(leaf(0x40000010, 0).eax, 2599999);
	plan(intel, sizeof(intel), 1, 0, 0);
	cr_assert_eq(leaf(0x15, 0).ebx, 0);
	cr_assert_eq(leaf(0x40000010, 0).eax, 0);
	plan(amd, sizeof(amd), 1, 0, 2600000);
	cr_assert_eq(leaf(0x15, 0).ebx, 0);
	cr_assert_eq(leaf(0x40000010, 0).eax, 2600000);
}

Test(cpuid, without_room_it_is_an_error)
{
	const struct cpuid_request request = {.cpus = 1};

	for (unsigned room = 0; room < 8; room++)
		cr_assert_eq(
			cpuid_plan(intel, sizeof(intel) / sizeof(intel[0]), &request, out, room),
			-E2BIG);
}
