/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A kernel for the kernel provider: iommufd, VFIO device nodes, kvm-vfio and the sysfs around them, as
 * far as opening, attaching, mapping and closing go. It keeps account of everything that it hands out
 * and can fail any one call.
 */
#ifndef SLUICE_TESTS_FAKE_KERNEL_H
#define SLUICE_TESTS_FAKE_KERNEL_H

#include <stdbool.h>
#include <stdint.h>

#include "devices/vfio/providers/kernel/calls.h"

#define FAKE_PASIDS 4

struct fake_range {
	uint64_t first, last;
};

/* One device of the host, bound to vfio-pci. */
struct fake_kernel_device {
	char bdf[24], real[160], node[40];
	unsigned index;
	unsigned group;
	bool emulated, noiommu;
	unsigned iommu; /* tables of one IOMMU do not fit another */
	uint64_t capabilities;
	unsigned pasid_log2;
	bool no_pasid_ops; /* as variant drivers */
	bool token_needed;
	bool kvm_needed; /* as of i915's vGPUs */
	uint8_t token[16];
	struct fake_range reserved;
	bool has_err, has_req;
	uint64_t migration; /* flags, 0: ENOTTY */
	bool logs;
	unsigned config_pasid_bits; /* of the PASID capability in config space; 0: none */

	/* State */
	int owner; /* iommufd it is bound to, -1 */
	uint32_t devid;
	uint32_t attached; /* object id, 0: not */
	struct {
		uint32_t pasid, attached; /* 0: unused */
	} pasids[FAKE_PASIDS];
	bool reserves;     /* its reserved range counts in the space */
	unsigned detaches; /* of its own table, not of PASIDs */
	int triggers[5];   /* eventfds by irq index, -1 */
	void *kvm_at_bind;
	unsigned binds;
};

enum fake_file_kind { FAKE_FREE, FAKE_IOMMUFD, FAKE_NODE, FAKE_EVENTFD };

struct fake_file {
	enum fake_file_kind kind;
	bool open; /* its descriptor */
	void *kvm; /* kvm-vfio's reference */
	struct fake_kernel_device *device;
	int fd;
};

enum fake_object_kind { FAKE_NONE, FAKE_IOAS, FAKE_HWPT, FAKE_DEVICE };

struct fake_object {
	enum fake_object_kind kind;
	int owner;
	uint32_t ioas;  /* of a HWPT */
	uint32_t flags; /* of a HWPT */
	unsigned iommu; /* of a HWPT */
	bool small_pages;
};

struct fake_map {
	bool used;
	uint32_t ioas;
	uint64_t iova, length;
	bool by_file;
};

struct fake_path {
	char path[256], value[200];
};

#define FAKE_DEVICES 4
#define FAKE_FILES   32
#define FAKE_OBJECTS 64
#define FAKE_MAPS    64
#define FAKE_PATHS   128
#define FAKE_FD_BASE 1000
#define FAKE_SESSION 77 /* the data_fd that SET_STATE gives; a number alone */

struct fake_kernel {
	struct kernel_calls calls;
	struct fake_kernel_device devices[FAKE_DEVICES];
	struct fake_file files[FAKE_FILES];
	struct fake_object objects[FAKE_OBJECTS];
	struct fake_map maps[FAKE_MAPS];
	struct fake_path paths[FAKE_PATHS];
	unsigned device_count, path_count;

	/* What it can do. */
	bool no_iommufd, no_map_file, no_hw_info, no_combined_hwpt, allow_unsafe;
	uint64_t memlock;       /* limit in bytes; UINT64_MAX */
	int attach_error;       /* the next attach fails with it, once */
	unsigned attach_passes; /* ... after so many that work */
	char legacy_group[32];

	/* The n-th call from now fails with @fail_error; 0: none. */
	unsigned calls_made, fail_at;
	int fail_error;
	char failed[96]; /* which call it was */
	char log[4096];  /* "ioctl:BIND ..." in order */
};

struct fake_kernel *fake_kernel_new(void);
void fake_kernel_free(struct fake_kernel *fk);
/* A device on a port of its own, physical, behind IOMMU 0, MSI window reserved, ERR and REQ. */
struct fake_kernel_device *fake_kernel_add(struct fake_kernel *fk, const char *bdf, unsigned index);
void fake_kernel_path(struct fake_kernel *fk, const char *path, const char *value);
void fake_kernel_no_path(struct fake_kernel *fk, const char *path);
/* What is still held: "" when nothing is. Static storage. */
const char *fake_kernel_leaks(const struct fake_kernel *fk);
/* Open descriptors, maps, objects, KVM references, all together. */
unsigned fake_kernel_held(const struct fake_kernel *fk);

/* fake_kernel_ioctl.c */
int fake_kernel_ioctl(struct fake_kernel *fk, struct fake_file *file, unsigned long request,
		      void *arg);
void fake_kernel_release(struct fake_kernel *fk, struct fake_file *file);
const char *fake_kernel_ioctl_name(unsigned long request);
struct fake_file *fake_kernel_file(struct fake_kernel *fk, int fd);

#endif
