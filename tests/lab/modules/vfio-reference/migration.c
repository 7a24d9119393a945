// SPDX-License-Identifier: GPL-2.0-only
/*
 * Migration: the ways between states are the core's, each arc and the stream the model's; here the
 * descriptor that the stream is read from or written to.
 */
#include <linux/anon_inodes.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "vfio_reference.h"

/*
 * Behind the descriptor of one session. The session ends by a change of state, a reset or the close of
 * the device, the descriptor when user space likes: until then it holds the memory of the device, and
 * answers -ENODEV.
 */
struct vref_stream {
	struct vref_device *v;
	struct mutex lock; /* one reader or writer at a time: bytes stay in order */
};

/* What is copied at once between model and user. */
#define VREF_STREAM_PIECE SZ_4K

/* Under v->lock. */
static bool vref_stream_live(const struct vref_stream *stream)
{
	return stream->v->stream == stream;
}

static ssize_t vref_stream_take(struct vref_stream *stream, void *piece, size_t count)
{
	guard(mutex)(&stream->v->lock);
	if (!vref_stream_live(stream))
		return -ENODEV;
	return reference_save(&stream->v->model, piece, count);
}

static ssize_t vref_stream_give(struct vref_stream *stream, const void *piece, size_t count)
{
	guard(mutex)(&stream->v->lock);
	if (!vref_stream_live(stream))
		return -ENODEV;
	return reference_load(&stream->v->model, piece, count);
}

static ssize_t vref_stream_read(struct file *file, char __user *buffer, size_t count, loff_t *pos)
{
	struct vref_stream *stream = file->private_data;
	ssize_t done = 0, ret = 0;
	void *piece;

	if (pos)
		return -ESPIPE;
	piece = kmalloc(VREF_STREAM_PIECE, GFP_KERNEL);
	if (!piece)
		return -ENOMEM;
	mutex_lock(&stream->lock);
	while (done < count) {
		ret = vref_stream_take(stream, piece,
				       min_t(size_t, count - done, VREF_STREAM_PIECE));
		if (ret <= 0)
			break;
		if (copy_to_user(buffer + done, piece, ret)) {
			/* These bytes are lost: the stream is of no use any more, and says so. */
			ret = -EFAULT;
			done = 0;
			break;
		}
		done += ret;
		if (fatal_signal_pending(current))
			break;
	}
	mutex_unlock(&stream->lock);
	kfree(piece);
	return done ?: ret;
}

static ssize_t vref_stream_write(struct file *file, const char __user *buffer, size_t count,
				 loff_t *pos)
{
	struct vref_stream *stream = file->private_data;
	ssize_t done = 0, ret = 0;
	void *piece;

	if (pos)
		return -ESPIPE;
	piece = kmalloc(VREF_STREAM_PIECE, GFP_KERNEL);
	if (!piece)
		return -ENOMEM;
	mutex_lock(&stream->lock);
	while (done < count) {
		size_t part = min_t(size_t, count - done, VREF_STREAM_PIECE);

		ret = copy_from_user(piece, buffer + done, part)
			      ? -EFAULT
			      : vref_stream_give(stream, piece, part);
		if (ret <= 0)
			break;
		done += ret;
	}
	mutex_unlock(&stream->lock);
	kfree(piece);
	/* A malformed stream is told at once, whatever of this piece was still good. */
	return ret < 0 && ret != -EFAULT ? ret : done ?: ret;
}

static __poll_t vref_stream_poll(struct file *file, poll_table *wait)
{
	struct vref_stream *stream = file->private_data;
	struct vref_device *v = stream->v;
	u64 initial = 0, dirty = 0;
	u32 state;

	poll_wait(file, &v->stream_wait, wait);
	guard(mutex)(&v->lock);
	if (!vref_stream_live(stream))
		return EPOLLHUP | EPOLLERR;
	state = reference_state(&v->model);
	if (state == VFIO_DEVICE_STATE_RESUMING)
		return EPOLLOUT | EPOLLWRNORM;
	if (state != VFIO_DEVICE_STATE_STOP_COPY) {
		u32 flags;

		vref_tell_mapped(v);
		reference_precopy_info(&v->model, false, &flags, &initial, &dirty);
		if (!initial && !dirty)
			return 0;
	}
	return EPOLLIN | EPOLLRDNORM;
}

static long vref_stream_ioctl(struct file *file, unsigned int command, unsigned long arg)
{
	size_t minsz = offsetofend(struct vfio_precopy_info, dirty_bytes);
	struct vref_stream *stream = file->private_data;
	struct vref_device *v = stream->v;
	struct vfio_precopy_info info;
	u64 initial, dirty;
	u32 flags;
	int ret;

	ret = vfio_check_precopy_ioctl(&v->vdev, command, arg, &info);
	if (ret)
		return ret;
	scoped_guard(mutex, &v->lock)
	{
		if (!vref_stream_live(stream))
			return -ENODEV;
		vref_tell_mapped(v);
		ret = reference_precopy_info(&v->model, v->vdev.precopy_info_v2, &flags, &initial,
					     &dirty);
	}
	if (ret)
		return ret;
	/* Without the user's consent the field is not the device's. */
	if (v->vdev.precopy_info_v2)
		info.flags = flags;
	info.initial_bytes = initial;
	info.dirty_bytes = dirty;
	return copy_to_user((void __user *)arg, &info, minsz) ? -EFAULT : 0;
}

