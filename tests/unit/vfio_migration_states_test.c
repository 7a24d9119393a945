/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>

#include "devices/vfio/migration_states.h"

#define P2P VFIO_MIGRATION_P2P
#define PRE VFIO_MIGRATION_PRE_COPY
#define STC VFIO_MIGRATION_STOP_COPY

/*
 * Short names in the order of the states: Error, Stop, Run, Copy (STOP_COPY), reSuming (U),
 * P (RUNNING_P2P), A (PRE_COPY, "ahead"), B (PRE_COPY_P2P, "both").
 */
static const char letters[] = "ESRCUPAB";

/*
 * The first arc from the row's state to the column's, '-' where there is no way: the arcs that
 * <linux/vfio.h> lists, combined by its two rules.
 */
struct expectation {
	uint32_t flags;
	const char *rows[VFIO_DEVICE_NUM_STATES]; /* columns ESRCUPAB */
};

static const struct expectation table[] = {
	{STC | P2P | PRE,
	 {
		 "--------", /* ERROR */
		 "-SPCUPPP", /* STOP */
		 "-PRPPPAP", /* RUNNING */
		 "-SSCSS--", /* STOP_COPY */
		 "-SSSUSSS", /* RESUMING */
		 "-SRSSPRB", /* RUNNING_P2P */
		 "-RRBRRAB", /* PRE_COPY */
		 "-PPCPPAB", /* PRE_COPY_P2P */
	 }},
	{STC | P2P,
	 {
		 "--------",
		 "-SPCUP--",
		 "-PRPPP--",
		 "-SSCSS--",
		 "-SSSUS--",
		 "-SRSSP--",
		 "--------",
		 "--------",
	 }},
	{STC | PRE,
	 {
		 "--------",
		 "-SRCU-R-",
		 "-SRSS-A-",
		 "-SSCS---",
		 "-SSSU-S-",
		 "--------",
		 "-RRCR-A-",
		 "--------",
	 }},
	{STC,
	 {
		 "--------",
		 "-SRCU---",
		 "-SRSS---",
		 "-SSCS---",
		 "-SSSU---",
		 "--------",
		 "--------",
		 "--------",
	 }},
};

Test(migration_states, the_next_arc_is_the_kernels_for_every_pair_and_every_set_of_flags)
{
	for (size_t t = 0; t < sizeof(table) / sizeof(table[0]); t++) {
		for (uint32_t cur = 0; cur < VFIO_DEVICE_NUM_STATES; cur++) {
			for (uint32_t new = 0; new < VFIO_DEVICE_NUM_STATES; new ++) {
				const char expected = table[t].rows[cur][new];
				uint32_t next = 99;
				const int rc =
					vfio_mig_get_next_state(table[t].flags, cur, new, &next);

				if (expected == '-')
					cr_expect_eq(rc, -EINVAL, "flags %u: %c to %c",
						     table[t].flags, letters[cur], letters[new]);
				else
					cr_expect(!rc && letters[next] == expected,
						  "flags %u: %c to %c is %c, not %c",
						  table[t].flags, letters[cur], letters[new],
						  rc ? '-' : letters[next], expected);
			}
		}
	}
}

Test(migration_states, every_way_ends)
{
	for (uint32_t flags = 0; flags < 16; flags++) {
		for (uint32_t cur = 0; cur < 10; cur++) {
			for (uint32_t new = 0; new < 10; new ++) {
				uint32_t state = cur;
				int arcs = 0;

				while (state != new &&arcs < 10 &&
				       !vfio_mig_get_next_state(flags, state, new, &state))
					arcs++;
				cr_expect(arcs < 5, "flags %u: %u to %u", flags, cur, new);
			}
		}
	}
}

Test(migration_states, flags_without_stop_copy_are_no_migration)
{
	for (uint32_t flags = 0; flags < 16; flags++) {
		cr_expect_eq(vfio_mig_flags_valid(flags), flags < 8 && (flags & 1), "%u", flags);
		cr_expect_eq(vfio_mig_state_supported(flags, VFIO_DEVICE_STATE_RUNNING), flags & 1);
	}
	cr_expect_not(vfio_mig_state_supported(7, VFIO_DEVICE_STATE_ERROR));
	cr_expect_not(vfio_mig_state_supported(7, 8));
}

Test(migration_states, have_names)
{
	cr_expect_str_eq(vfio_mig_state_name(VFIO_DEVICE_STATE_ERROR), "ERROR");
	cr_expect_str_eq(vfio_mig_state_name(VFIO_DEVICE_STATE_PRE_COPY_P2P), "PRE_COPY_P2P");
	cr_expect_str_eq(vfio_mig_state_name(8), "unknown");
}
