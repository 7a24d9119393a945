/* SPDX-License-Identifier: Apache-2.0 */
/* The keys of --vfio soft:reference as plain data. */
#ifndef SLUICE_VFIO_SOFT_KEYS_H
#define SLUICE_VFIO_SOFT_KEYS_H

#include "devices/vfio/provider.h"
#include "devices/vfio/reference/model.h"

struct soft_keys {
	uint32_t vectors;         /* vectors= */
	uint64_t memory;          /* memory= */
	uint32_t migration_flags; /* migration=: VFIO_MIGRATION_*, 0: none */
	bool pasid, log, mmap;    /* pasid=, log=, mmap= */
	uint32_t dma_delay_us;    /* dma-delay=: before each access to guest memory */
	struct reference_faults faults;
};

/*
 * Read the keys that came behind the name. -EINVAL with a message that names the key and what it takes.
 */
int soft_keys_parse(const struct vfio_config *config, struct soft_keys *keys);

/* Their names, NULL-terminated. */
extern const char *const soft_key_names[];

#endif
