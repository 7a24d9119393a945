/* SPDX-License-Identifier: Apache-2.0 */
/*
 * provider [OPTION...] COMMAND DEVICE...   the kernel provider against a real kernel
 *
 *   use DEVICE          open for a VM, attach, map memory, read, interrupts, reset, close
 *   dma DEVICE          QEMU's edu copies guest memory to itself and back
 *   no-dma DEVICE       the same once it is detached: memory stays as it is
 *   cycle N DEVICE      N times open, attach, a BAR in the guest's memory, an MSI, close: nothing may be left
 *   open DEVICE...      open and attach each, in this order
 *   hold DEVICE         until the host asks for it, then give it back (prints "held", "request N")
 *   reset DEVICE...     hot reset of all functions of a slot
 *   migrate DEVICE      an emulated device with all migration states: its state is read and put back
 *   token PF VF         the PF sets a VF token; without it, and with another, the VF does not open
 *
 *   --memlock BYTES     limit of what may be pinned, and no right to go beyond it
 *   --migratable        ask for dirty tracking
 *
 * Prints "ok NAME" or "not ok NAME (why)" for each thing tried; the exit status is 1 when one failed.
 * A refused device prints "refused ERRNO".
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/pci_regs.h>

#include "devices/vfio/providers/kernel/iommufd.h"
#include "tests/contract/provider.h"
#include "vmm/base/dma.h"
#include "vmm/base/host.h"
#include "vmm/base/kvm.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

void verdict(struct vm *vm, bool good, const char *name, long detail)
{
	if (good)
		printf("ok %s\n", name);
	else
		printf("not ok %s (%ld)\n", name, detail);
	fflush(stdout);
	vm->failed |= !good;
}

bool step(struct vm *vm, int rc, const char *name)
{
	verdict(vm, !rc, name, rc);
	return !rc;
}

/* @length of memory is mapped. */
static int vm_create(struct vm *vm, uint64_t length)
{
	struct ioas_area area = {.length = length, .rights = IOAS_READ | IOAS_WRITE};
	int rc;

	vfio_device_sets_init(&vm->sets);
	vm->memfd = area.fd = host_memfd("guest", MEMORY, HOST_PAGES_NORMAL);
	if (vm->memfd < 0)
		return vm->memfd;
	vm->memory = area.hva =
		mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED, vm->memfd, 0);
	rc = loop_create(&vm->loop);
	rc = rc ? rc : kvm_create(-1, &vm->kvm);
	rc = rc ? rc : iommufd_ctx_create(&vm->ictx);
	rc = rc ? rc : ioas_create(vm->ictx, &vm->ioas);
	rc = rc ? rc : ioas_map(vm->ioas, &area);
	rc = rc ? rc : kernel_iommufd_create(vm->ictx, -1, NULL, &vm->iommufd);
	vm->env = (struct vfio_provider_env){
		.loop = vm->loop, .ictx = vm->ictx, .sets = &vm->sets, .iommufd = vm->iommufd};
	return rc;
}

static void vm_destroy(struct vm *vm)
{
	kernel_iommufd_destroy(vm->iommufd);
	verdict(vm, !ioas_destroy(vm->ioas), "no mirror is left", 0);
	iommufd_ctx_destroy(vm->ictx);
	vfio_device_sets_destroy(&vm->sets);
	kvm_put(vm->kvm);
	loop_destroy(vm->loop);
	munmap(vm->memory, MEMORY);
	close(vm->memfd);
}

int make_device(struct vm *vm, const char *name, const uint8_t *token, struct vfio_device **out)
{
	struct vfio_config config = {.name = name, .fd = -1, .migratable = vm->migratable};

	if (token) {
		config.has_token = true;
		memcpy(config.token, token, sizeof(config.token));
	}
	for (const struct vfio_provider *const *p = vfio_providers; *p; p++) {
		const int taken = (*p)->match(&config);

		if (taken)
			return taken < 0 ? taken : (*p)->create(&vm->env, &config, out);
	}
	return -ENODEV;
}

