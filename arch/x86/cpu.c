// SPDX-License-Identifier: Apache-2.0
/*
 * The CPU model of the VM and what a vCPU gets once in its life.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "arch/arch.h"
#include "arch/x86/cpuid.h"
#include "arch/x86/cpus.h"
#include "vmm/base/bus.h"
#include "vmm/base/kvm.h"
#include "vmm/base/log.h"

int arch_cpus_create(struct kvm *kvm, unsigned count, struct arch_cpus **out)
{
	struct arch_cpus *cpus = malloc(sizeof(*cpus));
	int r;

	if (cpus == NULL)
		return -ENOMEM;
	cpus->count = count;
	cpus->supported.nent = CPUID_MAX_ENTRIES;
	if (ioctl(kvm->dev_fd, KVM_GET_SUPPORTED_CPUID, &cpus->supported) < 0) {
		r = log_failure(-errno, "/dev/kvm: KVM_GET_SUPPORTED_CPUID");
		free(cpus);
		return r;
	}
	cpus->tsc_deadline = kvm_check_extension(kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	cpus->vendor = cpuid_vendor(cpus->supported.entries, cpus->supported.nent);
	*out = cpus;
	return 0;
}

void arch_cpus_destroy(struct arch_cpus *cpus)
{
	free(cpus);
}

unsigned arch_cpus_address_bits(const struct arch_cpus *cpus)
{
	return cpuid_address_bits(cpus->supported.entries, cpus->supported.nent);
}

int arch_vcpu_setup(struct arch_cpus *cpus, int vcpu_fd, unsigned index)
{
	int khz = ioctl(vcpu_fd, KVM_GET_TSC_KHZ, 0L);
	const struct cpuid_request request = {
		.cpus = cpus->count,
		.index = index,
		.tsc_khz = khz > 0 ? (uint32_t)khz : 0,
		.tsc_deadline = cpus->tsc_deadline,
	};
	struct cpuid_table table = {0};
	int r;

	r = cpuid_plan(cpus->supported.entries, cpus->supported.nent, &request, table.entries,
		       CPUID_MAX_ENTRIES);
	if (r < 0) {
		log_error("vcpu%u: more than %u CPUID leaves", index, CPUID_MAX_ENTRIES);
		return r;
	}
	table.nent = (uint32_t)r;
	return VCPU_IOCTL(vcpu_fd, index, KVM_SET_CPUID2, &table);
}

bool arch_vcpu_exit(struct kvm_run *run, struct bus *pio)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	if (run->exit_reason != KVM_EXIT_IO)
		return false;
	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			bus_write(pio, run->io.port, data, run->io.size);
		else
			bus_read(pio, run->io.port, data, run->io.size);
	}
	return true;
}

/*
 * KVM does not emulate an access in the midst of the delivery of an event, and asks the processor
 * whether it is one. On SVM it takes any type in EXITINTINFO for a yes, the valid bit or not
 * (arch/x86/kvm/svm/svm.c, svm_check_emulate_instruction), and QEMU's emulated processor leaves the
 * type of the guest's last exception or software interrupt there, valid bit cleared, after it was
 * delivered (target/i386/tcg/system/svm_helper.c, do_vmexit). A page fault of the guest with no exit
 * between it and the first access to a trapped page is enough; later accesses to the page KVM
 * retries by itself (npf_interception). The exit has cleared the remains.
 *
 * What really was interrupted KVM has put back into its queue by now, so an empty queue says that
 * nothing was: the access has not been made, and no event is lost or doubled by making it again. A
 * software interrupt the queue does not show, but entering again delivers it anew.
 */
bool arch_vcpu_goes_on(int vcpu_fd, const struct kvm_run *run)
{
	struct kvm_vcpu_events events;

	if (run->internal.suberror != KVM_INTERNAL_ERROR_DELIVERY_EV ||
	    ioctl(vcpu_fd, KVM_GET_VCPU_EVENTS, &events) < 0)
		return false;
	return !events.exception.injected && !events.exception.pending &&
	       !events.interrupt.injected && !events.nmi.injected;
}
