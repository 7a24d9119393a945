/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scripted KVM beside the device of fake_vdev.h, in the place of vmm/base/kvm: slots and irqfds in
 * the same journal, by the kernel's rules (one irqfd for an eventfd, virt/kvm/eventfd.c).
 */
#ifndef SLUICE_TESTS_FAKE_KVM_H
#define SLUICE_TESTS_FAKE_KVM_H

#include "tests/unit/fake_vdev.h"

#include "vmm/base/kvm.h"

#define FAKE_SLOTS  64
#define FAKE_IRQFDS 128

#define FAKE_IOEVENTFDS 1000 /* NR_IOBUS_DEVS */

static struct {
	struct fake_slot {
		bool used;
		uint64_t gpa, size;
		void *hva;
		struct fake_vdev *device;
	} slots[FAKE_SLOTS];
	struct {
		int fd, resample; /* fd -1: free */
		uint32_t gsi;
	} irqfds[FAKE_IRQFDS];
	struct fake_ioeventfd {
		bool used, pio, match;
		int fd;
		unsigned size;
		uint64_t address, datamatch;
	} ioeventfds[FAKE_IOEVENTFDS];
	int slot_error, irqfd_error, ioeventfd_error;
	unsigned ioeventfd_calls,
		ioeventfd_error_from; /* which call is the first to fail, from 1 */
	unsigned references, breaches;
} fake_kvm_state;

/* Which device a mapping belongs to: tests have one, or tell them apart by the front end's answer. */
static struct fake_vdev *(*fake_owner)(uint64_t gpa);

/* What the guest does at the moment when a slot has gone; may be NULL. */
static void (*fake_slot_removed)(uint64_t gpa);

static struct kvm fake_kvm;

static inline void fake_kvm_reset(void)
{
	memset(&fake_kvm_state, 0, sizeof(fake_kvm_state));
	for (unsigned i = 0; i < FAKE_IRQFDS; i++)
		fake_kvm_state.irqfds[i].fd = -1;
}

struct kvm *kvm_get(struct kvm *kvm)
{
	fake_kvm_state.references++;
	return kvm;
}

void kvm_put(struct kvm *kvm)
{
	(void)kvm;
	fake_kvm_state.references--;
}

int kvm_slot_add(struct kvm *kvm, uint64_t gpa, uint64_t size, void *hva, uint32_t flags,
		 uint32_t *slot)
{
	FAKE_LOCKED;
	struct fake_slot *free_slot = NULL;
	struct fake_vdev *f = fake_owner ? fake_owner(gpa) : fake_devices[0];

	(void)kvm, (void)flags;
	note("slot+ %#llx %#llx", (unsigned long long)gpa, (unsigned long long)size);
	if (fake_kvm_state.slot_error)
		return fake_kvm_state.slot_error;
	if ((gpa | size | (uintptr_t)hva) & 4095)
		return -EINVAL;
	for (unsigned i = 0; i < FAKE_SLOTS; i++) {
		struct fake_slot *s = &fake_kvm_state.slots[i];

		if (!s->used)
			free_slot = free_slot ? free_slot : s;
		else if (gpa < s->gpa + s->size && s->gpa < gpa + size)
			return -EEXIST;
	}
	if (!free_slot)
		return -ENOSPC;
	if (f && !fake_decodes(f) && !f->gone)
		breach(f, "a slot over a device that does not decode");
	*free_slot = (struct fake_slot){true, gpa, size, hva, f};
	*slot = (uint32_t)(free_slot - fake_kvm_state.slots);
	return 0;
}

int kvm_slot_remove(struct kvm *kvm, uint32_t slot)
{
	FAKE_LOCKED;
	(void)kvm;
	note("slot- %#llx",
	     slot < FAKE_SLOTS ? (unsigned long long)fake_kvm_state.slots[slot].gpa : 0);
	if (slot >= FAKE_SLOTS || !fake_kvm_state.slots[slot].used) {
		fake_kvm_state.breaches++;
		return -EINVAL;
	}
	fake_kvm_state.slots[slot].used = false;
	if (fake_slot_removed)
		fake_slot_removed(fake_kvm_state.slots[slot].gpa);
	return 0;
}

static inline unsigned fake_slot_count(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_SLOTS; i++)
		n += fake_kvm_state.slots[i].used;
	return n;
}

static inline const struct fake_slot *fake_slot_at(uint64_t gpa)
{
	for (unsigned i = 0; i < FAKE_SLOTS; i++)
		if (fake_kvm_state.slots[i].used && gpa >= fake_kvm_state.slots[i].gpa &&
		    gpa - fake_kvm_state.slots[i].gpa < fake_kvm_state.slots[i].size)
			return &fake_kvm_state.slots[i];
	return NULL;
}

/* Peer mappings, counted by the test's address space. */
static unsigned fake_peer_count;

static bool fake_is_mapped(const struct fake_vdev *f)
{
	for (unsigned i = 0; i < FAKE_SLOTS; i++)
		if (fake_kvm_state.slots[i].used && fake_kvm_state.slots[i].device == f)
			return true;
	return f == fake_devices[0] && !fake_devices[1] && fake_peer_count;
}

