/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of a vfio_function, shared by the files of this folder and nobody else.
 *
 * Locks, from the outside in: the configuration lock of the machine (vmm/pci/host_bridge.h), the
 * device set's (taken by the core around a hot reset), then bar_lock and irq_lock, which are leaves:
 * nothing that can wait for a guest, a provider's user or another lock of this list is called with
 * them held, but the calls they order.
 */
#ifndef SLUICE_VFIO_FRONT_FRONT_H
#define SLUICE_VFIO_FRONT_FRONT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "devices/vfio/config.h"
#include "devices/vfio/device.h"
#include "devices/vfio/front/bar_layout.h"
#include "devices/vfio/front/config_plan.h"
#include "devices/vfio/front/doorbell_plan.h"
#include "devices/vfio/front/function.h"
#include "devices/vfio/front/vector_plan.h"
#include "vmm/pci/function.h"

struct loop_source;

/* A trapped part of a BAR on a bus. */
struct front_hole {
	struct vfio_function *vf;
	unsigned bar;
	uint64_t offset; /* of the part in the BAR */
};

/* Peer access to one mapped area: other devices of the VM reach it by DMA. */
struct front_peer {
	int fd;      /* dma-buf, -1: none yet */
	bool placed; /* in the VM's address space at this moment, at @iova */
	bool mapped; /* and some device can reach it there */
	uint64_t iova;
	int error;        /* -errno of what failed last */
	const char *step; /* at which step it failed; NULL: never */
};

struct front_bar {
	uint64_t address; /* where the guest has it now; PCI_BAR_NONE: nowhere */
	uint8_t *host;    /* of byte 0 of the BAR; the front end never dereferences it */
	uint64_t region_offset, region_size;
	void *reserved; /* host addresses set aside, NULL: nothing mapped */
	size_t reserved_size;
	bool writable;
	bool direct;     /* the areas have their memory slots */
	bool distrusted; /* no slots any more: another process cut the file behind them (cut.c) */
	bool trapped[BAR_AREA_MAX]; /* no slot was to be had for this area: it is on the bus */
	struct doorbell *doorbells; /* in KVM now; descriptors of our own */
	unsigned doorbell_count, doorbells_offered;
	struct bar_layout layout;
	uint32_t slots[BAR_AREA_MAX];
	struct front_hole holes[BAR_HOLE_MAX], area_holes[BAR_AREA_MAX];
	struct front_peer peers[BAR_AREA_MAX];
};

struct front_intx {
	bool armed;
	bool failed; /* reported, not tried again before the next reset */
	int fd, resample_fd;
	uint32_t gsi;
};

struct front_irqs {
	struct vectors v; /* of the index in use */
	unsigned index;   /* VFIO_PCI_MSI_IRQ_INDEX, _MSIX_ or VFIO_PCI_NUM_IRQS: none */
	unsigned room;    /* entries of v.list */
	bool msi_resizable, msix_resizable;
	uint8_t *table; /* the MSI-X table as the guest wrote it, 16 bytes a vector */
	struct front_intx intx;
	bool warned; /* of a failure to deliver, until the next enable */
};

struct front_rom {
	pthread_mutex_t lock; /* data, failed */
	uint8_t *data;        /* NULL: not read yet */
	uint64_t size;        /* of the image; 0: none is shown */
	uint64_t region_offset;
	bool failed;
};

enum front_leaving {
	FRONT_STAYS,
	FRONT_ASKED,  /* the guest was asked to let go */
	FRONT_FORCED, /* taken without asking */
};

/* What is used most comes first: a small offset is a short instruction. */
struct vfio_function {
	char *id;
	struct vfio_device *vdev;
	const struct vfio_config *config;
	uint64_t config_offset; /* of the configuration space, for the contract's read and write */
	/* The device does not answer any more: the guest reads ones. Set once, from any thread. */
	atomic_bool gone;
	/* No slots although the guest's decode is on: until the device takes the next command write. */
	atomic_bool revoked;
	atomic_bool config_warned;
	bool resets; /* VFIO_DEVICE_RESET works */
	bool slots_warned, doorbells_warned;

	pthread_mutex_t bar_lock; /* slots, peers, doorbells, address, direct, distrusted */
	pthread_mutex_t irq_lock;
	struct front_irqs irqs;

	struct vfio_function_env env;
	uint64_t page_size;
	uint64_t revoked_ns; /* when slots went that way, CLOCK_MONOTONIC; under bar_lock */
	unsigned watched;    /* bit per BAR: its file may be cut, and was not yet; under bar_lock */
	struct loop_source *watch; /* NULL: none is watched */

	/* Reset: outcome of the last one, under the configuration lock. */
	const char *
		reset_method; /* of the last that worked: "flr", "hot", "function"; NULL: none yet */
	const char *reset_failure; /* of the last one; NULL: it worked, or there was none */
	unsigned reset_count;
	bool reset_waits; /* for the rest of its device set to be reset as well */

	/* Leaving, on the loop thread. */
	enum front_leaving leaving;
	unsigned request_count, error_count;
	uint64_t asked_s; /* how long ago the guest was asked first, in seconds */
	struct loop_source *leave_timer;

	struct front_rom rom;
	struct front_bar bars[PCI_BAR_COUNT];
	/* Configuration space, under the configuration lock. plan.image: the power-on state. */
	struct config_plan plan;
	struct pci_function pci; /* what vmm/pci hands back */
};

static inline struct vfio_function *front_of(struct pci_function *fn)
{
	return (struct vfio_function *)((char *)fn - offsetof(struct vfio_function, pci));
}

/* ---- config_space.c ---------------------------------------------------------------------------- */

/* Read the device's configuration bytes for the plan. Returns how many, or -errno. */
ssize_t front_config_fetch(struct vfio_function *vf, uint8_t bytes[CONFIG_PLAN_SIZE]);

