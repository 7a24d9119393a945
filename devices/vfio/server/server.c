// SPDX-License-Identifier: Apache-2.0
/* The socket, the device, and one client after the other. */
#include "devices/vfio/server/server.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/server/session.h"
#include "vmm/base/host.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"

/* How often a client is asked to let go (every 10 s) before the device is taken from it. */
#define MAX_REQUESTS 2

/* Between two tries to take a client for whom there was no descriptor: nobody tells when one is free. */
#define ACCEPT_AGAIN_NS 500000000ull

struct vfio_server {
	struct loop *loop;
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	struct vfio_device *vdev;
	struct vfio_server_config config;
	struct host_listener listener;
	struct loop_source *source;
	struct loop_source *again; /* timer: listen once more */
	struct loop_source *left;  /* timer, set by a session's thread that ends: it cannot fail */
	bool exhausted;            /* it was said that clients cannot be taken */

	/* Loop thread, but the session's own thread reads them. */
	struct vfio_user_channel *channel; /* of the client; NULL: none */
	struct session *session;
	pthread_t thread;
	int result; /* why the client left */
	bool ending;
};

/* ---- the device --------------------------------------------------------------------------------- */

static void end(struct vfio_server *server, int error)
{
	if (server->ending)
		return;
	server->ending = true;
	if (server->source)
		loop_set_events(server->loop, server->source, 0);
	if (server->again)
		loop_timer_set(server->loop, server->again, 0);
	server->config.ended(server->config.ctx, error);
}

/* The host wants it back: the client is asked, if it listens, and in the end not asked any more. */
static void device_request(void *ctx, unsigned count)
{
	struct vfio_server *server = ctx;

	if (count < MAX_REQUESTS && server->session &&
	    session_signal(server->session, VFIO_PCI_REQ_IRQ_INDEX)) {
		vfio_info(server->vdev->dev, 0,
			  "the host wants the device back; the client is told");
		return;
	}
	vfio_warn(server->vdev->dev, 0, "the host wants the device back; it is given up");
	end(server, 0);
}

static void device_error(void *ctx)
{
	struct vfio_server *server = ctx;

	vfio_error(server->vdev->dev, 0, "the device reports an unrecoverable error");
	if (server->session)
		session_signal(server->session, VFIO_PCI_ERR_IRQ_INDEX);
}

static void device_gone(void *ctx)
{
	struct vfio_server *server = ctx;

	vfio_error(server->vdev->dev, 0, "the device is gone");
	end(server, -ENODEV);
}

static const struct vfio_device_events events = {
	.request = device_request,
	.error = device_error,
	.gone = device_gone,
};

static int open_device(struct vfio_server *server)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};
	struct vfio_device *vdev = server->vdev;
	uint32_t pt_id = ioas_id(server->ioas);
	int rc = vfio_device_open(vdev, server->ictx);

	if (rc)
		return rc; /* the provider said why */
	rc = vfio_device_ioctl(vdev, VFIO_DEVICE_GET_INFO, &info);
	if (!rc && !(info.flags & VFIO_DEVICE_FLAGS_PCI)) {
		rc = vfio_error(vdev->dev, -EOPNOTSUPP, "no PCI device; vfio-user knows no other");
	} else if (!rc &&
		   (info.num_regions > SERVER_MAX_REGIONS || info.num_irqs > SERVER_MAX_IRQS)) {
		rc = vfio_error(
			vdev->dev, -E2BIG,
			"%u regions and %u kinds of interrupts; up to %u and %u can be served",
			info.num_regions, info.num_irqs, SERVER_MAX_REGIONS, SERVER_MAX_IRQS);
	} else if (rc) {
		vfio_error(vdev->dev, rc, "device info: %m");
	}
	if (!rc)
		rc = vfio_device_attach(vdev, &pt_id);
	if (rc)
		vfio_device_close(vdev);
	return rc;
}

