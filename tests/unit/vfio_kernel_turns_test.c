/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel fails each call of the kernel provider in turn: in every kind of launch, in its teardown, and
 * while the device is used. Nothing may be left, and what went wrong is said once.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/kernel_host.h"

/*
 * Errors that the provider gives a meaning of their own come up translated, or lead to another way;
 * whatever they do, they leave nothing behind and are said once.
 */
static const int errors[] = {EIO,    ENOMEM, EINVAL, ENOTTY, EBUSY,  EPERM,
			     EACCES, ENOENT, EAGAIN, ENODEV, EMFILE, EOPNOTSUPP};

/* Failures that do not matter: probes and look-ups for the sake of a message. */
static bool tolerable(const char *call)
{
	static const char *const calls[] = {"IRQ_INFO",     "FEATURE",     "OPTION",
					    "read_text",    "link_name",   "read_link",
					    "device_sysfs", "REGION_INFO", "pread"};

	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
		if (!strcmp(call, calls[i]))
			return true;
	}
	return false;
}

/* One way into a VM: what the host is like, and what is done, up to the first failure. */
struct launch {
	const char *name;
	bool migratable_hardware, no_map_file, no_hw_info;
	bool emulated;
	bool pasids;
	bool passed; /* by descriptors */
};

static const struct launch launches[] = {
	{.name = "plain"},
	{.name = "without MAP_FILE", .no_map_file = true},
	{.name = "without GET_HW_INFO", .no_hw_info = true},
	{.name = "migratable", .migratable_hardware = true},
	{.name = "PASIDs", .pasids = true},
	{.name = "PASIDs, migratable", .pasids = true, .migratable_hardware = true},
	{.name = "no IOMMU", .emulated = true, .pasids = true},
	{.name = "passed", .passed = true},
};
#define LAUNCHES (sizeof(launches) / sizeof(launches[0]))

/* Part of undoing, which cannot fail: it is said, and what could not be undone stays until the iommufd goes. */
static bool undoes(const char *call)
{
	return !strcmp(call, "DESTROY") || !strcmp(call, "UNMAP") || !strcmp(call, "DETACH");
}

struct run {
	const struct launch *launch;
	struct host *h;
	struct ioas *other; /* of the PASIDs */
	struct vfio_device *a, *b;
	int iommu, node; /* passed; -1 */
	char name[16];
};

static void prepare(struct run *run, const struct launch *launch)
{
	struct fake_kernel *fk;

	*run = (struct run){.launch = launch, .h = host_new(), .iommu = -1, .node = -1};
	fk = run->h->fk;
	cr_assert_eq(ioas_create(run->h->ictx, &run->other), 0);
	for (unsigned i = 0; i < 2; i++) {
		struct fake_kernel_device *d =
			fake_kernel_add(fk, i ? "0000:02:00.0" : "0000:01:00.0", i);

		d->capabilities = launch->migratable_hardware ? IOMMU_HW_CAP_DIRTY_TRACKING : 0;
		d->emulated = launch->emulated;
		d->pasid_log2 = launch->pasids ? 16 : 0;
		d->config_pasid_bits = launch->pasids ? 16 : 0;
	}
	fk->no_map_file = launch->no_map_file;
	fk->no_hw_info = launch->no_hw_info;
	snprintf(run->name, sizeof(run->name), "0000:01:00.0");
	if (launch->passed) {
		run->iommu = fk->calls.open_iommu(fk);
		run->node = fk->calls.open_vfio(fk, "/dev/vfio/devices/vfio0");
		snprintf(run->name, sizeof(run->name), "fd=%d", run->node);
	}
	fk->log[0] = '\0';
}

static int use_pasids(struct run *run)
{
	uint32_t other = ioas_id(run->other), own = ioas_id(run->h->ioas);
	int rc;

	/* Whoever cannot tell that it has them has none. */
	if (!run->launch->pasids || !run->a->max_pasids)
		return 0;
	rc = vfio_device_pasid_attach(run->a, 5, &other);
	if (!rc)
		rc = vfio_device_pasid_attach(run->a, 6, &own);
	own = ioas_id(run->h->ioas);
	if (!rc)
		rc = vfio_device_pasid_attach(run->a, 5, &own); /* replaced */
	return rc;
}

