/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The floor: the least program that runs a guest under KVM. What sluice costs is measured against it.
 *
 *   floor KERNEL.elf [MEMORY_MIB]
 *
 * It makes one VM with one memory slot, the in-kernel interrupt controller and one vCPU with the
 * host's CPUID, loads a 64-bit ELF at its physical addresses, enters it in long mode with identity
 * page tables, passes bytes written to port 0x3f8 on to stdout, and ends with the byte that is
 * written to port 0xf4, or when the guest halts or shuts down. No devices, no options, no clean-up
 * beyond what the kernel does at exit.
 */
#include <elf.h>
#include <err.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PML4_ADDRESS 0x9000u
#define GDT_ADDRESS  0x500u
#define STACK_TOP    0x8ff0u

static uint64_t load_elf(uint8_t *ram, uint64_t ram_size, const char *path)
{
	Elf64_Ehdr header;
	Elf64_Phdr segment;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || pread(fd, &header, sizeof(header), 0) != sizeof(header) ||
	    memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
		err(1, "%s", path);
	for (unsigned i = 0; i < header.e_phnum; i++) {
		if (pread(fd, &segment, sizeof(segment),
			  (off_t)(header.e_phoff + i * sizeof(segment))) != sizeof(segment))
			err(1, "%s", path);
		if (segment.p_type != PT_LOAD || segment.p_filesz == 0)
			continue;
		if (segment.p_paddr > ram_size || segment.p_filesz > ram_size - segment.p_paddr)
			errx(1, "%s: segment outside RAM", path);
		if (pread(fd, ram + segment.p_paddr, segment.p_filesz, (off_t)segment.p_offset) !=
		    (ssize_t)segment.p_filesz)
			err(1, "%s", path);
	}
	close(fd);
	return header.e_entry;
}

/* Identity map of the first 4 GiB in 2 MiB pages, and a flat GDT. */
static void enter_long_mode(int vcpu, uint8_t *ram, uint64_t entry)
{
	uint64_t *pml4 = (uint64_t *)(ram + PML4_ADDRESS);
	uint64_t *pdpt = pml4 + 512;
	uint64_t *pd = pdpt + 512;
	const uint64_t gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff, 0x008f8b000000ffff};
	const struct kvm_segment code = {.limit = 0xffffffff,
					 .selector = 0x10,
					 .type = 11,
					 .present = 1,
					 .s = 1,
					 .l = 1,
					 .g = 1};
	const struct kvm_segment data = {.limit = 0xffffffff,
					 .selector = 0x18,
					 .type = 3,
					 .present = 1,
					 .db = 1,
					 .s = 1,
					 .g = 1};
	struct kvm_regs regs = {.rip = entry, .rsp = STACK_TOP, .rflags = 2};
	struct kvm_sregs sregs;

	pml4[0] = (PML4_ADDRESS + 0x1000) | 3;
	for (uint64_t i = 0; i < 4; i++)
		pdpt[i] = (PML4_ADDRESS + 0x2000 + i * 0x1000) | 3;
	for (uint64_t i = 0; i < 2048; i++)
		pd[i] = (i << 21) | 0x83;
	memcpy(ram + GDT_ADDRESS, gdt, sizeof(gdt));

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		err(1, "KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.tr =
		(struct kvm_segment){.limit = 0xffff, .selector = 0x20, .type = 11, .present = 1};
	sregs.gdt = (struct kvm_dtable){.base = GDT_ADDRESS, .limit = sizeof(gdt) - 1};
	sregs.idt = (struct kvm_dtable){0};
	sregs.cr0 = 0x80050033;
	sregs.cr3 = PML4_ADDRESS;
	sregs.cr4 = 0x20;
	sregs.efer = 0x500;
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		err(1, "KVM_SET_REGS");
}

static int port_write(const struct kvm_run *run)
{
	const uint8_t *bytes = (const uint8_t *)run + run->io.data_offset;

	if (run->io.direction != KVM_EXIT_IO_OUT)
		return -1;
	if (run->io.port == 0xf4)
		return bytes[0];
	if (run->io.port == 0x3f8 && write(STDOUT_FILENO, bytes, run->io.size * run->io.count) < 0)
		err(1, "stdout");
	return -1;
}

int main(int argc, char **argv)
{
	uint64_t ram_size = (uint64_t)(argc > 2 ? atoi(argv[2]) : 256) << 20;
	struct kvm_cpuid2 *cpuid;
	struct kvm_run *run;
	uint8_t *ram;
	int kvm, vm, vcpu, size;

	if (argc < 2)
		errx(2, "usage: floor KERNEL.elf [MEMORY_MIB]");
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		err(1, "/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0L);
	if (vm < 0)
		err(1, "KVM_CREATE_VM");

	ram = mmap(NULL, ram_size, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram == MAP_FAILED)
		err(1, "mmap");
	struct kvm_userspace_memory_region slot = {.memory_size = ram_size,
						   .userspace_addr = (uintptr_t)ram};
	/* Slots first: the first one after the interrupt controller waits for an SRCU grace period. */
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &slot) < 0 ||
	    ioctl(vm, KVM_CREATE_IRQCHIP, 0L) < 0)
		err(1, "VM set-up");

	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0L);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0L);
	if (vcpu < 0 || size < 0)
		err(1, "KVM_CREATE_VCPU");
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	cpuid = calloc(1, sizeof(*cpuid) + 256 * sizeof(cpuid->entries[0]));
	if (run == MAP_FAILED || cpuid == NULL)
		err(1, "vCPU");
	cpuid->nent = 256;
	if (ioctl(kvm, KVM_GET_SUPPORTED_CPUID, cpuid) < 0 ||
	    ioctl(vcpu, KVM_SET_CPUID2, cpuid) < 0)
		err(1, "CPUID");

	enter_long_mode(vcpu, ram, load_elf(ram, ram_size, argv[1]));
	for (;;) {
		if (ioctl(vcpu, KVM_RUN, 0L) < 0)
			err(1, "KVM_RUN");
		switch (run->exit_reason) {
		case KVM_EXIT_IO: {
			int status = port_write(run);

			if (status >= 0)
				return status;
			break;
		}
		case KVM_EXIT_MMIO:
			break;
		case KVM_EXIT_HLT:
		case KVM_EXIT_SHUTDOWN:
			return 0;
		default:
			errx(1, "exit reason %u", run->exit_reason);
		}
	}
}
