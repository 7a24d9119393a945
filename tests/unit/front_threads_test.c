/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front end as a machine uses it: vCPUs in configuration space, in trapped BARs and in the MSI-X
 * table at once, faults, a revoke from a neighbour's reset, and somebody who asks for the state.
 *
 *   make BUILD=build/tsan OPT='-O1 -g' SAN=-fsanitize=thread build/tsan/tests/unit/front_threads_test
 */
#include "tests/unit/support.h"

#include "tests/unit/fake_front.h"

#include <jansson.h>

#define ROUNDS 1500

static uint32_t draw(uint32_t *seed, uint32_t below)
{
	*seed = *seed * 1664525 + 1013904223;
	return (*seed >> 8) % below;
}

static void *in_config(void *arg)
{
	uint32_t seed = 1;

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		pci_lock(m.fn->bridge);
		switch (draw(&seed, 8)) {
		case 0:
			set_command(0);
			break;
		case 1:
			cfg_write(0x64, draw(&seed, 2) * 3, 2);
			break;
		case 2:
			cfg_write(0x42, draw(&seed, 4) << 14, 2);
			break;
		case 3:
			cfg_write(PCI_BASE_ADDRESS_0, BAR0 + draw(&seed, 2) * 0x1000000, 4);
			break;
		case 4:
			cfg_read(draw(&seed, 0x400) * 4, 4);
			break;
		case 5:
			if (draw(&seed, 20) == 0)
				cfg_write(0x88, 0x8000, 2);
			break;
		default:
			cfg_write(0x64, 0, 2);
			set_command(6);
			break;
		}
		pci_unlock(m.fn->bridge);
	}
	return NULL;
}

static void *in_table(void *arg)
{
	uint32_t seed = (uint32_t)(uintptr_t)arg;

	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned vector = draw(&seed, 20);

		program_vector(vector, 0xfee00000, draw(&seed, 100));
		mask_vector(vector, draw(&seed, 2));
		mem_read(PBA, 8);
	}
	return NULL;
}

static void *in_bars(void *arg)
{
	uint32_t seed = 3;

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		mem_write(BAR0 + 0x2800 + draw(&seed, 0x100) * 4, i, 4);
		mem_read(BAR2 + draw(&seed, 0x40) * 4, 4);
	}
	return NULL;
}

static void *around(void *arg)
{
	(void)arg;
	for (unsigned i = 0; i < ROUNDS / 10; i++) {
		json_t *status = vfio_function_status(m.vf);

		json_decref(status);
		if (i % 8 == 0)
			vfio_device_revoke(&m.device.vdev);
		vfio_function_fault(m.vf);
	}
	return NULL;
}

Test(front_threads, all_at_once_break_no_rule_and_leave_nothing, .timeout = 60)
{
	void *(*const work[])(void *) = {in_config, in_table, in_table, in_bars, around};
	pthread_t threads[5];

	machine_start();
	set_command(6);
	for (uintptr_t i = 0; i < 5; i++)
		cr_assert_eq(pthread_create(&threads[i], NULL, work[i], (void *)(i + 5)), 0);
	for (unsigned i = 0; i < 5; i++)
		pthread_join(threads[i], NULL);
	cr_assert_eq(m.device.breaches, 0);
	machine_end();
}
