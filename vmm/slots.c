// SPDX-License-Identifier: Apache-2.0
#include "vmm/base/host.h"
#include "vmm/slots.h"

#include <errno.h>
#include <jansson.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arch/arch.h"
#include "devices/virtio/block.h"
#include "devices/virtio/net.h"
#include "devices/virtio/pci.h"
#include "devices/virtio/rng.h"
#include "vmm/base/log.h"
#include "vmm/config.h"
#include "vmm/passthrough.h"
#include "vmm/pci/function.h"
#include "vmm/pci/host_bridge.h"

struct slots {
	struct slots_wiring wiring;
	struct pci_host_bridge *bridge;
	struct pci_function **virtio; /* the bridge owns them */
	unsigned virtio_count;
};

/* Put @fn on the root bus; the bridge owns it from then on. */
static int add(struct slots *slots, struct pci_function *fn)
{
	int r = pci_root_add(slots->bridge, fn, -1);

	if (r < 0) {
		log_error("%s: the root bus has 31 slots, and no free one; leave out a --vfio, "
			  "--disk or "
			  "--net",
			  fn->id);
		fn->ops->destroy(fn);
		return r;
	}
	slots->virtio[slots->virtio_count++] = fn;
	return 0;
}

static int add_disks(struct slots *slots)
{
	const struct vm_config *config = slots->wiring.config;
	struct pci_function *fn;
	char id[16];
	int r = 0;

	for (unsigned i = 0; i < config->disk_count && r == 0; i++) {
		const struct virtio_block_config disk = {
			.id = id,
			.path = config->disks[i].path,
			.readonly = config->disks[i].readonly,
		};

		snprintf(id, sizeof(id), "disk%u", i);
		r = virtio_block_create(&disk, slots->wiring.loop, slots->wiring.ioas, &fn);
		if (r == 0)
			r = add(slots, fn);
	}
	return r;
}

static int add_nets(struct slots *slots)
{
	const struct vm_config *config = slots->wiring.config;
	struct pci_function *fn;
	char id[16];
	int r = 0;

	for (unsigned i = 0; i < config->net_count && r == 0; i++) {
		struct virtio_tap_config net = {
			.id = id,
			.tap = config->nets[i].tap,
			.has_mac = config->nets[i].has_mac,
		};

		memcpy(net.mac, config->nets[i].mac, sizeof(net.mac));
		snprintf(id, sizeof(id), "net%u", i);
		r = virtio_net_create(&net, slots->wiring.loop, slots->wiring.ioas, &fn);
		if (r == 0)
			r = add(slots, fn);
	}
	return r;
}

static int add_rng(struct slots *slots)
{
	static const struct virtio_rng_config config = {.id = "rng0"};
	struct pci_function *fn;
	int r = virtio_rng_create(&config, slots->wiring.loop, slots->wiring.ioas, &fn);

	return r < 0 ? r : add(slots, fn);
}

static int create_bridge(struct slots *slots)
{
	const struct arch_layout *layout = slots->wiring.layout;
	struct pci_host_bridge_config config = {
		.mmio = slots->wiring.mmio,
		.pio = slots->wiring.pio,
		.irq = slots->wiring.irq,
		.loop = slots->wiring.loop,
		.ecam_base = layout->ecam.base,
		.bus_count = layout->bus_count,
		.windows = layout->windows,
	};
	int r;

	memcpy(config.intx_gsi, layout->intx_gsi, sizeof(config.intx_gsi));
	r = pci_host_bridge_create(&config, &slots->bridge);
	if (r < 0)
		log_failure(r, "PCI host bridge");
	return r;
}

static int add_passthrough(struct slots *slots)
{
	const struct slots_wiring *wiring = &slots->wiring;
	const struct vfio_function_env env = {
		.kvm = wiring->kvm,
		.loop = wiring->loop,
		.mmio = wiring->mmio,
		.pio = wiring->pio,
		.irq = wiring->irq,
		.ictx = wiring->ictx,
		.ioas = wiring->ioas,
		.fatal = wiring->fatal,
		.machine = wiring->ctx,
	};

	return passthrough_plug(wiring->passthrough, &env, slots->bridge);
}

int slots_create(const struct slots_wiring *wiring, struct slots **out)
{
	struct slots *slots = calloc(1, sizeof(*slots));
	int r;

	if (slots == NULL)
		return -ENOMEM;
	slots->wiring = *wiring;
	/* Disks, nets and the entropy device. */
	slots->virtio = calloc(wiring->config->disk_count + wiring->config->net_count + 1,
			       sizeof(struct pci_function *));
	r = slots->virtio == NULL ? -ENOMEM : create_bridge(slots);
	/* First, since they may have asked for certain slots. */
	if (r == 0)
		r = add_passthrough(slots);
	if (r == 0)
		r = add_disks(slots);
	if (r == 0)
		r = add_nets(slots);
	if (r == 0)
		r = add_rng(slots);
	if (r == 0)
		r = pci_host_bridge_assign(slots->bridge);
	if (r < 0) {
		slots_destroy(slots);
		return r;
	}
	*out = slots;
	return 0;
}

void slots_destroy(struct slots *slots)
{
	if (slots == NULL)
		return;
	if (slots->bridge != NULL)
		pci_host_bridge_destroy(slots->bridge);
	free(slots->virtio);
	free(slots);
}

int slots_reset(struct slots *slots)
{
	return pci_host_bridge_reset(slots->bridge);
}

struct json_t *slots_status(struct slots *slots)
{
	json_t *list = json_array();

	passthrough_status(slots->wiring.passthrough, list);
	for (unsigned i = 0; i < slots->virtio_count; i++)
		json_array_append_new(list, virtio_pci_status(slots->virtio[i]));
	return list;
}
