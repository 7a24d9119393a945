/* SPDX-License-Identifier: Apache-2.0 */
/* The soft provider, for the list of providers: device models inside this process ("soft:NAME"). */
#ifndef SLUICE_VFIO_SOFT_PROVIDER_H
#define SLUICE_VFIO_SOFT_PROVIDER_H

#include "devices/vfio/provider.h"

extern const struct vfio_provider vfio_soft_provider;

#endif
