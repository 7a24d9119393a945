/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/irq.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <linux/kvm.h>

#include "vmm/base/kvm.h"

/* KVM_MAX_IRQ_ROUTES (include/linux/kvm_host.h): routes in a table, and GSI numbers. */
#define MAX_ROUTES 4096

struct pin {
	uint32_t gsi, chip, pin;
};

struct msi {
	struct msi_message message;
	uint32_t devid;
	bool used;    /* the GSI is given out */
	bool routed;  /* there is a message */
	bool changed; /* since the last commit */
};

struct irq_router {
	struct kvm *kvm;
	uint32_t first_msi;

	pthread_mutex_t lock;
	bool dirty;
	struct pin *pins;
	size_t pin_count, pin_room;
	struct msi *msis; /* GSI = first_msi + index */
	size_t msi_count; /* entries ever used */
	size_t msi_room;
	size_t msi_used;
	size_t first_free;             /* no free entry below it */
	struct kvm_irq_routing *table; /* the buffer of commits */
	size_t table_room;
};

int irq_router_create(struct kvm *kvm, uint32_t first_msi, struct irq_router **out)
{
	struct irq_router *router = calloc(1, sizeof(*router));

	if (!router)
		return -ENOMEM;
	router->kvm = kvm_get(kvm);
	router->first_msi = first_msi;
	pthread_mutex_init(&router->lock, NULL);
	*out = router;
	return 0;
}

void irq_router_destroy(struct irq_router *router)
{
	if (!router)
		return;
	kvm_put(router->kvm);
	pthread_mutex_destroy(&router->lock);
	free(router->pins);
	free(router->msis);
	free(router->table);
	free(router);
}

struct kvm *irq_router_kvm(struct irq_router *router)
{
	return router->kvm;
}

/* @array of @count elements with room for one more, or NULL. */
static void *with_room(void *array, size_t count, size_t *room, size_t size)
{
	size_t wanted = *room ? *room * 2 : 32;
	void *larger;

	if (count < *room)
		return array;
	larger = reallocarray(array, wanted, size);
	if (larger)
		*room = wanted;
	return larger;
}

int irq_router_add_pin(struct irq_router *router, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	struct pin *pins;
	int ret = -EINVAL;

	pthread_mutex_lock(&router->lock);
	if (gsi >= router->first_msi || router->pin_count + router->msi_used >= MAX_ROUTES)
		goto unlock;
	for (size_t i = 0; i < router->pin_count; i++)
		if (router->pins[i].gsi == gsi && router->pins[i].chip == chip)
			goto unlock; /* KVM: one pin of a chip per GSI */
	ret = -ENOMEM;
	pins = with_room(router->pins, router->pin_count, &router->pin_room, sizeof(*pins));
	if (!pins)
		goto unlock;
	ret = 0;
	router->pins = pins;
	router->pins[router->pin_count++] = (struct pin){.gsi = gsi, .chip = chip, .pin = pin};
	router->dirty = true;
unlock:
	pthread_mutex_unlock(&router->lock);
	return ret;
}

/* ---- message routes -------------------------------------------------------------------------- */

int irq_msi_alloc(struct irq_router *router, uint32_t devid, uint32_t *gsi)
{
	struct msi *msis;
	int ret = -ENOSPC;
	size_t at;

	pthread_mutex_lock(&router->lock);
	at = router->first_free;
	while (at < router->msi_count && router->msis[at].used)
		at++;
	if (router->first_msi + at >= MAX_ROUTES ||
	    router->pin_count + router->msi_used >= MAX_ROUTES)
		goto unlock;
	ret = -ENOMEM;
	msis = with_room(router->msis, at, &router->msi_room, sizeof(*msis));
	if (!msis)
		goto unlock;
	ret = 0;
	router->msis = msis;
	router->msis[at] = (struct msi){.devid = devid, .used = true};
	if (at == router->msi_count)
		router->msi_count++;
	router->first_free = at + 1;
	router->msi_used++;
	*gsi = router->first_msi + (uint32_t)at;
unlock:
	pthread_mutex_unlock(&router->lock);
	return ret;
}

/* The entry of a GSI that is given out, or NULL. Caller holds the lock. */
static struct msi *msi_at(struct irq_router *router, uint32_t gsi)
{
	size_t at = gsi - router->first_msi;

	if (gsi < router->first_msi || at >= router->msi_count || !router->msis[at].used)
		return NULL;
	return &router->msis[at];
}

static void unroute(struct irq_router *router, struct msi *msi)
{
	if (!msi->routed)
		return;
	msi->routed = false;
	msi->changed = false;
	router->dirty = true;
}

void irq_msi_free(struct irq_router *router, uint32_t gsi)
{
	struct msi *msi;

	pthread_mutex_lock(&router->lock);
	msi = msi_at(router, gsi);
	if (msi) {
		unroute(router, msi);
		msi->used = false;
		router->msi_used--;
		if (gsi - router->first_msi < router->first_free)
			router->first_free = gsi - router->first_msi;
	}
	pthread_mutex_unlock(&router->lock);
}

