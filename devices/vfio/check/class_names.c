// SPDX-License-Identifier: Apache-2.0
#include <stdio.h>
#include <string.h>

#include "devices/vfio/check/findings.h"

/*
 * The classes of the PCI Code and ID Assignment Specification that are met in practice: the digits
 * with which a class code begins, and its name. The first that fits is the one.
 */
static const char classes[] = "010802 NVMe controller\0"
			      "0106 SATA controller\0"
			      "0100 SCSI controller\0"
			      "0101 IDE controller\0"
			      "0104 RAID controller\0"
			      "0107 SAS controller\0"
			      "0108 non-volatile memory\0"
			      "01 storage controller\0"
			      "0200 Ethernet controller\0"
			      "0207 InfiniBand controller\0"
			      "02 network controller\0"
			      "0300 VGA controller\0"
			      "0302 3D controller\0"
			      "03 display controller\0"
			      "0403 audio device\0"
			      "0401 audio device\0"
			      "04 multimedia controller\0"
			      "0502 CXL memory\0"
			      "05 memory controller\0"
			      "0600 host bridge\0"
			      "0601 ISA bridge\0"
			      "0604 PCI bridge\0"
			      "06 bridge\0"
			      "070002 serial port\0"
			      "07 communication controller\0"
			      "0805 SD host controller\0"
			      "0806 IOMMU\0"
			      "08 system peripheral\0"
			      "09 input controller\0"
			      "0b40 co-processor\0"
			      "0b processor\0"
			      "0c03 USB controller\0"
			      "0c05 SMBus controller\0"
			      "0c serial bus controller\0"
			      "0d wireless controller\0"
			      "10 encryption controller\0"
			      "11 signal processing\0"
			      "12 processing accelerator\0"
			      "00ff device\0";

const char *check_class_name(uint32_t class_code)
{
	char code[9];

	snprintf(code, sizeof(code), "%06x", class_code);
	for (const char *row = classes; *row; row += strlen(row) + 1) {
		size_t digits = strcspn(row, " ");

		if (strncmp(row, code, digits) == 0)
			return row + digits + 1;
	}
	return "PCI device";
}
