/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A machine around a vfio_function for tests: buses, address space, interrupt routes and a place to
 * be plugged in, with the fakes of fake_vdev.h and fake_kvm.h behind it.
 */
#ifndef SLUICE_TESTS_FAKE_FRONT_H
#define SLUICE_TESTS_FAKE_FRONT_H

#include <dirent.h>

#include "tests/unit/fake_kvm.h"
#include "tests/unit/fake_log.h"
#include "tests/unit/fake_loop.h"

#include "devices/vfio/front/front.h"
#include "vmm/base/bus.h"
#include "vmm/base/dma.h"
#include "vmm/base/irq.h"
#include "vmm/pci/host_bridge.h"
#include "vmm/pci/window.h"

#define BAR0 0xc0000000ull
#define BAR2 0xc0010000ull
#define BAR4 0xc0100000ull
#define ROM  0xc0200000ull
#define BAR3 0xc000ull /* I/O */
#define CFG  7         /* region of the configuration space, in the journal */

/* ---- interrupt routes, in the place of vmm/base/irq ---------------------------------------------- */

#define FAKE_GSIS      96
#define FAKE_FIRST_MSI 24

struct irq_router {
	struct {
		bool used, set;
		struct msi_message message, committed;
		bool in_kvm;
	} gsis[FAKE_GSIS];
	unsigned commits, breaches;
	int commit_error;
	unsigned room; /* GSIs that can be had, 0: all */
};

static struct irq_router router;

int irq_msi_alloc(struct irq_router *r, uint32_t devid, uint32_t *gsi)
{
	FAKE_LOCKED;
	(void)devid;
	for (unsigned i = FAKE_FIRST_MSI; i < (r->room ? FAKE_FIRST_MSI + r->room : FAKE_GSIS); i++)
		if (!r->gsis[i].used) {
			memset(&r->gsis[i], 0, sizeof(r->gsis[i]));
			r->gsis[i].used = true;
			*gsi = i;
			return 0;
		}
	return -ENOSPC;
}

void irq_msi_free(struct irq_router *r, uint32_t gsi)
{
	FAKE_LOCKED;
	if (gsi >= FAKE_GSIS || !r->gsis[gsi].used)
		r->breaches++;
	else
		r->gsis[gsi].used = false;
}

void irq_msi_set(struct irq_router *r, uint32_t gsi, const struct msi_message *message)
{
	FAKE_LOCKED;
	if (!r->gsis[gsi].used)
		r->breaches++;
	r->gsis[gsi].set = true;
	r->gsis[gsi].message = *message;
}

void irq_msi_clear(struct irq_router *r, uint32_t gsi)
{
	FAKE_LOCKED;
	if (!r->gsis[gsi].used)
		r->breaches++;
	r->gsis[gsi].set = false;
}

int irq_router_commit(struct irq_router *r)
{
	FAKE_LOCKED;
	note("commit");
	r->commits++;
	if (r->commit_error)
		return r->commit_error;
	for (unsigned i = 0; i < FAKE_GSIS; i++) {
		r->gsis[i].in_kvm = r->gsis[i].set;
		r->gsis[i].committed = r->gsis[i].message;
	}
	return 0;
}

static inline unsigned routes_used(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_GSIS; i++)
		n += router.gsis[i].used;
	return n;
}

uint32_t pci_intx_gsi(const struct pci_function *fn, unsigned pin)
{
	(void)fn;
	return 15 + pin;
}

/* The configuration lock, in the place of vmm/pci/host_bridge. */
static pthread_mutex_t config_lock = PTHREAD_MUTEX_INITIALIZER;

void pci_lock(struct pci_host_bridge *bridge)
{
	(void)bridge;
	pthread_mutex_lock(&config_lock);
}

void pci_unlock(struct pci_host_bridge *bridge)
{
	(void)bridge;
	pthread_mutex_unlock(&config_lock);
}

/* ---- the machine --------------------------------------------------------------------------------- */

