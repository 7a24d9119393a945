// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/print.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define RESET "\033[0m"

bool check_use_color(FILE *out, bool forbidden)
{
	const char *no_color = getenv("NO_COLOR");
	const char *terminal = getenv("TERM");

	return !forbidden && (!no_color || !*no_color) && isatty(fileno(out)) &&
	       (!terminal || strcmp(terminal, "dumb") != 0);
}

const char *check_device_name(const struct check_facts *facts)
{
	return facts->pci && facts->address ? facts->address : facts->name;
}

const char *check_state_name(enum check_state state)
{
	static const char *const names[] = {
		[CHECK_READY] = "ready",
		[CHECK_NEEDS_BIND] = "needs-bind",
		[CHECK_NEEDS_BIND_GROUP] = "needs-bind-group",
		[CHECK_IN_USE] = "in-use",
		[CHECK_BLOCKED] = "blocked",
	};

	return names[state];
}

/* "0000:01:00.0  NVMe controller 1b36:0010, driver nvme, IOMMU group 12" */
static void print_header(FILE *out, const struct check_facts *facts, bool color)
{
	fprintf(out, "%s%s%s", color ? "\033[1m" : "", check_device_name(facts),
		color ? RESET : "");
	if (facts->pci)
		fprintf(out, "  %s %04x:%04x", check_class_name(facts->class_code), facts->vendor,
			facts->device);
	if (facts->found)
		fprintf(out, ", driver %s, IOMMU group %s", facts->driver ? facts->driver : "none",
			facts->iommu_group ? facts->iommu_group : "none");
	fputc('\n', out);
}

unsigned check_width(FILE *out)
{
	struct winsize size;

	if (!isatty(fileno(out)) || ioctl(fileno(out), TIOCGWINSZ, &size) < 0)
		return 0;
	return size.ws_col;
}

/* Where the sentence of a finding begins, and its remedies. */
#define TEXT_COLUMN   22
#define REMEDY_COLUMN 26

/* @text from TEXT_COLUMN on, broken at blanks so that it ends before @width. */
static void print_wrapped(FILE *out, const char *text, unsigned width)
{
	size_t room = width > TEXT_COLUMN + 20 ? width - TEXT_COLUMN - 1 : SIZE_MAX;

	while (strlen(text) > room) {
		size_t cut = room;

		while (cut > 0 && text[cut] != ' ')
			cut--;
		if (cut == 0)
			cut = strcspn(text, " ");
		if (!text[cut])
			break;
		fprintf(out, "%.*s\n%*s", (int)cut, text, TEXT_COLUMN, "");
		text += cut + 1;
	}
	fprintf(out, "%s\n", text);
}

static void print_finding(FILE *out, const struct check_finding *finding,
			  const struct check_style *style)
{
	static const struct {
		char name[9], color[8];
	} marks[] = {
		[CHECK_OK] = {"ok", "\033[32m"},
		[CHECK_WARNING] = {"warning", "\033[33m"},
		[CHECK_OBSTACLE] = {"obstacle", "\033[1;31m"},
	};

	fprintf(out, "  %s%-8s%s  %-8s  ", style->color ? marks[finding->severity].color : "",
		marks[finding->severity].name, style->color ? RESET : "", finding->subject);
	print_wrapped(out, finding->text, style->width);
	/* A command stays whole, so that it can be copied. */
	for (size_t i = 0; i < finding->remedy_count; i++)
		fprintf(out, "%*s%s\n", REMEDY_COLUMN, "", finding->remedies[i]);
}

void check_print(FILE *out, const struct check_facts *facts, const struct check_report *report,
		 const struct check_style *style)
{
	const char *name = check_device_name(facts);

	print_header(out, facts, style->color);
	for (size_t i = 0; i < report->count; i++) {
		if (style->verbose || report->findings[i].severity != CHECK_OK)
			print_finding(out, &report->findings[i], style);
	}
	if (report->obstacles) {
		fprintf(out, "not ready: %u obstacle%s", report->obstacles,
			report->obstacles == 1 ? "" : "s");
		if (report->warnings)
			fprintf(out, ", %u warning%s", report->warnings,
				report->warnings == 1 ? "" : "s");
		fputc('\n', out);
		return;
	}
	fprintf(out, "ready: sluice run --vfio %s%s ...\n", name,
		facts->has_token ? ",token=UUID" : "");
}

