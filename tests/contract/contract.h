/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conformance suite of the contract (devices/vfio/device.h): what its files share.
 *
 * A *target* is one kind of device behind one provider. The tests are the same for all of them; a
 * target says what its device has, and declares, with the reason, where it is entitled to differ.
 * What it lacks is proven absent (features.what_is_declared_absent_is_absent), and a declared answer is the one
 * that must come: no declaration can hide a fault or outlive its reason.
 */
#ifndef SLUICE_TESTS_CONTRACT_H
#define SLUICE_TESTS_CONTRACT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "devices/vfio/device.h"
#include "devices/vfio/provider.h"
#include "vmm/base/dma.h"

struct kvm;
struct loop;
struct run;

/* What a device may have. */
enum {
	HAS_PHYSICAL =
		1u << 0,     /* an IOMMU translates (VFIO_IOMMUFD_PHYSICAL), else software does */
	HAS_PASID = 1u << 1, /* PASIDs can be attached */
	HAS_NODE = 1u << 2,  /* /dev/vfio/devices/vfioN: one opener in the whole system */
	HAS_DMA_MESSAGES = 1u << 3, /* DMA can be by message to the device's user */
	HAS_BAR = 1u << 4,          /* target.bar is a memory BAR whose accesses are checked */
	HAS_MMAP = 1u << 5,         /* target.map_bar can be mapped and remembers what is written */
	HAS_DECODE = 1u << 6,       /* PCI_COMMAND_MEMORY switches the BARs */
	HAS_MSI = 1u << 7,
	HAS_MSIX = 1u << 8,
	HAS_MSIX_TABLE = 1u << 9, /* the table lies in a BAR and is hidden there */
	HAS_REQ = 1u << 10,       /* VFIO_PCI_REQ_IRQ_INDEX */
	HAS_MIGRATION = 1u << 11, /* with STOP_COPY */
	HAS_P2P = 1u << 12,
	HAS_PRE_COPY = 1u << 13,
	HAS_LOG = 1u << 14,       /* DMA logging */
	HAS_LOW_POWER = 1u << 15, /* features 3, 4, 5 */
	HAS_IOEVENTFD = 1u << 16,
	HAS_HOT_RESET = 1u << 17,
	HAS_TOKEN = 1u << 18,  /* a VF token can be asked for (control_set) */
	HAS_DRIVER = 1u << 19, /* target.driver: put and get, a register that is migrated */
	HAS_FAULTS = 1u << 20, /* faults can be injected (control_set) */
	HAS_DRIVER_SEEN =
		1u << 21, /* the driver shows what the kernel's core does to it (control_get) */
	HAS_TAKE_AWAY = 1u << 22,  /* the device can be asked back from outside */
	HAS_MIG_ERROR = 1u << 23,  /* a stream that is none takes it to ERROR */
	HAS_DMA = 1u << 24,        /* target.driver: all of it */
	HAS_PINS = 1u << 25,       /* the driver keeps pages pinned, and shows it (control_get) */
	HAS_GONE = 1u << 26,       /* it tells that it was taken away */
	HAS_ERR = 1u << 27,        /* it tells of unrecoverable errors */
	HAS_REQUEST_OP = 1u << 28, /* its user can be asked to let go of it */
	HAS_OTHERS = 1u << 29,     /* another process can have the device, once this one has not */
	HAS_ATTACH_FAULT =
		1u << 30, /* an attachment can be made to fail below the provider (control_set) */
};

#define HAS_SIBLING (1u << 31) /* the device of --other is reset together with it */
#define HAS_ALL     UINT32_MAX

/*
 * A device has no X, or answers otherwise than the rule says; @why is printed. @what are HAS_* bits that
 * are missing from target.has, or @id names a test or an answer in it ("irqs.info/beyond"). What is missing
 * and not declared, and a difference that no test asks for, are failures.
 */
struct absence {
	uint32_t what;
	const char *why;
};

struct difference {
	const char *id;
	long answer; /* what comes instead; for a whole test: not looked at */
	const char *why;
};

/*
 * How the device of a target is made to do things. A negative answer is the errno of an access that
 * failed. PASID 0: none.
 */
struct driver {
	/* A register that holds what is written, is migrated, and is 0 after a reset. */
	int (*put)(struct run *run, uint32_t value);
	int (*get)(struct run *run, uint32_t *value);

