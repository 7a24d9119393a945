/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The user provider, for the list of providers: "user:/path.sock", a device that another process
 * serves by the vfio-user protocol.
 */
#ifndef SLUICE_VFIO_USER_PROVIDER_H
#define SLUICE_VFIO_USER_PROVIDER_H

#include "devices/vfio/provider.h"

extern const struct vfio_provider vfio_user_provider;

#endif
