/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/host.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>
#include <linux/capability.h>
#include <linux/fs.h>
#include <linux/if_tun.h>
#include <linux/memfd.h>

#include "vmm/base/text.h"

#define LIST_LIMIT 65536

/* ---- opening --------------------------------------------------------------------------------- */

/* Undo a descriptor on the way out with @error. */
static int close_with(int fd, int error)
{
	close(fd);
	return error;
}

/* The same with the error of the call that failed just now. */
static int close_failed(int fd)
{
	return close_with(fd, -errno);
}

static int open_path(const char *path, int flags, mode_t mode)
{
	int fd;

	do
		fd = open(path, flags | O_CLOEXEC | O_NOCTTY, mode);
	while (fd < 0 && errno == EINTR);
	return host_result(fd);
}

int host_open_kvm(void)
{
	return open_path("/dev/kvm", O_RDWR, 0);
}

int host_open_iommu(void)
{
	return open_path("/dev/iommu", O_RDWR, 0);
}

int host_open_vfio(const char *path)
{
	/* O_NONBLOCK: a FIFO in the place of the node does not stop us. VFIO has no use for it. */
	int fd = open_path(path, O_RDWR | O_NONBLOCK, 0);
	struct stat st;

	if (fd < 0)
		return fd;
	if (fstat(fd, &st) < 0)
		return close_failed(fd);
	if (!S_ISCHR(st.st_mode))
		return close_with(fd, -ENOTTY);
	return fd;
}

/* ---- descriptors handed in ------------------------------------------------------------------- */

void host_fill_standard(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int host_take_device(int fd)
{
	struct stat st;
	int flags;

	if (fd >= 0 && fd <= STDERR_FILENO)
		return -EINVAL;
	flags = fcntl(fd, F_GETFL);
	if (flags < 0)
		return -errno;
	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENOTTY;
	if ((flags & O_ACCMODE) != O_RDWR || (flags & O_PATH))
		return -EACCES;
	return host_result(fcntl(fd, F_SETFD, FD_CLOEXEC));
}

int host_device_sysfs(int fd, char *buffer, size_t size)
{
	char path[64];
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISCHR(st.st_mode))
		return -ENOTTY;
	snprintf(path, sizeof(path), "/sys/dev/char/%u:%u", major(st.st_rdev), minor(st.st_rdev));
	return host_real_path(path, buffer, size);
}

/* ---- sysfs and procfs ------------------------------------------------------------------------ */

