/* SPDX-License-Identifier: Apache-2.0 */
/* The PCI transport of virtio, with the entropy device behind it. */
#include <criterion/criterion.h>
#include <jansson.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_ring.h>

#include "devices/virtio/device.h"
#include "devices/virtio/pci.h"
#include "devices/virtio/rng.h"
#include "tests/unit/virtio_driver.h"

#define RINGS    RAM_LOW
#define BUFFER   (RAM_LOW + 0x10000)
#define FEATURES (1ull << VIRTIO_F_VERSION_1)

static struct ring ring;

static void setup(void)
{
	struct virtio_rng_config config = {.id = "rng0"};
	struct pci_function *fn;

	machine_start();
	cr_assert_eq(virtio_rng_create(&config, machine.loop, machine.ioas, &fn), 0);
	machine_plug(fn);
}

TestSuite(virtio_pci, .init = setup, .fini = machine_end);

static void bring_up(uint64_t features, bool msix)
{
	cr_assert(driver_begin(features));
	if (msix)
		driver_msix(2);
	common_out(VIRTIO_PCI_COMMON_MSIX, 1, 2);
	driver_queue(0, &ring, RINGS, 64, 0);
	driver_ok();
}

/* One request of @length random bytes; returns how many came. */
static uint32_t request(uint32_t length)
{
	struct ring_buffer buffer = {BUFFER, length, true};
	uint32_t id, written;

	memset(guest(BUFFER), 0, 0x10000);
	ring_add(&ring, &buffer, 1);
	driver_notify(0);
	driver_wait();
	cr_assert(ring_take(&ring, &id, &written));
	return written;
}

static bool all_zero(uint64_t address, size_t length)
{
	const uint8_t *bytes = guest(address);

	for (size_t i = 0; i < length; i++)
		if (bytes[i])
			return false;
	return true;
}

Test(virtio_pci, is_a_modern_virtio_function)
{
	cr_expect_eq(config_in(PCI_VENDOR_ID, 2), 0x1af4);
	cr_expect_eq(config_in(PCI_DEVICE_ID, 2), 0x1040 + VIRTIO_ID_RNG);
	cr_expect_geq(config_in(PCI_REVISION_ID, 1), 1);
	cr_expect_eq(config_in(PCI_INTERRUPT_PIN, 1), 1);
	cr_expect_neq(machine.isr, 0);
	cr_expect_neq(machine.device, 0);
	cr_expect_neq(machine.notify, 0);
	cr_expect_neq(machine.window, 0);
	cr_expect_neq(machine.msix, 0);
	cr_expect_eq(config_in(machine.msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE, 1);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_NUMQ, 2), 1);
	cr_expect_eq(machine.doorbells, 1);
	cr_expect_eq(virtio_pci_device(machine.fn)->type, VIRTIO_ID_RNG);
}

Test(virtio_pci, serves_requests_with_msix)
{
	bring_up(FEATURES, true);
	cr_expect_eq(request(100), 100);
	cr_expect_not(all_zero(BUFFER, 100));
	cr_expect(all_zero(BUFFER + 100, 1000), "not a byte more");
	cr_expect_eq(machine.messages[0], 1);
	cr_expect_eq(machine.messages[1], 0);
	cr_expect_eq(machine.intx_changes, 0);
	cr_expect_eq(bar_in(machine.isr, 1), 0);
}

