/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What system calls a running process makes, by all of its threads, until SIGTERM.
 *
 *   counts PID FILE     FILE appears when the counting has begun, and has the counts at the end
 *
 * Lines of "NAME COUNT": run (KVM_RUN: exits to user space), send and receive (of messages), poll (all that wait for
 * descriptors), read, write, futex, ioctl (but KVM_RUN), other; calls: the sum of these; clock: reading the clock, which
 * is a system call only where the vDSO cannot do it, as in the lab host, and so is not among them.
 */
#include <err.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/bench/seize.h"

#define KVM_RUN 0xae80u

enum kind { RUN, SEND, RECEIVE, POLL, READ, WRITE, FUTEX, CLOCK, IOCTL, OTHER, KINDS };

static const char *const names[KINDS] = {"run",   "send",  "receive", "poll",  "read",
					 "write", "futex", "clock",   "ioctl", "other"};

static const struct {
	long nr;
	enum kind kind;
} calls[] = {
	{SYS_sendmsg, SEND},        {SYS_sendto, SEND},       {SYS_recvmsg, RECEIVE},
	{SYS_recvfrom, RECEIVE},    {SYS_ppoll, POLL},        {SYS_epoll_wait, POLL},
	{SYS_epoll_pwait, POLL},    {SYS_read, READ},         {SYS_readv, READ},
	{SYS_pread64, READ},        {SYS_write, WRITE},       {SYS_writev, WRITE},
	{SYS_pwrite64, WRITE},      {SYS_epoll_pwait2, POLL}, {SYS_futex, FUTEX},
	{SYS_clock_gettime, CLOCK},
#ifdef SYS_poll
	{SYS_poll, POLL},
#endif
};

static enum kind kind_of(const struct __ptrace_syscall_info *info)
{
	if (info->entry.nr == SYS_ioctl)
		return info->entry.args[1] == KVM_RUN ? RUN : IOCTL;
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		if ((long)info->entry.nr == calls[i].nr)
			return calls[i].kind;
	return OTHER;
}

/* A thread of @pid has stopped: count what it is about to do, and let it go on. */
static void stopped(pid_t tid, int status, unsigned long counts[KINDS])
{
	struct __ptrace_syscall_info info;
	const int signal = WSTOPSIG(status);

	if (signal == (SIGTRAP | 0x80)) {
		if (ptrace(PTRACE_GET_SYSCALL_INFO, tid, sizeof(info), &info) > 0 &&
		    info.op == PTRACE_SYSCALL_INFO_ENTRY)
			counts[kind_of(&info)]++;
		ptrace(PTRACE_SYSCALL, tid, NULL, NULL);
	} else {
		/* An event of ptrace's own has no signal to pass on. */
		ptrace(PTRACE_SYSCALL, tid, NULL, status >> 16 ? 0 : signal);
	}
}

/* All that have stopped so far. */
static void let_go_on(unsigned long counts[KINDS])
{
	int status;
	pid_t tid;

	while ((tid = waitpid(-1, &status, __WALL | WNOHANG)) > 0)
		if (WIFSTOPPED(status))
			stopped(tid, status, counts);
	if (tid < 0)
		errx(1, "the process has ended, or may not be traced");
}

int main(int argc, char **argv)
{
	unsigned long counts[KINDS] = {0}, all = 0;
	sigset_t signals;
	int signal;
	FILE *file;

	if (argc != 3)
		errx(2, "usage: counts PID FILE");
	/* Blocked and waited for, so that neither is missed. A stop is told by SIGCHLD. */
	sigemptyset(&signals);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGCHLD);
	sigprocmask(SIG_BLOCK, &signals, NULL);
	seize_all(atoi(argv[1]), PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE);
	file = fopen(argv[2], "w");
	if (!file)
		err(1, "%s", argv[2]);
	do {
		let_go_on(counts);
		sigwait(&signals, &signal);
	} while (signal != SIGTERM);
	for (int i = 0; i < KINDS; i++) {
		fprintf(file, "%s %lu\n", names[i], counts[i]);
		all += i == CLOCK ? 0 : counts[i];
	}
	fprintf(file, "calls %lu\n", all);
	/* Whoever is traced goes on by itself when the tracer ends. */
	return fclose(file) ? 1 : 0;
}
