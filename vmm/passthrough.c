// SPDX-License-Identifier: Apache-2.0
#include "vmm/passthrough.h"

#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/device.h"
#include "devices/vfio/provider.h"
#include "devices/vfio/providers/kernel/iommufd.h"
#include "vmm/base/dma.h"
#include "vmm/base/log.h"
#include "vmm/config.h"
#include "vmm/pci/function.h"
#include "vmm/pci/host_bridge.h"

#define RESERVED_MAX 64 /* of one device */

struct passed_device {
	struct passthrough *pass;
	const struct vfio_config *config;
	const struct vfio_provider *provider;
	struct vfio_device *vdev;   /* ours until the function takes it over */
	struct vfio_function *vf;   /* under pass->lock; NULL before and after its life */
	struct pci_root_port *port; /* the functions of a package share one */
};

struct passthrough {
	struct vfio_device_sets sets;
	struct kernel_iommufd *iommufd;
	struct pci_range *reserved;
	void (*fatal)(void *machine, struct vfio_function *vf);
	void *machine;
	pthread_mutex_t lock; /* vf of every device: vCPU threads look for them */
	unsigned count;
	struct passed_device devices[];
};

/* As the device itself is called in messages from its open on, but for a shorter address that was typed. */
static const char *name_of(const struct passed_device *device)
{
	return device->config->id ? device->config->id : device->config->name;
}

/* ---- find ---- */

/* By the name alone, so that a wrong one is said whatever the host is like. */
static int find_provider(struct passed_device *device)
{
	const struct vfio_config *config = device->config;

	for (unsigned i = 0; vfio_providers[i] != NULL; i++) {
		int r = vfio_providers[i]->match(config);

		if (r < 0)
			return r;
		if (r == 0)
			continue;
		device->provider = vfio_providers[i];
		return 0;
	}
	log_error("vfio %s: no such kind of device is known", config->name);
	return -EINVAL;
}

int passthrough_find(const struct vm_config *config, struct loop *loop, struct iommufd_ctx *ictx,
		     struct passthrough **out)
{
	struct passthrough *pass;
	struct vfio_provider_env env = {.loop = loop, .ictx = ictx};
	bool needs_iommufd = false;
	int r = 0;

	*out = NULL;
	if (config->vfio_count == 0)
		return 0;
	pass = calloc(1, sizeof(*pass) + config->vfio_count * sizeof(pass->devices[0]));
	if (pass == NULL)
		return -ENOMEM;
	pthread_mutex_init(&pass->lock, NULL);
	vfio_device_sets_init(&pass->sets);
	for (unsigned i = 0; i < config->vfio_count && r == 0; i++) {
		struct passed_device *device = &pass->devices[pass->count++];

		device->pass = pass;
		device->config = &config->vfio[i];
		r = find_provider(device);
		if (r == 0)
			needs_iommufd |= device->provider->needs_iommufd;
	}
	if (r == 0 && needs_iommufd)
		r = kernel_iommufd_create(ictx, config->iommufd, NULL, &pass->iommufd);
	env.sets = &pass->sets;
	env.iommufd = pass->iommufd;
	for (unsigned i = 0; i < pass->count && r == 0; i++) {
		struct passed_device *device = &pass->devices[i];

		r = device->provider->create(&env, device->config, &device->vdev);
	}
	if (r < 0) {
		passthrough_destroy(pass);
		return r;
	}
	*out = pass;
	return 0;
}

/* What a provider's create() says so by. */
bool passthrough_misnamed(int error)
{
	return error == -EINVAL || error == -EEXIST || error == -EBADF;
}

bool passthrough_pins_memory(const struct passthrough *pass)
{
	return pass != NULL && pass->iommufd != NULL;
}

void passthrough_destroy(struct passthrough *pass)
{
	if (pass == NULL)
		return;
	for (unsigned i = pass->count; i-- > 0;) {
		struct vfio_device *vdev = pass->devices[i].vdev;

		if (vdev != NULL) {
			vfio_unregister_device(vdev);
			vfio_device_free(vdev);
		}
	}
	kernel_iommufd_destroy(pass->iommufd);
	vfio_device_sets_destroy(&pass->sets);
	pthread_mutex_destroy(&pass->lock);
	free(pass->reserved);
	free(pass);
}

struct vfio_device *passthrough_device(const struct passthrough *pass, unsigned index)
{
	return pass->devices[index].vdev;
}

/* ---- layout ---- */

/* A range whose end is the end of all addresses has no size: one byte less says the same here. */
static struct pci_range to_range(const struct iova_range *range)
{
	uint64_t size = range->last - range->first;

	return (struct pci_range){range->first, size == UINT64_MAX ? size : size + 1};
}

