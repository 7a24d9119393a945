/* SPDX-License-Identifier: Apache-2.0 */
/*
 * contract [OPTION...] TARGET DEVICE   the conformance suite of the VFIO contract
 *
 * DEVICE is named as after --vfio. Each test runs in a process of its own, so that one that crashes or
 * hangs is one failure. Prints for each
 *
 *   ok ID
 *   declared ID (why)      the target is entitled to differ, and differs in exactly that way
 *   not ok ID (why)
 *
 * and at last `N passed, N failed`; what was declared counts as passed. The exit status is 1 when one
 * failed, 2 for a wrong call.
 *
 *   --only PATTERN    tests whose id matches the shell pattern; may be given several times
 *   --other DEVICE    another one that the same VM can have; the tests of device sets want it
 *   --seconds N       bound on one test (120)
 *   --verbose         what each test does
 *   --list            the targets and the tests, with what they prove
 *   --providers       each item that the tests prove, and over which providers they do
 *   --control DIR     where the kernel test device is controlled that is not this process's own, but its server's
 *   --memory FILE     the guest's memory is this file, as of tmpfs or hugetlbfs, and not a memfd
 *   --without BITS    take HAS_* bits from the target without declaring it, which has to fail
 */
#include "tests/contract/contract.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vmm/base/log.h"

#define MAX_PATTERNS 32

/* Shared with the process of the test: what is in it when that one ends or is killed counts. */
struct result {
	unsigned failures;
	bool ended;
	char failed[512];   /* the first failure */
	char declared[512]; /* the first difference that showed */
	uint64_t asked;     /* of target.differences, by place: a test asked for it */
	char step[256];     /* what it is about to do */
	bool verbose;
};

struct options {
	const char *patterns[MAX_PATTERNS];
	unsigned pattern_count;
	const char *other, *control, *memory;
	uint32_t without;
	unsigned seconds;
	bool verbose;
};

static const struct contract_test *const tables[] = {
	life_tests, sets_tests,  iommu_tests,    pasid_tests,     regions_tests, mmap_tests,
	irqs_tests, reset_tests, features_tests, migration_tests, stream_tests,  logging_tests,
	dma_tests,  token_tests, request_tests,  limits_tests,
};

#define TABLES (sizeof(tables) / sizeof(tables[0]))

/* ---- verdicts --------------------------------------------------------------------------------- */

static void keep_first(char *text, size_t size, const char *format, va_list args)
{
	if (!text[0])
		vsnprintf(text, size, format, args);
}

void step(struct run *run, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(run->result->step, sizeof(run->result->step), format, args);
	va_end(args);
	if (run->result->verbose)
		fprintf(stderr, "    %s\n", run->result->step);
}

bool expect(struct run *run, bool good, const char *format, ...)
{
	va_list args;

	if (good)
		return true;
	run->result->failures++;
	va_start(args, format);
	keep_first(run->result->failed, sizeof(run->result->failed), format, args);
	va_end(args);
	return false;
}

static const char *number(long value, char *text, size_t size)
{
	const char *name = value < 0 && value > -4096 ? strerrorname_np((int)-value) : NULL;

	if (name)
		snprintf(text, size, "-%s", name);
	else
		snprintf(text, size, "%ld", value);
	return text;
}

bool expect_rc(struct run *run, long got, long wanted, const char *format, ...)
{
	char what[256], one[32], other[32];
	va_list args;

	if (got == wanted)
		return true;
	va_start(args, format);
	vsnprintf(what, sizeof(what), format, args);
	va_end(args);
	return expect(run, false, "%s: %s, wanted %s", what, number(got, one, sizeof(one)),
		      number(wanted, other, sizeof(other)));
}

static const struct difference *difference(const struct target *target, const char *id)
{
	for (const struct difference *d = target->differences; d && d->id; d++) {
		if (!strcmp(d->id, id))
			return d;
	}
	return NULL;
}

long answer(struct run *run, const char *aspect, long rule)
{
	const struct difference *found;
	char id[128];

	snprintf(id, sizeof(id), "%s/%s", run->test->id, aspect);
	found = difference(run->target, id);
	if (!found)
		return rule;
	run->result->asked |= 1ull << (found - run->target->differences);
	if (!run->result->declared[0])
		snprintf(run->result->declared, sizeof(run->result->declared), "%s: %s", aspect,
			 found->why);
	return found->answer;
}

/* ---- one test --------------------------------------------------------------------------------- */

static void test_process(struct run *run)
{
	int rc;

	/* Nobody would wait for it any more. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	step(run, "making the machine and the device");
	rc = run->test->flags & OTHERS ? other_begin(run) : 0;
	rc = rc ? rc : run_begin(run);
	if (expect_rc(run, rc, 0, "the machine and the device")) {
		step(run, "the test itself");
		run->test->run(run);
		step(run, "giving everything back");
		other_end(run, 0);
		run_end(run);
	}
	fflush(NULL);
	run->result->ended = true;
	/* The sanitizers look for leaks at exit. */
	exit(0);
}

