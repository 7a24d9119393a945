// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/bind.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define DEVICE "/sys/bus/pci/devices/0000:01:00.0"

static struct check_facts device(const char *driver)
{
	return (struct check_facts){
		.found = true,
		.pci = true,
		.address = "0000:01:00.0",
		.driver = driver,
		.vfio = driver && strcmp(driver, "vfio-pci") == 0,
	};
}

static void expect_step(const struct bind_plan *plan, unsigned i, const char *text,
			const char *path, bool may_fail)
{
	cr_assert_lt(i, plan->count);
	cr_expect_str_eq(plan->steps[i].text, text);
	cr_expect_str_eq(plan->steps[i].path, path);
	cr_expect_eq(plan->steps[i].may_fail, may_fail);
}

Test(bind_plan, a_device_with_a_driver_is_named_taken_and_probed)
{
	struct check_facts f = device("nvme");
	struct bind_plan plan;

	bind_plan_to(&f, "vfio-pci", &plan);
	cr_expect_eq(plan.count, 3);
	expect_step(&plan, 0, "vfio-pci", DEVICE "/driver_override", false);
	expect_step(&plan, 1, "0000:01:00.0", "/sys/bus/pci/drivers/nvme/unbind", false);
	expect_step(&plan, 2, "0000:01:00.0", "/sys/bus/pci/drivers_probe", true);
}

Test(bind_plan, a_device_without_a_driver_is_named_and_probed)
{
	struct check_facts f = device(NULL);
	struct bind_plan plan;

	bind_plan_to(&f, "mlx5-vfio-pci", &plan);
	cr_expect_eq(plan.count, 2);
	expect_step(&plan, 0, "mlx5-vfio-pci", DEVICE "/driver_override", false);
	expect_step(&plan, 1, "0000:01:00.0", "/sys/bus/pci/drivers_probe", true);
}

Test(bind_plan, a_device_that_is_there_already_is_left_alone)
{
	struct check_facts f = device("vfio-pci");
	struct bind_plan plan;

	bind_plan_to(&f, "vfio-pci", &plan);
	cr_expect_eq(plan.count, 0);
}

Test(bind_plan, a_device_goes_back_to_the_driver_it_had)
{
	struct bind_memory memory = {.known = true, .driver = "nvme"};
	struct check_facts f = device("vfio-pci");
	struct bind_plan plan;

	bind_plan_back(&f, &memory, &plan);
	cr_expect_eq(plan.count, 4);
	expect_step(&plan, 0, "\n", DEVICE "/driver_override", false);
	expect_step(&plan, 1, "0000:01:00.0", "/sys/bus/pci/drivers/vfio-pci/unbind", false);
	expect_step(&plan, 2, "0000:01:00.0", "/sys/bus/pci/drivers/nvme/bind", true);
	expect_step(&plan, 3, "0000:01:00.0", "/sys/bus/pci/drivers_probe", true);
}

Test(bind_plan, an_override_comes_back_too)
{
	struct bind_memory memory = {.known = true, .driver = "nvme", .override = "nvme"};
	struct check_facts f = device("vfio-pci");
	struct bind_plan plan;

	bind_plan_back(&f, &memory, &plan);
	expect_step(&plan, 0, "nvme", DEVICE "/driver_override", false);
}

Test(bind_plan, a_device_that_had_no_driver_gets_none)
{
	struct bind_memory memory = {.known = true};
	struct check_facts f = device("vfio-pci");
	struct bind_plan plan;

	bind_plan_back(&f, &memory, &plan);
	cr_expect_eq(plan.count, 2);
	expect_step(&plan, 1, "0000:01:00.0", "/sys/bus/pci/drivers/vfio-pci/unbind", false);
}

Test(bind_plan, without_memory_the_kernel_chooses)
{
	struct bind_memory memory = {.known = false};
	struct check_facts f = device("vfio-pci");
	struct bind_plan plan;

	bind_plan_back(&f, &memory, &plan);
	cr_expect_eq(plan.count, 3);
	expect_step(&plan, 0, "\n", DEVICE "/driver_override", false);
	expect_step(&plan, 2, "0000:01:00.0", "/sys/bus/pci/drivers_probe", true);
}

Test(bind_plan, a_device_comes_back_from_pci_stub_too)
{
	struct bind_memory memory = {.known = true, .driver = "nvme"};
	struct check_facts f = device("pci-stub");
	struct bind_plan plan;

	cr_expect(bind_is_parked(&f));
	bind_plan_back(&f, &memory, &plan);
	cr_expect_eq(plan.count, 4);
	expect_step(&plan, 1, "0000:01:00.0", "/sys/bus/pci/drivers/pci-stub/unbind", false);
}

Test(bind_plan, a_host_driver_is_never_unbound_on_the_way_back)
{
	struct bind_memory memory = {.known = true, .driver = "nvme"};
	struct check_facts f = device("nvme");
	struct bind_plan plan;

	bind_plan_back(&f, &memory, &plan);
	for (unsigned i = 0; i < plan.count; i++)
		cr_expect_null(strstr(plan.steps[i].path, "/unbind"));
}

/* ---- memory ---------------------------------------------------------------------------------- */

