/* SPDX-License-Identifier: Apache-2.0 */
/* What a good client of the vfio-user server does. */
#include "tests/unit/server_client.h"

Test(server, a_client_learns_what_the_device_is, .timeout = 120)
{
	struct server s;
	struct vfio_user_message m, reply;
	struct vfio_user_packet *packet;

	start(&s);
	struct client *c = new_client(&s);

	m = (struct vfio_user_message){.command = VFIO_USER_DEVICE_GET_INFO, .device_info = {16}};
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), 0);
	cr_assert_eq(reply.device_info.num_regions, VFIO_PCI_NUM_REGIONS);
	cr_assert_eq(reply.device_info.flags, 3);
	m = (struct vfio_user_message){.command = VFIO_USER_DEVICE_GET_IRQ_INFO,
				       .irq_info = {.argsz = 16, .index = 2}};
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), 0);
	cr_assert_eq(reply.irq_info.count, SERVED_VECTORS);
	m.irq_info.index = VFIO_PCI_NUM_IRQS;
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), -EINVAL);

	/* A region that can be mapped: first how much it takes, then all of it. */
	m = (struct vfio_user_message){.command = VFIO_USER_DEVICE_GET_REGION_INFO,
				       .region_info = {.argsz = 32, .index = 2}};
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, &packet), 0);
	cr_assert_eq(packet->fd_count, 0);
	cr_assert_gt(reply.region_info.argsz, 32);
	/* Set all the same: QEMU wants it. */
	cr_assert_eq(reply.region_info.cap_offset, 32);
	m.region_info.argsz = reply.region_info.argsz;
	vfio_user_packet_free(packet);
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, &packet), 0);
	cr_assert_eq(packet->fd_count, 1);
	cr_assert_eq(reply.region_info.size, SERVED_MEMORY);
	cr_assert_eq(reply.region_info.cap_offset, 32);
	const struct vfio_region_info_cap_sparse_mmap *sparse = reply.data;

	cr_assert_eq(sparse->header.id, VFIO_REGION_INFO_CAP_SPARSE_MMAP);
	/* The next one counts from the structure in front of the chain. */
	cr_assert_eq(sparse->header.next, 32 + sizeof(*sparse) + sizeof(sparse->areas[0]));
	const struct vfio_info_cap_header *type =
		(const void *)((const char *)reply.data + sparse->header.next - 32);

	cr_assert_eq(type->id, VFIO_REGION_INFO_CAP_TYPE);
	cr_assert_eq(type->next, 0);
	cr_assert_eq(sparse->areas[0].offset, 4096);
	uint8_t *memory = mmap(NULL, SERVED_MEMORY, PROT_READ | PROT_WRITE, MAP_SHARED,
			       packet->fds[0], (off_t)reply.region_info.offset);

	cr_assert_neq(memory, MAP_FAILED);
	vfio_user_packet_free(packet);
	uint8_t byte = 0x77;

	cr_assert_eq(write_region(c, 2, 5000, &byte, 1), 0);
	cr_assert_eq(memory[5000], 0x77);
	munmap(memory, SERVED_MEMORY);
	m.region_info.index = 99;
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), -EINVAL);
	done(c);
	stop(&s);
}

