/* SPDX-License-Identifier: Apache-2.0 */
/* What a user says of one device to pass through: --vfio DEV[,KEY=VALUE]... as plain data. */
#ifndef SLUICE_VFIO_CONFIG_H
#define SLUICE_VFIO_CONFIG_H

#include <stdbool.h>
#include <stdint.h>

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

#endif
