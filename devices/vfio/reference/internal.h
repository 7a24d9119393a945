/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/* Between the files of the model. */
#ifndef SLUICE_VFIO_REFERENCE_INTERNAL_H
#define SLUICE_VFIO_REFERENCE_INTERNAL_H

#include "devices/vfio/reference/model.h"

/* Little endian in memory: one load or store, where the machine is of the same order. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define REFERENCE_LE16(value) (value)
#define REFERENCE_LE32(value) (value)
#define REFERENCE_LE64(value) (value)
#else
#define REFERENCE_LE16(value) __builtin_bswap16(value)
#define REFERENCE_LE32(value) __builtin_bswap32(value)
#define REFERENCE_LE64(value) __builtin_bswap64(value)
#endif

static inline uint16_t reference_get16(const uint8_t *p)
{
	uint16_t value;

	__builtin_memcpy(&value, p, sizeof(value));
	return REFERENCE_LE16(value);
}

static inline uint32_t reference_get32(const uint8_t *p)
{
	uint32_t value;

	__builtin_memcpy(&value, p, sizeof(value));
	return REFERENCE_LE32(value);
}

static inline uint64_t reference_get64(const uint8_t *p)
{
	uint64_t value;

	__builtin_memcpy(&value, p, sizeof(value));
	return REFERENCE_LE64(value);
}

static inline void reference_put16(uint8_t *p, uint16_t value)
{
	value = REFERENCE_LE16(value);
	__builtin_memcpy(p, &value, sizeof(value));
}

static inline void reference_put32(uint8_t *p, uint32_t value)
{
	value = REFERENCE_LE32(value);
	__builtin_memcpy(p, &value, sizeof(value));
}

static inline void reference_put64(uint8_t *p, uint64_t value)
{
	value = REFERENCE_LE64(value);
	__builtin_memcpy(p, &value, sizeof(value));
}

/* crc.c: CRC-32C. Start with ~0 and complement at the end. */
void reference_crc_init(uint32_t table[8][256]);
uint32_t reference_crc(const uint32_t table[8][256], uint32_t crc, const uint8_t *data,
		       size_t length);

/* config.c */
void reference_config_init(struct reference_device *device);
void reference_config_read(const struct reference_device *device, uint8_t *buffer, size_t count,
			   uint64_t offset);
/* -EAGAIN as reference_write(). */
int reference_config_write(struct reference_device *device, const uint8_t *buffer, size_t count,
			   uint64_t offset, uint32_t *effects);
bool reference_bus_master(const struct reference_device *device);
bool reference_pasid_enabled(const struct reference_device *device);

/* registers.c */
void reference_registers_read(const struct reference_device *device, uint8_t *buffer, size_t count,
			      uint64_t offset);
uint32_t reference_registers_write(struct reference_device *device, const uint8_t *buffer,
				   size_t count, uint64_t offset);
void reference_registers_reset(struct reference_device *device);
/* Bring INTA in line with what it depends on. */
void reference_intx_update(struct reference_device *device);

/* engine.c */
/* A doorbell: REFERENCE_EFFECT_*. */
uint32_t reference_doorbell(struct reference_device *device, uint32_t tag);
/* May the device begin DMA in this migration state? */
bool reference_state_does_dma(uint32_t state);
/* Bits of a command that an opcode can have. -EINVAL: unknown opcode or bits. */
int reference_check_command(uint32_t command);

/* model.c: the device memory as one space, scratch first. */
uint64_t reference_pages(const struct reference_device *device);
uint8_t *reference_page(const struct reference_device *device, uint64_t page);
void reference_mark_dirty(struct reference_device *device, uint64_t offset, uint64_t length);

/* save.c, load.c */
void reference_save_begin(struct reference_device *device);
void reference_save_final(struct reference_device *device);
void reference_load_begin(struct reference_device *device);
/* The stream has ended: make it the device's state. -EINVAL: it was bad or not whole. */
int reference_load_commit(struct reference_device *device);

/* stream.c: what both have in common. */
#define REFERENCE_RECORD_HEADER 1u
#define REFERENCE_RECORD_PAGE   2u
#define REFERENCE_RECORD_CONFIG 3u
#define REFERENCE_RECORD_STATE  4u
#define REFERENCE_RECORD_END    5u

#define REFERENCE_RECORD_OVERHEAD 16u
#define REFERENCE_HEADER_LENGTH   40u
#define REFERENCE_PAGE_LENGTH     (8u + REFERENCE_PAGE)
#define REFERENCE_STATE_LENGTH    256u
#define REFERENCE_END_LENGTH      8u
#define REFERENCE_STREAM_MAGIC    0x4552454349554c53ull /* "SLUICERE" */
#define REFERENCE_STREAM_VERSION  1u

/* Payload length of a record type, 0: unknown. */
uint32_t reference_record_length(uint32_t type);
/* CRC over the first 12 bytes of the record's header and its payload. */
uint32_t reference_record_crc(const struct reference_device *device, const uint8_t *record,
			      uint32_t payload);
/* Registers and request to or from the payload of STATE. */
void reference_state_encode(const struct reference_device *device, uint8_t *payload);
void reference_state_decode(const uint8_t *payload, struct reference_incoming *in);

#endif
