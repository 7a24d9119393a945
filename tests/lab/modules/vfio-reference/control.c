// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a test sees of a device and does to it: /sys/devices/platform/NAME.N/reference/. The attributes
 * stay until the last user of a device that is being removed has closed it.
 */
#include <linux/device.h>
#include <linux/kstrtox.h>
#include <linux/sysfs.h>

#include "iommu.h"
#include "vfio_reference.h"

/* ---- to be seen ------------------------------------------------------------------------------------ */

/* Did the user that opened it last have a KVM associated before? */
static ssize_t opened_with_kvm_show(struct device *dev, struct device_attribute *attr, char *buffer)
{
	struct vref_device *v = dev_get_drvdata(dev);

	guard(mutex)(&v->lock);
	return sysfs_emit(buffer, "%d\n", v->opened_with_kvm);
}
static DEVICE_ATTR_RO(opened_with_kvm);

/* Does the device hold a reference of that KVM now? The core's fields, under the core's lock. */
static ssize_t holds_kvm_show(struct device *dev, struct device_attribute *attr, char *buffer)
{
	struct vref_device *v = dev_get_drvdata(dev);

	guard(mutex)(&v->vdev.dev_set->lock);
	return sysfs_emit(buffer, "%d\n", v->vdev.kvm && v->vdev.put_kvm);
}
static DEVICE_ATTR_RO(holds_kvm);

static ssize_t open_count_show(struct device *dev, struct device_attribute *attr, char *buffer)
{
	struct vref_device *v = dev_get_drvdata(dev);

	guard(mutex)(&v->vdev.dev_set->lock);
	return sysfs_emit(buffer, "%u\n", v->vdev.open_count);
}
static DEVICE_ATTR_RO(open_count);

/* How often user space was asked to let go since somebody wants the device back. */
static ssize_t requests_show(struct device *dev, struct device_attribute *attr, char *buffer)
{
	struct vref_device *v = dev_get_drvdata(dev);

	guard(mutex)(&v->lock);
	return sysfs_emit(buffer, "%u\n", v->requests);
}
static DEVICE_ATTR_RO(requests);

/* A number of enum vfio_device_mig_state. */
static ssize_t migration_state_show(struct device *dev, struct device_attribute *attr, char *buffer)
{
	struct vref_device *v = dev_get_drvdata(dev);

	guard(mutex)(&v->lock);
	return sysfs_emit(buffer, "%u\n", reference_state(&v->model));
}
static DEVICE_ATTR_RO(migration_state);

static ssize_t page_requests_show(struct device *dev, struct device_attribute *attr, char *buffer)
{
	struct vref_device *v = dev_get_drvdata(dev);

	return sysfs_emit(buffer, "%lu\n", v->physical ? vref_iommu_page_requests(dev) : 0);
}
static DEVICE_ATTR_RO(page_requests);

/* Calls of .dma_unmap, and whether a page of guest memory is pinned. Emulated kind. */
static ssize_t dma_unmaps_show(struct device *dev, struct device_attribute *attr, char *buffer)
{
	struct vref_device *v = dev_get_drvdata(dev);

	guard(mutex)(&v->pin.lock);
	return sysfs_emit(buffer, "%u\n", v->dma_unmaps);
}
static DEVICE_ATTR_RO(dma_unmaps);

static ssize_t pinned_show(struct device *dev, struct device_attribute *attr, char *buffer)
{
	struct vref_device *v = dev_get_drvdata(dev);

	guard(mutex)(&v->pin.lock);
	return sysfs_emit(buffer, "%d\n", v->pin.page != NULL);
}
static DEVICE_ATTR_RO(pinned);

