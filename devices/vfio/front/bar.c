/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of the BARs at work: mappings, memory slots and trapped parts. A mapping is never touched
 * from here: an access to a device that stopped decoding would be a SIGBUS, and an access of the
 * wrong width no access at all. What is trapped goes through read and write of the device.
 */
#include "devices/vfio/front/front.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "devices/vfio/message.h"
#include "vmm/base/bus.h"
#include "vmm/base/host.h"
#include "vmm/base/kvm.h"

/* ---- mappings ------------------------------------------------------------------------------------ */

static uint64_t areas_end(const struct bar_layout *layout)
{
	const struct bar_area *last = &layout->areas[layout->area_count - 1];

	return last->offset + last->size;
}

/* Set host addresses aside so that byte 0 of the BAR is aligned for the largest pages. */
static int reserve(struct front_bar *b, uint64_t page)
{
	uint64_t align = b->layout.align, span = areas_end(&b->layout), spare = align - page;
	uintptr_t start, aligned;
	void *where;

	if (span > SIZE_MAX - align)
		return -ENOMEM;
	where = mmap(NULL, span + spare, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
		     0);
	if (where == MAP_FAILED)
		return -errno;
	start = (uintptr_t)where;
	aligned = (start + align - 1) & ~(uintptr_t)(align - 1);
	if (aligned > start)
		munmap(where, aligned - start);
	if (start + spare > aligned)
		munmap((void *)(aligned + span), start + spare - aligned);
	b->reserved = (void *)aligned;
	b->reserved_size = span;
	b->host = b->reserved;
	return 0;
}

static void release(struct front_bar *b)
{
	if (b->reserved)
		munmap(b->reserved, b->reserved_size);
	b->reserved = NULL;
	b->host = NULL;
}

static int map_areas(struct vfio_function *vf, struct front_bar *b)
{
	int ret = reserve(b, vf->page_size);

	for (unsigned i = 0; !ret && i < b->layout.area_count; i++) {
		const struct bar_area *area = &b->layout.areas[i];

		ret = vfio_device_mmap(vf->vdev, b->host + area->offset, area->size,
				       PROT_READ | PROT_WRITE, b->region_offset + area->offset);
	}
	if (ret)
		release(b);
	return ret;
}

/* Everything through read and write. */
static void trap_all(struct bar_layout *layout)
{
	layout->area_count = 0;
	layout->sub_page = false;
	layout->hole_count = 1;
	layout->holes[0] = (struct bar_area){.size = layout->size};
}

/*
 * What the handlers find their part by, written once: an access that found the range before it was
 * taken from the bus reads this while the next one is put there.
 */
static void name_holes(struct vfio_function *vf, unsigned bar)
{
	struct front_bar *b = &vf->bars[bar];

	for (unsigned i = 0; i < b->layout.hole_count; i++)
		b->holes[i] = (struct front_hole){vf, bar, b->layout.holes[i].offset};
	for (unsigned i = 0; i < b->layout.area_count; i++)
		b->area_holes[i] = (struct front_hole){vf, bar, b->layout.areas[i].offset};
}

static void complain(const struct vfio_function *vf, unsigned bar, const char *what, int error)
{
	vfio_warn(vf->id, error,
		  "BAR %u has no %s: %m; accesses to it will leave the guest, which is slow", bar,
		  what);
}

static bool usable(const struct bar_region *region)
{
	return region->readable && region->writable;
}

void front_bars_init(struct vfio_function *vf, const struct bar_region regions[PCI_BAR_COUNT],
		     const struct bar_layout layouts[PCI_BAR_COUNT + 1])
{
	int ret;

	for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
		struct front_bar *b = &vf->bars[n];

		b->layout = layouts[n];
		b->address = PCI_BAR_NONE;
		b->region_offset = regions[n].offset;
		b->region_size = regions[n].size;
		b->writable = regions[n].writable;
		for (unsigned i = 0; i < BAR_AREA_MAX; i++)
			b->peers[i].fd = -1;
		ret = 0;
		if (b->layout.area_count)
			ret = usable(&regions[n]) ? map_areas(vf, b) : -EACCES;
		if (ret) {
			complain(vf, n, "mapping", ret);
			trap_all(&b->layout);
		}
		name_holes(vf, n);
	}
}

void front_bars_free(struct vfio_function *vf)
{
	for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
		front_peers_free(vf, n);
		release(&vf->bars[n]);
	}
}

