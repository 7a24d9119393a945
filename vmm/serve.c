// SPDX-License-Identifier: Apache-2.0
/* The parts list of `sluice serve`: a loop, signals, an address space, one device, its server. */
#include "vmm/serve.h"

#include <errno.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/device.h"
#include "vmm/base/dma.h"
#include "vmm/base/help.h"
#include "vmm/base/host.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/machine.h"
#include "vmm/options.h"
#include "vmm/passthrough.h"
#include "vmm/signals.h"

struct service {
	const struct serve_config *config;
	struct loop *loop;
	struct signals *signals;
	struct iommufd_ctx *ictx;
	struct ioas *ioas;
	struct passthrough *passthrough;
	struct vfio_device *vdev;
	struct vfio_server *server;
	int status;
};

static void log_state(struct service *service)
{
	json_t *state = vfio_device_status(service->vdev);
	char *text = state != NULL ? json_dumps(state, JSON_COMPACT) : NULL;

	if (text != NULL)
		log_answer("state %s", text);
	free(text);
	json_decref(state);
}

static void signal_arrived(void *ctx, int number)
{
	struct service *service = ctx;

	if (number == SIGUSR1)
		log_state(service);
	else if (number == SIGTERM || number == SIGINT)
		loop_stop(service->loop);
}

static void ended(void *ctx, int error)
{
	struct service *service = ctx;

	service->status = error ? STATUS_HOST_FAILURE : STATUS_OFF;
	loop_stop(service->loop);
}

static int create_server(struct service *service)
{
	const struct serve_config *config = service->config;
	const struct vfio_server_config server = {
		.path = config->path,
		.share_fd = config->share_fd,
		.open_once = config->vm.vfio[0].fd >= 0,
		.doorbells = config->doorbells,
		.doorbell_count = config->doorbell_count,
		.ended = ended,
		.ctx = service,
	};

	service->vdev = passthrough_device(service->passthrough, 0);
	if (config->share_fd)
		log_info("vfio %s: clients get a descriptor by which they reach all of the device",
			 service->vdev->dev);
	return vfio_server_create(service->loop, service->ictx, service->ioas, service->vdev,
				  &server, &service->server);
}

/* Every failure below create_server() has been said but these, of a host without memory. */
static int create_base(struct service *service)
{
	int r;

	if ((r = loop_create(&service->loop)) < 0 ||
	    (r = signals_create(service->loop, signal_arrived, service, &service->signals)) < 0 ||
	    (r = iommufd_ctx_create(&service->ictx)) < 0 ||
	    (r = ioas_create(service->ictx, &service->ioas)) < 0)
		log_failure(r, "serve");
	return r;
}

static int find_device(struct service *service)
{
	int r = passthrough_find(&service->config->vm, service->loop, service->ictx,
				 &service->passthrough);

	if (passthrough_misnamed(r))
		service->status = STATUS_BAD_ARGUMENTS;
	return r;
}

static void destroy(struct service *service)
{
	vfio_server_destroy(service->server);
	passthrough_destroy(service->passthrough);
	ioas_destroy(service->ioas);
	iommufd_ctx_destroy(service->ictx);
	signals_destroy(service->signals);
	if (service->loop != NULL)
		loop_destroy(service->loop);
}

static int serve(const struct serve_config *config)
{
	struct service service = {.config = config, .status = STATUS_HOST_FAILURE};
	int r;

	r = create_base(&service);
	if (r == 0)
		r = find_device(&service);
	if (r == 0)
		r = create_server(&service);
	if (r == 0) {
		service.status = STATUS_OFF;
		r = loop_run(service.loop);
		if (r < 0)
			service.status = STATUS_HOST_FAILURE;
	}
	destroy(&service);
	if (r < 0)
		log_unsaid(r);
	return service.status;
}

int serve_main(int argc, char **argv)
{
	struct serve_config config;
	int status = STATUS_BAD_ARGUMENTS;
	int r = serve_parse(argc, argv, &config);

	if (r > 0)
		status = help_print(serve_help) < 0 ? STATUS_HOST_FAILURE : STATUS_OFF;
	if (r == 0) {
		r = options_open_log(&config.vm);
		status = r < 0 ? STATUS_HOST_FAILURE : serve(&config);
	}
	if (r < 0)
		log_unsaid(r);
	serve_config_destroy(&config);
	return status;
}
