/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Time from exec to the first byte of output, for several commands in turns.
 *
 *   first_byte ROUNDS -- COMMAND... [-- COMMAND...]...
 *
 * The commands take turns, so that whatever else the machine does meets all of them alike. A command
 * is killed after its first byte: what is measured is the way there. Prints one line a command,
 * "MEDIAN_US MIN_US MAX_US COMMAND". Run it under `chrt -f 20` to keep other tasks out.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_COMMANDS 8
#define MAX_ROUNDS   1000
#define BOUND_MS     20000

static double now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static double measure(char **command)
{
	struct pollfd ready;
	double start, end;
	int out[2];
	char byte;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC) < 0)
		err(1, "pipe");
	start = now_us();
	pid = fork();
	if (pid < 0)
		err(1, "fork");
	if (pid == 0) {
		int null = open("/dev/null", O_RDONLY);

		dup2(null, STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execv(command[0], command);
		err(127, "%s", command[0]);
	}
	close(out[1]);
	ready = (struct pollfd){.fd = out[0], .events = POLLIN};
	if (poll(&ready, 1, BOUND_MS) != 1 || read(out[0], &byte, 1) != 1)
		errx(1, "%s: no output", command[0]);
	end = now_us();
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(out[0]);
	return end - start;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
	static double times[MAX_COMMANDS][MAX_ROUNDS];
	char **commands[MAX_COMMANDS];
	int count = 0, rounds = argc > 1 ? atoi(argv[1]) : 0;

	if (rounds < 1 || rounds > MAX_ROUNDS)
		errx(2, "usage: first_byte ROUNDS -- COMMAND... [-- COMMAND...]...");
	for (int i = 2; i < argc; i++) {
		if (strcmp(argv[i], "--") != 0)
			continue;
		argv[i] = NULL;
		if (count == MAX_COMMANDS || i + 1 == argc)
			errx(2, "1 to %d commands", MAX_COMMANDS);
		commands[count++] = argv + i + 1;
	}
	for (int round = 0; round < rounds; round++)
		for (int i = 0; i < count; i++)
			times[i][round] = measure(commands[i]);
	for (int i = 0; i < count; i++) {
		qsort(times[i], (size_t)rounds, sizeof(double), by_value);
		printf("%.0f %.0f %.0f %s\n", times[i][rounds / 2], times[i][0],
		       times[i][rounds - 1], commands[i][0]);
	}
	return 0;
}