Test(server, regions_are_read_and_written_within_their_bounds, .timeout = 120)
{
	struct server s;
	uint8_t *bytes = malloc(SERVED_MEMORY), *back = malloc(SERVED_MEMORY);
	uint16_t vendor;

	start(&s);
	struct client *c = new_client(&s);

	for (unsigned i = 0; i < SERVED_MEMORY; i++)
		bytes[i] = (uint8_t)(i * 7);
	cr_assert_eq(write_region(c, 2, 0, bytes, SERVED_MEMORY), 0);
	cr_assert_eq(read_region(c, 2, 0, back, SERVED_MEMORY), 0);
	cr_assert_eq(memcmp(bytes, back, SERVED_MEMORY), 0);
	cr_assert_eq(read_region(c, 7, 0, &vendor, 2), 0);
	cr_assert_eq(vendor, 0x1a5c);
	cr_assert_eq(read_region(c, 7, 256, back, 0), 0);
	cr_assert_eq(read_region(c, 7, 255, back, 2), -EINVAL);
	cr_assert_eq(read_region(c, 7, 257, back, 0), -EINVAL);
	cr_assert_eq(read_region(c, 7, UINT64_MAX, back, 1), -EINVAL);
	cr_assert_eq(write_region(c, 2, SERVED_MEMORY, bytes, 1), -EINVAL);
	cr_assert_eq(read_region(c, 1, 0, back, 1), -EINVAL, "an empty region");
	cr_assert_eq(read_region(c, 9, 0, back, 1), -EINVAL);
	cr_assert_eq(read_region(c, UINT32_MAX, 0, back, 1), -EINVAL);

	struct vfio_user_single_write writes[3] = {{.offset = 8, .region = 2, .count = 4},
						   {.offset = 16, .region = 2, .count = 8},
						   {.offset = 0, .region = 99, .count = 1}};
	struct vfio_user_message m = {.command = VFIO_USER_REGION_WRITE_MULTI,
				      .write_multi = {3},
				      .data = writes,
				      .data_size = sizeof(writes)},
				 reply;

	memset(writes[0].data, 0xaa, 8);
	memset(writes[1].data, 0xbb, 8);
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), 0);
	cr_assert_eq(reply.write_multi.wr_cnt, 2, "up to the one that cannot be");
	cr_assert_eq(read_region(c, 2, 0, back, 32), 0);
	cr_assert_eq(back[11], 0xaa);
	cr_assert_eq(back[12], (uint8_t)(12 * 7));
	cr_assert_eq(back[23], 0xbb);
	free(bytes);
	free(back);
	done(c);
	stop(&s);
}

Test(server, posted_writes_are_done_before_the_next_answer, .timeout = 120)
{
	struct server s;
	uint8_t value;

	start(&s);
	struct client *c = new_client(&s);

	for (unsigned i = 0; i < 300; i++) {
		value = (uint8_t)i;
		struct vfio_user_message m = {.command = VFIO_USER_REGION_WRITE,
					      .no_reply = true,
					      .region = {i, 2, 1},
					      .data = &value,
					      .data_size = 1};

		cr_assert_eq(vfio_user_channel_send(c->channel, &m, NULL, 0), 0);
	}
	for (unsigned i = 0; i < 300; i += 13) {
		cr_assert_eq(read_region(c, 2, i, &value, 1), 0);
		cr_assert_eq(value, (uint8_t)i);
	}
	done(c);
	stop(&s);
}