int open_device(struct vm *vm, struct vfio_device *vdev)
{
	uint32_t id = ioas_id(vm->ioas);
	int rc;

	vfio_device_set_kvm(vdev, vm->kvm);
	rc = vfio_device_open(vdev, vm->ictx);
	if (rc)
		return rc;
	rc = vfio_device_attach(vdev, &id);
	if (rc)
		vfio_device_close(vdev);
	return rc;
}

void give_back(struct vfio_device *vdev)
{
	vfio_device_close(vdev);
	vfio_unregister_device(vdev);
	vfio_device_free(vdev);
}

/* Make and open, or say why not. */
static struct vfio_device *opened(struct vm *vm, const char *name, const uint8_t *token)
{
	struct vfio_device *vdev = NULL;
	int rc = make_device(vm, name, token, &vdev);

	if (!rc) {
		rc = open_device(vm, vdev);
		if (rc)
			give_back(vdev);
	}
	if (!rc)
		return vdev;
	printf("refused %s\n", strerrorname_np(-rc));
	vm->failed = 1;
	return NULL;
}

struct vfio_region_info region(struct vfio_device *vdev, uint32_t index)
{
	struct vfio_region_info info = {.argsz = sizeof(info), .index = index};

	if (vfio_device_ioctl(vdev, VFIO_DEVICE_GET_REGION_INFO, &info))
		info.size = 0;
	return info;
}

static uint32_t config_read(struct vfio_device *vdev, uint32_t offset, size_t size)
{
	const struct vfio_region_info info = region(vdev, VFIO_PCI_CONFIG_REGION_INDEX);
	uint32_t value = 0;

	vfio_device_read(vdev, &value, size, info.offset + offset);
	return value;
}

void config_write(struct vfio_device *vdev, uint32_t offset, uint32_t value, size_t size)
{
	const struct vfio_region_info info = region(vdev, VFIO_PCI_CONFIG_REGION_INDEX);

	vfio_device_write(vdev, &value, size, info.offset + offset);
}

/* ---- interrupts ---- */

int set_irqs(struct vfio_device *vdev, uint32_t index, uint32_t flags, uint32_t count,
	     const void *data, size_t size)
{
	struct vfio_irq_set *set = calloc(1, sizeof(*set) + size);
	int rc;

	*set = (struct vfio_irq_set){.argsz = (uint32_t)(sizeof(*set) + size),
				     .flags = flags | VFIO_IRQ_SET_ACTION_TRIGGER,
				     .index = index,
				     .count = count};
	memcpy(set->data, data, size);
	rc = vfio_device_ioctl(vdev, VFIO_DEVICE_SET_IRQS, set);
	free(set);
	return rc;
}

/* Every vector of the device has an eventfd; the kernel fires each, and only that one arrives. */
static void interrupts(struct vm *vm, struct vfio_device *vdev, uint32_t index, const char *name)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};
	int32_t fds[64];
	uint8_t fire[64] = {0};
	eventfd_t value;
	long arrived = 0;

	if (vfio_device_ioctl(vdev, VFIO_DEVICE_GET_IRQ_INFO, &info) || !info.count)
		return;
	if (info.count > 64)
		info.count = 64;
	for (uint32_t i = 0; i < info.count; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!step(vm,
		  set_irqs(vdev, index, VFIO_IRQ_SET_DATA_EVENTFD, info.count, fds,
			   info.count * sizeof(fds[0])),
		  name))
		return;
	for (uint32_t i = 0; i < info.count; i++) {
		fire[i] = 1;
		set_irqs(vdev, index, VFIO_IRQ_SET_DATA_BOOL, info.count, fire, info.count);
		fire[i] = 0;
		for (uint32_t k = 0; k < info.count; k++) {
			if (!eventfd_read(fds[k], &value))
				arrived += k == i ? 1 : 1000;
		}
	}
	verdict(vm, arrived == (long)info.count, "each vector arrives at its eventfd", arrived);
	step(vm, set_irqs(vdev, index, VFIO_IRQ_SET_DATA_NONE, 0, NULL, 0), "vectors off");
	for (uint32_t i = 0; i < info.count; i++)
		close(fds[i]);
}

