// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/bind.h"

#include <errno.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "devices/vfio/check/check.h"
#include "devices/vfio/check/options.h"
#include "devices/vfio/check/read.h"
#include "vmm/base/log.h"

static const char bind_help[] =
	"usage: sluice bind DEV [OPTION]...\n"
	"\n"
	"Take a device from its driver and give it to VFIO, so that a guest can have it. The old\n"
	"driver is remembered in " BIND_STATE_DIR " for `sluice unbind`. A device that the host\n"
	"lives on (a mounted file system, swap, the default route, your own login) is refused.\n"
	"\n"
	"  --group\tall devices of its IOMMU group, as a launch needs it\n"
	"  --driver NAME\tthis VFIO driver; without it the one that fits the device best,\n"
	"\tfor most devices vfio-pci\n"
	"  --force\talthough the host uses the device\n";

static const char unbind_help[] =
	"usage: sluice unbind DEV [OPTION]...\n"
	"\n"
	"Give a device back to the driver that `sluice bind` took it from, or, when that is not\n"
	"known, to the one that the kernel finds for it. A device in use is refused.\n"
	"\n"
	"  --group\tall devices of its IOMMU group\n"
	"  --force\talthough it is in use: whoever has it is asked to let go, and the\n"
	"\tcommand waits until that is done\n";

struct work {
	struct check_source source;
	const struct check_options *options;
	struct check_facts host;
};

static int modprobe(const char *module)
{
	/* The full path too: the PATH of an ordinary user has no sbin. */
	static const char *const programs[] = {"modprobe", "/sbin/modprobe", "/usr/sbin/modprobe"};
	/* The modules that root loads are no business of the caller's environment. */
	char *const nothing[] = {NULL};
	int status, ret = ENOENT;
	pid_t pid;

	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]) && ret == ENOENT; i++) {
		char *const argv[] = {(char *)programs[i], (char *)"-q", (char *)"--",
				      (char *)module, NULL};

		ret = posix_spawnp(&pid, programs[i], NULL, NULL, argv, nothing);
	}
	if (ret)
		return -ret;
	while (waitpid(pid, &status, 0) < 0) {
		if (errno != EINTR)
			return -errno;
	}
	return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ENOENT;
}

static int gather(struct work *work, const char *address, struct check_facts *facts,
		  struct check_report *report)
{
	struct check_request request = work->options->request;
	int ret;

	request.open = false;
	if (address) {
		request.name = address;
		if (vfio_name_parse(address, &request.parsed) < 0)
			return -EINVAL;
	}
	*facts = work->host;
	facts->name = request.name;
	facts->rehearse = false;
	ret = check_gather_device(work->source.arena, &request, facts);
	return ret < 0 ? ret : check_judge(work->source.arena, facts, report);
}

static int carry_out(struct work *work, const char *address, const struct bind_plan *plan)
{
	int ret;

	for (unsigned i = 0; i < plan->count; i++) {
		const struct bind_step *step = &plan->steps[i];

		log_debug("%s: %s > %s", address,
			  strcmp(step->text, "\n") ? step->text : "(nothing)", step->path);
		ret = host_write_text(check_path(&work->source, "%s", step->path), step->text);
		if (ret < 0 && !step->may_fail)
			return log_failure(ret, "%s: cannot write %s", address, step->path);
	}
	return 0;
}

/* ---- what is remembered ---------------------------------------------------------------------- */

/* What the device has. */
static void had(const struct check_facts *facts, struct bind_memory *memory)
{
	memory->known = true;
	snprintf(memory->driver, sizeof(memory->driver), "%s", facts->driver ? facts->driver : "");
	snprintf(memory->override, sizeof(memory->override), "%s",
		 facts->driver_override ? facts->driver_override : "");
}

static int remember(struct work *work, const struct check_facts *facts)
{
	struct bind_memory memory;
	const char *path = check_path(&work->source, BIND_STATE_DIR);
	char text[160];
	int fd, ret;

	had(facts, &memory);
	bind_memory_format(&memory, text);
	ret = host_make_directory(path);
	if (ret == 0) {
		path = check_path(&work->source, BIND_STATE_DIR "/%s", facts->address);
		fd = host_open_output(path, false);
		ret = fd < 0 ? fd : 0;
		if (fd >= 0) {
			if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
				ret = -EIO;
			close(fd);
		}
	}
	if (ret < 0)
		log_failure(ret, "%s: cannot remember its driver in %s", facts->address, path);
	return ret;
}

