/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is known about a device and its host before a launch, as plain data.
 *
 * gather.c reads it from sysfs and procfs, rehearse.c from the device itself, findings.c judges it.
 * A string that is NULL was not there or could not be read. All strings and arrays of gathered
 * facts belong to their arena.
 */
#ifndef SLUICE_VFIO_CHECK_FACTS_H
#define SLUICE_VFIO_CHECK_FACTS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/vfio/names.h"
#include "vmm/base/memory_option.h"

struct check_arena;

/* What can be read only sometimes. */
enum check_tri {
	CHECK_UNKNOWN,
	CHECK_NO,
	CHECK_YES,
};

#define CHECK_BARS              6
/* Flags of a resource in sysfs (include/linux/ioport.h of the kernel). */
#define CHECK_RESOURCE_IO       0x00000100u
#define CHECK_RESOURCE_MEM      0x00000200u
#define CHECK_RESOURCE_PREFETCH 0x00002000u
#define CHECK_RESOURCE_MEM64    0x00100000u
#define CHECK_RESOURCE_UNSET    0x20000000u

/* A range of bus addresses; unused when @size is 0. */
struct check_resource {
	uint64_t start, size, flags;
};

/* A process that holds a VFIO node open. */
struct check_process {
	int pid;
	const char *name;   /* its command */
	const char *node;   /* what it holds: "/dev/vfio/22", "/dev/vfio/devices/vfio0" */
	const char *device; /* PCI address behind a device node; NULL for a group */
};

/* A device of the same IOMMU group. */
struct check_member {
	const char *name;      /* PCI address, or the name in sysfs */
	const char *driver;    /* NULL: none */
	const char *vfio_name; /* "vfio1"; NULL: its driver is not a VFIO driver */
	bool bridge;
	unsigned sriov_vfs; /* that it has now */
};

/* A node in /dev that the caller must be able to open. */
struct check_node {
	const char *path; /* NULL: it is not known which it would be */
	bool exists;
	bool access; /* the caller may read and write it */
	unsigned mode;
	const char *owner, *group; /* names, or numbers as text */
};

struct check_reserved {
	uint64_t first, last; /* inclusive */
	const char *type;     /* "msi", "direct", "direct-relaxable", "reserved" */
};

/* What the host does with the device now: a block device or a network interface below it. */
struct check_use {
	enum check_use_kind {
		CHECK_USE_MOUNT, /* @name holds the file system at @where */
		CHECK_USE_SWAP,  /* @name holds swap */
		CHECK_USE_HELD,  /* somebody has @name to himself: what for is not seen */
		CHECK_USE_STACK, /* @name is part of @where, of which nothing more is known */
		CHECK_USE_ROUTE, /* @name carries the default route, by way of @where */
		CHECK_USE_LOGIN, /* @name carries the SSH connection of the caller */
		CHECK_USE_UP,    /* @name is an interface that is up */
	} kind;
	const char *name;
	const char *where;
};

/* A configuration option of the running kernel. */
enum check_config {
	CHECK_CONFIG_UNKNOWN, /* the configuration was not found */
	CHECK_CONFIG_NOT_SET,
	CHECK_CONFIG_MODULE,
	CHECK_CONFIG_BUILT_IN,
};

/* Bits of check_facts.iommufd_features: what a scratch descriptor of /dev/iommu answered to. */
#define CHECK_IOMMUFD_DIRTY    (1u << 0) /* HWPT dirty tracking, 6.7 */
#define CHECK_IOMMUFD_FAULT    (1u << 1) /* fault queues, 6.11 */
#define CHECK_IOMMUFD_MAP_FILE (1u << 2) /* IOAS_MAP_FILE, 6.13 */
#define CHECK_IOMMUFD_VIOMMU   (1u << 3) /* vIOMMU objects, 6.13 */
#define CHECK_IOMMUFD_PASID    (1u << 4) /* PASID attach, 6.15 (seen by its twin, VEVENTQ_ALLOC) */

