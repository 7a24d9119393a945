/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/fake_kernel.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <linux/vfio.h>

#include "vmm/base/host.h"

#define NODE_MAJOR 511

/* Every call passes here: counted, noted, and failed when its turn has come. */
__attribute__((format(printf, 2, 3))) static int turn(struct fake_kernel *fk, const char *fmt, ...)
{
	const size_t used = strlen(fk->log);
	char name[96];
	va_list args;

	va_start(args, fmt);
	vsnprintf(name, sizeof(name), fmt, args);
	va_end(args);
	if (used + strlen(name) + 2 < sizeof(fk->log))
		sprintf(fk->log + used, "%s%s", used ? " " : "", name);
	if (++fk->calls_made != fk->fail_at)
		return 0;
	snprintf(fk->failed, sizeof(fk->failed), "%s", name);
	return -fk->fail_error;
}

/* ---- files ---- */

static int new_file(struct fake_kernel *fk, enum fake_file_kind kind)
{
	for (int i = 0; i < FAKE_FILES; i++) {
		struct fake_file *file = &fk->files[i];

		if (file->kind != FAKE_FREE)
			continue;
		*file = (struct fake_file){.kind = kind, .open = true, .fd = FAKE_FD_BASE + i};
		return file->fd;
	}
	return -EMFILE;
}

struct fake_file *fake_kernel_file(struct fake_kernel *fk, int fd)
{
	for (int i = 0; i < FAKE_FILES; i++) {
		if (fk->files[i].kind != FAKE_FREE && fk->files[i].open && fk->files[i].fd == fd)
			return &fk->files[i];
	}
	return NULL;
}

static int fake_open_iommu(void *ctx)
{
	struct fake_kernel *fk = ctx;
	const int rc = turn(fk, "open_iommu");

	if (rc)
		return rc;
	return fk->no_iommufd ? -ENOENT : new_file(fk, FAKE_IOMMUFD);
}

static int fake_open_vfio(void *ctx, const char *path)
{
	struct fake_kernel *fk = ctx;
	int rc = turn(fk, "open_vfio");

	if (rc)
		return rc;
	for (unsigned i = 0; i < fk->device_count; i++) {
		if (strcmp(fk->devices[i].node, path))
			continue;
		rc = new_file(fk, FAKE_NODE);
		if (rc >= 0)
			fake_kernel_file(fk, rc)->device = &fk->devices[i];
		return rc;
	}
	return -ENOENT;
}

static int fake_take_device(void *ctx, int fd)
{
	struct fake_kernel *fk = ctx;
	const int rc = turn(fk, "take_device");

	if (rc)
		return rc;
	if (fd < 3)
		return -EINVAL;
	return fake_kernel_file(fk, fd) ? 0 : -EBADF;
}

static int fake_eventfd(void *ctx)
{
	struct fake_kernel *fk = ctx;
	int rc = turn(fk, "eventfd"), fd;

	if (rc)
		return rc;
	rc = new_file(fk, FAKE_EVENTFD);
	if (rc < 0)
		return rc;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	fake_kernel_file(fk, rc)->fd = fd;
	return fd;
}

static void fake_close(void *ctx, int fd)
{
	struct fake_kernel *fk = ctx;
	struct fake_file *file = fake_kernel_file(fk, fd);

	turn(fk, "close");
	if (!file)
		abort(); /* closed twice, or never open */
	file->open = false;
	if (file->kind == FAKE_EVENTFD)
		close(fd);
	/* KVM's reference keeps the device open. */
	if (!file->kvm)
		fake_kernel_release(fk, file);
}

static int fake_fstat(void *ctx, int fd, struct stat *st)
{
	struct fake_kernel *fk = ctx;
	struct fake_file *file = fake_kernel_file(fk, fd);
	const int rc = turn(fk, "fstat");

	if (rc)
		return rc;
	if (!file)
		return -EBADF;
	*st = (struct stat){.st_mode = S_IFCHR};
	if (file->device)
		st->st_rdev = makedev(NODE_MAJOR, file->device->index);
	return 0;
}

