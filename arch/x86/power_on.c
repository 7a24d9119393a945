// SPDX-License-Identifier: Apache-2.0
/*
 * A vCPU that ran back to the state after power-on (Intel SDM volume 3A, table 9-1). Needed for a
 * reset in place: KVM cannot make a vCPU with the same id a second time.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <string.h>
#include <sys/ioctl.h>

#include "arch/x86/cpus.h"
#include "arch/x86/platform.h"
#include "vmm/base/log.h"

#define APIC_BASE_BSP    (1ull << 8)
#define APIC_BASE_ENABLE (1ull << 11)

/* Registers of the local APIC, by their offset in its page (SDM volume 3A, 10.4.1). */
#define LAPIC_ID         0x020
#define LAPIC_VERSION    0x030
#define LAPIC_DFR        0x0e0
#define LAPIC_SPURIOUS   0x0f0
#define LAPIC_CMCI       0x2f0
#define LAPIC_LVT_TIMER  0x320
#define LAPIC_LVT_ERROR  0x370
#define LAPIC_LVT_MASKED 0x10000
#define LAPIC_LVT_LINT0  0x350
#define LAPIC_LVT_EXTINT 0x700 /* how KVM itself starts LINT0 of the boot CPU */

#define PAT_DEFAULT 0x0007040600070406ull

/* Where values in the legacy area of an XSAVE image are, in 32-bit words. */
#define XSAVE_FCW   0
#define XSAVE_MXCSR 6

/*
 * What a guest can have set. Those of KVM's own first: it writes to guest memory by them. What this
 * KVM or CPU does not have cannot be read, and is left alone.
 */
static const struct kvm_msr_entry power_on_msrs[] = {
	{.index = MSR_KVM_SYSTEM_TIME},
	{.index = MSR_KVM_WALL_CLOCK},
	{.index = MSR_KVM_SYSTEM_TIME_NEW},
	{.index = MSR_KVM_WALL_CLOCK_NEW},
	{.index = MSR_KVM_ASYNC_PF_EN},
	{.index = MSR_KVM_ASYNC_PF_INT},
	{.index = MSR_KVM_STEAL_TIME},
	{.index = MSR_KVM_PV_EOI_EN},
	{.index = MSR_KVM_POLL_CONTROL, .data = 1},
	{.index = MSR_KVM_MIGRATION_CONTROL},
	{.index = 0x6e0}, /* TSC deadline */
	{.index = 0x174}, /* SYSENTER */
	{.index = 0x175},
	{.index = 0x176},
	{.index = 0xc0000081}, /* SYSCALL */
	{.index = 0xc0000082},
	{.index = 0xc0000083},
	{.index = 0xc0000084},
	{.index = 0xc0000102}, /* kernel GS base */
	{.index = 0xc0000103}, /* TSC_AUX */
	{.index = 0x1d9},      /* debug control */
	{.index = 0x48},       /* speculation control */
	{.index = 0xc001011f},
	{.index = 0xda0}, /* XSS */
	{.index = 0x3b},  /* TSC adjust */
	{.index = 0x277, .data = PAT_DEFAULT},
	{.index = 0x2ff}, /* MTRR */
	{.index = 0x6a0}, /* CET */
	{.index = 0x6a2},
};

static int fail(unsigned index, const char *what)
{
	int r = -errno;

	log_error("vcpu%u: %s: %s", index, what, strerror(-r));
	return r;
}

/* Only what differs: KVM complains in the host's log about some writes, of 0 as well. */
static void reset_msr(int vcpu_fd, const struct kvm_msr_entry *wanted)
{
	struct vcpu_msr msr = {.nmsrs = 1, .entry = {.index = wanted->index}};

	if (ioctl(vcpu_fd, KVM_GET_MSRS, &msr) != 1 || msr.entry.data == wanted->data)
		return;
	msr.entry.data = wanted->data;
	(void)ioctl(vcpu_fd, KVM_SET_MSRS, &msr);
}

static void put_lapic(struct kvm_lapic_state *state, unsigned offset, uint32_t value)
{
	memcpy(state->regs + offset, &value, sizeof(value));
}

