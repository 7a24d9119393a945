/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of the message interrupts at work: MSI and MSI-X of the guest, and one eventfd for each
 * vector from the device to KVM.
 *
 * Order (each step keeps what the one before did, and nothing is lost in between, since an eventfd
 * without a reader collects): irqfds off, the device's triggers, all routes in one commit, irqfds on.
 */
#include "devices/vfio/front/front.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "devices/vfio/message.h"
#include "vmm/base/eventfd.h"
#include "vmm/base/host.h"
#include "vmm/base/irq.h"
#include "vmm/base/kvm.h"

#define SPARE_FILES 64 /* for what comes after the vectors */
#define NO_INDEX    VFIO_PCI_NUM_IRQS

int front_set_irqs(struct vfio_function *vf, unsigned index, uint32_t action, unsigned start,
		   unsigned count, const int32_t *fds)
{
	size_t size = sizeof(struct vfio_irq_set) + (fds ? count * sizeof(*fds) : 0);
	struct vfio_irq_set *set = calloc(1, size);
	int ret;

	if (!set)
		return -ENOMEM;
	set->argsz = (uint32_t)size;
	set->flags = action | (fds ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE);
	set->index = index;
	set->start = start;
	set->count = count;
	if (fds)
		memcpy(set->data, fds, count * sizeof(*fds));
	ret = vfio_device_ioctl(vf->vdev, VFIO_DEVICE_SET_IRQS, set);
	free(set);
	return ret;
}

static const char *index_name(const struct vfio_function *vf)
{
	return vf->irqs.index == VFIO_PCI_MSI_IRQ_INDEX ? "MSI" : "MSI-X";
}

/* Once for each enable: a device that cannot interrupt is one fact, not one per vector. */
static void complain(struct vfio_function *vf, unsigned vector, const char *what, int error)
{
	/* Of a device that is gone, that it is gone is said. */
	if (vf->irqs.warned || !front_device_alive(vf))
		return;
	vf->irqs.warned = true;
	vfio_warn(vf->id, 0, "%s vector %u will not interrupt the guest: %s: %s", index_name(vf),
		  vector, what, host_strerror(-error));
}

/* ---- the device's triggers ----------------------------------------------------------------------- */

static int need_fd(struct vector *vector)
{
	if (vector->fd < 0)
		vector->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return vector->fd < 0 ? -errno : 0;
}

/*
 * @count vectors, @first the lowest of them, have no descriptor, for this process may not have more. With
 * as many more alone the next step would fail.
 */
static void complain_files(struct vfio_function *vf, unsigned first, unsigned count)
{
	if (vf->irqs.warned || !front_device_alive(vf))
		return;
	vf->irqs.warned = true;
	vfio_warn(vf->id, 0,
		  "%u %s vectors, from %u on, will not interrupt the guest: each takes a file, and "
		  "this process may not have more open; raise its hard limit: ulimit -n %llu as "
		  "root, or LimitNOFILE= of its service",
		  count, index_name(vf), first,
		  (unsigned long long)host_nofile() + count + SPARE_FILES);
}

/* Eventfds for what is to be armed. Those that cannot be had are given up. */
static void need_fds(struct vfio_function *vf)
{
	struct vectors *v = &vf->irqs.v;
	unsigned first = 0, missing = 0;
	int ret;

	for (unsigned i = 0; i < v->count; i++) {
		struct vector *vector = &v->list[i];

		if (!(vector->todo & VECTOR_ARM))
			continue;
		ret = need_fd(vector);
		if (ret) {
			vector->todo = 0;
			vector->has |= VECTOR_FAILED;
		}
		if (ret == -EMFILE)
			first = missing++ ? first : i;
		else if (ret)
			complain(vf, i, "no eventfd", ret);
	}
	if (missing)
		complain_files(vf, first, missing);
}

static void give_up(struct vfio_function *vf, unsigned first, unsigned count, const char *what,
		    int error)
{
	for (unsigned i = first; i < first + count; i++) {
		struct vector *vector = &vf->irqs.v.list[i];

		if (!(vector->todo & VECTOR_ARM))
			continue;
		vector->todo = 0;
		vector->has |= VECTOR_FAILED;
		complain(vf, i, what, error);
	}
}

