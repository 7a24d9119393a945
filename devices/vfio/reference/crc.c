// SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
/* CRC-32C (Castagnoli), eight bytes a step. */
#include "devices/vfio/reference/internal.h"

#define POLYNOMIAL 0x82f63b78u /* 0x1edc6f41 reflected */

void reference_crc_init(uint32_t table[8][256])
{
	for (uint32_t i = 0; i < 256; i++) {
		uint32_t crc = i;

		for (unsigned bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? POLYNOMIAL : 0);
		table[0][i] = crc;
	}
	for (uint32_t i = 0; i < 256; i++) {
		for (unsigned n = 1; n < 8; n++)
			table[n][i] = table[n - 1][i] >> 8 ^ table[0][table[n - 1][i] & 0xff];
	}
}

uint32_t reference_crc(const uint32_t table[8][256], uint32_t crc, const uint8_t *data,
		       size_t length)
{
	for (; length >= 8; data += 8, length -= 8) {
		const uint64_t word = reference_get64(data) ^ crc;

		crc = table[7][word & 0xff] ^ table[6][word >> 8 & 0xff] ^
		      table[5][word >> 16 & 0xff] ^ table[4][word >> 24 & 0xff] ^
		      table[3][word >> 32 & 0xff] ^ table[2][word >> 40 & 0xff] ^
		      table[1][word >> 48 & 0xff] ^ table[0][word >> 56];
	}
	for (; length > 0; data++, length--)
		crc = crc >> 8 ^ table[0][(crc ^ *data) & 0xff];
	return crc;
}