static int reset_lapic(int vcpu_fd, unsigned index, bool boot)
{
	struct kvm_lapic_state state;
	uint32_t version;

	/* Only the version, which says how many entries the vector table has, is kept. */
	if (ioctl(vcpu_fd, KVM_GET_LAPIC, &state) < 0)
		return fail(index, "KVM_GET_LAPIC");
	memcpy(&version, state.regs + LAPIC_VERSION, sizeof(version));
	memset(&state, 0, sizeof(state));
	put_lapic(&state, LAPIC_ID, index << 24);
	put_lapic(&state, LAPIC_VERSION, version);
	put_lapic(&state, LAPIC_DFR, 0xffffffff);
	put_lapic(&state, LAPIC_SPURIOUS, 0xff);
	put_lapic(&state, LAPIC_CMCI, LAPIC_LVT_MASKED);
	for (unsigned offset = LAPIC_LVT_TIMER; offset <= LAPIC_LVT_ERROR; offset += 0x10)
		put_lapic(&state, offset, LAPIC_LVT_MASKED);
	if (boot)
		put_lapic(&state, LAPIC_LVT_LINT0, LAPIC_LVT_EXTINT);
	if (ioctl(vcpu_fd, KVM_SET_LAPIC, &state) < 0)
		return fail(index, "KVM_SET_LAPIC");
	return 0;
}

static int reset_fpu(int vcpu_fd, unsigned index)
{
	/* KVM_SET_XSAVE reads as many bytes as the guest's features need: 4 KiB without AMX. */
	static const struct kvm_xsave image = {
		.region = {[XSAVE_FCW] = 0x37f, [XSAVE_MXCSR] = 0x1f80}};
	const struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = 1}}};

	if (ioctl(vcpu_fd, KVM_SET_XSAVE, &image) < 0)
		return fail(index, "KVM_SET_XSAVE");
	/* Not there on a host without XSAVE. */
	if (ioctl(vcpu_fd, KVM_SET_XCRS, &xcrs) < 0 && errno != EINVAL)
		return fail(index, "KVM_SET_XCRS");
	return 0;
}

int vcpu_power_on(int vcpu_fd, unsigned index, bool boot)
{
	const struct kvm_vcpu_events events = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING |
							KVM_VCPUEVENT_VALID_SIPI_VECTOR |
							KVM_VCPUEVENT_VALID_SHADOW};
	const struct kvm_debugregs debug = {.dr6 = 0xffff0ff0, .dr7 = 0x400};
	const struct kvm_mp_state running = {.mp_state = boot ? KVM_MP_STATE_RUNNABLE
							      : KVM_MP_STATE_UNINITIALIZED};
	/* Real mode at the reset vector; the boot CPU gets its entry afterwards. */
	const struct kvm_segment segment = {.limit = 0xffff, .type = 3, .present = 1, .s = 1};
	struct kvm_sregs sregs = {
		.cs = {.base = 0xffff0000,
		       .limit = 0xffff,
		       .selector = 0xf000,
		       .type = 11,
		       .present = 1,
		       .s = 1},
		.ds = segment,
		.es = segment,
		.fs = segment,
		.gs = segment,
		.ss = segment,
		.tr = {.limit = 0xffff, .type = 11, .present = 1},
		.ldt = {.limit = 0xffff, .type = 2, .present = 1},
		.gdt = {.limit = 0xffff},
		.idt = {.limit = 0xffff},
		.cr0 = 0x60000010,
		.apic_base = LAPIC_BASE | APIC_BASE_ENABLE | (boot ? APIC_BASE_BSP : 0),
	};
	const struct kvm_regs regs = {.rip = 0xfff0, .rflags = 2};
	int r;

	for (size_t i = 0; i < sizeof(power_on_msrs) / sizeof(power_on_msrs[0]); i++)
		reset_msr(vcpu_fd, &power_on_msrs[i]);
	if (ioctl(vcpu_fd, KVM_SET_SREGS, &sregs) < 0)
		return fail(index, "KVM_SET_SREGS");
	if (ioctl(vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return fail(index, "KVM_SET_REGS");
	r = reset_lapic(vcpu_fd, index, boot);
	if (r == 0)
		r = reset_fpu(vcpu_fd, index);
	if (r < 0)
		return r;
	if (ioctl(vcpu_fd, KVM_SET_DEBUGREGS, &debug) < 0)
		return fail(index, "KVM_SET_DEBUGREGS");
	if (ioctl(vcpu_fd, KVM_SET_VCPU_EVENTS, &events) < 0)
		return fail(index, "KVM_SET_VCPU_EVENTS");
	if (ioctl(vcpu_fd, KVM_SET_MP_STATE, &running) < 0)
		return fail(index, "KVM_SET_MP_STATE");
	return 0;
}
