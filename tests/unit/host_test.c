/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "vmm/base/host.h"

#define LEN(a) (sizeof(a) / sizeof((a)[0]))

static char folder[64];

static void setup(void)
{
	strcpy(folder, "/tmp/sluice-host-XXXXXX");
	cr_assert_not_null(mkdtemp(folder));
}

static void teardown(void)
{
	char command[128];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	cr_assert_eq(system(command), 0);
}

TestSuite(host, .init = setup, .fini = teardown);

/* The path of @name in the test's folder; four at a time. */
static const char *in_folder(const char *name)
{
	static char paths[4][128];
	static unsigned next;
	char *path = paths[next++ % 4];

	snprintf(path, sizeof(paths[0]), "%s/%s", folder, name);
	return path;
}

static const char *make_file(const char *name, const void *bytes, size_t length)
{
	const char *path = in_folder(name);
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	cr_assert_geq(fd, 0);
	cr_assert_eq(write(fd, bytes, length), (ssize_t)length);
	close(fd);
	return path;
}

static void check_cloexec(int fd)
{
	cr_assert_geq(fd, 0, "%s", strerror(-fd));
	cr_assert_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	close(fd);
}

/* ---- text ------------------------------------------------------------------------------------ */

Test(host, reads_text_without_the_white_space_at_its_end)
{
	static const struct {
		const char *bytes;
		size_t length;
		const char *text;
	} cases[] = {
		{"0x8086\n", 7, "0x8086"},
		{"", 0, ""},
		{"\n", 1, ""},
		{" a b \t\n\n", 8, " a b"},
		{"ab\0cd\n", 6, "ab"},
		{"123456789012345", 15, "123456789012345"},
	};

	for (size_t i = 0; i < LEN(cases); i++) {
		const char *path = make_file("text", cases[i].bytes, cases[i].length);
		char text[16];

		cr_assert_eq(host_read_text(path, text, sizeof(text)),
			     (ssize_t)strlen(cases[i].text), "case %zu", i);
		cr_assert_str_eq(text, cases[i].text);
	}
}

Test(host, does_not_cut_text_that_is_too_long)
{
	const char *path = make_file("text", "1234567890123456", 16);
	char text[17] = "old";

	cr_assert_eq(host_read_text(path, text, 16), -EFBIG);
	cr_assert_str_eq(text, "");
	cr_assert_eq(host_read_text(path, text, 17), 16);
	cr_assert_eq(host_read_text(path, text, 0), -EFBIG);
	cr_assert_eq(host_read_text("/dev/zero", text, 17), -EFBIG, "endless");
	cr_assert_eq(host_read_text(in_folder("none"), text, 17), -ENOENT);
	cr_assert_eq(host_read_text(folder, text, 17), -EISDIR);
}

Test(host, reads_raw_bytes_up_to_the_room)
{
	const char *path = make_file("bytes", "a\0b\nc", 5);
	char bytes[8] = {0};

	cr_assert_eq(host_read_bytes(path, bytes, 8), 5);
	cr_assert_eq(memcmp(bytes, "a\0b\nc", 5), 0);
	cr_assert_eq(host_read_bytes(path, bytes, 3), 3);
	cr_assert_eq(host_read_bytes(path, bytes, 0), 0);
}

Test(host, reads_numbers_and_nothing_else)
{
	static const struct {
		const char *text;
		int result;
		uint64_t value;
	} cases[] = {
		{"0\n", 0, 0},
		{"42\n", 0, 42},
		{"0x0c0330\n", 0, 0x0c0330},
		{"010\n", 0, 10}, /* sysfs has no octal numbers */
		{"18446744073709551615", 0, UINT64_MAX},
		{"18446744073709551616", -EINVAL, 0},
		{"-1\n", -EINVAL, 0},
		{"+1\n", -EINVAL, 0},
		{" 1\n", -EINVAL, 0},
		{"1 2\n", -EINVAL, 0},
		{"0x\n", -EINVAL, 0},
		{"0xg\n", -EINVAL, 0},
		{"12k\n", -EINVAL, 0},
		{"\n", -EINVAL, 0},
	};

	for (size_t i = 0; i < LEN(cases); i++) {
		const char *path = make_file("number", cases[i].text, strlen(cases[i].text));
		uint64_t value = 99;

		cr_assert_eq(host_read_u64(path, &value), cases[i].result, "case %zu", i);
		cr_assert_eq(value, cases[i].result ? 99 : cases[i].value, "case %zu", i);
	}
}