static int sealed_memory(uint64_t size, unsigned seals, uint8_t **bytes)
{
	const int fd = memfd_create("client", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	cr_assert_eq(ftruncate(fd, (off_t)size), 0);
	if (seals)
		cr_assert_eq(fcntl(fd, F_ADD_SEALS, seals), 0);
	*bytes = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	return fd;
}

Test(server, the_device_reaches_memory_by_descriptor_by_file_and_by_message, .timeout = 120)
{
	struct server s;
	uint8_t *shared, *file;
	int fd, plain;

	start(&s);
	struct client *c = new_client(&s);

	fd = sealed_memory(65536, F_SEAL_SHRINK | F_SEAL_GROW, &shared);
	/* Seals that cannot be added: it stays one that may be cut. */
	plain = sealed_memory(65536, F_SEAL_SEAL, &file);
	cr_assert_eq(dma(c, 0x1000), -ENOENT, "nothing is mapped");
	cr_assert_eq(map(c, 0x100000, 65536, 3, fd), 0);
	cr_assert_eq(map(c, 0x200000, 65536, 3, plain), 0);
	cr_assert_eq(map(c, 0, 65536, 3, -1), 0);
	cr_assert_eq(map(c, 0x10f000, 0x2000, 3, fd), -EEXIST);
	memset(shared, 5, 16);
	cr_assert_eq(dma(c, 0x100000), 1);
	cr_assert_eq(shared[31], 6);
	memset(file, 7, 16);
	cr_assert_eq(dma(c, 0x200000), 1);
	cr_assert_eq(file[31], 8);
	memset(c->memory + 0x1000, 9, 16);
	cr_assert_eq(dma(c, 0x1000), 1);
	cr_assert_eq(c->memory[0x101f], 10);
	cr_assert_eq(atomic_load(&c->reads), 1);
	cr_assert_eq(atomic_load(&c->writes), 1);

	/* As a file, if the client wants that. */
	cr_assert_eq(map(c, 0x300000, 65536, 3 | VFIO_USER_DMA_MAP_FILE_IO, plain), 0);
	memset(file, 17, 16);
	cr_assert_eq(dma(c, 0x300000), 1);
	cr_assert_eq(file[31], 18);

	/* A file that is cut is an error of the access and of nothing else. */
	cr_assert_eq(ftruncate(plain, 0), 0);
	cr_assert_eq(dma(c, 0x200000), -EFAULT);
	cr_assert_eq(dma(c, 0x300000), -EFAULT);

	cr_assert_eq(unmap(c, 0x100000, 4096, 0), -ENOENT, "a part of a map");
	cr_assert_eq(unmap(c, 0x100000, 65536, 0), 0);
	cr_assert_eq(dma(c, 0x100000), -ENOENT);
	cr_assert_eq(unmap(c, 0, 0, VFIO_USER_DMA_UNMAP_ALL), 0);
	cr_assert_eq(dma(c, 0x1000), -ENOENT);
	cr_assert_eq(map(c, 0x100000, 65536, 1, fd), 0, "for reading alone");
	cr_assert_eq(dma(c, 0x100000), -EPERM);
	munmap(shared, 65536);
	munmap(file, 65536);
	close(fd);
	close(plain);
	done(c);
	stop(&s);
}

/* Whoever stands behind such a file may never answer: nobody waits for it here. */
Test(server, a_file_that_is_no_memory_is_reached_by_message, .timeout = 120)
{
	struct server s;
	int fd;

	start(&s);
	struct client *c = new_client(&s);

	fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	cr_assert_eq(fcntl(fd, F_GET_SEALS), -1, "tests are run from no tmpfs");
	cr_assert_eq(map(c, 0x1000, 4096, 3 | VFIO_USER_DMA_MAP_FILE_IO, fd), -EOPNOTSUPP);
	cr_assert_eq(map(c, 0x1000, 4096, 3, fd), 0);
	memset(c->memory + 0x1000, 9, 16);
	cr_assert_eq(dma(c, 0x1000), 1);
	cr_assert_eq(c->memory[0x101f], 10);
	cr_assert_eq(atomic_load(&c->reads), 1);
	cr_assert_eq(atomic_load(&c->writes), 1);
	close(fd);
	done(c);
	stop(&s);
}

Test(server, maps_that_cannot_be_are_refused, .timeout = 120)
{
	struct server s;
	int fd, ends[2];
	uint8_t *bytes;

	start(&s);
	struct client *c = new_client(&s);

	fd = sealed_memory(65536, F_SEAL_SHRINK, &bytes);
	cr_assert_eq(map(c, 0, 65536 + 4096, 3, fd), -EINVAL, "past the end of the file");
	cr_assert_eq(map(c, 0x100, 4096, 3, fd), -EINVAL, "not aligned");
	cr_assert_eq(map(c, 0, 100, 3, fd), -EINVAL);
	cr_assert_eq(map(c, 0, 4096, 0, fd), -EINVAL, "no rights");
	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(map(c, 0, 4096, 3, ends[0]), -EINVAL, "no file");
	cr_assert_eq(map(c, UINT64_MAX - 4095, 4096, 3, fd), 0, "the last page there is");
	close(ends[0]);
	close(ends[1]);
	munmap(bytes, 65536);
	close(fd);
	done(c);
	stop(&s);
}

Test(server, interrupts_come_in_chunks_and_go_straight_to_the_eventfds, .timeout = 120)
{
	const uint32_t set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	struct server s;
	int fds[SERVED_VECTORS], ends[2];

	start(&s);
	struct client *c = new_client(&s);

	for (unsigned i = 0; i < SERVED_VECTORS; i++)
		fds[i] = eventfd(0, EFD_CLOEXEC);
	/* The device allocates all at the first call, although 16 eventfds come with it. */
	cr_assert_eq(set_irqs(c, set, 2, 0, 16, fds, 16), 0);
	cr_assert_eq(set_irqs(c, set, 2, 16, 16, fds + 16, 16), 0);
	for (uint32_t i = 0; i < SERVED_VECTORS; i += 5) {
		cr_assert_eq(write_region(c, 0, 16, &i, 4), 0);
		cr_assert(readable(fds[i]));
		cr_assert_not(readable(fds[i + 1 < SERVED_VECTORS ? i + 1 : 1]));
	}
	/* Without eventfds: some are taken away, then all. */
	cr_assert_eq(set_irqs(c, set, 2, 1, 2, NULL, 0), 0);
	cr_assert_eq(s.device->vectors[1], -1);
	cr_assert_neq(s.device->vectors[3], -1);
	cr_assert_eq(
		set_irqs(c, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 2, 0, 0, NULL, 0),
		0);
	cr_assert_eq(s.device->vector_count, 0);

	/* A host that has not all of them has enough for a client that wants fewer. */
	s.device->vector_limit = 20;
	cr_assert_eq(set_irqs(c, set, 2, 0, 16, fds, 16), 0);
	cr_assert_eq(s.device->vector_count, 20);
	cr_assert_eq(
		set_irqs(c, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 2, 0, 0, NULL, 0),
		0);
	s.device->vector_limit = 15;
	cr_assert_eq(set_irqs(c, set, 2, 0, 16, fds, 16), -ENOSPC);
	cr_assert_eq(s.device->vector_count, 0);
	s.device->vector_limit = 0;

	cr_assert_eq(set_irqs(c, set, 2, 31, 2, fds, 2), -EINVAL);
	cr_assert_eq(set_irqs(c, set, 2, UINT32_MAX, 1, fds, 1), -EINVAL);
	cr_assert_eq(set_irqs(c, set, 99, 0, 1, fds, 1), -EINVAL);
	cr_assert_eq(set_irqs(c, set, 1, 0, 1, fds, 1), -EINVAL, "no MSI");
	cr_assert_eq(pipe(ends), 0);
	cr_assert_eq(set_irqs(c, set, 2, 0, 1, fds, 1), 0);
	cr_assert_neq(s.device->vectors[0], -1);
	cr_assert_eq(set_irqs(c, set, 2, 0, 1, &ends[1], 1), -EINVAL, "no eventfd");
	cr_assert_eq(s.device->vectors[0], -1, "the kernel takes off what it had first");
	cr_assert_eq(set_irqs(c, set, VFIO_PCI_REQ_IRQ_INDEX, 0, 1, &ends[1], 1), -EINVAL);
	close(ends[0]);
	close(ends[1]);
	for (unsigned i = 0; i < SERVED_VECTORS; i++)
		close(fds[i]);
	done(c);
	stop(&s);
}

static void raise_error(void *ctx)
{
	struct vfio_device *vdev = ctx;

	vdev->events->error(vdev->events_ctx);
}

static void raise_request(void *ctx)
{
	struct vfio_device *vdev = ctx;

	vdev->events->request(vdev->events_ctx, 0);
}

static void ring(void *ctx)
{
	eventfd_write(*(const int *)ctx, 1);
}

Test(server, errors_and_requests_of_the_device_reach_the_client, .timeout = 120)
{
	const uint32_t set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	const uint32_t trigger = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
	struct server s;
	int err = eventfd(0, EFD_CLOEXEC), req = eventfd(0, EFD_CLOEXEC);
	uint64_t count;

	start(&s);
	struct client *c = new_client(&s);

	cr_assert_eq(set_irqs(c, set, VFIO_PCI_ERR_IRQ_INDEX, 0, 1, &err, 1), 0);
	cr_assert_eq(set_irqs(c, set, VFIO_PCI_REQ_IRQ_INDEX, 0, 1, &req, 1), 0);
	cr_assert_eq(loop_post(s.loop, raise_error, &s.device->vdev), 0);
	wait_readable(err);
	cr_assert_eq(loop_post(s.loop, raise_request, &s.device->vdev), 0);
	wait_readable(req);
	cr_assert_eq(atomic_load(&s.ended), 0);
	cr_assert_eq(read(err, &count, 8), 8);
	cr_assert_eq(set_irqs(c, trigger, VFIO_PCI_ERR_IRQ_INDEX, 0, 1, NULL, 0), 0);
	cr_assert(readable(err), "loopback");
	cr_assert_eq(set_irqs(c, trigger, VFIO_PCI_REQ_IRQ_INDEX, 0, 0, NULL, 0), 0);
	/* As in the kernel: there is none to be signalled or taken off. */
	cr_assert_eq(set_irqs(c, trigger, VFIO_PCI_REQ_IRQ_INDEX, 0, 1, NULL, 0), -EINVAL);
	cr_assert_eq(set_irqs(c, trigger, VFIO_PCI_REQ_IRQ_INDEX, 0, 0, NULL, 0), -EINVAL);
	/* Nobody listens any more: the device is given up. */
	cr_assert_eq(loop_post(s.loop, raise_request, &s.device->vdev), 0);
	pthread_join(s.thread, NULL);
	cr_assert_eq(atomic_load(&s.ended), 1);
	stop_parts(&s);
	close(err);
	close(req);
	done(c);
}

/* Whether it is non-blocking is the client's affair, and the client may fill its counter. */
Test(server, a_client_whose_eventfds_block_stops_nobody, .timeout = 120)
{
	const uint32_t set = VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER;
	const uint32_t trigger = VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER;
	struct server s;
	int fd = eventfd(0, EFD_CLOEXEC), rung = eventfd(0, EFD_CLOEXEC);

	start(&s);
	struct client *c = new_client(&s);

	cr_assert_eq(set_irqs(c, set, VFIO_PCI_ERR_IRQ_INDEX, 0, 1, &fd, 1), 0);
	cr_assert_eq(set_irqs(c, set, VFIO_PCI_REQ_IRQ_INDEX, 0, 1, &fd, 1), 0);
	cr_assert_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0, "its flags are its own");
	cr_assert_eq(eventfd_write(fd, UINT64_MAX - 1), 0);
	/* On the loop, and on the client's own thread. */
	cr_assert_eq(loop_post(s.loop, raise_error, &s.device->vdev), 0);
	cr_assert_eq(loop_post(s.loop, raise_request, &s.device->vdev), 0);
	cr_assert_eq(loop_post(s.loop, ring, &rung), 0);
	cr_assert_eq(set_irqs(c, trigger, VFIO_PCI_ERR_IRQ_INDEX, 0, 1, NULL, 0), 0);
	cr_assert_eq(dma(c, 0), -ENOENT);
	/* A request that comes when the client has left is for the device. */
	wait_readable(rung);
	done(c);
	done(new_client(&s));
	close(rung);
	close(fd);
	stop(&s);
}

