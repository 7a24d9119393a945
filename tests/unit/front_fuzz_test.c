/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that writes anything anywhere: configuration space, BARs, the MSI-X table. Whatever it
 * does, the fakes' rules hold (no mapping over a device that does not decode, SET_IRQS as the kernel
 * wants it), what it is told is consistent, and nothing is left when the device goes.
 */
#include "tests/unit/fake_front.h"

/* Criterion records each assertion, which is too much for the loops of random tests. */
#define must(what)                                                                                 \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			journal_print();                                                           \
			fprintf(stderr, "%s\n", fake_log_last);                                    \
			cr_assert_fail("round %u, line %d: %s", fuzz_round, __LINE__, #what);      \
		}                                                                                  \
	} while (0)

static unsigned fuzz_round;
static unsigned seen_slots, seen_vectors, seen_peers,
	seen_doorbells; /* that there was something to break */
static uint32_t seed;

static uint32_t draw(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)(seed >> 8) * below >> 24);
}

static uint32_t any(void)
{
	return draw(0x10000) << 16 | draw(0x10000);
}

static void write_config(void)
{
	/* Half of the time at registers that do something. */
	static const uint16_t hot[] = {0x04, 0x10, 0x14, 0x18, 0x1c, 0x20, 0x30, 0x40,
				       0x64, 0x88, 0xa8, 0xc0, 0xc4, 0xc8, 0xcc, 0xd0};
	static const uint32_t addresses[] = {BAR0, BAR2, BAR4, 0xc0010100, BAR3 | 1, 0x10, 0};
	uint32_t at = draw(2) ? hot[draw(16)] : draw(0x400) * 4, value = any();
	unsigned size = 1u << draw(3);

	if (at >= 0x10 && at < 0x28 && draw(2))
		value = addresses[draw(7)];
	if (at == 0x40 && draw(2))
		value = draw(4) << 30;
	if (at == 4 && draw(2))
		value = draw(8) | draw(2) << 10;
	cfg_write(at + (draw(4) ? 0 : draw(4 / size) * size), value, size);
}

static void access_bar(void)
{
	static const uint64_t bases[] = {BAR0, TABLE, PBA, BAR2, BAR4, 0xc0010000};
	uint64_t at = bases[draw(6)] + draw(0x200);
	unsigned size = 1u << draw(4);
	uint32_t port = 0;

	if (draw(2))
		mem_write(at, (uint64_t)any() << 32 | any(), size);
	else
		mem_read(at, size);
	if (draw(8) == 0)
		bus_read(m.pio, BAR3 + draw(0x20), &port, 1u << draw(3));
}

static void program_table(void)
{
	unsigned vector = draw(20);

	if (draw(2))
		program_vector(vector, 0xfee00000 | draw(16) << 12, any());
	mask_vector(vector, draw(3) == 0);
}

/* What the guest was promised, as far as it can be told from outside. */
static void check(void)
{
	uint16_t command = (uint16_t)cfg_read(PCI_COMMAND, 2);
	bool memory = command & PCI_COMMAND_MEMORY && !(cfg_read(0x64, 1) & 3);
	bool msix = cfg_read(0x42, 2) & 0x8000, masked = cfg_read(0x42, 2) & 0x4000;

	must(m.device.breaches == 0);
	must(fake_kvm_state.breaches == 0);
	must(router.breaches == 0);
	seen_slots += fake_slot_count() > 0;
	seen_peers += fake_peer_count > 0;
	seen_doorbells += fake_ioeventfd_count() > 0;
	seen_vectors += m.device.irq_type == VFIO_PCI_MSIX_IRQ_INDEX;
	if (!memory) {
		must(fake_slot_count() == 0);
		must(fake_peer_count == 0);
		must(fake_ioeventfd_count() == 0);
	}
	for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
		const struct front_bar *b = &m.vf->bars[n];

		must(b->address == m.fn->bars[n].address);
		for (unsigned i = 0; b->direct && i < b->layout.area_count; i++)
			must(b->trapped[i] || fake_slot_at(b->address + b->layout.areas[i].offset));
	}
	must((m.device.irq_type == VFIO_PCI_MSIX_IRQ_INDEX) == (msix && m.vf->irqs.v.settled));
	for (unsigned i = 0; msix && !masked && i < 20; i++) {
		const uint8_t *entry = m.vf->irqs.table + 16 * i;
		bool open =
			!(entry[12] & 1) && pci_get(entry, 0, 4) + (uint64_t)pci_get(entry, 4, 4);

		must(open == (delivers(i) >= 0));
		must(!open || (uint32_t)delivers(i) == pci_get(entry, 8, 4));
	}
}

