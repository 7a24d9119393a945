/* SPDX-License-Identifier: Apache-2.0 */
#include "devices/power.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "vmm/base/bus.h"
#include "vmm/base/host.h"
#include "vmm/base/kvm.h"
#include "vmm/base/log.h"

struct power {
	struct power_wiring wiring;
	int irq_fd;
	atomic_uint events;
};

static uint64_t read_register(void *ctx, uint64_t offset, unsigned size)
{
	struct power *power = ctx;

	if (offset == POWER_EVENT_STATUS && size == 4)
		return atomic_exchange(&power->events, 0);
	return 0;
}

static void write_register(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct power *power = ctx;
	const struct power_wiring *wiring = &power->wiring;

	if (size != 1)
		return;
	if (offset == POWER_SLEEP_CONTROL && (value & POWER_SLEEP_ENABLE) &&
	    (value >> 2 & 7) == POWER_SLEEP_TYPE)
		wiring->events->off(wiring->ctx);
	else if (offset == POWER_RESET && value == POWER_RESET_VALUE)
		wiring->events->reset(wiring->ctx);
}

static const struct bus_ops registers = {.read = read_register, .write = write_register};

int power_create(const struct power_wiring *wiring, struct power **out)
{
	struct power *power = calloc(1, sizeof(*power));
	int r;

	if (power == NULL)
		return -ENOMEM;
	power->wiring = *wiring;
	power->irq_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (power->irq_fd < 0) {
		r = -errno;
		goto free_power;
	}
	r = kvm_irqfd_add(wiring->kvm, power->irq_fd, wiring->gsi, -1);
	if (r < 0)
		goto close_irq;
	r = bus_add(wiring->bus, wiring->base, POWER_SIZE, &registers, power, "power");
	if (r < 0)
		goto remove_irqfd;
	*out = power;
	return 0;

remove_irqfd:
	kvm_irqfd_remove(wiring->kvm, power->irq_fd, wiring->gsi);
close_irq:
	close(power->irq_fd);
free_power:
	log_failure(r, "power: cannot be set up");
	free(power);
	return r;
}

void power_destroy(struct power *power)
{
	if (power == NULL)
		return;
	bus_remove(power->wiring.bus, power->wiring.base, power);
	bus_synchronize(power->wiring.bus);
	kvm_irqfd_remove(power->wiring.kvm, power->irq_fd, power->wiring.gsi);
	close(power->irq_fd);
	free(power);
}

void power_reset(struct power *power)
{
	atomic_store(&power->events, 0);
}

void power_press(struct power *power)
{
	atomic_fetch_or(&power->events, POWER_EVENT_BUTTON);
	/* Non-blocking: a counter that is full has the guest's attention already. */
	if (!host_eventfd_add(power->irq_fd))
		log_debug("power: button event: %s", strerror(errno));
}
