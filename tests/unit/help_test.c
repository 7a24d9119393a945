// SPDX-License-Identifier: Apache-2.0
#include "vmm/base/help.h"

#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/log.h"
#include "vmm/options.h"
#include "vmm/serve.h"

/* What help_print() makes of @text, into @out. */
static void printed(const char *text, char *out, size_t size)
{
	char path[] = "/tmp/help_test.XXXXXX";
	int file = mkstemp(path), before = dup(STDOUT_FILENO);
	ssize_t n;

	cr_assert_geq(file, 0);
	fflush(stdout);
	dup2(file, STDOUT_FILENO);
	cr_expect_eq(help_print(text), 0);
	dup2(before, STDOUT_FILENO);
	n = pread(file, out, size - 1, 0);
	out[n > 0 ? n : 0] = '\0';
	close(before);
	close(file);
	unlink(path);
}

Test(help, a_tab_goes_to_the_column_of_explanations)
{
	char out[256];

	printed("usage\n\n  --all\tbridges\n\tand others\n      id=NAME\ta name\n", out,
		sizeof(out));
	cr_expect_str_eq(out, "usage\n"
			      "\n"
			      "  --all                  bridges\n"
			      "                         and others\n"
			      "      id=NAME            a name\n");
}

/* No option is so long that its explanation would not fit beside it, and no line wider than a page. */
Test(help, every_explanation_begins_in_its_column)
{
	const char *const texts[] = {options_help, options_run_help, serve_help};
	char out[8192];

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		const char *from = texts[i];

		printed(texts[i], out, sizeof(out));
		cr_expect_null(strchr(out, '\t'));
		for (char *line = strtok(out, "\n"); line; line = strtok(NULL, "\n")) {
			const char *tab;

			cr_expect_leq(strlen(line), 100, "%s", line);
			from += strspn(from, "\n");
			tab = memchr(from, '\t', strcspn(from, "\n"));
			cr_expect(!tab || (line[24] == ' ' && line[25] == tab[1]), "%s", line);
			from += strcspn(from, "\n");
		}
	}
}

Test(help, what_is_not_taken_is_a_failure)
{
	int full = dup(STDOUT_FILENO);
	FILE *out = freopen("/dev/full", "w", stdout);

	cr_assert_not_null(out);
	log_open("/dev/null", LOG_LEVEL_ERROR);
	cr_expect_eq(help_print("  --all\tbridges\n"), -EIO);
	dup2(full, STDOUT_FILENO);
	close(full);
}
