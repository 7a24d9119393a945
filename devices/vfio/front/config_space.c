/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of the configuration space at work: what a guest access does to the image, the device,
 * the BARs and the interrupts, and in which order.
 *
 * The order that matters: a memory slot must never lie over a BAR that the device does not decode,
 * since a vCPU that touches it gets -EFAULT out of KVM_RUN. So every write goes in four steps: the
 * image and what it unmaps, the device, what it maps, the interrupts.
 */
#include "devices/vfio/front/front.h"

#include <errno.h>
#include <string.h>
#include <linux/pci_regs.h>

#include "devices/vfio/front/region.h"
#include "devices/vfio/message.h"

static uint32_t ones(unsigned size)
{
	return size >= 4 ? UINT32_MAX : (1u << 8 * size) - 1;
}

static bool overlaps(uint32_t offset, unsigned size, uint32_t first, uint32_t length)
{
	return offset < first + length && first < offset + size;
}

ssize_t front_config_fetch(struct vfio_function *vf, uint8_t bytes[CONFIG_PLAN_SIZE])
{
	struct bar_region region;
	size_t size;
	int ret;

	ret = front_region_get(vf->vdev, VFIO_PCI_CONFIG_REGION_INDEX, &region);
	if (ret)
		return ret;
	vf->config_offset = region.offset;
	size = region.size < CONFIG_PLAN_SIZE ? (size_t)region.size : CONFIG_PLAN_SIZE;
	return front_region_read_all(vf->vdev, &region, 0, bytes, size);
}

/* ---- the device's registers ---------------------------------------------------------------------- */

static void complain(struct vfio_function *vf, const char *what, uint32_t offset, ssize_t ret)
{
	if (!atomic_exchange(&vf->config_warned, true))
		vfio_warn(vf->id, 0,
			  "configuration register %#x cannot be %s: %s; the guest reads ones there",
			  offset, what, ret < 0 ? strerror((int)-ret) : "cut short");
}

/* Errors that say nothing about the device. */
static bool is_passing(ssize_t ret)
{
	return ret == -EINTR || ret == -EAGAIN || ret == -ENOMEM || ret == -EBUSY;
}

/*
 * The status register cannot be all ones: some of its bits are reserved. Unlike the ids, it is read
 * from the device for virtual functions too (drivers/vfio/pci/vfio_pci_config.c).
 */
bool front_device_alive(struct vfio_function *vf)
{
	uint8_t status[2];
	ssize_t ret;

	if (atomic_load(&vf->gone))
		return false;
	ret = vfio_device_read(vf->vdev, status, sizeof(status), vf->config_offset + PCI_STATUS);
	if (is_passing(ret))
		return true;
	if (ret == sizeof(status) && (status[0] != 0xff || status[1] != 0xff))
		return true;
	front_events_gone(vf);
	return false;
}

/* What the kernel looks at when a mapping faults (vfio_pci_core.c, vfio_pci_vmf_insert_pfn). */
bool front_device_decodes(struct vfio_function *vf)
{
	uint8_t bytes[2];

	if (vfio_device_read(vf->vdev, bytes, 2, vf->config_offset + PCI_COMMAND) != 2 ||
	    !(bytes[0] & PCI_COMMAND_MEMORY))
		return false;
	if (!vf->plan.pm)
		return true;
	return vfio_device_read(vf->vdev, bytes, 2,
				vf->config_offset + vf->plan.pm + PCI_PM_CTRL) == 2 &&
	       (bytes[0] & PCI_PM_CTRL_STATE_MASK) != 3;
}

/* One access that lies in one capability. */
static uint32_t read_piece(struct vfio_function *vf, uint32_t offset, unsigned size)
{
	uint8_t bytes[4];
	ssize_t ret = vfio_device_read(vf->vdev, bytes, size, vf->config_offset + offset);
	uint32_t value = ret == (ssize_t)size ? pci_get(bytes, 0, size) : ones(size);

	if (size > 1 && value == ones(size) && !front_device_alive(vf))
		return value;
	if (ret != (ssize_t)size)
		complain(vf, "read", offset, ret);
	return value;
}