/* ---- JSON ------------------------------------------------------------------------------------ */

static json_t *text_or_null(const char *text)
{
	/* What comes from outside need not be UTF-8 (a command's name). */
	json_t *value = text ? json_string(text) : NULL;

	return value ? value : json_null();
}

static json_t *tri(enum check_tri value)
{
	return value == CHECK_UNKNOWN ? json_null() : json_pack("b", value == CHECK_YES);
}

static const char *id(uint16_t value, char out[5])
{
	snprintf(out, 5, "%04x", value);
	return out;
}

/* What JSON's readers could not hold is cut. */
static json_int_t cut(uint64_t value)
{
	return value > INT64_MAX ? INT64_MAX : (json_int_t)value;
}

static json_t *findings_json(const struct check_report *report)
{
	static const char *const severities[] = {
		[CHECK_OK] = "ok",
		[CHECK_WARNING] = "warning",
		[CHECK_OBSTACLE] = "obstacle",
	};
	json_t *list = json_array();

	for (size_t i = 0; i < report->count; i++) {
		const struct check_finding *finding = &report->findings[i];
		json_t *remedies = json_array();

		for (size_t j = 0; j < finding->remedy_count; j++)
			json_array_append_new(remedies, text_or_null(finding->remedies[j]));
		json_array_append_new(list, json_pack("{ss ss ss so sb so}", "severity",
						      severities[finding->severity], "code",
						      finding->code, "subject", finding->subject,
						      "text", text_or_null(finding->text), "host",
						      (int)finding->host, "remedies", remedies));
	}
	return list;
}

static json_t *bars_json(const struct check_facts *facts)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < CHECK_BARS; i++) {
		const struct check_resource *bar = &facts->bars[i];

		if (!bar->size)
			continue;
		json_array_append_new(
			list, json_pack("{si sI ss sb sb sb}", "index", (int)i, "size",
					(json_int_t)bar->size, "kind",
					bar->flags & CHECK_RESOURCE_IO ? "io" : "memory", "64bit",
					(int)(bar->flags & CHECK_RESOURCE_MEM64), "prefetchable",
					(int)(bar->flags & CHECK_RESOURCE_PREFETCH), "assigned",
					(int)!(bar->flags & CHECK_RESOURCE_UNSET)));
	}
	return list;
}

static json_t *group_json(const struct check_facts *facts)
{
	json_t *members = json_array(), *reserved = json_array();

	for (size_t i = 0; i < facts->member_count; i++)
		json_array_append_new(members,
				      json_pack("{ss ss? sb sb}", "device", facts->members[i].name,
						"driver", facts->members[i].driver, "vfio",
						(int)!!facts->members[i].vfio_name, "bridge",
						(int)facts->members[i].bridge));
	for (size_t i = 0; i < facts->reserved_count; i++)
		json_array_append_new(reserved,
				      json_pack("{sI sI ss}", "first",
						(json_int_t)facts->reserved[i].first, "last",
						(json_int_t)facts->reserved[i].last, "type",
						facts->reserved[i].type));
	return json_pack("{ss? ss? so so}", "number", facts->iommu_group, "type", facts->group_type,
			 "members", members, "reserved", reserved);
}

static json_t *users_json(const struct check_facts *facts)
{
	json_t *list = json_array();

	for (size_t i = 0; i < facts->process_count; i++)
		json_array_append_new(list,
				      json_pack("{si so ss}", "pid", facts->processes[i].pid,
						"name", text_or_null(facts->processes[i].name),
						"node", facts->processes[i].node));
	return list;
}

static json_t *launch_json(const struct check_facts *facts)
{
	const struct check_rehearsal *r = &facts->rehearsal;

	if (!r->done)
		return json_null();
	return json_pack("{sb sb si sb sb sb si si sI sI}", "reset", (int)r->can_reset, "migration",
			 (int)r->migratable, "migration_flags", (int)r->migration_flags,
			 "device_dirty_log", (int)r->dma_logging, "iommu_dirty_log",
			 (int)r->hw_dirty, "dma_buf", (int)r->dma_buf, "iommu_type",
			 (int)r->hw_type, "pasid_bits", (int)r->pasid_bits, "iova_bytes",
			 cut(r->iova_usable), "iova_last", cut(r->iova_last));
}