/* A doorbell that no client could ring is a slip of whoever named it, and would never be noticed. */
static int check_doorbells(const struct vfio_server *server)
{
	for (unsigned i = 0; i < server->config.doorbell_count; i++) {
		const struct vfio_server_doorbell *bell = &server->config.doorbells[i];
		struct vfio_region_info info = {.argsz = sizeof(info), .index = bell->region};

		if (vfio_device_ioctl(server->vdev, VFIO_DEVICE_GET_REGION_INFO, &info) < 0 ||
		    !(info.flags & VFIO_REGION_INFO_FLAG_WRITE))
			info.size = 0;
		if (bell->offset % bell->size == 0 && bell->offset < info.size &&
		    bell->size <= info.size - bell->offset)
			continue;
		return vfio_error(server->vdev->dev, -EINVAL,
				  "--doorbell region=%u,offset=0x%llx,size=%u: no aligned write "
				  "there; the region has 0x%llx bytes that can be written",
				  bell->region, (unsigned long long)bell->offset, bell->size,
				  (unsigned long long)info.size);
	}
	return 0;
}

/*
 * After a client: as after power-on, by a reset, or by closing and opening where there is none or the client has memory
 * of the device mapped.
 */
static int renew_device(struct vfio_server *server, int reset, bool gave_memory)
{
	if (reset)
		vfio_debug(server->vdev->dev, reset, "reset after the client: %m");
	else if (!gave_memory || !server->vdev->region_fd_renewed)
		return 0;
	if (server->config.open_once)
		return vfio_error(server->vdev->dev, reset,
				  "it cannot be reset (%m), and a passed descriptor serves no "
				  "second client; pass a new one");
	vfio_device_close(server->vdev);
	return open_device(server);
}

/* ---- clients ------------------------------------------------------------------------------------ */

/* Loop thread. A host without memory to watch one more descriptor may have some later. */
static void accept_again(void *ctx)
{
	struct vfio_server *server = ctx;

	if (!server->ending && loop_set_events(server->loop, server->source, EPOLLIN) < 0)
		loop_timer_set(server->loop, server->again, ACCEPT_AGAIN_NS);
}

static void client_done(struct vfio_server *server)
{
	bool gave_memory;
	int rc;

	pthread_join(server->thread, NULL);
	vfio_info(server->vdev->dev, 0, "the client has gone: %s",
		  server->result == -ECONNRESET ? "it closed the connection"
						: strerror(-server->result));
	gave_memory = server->session->gave_memory;
	rc = session_destroy(server->session);
	server->session = NULL;
	vfio_user_channel_destroy(server->channel);
	server->channel = NULL;
	if (server->ending)
		return;
	rc = renew_device(server, rc, gave_memory);
	if (rc)
		end(server, rc);
	else
		accept_again(server);
}

static void client_left(void *ctx)
{
	struct vfio_server *server = ctx;

	if (server->session && !server->ending)
		client_done(server);
}

static void *serve_client(void *ctx)
{
	struct vfio_server *server = ctx;

	server->result = session_run(server->session);
	vfio_user_channel_shutdown(server->channel, server->result);
	loop_timer_set(server->loop, server->left, 1);
	return NULL;
}

static int take_client(struct vfio_server *server, int fd)
{
	int rc = vfio_user_channel_create(fd, &(struct vfio_user_channel_config){0},
					  &server->channel);

	if (rc) {
		close(fd);
		return rc;
	}
	rc = session_create(server->vdev, server->ioas, &server->config, server->channel,
			    &server->session);
	if (rc)
		goto destroy_channel;
	rc = -pthread_create(&server->thread, NULL, serve_client, server);
	if (rc)
		goto destroy_session;
	pthread_setname_np(server->thread, "session");
	return 0;

destroy_session:
	session_destroy(server->session);
	server->session = NULL;
destroy_channel:
	vfio_user_channel_destroy(server->channel);
	server->channel = NULL;
	return rc;
}

/*
 * A client that cannot be taken (-EMFILE, -ENFILE, -ENOMEM) stays in the queue and keeps the listener
 * readable: the loop would do nothing but try again.
 */