Test(server, a_doorbell_goes_to_the_device_without_a_message, .timeout = 120)
{
	struct vfio_user_message m = {.command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
				      .io_fds = {.argsz = 16}},
				 reply;
	struct vfio_user_sub_region sub;
	struct vfio_user_packet *packet;
	const uint64_t one = 1;
	struct server s;

	start(&s);
	struct client *c = new_client(&s);

	cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), 0);
	cr_assert_eq(reply.io_fds.argsz, 56);
	m.io_fds.argsz = 4096;
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, &packet), 0);
	cr_assert_eq(reply.io_fds.count, 1);
	vfio_user_sub_region_at(&reply, 0, &sub);
	cr_assert_eq(sub.offset, 8);
	cr_assert_eq(sub.size, 4);
	cr_assert_eq(sub.datamatch, 1);
	cr_assert_neq(s.device->ioeventfd, -1);
	cr_assert_eq(write(packet->fds[sub.fd_index], &one, 8), 8);
	cr_assert(readable(s.device->ioeventfd), "it is the same eventfd");
	vfio_user_packet_free(packet);
	m.io_fds.index = 2;
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), 0);
	cr_assert_eq(reply.io_fds.count, 0);
	done(c);
	stop(&s);
}

static int (*served_ioctl)(struct vfio_device *vdev, unsigned command, void *arg);
static atomic_uint refused_bells;

