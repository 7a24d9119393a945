// SPDX-License-Identifier: Apache-2.0
#include "vmm/boot_files.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "arch/arch.h"
#include "vmm/base/host.h"
#include "vmm/base/log.h"
#include "vmm/config.h"

static int open_file(const char *option, const char *path, struct arch_file *file)
{
	uint64_t size;

	file->name = path;
	file->fd = host_open_file(path, &size);
	if (file->fd >= 0)
		return 0;
	log_error("%s %s: %s", option, path,
		  file->fd == -EINVAL ? "no regular file" : host_strerror(-file->fd));
	return file->fd;
}

void boot_files_init(struct arch_boot_files *files)
{
	*files = (struct arch_boot_files){.kernel = {.fd = -1}};
}

int boot_files_open(struct arch_boot_files *files, const struct vm_config *config)
{
	struct arch_file *initrds = calloc(config->initrd_count + 1, sizeof(*initrds));
	int r;

	if (initrds == NULL)
		return -ENOMEM;
	files->initrds = initrds;
	files->cmdline = config->cmdline;
	r = open_file("--kernel", config->kernel, &files->kernel);
	for (unsigned i = 0; i < config->initrd_count && r == 0; i++) {
		r = open_file("--initrd", config->initrds[i], &initrds[i]);
		files->initrd_count += r == 0;
	}
	return r;
}

void boot_files_close(struct arch_boot_files *files)
{
	for (unsigned i = 0; i < files->initrd_count; i++)
		close(files->initrds[i].fd);
	free((void *)files->initrds);
	if (files->kernel.fd >= 0)
		close(files->kernel.fd);
}