static json_t *features_json(const struct check_facts *facts)
{
	if (!facts->iommufd_probed)
		return json_null();
	return json_pack("{sb sb sb sb sb}", "map_file",
			 (int)(facts->iommufd_features & CHECK_IOMMUFD_MAP_FILE), "dirty",
			 (int)(facts->iommufd_features & CHECK_IOMMUFD_DIRTY), "fault",
			 (int)(facts->iommufd_features & CHECK_IOMMUFD_FAULT), "pasid",
			 (int)(facts->iommufd_features & CHECK_IOMMUFD_PASID), "viommu",
			 (int)(facts->iommufd_features & CHECK_IOMMUFD_VIOMMU));
}

static json_t *number_or_null(bool known, uint64_t value)
{
	return known ? json_integer((json_int_t)value) : json_null();
}

static json_t *device_json(const struct check_facts *facts)
{
	const struct check_rehearsal *r = &facts->rehearsal;
	bool vectors = facts->pci && (r->has_irqs || facts->config_whole);
	char ids[4][5];

	if (!facts->found)
		return json_null();
	/* What only PCI devices have is at the end, where the shorter format leaves it out. */
	return json_pack(
		facts->pci ? "{ss ss sb ss? so ss? so so si ss ss ss ss si ss ss? si ss? ss? so sI "
			     "so so}"
			   : "{ss ss sb ss? so ss? so so si}",
		"address", facts->address, "sysfs", facts->sysfs, "pci", (int)facts->pci, "driver",
		facts->driver, "driver_override", text_or_null(facts->driver_override), "node",
		facts->cdev.path, "group", group_json(facts), "users", users_json(facts),
		"numa_node", facts->numa_node,
		/* PCI */
		"vendor_id", id(facts->vendor, ids[0]), "device_id", id(facts->device, ids[1]),
		"subsystem_vendor_id", id(facts->subsystem_vendor, ids[2]), "subsystem_id",
		id(facts->subsystem_device, ids[3]), "class", (int)facts->class_code, "class_name",
		check_class_name(facts->class_code), "physical_function", facts->physfn,
		"virtual_functions", (int)facts->sriov_vfs, "reset_methods", facts->reset_methods,
		"power_state", facts->power_state, "bars", facts->pci ? bars_json(facts) : NULL,
		"rom_size", (json_int_t)facts->rom.size, "msi",
		number_or_null(vectors, r->has_irqs ? r->msi : facts->msi), "msix",
		number_or_null(vectors, r->has_irqs ? r->msix : facts->msix));
}

json_t *check_json(const struct check_facts *facts, const struct check_report *report)
{
	json_t *host = json_pack(
		"{ss? sb sb sb so sb so so so sI}", "kernel", facts->kernel, "kvm",
		(int)facts->kvm.access, "iommufd",
		(int)(facts->iommufd_present && (facts->iommu.access || facts->iommufd_by_fd)),
		"iommu", (int)facts->iommu_any, "msi_isolated", tri(facts->msi_isolated),
		"ipc_lock", (int)facts->ipc_lock, "memlock",
		number_or_null(facts->memlock_soft <= INT64_MAX, facts->memlock_soft),
		"iommufd_features", features_json(facts), "user", text_or_null(facts->user),
		"memory_needed", cut(facts->memory));

	return json_pack("{si ss sb si si so so so so}", "version", 1, "name", facts->name, "ready",
			 (int)(report->obstacles == 0), "obstacles", (int)report->obstacles,
			 "warnings", (int)report->warnings, "findings", findings_json(report),
			 "device", device_json(facts), "host", host, "launch", launch_json(facts));
}

int check_json_write(FILE *out, json_t *document)
{
	char *text = json_dumps(document, JSON_INDENT(2));
	int ret = text ? 0 : -ENOMEM;

	if (text && fprintf(out, "%s\n", text) < 0)
		ret = -EIO;
	free(text);
	json_decref(document);
	return ret;
}
