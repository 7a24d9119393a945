/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The kernel and the initrds. They stay open while the machine lives: a reboot loads the same files
 * again, whatever their paths lead to by then.
 */
#ifndef SLUICE_BOOT_FILES_H
#define SLUICE_BOOT_FILES_H

struct arch_boot_files;
struct vm_config;

/* Nothing is open: what boot_files_close() takes before boot_files_open(). */
void boot_files_init(struct arch_boot_files *files);

/*
 * Open what @config names, whose strings @files then uses. One message that names the option on
 * failure; what was opened by then is closed by boot_files_close() all the same.
 */
int boot_files_open(struct arch_boot_files *files, const struct vm_config *config);

void boot_files_close(struct arch_boot_files *files);

#endif
