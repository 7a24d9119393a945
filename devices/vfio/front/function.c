/* SPDX-License-Identifier: Apache-2.0 */
/* The life of a passed-through function: from an unopened device to a PCI function, and back. */
#include "devices/vfio/front/front.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/pci_regs.h>

#include "devices/vfio/front/region.h"
#include "devices/vfio/message.h"
#include "vmm/base/dma.h"
#include "vmm/base/host.h"

/* 64-bit BARs from here on are shown as prefetchable, to live above 4 GiB (bar_layout.h). */
#define PREFETCHABLE_FROM (64ull << 20)

static void function_destroy(struct pci_function *fn);

static const struct pci_function_ops front_ops = {
	.config_read = front_config_read,
	.config_write = front_config_write,
	.bar_map = front_bar_map,
	.bar_unmap = front_bar_unmap,
	.reset = front_reset_conventional,
	.destroy = function_destroy,
};

/* ---- what the device says of itself -------------------------------------------------------------- */

static int get_info(struct vfio_function *vf)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	int ret = vfio_device_ioctl(vf->vdev, VFIO_DEVICE_GET_INFO, &info);

	if (ret)
		return vfio_error(vf->id, ret, "it does not say what it is: %m");
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI))
		return vfio_error(vf->id, -EOPNOTSUPP,
				  "it is no PCI device; only those can be passed through");
	vf->resets = info.flags & VFIO_DEVICE_FLAGS_RESET;
	return 0;
}

