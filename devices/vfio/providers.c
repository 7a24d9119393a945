/* SPDX-License-Identifier: Apache-2.0 */
/* Who can be passed through: one line per provider. */
#include "devices/vfio/provider.h"

#include <stddef.h>

#include "devices/vfio/providers/kernel/provider.h"

const struct vfio_provider *const vfio_providers[] = {
	&vfio_kernel_provider,
	NULL,
};