Test(virtio_pci, serves_requests_with_intx)
{
	bring_up(FEATURES, false);
	cr_expect_eq(request(16), 16);
	cr_expect_eq(machine.intx, 1);
	cr_expect_eq(bar_in(machine.isr, 1), 1, "reading says why");
	cr_expect_eq(machine.intx, 0, "and takes the line away");
	cr_expect_eq(bar_in(machine.isr, 1), 0);
	config_out(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE,
		   2);
	request(16);
	cr_expect_eq(machine.intx, 0);
	config_out(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	cr_expect_eq(machine.intx, 1);
	config_out(machine.msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	cr_expect_eq(machine.intx, 0);
}

Test(virtio_pci, fills_at_most_a_page_per_request)
{
	bring_up(FEATURES, true);
	cr_expect_eq(request(0x10000), 4096);
	cr_expect(all_zero(BUFFER + 4096, 0x1000));
}

Test(virtio_pci, works_with_indirect_tables_and_event_index)
{
	struct vring_desc *table = guest(RINGS + 0x8000);
	uint32_t id, written;

	bring_up(FEATURES | 1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << VIRTIO_RING_F_EVENT_IDX,
		 true);
	driver_wait();
	cr_expect_eq(*ring_avail_event(&ring), 0);
	for (unsigned i = 0; i < 4; i++)
		table[i] = (struct vring_desc){
			.addr = BUFFER + 0x100 * i,
			.len = 8,
			.flags = (uint16_t)(VRING_DESC_F_WRITE | (i < 3 ? VRING_DESC_F_NEXT : 0)),
			.next = (uint16_t)(i + 1),
		};
	*ring_desc(&ring, 0) = (struct vring_desc){
		.addr = RINGS + 0x8000, .len = 64, .flags = VRING_DESC_F_INDIRECT};
	*ring_used_event(&ring) = 10;
	ring_offer(&ring, 0);
	driver_notify(0);
	driver_wait();
	cr_assert(ring_take(&ring, &id, &written));
	cr_expect_eq(written, 32);
	cr_expect_not(all_zero(BUFFER + 0x300, 8));
	cr_expect_eq(machine.messages[0], 0, "the driver wanted none yet");
	cr_expect_eq(*ring_avail_event(&ring), 1);
}

Test(virtio_pci, serves_more_requests_than_one_turn)
{
	struct ring_buffer buffer = {BUFFER, 8, true};
	uint32_t id, written;
	unsigned count = 0;

	bring_up(FEATURES, true);
	for (unsigned i = 0; i < 64; i++)
		ring_add(&ring, &buffer, 1);
	driver_notify(0);
	driver_wait();
	while (ring_take(&ring, &id, &written))
		count++;
	cr_expect_eq(count, 64);
}

Test(virtio_pci, buffers_offered_before_the_driver_is_ready_are_served)
{
	struct ring_buffer buffer = {BUFFER, 8, true};

	cr_assert(driver_begin(FEATURES));
	driver_queue(0, &ring, RINGS, 64, VIRTIO_MSI_NO_VECTOR);
	ring_add(&ring, &buffer, 1);
	driver_notify(0);
	driver_wait();
	cr_expect_eq(ring_used(&ring)->idx, 0);
	driver_ok();
	driver_wait();
	cr_expect_eq(ring_used(&ring)->idx, 1);
}

Test(virtio_pci, does_not_touch_memory_without_bus_mastering)
{
	struct ring_buffer buffer = {BUFFER, 8, true};

	bring_up(FEATURES, true);
	driver_wait();
	config_out(PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
	ring_add(&ring, &buffer, 1);
	driver_notify(0);
	driver_wait();
	cr_expect_eq(ring_used(&ring)->idx, 0);
	config_out(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	driver_wait();
	cr_expect_eq(ring_used(&ring)->idx, 1, "served once it may");
}

Test(virtio_pci, a_doorbell_that_kvm_cannot_watch_comes_through_the_bar)
{
	pci_function_unmap_bars(machine.fn);
	machine.doorbell_result = -ENOSPC;
	pci_function_update_bars(machine.fn);
	bring_up(FEATURES, true);
	cr_expect_eq(machine.doorbells, 0);
	cr_expect_eq(request(8), 8);
}

Test(virtio_pci, takes_only_features_that_it_offers_and_version_1)
{
	uint64_t offered = driver_offered();

	cr_expect(offered & FEATURES);
	cr_expect_not(driver_begin(0), "a legacy driver");
	cr_expect_not(driver_begin(FEATURES | 1), "a feature that was not offered");
	cr_expect_not(driver_begin(FEATURES | 1ull << VIRTIO_F_ACCESS_PLATFORM));
	driver_ok();
	cr_expect_not(status() & VIRTIO_CONFIG_S_DRIVER_OK, "no start without FEATURES_OK");
	cr_expect(driver_begin(offered));
	common_out(VIRTIO_PCI_COMMON_GFSELECT, 0, 4);
	common_out(VIRTIO_PCI_COMMON_GF, 0xffffffff, 4);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_GF, 4), (uint32_t)offered, "final by now");
	common_out(VIRTIO_PCI_COMMON_DFSELECT, 2, 4);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_DF, 4), 0);
	common_out(VIRTIO_PCI_COMMON_GFSELECT, 0xffffffff, 4);
	common_out(VIRTIO_PCI_COMMON_GF, 1, 4);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_GF, 4), 0);
}

