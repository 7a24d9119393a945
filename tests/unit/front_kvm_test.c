/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The front end on this machine's own KVM: that what it relies on is so. A vCPU that never runs takes
 * the interrupts, its local APIC says which ones; slots lie over memory of the fake device.
 */
#include "tests/unit/fake_log.h"
#include "tests/unit/fake_loop.h"
#include "tests/unit/fake_vdev.h"

#include <linux/kvm.h>
#include <sys/ioctl.h>

#include "devices/vfio/front/front.h"
#include "vmm/base/bus.h"
#include "vmm/base/dma.h"
#include "vmm/base/irq.h"
#include "vmm/base/kvm.h"
#include "vmm/pci/window.h"

#define BAR0  0xc0000000ull
#define BAR4  0xc0100000ull
#define TABLE (BAR0 + 0x2000)
#define PBA   (BAR0 + 0x3000)

#define APIC_SVR 0xf0
#define APIC_IRR 0x200

static struct kvm *kvm;
static int vcpu = -1;
static struct irq_router *router;
static struct bus *mmio;
static struct loop *loop;
static struct iommufd_ctx *ictx;
static struct fake_vdev device;
static struct vfio_function *vf;
static struct pci_function *fn;
static const struct pci_windows windows = {.mem32 = {0xc0000000, 0x20000000}};
static const struct vfio_config config = {
	.vendor_id = -1,
	.device_id = -1,
	.subsystem_vendor_id = -1,
	.subsystem_id = -1,
	.p2p = VFIO_P2P_OFF,
	.rom = VFIO_ROM_OFF,
};

static bool fake_is_mapped(const struct fake_vdev *f)
{
	(void)f;
	return false;
}

static void start(void)
{
	struct vfio_function_env env;
	struct kvm_lapic_state apic;
	uint32_t svr;

	if (access("/dev/kvm", R_OK | W_OK))
		cr_skip_test("no /dev/kvm");
	cr_assert_eq(kvm_create(-1, &kvm), 0);
	cr_assert_eq(ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0), 0);
	vcpu = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, 0);
	cr_assert_geq(vcpu, 0);
	cr_assert_eq(ioctl(vcpu, KVM_GET_LAPIC, &apic), 0);
	memcpy(&svr, apic.regs + APIC_SVR, 4);
	svr |= 0x100; /* software-enabled */
	memcpy(apic.regs + APIC_SVR, &svr, 4);
	cr_assert_eq(ioctl(vcpu, KVM_SET_LAPIC, &apic), 0);
	cr_assert_eq(irq_router_create(kvm, 24, &router), 0);
	cr_assert_eq(bus_create(&mmio), 0);
	cr_assert_eq(loop_create(&loop), 0);
	cr_assert_eq(iommufd_ctx_create(&ictx), 0);
	fake_init(&device, "0000:01:00.0", NULL, 0);
	device.config[PCI_INTERRUPT_PIN] = 0;
	env = (struct vfio_function_env){
		.kvm = kvm, .loop = loop, .mmio = mmio, .irq = router, .ictx = ictx};
	cr_assert_eq(vfio_function_create(&env, &config, &device.vdev, &vf), 0);
	fn = vfio_function_pci(vf);
	fn->windows = &windows;
	pci_function_set_bar(fn, 0, BAR0);
	pci_function_set_bar(fn, 4, BAR4);
	fn->ops->config_write(fn, PCI_COMMAND, 6, 2);
}

static void end(void)
{
	fn->ops->destroy(fn);
	cr_expect_eq(device.breaches, 0);
	irq_router_destroy(router);
	bus_destroy(mmio);
	loop_destroy(loop);
	iommufd_ctx_destroy(ictx);
	close(vcpu);
	kvm_put(kvm);
}

static void write32(uint64_t address, uint32_t value)
{
	bus_write(mmio, address, &value, 4);
}

static uint64_t pending(void)
{
	uint64_t value = 0;

	bus_read(mmio, PBA, &value, 8);
	return value;
}

