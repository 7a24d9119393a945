/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Plan: what the guest sees of a device's configuration space, and where its accesses go.
 *
 * A pure function over the bytes that the device shows on the host. The bytes are not trusted: a
 * broken or hostile device (loops, overlaps, pointers outside, all ones) gets a sound chain of what
 * is sound in its own, and never a fault.
 *
 * Every bit of the space has one of these policies, held in three masks per byte:
 *
 *   emulated  writable  through
 *      1         0         0     the guest reads the image, its writes are dropped
 *      1         1         0     a shadow register: reads and writes stay in the image
 *      1         1         1     written through: reads from the image, writes also to the device
 *      0         0         0     the guest reads the device, its writes are dropped
 *      0         0         1     passed through both ways
 *
 * Registers whose writes need an order around them (command, power state, function level reset,
 * MSI and MSI-X control) are shadow registers here; config_space.c gives them their effect.
 */
#ifndef SLUICE_VFIO_FRONT_CONFIG_PLAN_H
#define SLUICE_VFIO_FRONT_CONFIG_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CONFIG_PLAN_SIZE 4096

struct config_options {
	int32_t vendor_id, device_id;              /* overrides, -1: the device's own */
	int32_t subsystem_vendor_id, subsystem_id; /* likewise */
	bool multifunction; /* function 0 of a package with more functions in the guest */
	bool resets;        /* VFIO_DEVICE_RESET works: function level reset may be offered */
	bool intx;          /* the pin interrupt can be delivered */
	/* How many vectors can be delivered (VFIO_DEVICE_GET_IRQ_INFO); 0 hides the capability. */
	uint32_t msi_vectors, msix_vectors;
};

/* What was found broken, for one message. */
#define CONFIG_BROKEN_CHAIN    (1u << 0) /* a loop, a pointer outside, or an entry of all ones */
#define CONFIG_BROKEN_EXTENDED (1u << 1) /* the same in the extended chain */
#define CONFIG_BROKEN_OVERLAP  (1u << 2) /* a capability hidden since another lies inside it */
#define CONFIG_BROKEN_TWICE    (1u << 3) /* a second one of a kind that comes once was hidden */

struct config_plan {
	uint32_t size; /* bytes the device has: 256 or 4096; the guest reads 0 beyond */
	/* Offsets of capabilities the front end acts on; 0: not there, or hidden. */
	uint16_t pm, pcie, af, msi, msix;

	uint8_t pin;          /* INTA..INTD = 1..4, 0: none */
	bool flr;             /* a function level reset is offered by the PCIe capability */
	bool af_flr;          /* and by the AF capability */
	uint8_t power_states; /* bit n: Dn is a state of this device */

	struct {
		uint8_t vectors; /* 1..32 */
		bool address64, masking;
	} msi_form;
	struct {
		/*
		 * Of the device, 0: it has no MSI-X. Table and pending bits are where they are, and kept
		 * from the guest, even when the capability is hidden.
		 */
		uint16_t entries;
		uint16_t vectors; /* shown, 1..2048 */
		uint8_t table_bar, pba_bar;
		uint32_t table_offset, pba_offset;
	} msix_form;

	uint32_t broken; /* CONFIG_BROKEN_* */
	uint16_t shown;  /* number of capabilities shown, both chains */
	uint16_t hidden; /* and hidden */

	uint8_t image[CONFIG_PLAN_SIZE];      /* what the guest reads after power-on */
	uint8_t writable[CONFIG_PLAN_SIZE];   /* bits of the image that a guest write changes */
	uint8_t emulated[CONFIG_PLAN_SIZE];   /* bits the guest reads from the image */
	uint8_t through[CONFIG_PLAN_SIZE];    /* bits of a write that go to the device */
	uint8_t starts[CONFIG_PLAN_SIZE / 8]; /* bit n: a capability, or a gap, begins at byte n */
};

/*
 * @config: @size bytes as the device shows them (256..4096; a size in between counts as 256).
 * Errors, with *@why a reason for the message (static):
 *   -EINVAL      @size is too small for a configuration space
 *   -ENODEV      the device does not answer (all ones)
 *   -EOPNOTSUPP  not an endpoint: a bridge, a port, an event collector
 */
int config_plan_make(const uint8_t *config, size_t size, const struct config_options *options,
		     struct config_plan *plan, const char **why);

/*
 * The largest access of at most @size bytes at @offset that is naturally aligned (1, 2 or 4) and
 * lies in one capability. @size is at least 1, @offset + @size at most CONFIG_PLAN_SIZE.
 */
unsigned config_plan_piece(const struct config_plan *plan, uint32_t offset, unsigned size);

#endif
