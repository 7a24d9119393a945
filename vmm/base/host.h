/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The host: every path and every descriptor that sluice takes from it is opened here, and nowhere
 * else. This is the line along which a broker or a seccomp filter can be drawn later.
 *
 * Nothing here prints: the caller knows which option or device the path came from. All functions
 * return -errno on failure. Descriptors are close-on-exec and belong to the caller.
 */
#ifndef SLUICE_BASE_HOST_H
#define SLUICE_BASE_HOST_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

/* ---- what system calls answer ---------------------------------------------------------------- */

/* What one returned, or -errno when that is negative. */
int host_result(int returned);
/* ioctl(2), again when a signal came between. What it returned, or -errno. */
int host_ioctl(int fd, unsigned long request, void *argument);
/* Another descriptor for what is behind @fd. */
int host_dup(int fd);

/* ---- kernel interfaces ----------------------------------------------------------------------- */

/* /dev/kvm, /dev/iommu. -ENOENT: the kernel lacks it; -EACCES: no permission; -ENODEV: no driver. */
int host_open_kvm(void);
int host_open_iommu(void);

/* A VFIO device node (/dev/vfio/devices/vfioN). -ENOTTY when @path is no character device. */
int host_open_vfio(const char *path);

/* ---- descriptors handed in by the parent process --------------------------------------------- */

/*
 * Put /dev/null in the place of each standard descriptor that is closed: the next file opened would
 * become it, and messages or a guest's console would be written into a disk. Once, before the first.
 */
void host_fill_standard(void);

/*
 * Take over descriptor @fd of a number that the user typed: it must be open for reading and writing,
 * be a character device and not one of 0..2; it becomes close-on-exec. -EBADF, -EACCES (not open
 * for both), -ENOTTY (another kind of file), -EINVAL (a standard descriptor).
 */
int host_take_device(int fd);

/*
 * The resolved sysfs directory of the character device behind @fd, for example
 * "/sys/devices/pci0000:00/0000:00:02.0/0000:01:00.0/vfio-dev/vfio0". -ENOTTY, -ENAMETOOLONG.
 */
int host_device_sysfs(int fd, char *buffer, size_t size);

/* ---- sysfs and procfs ------------------------------------------------------------------------ */

/*
 * The text of a small file with the white space at its end cut off, and a terminator. Returns the
 * length. -EFBIG when it does not fit; bytes that are no text (NUL) end it.
 */
ssize_t host_read_text(const char *path, char *buffer, size_t size);
/* Up to @size raw bytes from the start (a config space). Returns how many there were. */
ssize_t host_read_bytes(const char *path, void *buffer, size_t size);
/* An unsigned number in text, decimal or 0x-hexadecimal. -EINVAL when it is something else. */
int host_read_u64(const char *path, uint64_t *value);
/* Write @text by one write(2), as sysfs attributes need it. The errno is the attribute's answer. */
int host_write_text(const char *path, const char *text);

/* The target of a symbolic link, and only the last component of it ("vfio-pci" of `driver`). */
ssize_t host_read_link(const char *path, char *buffer, size_t size);
ssize_t host_link_name(const char *path, char *buffer, size_t size);
/* The absolute path without links and dots. -ENAMETOOLONG, or what a component says. */
int host_real_path(const char *path, char *buffer, size_t size);

int host_stat(const char *path, struct stat *st);
/* access(2) for the effective user; @mode of R_OK, W_OK, F_OK. 0 or -errno. */
int host_access(const char *path, int mode);

/*
 * The names in a directory, sorted, without those that begin with a dot. -EFBIG above 65536.
 * On success free them by host_list_free(). An empty directory gives a list of none.
 */
struct host_list {
	char **names;
	size_t count;
};
int host_list(const char *path, struct host_list *list);
void host_list_free(struct host_list *list);

/* ---- files ----------------------------------------------------------------------------------- */

/* A regular file for reading (kernel, initrd, ROM). -EISDIR, or -EINVAL for other kinds. */
int host_open_file(const char *path, uint64_t *size);
/* A file to write text into: made when absent, emptied unless @append. -ENXIO: a FIFO without a reader, not waited for. */
int host_open_output(const char *path, bool append);
/* The words for an error of it. */
const char *host_output_strerror(int error);

/* Does somebody have the block device at @path to himself, as every mount and volume does? False also where that is not seen. */
bool host_is_held(const char *path);

/* A directory with its parents, 0755; 0 when it is there already. */
int host_make_directory(const char *path);
/* Remove a file; 0 when there is none. */
int host_remove(const char *path);

/*
 * A description of our own, write-only and non-blocking, of the terminal or pipe behind @fd: flags
 * set on @fd itself would reach every process it is shared with. -errno of opening it once more.
 */
int host_reopen_output(int fd);

#define HOST_DISK_READONLY (1u << 0)
#define HOST_DISK_DIRECT   (1u << 1) /* past the page cache, where the file system can */

struct host_disk {
	int fd;
	uint64_t size;       /* bytes */
	uint32_t block_size; /* what offsets, lengths and buffers must be aligned to for @direct */
	bool block_device;
	bool direct;
};