Test(host, writes_an_attribute)
{
	const char *path = make_file("attribute", "", 0);
	char text[16];

	cr_assert_eq(host_write_text(path, "vfio-pci\n"), 0);
	cr_assert_eq(host_read_text(path, text, sizeof(text)), 8);
	cr_assert_str_eq(text, "vfio-pci");
	cr_assert_eq(host_write_text("/dev/full", "x"), -ENOSPC);
	cr_assert_eq(host_write_text(in_folder("none"), "x"), -ENOENT, "it makes no file");
}

/* ---- links and folders ----------------------------------------------------------------------- */

Test(host, reads_links_and_their_last_name)
{
	const char *path = in_folder("driver");
	char text[64];

	cr_assert_eq(symlink("../../bus/pci/drivers/vfio-pci", path), 0);
	cr_assert_eq(host_read_link(path, text, sizeof(text)), 30);
	cr_assert_str_eq(text, "../../bus/pci/drivers/vfio-pci");
	cr_assert_eq(host_link_name(path, text, sizeof(text)), 8);
	cr_assert_str_eq(text, "vfio-pci");
	cr_assert_eq(host_read_link(path, text, 30), -ENAMETOOLONG);
	cr_assert_eq(host_read_link(path, text, 31), 30);
	cr_assert_eq(host_link_name(path, text, 8), -ENAMETOOLONG);
	cr_assert_eq(host_link_name(path, text, 9), 8);
	cr_assert_eq(host_read_link(path, text, 0), -ENAMETOOLONG);
	cr_assert_eq(host_read_link(folder, text, sizeof(text)), -EINVAL);
	cr_assert_eq(host_read_link(in_folder("none"), text, sizeof(text)), -ENOENT);
	cr_assert_eq(unlink(path), 0);
	cr_assert_eq(symlink("plain", path), 0);
	cr_assert_eq(host_link_name(path, text, sizeof(text)), 5);
}

Test(host, resolves_paths)
{
	char text[128], want[128];

	make_file("file", "", 0);
	cr_assert_eq(symlink("file", in_folder("link")), 0);
	cr_assert_eq(host_real_path(in_folder("link"), text, sizeof(text)), 0);
	snprintf(want, sizeof(want), "%s/file", folder);
	cr_assert_str_eq(text, want);
	cr_assert_eq(host_real_path(in_folder("link"), text, strlen(want)), -ENAMETOOLONG);
	cr_assert_eq(host_real_path(in_folder("none"), text, sizeof(text)), -ENOENT);
}

Test(host, lists_a_folder_in_order_without_dot_names)
{
	static const char *const names[] = {"0000:02:00.0", ".hidden", "0000:01:00.1",
					    "0000:01:00.0"};
	struct host_list list;

	for (size_t i = 0; i < LEN(names); i++)
		make_file(names[i], "", 0);
	cr_assert_eq(host_list(folder, &list), 0);
	cr_assert_eq(list.count, 3);
	cr_assert_str_eq(list.names[0], "0000:01:00.0");
	cr_assert_str_eq(list.names[1], "0000:01:00.1");
	cr_assert_str_eq(list.names[2], "0000:02:00.0");
	host_list_free(&list);
	cr_assert_eq(list.count, 0);
	cr_assert_eq(host_list(in_folder("none"), &list), -ENOENT);
	cr_assert_eq(list.count, 0);
	cr_assert_eq(host_list(in_folder("0000:01:00.0"), &list), -ENOTDIR);
}

Test(host, lists_empty_and_large_folders)
{
	struct host_list list;
	char name[32];

	cr_assert_eq(host_list(folder, &list), 0);
	cr_assert_eq(list.count, 0);
	host_list_free(&list);
	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%03d", 99 - i);
		make_file(name, "", 0);
	}
	cr_assert_eq(host_list(folder, &list), 0);
	cr_assert_eq(list.count, 100);
	for (int i = 0; i < 100; i++)
		cr_assert_eq(atoi(list.names[i]), i);
	host_list_free(&list);
}

/* ---- descriptors handed in ------------------------------------------------------------------- */

