/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Guest memory of a unit test: two areas with a hole between them, one more that devices may only
 * read, behind the interface of vmm/base/dma.h. Counts what is pinned.
 */
#ifndef SLUICE_TESTS_FAKE_IOAS_H
#define SLUICE_TESTS_FAKE_IOAS_H

#include <criterion/criterion.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "vmm/base/dma.h"

#define RAM_LOW       0x10000ull
#define RAM_LOW_SIZE  0x400000ull
#define RAM_HIGH      (RAM_LOW + RAM_LOW_SIZE) /* touches the low area, other host memory */
#define RAM_HIGH_SIZE 0x100000ull
#define RAM_ROM       0x100000000ull /* read only */
#define RAM_ROM_SIZE  0x10000ull

struct fake_area {
	uint64_t iova, size;
	uint8_t *hva;
	uint32_t rights;
};

static struct fake_area fake_areas[3];
static unsigned fake_pins;
static unsigned fake_pins_most;
/* Called before each access: a guest that does something at the worst moment. */
static void (*fake_access)(uint64_t iova, bool write);

static inline struct ioas *fake_ioas(void)
{
	static const struct fake_area layout[3] = {
		{RAM_LOW, RAM_LOW_SIZE, NULL, IOAS_READ | IOAS_WRITE},
		{RAM_HIGH, RAM_HIGH_SIZE, NULL, IOAS_READ | IOAS_WRITE},
		{RAM_ROM, RAM_ROM_SIZE, NULL, IOAS_READ},
	};

	for (unsigned i = 0; i < 3; i++) {
		int fd = memfd_create("guest", MFD_CLOEXEC);

		fake_areas[i] = layout[i];
		cr_assert_eq(ftruncate(fd, (off_t)layout[i].size), 0);
		fake_areas[i].hva =
			mmap(NULL, layout[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		cr_assert_neq(fake_areas[i].hva, MAP_FAILED);
		close(fd);
	}
	return (struct ioas *)fake_areas;
}

static inline struct fake_area *fake_find(uint64_t iova, uint32_t rights)
{
	for (unsigned i = 0; i < 3; i++)
		if (iova >= fake_areas[i].iova && iova - fake_areas[i].iova < fake_areas[i].size)
			return fake_areas[i].rights & rights ? &fake_areas[i] : NULL;
	return NULL;
}

/* The test's own view of guest memory. */
static inline void *guest(uint64_t iova)
{
	struct fake_area *area = fake_find(iova, IOAS_READ);

	cr_assert_not_null(area);
	return area->hva + (iova - area->iova);
}

void *ioas_pin(struct ioas *ioas, uint64_t iova, size_t *length, bool write)
{
	struct fake_area *area = fake_find(iova, write ? IOAS_WRITE : IOAS_READ);
	uint64_t left;

	if (fake_access)
		fake_access(iova, write);
	cr_assert_eq((void *)ioas, (void *)fake_areas);
	if (!area || *length == 0) {
		*length = 0;
		return NULL;
	}
	left = area->size - (iova - area->iova);
	if (*length > left)
		*length = left;
	if (++fake_pins > fake_pins_most)
		fake_pins_most = fake_pins;
	return area->hva + (iova - area->iova);
}

void ioas_unpin(struct ioas *ioas, uint64_t iova, size_t length, bool write)
{
	struct fake_area *area = fake_find(iova, write ? IOAS_WRITE : IOAS_READ);

	(void)ioas;
	cr_assert_not_null(area);
	cr_assert_leq(length, area->size - (iova - area->iova));
	cr_assert_gt(fake_pins, 0);
	fake_pins--;
}

static inline int fake_copy(struct ioas *ioas, uint64_t iova, uint8_t *to, const uint8_t *from,
			    size_t length)
{
	while (length > 0) {
		size_t step = length;
		uint8_t *p = ioas_pin(ioas, iova, &step, to == NULL);

		if (!p)
			return -ENOENT;
		if (to) {
			memcpy(to, p, step);
			to += step;
		} else {
			memcpy(p, from, step);
			from += step;
		}
		ioas_unpin(ioas, iova, step, to == NULL);
		iova += step;
		length -= step;
	}
	return 0;
}

int ioas_read(struct ioas *ioas, uint64_t iova, void *buffer, size_t length)
{
	return fake_copy(ioas, iova, buffer, NULL, length);
}

int ioas_write(struct ioas *ioas, uint64_t iova, const void *buffer, size_t length)
{
	return fake_copy(ioas, iova, NULL, buffer, length);
}

#endif
