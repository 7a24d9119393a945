// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/check.h"

#include <stdio.h>

#include "devices/vfio/check/options.h"
#include "devices/vfio/check/print.h"
#include "devices/vfio/providers/kernel/iommufd.h"

static const char help[] =
	"usage: sluice check DEV[,token=UUID] [OPTION]...\n"
	"\n"
	"Say what stands between a device and a guest, and what to type to mend it. Exit status "
	"0:\n"
	"a launch will work; 1: it will not; 2: wrong arguments.\n"
	"\n"
	"DEV is 0000:01:00.0, 01:00.0, a path in /sys, /dev/vfio/devices/vfioN, or fd=N.\n"
	"\n"
	"  -v, --verbose\tshow what is fine, too\n"
	"  --json\tfor programs; see docs/check.md\n"
	"  --memory SIZE[,hugepages=2M|1G]\n"
	"\tmemory of the guest, as for `sluice run` (512M)\n"
	"  --iommufd fd=N\tan open descriptor of /dev/iommu\n"
	"  --no-open\tdo not open the device. Without it a device that is with vfio-pci,\n"
	"\tin nobody's hands and free of obstacles is opened and closed again,\n"
	"\twhich resets it, to learn what only it can tell\n"
	"  --no-color\tno colors on a terminal either\n"
	"\n"
	"Example:\n"
	"\n"
	"  sluice check 01:00.0 --memory 4G\n";

static int examine(struct check_arena *arena, const struct check_options *options)
{
	struct check_report report;
	struct check_facts facts;
	int ret;

	ret = check_gather(arena, &options->request, &facts);
	if (ret == 0)
		ret = check_judge(arena, &facts, &report);
	if (ret == 0 && facts.rehearse && report.obstacles == 0) {
		check_rehearse(&options->request, &facts);
		ret = check_judge(arena, &facts, &report);
	}
	if (ret < 0)
		return ret;
	if (options->json) {
		ret = check_json_write(stdout, check_json(&facts, &report));
		if (ret < 0)
			return ret;
	} else {
		const struct check_style style = {
			.verbose = options->verbose,
			.color = check_use_color(stdout, options->no_color),
			.width = check_width(stdout),
		};

		check_print(stdout, &facts, &report, &style);
	}
	return report.obstacles ? 1 : 0;
}

/* Descriptors as a launch takes them: what it would call a wrong argument is one here. */
static int take_passed(const struct check_request *request, struct kernel_iommufd **iommufd)
{
	int ret = 0;

	if (request->parsed.kind == VFIO_NAME_FD)
		ret = kernel_take_fd(NULL, request->name, request->parsed.fd);
	if (ret == 0 && request->iommufd >= 0)
		ret = kernel_iommufd_create(NULL, request->iommufd, NULL, iommufd);
	return ret;
}

/* 1: there are obstacles; 2: what was passed is not what it should be. */
static int run(struct check_arena *arena, const struct check_options *options)
{
	struct kernel_iommufd *iommufd = NULL;
	int ret = take_passed(&options->request, &iommufd) < 0 ? 2 : examine(arena, options);

	kernel_iommufd_destroy(iommufd);
	return ret;
}

int check_main(int argc, char **argv)
{
	return check_command(argc, argv,
			     CHECK_TAKES_JSON | CHECK_TAKES_VERBOSE | CHECK_TAKES_LAUNCH |
				     CHECK_TAKES_DEVICE | CHECK_TAKES_COLOR,
			     help, run);
}