/* What opening the device told: it is bound to iommufd, attached to an empty space, and closed. */
struct check_rehearsal {
	bool done;
	/* 0 or the -errno of the step; steps after a failed one are not taken. */
	int open, iommufd, bind, ioas, attach;
	uint32_t hw_type;     /* IOMMU_HW_INFO_TYPE_* */
	bool hw_dirty;        /* the IOMMU tracks dirty pages */
	unsigned pasid_bits;  /* 0: no PASIDs */
	uint64_t iova_usable; /* bytes of IOVA in all ranges */
	uint64_t iova_last;   /* highest usable address */
	bool can_reset;       /* VFIO_DEVICE_FLAGS_RESET */
	bool migratable;
	uint32_t migration_flags; /* VFIO_MIGRATION_* */
	bool dma_logging;
	bool dma_buf;
	bool has_irqs; /* a PCI device: the four below were read */
	uint64_t config_size;
	unsigned intx, msi, msix;
};

struct check_facts {
	/* ---- what is to be launched ---- */
	const char *name;   /* as typed */
	uint64_t memory;    /* of the guest, bytes */
	uint64_t huge_page; /* bytes of the huge pages wanted, 0: none */
	bool has_token;     /* a VF token was given */
	bool by_fd;         /* the device is an open descriptor */
	bool iommufd_by_fd; /* so is /dev/iommu */

	/* ---- the device; what is judged most comes first, where code to reach it is short ---- */
	bool found;
	bool pci;
	const char *address;     /* how sysfs names it: PCI address or another name */
	const char *sysfs;       /* its directory below /sys, resolved */
	const char *driver;      /* NULL: none */
	const char *iommu_group; /* number as text; NULL: none */
	bool vfio;               /* the driver is a VFIO driver */
	bool vfio_loaded;        /* vfio-pci is registered with the PCI bus */
	bool vfio_cdev;          /* it has a device number: the kernel makes nodes */
	bool denylist_off;       /* vfio_pci.disable_denylist */
	bool bridge;             /* header type is not 0 */
	bool config_read;        /* configuration space could be read ... */
	bool gone;               /* ... and was all ones */
	bool config_whole;       /* its first 256 bytes were readable: vectors are known */
	const char *vfio_name;   /* "vfio0", "noiommu-vfio0" */
	const char *driver_override;
	uint16_t vendor, device, subsystem_vendor, subsystem_device;
	uint32_t class_code; /* 24 bits */
	bool group_noiommu;
	bool emulated; /* no IOMMU behind it and none needed: its driver moves the data itself (mdev) */
	bool boot_vga;
	bool can_reset;
	const char *reset_methods; /* "flr bus"; "" none, or a kernel before 5.15 that has some */
	unsigned msi, msix;        /* vectors */
	struct check_node cdev;
	unsigned cdev_major, cdev_minor;
	int enable_count; /* of pci_enable_device(), -1: unknown */
	int numa_node;    /* -1: none */

	const char *physfn;        /* of a VF: its PF's address */
	const char *physfn_driver; /* and driver */
	unsigned sriov_vfs, sriov_total;

	const char *group_type;       /* of its default domain */
	struct check_member *members; /* all, the device included */
	size_t member_count;
	struct check_process *processes; /* that hold the group or a device of it */
	size_t process_count;
	bool processes_hidden; /* there are processes whose descriptors the caller may not see */
	struct check_reserved *reserved;
	size_t reserved_count;
	unsigned iommu_width; /* bits of IOVA that the IOMMU translates, 0: unknown */

	const char *power_state; /* "D0", "D3cold" */
	const char *runtime_status;
	const char *pcie_speed;
	unsigned pcie_width;
	struct check_resource bars[CHECK_BARS];
	struct check_resource rom;
	struct check_use *uses;
	size_t use_count;

	struct check_rehearsal rehearsal;
	bool rehearse; /* it will be opened when nothing else stands in the way */