static int refuse_bells(struct vfio_device *vdev, unsigned command, void *arg)
{
	if (command != VFIO_DEVICE_IOEVENTFD)
		return served_ioctl(vdev, command, arg);
	refused_bells++;
	return -ENOSPC;
}

/* Nor does the log grow by as many lines as a client has questions. */
Test(server, a_doorbell_that_the_device_refuses_is_not_asked_for_again, .timeout = 120)
{
	struct vfio_user_message m = {.command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
				      .io_fds = {.argsz = 4096}},
				 reply;
	struct server s;

	start(&s);
	served_ioctl = s.device->ops.ioctl;
	s.device->ops.ioctl = refuse_bells;
	for (unsigned client = 1; client <= 2; client++) {
		struct client *c = new_client(&s);

		for (unsigned i = 0; i < 3; i++) {
			cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), 0);
			cr_assert_eq(reply.io_fds.count, 0);
		}
		cr_assert_eq(refused_bells, client);
		done(c);
	}
	stop(&s);
}

static void own_bells_are(struct client *c, struct server *s, unsigned has, unsigned told)
{
	struct vfio_user_message m = {.command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
				      .io_fds = {.argsz = 4096}},
				 reply;
	struct vfio_user_sub_region sub;
	struct vfio_user_packet *packet;
	const uint64_t three = 3;
	eventfd_t rang;

	s->device->own_bells = has;
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, &packet), 0);
	cr_assert_eq(reply.io_fds.count, 1 + told);
	for (unsigned i = 0; i < told; i++) {
		vfio_user_sub_region_at(&reply, 1 + i, &sub);
		cr_assert_eq(sub.offset, 0x20 + 4 * i);
		cr_assert_eq(sub.size, 4);
		cr_assert_eq(sub.flags, i % 2 ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0);
		cr_assert_eq(sub.datamatch, i % 2 ? 9 : 0);
		cr_assert_eq(write(packet->fds[sub.fd_index], &three, 8), 8);
		cr_assert_eq(eventfd_read(s->device->own_bell, &rang), 0);
		cr_assert_eq(rang, 3);
	}
	vfio_user_packet_free(packet);
}

