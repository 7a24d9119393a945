/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The reference device behind libvfio-user: a server with MSI-X, capabilities, mappable memory and DMA
 * whose protocol code is not ours (libvfio-user's own samples have none of these).
 *
 * reference-server [-m] SOCKET    -m: DMA by messages (DMA_READ, DMA_WRITE), not by mapping memory
 *
 * A request is done while the doorbell's write is being answered. Serves one client after another, until
 * SIGTERM or SIGINT. SIGUSR1: the files behind its BARs, which cannot be sealed, are cut to nothing; what was
 * in them it goes on to give by message.
 */
#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <libvfio-user/libvfio-user.h>

#include "devices/vfio/reference/model.h"

#define BOUNCE 65536u
/* A request is cut by the model; an access crosses few of the client's maps. */
#define MAX_SG 16

/* How the library's opaque dma_sg_t begins (lib/dma.h). */
struct sg_head {
	vfu_dma_addr_t base; /* of the map */
	int region;
	uint64_t length, offset;
};

struct server {
	vfu_ctx_t *vfu;
	bool by_messages;
	struct reference_device device;
};

static volatile sig_atomic_t stopping;

static void stop(int number)
{
	(void)number;
	stopping = 1;
}

/* What is behind a BAR: the memory, and the file that the client maps. */
static struct {
	uint8_t *memory, *spare;
	size_t size;
	int fd;
} files[2];

static void cut(int number)
{
	(void)number;
	for (unsigned i = 0; i < 2; i++) {
		memcpy(files[i].spare, files[i].memory, files[i].size);
		if (mremap(files[i].spare, files[i].size, files[i].size,
			   MREMAP_MAYMOVE | MREMAP_FIXED, files[i].memory) == MAP_FAILED ||
		    ftruncate(files[i].fd, 0) < 0)
			_exit(1);
	}
	signal(number, SIG_IGN);
	write(STDERR_FILENO, "cut\n", 4);
}

static void log_message(vfu_ctx_t *vfu, int level, const char *message)
{
	(void)vfu;
	(void)level;
	fprintf(stderr, "reference-server: %s\n", message);
}

static void raise_vector(void *ctx, uint32_t vector)
{
	struct server *server = ctx;

	/* Nobody listens: the message is lost, as on a bus. */
	if (vfu_irq_trigger(server->vfu, vector) < 0 && errno != ENOENT)
		warn("vector %u", vector);
}

static void set_intx(void *ctx, bool asserted)
{
	(void)ctx;
	(void)asserted;
}

/*
 * access_by_message - by DMA_READ or DMA_WRITE. 0 or -errno. The library forgets that an access may begin
 * behind the beginning of a map (vfu_dma_transfer()), so it is told that the map begins there.
 */
static int access_by_message(struct server *server, dma_sg_t *sg, void *buffer, bool write)
{
	struct sg_head head;

	memcpy(&head, sg, sizeof(head));
	head.base = (uint8_t *)head.base + head.offset;
	head.offset = 0;
	memcpy(sg, &head, sizeof(head));
	return (write ? vfu_sgl_write : vfu_sgl_read)(server->vfu, sg, 1, buffer) < 0 ? -errno : 0;
}

/* access_memory - the one access that the model asks for. 0 or -errno. */
static int access_memory(struct server *server, const struct reference_access *access)
{
	bool write = access->kind == REFERENCE_ACCESS_WRITE;
	size_t sg_size = dma_sg_size();
	dma_sg_t *sg = calloc(MAX_SG, sg_size);
	struct iovec iov[MAX_SG];
	uint8_t *at = access->buffer;
	int count, ret = 0;

	if (sg == NULL)
		return -ENOMEM;
	count = vfu_addr_to_sgl(server->vfu, (vfu_dma_addr_t)(uintptr_t)access->iova,
				access->length, sg, MAX_SG, write ? PROT_WRITE : PROT_READ);
	if (count <= 0) {
		ret = -EFAULT;
	} else if (server->by_messages) {
		/* The library takes one map's part at a time, and does not tell how long it is. */
		ret = count == 1 ? access_by_message(server, sg, at, write) : -EFAULT;
	} else if (vfu_sgl_get(server->vfu, sg, iov, (size_t)count, 0) < 0) {
		ret = -errno;
	} else {
		for (int i = 0; i < count; i++) {
			if (write)
				memcpy(iov[i].iov_base, at, iov[i].iov_len);
			else
				memcpy(at, iov[i].iov_base, iov[i].iov_len);
			at += iov[i].iov_len;
		}
		vfu_sgl_put(server->vfu, sg, iov, (size_t)count);
	}
	free(sg);
	return ret;
}

static void run_engine(struct server *server)
{
	struct reference_access access;

	while (reference_next(&server->device, &access) > 0)
		if (access.kind != REFERENCE_ACCESS_NONE)
			reference_done(&server->device, access_memory(server, &access));
}

static ssize_t access_region(vfu_ctx_t *vfu, uint32_t index, char *buffer, size_t count,
			     loff_t offset, bool write)
{
	struct server *server = vfu_get_private(vfu);
	uint32_t effects = 0;
	ssize_t done;

	done = write ? reference_write(&server->device, index, buffer, count, (uint64_t)offset,
				       &effects)
		     : reference_read(&server->device, index, buffer, count, (uint64_t)offset);
	if (done < 0) {
		errno = (int)-done;
		return -1;
	}
	if (effects & REFERENCE_EFFECT_KICK)
		run_engine(server);
	return done;
}

static ssize_t access_bar0(vfu_ctx_t *vfu, char *buffer, size_t count, loff_t offset, bool write)
{
	return access_region(vfu, 0, buffer, count, offset, write);
}

static ssize_t access_bar1(vfu_ctx_t *vfu, char *buffer, size_t count, loff_t offset, bool write)
{
	return access_region(vfu, 1, buffer, count, offset, write);
}

static ssize_t access_bar2(vfu_ctx_t *vfu, char *buffer, size_t count, loff_t offset, bool write)
{
	return access_region(vfu, 2, buffer, count, offset, write);
}

static ssize_t access_config(vfu_ctx_t *vfu, char *buffer, size_t count, loff_t offset, bool write)
{
	return access_region(vfu, VFU_PCI_DEV_CFG_REGION_IDX, buffer, count, offset, write);
}

static int reset(vfu_ctx_t *vfu, vfu_reset_type_t type)
{
	struct server *server = vfu_get_private(vfu);

	(void)type;
	return reference_reset(&server->device) < 0 ? -1 : 0;
}

/* The library asks for both before it knows about memory of the client. */
static void dma_register(vfu_ctx_t *vfu, vfu_dma_info_t *info)
{
	(void)vfu;
	(void)info;
}

static void dma_unregister(vfu_ctx_t *vfu, vfu_dma_info_t *info)
{
	(void)vfu;
	(void)info;
}

/* memory_file - a descriptor of @size bytes and a mapping of them; number @i of files. */
static uint8_t *memory_file(unsigned i, const char *name, size_t size, int *fd)
{
	void *memory, *spare;

	*fd = memfd_create(name, MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, (off_t)size) < 0)
		err(1, "%s", name);
	memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	spare = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED || spare == MAP_FAILED)
		err(1, "%s", name);
	files[i].memory = memory;
	files[i].spare = spare;
	files[i].size = size;
	files[i].fd = *fd;
	return memory;
}