/* Of the device's set: calls of open, close and hot reset, and which of them were not under its lock, or not alone. */
#define VREF_SET_COUNT(name)                                                                       \
	static ssize_t set_##name##_show(struct device *dev, struct device_attribute *attr,        \
					 char *buffer)                                             \
	{                                                                                          \
		struct vref_device *v = dev_get_drvdata(dev);                                      \
                                                                                                   \
		return sysfs_emit(buffer, "%d\n", atomic_read(&v->set->name));                     \
	}                                                                                          \
	static DEVICE_ATTR_RO(set_##name)

VREF_SET_COUNT(calls);
VREF_SET_COUNT(unlocked);
VREF_SET_COUNT(overlaps);

/* ---- to be done ------------------------------------------------------------------------------------ */

/* The VF token a user has to give from now on; empty: none. */
static ssize_t token_store(struct device *dev, struct device_attribute *attr, const char *buffer,
			   size_t count)
{
	struct vref_device *v = dev_get_drvdata(dev);
	bool empty = sysfs_streq(buffer, "");
	uuid_t token = {};

	if (!empty && (count < UUID_STRING_LEN || uuid_parse(buffer, &token)))
		return -EINVAL;
	guard(mutex)(&v->lock);
	v->token = token;
	v->has_token = !empty;
	return count;
}
static DEVICE_ATTR_WO(token);

/* 1: it does not open without a KVM. */
static ssize_t needs_kvm_store(struct device *dev, struct device_attribute *attr,
			       const char *buffer, size_t count)
{
	struct vref_device *v = dev_get_drvdata(dev);
	bool needs;
	int ret = kstrtobool(buffer, &needs);

	if (ret)
		return ret;
	guard(mutex)(&v->lock);
	v->needs_kvm = needs;
	return count;
}
static DEVICE_ATTR_WO(needs_kvm);

/* An errno that attachments fail with, 0: they work. */
static ssize_t fail_attach_store(struct device *dev, struct device_attribute *attr,
				 const char *buffer, size_t count)
{
	struct vref_device *v = dev_get_drvdata(dev);
	unsigned int error;
	int ret = kstrtouint(buffer, 0, &error);

	if (ret)
		return ret;
	if (error > MAX_ERRNO)
		return -EINVAL;
	if (v->physical)
		vref_iommu_fail_attach(dev, -(int)error);
	WRITE_ONCE(v->fail_attach, -(int)error);
	return count;
}
static DEVICE_ATTR_WO(fail_attach);

/* Microseconds, behind the IOMMU: an access to memory takes so long. */
static ssize_t delay_dma_store(struct device *dev, struct device_attribute *attr,
			       const char *buffer, size_t count)
{
	struct vref_device *v = dev_get_drvdata(dev);
	unsigned int us;
	int ret = kstrtouint(buffer, 0, &us);

	if (ret)
		return ret;
	if (!v->physical)
		return -EOPNOTSUPP;
	vref_iommu_delay(dev, us);
	return count;
}
static DEVICE_ATTR_WO(delay_dma);

/* Microseconds: open, close and hot reset of the device's set take so long. */
static ssize_t set_delay_us_store(struct device *dev, struct device_attribute *attr,
				  const char *buffer, size_t count)
{
	struct vref_device *v = dev_get_drvdata(dev);
	unsigned int us;
	int ret = kstrtouint(buffer, 0, &us);

	if (ret)
		return ret;
	if (us > USEC_PER_SEC)
		return -EINVAL;
	WRITE_ONCE(v->set->delay_us, us);
	return count;
}
static DEVICE_ATTR_WO(set_delay_us);

/* "STATE TIMES": entering this migration state fails so many times. */
static ssize_t fail_state_store(struct device *dev, struct device_attribute *attr,
				const char *buffer, size_t count)
{
	struct vref_device *v = dev_get_drvdata(dev);
	unsigned int state, times;

	if (sscanf(buffer, "%u %u", &state, &times) != 2)
		return -EINVAL;
	guard(mutex)(&v->lock);
	v->model.faults.fail_state = state;
	v->model.faults.fail_state_times = times;
	return count;
}
static DEVICE_ATTR_WO(fail_state);

/* Faults of the model that are a number (model.h tells what each does). */
#define VREF_FAULT(name)                                                                           \
	static ssize_t name##_store(struct device *dev, struct device_attribute *attr,             \
				    const char *buffer, size_t count)                              \
	{                                                                                          \
		struct vref_device *v = dev_get_drvdata(dev);                                      \
		unsigned int value;                                                                \
		int ret = kstrtouint(buffer, 0, &value);                                           \
                                                                                                   \
		if (ret)                                                                           \
			return ret;                                                                \
		guard(mutex)(&v->lock);                                                            \
		v->model.faults.name = value;                                                      \
		return count;                                                                      \
	}                                                                                          \
	static DEVICE_ATTR_WO(name)

VREF_FAULT(lose_interrupt);
VREF_FAULT(remove_after);
VREF_FAULT(slow_bytes);
VREF_FAULT(truncate_at);
VREF_FAULT(flip_at);
VREF_FAULT(lie_size_percent);
VREF_FAULT(reinit);

/* "error", "request": signal that interrupt. "remove": the device is gone, by surprise. */
static ssize_t trigger_store(struct device *dev, struct device_attribute *attr, const char *buffer,
			     size_t count)
{
	struct vref_device *v = dev_get_drvdata(dev);

	guard(mutex)(&v->lock);
	if (sysfs_streq(buffer, "error")) {
		vref_signal_error(v);
	} else if (sysfs_streq(buffer, "request")) {
		vref_signal_request(v);
	} else if (sysfs_streq(buffer, "remove")) {
		reference_remove(&v->model);
		vref_act(v, REFERENCE_EFFECT_REMOVED);
	} else {
		return -EINVAL;
	}
	return count;
}
static DEVICE_ATTR_WO(trigger);

static struct attribute *vref_attributes[] = {
	&dev_attr_opened_with_kvm.attr,
	&dev_attr_holds_kvm.attr,
	&dev_attr_open_count.attr,
	&dev_attr_requests.attr,
	&dev_attr_migration_state.attr,
	&dev_attr_page_requests.attr,
	&dev_attr_dma_unmaps.attr,
	&dev_attr_pinned.attr,
	&dev_attr_set_calls.attr,
	&dev_attr_set_unlocked.attr,
	&dev_attr_set_overlaps.attr,
	&dev_attr_set_delay_us.attr,
	&dev_attr_token.attr,
	&dev_attr_needs_kvm.attr,
	&dev_attr_fail_attach.attr,
	&dev_attr_delay_dma.attr,
	&dev_attr_fail_state.attr,
	&dev_attr_lose_interrupt.attr,
	&dev_attr_remove_after.attr,
	&dev_attr_slow_bytes.attr,
	&dev_attr_truncate_at.attr,
	&dev_attr_flip_at.attr,
	&dev_attr_lie_size_percent.attr,
	&dev_attr_reinit.attr,
	&dev_attr_trigger.attr,
	NULL,
};

static const struct attribute_group vref_group = {
	.name = "reference",
	.attrs = vref_attributes,
};

const struct attribute_group *vref_groups[] = {&vref_group, NULL};
