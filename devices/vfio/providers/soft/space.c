// SPDX-License-Identifier: Apache-2.0
/*
 * Address spaces of the device. A soft device reads a space directly, and ioas_unmap() waits for its
 * accesses by itself; as a mirror it only keeps the space from being destroyed.
 */
#include <errno.h>
#include <stdlib.h>

#include "devices/vfio/providers/soft/soft.h"
#include "vmm/base/dma.h"

static int mirror_map(void *ctx, const struct ioas_area *area)
{
	(void)ctx;
	(void)area;
	return 0;
}

static void mirror_unmap(void *ctx, const struct ioas_area *area)
{
	(void)ctx;
	(void)area;
}

static const struct ioas_mirror_ops mirror_ops = {.map = mirror_map, .unmap = mirror_unmap};

static struct soft_space **find(struct soft_device *sd, uint32_t pasid)
{
	struct soft_space **at = &sd->spaces;

	while (*at && (*at)->pasid != pasid)
		at = &(*at)->next;
	return at;
}

struct ioas *soft_space_of(struct soft_device *sd, uint32_t pasid)
{
	const struct soft_space *space = *find(sd, pasid);

	return space ? space->ioas : NULL;
}

static bool any_pasid(const struct soft_device *sd)
{
	for (const struct soft_space *space = sd->spaces; space; space = space->next) {
		if (space->pasid)
			return true;
	}
	return false;
}

static void space_free(struct soft_space *space)
{
	if (!space)
		return;
	ioas_mirror_remove(space->ioas, space);
	free(space);
}

/* Put @new (or nothing) in the place of what @pasid has, between two accesses. */
static void change(struct soft_device *sd, uint32_t pasid, struct soft_space *new)
{
	struct soft_space **at, *old;

	soft_lock(sd);
	soft_quiesce(sd);
	at = find(sd, pasid);
	old = *at;
	if (old)
		*at = old->next;
	if (new) {
		new->next = sd->spaces;
		sd->spaces = new;
	}
	reference_set_translation(&sd->model, any_pasid(sd), false, false);
	soft_resume(sd);
	soft_unlock(sd);
	space_free(old);
}

static int attach(struct soft_device *sd, uint32_t pasid, uint32_t pt_id)
{
	struct ioas *ioas = ioas_find(sd->vdev.iommufd_ictx, pt_id);
	struct soft_space *new;
	int rc;

	if (!ioas)
		return -ENOENT;
	new = calloc(1, sizeof(*new));
	if (!new)
		return -ENOMEM;
	new->ioas = ioas;
	new->pasid = pasid;
	/* The new one first: a failure leaves the old attachment. */
	rc = ioas_mirror_add(ioas, &mirror_ops, new);
	if (rc) {
		free(new);
		return rc;
	}
	change(sd, pasid, new);
	return 0;
}

int soft_attach(struct vfio_device *vdev, uint32_t *pt_id)
{
	return attach(soft_device(vdev), 0, *pt_id);
}

void soft_detach(struct vfio_device *vdev)
{
	change(soft_device(vdev), 0, NULL);
}

int soft_pasid_attach(struct vfio_device *vdev, uint32_t pasid, uint32_t *pt_id)
{
	return attach(soft_device(vdev), pasid, *pt_id);
}

void soft_pasid_detach(struct vfio_device *vdev, uint32_t pasid)
{
	change(soft_device(vdev), pasid, NULL);
}
