// SPDX-License-Identifier: Apache-2.0
/*
 * Hardware-reduced ACPI: no fixed hardware, no legacy interrupts; everything is described. What each
 * entry is for stands beside it; the numbers of chapters are those of ACPI 6.5.
 */
#include "arch/x86/tables.h"

#include <errno.h>
#include <string.h>

#include "arch/arch.h"
#include "arch/x86/aml.h"
#include "arch/x86/platform.h"
#include "devices/power.h"

#define HEADER_SIZE 36 /* 5.2.6 */
#define RSDP_SIZE   36

/* FADT, 5.2.9 */
#define FADT_SIZE             276
#define FADT_FLAG_WBINVD      (1u << 0)
#define FADT_FLAG_PWR_BUTTON  (1u << 4) /* the button is a device, not fixed hardware */
#define FADT_FLAG_SLP_BUTTON  (1u << 5)
#define FADT_FLAG_RESET       (1u << 10)
#define FADT_FLAG_HW_REDUCED  (1u << 20)
#define FADT_BOOT_NO_VGA      (1u << 2)
#define FADT_BOOT_NO_CMOS_RTC (1u << 5)

/* _OSC of a PCI host bridge: PCI Firmware Specification 3.3, 4.5.1 */
#define OSC_NATIVE_HOTPLUG      (1u << 0)
#define OSC_PME                 (1u << 2)
#define OSC_AER                 (1u << 3)
#define OSC_PCIE_CAPABILITY     (1u << 4)
#define OSC_UNRECOGNIZED_UUID   (1u << 2)
#define OSC_UNKNOWN_REVISION    (1u << 3)
#define OSC_CAPABILITIES_MASKED (1u << 4)

/* 33DB4D5B-1FF7-401C-9657-7441C03DD766, the first three fields little-endian */
static const uint8_t pci_osc_uuid[16] = {0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
					 0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66};

static void skip_to(struct aml *out, size_t at)
{
	while (out->used < at && !out->overflow)
		aml_put(out, 0, 1);
}

/* Returns where the table begins: on 16 bytes. Each put_ function returns that of its table. */
static size_t table_begin(struct aml *out, const char *signature, unsigned revision)
{
	size_t start;

	skip_to(out, (out->used + 15) & ~(size_t)15);
	start = out->used;
	aml_bytes(out, signature, 4);
	aml_put(out, 0, 4); /* length, see table_end() */
	aml_put(out, revision, 1);
	aml_put(out, 0, 1); /* checksum */
	aml_bytes(out, "SLUICE", 6);
	aml_bytes(out, "MICROVM ", 8);
	aml_put(out, 1, 4);
	aml_bytes(out, "SLCE", 4);
	aml_put(out, 1, 4);
	return start;
}

static uint8_t checksum(const uint8_t *bytes, size_t size)
{
	uint8_t sum = 0;

	while (size-- > 0)
		sum = (uint8_t)(sum + *bytes++);
	return (uint8_t)-sum;
}

static size_t table_end(struct aml *out, size_t start)
{
	uint32_t length = (uint32_t)(out->used - start);

	if (!out->overflow) {
		memcpy(out->bytes + start + 4, &length, 4);
		out->bytes[start + 9] = checksum(out->bytes + start, length);
	}
	return start;
}

/* A register address, 5.2.3.2: one byte in memory space. */
static void generic_address(struct aml *out, uint64_t address)
{
	aml_put(out, 0, 1); /* system memory */
	aml_put(out, 8, 1);
	aml_put(out, 0, 1);
	aml_put(out, 1, 1); /* byte access */
	aml_put(out, address, 8);
}

static size_t put_fadt(struct aml *out, const struct arch_machine *machine, uint64_t dsdt)
{
	uint64_t power = machine->layout->power.base;
	size_t start = table_begin(out, "FACP", 6);

	skip_to(out, start + 109);
	aml_put(out, FADT_BOOT_NO_VGA | FADT_BOOT_NO_CMOS_RTC, 2);
	skip_to(out, start + 112);
	aml_put(out,
		FADT_FLAG_WBINVD | FADT_FLAG_PWR_BUTTON | FADT_FLAG_SLP_BUTTON | FADT_FLAG_RESET |
			FADT_FLAG_HW_REDUCED,
		4);
	generic_address(out, power + POWER_RESET);
	aml_put(out, POWER_RESET_VALUE, 1);
	skip_to(out, start + 131);
	aml_put(out, 5, 1); /* minor revision: ACPI 6.5 */
	skip_to(out, start + 140);
	aml_put(out, dsdt, 8);
	skip_to(out, start + 244);
	generic_address(out, power + POWER_SLEEP_CONTROL);
	generic_address(out, power + POWER_SLEEP_STATUS);
	aml_bytes(out, "sluice\0\0", 8); /* hypervisor vendor identity */
	return table_end(out, start);
}

