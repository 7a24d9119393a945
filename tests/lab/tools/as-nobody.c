// SPDX-License-Identifier: Apache-2.0
// as-nobody COMMAND...: run it as user and group 65534 with no capabilities, descriptors kept. What a user without privileges is.
#include <stdio.h>
#include <string.h>
#include <errno.h>
#include <grp.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr, "usage: as-nobody COMMAND...\n");
		return 2;
	}
	if (setgroups(0, NULL) < 0 || setgid(65534) < 0 || setuid(65534) < 0) {
		fprintf(stderr, "as-nobody: %s\n", strerror(errno));
		return 126;
	}
	execv(argv[1], argv + 1);
	fprintf(stderr, "as-nobody: %s: %s\n", argv[1], strerror(errno));
	return 127;
}