int kvm_irqfd_add(struct kvm *kvm, int fd, uint32_t gsi, int resample_fd)
{
	FAKE_LOCKED;
	(void)kvm;
	note("irqfd+ %u%s", gsi, resample_fd >= 0 ? " resample" : "");
	if (fake_kvm_state.irqfd_error)
		return fake_kvm_state.irqfd_error;
	for (unsigned i = 0; i < FAKE_IRQFDS; i++)
		if (fake_kvm_state.irqfds[i].fd == fd) {
			fake_kvm_state.breaches++;
			return -EBUSY;
		}
	for (unsigned i = 0; i < FAKE_IRQFDS; i++)
		if (fake_kvm_state.irqfds[i].fd < 0) {
			fake_kvm_state.irqfds[i].fd = fd;
			fake_kvm_state.irqfds[i].gsi = gsi;
			fake_kvm_state.irqfds[i].resample = resample_fd;
			return 0;
		}
	return -ENOMEM;
}

int kvm_irqfd_remove(struct kvm *kvm, int fd, uint32_t gsi)
{
	FAKE_LOCKED;
	eventfd_t left;

	(void)kvm;
	note("irqfd- %u", gsi);
	for (unsigned i = 0; i < FAKE_IRQFDS; i++)
		if (fake_kvm_state.irqfds[i].fd == fd && fake_kvm_state.irqfds[i].gsi == gsi) {
			fake_kvm_state.irqfds[i].fd = -1;
			eventfd_read(fd, &left); /* eventfd_ctx_remove_wait_queue() */
			return 0;
		}
	fake_kvm_state.breaches++;
	return 0;
}

static inline struct fake_ioeventfd *fake_ioeventfd_find(int fd, bool pio, uint64_t address,
							 unsigned size, const uint64_t *match)
{
	for (unsigned i = 0; i < FAKE_IOEVENTFDS; i++) {
		struct fake_ioeventfd *io = &fake_kvm_state.ioeventfds[i];

		if (io->used && (fd < 0 || io->fd == fd) && io->pio == pio &&
		    io->address == address && io->match == !!match &&
		    (!match || io->datamatch == *match) && io->size == size)
			return io;
	}
	return NULL;
}

static inline unsigned fake_ioeventfd_count(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_IOEVENTFDS; i++)
		n += fake_kvm_state.ioeventfds[i].used;
	return n;
}

int kvm_ioeventfd_add(struct kvm *kvm, int fd, bool pio, uint64_t address, unsigned size,
		      const uint64_t *match)
{
	FAKE_LOCKED;
	(void)kvm;
	if (fake_kvm_state.ioeventfd_error &&
	    ++fake_kvm_state.ioeventfd_calls >= fake_kvm_state.ioeventfd_error_from)
		return fake_kvm_state.ioeventfd_error;
	note("bell+ %#llx %u %s%s", (unsigned long long)address, size, pio ? "pio" : "mmio",
	     match ? " match" : "");
	/* ioeventfd_check_collision() */
	for (unsigned i = 0; i < FAKE_IOEVENTFDS; i++) {
		const struct fake_ioeventfd *io = &fake_kvm_state.ioeventfds[i];

		if (io->used && io->pio == pio && io->address == address &&
		    (!io->size || !size || io->size == size) &&
		    (!io->match || !match || io->datamatch == *match)) {
			fake_kvm_state.breaches++;
			return -EEXIST;
		}
	}
	for (unsigned i = 0; i < FAKE_IOEVENTFDS; i++) {
		if (fake_kvm_state.ioeventfds[i].used)
			continue;
		fake_kvm_state.ioeventfds[i] = (struct fake_ioeventfd){
			.used = true,
			.pio = pio,
			.match = !!match,
			.fd = fd,
			.size = size,
			.address = address,
			.datamatch = match ? *match : 0,
		};
		return 0;
	}
	return -ENOSPC;
}

int kvm_ioeventfd_remove(struct kvm *kvm, int fd, bool pio, uint64_t address, unsigned size,
			 const uint64_t *match)
{
	FAKE_LOCKED;
	struct fake_ioeventfd *io = fake_ioeventfd_find(fd, pio, address, size, match);

	(void)kvm;
	note("bell- %#llx %u %s%s", (unsigned long long)address, size, pio ? "pio" : "mmio",
	     match ? " match" : "");
	if (!io) {
		fake_kvm_state.breaches++;
		return -ENOENT;
	}
	io->used = false;
	return 0;
}

static inline unsigned fake_irqfd_count(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < FAKE_IRQFDS; i++)
		n += fake_kvm_state.irqfds[i].fd >= 0;
	return n;
}

/* The GSI that eventfd @fd reaches, or -1. */
static inline int fake_irqfd_gsi(int fd)
{
	for (unsigned i = 0; fd >= 0 && i < FAKE_IRQFDS; i++)
		if (fake_kvm_state.irqfds[i].fd == fd)
			return (int)fake_kvm_state.irqfds[i].gsi;
	return -1;
}

/* The rest of vmm/base/kvm.h, which a linker would otherwise take from the library. */
int kvm_vfio_file_add(struct kvm *kvm, int device_fd)
{
	(void)kvm, (void)device_fd;
	return 0;
}

int kvm_vfio_file_del(struct kvm *kvm, int device_fd)
{
	(void)kvm, (void)device_fd;
	return 0;
}

int kvm_set_routing(struct kvm *kvm, const struct kvm_irq_routing *routing)
{
	(void)kvm, (void)routing;
	return 0;
}

int kvm_signal_msi(struct kvm *kvm, uint64_t address, uint32_t data, uint32_t devid)
{
	(void)kvm, (void)address, (void)data, (void)devid;
	return 0;
}

int kvm_irq_line(struct kvm *kvm, uint32_t gsi, bool level)
{
	(void)kvm, (void)gsi, (void)level;
	return 0;
}

#endif