static void recall(struct work *work, const char *address, struct bind_memory *memory)
{
	const char *text = check_read(&work->source, "%s/%s", BIND_STATE_DIR, address);

	*memory = (struct bind_memory){.known = false};
	if (text && bind_memory_parse(text, memory) < 0)
		log_warn("%s: %s/%s is damaged; the kernel chooses the driver", address,
			 BIND_STATE_DIR, address);
}

static void forget(struct work *work, const char *address)
{
	host_remove(check_path(&work->source, BIND_STATE_DIR "/%s", address));
}

/* ---- there and back -------------------------------------------------------------------------- */

/* The VFIO driver for the device, its module loaded. NULL after a message. */
static const char *choose_driver(struct work *work, const struct check_facts *facts)
{
	const struct check_source *source = &work->source;
	const char *aliases, *modalias, *name = work->options->driver;
	struct host_list drivers;
	char module[64];

	if (name) {
		modprobe(name);
	} else {
		aliases = check_slurp(source, "/lib/modules/%s/modules.alias",
				      facts->kernel ? facts->kernel : "");
		modalias = check_read(source, "%s/modalias", facts->sysfs);
		bind_best_module(aliases, modalias ? modalias : "", module);
		if (!facts->vfio_loaded || strcmp(module, "vfio_pci") != 0)
			modprobe(module);
		/* The driver's name may differ from its module's ("mlx5-vfio-pci"). */
		name = strcmp(module, "vfio_pci") == 0 ? "vfio-pci" : NULL;
		drivers = check_list(source, "/sys/module/%s/drivers", module);
		for (size_t i = 0; i < drivers.count && !name; i++) {
			if (strncmp(drivers.names[i], "pci:", 4) == 0)
				name = check_string(source->arena, drivers.names[i] + 4);
		}
		host_list_free(&drivers);
		if (!name)
			name = "vfio-pci";
		if (strcmp(module, "vfio_pci") != 0 &&
		    !check_exists(source, "/sys/bus/pci/drivers/%s", name)) {
			modprobe("vfio_pci");
			name = "vfio-pci";
		}
	}
	if (!check_exists(source, "/sys/bus/pci/drivers/%s", name)) {
		log_error("%s: the driver %s is not there; try: modprobe %s", facts->address, name,
			  name);
		return NULL;
	}
	return name;
}

static int refuse(const struct check_facts *facts, const struct check_finding *why)
{
	log_error("%s: %s%s%s", facts->address ? facts->address : facts->name, why->text,
		  why->remedy_count ? "; try: " : "", why->remedy_count ? why->remedies[0] : "");
	return -EBUSY;
}

/* Give the device back to what it had, after a failure. */
static void undo(struct work *work, const char *address, const struct check_facts *before)
{
	struct bind_memory memory;
	struct check_report report;
	struct check_facts now;
	struct bind_plan plan;

	if (gather(work, address, &now, &report) < 0)
		return;
	had(before, &memory);
	bind_plan_back(&now, &memory, &plan);
	carry_out(work, address, &plan);
}

/* What is known of the device before it is touched. -errno after a message when it had better stay. */
static int may_move(struct work *work, const char *address, bool to_guest,
		    struct check_facts *before, struct check_report *report)
{
	const struct check_finding *why;
	int ret = gather(work, address, before, report);

	if (ret < 0)
		return ret;
	why = bind_refusal(report, to_guest, work->options->force);
	if (why)
		return refuse(before, why);
	if (!before->pci) {
		log_error("%s: not a PCI device; its own driver decides on VFIO", before->name);
		return -EINVAL;
	}
	return 0;
}

static int to_guest(struct work *work, const char *address)
{
	struct check_report report;
	struct check_facts before, after;
	struct bind_memory memory;
	struct bind_plan plan;
	const char *driver;
	bool remembered;
	int ret;

	ret = may_move(work, address, true, &before, &report);
	if (ret < 0)
		return ret;
	address = before.address;
	if (before.vfio && !work->options->driver) {
		printf("%s: %s has it already\n", address, before.driver);
		return 0;
	}
	driver = choose_driver(work, &before);
	if (!driver)
		return -ENOENT;
	bind_plan_to(&before, driver, &plan);
	if (plan.count == 0) {
		printf("%s: %s has it already\n", address, driver);
		return 0;
	}
	/* What is remembered of the host's own driver outlives a time with another one. */
	recall(work, address, &memory);
	remembered = !before.vfio && !(memory.known && bind_is_parked(&before));
	ret = remembered ? remember(work, &before) : 0;
	if (ret == 0)
		ret = carry_out(work, address, &plan);
	if (ret == 0)
		ret = gather(work, address, &after, &report);
	if (ret == 0 && (!after.driver || strcmp(after.driver, driver) != 0)) {
		log_error("%s: %s does not take it, says the kernel; try: dmesg | tail", address,
			  driver);
		ret = -ENODEV;
	}
	if (ret < 0) {
		undo(work, address, &before);
		if (remembered)
			forget(work, address);
		return ret;
	}
	printf("%s: %s -> %s", address, before.driver ? before.driver : "no driver", driver);
	if (after.cdev.exists)
		printf(", %s", after.cdev.path);
	fputc('\n', stdout);
	if (!after.vfio_cdev)
		log_warn("%s: the kernel makes no device node for it; see: sluice check %s",
			 address, address);
	return 0;
}