static int go(struct run *run)
{
	const struct vfio_config first = {.name = run->name, .fd = run->node, .migratable = true};
	struct host *h = run->h;
	uint32_t id = ioas_id(h->ioas);
	int rc = kernel_iommufd_create(h->ictx, run->iommu, &h->fk->calls, &h->iommufd);

	h->env.iommufd = h->iommufd;
	if (!rc)
		rc = vfio_kernel_provider.create(&h->env, &first, &run->a);
	if (!rc)
		rc = attach(h, run->a);
	if (!rc)
		rc = make(h, "0000:02:00.0", &run->b);
	if (!rc)
		rc = attach(h, run->b);
	if (!rc)
		rc = vfio_device_attach(run->a, &id); /* replaced by its like */
	return rc ? rc : use_pasids(run);
}

/* Descriptors that nobody took over are still those of the one who passed them. */
static void close_passed(struct run *run)
{
	struct fake_kernel *fk = run->h->fk;

	if (run->launch->passed && !run->h->iommufd)
		fk->calls.close(fk, run->iommu);
	if (run->launch->passed && fake_kernel_file(fk, run->node) &&
	    fake_kernel_file(fk, run->node)->kind == FAKE_NODE)
		fk->calls.close(fk, run->node);
}

static void end(struct run *run)
{
	if (run->b)
		give_back(run->b);
	if (run->a)
		give_back(run->a);
}

static void done(struct run *run)
{
	cr_expect_eq(ioas_destroy(run->other), 0, "no mirror of it is left");
	host_done(run->h);
}

static void failing_launches(const struct launch *launch, int error)
{
	bool all = false;

	for (unsigned n = 1; !all; n++) {
		struct run run;
		struct fake_kernel *fk;
		unsigned said;
		int rc;

		prepare(&run, launch);
		fk = run.h->fk;
		fk->fail_at = fk->calls_made + n;
		fk->fail_error = error;
		rc = go(&run);
		said = fake_log_count;
		/* All calls of the launch have failed once. */
		all = !fk->failed[0];

		if (all) {
			cr_assert_eq(rc, 0, "%s: %s", launch->name, fake_log_last);
			cr_assert(n > 15, "%s: %u calls are no launch", launch->name, n);
		} else if (rc) {
			cr_expect_eq(said, 1, "%s: %s %d: %u messages, last: %s", launch->name,
				     fk->failed, error, said, fake_log_last);
			cr_expect(rc == -error || error != EIO || (launch->passed && rc == -EBADF),
				  "%s: %s: %d", launch->name, fk->failed, rc);
		} else {
			cr_expect(undoes(fk->failed) || tolerable(fk->failed) || error != EIO,
				  "%s: %s failed unnoticed", launch->name, fk->failed);
			/* A table that stays keeps its space. */
			cr_expect(undoes(fk->failed) ? said == 1 || said == 2 : said == 0,
				  "%s: %s %d: %s", launch->name, fk->failed, error, fake_log_last);
		}
		fk->fail_at = 0;
		end(&run);
		close_passed(&run);
		/* Before the iommufd is closed: it would take what is left along. */
		if (!undoes(fk->failed))
			cr_expect_eq(fake_kernel_held(fk), run.h->iommufd != NULL, "%s: %s %d: %s",
				     launch->name, fk->failed, error, fake_kernel_leaks(fk));
		done(&run);
	}
}

Test(failures, each_call_of_each_launch_in_turn, .timeout = 120)
{
	for (size_t l = 0; l < LAUNCHES; l++) {
		for (size_t e = 0; e < sizeof(errors) / sizeof(errors[0]); e++)
			failing_launches(&launches[l], errors[e]);
	}
}

static void failing_teardowns(const struct launch *launch)
{
	bool all = false;

	for (unsigned n = 1; !all; n++) {
		struct run run;
		struct fake_kernel *fk;
		bool kvm_holds;

		prepare(&run, launch);
		fk = run.h->fk;
		cr_assert_eq(go(&run), 0, "%s", launch->name);
		fk->fail_at = fk->calls_made + n;
		fk->fail_error = EIO;
		end(&run);
		all = !fk->failed[0];
		cr_assert(!all || n > 10, "%s", launch->name);
		/* KVM's reference ends with its device at the latest, and with it what the device holds. */
		kvm_holds = !strcmp(fk->failed, "kvm_del");
		cr_expect_leq(fake_log_count, kvm_holds ? 4 : 2, "%s: %s: %s", launch->name,
			      fk->failed, fake_log_last);
		for (int i = 0; i < FAKE_FILES; i++) {
			struct fake_file *file = &fk->files[i];

			cr_expect(!file->kvm || kvm_holds, "%s: %s", launch->name, fk->failed);
			if (file->kvm) {
				file->kvm = NULL;
				fake_kernel_release(fk, file);
			}
		}
		done(&run);
	}
}

