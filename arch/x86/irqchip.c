// SPDX-License-Identifier: Apache-2.0
/*
 * The in-kernel I/O APIC and local APICs. All of it in the kernel, because resample irqfds (INTx of
 * passed-through devices) do not work with a split irqchip. No PIT: it costs 16 to 23 ms at the end
 * of the VM, and the guest has a TSC-deadline timer.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "arch/arch.h"
#include "arch/x86/platform.h"
#include "vmm/base/irq.h"
#include "vmm/base/kvm.h"
#include "vmm/base/log.h"

#define IOAPIC_MASKED (1ull << 16)

static int fail(const char *what)
{
	return log_failure(-errno, "KVM: %s", what);
}

/*
 * KVM_CREATE_IRQCHIP brings a pair of 8259s whose pins are wired in parallel to the I/O APIC's. They
 * are not part of this machine: with all pins of the first masked, neither says anything.
 */
static int silence_8259(struct kvm *kvm)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_PIC_MASTER};

	chip.chip.pic.imr = 0xff;
	chip.chip.pic.elcr_mask = 0xf8;
	if (ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &chip) < 0)
		return fail("KVM_SET_IRQCHIP");
	return 0;
}

int arch_irqchip_create(struct kvm *kvm, unsigned cpus, const struct arch_layout *layout,
			struct irq_router **out)
{
	uint64_t identity = KVM_IDENTITY_BASE;
	struct irq_router *router;
	int r;

	(void)cpus, (void)layout;
	if (ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, KVM_TSS_BASE) < 0)
		return fail("KVM_SET_TSS_ADDR");
	if (ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0)
		return fail("KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0L) < 0)
		return fail("KVM_CREATE_IRQCHIP (Linux 6.17 and newer need CONFIG_KVM_IOAPIC)");

	r = silence_8259(kvm);
	if (r < 0)
		return r;

	r = irq_router_create(kvm, IOAPIC_PINS, &router);
	if (r < 0)
		return r;
	/*
	 * The same as KVM's own table after KVM_CREATE_IRQCHIP, less the 8259s; so nothing has to be
	 * committed before the first message route.
	 */
	for (uint32_t pin = 0; pin < IOAPIC_PINS && r == 0; pin++)
		r = irq_router_add_pin(router, pin, KVM_IRQCHIP_IOAPIC, pin);
	if (r < 0) {
		irq_router_destroy(router);
		return r;
	}
	*out = router;
	return 0;
}

int arch_irqchip_reset(struct kvm *kvm)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

	chip.chip.ioapic.base_address = IOAPIC_BASE;
	for (unsigned pin = 0; pin < IOAPIC_PINS; pin++)
		chip.chip.ioapic.redirtbl[pin].bits = IOAPIC_MASKED;
	if (ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &chip) < 0)
		return fail("KVM_SET_IRQCHIP");
	return silence_8259(kvm);
}