uint32_t front_config_read(struct pci_function *fn, uint32_t offset, unsigned size);
void front_config_write(struct pci_function *fn, uint32_t offset, uint32_t value, unsigned size);

/* One register of the device, without the image. Did the device take it? */
bool front_device_write(struct vfio_function *vf, uint32_t offset, uint32_t value, unsigned size);

/* The command register of the device := the image's. Did the device take it? */
bool front_command_sync(struct vfio_function *vf);

/* Does the device decode its memory, by its own registers? False also when they cannot be read. */
bool front_device_decodes(struct vfio_function *vf);

/* Does the device still answer? Notices, reports and acts once when it does not. Any thread. */
bool front_device_alive(struct vfio_function *vf);

/* ---- bar.c --------------------------------------------------------------------------------------- */

/* Map the areas of the layouts into this process. What cannot be mapped is trapped instead. */
void front_bars_init(struct vfio_function *vf, const struct bar_region regions[PCI_BAR_COUNT],
		     const struct bar_layout layouts[PCI_BAR_COUNT + 1]);
void front_bars_free(struct vfio_function *vf);

int front_bar_map(struct pci_function *fn, unsigned bar, uint64_t address);
void front_bar_unmap(struct pci_function *fn, unsigned bar, uint64_t address);

/* Every slot, peer mapping and doorbell goes, at once (`revoke` of the contract). Any thread. */
void front_bars_revoke(void *ctx);
/* Under bar_lock. The BAR has no memory slots any more: each access goes to the device. */
void front_bar_distrust(struct vfio_function *vf, unsigned bar);
/* After a revoke, with decode on in the device: what the guest has mapped comes back. */
void front_bars_restore(struct vfio_function *vf);

/* ---- cut.c --------------------------------------------------------------------------------------- */

/* Look every second at the files behind BARs that may be cut, if there are any. -errno with a message. */
int front_watch_init(struct vfio_function *vf);
/*
 * BARs whose file was cut or, when a fault has no other explanation (@cut false), may be: trapped from
 * now on, with a message. True when there were some. Any thread.
 */
bool front_bars_distrust(struct vfio_function *vf, bool cut);

/* ---- doorbell.c ---------------------------------------------------------------------------------- */

/* Under bar_lock, while the BAR has an address. What cannot be had is written as any register. */
void front_doorbells_add(struct vfio_function *vf, unsigned bar);
void front_doorbells_remove(struct vfio_function *vf, unsigned bar);

/* ---- p2p.c --------------------------------------------------------------------------------------- */

/* Under bar_lock. Failures are recorded in the peer, never fatal. */
void front_peers_map(struct vfio_function *vf, unsigned bar);
void front_peers_unmap(struct vfio_function *vf, unsigned bar);
void front_peers_free(struct vfio_function *vf, unsigned bar);
/* "off", "not mapped", "mapped", or what failed; under bar_lock. */
const char *front_peer_state(const struct vfio_function *vf, const struct front_peer *peer);

/* ---- vectors.c, msix_table.c, intx.c --------------------------------------------------------------------------- */

int front_irqs_init(struct vfio_function *vf);
void front_irqs_free(struct vfio_function *vf);

/* What the image says of MSI, MSI-X and the pin takes effect. Under the configuration lock. */
void front_irqs_update(struct vfio_function *vf);
/* Every interrupt off, and the MSI-X table back to its power-on state (reset, removal). */
void front_irqs_reset(struct vfio_function *vf);

/* Under irq_lock. Entries [@first, @end) of the table changed: the vectors follow. */
void front_vectors_reload(struct vfio_function *vf, unsigned first, unsigned end);
/* Under irq_lock. The table as after power-on. */
void front_table_blank(struct vfio_function *vf);

void front_table_read(struct vfio_function *vf, uint32_t offset, void *data, unsigned size);
void front_table_write(struct vfio_function *vf, uint32_t offset, const void *data, unsigned size);
void front_pba_read(struct vfio_function *vf, uint32_t offset, void *data, unsigned size);

/* VFIO_DEVICE_SET_IRQS. @fds NULL: no data, @count signalled (0: the index off). 0, -errno, or n > 0. */
int front_set_irqs(struct vfio_function *vf, unsigned index, uint32_t action, unsigned start,
		   unsigned count, const int32_t *fds);

/* The pending bits of MSI, as they are now. */
uint32_t front_msi_pending(struct vfio_function *vf);

/* Under irq_lock. on: only when the image lets the pin through. */
void front_intx_on(struct vfio_function *vf);
void front_intx_off(struct vfio_function *vf);

/* ---- reset.c --------------------------------------------------------------------------------------- */

/* The guest asked for a function level reset. Under the configuration lock. */
void front_reset_function(struct vfio_function *vf);
/* ops->reset of vmm/pci: the bus above, or the machine, is reset. */
void front_reset_conventional(struct pci_function *fn);
/* The guest uses the device again: a reset that waited for its siblings is off. */
void front_reset_settled(struct vfio_function *vf);

/* ---- rom.c --------------------------------------------------------------------------------------- */

/* From a file: read here, -errno with a message. From the device: read when the guest looks. */
int front_rom_init(struct vfio_function *vf);
void front_rom_free(struct vfio_function *vf);
uint64_t front_rom_read(struct vfio_function *vf, uint64_t offset, unsigned size);

/* ---- events.c --------------------------------------------------------------------------------------- */

extern const struct vfio_device_events front_events;
int front_events_init(struct vfio_function *vf);
void front_events_free(struct vfio_function *vf);
/* The device is gone: forced out, on the loop thread. Any thread. */
void front_events_gone(struct vfio_function *vf);

#endif
