/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_front.h"

#include <jansson.h>

Test(front_function, comes_and_goes_without_a_trace)
{
	machine_start();
	cr_expect_eq(fake_log_count, 0, "%s", fake_log_last);
	cr_expect_eq(vfio_function_device(m.vf), &m.device.vdev);
	cr_expect_eq(cfg_read(0, 4), 0x00101b36);
	machine_end();
	cr_expect_eq(fake_log_count, 0);
}

Test(front_function, leaves_in_the_order_of_its_coming_backwards)
{
	machine_start();
	set_command(7);
	program_vector(0, 0xfee00000, 0x31);
	mask_vector(0, false);
	cfg_write(0x42, 0x8000, 2);
	journal_clear();
	m.fn->ops->destroy(m.fn);
	cr_expect(journal_order("peer-", "slot-", "irqfd-", "irqs msix off", "close", "detach",
				"unbind", NULL));
	machine_free();
}

Test(front_function, a_driver_that_left_everything_on_is_no_trouble_at_the_end)
{
	machine_start();
	set_command(7);
	cr_expect_eq(m.device.irq_type, VFIO_PCI_INTX_IRQ_INDEX);
	machine_end();
}

Test(front_function, the_host_sees_the_device_before_the_guest_does)
{
	machine_begin();
	cr_assert_eq(machine_create(), 0);
	cr_expect(journal_order("bind", "attach", "info", "write 7 0x4 2 0", NULL),
		  "decode is off until the guest turns it on");
	cr_expect(!fake_decodes(&m.device));
	cr_expect_eq(m.device.vdev.user_kvm, &fake_kvm);
	machine_end();
}

/* The caller keeps a device whose function could not be made. */
static void give_back(void)
{
	cr_expect_eq(m.device.vdev.open_count, 0);
	cr_expect_null(m.device.vdev.events);
	cr_expect_null(m.device.vdev.revoke);
	vfio_unregister_device(&m.device.vdev);
	vfio_device_free(&m.device.vdev);
	machine_free();
}

Test(front_function, every_call_that_fails_at_creation_leaves_nothing_behind)
{
	unsigned turns = 0, refused = 0;

	for (unsigned turn = 1;; turn++) {
		int ret;

		machine_begin();
		m.device.fail_at = turn;
		ret = machine_create();
		if (m.device.calls < turn) {
			cr_assert_eq(ret, 0);
			machine_end();
			break;
		}
		turns++;
		/* Bind and attach are explained by the provider, the rest here, in one line. */
		if (ret) {
			refused++;
			cr_expect_eq(fake_log_count, turn > 2, "turn %u: %u messages, %s", turn,
				     fake_log_count, fake_log_last);
			give_back();
		} else {
			m.device.fail_at = 0;
			cr_expect_leq(fake_log_count, 1);
			machine_end();
		}
	}
	cr_expect_gt(turns, 15);
	cr_expect_gt(refused, 5);
}

Test(front_function, what_cannot_be_passed_through_is_refused_with_one_line)
{
	static const struct {
		const char *what, *says;
	} cases[] = {
		{"not pci", "no PCI device"},
		{"bridge", "bridge"},
		{"gone", "all ones"},
		{"table outside", "MSI-X table"},
		{"bar too large", "32-bit BAR"},
		{"small config", "too small"},
		{"port", "not an endpoint"},
	};

	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		machine_begin();
		switch (i) {
		case 0:
			m.device.device_flags = 0;
			break;
		case 1:
			m.device.config[PCI_HEADER_TYPE] = 1;
			break;
		case 2:
			m.device.gone = true;
			break;
		case 3:
			fake_put32(&m.device, 0x44, 0xff00);
			break;
		case 4:
			fake_put32(&m.device, PCI_BASE_ADDRESS_0 + 16, 0);
			m.device.regions[4].size = 4ull << 30;
			break;
		case 5:
			m.device.config_size = 64;
			break;
		default:
			fake_put16(&m.device, 0x82, 0x0042);
			break;
		}
		cr_expect_neq(machine_create(), 0, "%s", cases[i].what);
		cr_expect_eq(fake_log_count, 1, "%s: %u", cases[i].what, fake_log_count);
		cr_expect_not_null(strstr(fake_log_last, cases[i].says), "%s: %s", cases[i].what,
				   fake_log_last);
		cr_expect_not_null(strstr(fake_log_last, "0000:01:00.0"));
		give_back();
	}
}

Test(front_function, broken_capabilities_are_one_warning)
{
	machine_begin();
	m.device.config[0xe1] = 0x40; /* a loop */
	cr_assert_eq(machine_create(), 0);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, "chain"));
	machine_end();
}

