/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What attaching a device costs: the VFIO and iommufd calls of a VMM until its first KVM_RUN, the time
 * until then, and how much of the processor its attaching thread has outside of system calls.
 *
 *   calls COMMAND [ARGUMENTS...]
 *
 * The time runs from the first open of /dev/iommu or of a node in /dev/vfio, in the thread that does
 * it, to the first KVM_RUN of any thread. Then the VMM is killed. It is traced with ptrace, and what
 * a stop costs is measured in the same run, by a child that does nothing but getppid, and taken off.
 * Outside of system calls it is the thread's own time on a processor, page faults and all, so that
 * what else there runs in between does not count; a total has that too, and waiting.
 *
 * Prints lines of "NAME VALUE": map, bind, reset (calls), outside_us, total_us, calls,
 * stop_total_ns, stop_outside_ns (what was taken off for each system call), then one line
 * "ioctl NAME COUNT" for each kind of VFIO or iommufd call.
 */
#include <err.h>
#include <errno.h>
#include <linux/ioctl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_THREADS       64
#define CALIBRATION_CALLS 2000
#define TYPE_VFIO         0x3b
#define TYPE_KVM          0xae
#define NR_KVM_RUN        0x80
#define NR_KVM_SET_ATTR   0xe1

/* By number alone: the types of the arguments do not matter here. */
static const struct {
	unsigned nr;
	const char *name;
	const char *group; /* of the table that `make bench` prints */
} names[] = {
	{107, "VFIO_DEVICE_GET_INFO", NULL},
	{108, "VFIO_DEVICE_GET_REGION_INFO", NULL},
	{109, "VFIO_DEVICE_GET_IRQ_INFO", NULL},
	{110, "VFIO_DEVICE_SET_IRQS", NULL},
	{111, "VFIO_DEVICE_RESET", "reset"},
	{112, "VFIO_DEVICE_GET_PCI_HOT_RESET_INFO", NULL},
	{113, "VFIO_DEVICE_PCI_HOT_RESET", "reset"},
	{117, "VFIO_DEVICE_FEATURE", NULL},
	{118, "VFIO_DEVICE_BIND_IOMMUFD", "bind"},
	{119, "VFIO_DEVICE_ATTACH_IOMMUFD_PT", "bind"},
	{120, "VFIO_DEVICE_DETACH_IOMMUFD_PT", NULL},
	{0x80, "IOMMU_DESTROY", NULL},
	{0x81, "IOMMU_IOAS_ALLOC", NULL},
	{0x82, "IOMMU_IOAS_ALLOW_IOVAS", NULL},
	{0x83, "IOMMU_IOAS_COPY", "map"},
	{0x84, "IOMMU_IOAS_IOVA_RANGES", NULL},
	{0x85, "IOMMU_IOAS_MAP", "map"},
	{0x86, "IOMMU_IOAS_UNMAP", NULL},
	{0x87, "IOMMU_OPTION", NULL},
	{0x89, "IOMMU_HWPT_ALLOC", NULL},
	{0x8a, "IOMMU_GET_HW_INFO", NULL},
	{0x8b, "IOMMU_HWPT_SET_DIRTY_TRACKING", NULL},
	{0x8f, "IOMMU_IOAS_MAP_FILE", "map"},
};

struct thread {
	pid_t id;
	uint64_t resumed; /* when it was last let go, in nanoseconds */
	uint64_t used;    /* of a processor by then, in nanoseconds */
	bool inside;      /* of a system call */
};

struct trace {
	struct thread threads[MAX_THREADS];
	pid_t timed; /* the thread whose time runs; 0 before */
	uint64_t total, outside;
	unsigned calls;
	unsigned ioctls[256]; /* of VFIO and iommufd, by number */
	unsigned set_attr;
	bool over;
};

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* What a stopped thread has had of a processor, in nanoseconds: the scheduler's own count. */
static uint64_t used_by(pid_t id)
{
	char path[40];
	unsigned long long used;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/schedstat", id);
	file = fopen(path, "r");
	if (file == NULL || fscanf(file, "%llu", &used) != 1)
		err(1, "%s", path);
	if (used == 0)
		errx(1, "%s: this kernel does not count", path);
	fclose(file);
	return used;
}

static struct thread *thread_of(struct trace *t, pid_t id)
{
	for (size_t i = 0; i < MAX_THREADS; i++) {
		if (t->threads[i].id == 0)
			t->threads[i].id = id;
		if (t->threads[i].id == id)
			return &t->threads[i];
	}
	errx(1, "more than %d threads", MAX_THREADS);
}

/* Whether the path at @address of the tracee is one that attaching begins with. */
static bool is_vfio_path(pid_t id, uint64_t address)
{
	char path[17] = "";

	for (size_t i = 0; i < 2; i++) {
		errno = 0;
		long word = ptrace(PTRACE_PEEKDATA, id, address + 8 * i, NULL);

		if (errno != 0)
			break;
		memcpy(path + 8 * i, &word, 8);
	}
	return strcmp(path, "/dev/iommu") == 0 || strncmp(path, "/dev/vfio/", 10) == 0;
}

static void count_ioctl(struct trace *t, uint64_t request)
{
	if (_IOC_TYPE(request) == TYPE_VFIO)
		t->ioctls[_IOC_NR(request)]++;
	else if (_IOC_TYPE(request) == TYPE_KVM && _IOC_NR(request) == NR_KVM_SET_ATTR)
		t->set_attr++;
	else if (_IOC_TYPE(request) == TYPE_KVM && _IOC_NR(request) == NR_KVM_RUN)
		t->over = true;
}