static int add_reserved(struct passthrough *pass, const struct passed_device *device, size_t *total)
{
	struct iova_range ranges[RESERVED_MAX];
	size_t count = RESERVED_MAX;
	struct pci_range *more;
	int r;

	if (device->provider->reserved == NULL)
		return 0;
	r = device->provider->reserved(device->vdev, ranges, &count);
	if (r < 0)
		return log_failure(r, "vfio %s: its reserved addresses", name_of(device));
	more = reallocarray(pass->reserved, *total + count + 1, sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	pass->reserved = more;
	for (size_t i = 0; i < count; i++) {
		struct pci_range range = to_range(&ranges[i]);

		if (range.base + range.size < range.base)
			range.size = UINT64_MAX - range.base;
		more[(*total)++] = range;
	}
	return 0;
}

int passthrough_reserved(struct passthrough *pass, const struct pci_range **ranges, size_t *count)
{
	int r = 0;

	*ranges = NULL;
	*count = 0;
	for (unsigned i = 0; pass != NULL && i < pass->count && r == 0; i++)
		r = add_reserved(pass, &pass->devices[i], count);
	if (pass != NULL)
		*ranges = pass->reserved;
	return r;
}

/* The first device with the same given slot: it stands for the port. */
static struct passed_device *same_slot(struct passthrough *pass, const struct passed_device *device)
{
	for (unsigned i = 0; i < pass->count; i++) {
		struct passed_device *other = &pass->devices[i];

		if (other == device ||
		    (device->config->slot >= 0 && other->config->slot == device->config->slot))
			return other;
	}
	return NULL;
}

unsigned passthrough_port_count(const struct passthrough *pass)
{
	unsigned ports = 0;

	for (unsigned i = 0; pass != NULL && i < pass->count; i++) {
		const struct passed_device *device = &pass->devices[i];

		ports += same_slot((struct passthrough *)pass, device) == device;
	}
	return ports;
}

/* ---- out again ---- */

static struct passed_device *find_function(struct passthrough *pass, const struct vfio_function *vf)
{
	for (unsigned i = 0; i < pass->count; i++) {
		if (pass->devices[i].vf == vf)
			return &pass->devices[i];
	}
	return NULL;
}

static void unplugged(void *ctx)
{
	const struct passed_device *device = ctx;

	log_info("vfio %s: out of the guest", name_of(device));
}

/* Loop thread. A package leaves as a whole: that is how slots work. */
static void unplug(void *ctx, struct vfio_function *vf, bool force)
{
	struct passthrough *pass = ctx;
	struct passed_device *device = find_function(pass, vf);
	int r;

	if (device == NULL)
		return;
	r = pci_root_port_unplug(device->port, force ? PCI_UNPLUG_FORCE : PCI_UNPLUG_ASK, unplugged,
				 device);
	if (r < 0 && r != -EALREADY)
		log_failure(r, "vfio %s: cannot be taken out of the guest", name_of(device));
}

static void fatal(void *ctx, struct vfio_function *vf)
{
	struct passthrough *pass = ctx;

	pass->fatal(pass->machine, vf);
}

static void destroyed(void *ctx, struct vfio_function *vf)
{
	struct passthrough *pass = ctx;
	struct passed_device *device;

	pthread_mutex_lock(&pass->lock);
	device = find_function(pass, vf);
	if (device != NULL)
		device->vf = NULL;
	pthread_mutex_unlock(&pass->lock);
}

/* ---- plug ---- */

static int get_port(struct passthrough *pass, struct passed_device *device,
		    struct pci_host_bridge *bridge)
{
	struct passed_device *first = same_slot(pass, device);
	int r = 0;

	if (first->port == NULL)
		r = pci_root_port_create(bridge, first->config->slot, &first->port);
	device->port = first->port;
	if (r == -EBUSY)
		log_error("vfio %s: addr=%02x: the guest's slot is taken", name_of(device),
			  (unsigned)device->config->slot);
	else if (r == -ENOSPC)
		log_error(
			"vfio %s: the root bus has 31 slots, and no free one; leave out a --vfio, "
			"--disk or --net",
			name_of(device));
	else if (r < 0)
		log_failure(r, "vfio %s: no root port", name_of(device));
	return r;
}

static int plug_one(struct passthrough *pass, struct passed_device *device,
		    const struct vfio_function_env *env, struct pci_host_bridge *bridge)
{
	struct vfio_function *vf;
	struct pci_function *fn;
	int r;

	r = get_port(pass, device, bridge);
	if (r == 0)
		r = vfio_function_create(env, device->config, device->vdev, &vf);
	if (r < 0)
		return r;
	device->vdev = NULL;
	device->vf = vf;
	fn = vfio_function_pci(vf);
	r = pci_root_port_plug(device->port, fn, device->config->function);
	if (r < 0) {
		log_failure(r, "vfio %s: cannot be plugged in", name_of(device));
		fn->ops->destroy(fn);
	}
	return r;
}

int passthrough_plug(struct passthrough *pass, const struct vfio_function_env *caller,
		     struct pci_host_bridge *bridge)
{
	struct vfio_function_env env = *caller;
	int r = 0;

	if (pass == NULL)
		return 0;
	pass->fatal = caller->fatal;
	pass->machine = caller->machine;
	env.unplug = unplug;
	env.fatal = fatal;
	env.destroyed = destroyed;
	env.machine = pass;
	/* Given slots first, or one of the others could have taken theirs. */
	for (unsigned pass_number = 0; pass_number < 2; pass_number++) {
		for (unsigned i = 0; i < pass->count && r == 0; i++) {
			struct passed_device *device = &pass->devices[i];

			if ((device->config->slot >= 0) == (pass_number == 0))
				r = plug_one(pass, device, &env, bridge);
		}
	}
	return r;
}

/* ---- while it runs ---- */

bool passthrough_fault(struct passthrough *pass)
{
	bool found = false;

	if (pass == NULL)
		return false;
	pthread_mutex_lock(&pass->lock);
	for (unsigned i = 0; i < pass->count; i++) {
		if (pass->devices[i].vf != NULL)
			found |= vfio_function_fault(pass->devices[i].vf);
	}
	/* Each says that it is well: one whose memory another process took, or if none seems so, may have. */
	for (unsigned i = 0; i < 2 * pass->count && !found; i++) {
		struct vfio_function *vf = pass->devices[i % pass->count].vf;

		if (vf != NULL)
			found = vfio_function_distrust(vf, i < pass->count);
	}
	pthread_mutex_unlock(&pass->lock);
	return found;
}

void passthrough_status(struct passthrough *pass, struct json_t *list)
{
	for (unsigned i = 0; pass != NULL && i < pass->count; i++) {
		if (pass->devices[i].vf != NULL)
			json_array_append_new(list, vfio_function_status(pass->devices[i].vf));
	}
}
