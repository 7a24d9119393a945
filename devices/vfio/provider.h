/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Providers: who can make a vfio_device out of a name that the user typed after --vfio.
 */
#ifndef SLUICE_VFIO_PROVIDER_H
#define SLUICE_VFIO_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/vfio/config.h"

struct iommufd_ctx;
struct iova_range;
struct kernel_iommufd;
struct loop;
struct vfio_device;
struct vfio_device_sets;

/* What a provider may use to make a device. */
struct vfio_provider_env {
	struct loop *loop;
	struct iommufd_ctx *ictx;
	struct vfio_device_sets
		*sets; /* of this VM: finds a device named twice, and reset siblings */
	struct kernel_iommufd
		*iommufd; /* /dev/iommu of this VM; NULL when no kernel device is used */
};

/* A device that can be named on any host, for lists of what there is. */
struct vfio_named {
	const char *name;        /* "soft:reference"; capitals stand for what the user puts there */
	const char *what;        /* half a sentence */
	const char *const *keys; /* of the provider's own, NULL-terminated */
};

struct vfio_provider {
	const char *name;
	/*
	 * Names that begin with it are this provider's ("user:"), and keys that sluice does not know are
	 * handed to it with them; check() refuses those that it does not know either. NULL: none.
	 */
	const char *prefix;
	const struct vfio_named
		*named;     /* its devices; ends with one without name. NULL: those of the host */
	bool needs_iommufd; /* env->iommufd must be there */
	bool many; /* a name stands for a kind: each time it is given it is another device */
	/* Does this provider take @config->name? positive yes, 0 no, -errno malformed (message said). */
	int (*match)(const struct vfio_config *config);
	/*
	 * Is what the user said of a device with a name of this provider's right, its keys above all? By
	 * the text alone: nothing of the host is opened or asked. 0, or -EINVAL after one message. NULL:
	 * there is nothing to be checked.
	 */
	int (*check)(const struct vfio_config *config);
	/*
	 * Make and register a device. Every refusal is one message that names the device, the cause
	 * and the remedy. -EINVAL, -EEXIST and -EBADF say that what the user typed is wrong: a key, a
	 * device that is named twice, a descriptor that is none. The caller frees the device by
	 * vfio_unregister_device() and vfio_device_free().
	 */
	int (*create)(const struct vfio_provider_env *env, const struct vfio_config *config,
		      struct vfio_device **out);
	/*
	 * IOVA at which no RAM may be because of @vdev, as far as it is known before the device is
	 * open. @count in: room, out: number; -EMSGSIZE when there are more. NULL: none.
	 */
	int (*reserved)(struct vfio_device *vdev, struct iova_range *ranges, size_t *count);
};

/* All providers, NULL-terminated (providers.c); those with a prefix come first. */
extern const struct vfio_provider *const vfio_providers[];

/* The provider by whose prefix @name begins, or NULL. */
const struct vfio_provider *vfio_provider_by_prefix(const char *name);

#endif