static void make_device(struct server *server, int *bar0_fd, int *bar2_fd)
{
	size_t bitmap = REFERENCE_BITMAP_BYTES(REFERENCE_MEMORY_DEFAULT);
	struct reference_env env = {.ctx = server, .raise = raise_vector, .intx = set_intx};
	struct reference_geometry geometry = {
		.vectors = REFERENCE_VECTORS_DEFAULT,
		.memory_size = REFERENCE_MEMORY_DEFAULT,
		.serial = 1,
	};
	struct reference_memory memory = {
		.scratch = memory_file(0, "bar0", REFERENCE_BAR0_SIZE, bar0_fd) +
			   REFERENCE_SCRATCH_OFFSET,
		.memory = memory_file(1, "bar2", REFERENCE_MEMORY_DEFAULT, bar2_fd),
		.dirty = malloc(bitmap),
		.fresh = malloc(bitmap),
		.bounce = malloc(BOUNCE),
		.bounce_size = BOUNCE,
	};

	if (memory.dirty == NULL || memory.fresh == NULL || memory.bounce == NULL)
		errx(1, "no memory");
	if (reference_init(&server->device, &env, &geometry, &memory, VFIO_MIGRATION_STOP_COPY) < 0)
		errx(1, "the model refused its surroundings");
	reference_set_mapped(&server->device, true);
}

