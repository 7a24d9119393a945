/* SPDX-License-Identifier: Apache-2.0 */
/* The panic notifier on a real bus. */
#include <criterion/criterion.h>
#include <errno.h>

#include "devices/pvpanic.h"
#include "vmm/base/bus.h"

static unsigned seen[3];
static struct bus *bus;
static struct pvpanic *pvpanic;

static void event(void *ctx, enum pvpanic_event what)
{
	cr_assert_eq(ctx, seen);
	seen[what]++;
}

static void setup(void)
{
	cr_assert_eq(bus_create(&bus), 0);
	cr_assert_eq(pvpanic_create(bus, PVPANIC_PORT, event, seen, &pvpanic), 0);
}

static void teardown(void)
{
	pvpanic_destroy(pvpanic);
	bus_destroy(bus);
}

TestSuite(pvpanic, .init = setup, .fini = teardown);

static void write_port(uint8_t value)
{
	bus_write(bus, PVPANIC_PORT, &value, 1);
}

Test(pvpanic, says_what_it_understands)
{
	uint8_t value = 0;

	cr_expect_eq(bus_read(bus, PVPANIC_PORT, &value, 1), 0);
	cr_expect_eq(value, 7);
}

struct port_case {
	uint8_t value;
	unsigned panicked, crash_loaded, shutdown;
};

Test(pvpanic, tells_each_event_that_the_guest_names)
{
	static const struct port_case cases[] = {
		{0, 0, 0, 0}, {1, 1, 0, 0}, {2, 0, 1, 0},
		{4, 0, 0, 1}, {3, 1, 1, 0}, {0xf8, 0, 0, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		seen[0] = seen[1] = seen[2] = 0;
		write_port(cases[i].value);
		cr_expect_eq(seen[PVPANIC_EVENT_PANICKED], cases[i].panicked);
		cr_expect_eq(seen[PVPANIC_EVENT_CRASH_LOADED], cases[i].crash_loaded);
		cr_expect_eq(seen[PVPANIC_EVENT_SHUTDOWN], cases[i].shutdown);
	}
}

Test(pvpanic, answers_nobody_after_its_end)
{
	uint8_t value = 0;

	pvpanic_destroy(pvpanic);
	pvpanic = NULL;
	cr_expect_eq(bus_read(bus, PVPANIC_PORT, &value, 1), -ENOENT);
	write_port(1);
	cr_expect_eq(seen[PVPANIC_EVENT_PANICKED], 0);
}

Test(pvpanic, a_taken_port_is_an_error)
{
	struct pvpanic *second;

	cr_expect_eq(pvpanic_create(bus, PVPANIC_PORT, event, seen, &second), -EEXIST);
}
