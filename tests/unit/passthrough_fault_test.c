// SPDX-License-Identifier: Apache-2.0
/*
 * KVM_RUN gives -EFAULT while the machine has three devices: the one at fault is found, its slots go,
 * and the guest reads ones; the others keep their slots. A fake KVM_RUN reads one address, by the slot
 * over it or, without one, by the bus.
 */
#include "tests/unit/fake_front.h"

#include "devices/vfio/provider.h"
#include "vmm/config.h"
#include "vmm/passthrough.h"

#define DEVICES 3
#define BASE(n) (BAR0 + (uint64_t)(n)*0x1000000)
#define DIRECT  0x5107 /* what fake_kvm_run() reads through a slot */

static struct fake_vdev *fakes[DEVICES], more[DEVICES - 1];
static struct pci_function *functions[DEVICES];
static unsigned unplugged[DEVICES], created;
static int files[DEVICES]; /* descriptor + 1 that BAR 4 of a device is mapped from, 0: none */
static uint64_t cut;       /* address whose page the file behind its slot no longer has; 0: none */
static struct passthrough *pass;

static const char *const names[DEVICES] = {"0000:01:00.0", "0000:02:00.0", "0000:03:00.0"};

/* ---- who stands around passthrough.c ------------------------------------------------------------- */

static int fake_match(const struct vfio_config *config)
{
	(void)config;
	return 1;
}

static int fake_create(const struct vfio_provider_env *env, const struct vfio_config *config,
		       struct vfio_device **out)
{
	(void)env, (void)config;
	*out = &fakes[created++]->vdev;
	return 0;
}

static const struct vfio_provider fake_provider = {
	.name = "fake", .match = fake_match, .create = fake_create};

const struct vfio_provider *const vfio_providers[] = {&fake_provider, NULL};

struct pci_root_port {
	unsigned index;
};

static struct pci_root_port ports[DEVICES];
static unsigned ports_made;

int pci_root_port_create(struct pci_host_bridge *bridge, int device, struct pci_root_port **out)
{
	(void)bridge, (void)device;
	ports[ports_made].index = ports_made;
	*out = &ports[ports_made++];
	return 0;
}

int pci_root_port_plug(struct pci_root_port *port, struct pci_function *fn, unsigned function)
{
	(void)function;
	functions[port->index] = fn;
	plug(front_of(fn));
	return 0;
}

int pci_root_port_unplug(struct pci_root_port *port, enum pci_unplug_how how,
			 void (*done)(void *ctx), void *ctx)
{
	(void)done, (void)ctx;
	cr_expect_eq(how, PCI_UNPLUG_FORCE);
	unplugged[port->index]++;
	return 0;
}

static struct fake_vdev *owner(uint64_t gpa)
{
	return fakes[(gpa - BAR0) / 0x1000000];
}

/* ---- a machine with three devices ---------------------------------------------------------------- */

static void command(unsigned n, uint16_t value)
{
	functions[n]->ops->config_write(functions[n], PCI_COMMAND, value, 2);
}

static void start(void)
{
	static struct vfio_config configs[DEVICES]; /* they outlive this */
	const struct vm_config config = {.vfio = configs, .vfio_count = DEVICES, .iommufd = -1};
	struct vfio_function_env env;

	machine_begin();
	created = ports_made = 0;
	cut = 0;
	memset(unplugged, 0, sizeof(unplugged));
	fake_owner = owner;
	fake_devices[0] = NULL;
	fakes[0] = &m.device;
	for (unsigned n = 0; n < DEVICES; n++) {
		configs[n] = m.config;
		configs[n].name = names[n];
		if (n > 0) {
			fakes[n] = &more[n - 1];
			fake_init(fakes[n], names[n], NULL, 0);
		}
		fakes[n]->region_fds[4] = files[n];
	}
	cr_assert_eq(passthrough_find(&config, m.loop, m.ictx, &pass), 0);
	env = machine_env();
	cr_assert_eq(passthrough_plug(pass, &env, NULL), 0);
	for (unsigned n = 0; n < DEVICES; n++) {
		pci_function_set_bar(functions[n], 0, BASE(n));
		pci_function_set_bar(functions[n], 2, BASE(n) + 0x10000);
		pci_function_set_bar(functions[n], 4, BASE(n) + 0x100000);
		command(n, 6);
	}
	fake_log_count = 0;
}

static void end(void)
{
	for (unsigned n = 0; n < DEVICES; n++) {
		functions[n]->ops->destroy(functions[n]);
		cr_expect(fakes[n]->released);
		cr_expect_eq(fakes[n]->breaches, 0);
	}
	passthrough_destroy(pass);
	machine_free();
	for (unsigned n = 0; n < DEVICES; n++) {
		if (files[n])
			close(files[n] - 1);
		files[n] = 0;
	}
}