static int fake_ioctl(void *ctx, int fd, unsigned long request, void *arg)
{
	struct fake_kernel *fk = ctx;
	struct fake_file *file = fake_kernel_file(fk, fd);
	const int rc = turn(fk, "%s", fake_kernel_ioctl_name(request));

	if (rc)
		return rc;
	if (fd == FAKE_SESSION && request == VFIO_MIG_GET_PRECOPY_INFO)
		return 0;
	return file ? fake_kernel_ioctl(fk, file, request, arg) : -EBADF;
}

static ssize_t fake_pread(void *ctx, int fd, void *buffer, size_t count, uint64_t offset)
{
	struct fake_kernel *fk = ctx;
	struct fake_file *file = fake_kernel_file(fk, fd);
	const int rc = turn(fk, "pread");

	if (rc)
		return rc;
	if (!file)
		return -EBADF;
	memset(buffer, 0x86, count);
	/* At the end of the extended capabilities, behind one of another kind. */
	if (file->device && file->device->config_pasid_bits) {
		const uint32_t first = 0x000b | 1 << 16 | 0x140 << 20, second = 0x001b | 1 << 16,
			       bits = file->device->config_pasid_bits << 8 | 6;

		if ((offset & 0xffff) == 0x100)
			memcpy(buffer, &first, count);
		else if ((offset & 0xffff) == 0x140)
			memcpy(buffer, &second, count);
		else if ((offset & 0xffff) == 0x144)
			memcpy(buffer, &bits, count);
	}
	return (ssize_t)count;
}

static ssize_t fake_pwrite(void *ctx, int fd, const void *buffer, size_t count, uint64_t offset)
{
	struct fake_kernel *fk = ctx;
	const int rc = turn(fk, "pwrite");

	(void)offset, (void)buffer;
	if (rc)
		return rc;
	return fake_kernel_file(fk, fd) ? (ssize_t)count : -EBADF;
}

static int fake_mmap(void *ctx, void *where, size_t length, int prot, int fd, uint64_t offset)
{
	struct fake_kernel *fk = ctx;
	const int rc = turn(fk, "mmap");

	(void)where, (void)length, (void)prot, (void)offset;
	if (rc)
		return rc;
	return fake_kernel_file(fk, fd) ? 0 : -EBADF;
}

static int fake_kvm_add(void *ctx, struct kvm *kvm, int fd)
{
	struct fake_kernel *fk = ctx;
	struct fake_file *file = fake_kernel_file(fk, fd);
	const int rc = turn(fk, "kvm_add");

	if (rc)
		return rc;
	if (!file || file->kind != FAKE_NODE)
		return -EBADF;
	if (file->kvm)
		return -EEXIST;
	file->kvm = kvm;
	return 0;
}

static int fake_kvm_del(void *ctx, struct kvm *kvm, int fd)
{
	struct fake_kernel *fk = ctx;
	struct fake_file *file = fake_kernel_file(fk, fd);
	const int rc = turn(fk, "kvm_del");

	if (rc)
		return rc;
	if (!file)
		return -EBADF;
	if (file->kvm != kvm)
		return -ENOENT;
	file->kvm = NULL;
	return 0;
}

/* ---- sysfs and procfs ---- */

void fake_kernel_path(struct fake_kernel *fk, const char *path, const char *value)
{
	struct fake_path *entry = NULL;

	for (unsigned i = 0; i < fk->path_count && !entry; i++) {
		if (!strcmp(fk->paths[i].path, path))
			entry = &fk->paths[i];
	}
	if (!entry) {
		if (fk->path_count == FAKE_PATHS)
			abort();
		entry = &fk->paths[fk->path_count++];
	}
	snprintf(entry->path, sizeof(entry->path), "%s", path);
	snprintf(entry->value, sizeof(entry->value), "%s", value);
}

void fake_kernel_no_path(struct fake_kernel *fk, const char *path)
{
	for (unsigned i = 0; i < fk->path_count; i++) {
		if (!strncmp(fk->paths[i].path, path, strlen(path)))
			fk->paths[i].path[0] = '\0';
	}
}

