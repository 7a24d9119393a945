/* SPDX-License-Identifier: Apache-2.0 */
/* What the fuzz targets share: bytes handed out one after the other, and a rule that must hold. */
#ifndef SLUICE_TESTS_FUZZ_H
#define SLUICE_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define fuzz_must(what)                                                                            \
	do {                                                                                       \
		if (!(what)) {                                                                     \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #what);                 \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct fuzz_input {
	const uint8_t *data;
	size_t size;
};

/* The next @size bytes, zeros where the input ends. False when there was not one. */
static inline int fuzz_take(struct fuzz_input *in, void *out, size_t size)
{
	const size_t n = size < in->size ? size : in->size;

	memset(out, 0, size);
	if (n)
		memcpy(out, in->data, n);
	in->data += n;
	in->size -= n;
	return n > 0;
}

static inline uint32_t fuzz_u32(struct fuzz_input *in)
{
	uint32_t value;

	fuzz_take(in, &value, sizeof(value));
	return value;
}

static inline uint8_t fuzz_u8(struct fuzz_input *in)
{
	uint8_t value;

	fuzz_take(in, &value, sizeof(value));
	return value;
}

#endif