	/* Bus master and memory decode on, whatever else the engine wants. */
	int (*start)(struct run *run);
	/* DMA by the device, ended when it returns: 0, or the positive code of an error the device tells. */
	int (*copy)(struct run *run, uint32_t pasid, uint64_t from, uint64_t to, uint32_t length);
	int (*fill)(struct run *run, uint32_t pasid, uint64_t to, uint32_t length, uint8_t value);
	/* Ask for a fill and do not wait; how many requests have ended since the reset. */
	int (*post_fill)(struct run *run, uint64_t to, uint32_t length, uint8_t value);
	int (*completed)(struct run *run, uint32_t *count);
	/* Make the device assert its pin, or let go of it. */
	int (*assert_pin)(struct run *run, bool asserted);
	/* Raise MSI-X vector @vector out of the device. */
	int (*raise)(struct run *run, uint32_t vector);
};

struct target {
	const char *name;     /* of the first argument of the program */
	const char *provider; /* "kernel", "soft", "user" */
	const char *what;     /* one line for --list */
	uint32_t has;
	uint32_t bar;     /* region index of HAS_BAR */
	uint64_t bar_at;  /* a register in it that reads the same every time */
	uint32_t map_bar; /* region index of HAS_MMAP */
	const struct driver *driver;
	/* A fault or a setting from outside (HAS_FAULTS, HAS_TOKEN): see the kernel test device's attributes. */
	void (*control_set)(struct run *run, const char *name, const char *value);
	const struct absence *absences;       /* ends with .why NULL: all that .has lacks */
	const struct difference *differences; /* ends with .id NULL */
};

extern const struct target *const targets[]; /* NULL-terminated */

enum {
	CLOSED = 1u << 0,   /* the device is made and registered, not opened */
	DETACHED = 1u << 1, /* opened, not attached */
	ALONE = 1u << 2,    /* no device is made */
	OTHERS = 1u << 3,   /* another process is at hand (other.c) */
};

struct contract_test {
	const char *id;
	const char *proves; /* items of the contract: "vfio_device.kvm, vfio_device.put_kvm" */
	uint32_t needs;     /* HAS_* */
	uint32_t flags;
	void (*run)(struct run *run);
};

/* One table per file, each ending with .id NULL. */
extern const struct contract_test life_tests[], sets_tests[], iommu_tests[], pasid_tests[],
	regions_tests[], mmap_tests[], irqs_tests[], reset_tests[], features_tests[],
	migration_tests[], stream_tests[], logging_tests[], dma_tests[], token_tests[],
	request_tests[], limits_tests[];

#define MEMORY_IOVA 0x1000000ull
#define MEMORY_SIZE 0x400000ull

/* What one test has at hand. It runs in a process of its own, and the loop in a thread beside it. */
struct run {
	const struct target *target;
	const struct contract_test *test;
	const char *device;      /* name of the device as after --vfio */
	const char *other;       /* of another one that the same VM can have: of --other */
	const char *control;     /* of the device's attributes: of --control, else by its index */
	const char *memory_file; /* of --memory; NULL: a memfd */
	struct result *result;

	struct loop *loop;
	pthread_t loop_thread;
	struct kvm *kvm;
	struct iommufd_ctx *ictx;
	struct vfio_device_sets sets;
	struct kernel_iommufd *iommufd;
	struct vfio_provider_env env;
	int memfd;
	uint8_t *memory; /* MEMORY_SIZE bytes, mapped at MEMORY_IOVA of @space */
	struct ioas *space;

	struct vfio_device *vdev; /* NULL once given back */
	struct vfio_device_info info;

	pid_t other_process; /* of OTHERS; 0: none, or it has ended */
	int orders;          /* a socket to it */
};

/* ---- verdicts: of the first failure the text is kept, and every one fails the test -------------- */