Test(server, the_doorbells_of_the_device_itself_are_told, .timeout = 120)
{
	struct vfio_user_message m = {.command = VFIO_USER_DEVICE_GET_REGION_IO_FDS,
				      .io_fds = {.argsz = 4096, .index = 1}},
				 reply;
	struct server s;

	start(&s);
	struct client *c = new_client(&s);

	own_bells_are(c, &s, 0, 0);
	own_bells_are(c, &s, 1, 1);
	own_bells_are(c, &s, 4, 4);
	/* As many as a message can carry, beside the one of the configuration. */
	own_bells_are(c, &s, 100, VFIO_USER_MAX_MSG_FDS - 1);
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), 0);
	cr_assert_eq(reply.io_fds.count, 0);
	done(c);
	stop(&s);
}

Test(server, a_device_migrates_by_messages, .timeout = 120)
{
	const uint32_t state_set = VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_SET;
	const uint32_t state_get = VFIO_DEVICE_FEATURE_MIG_DEVICE_STATE | VFIO_DEVICE_FEATURE_GET;
	struct vfio_device_feature_mig_state state = {.data_fd = 5}, got;
	struct vfio_user_message m, reply;
	struct vfio_user_packet *packet;
	uint8_t *stream = malloc(SERVED_MEMORY);
	uint64_t flags, size;
	struct server s;
	size_t at = 0;

	start(&s);
	struct client *c = new_client(&s);

	cr_assert_eq(feature(c, VFIO_DEVICE_FEATURE_MIGRATION | VFIO_DEVICE_FEATURE_GET, NULL, 0,
			     &flags, 8),
		     0);
	cr_assert_eq(flags, 5);
	cr_assert_eq(feature(c,
			     VFIO_DEVICE_FEATURE_MIGRATION | VFIO_DEVICE_FEATURE_PROBE |
				     VFIO_DEVICE_FEATURE_GET,
			     NULL, 0, NULL, 0),
		     0);
	cr_assert_eq(feature(c, VFIO_DEVICE_FEATURE_MIG_DATA_SIZE | VFIO_DEVICE_FEATURE_GET, NULL,
			     0, &size, 8),
		     0);
	cr_assert_eq(size, SERVED_MEMORY);
	m = (struct vfio_user_message){.command = VFIO_USER_MIG_DATA_READ, .mig_data = {4096, 8}};
	cr_assert_eq(ask_simply(c, &m), -EINVAL, "no session");

	memset(stream, 0x3c, SERVED_MEMORY);
	cr_assert_eq(write_region(c, 2, 0, stream, SERVED_MEMORY), 0);
	memset(stream, 0, SERVED_MEMORY);
	state.device_state = VFIO_DEVICE_STATE_STOP_COPY;
	cr_assert_eq(feature(c, state_set, &state, sizeof(state), &got, sizeof(got)), 0);
	cr_assert_eq(got.data_fd, 5, "the reply is the request");
	do {
		m = (struct vfio_user_message){.command = VFIO_USER_MIG_DATA_READ,
					       .mig_data = {40008, 40000}};
		cr_assert_eq(ask(c, &m, NULL, 0, &reply, &packet), 0);
		if (reply.data_size)
			memcpy(stream + at, reply.data, reply.data_size);
		at += reply.mig_data.size;
		vfio_user_packet_free(packet);
	} while (reply.mig_data.size == 40000);
	cr_assert_eq(at, SERVED_MEMORY, "whole, although the device gives small pieces");
	for (unsigned i = 0; i < SERVED_MEMORY; i++)
		cr_assert_eq(stream[i], 0x3c);
	cr_assert_eq(feature(c, state_get, NULL, 0, &got, sizeof(got)), 0);
	cr_assert_eq(got.device_state, VFIO_DEVICE_STATE_STOP_COPY);

	/* A state that breaks off is no shorter state: less than was asked for would be its end. */
	state.device_state = VFIO_DEVICE_STATE_STOP;
	cr_assert_eq(feature(c, state_set, &state, sizeof(state), &got, sizeof(got)), 0);
	state.device_state = VFIO_DEVICE_STATE_STOP_COPY;
	cr_assert_eq(feature(c, state_set, &state, sizeof(state), &got, sizeof(got)), 0);
	s.device->fails_at = 2000;
	m = (struct vfio_user_message){.command = VFIO_USER_MIG_DATA_READ,
				       .mig_data = {40008, 40000}};
	cr_assert_eq(ask_simply(c, &m), -EIO);
	s.device->fails_at = 0;

	memset(stream, 0x4d, SERVED_MEMORY);
	state.device_state = VFIO_DEVICE_STATE_RESUMING;
	cr_assert_eq(feature(c, state_set, &state, sizeof(state), &got, sizeof(got)), 0);
	m = (struct vfio_user_message){.command = VFIO_USER_MIG_DATA_WRITE,
				       .mig_data = {8 + SERVED_MEMORY, SERVED_MEMORY},
				       .data = stream,
				       .data_size = SERVED_MEMORY};
	cr_assert_eq(ask_simply(c, &m), 0);
	uint8_t last;

	cr_assert_eq(read_region(c, 2, SERVED_MEMORY - 1, &last, 1), 0);
	cr_assert_eq(last, 0x4d);
	cr_assert_eq(ask_simply(c, &m), -ENOSPC);
	state.device_state = VFIO_DEVICE_STATE_RUNNING;
	cr_assert_eq(feature(c, state_set, &state, sizeof(state), &got, sizeof(got)), 0);
	cr_assert_eq(ask_simply(c, &m), -EINVAL, "the session is over");

	/* Descriptors and pointers of a client are none of the server's. */
	cr_assert_eq(feature(c, 4 | VFIO_DEVICE_FEATURE_SET, &state, sizeof(state), NULL, 0),
		     -ENOTTY);
	cr_assert_eq(feature(c, VFIO_DEVICE_FEATURE_GET | 999, NULL, 0, NULL, 0), -ENOTTY);
	cr_assert_eq(feature(c, state_get | VFIO_DEVICE_FEATURE_SET, NULL, 0, NULL, 0), -EINVAL);
	cr_assert_eq(feature(c, state_set, &state, 4, NULL, 0), -EINVAL);
	free(stream);
	done(c);
	stop(&s);
}

