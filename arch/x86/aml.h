/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few words of ACPI Machine Language that the tables need (ACPI 6.5, chapter 20), written into a
 * buffer. What is the same in every machine is a literal of the AML_ macros below, which read as ASL
 * does; what is not comes from functions in between. When the buffer is full, what follows is dropped
 * and `overflow` set: one check at the end.
 */
#ifndef SLUICE_X86_AML_H
#define SLUICE_X86_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AML_DEPTH 8

struct aml {
	uint8_t *bytes;
	size_t size;
	size_t used;
	bool overflow;
	unsigned depth;
	size_t open[AML_DEPTH]; /* where the lengths of the blocks are that have no end yet */
};

/*
 * Where a block has its length, and where it ends: marks for aml_code(), which puts the length in. A
 * block may end in a later call. Neither is an opcode that is used here.
 */
#define AML_BEGIN "\xfe"
#define AML_END   "\xff"

/* Names have four letters; numbers are written as bytes, "\x20", each below 0xfe. */
#define AML_ZERO                       "\x00"
#define AML_ONE                        "\x01"
#define AML_BYTE(value)                "\x0a" value
#define AML_STRING(text)               "\x0d" text "\x00"
#define AML_BUFFER_16(bytes)           "\x11\x13\x0a\x10" bytes
#define AML_PNP(high, low)             "\x0c\x41\xd0" high low /* EISAID("PNP....") */
#define AML_LOCAL0                     "\x60"
#define AML_ARG0                       "\x68"
#define AML_ARG1                       "\x69"
#define AML_ARG3                       "\x6b"
#define AML_STORE(value, target)       "\x70" value target
#define AML_AND(a, b, target)          "\x7b" a b target
#define AML_OR(a, b, target)           "\x7d" a b target
#define AML_NOTIFY(device, value)      "\x86" device value
#define AML_DWORD_FIELD(buffer, at, x) "\x8a" buffer at x
#define AML_NOT(a)                     "\x92" a
#define AML_EQUAL(a, b)                "\x93" a b
#define AML_RETURN(value)              "\xa4" value

#define AML_IF(condition, body)       "\xa0" AML_BEGIN condition body AML_END
#define AML_ELSE(body)                "\xa1" AML_BEGIN body AML_END
#define AML_METHOD(name, flags, body) "\x14" AML_BEGIN name flags body AML_END
#define AML_NAME(name, value)         "\x08" name value

/* These have AML_END behind what is in them; resources end by aml_end_resources(). */
#define AML_SCOPE(name)    "\x10" AML_BEGIN "\\" name
#define AML_DEVICE(name)   "\x5b\x82" AML_BEGIN name
#define AML_PACKAGE(count) "\x12" AML_BEGIN count
#define AML_RESOURCES      "\x11" AML_BEGIN "\x0b\x00\x00"

#define aml_code(aml, literal) aml_write(aml, literal, sizeof(literal) - 1)
void aml_write(struct aml *aml, const char *code, size_t size);

/* Bytes as they are; @size bytes of @value, little-endian; a constant in its shortest form. */
void aml_bytes(struct aml *aml, const void *bytes, size_t size);
void aml_put(struct aml *aml, uint64_t value, unsigned size);
void aml_integer(struct aml *aml, uint64_t value);

/* Resource descriptors, between AML_RESOURCES and the end. */
void aml_bus_range(struct aml *aml, unsigned first, unsigned last);
void aml_io_window(struct aml *aml, uint32_t base, uint32_t size);
void aml_memory_window(struct aml *aml, uint64_t base, uint64_t size); /* DWord or QWord */
void aml_io(struct aml *aml, uint16_t base, uint8_t size);
void aml_memory_fixed(struct aml *aml, uint32_t base, uint32_t size);
void aml_interrupt_edge(struct aml *aml, uint32_t gsi);
void aml_end_resources(struct aml *aml);

#endif