Test(host, takes_only_devices_that_are_open_for_reading_and_writing)
{
	int device = open("/dev/null", O_RDWR), reader = open("/dev/null", O_RDONLY);
	int path = open("/dev/null", O_PATH), event = eventfd(0, 0);
	char text[128];

	cr_assert_eq(fcntl(device, F_GETFD), 0);
	cr_assert_eq(host_take_device(device), 0);
	cr_assert_eq(fcntl(device, F_GETFD), FD_CLOEXEC);
	cr_assert_eq(host_take_device(reader), -EACCES);
	cr_assert_eq(host_take_device(path), -EACCES);
	cr_assert_eq(host_take_device(event), -ENOTTY);
	for (int fd = 0; fd <= 2; fd++)
		cr_assert_eq(host_take_device(fd), -EINVAL);
	cr_assert_eq(host_take_device(-1), -EBADF);
	cr_assert_eq(host_take_device(9999), -EBADF);
	cr_assert_eq(fcntl(reader, F_GETFD), 0, "a refused descriptor stays as it is");

	cr_assert_eq(host_device_sysfs(device, text, sizeof(text)), 0);
	cr_assert_str_eq(text, "/sys/devices/virtual/mem/null");
	cr_assert_eq(host_device_sysfs(device, text, 8), -ENAMETOOLONG);
	cr_assert_eq(host_device_sysfs(event, text, sizeof(text)), -ENOTTY);
	cr_assert_eq(host_device_sysfs(-1, text, sizeof(text)), -EBADF);
}

Test(host, a_vfio_node_is_a_character_device)
{
	make_file("file", "", 0);
	cr_assert_eq(mkfifo(in_folder("fifo"), 0600), 0);
	cr_assert_eq(host_open_vfio(in_folder("file")), -ENOTTY);
	cr_assert_eq(host_open_vfio(in_folder("fifo")), -ENOTTY);
	cr_assert_eq(host_open_vfio(in_folder("none")), -ENOENT);
	cr_assert_eq(host_open_vfio(folder), -EISDIR);
	check_cloexec(host_open_vfio("/dev/null"));
}

/* ---- files and disks ------------------------------------------------------------------------- */

Test(host, a_file_to_read_is_a_regular_file, .timeout = 10)
{
	uint64_t size = 0;
	int fd;

	make_file("kernel", "12345", 5);
	fd = host_open_file(in_folder("kernel"), &size);
	cr_assert_eq(size, 5);
	cr_assert_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	check_cloexec(fd);
	cr_assert_eq(mkfifo(in_folder("fifo"), 0600), 0);
	cr_assert_eq(host_open_file(in_folder("fifo"), &size), -EINVAL);
	cr_assert_eq(host_open_file(folder, &size), -EISDIR);
	cr_assert_eq(host_open_file("/dev/null", &size), -EINVAL);
	cr_assert_eq(host_open_file(in_folder("none"), &size), -ENOENT);
}

Test(host, output_is_appended_or_begun_anew)
{
	const char *path = in_folder("output");
	char text[16];
	int fd;

	for (int i = 0; i < 2; i++) {
		fd = host_open_output(path, true);
		cr_assert_eq(write(fd, "ab", 2), 2);
		check_cloexec(fd);
	}
	cr_assert_eq(host_read_text(path, text, sizeof(text)), 4);
	check_cloexec(host_open_output(path, false));
	cr_assert_eq(host_read_text(path, text, sizeof(text)), 0);
	cr_assert_eq(host_open_output(folder, true), -EISDIR);
}

Test(host, an_output_does_not_wait_for_the_reader_of_a_fifo, .timeout = 60)
{
	const char *path = in_folder("output-fifo");
	int reader, fd;

	cr_assert_eq(mkfifo(path, 0600), 0);
	cr_assert_eq(host_open_output(path, true), -ENXIO);
	cr_assert_not_null(strstr(host_output_strerror(ENXIO), "start its reader first"));
	reader = open(path, O_RDONLY | O_NONBLOCK);
	fd = host_open_output(path, false);
	/* Whoever writes may wait: that was for the open alone. */
	cr_assert_eq(fcntl(fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK), O_WRONLY);
	cr_assert_eq(write(fd, "ab", 2), 2);
	check_cloexec(fd);
	close(reader);
}

