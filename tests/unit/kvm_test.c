/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The wrappers against the real /dev/kvm. Without one (a build machine) the tests are skipped; where
 * there is one, the rules are those of the kernel, of any vendor of CPU.
 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/kvm.h>

#include "vmm/base/host.h"
#include "vmm/base/irq.h"
#include "vmm/base/kvm.h"
#include "vmm/base/memory.h"

#define PAGE 4096ull

static struct kvm *new_kvm(void)
{
	struct kvm *kvm = NULL;

	if (host_access("/dev/kvm", R_OK | W_OK))
		cr_skip_test("no /dev/kvm");
	cr_assert_eq(kvm_create(-1, &kvm), 0);
	return kvm;
}

/* With an interrupt controller, as irqfds need it. */
static struct kvm *new_kvm_irqchip(void)
{
	struct kvm *kvm = new_kvm();

	if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0))
		cr_skip_test("no interrupt controller of this kind");
	return kvm;
}

static void *pages(size_t count)
{
	void *hva =
		mmap(NULL, count * PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	cr_assert_neq(hva, MAP_FAILED);
	return hva;
}

static unsigned open_descriptors(void)
{
	struct host_list list;
	unsigned count;

	cr_assert_eq(host_list("/proc/self/fd", &list), 0);
	count = (unsigned)list.count;
	host_list_free(&list);
	return count;
}

/* ---- the VM ---------------------------------------------------------------------------------- */

Test(kvm, closes_everything_with_the_last_reference)
{
	unsigned before = open_descriptors();
	struct kvm *kvm = new_kvm();
	int fd = kvm->vm_fd;

	cr_assert_eq(fcntl(kvm->vm_fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(fcntl(kvm->dev_fd, F_GETFD), FD_CLOEXEC);
	cr_assert_gt(kvm->vcpu_mmap_size, 0);
	cr_assert_eq(kvm_get(kvm), kvm);
	kvm_put(kvm);
	cr_assert_geq(fcntl(fd, F_GETFD), 0, "a reference is left");
	cr_assert_eq(kvm_vfio_file_add(kvm, -1), -EBADF); /* makes the kvm-vfio device */
	cr_assert_eq(open_descriptors(), before + 3);
	kvm_put(kvm);
	kvm_put(NULL);
	cr_assert_eq(open_descriptors(), before);
}

Test(kvm, takes_over_a_descriptor_that_was_handed_in)
{
	unsigned before = open_descriptors();
	struct kvm *kvm = NULL;
	int fd = open("/dev/null", O_RDWR);

	/* Ownership passes even on failure. */
	cr_assert_eq(kvm_create(fd, &kvm), -ENOTTY);
	cr_assert_null(kvm);
	cr_assert_eq(open_descriptors(), before);
	if (host_access("/dev/kvm", R_OK | W_OK))
		cr_skip_test("no /dev/kvm");
	fd = host_open_kvm();
	cr_assert_eq(kvm_create(fd, &kvm), 0);
	cr_assert_eq(kvm->dev_fd, fd);
	kvm_put(kvm);
	cr_assert_eq(open_descriptors(), before);
}

Test(kvm, answers_for_capabilities)
{
	struct kvm *kvm = new_kvm();

	cr_assert_gt(kvm_check_extension(kvm, KVM_CAP_USER_MEMORY), 0);
	cr_assert_eq(kvm_check_extension(kvm, 100000), 0);
	kvm_put(kvm);
}

/* ---- slots ----------------------------------------------------------------------------------- */

Test(kvm, gives_slots_out_and_takes_them_back)
{
	struct kvm *kvm = new_kvm();
	char *hva = pages(4);
	uint32_t a, b, c;

	cr_assert_eq(kvm_slot_add(kvm, 0, PAGE, hva, 0, &a), 0);
	cr_assert_eq(kvm_slot_add(kvm, 2 * PAGE, 2 * PAGE, hva + 2 * PAGE, KVM_MEM_READONLY, &b),
		     0);
	cr_assert_neq(a, b);
	cr_assert_eq(kvm_slot_add(kvm, 3 * PAGE, PAGE, hva, 0, &c), -EEXIST, "overlap");
	cr_assert_eq(kvm_slot_add(kvm, PAGE, 0, hva, 0, &c), -EINVAL, "empty");
	cr_assert_eq(kvm_slot_add(kvm, PAGE + 1, PAGE, hva, 0, &c), -EINVAL, "guest address");
	cr_assert_eq(kvm_slot_add(kvm, PAGE, PAGE + 1, hva, 0, &c), -EINVAL, "size");
	cr_assert_eq(kvm_slot_add(kvm, PAGE, PAGE, hva + 1, 0, &c), -EINVAL, "host address");
	cr_assert_eq(kvm_slot_add(kvm, -PAGE, 2 * PAGE, hva, 0, &c), -EINVAL, "wrapping");
	cr_assert_eq(kvm_slot_add(kvm, PAGE, PAGE, hva, 1u << 31, &c), -EINVAL, "unknown flag");
	/* Failures cost no slot. */
	cr_assert_eq(kvm_slot_add(kvm, PAGE, PAGE, hva, 0, &c), 0);
	cr_assert_eq(c, 2);
	cr_assert_eq(kvm_slot_remove(kvm, a), 0);
	cr_assert_eq(kvm_slot_remove(kvm, a), -EINVAL);
	cr_assert_eq(kvm_slot_remove(kvm, UINT32_MAX), -EINVAL);
	cr_assert_eq(kvm_slot_add(kvm, 0, PAGE, hva, 0, &a), 0, "its addresses are free again");
	cr_assert_eq(kvm_slot_remove(kvm, a), 0);
	cr_assert_eq(kvm_slot_remove(kvm, b), 0);
	cr_assert_eq(kvm_slot_remove(kvm, c), 0);
	kvm_put(kvm);
}

Test(kvm, says_when_no_slot_is_left)
{
	struct kvm *kvm = new_kvm();
	char *hva = pages(1);
	uint32_t slot, first;
	unsigned wrong = 0;

	/* The real number, 32764, takes a minute of grace periods: 100 show the same. */
	cr_assert_gt(kvm->max_slots, 100);
	kvm->max_slots = 100;
	for (unsigned i = 0; i < 100; i++)
		wrong += kvm_slot_add(kvm, i * PAGE, PAGE, hva, 0, &slot) != 0 || slot != i;
	cr_assert_eq(wrong, 0);
	cr_assert_eq(kvm_slot_add(kvm, 100 * PAGE, PAGE, hva, 0, &slot), -ENOSPC);
	cr_assert_eq(kvm_slot_remove(kvm, 42), 0);
	cr_assert_eq(kvm_slot_add(kvm, 100 * PAGE, PAGE, hva, 0, &first), 0);
	cr_assert_eq(first, 42);
	cr_assert_eq(kvm_slot_add(kvm, 101 * PAGE, PAGE, hva, 0, &slot), -ENOSPC);
	kvm_put(kvm);
}

Test(kvm, shows_guest_memory_all_or_nothing)
{
	struct kvm *kvm = new_kvm();
	struct memory_piece pieces[] = {
		{.gpa = 0, .size = 16 * PAGE},
		{.gpa = 1ull << 32, .size = 16 * PAGE, .offset = 16 * PAGE}};
	struct memory *memory;
	char *hva = pages(1);
	uint32_t slot;

	cr_assert_eq(memory_create(pieces, 2, HOST_PAGES_NORMAL, &memory), 0);
	cr_assert_eq(kvm_slot_add(kvm, 1ull << 32, PAGE, hva, 0, &slot), 0);
	cr_assert_eq(memory_add_slots(memory, kvm), -EEXIST);
	cr_assert_eq(kvm_slot_remove(kvm, slot), 0);
	cr_assert_eq(memory_add_slots(memory, kvm), 0, "nothing was left of the first try");
	cr_assert_eq(kvm_slot_add(kvm, PAGE, PAGE, hva, 0, &slot), -EEXIST);
	kvm_put(kvm);
	memory_destroy(memory);
}

/* ---- irqfds and ioeventfds ------------------------------------------------------------------- */

Test(kvm, irqfds_need_an_interrupt_controller)
{
	struct kvm *kvm = new_kvm();
	int fd = eventfd(0, EFD_CLOEXEC);

	cr_assert_eq(kvm_irqfd_add(kvm, fd, 4, -1), -EINVAL);
	cr_assert_lt(kvm_irq_line(kvm, 4, true), 0);
	cr_assert_lt(kvm_signal_msi(kvm, 0xfee00000, 0x30, 0), 0);
	close(fd);
	kvm_put(kvm);
}

Test(kvm, an_eventfd_drives_one_irqfd_only)
{
	struct kvm *kvm = new_kvm_irqchip();
	int fd = eventfd(0, EFD_CLOEXEC), resample = eventfd(0, EFD_CLOEXEC);
	int null = open("/dev/null", O_RDWR);

	cr_assert_eq(kvm_irqfd_add(kvm, fd, 4, -1), 0);
	cr_assert_eq(kvm_irqfd_add(kvm, fd, 5, -1), -EBUSY);
	cr_assert_eq(kvm_irqfd_add(kvm, fd, 4, -1), -EBUSY);
	cr_assert_eq(kvm_irqfd_remove(kvm, fd, 5), 0, "none matched: no error");
	cr_assert_eq(kvm_irqfd_add(kvm, fd, 5, -1), -EBUSY, "and the one there stays");
	cr_assert_eq(kvm_irqfd_remove(kvm, fd, 4), 0);
	cr_assert_eq(kvm_irqfd_add(kvm, fd, 5, resample), 0);
	cr_assert_eq(kvm_irqfd_remove(kvm, fd, 5), 0);
	cr_assert_eq(kvm_irqfd_add(kvm, -1, 5, -1), -EBADF);
	cr_assert_eq(kvm_irqfd_add(kvm, null, 5, -1), -EINVAL, "no eventfd");
	cr_assert_eq(kvm_irqfd_add(kvm, fd, 4000, -1), 0, "it may come before its route");
	close(null);
	close(resample);
	close(fd);
	kvm_put(kvm);
}

Test(kvm, ioeventfds_are_told_apart_by_address_size_and_value)
{
	struct kvm *kvm = new_kvm();
	int fd = eventfd(0, EFD_CLOEXEC);
	uint64_t one = 1, two = 2;

	cr_assert_eq(kvm_ioeventfd_add(kvm, fd, false, 0xd0000000, 4, NULL), 0);
	cr_assert_eq(kvm_ioeventfd_add(kvm, fd, false, 0xd0000000, 4, NULL), -EEXIST);
	cr_assert_eq(kvm_ioeventfd_add(kvm, fd, false, 0xd0000004, 4, &one), 0);
	cr_assert_eq(kvm_ioeventfd_add(kvm, fd, false, 0xd0000004, 4, &two), 0);
	cr_assert_eq(kvm_ioeventfd_add(kvm, fd, false, 0xd0000004, 4, &two), -EEXIST);
	cr_assert_eq(kvm_ioeventfd_add(kvm, fd, true, 0xd004, 2, NULL), 0);
	cr_assert_eq(kvm_ioeventfd_add(kvm, fd, false, 0xd0000010, 0, NULL), 0);
	cr_assert_eq(kvm_ioeventfd_add(kvm, fd, false, 0xd0000020, 3, NULL), -EINVAL);
	cr_assert_eq(kvm_ioeventfd_add(kvm, fd, false, 0xd0000020, 0, &one), -EINVAL);
	cr_assert_eq(kvm_ioeventfd_add(kvm, -1, false, 0xd0000020, 4, NULL), -EBADF);
	cr_assert_eq(kvm_ioeventfd_remove(kvm, fd, false, 0xd0000004, 4, NULL), -ENOENT);
	cr_assert_eq(kvm_ioeventfd_remove(kvm, fd, false, 0xd0000004, 4, &two), 0);
	cr_assert_eq(kvm_ioeventfd_remove(kvm, fd, false, 0xd0000004, 4, &two), -ENOENT);
	cr_assert_eq(kvm_ioeventfd_remove(kvm, fd, false, 0xd0000004, 4, &one), 0);
	cr_assert_eq(kvm_ioeventfd_remove(kvm, fd, true, 0xd004, 2, NULL), 0);
	cr_assert_eq(kvm_ioeventfd_remove(kvm, fd, false, 0xd0000000, 4, NULL), 0);
	cr_assert_eq(kvm_ioeventfd_remove(kvm, fd, false, 0xd0000010, 0, NULL), 0);
	close(fd);
	kvm_put(kvm);
}

/* ---- routes ---------------------------------------------------------------------------------- */

Test(kvm, takes_a_full_table_of_routes)
{
	struct kvm *kvm = new_kvm_irqchip();
	struct irq_router *router;
	struct msi_message message = {.address = 0xfee00000};
	unsigned wrong = 0, count = 0;
	uint32_t gsi;

	cr_assert_eq(irq_router_create(kvm, 24, &router), 0);
	for (uint32_t pin = 0; pin < 24; pin++)
		wrong += irq_router_add_pin(router, pin, KVM_IRQCHIP_IOAPIC, pin) != 0;
	while (irq_msi_alloc(router, count, &gsi) == 0) {
		message.data = gsi;
		irq_msi_set(router, gsi, &message);
		count++;
	}
	cr_assert_eq(wrong, 0);
	cr_assert_eq(count, 4096 - 24);
	cr_assert_eq(irq_router_commit(router), 0);
	cr_assert_eq(irq_line_set(router, 4, true), 0);
	cr_assert_eq(irq_line_set(router, 4, false), 0);
	irq_router_destroy(router);
	kvm_put(kvm);
}

Test(kvm, a_message_it_refuses_harms_no_other)
{
	struct kvm *kvm = new_kvm_irqchip();
	struct kvm_enable_cap wide_ids = {
		.cap = KVM_CAP_X2APIC_API,
		.args = {KVM_X2APIC_API_USE_32BIT_IDS},
	};
	struct msi_message good = {.address = 0xfee00000, .data = 0x40};
	struct msi_message bad = {.address = 0x1fee00000ull, .data = 0x40};
	struct irq_router *router;
	uint32_t a, b;

	if (!kvm_check_extension(kvm, KVM_CAP_X2APIC_API))
		cr_skip_test("no KVM_CAP_X2APIC_API");
	cr_assert_eq(ioctl(kvm->vm_fd, KVM_ENABLE_CAP, &wide_ids), 0);
	cr_assert_eq(irq_router_create(kvm, 24, &router), 0);
	cr_assert_eq(irq_router_add_pin(router, 4, KVM_IRQCHIP_IOAPIC, 4), 0);
	cr_assert_eq(irq_msi_alloc(router, 1, &a), 0);
	cr_assert_eq(irq_msi_alloc(router, 2, &b), 0);
	irq_msi_set(router, a, &bad);
	irq_msi_set(router, b, &good);
	cr_assert_eq(irq_router_commit(router), -EINVAL);
	cr_assert_eq(irq_router_commit(router), 0);
	irq_msi_set(router, a, &good);
	cr_assert_eq(irq_router_commit(router), 0);
	irq_router_destroy(router);
	kvm_put(kvm);
}

Test(kvm, routes_without_an_interrupt_controller_are_refused_and_kept)
{
	struct kvm *kvm = new_kvm();
	struct msi_message message = {.address = 0xfee00000, .data = 0x40};
	struct irq_router *router;
	uint32_t gsi;

	cr_assert_eq(irq_router_create(kvm, 24, &router), 0);
	cr_assert_eq(irq_msi_alloc(router, 1, &gsi), 0);
	irq_msi_set(router, gsi, &message);
	cr_assert_lt(irq_router_commit(router), 0);
	cr_assert_eq(ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0), 0);
	cr_assert_eq(irq_router_commit(router), 0);
	irq_router_destroy(router);
	kvm_put(kvm);
}

/* ---- kvm-vfio -------------------------------------------------------------------------------- */

Test(kvm, the_vfio_device_takes_vfio_files_only)
{
	struct kvm *kvm = new_kvm();
	int null = open("/dev/null", O_RDWR), event = eventfd(0, 0), fd;

	cr_assert_eq(kvm->vfio_fd, -1);
	cr_assert_eq(kvm_vfio_file_del(kvm, null), -ENOENT);
	cr_assert_eq(kvm->vfio_fd, -1, "made by the first file only");
	fd = kvm_vfio_file_add(kvm, null);
	if (fd == -ENODEV)
		cr_skip_test("this KVM has no kvm-vfio device");
	cr_assert_eq(fd, -EINVAL);
	fd = kvm->vfio_fd;
	cr_assert_geq(fd, 0);
	cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(kvm_vfio_file_add(kvm, event), -EINVAL);
	cr_assert_eq(kvm_vfio_file_add(kvm, -1), -EBADF);
	cr_assert_eq(kvm_vfio_file_add(kvm, 9999), -EBADF);
	cr_assert_eq(kvm->vfio_fd, fd, "one device for all files");
	cr_assert_eq(kvm_vfio_file_del(kvm, event), -ENOENT);
	cr_assert_eq(kvm_vfio_file_del(kvm, -1), -EBADF);
	close(null);
	close(event);
	kvm_put(kvm);
}
