/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The router on a KVM that writes down the tables it is given. (The functions of vmm/base/kvm.h that
 * the router calls are defined here, so that the real ones stay in the library.)
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <linux/kvm.h>

#include "vmm/base/irq.h"
#include "vmm/base/kvm.h"

static struct kvm the_kvm;
static unsigned commits;       /* tables accepted */
static unsigned tries;         /* tables offered */
static int fail_with;          /* answer to every table, 0: look at it */
static uint32_t bad_hi = 0xff; /* address_hi bits that are refused, as by the x2APIC format */
static struct kvm_irq_routing_entry table[4096];
static unsigned table_size;
static struct {
	uint64_t address;
	uint32_t data, devid, gsi;
	bool level;
} last;

struct kvm *kvm_get(struct kvm *kvm)
{
	kvm->refcount++;
	return kvm;
}

void kvm_put(struct kvm *kvm)
{
	kvm->refcount--;
}

int kvm_set_routing(struct kvm *kvm, const struct kvm_irq_routing *routing)
{
	cr_assert_eq(kvm, &the_kvm);
	tries++;
	if (fail_with)
		return fail_with;
	if (routing->nr > 4096 || routing->flags)
		return -EINVAL;
	for (unsigned i = 0; i < routing->nr; i++) {
		const struct kvm_irq_routing_entry *entry = &routing->entries[i];

		if (entry->gsi >= 4096)
			return -EINVAL;
		if (entry->type == KVM_IRQ_ROUTING_MSI && (entry->u.msi.address_hi & bad_hi))
			return -EINVAL;
	}
	commits++;
	table_size = routing->nr;
	memcpy(table, routing->entries, routing->nr * sizeof(table[0]));
	return 0;
}

int kvm_signal_msi(struct kvm *kvm, uint64_t address, uint32_t data, uint32_t devid)
{
	(void)kvm;
	last.address = address;
	last.data = data;
	last.devid = devid;
	return 0;
}

int kvm_irq_line(struct kvm *kvm, uint32_t gsi, bool level)
{
	(void)kvm;
	last.gsi = gsi;
	last.level = level;
	return -EIO;
}

static struct irq_router *new_router(uint32_t first_msi)
{
	struct irq_router *router = NULL;

	cr_assert_eq(irq_router_create(&the_kvm, first_msi, &router), 0);
	cr_assert_eq(the_kvm.refcount, 1);
	cr_assert_eq(irq_router_kvm(router), &the_kvm);
	return router;
}

static const struct kvm_irq_routing_entry *route_of(uint32_t gsi)
{
	for (unsigned i = 0; i < table_size; i++)
		if (table[i].gsi == gsi)
			return &table[i];
	return NULL;
}

static uint32_t alloc(struct irq_router *router, uint32_t devid)
{
	uint32_t gsi = UINT32_MAX;

	cr_assert_eq(irq_msi_alloc(router, devid, &gsi), 0);
	return gsi;
}

static void set(struct irq_router *router, uint32_t gsi, uint64_t address, uint32_t data)
{
	struct msi_message message = {.address = address, .data = data};

	irq_msi_set(router, gsi, &message);
}

Test(irq, writes_pins_and_messages_as_kvm_wants_them)
{
	struct irq_router *router = new_router(24);
	const struct kvm_irq_routing_entry *route;
	uint32_t gsi;

	cr_assert_eq(irq_router_add_pin(router, 3, 0, 3), 0);
	cr_assert_eq(irq_router_add_pin(router, 3, 2, 3), 0);
	cr_assert_eq(irq_router_add_pin(router, 23, 2, 23), 0);
	gsi = alloc(router, 0x0108);
	cr_assert_eq(gsi, 24);
	set(router, gsi, 0x1100fee00000ull, 0x4021);
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(table_size, 4);
	cr_assert_eq(table[0].type, KVM_IRQ_ROUTING_IRQCHIP);
	cr_assert_eq(table[0].u.irqchip.irqchip, 0);
	cr_assert_eq(table[1].gsi, 3);
	cr_assert_eq(table[1].u.irqchip.irqchip, 2);
	cr_assert_eq(table[2].u.irqchip.pin, 23);
	route = route_of(24);
	cr_assert_eq(route->type, KVM_IRQ_ROUTING_MSI);
	cr_assert_eq(route->flags, KVM_MSI_VALID_DEVID);
	cr_assert_eq(route->u.msi.address_lo, 0xfee00000);
	cr_assert_eq(route->u.msi.address_hi, 0x1100);
	cr_assert_eq(route->u.msi.data, 0x4021);
	cr_assert_eq(route->u.msi.devid, 0x108);
	irq_router_destroy(router);
	cr_assert_eq(the_kvm.refcount, 0);
}

