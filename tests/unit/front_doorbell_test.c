/* SPDX-License-Identifier: Apache-2.0 */
#include <jansson.h>

#include "tests/unit/fake_front.h"

/* BAR 0 with doorbells: two where it is trapped; over a mapping, over the MSI-X table, beyond the end. */
static void start_with_doorbells(void)
{
	static const struct vfio_region_ioeventfd bells[] = {
		{.offset = 0x2800, .size = 4},
		{.offset = 0x2808, .size = 2, .match = true, .datamatch = 7},
		{.offset = 0x0, .size = 4},
		{.offset = 0x2010, .size = 4},
		{.offset = 0x213e, .size = 4},
		{.offset = UINT64_MAX - 1, .size = 4},
	};

	machine_start();
	m.device.doorbell_count = sizeof(bells) / sizeof(bells[0]);
	memcpy(m.device.doorbells, bells, sizeof(bells));
	for (unsigned i = 0; i < m.device.doorbell_count; i++)
		m.device.doorbells[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void close_provider_fds(void)
{
	for (unsigned i = 0; i < m.device.doorbell_count; i++)
		close(m.device.doorbells[i].fd);
	m.device.doorbell_count = 0;
}

static void end_with_doorbells(void)
{
	/* The provider's may be closed before the front end's are taken out. */
	close_provider_fds();
	machine_end();
	cr_expect_eq(fake_ioeventfd_count(), 0);
	cr_expect_eq(fake_kvm_state.breaches, 0);
}

/* Does KVM's eventfd at @address reach that of the device? */
static bool rings(uint64_t address, unsigned size, const uint64_t *match, int fd)
{
	const struct fake_ioeventfd *io = fake_ioeventfd_find(-1, false, address, size, match);
	eventfd_t count;

	return io && eventfd_write(io->fd, 3) == 0 && eventfd_read(fd, &count) == 0 && count == 3;
}

static long long shown(const char *key)
{
	json_t *status = vfio_function_status(m.vf);
	const long long value = json_integer_value(
		json_object_get(json_array_get(json_object_get(status, "bars"), 0), key));

	json_decref(status);
	return value;
}

Test(front_doorbell, only_what_would_reach_the_device_is_signalled_by_kvm)
{
	const uint64_t seven = 7;

	start_with_doorbells();
	set_command(7);
	cr_expect_eq(fake_ioeventfd_count(), 2);
	cr_expect(rings(BAR0 + 0x2800, 4, NULL, m.device.doorbells[0].fd));
	cr_expect(rings(BAR0 + 0x2808, 2, &seven, m.device.doorbells[1].fd));
	cr_expect_eq(shown("doorbells"), 2);
	cr_expect_eq(shown("doorbells_offered"), 6);
	cr_expect_eq(fake_log_count, 0, "%s", fake_log_last);
	/* A write of another width or value is one of the register. */
	mem_write(BAR0 + 0x2800, 5, 2);
	cr_expect_neq(journal_find("write 0 0x2800 2 0x5", 0), -1);
	end_with_doorbells();
}

Test(front_doorbell, they_follow_the_bar)
{
	start_with_doorbells();
	cr_expect_eq(fake_ioeventfd_count(), 0, "nothing is decoded");
	set_command(7);
	journal_clear();
	cfg_write(PCI_BASE_ADDRESS_0, 0xc1000000, 4);
	cr_expect(journal_order("bell- 0xc0002800 4 mmio", "slot- 0xc0000000", "slot+ 0xc1000000",
				"bell+ 0xc1002800 4 mmio", NULL));
	cr_expect_eq(fake_ioeventfd_count(), 2);
	journal_clear();
	set_command(4);
	cr_expect_eq(fake_ioeventfd_count(), 0);
	cr_expect(journal_order("bell- 0xc1002800 4 mmio", "write 7 0x4 2 0x4", NULL),
		  "gone before the device stops decoding");
	cr_expect_eq(shown("doorbells_offered"), 0);
	set_command(7);
	cr_expect_eq(fake_ioeventfd_count(), 2);
	end_with_doorbells();
}

Test(front_doorbell, a_revoke_takes_them_and_the_next_enable_brings_them_back)
{
	start_with_doorbells();
	set_command(7);
	vfio_device_revoke(&m.device.vdev);
	cr_expect_eq(fake_ioeventfd_count(), 0);
	set_command(7);
	cr_expect_eq(fake_ioeventfd_count(), 2);
	end_with_doorbells();
}

Test(front_doorbell, a_device_that_is_gone_has_none)
{
	start_with_doorbells();
	set_command(7);
	m.device.gone = true;
	cr_expect_eq(mem_read(BAR0 + 0x2804, 4), 0xffffffff);
	cr_expect_eq(fake_ioeventfd_count(), 0);
	end_with_doorbells();
}

Test(front_doorbell, after_a_reset_the_device_is_asked_anew)
{
	start_with_doorbells();
	set_command(7);
	front_reset_function(m.vf);
	cr_expect_eq(fake_ioeventfd_count(), 0);
	/* Another server, say: other eventfds, and the old ones are closed. */
	close_provider_fds();
	m.device.doorbells[0] = (struct vfio_region_ioeventfd){
		.offset = 0x2810, .size = 8, .fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
	m.device.doorbell_count = 1;
	pci_function_set_bar(m.fn, 0, BAR0);
	set_command(7);
	cr_expect_eq(fake_ioeventfd_count(), 1);
	cr_expect(rings(BAR0 + 0x2810, 8, NULL, m.device.doorbells[0].fd));
	end_with_doorbells();
}

Test(front_doorbell, without_kvm_the_register_is_written_and_that_is_said_once)
{
	start_with_doorbells();
	fake_kvm_state.ioeventfd_error = -ENOSPC;
	set_command(7);
	cr_expect_eq(fake_ioeventfd_count(), 0);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, "doorbell at 0x2800 of BAR 0: No space left"),
			   "%s", fake_log_last);
	mem_write(BAR0 + 0x2800, 5, 4);
	cr_expect_neq(journal_find("write 0 0x2800 4 0x5", 0), -1);
	cr_expect_eq(shown("doorbells"), 0);
	cr_expect_eq(shown("doorbells_offered"), 6);
	set_command(4);
	set_command(7);
	cr_expect_eq(fake_log_count, 1);
	fake_kvm_state.ioeventfd_error = 0;
	set_command(4);
	set_command(7);
	cr_expect_eq(fake_ioeventfd_count(), 2);
	end_with_doorbells();
}

Test(front_doorbell, what_kvm_takes_of_them_is_used)
{
	start_with_doorbells();
	fake_kvm_state.ioeventfd_error = -ENOSPC;
	fake_kvm_state.ioeventfd_error_from = 2;
	set_command(7);
	cr_expect_eq(fake_ioeventfd_count(), 1);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, "0x2808"));
	set_command(4);
	cr_expect_eq(fake_ioeventfd_count(), 0);
	end_with_doorbells();
}