/* Local APICs, 5.2.12.2; from id 255 on x2APICs, 5.2.12.12; one I/O APIC, 5.2.12.3. */
static size_t put_madt(struct aml *out, const struct arch_machine *machine)
{
	size_t start = table_begin(out, "APIC", 5);

	aml_put(out, LAPIC_BASE, 4);
	aml_put(out, 0, 4); /* no 8259 */
	for (unsigned i = 0; i < machine->cpus; i++) {
		if (i < 255) {
			aml_put(out, 0, 1);
			aml_put(out, 8, 1);
			aml_put(out, i, 1);
			aml_put(out, i, 1);
			aml_put(out, 1, 4); /* enabled */
		} else {
			aml_put(out, 9, 1);
			aml_put(out, 16, 1);
			aml_put(out, 0, 2);
			aml_put(out, i, 4);
			aml_put(out, 1, 4);
			aml_put(out, i, 4);
		}
	}
	aml_put(out, 1, 1);
	aml_put(out, 12, 1);
	aml_put(out, 0, 2);
	aml_put(out, IOAPIC_BASE, 4);
	aml_put(out, 0, 4); /* first GSI */
	return table_end(out, start);
}

/* PCI Firmware Specification 3.3, 4.1.2 */
static size_t put_mcfg(struct aml *out, const struct arch_machine *machine)
{
	size_t start = table_begin(out, "MCFG", 1);

	aml_put(out, 0, 8);
	aml_put(out, machine->layout->ecam.base, 8);
	aml_put(out, 0, 2); /* segment */
	aml_put(out, 0, 1);
	aml_put(out, machine->layout->bus_count - 1, 1);
	aml_put(out, 0, 4);
	return table_end(out, start);
}

/* What the bridge passes on. There are no configuration ports: the ECAM is all. */
static void put_bridge_resources(struct aml *out, const struct arch_layout *layout)
{
	const struct pci_windows *windows = &layout->windows;
	size_t list;

	aml_define(out, "_CRS");
	list = aml_resources(out);
	aml_bus_range(out, 0, layout->bus_count - 1);
	if (windows->io.size != 0)
		aml_io_window(out, (uint32_t)windows->io.base, (uint32_t)windows->io.size);
	if (windows->mem32.size != 0)
		aml_memory_window(out, windows->mem32.base, windows->mem32.size);
	if (windows->mem64.size != 0)
		aml_memory_window(out, windows->mem64.base, windows->mem64.size);
	aml_end_resources(out, list);
}

static void put_dword_field(struct aml *out, unsigned offset, const char *name)
{
	aml_put(out, AML_CREATE_DWORD_FIELD, 1);
	aml_put(out, AML_ARG3, 1);
	aml_integer(out, offset);
	aml_name(out, name);
}

/* @field |= @bits */
static void put_or(struct aml *out, const char *field, unsigned bits)
{
	aml_put(out, AML_OR, 1);
	aml_name(out, field);
	aml_integer(out, bits);
	aml_name(out, field);
}

/*
 * _OSC: the guest runs hotplug, power events, errors and the PCIe capability by itself; the hot plug
 * of conventional bridges (bit 1) and the rest are not there.
 */