ssize_t host_read_bytes(const char *path, void *buffer, size_t size)
{
	int fd = open_path(path, O_RDONLY | O_NONBLOCK, 0);
	size_t done = 0;

	if (fd < 0)
		return fd;
	while (done < size) {
		ssize_t n = read(fd, (char *)buffer + done, size - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return close_failed(fd);
		if (n == 0)
			break;
		done += (size_t)n;
	}
	close(fd);
	return (ssize_t)done;
}

ssize_t host_read_text(const char *path, char *buffer, size_t size)
{
	ssize_t n;
	size_t length;

	if (size == 0)
		return -EFBIG;
	n = host_read_bytes(path, buffer, size);
	if (n < 0) {
		buffer[0] = '\0';
		return n;
	}
	if ((size_t)n == size) {
		buffer[0] = '\0';
		return -EFBIG;
	}
	buffer[n] = '\0';
	length = strlen(buffer);
	while (length && strchr(" \t\n\v\f\r", buffer[length - 1]))
		buffer[--length] = '\0';
	return (ssize_t)length;
}

int host_read_u64(const char *path, uint64_t *value)
{
	char text[64];
	ssize_t n = host_read_text(path, text, sizeof(text));

	if (n < 0)
		return (int)n;
	/* Not base 0, which takes a leading 0 for octal. */
	return text_number(text, strncmp(text, "0x", 2) ? 10 : 16, UINT64_MAX, value) ? 0 : -EINVAL;
}

int host_write_text(const char *path, const char *text)
{
	size_t length = strlen(text);
	int fd = open_path(path, O_WRONLY | O_NONBLOCK, 0);
	ssize_t n;

	if (fd < 0)
		return fd;
	do
		n = write(fd, text, length);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return close_failed(fd);
	return close_with(fd, (size_t)n == length ? 0 : -EIO);
}

ssize_t host_read_link(const char *path, char *buffer, size_t size)
{
	ssize_t n;

	if (size == 0)
		return -ENAMETOOLONG;
	n = readlink(path, buffer, size);
	if (n < 0)
		return -errno;
	if ((size_t)n == size)
		return -ENAMETOOLONG;
	buffer[n] = '\0';
	return n;
}

ssize_t host_link_name(const char *path, char *buffer, size_t size)
{
	char target[PATH_MAX];
	ssize_t n = host_read_link(path, target, sizeof(target));
	const char *name;
	size_t length;

	if (n < 0)
		return n;
	name = strrchr(target, '/');
	name = name ? name + 1 : target;
	length = strlen(name);
	if (length >= size)
		return -ENAMETOOLONG;
	memcpy(buffer, name, length + 1);
	return (ssize_t)length;
}

int host_real_path(const char *path, char *buffer, size_t size)
{
	char resolved[PATH_MAX];
	size_t length;

	if (!realpath(path, resolved))
		return -errno;
	length = strlen(resolved);
	if (length >= size)
		return -ENAMETOOLONG;
	memcpy(buffer, resolved, length + 1);
	return 0;
}

int host_stat(const char *path, struct stat *st)
{
	return host_result(fstatat(AT_FDCWD, path, st, 0));
}

int host_access(const char *path, int mode)
{
	return host_result(faccessat(AT_FDCWD, path, mode, AT_EACCESS));
}

static int is_named(const struct dirent *entry)
{
	return entry->d_name[0] != '.';
}

static int compare_names(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

void host_list_free(struct host_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->names[i]);
	free(list->names);
	*list = (struct host_list){0};
}

int host_list(const char *path, struct host_list *list)
{
	struct dirent **entries;
	const int count = scandir(path, &entries, is_named, compare_names);

	*list = (struct host_list){0};
	if (count < 0)
		return -errno;
	/* Each name moves to where its entry began: it is what is freed. */
	for (int i = 0; i < count; i++)
		memmove(entries[i], entries[i]->d_name, strlen(entries[i]->d_name) + 1);
	*list = (struct host_list){.names = (char **)entries, .count = (size_t)count};
	if (count <= LIST_LIMIT)
		return 0;
	host_list_free(list);
	return -EFBIG;
}

/* ---- files ----------------------------------------------------------------------------------- */

/*
 * Open a regular file, or with @block also a block device. O_NONBLOCK is only for the open itself:
 * a FIFO given by mistake is refused in place of waited for.
 */
static int open_storage(const char *path, int flags, bool block, struct stat *st)
{
	int fd = open_path(path, flags | O_NONBLOCK, 0);

	if (fd < 0)
		return fd;
	if (fstat(fd, st) < 0)
		return close_failed(fd);
	if (S_ISDIR(st->st_mode))
		return close_with(fd, -EISDIR);
	if (!S_ISREG(st->st_mode) && !(block && S_ISBLK(st->st_mode)))
		return close_with(fd, -EINVAL);
	if (fcntl(fd, F_SETFL, flags) < 0)
		return close_failed(fd);
	return fd;
}

int host_open_file(const char *path, uint64_t *size)
{
	struct stat st;
	int fd = open_storage(path, O_RDONLY, false, &st);

	if (fd >= 0)
		*size = (uint64_t)st.st_size;
	return fd;
}

int host_open_output(const char *path, bool append)
{
	int flags = O_WRONLY | O_CREAT | (append ? O_APPEND : O_TRUNC);
	/* O_NONBLOCK for the open itself: nobody may ever come to read from a FIFO. */
	int fd = open_path(path, flags | O_NONBLOCK, 0644);

	if (fd >= 0 && fcntl(fd, F_SETFL, flags) < 0)
		return close_failed(fd);
	return fd;
}

int host_make_directory(const char *path)
{
	char part[PATH_MAX];
	size_t length = strlen(path);

	if (length >= sizeof(part))
		return -ENAMETOOLONG;
	for (size_t i = 1; i <= length; i++) {
		if (path[i] != '/' && path[i] != '\0')
			continue;
		memcpy(part, path, i);
		part[i] = '\0';
		if (mkdir(part, 0755) < 0 && errno != EEXIST)
			return -errno;
	}
	return 0;
}

bool host_is_held(const char *path)
{
	const int fd = open_path(path, O_RDONLY | O_EXCL | O_NONBLOCK, 0);

	if (fd >= 0)
		close(fd);
	return fd == -EBUSY;
}

int host_remove(const char *path)
{
	return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}

int host_reopen_output(int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return open_path(path, O_WRONLY | O_NONBLOCK, 0);
}

/* What direct I/O must be aligned to: the kernel says so since 6.1, else the common upper bound. */
static uint32_t direct_alignment(int fd, const struct stat *st)
{
	uint32_t align = 4096;
	struct statx stx;
	int sector;

	if (S_ISBLK(st->st_mode))
		return ioctl(fd, BLKSSZGET, &sector) == 0 && sector > 0 ? (uint32_t)sector : align;
	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
	    (stx.stx_mask & STATX_DIOALIGN) && stx.stx_dio_offset_align) {
		align = stx.stx_dio_offset_align;
		if (stx.stx_dio_mem_align > align)
			align = stx.stx_dio_mem_align;
	}
	return align;
}

