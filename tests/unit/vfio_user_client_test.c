/* SPDX-License-Identifier: Apache-2.0 */
/* The user provider against a server that is honest. */
#include <jansson.h>
#include <sys/resource.h>

#include "tests/unit/user_client.h"

Test(user, a_device_is_opened_and_its_regions_are_read_and_written)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct vfio_device_info info = {.argsz = sizeof(info)};
	uint8_t bytes[256];
	uint32_t value = 0x12345678;
	uint8_t large[BAR0_SIZE];

	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_GET_INFO, &info), 0);
	cr_assert_eq(info.flags, VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET);
	cr_assert_eq(vfio_device_read(c->vdev, bytes, 256, offset_of(c, 7)), 256);
	cr_assert_eq(bytes[0], 0xf4);
	cr_assert_eq(vfio_device_read(c->vdev, bytes, 4, offset_of(c, 7) + 254), -EFAULT);
	cr_assert_eq(vfio_device_write(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	value = 0;
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(value, 0x12345678);
	/* Cut at the end, in as many messages as the server's bound makes of it. */
	cr_assert_eq(vfio_device_read(c->vdev, large, sizeof(large), offset_of(c, 0) + 0x800),
		     0x800);
	cr_assert_eq(vfio_device_read(c->vdev, bytes, 4, offset_of(c, 0) + BAR0_SIZE), -EINVAL);
	cr_assert_eq(vfio_device_read(c->vdev, bytes, 4, offset_of(c, 1)), -EINVAL);
	cr_assert_eq(vfio_device_read(c->vdev, bytes, 4, UINT64_MAX / 2), -EINVAL);
	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL), 0);
	cr_assert_eq(s->resets, 1);
	client_free(c);
	cr_assert_eq(s->connections, 1);
	server_stop(s);
}

static unsigned open_descriptors(void)
{
	unsigned count = 0;

	for (int fd = 0; fd < 1024; fd++)
		count += fcntl(fd, F_GETFD) >= 0;
	return count;
}

Test(user, a_closed_device_can_be_opened_again)
{
	unsigned open_files = 0;
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);

	for (unsigned i = 1; i <= 3; i++) {
		cr_assert_eq(client_open(c), 0);
		cr_assert_eq(s->connections, i);
		vfio_device_close(c->vdev);
		/* The server's side closes before ours is let go of. */
		if (i == 1)
			open_files = open_descriptors();
		cr_assert_eq(open_descriptors(), open_files);
	}
	cr_assert_eq(lines(logged(c)), 0, "%s", logged(c));
	client_free(c);
	server_stop(s);
}

Test(user, sparse_areas_are_mapped_and_nothing_else)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	uint8_t *where = mmap(NULL, BAR2_SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint32_t value = 0;
	uint64_t bar2;

	cr_assert_eq(client_open(c), 0);
	bar2 = offset_of(c, 2);
	cr_assert_eq(vfio_device_mmap(c->vdev, where, 0x1000, PROT_READ | PROT_WRITE, bar2), 0);
	cr_assert_eq(vfio_device_mmap(c->vdev, where + 0x2000, 0x1000, PROT_READ | PROT_WRITE,
				      bar2 + 0x2000),
		     0);
	cr_assert_eq(vfio_device_mmap(c->vdev, where, 0x1000, PROT_READ, bar2 + 0x1000), -EINVAL);
	cr_assert_eq(vfio_device_mmap(c->vdev, where, 0x2000, PROT_READ, bar2), -EINVAL);
	cr_assert_eq(vfio_device_mmap(c->vdev, where, 0x1000, PROT_READ, offset_of(c, 0)), -EINVAL);
	cr_assert_eq(vfio_device_mmap(c->vdev, where, 0x1000, PROT_READ, bar2 + BAR2_SIZE),
		     -EINVAL);
	where[0x2004] = 0x5a;
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, bar2 + 0x2004), 4);
	cr_assert_eq(value, 0x5a);
	munmap(where, BAR2_SIZE);
	client_free(c);
	server_stop(s);
}

/* Is region 2 to be mapped when its file is @fd, which is closed? By message it can be read all the same. */
static bool mappable_from(int fd)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct vfio_region_info *info = NULL;
	bool mappable;
	uint32_t value;

	cr_assert_geq(fd, 0);
	cr_assert_eq(dup2(fd, s->bar2), s->bar2);
	close(fd);
	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(vfio_device_region_info(c->vdev, 2, &info), 0);
	mappable = info->flags & VFIO_REGION_INFO_FLAG_MMAP;
	cr_assert_eq(info->cap_offset > 0, mappable);
	free(info);
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 2)), 4);
	client_free(c);
	server_stop(s);
	return mappable;
}

