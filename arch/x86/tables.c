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
#define FADT_FLAG_WBINVD      (1u << 0)
#define FADT_FLAG_PWR_BUTTON  (1u << 4) /* the button is a device, not fixed hardware */
#define FADT_FLAG_SLP_BUTTON  (1u << 5)
#define FADT_FLAG_RESET       (1u << 10)
#define FADT_FLAG_HW_REDUCED  (1u << 20)
#define FADT_BOOT_NO_VGA      (1u << 2)
#define FADT_BOOT_NO_CMOS_RTC (1u << 5)

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
	/* who made it, what for, their revision; and who compiled it */
	aml_code(out, "SLUICE"
		      "MICROVM "
		      "\x01\x00\x00\x00"
		      "SLCE"
		      "\x01\x00\x00\x00");
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

/* A register address, 5.2.3.2: one byte in system memory. */
static void generic_address(struct aml *out, uint64_t address)
{
	aml_code(out, "\x00\x08\x00\x01");
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
	aml_code(out, "sluice\x00\x00"); /* hypervisor vendor identity */
	return table_end(out, start);
}

/* Local APICs, 5.2.12.2; from id 255 on x2APICs, 5.2.12.12; one I/O APIC, 5.2.12.3. */
static size_t put_madt(struct aml *out, const struct arch_machine *machine)
{
	size_t start = table_begin(out, "APIC", 5);

	aml_put(out, LAPIC_BASE, 8); /* and no flags: there is no 8259 */
	for (unsigned i = 0; i < machine->cpus; i++) {
		if (i < 255) {
			aml_code(out, "\x00\x08");
			aml_put(out, i | i << 8, 2);
			aml_put(out, 1, 4); /* enabled */
		} else {
			aml_code(out, "\x09\x10\x00\x00");
			aml_put(out, i, 4);
			aml_put(out, 1, 4);
			aml_put(out, i, 4);
		}
	}
	aml_code(out, "\x01\x0c\x00\x00");
	aml_put(out, IOAPIC_BASE, 8); /* its first GSI is 0 */
	return table_end(out, start);
}

/* PCI Firmware Specification 3.3, 4.1.2 */
static size_t put_mcfg(struct aml *out, const struct arch_machine *machine)
{
	size_t start = table_begin(out, "MCFG", 1);

	aml_put(out, 0, 8);
	aml_put(out, machine->layout->ecam.base, 8);
	aml_put(out, 0, 3); /* segment 0, from bus 0 on */
	aml_put(out, machine->layout->bus_count - 1, 1);
	aml_put(out, 0, 4);
	return table_end(out, start);
}

/* ---- DSDT: what is the same in every machine ----------------------------------------------------- */

/* clang-format off */
static const char host_bridge[] =
	AML_DEVICE("PCI0")
	AML_NAME("_HID", AML_PNP("\x0a", "\x08"))
	AML_NAME("_CID", AML_PNP("\x0a", "\x03"))
	AML_NAME("_SEG", AML_ZERO)
	AML_NAME("_BBN", AML_ZERO)
	AML_NAME("_UID", AML_ZERO)
	/* What it passes on. There are no configuration ports: the ECAM is all. */
	AML_NAME("_CRS", AML_RESOURCES);

/*
 * PCI Firmware Specification 3.3, 4.5.1: the guest runs hotplug, power events, errors and the PCIe
 * capability by itself; the hot plug of conventional bridges (bit 1) and the rest are not there.
 */
#define OSC_GRANTED             "\x1d" /* bits 0, 2, 3, 4 */
#define OSC_UNRECOGNIZED_UUID   "\x04"
#define OSC_UNKNOWN_REVISION    "\x08"
#define OSC_CAPABILITIES_MASKED "\x10"
#define OSC_SAY(bit)            AML_OR("CDW1", AML_BYTE(bit), "CDW1")
/* 33DB4D5B-1FF7-401C-9657-7441C03DD766, the first three fields little-endian */
#define OSC_PCI "\x5b\x4d\xdb\x33" "\xf7\x1f" "\x1c\x40" "\x96\x57\x74\x41\xc0\x3d\xd7\x66"

static const char osc[] =
	AML_METHOD("_OSC", "\x0c", /* four arguments; one call at a time */
		AML_DWORD_FIELD(AML_ARG3, AML_ZERO, "CDW1")
		AML_IF(AML_EQUAL(AML_ARG0, AML_BUFFER_16(OSC_PCI)),
			AML_DWORD_FIELD(AML_ARG3, AML_BYTE("\x08"), "CDW3")
			AML_IF(AML_NOT(AML_EQUAL(AML_ARG1, AML_ONE)),
				OSC_SAY(OSC_UNKNOWN_REVISION))
			AML_AND("CDW3", AML_BYTE(OSC_GRANTED), AML_LOCAL0)
			AML_IF(AML_NOT(AML_EQUAL(AML_LOCAL0, "CDW3")),
				OSC_SAY(OSC_CAPABILITIES_MASKED))
			AML_STORE(AML_LOCAL0, "CDW3"))
		AML_ELSE(OSC_SAY(OSC_UNRECOGNIZED_UUID))
		AML_RETURN(AML_ARG3));

/* The ECAM has to be reserved by a motherboard resource, or the guest does not use it. */
static const char board[] =
	AML_DEVICE("BORD")
	AML_NAME("_HID", AML_PNP("\x0c", "\x02"))
	AML_NAME("_UID", AML_ZERO)
	AML_NAME("_CRS", AML_RESOURCES);