/* ---- commands ---- */

static void use(struct vm *vm, const char *name)
{
	struct vfio_device *vdev = opened(vm, name, NULL);
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct iova_range ranges[16];
	uint32_t id, other_id;
	struct ioas *other;
	size_t count = 16;
	uint64_t vendor;
	char path[64], *text;
	json_t *status;
	bool hole = true;

	if (!vdev)
		return;
	step(vm, vfio_device_ioctl(vdev, VFIO_DEVICE_GET_INFO, &info), "info");
	verdict(vm, info.flags & VFIO_DEVICE_FLAGS_PCI, "it is a PCI device", info.flags);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/vendor", vdev->dev);
	step(vm, host_read_u64(path, &vendor), "sysfs");
	verdict(vm, config_read(vdev, PCI_VENDOR_ID, 2) == vendor, "config space", (long)vendor);
	verdict(vm, region(vdev, 0).size > 0, "BAR 0", 0);

	step(vm, ioas_iova_ranges(vm->ioas, ranges, &count), "IOVA ranges");
	for (size_t i = 0; i < count; i++)
		hole &= ranges[i].last < 0xfee00000 || ranges[i].first > 0xfeefffff;
	verdict(vm, hole && count > 1, "the MSI window is reserved", (long)count);

	/* Another space and back; and an id that is none. */
	step(vm, ioas_create(vm->ictx, &other), "a second space");
	id = other_id = ioas_id(other);
	step(vm, vfio_device_attach(vdev, &id), "replaced");
	id = ioas_id(vm->ioas);
	step(vm, vfio_device_attach(vdev, &id), "and back");
	id = 12345;
	verdict(vm, vfio_device_attach(vdev, &id) == -ENOENT, "an unknown space", 0);
	step(vm, vfio_device_detach(vdev), "detached");
	step(vm, vfio_device_detach(vdev), "detached again");
	id = ioas_id(vm->ioas);
	step(vm, vfio_device_attach(vdev, &id), "attached again");
	step(vm, ioas_destroy(other), "the second space is free");
	verdict(vm, !ioas_find(vm->ictx, other_id), "and gone", 0);

	interrupts(vm, vdev, VFIO_PCI_MSI_IRQ_INDEX, "MSI");
	interrupts(vm, vdev, VFIO_PCI_MSIX_IRQ_INDEX, "MSI-X");
	if (info.flags & VFIO_DEVICE_FLAGS_RESET) {
		step(vm, vfio_device_ioctl(vdev, VFIO_DEVICE_RESET, NULL), "reset");
		verdict(vm, config_read(vdev, PCI_VENDOR_ID, 2) == vendor, "after the reset", 0);
	}
	verdict(vm, vfio_device_open(vdev, vm->ictx) == -EINVAL, "no second open", 0);

	status = vfio_device_status(vdev);
	text = json_dumps(status, JSON_COMPACT);
	printf("status %s\n", text);
	free(text);
	json_decref(status);
	give_back(vdev);
}

static void edu_register(struct vfio_device *vdev, uint64_t offset, uint64_t value)
{
	vfio_device_write(vdev, &value, sizeof(value), region(vdev, 0).offset + offset);
}

