// SPDX-License-Identifier: Apache-2.0
#include "vmm/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "devices/vfio/provider.h"
#include "vmm/base/log.h"

#define DEFAULT_UNPLUG_TIMEOUT_S 30

int vm_config_init(struct vm_config *config)
{
	*config = (struct vm_config){
		.cmdline = strdup(""),
		.cpus = 1,
		.memory.size = MEMORY_DEFAULT,
		.serial = VM_SERIAL_STDIO,
		.iommufd = -1,
		.unplug_timeout_s = DEFAULT_UNPLUG_TIMEOUT_S,
		.on_reset = VM_ON_RESET_EXIT,
	};
	return config->cmdline == NULL ? -ENOMEM : 0;
}

void vm_config_destroy(struct vm_config *config)
{
	for (unsigned i = 0; i < config->initrd_count; i++)
		free(config->initrds[i]);
	for (unsigned i = 0; i < config->disk_count; i++)
		free(config->disks[i].path);
	for (unsigned i = 0; i < config->net_count; i++)
		free(config->nets[i].tap);
	for (unsigned i = 0; i < config->vfio_count; i++) {
		free((char *)config->vfio[i].name);
		free((char *)config->vfio[i].id);
		free((char *)config->vfio[i].rom_file);
		for (unsigned k = 0; k < config->vfio[i].key_count; k++) {
			free(config->vfio[i].keys[k].name);
			free(config->vfio[i].keys[k].value);
		}
		free(config->vfio[i].keys);
	}
	free(config->initrds);
	free(config->disks);
	free(config->nets);
	free(config->vfio);
	free(config->kernel);
	free(config->cmdline);
	free(config->serial_path);
	free(config->log_file);
	*config = (struct vm_config){.iommufd = -1};
}

static bool same_text(const char *a, const char *b)
{
	return a != NULL && b != NULL && strcmp(a, b) == 0;
}

/* A guest finds no function in a slot without function 0. */
static bool has_first_function(const struct vm_config *config, int slot)
{
	for (unsigned i = 0; i < config->vfio_count; i++) {
		if (config->vfio[i].slot == slot && config->vfio[i].function == 0)
			return true;
	}
	return false;
}

/* By the text alone: whether there is such a device is seen when it is opened. *@iommufd: whether it needs one. */
static int check_vfio_text(const struct vm_config *config, const struct vfio_config *vfio,
			   bool *iommufd)
{
	const struct vfio_provider *provider = NULL;
	int r = 0;

	for (unsigned i = 0; r == 0 && vfio_providers[i] != NULL; i++) {
		provider = vfio_providers[i];
		r = provider->match(vfio);
	}
	if (r == 0)
		log_error("--vfio %s: no such kind of device is known", vfio->name);
	if (r <= 0 || (provider->check != NULL && provider->check(vfio) < 0))
		return -EINVAL;
	*iommufd |= provider->needs_iommufd;
	/* Who hands a node over does so for a process that may not open /dev/iommu either. */
	if (vfio->fd >= 0 && config->iommufd < 0) {
		log_error("--vfio %s: a passed descriptor needs --iommufd fd=N as well, an open "
			  "descriptor of /dev/iommu",
			  vfio->name);
		return -EINVAL;
	}
	return 0;
}

/* Devices that are made when they are named. */
static bool can_be_many(const struct vfio_config *vfio)
{
	const struct vfio_provider *provider = vfio_provider_by_prefix(vfio->name);

	return provider != NULL && provider->many;
}

int vm_config_check_vfio(const struct vm_config *config)
{
	bool iommufd = false;

	for (unsigned i = 0; i < config->vfio_count; i++) {
		const struct vfio_config *a = &config->vfio[i];
		int r = check_vfio_text(config, a, &iommufd);

		if (r < 0)
			return r;
		for (unsigned j = 0; j < i; j++) {
			const struct vfio_config *b = &config->vfio[j];

			if (strcmp(a->name, b->name) == 0 && !can_be_many(a)) {
				log_error("--vfio %s: named twice; a device can be passed through "
					  "once",
					  a->name);
				return -EINVAL;
			}
			if (strcmp(a->name, b->name) == 0 && (a->id == NULL || b->id == NULL)) {
				log_error("--vfio %s: there are several; give each an id=NAME",
					  a->name);
				return -EINVAL;
			}
			if (same_text(a->id, b->id)) {
				log_error("--vfio %s: id=%s is already the id of %s", a->name,
					  a->id, b->name);
				return -EINVAL;
			}
			if (a->slot >= 0 && a->slot == b->slot && a->function == b->function) {
				log_error("--vfio %s: addr=%02x.%u is already the place of %s",
					  a->name, (unsigned)a->slot, a->function, b->name);
				return -EINVAL;
			}
		}
		if (a->function != 0 && !has_first_function(config, a->slot)) {
			log_error("--vfio %s: addr=%02x.%u needs a device at %02x.0", a->name,
				  (unsigned)a->slot, a->function, (unsigned)a->slot);
			return -EINVAL;
		}
	}
	/* It would stay open and unused, and nobody would see that it is none. */
	if (config->iommufd >= 0 && !iommufd) {
		log_error("--iommufd fd=%d: no --vfio device here is one of the host's kernel, and "
			  "no other needs it",
			  config->iommufd);
		return -EINVAL;
	}
	return 0;
}

int vm_config_check(const struct vm_config *config)
{
	int r;

	if (config->kernel == NULL) {
		log_error("--kernel is missing: name a vmlinux or bzImage to boot");
		return -EINVAL;
	}
	if (config->cpus == 0 || config->cpus > arch_max_cpus) {
		log_error("--cpus %u: 1 to %u are possible", config->cpus, arch_max_cpus);
		return -EINVAL;
	}
	r = memory_option_check(&config->memory);
	if (r < 0)
		return r;
	for (unsigned i = 0; i < config->disk_count; i++) {
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(config->disks[i].path, config->disks[j].path) == 0 &&
			    !(config->disks[i].readonly && config->disks[j].readonly)) {
				log_error("--disk %s: named twice; two disks would write over each "
					  "other (readonly on both allows it)",
					  config->disks[i].path);
				return -EINVAL;
			}
		}
	}
	for (unsigned i = 0; i < config->net_count; i++) {
		for (unsigned j = 0; j < i; j++) {
			if (strcmp(config->nets[i].tap, config->nets[j].tap) == 0) {
				log_error("--net %s: named twice", config->nets[i].tap);
				return -EINVAL;
			}
		}
	}
	return vm_config_check_vfio(config);
}
