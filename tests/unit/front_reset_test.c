/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_front.h"

#define OWNED (VFIO_PCI_HOT_RESET_FLAG_DEV_ID | VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED)

/* A device without function level reset, alone on its bus unless the test says otherwise. */
static void start_without_flr(uint32_t device_flags)
{
	machine_begin();
	m.device.device_flags = VFIO_DEVICE_FLAGS_PCI | device_flags;
	fake_put32(&m.device, 0x84, 1);
	m.device.has_hot_reset = true;
	m.device.hot_flags = OWNED;
	m.device.hot_count = 1;
	cr_assert_eq(machine_create(), 0);
	m.device.hot_ids[0] = m.device.vdev.iommufd_devid;
	pci_function_set_bar(m.fn, 0, BAR0);
	set_command(7);
	journal_clear();
}

Test(front_reset, of_the_bus_uses_function_level_reset_where_there_is_one)
{
	machine_start();
	set_command(7);
	journal_clear();
	pci_function_reset(m.fn);
	cr_expect(journal_order("slot-", "irqs intx off", "write 7 0x4 2 0", "reset", NULL));
	cr_expect_str_eq(m.vf->reset_method, "flr");
	cr_expect_null(m.vf->reset_failure);
	cr_expect_eq(journal_times("hot"), 0);
	cr_expect_eq(cfg_read(PCI_COMMAND, 2), 0);
	cr_expect_eq(cfg_read(PCI_BASE_ADDRESS_0, 4), 4);
	machine_end();
}

Test(front_reset, of_a_sleeping_device_wakes_it_even_when_it_fails)
{
	machine_start();
	set_command(6);
	cfg_write(0x64, 3, 2);
	m.device.fail_named = "reset";
	pci_function_reset(m.fn);
	cr_expect_eq(m.device.config[0x64] & 3, 0);
	cr_expect_eq(cfg_read(0x64, 1) & 3, 0);
	m.device.fail_named = NULL;
	machine_end();
}

Test(front_reset, the_header_type_stays_what_the_slot_made_it)
{
	machine_start();
	m.fn->config[PCI_HEADER_TYPE] = 0x80;
	pci_function_reset(m.fn);
	cr_expect_eq(cfg_read(PCI_HEADER_TYPE, 1), 0x80);
	machine_end();
}

Test(front_reset, without_it_the_bus_is_reset)
{
	start_without_flr(VFIO_DEVICE_FLAGS_RESET);
	pci_function_reset(m.fn);
	cr_expect_str_eq(m.vf->reset_method, "hot");
	cr_expect_str_eq(m.device.vdev.reset_method, "hot");
	cr_expect_eq(m.device.hot_resets, 1);
	cr_expect_eq(m.device.resets, 0);
	cr_expect_eq(fake_log_count, 0);
	machine_end();
}

Test(front_reset, a_bus_that_cannot_be_reset_leaves_what_the_kernel_can)
{
	start_without_flr(VFIO_DEVICE_FLAGS_RESET);
	m.device.has_hot_reset = false;
	pci_function_reset(m.fn);
	cr_expect_str_eq(m.vf->reset_method, "function");
	cr_expect_eq(fake_log_count, 0);

	m.device.has_hot_reset = true;
	m.device.fail_named = "hotreset";
	m.device.fail_with = -ENOTTY; /* seen of ports that do not report their link */
	pci_function_reset(m.fn);
	cr_expect_str_eq(m.vf->reset_method, "function");
	cr_expect_eq(m.device.resets, 2);
	machine_end();
}

Test(front_reset, with_others_functions_on_the_bus_it_is_left_alone)
{
	start_without_flr(0);
	m.device.hot_flags = VFIO_PCI_HOT_RESET_FLAG_DEV_ID;
	m.device.hot_count = 2;
	m.device.hot_ids[1] = (uint32_t)VFIO_PCI_DEVID_NOT_OWNED;
	pci_function_reset(m.fn);
	cr_expect_null(m.vf->reset_method);
	cr_expect_not_null(strstr(m.vf->reset_failure, "not this VM's"));
	cr_expect_eq(m.device.hot_resets, 0);
	cr_expect_eq(fake_log_count, 1);
	machine_end();
}