Test(irq, refuses_pins_that_kvm_would_refuse)
{
	struct irq_router *router = new_router(24);

	cr_assert_eq(irq_router_add_pin(router, 24, 2, 0), -EINVAL);
	cr_assert_eq(irq_router_add_pin(router, 4, 2, 4), 0);
	cr_assert_eq(irq_router_add_pin(router, 4, 2, 5), -EINVAL);
	irq_router_destroy(router);
}

Test(irq, commits_only_what_changed)
{
	struct irq_router *router = new_router(24);
	uint32_t a, b;

	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(commits, 0, "nothing was ever set");
	a = alloc(router, 1);
	b = alloc(router, 2);
	irq_msi_clear(router, a);
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(commits, 0, "a reserved GSI has no route yet");

	/* Many changes, one commit. */
	for (uint32_t i = 0; i < 100; i++) {
		set(router, a, 0xfee00000, i);
		set(router, b, 0xfee00000, i);
	}
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(commits, 1);
	cr_assert_eq(table_size, 2);
	cr_assert_eq(route_of(b)->u.msi.data, 99);

	cr_assert_eq(irq_router_commit(router), 0);
	set(router, a, 0xfee00000, 99); /* what it is already */
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(commits, 1);

	set(router, a, 0xfee00000, 100);
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(commits, 2);
	set(router, a, 0xfee01000, 100);
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(commits, 3);

	irq_msi_clear(router, a);
	irq_msi_clear(router, a);
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(commits, 4);
	cr_assert_eq(table_size, 1);
	cr_assert_null(route_of(a));
	irq_msi_free(router, a); /* had no route any more */
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(commits, 4);
	irq_msi_free(router, b);
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(commits, 5);
	cr_assert_eq(table_size, 0);
	irq_router_destroy(router);
}

Test(irq, reserves_every_gsi_once_up_to_4096)
{
	static const struct {
		uint32_t first, pins, most;
	} cases[] = {
		{24, 0, 4072},  /* GSI numbers run out */
		{24, 40, 4056}, /* x86: 16 PIC and 24 IOAPIC pins: routes run out */
		{0, 0, 4096},   {4095, 0, 1}, {4096, 0, 0}, {5000, 0, 0},
	};

	for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
		struct irq_router *router = new_router(cases[c].first);
		static bool seen[4096];
		unsigned count = 0, wrong = 0;
		uint32_t gsi;

		memset(seen, 0, sizeof(seen));
		for (uint32_t i = 0; i < cases[c].pins; i++)
			wrong += irq_router_add_pin(router, i % 24, i / 24, i % 24) != 0;
		while (irq_msi_alloc(router, 0, &gsi) == 0 && count <= 4096) {
			wrong += gsi < cases[c].first || gsi > 4095 || seen[gsi];
			seen[gsi & 4095] = true;
			count++;
			set(router, gsi, 0xfee00000, gsi);
		}
		cr_assert_eq(count, cases[c].most, "case %zu: %u", c, count);
		cr_assert_eq(irq_msi_alloc(router, 0, &gsi), -ENOSPC);
		cr_assert_eq(irq_router_commit(router), 0);
		if (count)
			cr_assert_eq(table_size, count + cases[c].pins);

		/* Every one can be given back and comes again. */
		for (uint32_t i = cases[c].first; i < cases[c].first + count; i += 3) {
			irq_msi_free(router, i);
			wrong += irq_msi_alloc(router, 1, &gsi) != 0 || gsi != i;
		}
		/* In any order. */
		for (uint32_t i = cases[c].first + count; i-- > cases[c].first;)
			irq_msi_free(router, i);
		for (uint32_t i = 0; i < count; i++)
			wrong += irq_msi_alloc(router, 1, &gsi) != 0;
		wrong += irq_msi_alloc(router, 1, &gsi) != -ENOSPC;
		cr_assert_eq(wrong, 0);
		irq_router_destroy(router);
	}
}

