/* SPDX-License-Identifier: Apache-2.0 */
/* Device sets: who is reset together with whom (drivers/vfio/vfio_main.c). */
#include <stdlib.h>

#include "devices/vfio/core.h"

void vfio_device_sets_init(struct vfio_device_sets *sets)
{
	pthread_mutex_init(&sets->lock, NULL);
	sets->list = NULL;
}

void vfio_device_sets_destroy(struct vfio_device_sets *sets)
{
	pthread_mutex_destroy(&sets->lock);
}

struct vfio_device *vfio_device_sets_find(struct vfio_device_sets *sets, const char *name)
{
	struct vfio_device *found = NULL;

	pthread_mutex_lock(&sets->lock);
	for (struct vfio_device_set *set = sets->list; set && !found; set = set->next) {
		for (found = set->device_list; found; found = found->dev_set_list) {
			if (vfio_device_match(found, name) > 0)
				break;
		}
	}
	pthread_mutex_unlock(&sets->lock);
	return found;
}

/* The set with @set_id, one reference (device_count) more, or NULL without memory. */
static struct vfio_device_set *set_get(struct vfio_device_sets *sets, uint64_t set_id)
{
	struct vfio_device_set *set;

	for (set = sets ? sets->list : NULL; set; set = set->next) {
		if (set_id && set->set_id == set_id) {
			set->device_count++;
			return set;
		}
	}

	set = calloc(1, sizeof(*set));
	if (!set)
		return NULL;
	pthread_mutex_init(&set->lock, NULL);
	set->set_id = set_id;
	set->device_count = 1;
	set->sets = sets;
	if (sets) {
		set->next = sets->list;
		sets->list = set;
	}
	return set;
}

int vfio_assign_device_set(struct vfio_device *vdev, struct vfio_device_sets *sets, uint64_t set_id)
{
	struct vfio_device_set *set;

	if (vdev->dev_set)
		return -EBUSY;

	if (sets)
		pthread_mutex_lock(&sets->lock);
	set = set_get(sets, sets ? set_id : 0);
	if (set) {
		pthread_mutex_lock(&set->lock);
		vdev->dev_set = set;
		vdev->dev_set_list = set->device_list;
		set->device_list = vdev;
		pthread_mutex_unlock(&set->lock);
	}
	if (sets)
		pthread_mutex_unlock(&sets->lock);
	return set ? 0 : -ENOMEM;
}

void vfio_release_device_set(struct vfio_device *vdev)
{
	struct vfio_device_set *set = vdev->dev_set;
	struct vfio_device_sets *sets;
	struct vfio_device **link;
	bool last;

	if (!set)
		return;
	sets = set->sets;

	if (sets)
		pthread_mutex_lock(&sets->lock);
	pthread_mutex_lock(&set->lock);
	for (link = &set->device_list; *link && *link != vdev; link = &(*link)->dev_set_list)
		;
	if (*link)
		*link = vdev->dev_set_list;
	vdev->dev_set_list = NULL;
	vdev->dev_set = NULL;
	last = --set->device_count == 0;
	pthread_mutex_unlock(&set->lock);

	if (last && sets) {
		struct vfio_device_set **in_list = &sets->list;

		while (*in_list != set)
			in_list = &(*in_list)->next;
		*in_list = set->next;
	}
	if (sets)
		pthread_mutex_unlock(&sets->lock);

	if (last) {
		pthread_mutex_destroy(&set->lock);
		free(set);
	}
}

unsigned vfio_device_set_open_count(struct vfio_device_set *set)
{
	unsigned count = 0;

	for (struct vfio_device *vdev = set->device_list; vdev; vdev = vdev->dev_set_list)
		count += vdev->open_count;
	return count;
}
