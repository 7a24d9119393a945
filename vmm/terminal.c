// SPDX-License-Identifier: Apache-2.0
#include "vmm/terminal.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <termios.h>
#include <unistd.h>

const char escape_help[] = "\n"
			   "Ctrl-A x       end sluice and its guest at once\n"
			   "Ctrl-A Ctrl-A  send Ctrl-A to the guest\n"
			   "Ctrl-A h       this help\n";

size_t escape_filter(struct escape *escape, uint8_t *bytes, size_t count, unsigned *actions)
{
	size_t left = 0;

	*actions = ESCAPE_NONE;
	for (size_t i = 0; i < count; i++) {
		uint8_t byte = bytes[i];

		if (!escape->armed) {
			if (byte == ESCAPE_KEY)
				escape->armed = true;
			else
				bytes[left++] = byte;
			continue;
		}
		escape->armed = false;
		if (byte == ESCAPE_KEY)
			bytes[left++] = byte;
		else if (byte == 'x' || byte == 'X')
			*actions |= ESCAPE_QUIT;
		else if (byte == 'h' || byte == 'H' || byte == '?')
			*actions |= ESCAPE_HELP;
	}
	return left;
}

static struct termios saved;
static volatile sig_atomic_t raw;

void terminal_restore(void)
{
	int error = errno;

	if (raw) {
		raw = 0;
		tcsetattr(STDIN_FILENO, TCSANOW, &saved);
	}
	errno = error;
}

/* tcsetattr() is safe in a handler (POSIX); SA_RESETHAND lets the signal do its work afterwards. */
static void restore_and_die(int signal)
{
	terminal_restore();
	pthread_kill(pthread_self(), signal);
}

/* Not every shell sees to the terminal of a job that stops. terminal_continued() is the way back. */
static void restore_and_stop(int signal)
{
	(void)signal;
	terminal_restore();
	pthread_kill(pthread_self(), SIGSTOP);
}

static void catch_signals(void)
{
	static const int deadly[] = {SIGSEGV, SIGBUS,  SIGILL,    SIGFPE,   SIGABRT,
				     SIGSYS,  SIGTRAP, SIGQUIT,   SIGHUP,   SIGPIPE,
				     SIGALRM, SIGXCPU, SIGXFSZ,   SIGUSR2,  SIGPROF,
				     SIGIO,   SIGPWR,  SIGVTALRM, SIGSTKFLT};
	struct sigaction action = {.sa_handler = restore_and_die, .sa_flags = (int)SA_RESETHAND};
	struct sigaction stop = {.sa_handler = restore_and_stop, .sa_flags = SA_RESTART};
	struct sigaction before;

	for (unsigned i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++) {
		/* What is ignored, by nohup for example, stays ignored. */
		if (sigaction(deadly[i], NULL, &before) == 0 && before.sa_handler == SIG_DFL)
			sigaction(deadly[i], &action, NULL);
	}
	if (sigaction(SIGTSTP, NULL, &before) == 0 && before.sa_handler == SIG_DFL)
		sigaction(SIGTSTP, &stop, NULL);
}

bool terminal_raw(void)
{
	static bool prepared;
	struct termios mode;

	if (raw)
		return true;
	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &mode) < 0)
		return false;
	if (!prepared) {
		prepared = true;
		catch_signals();
		atexit(terminal_restore);
	}
	/* In the background it is another's. */
	if (tcgetpgrp(STDIN_FILENO) != getpgrp())
		return true;
	saved = mode;
	mode.c_iflag &= (tcflag_t) ~(BRKINT | ICRNL | INLCR | IGNCR | INPCK | ISTRIP | IXON);
	mode.c_lflag &= (tcflag_t) ~(ECHO | ECHONL | ICANON | IEXTEN | ISIG);
	mode.c_cflag |= CS8;
	mode.c_cc[VMIN] = 1;
	mode.c_cc[VTIME] = 0;
	raw = 1;
	if (tcsetattr(STDIN_FILENO, TCSANOW, &mode) < 0)
		raw = 0;
	return true;
}

void terminal_continued(void)
{
	struct termios mode;

	/* As it was left, by SIGSTOP under a shell that does not care: what is saved still holds. */
	if (raw && tcgetattr(STDIN_FILENO, &mode) == 0 && (mode.c_lflag & (ICANON | ECHO)) == 0 &&
	    tcgetpgrp(STDIN_FILENO) == getpgrp())
		return;
	raw = 0;
	terminal_raw();
}
