/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The expansion ROM: the device's own, read when the guest first looks at it, or a file's. Reads
 * leave the guest: firmware and drivers read it once, if ever, and a memory slot would have to be
 * filled at launch.
 */
#include "devices/vfio/front/front.h"
#include "devices/vfio/front/rom.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/front/region.h"
#include "devices/vfio/message.h"
#include "vmm/base/host.h"

#define ROM_MOST (16u << 20) /* a ROM BAR decodes no more (PCI Local Bus 3.0 section 6.2.5.2) */

/* Offsets in an image's header and in its data structure ("PCIR"). */
#define UNIT           512 /* in which lengths are counted */
#define HEADER_SIZE    0x1a
#define HEADER_UNITS   0x02 /* of x86 firmware: how much of it is to be run */
#define HEADER_SUM     0x06 /* a byte that no firmware reads: where the sum is made right */
#define HEADER_DATA    0x18
#define DATA_SIZE      0x18
#define DATA_VENDOR    0x04
#define DATA_DEVICE    0x06
#define DATA_LENGTH    0x10 /* of the image, in units */
#define DATA_CODE      0x14 /* 0: x86 firmware, whose images sum up to 0 */
#define DATA_INDICATOR 0x15 /* bit 7: the last image */

static uint16_t get16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] | bytes[1] << 8);
}

static void set16(uint8_t *bytes, uint16_t value)
{
	bytes[0] = (uint8_t)value;
	bytes[1] = (uint8_t)(value >> 8);
}

static uint8_t sum_of(const uint8_t *bytes, size_t size)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < size; i++)
		sum = (uint8_t)(sum + bytes[i]);
	return sum;
}

/* One image: where its data structure is in it, and how long it is. */
struct image {
	size_t data, length;
};

/* The image at @bytes, of which there are @size. */
static enum front_rom_fault read_image(const uint8_t *bytes, size_t size, struct image *image)
{
	const size_t data = size >= HEADER_SIZE ? get16(bytes + HEADER_DATA) : 0;

	if (size < HEADER_SIZE || bytes[0] != 0x55 || bytes[1] != 0xaa)
		return FRONT_ROM_NO_SIGNATURE;
	if (data < HEADER_SIZE || data > size || size - data < DATA_SIZE ||
	    memcmp(bytes + data, "PCIR", 4) != 0)
		return FRONT_ROM_NO_DATA;
	image->data = data;
	image->length = (size_t)get16(bytes + data + DATA_LENGTH) * UNIT;
	if (image->length > size || data + DATA_SIZE > image->length)
		return FRONT_ROM_BAD_LENGTH;
	return FRONT_ROM_GOOD;
}

/* Over as much as is to be run by the header, or over all of the image: both are in use. */
static bool sums_up(const uint8_t *bytes, const struct image *image)
{
	const size_t run = (size_t)bytes[HEADER_UNITS] * UNIT;

	return sum_of(bytes, image->length) == 0 ||
	       (run != 0 && run <= image->length && sum_of(bytes, run) == 0);
}

enum front_rom_fault front_rom_judge(const uint8_t *rom, size_t size, size_t *at)
{
	struct image image;

	for (*at = 0;; *at += image.length) {
		const uint8_t *bytes = rom + *at;
		const enum front_rom_fault fault = read_image(bytes, size - *at, &image);

		if (fault == FRONT_ROM_NO_SIGNATURE && *at != 0)
			return FRONT_ROM_NO_LAST;
		if (fault != FRONT_ROM_GOOD)
			return fault;
		if (bytes[image.data + DATA_CODE] == 0 && !sums_up(bytes, &image))
			return FRONT_ROM_BAD_SUM;
		if (bytes[image.data + DATA_INDICATOR] & 0x80)
			return FRONT_ROM_GOOD;
	}
}

unsigned front_rom_patch(uint8_t *rom, size_t size, int32_t vendor, int32_t device)
{
	struct image image;
	unsigned changed = 0;
	size_t at = 0;

	while (read_image(rom + at, size - at, &image) == FRONT_ROM_GOOD) {
		uint8_t *bytes = rom + at, *data = bytes + image.data;

		if (vendor >= 0)
			set16(data + DATA_VENDOR, (uint16_t)vendor);
		if (device >= 0)
			set16(data + DATA_DEVICE, (uint16_t)device);
		if (data[DATA_CODE] == 0)
			bytes[HEADER_SUM] =
				(uint8_t)(bytes[HEADER_SUM] - sum_of(bytes, image.length));
		changed++;
		if (data[DATA_INDICATOR] & 0x80)
			break;
		at += image.length;
	}
	return changed;
}

static void patch(struct vfio_function *vf)
{
	if (vf->config->vendor_id >= 0 || vf->config->device_id >= 0)
		front_rom_patch(vf->rom.data, vf->rom.size, vf->config->vendor_id,
				vf->config->device_id);
}

/*
 * What is no expansion ROM is refused: the guest would have a ROM that it cannot find anything in. What
 * is one, and has faults, is the guest's to judge, as that of a card is.
 */
