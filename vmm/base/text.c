/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/text.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool text_number(const char *text, int base, uint64_t max, uint64_t *out)
{
	unsigned long long n;
	char *end;

	/* strtoull() would take blanks and signs. */
	if (text == NULL || hex_digit(*text) < 0)
		return false;
	errno = 0;
	n = strtoull(text, &end, base);
	if (errno != 0 || *end != '\0' || end == text || n > max)
		return false;
	*out = n;
	return true;
}

bool text_fd(const char *text, int *out)
{
	uint64_t fd;

	if (text == NULL || strncmp(text, "fd=", 3) != 0 ||
	    !text_number(text + 3, 10, INT32_MAX, &fd))
		return false;
	*out = (int)fd;
	return true;
}

bool text_switch(const char *text, bool *out)
{
	if (text == NULL || strcmp(text, "on") == 0)
		*out = true;
	else if (strcmp(text, "off") == 0)
		*out = false;
	else
		return false;
	return true;
}

bool text_size(const char *text, uint64_t *out)
{
	static const char units[] = "kmgt";
	unsigned long long n;
	unsigned shift = 0;
	char *end;

	if (text == NULL || *text < '0' || *text > '9')
		return false;
	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno != 0)
		return false;
	if (*end != '\0') {
		const char *unit = strchr(units, *end | 0x20);

		if (unit == NULL || end[1] != '\0')
			return false;
		shift = 10 * (unsigned)(unit - units + 1);
	}
	if (n > UINT64_MAX >> shift)
		return false;
	*out = (uint64_t)n << shift;
	return true;
}

bool text_bytes(const char *text, const char *layout, uint8_t *out)
{
	unsigned digits = 0;

	if (text == NULL || strlen(text) != strlen(layout))
		return false;
	for (; *layout != '\0'; layout++, text++) {
		int digit = hex_digit(*text);

		if (*layout != 'x') {
			if (*text != *layout)
				return false;
			continue;
		}
		if (digit < 0)
			return false;
		out[digits / 2] = (uint8_t)(digits % 2 ? out[digits / 2] | digit : digit << 4);
		digits++;
	}
	return true;
}
