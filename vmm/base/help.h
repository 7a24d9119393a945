/* SPDX-License-Identifier: Apache-2.0 */
/* The help texts of the commands. */
#ifndef SLUICE_BASE_HELP_H
#define SLUICE_BASE_HELP_H

/*
 * Print @text to standard output. A tab in it goes to the column in which options are explained, so
 * that these read "  --all\tbridges, too\n". As log_stdout(): 0, or -EIO after a message.
 */
int help_print(const char *text);

#endif