Test(virtio_pci, reset_forgets_everything)
{
	bring_up(FEATURES, true);
	request(8);
	common_out(VIRTIO_PCI_COMMON_STATUS, 0, 1);
	cr_expect_eq(status(), 0);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_SIZE, 2), VIRTQUEUE_SIZE_MAX);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0);
	driver_notify(0);
	driver_wait();
	bring_up(FEATURES, true);
	cr_expect_eq(request(8), 8);
}

Test(virtio_pci, machine_reset_takes_msix_away_too)
{
	bring_up(FEATURES, true);
	machine.fn->ops->reset(machine.fn);
	cr_expect_eq(status(), 0);
	cr_expect_eq(config_in(machine.msix + PCI_MSIX_FLAGS, 2), 1);
	cr_expect_eq(bar_in(machine.table, 8), 0);
	cr_expect_eq(bar_in(machine.table + 12, 4), PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

Test(virtio_pci, queue_registers_are_those_of_the_selected_queue)
{
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 1, 2);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_SIZE, 2), 0, "there is no such queue");
	common_out(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 0xffff, 2);
	common_out(VIRTIO_PCI_COMMON_Q_MSIX, 0, 2);
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	bar_out(machine.common + VIRTIO_PCI_COMMON_Q_DESCLO, 0x123456789abcdef0, 8);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_DESCLO, 4), 0x9abcdef0);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_DESCHI, 4), 0x12345678);
	cr_expect_eq(bar_in(machine.common + VIRTIO_PCI_COMMON_Q_DESCLO, 8), 0x123456789abcdef0);
	common_out(VIRTIO_PCI_COMMON_Q_MSIX, 2, 2);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_MSIX, 2), VIRTIO_MSI_NO_VECTOR,
		     "no such vector");
	common_out(VIRTIO_PCI_COMMON_Q_MSIX, 1, 2);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_MSIX, 2), 1);
}

Test(virtio_pci, an_enabled_queue_does_not_change)
{
	cr_assert(driver_begin(FEATURES));
	driver_queue(0, &ring, RINGS, 64, 0);
	common_out(VIRTIO_PCI_COMMON_Q_SIZE, 128, 2);
	common_out(VIRTIO_PCI_COMMON_Q_DESCLO, 0, 4);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_SIZE, 2), 64);
	cr_expect_eq(common_in(VIRTIO_PCI_COMMON_Q_DESCLO, 4), RINGS);
}