static bool write_piece(struct vfio_function *vf, uint32_t offset, uint32_t value, unsigned size)
{
	uint8_t bytes[4];
	ssize_t ret;

	pci_set(bytes, 0, value, size);
	ret = vfio_device_write(vf->vdev, bytes, size, vf->config_offset + offset);
	if (ret != (ssize_t)size && front_device_alive(vf))
		complain(vf, "written", offset, ret);
	return ret == (ssize_t)size;
}

bool front_device_write(struct vfio_function *vf, uint32_t offset, uint32_t value, unsigned size)
{
	bool done_all = true;

	for (unsigned done = 0, piece; done < size; done += piece) {
		piece = config_plan_piece(&vf->plan, offset + done, size - done);
		done_all &= write_piece(vf, offset + done, value >> 8 * done, piece);
	}
	return done_all;
}

bool front_command_sync(struct vfio_function *vf)
{
	return front_device_write(vf, PCI_COMMAND, pci_get(vf->pci.config, PCI_COMMAND, 2), 2);
}

/* ---- guest reads --------------------------------------------------------------------------------- */

/* The one register of the image that changes by itself. */
static void refresh_msi_pending(struct vfio_function *vf, uint32_t offset, unsigned size)
{
	uint32_t at = vf->plan.msi + (vf->plan.msi_form.address64 ? 20u : 16u);

	if (vf->plan.msi && vf->plan.msi_form.masking && overlaps(offset, size, at, 4))
		pci_set(vf->pci.config, at, front_msi_pending(vf), 4);
}

uint32_t front_config_read(struct pci_function *fn, uint32_t offset, unsigned size)
{
	struct vfio_function *vf = front_of(fn);
	const uint8_t *emulated = vf->plan.emulated;
	uint32_t value = 0;

	refresh_msi_pending(vf, offset, size);
	for (unsigned done = 0, piece; done < size && !atomic_load(&vf->gone); done += piece) {
		uint32_t at = offset + done, mask, part;

		piece = config_plan_piece(&vf->plan, at, size - done);
		/* Registers of different policy share a dword: ask the device for its own only. */
		while (piece > 1 && (emulated[at] == 0xff || emulated[at + piece / 2] == 0xff))
			piece /= 2;
		mask = pci_get(emulated, at, piece);
		part = pci_get(fn->config, at, piece);
		if (mask != ones(piece))
			part = (part & mask) | (read_piece(vf, at, piece) & ~mask);
		value |= part << 8 * done;
	}
	return atomic_load(&vf->gone) ? ones(size) : value;
}

/* ---- guest writes -------------------------------------------------------------------------------- */

/* A state that the device does not have is not entered (PCI PM 1.2 section 3.2.4). */
static uint32_t legal_power_state(const struct vfio_function *vf, uint32_t offset, uint32_t value,
				  unsigned size)
{
	uint32_t at = vf->plan.pm + PCI_PM_CTRL;
	unsigned shift, state;

	if (!vf->plan.pm || !overlaps(offset, size, at, 1))
		return value;
	shift = 8 * (at - offset);
	state = value >> shift & PCI_PM_CTRL_STATE_MASK;
	if (vf->plan.power_states & 1u << state)
		return value;
	value &= ~((uint32_t)PCI_PM_CTRL_STATE_MASK << shift);
	return value | (uint32_t)(vf->pci.config[at] & PCI_PM_CTRL_STATE_MASK) << shift;
}