Test(front_reset, closed_functions_of_our_groups_are_no_obstacle)
{
	start_without_flr(0);
	m.device.hot_count = 3;
	m.device.hot_ids[1] = VFIO_PCI_DEVID_OWNED;
	m.device.hot_ids[2] = VFIO_PCI_DEVID_OWNED;
	pci_function_reset(m.fn);
	cr_expect_str_eq(m.vf->reset_method, "hot");
	machine_end();
}

Test(front_reset, no_way_at_all_is_one_warning)
{
	start_without_flr(0);
	m.device.has_hot_reset = false;
	pci_function_reset(m.fn);
	cr_expect_null(m.vf->reset_method);
	cr_expect_not_null(m.vf->reset_failure);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_eq(m.vf->reset_count, 1);
	machine_end();
}

/* Two functions of one set, each a device of the guest. */
static struct fake_vdev second;
static struct vfio_function *vf2;
static struct vfio_device_sets sets;

static struct fake_vdev *owner(uint64_t gpa)
{
	return gpa >= 0xc8000000 ? &second : &m.device;
}

static void start_two(void)
{
	struct vfio_function_env env;

	machine_begin();
	vfio_device_sets_init(&sets);
	vfio_unregister_device(&m.device.vdev);
	vfio_device_free(&m.device.vdev);
	fake_init(&m.device, "0000:01:00.0", &sets, 42);
	fake_init(&second, "0000:01:00.1", &sets, 42);
	fake_devices[1] = &second;
	fake_owner = owner;
	for (unsigned i = 0; i < 2; i++) {
		struct fake_vdev *f = fake_devices[i];

		f->device_flags = VFIO_DEVICE_FLAGS_PCI;
		fake_put32(f, 0x84, 1);
		f->dma_bufs = false;
		f->has_hot_reset = true;
		f->hot_flags = OWNED;
		f->hot_count = 2;
	}
	cr_assert_eq(machine_create(), 0);
	env = machine_env();
	cr_assert_eq(vfio_function_create(&env, &m.config, &second.vdev, &vf2), 0);
	plug(vf2);
	for (unsigned i = 0; i < 2; i++) {
		fake_devices[i]->hot_ids[0] = m.device.vdev.iommufd_devid;
		fake_devices[i]->hot_ids[1] = second.vdev.iommufd_devid;
	}
	pci_function_set_bar(m.fn, 0, BAR0);
	pci_function_set_bar(&vf2->pci, 0, 0xc8000000);
	set_command(6);
	vf2->pci.ops->config_write(&vf2->pci, PCI_COMMAND, 6, 2);
	journal_clear();
}

static void end_two(void)
{
	vf2->pci.ops->destroy(&vf2->pci);
	cr_expect_eq(second.breaches, 0);
	machine_end();
	vfio_device_sets_destroy(&sets);
}

Test(front_reset, of_one_function_waits_while_the_guest_uses_another_of_its_set)
{
	start_two();
	pci_function_reset(m.fn);
	cr_expect_eq(journal_times("hotreset"), 0);
	cr_expect_not_null(strstr(m.vf->reset_failure, "the guest uses a function"));
	cr_expect_not_null(fake_slot_at(0xc8000000), "which goes on undisturbed");
	end_two();
}

Test(front_reset, of_all_functions_of_a_set_is_one_hot_reset)
{
	start_two();
	pci_function_reset(m.fn);
	pci_function_reset(&vf2->pci);
	cr_expect_eq(journal_times("hotreset"), 1);
	cr_expect_eq(m.device.hot_resets, 1);
	cr_expect_str_eq(vf2->reset_method, "hot");
	cr_expect(!m.vf->reset_waits);
	cr_expect(!vf2->reset_waits);
	cr_expect_eq(fake_slot_count(), 0);
	end_two();
}

