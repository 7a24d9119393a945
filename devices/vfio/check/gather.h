/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the files that gather facts. */
#ifndef SLUICE_VFIO_CHECK_GATHER_H
#define SLUICE_VFIO_CHECK_GATHER_H

#include "devices/vfio/check/read.h"

/* What the caller may do with the node at @path. */
void check_gather_node(const struct check_source *source, const char *path,
		       struct check_node *node);

#endif
