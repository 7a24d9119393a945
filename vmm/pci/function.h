/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A PCI function as the guest sees it: configuration space, BARs, and where they are mapped.
 *
 * Everything in this file runs under the host bridge's configuration lock (host_bridge.h): one
 * configuration access at a time in the whole machine, as a slow path may be. BAR contents are
 * accessed without it.
 *
 * A function keeps `config` as what the guest reads and `writable` as which bits a guest write
 * changes; both are filled when the function is made. BAR registers, the command register and
 * power states are handled here once for all functions: the owner is told when a BAR appears at or
 * disappears from a guest address, and maps it in whatever way it likes.
 */
#ifndef SLUICE_PCI_FUNCTION_H
#define SLUICE_PCI_FUNCTION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCI_CONFIG_SIZE 4096
#define PCI_BAR_COUNT   6
#define PCI_BAR_ROM     6 /* index of the expansion ROM in bars[] */
#define PCI_BAR_NONE    UINT64_MAX

struct pci_function;
struct pci_host_bridge;
struct pci_windows;

enum pci_bar_kind {
	PCI_BAR_ABSENT, /* also the upper half of a 64-bit BAR */
	PCI_BAR_IO,
	PCI_BAR_MEM32,
	PCI_BAR_MEM64,
};

struct pci_bar {
	enum pci_bar_kind kind;
	bool prefetchable;
	uint64_t size;    /* a power of two; what the BAR decodes */
	uint64_t address; /* guest address where it is mapped now, PCI_BAR_NONE when it is not */
};

struct pci_function_ops {
	/*
	 * Guest access to configuration space; @offset + @size stays inside one aligned dword.
	 * NULL: pci_function_default_read / _write, which an owner may also call from its own op.
	 */
	uint32_t (*config_read)(struct pci_function *fn, uint32_t offset, unsigned size);
	void (*config_write)(struct pci_function *fn, uint32_t offset, uint32_t value,
			     unsigned size);
	/*
	 * Decoding of a BAR goes on at @address or off. Both are called when fn->config has the new
	 * value; pci_function_write_registers() says how an owner orders them with its hardware.
	 * A failing bar_map leaves the BAR unmapped (reads are all ones); it is tried again at the
	 * next write that could change a mapping. NULL: nothing to do.
	 */
	int (*bar_map)(struct pci_function *fn, unsigned bar, uint64_t address);
	void (*bar_unmap)(struct pci_function *fn, unsigned bar, uint64_t address);
	/*
	 * Conventional reset (hot reset of the bus above, or machine reset): back to power-on state.
	 * BARs are unmapped and writable bits are 0 by then (pci_function_reset); the owner sets those
	 * whose default is 1 and resets what is behind the registers. May be NULL.
	 */
	void (*reset)(struct pci_function *fn);
	/*
	 * Take the function out for good (unplug or machine end). Runs on the loop thread, without
	 * the configuration lock, after the function is unreachable and bus_synchronize() was done.
	 */
	void (*destroy)(struct pci_function *fn);
};

struct pci_function {
	const char *id; /* the user's name for it ("nvme0", "0000:01:00.0"); owned by the owner */
	const struct pci_function_ops *ops;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t writable[PCI_CONFIG_SIZE];
	struct pci_bar bars[PCI_BAR_COUNT + 1];
	/*
	 * Offset of the power management capability, 0: none. D1 to D3hot unmap the BARs. Set by
	 * pci_function_add_capability(), or by an owner that lays out its own chain.
	 */
	uint8_t pm;
	uint16_t capability_end, extended_end; /* where the next added capability goes */

	/* Set by plugging in. */
	struct pci_host_bridge *bridge;
	const struct pci_windows *windows; /* only what lies inside is decoded; NULL: nothing */
	uint8_t devfn;                     /* device << 3 | function on its bus */
	uint8_t root_device;               /* device number of it or its port on the root bus */
	const uint8_t *bus; /* the guest's number of the bus it sits on (its port's register) */
	uint8_t intx;       /* the pins it drives now: bit 0 = INTA; under the bridge's line lock */
};

/*
 * Vendor, device, class (24 bits), revision; header type 0; empty BARs; the command register's
 * usual bits, cache line size and interrupt line writable. Not plugged in. The rest of @fn is zeroed.
 */
void pci_function_init(struct pci_function *fn, const struct pci_function_ops *ops, const char *id,
		       uint16_t vendor, uint16_t device, uint32_t class_code, uint8_t revision);

/*
 * Declare BAR @index (0..5, or PCI_BAR_ROM). @size is rounded up to a power of two and to the
 * smallest size the kind allows (4 bytes of I/O, 16 of memory, 2 KiB for the ROM, which is MEM32). A
 * 64-bit BAR takes @index + 1 too. Errors: -EINVAL bad index, taken, size 0, or too big for the kind
 * (2 GiB for 32-bit memory, 64 KiB for I/O, 16 MiB for the ROM).
 */
int pci_function_add_bar(struct pci_function *fn, unsigned index, enum pci_bar_kind kind,
			 bool prefetchable, uint64_t size);

/* Offset of the register of BAR @index (PCI_BAR_ROM: 0x30, in a type 1 header 0x38). */
uint32_t pci_function_bar_register(const struct pci_function *fn, unsigned index);

/* Write an address into the registers of BAR @index, as firmware would. Maps nothing. */
void pci_function_set_bar(struct pci_function *fn, unsigned index, uint64_t address);

/*
 * Append a capability of @size bytes (header included) at the end of the conventional chain, or an
 * extended capability (@version) of the extended chain. Returns its offset, or -ENOSPC.
 * The first extended capability sits at 0x100.
 */
int pci_function_add_capability(struct pci_function *fn, uint8_t id, unsigned size);
int pci_function_add_extended(struct pci_function *fn, uint16_t id, uint8_t version, unsigned size);

uint32_t pci_function_default_read(struct pci_function *fn, uint32_t offset, unsigned size);
void pci_function_default_write(struct pci_function *fn, uint32_t offset, uint32_t value,
				unsigned size);

/*
 * The first half of pci_function_default_write(): the registers change and BARs that are no longer
 * decoded at their place are unmapped, but nothing is mapped. An owner with hardware behind the
 * function writes to that next (memory slots are gone before decode goes off, decode is on before
 * they come) and then calls pci_function_update_bars().
 */
void pci_function_write_registers(struct pci_function *fn, uint32_t offset, uint32_t value,
				  unsigned size);

/* Make every BAR's mapping what command, BAR registers and power state say. Idempotent. */
void pci_function_update_bars(struct pci_function *fn);
/* Unmap everything (reset, unplug, power off). The registers stay as they are. */
void pci_function_unmap_bars(struct pci_function *fn);

/* Unmap everything, clear every writable bit, then ops->reset. */
void pci_function_reset(struct pci_function *fn);

/* Requester id: bus << 8 | devfn, with the guest's current bus number. */
uint16_t pci_function_bdf(const struct pci_function *fn);

/* Little-endian access to an array such as config; @size 1, 2 or 4. */
uint32_t pci_get(const uint8_t *bytes, uint32_t offset, unsigned size);
void pci_set(uint8_t *bytes, uint32_t offset, uint32_t value, unsigned size);

#endif