/* edu: registers source 0x80, target 0x88, count 0x90, command 0x98; its buffer is at 0x40000. */
static bool edu_copy(struct vfio_device *vdev, uint64_t from, uint64_t to, uint64_t command)
{
	uint64_t running = 1;

	edu_register(vdev, 0x80, from);
	edu_register(vdev, 0x88, to);
	edu_register(vdev, 0x90, 4096);
	edu_register(vdev, 0x98, command | 1);
	for (int i = 0; i < 200 && (running & 1); i++) {
		usleep(10000);
		vfio_device_read(vdev, &running, sizeof(running), region(vdev, 0).offset + 0x98);
	}
	return !(running & 1);
}

static void dma(struct vm *vm, const char *name)
{
	struct vfio_device *vdev = opened(vm, name, NULL);

	if (!vdev)
		return;
	config_write(vdev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	for (int i = 0; i < 4096; i++)
		vm->memory[i] = (uint8_t)(i * 7);
	verdict(vm, edu_copy(vdev, 0, 0x40000, 0), "from memory", 0);
	verdict(vm, edu_copy(vdev, 0x40000, 0x100000, 2), "to memory", 0);
	verdict(vm, !memcmp(vm->memory, vm->memory + 0x100000, 4096), "the bytes are the same", 0);

	give_back(vdev);
}

/* A detached device reaches nothing; the IOMMU of the host reports that it tried. */
static void no_dma(struct vm *vm, const char *name)
{
	struct vfio_device *vdev = opened(vm, name, NULL);

	if (!vdev)
		return;
	config_write(vdev, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER, 2);
	memset(vm->memory, 0x55, 4096);
	step(vm, vfio_device_detach(vdev), "detached");
	edu_copy(vdev, 0x40000, 0, 2);
	verdict(vm, vm->memory[0] == 0x55 && vm->memory[4095] == 0x55,
		"a detached device reaches nothing", vm->memory[0]);
	give_back(vdev);
}

static void open_all(struct vm *vm, char **names, int count)
{
	struct vfio_device *vdevs[MAX_DEVICES];
	int open = 0;

	for (; open < count && open < MAX_DEVICES; open++) {
		vdevs[open] = opened(vm, names[open], NULL);
		if (!vdevs[open])
			break;
		printf("ok open %s\n", vdevs[open]->dev);
	}
	while (open--)
		give_back(vdevs[open]);
}

struct holder {
	struct vm *vm;
	struct vfio_device *vdev;
};

static void on_request(void *ctx, unsigned count)
{
	struct holder *holder = ctx;

	printf("request %u\n", count);
	fflush(stdout);
	/* Not at the first: the host asks again every 10 s, or less patiently, by a second unbind. */
	give_back(holder->vdev);
	loop_stop(holder->vm->loop);
}

static void hold(struct vm *vm, const char *name)
{
	static const struct vfio_device_events events = {.request = on_request};
	struct holder holder = {.vm = vm};

	if (make_device(vm, name, NULL, &holder.vdev)) {
		vm->failed = 1;
		return;
	}
	vfio_device_set_events(holder.vdev, &events, &holder);
	if (!step(vm, open_device(vm, holder.vdev), "open"))
		return;
	printf("held\n");
	fflush(stdout);
	step(vm, loop_run(vm->loop), "loop");
}

static void hot_reset(struct vm *vm, char **names, int count)
{
	struct vfio_pci_hot_reset reset = {.argsz = sizeof(reset)};
	_Alignas(8) uint8_t reply[sizeof(struct vfio_pci_hot_reset_info) +
				  16 * sizeof(struct vfio_pci_dependent_device)] = {0};
	struct vfio_pci_hot_reset_info *info = (void *)reply;
	struct vfio_device *vdevs[MAX_DEVICES];
	int open = 0;

	info->argsz = sizeof(reply);
	for (; open < count && open < MAX_DEVICES; open++) {
		vdevs[open] = opened(vm, names[open], NULL);
		if (!vdevs[open])
			goto close;
	}
	verdict(vm, vdevs[0]->dev_set->device_count == (unsigned)count, "one set",
		vdevs[0]->dev_set->device_count);
	step(vm, vfio_device_ioctl(vdevs[0], VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, info), "info");
	verdict(vm, info->count == (uint32_t)count, "the kernel sees the same set", info->count);
	verdict(vm, info->flags & VFIO_PCI_HOT_RESET_FLAG_DEV_ID_OWNED, "all are ours",
		info->flags);
	config_write(vdevs[count - 1], PCI_COMMAND, PCI_COMMAND_MASTER, 2);
	step(vm, vfio_device_ioctl(vdevs[0], VFIO_DEVICE_PCI_HOT_RESET, &reset), "hot reset");
	for (int i = 0; i < count; i++)
		verdict(vm, vdevs[i]->reset_method && !strcmp(vdevs[i]->reset_method, "hot"),
			"each knows", i);
close:
	while (open--)
		give_back(vdevs[open]);
}

/* VFIO_DEVICE_FEATURE with up to 56 bytes of @data. */
static int feature(struct vfio_device *vdev, uint32_t flags, void *data, size_t size)
{
	_Alignas(8) uint8_t call[64] = {0};
	struct vfio_device_feature *header = (void *)call;
	int rc;

	header->argsz = (uint32_t)(sizeof(*header) + size);
	header->flags = flags;
	memcpy(header->data, data, size);
	rc = vfio_device_ioctl(vdev, VFIO_DEVICE_FEATURE, header);
	memcpy(data, header->data, size);
	return rc;
}

static void token(struct vm *vm, const char *pf_name, const char *vf_name)
{
	const uint32_t set = VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_PCI_VF_TOKEN;
	uint8_t uuid[16];
	uint8_t wrong[16] = {9};
	struct vfio_device *pf = opened(vm, pf_name, NULL), *vf;

	if (!pf)
		return;
	for (int i = 0; i < 16; i++)
		uuid[i] = (uint8_t)(i + 1);
	step(vm, feature(pf, set, uuid, sizeof(uuid)), "the PF sets a token");
	for (int i = 0; i < 3; i++) {
		static const char *const names[] = {"no token", "wrong token", "right token"};
		const int wanted = i == 2 ? 0 : -EACCES;
		int rc;

		rc = make_device(vm, vf_name, i == 0 ? NULL : i == 1 ? wrong : uuid, &vf);
		if (!rc) {
			rc = open_device(vm, vf);
			give_back(vf);
		}
		verdict(vm, rc == wanted, names[i], rc);
	}
	give_back(pf);
}

/* ---- migration ---- */

static int mig_state(struct vfio_device *vdev, uint32_t direction, uint32_t *state, int *fd)
{
	struct vfio_device_feature_mig_state data = {.device_state = *state};
	const int rc = feature(vdev, direction | VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE, &data,
			       sizeof(data));

	*state = data.device_state;
	*fd = data.data_fd;
	return rc;
}

static bool in_state(struct vfio_device *vdev, uint32_t wanted)
{
	uint32_t state = 0;
	int fd;

	return !mig_state(vdev, VFIO_DEVICE_FEATURE_GET, &state, &fd) && state == wanted;
}

static int go_to(struct vfio_device *vdev, uint32_t state, int *fd)
{
	return mig_state(vdev, VFIO_DEVICE_FEATURE_SET, &state, fd);
}

static void migrate(struct vm *vm, const char *name)
{
	struct vfio_device *vdev = opened(vm, name, NULL);
	char data[4096];
	size_t size = 0;
	ssize_t n;
	int fd = -1;

	if (!vdev)
		return;
	verdict(vm, vdev->iommufd_kind == VFIO_IOMMUFD_EMULATED, "it is emulated",
		vdev->iommufd_kind);
	verdict(vm, vdev->migration_flags == 7, "it has all states", (long)vdev->migration_flags);
	verdict(vm, in_state(vdev, VFIO_DEVICE_STATE_RUNNING), "it runs", 0);
	verdict(vm, go_to(vdev, VFIO_DEVICE_STATE_ERROR, &fd) == -EINVAL && fd == -1,
		"nobody asks for ERROR", fd);

	step(vm, go_to(vdev, VFIO_DEVICE_STATE_STOP_COPY, &fd), "to STOP_COPY");
	verdict(vm, fd >= 0, "a stream", fd);
	while (size < sizeof(data) && (n = read(fd, data + size, sizeof(data) - size)) > 0)
		size += (size_t)n;
	verdict(vm, size > 0, "with data", (long)size);
	close(fd);
	step(vm, go_to(vdev, VFIO_DEVICE_STATE_STOP, &fd), "to STOP");

	step(vm, go_to(vdev, VFIO_DEVICE_STATE_RESUMING, &fd), "to RESUMING");
	verdict(vm, write(fd, data, size) == (ssize_t)size, "the data go back", 0);
	close(fd);
	step(vm, go_to(vdev, VFIO_DEVICE_STATE_RUNNING, &fd), "to RUNNING");
	verdict(vm, in_state(vdev, VFIO_DEVICE_STATE_RUNNING), "it runs again", 0);

	/* Half a stream is none: the device is in ERROR, and only a reset leads out. */
	step(vm, go_to(vdev, VFIO_DEVICE_STATE_RESUMING, &fd), "to RESUMING again");
	close(fd);
	verdict(vm, go_to(vdev, VFIO_DEVICE_STATE_RUNNING, &fd) < 0, "without data", 0);
	step(vm, vfio_device_ioctl(vdev, VFIO_DEVICE_RESET, NULL), "reset");
	verdict(vm, in_state(vdev, VFIO_DEVICE_STATE_RUNNING), "it runs after the reset", 0);
	give_back(vdev);
}

/* Root may pin without limit: give that right up. */
static void limit_memlock(uint64_t bytes)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[2];
	struct rlimit limit = {bytes, bytes};

	setrlimit(RLIMIT_MEMLOCK, &limit);
	syscall(SYS_capget, &header, data);
	data[0].effective &= ~(1u << CAP_IPC_LOCK);
	data[0].permitted &= ~(1u << CAP_IPC_LOCK);
	syscall(SYS_capset, &header, data);
}