void irq_msi_set(struct irq_router *router, uint32_t gsi, const struct msi_message *message)
{
	struct msi *msi;

	pthread_mutex_lock(&router->lock);
	msi = msi_at(router, gsi);
	if (msi && (!msi->routed || msi->message.address != message->address ||
		    msi->message.data != message->data)) {
		msi->message = *message;
		msi->routed = true;
		msi->changed = true;
		router->dirty = true;
	}
	pthread_mutex_unlock(&router->lock);
}

void irq_msi_clear(struct irq_router *router, uint32_t gsi)
{
	struct msi *msi;

	pthread_mutex_lock(&router->lock);
	msi = msi_at(router, gsi);
	if (msi)
		unroute(router, msi);
	pthread_mutex_unlock(&router->lock);
}

/* ---- commit ---------------------------------------------------------------------------------- */

/* Write the pins and every routed message; of those that changed only the ones below @limit. */
static int write_table(struct irq_router *router, size_t limit)
{
	struct kvm_irq_routing_entry *entry = router->table->entries;

	for (size_t i = 0; i < router->pin_count; i++) {
		const struct pin *pin = &router->pins[i];

		*entry++ = (struct kvm_irq_routing_entry){
			.gsi = pin->gsi,
			.type = KVM_IRQ_ROUTING_IRQCHIP,
			.u.irqchip = {.irqchip = pin->chip, .pin = pin->pin},
		};
	}
	for (size_t i = 0; i < router->msi_count; i++) {
		const struct msi *msi = &router->msis[i];

		if (!msi->routed || (msi->changed && i >= limit))
			continue;
		*entry++ = (struct kvm_irq_routing_entry){
			.gsi = router->first_msi + (uint32_t)i,
			.type = KVM_IRQ_ROUTING_MSI,
			.flags = KVM_MSI_VALID_DEVID, /* x86 takes it and looks away */
			.u.msi =
				{
					.address_lo = (uint32_t)msi->message.address,
					.address_hi = (uint32_t)(msi->message.address >> 32),
					.data = msi->message.data,
					.devid = msi->devid,
				},
		};
	}
	router->table->nr = (uint32_t)(entry - router->table->entries);
	router->table->flags = 0;
	return kvm_set_routing(router->kvm, router->table);
}

/*
 * KVM refused the table as a whole, maybe because of a message that a guest wrote (x86: address bits
 * that the x2APIC format keeps zero). The others must not suffer: the new messages are tried one by
 * one, and one that is refused loses its route, as a write to nowhere would. A refused table leaves
 * KVM with the one before it, which is then the right one.
 */
static int write_one_by_one(struct irq_router *router)
{
	int ret = write_table(router, 0);
	bool refused = false;

	if (ret)
		return ret; /* it is not the new messages */
	for (size_t i = 0; i < router->msi_count; i++) {
		struct msi *msi = &router->msis[i];

		if (!msi->routed || !msi->changed)
			continue;
		ret = write_table(router, i + 1);
		if (ret && ret != -EINVAL)
			return ret;
		msi->changed = false;
		if (ret) {
			msi->routed = false;
			refused = true;
		}
	}
	router->dirty = false;
	return refused ? -EINVAL : 0;
}

static int table_reserve(struct irq_router *router)
{
	size_t needed = router->pin_count + router->msi_used;
	size_t room = needed + needed / 2;
	struct kvm_irq_routing *table;

	if (router->table && needed <= router->table_room)
		return 0;
	table = reallocarray(router->table, 1, sizeof(*table) + room * sizeof(table->entries[0]));
	if (!table)
		return -ENOMEM;
	router->table = table;
	router->table_room = room;
	return 0;
}

int irq_router_commit(struct irq_router *router)
{
	int ret = 0;

	pthread_mutex_lock(&router->lock);
	if (!router->dirty)
		goto unlock;
	ret = table_reserve(router);
	if (ret)
		goto unlock;
	ret = write_table(router, router->msi_count);
	if (ret == -EINVAL) {
		ret = write_one_by_one(router);
	} else if (ret == 0) {
		router->dirty = false;
		for (size_t i = 0; i < router->msi_count; i++)
			router->msis[i].changed = false;
	}
unlock:
	pthread_mutex_unlock(&router->lock);
	return ret;
}

/* ---- without a route ------------------------------------------------------------------------- */

int irq_msi_send(struct irq_router *router, uint32_t devid, const struct msi_message *message)
{
	return kvm_signal_msi(router->kvm, message->address, message->data, devid);
}

int irq_line_set(struct irq_router *router, uint32_t gsi, bool level)
{
	return kvm_irq_line(router->kvm, gsi, level);
}