static void put_osc(struct aml *out)
{
	const unsigned granted = OSC_NATIVE_HOTPLUG | OSC_PME | OSC_AER | OSC_PCIE_CAPABILITY;
	size_t method = aml_method(out, "_OSC", 4, true);
	size_t block, inner;

	put_dword_field(out, 0, "CDW1");
	block = aml_if(out);
	aml_put(out, AML_EQUAL, 1);
	aml_put(out, AML_ARG0, 1);
	aml_put(out, 0x11, 1); /* Buffer (16) {uuid}: length 0x13 with itself */
	aml_put(out, 0x13, 1);
	aml_integer(out, sizeof(pci_osc_uuid));
	aml_bytes(out, pci_osc_uuid, sizeof(pci_osc_uuid));

	put_dword_field(out, 8, "CDW3");
	inner = aml_if(out); /* If (!(Arg1 == 1)) */
	aml_put(out, AML_NOT, 1);
	aml_put(out, AML_EQUAL, 1);
	aml_put(out, AML_ARG1, 1);
	aml_put(out, AML_ONE, 1);
	put_or(out, "CDW1", OSC_UNKNOWN_REVISION);
	aml_end(out, inner);

	aml_put(out, AML_AND, 1); /* Local0 = CDW3 & granted */
	aml_name(out, "CDW3");
	aml_integer(out, granted);
	aml_put(out, AML_LOCAL0, 1);
	inner = aml_if(out); /* If (!(Local0 == CDW3)) */
	aml_put(out, AML_NOT, 1);
	aml_put(out, AML_EQUAL, 1);
	aml_put(out, AML_LOCAL0, 1);
	aml_name(out, "CDW3");
	put_or(out, "CDW1", OSC_CAPABILITIES_MASKED);
	aml_end(out, inner);
	aml_put(out, AML_STORE, 1);
	aml_put(out, AML_LOCAL0, 1);
	aml_name(out, "CDW3");
	aml_end(out, block);

	block = aml_else(out);
	put_or(out, "CDW1", OSC_UNRECOGNIZED_UUID);
	aml_end(out, block);
	aml_put(out, AML_RETURN, 1);
	aml_put(out, AML_ARG3, 1);
	aml_end(out, method);
}

/*
 * _PRT of the root bus, 6.2.13: INTA..INTD of device d arrive at the pins in turn, beginning with
 * d modulo 4. Behind a port the guest turns the pins itself by the same rule.
 */
static void put_prt(struct aml *out, const struct arch_layout *layout)
{
	size_t table, entry;

	aml_define(out, "_PRT");
	table = aml_package(out, 31 * 4);
	for (unsigned device = 1; device < 32; device++) {
		for (unsigned pin = 0; pin < 4; pin++) {
			entry = aml_package(out, 4);
			aml_integer(out, device << 16 | 0xffff);
			aml_integer(out, pin);
			aml_integer(out, 0); /* a GSI, not a link device */
			aml_integer(out, layout->intx_gsi[(device + pin) % 4]);
			aml_end(out, entry);
		}
	}
	aml_end(out, table);
}

static void put_host_bridge(struct aml *out, const struct arch_layout *layout)
{
	size_t device = aml_device(out, "PCI0");

	aml_define_eisa_id(out, "_HID", "PNP0A08");
	aml_define_eisa_id(out, "_CID", "PNP0A03");
	aml_define_integer(out, "_SEG", 0);
	aml_define_integer(out, "_BBN", 0);
	aml_define_integer(out, "_UID", 0);
	put_bridge_resources(out, layout);
	put_osc(out);
	put_prt(out, layout);
	aml_end(out, device);
}

/* The ECAM has to be reserved by a motherboard resource, or the guest does not use it. */
static void put_board(struct aml *out, const struct arch_layout *layout)
{
	size_t device = aml_device(out, "BORD");
	size_t list;

	aml_define_eisa_id(out, "_HID", "PNP0C02");
	aml_define_integer(out, "_UID", 0);
	aml_define(out, "_CRS");
	list = aml_resources(out);
	aml_memory_fixed(out, (uint32_t)layout->ecam.base, (uint32_t)layout->ecam.size);
	aml_memory_fixed(out, (uint32_t)layout->power.base, (uint32_t)layout->power.size);
	aml_end_resources(out, list);
	aml_end(out, device);
}

static void put_uart(struct aml *out, const struct arch_device *uart)
{
	size_t device = aml_device(out, "COM1");
	size_t list;

	aml_define_eisa_id(out, "_HID", "PNP0501");
	aml_define_integer(out, "_UID", 1);
	aml_define(out, "_CRS");
	list = aml_resources(out);
	aml_io(out, (uint16_t)uart->base, (uint8_t)uart->size);
	aml_interrupt_edge(out, uart->gsi);
	aml_end_resources(out, list);
	aml_end(out, device);
}

static void put_panic(struct aml *out, const struct arch_device *panic)
{
	size_t device = aml_device(out, "PANC");
	size_t list;

	aml_define_string(out, "_HID", "QEMU0001");
	aml_define(out, "_CRS");
	list = aml_resources(out);
	aml_io(out, (uint16_t)panic->base, (uint8_t)panic->size);
	aml_end_resources(out, list);
	aml_end(out, device);
}

/*
 * The power button, 4.8.3.2, notified by a Generic Event Device, 5.6.9.2. Reading the status clears
 * it, so an event is told once.
 */