/* Wait for @pid, at most @seconds; false when it had to be killed. */
static bool wait_for_process(pid_t pid, unsigned seconds, int *status)
{
	const struct timespec tick = {.tv_nsec = 2000000};
	struct timespec now, end;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += seconds;
	for (;;) {
		if (waitpid(pid, status, WNOHANG) == pid)
			return true;
		clock_gettime(CLOCK_MONOTONIC, &now);
		if (now.tv_sec > end.tv_sec) {
			kill(pid, SIGKILL);
			waitpid(pid, status, 0);
			return false;
		}
		nanosleep(&tick, NULL);
	}
}

/* Why the target need not do @test; NULL: it must. */
static const char *exempt(const struct target *target, const struct contract_test *test)
{
	const uint32_t missing = test->needs & ~target->has;
	const struct difference *d = difference(target, test->id);

	if (d)
		return d->why;
	if (!missing)
		return NULL;
	for (const struct absence *a = target->absences; a && a->why; a++) {
		if (a->what & missing)
			return a->why;
	}
	return "it lacks something"; /* check_target() lets no such target through */
}

static bool run_test(struct run *run, const struct options *options)
{
	struct result *result = run->result;
	bool in_time;
	int status = 0;
	pid_t pid;

	*result = (struct result){.verbose = options->verbose, .asked = result->asked};
	pid = fork();
	if (pid < 0) {
		snprintf(result->failed, sizeof(result->failed), "fork: %s", strerror(errno));
		goto failed;
	}
	if (!pid)
		test_process(run);
	in_time = wait_for_process(pid, options->seconds, &status);
	if (!in_time)
		snprintf(result->failed, sizeof(result->failed), "not done after %u s, in: %s",
			 options->seconds, result->step);
	else if (WIFSIGNALED(status))
		snprintf(result->failed, sizeof(result->failed), "killed by %s, in: %s",
			 strsignal(WTERMSIG(status)), result->step);
	else if (!result->ended || WEXITSTATUS(status))
		snprintf(result->failed, sizeof(result->failed), "ended with status %d, in: %s",
			 WEXITSTATUS(status), result->step);

failed:
	if (result->failed[0]) {
		printf("not ok %s (%s)\n", run->test->id, result->failed);
		return false;
	}
	if (result->declared[0])
		printf("declared %s (%s)\n", run->test->id, result->declared);
	else
		printf("ok %s\n", run->test->id);
	return true;
}

static bool selected(const struct options *options, const char *id)
{
	for (unsigned i = 0; i < options->pattern_count; i++) {
		if (!fnmatch(options->patterns[i], id, 0))
			return true;
	}
	return !options->pattern_count;
}

/* ---- the target's own word -------------------------------------------------------------------- */

static bool is_test(const char *id, size_t length)
{
	for (size_t i = 0; i < TABLES; i++) {
		for (const struct contract_test *t = tables[i]; t->id; t++) {
			if (strlen(t->id) == length && !strncmp(t->id, id, length))
				return true;
		}
	}
	return false;
}

/* What is missing is declared, and what is declared is missing; every difference belongs to a test. */
static bool check_target(const struct target *target)
{
	uint32_t undeclared = HAS_ALL & ~target->has;
	bool good = true;

	for (const struct difference *d = target->differences; d && d->id; d++) {
		if (!is_test(d->id, strcspn(d->id, "/"))) {
			fprintf(stderr, "%s declares a difference in %s, which is no test\n",
				target->name, d->id);
			good = false;
		}
	}
	for (const struct absence *a = target->absences; a && a->why; a++) {
		undeclared &= ~a->what;
		if (a->what & target->has) {
			fprintf(stderr, "%s has and has not %#x\n", target->name,
				a->what & target->has);
			good = false;
		}
	}
	if (undeclared) {
		fprintf(stderr, "%s lacks %#x and does not say why\n", target->name, undeclared);
		good = false;
	}
	return good;
}

/* After all tests: a difference that none asked for has outlived its reason. How many there are. */
static unsigned check_differences(const struct target *target, uint64_t asked)
{
	unsigned idle = 0;

	for (const struct difference *d = target->differences; d && d->id; d++) {
		if (!strchr(d->id, '/') || (asked & 1ull << (d - target->differences)))
			continue;
		printf("not ok %s (declared, and no test asks for it)\n", d->id);
		idle++;
	}
	return idle;
}

static const struct target *find_target(const char *name)
{
	for (const struct target *const *t = targets; *t; t++) {
		if (!strcmp((*t)->name, name))
			return *t;
	}
	return NULL;
}

