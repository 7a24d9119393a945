/* SPDX-License-Identifier: Apache-2.0 */
/* The suite's driver of the reference device (docs/reference-device.md). */
#include "tests/contract/reference.h"

#include <errno.h>
#include <linux/pci_regs.h>

#include "devices/vfio/reference/registers.h"

static int write32(struct run *run, uint32_t at, uint32_t value)
{
	const ssize_t done = region_write(run, REFERENCE_BAR_REGISTERS, at, &value, sizeof(value));

	return done == sizeof(value) ? 0 : done < 0 ? (int)done : -EIO;
}

static int write64(struct run *run, uint32_t at, uint64_t value)
{
	const ssize_t done = region_write(run, REFERENCE_BAR_REGISTERS, at, &value, sizeof(value));

	return done == sizeof(value) ? 0 : done < 0 ? (int)done : -EIO;
}

static int read32(struct run *run, uint32_t at, uint32_t *value)
{
	const ssize_t done = region_read(run, REFERENCE_BAR_REGISTERS, at, value, sizeof(*value));

	return done == sizeof(*value) ? 0 : done < 0 ? (int)done : -EIO;
}

/* Any register that a request without lists does not need. */
static int put(struct run *run, uint32_t value)
{
	return write32(run, REFERENCE_SOURCE_ENTRIES, value);
}

static int get(struct run *run, uint32_t *value)
{
	return read32(run, REFERENCE_SOURCE_ENTRIES, value);
}

static int start(struct run *run)
{
	uint32_t id = 0;
	int rc;

	command(run, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 0);
	rc = read32(run, REFERENCE_ID, &id);
	return rc ? rc : id == REFERENCE_ID_VALUE ? 0 : -ENODEV;
}

static int post(struct run *run, uint32_t operation, uint32_t pasid, uint32_t length)
{
	int rc = write32(run, REFERENCE_LENGTH, length);

	if (pasid) {
		operation |= REFERENCE_COMMAND_PASID;
		rc = rc ? rc : write32(run, REFERENCE_PASID, pasid);
	}
	rc = rc ? rc : write32(run, REFERENCE_COMMAND, operation);
	return rc ? rc : write32(run, REFERENCE_DOORBELL, 1);
}

/* Wait until the request has ended; its error. */
static int finish(struct run *run)
{
	uint32_t status = 0, error = 0;
	int rc;

	do {
		rc = read32(run, REFERENCE_STATUS, &status);
	} while (!rc && (status & REFERENCE_STATUS_BUSY));
	rc = rc ? rc : read32(run, REFERENCE_ERROR, &error);
	return rc ? rc : (int)error;
}

static int copy(struct run *run, uint32_t pasid, uint64_t from, uint64_t to, uint32_t length)
{
	int rc = write64(run, REFERENCE_SOURCE, from);

	rc = rc ? rc : write64(run, REFERENCE_DESTINATION, to);
	rc = rc ? rc : post(run, REFERENCE_OPCODE_COPY, pasid, length);
	return rc ? rc : finish(run);
}

static int post_pattern(struct run *run, uint32_t pasid, uint64_t to, uint32_t length,
			uint8_t value)
{
	int rc = write64(run, REFERENCE_DESTINATION, to);

	rc = rc ? rc : write64(run, REFERENCE_PATTERN, 0x0101010101010101ull * value);
	return rc ? rc : post(run, REFERENCE_OPCODE_FILL, pasid, length);
}

static int fill(struct run *run, uint32_t pasid, uint64_t to, uint32_t length, uint8_t value)
{
	const int rc = post_pattern(run, pasid, to, length, value);

	return rc ? rc : finish(run);
}

static int post_fill(struct run *run, uint64_t to, uint32_t length, uint8_t value)
{
	return post_pattern(run, 0, to, length, value);
}

static int completed(struct run *run, uint32_t *count)
{
	return read32(run, REFERENCE_COMPLETED, count);
}

static int raise_vector(struct run *run, uint32_t vector)
{
	int rc = write32(run, REFERENCE_VECTOR, vector);

	rc = rc ? rc : post(run, REFERENCE_OPCODE_NOP | REFERENCE_COMMAND_INTERRUPT, 0, 0);
	return rc ? rc : finish(run);
}

/* By the end of a request that does nothing. */
static int assert_pin(struct run *run, bool asserted)
{
	int rc;

	if (!asserted)
		return write32(run, REFERENCE_INT_STATUS, REFERENCE_INT_DONE);
	rc = write32(run, REFERENCE_INT_ENABLE, REFERENCE_INT_DONE);
	rc = rc ? rc : post(run, REFERENCE_OPCODE_NOP, 0, 0);
	return rc ? rc : finish(run);
}

const struct driver reference_driver = {
	.put = put,
	.get = get,
	.start = start,
	.copy = copy,
	.fill = fill,
	.post_fill = post_fill,
	.completed = completed,
	.assert_pin = assert_pin,
	.raise = raise_vector,
};