/*
 * A disk image or block device. It is locked against a second writer for as long as the descriptor
 * lives (an open file description lock, where the file system has them): -EBUSY when somebody
 * writes it, or reads it and we want to write. -EISDIR, or -EINVAL for other kinds.
 */
int host_open_disk(const char *path, unsigned flags, struct host_disk *disk);

/* ---- terminals and networks ------------------------------------------------------------------ */

/*
 * The master of a new pseudo terminal in raw mode, non-blocking; @name receives the path of its other
 * end. It reports a hang-up until somebody opens that, and again after the last close.
 */
int host_open_pty(char *name, size_t size);

/*
 * Attach to the existing tap interface @name, non-blocking, frames preceded by a virtio net header
 * of @header_size bytes. -ENODEV: no such interface (a typo must not make a new one), -EBUSY:
 * in use, -EPERM: not ours, -EINVAL: no tap or bad name, -ENOENT: no /dev/net/tun.
 */
int host_open_tap(const char *name, unsigned header_size);
/* What frames from the tap may leave undone: TUN_F_* of linux/if_tun.h. -EINVAL: not all of it. */
int host_tap_offload(int fd, unsigned flags);

/* ---- sockets, and what comes over them -------------------------------------------------------- */

struct host_listener {
	int fd; /* non-blocking */
	dev_t device;
	ino_t inode; /* of the socket file */
	char path[108];
};

/*
 * Listen on a new UNIX stream socket at @path, for its owner alone (0600). One that nobody listens on
 * any more is replaced. -EADDRINUSE somebody listens, -EEXIST there is a file of another kind,
 * -ENAMETOOLONG above 107 bytes, -ENOENT, -EACCES.
 */
int host_listen_unix(const char *path, struct host_listener *listener);
/* Removes the socket file, if it is still this one. */
void host_listener_close(struct host_listener *listener);

/* Is @fd, which another process sent, an eventfd? -EINVAL it is something else. See eventfd.h. */
int host_check_eventfd(int fd);
/* Add one to an eventfd of our own, as its flags say. False, with errno: not added. */
bool host_eventfd_add(int fd);
/* Can nobody cut the file behind @fd any more? Sealed so, if it was not and may be. */
bool host_size_is_sealed(int fd);
/*
 * The length of the regular file behind @fd. -EINVAL it is no such file, and has none. Never waits for who
 * serves the file (FUSE, NFS): that is the length as known here.
 */
int64_t host_file_size(int fd);
/* Is the file behind @fd memory (memfd, tmpfs, hugetlbfs), whose reads and faults wait for nobody? */
bool host_is_memory(int fd);
/* Bytes of the huge pages that memory is made of (hugetlbfs), which write(2) cannot write; 0: of none. */
uint64_t host_huge_page(int fd);

/*
 * Connect to the UNIX stream socket at @path; the descriptor blocks. Never waits: -EAGAIN when nobody
 * takes the connections that are there already. -ENAMETOOLONG above 107 bytes, -ENOENT, -EACCES,
 * -ECONNREFUSED nobody listens, -EPROTOTYPE another type of socket.
 */
int host_connect_unix(const char *path);

/* ---- memory and limits ----------------------------------------------------------------------- */

enum host_page_kind {
	HOST_PAGES_NORMAL,
	HOST_PAGES_2M,
	HOST_PAGES_1G,
};

/* Bytes of one page of the kind. */
uint64_t host_page_bytes(enum host_page_kind kind);
/* Huge pages of the kind that are free or may be made on demand; 0 also when there are none. */
uint64_t host_huge_pages_free(enum host_page_kind kind);

/*
 * Anonymous shared memory of @size bytes. Its size is sealed, so that no process it is given to can
 * cut it under us. -EINVAL @size no multiple of the page size; -ENODEV no such huge pages here.
 */
int host_memfd(const char *name, uint64_t size, enum host_page_kind kind);

/* Let this process open as many descriptors as its hard limit allows. */
int host_raise_nofile(void);
/* How many it may have open now; 0: not to be found out. */
uint64_t host_nofile(void);

/* strerror(@error), a positive errno, with what to do about one by which a limit on open files is said. */
const char *host_strerror(int error);

/* Bytes that this process may pin: UINT64_MAX without a limit (RLIMIT_MEMLOCK, CAP_IPC_LOCK). */
uint64_t host_memlock_limit(void);

/* ---- threads and time ------------------------------------------------------------------------ */

/*
 * As pthread_create() does, with @stack bytes for the stack, 0: as many as is usual, and all signals
 * blocked: those are the caller's. 0 or -errno.
 */
int host_thread_start(pthread_t *thread, size_t stack, void *(*run)(void *ctx), void *ctx);

/* The time in nanoseconds on a clock that only goes forward (CLOCK_MONOTONIC). */
uint64_t host_now_ns(void);
#define HOST_FOREVER UINT64_MAX
/* As pthread_cond_wait() does, until @deadline of host_now_ns(). 0 or -ETIMEDOUT. */
int host_cond_wait(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t deadline);

#endif
