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
#include "vmm/base/host.h"
#include "vmm/base/log.h"

#define ROM_MOST (16u << 20) /* a ROM BAR decodes no more (PCI Local Bus 3.0 section 6.2.5.2) */

/* Offsets in an image's header and in its data structure ("PCIR"). */
#define HEADER_SIZE    0x1a
#define HEADER_SUM     0x06 /* a byte that no firmware reads: where the sum is made right */
#define HEADER_DATA    0x18
#define DATA_SIZE      0x18
#define DATA_VENDOR    0x04
#define DATA_DEVICE    0x06
#define DATA_LENGTH    0x10 /* of the image, in units of 512 bytes */
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

unsigned front_rom_patch(uint8_t *rom, size_t size, int32_t vendor, int32_t device)
{
	unsigned changed = 0;
	size_t at = 0;

	while (size - at >= HEADER_SIZE && rom[at] == 0x55 && rom[at + 1] == 0xaa) {
		size_t data = get16(rom + at + HEADER_DATA), length;
		uint8_t *image = rom + at, sum = 0;

		if (data < HEADER_SIZE || data > size - at || size - at - data < DATA_SIZE ||
		    memcmp(image + data, "PCIR", 4))
			break;
		length = (size_t)get16(image + data + DATA_LENGTH) * 512;
		if (!length || length > size - at || data + DATA_SIZE > length)
			break;
		if (vendor >= 0)
			set16(image + data + DATA_VENDOR, (uint16_t)vendor);
		if (device >= 0)
			set16(image + data + DATA_DEVICE, (uint16_t)device);
		if (image[data + DATA_CODE] == 0) {
			for (size_t i = 0; i < length; i++)
				sum = (uint8_t)(sum + image[i]);
			image[HEADER_SUM] = (uint8_t)(image[HEADER_SUM] - sum);
		}
		changed++;
		if (image[data + DATA_INDICATOR] & 0x80)
			break;
		at += length;
	}
	return changed;
}

static void patch(struct vfio_function *vf)
{
	if (vf->config->vendor_id >= 0 || vf->config->device_id >= 0)
		front_rom_patch(vf->rom.data, vf->rom.size, vf->config->vendor_id,
				vf->config->device_id);
}

static int read_file(struct vfio_function *vf)
{
	const char *path = vf->config->rom_file, *why = NULL;
	uint64_t size = 0, done = 0;
	int fd, ret = 0;

	fd = host_open_file(path, &size);
	if (fd < 0) {
		log_error("vfio %s: ROM file %s: %s", vf->id, path, strerror(-fd));
		return fd;
	}
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
	if (ret) {
		free(vf->rom.data);
		vf->rom.data = NULL;
	} else {
		vf->rom.size = size;
		patch(vf);
	}

close_file:
	close(fd);
	if (ret)
		log_error("vfio %s: ROM file %s: %s", vf->id, path, why ? why : strerror(-ret));
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
		log_warn("vfio %s: the expansion ROM cannot be read: %s; rom=off hides it, "
			 "rom=FILE replaces it",
			 vf->id, strerror(got ? (int)-got : EIO));
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