struct machine {
	struct loop *loop;
	struct bus *mmio, *pio;
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	struct pci_windows windows;
	uint8_t bus_number;
	struct vfio_config config;
	struct fake_vdev device;
	struct vfio_function *vf;
	struct pci_function *fn;
	unsigned asked, forced, fatal;
	bool destroy_on_force;
	int fds_before;
	int mirror_error;
};

static struct machine m;

static inline int open_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static inline void machine_unplug(void *ctx, struct vfio_function *vf, bool force)
{
	struct machine *machine = ctx;

	(void)vf;
	note(force ? "unplug force" : "unplug ask");
	if (force)
		machine->forced++;
	else
		machine->asked++;
}

static inline void machine_fatal(void *ctx, struct vfio_function *vf)
{
	(void)vf;
	((struct machine *)ctx)->fatal++;
}

static inline int mirror_map(void *ctx, const struct ioas_area *area)
{
	FAKE_LOCKED;
	(void)ctx;
	note("peer+ %#llx %#llx", (unsigned long long)area->iova, (unsigned long long)area->length);
	if (m.mirror_error)
		return m.mirror_error;
	if (!area->peer || area->hva || area->fd < 0)
		breach(&m.device, "a peer mapping that looks like RAM");
	if (!fake_decodes(&m.device) && !m.device.gone)
		breach(&m.device, "a peer mapping of a device that does not decode");
	fake_peer_count++;
	return 0;
}

static inline void mirror_unmap(void *ctx, const struct ioas_area *area)
{
	FAKE_LOCKED;
	(void)ctx;
	note("peer- %#llx", (unsigned long long)area->iova);
	fake_peer_count--;
}

static const struct ioas_mirror_ops mirror_ops = {.map = mirror_map, .unmap = mirror_unmap};

static inline struct vfio_function_env machine_env(void)
{
	return (struct vfio_function_env){
		.kvm = &fake_kvm,
		.loop = m.loop,
		.mmio = m.mmio,
		.pio = m.pio,
		.irq = &router,
		.ictx = m.ictx,
		.ioas = m.ioas,
		.unplug = machine_unplug,
		.fatal = machine_fatal,
		.machine = &m,
	};
}

/* A machine with the device of fake_describe(), which the test may change, not yet opened. */
static inline void machine_begin(void)
{
	memset(&m, 0, sizeof(m));
	memset(&router, 0, sizeof(router));
	fake_kvm_reset();
	fake_peer_count = 0;
	fake_owner = NULL;
	fake_devices[0] = &m.device;
	fake_devices[1] = NULL;
	fake_log_count = 0;
	journal_clear();
	m.fds_before = open_fds();
	cr_assert_eq(loop_create(&m.loop), 0);
	cr_assert_eq(bus_create(&m.mmio), 0);
	cr_assert_eq(bus_create(&m.pio), 0);
	cr_assert_eq(iommufd_ctx_create(&m.ictx), 0);
	cr_assert_eq(ioas_create(m.ictx, &m.ioas), 0);
	cr_assert_eq(ioas_mirror_add(m.ioas, &mirror_ops, &m), 0);
	m.windows = (struct pci_windows){
		.io = {0x1000, 0xf000},
		.mem32 = {0xc0000000, 0x20000000},
		.mem64 = {0x1000000000, 0x1000000000},
	};
	m.bus_number = 1;
	m.config = (struct vfio_config){
		.name = "0000:01:00.0",
		.fd = -1,
		.slot = -1,
		.vendor_id = -1,
		.device_id = -1,
		.subsystem_vendor_id = -1,
		.subsystem_id = -1,
		.unplug_timeout_s = 30,
	};
	fake_init(&m.device, "0000:01:00.0", NULL, 0);
}

static inline void plug(struct vfio_function *vf)
{
	struct pci_function *fn = vfio_function_pci(vf);

	fn->windows = &m.windows;
	fn->bus = &m.bus_number;
	fn->bridge = (struct pci_host_bridge *)&m;
}

