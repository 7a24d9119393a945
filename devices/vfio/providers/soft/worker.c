// SPDX-License-Identifier: Apache-2.0
/*
 * The engine's thread. It gives way to everybody else: after each step it waits until nobody waits for
 * the lock, or a long request inside the device would keep vCPUs from its registers.
 */
#include <errno.h>
#include <time.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/soft/soft.h"
#include "vmm/base/dma.h"
#include "vmm/base/host.h"

void soft_lock(struct soft_device *sd)
{
	atomic_fetch_add(&sd->waiting, 1);
	pthread_mutex_lock(&sd->lock);
	if (atomic_fetch_sub(&sd->waiting, 1) == 1)
		pthread_cond_broadcast(&sd->turn);
}

void soft_unlock(struct soft_device *sd)
{
	pthread_mutex_unlock(&sd->lock);
}

void soft_quiesce(struct soft_device *sd)
{
	reference_hold(&sd->model);
	while (reference_access_out(&sd->model))
		pthread_cond_wait(&sd->idle, &sd->lock);
}

static void kick(struct soft_device *sd)
{
	sd->kicked = true;
	pthread_cond_broadcast(&sd->work);
}

void soft_resume(struct soft_device *sd)
{
	reference_release(&sd->model);
	kick(sd);
}

void soft_effects(struct soft_device *sd, uint32_t effects)
{
	if (effects & REFERENCE_EFFECT_RESET)
		soft_session_end(sd);
	if (effects & REFERENCE_EFFECT_KICK)
		kick(sd);
	if (effects & REFERENCE_EFFECT_ERROR) {
		sd->failed = true;
		soft_signal(sd, sd->err);
		soft_events_kick(sd);
	}
	if ((effects & REFERENCE_EFFECT_REMOVED) && !sd->gone) {
		sd->gone = true;
		soft_session_end(sd);
		soft_events_kick(sd);
	}
}

static void delay(uint32_t us)
{
	const struct timespec time = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000L};

	nanosleep(&time, NULL);
}

static int do_access(struct ioas *ioas, const struct reference_access *access)
{
	if (!ioas)
		return -ENOENT;
	if (access->kind == REFERENCE_ACCESS_READ)
		return ioas_read(ioas, access->iova, access->buffer, access->length);
	return ioas_write(ioas, access->iova, access->buffer, access->length);
}

/* One step; false when there was nothing to do. Called with the lock, and back with it. */
static bool work(struct soft_device *sd)
{
	struct reference_access access;
	struct ioas *ioas;
	int rc;

	if (!reference_next(&sd->model, &access))
		return false;
	if (access.kind == REFERENCE_ACCESS_NONE)
		return true;
	ioas = soft_space_of(sd, access.has_pasid ? access.pasid : 0);
	pthread_mutex_unlock(&sd->lock);
	if (sd->keys.dma_delay_us)
		delay(sd->keys.dma_delay_us);
	rc = do_access(ioas, &access);
	pthread_mutex_lock(&sd->lock);
	soft_effects(sd, reference_done(&sd->model, rc));
	pthread_cond_broadcast(&sd->idle);
	return true;
}

static void *worker(void *ctx)
{
	struct soft_device *sd = ctx;

	pthread_mutex_lock(&sd->lock);
	while (!sd->stop) {
		sd->kicked = false;
		while (!sd->stop && work(sd)) {
			while (atomic_load(&sd->waiting) > 0)
				pthread_cond_wait(&sd->turn, &sd->lock);
		}
		/* A request may have ended, or dirtied memory. */
		soft_session_poll(sd);
		while (!sd->stop && !sd->kicked)
			pthread_cond_wait(&sd->work, &sd->lock);
	}
	pthread_mutex_unlock(&sd->lock);
	return NULL;
}

int soft_worker_start(struct soft_device *sd)
{
	int rc;

	sd->stop = false;
	rc = host_thread_start(&sd->worker, 0, worker, sd);
	if (rc)
		return vfio_error(sd->vdev.dev, rc, "no thread for its DMA: %m");
	pthread_setname_np(sd->worker, "soft-dma");
	return 0;
}

void soft_worker_stop(struct soft_device *sd)
{
	soft_lock(sd);
	sd->stop = true;
	pthread_cond_broadcast(&sd->work);
	soft_unlock(sd);
	pthread_join(sd->worker, NULL);
}