static unsigned slots_of(unsigned n)
{
	unsigned count = 0;

	for (unsigned i = 0; i < FAKE_SLOTS; i++)
		count += fake_kvm_state.slots[i].used && fake_kvm_state.slots[i].device == fakes[n];
	return count;
}

/* The kernel asks the device when it faults the page in (vfio_pci_core.c, vfio_pci_mmap_huge_fault). */
static int fake_kvm_run(uint64_t gpa, uint32_t *value)
{
	const struct fake_slot *slot = fake_slot_at(gpa);

	if (!slot) {
		*value = (uint32_t)mem_read(gpa, 4);
		return 0;
	}
	if (slot->device->gone || !fake_decodes(slot->device) || (cut && gpa == cut))
		return -EFAULT;
	*value = DIRECT;
	return 0;
}

/* What a vCPU thread does (vmm/vcpu.c). false: the VM would have ended. */
static bool guest_reads(uint64_t gpa, uint32_t *value)
{
	for (unsigned i = 0; i < 10; i++) {
		if (fake_kvm_run(gpa, value) != -EFAULT)
			return true;
		if (!passthrough_fault(pass))
			return false;
	}
	return false;
}

/* ---- how a device can fail ----------------------------------------------------------------------- */

static void removed(struct fake_vdev *f)
{
	f->gone = true;
}

static void disabled(struct fake_vdev *f)
{
	fake_put16(f, PCI_COMMAND, 0);
}

static void asleep(struct fake_vdev *f)
{
	f->config[0x64] = 3;
}

static const struct {
	const char *name, *message;
	void (*fail)(struct fake_vdev *f);
	bool gone;
} ways[] = {
	{"surprise removal, or D3cold", "does not answer any more", removed, true},
	{"decode off", "stopped decoding its memory", disabled, false},
	{"D3hot", "stopped decoding its memory", asleep, false},
};

#define WAYS (sizeof(ways) / sizeof(ways[0]))

/* Device @n, having failed by @way, is touched at @offset. */
static void fault_of(unsigned n, unsigned way, uint64_t offset)
{
	unsigned before[DEVICES];
	uint32_t value = 0;

	start();
	for (unsigned i = 0; i < DEVICES; i++) {
		before[i] = slots_of(i);
		cr_assert_gt(before[i], 0);
		cr_assert(guest_reads(BASE(i) + offset, &value));
		cr_assert_eq(value, DIRECT);
	}
	ways[way].fail(fakes[n]);
	cr_expect(guest_reads(BASE(n) + offset, &value), "%s: the VM goes on", ways[way].name);
	cr_expect_eq(value, 0xffffffff, "%s: it reads ones", ways[way].name);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, names[n]), "%s", fake_log_last);
	cr_expect_not_null(strstr(fake_log_last, ways[way].message), "%s", fake_log_last);
	for (unsigned i = 0; i < DEVICES; i++) {
		cr_expect_eq(slots_of(i), i == n ? 0 : before[i]);
		cr_expect(guest_reads(BASE(i) + offset, &value));
		cr_expect_eq(value, i == n ? 0xffffffff : DIRECT);
	}
	fake_loop_step(m.loop, 1000);
	for (unsigned i = 0; i < DEVICES; i++)
		cr_expect_eq(unplugged[i], ways[way].gone && i == n, "%s", ways[way].name);
	if (!ways[way].gone) {
		/* Its driver resumes and enables it. */
		functions[n]->ops->config_write(functions[n], 0x64, 0, 2);
		command(n, 6);
		cr_expect_eq(slots_of(n), before[n]);
		cr_expect(guest_reads(BASE(n) + offset, &value));
		cr_expect_eq(value, DIRECT);
	}
	end();
}

Test(passthrough_fault, of_each_device_costs_it_alone_its_slots)
{
	for (unsigned n = 0; n < DEVICES; n++)
		for (unsigned way = 0; way < WAYS; way++) {
			fault_of(n, way, 0x100);
			fault_of(n, way, 0x100000 + 0x8000);
		}
}

Test(passthrough_fault, of_two_devices_at_once_leaves_the_third)
{
	unsigned before;
	uint32_t value = 0;

	start();
	before = slots_of(1);
	removed(fakes[0]);
	asleep(fakes[2]);
	cr_expect(guest_reads(BASE(2) + 0x100, &value));
	cr_expect_eq(value, 0xffffffff);
	cr_expect(guest_reads(BASE(0) + 0x100, &value));
	cr_expect_eq(value, 0xffffffff);
	cr_expect_eq(slots_of(0) + slots_of(2), 0);
	cr_expect_eq(slots_of(1), before);
	cr_expect_eq(fake_log_count, 2, "each is named once");
	end();
}