Test(server, dma_is_logged_over_ranges_or_over_all_that_is_mapped, .timeout = 120)
{
	struct {
		struct vfio_user_logging_control control;
		struct vfio_device_feature_dma_logging_range range;
	} start_log = {{4096, 1, 0}, {0, 65536}}, started;
	struct {
		struct vfio_user_logging_report report;
		uint64_t bitmap;
	} report;
	struct vfio_user_logging_report ask_report = {0, 65536, 4096};
	struct vfio_user_message m, reply;
	struct server s;

	start(&s);
	struct client *c = new_client(&s);

	cr_assert_eq(map(c, 0, 65536, 3, -1), 0);
	cr_assert_eq(feature(c, 8 | VFIO_DEVICE_FEATURE_GET, &ask_report, 24, &report, 32),
		     -EINVAL);
	cr_assert_eq(feature(c, 6 | VFIO_DEVICE_FEATURE_SET, &start_log, 32, &started, 32), 0);
	cr_assert_eq(feature(c, 6 | VFIO_DEVICE_FEATURE_SET, &start_log, 32, &started, 32), -EBUSY);
	cr_assert_eq(dma(c, 0x1000), 1);
	cr_assert_eq(feature(c, 8 | VFIO_DEVICE_FEATURE_GET, &ask_report, 24, &report, 32), 0);
	cr_assert_eq(report.bitmap, 1);
	cr_assert_eq(feature(c, 8 | VFIO_DEVICE_FEATURE_GET, &ask_report, 24, &report, 32), 0);
	cr_assert_eq(report.bitmap, 0);
	/* Too little room for the bitmap: how much it takes. */
	m = (struct vfio_user_message){
		.command = VFIO_USER_DEVICE_FEATURE,
		.feature = {32, 8 | VFIO_DEVICE_FEATURE_GET},
		.data = &ask_report,
		.data_size = 24,
	};
	cr_assert_eq(ask(c, &m, NULL, 0, &reply, NULL), 0);
	cr_assert_eq(reply.feature.argsz, 40);
	ask_report.length = UINT64_MAX;
	cr_assert_eq(feature(c, 8 | VFIO_DEVICE_FEATURE_GET, &ask_report, 24, &report, 32), -E2BIG);
	cr_assert_eq(feature(c, 7 | VFIO_DEVICE_FEATURE_SET, NULL, 0, NULL, 0), 0);
	cr_assert_eq(feature(c, 7 | VFIO_DEVICE_FEATURE_SET, NULL, 0, NULL, 0), -EINVAL);

	start_log.control.num_ranges = 0;
	cr_assert_eq(feature(c, 6 | VFIO_DEVICE_FEATURE_SET, &start_log, 16, &started, 16), 0);
	cr_assert_eq(feature(c, 7 | VFIO_DEVICE_FEATURE_SET, NULL, 0, NULL, 0), 0);
	start_log.control.num_ranges = 1000;
	cr_assert_eq(feature(c, 6 | VFIO_DEVICE_FEATURE_SET, &start_log, 32, &started, 32),
		     -EINVAL);
	done(c);
	stop(&s);
}
