/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values as users type them: numbers, sizes, bytes. Pure, and strict: no blanks, no signs, nothing
 * behind the value.
 */
#ifndef SLUICE_BASE_TEXT_H
#define SLUICE_BASE_TEXT_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Each but the switch takes NULL for a value that is missing as malformed; each returns false, with *@out untouched, for what is
 * malformed or too large.
 */

/* A number of at most @max. @base as of strtoull(): 10, 16, or 0 for what its prefix says. */
bool text_number(const char *text, int base, uint64_t max, uint64_t *out);

/* "fd=N": the number of an open descriptor. */
bool text_fd(const char *text, int *out);

/* A switch: "on" is true, "off" false; a value that is missing is "on". */
bool text_switch(const char *text, bool *out);

/* Bytes, with K, M, G or T behind the number for powers of 1024: "512M", "65536". */
bool text_size(const char *text, uint64_t *out);

/*
 * Bytes as pairs of hexadecimal digits: @layout has an 'x' for each digit and the separators in their
 * places ("xx:xx:xx:xx:xx:xx"). @out has room for half as many bytes as there are 'x'; what it holds
 * after false is undefined.
 */
bool text_bytes(const char *text, const char *layout, uint8_t *out);
/* The layout of a UUID (RFC 9562 section 4), 16 bytes. */
#define TEXT_UUID "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"

#endif
