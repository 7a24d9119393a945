// SPDX-License-Identifier: Apache-2.0
#include "arch/x86/aml.h"

#include <string.h>

/* Bytes of a length field: the form with two more bytes holds up to 1 MiB. */
#define LENGTH_BYTES 3

/* ACPI 6.5, 6.4: tags of resource descriptors */
#define TAG_IO                       0x47
#define TAG_END                      0x79
#define TAG_MEMORY32                 0x86
#define TAG_DWORD_SPACE              0x87
#define TAG_WORD_SPACE               0x88
#define TAG_INTERRUPT                0x89
#define TAG_QWORD_SPACE              0x8a
#define SPACE_MEMORY                 0
#define SPACE_IO                     1
#define SPACE_BUS                    2
#define SPACE_FIXED                  0x0c /* both ends are fixed; a producer */
#define MEMORY_WRITABLE              0x01 /* and not cacheable */
#define IO_ENTIRE_RANGE              0x03
#define IO_DECODE_16                 0x01
#define INTERRUPT_CONSUMER_EDGE_HIGH 0x03

void aml_bytes(struct aml *aml, const void *bytes, size_t size)
{
	if (size > aml->size - aml->used) {
		aml->overflow = true;
		return;
	}
	memcpy(aml->bytes + aml->used, bytes, size);
	aml->used += size;
}

/* As the guest, the host is little-endian. */
void aml_put(struct aml *aml, uint64_t value, unsigned size)
{
	aml_bytes(aml, &value, size);
}

void aml_integer(struct aml *aml, uint64_t value)
{
	static const struct {
		uint8_t prefix, size;
	} forms[] = {{0x0a, 1}, {0x0b, 2}, {0x0c, 4}, {0x0e, 8}};
	unsigned form = 0;

	while (form < 3 && value >> 8 * forms[form].size != 0)
		form++;
	if (value > 1) /* 0 and 1 are opcodes by themselves */
		aml_put(aml, forms[form].prefix, 1);
	aml_put(aml, value, forms[form].size);
}

static void begin(struct aml *aml)
{
	aml->open[aml->depth++] = aml->used;
	aml_put(aml, 0, LENGTH_BYTES);
}

static void end(struct aml *aml)
{
	size_t mark = aml->open[--aml->depth];
	size_t length = aml->used - mark;

	if (aml->overflow)
		return;
	aml->bytes[mark] = (uint8_t)((LENGTH_BYTES - 1) << 6 | (length & 0x0f));
	aml->bytes[mark + 1] = (uint8_t)(length >> 4);
	aml->bytes[mark + 2] = (uint8_t)(length >> 12);
}

void aml_write(struct aml *aml, const char *code, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (code[i] == AML_BEGIN[0])
			begin(aml);
		else if (code[i] == AML_END[0])
			end(aml);
		else
			aml_bytes(aml, &code[i], 1);
	}
}

/* The buffer's own size stands behind the length of the block, as a word with its prefix. */
void aml_end_resources(struct aml *aml)
{
	size_t start = aml->open[aml->depth - 1] + LENGTH_BYTES + 3;
	uint16_t size;

	aml_put(aml, TAG_END, 2); /* a checksum of 0 counts as right */
	size = (uint16_t)(aml->used - start);
	if (!aml->overflow)
		memcpy(aml->bytes + start - 2, &size, 2);
	end(aml);
}

/* An address space descriptor with fields of @width bytes. */
static void address_space(struct aml *aml, unsigned tag, unsigned width, unsigned type,
			  unsigned flags, uint64_t base, uint64_t size)
{
	const uint8_t head[] = {
		(uint8_t)tag, (uint8_t)(3 + 5 * width), 0, (uint8_t)type,
		SPACE_FIXED,  (uint8_t)flags,
	};
	/* granularity, first, last, translation, length */
	const uint64_t fields[] = {0, base, base + size - 1, 0, size};

	aml_bytes(aml, head, sizeof(head));
	for (unsigned i = 0; i < 5; i++)
		aml_put(aml, fields[i], width);
}

void aml_bus_range(struct aml *aml, unsigned first, unsigned last)
{
	address_space(aml, TAG_WORD_SPACE, 2, SPACE_BUS, 0, first, last - first + 1);
}

void aml_io_window(struct aml *aml, uint32_t base, uint32_t size)
{
	address_space(aml, TAG_WORD_SPACE, 2, SPACE_IO, IO_ENTIRE_RANGE, base, size);
}

void aml_memory_window(struct aml *aml, uint64_t base, uint64_t size)
{
	bool low = base + size - 1 <= UINT32_MAX;

	address_space(aml, low ? TAG_DWORD_SPACE : TAG_QWORD_SPACE, low ? 4 : 8, SPACE_MEMORY,
		      MEMORY_WRITABLE, base, size);
}

void aml_io(struct aml *aml, uint16_t base, uint8_t size)
{
	const uint8_t low = (uint8_t)base, high = (uint8_t)(base >> 8);
	const uint8_t descriptor[] = {
		TAG_IO, IO_DECODE_16, low, high, low, high, 1 /* alignment */, size,
	};

	aml_bytes(aml, descriptor, sizeof(descriptor));
}

void aml_memory_fixed(struct aml *aml, uint32_t base, uint32_t size)
{
	static const uint8_t head[] = {TAG_MEMORY32, 9, 0, 1 /* writable */};

	aml_bytes(aml, head, sizeof(head));
	aml_put(aml, base, 4);
	aml_put(aml, size, 4);
}

void aml_interrupt_edge(struct aml *aml, uint32_t gsi)
{
	static const uint8_t head[] = {TAG_INTERRUPT, 6, 0, INTERRUPT_CONSUMER_EDGE_HIGH, 1};

	aml_bytes(aml, head, sizeof(head));
	aml_put(aml, gsi, 4);
}