/* A page of others comes when their owner likes, or not at all: a guest's access would wait for it. */
Test(user, only_memory_of_small_pages_is_mapped)
{
	const int huge = memfd_create("huge", MFD_CLOEXEC | MFD_HUGETLB);
	const int small = memfd_create("small", MFD_CLOEXEC);
	const int disk = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);

	cr_assert_eq(ftruncate(small, BAR2_SIZE), 0);
	cr_assert(mappable_from(small));
	cr_assert_eq(ftruncate(huge, 2 << 20), 0);
	cr_assert(!mappable_from(huge));
	/* Unless the tests were built in memory. */
	if (fcntl(disk, F_GET_SEALS) < 0)
		cr_assert(!mappable_from(disk));
}

Test(user, guest_memory_is_mapped_by_descriptor_once_and_taken_away)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct ioas_area area = {.iova = 0x800000,
				 .length = 0x1000,
				 .fd = c->memfd,
				 .offset = 0x1000,
				 .hva = c->ram + 0x1000,
				 .rights = IOAS_READ};
	uint32_t id;

	cr_assert_eq(client_open(c), 0);
	id = ioas_id(c->space);
	cr_assert_eq(vfio_device_attach(c->vdev, &id), 0);
	cr_assert_eq(s->map_count, 1);
	cr_assert_eq(s->maps[0].map.addr, RAM_IOVA);
	cr_assert_eq(s->maps[0].map.flags, 3);
	cr_assert(s->maps[0].fd >= 0);
	cr_assert_eq(ioas_map(c->space, &area), 0);
	cr_assert_eq(s->map_count, 2);
	cr_assert_eq(s->maps[1].map.flags, 1);
	cr_assert_eq(s->maps[1].map.offset, 0x1000);
	/* A device's memory is nothing that a server can map; the rest of the VM has it all the same. */
	area.iova = 0x900000;
	area.peer = true;
	area.hva = NULL;
	cr_assert_eq(ioas_map(c->space, &area), 0);
	cr_assert_eq(s->map_count, 2);
	cr_assert_eq(ioas_unmap(c->space, 0x800000, 0x1000), 0);
	cr_assert_eq(s->map_count, 1);
	vfio_device_dma_unmap(c->vdev, RAM_IOVA, 1);
	cr_assert_eq(s->map_count, 0);
	cr_assert_eq(vfio_device_detach(c->vdev), 0);
	client_free(c);
	server_stop(s);
}

#define LARGE (4ull << 30)

/* One that pins: answers, but late. */
static bool late_map(struct user_server *s, struct user_message *m)
{
	const struct timespec two_seconds = {.tv_sec = 2};
	struct vfio_user_dma_map map;

	memcpy(&map, m->body, sizeof(map));
	if (m->header.command != VFIO_USER_DMA_MAP || map.size < LARGE)
		return false;
	s->hook_at++;
	nanosleep(&two_seconds, NULL);
	return false;
}

Test(user, a_server_has_time_to_pin_large_memory, .timeout = 60)
{
	static const char *const keys[] = {"timeout", "1", NULL};
	struct user_server *s = server_start();
	struct client *c = client_new(s, keys);
	const int fd = memfd_create("large", MFD_CLOEXEC);
	struct ioas_area area = {
		.iova = RAM_IOVA + LARGE, .length = LARGE, .fd = fd, .rights = IOAS_READ};

	s->hook = late_map;
	cr_assert_eq(ftruncate(fd, LARGE), 0);
	area.hva = mmap(NULL, LARGE, PROT_READ, MAP_SHARED | MAP_NORESERVE, fd, 0);
	cr_assert_neq(area.hva, MAP_FAILED);
	cr_assert_eq(ioas_map(c->space, &area), 0);
	cr_assert_eq(client_open(c), 0, "%s", logged(c));
	cr_assert_eq(s->hook_at, 1, "it was late");
	cr_assert_eq(s->map_count, 2);
	cr_assert_str_eq(logged(c), "");
	cr_assert_eq(vfio_device_detach(c->vdev), 0);
	cr_assert_eq(ioas_unmap(c->space, area.iova, LARGE), 0);
	munmap(area.hva, LARGE);
	close(fd);
	client_free(c);
	server_stop(s);
}

