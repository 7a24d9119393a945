// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "arch/arch.h"
#include "arch/x86/tables.h"

#define BASE 0xe0000

static uint8_t bytes[128 << 10];
static size_t used;
static struct arch_layout layout;

static void build(unsigned cpus, bool all)
{
	const struct arch_layout_request request = {
		.memory = 6ull << 30, .alignment = 4096, .address_bits = 46};
	const struct arch_machine machine = {
		.layout = &layout, .cpus = cpus, .uart = all, .panic = all};

	cr_assert_eq(arch_plan_layout(&request, &layout), 0);
	memset(bytes, 0xee, sizeof(bytes));
	cr_assert_eq(acpi_tables_build(&machine, BASE, bytes, sizeof(bytes), &used), 0);
}

static uint64_t get(const uint8_t *at, unsigned size)
{
	uint64_t value = 0;

	memcpy(&value, at, size);
	return value;
}

static uint8_t sum(const uint8_t *at, size_t size)
{
	uint8_t total = 0;

	for (size_t i = 0; i < size; i++)
		total = (uint8_t)(total + at[i]);
	return total;
}

/* Follow RSDP, XSDT and FADT to the table with @signature, checking all on the way. */
static const uint8_t *find(const char *signature)
{
	const uint8_t *xsdt = bytes + get(bytes + 24, 8) - BASE;
	const uint8_t *found = NULL;
	unsigned count;

	cr_assert_arr_eq(bytes, "RSD PTR ", 8);
	cr_assert_eq(sum(bytes, 20), 0);
	cr_assert_eq(sum(bytes, 36), 0);
	cr_assert_arr_eq(xsdt, "XSDT", 4);
	count = (unsigned)(get(xsdt + 4, 4) - 36) / 8;
	cr_assert_eq(count, 3);
	for (unsigned i = 0; i <= count; i++) {
		const uint8_t *table = i == count ? xsdt : bytes + get(xsdt + 36 + 8 * i, 8) - BASE;

		cr_assert_leq(table + get(table + 4, 4), bytes + used);
		cr_assert_eq(sum(table, get(table + 4, 4)), 0, "checksum of %.4s", table);
		cr_assert_eq((table - bytes) % 16, 0);
		if (memcmp(table, signature, 4) == 0)
			found = table;
		if (memcmp(table, "FACP", 4) == 0 && strcmp(signature, "DSDT") == 0)
			found = bytes + get(table + 140, 8) - BASE;
	}
	cr_assert_not_null(found, "%s", signature);
	if (strcmp(signature, "DSDT") == 0)
		cr_assert_eq(sum(found, get(found + 4, 4)), 0);
	return found;
}

Test(acpi, tables_hang_together)
{
	build(2, true);
	find("FACP");
	find("DSDT");
	cr_assert_lt(used, 0x20000);
}

Test(acpi, fadt_is_hardware_reduced_with_reset_and_sleep_registers)
{
	const uint8_t *fadt;

	build(1, true);
	fadt = find("FACP");
	cr_assert_eq(get(fadt + 4, 4), 276);
	cr_assert_eq(get(fadt + 112, 4) & (1u << 20 | 1u << 10), 1u << 20 | 1u << 10);
	cr_assert_eq(fadt[116], 0);
	cr_assert_eq(get(fadt + 120, 8), layout.power.base + 10);
	cr_assert_eq(fadt[128], 0x42);
	cr_assert_eq(get(fadt + 248, 8), layout.power.base + 8);
	cr_assert_eq(get(fadt + 260, 8), layout.power.base + 9);
	cr_assert_arr_eq(fadt + 268, "sluice\0", 8);
}

Test(acpi, madt_names_every_processor_once)
{
	static const unsigned counts[] = {1, 2, 8, 254, 300};

	for (unsigned c = 0; c < sizeof(counts) / sizeof(counts[0]); c++) {
		const uint8_t *madt, *entry;
		bool seen[512] = {false};
		unsigned cpus = 0, ioapics = 0;

		build(counts[c], true);
		madt = find("APIC");
		for (entry = madt + 44; entry < madt + get(madt + 4, 4); entry += entry[1]) {
			uint64_t id = entry[0] == 0 ? entry[3] : get(entry + 4, 4);

			cr_assert_geq(entry[1], 8);
			if (entry[0] == 1) {
				ioapics++;
				continue;
			}
			cr_assert(entry[0] == (id < 255 ? 0 : 9));
			cr_assert_not(seen[id]);
			seen[id] = true;
			cpus++;
		}
		cr_assert_eq(cpus, counts[c]);
		cr_assert_eq(ioapics, 1);
	}
}