static int bell = -1;

/* Doorbells of BAR 0, sound and senseless, often at the same place. */
static void draw_doorbells(void)
{
	static const uint32_t offsets[] = {0x2800, 0x2800, 0x2804, 0x0,        0x2010,
					   0x213c, 0x3ffc, 0x4000, 0xffffffff, 0x2f00};
	m.device.doorbell_count = draw(9);
	for (unsigned i = 0; i < m.device.doorbell_count; i++)
		m.device.doorbells[i] = (struct vfio_region_ioeventfd){
			.offset = offsets[draw(10)],
			.size = draw(8) ? 1u << draw(4) >> draw(2) : any(),
			.fd = draw(20) ? bell : -1,
			.match = draw(2),
			.datamatch = draw(8) ? draw(3) : any(),
		};
}

static void start(void)
{
	if (bell < 0)
		bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	machine_begin();
	if (draw(3) == 0)
		m.device.irq_flags[VFIO_PCI_MSIX_IRQ_INDEX] |= VFIO_IRQ_INFO_NORESIZE;
	if (draw(4) == 0)
		m.device.regions[4].size = 0x100;
	if (draw(4) == 0)
		m.device.dma_bufs = false;
	cr_assert_eq(machine_create(), 0);
	pci_function_set_bar(m.fn, 0, BAR0);
	pci_function_set_bar(m.fn, 2, BAR2);
	pci_function_set_bar(m.fn, 3, BAR3);
	pci_function_set_bar(m.fn, 4, BAR4);
	draw_doorbells();
	set_command(7);
}

static void step(void)
{
	switch (draw(8)) {
	case 0:
	case 1:
	case 2:
		write_config();
		break;
	case 3:
		program_table();
		break;
	case 4:
		cfg_read(draw(0x400) * 4, 4);
		break;
	case 5:
		if (draw(40) == 0)
			vfio_device_revoke(&m.device.vdev);
		else if (draw(20) == 0)
			pci_function_reset(m.fn);
		else if (draw(3) == 0)
			cfg_write(0x64, 0, 2);
		else if (draw(3) == 0)
			cfg_write(0x40, draw(3) << 30, 4);
		else
			set_command(6);
		break;
	default:
		access_bar();
		break;
	}
}

Test(front_fuzz, a_wild_guest_breaks_no_rule, .timeout = 120)
{
	for (fuzz_round = 0; fuzz_round < 300; fuzz_round++) {
		seed = fuzz_round;
		start();
		for (unsigned i = 0; i < 400; i++) {
			step();
			check();
		}
		must(fake_log_count == 0);
		machine_end();
		must(fake_ioeventfd_count() == 0);
	}
	cr_expect_gt(seen_slots, 300 * 100);
	cr_expect_gt(seen_peers, 300 * 50);
	cr_expect_gt(seen_doorbells, 300 * 20, "%u", seen_doorbells);
	cr_expect_gt(seen_vectors, 300 * 50);
}

/* And with a device that fails now and then, and may vanish. */
Test(front_fuzz, a_wild_guest_of_a_failing_device_leaves_nothing_behind, .timeout = 120)
{
	for (fuzz_round = 0; fuzz_round < 300; fuzz_round++) {
		seed = fuzz_round + 100000;
		start();
		for (unsigned i = 0; i < 300; i++) {
			if (draw(5) == 0)
				m.device.fail_at = m.device.calls + 1 + draw(6);
			fake_kvm_state.slot_error = draw(30) ? 0 : -ENOSPC;
			fake_kvm_state.irqfd_error = draw(30) ? 0 : -ENOMEM;
			fake_kvm_state.ioeventfd_error = draw(30) ? 0 : -ENOSPC;
			router.commit_error = draw(30) ? 0 : -ENOMEM;
			m.device.available = draw(20) ? m.device.available : draw(24);
			if (draw(500) == 0)
				m.device.gone = true;
			step();
			must(m.device.mapping_breaches == 0);
			must(fake_kvm_state.breaches == 0);
			must(router.breaches == 0);
			if (draw(50) == 0)
				vfio_function_fault(m.vf);
		}
		fake_kvm_state.slot_error = 0;
		fake_kvm_state.ioeventfd_error = 0;
		m.device.fail_at = 0;
		m.device.breaches = 0; /* SET_IRQS that failed, and what follows from them */
		m.device.irq_type = FAKE_IRQ_NONE;
		m.device.gone = true;
		m.fn->ops->destroy(m.fn);
		m.device.breaches = 0;
		machine_free();
	}
}
