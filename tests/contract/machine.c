/* SPDX-License-Identifier: Apache-2.0 */
/* The VM around a tested device: memory, address space, KVM, the loop on a thread of its own. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "devices/vfio/providers/kernel/iommufd.h"
#include "tests/contract/contract.h"
#include "vmm/base/host.h"
#include "vmm/base/kvm.h"
#include "vmm/base/loop.h"

static void *loop_thread(void *loop)
{
	loop_run(loop);
	return NULL;
}

/* Of the guest: a memfd that can be sealed, or the file that was named. */
static int memory_open(const struct run *run)
{
	int fd;

	if (!run->memory_file)
		return host_memfd("guest", MEMORY_SIZE, HOST_PAGES_NORMAL);
	fd = open(run->memory_file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	return fd < 0 || ftruncate(fd, MEMORY_SIZE) ? -errno : fd;
}

/*
 * The VM. Providers that are no kernel's only count its references: for them one without KVM behind it
 * does on a machine that has none.
 */
static int machine_kvm(const struct run *run, struct kvm **out)
{
	struct kvm *kvm;

	if (!strcmp(run->target->provider, "kernel") || access("/dev/kvm", F_OK) == 0)
		return kvm_create(-1, out);
	kvm = calloc(1, sizeof(*kvm));
	if (!kvm)
		return -ENOMEM;
	kvm->dev_fd = kvm->vm_fd = kvm->vfio_fd = -1;
	kvm->refcount = 1;
	*out = kvm;
	return -pthread_mutex_init(&kvm->lock, NULL);
}

static int machine_create(struct run *run)
{
	struct ioas_area area = {
		.iova = MEMORY_IOVA, .length = MEMORY_SIZE, .rights = IOAS_READ | IOAS_WRITE};
	int rc;

	vfio_device_sets_init(&run->sets);
	run->memfd = area.fd = memory_open(run);
	if (run->memfd < 0)
		return run->memfd;
	area.hva = mmap(NULL, MEMORY_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, run->memfd, 0);
	if (area.hva == MAP_FAILED)
		return -errno;
	run->memory = area.hva;
	rc = loop_create(&run->loop);
	rc = rc ? rc : machine_kvm(run, &run->kvm);
	rc = rc ? rc : iommufd_ctx_create(&run->ictx);
	rc = rc ? rc : ioas_create(run->ictx, &run->space);
	rc = rc ? rc : ioas_map(run->space, &area);
	if (!rc && !strcmp(run->target->provider, "kernel"))
		rc = kernel_iommufd_create(run->ictx, -1, NULL, &run->iommufd);
	if (rc)
		return rc;
	run->env = (struct vfio_provider_env){
		.loop = run->loop, .ictx = run->ictx, .sets = &run->sets, .iommufd = run->iommufd};
	return -pthread_create(&run->loop_thread, NULL, loop_thread, run->loop);
}

static int make(struct run *run, const char *name, struct vfio_device **out)
{
	struct vfio_config config = {.name = name, .fd = -1};

	for (const struct vfio_provider *const *p = vfio_providers; *p; p++) {
		const int taken = (*p)->match(&config);

		if (taken)
			return taken < 0 ? taken : (*p)->create(&run->env, &config, out);
	}
	return -ENODEV;
}

int device_make(struct run *run, struct vfio_device **out)
{
	return make(run, run->device, out);
}

struct vfio_device *other_make(struct run *run)
{
	const struct vfio_provider *provider = vfio_provider_by_prefix(run->device);
	/* A name that stands for a kind is another device each time. */
	const char *name = run->other || !provider || !provider->many ? run->other : run->device;
	struct vfio_device *vdev = NULL;

	if (expect(run, name, "--other names no second device"))
		expect_rc(run, make(run, name, &vdev), 0, "the other device, %s", name);
	return vdev;
}

int device_open(struct run *run, struct vfio_device *vdev)
{
	int rc = vfio_device_set_kvm(vdev, run->kvm);

	return rc ? rc : vfio_device_open(vdev, run->ictx);
}

void device_give_back(struct vfio_device *vdev)
{
	vfio_device_close(vdev);
	vfio_unregister_device(vdev);
	vfio_device_free(vdev);
}

int attach(struct run *run, struct ioas *space)
{
	uint32_t id = ioas_id(space);

	return vfio_device_attach(run->vdev, &id);
}

struct ioas *space_create(struct run *run, uint64_t offset, uint64_t size)
{
	struct ioas_area area = {.iova = MEMORY_IOVA,
				 .length = size,
				 .fd = run->memfd,
				 .offset = offset,
				 .hva = run->memory + offset,
				 .rights = IOAS_READ | IOAS_WRITE};
	struct ioas *space = NULL;

	if (!expect_rc(run, ioas_create(run->ictx, &space), 0, "another space"))
		return NULL;
	if (size)
		expect_rc(run, ioas_map(space, &area), 0, "memory in another space");
	return space;
}

int run_begin(struct run *run)
{
	int rc = machine_create(run);

	if (rc || (run->test->flags & ALONE))
		return rc;
	rc = device_make(run, &run->vdev);
	if (rc || (run->test->flags & CLOSED))
		return rc;
	rc = device_open(run, run->vdev);
	if (rc)
		return rc;
	run->info.argsz = sizeof(run->info);
	rc = vfio_device_ioctl(run->vdev, VFIO_DEVICE_GET_INFO, &run->info);
	if (rc || (run->test->flags & DETACHED))
		return rc;
	return attach(run, run->space);
}

void run_end(struct run *run)
{
	if (run->vdev)
		device_give_back(run->vdev);
	loop_stop(run->loop);
	pthread_join(run->loop_thread, NULL);
	kernel_iommufd_destroy(run->iommufd);
	expect_rc(run, ioas_destroy(run->space), 0, "the space at the end");
	expect(run, !run->sets.list, "a device set is left");
	expect(run, run->kvm->refcount == 1, "%u references to the VM are left",
	       run->kvm->refcount - 1);
	iommufd_ctx_destroy(run->ictx);
	vfio_device_sets_destroy(&run->sets);
	kvm_put(run->kvm);
	loop_destroy(run->loop);
	munmap(run->memory, MEMORY_SIZE);
	close(run->memfd);
}

bool wait_until(bool (*done)(void *ctx), void *ctx)
{
	const struct timespec tick = {.tv_nsec = 1000000};

	/* The bound is the test's own (--seconds): there is nothing to do before it comes. */
	while (!done(ctx))
		nanosleep(&tick, NULL);
	return true;
}

static void turned(void *ctx)
{
	atomic_store((atomic_bool *)ctx, true);
}

static bool is_set(void *ctx)
{
	return atomic_load((atomic_bool *)ctx);
}

void loop_turn(struct run *run)
{
	/* What was taken off the loop is freed at its next turn. */
	for (int i = 0; i < 2; i++) {
		atomic_bool done = false;

		loop_post(run->loop, turned, &done);
		wait_until(is_set, &done);
	}
}

size_t count_fds(struct run *run)
{
	struct host_list list;
	size_t count = 0;

	loop_turn(run);
	if (!host_list("/proc/self/fd", &list)) {
		count = list.count;
		host_list_free(&list);
	}
	return count;
}