/* How many vectors of @index can be signalled by eventfd. */
static uint32_t irq_count(struct vfio_function *vf, unsigned index, uint32_t *flags)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	*flags = 0;
	if (vfio_device_ioctl(vf->vdev, VFIO_DEVICE_GET_IRQ_INFO, &info) ||
	    !(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return 0;
	*flags = info.flags;
	return info.count;
}

static void get_irqs(struct vfio_function *vf, struct config_options *options)
{
	const uint32_t intx = VFIO_IRQ_INFO_AUTOMASKED;
	uint32_t flags;

	/* A level that does not mask itself would fire without end until the guest gets to it. */
	options->intx = irq_count(vf, VFIO_PCI_INTX_IRQ_INDEX, &flags) && flags & intx;
	options->msi_vectors = irq_count(vf, VFIO_PCI_MSI_IRQ_INDEX, &flags);
	vf->irqs.msi_resizable = !(flags & VFIO_IRQ_INFO_NORESIZE);
	options->msix_vectors = irq_count(vf, VFIO_PCI_MSIX_IRQ_INDEX, &flags);
	vf->irqs.msix_resizable = !(flags & VFIO_IRQ_INFO_NORESIZE);
	if (options->msix_vectors > VECTOR_MAX)
		options->msix_vectors = VECTOR_MAX;
}

/* ---- plans --------------------------------------------------------------------------------------- */

static int plan_config(struct vfio_function *vf, uint8_t bytes[CONFIG_PLAN_SIZE])
{
	struct config_options options = {
		.vendor_id = vf->config->vendor_id,
		.device_id = vf->config->device_id,
		.subsystem_vendor_id = vf->config->subsystem_vendor_id,
		.subsystem_id = vf->config->subsystem_id,
		.resets = vf->resets,
	};
	const char *why = "";
	ssize_t size;
	int ret;

	get_irqs(vf, &options);
	size = front_config_fetch(vf, bytes);
	if (size < 0)
		return vfio_error(vf->id, (int)size, "its configuration space cannot be read: %m");
	ret = config_plan_make(bytes, (size_t)size, &options, &vf->plan, &why);
	if (ret)
		return vfio_error(vf->id, ret, "%s%s", why,
				  ret == -ENODEV
					  ? "; is it asleep in D3cold, or broken? Try `echo 1 "
					    ">/sys/bus/pci/devices/BDF/reset`, or a power cycle"
					  : "; it cannot be passed through");
	if (vf->plan.broken)
		vfio_warn(vf->id, 0,
			  "its capabilities are broken (%s%s%s%s); those that are sound are shown",
			  vf->plan.broken & CONFIG_BROKEN_CHAIN ? " chain" : "",
			  vf->plan.broken & CONFIG_BROKEN_EXTENDED ? " extended-chain" : "",
			  vf->plan.broken & CONFIG_BROKEN_OVERLAP ? " overlap" : "",
			  vf->plan.broken & CONFIG_BROKEN_TWICE ? " twice" : "");
	vfio_debug(vf->id, 0, "%u capabilities shown, %u hidden", vf->plan.shown, vf->plan.hidden);
	return 0;
}

static int plan_bars(struct vfio_function *vf, const uint8_t bytes[CONFIG_PLAN_SIZE],
		     struct bar_layout_input *in, struct bar_layout layouts[PCI_BAR_COUNT + 1])
{
	const char *why = "";
	unsigned bar;
	int ret;

	*in = (struct bar_layout_input){
		.rom_size = vf->rom.size,
		.page_size = vf->page_size,
		.prefetchable_from = PREFETCHABLE_FROM,
		.msix_vectors = vf->plan.msix_form.entries,
		.table_bar = vf->plan.msix_form.table_bar,
		.pba_bar = vf->plan.msix_form.pba_bar,
		.table_offset = vf->plan.msix_form.table_offset,
		.pba_offset = vf->plan.msix_form.pba_offset,
	};
	for (bar = 0; bar < PCI_BAR_COUNT; bar++) {
		in->registers[bar] = pci_get(bytes, PCI_BASE_ADDRESS_0 + 4 * bar, 4);
		ret = front_region_get(vf->vdev, bar, &in->regions[bar]);
		if (ret)
			return vfio_error(vf->id, ret, "BAR %u: %m", bar);
	}
	ret = bar_layout_make(in, layouts, &bar, &why);
	if (ret)
		vfio_error(vf->id, ret,
			   "BAR %u %s; the device is broken and cannot be passed through", bar,
			   why);
	return ret;
}

/* The function as vmm/pci has it, from the plans. */
static int make_function(struct vfio_function *vf,
			 const struct bar_layout layouts[PCI_BAR_COUNT + 1])
{
	struct pci_function *fn = &vf->pci;
	int ret;

	pci_function_init(fn, &front_ops, vf->id, 0, 0, 0, 0);
	memcpy(fn->config, vf->plan.image, sizeof(fn->config));
	memcpy(fn->writable, vf->plan.writable, sizeof(fn->writable));
	fn->pm = (uint8_t)vf->plan.pm;
	for (unsigned n = 0; n <= PCI_BAR_ROM; n++) {
		if (layouts[n].kind == PCI_BAR_ABSENT)
			continue;
		ret = pci_function_add_bar(fn, n, layouts[n].kind, layouts[n].prefetchable,
					   layouts[n].size);
		if (ret)
			return vfio_error(vf->id, ret, "BAR %u of %#llx bytes cannot be shown: %m",
					  n, (unsigned long long)layouts[n].size);
	}
	/* The power-on state, BAR types included. */
	memcpy(vf->plan.image, fn->config, sizeof(vf->plan.image));
	return 0;
}

/* Scratch of create: too large for the stack of a thread. */
struct plans {
	uint8_t bytes[CONFIG_PLAN_SIZE];
	struct bar_layout_input in;
	struct bar_layout layouts[PCI_BAR_COUNT + 1];
};

static int make_all(struct vfio_function *vf, struct plans *plans)
{
	int ret;

	ret = get_info(vf);
	if (ret)
		return ret;
	ret = plan_config(vf, plans->bytes);
	if (ret)
		return ret;
	ret = front_rom_init(vf);
	if (ret)
		return ret;
	ret = plan_bars(vf, plans->bytes, &plans->in, plans->layouts);
	if (ret)
		goto free_rom;
	ret = make_function(vf, plans->layouts);
	if (ret)
		goto free_rom;
	ret = front_irqs_init(vf);
	if (ret)
		goto free_rom;
	front_bars_init(vf, plans->in.regions, plans->layouts);
	ret = front_watch_init(vf);
	if (ret)
		goto free_bars;

	/* As the guest sees it: nothing decoded. The kernel opens a device with decode on. */
	front_command_sync(vf);
	if (atomic_load(&vf->gone)) {
		ret = -ENODEV;
		goto free_bars;
	}
	return 0;

free_bars:
	front_bars_free(vf);
	front_irqs_free(vf);
free_rom:
	front_rom_free(vf);
	return ret;
}

/* ---- life ---------------------------------------------------------------------------------------- */

static int open_device(struct vfio_function *vf)
{
	struct vfio_device *vdev = vf->vdev;
	uint32_t pt_id = vf->env.ioas ? ioas_id(vf->env.ioas) : 0;
	int ret;

	ret = vfio_device_set_kvm(vdev, vf->env.kvm);
	if (ret)
		return vfio_error(vf->id, ret, "the device is open already");
	vfio_device_set_events(vdev, &front_events, vf);
	vfio_device_set_revoke(vdev, front_bars_revoke, vf);
	ret = vfio_device_open(vdev, vf->env.ictx);
	if (ret)
		goto unset; /* the provider has said why */
	ret = vf->env.ioas ? vfio_device_attach(vdev, &pt_id) : 0;
	if (ret)
		goto close;
	return 0;

close:
	vfio_device_close(vdev);
unset:
	vfio_device_set_events(vdev, NULL, NULL);
	vfio_device_set_revoke(vdev, NULL, NULL);
	return ret;
}

static void close_device(struct vfio_function *vf)
{
	vfio_device_close(vf->vdev);
	vfio_device_set_events(vf->vdev, NULL, NULL);
	vfio_device_set_revoke(vf->vdev, NULL, NULL);
}

int vfio_function_create(const struct vfio_function_env *env, const struct vfio_config *config,
			 struct vfio_device *vdev, struct vfio_function **out)
{
	struct vfio_function *vf = calloc(1, sizeof(*vf));
	struct plans *plans = calloc(1, sizeof(*plans));
	int ret = -ENOMEM;

	if (!vf || !plans)
		goto no_memory;
	vf->env = *env;
	vf->config = config;
	vf->vdev = vdev;
	vf->page_size = (uint64_t)sysconf(_SC_PAGESIZE);
	vf->id = strdup(config->id ? config->id : vdev->dev);
	if (!vf->id)
		goto no_memory;
	atomic_init(&vf->gone, false);
	atomic_init(&vf->config_warned, false);
	atomic_init(&vf->revoked, false);
	pthread_mutex_init(&vf->bar_lock, NULL);

	ret = front_events_init(vf);
	if (ret) {
		vfio_error(vf->id, 0, "no timer: %s", host_strerror(-ret));
		goto free_id;
	}
	ret = open_device(vf);
	if (ret)
		goto free_events;
	ret = make_all(vf, plans);
	if (ret)
		goto close;
	free(plans);
	*out = vf;
	return 0;

close:
	close_device(vf);
free_events:
	front_events_free(vf);
free_id:
	pthread_mutex_destroy(&vf->bar_lock);
	free(vf->id);
	goto free_memory;
no_memory:
	vfio_error(vdev->dev, 0, "out of memory");
free_memory:
	free(plans);
	free(vf);
	return ret;
}

/* The order of teardown: what reaches the device, what the device reaches, the device. */
static void function_destroy(struct pci_function *fn)
{
	struct vfio_function *vf = front_of(fn);

	if (vf->env.destroyed)
		vf->env.destroyed(vf->env.machine, vf);
	front_events_free(vf);
	/* Unplugged, the guest still runs: without BARs first it could arm again what is taken down. */
	pci_function_unmap_bars(fn);
	front_bars_revoke(vf);
	front_irqs_reset(vf);
	front_bars_free(vf);
	front_irqs_free(vf);
	close_device(vf);
	vfio_unregister_device(vf->vdev);
	vfio_device_free(vf->vdev);
	front_rom_free(vf);
	pthread_mutex_destroy(&vf->bar_lock);
	free(vf->id);
	free(vf);
}

struct pci_function *vfio_function_pci(struct vfio_function *vf)
{
	return &vf->pci;
}

struct vfio_device *vfio_function_device(struct vfio_function *vf)
{
	return vf->vdev;
}