/* ---- trapped accesses ---------------------------------------------------------------------------- */

enum zone { ZONE_DEVICE, ZONE_TABLE, ZONE_PBA, ZONE_BEYOND };

/* What lies at @offset of the BAR, and up to where. */
static enum zone zone_at(const struct vfio_function *vf, unsigned bar, uint64_t offset,
			 uint64_t *start, uint64_t *end)
{
	const uint64_t region = vf->bars[bar].region_size;
	const uint64_t entries = vf->plan.msix_form.entries;
	struct {
		uint64_t start, end;
		enum zone zone;
	} special[2] = {
		{vf->plan.msix_form.table_offset,
		 vf->plan.msix_form.table_offset +
			 (vf->plan.msix_form.table_bar == bar ? entries * 16 : 0),
		 ZONE_TABLE},
		{vf->plan.msix_form.pba_offset,
		 vf->plan.msix_form.pba_offset +
			 (vf->plan.msix_form.pba_bar == bar ? (entries + 63) / 64 * 8 : 0),
		 ZONE_PBA},
	};

	*start = 0;
	*end = region;
	if (offset >= region) {
		*start = region;
		*end = UINT64_MAX;
		return ZONE_BEYOND;
	}
	for (unsigned i = 0; i < 2; i++) {
		if (special[i].start == special[i].end)
			continue;
		if (offset >= special[i].start && offset < special[i].end) {
			*start = special[i].start;
			*end = special[i].end;
			return special[i].zone;
		}
		if (offset < special[i].start && special[i].start < *end)
			*end = special[i].start;
	}
	return ZONE_DEVICE;
}

/* One access of the device, of exactly this width. */
static void device_io(struct vfio_function *vf, unsigned bar, uint64_t offset, uint8_t *data,
		      unsigned size, bool write)
{
	uint64_t at = vf->bars[bar].region_offset + offset;
	ssize_t ret;

	if (atomic_load(&vf->gone)) {
		ret = -ENODEV;
	} else if (write) {
		ret = vfio_device_write(vf->vdev, data, size, at);
		return;
	} else {
		ret = vfio_device_read(vf->vdev, data, size, at);
	}
	if (ret != (ssize_t)size) {
		memset(data, 0xff, size);
		return;
	}
	/* All ones may be what is left of a device. */
	for (unsigned i = 0; i < size; i++)
		if (data[i] != 0xff)
			return;
	if (size >= 4)
		front_device_alive(vf);
}

static void bar_io(struct vfio_function *vf, unsigned bar, uint64_t offset, uint8_t *data,
		   unsigned size, bool write)
{
	while (size) {
		uint64_t start, end;
		enum zone zone = zone_at(vf, bar, offset, &start, &end);
		unsigned length = end - offset < size ? (unsigned)(end - offset) : size;

		/* A piece that a zone's border leaves over is accessed by its natural widths. */
		if (length < size || offset % size)
			while (length & (length - 1) || (length > 1 && offset % length))
				length--;

		switch (zone) {
		case ZONE_TABLE:
			if (write)
				front_table_write(vf, (uint32_t)(offset - start), data, length);
			else
				front_table_read(vf, (uint32_t)(offset - start), data, length);
			break;
		case ZONE_PBA: /* read-only */
			if (!write)
				front_pba_read(vf, (uint32_t)(offset - start), data, length);
			break;
		case ZONE_BEYOND:
			if (!write)
				memset(data, 0xff, length);
			break;
		case ZONE_DEVICE:
			device_io(vf, bar, offset, data, length, write);
			break;
		}
		offset += length;
		data += length;
		size -= length;
	}
}

static uint64_t hole_read(void *ctx, uint64_t offset, unsigned size)
{
	struct front_hole *hole = ctx;
	uint8_t data[8] = {0};
	uint64_t value = 0;

	bar_io(hole->vf, hole->bar, hole->offset + offset, data, size, false);
	for (unsigned i = 0; i < size; i++)
		value |= (uint64_t)data[i] << 8 * i;
	return value;
}

static void hole_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	struct front_hole *hole = ctx;
	uint8_t data[8];

	for (unsigned i = 0; i < size; i++)
		data[i] = (uint8_t)(value >> 8 * i);
	bar_io(hole->vf, hole->bar, hole->offset + offset, data, size, true);
}

static const struct bus_ops hole_ops = {hole_read, hole_write};

static uint64_t rom_read(void *ctx, uint64_t offset, unsigned size)
{
	return front_rom_read(ctx, offset, size);
}

