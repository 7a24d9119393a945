// SPDX-License-Identifier: Apache-2.0
// Print the rate of this machine's time stamp counter in kHz. /proc/cpuinfo tells the clock of the moment, not the counter's.
#include <stdint.h>
#include <stdio.h>
#include <time.h>
#include <x86intrin.h>

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_RAW, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

// One reading of both clocks, the closest pair of a few: between the two reads the thread may lose its core.
static void read_both(uint64_t *ticks, int64_t *ns)
{
	int64_t best = INT64_MAX;

	for (int i = 0; i < 16; i++) {
		int64_t before = now_ns();
		uint64_t tsc = __rdtsc();
		int64_t after = now_ns();

		if (after - before < best) {
			best = after - before;
			*ticks = tsc;
			*ns = before + best / 2;
		}
	}
}

int main(void)
{
	const struct timespec pause = {.tv_nsec = 50 * 1000 * 1000};
	uint64_t ticks_a, ticks_b;
	int64_t ns_a, ns_b;

	read_both(&ticks_a, &ns_a);
	nanosleep(&pause, NULL);
	read_both(&ticks_b, &ns_b);
	printf("%.0f\n", (double)(ticks_b - ticks_a) * 1e6 / (double)(ns_b - ns_a));
	return 0;
}
