/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The commands around a launch: check, list, bind and unbind. Each takes the arguments from its own
 * name on (argv[0] is "check"), prints to standard output, and returns the exit status of the
 * program: 0 done (check: a launch will work), 1 not, 2 wrong arguments.
 */
#ifndef SLUICE_VFIO_CHECK_H
#define SLUICE_VFIO_CHECK_H

int check_main(int argc, char **argv);
int list_main(int argc, char **argv);
int bind_main(int argc, char **argv);
int unbind_main(int argc, char **argv);

#endif