static void accept_later(struct vfio_server *server, int error)
{
	loop_set_events(server->loop, server->source, 0);
	loop_timer_set(server->loop, server->again, ACCEPT_AGAIN_NS);
	if (server->exhausted)
		return;
	server->exhausted = true;
	vfio_warn(server->vdev->dev, error,
		  "a client waits, but cannot be taken yet: %m; it is tried again until it works");
}

/* The next one stays in the queue until this one has left. */
static void accept_client(void *ctx, uint32_t ready)
{
	struct vfio_server *server = ctx;
	int fd, rc;

	(void)ready;
	fd = accept4(server->listener.fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0) {
		/* Else it has gone again. */
		if (errno != EAGAIN && errno != ECONNABORTED && errno != EINTR)
			accept_later(server, -errno);
		return;
	}
	server->exhausted = false;
	rc = take_client(server, fd);
	if (rc) {
		vfio_error(server->vdev->dev, rc, "a client is refused: %m");
		return;
	}
	vfio_info(server->vdev->dev, 0, "a client");
	loop_set_events(server->loop, server->source, 0);
}

/* ---- life --------------------------------------------------------------------------------------- */

static int explain_listen(const char *path, int error)
{
	switch (error) {
	case -EADDRINUSE:
		log_error("--socket %s: another process listens there; end it, or take another "
			  "path",
			  path);
		break;
	case -EEXIST:
		log_error("--socket %s: there is a file that is no socket; remove it, or take "
			  "another path",
			  path);
		break;
	case -ENAMETOOLONG:
		log_error("--socket %s: longer than a socket's path may be (107 bytes)", path);
		break;
	default:
		log_failure(error, "--socket %s", path);
		break;
	}
	return error;
}

int vfio_server_create(struct loop *loop, struct iommufd_ctx *ictx, struct ioas *ioas,
		       struct vfio_device *vdev, const struct vfio_server_config *config,
		       struct vfio_server **out)
{
	struct vfio_server *server = calloc(1, sizeof(*server));
	int rc;

	if (!server)
		return -ENOMEM;
	server->loop = loop;
	server->ictx = ictx;
	server->ioas = ioas;
	server->vdev = vdev;
	server->config = *config;

	/* First the path: who takes the device from another client for nothing has done harm. */
	rc = host_listen_unix(config->path, &server->listener);
	if (rc) {
		explain_listen(config->path, rc);
		goto free_server;
	}
	vfio_device_set_events(vdev, &events, server);
	rc = open_device(server);
	if (rc)
		goto close_listener;
	rc = check_doorbells(server);
	if (rc)
		goto close_device;
	rc = loop_add_timer(loop, accept_again, server, &server->again);
	if (rc)
		goto close_device;
	rc = loop_add_timer(loop, client_left, server, &server->left);
	if (rc)
		goto remove_again;
	rc = loop_add_fd(loop, server->listener.fd, EPOLLIN, accept_client, server,
			 &server->source);
	if (rc)
		goto remove_left;
	vfio_info(vdev->dev, 0, "served on %s", config->path);
	*out = server;
	return 0;

remove_left:
	loop_remove(loop, server->left);
remove_again:
	loop_remove(loop, server->again);
close_device:
	vfio_device_close(vdev);
close_listener:
	vfio_device_set_events(vdev, NULL, NULL);
	host_listener_close(&server->listener);
free_server:
	free(server);
	return rc;
}

void vfio_server_destroy(struct vfio_server *server)
{
	if (!server)
		return;
	server->ending = true;
	loop_remove(server->loop, server->source);
	loop_remove(server->loop, server->again);
	host_listener_close(&server->listener);
	if (server->session) {
		vfio_user_channel_shutdown(server->channel, -ESHUTDOWN);
		client_done(server);
	}
	loop_remove(server->loop, server->left); /* nobody sets it any more */
	vfio_device_close(server->vdev);
	vfio_device_set_events(server->vdev, NULL, NULL);
	free(server);
}