Test(user, dma_by_message_is_served_while_a_reply_is_awaited)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	uint64_t iova = RAM_IOVA, beyond = RAM_IOVA + RAM_SIZE;

	cr_assert_eq(client_open(c), 0);
	memset(c->ram, 0x77, 64);
	cr_assert_eq(vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY), 8);
	cr_assert_eq(memcmp(c->ram, c->ram + 0x1000, 64), 0);
	/* What is not mapped is refused, and the device lives on. */
	cr_assert_eq(vfio_device_write(c->vdev, &beyond, 8, offset_of(c, 0) + DMA_COPY), -EFAULT);
	cr_assert_eq(vfio_device_detach(c->vdev), 0);
	cr_assert_eq(vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY), -EFAULT);
	client_free(c);
	server_stop(s);
}

Test(user, vectors_go_to_the_server_in_runs)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	int32_t fds[SERVER_VECTORS];
	eventfd_t value;

	for (unsigned i = 0; i < SERVER_VECTORS; i++)
		fds[i] = i % 7 == 3 ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, SERVER_VECTORS, fds), 0);
	/* The server signals what it has; each must come by the eventfd of its own vector. */
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, SERVER_VECTORS, NULL), 0);
	for (unsigned i = 0; i < SERVER_VECTORS; i++) {
		if (fds[i] < 0)
			continue;
		cr_assert_eq(eventfd_read(fds[i], &value), 0, "vector %u", i);
		cr_assert_eq(value, 1);
	}
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, 0, NULL), 0);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 5, 1, NULL), 0);
	if (fds[5] >= 0)
		cr_assert_eq(eventfd_read(fds[5], &value), -1);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, SERVER_VECTORS, 1, fds), -EINVAL);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSI_IRQ_INDEX, 0, 1, fds), -EINVAL);
	client_free(c);
	server_stop(s);
	for (unsigned i = 0; i < SERVER_VECTORS; i++) {
		if (fds[i] >= 0)
			close(fds[i]);
	}
}

Test(user, vectors_that_fail_at_first_are_off)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	int32_t fds[SERVER_VECTORS];

	for (unsigned i = 0; i < SERVER_VECTORS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	cr_assert_eq(client_open(c), 0);
	/* The last is none: what went before it in other messages is undone, and the index is off. */
	close(fds[SERVER_VECTORS - 1]);
	fds[SERVER_VECTORS - 1] = 1 << 28;
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, SERVER_VECTORS, fds), -EBADF);
	cr_assert_eq(s->vectors_off, 1);
	/* When it is on, only what failed is undone. */
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, fds), 0);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, SERVER_VECTORS - 1, 1,
			      fds + SERVER_VECTORS - 1),
		     -EBADF);
	cr_assert_eq(s->vectors_off, 1);
	client_free(c);
	server_stop(s);
	for (unsigned i = 0; i < SERVER_VECTORS - 1; i++)
		close(fds[i]);
}

Test(user, a_request_of_the_server_reaches_the_owner)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);

	cr_assert_eq(client_open(c), 0);
	cr_assert(s->req_fd >= 0);
	eventfd_write(s->req_fd, 1);
	wait_for(&c->requests, 1);
	client_free(c);
	server_stop(s);
}

/* A server that signals without end is told to the owner each time, and to the log once. */
Test(user, an_error_of_the_device_is_said_once)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);

	cr_assert_eq(client_open(c), 0);
	cr_assert(s->err_fd >= 0);
	for (unsigned i = 1; i <= 3; i++) {
		eventfd_write(s->err_fd, 1);
		wait_for(&c->errors, i);
	}
	cr_assert_eq(lines(logged(c)), 1, "%s", logged(c));
	client_free(c);
	server_stop(s);
}

Test(user, doorbells_are_told)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct vfio_region_ioeventfd list[4];
	uint32_t count = 4;
	eventfd_t value;

	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(vfio_device_region_ioeventfds(c->vdev, 0, list, &count), 0);
	cr_assert_eq(count, 2);
	cr_assert_eq(list[0].offset, DOORBELL);
	cr_assert_eq(list[0].size, 4);
	cr_assert(!list[0].match);
	cr_assert(list[1].match);
	cr_assert_eq(list[1].datamatch, 7);
	eventfd_write(list[0].fd, 1);
	cr_assert_eq(eventfd_read(s->doorbell, &value), 0);
	count = 4;
	cr_assert_eq(vfio_device_region_ioeventfds(c->vdev, 2, list, &count), 0);
	cr_assert_eq(count, 0);
	client_free(c);
	server_stop(s);
}

