/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The other process of a test (flag OTHERS), for what one process cannot show: who opens a device that
 * another has, and what is left of a process that was killed.
 *
 * It is forked before the test has a thread. A fork beside one would have the locks that the thread holds
 * just then, the sanitizers' allocator's among them, and nobody to release them.
 */
#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/contract/contract.h"

typedef int work_fn(struct run *run);

static void obey(struct run *run, int orders)
{
	work_fn *work;
	char byte;

	/* It ends with the test, or the next test would find its device taken. */
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (read(orders, &work, sizeof(work)) != sizeof(work))
		_exit(0);
	byte = (char)-work(run);
	if (write(orders, &byte, 1) != 1)
		_exit(1);
	/* What it has it keeps, until the test has seen enough. */
	if (read(orders, &byte, 1) < 0)
		_exit(1);
	_exit(0);
}

int other_begin(struct run *run)
{
	int orders[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, orders) < 0)
		return -errno;
	run->other_process = fork();
	if (run->other_process < 0)
		return -errno;
	if (!run->other_process) {
		close(orders[0]);
		obey(run, orders[1]);
	}
	close(orders[1]);
	run->orders = orders[0];
	return 0;
}

void other_do(struct run *run, work_fn *work)
{
	expect(run, write(run->orders, &work, sizeof(work)) == sizeof(work),
	       "the other process is not there");
}

int other_done(struct run *run)
{
	char byte;

	if (!expect(run, read(run->orders, &byte, 1) == 1, "the other process has died"))
		return -ECHILD;
	return -byte;
}

void other_end(struct run *run, int signal)
{
	int status = 0;

	if (run->other_process <= 0)
		return;
	if (signal)
		kill(run->other_process, signal);
	close(run->orders);
	waitpid(run->other_process, &status, 0);
	run->other_process = 0;
	expect(run, signal ? WIFSIGNALED(status) : !status,
	       "the other process did not end well (%#x)", (unsigned)status);
}
