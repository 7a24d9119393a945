/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The slot of a root port and the card in it: link, presence, power, plugging in and out.
 *
 * All under the configuration lock. A card that leaves goes in two steps: it becomes unreachable at
 * once, under the lock, and is destroyed on the loop thread when no vCPU is inside it any more.
 */
#include <errno.h>
#include <string.h>

#include <linux/pci_regs.h>

#include "vmm/base/bus.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/pci/root_port.h"

static bool powered(const struct pci_root_port *port)
{
	return !(pci_root_port_express(port, PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PCC);
}

bool pci_root_port_in_reset(const struct pci_root_port *port)
{
	return port->fn.config[PCI_BRIDGE_CONTROL] & PCI_BRIDGE_CTL_BUS_RESET;
}

static bool link_disabled(const struct pci_root_port *port)
{
	return pci_root_port_express(port, PCI_EXP_LNKCTL) & PCI_EXP_LNKCTL_LD;
}

static bool occupied(const struct pci_root_port *port)
{
	for (unsigned i = 0; i < PCI_PORT_FUNCTIONS; i++)
		if (port->functions[i])
			return true;
	return false;
}

struct pci_function *pci_root_port_find(const struct pci_root_port *port, uint8_t devfn)
{
	if (!port->link || pci_root_port_in_reset(port) || devfn >= PCI_PORT_FUNCTIONS)
		return NULL;
	return port->functions[devfn];
}

static void show_link(struct pci_root_port *port)
{
	bool up = port->link && !pci_root_port_in_reset(port);

	pci_set(port->fn.config, port->express + PCI_EXP_LNKSTA,
		up ? PCI_PORT_LINK_SPEED | PCI_PORT_LINK_WIDTH << 4 | PCI_EXP_LNKSTA_DLLLA : 0, 2);
}

static void reset_card(struct pci_root_port *port)
{
	for (unsigned i = 0; i < PCI_PORT_FUNCTIONS; i++)
		if (port->functions[i])
			pci_function_reset(port->functions[i]);
}

/* Returns the event for the guest, 0 when nothing changed. */
static uint16_t set_link(struct pci_root_port *port, bool up)
{
	if (port->link == up)
		return 0;
	port->link = up;
	for (unsigned i = 0; i < PCI_PORT_FUNCTIONS; i++) {
		struct pci_function *fn = port->functions[i];

		if (!fn)
			continue;
		if (!up)
			pci_function_unmap_bars(fn);
		fn->windows = up ? &port->fn.bridge->config.windows : NULL;
	}
	show_link(port);
	return PCI_EXP_SLTSTA_DLLSC;
}

static uint16_t set_presence(struct pci_root_port *port)
{
	uint16_t before = pci_root_port_express(port, PCI_EXP_SLTSTA);
	uint16_t now = occupied(port) ? PCI_EXP_SLTSTA_PDS : 0;

	pci_root_port_set_express(port, PCI_EXP_SLTSTA, PCI_EXP_SLTSTA_PDS, now);
	return (before & PCI_EXP_SLTSTA_PDS) == now ? 0 : PCI_EXP_SLTSTA_PDC;
}

/* Function 0 tells the guest whether to look for others. */
static void mark_multifunction(struct pci_root_port *port)
{
	bool more = false;

	for (unsigned i = 1; i < PCI_PORT_FUNCTIONS; i++)
		more |= port->functions[i] != NULL;
	for (unsigned i = 0; i < PCI_PORT_FUNCTIONS; i++) {
		struct pci_function *fn = port->functions[i];

		if (fn && more)
			fn->config[PCI_HEADER_TYPE] |= PCI_HEADER_TYPE_MFD;
		else if (fn)
			fn->config[PCI_HEADER_TYPE] &= (uint8_t)~PCI_HEADER_TYPE_MFD;
	}
}

void pci_root_port_settle(struct pci_root_port *port)
{
	bool card = port->functions[0] != NULL;

	set_presence(port);
	set_link(port, card);
	show_link(port);
	pci_root_port_set_express(port, PCI_EXP_SLTCTL, PCI_EXP_SLTCTL_PCC | PCI_EXP_SLTCTL_PIC,
				  card ? PCI_EXP_SLTCTL_PWR_ON | PCI_EXP_SLTCTL_PWR_IND_ON
				       : PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
	pci_root_port_set_express(port, PCI_EXP_SLTSTA, PCI_SLOT_EVENTS, 0);
	pci_root_port_update_interrupt(port);
}

/* ---- unplug ----------------------------------------------------------------------------------- */

static void destroy_leaving(struct pci_root_port *port)
{
	for (unsigned i = PCI_PORT_FUNCTIONS; i-- > 0;) {
		struct pci_function *fn = port->leaving[i];

		if (fn && fn->ops->destroy)
			fn->ops->destroy(fn);
	}
}

/* On the loop thread: nobody finds the functions any more, but a vCPU may still be inside a BAR. */
static void finish_leaving(void *ctx)
{
	struct pci_root_port *port = ctx;
	const struct pci_host_bridge_config *config = &port->fn.bridge->config;
	void (*done)(void *ctx);
	void *done_ctx;

	bus_synchronize(config->mmio);
	if (config->pio)
		bus_synchronize(config->pio);
	destroy_leaving(port);

	pci_lock(port->fn.bridge);
	memset(port->leaving, 0, sizeof(port->leaving));
	port->posted = false;
	done = port->done;
	done_ctx = port->done_ctx;
	port->done = NULL;
	pci_unlock(port->fn.bridge);
	if (done)
		done(done_ctx);
}

static bool is_leaving(const struct pci_root_port *port)
{
	for (unsigned i = 0; i < PCI_PORT_FUNCTIONS; i++)
		if (port->leaving[i])
			return true;
	return false;
}

static void post_leaving(struct pci_root_port *port)
{
	int err;

	if (port->posted || !is_leaving(port))
		return;
	err = loop_post(port->fn.bridge->config.loop, finish_leaving, port);
	if (err)
		log_error("pci %s: the card is out of the guest but not closed: %s; unplug again",
			  port->id, strerror(-err));
	port->posted = !err;
}

/* The card leaves the slot: from here on the guest cannot reach it. */
static void take_out(struct pci_root_port *port)
{
	uint16_t events = set_link(port, false);

	for (unsigned i = 0; i < PCI_PORT_FUNCTIONS; i++) {
		struct pci_function *fn = port->functions[i];

		port->functions[i] = NULL;
		port->leaving[i] = fn;
		if (fn)
			pci_function_detach(fn);
	}
	port->asked = false;
	events |= set_presence(port);
	pci_root_port_raise(port, events);
	post_leaving(port);
}

void pci_root_port_finish_unplug(struct pci_root_port *port)
{
	if (port->asked && occupied(port))
		take_out(port);
}

void pci_root_port_clear(struct pci_root_port *port)
{
	destroy_leaving(port);
	for (unsigned i = 0; i < PCI_PORT_FUNCTIONS; i++) {
		port->leaving[i] = port->functions[i];
		port->functions[i] = NULL;
		if (port->leaving[i])
			pci_function_detach(port->leaving[i]);
	}
	destroy_leaving(port);
}

/*
 * The guest took note of the button (it cleared the event) but does not blink its indicator: it
 * booted, and threw away what was pending, or a second press made it change its mind.
 */
static bool press_was_lost(const struct pci_root_port *port)
{
	return !(pci_root_port_express(port, PCI_EXP_SLTSTA) & PCI_EXP_SLTSTA_ABP) &&
	       (pci_root_port_express(port, PCI_EXP_SLTCTL) & PCI_EXP_SLTCTL_PIC) !=
		       PCI_EXP_SLTCTL_PWR_IND_BLINK;
}

int pci_root_port_unplug(struct pci_root_port *port, enum pci_unplug_how how,
			 void (*done)(void *ctx), void *ctx)
{
	int err = 0;

	pci_lock(port->fn.bridge);
	if (is_leaving(port)) {
		err = -EALREADY;
		post_leaving(port);
		goto unlock;
	}
	if (!occupied(port)) {
		err = -ENODEV;
		goto unlock;
	}
	if (how == PCI_UNPLUG_ASK && port->asked && !press_was_lost(port)) {
		err = -EALREADY;
		goto unlock;
	}
	port->done = done;
	port->done_ctx = ctx;
	/* Nobody to ask when the guest has switched the card off, or cannot see it yet. */
	if (how == PCI_UNPLUG_FORCE || !port->link) {
		take_out(port);
	} else {
		port->asked = true;
		pci_root_port_raise(port, PCI_EXP_SLTSTA_ABP);
	}
unlock:
	pci_unlock(port->fn.bridge);
	return err;
}

int pci_root_port_plug(struct pci_root_port *port, struct pci_function *fn, unsigned function)
{
	struct pci_host_bridge *bridge = port->fn.bridge;
	int err = 0;

	if (function >= PCI_PORT_FUNCTIONS)
		return -EINVAL;
	pci_lock(bridge);
	if (port->functions[function] || is_leaving(port)) {
		err = -EBUSY;
		goto unlock;
	}
	port->functions[function] = fn;
	pci_function_attach(fn, bridge, (uint8_t)function, port->fn.root_device,
			    &port->fn.config[PCI_SECONDARY_BUS]);
	if (!port->link)
		fn->windows = NULL; /* decodes nothing yet */
	mark_multifunction(port);
	/*
	 * The link comes up although the slot's power may be off: with an attention button Linux
	 * listens for link changes but not for presence (pciehp_hpc.c, pcie_enable_notification), and
	 * takes the card into use at once; a press of the button would cost it 5 s of blinking.
	 */
	if (port->functions[0]) {
		uint16_t events = set_presence(port);

		if (!link_disabled(port))
			events |= set_link(port, true);
		pci_root_port_raise(port, events);
	}
unlock:
	pci_unlock(bridge);
	return err;
}

/* ---- what the guest does ---------------------------------------------------------------------- */

void pci_root_port_power_changed(struct pci_root_port *port)
{
	uint16_t events = 0;

	if (powered(port)) {
		if (port->functions[0] && !link_disabled(port))
			events = set_link(port, true);
	} else if (port->asked) {
		take_out(port);
	} else if (port->link) {
		events = set_link(port, false);
		reset_card(port);
	}
	pci_root_port_raise(port, events);
}

void pci_root_port_link_control_changed(struct pci_root_port *port)
{
	uint16_t events = 0;

	if (!link_disabled(port)) {
		if (port->functions[0] && powered(port))
			events = set_link(port, true);
	} else if (port->link) {
		events = set_link(port, false);
		reset_card(port);
	}
	pci_root_port_raise(port, events);
}

/*
 * No link event here: Linux resets a slot in this way and would take the flap for a card that was
 * replaced.
 */
void pci_root_port_bus_reset_changed(struct pci_root_port *port)
{
	if (pci_root_port_in_reset(port) && port->link)
		reset_card(port);
	show_link(port);
}