static void list(void)
{
	for (const struct target *const *t = targets; *t; t++)
		printf("target %-20s %s\n", (*t)->name, (*t)->what);
	for (size_t i = 0; i < TABLES; i++) {
		for (const struct contract_test *t = tables[i]; t->id; t++)
			printf("%-48s %s\n", t->id, t->proves);
	}
}

#define MAX_ITEMS 256

struct item {
	const char *name;
	size_t length;
	bool kernel, soft, user;
};

static struct item *find_item(struct item *items, const char *name, size_t length)
{
	struct item *item = items;

	while (item->name && (item->length != length || strncmp(item->name, name, length) != 0))
		item++;
	if (item == &items[MAX_ITEMS - 1])
		return NULL;
	item->name = name;
	item->length = length;
	return item;
}

/* A test that @target does proves what it names. */
static bool add_proofs(struct item *items, const struct target *target,
		       const struct contract_test *test)
{
	for (const char *p = test->proves; *p;) {
		const size_t length = strcspn(p, ", ");
		struct item *item = length ? find_item(items, p, length) : NULL;

		if (length && !item)
			return false;
		if (item && !exempt(target, test)) {
			item->kernel |= !strcmp(target->provider, "kernel");
			item->soft |= !strcmp(target->provider, "soft");
			item->user |= !strcmp(target->provider, "user");
		}
		p += length ? length : 1;
	}
	return true;
}

static int list_providers(void)
{
	struct item items[MAX_ITEMS] = {0};

	for (const struct target *const *target = targets; *target; target++) {
		for (size_t i = 0; i < TABLES; i++) {
			for (const struct contract_test *t = tables[i]; t->id; t++) {
				if (!add_proofs(items, *target, t))
					return 2;
			}
		}
	}
	for (const struct item *item = items; item->name; item++)
		printf("%.*s%s%s%s\n", (int)item->length, item->name, item->kernel ? " kernel" : "",
		       item->soft ? " soft" : "", item->user ? " user" : "");
	return 0;
}

static void usage(void)
{
	fprintf(stderr, "usage: contract [--only PATTERN]... [--other DEVICE] [--control DIR] "
			"[--memory FILE] [--seconds N] [--without BITS] [--verbose] TARGET DEVICE\n"
			"       contract --list | --providers\n");
}

int main(int argc, char **argv)
{
	struct options options = {.seconds = 120};
	unsigned passed = 0, failed = 0;
	struct target target;
	struct run run = {0};
	int i = 1;

	log_open(NULL, LOG_LEVEL_WARN);
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--list")) {
			list();
			return 0;
		} else if (!strcmp(argv[i], "--providers")) {
			return list_providers();
		} else if (!strcmp(argv[i], "--verbose")) {
			options.verbose = true;
		} else if (!strcmp(argv[i], "--only") && i + 1 < argc &&
			   options.pattern_count < MAX_PATTERNS) {
			options.patterns[options.pattern_count++] = argv[++i];
		} else if (!strcmp(argv[i], "--other") && i + 1 < argc) {
			options.other = argv[++i];
		} else if (!strcmp(argv[i], "--control") && i + 1 < argc) {
			options.control = argv[++i];
		} else if (!strcmp(argv[i], "--memory") && i + 1 < argc) {
			options.memory = argv[++i];
		} else if (!strcmp(argv[i], "--without") && i + 1 < argc) {
			options.without = (uint32_t)strtoul(argv[++i], NULL, 0);
		} else if (!strcmp(argv[i], "--seconds") && i + 1 < argc) {
			options.seconds = (unsigned)strtoul(argv[++i], NULL, 0);
		} else {
			usage();
			return 2;
		}
	}
	if (argc - i != 2) {
		usage();
		return 2;
	}
	run.target = find_target(argv[i]);
	if (!run.target) {
		fprintf(stderr, "contract: no target %s; --list shows them\n", argv[i]);
		return 2;
	}
	target = *run.target;
	target.has &= ~options.without;
	run.target = &target;
	if (!check_target(run.target))
		return 2;
	run.device = argv[i + 1];
	run.other = options.other;
	run.control = options.control;
	run.memory_file = options.memory;
	run.result = mmap(NULL, sizeof(*run.result), PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (run.result == MAP_FAILED) {
		perror("contract: mmap");
		return 2;
	}
	setvbuf(stdout, NULL, _IOLBF, 0);

	for (size_t table = 0; table < TABLES; table++) {
		for (const struct contract_test *t = tables[table]; t->id; t++) {
			const char *why = exempt(run.target, t);
			bool good;

			if (!selected(&options, t->id))
				continue;
			run.test = t;
			if (why) {
				printf("declared %s (%s)\n", t->id, why);
				good = true;
			} else {
				good = run_test(&run, &options);
			}
			passed += good;
			failed += !good;
		}
	}
	if (!options.pattern_count)
		failed += check_differences(run.target, run.result->asked);
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