int host_open_disk(const char *path, unsigned flags, struct host_disk *disk)
{
	bool readonly = flags & HOST_DISK_READONLY;
	int mode = readonly ? O_RDONLY : O_RDWR;
	struct flock lock = {
		.l_type = readonly ? F_RDLCK : F_WRLCK,
		.l_whence = SEEK_SET, /* and length 0: the whole file */
	};
	bool direct = flags & HOST_DISK_DIRECT;
	uint64_t size;
	struct stat st;
	int fd;

	fd = open_storage(path, mode | (direct ? O_DIRECT : 0), true, &st);
	if (fd == -EINVAL && direct) {
		/* A file system without direct I/O, or no storage at all: the second try tells. */
		direct = false;
		fd = open_storage(path, mode, true, &st);
	}
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_OFD_SETLK, &lock) < 0 && (errno == EAGAIN || errno == EACCES))
		return close_with(fd, -EBUSY);
	size = (uint64_t)st.st_size;
	if (S_ISBLK(st.st_mode) && ioctl(fd, BLKGETSIZE64, &size) < 0)
		return close_failed(fd);
	*disk = (struct host_disk){
		.fd = fd,
		.size = size,
		.block_size = direct ? direct_alignment(fd, &st) : 1,
		.block_device = S_ISBLK(st.st_mode),
		.direct = direct,
	};
	return 0;
}

/* ---- terminals and networks ------------------------------------------------------------------ */

int host_open_pty(char *name, size_t size)
{
	int fd = open_path("/dev/ptmx", O_RDWR | O_NONBLOCK, 0);
	struct termios mode;
	int unlocked = 0, peer;
	unsigned number;

	if (fd < 0)
		return fd;
	if (ioctl(fd, TIOCSPTLCK, &unlocked) < 0 || ioctl(fd, TIOCGPTN, &number) < 0 ||
	    tcgetattr(fd, &mode) < 0)
		return close_failed(fd);
	if ((size_t)snprintf(name, size, "/dev/pts/%u", number) >= size)
		return close_with(fd, -ERANGE);
	cfmakeraw(&mode);
	if (tcsetattr(fd, TCSANOW, &mode) < 0)
		return close_failed(fd);
	/* The master tells a hang-up only after a first close of the other end. */
	peer = ioctl(fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (peer < 0)
		return close_failed(fd);
	close(peer);
	return fd;
}

int host_open_tap(const char *name, unsigned header_size)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int header = (int)header_size;
	size_t length = strlen(name);
	int fd;

	if (length == 0 || length >= sizeof(request.ifr_name))
		return -EINVAL;
	if (if_nametoindex(name) == 0)
		return -ENODEV;
	memcpy(request.ifr_name, name, length + 1);

	fd = open_path("/dev/net/tun", O_RDWR | O_NONBLOCK, 0);
	if (fd < 0)
		return fd;
	if (ioctl(fd, TUNSETIFF, &request) < 0 || ioctl(fd, TUNSETVNETHDRSZ, &header) < 0)
		return close_failed(fd);
	return fd;
}

int host_tap_offload(int fd, unsigned flags)
{
	return host_ioctl(fd, TUNSETOFFLOAD, (void *)(uintptr_t)flags);
}

/* ---- memory and limits ----------------------------------------------------------------------- */

uint64_t host_page_bytes(enum host_page_kind kind)
{
	switch (kind) {
	case HOST_PAGES_2M:
		return 2ull << 20;
	case HOST_PAGES_1G:
		return 1ull << 30;
	case HOST_PAGES_NORMAL:
		break;
	}
	return (uint64_t)sysconf(_SC_PAGESIZE);
}

uint64_t host_huge_pages_free(enum host_page_kind kind)
{
	static const char *const names[] = {"free_hugepages", "resv_hugepages",
					    "nr_overcommit_hugepages", "surplus_hugepages"};
	uint64_t value[4] = {0};

	for (size_t i = 0; i < 4; i++) {
		char path[96];

		snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s",
			 host_page_bytes(kind) / 1024, names[i]);
		if (host_read_u64(path, &value[i]) < 0)
			return 0;
	}
	return (value[0] > value[1] ? value[0] - value[1] : 0) +
	       (value[2] > value[3] ? value[2] - value[3] : 0);
}

int host_memfd(const char *name, uint64_t size, enum host_page_kind kind)
{
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
	int fd;

	if (size == 0 || size % host_page_bytes(kind) || size > INT64_MAX)
		return -EINVAL;
	if (kind == HOST_PAGES_2M)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	else if (kind == HOST_PAGES_1G)
		flags |= MFD_HUGETLB | MFD_HUGE_1GB;

	/* Not executable where the kernel knows that (6.3), else it complains in its log. */
	fd = memfd_create(name, flags | MFD_NOEXEC_SEAL);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(name, flags);
	if (fd < 0)
		return -errno;
	if (ftruncate(fd, (off_t)size) < 0)
		return close_failed(fd);
	if (fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
		return close_failed(fd);
	return fd;
}

/* The kernel counts pinned pages of everyone but those with CAP_IPC_LOCK (iommufd/pages.c). */
static bool may_lock_all(void)
{
	struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {0};

	if (syscall(SYS_capget, &header, data) < 0)
		return false;
	return data[CAP_TO_INDEX(CAP_IPC_LOCK)].effective & CAP_TO_MASK(CAP_IPC_LOCK);
}

uint64_t host_memlock_limit(void)
{
	struct rlimit limit;

	if (may_lock_all() || prlimit(0, RLIMIT_MEMLOCK, NULL, &limit) < 0 ||
	    limit.rlim_cur == RLIM_INFINITY)
		return UINT64_MAX;
	return limit.rlim_cur;
}