static const char *look(struct fake_kernel *fk, const char *path)
{
	for (unsigned i = 0; i < fk->path_count; i++) {
		if (!strcmp(fk->paths[i].path, path))
			return fk->paths[i].value;
	}
	return NULL;
}

static ssize_t text(struct fake_kernel *fk, const char *what, const char *path, char *buffer,
		    size_t size)
{
	const char *value = look(fk, path);
	const int rc = turn(fk, "%s", what);

	if (rc)
		return rc;
	if (!value)
		return -ENOENT;
	return snprintf(buffer, size, "%s", value);
}

static ssize_t fake_read_text(void *ctx, const char *path, char *buffer, size_t size)
{
	return text(ctx, "read_text", path, buffer, size);
}

static ssize_t fake_read_link(void *ctx, const char *path, char *buffer, size_t size)
{
	return text(ctx, "read_link", path, buffer, size);
}

static ssize_t fake_link_name(void *ctx, const char *path, char *buffer, size_t size)
{
	return text(ctx, "link_name", path, buffer, size);
}

static int fake_real_path(void *ctx, const char *path, char *buffer, size_t size)
{
	const ssize_t length = text(ctx, "real_path", path, buffer, size);

	return length < 0 ? (int)length : 0;
}

static int fake_device_sysfs(void *ctx, int fd, char *buffer, size_t size)
{
	struct fake_kernel *fk = ctx;
	struct fake_file *file = fake_kernel_file(fk, fd);
	const int rc = turn(fk, "device_sysfs");

	if (rc)
		return rc;
	if (!file)
		return -EBADF;
	if (file->kind == FAKE_NODE)
		snprintf(buffer, size, "%s/vfio-dev/vfio%u", file->device->real,
			 file->device->index);
	else
		snprintf(buffer, size, "/sys/devices/virtual/misc/iommu");
	return 0;
}

static int fake_list(void *ctx, const char *path, struct host_list *list)
{
	struct fake_kernel *fk = ctx;
	const size_t length = strlen(path);
	const int rc = turn(fk, "list");

	if (rc)
		return rc;
	*list = (struct host_list){.names = calloc(FAKE_PATHS, sizeof(char *))};
	for (unsigned i = 0; i < fk->path_count; i++) {
		const char *name = fk->paths[i].path + length + 1, *end;
		size_t n;

		if (strncmp(fk->paths[i].path, path, length) || fk->paths[i].path[length] != '/')
			continue;
		end = strchrnul(name, '/');
		for (n = 0; n < list->count; n++) {
			if (!strncmp(list->names[n], name, (size_t)(end - name)) &&
			    !list->names[n][end - name])
				break;
		}
		if (n == list->count)
			list->names[list->count++] = strndup(name, (size_t)(end - name));
	}
	if (list->count)
		return 0;
	host_list_free(list);
	return -ENOENT;
}

static uint64_t fake_memlock(void *ctx)
{
	return ((struct fake_kernel *)ctx)->memlock;
}

/* ---- the host ---- */

struct fake_kernel *fake_kernel_new(void)
{
	struct fake_kernel *fk = calloc(1, sizeof(*fk));

	if (!fk)
		abort();
	fk->memlock = UINT64_MAX;
	fk->allow_unsafe = true;
	fk->calls = (struct kernel_calls){
		.ctx = fk,
		.open_iommu = fake_open_iommu,
		.open_vfio = fake_open_vfio,
		.take_device = fake_take_device,
		.eventfd = fake_eventfd,
		.close = fake_close,
		.fstat = fake_fstat,
		.ioctl = fake_ioctl,
		.pread = fake_pread,
		.pwrite = fake_pwrite,
		.mmap = fake_mmap,
		.kvm_file_add = fake_kvm_add,
		.kvm_file_del = fake_kvm_del,
		.read_text = fake_read_text,
		.read_link = fake_read_link,
		.link_name = fake_link_name,
		.real_path = fake_real_path,
		.device_sysfs = fake_device_sysfs,
		.list = fake_list,
		.memlock_limit = fake_memlock,
	};
	return fk;
}