/* While it answers with doorbells, this process has room for no descriptor. */
static bool none_free(struct user_server *s, struct user_message *m)
{
	static struct rlimit before;
	struct rlimit now;

	(void)s;
	cr_assert_eq(getrlimit(RLIMIT_NOFILE, &now), 0);
	if (m->header.command == VFIO_USER_DEVICE_GET_REGION_IO_FDS) {
		if (now.rlim_cur > 3)
			before = now;
		now.rlim_cur = 3;
	} else if (before.rlim_cur) {
		now = before;
	}
	cr_assert_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
	return false;
}

Test(user, without_descriptors_doorbells_go_by_messages)
{
	struct user_server *s = server_start();
	struct vfio_region_ioeventfd list[4];
	struct client *c;
	uint32_t count = 4, value = 0;

	s->hook = none_free;
	c = client_new(s, NULL);
	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(vfio_device_region_ioeventfds(c->vdev, 0, list, &count), 0);
	cr_assert_eq(count, 0);
	cr_assert_eq(vfio_device_write(c->vdev, &value, 4, offset_of(c, 0)), 4);
	client_free(c);
	server_stop(s);
}

Test(user, doorbells_are_asked_for_anew_after_a_reset)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	int old;

	cr_assert_eq(client_open(c), 0);
	first_bell_reaches(c, s);
	old = s->doorbell;
	s->doorbell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	close(old);
	cr_assert_eq(vfio_device_ioctl(c->vdev, VFIO_DEVICE_RESET, NULL), 0);
	first_bell_reaches(c, s);
	client_free(c);
	server_stop(s);
}

Test(user, the_state_of_a_device_is_read_and_written)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct vfio_precopy_info precopy = {.argsz = sizeof(precopy)};
	static uint8_t state[SERVER_STATE + 1];
	size_t done = 0;
	ssize_t n;
	int fd, none;

	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(c->vdev->migration_flags, VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY);
	cr_assert_eq(set_state(c, VFIO_DEVICE_STATE_PRE_COPY, &fd), 0);
	cr_assert(fd >= 0);
	cr_assert_eq(vfio_device_mig_precopy_info(c->vdev, fd, &precopy), 0);
	cr_assert_eq(precopy.initial_bytes, 4096);
	while ((n = vfio_device_mig_read(c->vdev, fd, state + done, 3000)) > 0)
		done += (size_t)n;
	cr_assert_eq(n, -ENOMSG);
	cr_assert_eq(done, SERVER_STATE);
	for (size_t i = 0; i < done; i++)
		cr_assert_eq(state[i], (uint8_t)i);
	cr_assert_eq(set_state(c, VFIO_DEVICE_STATE_STOP_COPY, &none), 0);
	cr_assert_eq(none, -1);
	done = 0;
	while ((n = vfio_device_mig_read(c->vdev, fd, state + done, sizeof(state) - done)) > 0)
		done += (size_t)n;
	cr_assert_eq(n, 0);
	cr_assert_eq(done, SERVER_STATE);
	cr_assert_eq(set_state(c, VFIO_DEVICE_STATE_STOP, &none), 0);
	cr_assert_eq(vfio_device_mig_read(c->vdev, fd, state, 1), -ENODEV);
	close(fd);

	cr_assert_eq(set_state(c, VFIO_DEVICE_STATE_RESUMING, &fd), 0);
	done = 0;
	while (done < SERVER_STATE) {
		n = vfio_device_mig_write(c->vdev, fd, state + done, SERVER_STATE - done);
		cr_assert_gt(n, 0);
		done += (size_t)n;
	}
	cr_assert_eq(s->received, SERVER_STATE);
	/* Closed while it is stopped: no command but the end of the connection. */
	client_free(c);
	close(fd);
	server_stop(s);
}