Test(passthrough_fault, of_no_device_is_the_end)
{
	unsigned before;

	start();
	before = fake_slot_count();
	cr_expect(!passthrough_fault(pass));
	cr_expect_eq(fake_slot_count(), before);
	cr_expect_eq(fake_log_count, 0);
	end();
	cr_expect(!passthrough_fault(NULL));
}

/* Before start(): BAR 4 of device @n is mapped from a file of another process, as of a vfio-user server. */
static void from_file(unsigned n, unsigned flags)
{
	int fd = memfd_create("bar4", MFD_CLOEXEC | flags);

	cr_assert_geq(fd, 0);
	cr_assert_eq(ftruncate(fd, 0x100000), 0);
	files[n] = fd + 1;
}

Test(passthrough_fault, of_a_file_that_its_server_cut_costs_the_bar_its_slot)
{
	const uint64_t at = BASE(1) + 0x100000 + 0x8000;
	unsigned before[DEVICES];
	uint32_t value = 0;

	from_file(1, 0);
	start();
	for (unsigned i = 0; i < DEVICES; i++)
		before[i] = slots_of(i);
	cut = at;
	cr_expect(guest_reads(at, &value), "the VM goes on");
	cr_expect_eq(value, mem_read(at, 4), "by message");
	cr_expect_neq(value, 0xffffffff);
	cr_expect_neq(value, DIRECT);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, names[1]), "%s", fake_log_last);
	cr_expect_not_null(strstr(fake_log_last, "BAR 4"), "%s", fake_log_last);
	cr_expect_eq(slots_of(0), before[0]);
	cr_expect_eq(slots_of(1), before[1] - 1, "its other BARs keep theirs");
	cr_expect_eq(slots_of(2), before[2]);
	cr_expect(passthrough_fault(pass), "another vCPU that was on its way");

	/* And it is never trusted again. */
	command(1, 0);
	command(1, 6);
	cr_expect_null(fake_slot_at(at));
	cr_expect_eq(slots_of(1), before[1] - 1);
	cr_expect(guest_reads(at, &value));
	cr_expect_neq(value, DIRECT);
	cr_expect_eq(fake_log_count, 1);
	end();
}

Test(passthrough_fault, is_blamed_on_the_file_that_was_cut)
{
	const uint64_t at = BASE(1) + 0x100000 + 0x8000;
	uint32_t value = 0;
	unsigned before;

	for (unsigned n = 0; n < DEVICES; n++)
		from_file(n, 0);
	start();
	before = slots_of(1);
	cut = at;
	cr_assert_eq(ftruncate(files[1] - 1, 0x1000), 0);
	cr_expect(guest_reads(at, &value));
	cr_expect_neq(value, DIRECT);
	cr_expect_eq(slots_of(1), before - 1);
	cr_expect_eq(slots_of(0), before);
	cr_expect_eq(slots_of(2), before);
	cr_expect_eq(fake_log_count, 1);
	cr_expect_not_null(strstr(fake_log_last, names[1]), "%s", fake_log_last);
	end();
}

Test(passthrough_fault, is_not_blamed_on_a_file_while_a_device_is_at_fault)
{
	uint32_t value = 0;
	unsigned before;

	from_file(1, 0);
	start();
	before = slots_of(1);
	asleep(fakes[2]);
	cr_expect(guest_reads(BASE(2) + 0x100, &value));
	cr_expect_eq(slots_of(1), before);
	cr_expect_eq(slots_of(2), 0);
	end();
}

Test(passthrough_fault, is_never_blamed_on_a_sealed_file)
{
	const uint64_t at = BASE(1) + 0x100000;
	uint32_t value = 0;
	unsigned before;

	from_file(1, MFD_ALLOW_SEALING);
	start();
	before = slots_of(1);
	cut = at;
	cr_expect(!guest_reads(at, &value));
	cr_expect_eq(slots_of(1), before);
	end();
}

Test(passthrough_fault, after_a_device_has_left_looks_at_the_others)
{
	uint32_t value = 0;

	start();
	functions[0]->ops->destroy(functions[0]);
	asleep(fakes[1]);
	cr_expect(guest_reads(BASE(1) + 0x100, &value));
	cr_expect_eq(slots_of(1), 0);
	cr_expect_gt(slots_of(2), 0);
	for (unsigned n = 1; n < DEVICES; n++)
		functions[n]->ops->destroy(functions[n]);
	passthrough_destroy(pass);
	machine_free();
}