	/* ---- the caller and the host ---- */
	const char *user; /* of the caller, "root" or a name */
	bool root;
	bool ipc_lock;                       /* CAP_IPC_LOCK: no memlock limit */
	uint64_t memlock_soft, memlock_hard; /* bytes, UINT64_MAX: unlimited */
	const char *kernel;                  /* release */
	const char *config_path;             /* where the options were read, NULL: nowhere */
	enum check_config config_iommufd, config_cdev, config_vfio, config_vfio_pci;
	const char *cmdline; /* of the kernel */
	bool x86;
	enum check_tri virt_flags; /* svm or vmx in /proc/cpuinfo; CHECK_UNKNOWN off x86 */
	struct check_node kvm;
	int kvm_error;           /* negative: -errno of opening it, where @kvm lets the caller */
	bool kvm_no_irqchip;     /* it makes no interrupt controllers (CONFIG_KVM_IOAPIC) */
	struct check_node iommu; /* /dev/iommu */
	bool iommufd_present;    /* the driver is there, node or not */
	unsigned iommufd_major, iommufd_minor;
	bool iommufd_module_file; /* not loaded, but to be had by modprobe */
	bool iommufd_probed;
	unsigned iommufd_features; /* CHECK_IOMMUFD_* */
	bool iommu_any;            /* an IOMMU is in use on this host */
	const char *iommu_table; /* ACPI table that describes one: "DMAR", "IVRS", "IORT", "VIOT" */
	enum check_tri msi_isolated;
	enum check_tri allow_unsafe_interrupts; /* parameter of iommufd */
	/* bytes, 0: unknown; what is available includes what others can be swapped out to */
	uint64_t memory_total, memory_available;
	const char *memory_cgroup;      /* whose limit that is, "" or NULL: the machine's memory */
	uint64_t huge_total, huge_free; /* pages of @huge_page bytes */
	uint64_t huge_2m_total, huge_2m_free, huge_1g_total, huge_1g_free; /* pages */
};

/* ---- memory of gathered facts -------------------------------------------------------------- */

struct check_arena *check_arena_create(void);
void check_arena_destroy(struct check_arena *arena);
/* Zeroed; NULL without memory. Lives until the arena is destroyed. */
void *check_alloc(struct check_arena *arena, size_t size);
/* A copy of @text; NULL for NULL and without memory. */
const char *check_string(struct check_arena *arena, const char *text);
const char *check_format(struct check_arena *arena, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));
const char *check_vformat(struct check_arena *arena, const char *fmt, va_list args)
	__attribute__((format(printf, 2, 0)));
/*
 * Room for one more element behind the @count elements of *@array (each of @size bytes); returns it
 * zeroed, or NULL without memory. Moves the array when it is full.
 */
void *check_append(struct check_arena *arena, void **array, size_t *count, size_t size);

/* ---- gathering ------------------------------------------------------------------------------- */

/* What is to be checked, as the command line says it. */
struct check_request {
	const char *root; /* prefix of every path read: "" for this host, a directory in tests */
	const char *name; /* as typed */
	struct vfio_name parsed;
	struct memory_option memory;
	bool has_token;
	uint8_t token[16];
	int iommufd; /* descriptor of /dev/iommu, -1: none */
	bool open;   /* the device may be opened (see rehearse.c) */
};

/*
 * Fill *@facts. What cannot be read stays unknown; a device that is not there leaves found false.
 * Returns 0 or -ENOMEM.
 */
int check_gather(struct check_arena *arena, const struct check_request *request,
		 struct check_facts *facts);

/*
 * The two halves of check_gather(): what is about the host is the same for every device, so that
 * a copy of it serves the next one.
 */
int check_gather_host(struct check_arena *arena, const struct check_request *request,
		      struct check_facts *facts);
int check_gather_device(struct check_arena *arena, const struct check_request *request,
			struct check_facts *facts);

/* /dev/iommu, the caller's (request->iommufd) or our own; closed by who asks. -errno. */
int check_open_iommu(const struct check_request *request);

/* Fill facts->rehearsal: open, bind, attach, ask, close. The device is reset by it. */
void check_rehearse(const struct check_request *request, struct check_facts *facts);

#endif