/* The bits of a guest write that the device gets as they are; command and power state do not. */
static void write_through(struct vfio_function *vf, uint32_t offset, uint32_t value, unsigned size)
{
	const struct config_plan *plan = &vf->plan;

	for (unsigned done = 0, piece; done < size; done += piece) {
		uint32_t at = offset + done, part = value >> 8 * done, mask;

		piece = 1;
		if (!plan->through[at] || overlaps(at, 1, PCI_COMMAND, 2) ||
		    (plan->pm && overlaps(at, 1, plan->pm + PCI_PM_CTRL, 2)))
			continue;
		piece = config_plan_piece(plan, at, size - done);
		/* Neighbours that are not the guest's may be cleared by writing back what they read. */
		for (unsigned i = 1; i < piece; i++)
			while (i < piece && !plan->through[at + i])
				piece /= 2;
		mask = pci_get(plan->through, at, piece);
		if (mask != ones(piece)) {
			uint32_t now = read_piece(vf, at, piece);

			if (atomic_load(&vf->gone))
				return;
			part = (part & mask) | (now & ~mask);
		}
		write_piece(vf, at, part & ones(piece), piece);
	}
}

static bool write_power(struct vfio_function *vf, uint32_t offset, uint32_t value, unsigned size)
{
	uint32_t at = vf->plan.pm + PCI_PM_CTRL;
	uint16_t control = vf->pci.config[at] & PCI_PM_CTRL_STATE_MASK;

	/* Data select comes with the upper byte; without it, it stays what the device has. */
	if (overlaps(offset, size, at + 1, 1))
		control |= (uint16_t)((value >> 8 * (at + 1 - offset)) << 8);
	else
		control |= (uint16_t)(read_piece(vf, at + 1, 1) << 8);
	control &= PCI_PM_CTRL_STATE_MASK | PCI_PM_CTRL_DATA_SEL_MASK;
	return front_device_write(vf, at, control, 2);
}

static bool asks_reset(const struct vfio_function *vf, uint32_t offset, uint32_t value,
		       unsigned size)
{
	uint32_t express = vf->plan.pcie + PCI_EXP_DEVCTL + 1u, af = vf->plan.af + PCI_AF_CTRL;

	if (vf->plan.flr && overlaps(offset, size, express, 1) &&
	    value >> 8 * (express - offset) & PCI_EXP_DEVCTL_BCR_FLR >> 8)
		return true;
	return vf->plan.af_flr && overlaps(offset, size, af, 1) &&
	       value >> 8 * (af - offset) & PCI_AF_CTRL_FLR;
}

/* Does the write touch what front_irqs_update() looks at? */
static bool touches_irqs(const struct vfio_function *vf, uint32_t offset, unsigned size)
{
	return overlaps(offset, size, PCI_COMMAND, 2) ||
	       (vf->plan.msix && overlaps(offset, size, vf->plan.msix + PCI_MSIX_FLAGS, 2)) ||
	       (vf->plan.msi && overlaps(offset, size, vf->plan.msi + PCI_MSI_FLAGS, 22));
}

void front_config_write(struct pci_function *fn, uint32_t offset, uint32_t value, unsigned size)
{
	const uint16_t uses = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	struct vfio_function *vf = front_of(fn);
	bool command = overlaps(offset, size, PCI_COMMAND, 2), power, decode_known = true;

	if (atomic_load(&vf->gone))
		return;
	power = vf->plan.pm && overlaps(offset, size, vf->plan.pm + PCI_PM_CTRL, 2);
	value = legal_power_state(vf, offset, value, size);

	/* The image, and what it no longer maps, while the device still decodes. */
	pci_function_write_registers(fn, offset, value, size);

	if (command)
		decode_known = front_command_sync(vf);
	if (power)
		decode_known = write_power(vf, offset, value, size);
	write_through(vf, offset, value, size);
	if (atomic_load(&vf->gone))
		return;
	/* A device that did not take the write may not decode: no slot until it took the next. */
	if (!decode_known)
		atomic_store(&vf->revoked, true);

	/* The device decodes: what the image maps now. */
	pci_function_update_bars(fn);
	if ((command || power) && atomic_load(&vf->revoked) && front_device_decodes(vf))
		front_bars_restore(vf);

	if (command && pci_get(fn->config, PCI_COMMAND, 2) & uses)
		front_reset_settled(vf);
	if (touches_irqs(vf, offset, size))
		front_irqs_update(vf);
	if (asks_reset(vf, offset, value, size))
		front_reset_function(vf);
}
