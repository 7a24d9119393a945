/* SPDX-License-Identifier: Apache-2.0 */
/* Plan: the images inside an expansion ROM (PCI Firmware 3.3 section 5.1), and the ids in them. Pure. */
#ifndef SLUICE_VFIO_FRONT_ROM_H
#define SLUICE_VFIO_FRONT_ROM_H

#include <stddef.h>
#include <stdint.h>

enum front_rom_fault {
	FRONT_ROM_GOOD,
	FRONT_ROM_NO_SIGNATURE, /* does not begin with 55 aa: nobody will find anything in it */
	FRONT_ROM_NO_DATA,      /* no PCI data structure ("PCIR") where the header says */
	FRONT_ROM_BAD_LENGTH,   /* none, less than its data structure, or beyond the end */
	FRONT_ROM_NO_LAST,      /* behind an image that is not the last there is no other */
	FRONT_ROM_BAD_SUM,      /* for x86 firmware, and its bytes do not sum up to 0 */
};

/*
 * The first fault in the @size bytes of @rom, of which nothing is trusted. *@at is where the image
 * begins that has it, or that is missing. What lies behind the last image is nobody's.
 */
enum front_rom_fault front_rom_judge(const uint8_t *rom, size_t size, size_t *at);

/*
 * Write @vendor and @device (-1: as they are) into the data structure of every image in @rom, and
 * make the checksum of images for x86 firmware right again: firmware takes only the ROM that names
 * its device. Nothing in @rom is trusted. Returns how many images were changed.
 */
unsigned front_rom_patch(uint8_t *rom, size_t size, int32_t vendor, int32_t device);

#endif
