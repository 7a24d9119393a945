// SPDX-License-Identifier: Apache-2.0
/*
 * The state of a vCPU: where it begins, how it gets back there, and what it looks like when it died.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <sys/ioctl.h>

#include "arch/arch.h"
#include "arch/x86/boot_plan.h"
#include "arch/x86/cpus.h"
#include "arch/x86/platform.h"
#include "vmm/base/log.h"

#define CR0_PE           (1ull << 0)
#define CR0_ET           (1ull << 4)
#define CR0_NE           (1ull << 5)
#define CR0_PG           (1ull << 31)
#define CR4_PAE          (1ull << 5)
#define EFER_LME         (1ull << 8)
#define EFER_LMA         (1ull << 10)
#define APIC_BASE_BSP    (1ull << 8)
#define APIC_BASE_ENABLE (1ull << 11)
#define RFLAGS_FIXED     2ull

#define MSR_MISC_ENABLE         0x1a0
#define MISC_ENABLE_FAST_STRING 1ull
#define MSR_MTRR_DEF_TYPE       0x2ff
#define MTRR_ENABLED_WRITEBACK  0x806ull

#define SEGMENT_CODE 11 /* execute, read, accessed */
#define SEGMENT_DATA 3  /* read, write, accessed */
#define SEGMENT_TSS  11 /* busy */
#define SEGMENT_LDT  2

int vcpu_ioctl(int vcpu_fd, unsigned index, unsigned long request, const char *name,
	       const void *argument)
{
	if (ioctl(vcpu_fd, request, argument) < 0)
		return log_failure(-errno, "vcpu%u: %s", index, name);
	return 0;
}

static int set_msr(int vcpu_fd, uint32_t msr, uint64_t value)
{
	struct vcpu_msr one = {.nmsrs = 1, .entry = {.index = msr, .data = value}};

	return ioctl(vcpu_fd, KVM_SET_MSRS, &one) == 1 ? 0 : -EINVAL;
}

/*
 * What firmware would have set. Memory is write-back by default: without it, a guest with a device
 * whose DMA does not snoop would run uncached (KVM then obeys the guest's MTRRs). Fast string
 * operations are on: Intel guests look here before they use them. A KVM without one of the two is
 * as good without it.
 */
static void set_firmware_msrs(const struct arch_cpus *cpus, int vcpu_fd)
{
	set_msr(vcpu_fd, MSR_MTRR_DEF_TYPE, MTRR_ENABLED_WRITEBACK);
	if (cpus->vendor == CPUID_INTEL)
		set_msr(vcpu_fd, MSR_MISC_ENABLE, MISC_ENABLE_FAST_STRING);
}

/* The machine state that boot.rst (64-bit) and Xen's PVH ABI ask for at the entry. */
static int set_entry(int vcpu_fd, unsigned index, const struct arch_entry *entry)
{
	const bool wide = entry->mode == ARCH_ENTRY_LONG;
	const struct kvm_segment code = {
		.limit = 0xffffffff,
		.selector = BOOT_CS,
		.type = SEGMENT_CODE,
		.present = 1,
		.db = !wide,
		.s = 1,
		.l = wide,
		.g = 1,
	};
	const struct kvm_segment data = {
		.limit = 0xffffffff,
		.selector = BOOT_DS,
		.type = SEGMENT_DATA,
		.present = 1,
		.db = 1,
		.s = 1,
		.g = 1,
	};
	const struct kvm_sregs sregs = {
		.cs = code,
		.ds = data,
		.es = data,
		.fs = data,
		.gs = data,
		.ss = data,
		.tr = {.limit = 0x67, .selector = BOOT_TSS, .type = SEGMENT_TSS, .present = 1},
		.ldt = {.type = SEGMENT_LDT, .unusable = 1},
		.gdt = {.base = entry->gdt, .limit = BOOT_GDT_BYTES - 1},
		.cr0 = CR0_PE | CR0_ET | CR0_NE | (wide ? CR0_PG : 0),
		.cr3 = entry->page_tables,
		.cr4 = wide ? CR4_PAE : 0,
		.efer = wide ? EFER_LME | EFER_LMA : 0,
		.apic_base = LAPIC_BASE | APIC_BASE_ENABLE | APIC_BASE_BSP,
	};
	const struct kvm_regs regs = {
		.rip = entry->ip,
		.rflags = RFLAGS_FIXED,
		.rsi = wide ? entry->argument : 0,
		.rbx = wide ? 0 : entry->argument,
	};
	int r = VCPU_IOCTL(vcpu_fd, index, KVM_SET_SREGS, &sregs);

	return r < 0 ? r : VCPU_IOCTL(vcpu_fd, index, KVM_SET_REGS, &regs);
}

int arch_vcpu_reset(struct arch_cpus *cpus, int vcpu_fd, unsigned index,
		    const struct arch_entry *entry, bool again)
{
	int r;

	if (again) {
		r = vcpu_power_on(vcpu_fd, index, entry != NULL);
		if (r < 0)
			return r;
	}
	set_firmware_msrs(cpus, vcpu_fd);
	/* The others wait for INIT and SIPI, as KVM made them. */
	return entry != NULL ? set_entry(vcpu_fd, index, entry) : 0;
}

void arch_vcpu_describe(int vcpu_fd, char *text, size_t size)
{
	struct kvm_regs regs;
	struct kvm_sregs sregs;

	if (ioctl(vcpu_fd, KVM_GET_REGS, &regs) < 0 || ioctl(vcpu_fd, KVM_GET_SREGS, &sregs) < 0) {
		snprintf(text, size, "registers cannot be read");
		return;
	}
	snprintf(text, size,
		 "rip %04x:%llx rflags %llx rsp %llx rax %llx rbx %llx rcx %llx rdx %llx rsi %llx "
		 "rdi %llx rbp %llx r8 %llx r9 %llx r10 %llx r11 %llx r12 %llx r13 %llx r14 %llx "
		 "r15 %llx cr0 %llx cr2 %llx cr3 %llx cr4 %llx efer %llx",
		 sregs.cs.selector, regs.rip, regs.rflags, regs.rsp, regs.rax, regs.rbx, regs.rcx,
		 regs.rdx, regs.rsi, regs.rdi, regs.rbp, regs.r8, regs.r9, regs.r10, regs.r11,
		 regs.r12, regs.r13, regs.r14, regs.r15, sregs.cr0, sregs.cr2, sregs.cr3, sregs.cr4,
		 sregs.efer);
}