static void rom_write(void *ctx, uint64_t offset, uint64_t value, unsigned size)
{
	(void)ctx, (void)offset, (void)value, (void)size;
}

static const struct bus_ops rom_ops = {rom_read, rom_write};

static struct bus *bus_of(struct vfio_function *vf, const struct front_bar *b)
{
	return b->layout.kind == PCI_BAR_IO ? vf->env.pio : vf->env.mmio;
}

/* ---- direct access: memory slots ----------------------------------------------------------------- */

static int trap_area(struct vfio_function *vf, unsigned bar, unsigned i)
{
	struct front_bar *b = &vf->bars[bar];
	const struct bar_area *area = &b->layout.areas[i];

	return bus_add(bus_of(vf, b), b->address + area->offset, area->size, &hole_ops,
		       &b->area_holes[i], "vfio BAR");
}

static void area_remove(struct vfio_function *vf, unsigned bar, unsigned i)
{
	struct front_bar *b = &vf->bars[bar];
	int ret = 0;

	if (b->trapped[i])
		bus_remove(bus_of(vf, b), b->address + b->layout.areas[i].offset,
			   &b->area_holes[i]);
	else
		ret = kvm_slot_remove(vf->env.kvm, b->slots[i]);
	if (ret)
		vfio_error(vf->id, ret, "a memory slot of BAR %u cannot be removed: %m", bar);
	b->trapped[i] = false;
}

static void slots_remove(struct vfio_function *vf, unsigned bar)
{
	struct front_bar *b = &vf->bars[bar];

	if (!b->direct)
		return;
	front_peers_unmap(vf, bar);
	for (unsigned i = 0; i < b->layout.area_count; i++)
		area_remove(vf, bar, i);
	b->direct = false;
}

/*
 * May the page around a BAR smaller than a page be mapped? Only when it begins the page and nothing
 * else is there: not another BAR of this function, and no function beside it in its package.
 */
static bool page_is_free(const struct vfio_function *vf, unsigned bar)
{
	const struct front_bar *b = &vf->bars[bar];
	uint64_t first = b->address, end = first + vf->page_size;

	if (first % vf->page_size || vf->pci.devfn & 7 || vf->pci.config[0x0e] & 0x80)
		return false;
	for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
		const struct front_bar *other = &vf->bars[n];

		if (n != bar && other->address != PCI_BAR_NONE &&
		    other->layout.kind != PCI_BAR_IO && other->address < end &&
		    other->address + other->layout.size > first)
			return false;
	}
	return true;
}

/*
 * A slot that KVM does not give (they are counted, and the guest may have put the BAR over another)
 * is no reason to lose the BAR: the area is trapped.
 */
static int slots_add(struct vfio_function *vf, unsigned bar)
{
	struct front_bar *b = &vf->bars[bar];
	int ret;

	if (!b->layout.area_count || b->direct)
		return 0;
	if (atomic_load(&vf->gone) || atomic_load(&vf->revoked))
		return 0;
	if (b->layout.sub_page && !page_is_free(vf, bar))
		return 0;
	for (unsigned i = 0; i < b->layout.area_count; i++) {
		const struct bar_area *area = &b->layout.areas[i];

		b->trapped[i] = false;
		ret = b->distrusted
			      ? -EPERM
			      : kvm_slot_add(vf->env.kvm, b->address + area->offset, area->size,
					     b->host + area->offset, 0, &b->slots[i]);
		if (!ret)
			continue;
		/* A guest that puts one BAR over another has what it asked for. */
		if (!vf->slots_warned && !b->distrusted && ret != -EEXIST) {
			complain(vf, bar, "memory slot", ret);
			vf->slots_warned = true;
		}
		if (b->layout.sub_page)
			return 0; /* the hole under it answers */
		ret = trap_area(vf, bar, i);
		if (!ret) {
			b->trapped[i] = true;
			continue;
		}
		while (i--)
			area_remove(vf, bar, i);
		return ret;
	}
	b->direct = true;
	front_peers_map(vf, bar);
	return 0;
}

/* Where a BAR came or went, others below a page may have lost the page they are in. */
static void recheck_pages(struct vfio_function *vf)
{
	for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
		struct front_bar *b = &vf->bars[n];

		if (!b->layout.sub_page || b->address == PCI_BAR_NONE)
			continue;
		if (b->direct && !page_is_free(vf, n))
			slots_remove(vf, n);
		else
			slots_add(vf, n);
	}
}

