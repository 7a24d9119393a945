// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/check.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "devices/vfio/check/list.h"
#include "devices/vfio/provider.h"

static const char help[] =
	"usage: sluice list [OPTION]...\n"
	"\n"
	"Show the PCI devices that could be passed through, and what each of them lacks, and\n"
	"which devices that are none of the host's --vfio takes (soft:NAME, user:PATH).\n"
	"\n"
	"  --all\tbridges and devices of the host's chipset, too\n"
	"  --json\tfor programs; see docs/check.md\n"
	"  --no-color\tno colors on a terminal either\n";

/*
 * Bridges stay with the host; what has no BAR has nothing to pass (the memory controllers and
 * system peripherals of a chipset).
 */
static bool worth_showing(const struct check_facts *facts)
{
	if (facts->bridge || facts->class_code >> 16 == 0x06)
		return false;
	for (unsigned i = 0; i < CHECK_BARS; i++) {
		if (facts->bars[i].size)
			return true;
	}
	return facts->vfio;
}

int check_list_gather(struct check_arena *arena, const char *root, bool all,
		      struct check_list_of *list)
{
	const struct check_source source = {.arena = arena, .root = root};
	struct check_request request = {
		.root = root,
		.name = "",
		.memory.size = MEMORY_DEFAULT,
		.iommufd = -1,
	};
	struct host_list names;
	struct check_facts host;
	int ret;

	*list = (struct check_list_of){.count = 0};
	ret = check_gather_host(arena, &request, &host);
	if (ret < 0)
		return ret;
	names = check_list(&source, "/sys/bus/pci/devices");
	for (size_t i = 0; i < names.count && ret == 0; i++) {
		struct check_listed *listed;
		struct check_facts facts = host;

		request.name = check_string(arena, names.names[i]);
		if (!request.name || vfio_name_parse(request.name, &request.parsed) < 0)
			continue;
		facts.name = request.name;
		ret = check_gather_device(arena, &request, &facts);
		if (ret < 0 || !facts.found || (!all && !worth_showing(&facts)))
			continue;
		listed =
			check_append(arena, (void **)&list->devices, &list->count, sizeof(*listed));
		if (!listed) {
			ret = -ENOMEM;
			break;
		}
		listed->facts = facts;
		ret = check_judge(arena, &facts, &listed->report);
		listed->state = check_state(&listed->report, &listed->reason);
	}
	host_list_free(&names);
	return ret;
}

/* The first obstacle of the host: the same for all, so it is said once. */
static const struct check_finding *host_obstacle(const struct check_list_of *list)
{
	for (size_t i = 0; i < list->count; i++) {
		const struct check_report *report = &list->devices[i].report;

		for (size_t j = 0; j < report->count; j++) {
			if (report->findings[j].host &&
			    report->findings[j].severity == CHECK_OBSTACLE)
				return &report->findings[j];
		}
	}
	return NULL;
}

static int width_of(int least, const char *text)
{
	int length = text ? (int)strlen(text) : 0;

	return length > least ? length : least;
}

/* What any host has: the providers' names, which need neither binding nor an IOMMU. */
static void print_named(FILE *out)
{
	int width = 0;

	for (unsigned i = 0; vfio_providers[i]; i++) {
		for (const struct vfio_named *n = vfio_providers[i]->named; n && n->name; n++)
			width = width_of(width, n->name);
	}
	fputs("\nOn any host --vfio also takes\n", out);
	for (unsigned i = 0; vfio_providers[i]; i++) {
		for (const struct vfio_named *n = vfio_providers[i]->named; n && n->name; n++)
			fprintf(out, "  %-*s  %s\n", width, n->name, n->what);
	}
}