Test(user, the_log_has_what_the_server_wrote_and_what_was_written_for_it)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	struct vfio_device_feature_dma_logging_range range = {RAM_IOVA, RAM_SIZE};
	struct vfio_device_feature_dma_logging_control control = {
		.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range};
	uint64_t bitmap = 0, iova = RAM_IOVA + 0x6000;
	struct vfio_device_feature_dma_logging_report report = {
		.iova = RAM_IOVA,
		.length = RAM_SIZE / 2,
		.page_size = 4096,
		.bitmap = (uintptr_t)&bitmap,
	};
	const uint32_t get = VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT;

	cr_assert_eq(client_open(c), 0);
	cr_assert_eq(feature(c, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
			     &control, sizeof(control)),
		     0);
	cr_assert_eq(vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY), 8);
	iova += 0x2000;
	cr_assert_eq(vfio_device_write(c->vdev, &iova, 8, offset_of(c, 0) + DMA_COPY), 8);
	/* The first half, of a server that reports whole maps only. */
	cr_assert_eq(feature(c, get, &report, sizeof(report)), 0);
	cr_assert_eq(bitmap, 1u << 1 | 1u << 7, "%#llx", (unsigned long long)bitmap);
	bitmap = 0;
	report.iova += RAM_SIZE / 2;
	cr_assert_eq(feature(c, get, &report, sizeof(report)), 0);
	cr_assert_eq(bitmap, 1u << 1, "%#llx", (unsigned long long)bitmap);
	cr_assert_eq(
		feature(c, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_STOP, NULL, 0),
		0);
	client_free(c);
	server_stop(s);
}

/* Pages of 2^62 bytes, and any report is one of no writes. */
static bool huge_log_pages(struct user_server *s, struct user_message *m)
{
	const struct vfio_user_feature *feature = (const void *)m->body;
	const uint32_t number = feature->flags & VFIO_DEVICE_FEATURE_MASK;
	struct vfio_user_logging_control control = {.page_size = 1ull << 62, .num_ranges = 1};
	uint8_t body[256] = {0};

	if (m->header.command != VFIO_USER_DEVICE_FEATURE ||
	    feature->flags & VFIO_DEVICE_FEATURE_PROBE)
		return false;
	memcpy(body, m->body, m->size < sizeof(body) ? m->size : sizeof(body));
	if (number == VFIO_DEVICE_FEATURE_DMA_LOGGING_START)
		memcpy(body + sizeof(*feature), &control, sizeof(control));
	else if (number != VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT)
		return false;
	server_reply(s, m, body, sizeof(body));
	return true;
}

Test(user, a_log_of_pages_of_any_size_is_read_to_its_end, .timeout = 60)
{
	static const char *const versions[] = {
		NULL, "{\"capabilities\":{\"max_msg_fds\":8,\"max_data_xfer_size\":1}}"};

	for (unsigned i = 0; i < 2; i++) {
		struct user_server *s = server_start();
		struct client *c = client_new(s, NULL);
		struct vfio_device_feature_dma_logging_range range = {RAM_IOVA, RAM_SIZE};
		struct vfio_device_feature_dma_logging_control control = {
			.page_size = 4096, .num_ranges = 1, .ranges = (uintptr_t)&range};
		uint64_t bitmap = 0;
		struct vfio_device_feature_dma_logging_report report = {
			.iova = RAM_IOVA,
			.length = RAM_SIZE,
			.page_size = 4096,
			.bitmap = (uintptr_t)&bitmap,
		};

		s->version = versions[i];
		s->hook = huge_log_pages;
		cr_assert_eq(client_open(c), 0);
		cr_assert_eq(
			feature(c, VFIO_DEVICE_FEATURE_SET | VFIO_DEVICE_FEATURE_DMA_LOGGING_START,
				&control, sizeof(control)),
			0);
		cr_assert_eq(
			feature(c, VFIO_DEVICE_FEATURE_GET | VFIO_DEVICE_FEATURE_DMA_LOGGING_REPORT,
				&report, sizeof(report)),
			0);
		cr_assert_eq(bitmap, 0);
		client_free(c);
		server_stop(s);
	}
}

static bool no_extended(struct user_server *s, struct user_message *m)
{
	/* As the rust-vmm server: what it does not know, it does not survive. */
	if (m->header.command == VFIO_USER_DEVICE_GET_REGION_IO_FDS || m->header.command > 13) {
		server_hang_up(s);
		return true;
	}
	return false;
}

