// SPDX-License-Identifier: Apache-2.0
/* Findings of the rehearsal: what opening the device told, or why it was not opened. */
#include "devices/vfio/check/judge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>

/* Why VFIO_DEVICE_BIND_IOMMUFD fails (drivers/vfio/device_cdev.c, drivers/iommu/iommufd/device.c). */
static void judge_bind(struct judge *judge, int error)
{
	const struct check_facts *f = judge->facts;
	struct check_finding *finding;

	switch (error) {
	case -EBUSY:
		finding =
			judge_obstacle(judge, "group.legacy_user", "group",
				       "a legacy VFIO user holds /dev/vfio/%s open, which excludes "
				       "iommufd",
				       f->iommu_group ? f->iommu_group : "N");
		judge_remedy(judge, finding, "%sfuser -v /dev/vfio/%s", judge->sudo,
			     f->iommu_group ? f->iommu_group : "*");
		return;
	case -EINVAL:
		finding = judge_obstacle(
			judge, "node.busy", "node", "the kernel refuses to bind it: %s",
			f->has_token ? "it is in use, or the token is not needed" : "it is in use");
		judge_remedy(judge, finding, "%sfuser -v %s", judge->sudo,
			     f->cdev.path ? f->cdev.path : "/dev/vfio/devices/*");
		return;
	case -EACCES:
		finding = judge_obstacle(judge, "token.wrong", "token",
					 f->has_token ? "the token is not the one that was set"
						      : "a VF token is needed");
		judge_remedy(judge, finding, "sluice check %s,token=UUID", f->address);
		return;
	case -EPERM:
		finding =
			judge_obstacle(judge, "launch.bind", "launch",
				       "the kernel refuses to bind it: another device of its IOMMU "
				       "group is in use, or its interrupts are not isolated");
		break;
	case -ESRCH:
		judge_ok(judge, "launch.unknown", "launch",
			 "its driver opens it for a virtual machine only (KVM), which there is at "
			 "launch; migration, dirty log and PASID are unknown");
		return;
	default:
		finding = judge_obstacle(judge, "launch.bind", "launch",
					 "the kernel refuses to bind it: %s", strerror(-error));
		break;
	}
	judge_remedy(judge, finding, "%sdmesg | tail", judge->sudo);
}

static void judge_failure(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const struct check_rehearsal *r = &f->rehearsal;
	struct check_finding *finding;

	if (r->open < 0) {
		finding = judge_obstacle(judge, "launch.open", "launch", "%s does not open: %s%s",
					 f->cdev.path ? f->cdev.path : "the descriptor",
					 strerror(-r->open),
					 r->open == -EPERM ? " (a container's device rules?)" : "");
	} else if (r->iommufd < 0) {
		finding = judge_obstacle(judge, "launch.iommufd", "launch",
					 "/dev/iommu does not open: %s%s", strerror(-r->iommufd),
					 r->iommufd == -EPERM ? " (a container's device rules?)"
							      : "");
	} else if (r->bind < 0) {
		judge_bind(judge, r->bind);
		return;
	} else if (r->ioas < 0) {
		finding = judge_obstacle(judge, "launch.ioas", "launch",
					 "iommufd makes no address space: %s", strerror(-r->ioas));
	} else {
		finding = judge_obstacle(judge, "launch.attach", "launch",
					 "the IOMMU does not take the device: %s",
					 strerror(-r->attach));
	}
	judge_remedy(judge, finding, "%sdmesg | tail", judge->sudo);
}

static void judge_capabilities(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const struct check_rehearsal *r = &f->rehearsal;
	char last[32];

	if (r->migratable)
		judge_ok(judge, "migration.ok", "migrate", "yes%s%s",
			 r->migration_flags & VFIO_MIGRATION_PRE_COPY ? ", with pre-copy" : "",
			 r->migration_flags & VFIO_MIGRATION_P2P ? ", with P2P" : "");
	else
		judge_ok(judge, "migration.none", "migrate", "not by %s",
			 f->driver ? f->driver : "its driver");
	judge_ok(judge, "dirty.ok", "dirty", "%s",
		 r->dma_logging && r->hw_dirty ? "by the device and by the IOMMU"
		 : r->dma_logging              ? "by the device"
		 : r->hw_dirty                 ? "by the IOMMU"
					       : "neither by the device nor by the IOMMU");
	if (r->pasid_bits)
		judge_ok(judge, "pasid.ok", "pasid", "%u bits", r->pasid_bits);
	else
		judge_ok(judge, "pasid.none", "pasid", "none");
	judge_ok(judge, "p2p.ok", "p2p", "%s",
		 r->dma_buf ? "its BARs can be mapped for other devices"
			    : "its BARs cannot be mapped for other devices");
	snprintf(last, sizeof(last), "up to %" PRIx64, r->iova_last);
	judge_ok(judge, "launch.ok", "launch",
		 "opened, bound, attached (addresses %s) and closed again", last);
}

void judge_launch(struct judge *judge)
{
	const struct check_facts *f = judge->facts;
	const struct check_rehearsal *r = &f->rehearsal;
	struct check_finding *finding;
	char usable[24];

	if (!r->done) {
		if (judge->report->obstacles)
			judge_ok(judge, "launch.unknown", "launch",
				 "migration, dirty log and PASID are asked of the device once "
				 "nothing else is in the way");
		else if (f->by_fd)
			judge_ok(judge, "launch.unknown", "launch",
				 "not tried: a descriptor can be bound only once; migration, dirty "
				 "log and PASID are unknown");
		else if (!f->rehearse)
			judge_ok(judge, "launch.unknown", "launch",
				 "not tried (--no-open); migration, dirty log and PASID are "
				 "unknown");
		return;
	}
	if (r->open < 0 || r->iommufd < 0 || r->bind < 0 || r->ioas < 0 || r->attach < 0) {
		judge_failure(judge);
		return;
	}
	if (r->config_size < PCI_CFG_SPACE_SIZE) {
		finding = judge_obstacle(
			judge, "launch.pci", "launch", "%s; only PCI devices can be passed through",
			r->has_irqs ? "its configuration space is too small for a PCI device"
				    : "it is no PCI device");
		judge_remedy(judge, finding, "sluice list");
	}
	if (r->iova_usable < f->memory) {
		check_size(r->iova_usable, usable);
		finding =
			judge_obstacle(judge, "iova.small", "launch",
				       "the IOMMU has addresses for %s, and the guest's memory is "
				       "larger",
				       usable);
		judge_remedy(judge, finding, "sluice run --memory %" PRIu64 "M ...",
			     r->iova_usable >> 20);
	}
	judge_capabilities(judge);
}