static void program(unsigned vector, uint8_t number)
{
	write32(TABLE + 16 * vector, 0xfee00000);
	write32(TABLE + 16 * vector + 4, 0);
	write32(TABLE + 16 * vector + 8, number);
}

static void mask(unsigned vector, bool masked)
{
	write32(TABLE + 16 * vector + 12, masked);
}

static bool requested(uint8_t number)
{
	struct kvm_lapic_state apic;

	if (ioctl(vcpu, KVM_GET_LAPIC, &apic))
		return false;
	return apic.regs[APIC_IRR + number / 32 * 16 + number % 32 / 8] >> number % 8 & 1;
}

/* An irqfd may inject from a work queue. */
static bool arrives(uint8_t number)
{
	for (unsigned i = 0; i < 1000; i++) {
		if (requested(number))
			return true;
		usleep(1000);
	}
	return false;
}

static void forget(void)
{
	struct kvm_lapic_state apic;

	cr_assert_eq(ioctl(vcpu, KVM_GET_LAPIC, &apic), 0);
	memset(apic.regs + APIC_IRR, 0, 0x80);
	cr_assert_eq(ioctl(vcpu, KVM_SET_LAPIC, &apic), 0);
}

static void fire(unsigned vector)
{
	cr_assert_geq(device.trigger[vector], 0);
	cr_assert_eq(eventfd_write(device.trigger[vector], 1), 0);
}

Test(front_kvm, an_interrupt_of_the_device_reaches_the_guest)
{
	start();
	program(3, 0x41);
	mask(3, false);
	fn->ops->config_write(fn, 0x42, 0x8000, 2);
	fire(3);
	cr_expect(arrives(0x41));
	end();
}

Test(front_kvm, a_masked_vector_waits_and_arrives_when_it_is_unmasked)
{
	start();
	program(0, 0x42);
	program(1, 0x43);
	mask(0, false);
	mask(1, false);
	fn->ops->config_write(fn, 0x42, 0x8000, 2);
	mask(0, true);
	fire(0);
	fire(1);
	cr_expect(arrives(0x43));
	usleep(10000);
	cr_expect(!requested(0x42));
	cr_expect_eq(pending(), 1);
	mask(0, false);
	cr_expect(arrives(0x42));
	cr_expect_eq(pending(), 0);

	/* What was delivered does not come again with the next mask and unmask. */
	forget();
	mask(0, true);
	cr_expect_eq(pending(), 0);
	mask(0, false);
	usleep(10000);
	cr_expect(!requested(0x42));
	fire(0);
	cr_expect(arrives(0x42));
	end();
}

Test(front_kvm, a_new_message_takes_the_interrupt_elsewhere)
{
	start();
	program(0, 0x44);
	mask(0, false);
	fn->ops->config_write(fn, 0x42, 0x8000, 2);
	write32(TABLE + 8, 0x45);
	fire(0);
	cr_expect(arrives(0x45));
	cr_expect(!requested(0x44));
	end();
}

Test(front_kvm, a_message_nobody_takes_harms_no_other)
{
	start();
	program(0, 0x46);
	program(1, 0x47);
	write32(TABLE + 4, 0xffffffff); /* upper address bits that no APIC has */
	mask(0, false);
	mask(1, false);
	fn->ops->config_write(fn, 0x42, 0x8000, 2);
	fire(0);
	fire(1);
	cr_expect(arrives(0x47));
	end();
}

Test(front_kvm, slots_come_and_go_with_decode_and_moves)
{
	start();
	for (unsigned i = 0; i < 200; i++) {
		fn->ops->config_write(fn, PCI_BASE_ADDRESS_0 + 16, i & 1 ? BAR4 : 0xc0200000, 4);
		fn->ops->config_write(fn, PCI_COMMAND, i % 3 ? 6 : 0, 2);
		vfio_device_revoke(&device.vdev);
	}
	fn->ops->config_write(fn, PCI_COMMAND, 6, 2);
	cr_expect(vf->bars[0].direct);
	cr_expect(vf->bars[4].direct);
	cr_expect_eq(fake_log_count, 0, "%s", fake_log_last);
	end();
}
