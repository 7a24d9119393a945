// SPDX-License-Identifier: Apache-2.0
// slot-power PORT off|pull: what happens to the card in the slot of a root port, by the port's Slot Control register (PCIe 6.0 section 7.5.3.10) and past the
// kernel's hotplug driver. off: the slot loses its power and nobody is told, as when a device has broken. pull: the card is drawn out in
// operation, and the slot reports that it is empty. In QEMU the card is taken when power and power indicator go off (hw/pci/pcie.c); pciehp disables only a slot
// that has power.
#include <err.h>
#include <fcntl.h>
#include <linux/pci_regs.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static int config;

static unsigned get(unsigned offset, unsigned size)
{
	uint32_t value = 0;

	if (pread(config, &value, size, offset) != (ssize_t)size)
		err(1, "configuration space");
	return value;
}

static void put(unsigned offset, unsigned value)
{
	uint16_t word = (uint16_t)value;

	if (pwrite(config, &word, 2, offset) != 2)
		err(1, "configuration space");
}

static unsigned find_express(void)
{
	unsigned at = get(PCI_CAPABILITY_LIST, 1);

	for (unsigned i = 0; at >= 0x40 && i < 48; i++, at = get(at + 1, 1))
		if (get(at, 1) == PCI_CAP_ID_EXP)
			return at;
	errx(1, "no PCI Express capability");
}

int main(int argc, char **argv)
{
	const unsigned off = PCI_EXP_SLTCTL_PWR_OFF, taken = off | PCI_EXP_SLTCTL_PWR_IND_OFF;
	const unsigned told = PCI_EXP_SLTCTL_PDCE | PCI_EXP_SLTCTL_HPIE;
	unsigned at, control;
	char path[128];

	if (argc != 3)
		errx(2, "usage: slot-power PORT off|pull");
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/config", argv[1]);
	config = open(path, O_RDWR);
	if (config < 0)
		err(1, "%s", path);
	at = find_express() + PCI_EXP_SLTCTL;
	control = get(at, 2);
	if (strcmp(argv[2], "off") == 0) {
		put(at, control | off);
	} else if (strcmp(argv[2], "pull") == 0) {
		put(at, (control | taken) & ~PCI_EXP_SLTCTL_HPIE);
		put(at, (control & ~off) | told);
	} else {
		errx(2, "%s: off or pull", argv[2]);
	}
	return 0;
}
