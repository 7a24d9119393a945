// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/findings.h"

/* The classes of the PCI Code and ID Assignment Specification that are met in practice. */
static const struct {
	uint32_t value, mask;
	const char *name;
} classes[] = {
	{0x010802, 0xffffff, "NVMe controller"},
	{0x010601, 0xffffff, "SATA controller"},
	{0x010600, 0xffff00, "SATA controller"},
	{0x010000, 0xffff00, "SCSI controller"},
	{0x010100, 0xffff00, "IDE controller"},
	{0x010400, 0xffff00, "RAID controller"},
	{0x010700, 0xffff00, "SAS controller"},
	{0x010800, 0xffff00, "non-volatile memory"},
	{0x010000, 0xff0000, "storage controller"},
	{0x020000, 0xffff00, "Ethernet controller"},
	{0x020700, 0xffff00, "InfiniBand controller"},
	{0x028000, 0xffff00, "network controller"},
	{0x020000, 0xff0000, "network controller"},
	{0x030000, 0xffff00, "VGA controller"},
	{0x030200, 0xffff00, "3D controller"},
	{0x030000, 0xff0000, "display controller"},
	{0x040300, 0xffff00, "audio device"},
	{0x040100, 0xffff00, "audio device"},
	{0x040000, 0xff0000, "multimedia controller"},
	{0x050200, 0xffff00, "CXL memory"},
	{0x050000, 0xff0000, "memory controller"},
	{0x060000, 0xffff00, "host bridge"},
	{0x060100, 0xffff00, "ISA bridge"},
	{0x060400, 0xffff00, "PCI bridge"},
	{0x060000, 0xff0000, "bridge"},
	{0x070002, 0xffffff, "serial port"},
	{0x070000, 0xff0000, "communication controller"},
	{0x080500, 0xffff00, "SD host controller"},
	{0x080600, 0xffff00, "IOMMU"},
	{0x088000, 0xffff00, "system peripheral"},
	{0x080000, 0xff0000, "system peripheral"},
	{0x090000, 0xff0000, "input controller"},
	{0x0b4000, 0xffff00, "co-processor"},
	{0x0b0000, 0xff0000, "processor"},
	{0x0c0330, 0xffffff, "USB controller"},
	{0x0c0300, 0xffff00, "USB controller"},
	{0x0c0500, 0xffff00, "SMBus controller"},
	{0x0c0000, 0xff0000, "serial bus controller"},
	{0x0d0000, 0xff0000, "wireless controller"},
	{0x100000, 0xff0000, "encryption controller"},
	{0x110000, 0xff0000, "signal processing"},
	{0x120000, 0xff0000, "processing accelerator"},
	{0x00ff00, 0xffff00, "device"},
};

const char *check_class_name(uint32_t class_code)
{
	for (unsigned i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		if ((class_code & classes[i].mask) == classes[i].value)
			return classes[i].name;
	}
	return "PCI device";
}