Test(bind_plan, what_is_remembered_is_read_back)
{
	static const struct bind_memory memories[] = {
		{true, "nvme", ""},
		{true, "", ""},
		{true, "", "vfio-pci"},
		{true, "snd_hda_intel", "snd_hda_intel"},
	};

	for (size_t i = 0; i < sizeof(memories) / sizeof(memories[0]); i++) {
		struct bind_memory read = {.known = false};
		char text[160];

		bind_memory_format(&memories[i], text);
		cr_assert_eq(bind_memory_parse(text, &read), 0);
		cr_expect(read.known);
		cr_expect_str_eq(read.driver, memories[i].driver);
		cr_expect_str_eq(read.override, memories[i].override);
		/* The end of the file may be cut as host_read_text() does. */
		text[strlen(text) - 1] = '\0';
		cr_expect_eq(bind_memory_parse(text, &read), 0);
	}
}

Test(bind_plan, a_damaged_memory_is_refused)
{
	static const char *const texts[] = {
		"",
		"\n",
		"nvme",
		"nvme\n",
		"nvme\n\n",
		"\nnvme\n",
		"a b\n-\n",
		"../../x\n-\n",
		"nvme\n-\nmore\n",
		"nvme\n-\n\n",
		"0123456789012345678901234567890123456789012345678901234567890123\n-\n",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct bind_memory memory = {.known = false};

		cr_expect_eq(bind_memory_parse(texts[i], &memory), -EINVAL, "%s", texts[i]);
		cr_expect_not(memory.known);
	}
}

/* ---- refusals -------------------------------------------------------------------------------- */

Test(bind_plan, what_the_host_lives_on_is_refused_unless_forced)
{
	static const struct {
		const char *code;
		bool to_guest, to_guest_forced, back, back_forced;
	} cases[] = {
		{"use.mount", true, false, false, false},
		{"use.swap", true, false, false, false},
		{"use.route", true, false, false, false},
		{"use.login", true, false, false, false},
		{"use.stack", true, false, false, false},
		{"device.bridge", true, true, false, false},
		{"device.missing", true, true, true, true},
		{"device.gone", true, true, false, false},
		{"device.denylisted", true, true, false, false},
		{"sriov.enabled", true, true, false, false},
		{"iommu.off", true, true, false, false},
		{"iommu.no_group", true, true, false, false},
		{"vfio_pci.kernel", true, true, false, false},
		{"node.busy", false, false, true, false},
		{"group.legacy_user", false, false, true, false},
		{"driver.host", false, false, false, false},
		{"group.not_viable", false, false, false, false},
		{"memlock.small", false, false, false, false},
		{"iommufd.kernel", false, false, false, false},
		{"user", false, false, false, false},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct check_finding findings[] = {
			{.severity = CHECK_WARNING, .code = "use.mount"},
			{.severity = CHECK_OBSTACLE, .code = cases[i].code},
		};
		struct check_report report = {.findings = findings, .count = 2};

		cr_expect_eq(bind_refusal(&report, true, false) != NULL, cases[i].to_guest, "%s",
			     cases[i].code);
		cr_expect_eq(bind_refusal(&report, true, true) != NULL, cases[i].to_guest_forced,
			     "%s", cases[i].code);
		cr_expect_eq(bind_refusal(&report, false, false) != NULL, cases[i].back, "%s",
			     cases[i].code);
		cr_expect_eq(bind_refusal(&report, false, true) != NULL, cases[i].back_forced, "%s",
			     cases[i].code);
	}
}

/* ---- variant drivers ------------------------------------------------------------------------- */

static const char aliases[] = "# Aliases extracted from modules themselves.\n"
			      "alias pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_core\n"
			      "alias vfio_pci:v*d*sv*sd*bc*sc*i* vfio_pci\n"
			      "alias vfio_pci:v000015B3d0000101Esv*sd*bc*sc*i* mlx5_vfio_pci\n"
			      "alias vfio_pci:v00001AF4d00001041sv*sd*bc*sc*i* virtio_vfio_pci\n"
			      "alias vfio_pci:v000015B3d*sv*sd*bc*sc*i* some_vfio_pci\n"
			      "alias vfio_pci:\n"
			      "alias vfio_pci:v*";

Test(bind_plan, the_driver_that_names_the_device_most_closely_wins)
{
	static const struct {
		const char *modalias, *module;
	} cases[] = {
		{"pci:v000015B3d0000101Esv000015B3sd00000001bc02sc00i00", "mlx5_vfio_pci"},
		{"pci:v000015B3d0000AAAAsv000015B3sd00000001bc02sc00i00", "some_vfio_pci"},
		{"pci:v00001B36d00000010sv00001AF4sd00001100bc01sc08i02", "vfio_pci"},
		{"pci:v00001AF4d00001041sv00001AF4sd00001100bc02sc00i00", "virtio_vfio_pci"},
		{"platform:x", "vfio_pci"},
		{"", "vfio_pci"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char module[64];

		bind_best_module(aliases, cases[i].modalias, module);
		cr_expect_str_eq(module, cases[i].module, "%s", cases[i].modalias);
		bind_best_module(NULL, cases[i].modalias, module);
		cr_expect_str_eq(module, "vfio_pci");
		bind_best_module("", cases[i].modalias, module);
		cr_expect_str_eq(module, "vfio_pci");
	}
}
