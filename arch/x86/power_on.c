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

#define MSR_PAT     0x277
#define PAT_DEFAULT 0x0007040600070406ull

/* Where values in the legacy area of an XSAVE image are, in 32-bit words. */
#define XSAVE_FCW   0
#define XSAVE_MXCSR 6

/*
 * What a guest can have set. Those of KVM's own first: it writes to guest memory by them. What this
 * KVM or CPU does not have cannot be read, and is left alone.
 */
static const uint32_t power_on_msrs[] = {
	MSR_KVM_SYSTEM_TIME,
	MSR_KVM_WALL_CLOCK,
	MSR_KVM_SYSTEM_TIME_NEW,
	MSR_KVM_WALL_CLOCK_NEW,
	MSR_KVM_ASYNC_PF_EN,
	MSR_KVM_ASYNC_PF_INT,
	MSR_KVM_STEAL_TIME,
	MSR_KVM_PV_EOI_EN,
	MSR_KVM_POLL_CONTROL,
	MSR_KVM_MIGRATION_CONTROL,
	0x6e0, /* TSC deadline */
	0x174, /* SYSENTER */
	0x175,
	0x176,
	0xc0000081, /* SYSCALL */
	0xc0000082,
	0xc0000083,
	0xc0000084,
	0xc0000102, /* kernel GS base */
	0xc0000103, /* TSC_AUX */
	0x1d9,      /* debug control */
	0x48,       /* speculation control */
	0xc001011f,
	0xda0, /* XSS */
	0x3b,  /* TSC adjust */
	MSR_PAT,
	0x2ff, /* MTRR */
	0x6a0, /* CET */
	0x6a2,
};

/* All but two are 0. */
static uint64_t power_on_value(uint32_t index)
{
	switch (index) {
	case MSR_PAT:
		return PAT_DEFAULT;
	case MSR_KVM_POLL_CONTROL:
		return 1;
	default:
		return 0;
	}
}

/* Only what differs: KVM complains in the host's log about some writes, of 0 as well. */
static void reset_msr(int vcpu_fd, uint32_t index)
{
	struct vcpu_msr msr = {.nmsrs = 1, .entry = {.index = index}};
	uint64_t wanted = power_on_value(index);

	if (ioctl(vcpu_fd, KVM_GET_MSRS, &msr) != 1 || msr.entry.data == wanted)
		return;
	msr.entry.data = wanted;
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
	int r;

	/* Only the version, which says how many entries the vector table has, is kept. */
	r = VCPU_IOCTL(vcpu_fd, index, KVM_GET_LAPIC, &state);
	if (r < 0)
		return r;
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
	return VCPU_IOCTL(vcpu_fd, index, KVM_SET_LAPIC, &state);
}

static int reset_fpu(int vcpu_fd, unsigned index)
{
	/* KVM_SET_XSAVE reads as many bytes as the guest's features need: 4 KiB without AMX. */
	const struct kvm_xsave image = {.region = {[XSAVE_FCW] = 0x37f, [XSAVE_MXCSR] = 0x1f80}};
	const struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs = {{.xcr = 0, .value = 1}}};
	int r = VCPU_IOCTL(vcpu_fd, index, KVM_SET_XSAVE, &image);

	/* Not there on a host without XSAVE. */
	if (r == 0 && ioctl(vcpu_fd, KVM_SET_XCRS, &xcrs) < 0 && errno != EINVAL)
		r = log_failure(-errno, "vcpu%u: KVM_SET_XCRS", index);
	return r;
}

#define SEGMENT(code)                                                                              \
	{                                                                                          \
		.limit = 0xffff, .type = (code), .present = 1, .s = 1                              \
	}
#define SYSTEM(code)                                                                               \
	{                                                                                          \
		.limit = 0xffff, .type = (code), .present = 1                                      \
	}

/* Real mode at the reset vector; the boot CPU gets its entry afterwards. */
static const struct kvm_sregs power_on_sregs = {
	.cs = {.base = 0xffff0000,
	       .limit = 0xffff,
	       .selector = 0xf000,
	       .type = 11,
	       .present = 1,
	       .s = 1},
	.ds = SEGMENT(3),
	.es = SEGMENT(3),
	.fs = SEGMENT(3),
	.gs = SEGMENT(3),
	.ss = SEGMENT(3),
	.tr = SYSTEM(11),
	.ldt = SYSTEM(2),
	.gdt = {.limit = 0xffff},
	.idt = {.limit = 0xffff},
	.cr0 = 0x60000010,
	.apic_base = LAPIC_BASE | APIC_BASE_ENABLE,
};

int vcpu_power_on(int vcpu_fd, unsigned index, bool boot)
{
	const struct kvm_regs regs = {.rip = 0xfff0, .rflags = 2};
	const struct kvm_debugregs debug = {.dr6 = 0xffff0ff0, .dr7 = 0x400};
	const struct kvm_vcpu_events events = {.flags = KVM_VCPUEVENT_VALID_NMI_PENDING |
							KVM_VCPUEVENT_VALID_SIPI_VECTOR |
							KVM_VCPUEVENT_VALID_SHADOW};
	const struct kvm_mp_state running = {.mp_state = boot ? KVM_MP_STATE_RUNNABLE
							      : KVM_MP_STATE_UNINITIALIZED};
	struct kvm_sregs sregs = power_on_sregs;
	int r;

	if (boot)
		sregs.apic_base |= APIC_BASE_BSP;
	for (size_t i = 0; i < sizeof(power_on_msrs) / sizeof(power_on_msrs[0]); i++)
		reset_msr(vcpu_fd, power_on_msrs[i]);
	if ((r = VCPU_IOCTL(vcpu_fd, index, KVM_SET_SREGS, &sregs)) < 0 ||
	    (r = VCPU_IOCTL(vcpu_fd, index, KVM_SET_REGS, &regs)) < 0 ||
	    (r = reset_lapic(vcpu_fd, index, boot)) < 0 || (r = reset_fpu(vcpu_fd, index)) < 0 ||
	    (r = VCPU_IOCTL(vcpu_fd, index, KVM_SET_DEBUGREGS, &debug)) < 0 ||
	    (r = VCPU_IOCTL(vcpu_fd, index, KVM_SET_VCPU_EVENTS, &events)) < 0)
		return r;
	return VCPU_IOCTL(vcpu_fd, index, KVM_SET_MP_STATE, &running);
}