Test(failures, each_call_of_each_teardown_in_turn, .timeout = 120)
{
	for (size_t l = 0; l < LAUNCHES; l++)
		failing_teardowns(&launches[l]);
}

/* ---- every call of a device in use fails once ---- */

struct use {
	const char *name;
	int (*call)(struct run *run);
};

static int use_read(struct run *run)
{
	uint32_t word;

	return (int)vfio_device_read(run->a, &word, 4, 0) - 4;
}

static int use_write(struct run *run)
{
	uint32_t word = 0;

	return (int)vfio_device_write(run->a, &word, 4, 0) - 4;
}

static int use_mmap(struct run *run)
{
	return vfio_device_mmap(run->a, NULL, 4096, PROT_READ, 0);
}

static int use_region_info(struct run *run)
{
	struct {
		struct vfio_region_info info;
		uint8_t caps[512];
	} region = {.info = {.argsz = sizeof(region)}};

	return vfio_device_ioctl(run->a, VFIO_DEVICE_GET_REGION_INFO, &region);
}

static int use_region_fd(struct run *run)
{
	uint64_t offset;
	int fd;

	return vfio_device_region_fd(run->a, 0, true, &fd, &offset);
}

static int use_irq_info(struct run *run)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = VFIO_PCI_ERR_IRQ_INDEX};

	return vfio_device_ioctl(run->a, VFIO_DEVICE_GET_IRQ_INFO, &info);
}

static int use_reset(struct run *run)
{
	return vfio_device_ioctl(run->a, VFIO_DEVICE_RESET, NULL);
}

/* The features behind the ops, as the core hands them on. */
static int use_state(struct run *run)
{
	enum vfio_device_mig_state state;

	return run->a->mig_ops->migration_get_state(run->a, &state);
}

static int use_set_state(struct run *run)
{
	int fd;

	return run->a->mig_ops->migration_set_state(run->a, VFIO_DEVICE_STATE_STOP_COPY, &fd);
}

static int use_data_size(struct run *run)
{
	uint64_t size;

	return run->a->mig_ops->migration_get_data_size(run->a, &size);
}

static int use_precopy_info(struct run *run)
{
	struct vfio_precopy_info info = {.argsz = sizeof(info)};

	return vfio_device_mig_precopy_info(run->a, FAKE_SESSION, &info);
}

static int use_log_start(struct run *run)
{
	const struct vfio_log_range range = {.iova = 0, .length = 4096};
	uint64_t page_size = 4096;

	return run->a->log_ops->log_start(run->a, &range, 1, &page_size);
}

static int use_log_read(struct run *run)
{
	uint64_t bitmap = 0;

	return run->a->log_ops->log_read_and_clear(run->a, 0, 4096, 4096, &bitmap);
}

static int use_log_stop(struct run *run)
{
	return run->a->log_ops->log_stop(run->a);
}

static int use_ranges(struct run *run)
{
	struct iova_range ranges[8];
	size_t count = 8;

	return ioas_iova_ranges(run->h->ioas, ranges, &count);
}

/* Memory that comes and goes: said where it fails, since nobody above knows the devices. */
static int use_map(struct run *run)
{
	const struct ioas_area area = {.iova = 0x200000000,
				       .length = 4096,
				       .fd = run->h->memfd,
				       .hva = run->h->memory,
				       .rights = IOAS_READ};
	int rc = ioas_map(run->h->ioas, &area);

	return rc ? rc : ioas_unmap(run->h->ioas, area.iova, area.length);
}

static int use_detach(struct run *run)
{
	uint32_t id = ioas_id(run->h->ioas);
	int rc = vfio_device_detach(run->a);

	return rc ? rc : vfio_device_attach(run->a, &id);
}

static const struct use uses[] = {
	{"read", use_read},
	{"write", use_write},
	{"mmap", use_mmap},
	{"region info", use_region_info},
	{"region descriptor", use_region_fd},
	{"interrupt info", use_irq_info},
	{"reset", use_reset},
	{"state", use_state},
	{"set state", use_set_state},
	{"data size", use_data_size},
	{"pre-copy info", use_precopy_info},
	{"log start", use_log_start},
	{"log", use_log_read},
	{"log stop", use_log_stop},
	{"ranges", use_ranges},
	{"map", use_map},
	{"detach", use_detach},
};
#define USES (sizeof(uses) / sizeof(uses[0]))

static void start_use(struct run *run)
{
	prepare(run, &launches[0]);
	for (unsigned i = 0; i < 2; i++) {
		run->h->fk->devices[i].migration =
			VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY;
		run->h->fk->devices[i].logs = true;
	}
	cr_assert_eq(go(run), 0);
}

