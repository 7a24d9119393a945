/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A guest that writes anything anywhere: configuration space, BARs and MSI-X table of a passed-through
 * function, over the fakes of its unit test and under the rules of it. The input: u32 seed of the
 * machine, then steps of 12 bytes: u8 what, u8 size, u16 where, u64 value.
 */
#include "tests/fuzz/unit_stand_in.h"

#include "tests/unit/front_fuzz_test.c"

#include "tests/fuzz/fuzz.h"

#define MAX_STEPS 512
#define FAILING   (1u << 31) /* of the seed: the device fails now and then, and vanishes at the end */

/*
 * The device raises an interrupt. One whose SET_IRQS failed may have kept an eventfd that the front end
 * has closed since; in the kernel it would be a file that nobody else has.
 */
static void signal_vector(unsigned vector, bool failing)
{
	const uint64_t one = 1;
	const int fd = trigger_of(vector);

	if (fd >= 0)
		fuzz_must(write(fd, &one, sizeof(one)) > 0 || errno == EAGAIN ||
			  (failing && errno == EBADF));
}

static void one_step(struct fuzz_input *in, bool failing)
{
	static const uint64_t bases[] = {BAR0, TABLE, PBA, BAR2, BAR4, 0xc0010000};
	const uint8_t what = fuzz_u8(in), log2 = fuzz_u8(in);
	uint16_t where;
	uint64_t value;

	fuzz_take(in, &where, sizeof(where));
	fuzz_take(in, &value, sizeof(value));
	switch (what % 8) {
	case 0:
	case 1: {
		const unsigned size = 1u << log2 % 3;

		cfg_write((where & 0xfff) / size * size, (uint32_t)value, size);
		break;
	}
	case 2: {
		const unsigned size = 1u << log2 % 3;

		cfg_read((where & 0xfff) / size * size, size);
		break;
	}
	case 3:
		mem_write(bases[what / 8 % 6] + where % 0x1000, value, 1u << log2 % 4);
		break;
	case 4:
		mem_read(bases[what / 8 % 6] + where % 0x1000, 1u << log2 % 4);
		break;
	case 5:
		program_vector(where % 20, 0xfee00000 | (value & 0xff) << 12,
			       (uint32_t)(value >> 32));
		mask_vector(where % 20, log2 & 1);
		break;
	case 6:
		if (log2 % 4 == 0)
			pci_function_reset(m.fn);
		else if (log2 % 4 == 1)
			vfio_device_revoke(&m.device.vdev);
		else
			signal_vector(where % 20, failing);
		break;
	default:
		set_command((uint16_t)(value & 7));
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};

	bool failing;

	seed = fuzz_u32(&in);
	failing = seed & FAILING;
	start();
	for (unsigned i = 0; in.size && i < MAX_STEPS; i++) {
		if (failing && i % 4 == 0)
			m.device.fail_at = m.device.calls + 1 + in.data[0] % 6;
		one_step(&in, failing);
		if (!failing)
			check();
		must(m.device.mapping_breaches == 0);
		must(fake_kvm_state.breaches == 0);
		must(router.breaches == 0);
	}
	if (!failing) {
		machine_end();
		return 0;
	}
	m.device.fail_at = 0;
	m.device.breaches = 0; /* SET_IRQS that failed, and what follows from them */
	m.device.irq_type = FAKE_IRQ_NONE;
	m.device.gone = true;
	for (uint32_t at = 0; at < 256; at += 4)
		cfg_write(at, cfg_read(at, 4), 4);
	m.fn->ops->destroy(m.fn);
	m.device.breaches = 0;
	machine_free();
	return 0;
}