Test(acpi, mcfg_covers_the_ecam)
{
	const uint8_t *mcfg;

	build(1, true);
	mcfg = find("MCFG");
	cr_assert_eq(get(mcfg + 4, 4), 60);
	cr_assert_eq(get(mcfg + 44, 8), layout.ecam.base);
	cr_assert_eq(mcfg[54], 0);
	cr_assert_eq(mcfg[55], 255);
}

Test(acpi, no_room_is_an_error_at_every_size_and_nothing_is_overrun)
{
	const struct arch_machine machine = {
		.layout = &layout, .cpus = 1, .uart = true, .panic = true};
	size_t whole, now;

	build(1, true);
	whole = used;
	for (size_t size = 0; size < whole; size += 7) {
		uint8_t *room = malloc(size ? size : 1);

		cr_assert_eq(acpi_tables_build(&machine, BASE, room, size, &now), -ENOSPC);
		free(room);
	}
	cr_assert_eq(acpi_tables_build(&machine, BASE, bytes, whole, &now), 0);
	cr_assert_eq(now, whole);
}

static int run(const char *directory, const char *format, const char *name)
{
	char command[512], tail[256];

	snprintf(tail, sizeof(tail), format, name, name);
	snprintf(command, sizeof(command), "cd %s && %s >%s.log 2>&1", directory, tail, name);
	return system(command);
}

static void slurp(const char *directory, const char *name, char *text, size_t size)
{
	char path[512];
	FILE *f;
	size_t n;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	f = fopen(path, "r");
	cr_assert_not_null(f, "%s", path);
	n = fread(text, 1, size - 1, f);
	text[n] = '\0';
	fclose(f);
}

/* iasl takes every table apart and puts it together again without an error or a warning. */
Test(acpi, iasl_disassembles_and_recompiles_every_table, .timeout = 60)
{
	static const char *const names[] = {"FACP", "APIC", "MCFG", "DSDT"};
	char directory[] = "/tmp/acpi_test.XXXXXX";
	static char text[1 << 18];
	char path[512];

	if (system("iasl -v >/dev/null 2>&1") != 0)
		cr_skip_test("iasl is not here (package acpica-tools)");
	cr_assert_not_null(mkdtemp(directory));
	for (unsigned all = 0; all <= 1; all++) {
		build(all ? 5 : 1, all);
		for (unsigned i = 0; i < 4; i++) {
			const uint8_t *table = find(names[i]);
			FILE *f;

			snprintf(path, sizeof(path), "%s/%s.aml", directory, names[i]);
			f = fopen(path, "w");
			cr_assert_not_null(f);
			fwrite(table, 1, get(table + 4, 4), f);
			fclose(f);
			cr_assert_eq(run(directory, "iasl -d %s.aml", names[i]), 0);
			cr_assert_eq(run(directory, "iasl %s.dsl", names[i]), 0);
			snprintf(path, sizeof(path), "%s.log", names[i]);
			slurp(directory, path, text, sizeof(text));
			cr_assert_not_null(strstr(text, "Compilation successful. 0 Errors, 0 Warn"),
					   "%s", text);
		}
		slurp(directory, "DSDT.dsl", text, sizeof(text));
		cr_assert_not_null(strstr(text, "EisaId (\"PNP0A08\")"));
		cr_assert_not_null(strstr(text, "33db4d5b-1ff7-401c-9657-7441c03dd766"));
		cr_assert_eq(strstr(text, "0x03F8") != NULL, all);
		cr_assert_eq(strstr(text, "PNP0501") != NULL, all);
		cr_assert_eq(strstr(text, "QEMU0001") != NULL, all);
		cr_assert_not_null(strstr(text, "Notify (PWRB, 0x80)"));
	}
	snprintf(path, sizeof(path), "rm -r %s", directory);
	cr_assert_eq(system(path), 0);
}