static const char uart[] =
	AML_DEVICE("COM1")
	AML_NAME("_HID", AML_PNP("\x05", "\x01"))
	AML_NAME("_UID", AML_ONE)
	AML_NAME("_CRS", AML_RESOURCES);

static const char panic[] =
	AML_DEVICE("PANC")
	AML_NAME("_HID", AML_STRING("QEMU0001"))
	AML_NAME("_CRS", AML_RESOURCES);

/*
 * The power button, 4.8.3.2, notified by a Generic Event Device, 5.6.9.2. Reading the status clears
 * it, so an event is told once.
 */
static const char power_button[] =
	AML_DEVICE("PWRB")
	AML_NAME("_HID", AML_PNP("\x0c", "\x0c"))
	AML_END
	AML_DEVICE("GED0")
	AML_NAME("_HID", AML_STRING("ACPI0013"))
	AML_NAME("_UID", AML_ZERO)
	AML_NAME("_CRS", AML_RESOURCES);

static const char power_region[] =
	"\x5b\x80" "PWRR" "\x00"; /* OperationRegion (PWRR, SystemMemory, address and size) */

static const char power_event[] =
	"\x5b\x81" "\x0b" "PWRR" "\x03" "EVNT" "\x20" /* Field (PWRR, DWordAcc) {EVNT, 32} */
	AML_METHOD("_EVT", "\x09", /* one argument; one call at a time */
		AML_STORE("EVNT", AML_LOCAL0)
		AML_IF(AML_AND(AML_LOCAL0, AML_ONE, AML_ZERO),
			AML_NOTIFY("PWRB", AML_BYTE("\x80"))))
	AML_END;

/* The sleep type that powers off. */
static const char sleep_off[] =
	AML_NAME("_S5_", AML_PACKAGE("\x04") AML_BYTE("\x05") AML_ZERO AML_ZERO AML_ZERO AML_END);
/* clang-format on */

_Static_assert(POWER_EVENT_STATUS == 0 && POWER_EVENT_BUTTON == 1 && POWER_SLEEP_TYPE == 5,
	       "power_event and sleep_off say so");

/* ---- DSDT: addresses, windows, pins ---------------------------------------------------------------- */

static void put_resources(struct aml *out, const struct arch_layout *layout)
{
	const struct pci_windows *windows = &layout->windows;

	aml_bus_range(out, 0, layout->bus_count - 1);
	if (windows->io.size != 0)
		aml_io_window(out, (uint32_t)windows->io.base, (uint32_t)windows->io.size);
	if (windows->mem32.size != 0)
		aml_memory_window(out, windows->mem32.base, windows->mem32.size);
	if (windows->mem64.size != 0)
		aml_memory_window(out, windows->mem64.base, windows->mem64.size);
	aml_end_resources(out);
}

/*
 * _PRT of the root bus, 6.2.13: INTA..INTD of device d arrive at the pins in turn, beginning with
 * d modulo 4. Behind a port the guest turns the pins itself by the same rule.
 */
static void put_prt(struct aml *out, const struct arch_layout *layout)
{
	aml_code(out, AML_NAME("_PRT", AML_PACKAGE("\x7c"))); /* 31 devices, 4 pins each */
	for (unsigned device = 1; device < 32; device++) {
		for (unsigned pin = 0; pin < 4; pin++) {
			aml_code(out, AML_PACKAGE("\x04"));
			aml_integer(out, device << 16 | 0xffff);
			aml_integer(out, pin);
			aml_integer(out, 0); /* a GSI, not a link device */
			aml_integer(out, layout->intx_gsi[(device + pin) % 4]);
			aml_code(out, AML_END);
		}
	}
	aml_code(out, AML_END);
}

static void put_ports(struct aml *out, const struct arch_device *device)
{
	aml_io(out, (uint16_t)device->base, (uint8_t)device->size);
}

static void put_devices(struct aml *out, const struct arch_machine *machine)
{
	const struct arch_layout *layout = machine->layout;

	aml_code(out, host_bridge);
	put_resources(out, layout);
	aml_code(out, osc);
	put_prt(out, layout);
	aml_code(out, AML_END);

	aml_code(out, board);
	aml_memory_fixed(out, (uint32_t)layout->ecam.base, (uint32_t)layout->ecam.size);
	aml_memory_fixed(out, (uint32_t)layout->power.base, (uint32_t)layout->power.size);
	aml_end_resources(out);
	aml_code(out, AML_END);

	if (machine->uart) {
		aml_code(out, uart);
		put_ports(out, &layout->uart);
		aml_interrupt_edge(out, layout->uart.gsi);
		aml_end_resources(out);
		aml_code(out, AML_END);
	}
	if (machine->panic) {
		aml_code(out, panic);
		put_ports(out, &layout->panic);
		aml_end_resources(out);
		aml_code(out, AML_END);
	}

	aml_code(out, power_button);
	aml_interrupt_edge(out, layout->power.gsi);
	aml_end_resources(out);
	aml_code(out, power_region);
	aml_integer(out, layout->power.base);
	aml_integer(out, POWER_SIZE);
	aml_code(out, power_event);
}

/*
 * No processor devices: the MADT says all there is to say, and Linux without frequency scaling would
 * warn of each.
 */
static size_t put_dsdt(struct aml *out, const struct arch_machine *machine)
{
	size_t start = table_begin(out, "DSDT", 2);

	aml_code(out, AML_SCOPE("_SB_"));
	put_devices(out, machine);
	aml_code(out, AML_END);
	aml_code(out, sleep_off);
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

	aml_code(&out, "RSD PTR \x00"
		       "SLUICE"
		       "\x02"
		       "\x00\x00\x00\x00"); /* revision 2, no RSDT */
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