Test(front_function, bars_and_ids_are_shown_as_planned)
{
	machine_begin();
	m.config.vendor_id = 0x1234;
	m.config.subsystem_id = 0x4321;
	m.device.regions[4].size = 64 << 20;
	fake_put32(&m.device, PCI_BASE_ADDRESS_0 + 16, 4);
	cr_assert_eq(machine_create(), 0);
	cr_expect_eq(cfg_read(0, 2), 0x1234);
	cr_expect_eq(cfg_read(2, 2), 0x0010);
	cr_expect_eq(cfg_read(PCI_SUBSYSTEM_ID, 2), 0x4321);
	cr_expect_eq(m.fn->bars[0].kind, PCI_BAR_MEM64);
	cr_expect_eq(m.fn->bars[0].size, 0x10000);
	cr_expect(!m.fn->bars[0].prefetchable);
	cr_expect_eq(m.fn->bars[2].kind, PCI_BAR_MEM32);
	cr_expect_eq(m.fn->bars[3].kind, PCI_BAR_IO);
	cr_expect(m.fn->bars[4].prefetchable, "large and 64-bit");
	cr_expect_eq(m.fn->bars[PCI_BAR_ROM].size, 0x1000);
	cr_expect_eq(cfg_read(PCI_BASE_ADDRESS_0, 4), 4);
	cfg_write(PCI_BASE_ADDRESS_0, 0xffffffff, 4);
	cr_expect_eq(cfg_read(PCI_BASE_ADDRESS_0, 4), 0xffff0004);
	cr_expect_eq(cfg_read(PCI_BASE_ADDRESS_0 + 12, 4), 1);
	machine_end();
}

Test(front_function, an_id_of_the_user_names_it_in_messages)
{
	machine_begin();
	m.config.id = "disk0";
	m.device.gone = true;
	cr_expect_neq(machine_create(), 0);
	cr_expect_not_null(strstr(fake_log_last, "vfio disk0: "));
	give_back();
}

Test(front_function, a_pin_that_does_not_mask_itself_is_not_shown)
{
	machine_begin();
	m.device.irq_flags[VFIO_PCI_INTX_IRQ_INDEX] = VFIO_IRQ_INFO_EVENTFD;
	cr_assert_eq(machine_create(), 0);
	cr_expect_eq(cfg_read(PCI_INTERRUPT_PIN, 1), 0);
	machine_end();
}

Test(front_function, a_thousand_comings_and_goings_leave_no_descriptor)
{
	machine_begin();
	for (unsigned i = 0; i < 1000; i++) {
		if (i)
			fake_init(&m.device, "0000:01:00.0", NULL, 0);
		cr_assert_eq(machine_create(), 0);
		pci_function_set_bar(m.fn, 0, BAR0);
		set_command(6);
		program_vector(1, 0xfee00000, 0x41);
		mask_vector(1, false);
		cfg_write(0x42, 0x8000, 2);
		cr_assert_eq(delivers(1), 0x41);
		m.fn->ops->destroy(m.fn);
	}
	machine_free();
}

static const char *status_text(json_t *root, const char *key)
{
	const char *text = json_string_value(json_object_get(root, key));

	return text ? text : "";
}

Test(front_function, its_state_is_one_json_object)
{
	json_t *root, *bars, *area, *irqs;
	uint32_t devctl;

	machine_start();
	set_command(7);
	program_vector(3, 0xfee00000, 0x51);
	mask_vector(3, false);
	cfg_write(0x42, 0x8000, 2);
	root = vfio_function_status(m.vf);
	cr_assert_not_null(root);
	cr_expect_str_eq(status_text(root, "id"), "0000:01:00.0");
	cr_expect_str_eq(status_text(root, "guest"), "01:00.0");
	cr_expect_str_eq(status_text(root, "leaving"), "no");
	bars = json_object_get(root, "bars");
	cr_assert_eq(json_array_size(bars), 4);
	area = json_array_get(json_object_get(json_array_get(bars, 0), "areas"), 0);
	cr_expect(json_is_true(json_object_get(area, "direct")));
	cr_expect_str_eq(status_text(area, "p2p"), "mapped");
	irqs = json_object_get(root, "interrupts");
	cr_expect_str_eq(status_text(irqs, "mode"), "msi-x");
	cr_expect_eq(json_integer_value(json_object_get(irqs, "linked")), 1);
	cr_expect(json_is_null(json_object_get(json_object_get(root, "reset"), "method")));
	cr_expect_not_null(json_object_get(root, "device"));
	json_decref(root);

	devctl = cfg_read(0x88, 2);
	cfg_write(0x88, devctl | PCI_EXP_DEVCTL_BCR_FLR, 2);
	root = vfio_function_status(m.vf);
	cr_expect_str_eq(status_text(json_object_get(root, "reset"), "method"), "flr");
	json_decref(root);
	machine_end();
}