Test(front_reset, that_waited_is_off_when_the_guest_uses_the_function_again)
{
	start_two();
	pci_function_reset(m.fn);
	cr_expect(m.vf->reset_waits);
	pci_function_set_bar(m.fn, 0, BAR0);
	set_command(6);
	cr_expect(!m.vf->reset_waits);
	pci_function_reset(&vf2->pci);
	cr_expect_eq(journal_times("hotreset"), 0, "the first is in use");
	cr_expect_not_null(fake_slot_at(BAR0));
	end_two();
}

/* ---- events -------------------------------------------------------------------------------------- */

#define SECOND 1000000000ull

Test(front_events, a_request_asks_the_guest_again_and_again_and_then_takes)
{
	machine_start();
	m.device.vdev.events->request(m.device.vdev.events_ctx, 0);
	cr_expect_eq(m.asked, 1);
	cr_expect_eq(m.vf->leaving, FRONT_ASKED);
	m.device.vdev.events->request(m.device.vdev.events_ctx, 1); /* the provider repeats */
	cr_expect_eq(m.asked, 1);
	fake_loop_step(m.loop, 9 * SECOND);
	cr_expect_eq(m.asked, 1);
	fake_loop_step(m.loop, 1 * SECOND);
	cr_expect_eq(m.asked, 2);
	fake_loop_step(m.loop, 10 * SECOND);
	cr_expect_eq(m.asked, 3);
	cr_expect_eq(m.forced, 0);
	fake_loop_step(m.loop, 10 * SECOND);
	cr_expect_eq(m.forced, 1);
	cr_expect_eq(fake_log_count, 1);
	fake_loop_step(m.loop, 100 * SECOND);
	cr_expect_eq(m.forced, 1);
	cr_expect_eq(m.asked, 3);
	machine_end();
}

Test(front_events, a_time_out_that_is_no_multiple_is_kept_to_the_second)
{
	machine_begin();
	m.config.unplug_timeout_s = 13;
	cr_assert_eq(machine_create(), 0);
	m.device.vdev.events->request(m.device.vdev.events_ctx, 0);
	fake_loop_step(m.loop, 10 * SECOND);
	cr_expect_eq(m.asked, 2);
	fake_loop_step(m.loop, 2 * SECOND);
	cr_expect_eq(m.forced, 0);
	fake_loop_step(m.loop, 1 * SECOND);
	cr_expect_eq(m.forced, 1);
	machine_end();
}

Test(front_events, without_a_time_out_the_device_is_taken_at_once)
{
	machine_begin();
	m.config.unplug_timeout_s = 0;
	cr_assert_eq(machine_create(), 0);
	m.device.vdev.events->request(m.device.vdev.events_ctx, 0);
	cr_expect_eq(m.asked, 0);
	cr_expect_eq(m.forced, 1);
	machine_end();
}

Test(front_events, an_error_is_counted_and_ends_the_vm_only_when_asked)
{
	machine_start();
	m.device.vdev.events->error(m.device.vdev.events_ctx);
	cr_expect_eq(m.vf->error_count, 1);
	cr_expect_eq(m.fatal, 0);
	m.config.stop_on_error = true;
	m.device.vdev.events->error(m.device.vdev.events_ctx);
	cr_expect_eq(m.fatal, 1);
	machine_end();
}

Test(front_events, a_device_that_is_gone_is_taken_without_asking)
{
	machine_start();
	set_command(6);
	m.device.gone = true;
	m.device.vdev.events->gone(m.device.vdev.events_ctx);
	cr_expect_eq(fake_slot_count(), 0);
	cr_expect_eq(m.forced, 0, "on the loop, not below whoever noticed");
	fake_loop_step(m.loop, 1000);
	cr_expect_eq(m.forced, 1);
	cr_expect_eq(m.asked, 0);
	machine_end();
}

