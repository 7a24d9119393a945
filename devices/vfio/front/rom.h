/* SPDX-License-Identifier: Apache-2.0 */
/* Plan: the ids inside an expansion ROM (PCI Firmware 3.3 section 5.1). Pure. */
#ifndef SLUICE_VFIO_FRONT_ROM_H
#define SLUICE_VFIO_FRONT_ROM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Write @vendor and @device (-1: as they are) into the data structure of every image in @rom, and
 * make the checksum of images for x86 firmware right again: firmware takes only the ROM that names
 * its device. Nothing in @rom is trusted. Returns how many images were changed.
 */
unsigned front_rom_patch(uint8_t *rom, size_t size, int32_t vendor, int32_t device);

#endif