static void note_armed(struct vectors *v, unsigned first, unsigned count)
{
	for (unsigned i = first; i < first + count; i++)
		if (v->list[i].todo & VECTOR_ARM)
			v->list[i].has |= VECTOR_ARMED;
}

/* Arm [@first, @first + @count); -1 leaves a vector without a trigger. */
static int arm_block(struct vfio_function *vf, unsigned first, unsigned count, bool rearm)
{
	struct vectors *v = &vf->irqs.v;
	int32_t *fds = malloc(count * sizeof(*fds));
	int ret;

	if (!fds)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		const struct vector *vector = &v->list[first + i];
		bool armed = rearm && vector->has & VECTOR_ARMED;

		fds[i] = armed || vector->todo & VECTOR_ARM ? vector->fd : -1;
	}
	ret = front_set_irqs(vf, vf->irqs.index, VFIO_IRQ_SET_ACTION_TRIGGER, first, count, fds);
	free(fds);
	return ret;
}

/*
 * Switch the index on with @allocate vectors. The host may have fewer: a positive answer says how
 * many, with nothing done. The guest does not learn it, so what fits is used and the rest reported.
 */
static int enable(struct vfio_function *vf, unsigned allocate, bool rearm)
{
	struct vectors *v = &vf->irqs.v;
	unsigned asked = allocate;
	int ret;

	for (;;) {
		ret = arm_block(vf, 0, allocate, rearm);
		if (ret <= 0)
			break;
		if ((unsigned)ret >= allocate) {
			ret = -EPROTO; /* more than asked for, and not done */
			break;
		}
		allocate = (unsigned)ret;
	}
	if (ret)
		return ret;
	v->device_enabled = true;
	v->granted = allocate;
	if (allocate < asked) {
		v->limit = allocate;
		give_up(vf, allocate, v->count - allocate, "the host has no more vectors for it",
			-ENOSPC);
	}
	note_armed(v, 0, allocate);
	return 0;
}

static void disable(struct vfio_function *vf)
{
	struct vectors *v = &vf->irqs.v;
	int ret = front_set_irqs(vf, vf->irqs.index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);

	if (ret && !atomic_load(&vf->gone))
		vfio_warn(vf->id, ret, "%s cannot be disabled: %m", index_name(vf));
	v->device_enabled = false;
	v->granted = 0;
	for (unsigned i = 0; i < v->count; i++)
		v->list[i].has &= (uint8_t)~VECTOR_ARMED;
}

/*
 * Without dynamic vectors a higher one means all off and on again. What fired in between is lost, so
 * each vector that was armed is signalled once: a driver shrugs at an interrupt too many.
 */
static void grow(struct vfio_function *vf, unsigned allocate)
{
	struct vectors *v = &vf->irqs.v;
	struct eventfd_signaller *signaller;
	unsigned granted = v->granted;
	int ret, no_signal;

	front_set_irqs(vf, vf->irqs.index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0, NULL);
	v->device_enabled = false;
	v->granted = 0;
	ret = enable(vf, allocate, true);
	if (ret) {
		give_up(vf, 0, v->count, "the device does not take more vectors", ret);
		ret = enable(vf, granted, true);
	}
	no_signal = eventfd_signaller_create(&signaller);
	for (unsigned i = 0; i < v->count; i++) {
		struct vector *vector = &v->list[i];

		if (!(vector->has & VECTOR_ARMED) || vector->todo & VECTOR_ARM)
			continue;
		if (ret || i >= v->granted) {
			vector->has = (uint8_t)((vector->has & ~VECTOR_ARMED) | VECTOR_FAILED);
			complain(vf, i, "it was lost when the device was given more",
				 ret ? ret : -ENOSPC);
		} else if (no_signal) {
			complain(vf, i, "what fired while the device was given more is lost",
				 no_signal);
		} else {
			eventfd_signal(signaller, vector->fd);
		}
	}
	if (!no_signal)
		eventfd_signaller_destroy(signaller);
}