/* Say what comes next, for the report of a test that hangs or dies. */
void step(struct run *run, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* @good, or the test fails with that text. Returns @good. */
bool expect(struct run *run, bool good, const char *format, ...)
	__attribute__((format(printf, 3, 4)));
/* A call answered @got and should have answered @wanted (numbers, or negative errno). */
bool expect_rc(struct run *run, long got, long wanted, const char *format, ...)
	__attribute__((format(printf, 4, 5)));
/* The rule's @answer, unless the target declares another for "TEST/@aspect". */
long answer(struct run *run, const char *aspect, long answer);

/* ---- machine.c: the VM around the device -------------------------------------------------------- */

/* Everything up to the state that the test's flags ask for; 0, or -errno when something failed. */
int run_begin(struct run *run);
/* And back, checking that nothing is left. */
void run_end(struct run *run);

/* A device of the target, in @run's VM; to be given back. */
int device_make(struct run *run, struct vfio_device **out);
int device_open(struct run *run, struct vfio_device *vdev);
/* The second device of the VM (--other), to be given back; NULL when there is none, which fails the test. */
struct vfio_device *other_make(struct run *run);
void device_give_back(struct vfio_device *vdev);
/* Attach run->vdev to @space; -errno. */
int attach(struct run *run, struct ioas *space);
/* A space with one page table of its own: @size bytes of run->memory at @offset, at MEMORY_IOVA. */
struct ioas *space_create(struct run *run, uint64_t offset, uint64_t size);

/* ---- other.c: another process (flag OTHERS) ----------------------------------------------------- */

/* Make it, before this one has a thread; -errno. */
int other_begin(struct run *run);
/* It begins with @work, once. Its @run is that of before run_begin(); what @work opens stays open. */
void other_do(struct run *run, int (*work)(struct run *run));
/* Wait for the end of that work: what it answered, 0 or -errno. */
int other_done(struct run *run);
/* It ends, killed by @signal where that is not 0; nothing where it has ended. */
void other_end(struct run *run, int signal);

/* The loop has turned: what it was to do before is done. */
void loop_turn(struct run *run);
/* Wait until @done says so, at most some 20 s (more on a busy machine): what is waited for always comes. */
bool wait_until(bool (*done)(void *ctx), void *ctx);
size_t count_fds(struct run *run);

/* ---- control.c: the device from outside, where the target has that ------------------------------- */

void control_set(struct run *run, const char *name, const char *value);
long control_get(struct run *run, const char *name);
/* The two kinds of target that have it. */
void kernel_control_set(struct run *run, const char *name, const char *value);
void soft_control_set(struct run *run, const char *name, const char *value);

/* ---- calls.c: commands of the contract as functions --------------------------------------------- */

struct vfio_region_info region(struct run *run, uint32_t index);
ssize_t region_read(struct run *run, uint32_t index, uint64_t at, void *buffer, size_t count);
ssize_t region_write(struct run *run, uint32_t index, uint64_t at, const void *buffer,
		     size_t count);
uint32_t config_read(struct run *run, uint32_t at, size_t size);
void config_write(struct run *run, uint32_t at, uint32_t value, size_t size);
/* Offset of a capability in config space, 0: none. */
uint32_t config_capability(struct run *run, uint8_t id);
/* PCI_COMMAND: bits on, bits off. */
void command(struct run *run, uint16_t set, uint16_t clear);

/* VFIO_DEVICE_FEATURE; @data of @size bytes in and out. */
int feature(struct run *run, uint32_t flags, void *data, size_t size);
int state_get(struct run *run, uint32_t *state);
/* @fd: what came back, -1 none (closed when @fd is NULL). */
int state_set(struct run *run, uint32_t state, int *fd);

int irq_info(struct run *run, uint32_t index, struct vfio_irq_info *info);
/* SET_IRQS; @size bytes of @data behind the structure. */
int set_irqs(struct run *run, uint32_t flags, uint32_t index, uint32_t start, uint32_t count,
	     const void *data, size_t size);
int device_reset(struct run *run);

/* The whole state of the device, stopped: bytes, in @data of @size. */
size_t stream_save(struct run *run, uint8_t *data, size_t size);
/* From RUNNING through RESUMING to STOP; what a write that was refused answers, else the last arc. */
int stream_load(struct run *run, const uint8_t *data, size_t length, size_t chunk);

#define TRIGGER_EVENTFD (VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_EVENTFD)
#define TRIGGER_NONE    (VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_NONE)
#define TRIGGER_BOOL    (VFIO_IRQ_SET_ACTION_TRIGGER | VFIO_IRQ_SET_DATA_BOOL)

#endif