static void make_regions(struct server *server, int bar0_fd, int bar2_fd)
{
	struct iovec scratch = {(void *)REFERENCE_SCRATCH_OFFSET, REFERENCE_SCRATCH_SIZE};
	struct iovec memory = {NULL, REFERENCE_MEMORY_DEFAULT};
	int flags = VFU_REGION_FLAG_RW | VFU_REGION_FLAG_MEM;
	vfu_ctx_t *vfu = server->vfu;

	if (vfu_pci_init(vfu, VFU_PCI_TYPE_EXPRESS, 0, REFERENCE_REVISION) < 0 ||
	    vfu_setup_region(vfu, 0, REFERENCE_BAR0_SIZE, access_bar0, flags, &scratch, 1, bar0_fd,
			     0) < 0 ||
	    vfu_setup_region(vfu, 1, REFERENCE_BAR1_SIZE, access_bar1, flags, NULL, 0, -1, 0) < 0 ||
	    vfu_setup_region(vfu, 2, REFERENCE_MEMORY_DEFAULT, access_bar2, flags, &memory, 1,
			     bar2_fd, 0) < 0 ||
	    vfu_setup_region(vfu, VFU_PCI_DEV_CFG_REGION_IDX, REFERENCE_CONFIG_SIZE, access_config,
			     VFU_REGION_FLAG_RW | VFU_REGION_FLAG_ALWAYS_CB, NULL, 0, -1, 0) < 0)
		err(1, "regions");
	if (vfu_setup_device_nr_irqs(vfu, VFU_DEV_INTX_IRQ, 1) < 0 ||
	    vfu_setup_device_nr_irqs(vfu, VFU_DEV_MSIX_IRQ, REFERENCE_VECTORS_DEFAULT) < 0 ||
	    vfu_setup_device_reset_cb(vfu, reset) < 0 ||
	    vfu_setup_device_dma(vfu, dma_register, dma_unregister) < 0 || vfu_realize_ctx(vfu) < 0)
		err(1, "device");
}

int main(int argc, char **argv)
{
	static struct server server;
	struct sigaction action = {.sa_handler = stop};
	int bar0_fd, bar2_fd, option, ret;

	while ((option = getopt(argc, argv, "m")) != -1) {
		if (option != 'm')
			errx(2, "usage: reference-server [-m] SOCKET");
		server.by_messages = true;
	}
	if (optind + 1 != argc)
		errx(2, "usage: reference-server [-m] SOCKET");
	/* Without SA_RESTART: the library's calls are to be interrupted. */
	sigaction(SIGTERM, &action, NULL);
	sigaction(SIGINT, &action, NULL);

	server.vfu = vfu_create_ctx(VFU_TRANS_SOCK, argv[optind], 0, &server, VFU_DEV_TYPE_PCI);
	if (server.vfu == NULL)
		err(1, "%s", argv[optind]);
	vfu_setup_log(server.vfu, log_message, 3);
	make_device(&server, &bar0_fd, &bar2_fd);
	make_regions(&server, bar0_fd, bar2_fd);
	action.sa_handler = cut;
	sigaction(SIGUSR1, &action, NULL);

	while (!stopping) {
		ret = vfu_attach_ctx(server.vfu);
		while (ret == 0 && !stopping) {
			ret = vfu_run_ctx(server.vfu);
			if (ret < 0 && errno == EINTR)
				ret = 0;
			else if (ret > 0)
				ret = 0;
		}
		if (ret < 0 && errno != ENOTCONN && errno != EINTR)
			err(1, "serving");
	}
	vfu_destroy_ctx(server.vfu);
	unlink(argv[optind]);
	return 0;
}
