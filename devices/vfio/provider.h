/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Providers: who can make a vfio_device out of a name that the user typed after --vfio.
 */
#ifndef SLUICE_VFIO_PROVIDER_H
#define SLUICE_VFIO_PROVIDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct iommufd_ctx;
struct iova_range;
struct kernel_iommufd;
struct loop;
struct vfio_device;
struct vfio_device_sets;

/* A key=value of the user that only the device's provider knows. */
struct vfio_key {
	char *name;
	char *value; /* NULL: a key alone */
};

/* One --vfio option, as plain data. Strings belong to the vm_config. */
struct vfio_config {
	/* BDF with or without domain, sysfs path, /dev/vfio/devices/vfioN, "fd=N", "PREFIX:..." */
	const char *name;
	int fd;            /* of fd=N, else -1; ownership passes to the provider */
	const char *id;    /* user's id; NULL: derived from the name */
	int slot;          /* addr=: guest slot (root port device number), -1: first free */
	unsigned function; /* addr=SLOT.FUNCTION: of a package of several functions in one slot */
	bool has_token;    /* token= */
	uint8_t token[16]; /* VF token, UUID in text order */
	enum { VFIO_P2P_AUTO, VFIO_P2P_ON, VFIO_P2P_OFF } p2p;
	enum { VFIO_ROM_ON, VFIO_ROM_OFF, VFIO_ROM_FILE } rom;
	const char *rom_file;
	int32_t vendor_id, device_id;              /* overrides, -1: the device's own */
	int32_t subsystem_vendor_id, subsystem_id; /* likewise */
	bool stop_on_error;                        /* ERR ends the VM instead of being reported */
	uint32_t
		unplug_timeout_s; /* after a REQ: take the device although the guest did not answer */
	bool migratable; /* of the VM: dirty tracking and IOMMU page size, fixed at launch */
	struct vfio_key
		*keys; /* of the provider's own, as typed; only behind a name with a prefix */
	unsigned key_count;
};

/* What a provider may use to make a device. */
struct vfio_provider_env {
	struct loop *loop;
	struct iommufd_ctx *ictx;
	struct vfio_device_sets
		*sets; /* of this VM: finds a device named twice, and reset siblings */
	struct kernel_iommufd
		*iommufd; /* /dev/iommu of this VM; NULL when no kernel device is used */
};

struct vfio_provider {
	const char *name;
	/*
	 * Names that begin with it are this provider's ("user:"), and keys that sluice does not know are
	 * handed to it with them; create() refuses those that it does not know either. NULL: none.
	 */
	const char *prefix;
	bool needs_iommufd; /* env->iommufd must be there */
	bool many; /* a name stands for a kind: each time it is given it is another device */
	/* Does this provider take @config->name? positive yes, 0 no, -errno malformed (message said). */
	int (*match)(const struct vfio_config *config);
	/*
	 * Make and register a device. Every refusal is one message that names the device, the cause
	 * and the remedy. The caller frees it by vfio_unregister_device() and vfio_device_free().
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
