/* SPDX-License-Identifier: Apache-2.0 */
/* The state of a passed-through function as data: for SIGUSR1 and whoever else looks. */
#include <jansson.h>
#include <string.h>
#include <linux/pci_regs.h>

#include "devices/vfio/front/front.h"
#include "vmm/pci/host_bridge.h"

static const char kind_names[][8] = {
	[PCI_BAR_ABSENT] = "absent",
	[PCI_BAR_IO] = "io",
	[PCI_BAR_MEM32] = "mem32",
	[PCI_BAR_MEM64] = "mem64",
};

static json_t *address(uint64_t value)
{
	return value == PCI_BAR_NONE ? json_null() : json_integer((json_int_t)value);
}

/* Under bar_lock. */
static json_t *areas(struct vfio_function *vf, const struct front_bar *b)
{
	json_t *list = json_array();

	for (unsigned i = 0; list && i < b->layout.area_count; i++) {
		const struct bar_area *area = &b->layout.areas[i];
		const struct front_peer *peer = &b->peers[i];
		json_t *entry =
			json_pack("{sI sI sb ss}", "offset", (json_int_t)area->offset, "size",
				  (json_int_t)area->size, "direct", b->direct && !b->trapped[i],
				  "p2p", front_peer_state(vf, peer));

		if (entry && !peer->mapped && peer->step)
			json_object_set_new(entry, "p2p_error",
					    json_string(strerror(-peer->error)));
		json_array_append_new(list, entry);
	}
	return list;
}

static json_t *bars(struct vfio_function *vf)
{
	json_t *list = json_array();

	pthread_mutex_lock(&vf->bar_lock);
	for (unsigned n = 0; list && n < PCI_BAR_COUNT; n++) {
		const struct front_bar *b = &vf->bars[n];

		if (b->layout.kind == PCI_BAR_ABSENT)
			continue;
		json_array_append_new(
			list, json_pack("{si ss sb sI sb sb si si so so}", "bar", (int)n, "kind",
					kind_names[b->layout.kind], "prefetchable",
					b->layout.prefetchable, "size", (json_int_t)b->layout.size,
					"watched", vf->watched >> n & 1, "distrusted",
					b->distrusted, "doorbells", (int)b->doorbell_count,
					"doorbells_offered", (int)b->doorbells_offered, "address",
					address(b->address), "areas", areas(vf, b)));
	}
	pthread_mutex_unlock(&vf->bar_lock);
	return list;
}

static json_t *interrupts(struct vfio_function *vf)
{
	unsigned armed = 0, linked = 0, failed = 0;
	const char *mode = "none";
	json_t *object;

	pthread_mutex_lock(&vf->irq_lock);
	for (unsigned i = 0; i < vf->irqs.v.count; i++) {
		armed += !!(vf->irqs.v.list[i].has & VECTOR_ARMED);
		linked += !!(vf->irqs.v.list[i].has & VECTOR_LINKED);
		failed += !!(vf->irqs.v.list[i].has & VECTOR_FAILED);
	}
	if (vf->irqs.index == VFIO_PCI_MSIX_IRQ_INDEX)
		mode = "msi-x";
	else if (vf->irqs.index == VFIO_PCI_MSI_IRQ_INDEX)
		mode = "msi";
	else if (vf->irqs.intx.armed)
		mode = "intx";
	object = json_pack("{ss si si si si si}", "mode", mode, "vectors", (int)vf->irqs.v.count,
			   "armed", (int)armed, "linked", (int)linked, "failed", (int)failed,
			   "granted", (int)vf->irqs.v.granted);
	pthread_mutex_unlock(&vf->irq_lock);
	return object;
}

json_t *vfio_function_status(struct vfio_function *vf)
{
	static const char *const leaving[] = {
		[FRONT_STAYS] = "no",
		[FRONT_ASKED] = "asked",
		[FRONT_FORCED] = "forced",
	};
	struct pci_host_bridge *bridge = vf->pci.bridge;
	json_t *reset;
	char guest[16];
	uint16_t bdf;

	/* Registers and resets are under the configuration lock, once it is plugged in. */
	if (bridge)
		pci_lock(bridge);
	bdf = pci_function_bdf(&vf->pci);
	reset = json_pack("{si ss? ss?}", "count", (int)vf->reset_count, "method", vf->reset_method,
			  "failure", vf->reset_failure);
	if (bridge)
		pci_unlock(bridge);

	snprintf(guest, sizeof(guest), "%02x:%02x.%x", bdf >> 8, bdf >> 3 & 0x1f, bdf & 7);
	return json_pack("{ss ss sb ss si si so so so so}", "id", vf->id, "guest", guest, "gone",
			 (int)atomic_load(&vf->gone), "leaving", leaving[vf->leaving], "requests",
			 (int)vf->request_count, "errors", (int)vf->error_count, "bars", bars(vf),
			 "interrupts", interrupts(vf), "reset", reset, "device",
			 vfio_device_status(vf->vdev));
}