Test(front_events, a_request_for_a_device_that_is_gone_takes_it_without_asking)
{
	machine_start();
	set_command(6);
	m.device.gone = true;
	m.device.vdev.events->request(m.device.vdev.events_ctx, 0);
	cr_expect_eq(fake_slot_count(), 0);
	fake_loop_step(m.loop, 1000);
	cr_expect_eq(m.forced, 1);
	cr_expect_eq(m.asked, 0);
	m.device.vdev.events->request(m.device.vdev.events_ctx, 1);
	cr_expect_eq(m.forced, 2, "the slot may not have managed to close it");
	fake_loop_step(m.loop, 100 * SECOND);
	cr_expect_eq(m.forced, 2);
	machine_end();
}

Test(front_events, a_request_repeated_notices_that_the_device_is_gone)
{
	machine_start();
	m.device.vdev.events->request(m.device.vdev.events_ctx, 0);
	cr_expect_eq(m.asked, 1);
	m.device.gone = true;
	m.device.vdev.events->request(m.device.vdev.events_ctx, 1);
	fake_loop_step(m.loop, 1000);
	cr_expect_eq(m.forced, 1);
	cr_expect_eq(m.asked, 1);
	machine_end();
}

Test(front_events, a_request_of_a_server_is_no_reason_to_wait_for_it)
{
	unsigned before;

	machine_start();
	m.device.vdev.iommufd_kind = VFIO_IOMMUFD_EMULATED;
	before = m.device.calls;
	for (unsigned i = 0; i < 3; i++)
		m.device.vdev.events->request(m.device.vdev.events_ctx, i);
	cr_expect_eq(m.device.calls, before, "it was asked for something");
	cr_expect_eq(m.asked, 1);
	/* That it is gone it says itself. */
	m.device.vdev.events->gone(m.device.vdev.events_ctx);
	fake_loop_step(m.loop, 1000);
	cr_expect_eq(m.forced, 1);
	m.device.vdev.iommufd_kind = VFIO_IOMMUFD_PHYSICAL;
	machine_end();
}

Test(front_events, a_device_that_goes_while_the_guest_is_asked_is_taken)
{
	machine_start();
	m.device.vdev.events->request(m.device.vdev.events_ctx, 0);
	m.device.gone = true;
	cfg_read(0x104, 4);
	fake_loop_step(m.loop, 1000);
	cr_expect_eq(m.forced, 1);
	machine_end();
}

Test(front_fault, of_a_device_that_decodes_is_not_ours)
{
	machine_start();
	cr_expect(!vfio_function_fault(m.vf), "no slot, no fault");
	set_command(6);
	cr_expect(!vfio_function_fault(m.vf));
	cr_expect_eq(fake_slot_count(), 4);
	machine_end();
}

Test(front_fault, of_a_device_that_is_gone_drops_its_slots)
{
	machine_start();
	set_command(6);
	m.device.gone = true;
	cr_expect(vfio_function_fault(m.vf));
	cr_expect_eq(fake_slot_count(), 0);
	cr_expect_eq(mem_read(BAR4 + 0x100, 4), 0xffffffff);
	cr_expect(vfio_function_fault(m.vf), "another vCPU that was on its way");
	m.vf->revoked_ns -= 10 * SECOND;
	cr_expect(!vfio_function_fault(m.vf), "but not for ever");
	fake_loop_step(m.loop, 1000);
	cr_expect_eq(m.forced, 1);
	machine_end();
}

Test(front_fault, of_a_device_that_stopped_decoding_drops_its_slots_until_it_is_enabled)
{
	machine_start();
	set_command(6);
	fake_put16(&m.device, PCI_COMMAND, 0); /* behind our back */
	cr_expect(vfio_function_fault(m.vf));
	cr_expect_eq(fake_slot_count(), 0);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_eq(cfg_read(PCI_COMMAND, 2), 6, "the guest is not told");
	set_command(6);
	cr_expect_eq(fake_slot_count(), 4);
	cr_expect(!vfio_function_fault(m.vf) || m.vf->revoked_ns);
	machine_end();
}

Test(front_fault, of_a_device_in_d3_drops_its_slots)
{
	machine_start();
	set_command(6);
	m.device.config[0x64] = 3;
	cr_expect(vfio_function_fault(m.vf));
	cr_expect_eq(fake_slot_count(), 0);
	m.device.config[0x64] = 0;
	machine_end();
}