int main(int argc, char **argv)
{
	struct vm vm = {0};
	const char *command;
	int i = 1;

	log_open(NULL, LOG_LEVEL_WARN);
	for (; i < argc && argv[i][0] == '-'; i++) {
		if (!strcmp(argv[i], "--migratable"))
			vm.migratable = true;
		else if (!strcmp(argv[i], "--memlock") && i + 1 < argc)
			limit_memlock(strtoull(argv[++i], NULL, 0));
	}
	if (argc - i < 2) {
		fprintf(stderr, "provider: a command and a device\n");
		return 2;
	}
	command = argv[i++];
	if (vm_create(&vm, strcmp(command, "cycle") ? MEMORY : MIB)) {
		printf("not ok a VM\n");
		return 1;
	}

	if (!strcmp(command, "use"))
		use(&vm, argv[i]);
	else if (!strcmp(command, "dma"))
		dma(&vm, argv[i]);
	else if (!strcmp(command, "no-dma"))
		no_dma(&vm, argv[i]);
	else if (!strcmp(command, "cycle") && i + 1 < argc)
		cycle(&vm, atoi(argv[i]), argv[i + 1]);
	else if (!strcmp(command, "open"))
		open_all(&vm, argv + i, argc - i);
	else if (!strcmp(command, "hold"))
		hold(&vm, argv[i]);
	else if (!strcmp(command, "reset"))
		hot_reset(&vm, argv + i, argc - i);
	else if (!strcmp(command, "migrate"))
		migrate(&vm, argv[i]);
	else if (!strcmp(command, "token") && i + 1 < argc)
		token(&vm, argv[i], argv[i + 1]);
	else
		vm.failed = 2;
	vm_destroy(&vm);
	return vm.failed;
}
