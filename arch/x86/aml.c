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

void aml_put(struct aml *aml, uint64_t value, unsigned size)
{
	uint8_t bytes[8];

	for (unsigned i = 0; i < size; i++)
		bytes[i] = (uint8_t)(value >> 8 * i);
	aml_bytes(aml, bytes, size);
}

void aml_integer(struct aml *aml, uint64_t value)
{
	if (value <= 1) {
		aml_put(aml, value, 1);
	} else if (value <= UINT8_MAX) {
		aml_put(aml, 0x0a, 1);
		aml_put(aml, value, 1);
	} else if (value <= UINT16_MAX) {
		aml_put(aml, 0x0b, 1);
		aml_put(aml, value, 2);
	} else if (value <= UINT32_MAX) {
		aml_put(aml, 0x0c, 1);
		aml_put(aml, value, 4);
	} else {
		aml_put(aml, 0x0e, 1);
		aml_put(aml, value, 8);
	}
}

void aml_string(struct aml *aml, const char *text)
{
	aml_put(aml, 0x0d, 1);
	aml_bytes(aml, text, strlen(text) + 1);
}

void aml_name(struct aml *aml, const char *name)
{
	aml_bytes(aml, name, 4);
}

static size_t begin(struct aml *aml)
{
	size_t mark = aml->used;

	aml_put(aml, 0, LENGTH_BYTES);
	return mark;
}

void aml_end(struct aml *aml, size_t mark)
{
	size_t length = aml->used - mark;

	if (aml->overflow)
		return;
	aml->bytes[mark] = (uint8_t)((LENGTH_BYTES - 1) << 6 | (length & 0x0f));
	aml->bytes[mark + 1] = (uint8_t)(length >> 4);
	aml->bytes[mark + 2] = (uint8_t)(length >> 12);
}

size_t aml_scope_root(struct aml *aml, const char *name)
{
	size_t mark;

	aml_put(aml, 0x10, 1);
	mark = begin(aml);
	aml_put(aml, '\\', 1);
	aml_name(aml, name);
	return mark;
}

size_t aml_device(struct aml *aml, const char *name)
{
	size_t mark;

	aml_put(aml, 0x825b, 2);
	mark = begin(aml);
	aml_name(aml, name);
	return mark;
}

size_t aml_method(struct aml *aml, const char *name, unsigned args, bool serialized)
{
	size_t mark;

	aml_put(aml, 0x14, 1);
	mark = begin(aml);
	aml_name(aml, name);
	aml_put(aml, args | (serialized ? 8 : 0), 1);
	return mark;
}

size_t aml_if(struct aml *aml)
{
	aml_put(aml, 0xa0, 1);
	return begin(aml);
}

size_t aml_else(struct aml *aml)
{
	aml_put(aml, 0xa1, 1);
	return begin(aml);
}

size_t aml_package(struct aml *aml, unsigned count)
{
	size_t mark;

	aml_put(aml, 0x12, 1);
	mark = begin(aml);
	aml_put(aml, count, 1);
	return mark;
}

void aml_define(struct aml *aml, const char *name)
{
	aml_put(aml, 0x08, 1);
	aml_name(aml, name);
}

void aml_define_integer(struct aml *aml, const char *name, uint64_t value)
{
	aml_define(aml, name);
	aml_integer(aml, value);
}

void aml_define_string(struct aml *aml, const char *name, const char *text)
{
	aml_define(aml, name);
	aml_string(aml, text);
}

/* Three letters of 5 bits and four hexadecimal digits, most significant byte first. */
void aml_define_eisa_id(struct aml *aml, const char *name, const char *id)
{
	uint32_t value = 0;

	for (unsigned i = 0; i < 3; i++)
		value = value << 5 | (uint32_t)(id[i] - '@');
	for (unsigned i = 3; i < 7; i++)
		value = value << 4 | (uint32_t)(id[i] <= '9' ? id[i] - '0' : id[i] - 'A' + 10);
	aml_define_integer(aml, name, __builtin_bswap32(value));
}

/* Buffer (word) { ... }: the inner size follows the outer length. */
size_t aml_resources(struct aml *aml)
{
	size_t mark;

	aml_put(aml, 0x11, 1);
	mark = begin(aml);
	aml_put(aml, 0x0b, 1);
	aml_put(aml, 0, 2);
	return mark;
}

void aml_end_resources(struct aml *aml, size_t mark)
{
	size_t start = mark + LENGTH_BYTES + 3;
	size_t length;

	aml_put(aml, TAG_END, 2); /* a checksum of 0 counts as right */
	if (aml->overflow)
		return;
	length = aml->used - start;
	aml->bytes[start - 2] = (uint8_t)length;
	aml->bytes[start - 1] = (uint8_t)(length >> 8);
	aml_end(aml, mark);
}

/* An address space descriptor with fields of @width bytes. */
static void address_space(struct aml *aml, unsigned tag, unsigned width, unsigned type,
			  unsigned flags, uint64_t base, uint64_t size)
{
	aml_put(aml, tag, 1);
	aml_put(aml, 3 + 5 * width, 2);
	aml_put(aml, type, 1);
	aml_put(aml, SPACE_FIXED, 1);
	aml_put(aml, flags, 1);
	aml_put(aml, 0, width); /* granularity */
	aml_put(aml, base, width);
	aml_put(aml, base + size - 1, width);
	aml_put(aml, 0, width); /* translation */
	aml_put(aml, size, width);
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
	if (base + size - 1 <= UINT32_MAX)
		address_space(aml, TAG_DWORD_SPACE, 4, SPACE_MEMORY, MEMORY_WRITABLE, base, size);
	else
		address_space(aml, TAG_QWORD_SPACE, 8, SPACE_MEMORY, MEMORY_WRITABLE, base, size);
}

void aml_io(struct aml *aml, uint16_t base, uint8_t size)
{
	aml_put(aml, TAG_IO, 1);
	aml_put(aml, IO_DECODE_16, 1);
	aml_put(aml, base, 2);
	aml_put(aml, base, 2);
	aml_put(aml, 1, 1); /* alignment */
	aml_put(aml, size, 1);
}

void aml_memory_fixed(struct aml *aml, uint32_t base, uint32_t size)
{
	aml_put(aml, TAG_MEMORY32, 1);
	aml_put(aml, 9, 2);
	aml_put(aml, 1, 1); /* writable */
	aml_put(aml, base, 4);
	aml_put(aml, size, 4);
}

void aml_interrupt_edge(struct aml *aml, uint32_t gsi)
{
	aml_put(aml, TAG_INTERRUPT, 1);
	aml_put(aml, 6, 2);
	aml_put(aml, INTERRUPT_CONSUMER_EDGE_HIGH, 1);
	aml_put(aml, 1, 1);
	aml_put(aml, gsi, 4);
}
