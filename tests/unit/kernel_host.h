/* SPDX-License-Identifier: Apache-2.0 */
/* A host with a fake kernel and a VM on it, for the tests of the kernel provider. */
#ifndef SLUICE_TESTS_KERNEL_HOST_H
#define SLUICE_TESTS_KERNEL_HOST_H

#include <criterion/criterion.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <linux/iommufd.h>

#include "devices/vfio/device.h"
#include "devices/vfio/providers/kernel/iommufd.h"
#include "devices/vfio/providers/kernel/provider.h"
#include "tests/unit/fake_kernel.h"
#include "tests/unit/fake_log.h"
#include "tests/unit/fake_loop.h"
#include "vmm/base/dma.h"
#include "vmm/base/kvm.h"

#define MIB (1024 * 1024)

/* A VM with two areas of memory, a fake kernel, and devices as they are added. */
struct host {
	struct fake_kernel *fk;
	struct loop *loop;
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	struct vfio_device_sets sets;
	struct kernel_iommufd *iommufd;
	struct kvm kvm;
	struct vfio_provider_env env;
	int memfd;
	void *memory;
};

static inline void map_area(struct host *h, uint64_t iova, uint64_t length)
{
	const struct ioas_area area = {.iova = iova,
				       .length = length,
				       .fd = h->memfd,
				       .hva = h->memory,
				       .rights = IOAS_READ | IOAS_WRITE};

	cr_assert_eq(ioas_map(h->ioas, &area), 0);
}

static inline struct host *host_new(void)
{
	struct host *h = calloc(1, sizeof(*h));

	h->fk = fake_kernel_new();
	cr_assert_eq(loop_create(&h->loop), 0);
	cr_assert_eq(iommufd_ctx_create(&h->ictx), 0);
	cr_assert_eq(ioas_create(h->ictx, &h->ioas), 0);
	vfio_device_sets_init(&h->sets);
	pthread_mutex_init(&h->kvm.lock, NULL);
	h->kvm.refcount = 1;
	h->memfd = memfd_create("test", MFD_CLOEXEC);
	cr_assert_eq(ftruncate(h->memfd, MIB), 0);
	h->memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, h->memfd, 0);
	map_area(h, 0, MIB / 2);
	map_area(h, 0x100000000, MIB / 2);
	h->env = (struct vfio_provider_env){.loop = h->loop, .ictx = h->ictx, .sets = &h->sets};
	fake_log_count = 0;
	return h;
}

static inline int open_iommu(struct host *h)
{
	const int rc = kernel_iommufd_create(h->ictx, -1, &h->fk->calls, &h->iommufd);

	h->env.iommufd = h->iommufd;
	return rc;
}

/* Everything is closed: nothing may be left anywhere. */
static inline void host_done(struct host *h)
{
	h->fk->fail_at = 0;
	kernel_iommufd_destroy(h->iommufd);
	cr_expect_str_eq(fake_kernel_leaks(h->fk), "");
	cr_expect_eq(fake_loop_sources(h->loop), 0);
	cr_expect_eq(h->kvm.refcount, 1);
	cr_expect_null(h->sets.list);
	cr_expect_eq(ioas_destroy(h->ioas), 0, "no mirror is left");
	iommufd_ctx_destroy(h->ictx);
	vfio_device_sets_destroy(&h->sets);
	loop_destroy(h->loop);
	munmap(h->memory, MIB);
	close(h->memfd);
	fake_kernel_free(h->fk);
	free(h);
}

static inline int make(struct host *h, const char *name, struct vfio_device **out)
{
	const struct vfio_config config = {.name = name, .fd = -1};

	return vfio_kernel_provider.create(&h->env, &config, out);
}

static inline int attach(struct host *h, struct vfio_device *vdev)
{
	uint32_t id = ioas_id(h->ioas);
	int rc;

	vfio_device_set_kvm(vdev, &h->kvm);
	rc = vfio_device_open(vdev, h->ictx);
	if (rc)
		return rc;
	rc = vfio_device_attach(vdev, &id);
	if (rc)
		vfio_device_close(vdev);
	return rc;
}

static inline void give_back(struct vfio_device *vdev)
{
	vfio_device_close(vdev);
	vfio_unregister_device(vdev);
	vfio_device_free(vdev);
}

static inline struct vfio_device *attached(struct host *h, const char *name)
{
	struct vfio_device *vdev;

	cr_assert_eq(make(h, name, &vdev), 0);
	cr_assert_eq(attach(h, vdev), 0);
	return vdev;
}

#endif
