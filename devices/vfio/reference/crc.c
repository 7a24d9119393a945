// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* CRC-32C (Castagnoli), four bytes a step. */
#include "devices/vfio/reference/internal.h"

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41 reflected */

void reference_crc_init(uint32_t table[4][256])
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		table[0][i] = crc;
	}
	for (uint32_t i = 0; i < 256; i++) {
		for (unsigned n = 1; n < 4; n++)
			table[n][i] = table[n - 1][i] >> 8 ^ table[0][table[n - 1][i] & 0xff];
	}
}

uint32_t reference_crc(const uint32_t table[4][256], uint32_t crc, const uint8_t *data,
		       size_t length)
{
	for (; length >= 4; data += 4, length -= 4) {
		crc ^= reference_get32(data);
		crc = table[3][crc & 0xff] ^ table[2][crc >> 8 & 0xff] ^
		      table[1][crc >> 16 & 0xff] ^ table[0][crc >> 24];
	}
	for (; length > 0; data++, length--)
		crc = crc >> 8 ^ table[0][(crc ^ *data) & 0xff];
	return crc;
}