/* Runs of vectors to be armed; those in between that are armed already are not touched again. */
static void arm_runs(struct vfio_function *vf, const struct vector_steps *steps)
{
	struct vectors *v = &vf->irqs.v;
	unsigned end = steps->arm_first + steps->arm_count, first = steps->arm_first;

	while (first < end) {
		unsigned next = first, last = first;
		int ret;

		for (; next < end && !(v->list[next].has & VECTOR_ARMED); next++)
			if (v->list[next].todo & VECTOR_ARM)
				last = next + 1;
		if (last == first) {
			first = next + 1;
			continue;
		}
		ret = arm_block(vf, first, last - first, false);
		if (!ret) {
			note_armed(v, first, last - first);
		} else if (last - first == 1) {
			give_up(vf, first, 1, "the device does not take it",
				ret < 0 ? ret : -ENOSPC);
		} else {
			/* The kernel undid the whole block: one by one, to save those that can be had. */
			for (unsigned i = first; i < last; i++) {
				if (!(v->list[i].todo & VECTOR_ARM))
					continue;
				ret = arm_block(vf, i, 1, false);
				if (!ret)
					note_armed(v, i, 1);
				else
					give_up(vf, i, 1, "the device does not take it",
						ret < 0 ? ret : -ENOSPC);
			}
		}
		first = next + 1;
	}
}

/* ---- routes and irqfds --------------------------------------------------------------------------- */

static void unlink_all(struct vfio_function *vf)
{
	struct vectors *v = &vf->irqs.v;

	for (unsigned i = 0; i < v->count; i++) {
		struct vector *vector = &v->list[i];

		if (!(vector->todo & VECTOR_UNLINK))
			continue;
		kvm_irqfd_remove(vf->env.kvm, vector->fd, vector->gsi);
		vector->has &= (uint8_t)~VECTOR_LINKED;
	}
}

static void link_all(struct vfio_function *vf)
{
	struct vectors *v = &vf->irqs.v;
	int ret;

	for (unsigned i = 0; i < v->count; i++) {
		struct vector *vector = &v->list[i];

		if (!(vector->todo & VECTOR_LINK) || !(vector->has & VECTOR_ROUTED))
			continue;
		ret = kvm_irqfd_add(vf->env.kvm, vector->fd, vector->gsi, -1);
		if (ret) {
			vector->has |= VECTOR_FAILED;
			complain(vf, i, "no irqfd", ret);
		} else {
			vector->has |= VECTOR_LINKED;
		}
	}
}

static void route(struct vfio_function *vf)
{
	struct irq_router *router = vf->env.irq;
	struct vectors *v = &vf->irqs.v;
	int ret;

	for (unsigned i = 0; i < v->count; i++) {
		struct vector *vector = &v->list[i];

		if (vector->todo & VECTOR_UNROUTE)
			irq_msi_clear(router, vector->gsi);
		if (!(vector->todo & VECTOR_ROUTE))
			continue;
		if (!(vector->has & VECTOR_ROUTED)) {
			ret = irq_msi_alloc(router, pci_function_bdf(&vf->pci), &vector->gsi);
			if (ret) {
				vector->has |= VECTOR_FAILED;
				complain(vf, i, "no route left", ret);
				continue;
			}
			vector->has |= VECTOR_ROUTED;
		}
		irq_msi_set(router, vector->gsi, &vector->message);
		vector->routed = vector->message;
	}

	ret = irq_router_commit(router);
	if (ret == -EINVAL) {
		/* A message that no controller takes, this guest's or a neighbour's: the rest stands. */
		vfio_debug(vf->id, 0, "KVM refuses a message");
		ret = 0;
	}
	for (unsigned i = 0; i < v->count; i++) {
		struct vector *vector = &v->list[i];

		if (vector->todo & VECTOR_UNROUTE) {
			irq_msi_free(router, vector->gsi);
			vector->has &= (uint8_t)~VECTOR_ROUTED;
		} else if (ret && vector->todo & VECTOR_ROUTE && vector->has & VECTOR_ROUTED) {
			/* Not in KVM: nothing is linked to it, and the next change tries again. */
			vector->routed = (struct msi_message){0};
			vector->todo &= (uint8_t)~VECTOR_LINK;
			complain(vf, i, "KVM does not take the route", ret);
		}
	}
}