static int judge_file(const struct vfio_function *vf)
{
	static const char *const faults[] = {
		[FRONT_ROM_NO_DATA] = "has no PCI data structure (PCIR)",
		[FRONT_ROM_BAD_LENGTH] = "says that it is longer than the file, or too short",
		[FRONT_ROM_NO_LAST] = "is to be there, after one that is not the last, and is not",
		[FRONT_ROM_BAD_SUM] = "does not sum up to 0, as code for x86 firmware has to",
	};
	const char *path = vf->config->rom_file;
	const uint8_t *rom = vf->rom.data;
	size_t at;
	enum front_rom_fault fault = front_rom_judge(rom, vf->rom.size, &at);

	if (fault == FRONT_ROM_NO_SIGNATURE && vf->rom.size < HEADER_SIZE)
		return vfio_error(vf->id, -EINVAL,
				  "ROM file %s: %u bytes are too few for an expansion ROM", path,
				  (unsigned)vf->rom.size);
	if (fault == FRONT_ROM_NO_SIGNATURE)
		return vfio_error(
			vf->id, -EINVAL,
			"ROM file %s: no expansion ROM: it begins with %02x %02x in place of 55 "
			"aa; what a vendor's tool put before these is to be cut off",
			path, rom[0], rom[1]);
	if (fault != FRONT_ROM_GOOD)
		vfio_warn(vf->id, 0, "ROM file %s: the guest may not take it: the image at 0x%x %s",
			  path, (unsigned)at, faults[fault]);
	return 0;
}

static int read_file(struct vfio_function *vf)
{
	const char *path = vf->config->rom_file, *why = NULL;
	uint64_t size = 0, done = 0;
	int fd, ret = 0;

	fd = host_open_file(path, &size);
	if (fd < 0)
		return vfio_error(vf->id, fd, "ROM file %s: %s", path,
				  fd == -EINVAL ? "no regular file" : host_strerror(-fd));
	if (!size || size > ROM_MOST) {
		why = size ? "larger than 16 MiB, the most a ROM can be" : "empty";
		ret = -EINVAL;
		goto close_file;
	}
	vf->rom.data = malloc(size);
	if (!vf->rom.data) {
		ret = -ENOMEM;
		goto close_file;
	}
	while (done < size) {
		ssize_t got = pread(fd, vf->rom.data + done, size - done, (off_t)done);

		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0) {
			ret = got < 0 ? -errno : -EIO;
			break;
		}
		done += (uint64_t)got;
	}

close_file:
	close(fd);
	if (ret)
		vfio_error(vf->id, 0, "ROM file %s: %s", path, why ? why : strerror(-ret));
	if (!ret) {
		vf->rom.size = size;
		ret = judge_file(vf);
	}
	if (!ret) {
		patch(vf);
	} else {
		free(vf->rom.data);
		vf->rom.data = NULL;
	}
	return ret;
}

int front_rom_init(struct vfio_function *vf)
{
	struct bar_region region;
	int ret = 0;

	pthread_mutex_init(&vf->rom.lock, NULL);
	if (vf->config->rom == VFIO_ROM_FILE) {
		ret = read_file(vf);
	} else if (vf->config->rom == VFIO_ROM_ON) {
		ret = front_region_get(vf->vdev, VFIO_PCI_ROM_REGION_INDEX, &region);
		if (!ret && region.readable && region.size <= ROM_MOST) {
			vf->rom.size = region.size;
			vf->rom.region_offset = region.offset;
		}
		ret = 0; /* a device whose ROM cannot be read has none */
	}
	if (ret)
		pthread_mutex_destroy(&vf->rom.lock);
	return ret;
}

void front_rom_free(struct vfio_function *vf)
{
	free(vf->rom.data);
	pthread_mutex_destroy(&vf->rom.lock);
}

/* Under rom.lock. Memory decode is on in the device: the guest has the ROM mapped. */
static void read_device(struct vfio_function *vf)
{
	struct bar_region region = {.size = vf->rom.size, .offset = vf->rom.region_offset};
	ssize_t got;

	vf->rom.data = malloc(vf->rom.size);
	if (!vf->rom.data) {
		vf->rom.failed = true;
		return;
	}
	memset(vf->rom.data, 0xff, vf->rom.size);
	got = front_region_read_all(vf->vdev, &region, 0, vf->rom.data, vf->rom.size);
	if (got <= 0) {
		vfio_warn(vf->id, got ? (int)got : -EIO,
			  "the expansion ROM cannot be read: %m; rom=off hides it, rom=FILE "
			  "replaces it");
		vf->rom.failed = true;
		return;
	}
	patch(vf);
}

uint64_t front_rom_read(struct vfio_function *vf, uint64_t offset, unsigned size)
{
	uint64_t value = 0;

	pthread_mutex_lock(&vf->rom.lock);
	if (!vf->rom.data && !vf->rom.failed && !atomic_load(&vf->gone))
		read_device(vf);
	for (unsigned i = 0; i < size; i++) {
		uint8_t byte = 0xff;

		if (vf->rom.data && offset + i < vf->rom.size)
			byte = vf->rom.data[offset + i];
		value |= (uint64_t)byte << 8 * i;
	}
	pthread_mutex_unlock(&vf->rom.lock);
	return value;
}