/* ---- the guest's decode -------------------------------------------------------------------------- */

static void holes_remove(struct vfio_function *vf, unsigned bar, unsigned count)
{
	struct front_bar *b = &vf->bars[bar];

	while (count--)
		bus_remove(bus_of(vf, b), b->address + b->layout.holes[count].offset,
			   &b->holes[count]);
}

static int holes_add(struct vfio_function *vf, unsigned bar)
{
	struct front_bar *b = &vf->bars[bar];
	struct bus *bus = bus_of(vf, b);
	int ret;

	if (!bus)
		return -ENODEV;
	for (unsigned i = 0; i < b->layout.hole_count; i++) {
		const struct bar_area *hole = &b->layout.holes[i];

		ret = bus_add(bus, b->address + hole->offset, hole->size, &hole_ops, &b->holes[i],
			      "vfio BAR");
		if (ret) {
			holes_remove(vf, bar, i);
			return ret;
		}
	}
	return 0;
}

int front_bar_map(struct pci_function *fn, unsigned bar, uint64_t address)
{
	struct vfio_function *vf = front_of(fn);
	struct front_bar *b = &vf->bars[bar];
	int ret;

	if (bar == PCI_BAR_ROM)
		return bus_add(vf->env.mmio, address, fn->bars[bar].size, &rom_ops, vf, "vfio ROM");

	pthread_mutex_lock(&vf->bar_lock);
	b->address = address;
	ret = holes_add(vf, bar);
	if (!ret && !b->layout.sub_page) {
		ret = slots_add(vf, bar);
		if (ret)
			holes_remove(vf, bar, b->layout.hole_count);
	}
	if (ret)
		b->address = PCI_BAR_NONE;
	else
		front_doorbells_add(vf, bar);
	recheck_pages(vf);
	pthread_mutex_unlock(&vf->bar_lock);
	return ret;
}

void front_bar_unmap(struct pci_function *fn, unsigned bar, uint64_t address)
{
	struct vfio_function *vf = front_of(fn);
	struct front_bar *b = &vf->bars[bar];

	if (bar == PCI_BAR_ROM) {
		bus_remove(vf->env.mmio, address, vf);
		return;
	}
	pthread_mutex_lock(&vf->bar_lock);
	if (b->address != PCI_BAR_NONE) {
		front_doorbells_remove(vf, bar);
		slots_remove(vf, bar);
		holes_remove(vf, bar, b->layout.hole_count);
		b->address = PCI_BAR_NONE;
		/*
		 * Others below a page are looked at again when the next BAR comes: this may be the first
		 * of all to go, and a slot added now would lie over a device about to stop decoding.
		 */
	}
	pthread_mutex_unlock(&vf->bar_lock);
}

void front_bars_revoke(void *ctx)
{
	struct vfio_function *vf = ctx;

	pthread_mutex_lock(&vf->bar_lock);
	for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
		if (vf->bars[n].address == PCI_BAR_NONE)
			continue;
		if (vf->bars[n].direct)
			vf->revoked_ns = host_now_ns();
		front_doorbells_remove(vf, n);
		slots_remove(vf, n);
		atomic_store(&vf->revoked, true);
	}
	pthread_mutex_unlock(&vf->bar_lock);
}

void front_bar_distrust(struct vfio_function *vf, unsigned bar)
{
	struct front_bar *b = &vf->bars[bar];

	b->distrusted = true;
	if (!b->direct)
		return;
	front_peers_unmap(vf, bar);
	for (unsigned i = 0; i < b->layout.area_count; i++) {
		if (b->trapped[i])
			continue;
		/*
		 * First, so that no access finds nothing there. Below a page the hole under it answers;
		 * without room on the bus the guest reads ones.
		 */
		trap_area(vf, bar, i);
		area_remove(vf, bar, i);
		b->trapped[i] = true;
	}
	vf->revoked_ns = host_now_ns();
}

void front_bars_restore(struct vfio_function *vf)
{
	pthread_mutex_lock(&vf->bar_lock);
	atomic_store(&vf->revoked, false);
	for (unsigned n = 0; n < PCI_BAR_COUNT; n++) {
		if (vf->bars[n].address == PCI_BAR_NONE)
			continue;
		slots_add(vf, n);
		front_doorbells_add(vf, n);
	}
	pthread_mutex_unlock(&vf->bar_lock);
}