/* One stop at the beginning or the end of a system call. @when: as soon as the tracer knew of it. */
static void system_call(struct trace *t, struct thread *thread, uint64_t when)
{
	struct __ptrace_syscall_info info;
	bool timed = t->timed == thread->id;

	if (ptrace(PTRACE_GET_SYSCALL_INFO, thread->id, sizeof(info), &info) < 0)
		err(1, "PTRACE_GET_SYSCALL_INFO");
	thread->inside = info.op == PTRACE_SYSCALL_INFO_ENTRY;
	if (timed)
		t->total += when - thread->resumed;
	if (timed && thread->inside) {
		t->outside += used_by(thread->id) - thread->used;
		t->calls++;
	}
	if (!thread->inside)
		return;
	if (info.entry.nr == SYS_ioctl) {
		count_ioctl(t, info.entry.args[1]);
	} else if (t->timed == 0 &&
		   ((info.entry.nr == SYS_openat && is_vfio_path(thread->id, info.entry.args[1])) ||
		    (info.entry.nr == SYS_open && is_vfio_path(thread->id, info.entry.args[0])))) {
		t->timed = thread->id;
		t->calls++;
	}
}

/* The time of what the timed thread is in the middle of. */
static void close_time(struct trace *t, uint64_t when)
{
	struct thread *thread = thread_of(t, t->timed);

	/* Where it is the one that stopped, its time has been taken. */
	if (thread->resumed > when)
		return;
	t->total += when - thread->resumed;
}

/* Trace @child, stopped in its first exec or by itself, until it ends or runs a guest. */
static void trace_until_run(struct trace *t, pid_t child)
{
	int status;

	if (waitpid(child, &status, 0) != child || !WIFSTOPPED(status))
		errx(1, "the command did not start");
	if (ptrace(PTRACE_SETOPTIONS, child, NULL,
		   PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
			   PTRACE_O_TRACEVFORK | PTRACE_O_EXITKILL) < 0)
		err(1, "PTRACE_SETOPTIONS");
	thread_of(t, child)->used = used_by(child);
	thread_of(t, child)->resumed = now();
	ptrace(PTRACE_SYSCALL, child, NULL, 0);
	while (!t->over) {
		pid_t id = waitpid(-1, &status, __WALL);
		uint64_t when = now();
		struct thread *thread;
		int signal = 0;

		if (id < 0)
			return;
		if (!WIFSTOPPED(status)) {
			if (id == child)
				return;
			continue;
		}
		thread = thread_of(t, id);
		if (WSTOPSIG(status) == (SIGTRAP | 0x80))
			system_call(t, thread, when);
		else if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP)
			signal = WSTOPSIG(status);
		if (t->over) {
			if (t->timed != 0 && t->timed != id)
				close_time(t, when);
			break;
		}
		/* A stop for anything else is in the middle of what it does: the little it adds stays. */
		if (WSTOPSIG(status) == (SIGTRAP | 0x80)) {
			thread->used = t->timed == id ? used_by(id) : 0;
			thread->resumed = now();
		}
		ptrace(PTRACE_SYSCALL, id, NULL, signal);
	}
}

/* What tracing adds to one system call and to the way between two. */
static void calibrate(uint64_t *total, uint64_t *outside)
{
	static struct trace t;
	pid_t child = fork();

	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		for (int i = 0; i < CALIBRATION_CALLS; i++)
			syscall(SYS_getppid);
		_exit(0);
	}
	t.timed = child;
	trace_until_run(&t, child);
	*total = t.total / t.calls;
	*outside = t.outside / t.calls;
}

/* @time without what @stops stops cost, in microseconds. */
static uint64_t net_us(uint64_t time, unsigned stops, uint64_t each)
{
	return time > stops * each ? (time - stops * each) / 1000 : 0;
}

static unsigned in_group(const struct trace *t, const char *group)
{
	unsigned n = 0;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (names[i].group != NULL && strcmp(names[i].group, group) == 0)
			n += t->ioctls[names[i].nr];
	return n;
}

int main(int argc, char **argv)
{
	static struct trace t;
	uint64_t stop_total, stop_outside;
	pid_t child;

	if (argc < 2)
		errx(2, "usage: calls COMMAND [ARGUMENTS...]");
	calibrate(&stop_total, &stop_outside);
	child = fork();
	if (child < 0)
		err(1, "fork");
	if (child == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		execv(argv[1], argv + 1);
		err(127, "%s", argv[1]);
	}
	trace_until_run(&t, child);
	kill(child, SIGKILL);
	if (!t.over || t.timed == 0)
		errx(1, "%s: no guest ran, or without a device", argv[1]);

	printf("map %u\nbind %u\nreset %u\n", in_group(&t, "map"), in_group(&t, "bind"),
	       in_group(&t, "reset"));
	printf("outside_us %llu\ntotal_us %llu\ncalls %u\n",
	       (unsigned long long)net_us(t.outside, t.calls, stop_outside),
	       (unsigned long long)net_us(t.total, t.calls, stop_total), t.calls);
	printf("stop_total_ns %llu\nstop_outside_ns %llu\n", (unsigned long long)stop_total,
	       (unsigned long long)stop_outside);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (t.ioctls[names[i].nr] > 0)
			printf("ioctl %s %u\n", names[i].name, t.ioctls[names[i].nr]);
	for (unsigned nr = 0; nr < 256; nr++) {
		bool known = t.ioctls[nr] == 0;

		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			known |= names[i].nr == nr;
		if (!known)
			printf("ioctl 0x%x %u\n", nr, t.ioctls[nr]);
	}
	if (t.set_attr > 0)
		printf("ioctl KVM_SET_DEVICE_ATTR %u\n", t.set_attr);
	return 0;
}
