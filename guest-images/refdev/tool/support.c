// SPDX-License-Identifier: Apache-2.0
#include "guest-images/refdev/tool/tool.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

int complain(const char *format, ...)
{
	va_list arguments;

	fputs("refdev: ", stderr);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	return 1;
}

bool parse_size(const char *text, uint64_t *size)
{
	char *end;
	unsigned int shift = 0;

	errno = 0;
	*size = strtoull(text, &end, 0);
	if (end == text || errno || *text == '-')
		return false;
	switch (*end) {
	case 'k':
		shift = 10;
		break;
	case 'M':
		shift = 20;
		break;
	case 'G':
		shift = 30;
		break;
	}
	if (shift)
		end++;
	if (*end || *size > UINT64_MAX >> shift)
		return false;
	*size <<= shift;
	return true;
}

static uint32_t crc_table[256];

void crc_init(void)
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t value = i;

		for (int bit = 0; bit < 8; bit++)
			value = value & 1 ? value >> 1 ^ 0x82f63b78 : value >> 1;
		crc_table[i] = value;
	}
}

uint32_t crc32c(const uint8_t *data, size_t size)
{
	uint32_t crc = ~0u;

	while (size--)
		crc = crc >> 8 ^ crc_table[(crc ^ *data++) & 0xff];
	return ~crc;
}

void noise(void *to, size_t size, uint64_t seed)
{
	uint64_t *word = to;
	uint64_t value = seed * 0x9e3779b97f4a7c15 + 1;

	for (size_t i = 0; i < size / 8; i++) {
		value ^= value << 13;
		value ^= value >> 7;
		value ^= value << 17;
		word[i] = value;
	}
}

void *pages(size_t size)
{
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}
