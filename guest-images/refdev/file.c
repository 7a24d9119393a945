// SPDX-License-Identifier: GPL-2.0-only
/* /dev/refdevN, see refdev.h. */
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "driver.h"

/* Bytes that go through a buffer of the kernel at a time. */
#define CHUNK 4096u

/* enter - keep the device here until leave(). */
static int enter(struct refdev *dev)
{
	int ret = down_read_killable(&dev->alive);

	if (ret)
		return ret;
	if (!dev->gone)
		return 0;
	up_read(&dev->alive);
	return -ENODEV;
}

static void leave(struct refdev *dev)
{
	up_read(&dev->alive);
}

static int refdev_open(struct inode *inode, struct file *file)
{
	struct refdev *dev = container_of(file->private_data, struct refdev, misc);

	kref_get(&dev->kref);
	file->private_data = dev;
	dev->mapping = file->f_mapping;
	return 0;
}

static int refdev_close(struct inode *inode, struct file *file)
{
	struct refdev *dev = file->private_data;

	kref_put(&dev->kref, refdev_release);
	return 0;
}

static loff_t refdev_llseek(struct file *file, loff_t offset, int whence)
{
	struct refdev *dev = file->private_data;

	return fixed_size_llseek(file, offset, whence, dev->memory_size);
}

/* transfer - between the caller's memory and the device's, through @buffer. Returns bytes or -errno. */
static ssize_t transfer(struct refdev *dev, char __user *user, size_t size, loff_t *position,
			bool to_device)
{
	u8 *buffer = kmalloc(CHUNK, GFP_KERNEL);
	ssize_t moved = 0;
	int ret = 0;

	if (!buffer)
		return -ENOMEM;
	while (size && *position < dev->memory_size) {
		size_t chunk = min3(size, (size_t)CHUNK, (size_t)(dev->memory_size - *position));

		if (to_device) {
			if (copy_from_user(buffer, user + moved, chunk)) {
				ret = -EFAULT;
				break;
			}
			memcpy_toio(dev->memory + *position, buffer, chunk);
		} else {
			memcpy_fromio(buffer, dev->memory + *position, chunk);
			if (copy_to_user(user + moved, buffer, chunk)) {
				ret = -EFAULT;
				break;
			}
		}
		moved += chunk;
		size -= chunk;
		*position += chunk;
	}
	kfree(buffer);
	return moved ? moved : ret;
}

static ssize_t refdev_file_read(struct file *file, char __user *user, size_t size, loff_t *position)
{
	struct refdev *dev = file->private_data;
	ssize_t ret = enter(dev);

	if (ret)
		return ret;
	ret = transfer(dev, user, size, position, false);
	leave(dev);
	return ret;
}

static ssize_t refdev_file_write(struct file *file, const char __user *user, size_t size,
				 loff_t *position)
{
	struct refdev *dev = file->private_data;
	ssize_t ret = enter(dev);

	if (ret)
		return ret;
	ret = *position >= dev->memory_size && size
		      ? -ENOSPC
		      : transfer(dev, (char __user *)user, size, position, true);
	leave(dev);
	return ret;
}

static int refdev_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct refdev *dev = file->private_data;
	int ret = enter(dev);

	if (ret)
		return ret;
	vma->vm_page_prot = pgprot_writecombine(vma->vm_page_prot);
	ret = vm_iomap_memory(vma, pci_resource_start(dev->pdev, REFERENCE_BAR_MEMORY),
			      dev->memory_size);
	leave(dev);
	return ret;
}

/* ---- ioctl ---- */

static u64 count_irqs(struct refdev *dev)
{
	unsigned int i;
	u64 sum = 0;

	for (i = 0; i < dev->vectors; i++)
		sum += atomic64_read(&dev->vector[i].count);
	return sum;
}

static int get_info(struct refdev *dev, void __user *user)
{
	struct refdev_info info = {
		.argsz = sizeof(info),
		.flags = dev->msix ? REFDEV_INFO_MSIX : 0,
		.version = refdev_read(dev, REFERENCE_VERSION),
		.features = refdev_read(dev, REFERENCE_FEATURES),
		.vectors = dev->vectors,
		.vectors_device = refdev_read(dev, REFERENCE_VECTORS),
		.length_limit = refdev_read(dev, REFERENCE_LENGTH_LIMIT),
		.memory_size = dev->memory_size,
		.completed = refdev_read64(dev, REFERENCE_COMPLETED),
		.failed = refdev_read64(dev, REFERENCE_FAILED),
		.bytes = refdev_read64(dev, REFERENCE_BYTES),
		.interrupts = refdev_read64(dev, REFERENCE_INTERRUPTS),
		.rejected = refdev_read64(dev, REFERENCE_REJECTED),
		.irqs = count_irqs(dev),
		.lost = dev->lost,
	};

	return copy_to_user(user, &info, sizeof(info)) ? -EFAULT : 0;
}

static int do_request(struct refdev *dev, void __user *user)
{
	struct refdev_request request;
	int ret;

	if (copy_from_user(&request, user, sizeof(request)))
		return -EFAULT;
	ret = refdev_request(dev, &request);
	if (ret)
		return ret;
	return copy_to_user(user, &request, sizeof(request)) ? -EFAULT : 0;
}

static int get_counts(struct refdev *dev, void __user *user)
{
	struct refdev_counts counts;
	u64 __user *to;
	u32 i;

	if (copy_from_user(&counts, user, sizeof(counts)))
		return -EFAULT;
	if (counts.start > dev->vectors || counts.count > dev->vectors - counts.start)
		return -EINVAL;
	to = u64_to_user_ptr(counts.counts);
	for (i = 0; i < counts.count; i++) {
		u64 count = atomic64_read(&dev->vector[counts.start + i].count);

		if (copy_to_user(to + i, &count, sizeof(count)))
			return -EFAULT;
	}
	return 0;
}

static long refdev_ioctl(struct file *file, unsigned int command, unsigned long argument)
{
	struct refdev *dev = file->private_data;
	void __user *user = (void __user *)argument;
	u32 argsz;
	int ret;

	if (_IOC_TYPE(command) != REFDEV_IOCTL)
		return -ENOTTY;
	if (get_user(argsz, (u32 __user *)user))
		return -EFAULT;
	if (argsz < _IOC_SIZE(command))
		return -EINVAL;
	ret = enter(dev);
	if (ret)
		return ret;
	switch (command) {
	case REFDEV_GET_INFO:
		ret = get_info(dev, user);
		break;
	case REFDEV_REQUEST:
		ret = do_request(dev, user);
		break;
	case REFDEV_GET_COUNTS:
		ret = get_counts(dev, user);
		break;
	default:
		ret = -ENOTTY;
	}
	leave(dev);
	return ret;
}

const struct file_operations refdev_fops = {
	.owner = THIS_MODULE,
	.open = refdev_open,
	.release = refdev_close,
	.llseek = refdev_llseek,
	.read = refdev_file_read,
	.write = refdev_file_write,
	.mmap = refdev_mmap,
	.unlocked_ioctl = refdev_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
