// SPDX-License-Identifier: GPL-2.0-only
/* DMA logging: the model keeps the log; here its memory and the way of its bits to user space. */
#include <linux/interval_tree.h>
#include <linux/slab.h>

#include "vfio_reference.h"

void vref_log_off(struct vref_device *v)
{
	if (!v->log_bitmap)
		return;
	dirty_log_stop(&v->model.log);
	kvfree(v->log_bitmap);
	kvfree(v->log_ranges);
	v->log_bitmap = NULL;
	v->log_ranges = NULL;
}

static int vref_log_start(struct vfio_device *vdev, struct rb_root_cached *tree, u32 count,
			  u64 *page_size)
{
	struct vref_device *v = to_vref(vdev);
	struct dirty_log_range *ranges;
	struct interval_tree_node *node;
	u64 *bitmap = NULL, bytes;
	u32 i = 0;
	int ret;

	ranges = kvcalloc(count, sizeof(*ranges), GFP_KERNEL_ACCOUNT);
	if (!ranges)
		return -ENOMEM;
	for (node = interval_tree_iter_first(tree, 0, ULONG_MAX); node && i < count;
	     node = interval_tree_iter_next(node, 0, ULONG_MAX))
		ranges[i++] = (struct dirty_log_range){
			.iova = node->start,
			.length = node->last - node->start + 1,
		};

	ret = dirty_log_size(ranges, i, page_size, &bytes);
	if (ret)
		goto err_free;
	bitmap = kvzalloc(bytes, GFP_KERNEL_ACCOUNT);
	if (!bitmap) {
		ret = -ENOMEM;
		goto err_free;
	}
	scoped_guard(mutex, &v->lock)
	{
		ret = dirty_log_start(&v->model.log, ranges, i, *page_size, bitmap);
		if (!ret) {
			v->log_ranges = ranges;
			v->log_bitmap = bitmap;
		}
	}
	if (!ret)
		return 0;

err_free:
	kvfree(bitmap);
	kvfree(ranges);
	return ret;
}

/* A stop of what was not started is no error: the core may stop after a start that it could not report. */
static int vref_log_stop(struct vfio_device *vdev)
{
	struct vref_device *v = to_vref(vdev);

	guard(mutex)(&v->lock);
	vref_log_off(v);
	return 0;
}

static void vref_log_set(void *ctx, u64 iova, u64 length)
{
	iova_bitmap_set(ctx, iova, length);
}

static int vref_log_read_and_clear(struct vfio_device *vdev, unsigned long iova,
				   unsigned long length, struct iova_bitmap *dirty)
{
	struct vref_device *v = to_vref(vdev);

	guard(mutex)(&v->lock);
	return dirty_log_read(&v->model.log, iova, length, vref_log_set, dirty);
}

const struct vfio_log_ops vref_log_ops = {
	.log_start = vref_log_start,
	.log_stop = vref_log_stop,
	.log_read_and_clear = vref_log_read_and_clear,
};