Test(user, a_server_of_version_0_0_is_asked_for_nothing_that_it_may_not_know)
{
	struct user_server *s = server_start();
	struct client *c;
	int32_t fd = eventfd(0, EFD_CLOEXEC);

	s->hook = no_extended;
	s->minor = 0;
	s->max_msg_fds = 1;
	c = client_new(s, NULL);
	cr_assert_eq(client_open(c), 0);
	cr_assert_null(c->vdev->mig_ops);
	cr_assert_null(c->vdev->log_ops);
	cr_assert_eq(set_irqs(c, VFIO_PCI_MSIX_IRQ_INDEX, 0, 1, &fd), 0);
	cr_assert_eq(feature(c,
			     VFIO_DEVICE_FEATURE_PROBE | VFIO_DEVICE_FEATURE_GET |
				     VFIO_DEVICE_FEATURE_BUS_MASTER,
			     NULL, 0),
		     -ENOTTY);
	cr_assert_eq(c->gone, 0);
	client_free(c);
	server_stop(s);
	close(fd);
}

Test(user, who_looks_at_it_waits_for_no_server)
{
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);
	json_t *status, *name;
	unsigned before;
	size_t i, found = 0;

	cr_assert_eq(client_open(c), 0);
	before = s->messages;
	status = vfio_device_status(c->vdev);
	cr_assert_eq(s->messages, before);
	json_array_foreach(json_object_get(status, "features"), i, name) found +=
		!strcmp(json_string_value(name), "bus_master") ||
		!strcmp(json_string_value(name), "low_power_exit");
	cr_assert_eq(found, 1, "what it has, and not what it has not");
	json_decref(status);
	client_free(c);
	server_stop(s);
}

Test(user, posted_writes_wait_for_nothing_and_keep_their_order)
{
	static const char *const keys[] = {"posted-writes", "on", "commands", "basic", NULL};
	static const char *const reconnect[] = {"posted-writes", "on", "commands", "basic",
						"reconnect",     "on", NULL};
	struct user_server *s = server_start();
	struct client *c = client_new(s, keys);
	uint32_t value = 0;

	/* BAR 2 can be mapped: a store there could overtake. */
	cr_assert_eq(client_open(c), 0);
	cr_assert_not_null(strstr(logged(c), "no effect"));
	cr_assert_eq(vfio_device_write(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(s->posted, 0);
	client_free(c);

	c = client_new(s, reconnect);
	cr_assert_eq(client_open(c), 0);
	for (uint32_t i = 1; i <= 100; i++)
		cr_assert_eq(vfio_device_write(c->vdev, &i, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(vfio_device_read(c->vdev, &value, 4, offset_of(c, 0) + 8), 4);
	cr_assert_eq(value, 100);
	cr_assert_eq(s->posted, 100);
	client_free(c);
	server_stop(s);
}

/* ---- keys ---- */

Test(user, wrong_keys_are_refused_by_name)
{
	static const char *const bad[][3] = {
		{"timeout", "0", "timeout takes"},
		{"timeout", NULL, "timeout takes"},
		{"timeout", "1s", "timeout takes"},
		{"timeout", "99999", "timeout takes"},
		{"reconnect", "yes", "reconnect takes"},
		{"posted-writes", "1", "posted-writes takes"},
		{"commands", "some", "commands takes"},
		{"colour", "red", "unknown key \"colour\""},
	};
	struct user_server *s = server_start();
	struct client *c = client_new(s, NULL);

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct vfio_key key = {(char *)(uintptr_t)bad[i][0], (char *)(uintptr_t)bad[i][1]};
		const struct vfio_config config = {
			.name = c->name, .fd = -1, .keys = &key, .key_count = 1};
		struct vfio_provider_env env = {.ictx = c->ictx};
		struct vfio_device *vdev;

		cr_assert_eq(provider()->create(&env, &config, &vdev), -EINVAL);
		cr_assert_not_null(strstr(logged(c), bad[i][2]), "%s", logged(c));
	}
	client_free(c);
	server_stop(s);
}

Test(user, where_nobody_listens_it_says_so)
{
	struct user_server *s = server_new();
	struct client *c = client_new(s, NULL);

	close(s->listener);
	cr_assert_eq(client_open(c), -ECONNREFUSED);
	cr_assert_not_null(strstr(logged(c), "nobody listens"));
	unlink(s->path);
	cr_assert_eq(client_open(c), -ENOENT);
	cr_assert_not_null(strstr(logged(c), "start the server first"));
	cr_assert_eq(lines(logged(c)), 2);
	server_listen(s);
	client_free(c);
	server_free(s);
}
