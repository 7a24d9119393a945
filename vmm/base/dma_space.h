/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What dma.c (areas come and go) and dma_access.c (bytes are read and written) share; of no use to
 * anybody else.
 *
 * Two locks. `change` makes changes one after another and is held while mirrors are told. `lock`
 * guards the list of areas and their pin counts, and is held only to look something up: copies and
 * requests hold a pin of their area in its place, which any thread may give back.
 */
#ifndef SLUICE_BASE_DMA_SPACE_H
#define SLUICE_BASE_DMA_SPACE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "vmm/base/dma.h"

#define MAX_MIRRORS  256
#define MIRROR_WORDS (MAX_MIRRORS / 64)

struct area {
	struct ioas_area a;
	uint64_t last; /* inclusive */
	unsigned pins;
	bool leaving;
	uint64_t refused[MIRROR_WORDS]; /* mirrors, by slot, that did not take this peer area */
	int refusal;                    /* what the last of them said */
};

struct ioas {
	struct iommufd_ctx *ictx;
	struct ioas *next; /* in ictx */
	uint32_t id;

	pthread_mutex_t change; /* mirrors; areas come and go */
	struct mirror *mirrors; /* in the order in which they joined */

	pthread_mutex_t lock;
	pthread_cond_t unpinned; /* the last pin of a leaving area went */
	struct area **areas;     /* sorted */
	size_t count, room;
};

/* The area that holds @iova, or NULL. Under `lock` or `change`. */
struct area *ioas_area_at(const struct ioas *ioas, uint64_t iova);

#endif