void check_list_print(FILE *out, const struct check_list_of *list, bool color)
{
	static const char *const states[] = {
		[CHECK_READY] = "ready",
		[CHECK_NEEDS_BIND] = "needs bind",
		[CHECK_NEEDS_BIND_GROUP] = "needs bind --group",
		[CHECK_IN_USE] = "",
		[CHECK_BLOCKED] = "blocked: ",
	};
	static const char colors[][6] = {
		[CHECK_READY] = "\033[32m",    [CHECK_NEEDS_BIND] = "",
		[CHECK_NEEDS_BIND_GROUP] = "", [CHECK_IN_USE] = "\033[33m",
		[CHECK_BLOCKED] = "\033[31m",
	};
	int address = 12, class = 5, driver = 6;
	const struct check_finding *host = host_obstacle(list);

	for (size_t i = 0; i < list->count; i++) {
		const struct check_facts *f = &list->devices[i].facts;

		address = width_of(address, f->address);
		class = width_of(class, check_class_name(f->class_code));
		driver = width_of(driver, f->driver);
	}
	if (list->count)
		fprintf(out, "%-*s  %-*s  %-9s  %-*s  %-5s  %s\n", address, "ADDRESS", class,
			"CLASS", "ID", driver, "DRIVER", "GROUP", "STATE");
	for (size_t i = 0; i < list->count; i++) {
		const struct check_listed *listed = &list->devices[i];
		const struct check_facts *f = &listed->facts;

		fprintf(out, "%-*s  %-*s  %04x:%04x  %-*s  %-5s  %s%s%s%s\n", address, f->address,
			class, check_class_name(f->class_code), f->vendor, f->device, driver,
			f->driver ? f->driver : "-", f->iommu_group ? f->iommu_group : "-",
			color ? colors[listed->state] : "", states[listed->state],
			listed->reason ? listed->reason->text : "", color ? "\033[0m" : "");
	}
	if (list->count == 0)
		fputs("this host has no PCI devices to pass through\n", out);
	if (host)
		fprintf(out, "No launch with one of these will work on this host yet: %s\n",
			host->text);
	print_named(out);
}

static json_t *named_json(void)
{
	json_t *list = json_array();

	for (unsigned i = 0; vfio_providers[i]; i++) {
		for (const struct vfio_named *n = vfio_providers[i]->named; n && n->name; n++) {
			json_t *keys = json_array();

			for (unsigned k = 0; n->keys[k]; k++)
				json_array_append_new(keys, json_string(n->keys[k]));
			json_array_append_new(list,
					      json_pack("{ss ss ss so}", "name", n->name,
							"provider", vfio_providers[i]->name,
							"description", n->what, "keys", keys));
		}
	}
	return list;
}

json_t *check_list_json(const struct check_list_of *list)
{
	const struct check_finding *host = host_obstacle(list);
	json_t *devices = json_array();

	for (size_t i = 0; i < list->count; i++) {
		const struct check_listed *listed = &list->devices[i];
		const struct check_facts *f = &listed->facts;
		char vendor[8], device[8];

		snprintf(vendor, sizeof(vendor), "%04x", f->vendor);
		snprintf(device, sizeof(device), "%04x", f->device);
		json_array_append_new(
			devices,
			json_pack("{ss ss si ss ss ss? ss? ss? ss ss? ss?}", "address", f->address,
				  "class_name", check_class_name(f->class_code), "class",
				  (int)f->class_code, "vendor_id", vendor, "device_id", device,
				  "driver", f->driver, "group", f->iommu_group, "node",
				  f->cdev.path, "state", check_state_name(listed->state),
				  "reason_code", listed->reason ? listed->reason->code : NULL,
				  "reason", listed->reason ? listed->reason->text : NULL));
	}
	return json_pack("{si so so ss? ss?}", "version", 1, "devices", devices, "named",
			 named_json(), "host_obstacle_code", host ? host->code : NULL,
			 "host_obstacle", host ? host->text : NULL);
}

static int run(struct check_arena *arena, const struct check_options *options)
{
	struct check_list_of list;
	int ret = check_list_gather(arena, "", options->all, &list);

	if (ret < 0)
		return ret;
	if (options->json)
		return check_json_write(stdout, check_list_json(&list));
	check_list_print(stdout, &list, check_use_color(stdout, options->no_color));
	return 0;
}

int list_main(int argc, char **argv)
{
	return check_command(argc, argv, CHECK_TAKES_JSON | CHECK_TAKES_ALL | CHECK_TAKES_COLOR,
			     help, run);
}