static void put_power(struct aml *out, const struct arch_device *power)
{
	size_t device, list, method, block;

	device = aml_device(out, "PWRB");
	aml_define_eisa_id(out, "_HID", "PNP0C0C");
	aml_end(out, device);

	device = aml_device(out, "GED0");
	aml_define_string(out, "_HID", "ACPI0013");
	aml_define_integer(out, "_UID", 0);
	aml_define(out, "_CRS");
	list = aml_resources(out);
	aml_interrupt_edge(out, power->gsi);
	aml_end_resources(out, list);

	aml_put(out, 0x805b, 2); /* OperationRegion (PWRR, SystemMemory, ...) */
	aml_name(out, "PWRR");
	aml_put(out, 0, 1);
	aml_integer(out, power->base);
	aml_integer(out, POWER_SIZE);
	aml_put(out, 0x815b, 2); /* Field (PWRR, DWordAcc, NoLock, Preserve) {EVNT, 32} */
	aml_put(out, 11, 1);     /* the length, with itself */
	aml_name(out, "PWRR");
	aml_put(out, 3, 1);
	aml_name(out, "EVNT");
	aml_put(out, 32, 1);

	method = aml_method(out, "_EVT", 1, true);
	aml_put(out, AML_STORE, 1);
	aml_name(out, "EVNT");
	aml_put(out, AML_LOCAL0, 1);
	block = aml_if(out); /* If (Local0 & button) */
	aml_put(out, AML_AND, 1);
	aml_put(out, AML_LOCAL0, 1);
	aml_integer(out, POWER_EVENT_BUTTON);
	aml_put(out, AML_ZERO, 1); /* no target */
	aml_put(out, AML_NOTIFY, 1);
	aml_name(out, "PWRB");
	aml_integer(out, 0x80);
	aml_end(out, block);
	aml_end(out, method);
	aml_end(out, device);
}

/*
 * No processor devices: the MADT says all there is to say, and Linux without frequency scaling would
 * warn of each.
 */
static size_t put_dsdt(struct aml *out, const struct arch_machine *machine)
{
	size_t start = table_begin(out, "DSDT", 2);
	size_t scope = aml_scope_root(out, "_SB_");
	size_t package;

	put_host_bridge(out, machine->layout);
	put_board(out, machine->layout);
	if (machine->uart)
		put_uart(out, &machine->layout->uart);
	if (machine->panic)
		put_panic(out, &machine->layout->panic);
	put_power(out, &machine->layout->power);
	aml_end(out, scope);

	aml_define(out, "_S5_"); /* at the root: the sleep type that powers off */
	package = aml_package(out, 4);
	aml_integer(out, POWER_SLEEP_TYPE);
	aml_integer(out, 0);
	aml_integer(out, 0);
	aml_integer(out, 0);
	aml_end(out, package);
	return table_end(out, start);
}

static size_t put_xsdt(struct aml *out, const uint64_t *tables, unsigned count)
{
	size_t start = table_begin(out, "XSDT", 1);

	for (unsigned i = 0; i < count; i++)
		aml_put(out, tables[i], 8);
	return table_end(out, start);
}

/* 5.2.5.3 */
static void put_rsdp(uint8_t *bytes, uint64_t xsdt)
{
	struct aml out = {.bytes = bytes, .size = RSDP_SIZE};

	aml_bytes(&out, "RSD PTR ", 8);
	aml_put(&out, 0, 1);
	aml_bytes(&out, "SLUICE", 6);
	aml_put(&out, 2, 1);
	aml_put(&out, 0, 4); /* no RSDT */
	aml_put(&out, RSDP_SIZE, 4);
	aml_put(&out, xsdt, 8);
	aml_put(&out, 0, 4);
	bytes[8] = checksum(bytes, 20);
	bytes[32] = checksum(bytes, RSDP_SIZE);
}

int acpi_tables_build(const struct arch_machine *machine, uint64_t base, uint8_t *bytes,
		      size_t size, size_t *used)
{
	struct aml out = {.bytes = bytes, .size = size};
	uint64_t tables[3], dsdt, xsdt;

	skip_to(&out, RSDP_SIZE); /* written last, when the XSDT's address is known */
	dsdt = base + put_dsdt(&out, machine);
	tables[0] = base + put_fadt(&out, machine, dsdt);
	tables[1] = base + put_madt(&out, machine);
	tables[2] = base + put_mcfg(&out, machine);
	xsdt = base + put_xsdt(&out, tables, 3);
	if (out.overflow)
		return -ENOSPC;
	put_rsdp(bytes, xsdt);
	*used = out.used;
	return 0;
}
