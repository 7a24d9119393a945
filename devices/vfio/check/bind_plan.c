// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/bind.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void bind_memory_format(const struct bind_memory *memory, char out[160])
{
	snprintf(out, 160, "%s\n%s\n", memory->driver[0] ? memory->driver : "-",
		 memory->override[0] ? memory->override : "-");
}

/* One line of @text into @out; what names a driver holds no white space and no slash. */
static const char *take_line(const char *text, char out[64])
{
	size_t length = strcspn(text, "\n");

	if (length == 0 || length >= 64 || strcspn(text, " \t/") < length)
		return NULL;
	snprintf(out, 64, "%.*s", (int)length, text);
	if (strcmp(out, "-") == 0)
		out[0] = '\0';
	return text + length + (text[length] == '\n');
}

int bind_memory_parse(const char *text, struct bind_memory *memory)
{
	struct bind_memory parsed = {.known = true};

	text = take_line(text, parsed.driver);
	text = text ? take_line(text, parsed.override) : NULL;
	if (!text || *text)
		return -EINVAL;
	*memory = parsed;
	return 0;
}

static void add_step(struct bind_plan *plan, bool may_fail, const char *text, const char *directory,
		     const char *name, const char *file)
{
	struct bind_step *step = &plan->steps[plan->count++];

	snprintf(step->path, sizeof(step->path), "%s%s%s", directory, name, file);
	snprintf(step->text, sizeof(step->text), "%s", text);
	step->may_fail = may_fail;
}

bool bind_is_parked(const struct check_facts *facts)
{
	return !facts->driver || facts->vfio || strcmp(facts->driver, "pci-stub") == 0;
}

void bind_plan_to(const struct check_facts *facts, const char *driver, struct bind_plan *plan)
{
	*plan = (struct bind_plan){.count = 0};
	if (facts->driver && strcmp(facts->driver, driver) == 0)
		return;
	add_step(plan, false, driver, "/sys/bus/pci/devices/", facts->address, "/driver_override");
	if (facts->driver)
		add_step(plan, false, facts->address, "/sys/bus/pci/drivers/", facts->driver,
			 "/unbind");
	add_step(plan, true, facts->address, "/sys/bus/pci/", "drivers_probe", "");
}

void bind_plan_back(const struct check_facts *facts, const struct bind_memory *memory,
		    struct bind_plan *plan)
{
	const char *override = memory->known ? memory->override : "";

	*plan = (struct bind_plan){.count = 0};
	/* A newline alone clears the attribute. */
	add_step(plan, false, *override ? override : "\n", "/sys/bus/pci/devices/", facts->address,
		 "/driver_override");
	if (facts->driver && bind_is_parked(facts))
		add_step(plan, false, facts->address, "/sys/bus/pci/drivers/", facts->driver,
			 "/unbind");
	if (memory->known && !memory->driver[0])
		return; /* it had none, and gets none */
	/* By name first: where two drivers fit, the kernel would take the one that came first. */
	if (memory->known)
		add_step(plan, true, facts->address, "/sys/bus/pci/drivers/", memory->driver,
			 "/bind");
	add_step(plan, true, facts->address, "/sys/bus/pci/", "drivers_probe", "");
}

const struct check_finding *bind_refusal(const struct check_report *report, bool to_guest,
					 bool force)
{
	static const struct {
		const char *code; /* or its part up to the point */
		bool to_guest, back, forcible;
	} refusals[] = {
		{"device.gone", true, false, false},
		{"device.bridge", true, false, false},
		{"device.denylisted", true, false, false},
		{"device.missing", true, true, false},
		{"iommu.off", true, false, false},
		{"iommu.no_group", true, false, false},
		{"sriov.enabled", true, false, false},
		{"vfio_pci.kernel", true, false, false},
		{"use.", true, false, true},
		{"node.busy", false, true, true},
		{"group.legacy_user", false, true, true},
	};

	for (size_t i = 0; i < report->count; i++) {
		const struct check_finding *finding = &report->findings[i];

		if (finding->severity != CHECK_OBSTACLE)
			continue;
		for (size_t j = 0; j < sizeof(refusals) / sizeof(refusals[0]); j++) {
			const char *code = refusals[j].code;
			size_t length = strlen(code);
			bool prefix = code[length - 1] == '.';

			if (prefix ? strncmp(finding->code, code, length) != 0
				   : strcmp(finding->code, code) != 0)
				continue;
			if ((to_guest ? refusals[j].to_guest : refusals[j].back) &&
			    !(force && refusals[j].forcible))
				return finding;
		}
	}
	return NULL;
}

void bind_best_module(const char *aliases, const char *modalias, char module[64])
{
	size_t best = SIZE_MAX;

	strcpy(module, "vfio_pci");
	/* The device says "pci:v...", a VFIO driver claims "vfio_pci:v...". */
	if (strncmp(modalias, "pci:", 4) != 0)
		return;
	for (const char *line = aliases; line && *line;) {
		static const char start[] = "alias vfio_pci:";
		const char *end = strchr(line, '\n');

		if (strncmp(line, start, sizeof(start) - 1) == 0) {
			char pattern[128], name[64];
			size_t stars = 0;

			if (sscanf(line + sizeof(start) - 1, "%127s %63s", pattern, name) == 2 &&
			    fnmatch(pattern, modalias + 4, 0) == 0) {
				for (const char *p = pattern; *p; p++)
					stars += *p == '*';
				if (stars < best) {
					best = stars;
					strcpy(module, name);
				}
			}
		}
		line = end ? end + 1 : NULL;
	}
}