Test(irq, a_gsi_given_out_again_has_no_old_message)
{
	struct irq_router *router = new_router(24);
	uint32_t gsi = alloc(router, 1);

	set(router, gsi, 0xfee00000, 1);
	cr_assert_eq(irq_router_commit(router), 0);
	irq_msi_free(router, gsi);
	cr_assert_eq(alloc(router, 2), gsi);
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(table_size, 0);
	set(router, gsi, 0xfee00000, 1);
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(route_of(gsi)->u.msi.devid, 2);
	irq_router_destroy(router);
}

Test(irq, takes_no_notice_of_gsis_that_are_not_reserved)
{
	static const uint32_t gsis[] = {0, 23, 25, 4095, 4096, UINT32_MAX};
	struct irq_router *router = new_router(24);

	alloc(router, 1);
	for (size_t i = 0; i < sizeof(gsis) / sizeof(gsis[0]); i++) {
		set(router, gsis[i], 0xfee00000, 1);
		irq_msi_clear(router, gsis[i]);
		irq_msi_free(router, gsis[i]);
	}
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(tries, 0);
	irq_router_destroy(router);
}

Test(irq, a_failed_commit_is_tried_again)
{
	struct irq_router *router = new_router(24);
	uint32_t gsi = alloc(router, 1);

	cr_assert_eq(irq_router_add_pin(router, 1, 2, 1), 0);
	set(router, gsi, 0xfee00000, 1);
	fail_with = -ENOMEM;
	cr_assert_eq(irq_router_commit(router), -ENOMEM);
	cr_assert_eq(tries, 1);
	/* As without an interrupt controller: it is not the messages' fault, and they stay. */
	fail_with = -EINVAL;
	cr_assert_eq(irq_router_commit(router), -EINVAL);
	fail_with = 0;
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(table_size, 2);
	cr_assert_eq(route_of(gsi)->u.msi.data, 1);
	irq_router_destroy(router);
}

Test(irq, a_message_that_kvm_refuses_harms_no_other)
{
	enum { COUNT = 8 };

	/* Every subset of eight messages is bad; four of them had a good message before. */
	for (unsigned bad = 0; bad < 1u << COUNT; bad++) {
		struct irq_router *router = new_router(24);
		uint32_t gsis[COUNT], untouched;
		unsigned wrong = 0;

		cr_assert_eq(irq_router_add_pin(router, 1, 2, 1), 0);
		untouched = alloc(router, 9);
		set(router, untouched, 0xfee00000, 99);
		for (unsigned i = 0; i < COUNT; i++) {
			gsis[i] = alloc(router, i);
			if (i % 2)
				set(router, gsis[i], 0xfee00000, 50 + i);
		}
		cr_assert_eq(irq_router_commit(router), 0);
		for (unsigned i = 0; i < COUNT; i++)
			set(router, gsis[i], bad >> i & 1 ? 0x1fee00000ull : 0xfee00000, i);
		cr_assert_eq(irq_router_commit(router), bad ? -EINVAL : 0);

		cr_assert_eq(table_size, 2 + COUNT - (unsigned)__builtin_popcount(bad));
		wrong += !route_of(1) || route_of(untouched)->u.msi.data != 99;
		for (unsigned i = 0; i < COUNT; i++) {
			const struct kvm_irq_routing_entry *route = route_of(gsis[i]);

			if (bad >> i & 1)
				wrong += route != NULL;
			else
				wrong += !route || route->u.msi.data != i;
		}
		cr_assert_eq(wrong, 0, "subset %x", bad);
		/* It is over: the next change goes through at the first try. */
		tries = 0;
		set(router, untouched, 0xfee00000, 100);
		cr_assert_eq(irq_router_commit(router), 0);
		cr_assert_eq(tries, 1);
		irq_router_destroy(router);
	}
}

Test(irq, sends_messages_and_lines_without_a_route)
{
	struct irq_router *router = new_router(24);
	struct msi_message message = {.address = 0xfee01000, .data = 0x31};

	cr_assert_eq(irq_msi_send(router, 0x10, &message), 0);
	cr_assert_eq(last.address, 0xfee01000);
	cr_assert_eq(last.data, 0x31);
	cr_assert_eq(last.devid, 0x10);
	cr_assert_eq(irq_line_set(router, 4, true), -EIO, "what KVM says is handed on");
	cr_assert_eq(last.gsi, 4);
	cr_assert(last.level);
	cr_assert_eq(tries, 0);
	irq_router_destroy(router);
}