Test(host, a_disk_has_one_writer_or_any_number_of_readers)
{
	static char bytes[8192];
	struct host_disk a, b, c;
	const char *path = make_file("disk", bytes, sizeof(bytes));

	cr_assert_eq(host_open_disk(path, 0, &a), 0);
	cr_assert_eq(a.size, 8192);
	cr_assert_not(a.block_device);
	cr_assert_not(a.direct);
	cr_assert_eq(a.block_size, 1);
	cr_assert_eq(fcntl(a.fd, F_GETFL) & (O_ACCMODE | O_NONBLOCK | O_DIRECT), O_RDWR);
	cr_assert_eq(host_open_disk(path, 0, &b), -EBUSY);
	cr_assert_eq(host_open_disk(path, HOST_DISK_READONLY, &b), -EBUSY);
	check_cloexec(a.fd);
	cr_assert_eq(host_open_disk(path, HOST_DISK_READONLY, &a), 0);
	cr_assert_eq(fcntl(a.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	cr_assert_eq(host_open_disk(path, HOST_DISK_READONLY, &b), 0);
	cr_assert_eq(host_open_disk(path, 0, &c), -EBUSY);
	check_cloexec(a.fd);
	check_cloexec(b.fd);
	cr_assert_eq(host_open_disk(path, 0, &c), 0);
	check_cloexec(c.fd);
}

Test(host, a_disk_is_a_file_or_a_block_device)
{
	struct host_disk disk;

	cr_assert_eq(host_open_disk("/dev/null", 0, &disk), -EINVAL);
	cr_assert_eq(host_open_disk("/dev/null", HOST_DISK_DIRECT, &disk), -EINVAL);
	cr_assert_eq(host_open_disk(folder, HOST_DISK_READONLY, &disk), -EISDIR);
	cr_assert_eq(host_open_disk(in_folder("none"), 0, &disk), -ENOENT);
}

Test(host, direct_disks_say_how_they_are_aligned)
{
	static char bytes[65536];
	struct host_disk disk;
	void *buffer;

	cr_assert_eq(
		host_open_disk(make_file("disk", bytes, sizeof(bytes)), HOST_DISK_DIRECT, &disk),
		0);
	if (!disk.direct) {
		cr_assert_eq(disk.block_size, 1);
	} else {
		cr_assert_eq(disk.block_size & (disk.block_size - 1), 0);
		cr_assert_leq(disk.block_size, sizeof(bytes));
		cr_assert_eq(posix_memalign(&buffer, disk.block_size, disk.block_size), 0);
		cr_assert_eq(pread(disk.fd, buffer, disk.block_size, disk.block_size),
			     (ssize_t)disk.block_size);
		free(buffer);
	}
	check_cloexec(disk.fd);
}

/* ---- terminals and networks ------------------------------------------------------------------ */

Test(host, a_pty_carries_bytes_as_they_are, .timeout = 10)
{
	char name[64], bytes[8];
	int master = host_open_pty(name, sizeof(name)), other;

	cr_assert_geq(master, 0);
	other = open(name, O_RDWR | O_NOCTTY);
	cr_assert_geq(other, 0);
	cr_assert_eq(write(other, "a\n\003\r", 4), 4);
	usleep(10000);
	cr_assert_eq(read(master, bytes, sizeof(bytes)), 4);
	cr_assert_eq(memcmp(bytes, "a\n\003\r", 4), 0);
	close(other);
	check_cloexec(master);
	cr_assert_eq(host_open_pty(name, 3), -ERANGE);
}

Test(host, a_tap_must_be_there)
{
	cr_assert_eq(host_open_tap("", 12), -EINVAL);
	cr_assert_eq(host_open_tap("a-name-that-is-too-long", 12), -EINVAL);
	cr_assert_eq(host_open_tap("sluice-none%d", 12), -ENODEV);
}

Test(host, opens_a_tap_with_the_header_asked_for)
{
	struct ifreq request = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};
	int maker = open("/dev/net/tun", O_RDWR), size = 0, fd;

	strcpy(request.ifr_name, "sluicetest%d");
	if (maker < 0 || ioctl(maker, TUNSETIFF, &request) < 0 ||
	    ioctl(maker, TUNSETPERSIST, 1) < 0)
		cr_skip_test("no right to make a tap");
	cr_assert_eq(host_open_tap(request.ifr_name, 12), -EBUSY);
	close(maker);
	fd = host_open_tap(request.ifr_name, 12);
	cr_assert_geq(fd, 0);
	cr_assert_eq(ioctl(fd, TUNGETVNETHDRSZ, &size), 0);
	cr_assert_eq(size, 12);
	cr_assert_neq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	cr_assert_eq(ioctl(fd, TUNSETPERSIST, 0), 0);
	check_cloexec(fd);
	cr_assert_eq(host_open_tap("lo", 12), -EINVAL, "no tap");
}

/* ---- memory and limits ----------------------------------------------------------------------- */

Test(host, a_memfd_keeps_its_size)
{
	int fd = host_memfd("test", 1 << 20, HOST_PAGES_NORMAL);
	uint64_t size;
	struct stat st;

	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_size, 1 << 20);
	cr_assert_eq(ftruncate(fd, 0), -1);
	cr_assert_eq(errno, EPERM);
	cr_assert_eq(ftruncate(fd, 2 << 20), -1);
	cr_assert_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
	check_cloexec(fd);
	cr_assert_eq(host_memfd("test", 0, HOST_PAGES_NORMAL), -EINVAL);
	cr_assert_eq(host_memfd("test", 4097, HOST_PAGES_NORMAL), -EINVAL);
	cr_assert_eq(host_memfd("test", 1 << 20, HOST_PAGES_2M), -EINVAL);
	size = -host_page_bytes(HOST_PAGES_NORMAL);
	cr_assert_eq(host_memfd("test", size, HOST_PAGES_NORMAL), -EINVAL);
}

