// SPDX-License-Identifier: Apache-2.0
/* Findings of the rehearsal: what opening the device told, or why it was not opened. */
#include "devices/vfio/check/judge.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

/* The device was not opened, or tells nothing: @why. */
static void judge_unknown(struct judge *judge, const char *why)
{
	judge_ok(judge, "launch.unknown: %s; migration, dirty log and PASID are unknown", why);
}

/* Why VFIO_DEVICE_BIND_IOMMUFD fails (drivers/vfio/device_cdev.c, drivers/iommu/iommufd/device.c). */
static void judge_bind(struct judge *judge, int error)
{
	const struct check_facts *f = judge->facts;

	switch (error) {
	case -EBUSY:
		judge_obstacle(judge,
			       "group.legacy_user: a legacy VFIO user holds /dev/vfio/%s open, "
			       "which excludes iommufd"
			       "\nsudo fuser -v /dev/vfio/%s",
			       f->iommu_group ? f->iommu_group : "N",
			       f->iommu_group ? f->iommu_group : "*");
		return;
	case -EINVAL:
		judge_obstacle(judge,
			       "node.busy: the kernel refuses to bind it: it is in use%s"
			       "\nsudo fuser -v %s",
			       f->has_token ? ", or the token is not needed" : "",
			       f->cdev.path ? f->cdev.path : "/dev/vfio/devices/*");
		return;
	case -EACCES:
		judge_obstacle(judge,
			       "token.wrong: %s"
			       "\nsluice check %s,token=UUID",
			       f->has_token ? "the token is not the one that was set"
					    : "a VF token is needed",
			       f->address);
		return;
	case -ESRCH:
		judge_unknown(judge, "its driver opens it for a virtual machine only (KVM), which "
				     "there is at launch");
		return;
	default:
		judge_obstacle(judge,
			       "launch.bind: the kernel refuses to bind it: %s"
			       "\nsudo dmesg | tail",
			       error == -EPERM ? "another device of its IOMMU group is in use, or "
						 "its interrupts are not isolated"
					       : strerror(-error));
	}
}

static void judge_failure(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const struct check_rehearsal *r = &f->rehearsal;
	int error = r->open < 0 ? r->open : r->iommufd;

	if (error < 0)
		judge_obstacle(judge, "%s: %s does not open: %s%s",
			       r->open < 0 ? "launch.open" : "launch.iommufd",
			       r->open == 0   ? "/dev/iommu"
			       : f->cdev.path ? f->cdev.path
					      : "the descriptor",
			       strerror(-error),
			       error == -EPERM ? " (a container's device rules?)" : "");
	else if (r->ioas < 0)
		judge_obstacle(judge, "launch.ioas: iommufd makes no address space: %s",
			       strerror(-r->ioas));
	else
		judge_obstacle(judge, "launch.attach: the IOMMU does not take the device: %s",
			       strerror(-r->attach));
	judge_remedy(judge, "sudo dmesg | tail");
}

static void judge_capabilities(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const struct check_rehearsal *r = &f->rehearsal;

	if (r->migratable)
		judge_ok(judge, "migration.ok: yes%s%s",
			 r->migration_flags & VFIO_MIGRATION_PRE_COPY ? ", with pre-copy" : "",
			 r->migration_flags & VFIO_MIGRATION_P2P ? ", with P2P" : "");
	else
		judge_ok(judge, "migration.none: not by %s", f->driver ? f->driver : "its driver");
	judge_ok(judge, "dirty.ok: %s",
		 r->dma_logging && r->hw_dirty ? "by the device and by the IOMMU"
		 : r->dma_logging              ? "by the device"
		 : r->hw_dirty                 ? "by the IOMMU"
					       : "neither by the device nor by the IOMMU");
	if (r->pasid_bits)
		judge_ok(judge, "pasid.ok: %u bits", r->pasid_bits);
	else
		judge_ok(judge, "pasid.none: none");
	judge_ok(judge, "p2p.ok: its BARs can%s be mapped for other devices",
		 r->dma_buf ? "" : "not");
	judge_ok(judge,
		 "launch.ok: opened, bound, attached (addresses up to %" PRIx64
		 ") and closed again",
		 r->iova_last);
}

void judge_launch(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const struct check_rehearsal *r = &f->rehearsal;

	if (!r->done) {
		if (judge->report->obstacles)
			judge_ok(judge, "launch.unknown: migration, dirty log and PASID are asked "
					"of the device once "
					"nothing else is in the way");
		else if (f->by_fd)
			judge_unknown(judge, "not tried: a descriptor can be bound only once");
		else if (!f->rehearse)
			judge_unknown(judge, "not tried (--no-open)");
		return;
	}
	if (r->bind < 0) {
		judge_bind(judge, r->bind);
		return;
	}
	if (r->open < 0 || r->iommufd < 0 || r->ioas < 0 || r->attach < 0) {
		judge_failure(judge);
		return;
	}
	if (r->config_size < PCI_CFG_SPACE_SIZE) {
		judge_obstacle(judge,
			       "launch.pci: %s; only PCI devices can be passed through"
			       "\nsluice list",
			       r->has_irqs ? "its configuration space is too small"
					   : "it is no PCI device");
	}
	if (r->iova_usable < f->memory) {
		judge_obstacle(judge,
			       "iova.small: the IOMMU has addresses for %s, and the guest's memory "
			       "is larger",
			       judge_size(judge, r->iova_usable));
		judge_remedy_memory(judge, r->iova_usable);
	}
	judge_capabilities(judge);
}