Test(failures, each_call_of_a_device_in_use_in_turn, .timeout = 120)
{
	for (size_t u = 0; u < USES; u++) {
		for (unsigned n = 1;; n++) {
			struct run run;
			struct fake_kernel *fk;
			unsigned held;
			int rc;

			start_use(&run);
			fk = run.h->fk;
			held = fake_kernel_held(fk);
			fk->fail_at = fk->calls_made + n;
			fk->fail_error = EFAULT;
			rc = uses[u].call(&run);
			fk->fail_at = 0;
			if (!fk->failed[0]) {
				cr_expect_eq(rc, 0, "%s: %d", uses[u].name, rc);
				cr_expect(n > 1, "%s makes no call", uses[u].name);
				end(&run);
				done(&run);
				break;
			}
			/* What has no answer is said, all else goes up. */
			if (!strcmp(fk->failed, "UNMAP") || !strcmp(fk->failed, "DETACH"))
				cr_expect_eq(fake_log_count, 1, "%s: %s", uses[u].name, fk->failed);
			else if (uses[u].call == use_read || uses[u].call == use_write)
				cr_expect_eq(rc, -EFAULT - 4, "%s: %d", uses[u].name, rc);
			else
				cr_expect_eq(rc, -EFAULT, "%s: %s: %d", uses[u].name, fk->failed,
					     rc);
			/* And again, as if nothing had been. */
			if (strcmp(fk->failed, "UNMAP"))
				cr_expect_eq(uses[u].call(&run), 0, "%s after %s", uses[u].name,
					     fk->failed);
			cr_expect_eq(fake_kernel_held(fk), held + !strcmp(fk->failed, "UNMAP"),
				     "%s: %s: %s", uses[u].name, fk->failed, fake_kernel_leaks(fk));
			end(&run);
			done(&run);
		}
	}
}

/* ---- nothing is left out ---- */

/*
 * Every entry of struct kernel_calls, under the name that the fake kernel writes into its journal, and
 * every command behind `ioctl`. The limit of what may be pinned cannot fail.
 */
static const char *const entries[] = {
	"open_iommu", "open_vfio", "take_device", "eventfd",      "close",   "fstat",
	"pread",      "pwrite",    "mmap",        "kvm_add",      "kvm_del", "read_text",
	"read_link",  "link_name", "real_path",   "device_sysfs", "list",
};
static const char *const commands[] = {
	"BIND",       "HW_INFO",  "ATTACH",   "DETACH",      "HWPT_ALLOC", "DESTROY",
	"IOAS_ALLOC", "MAP",      "MAP_FILE", "UNMAP",       "RANGES",     "OPTION",
	"IRQ_INFO",   "SET_IRQS", "FEATURE",  "REGION_INFO", "RESET",      "PRECOPY_INFO",
};

/* Of the table: the context, ioctl and memlock_limit have no line of their own. */
_Static_assert(sizeof(struct kernel_calls) / sizeof(void (*)(void)) ==
		       sizeof(entries) / sizeof(entries[0]) + 3,
	       "a new call is one that these tests make fail");

static bool has_word(const char *text, const char *word)
{
	const size_t length = strlen(word);

	for (const char *at = text; (at = strstr(at, word)); at += length) {
		if ((at == text || at[-1] == ' ') && (at[length] == ' ' || !at[length]))
			return true;
	}
	return false;
}

Test(failures, no_call_of_the_provider_is_left_out)
{
	static char all[65536];

	/* What the tests above make fail, one after the other: launches, teardowns, uses, and a message. */
	for (size_t l = 0; l < LAUNCHES + USES + 1; l++) {
		struct run run;

		if (l < LAUNCHES) {
			prepare(&run, &launches[l]);
			cr_assert_eq(go(&run), 0);
		} else {
			start_use(&run);
			if (l < LAUNCHES + USES)
				cr_assert_eq(uses[l - LAUNCHES].call(&run), 0);
			else
				kernel_iommufd_create(run.h->ictx, 999, &run.h->fk->calls,
						      &(struct kernel_iommufd *){NULL});
		}
		end(&run);
		strcat(strcat(all, " "), run.h->fk->log);
		close_passed(&run);
		done(&run);
	}
	for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
		cr_expect(has_word(all, entries[i]), "%s", entries[i]);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		cr_expect(has_word(all, commands[i]), "%s", commands[i]);
	cr_expect_not(has_word(all, "?"), "a command that has no name here");
}
