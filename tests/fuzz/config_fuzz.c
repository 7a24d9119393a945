/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A device that shows any configuration space: the plan of what the guest sees of it. The input: u8
 * options, u8 vectors, u16 size, then patches of 6 bytes on an endpoint's space: u16 where, u32 value.
 */
#include "devices/vfio/front/config_plan.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/pci/capability.h"

/* Header type 0, capability list; the rest is the input's. */
static void base(uint8_t *config)
{
	memset(config, 0, CONFIG_PLAN_SIZE);
	config[0] = 0x5c;
	config[1] = 0x1a;
	config[6] = 0x10;
	config[0x34] = 0x40;
}

/* Each chain ends, inside, and without a byte that is there twice. */
static void check_chain(const struct config_plan *plan)
{
	bool seen[256] = {false};

	for (uint8_t at = plan->image[0x34] & 0xfc; at; at = plan->image[at + 1] & 0xfc) {
		fuzz_must(at >= 0x40 && !seen[at]);
		seen[at] = true;
	}
	for (uint32_t i = 0, at = plan->size > 256 ? 256 : 0; at; i++) {
		uint32_t header;

		memcpy(&header, plan->image + at, sizeof(header));
		fuzz_must(i < 960);
		at = header >> 20 & 0xffc;
		fuzz_must(!at || at >= 256);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz_input in = {data, size};
	const uint8_t bits = fuzz_u8(&in), vectors = fuzz_u8(&in);
	struct config_options options = {
		.vendor_id = bits & 1 ? 0x1234 : -1,
		.device_id = bits & 1 ? 0x5678 : -1,
		.subsystem_vendor_id = bits & 1 ? 1 : -1,
		.subsystem_id = bits & 1 ? 2 : -1,
		.multifunction = bits & 2,
		.resets = bits & 4,
		.intx = bits & 8,
		.msi_vectors = vectors & 63,
		.msix_vectors = vectors * 16u,
	};
	uint8_t config[CONFIG_PLAN_SIZE], *exact;
	struct config_plan plan;
	const char *why = NULL;
	uint16_t length, where;

	base(config);
	fuzz_take(&in, &length, sizeof(length));
	length %= CONFIG_PLAN_SIZE + 1;
	while (fuzz_take(&in, &where, sizeof(where))) {
		const uint32_t value = fuzz_u32(&in);

		where %= CONFIG_PLAN_SIZE - 3;
		memcpy(config + where, &value, sizeof(value));
	}
	exact = malloc(length ? length : 1);
	fuzz_must(exact);
	memcpy(exact, config, length);
	if (config_plan_make(exact, length, &options, &plan, &why) == 0) {
		check_chain(&plan);
		for (uint32_t at = 0; at < CONFIG_PLAN_SIZE; at++) {
			const unsigned most = CONFIG_PLAN_SIZE - at < 4 ? CONFIG_PLAN_SIZE - at : 4;
			const unsigned piece = config_plan_piece(&plan, at, most);

			fuzz_must(piece >= 1 && piece <= most && at % piece == 0);
			/* What the image does not hold is never the guest's to change in it. */
			fuzz_must(!(plan.writable[at] & ~plan.emulated[at]));
		}
	} else {
		fuzz_must(why);
	}
	free(exact);
	return 0;
}