Test(virtio_pci, a_bad_driver_gets_needs_reset_and_an_interrupt)
{
	bring_up(FEATURES, true);
	ring_avail(&ring)->idx = 1000;
	driver_notify(0);
	driver_wait();
	cr_expect(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_expect_eq(machine.messages[1], 1, "the configuration vector");
	driver_notify(0);
	driver_wait();
	cr_expect_eq(machine.messages[1], 1);
	common_out(VIRTIO_PCI_COMMON_STATUS, 0xff, 1);
	cr_expect(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	bring_up(FEATURES, true);
	cr_expect_eq(request(8), 8, "a reset makes it well");
	cr_expect_eq(fake_log_count, 0, "a guest cannot fill the log");
}

Test(virtio_pci, a_queue_out_of_memory_needs_reset)
{
	cr_assert(driver_begin(FEATURES));
	common_out(VIRTIO_PCI_COMMON_Q_SELECT, 0, 2);
	common_out(VIRTIO_PCI_COMMON_Q_DESCLO, 0x1001, 4);
	common_out(VIRTIO_PCI_COMMON_Q_ENABLE, 1, 2);
	cr_expect(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	driver_ok();
	driver_notify(0);
	driver_wait();
}

Test(virtio_pci, unmapped_buffers_are_given_back_empty)
{
	struct ring_buffer buffer = {0x1000, 64, true};
	uint32_t id, written;

	bring_up(FEATURES, true);
	ring_add(&ring, &buffer, 1);
	driver_notify(0);
	driver_wait();
	cr_assert(ring_take(&ring, &id, &written));
	cr_expect_eq(written, 0);
}

Test(virtio_pci, a_masked_vector_waits_in_the_pending_bits)
{
	bring_up(FEATURES, true);
	bar_out(machine.table + 12, PCI_MSIX_ENTRY_CTRL_MASKBIT, 4);
	request(8);
	cr_expect_eq(machine.messages[0], 0);
	cr_expect_eq(bar_in(machine.pba, 8), 1);
	cr_expect_eq(bar_in(machine.pba, 1), 1);
	bar_out(machine.table + 12, 0, 4);
	cr_expect_eq(machine.messages[0], 1);
	cr_expect_eq(bar_in(machine.pba, 8), 0);

	config_out(machine.msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL,
		   2);
	request(8);
	cr_expect_eq(machine.messages[0], 1);
	cr_expect_eq(bar_in(machine.pba, 4), 1);
	config_out(machine.msix + PCI_MSIX_FLAGS, PCI_MSIX_FLAGS_ENABLE, 2);
	cr_expect_eq(machine.messages[0], 2);
}

Test(virtio_pci, the_vector_table_takes_dwords_and_qwords)
{
	bar_out(machine.table, 0x1122334455667788, 8);
	cr_expect_eq(bar_in(machine.table, 8), 0x1122334455667788);
	cr_expect_eq(bar_in(machine.table + 4, 4), 0x11223344);
	cr_expect_eq(bar_in(machine.table + 5, 1), 0x33);
	bar_out(machine.table, 0, 1);
	bar_out(machine.table, 0, 2);
	bar_out(machine.table + 2, 0, 4);
	cr_expect_eq(bar_in(machine.table, 8), 0x1122334455667788);
	bar_out(machine.table + 32, UINT64_MAX, 8);
	cr_expect_eq(bar_in(machine.table + 32, 8), 0, "two vectors, no third");
	bar_out(machine.pba, UINT64_MAX, 8);
	cr_expect_eq(bar_in(machine.pba, 8), 0, "read only");
}

Test(virtio_pci, tells_its_state_as_data)
{
	json_t *state, *queue;

	bring_up(FEATURES, true);
	request(8);
	state = virtio_pci_status(machine.fn);
	cr_assert_not_null(state);
	queue = json_array_get(json_object_get(state, "queues"), 0);
	cr_expect_str_eq(json_string_value(json_object_get(state, "id")), "rng0");
	cr_expect_str_eq(json_string_value(json_object_get(state, "kind")), "virtio-rng");
	cr_expect_str_eq(json_string_value(json_object_get(state, "interrupts")), "msix");
	cr_expect_eq(json_integer_value(json_object_get(state, "status")), 15);
	cr_expect_eq(json_integer_value(json_object_get(queue, "given_back")), 1);
	cr_expect(json_is_null(json_object_get(queue, "fault")));
	json_decref(state);
}

Test(virtio_pci, the_configuration_window_reaches_the_structures)
{
	uint32_t data = machine.window + 16;

	config_out(machine.window + VIRTIO_PCI_CAP_BAR, 0, 1);
	config_out(machine.window + VIRTIO_PCI_CAP_OFFSET,
		   machine.common + VIRTIO_PCI_COMMON_STATUS, 4);
	config_out(machine.window + VIRTIO_PCI_CAP_LENGTH, 1, 4);
	config_out(data, VIRTIO_CONFIG_S_ACKNOWLEDGE, 1);
	cr_expect_eq(status(), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	cr_expect_eq(config_in(data, 1), VIRTIO_CONFIG_S_ACKNOWLEDGE);
	config_out(machine.window + VIRTIO_PCI_CAP_OFFSET, machine.common + VIRTIO_PCI_COMMON_NUMQ,
		   4);
	config_out(machine.window + VIRTIO_PCI_CAP_LENGTH, 2, 4);
	cr_expect_eq(config_in(data, 2), 1);
	for (uint32_t length = 0; length < 10; length++) {
		config_out(machine.window + VIRTIO_PCI_CAP_LENGTH, length, 4);
		config_out(machine.window + VIRTIO_PCI_CAP_OFFSET, 0xfffffffe, 4);
		config_in(data, 4);
		config_out(data, 0xffffffff, 4);
		config_out(machine.window + VIRTIO_PCI_CAP_OFFSET, 0x3ffe, 4);
		config_in(data, 4);
		config_out(data, 0xffffffff, 4);
	}
	config_out(machine.window + VIRTIO_PCI_CAP_BAR, 3, 1);
	config_in(data, 4);
}

Test(virtio_pci, accesses_of_a_wrong_width_do_nothing)
{
	bar_out(machine.common + VIRTIO_PCI_COMMON_STATUS, 1, 4);
	cr_expect_eq(status(), 0);
	cr_expect_eq(bar_in(machine.common + VIRTIO_PCI_COMMON_NUMQ, 4), 0);
	cr_expect_eq(bar_in(machine.common + 0x3c, 8), 0);
	cr_expect_eq(bar_in(machine.common + 1, 4), 0);
	cr_expect_eq(bar_in(machine.device + 0xff8, 8), 0);
	cr_expect_eq(bar_in(machine.notify, 4), 0);
	bar_out(machine.notify + 0xfc, 1, 4);
}

Test(virtio_pci, survives_random_accesses)
{
	unsigned seed = 99;

	for (unsigned i = 0; i < 200000; i++) {
		unsigned size = 1u << (unsigned)rand_r(&seed) % 4;
		unsigned spread = rand_r(&seed) % 4 ? 0x40 : 0x4000;
		uint64_t offset = (unsigned)rand_r(&seed) % spread;
		uint64_t value = (uint64_t)rand_r(&seed) >> (unsigned)rand_r(&seed) % 31;

		if (rand_r(&seed) % 8 == 0)
			offset += machine.table;
		offset = (offset % 0x4000) & ~(uint64_t)(size - 1);
		if (offset >= machine.table && offset < machine.table + 32)
			value = DRIVER_MSI >> (offset % 8 ? 32 : 0);
		switch (rand_r(&seed) % 8) {
		case 0:
			config_out(0x40 + ((unsigned)rand_r(&seed) % 0xc0 & ~3u), (uint32_t)value,
				   4);
			break;
		case 1:
			bar_in(offset, size);
			break;
		case 2:
			if (i % 512 == 0)
				bring_up(FEATURES, false);
			fake_loop_step(machine.loop, 1000);
			break;
		default:
			bar_out(offset, value, size);
			break;
		}
		if (machine.fn->bars[0].address == PCI_BAR_NONE)
			break;
	}
	config_out(PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	bring_up(FEATURES, true);
	cr_expect_eq(request(8), 8);
}
