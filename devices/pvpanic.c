/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/pvpanic.h"

#include <errno.h>
#include <stdlib.h>

#include "vmm/base/bus.h"
#include "vmm/base/log.h"

/* Bits of the register; reading it says which of them are understood. */
#define BIT_PANICKED     (1u << 0)
#define BIT_CRASH_LOADED (1u << 1)
#define BIT_SHUTDOWN     (1u << 2)
#define BITS             (BIT_PANICKED | BIT_CRASH_LOADED | BIT_SHUTDOWN)

struct pvpanic {
	struct bus *bus;
	uint64_t base;
	pvpanic_fn fn;
	void *ctx;
};

static uint64_t pvpanic_read(void *ctx, uint64_t offset, unsigned size)
{
	(void)ctx, (void)offset, (void)size;
	return BITS;
}

static void pvpanic_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct pvpanic *pvpanic = ctx;

	(void)offset, (void)size;
	if (value & BIT_CRASH_LOADED)
		pvpanic->fn(pvpanic->ctx, PVPANIC_EVENT_CRASH_LOADED);
	if (value & BIT_PANICKED)
		pvpanic->fn(pvpanic->ctx, PVPANIC_EVENT_PANICKED);
	if (value & BIT_SHUTDOWN)
		pvpanic->fn(pvpanic->ctx, PVPANIC_EVENT_SHUTDOWN);
}

static const struct bus_ops pvpanic_ops = {.read = pvpanic_read, .write = pvpanic_write};

int pvpanic_create(struct bus *bus, uint64_t base, pvpanic_fn fn, void *ctx, struct pvpanic **out)
{
	struct pvpanic *pvpanic;
	int ret;

	pvpanic = malloc(sizeof(*pvpanic));
	if (!pvpanic)
		return -ENOMEM;
	*pvpanic = (struct pvpanic){.bus = bus, .base = base, .fn = fn, .ctx = ctx};
	ret = bus_add(bus, base, PVPANIC_SIZE, &pvpanic_ops, pvpanic, "pvpanic");
	if (ret < 0) {
		log_failure(ret, "pvpanic: cannot take bus address %#llx",
			    (unsigned long long)base);
		free(pvpanic);
		return ret;
	}
	*out = pvpanic;
	return 0;
}

void pvpanic_destroy(struct pvpanic *pvpanic)
{
	if (!pvpanic)
		return;
	bus_remove(pvpanic->bus, pvpanic->base, pvpanic);
	bus_synchronize(pvpanic->bus);
	free(pvpanic);
}
