/* SPDX-License-Identifier: Apache-2.0 */
/* Who can be passed through: one line per provider. */
#include "devices/vfio/provider.h"

#include <stddef.h>
#include <string.h>

#include "devices/vfio/providers/kernel/provider.h"
#include "devices/vfio/providers/soft/provider.h"
#include "devices/vfio/providers/user/provider.h"

const struct vfio_provider *const vfio_providers[] = {
	&vfio_soft_provider,
	&vfio_user_provider,
	&vfio_kernel_provider,
	NULL,
};

const struct vfio_provider *vfio_provider_by_prefix(const char *name)
{
	for (unsigned i = 0; vfio_providers[i]; i++) {
		const char *prefix = vfio_providers[i]->prefix;

		if (prefix && !strncmp(name, prefix, strlen(prefix)))
			return vfio_providers[i];
	}
	return NULL;
}