/* Make it so. Under irq_lock. */
static void settle(struct vfio_function *vf)
{
	struct vectors *v = &vf->irqs.v;
	struct vector_steps steps;
	int ret;

	vector_plan(v, &steps);
	if (steps.links)
		unlink_all(vf);
	if (steps.arm_count)
		need_fds(vf);

	switch (steps.device) {
	case VECTOR_DEVICE_KEEP:
		if (steps.arm_count)
			arm_runs(vf, &steps);
		break;
	case VECTOR_DEVICE_ENABLE:
		ret = enable(vf, steps.allocate, false);
		if (ret) {
			give_up(vf, 0, v->count, "the device refuses to enable its interrupts",
				ret);
			complain(vf, 0, "the device refuses to enable its interrupts", ret);
		}
		break;
	case VECTOR_DEVICE_GROW:
		grow(vf, steps.allocate);
		break;
	case VECTOR_DEVICE_DISABLE:
		disable(vf);
		break;
	}
	if (steps.routes)
		route(vf);
	if (steps.links)
		link_all(vf);
}

/* ---- what the guest programs --------------------------------------------------------------------- */

static void load_entry(struct vfio_function *vf, unsigned i)
{
	const uint8_t *entry = vf->irqs.table + i * PCI_MSIX_ENTRY_SIZE;
	struct vector *vector = &vf->irqs.v.list[i];

	vector->message.address = pci_get(entry, PCI_MSIX_ENTRY_LOWER_ADDR, 4) |
				  (uint64_t)pci_get(entry, PCI_MSIX_ENTRY_UPPER_ADDR, 4) << 32;
	vector->message.data = pci_get(entry, PCI_MSIX_ENTRY_DATA, 4);
	vector->masked =
		pci_get(entry, PCI_MSIX_ENTRY_VECTOR_CTRL, 4) & PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

static void load_msix(struct vfio_function *vf)
{
	uint16_t control = (uint16_t)pci_get(vf->pci.config, vf->plan.msix + PCI_MSIX_FLAGS, 2);
	struct vectors *v = &vf->irqs.v;

	if (!v->enabled) {
		v->count = v->limit = vf->plan.msix_form.vectors;
		v->resizable = vf->irqs.msix_resizable;
		for (unsigned i = 0; i < v->count; i++)
			load_entry(vf, i);
	}
	v->enabled = true;
	v->function_masked = control & PCI_MSIX_FLAGS_MASKALL;
}

static void load_msi(struct vfio_function *vf)
{
	const uint8_t *cap = vf->pci.config + vf->plan.msi;
	unsigned data = vf->plan.msi_form.address64 ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;
	uint32_t masks = vf->plan.msi_form.masking ? pci_get(cap, data + 4, 4) : 0;
	unsigned log2 = (pci_get(cap, PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_QSIZE) >> 4;
	struct vectors *v = &vf->irqs.v;
	struct msi_message message = {
		.address = pci_get(cap, PCI_MSI_ADDRESS_LO, 4),
		.data = pci_get(cap, data, 2),
	};

	if (vf->plan.msi_form.address64)
		message.address |= (uint64_t)pci_get(cap, PCI_MSI_ADDRESS_HI, 4) << 32;
	if (!v->enabled) {
		v->count = log2 < 5 ? 1u << log2 : 32;
		if (v->count > vf->plan.msi_form.vectors)
			v->count = vf->plan.msi_form.vectors;
		v->limit = v->count;
		v->resizable = vf->irqs.msi_resizable;
	}
	/* The device puts the vector's number into the low bits (PCI Local Bus 3.0 section 6.8.1.6). */
	for (unsigned i = 0; i < v->count; i++) {
		v->list[i].message = message;
		v->list[i].message.data = (message.data & ~(v->count - 1)) | i;
		v->list[i].masked = masks >> i & 1;
	}
	v->enabled = true;
	v->function_masked = false;
}

/* The index in use goes off, and its vectors forget everything but their eventfds. */
static void switch_off(struct vfio_function *vf)
{
	struct vectors *v = &vf->irqs.v;

	if (vf->irqs.index == NO_INDEX)
		return;
	v->enabled = false;
	settle(vf);
	for (unsigned i = 0; i < v->count; i++) {
		/* What fired before belongs to no one after the next enable. */
		if (v->list[i].fd >= 0)
			eventfd_take(v->list[i].fd);
		v->list[i].has = 0;
	}
	v->count = 0;
	vf->irqs.warned = false;
	vf->irqs.index = NO_INDEX;
}

static unsigned wanted_index(const struct vfio_function *vf)
{
	const uint8_t *config = vf->pci.config;

	if (vf->plan.msix &&
	    pci_get(config, vf->plan.msix + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_ENABLE)
		return VFIO_PCI_MSIX_IRQ_INDEX;
	if (vf->plan.msi && pci_get(config, vf->plan.msi + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_ENABLE)
		return VFIO_PCI_MSI_IRQ_INDEX;
	return NO_INDEX;
}

/* How many messages MSI is to have now; a change while enabled starts it anew. */
static bool msi_count_changed(const struct vfio_function *vf)
{
	unsigned log2 =
		(pci_get(vf->pci.config, vf->plan.msi + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_QSIZE) >>
		4;
	unsigned count = log2 < 5 ? 1u << log2 : 32;

	if (count > vf->plan.msi_form.vectors)
		count = vf->plan.msi_form.vectors;
	return count != vf->irqs.v.count;
}

void front_vectors_reload(struct vfio_function *vf, unsigned first, unsigned end)
{
	if (vf->irqs.index != VFIO_PCI_MSIX_IRQ_INDEX || !vf->irqs.v.enabled)
		return;
	for (unsigned i = first; i < end; i++)
		load_entry(vf, i);
	settle(vf);
}

void front_irqs_update(struct vfio_function *vf)
{
	unsigned wanted = wanted_index(vf);

	pthread_mutex_lock(&vf->irq_lock);
	if (wanted != vf->irqs.index || (wanted == VFIO_PCI_MSI_IRQ_INDEX && msi_count_changed(vf)))
		switch_off(vf);
	if (wanted == NO_INDEX) {
		front_intx_on(vf);
	} else {
		/* The device has one kind at a time (vfio_pci_intrs.c, irq_type). */
		front_intx_off(vf);
		vf->irqs.index = wanted;
		if (wanted == VFIO_PCI_MSIX_IRQ_INDEX)
			load_msix(vf);
		else
			load_msi(vf);
		settle(vf);
	}
	pthread_mutex_unlock(&vf->irq_lock);
}

/* ---- life ---------------------------------------------------------------------------------------- */

void front_irqs_reset(struct vfio_function *vf)
{
	pthread_mutex_lock(&vf->irq_lock);
	switch_off(vf);
	front_intx_off(vf);
	vf->irqs.intx.failed = false;
	front_table_blank(vf);
	pthread_mutex_unlock(&vf->irq_lock);
}

int front_irqs_init(struct vfio_function *vf)
{
	unsigned msix = vf->plan.msix_form.vectors, msi = vf->plan.msi_form.vectors;
	struct front_irqs *irqs = &vf->irqs;

	irqs->index = NO_INDEX;
	irqs->intx.fd = irqs->intx.resample_fd = -1;
	irqs->room = msix > msi ? msix : msi;
	if (irqs->room) {
		irqs->v.list = calloc(irqs->room, sizeof(*irqs->v.list));
		irqs->table = calloc(msix ? msix : 1, PCI_MSIX_ENTRY_SIZE);
		if (!irqs->v.list || !irqs->table) {
			free(irqs->v.list);
			free(irqs->table);
			return -ENOMEM;
		}
		for (unsigned i = 0; i < irqs->room; i++)
			irqs->v.list[i].fd = -1;
		front_table_blank(vf);
	}
	pthread_mutex_init(&vf->irq_lock, NULL);
	return 0;
}

void front_irqs_free(struct vfio_function *vf)
{
	struct front_irqs *irqs = &vf->irqs;

	for (unsigned i = 0; i < irqs->room; i++)
		if (irqs->v.list[i].fd >= 0)
			close(irqs->v.list[i].fd);
	free(irqs->v.list);
	free(irqs->table);
	pthread_mutex_destroy(&vf->irq_lock);
}
