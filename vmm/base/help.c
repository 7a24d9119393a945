// SPDX-License-Identifier: Apache-2.0
#include "vmm/base/help.h"

#include <stdio.h>

#include "vmm/base/log.h"

#define EXPLAINED_AT 25

int help_print(const char *text)
{
	int column = 0;

	for (; *text; text++) {
		if (*text == '\t') {
			column += printf("%*s", EXPLAINED_AT - column, "");
			continue;
		}
		fputc(*text, stdout);
		column = *text == '\n' ? 0 : column + 1;
	}
	/* What was not taken above is remembered by the stream. */
	return log_stdout(NULL);
}
