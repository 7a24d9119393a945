/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel provider, for the list of providers. */
#ifndef SLUICE_VFIO_KERNEL_PROVIDER_H
#define SLUICE_VFIO_KERNEL_PROVIDER_H

#include "devices/vfio/provider.h"

extern const struct vfio_provider vfio_kernel_provider;

#endif