static inline int machine_create(void)
{
	struct vfio_function_env env = machine_env();
	int ret = vfio_function_create(&env, &m.config, &m.device.vdev, &m.vf);

	if (!ret) {
		m.fn = vfio_function_pci(m.vf);
		plug(m.vf);
	}
	return ret;
}

/* The usual: a machine with the device in it, its BARs placed, nothing decoded. */
static inline void machine_start(void)
{
	machine_begin();
	cr_assert_eq(machine_create(), 0);
	pci_function_set_bar(m.fn, 0, BAR0);
	pci_function_set_bar(m.fn, 2, BAR2);
	pci_function_set_bar(m.fn, 3, BAR3);
	pci_function_set_bar(m.fn, 4, BAR4);
	journal_clear();
}

static inline void machine_free(void)
{
	cr_assert_eq(ioas_mirror_remove(m.ioas, &m), 0);
	cr_assert_eq(ioas_destroy(m.ioas), 0);
	iommufd_ctx_destroy(m.ictx);
	bus_destroy(m.mmio);
	bus_destroy(m.pio);
	cr_expect_eq(fake_loop_sources(m.loop), 0, "a source is left on the loop");
	loop_destroy(m.loop);
	cr_expect_eq(fake_slot_count(), 0, "a memory slot is left");
	cr_expect_eq(fake_irqfd_count(), 0, "an irqfd is left");
	cr_expect_eq(fake_peer_count, 0, "a peer mapping is left");
	cr_expect_eq(fake_kvm_state.references, 0, "the VM is still referenced");
	cr_expect_eq(fake_kvm_state.breaches, 0);
	cr_expect_eq(routes_used(), 0, "a route is left");
	cr_expect_eq(router.breaches, 0);
	cr_expect_eq(m.device.breaches, 0);
	cr_expect_eq(open_fds(), m.fds_before, "a descriptor is left");
}

/* Unplug, and check that nothing is left of it anywhere. */
static inline void machine_end(void)
{
	m.fn->ops->destroy(m.fn);
	cr_expect(m.device.released);
	machine_free();
}

/* ---- what a guest does --------------------------------------------------------------------------- */

static inline uint32_t cfg_read(uint32_t offset, unsigned size)
{
	return m.fn->ops->config_read(m.fn, offset, size);
}

static inline void cfg_write(uint32_t offset, uint32_t value, unsigned size)
{
	m.fn->ops->config_write(m.fn, offset, value, size);
}

static inline void set_command(uint16_t command)
{
	cfg_write(PCI_COMMAND, command, 2);
}

static inline uint64_t mem_read(uint64_t address, unsigned size)
{
	uint64_t value = 0;

	bus_read(m.mmio, address, &value, size);
	return value;
}

static inline void mem_write(uint64_t address, uint64_t value, unsigned size)
{
	bus_write(m.mmio, address, &value, size);
}

#define TABLE (BAR0 + 0x2000)
#define PBA   (BAR0 + 0x3000)

static inline void program_vector(unsigned vector, uint64_t address, uint32_t data)
{
	mem_write(TABLE + 16 * vector, (uint32_t)address, 4);
	mem_write(TABLE + 16 * vector + 4, address >> 32, 4);
	mem_write(TABLE + 16 * vector + 8, data, 4);
}

static inline void mask_vector(unsigned vector, bool masked)
{
	mem_write(TABLE + 16 * vector + 12, masked, 4);
}

/* The eventfd that the device signals for this vector, -1: none. */
static inline int trigger_of(unsigned vector)
{
	return m.device.trigger[vector];
}

/* Where an interrupt of this vector goes now: the data of its message, or -1. */
static inline int64_t delivers(unsigned vector)
{
	int gsi = fake_irqfd_gsi(trigger_of(vector));

	if (gsi < 0 || !router.gsis[gsi].in_kvm)
		return -1;
	return router.gsis[gsi].committed.data;
}

#endif