Test(host, a_memfd_of_huge_pages_where_the_host_has_them)
{
	int fd = host_memfd("test", 2 << 20, HOST_PAGES_2M);
	struct stat st;

	if (fd < 0) {
		cr_assert(fd == -ENODEV || fd == -EOPNOTSUPP || fd == -ENOSYS || fd == -EINVAL,
			  "%s", strerror(-fd));
		return;
	}
	cr_assert_eq(fstat(fd, &st), 0);
	cr_assert_eq(st.st_blksize, 2 << 20);
	check_cloexec(fd);
}

Test(host, page_sizes_are_those_of_the_kinds)
{
	cr_assert_eq(host_page_bytes(HOST_PAGES_NORMAL), (uint64_t)sysconf(_SC_PAGESIZE));
	cr_assert_eq(host_page_bytes(HOST_PAGES_2M), 2u << 20);
	cr_assert_eq(host_page_bytes(HOST_PAGES_1G), 1u << 30);
	cr_assert_eq(host_huge_pages_free(HOST_PAGES_NORMAL), 0, "no such counter");
}

Test(host, raises_the_limit_of_descriptors_to_the_hard_one)
{
	struct rlimit limit;

	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 64;
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(host_raise_nofile(), 0);
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	cr_assert_eq(limit.rlim_cur, limit.rlim_max);
	cr_assert_eq(host_nofile(), limit.rlim_max);
	cr_assert_eq(host_raise_nofile(), 0);
}

Test(host, limits_on_open_files_are_said_with_a_remedy)
{
	cr_expect_not_null(strstr(host_strerror(EMFILE), "ulimit -n"));
	cr_expect_not_null(strstr(host_strerror(ENFILE), "fs.file-max"));
	cr_expect_str_eq(host_strerror(ENOSPC), strerror(ENOSPC));
}

Test(host, the_memlock_limit_binds_those_without_the_capability)
{
	struct rlimit limit = {1 << 20, 1 << 20};
	int status;
	pid_t child;

	if (geteuid() != 0)
		cr_skip_test("not root");
	cr_assert_eq(host_memlock_limit(), UINT64_MAX);
	cr_assert_eq(setrlimit(RLIMIT_MEMLOCK, &limit), 0);
	cr_assert_eq(host_memlock_limit(), UINT64_MAX, "root has CAP_IPC_LOCK");
	child = fork();
	if (child == 0) {
		if (setuid(65534))
			_exit(3);
		_exit(host_memlock_limit() == 1 << 20 ? 0 : 1);
	}
	cr_assert_eq(waitpid(child, &status, 0), child);
	cr_assert_eq(status, 0);
}

Test(host, access_and_stat_hand_on_what_the_kernel_says)
{
	struct stat st;

	cr_assert_eq(host_access("/dev/null", R_OK | W_OK), 0);
	cr_assert_eq(host_access(in_folder("none"), F_OK), -ENOENT);
	cr_assert_eq(host_stat("/dev/null", &st), 0);
	cr_assert(S_ISCHR(st.st_mode));
	cr_assert_eq(host_stat(in_folder("none"), &st), -ENOENT);
}
