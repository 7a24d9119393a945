/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/vfio/front/vector_plan.h"

/* A message to address 0 is an entry that was never written. */
static bool programmed(const struct vector *vector)
{
	return vector->message.address != 0;
}

static bool same(const struct msi_message *a, const struct msi_message *b)
{
	return a->address == b->address && a->data == b->data;
}

bool vector_delivers(const struct vectors *v, const struct vector *vector)
{
	return v->enabled && !v->function_masked && !vector->masked && programmed(vector);
}

static void plan_off(struct vectors *v, struct vector_steps *steps)
{
	for (unsigned i = 0; i < v->count; i++) {
		struct vector *vector = &v->list[i];

		if (vector->has & VECTOR_LINKED)
			vector->todo |= VECTOR_UNLINK;
		if (vector->has & VECTOR_ROUTED)
			vector->todo |= VECTOR_UNROUTE;
		steps->links |= vector->todo & VECTOR_UNLINK;
		steps->routes |= vector->todo & VECTOR_UNROUTE;
	}
	if (v->device_enabled)
		steps->device = VECTOR_DEVICE_DISABLE;
	v->settled = false;
}

static void plan_vector(const struct vectors *v, struct vector *vector, unsigned index, bool settle)
{
	bool delivers = vector_delivers(v, vector);

	if (vector->has & VECTOR_LINKED && !delivers)
		vector->todo |= VECTOR_UNLINK;
	if (vector->has & VECTOR_FAILED || index >= v->limit)
		return;
	if (!delivers && !(settle && programmed(vector)))
		return;
	if (!(vector->has & VECTOR_ARMED))
		vector->todo |= VECTOR_ARM;
	if (!(vector->has & VECTOR_ROUTED) || !same(&vector->message, &vector->routed))
		vector->todo |= VECTOR_ROUTE;
	if (delivers && !(vector->has & VECTOR_LINKED))
		vector->todo |= VECTOR_LINK;
}

void vector_plan(struct vectors *v, struct vector_steps *steps)
{
	unsigned highest = 0; /* of the armed ones and those to be armed, plus one */
	bool settle;

	*steps = (struct vector_steps){.device = VECTOR_DEVICE_KEEP};
	for (unsigned i = 0; i < v->count; i++)
		v->list[i].todo = 0;
	if (!v->enabled) {
		plan_off(v, steps);
		return;
	}

	/*
	 * Enabled but masked as a whole: the guest is still programming. The device's own enable bit
	 * follows when it is done, in one call with all vectors.
	 */
	settle = !v->function_masked && !v->settled;
	for (unsigned i = 0; i < v->count; i++) {
		struct vector *vector = &v->list[i];

		plan_vector(v, vector, i, settle);
		if (vector->todo & VECTOR_ARM) {
			if (!steps->arm_count)
				steps->arm_first = i;
			steps->arm_count = i + 1 - steps->arm_first;
		}
		if (vector->todo & VECTOR_ARM || vector->has & VECTOR_ARMED)
			highest = i + 1;
		steps->links |= vector->todo & (VECTOR_LINK | VECTOR_UNLINK);
		steps->routes |= vector->todo & VECTOR_ROUTE;
	}
	if (settle)
		v->settled = true;

	/* A device may behave otherwise with the bit on, so it is set even when no vector is in use. */
	if (!v->device_enabled && (settle || steps->arm_count)) {
		steps->device = VECTOR_DEVICE_ENABLE;
		steps->allocate = highest ? highest : 1;
	} else if (v->device_enabled && !v->resizable && highest > v->granted) {
		steps->device = VECTOR_DEVICE_GROW;
		steps->allocate = highest;
	}
}