static int to_host(struct work *work, const char *address)
{
	struct check_report report;
	struct check_facts before, after;
	struct bind_memory memory;
	struct bind_plan plan;
	const char *modalias;
	int ret;

	ret = may_move(work, address, false, &before, &report);
	if (ret < 0)
		return ret;
	address = before.address;
	recall(work, address, &memory);
	if (!bind_is_parked(&before)) {
		forget(work, address);
		printf("%s: %s has it already\n", address, before.driver);
		return 0;
	}
	/* A driver that was removed in the meantime comes back by the device's alias. */
	if (!memory.known ||
	    (memory.driver[0] &&
	     !check_exists(&work->source, "/sys/bus/pci/drivers/%s", memory.driver))) {
		modalias = check_read(&work->source, "%s/modalias", before.sysfs);
		if (modalias && work->source.root[0] == '\0')
			modprobe(modalias);
	}
	bind_plan_back(&before, &memory, &plan);
	ret = carry_out(work, address, &plan);
	if (ret == 0)
		ret = gather(work, address, &after, &report);
	if (ret < 0)
		return ret;
	if (after.vfio) {
		log_error("%s: %s takes it again, by its ids; try: echo %04x %04x > "
			  "/sys/bus/pci/drivers/%s/remove_id",
			  address, after.driver, after.vendor, after.device, after.driver);
		return -EBUSY;
	}
	if (memory.known && memory.driver[0] &&
	    (!after.driver || strcmp(after.driver, memory.driver) != 0)) {
		log_error("%s: %s does not take it back; try: dmesg | tail", address,
			  memory.driver);
		return -ENODEV;
	}
	forget(work, address);
	printf("%s: %s -> %s\n", address, before.driver ? before.driver : "no driver",
	       after.driver ? after.driver : "no driver");
	return 0;
}

/* The device and, with --group, what else is in its group and may be moved. */
static int each(struct work *work, int (*move)(struct work *work, const char *address))
{
	struct check_report report;
	struct check_facts facts;
	int ret, failed = 0;

	if (!work->options->group)
		return move(work, NULL);
	ret = gather(work, NULL, &facts, &report);
	if (ret < 0)
		return ret;
	if (!facts.found || facts.member_count == 0)
		return move(work, NULL);
	if (move == to_guest) {
		/* All or nothing: half a group is of use to nobody. */
		for (size_t i = 0; i < facts.member_count; i++) {
			const struct check_finding *why;
			struct check_facts member;

			if (facts.members[i].bridge)
				continue;
			ret = gather(work, facts.members[i].name, &member, &report);
			why = ret == 0 ? bind_refusal(&report, true, work->options->force) : NULL;
			if (ret < 0)
				return ret;
			if (why)
				return refuse(&member, why);
		}
	}
	for (size_t i = 0; i < facts.member_count; i++) {
		if (facts.members[i].bridge)
			continue;
		ret = move(work, facts.members[i].name);
		if (ret < 0)
			failed = ret;
	}
	return failed;
}

static int run(struct check_arena *arena, const struct check_options *options,
	       int (*move)(struct work *work, const char *address))
{
	struct work work = {.source = {.arena = arena, .root = ""}, .options = options};
	int ret = check_gather_host(arena, &options->request, &work.host);

	if (ret < 0)
		return ret;
	if (!work.host.root) {
		log_error("only root can do this; try: sudo sluice %s %s%s", options->command,
			  options->name, options->group ? " --group" : "");
		return -EPERM;
	}
	return each(&work, move);
}

static int bind_run(struct check_arena *arena, const struct check_options *options)
{
	return run(arena, options, to_guest);
}

static int unbind_run(struct check_arena *arena, const struct check_options *options)
{
	return run(arena, options, to_host);
}

int bind_main(int argc, char **argv)
{
	return check_command(argc, argv, CHECK_TAKES_BIND | CHECK_TAKES_DEVICE | CHECK_TAKES_DRIVER,
			     bind_help, bind_run);
}

int unbind_main(int argc, char **argv)
{
	return check_command(argc, argv, CHECK_TAKES_BIND | CHECK_TAKES_DEVICE, unbind_help,
			     unbind_run);
}