static int vref_stream_release(struct inode *inode, struct file *file)
{
	struct vref_stream *stream = file->private_data;
	struct vref_device *v = stream->v;

	scoped_guard(mutex, &v->lock) if (v->stream == stream) v->stream = NULL;
	vfio_put_device(&v->vdev);
	kfree(stream);
	return 0;
}

static const struct file_operations vref_save_fops = {
	.owner = THIS_MODULE,
	.read = vref_stream_read,
	.poll = vref_stream_poll,
	.unlocked_ioctl = vref_stream_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.release = vref_stream_release,
};

static const struct file_operations vref_load_fops = {
	.owner = THIS_MODULE,
	.write = vref_stream_write,
	.poll = vref_stream_poll,
	.release = vref_stream_release,
};

static struct file *vref_stream_open(struct vref_device *v, bool save)
{
	struct vref_stream *stream = kzalloc(sizeof(*stream), GFP_KERNEL_ACCOUNT);
	struct file *file;

	if (!stream)
		return ERR_PTR(-ENOMEM);
	stream->v = v;
	mutex_init(&stream->lock);
	file = anon_inode_getfile("vfio-reference-stream", save ? &vref_save_fops : &vref_load_fops,
				  stream, save ? O_RDONLY : O_WRONLY);
	if (IS_ERR(file)) {
		kfree(stream);
		return file;
	}
	stream_open(file_inode(file), file);
	get_device(&v->vdev.device);
	return file;
}

void vref_stream_end(struct vref_device *v)
{
	lockdep_assert_held(&v->lock);
	v->stream = NULL;
	wake_up_all(&v->stream_wait);
}

/*
 * The descriptor that entering @next may need, made before: it must not be lacking once the device has
 * gone there. NULL: none.
 */
static struct file *vref_stream_prepare(struct vref_device *v, u32 next)
{
	switch (next) {
	case VFIO_DEVICE_STATE_RESUMING:
		return vref_stream_open(v, false);
	case VFIO_DEVICE_STATE_STOP_COPY:
	case VFIO_DEVICE_STATE_PRE_COPY:
	case VFIO_DEVICE_STATE_PRE_COPY_P2P:
		return vref_stream_open(v, true);
	default:
		return NULL;
	}
}

/* One arc, with the engine at rest. Returns the descriptor's file, NULL, or an error. */
static struct file *vref_arc(struct vref_device *v, u32 next)
{
	enum reference_session_change change = REFERENCE_SESSION_KEEP;
	struct file *file;
	int ret;

	file = vref_stream_prepare(v, next);
	if (IS_ERR(file))
		return file;
	vref_tell_mapped(v);
	ret = reference_arc(&v->model, next, &change);
	if (change == REFERENCE_SESSION_END ||
	    reference_state(&v->model) == VFIO_DEVICE_STATE_ERROR)
		vref_stream_end(v);
	if (file &&
	    (ret || (change != REFERENCE_SESSION_SAVE && change != REFERENCE_SESSION_LOAD))) {
		fput(file);
		file = NULL;
	}
	if (file)
		v->stream = file->private_data;
	/* What the user can poll for may have changed. */
	wake_up_all(&v->stream_wait);
	vref_act(v, 0);
	return ret ? ERR_PTR(ret) : file;
}

static struct file *vref_migration_set_state(struct vfio_device *vdev,
					     enum vfio_device_mig_state wanted)
{
	struct vref_device *v = to_vref(vdev);
	enum vfio_device_mig_state state, next;
	struct file *file = NULL;
	int ret = 0;

	vref_quiesce(v);
	while ((state = reference_state(&v->model)) != wanted) {
		/* Only a reset leads out of it, and the core would warn about the question. */
		if (state == VFIO_DEVICE_STATE_ERROR)
			ret = -EINVAL;
		else
			ret = vfio_mig_get_next_state(vdev, state, wanted, &next);
		if (ret)
			break;
		/* Of a way of several arcs only the last can begin a session that is the user's. */
		if (WARN_ON(file)) {
			fput(file);
			file = NULL;
		}
		file = vref_arc(v, next);
		if (IS_ERR(file))
			break;
	}
	vref_resume(v);
	if (ret)
		return ERR_PTR(ret);
	return file;
}

static int vref_migration_get_state(struct vfio_device *vdev, enum vfio_device_mig_state *state)
{
	struct vref_device *v = to_vref(vdev);

	guard(mutex)(&v->lock);
	*state = reference_state(&v->model);
	return 0;
}

static int vref_migration_get_data_size(struct vfio_device *vdev, unsigned long *length)
{
	struct vref_device *v = to_vref(vdev);

	guard(mutex)(&v->lock);
	vref_tell_mapped(v);
	*length = reference_data_size(&v->model);
	return 0;
}

const struct vfio_migration_ops vref_migration_ops = {
	.migration_set_state = vref_migration_set_state,
	.migration_get_state = vref_migration_get_state,
	.migration_get_data_size = vref_migration_get_data_size,
};
