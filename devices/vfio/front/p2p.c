/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Peer to peer: other devices of the VM reach the mapped areas of this one by DMA, at the addresses
 * where the guest has them. Each area is exported as a dma-buf and mapped into the VM's address
 * space like RAM.
 *
 * One dma-buf for each area: iommufd takes those of one range only (vfio_pci_dmabuf.c,
 * vfio_pci_dma_buf_iommufd_map). The kernel revokes a mapping for good when the device stops
 * decoding or is reset, so it is taken out before and made again after, with the memory slots.
 *
 * Nothing here is fatal: older kernels have no such dma-bufs, some drivers cannot export, an IOMMU
 * may not reach the address. What happened is kept for the status.
 */
#include "devices/vfio/front/front.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "vmm/base/dma.h"

static void failed(struct vfio_function *vf, unsigned bar, struct front_peer *peer,
		   const char *step, int error)
{
	/* Asked for by name, it is worth a message; by default, a line for those who look for it. */
	if (vf->config->p2p == VFIO_P2P_ON && !peer->step)
		vfio_warn(vf->id, error, "BAR %u cannot be reached by other devices: %s: %m", bar,
			  step);
	else
		vfio_debug(vf->id, error, "BAR %u: %s: %m", bar, step);
	peer->step = step;
	peer->error = error;
}

static int export_area(struct vfio_function *vf, unsigned bar, const struct bar_area *area)
{
	const struct vfio_device_feature_dma_buf dma_buf = {
		.region_index = bar,
		.open_flags = O_RDWR | O_CLOEXEC,
		.nr_ranges = 1,
	};
	const struct vfio_region_dma_range range = {
		.offset = area->offset,
		.length = area->size,
	};
	union {
		struct vfio_device_feature feature;
		uint8_t bytes[sizeof(struct vfio_device_feature) + sizeof(dma_buf) + sizeof(range)];
	} arg = {.feature = {
			 .argsz = sizeof(arg.bytes),
			 .flags = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_BUF,
		 }};

	memcpy(arg.feature.data, &dma_buf, sizeof(dma_buf));
	memcpy(arg.feature.data + sizeof(dma_buf), &range, sizeof(range));
	return vfio_device_ioctl(vf->vdev, VFIO_DEVICE_FEATURE, &arg.feature);
}

static void map_area(struct vfio_function *vf, unsigned bar, unsigned i)
{
	struct front_bar *b = &vf->bars[bar];
	const struct bar_area *area = &b->layout.areas[i];
	struct front_peer *peer = &b->peers[i];
	struct ioas_area mapping;
	unsigned holders;
	int ret;

	if (peer->fd < 0) {
		ret = export_area(vf, bar, area);
		if (ret < 0) {
			failed(vf, bar, peer, "export as dma-buf", ret);
			return;
		}
		peer->fd = ret;
	}
	mapping = (struct ioas_area){
		.iova = b->address + area->offset,
		.length = area->size,
		.fd = peer->fd,
		.rights = IOAS_READ | IOAS_WRITE,
		.peer = true,
	};
	ret = ioas_map(vf->env.ioas, &mapping);
	if (ret) {
		failed(vf, bar, peer, "map for DMA", ret);
		return;
	}
	peer->iova = mapping.iova;
	peer->placed = true;
	/* A device that does not take it is no failure of the address space, but one to be seen. */
	ioas_peer_state(vf->env.ioas, peer->iova, &holders, &ret);
	peer->mapped = holders || !ret;
	if (ret)
		failed(vf, bar, peer, "map for DMA", ret);
	else
		peer->step = NULL;
}

void front_peers_map(struct vfio_function *vf, unsigned bar)
{
	struct front_bar *b = &vf->bars[bar];

	if (vf->config->p2p == VFIO_P2P_OFF || !vf->env.ioas || b->layout.sub_page)
		return;
	for (unsigned i = 0; i < b->layout.area_count; i++)
		if (!b->peers[i].placed && !b->trapped[i])
			map_area(vf, bar, i);
}

void front_peers_unmap(struct vfio_function *vf, unsigned bar)
{
	struct front_bar *b = &vf->bars[bar];
	int ret;

	for (unsigned i = 0; i < b->layout.area_count; i++) {
		struct front_peer *peer = &b->peers[i];

		if (!peer->placed)
			continue;
		ret = ioas_unmap(vf->env.ioas, peer->iova, b->layout.areas[i].size);
		if (ret)
			vfio_error(vf->id, ret,
				   "BAR %u at %#llx cannot be taken from other devices: %m", bar,
				   (unsigned long long)peer->iova);
		peer->placed = peer->mapped = false;
	}
}

void front_peers_free(struct vfio_function *vf, unsigned bar)
{
	struct front_bar *b = &vf->bars[bar];

	for (unsigned i = 0; i < BAR_AREA_MAX; i++) {
		if (b->peers[i].fd >= 0)
			close(b->peers[i].fd);
		b->peers[i].fd = -1;
	}
}

const char *front_peer_state(const struct vfio_function *vf, const struct front_peer *peer)
{
	if (vf->config->p2p == VFIO_P2P_OFF)
		return "off";
	if (peer->mapped)
		return "mapped";
	return peer->step ? peer->step : "not mapped";
}
