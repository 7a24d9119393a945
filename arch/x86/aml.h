/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The few words of ACPI Machine Language that the tables need (ACPI 6.5, chapter 20), written into a
 * buffer. When the buffer is full, what follows is dropped and `overflow` set: one check at the end.
 */
#ifndef SLUICE_X86_AML_H
#define SLUICE_X86_AML_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct aml {
	uint8_t *bytes;
	size_t size;
	size_t used;
	bool overflow;
};

/* Opcodes that are used as they are. */
enum {
	AML_ZERO = 0x00,
	AML_ONE = 0x01,
	AML_LOCAL0 = 0x60,
	AML_ARG0 = 0x68,
	AML_ARG1 = 0x69,
	AML_ARG3 = 0x6b,
	AML_STORE = 0x70,
	AML_AND = 0x7b,
	AML_OR = 0x7d,
	AML_NOTIFY = 0x86,
	AML_CREATE_DWORD_FIELD = 0x8a,
	AML_EQUAL = 0x93,
	AML_NOT = 0x92,
	AML_RETURN = 0xa4,
};

/* @size bytes of @value, little-endian. */
void aml_put(struct aml *aml, uint64_t value, unsigned size);
void aml_bytes(struct aml *aml, const void *bytes, size_t size);
/* A constant in its shortest form; a string; a name of four letters. */
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
void aml_name(struct aml *aml, const char *name);

/* Blocks: begin returns a mark for aml_end(), which writes the length. */
size_t aml_scope_root(struct aml *aml, const char *name); /* \NAME */
size_t aml_device(struct aml *aml, const char *name);
size_t aml_method(struct aml *aml, const char *name, unsigned args, bool serialized);
size_t aml_if(struct aml *aml);
size_t aml_else(struct aml *aml);
size_t aml_package(struct aml *aml, unsigned count);
void aml_end(struct aml *aml, size_t mark);

/* Name (@name, ...): a value has to follow. */
void aml_define(struct aml *aml, const char *name);
void aml_define_integer(struct aml *aml, const char *name, uint64_t value);
void aml_define_string(struct aml *aml, const char *name, const char *text);
/* "PNP0A08" as the compressed number that EISAID() makes. */
void aml_define_eisa_id(struct aml *aml, const char *name, const char *id);

/* A buffer of resource descriptors; ends with aml_end_resources(). */
size_t aml_resources(struct aml *aml);
void aml_end_resources(struct aml *aml, size_t mark);
void aml_bus_range(struct aml *aml, unsigned first, unsigned last);
void aml_io_window(struct aml *aml, uint32_t base, uint32_t size);
void aml_memory_window(struct aml *aml, uint64_t base, uint64_t size); /* DWord or QWord */
void aml_io(struct aml *aml, uint16_t base, uint8_t size);
void aml_memory_fixed(struct aml *aml, uint32_t base, uint32_t size);
void aml_interrupt_edge(struct aml *aml, uint32_t gsi);

#endif