void fake_kernel_free(struct fake_kernel *fk)
{
	free(fk);
}

struct fake_kernel_device *fake_kernel_add(struct fake_kernel *fk, const char *bdf, unsigned index)
{
	struct fake_kernel_device *device = &fk->devices[fk->device_count++];
	char path[256], value[64];

	*device = (struct fake_kernel_device){
		.index = index,
		.group = 20 + index,
		.owner = -1,
		.reserved = {0xfee00000, 0xfeefffff},
		.has_err = true,
		.has_req = true,
	};
	for (unsigned i = 0; i < 5; i++)
		device->triggers[i] = -1;
	snprintf(device->bdf, sizeof(device->bdf), "%s", bdf);
	snprintf(device->real, sizeof(device->real), "/sys/devices/pci0000:00/0000:00:%02x.0/%s",
		 index + 1, bdf);
	snprintf(device->node, sizeof(device->node), "/dev/vfio/devices/vfio%u", index);

	fake_kernel_path(fk, device->real, device->real);
	snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s", bdf);
	fake_kernel_path(fk, path, device->real);
	snprintf(path, sizeof(path), "/sys/class/vfio-dev/vfio%u/device", index);
	fake_kernel_path(fk, path, device->real);
	snprintf(path, sizeof(path), "%s/vfio-dev/vfio%u/dev", device->real, index);
	snprintf(value, sizeof(value), "%u:%u", NODE_MAJOR, index);
	fake_kernel_path(fk, path, value);
	snprintf(path, sizeof(path), "%s/driver", device->real);
	fake_kernel_path(fk, path, "vfio-pci");
	snprintf(path, sizeof(path), "%s/iommu_group", device->real);
	snprintf(value, sizeof(value), "%u", device->group);
	fake_kernel_path(fk, path, value);
	snprintf(path, sizeof(path), "%s/iommu_group/devices/%s/driver", device->real, bdf);
	fake_kernel_path(fk, path, "vfio-pci");
	return device;
}

unsigned fake_kernel_held(const struct fake_kernel *fk)
{
	unsigned held = 0;

	for (int i = 0; i < FAKE_FILES; i++)
		held += fk->files[i].kind != FAKE_FREE;
	for (int i = 0; i < FAKE_OBJECTS; i++)
		held += fk->objects[i].kind != FAKE_NONE;
	for (int i = 0; i < FAKE_MAPS; i++)
		held += fk->maps[i].used;
	for (unsigned i = 0; i < fk->device_count; i++)
		held += fk->devices[i].owner >= 0;
	return held;
}

const char *fake_kernel_leaks(const struct fake_kernel *fk)
{
	static char what[512];
	size_t used = 0;

	what[0] = '\0';
	for (int i = 0; i < FAKE_FILES; i++) {
		const struct fake_file *file = &fk->files[i];

		if (file->kind != FAKE_FREE)
			used += (size_t)snprintf(what + used, sizeof(what) - used,
						 "file kind %d fd %d%s%s; ", file->kind, file->fd,
						 file->open ? " open" : "",
						 file->kvm ? " kvm" : "");
	}
	for (int i = 0; i < FAKE_OBJECTS; i++) {
		if (fk->objects[i].kind != FAKE_NONE)
			used += (size_t)snprintf(what + used, sizeof(what) - used,
						 "object %d kind %d; ", i + 1, fk->objects[i].kind);
	}
	for (int i = 0; i < FAKE_MAPS; i++) {
		if (fk->maps[i].used)
			used += (size_t)snprintf(what + used, sizeof(what) - used, "map %llx; ",
						 (unsigned long long)fk->maps[i].iova);
	}
	for (unsigned i = 0; i < fk->device_count; i++) {
		if (fk->devices[i].owner >= 0)
			used += (size_t)snprintf(what + used, sizeof(what) - used, "%s bound; ",
						 fk->devices[i].bdf);
	}
	return what;
}
