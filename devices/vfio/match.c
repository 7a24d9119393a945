/* SPDX-License-Identifier: Apache-2.0 */
/* Names of a device, with what may follow them (vfio_pci_core_match() of drivers/vfio/pci/vfio_pci_core.c). */
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/device.h"
#include "vmm/base/text.h"

static int match_name(struct vfio_device *vdev, const char *name)
{
	if (vdev->ops->match)
		return vdev->ops->match(vdev, name);
	return !strcmp(vdev->dev, name);
}

/* What follows the name of a device: vf_token=UUID and nothing else. */
static int match_option(struct vfio_device *vdev, const char *option)
{
	static const char key[] = "vf_token=";
	uint8_t uuid[16];
	int rc;

	if (strncmp(option, key, strlen(key)) != 0 ||
	    !text_bytes(option + strlen(key), TEXT_UUID, uuid))
		return -EINVAL;
	if (!vdev->ops->match_token_uuid)
		return -EINVAL;
	rc = vdev->ops->match_token_uuid(vdev, uuid);
	return rc ? rc : 1;
}

int vfio_device_match(struct vfio_device *vdev, const char *name)
{
	int rc = match_name(vdev, name);
	char *copy;

	if (rc || !strchr(name, ' '))
		return rc;
	copy = strdup(name);
	if (!copy)
		return -ENOMEM;
	/* A name may have spaces of its own: the longest that is one counts. */
	for (char *space = strrchr(copy, ' '); !rc && space; space = strrchr(copy, ' ')) {
		*space = '\0';
		rc = match_name(vdev, copy);
		if (rc > 0)
			rc = match_option(vdev, name + (space - copy) + 1);
	}
	free(copy);
	return rc;
}
