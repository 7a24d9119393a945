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
 *   --argument TEXT   what the target wants to know besides
 *   --seconds N       bound on one test (120)
 *   --verbose         what each test does
 *   --list            the targets and the tests, with what they prove
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
	char step[256];     /* what it is about to do */
	bool verbose;
};

struct options {
	const char *patterns[MAX_PATTERNS];
	unsigned pattern_count;
	const char *argument;
	unsigned seconds;
	bool verbose;
};

static const struct contract_test *const tables[] = {
	life_tests,   sets_tests,    iommu_tests, pasid_tests,    regions_tests,
	mmap_tests,   irqs_tests,    reset_tests, features_tests, migration_tests,
	stream_tests, logging_tests, dma_tests,   token_tests,    request_tests,
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
	rc = run_begin(run);
	if (expect_rc(run, rc, 0, "the machine and the device")) {
		step(run, "the test itself");
		run->test->run(run);
		step(run, "giving everything back");
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
	return "";
}

static bool run_test(struct run *run, const struct options *options)
{
	struct result *result = run->result;
	bool in_time;
	int status = 0;
	pid_t pid;

	*result = (struct result){.verbose = options->verbose};
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

/* Every difference belongs to a test, and what is absent is not had as well. */
static bool check_target(const struct target *target)
{
	bool good = true;

	for (const struct difference *d = target->differences; d && d->id; d++) {
		if (!is_test(d->id, strcspn(d->id, "/"))) {
			fprintf(stderr, "%s declares a difference in %s, which is no test\n",
				target->name, d->id);
			good = false;
		}
	}
	for (const struct absence *a = target->absences; a && a->why; a++) {
		if (a->what & target->has) {
			fprintf(stderr, "%s has and has not %#x\n", target->name,
				a->what & target->has);
			good = false;
		}
	}
	return good;
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

static void usage(void)
{
	fprintf(stderr, "usage: contract [--only PATTERN]... [--argument TEXT] [--seconds N] "
			"[--verbose] TARGET DEVICE\n"
			"       contract --list\n");
}

int main(int argc, char **argv)
{
	struct options options = {.seconds = 120};
	unsigned passed = 0, failed = 0;
	struct run run = {0};
	int i = 1;

	log_open(NULL, LOG_LEVEL_WARN);
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--list")) {
			list();
			return 0;
		} else if (!strcmp(argv[i], "--verbose")) {
			options.verbose = true;
		} else if (!strcmp(argv[i], "--only") && i + 1 < argc &&
			   options.pattern_count < MAX_PATTERNS) {
			options.patterns[options.pattern_count++] = argv[++i];
		} else if (!strcmp(argv[i], "--argument") && i + 1 < argc) {
			options.argument = argv[++i];
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
	if (!check_target(run.target))
		return 2;
	run.device = argv[i + 1];
	run.argument = options.argument;
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
			if (why && why[0]) {
				printf("declared %s (%s)\n", t->id, why);
				good = true;
			} else if (why) {
				printf("not ok %s (the target lacks %#x and does not say why)\n",
				       t->id, t->needs & ~run.target->has);
				good = false;
			} else {
				good = run_test(&run, &options);
			}
			passed += good;
			failed += !good;
		}
	}
	printf("%u passed, %u failed\n", passed, failed);
	return failed || !passed;
}
