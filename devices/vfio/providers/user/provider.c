/* SPDX-License-Identifier: Apache-2.0 */
/* The user provider: a device that another process serves by the vfio-user protocol. */
#include "devices/vfio/providers/user/provider.h"

#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/user/user.h"
#include "vmm/base/loop.h"

#define PREFIX "user:"

/* ---- bind and open ---------------------------------------------------------------------------- */

static int user_bind(struct vfio_device *vdev, struct iommufd_ctx *ictx, uint32_t *out_device_id)
{
	struct user_device *ud = user_device(vdev);
	const int rc = user_connect(ud);

	if (rc)
		return rc;
	ud->ictx = ictx;
	vdev->iommufd_kind = VFIO_IOMMUFD_EMULATED;
	*out_device_id = 1; /* nobody else names it */
	return 0;
}

static void user_unbind(struct vfio_device *vdev)
{
	struct user_device *ud = user_device(vdev);

	user_disconnect(ud);
	user_dma_forget(ud);
	user_ignore_failures(ud);
	ud->ictx = NULL;
}

int user_device_info(struct user_device *ud, struct vfio_user_device_info *out)
{
	struct vfio_user_message command = {
		.command = VFIO_USER_DEVICE_GET_INFO,
		.device_info = {.argsz = sizeof(command.device_info)},
	};
	struct vfio_user_packet *packet;
	struct vfio_user_message reply;
	int rc = user_call(ud, &command, NULL, 0, &reply, &packet);

	if (!rc && reply.error) {
		rc = vfio_error(ud->vdev.dev, user_errno(reply.error),
				"the server does not say what its device is: %m");
	} else if (!rc) {
		*out = reply.device_info;
		/* Capabilities of it are none of the protocol's. */
		out->flags &= VFIO_DEVICE_FLAGS_RESET | VFIO_DEVICE_FLAGS_PCI;
	}
	vfio_user_packet_free(packet);
	if (!rc && (out->num_regions > USER_MAX_REGIONS || out->num_irqs > USER_MAX_IRQS ||
		    (out->flags & VFIO_DEVICE_FLAGS_PCI &&
		     out->num_regions <= VFIO_PCI_CONFIG_REGION_INDEX))) {
		rc = vfio_error(ud->vdev.dev, -EPROTO,
				"the server's device has %u regions and %u kinds of interrupts; it "
				"cannot be used",
				out->num_regions, out->num_irqs);
	}
	return rc;
}

static void free_infos(struct user_device *ud)
{
	user_regions_free(ud->regions, ud->info.num_regions);
	free(ud->irqs);
	ud->regions = NULL;
	ud->irqs = NULL;
	ud->info = (struct vfio_user_device_info){0};
}

/*
 * A write that is posted may be overtaken by one that goes past the socket: into a mapping, or by an
 * eventfd. So only where nothing goes past it.
 */
static bool may_post(const struct user_device *ud)
{
	for (uint32_t i = 0; i < ud->info.num_regions; i++) {
		if (ud->regions[i].fd >= 0 || ud->regions[i].ioeventfd_count)
			return false;
	}
	return true;
}

static void set_open(struct user_device *ud, bool open)
{
	pthread_mutex_lock(&ud->lock);
	ud->open = open;
	pthread_mutex_unlock(&ud->lock);
}

static int user_open(struct vfio_device *vdev)
{
	struct user_device *ud = user_device(vdev);
	int rc;

	user_migration_reset(ud);
	ud->log_whole_maps = false;
	rc = user_device_info(ud, &ud->info);
	if (rc)
		goto undo;
	if (ud->options.reconnect && !(ud->info.flags & VFIO_DEVICE_FLAGS_RESET)) {
		vfio_warn(
			vdev->dev, 0,
			"reconnect=on has no effect: the device cannot be reset, and only a reset "
			"looks for another server");
		ud->options.reconnect = false;
	}
	rc = user_regions_get(ud, &ud->regions);
	if (rc)
		goto undo;
	rc = user_irqs_get(ud, &ud->irqs);
	if (rc)
		goto undo;
	ud->posted = ud->options.posted && may_post(ud);
	if (ud->options.posted && !ud->posted)
		vfio_warn(vdev->dev, 0,
			  "posted-writes=on has no effect: the device has mappings or eventfds, "
			  "which posted writes would come too late for");
	rc = user_events_open(ud);
	if (rc)
		goto undo;
	user_probe_features(ud);
	if (!user_connected(ud)) {
		rc = -ENODEV; /* said */
		goto close_events;
	}
	set_open(ud, true);
	return 0;

close_events:
	user_events_close(ud);
undo:
	free_infos(ud);
	return rc;
}

static void user_close(struct vfio_device *vdev)
{
	struct user_device *ud = user_device(vdev);

	set_open(ud, false);
	/*
	 * A device that is stopped takes no command that would free it of maps and interrupts
	 * (libvfio-user); the end of the connection does.
	 */
	if (!user_migration_runs(ud)) {
		user_disconnect(ud);
		user_dma_forget(ud);
	}
	user_events_close(ud);
	user_log_free(ud);
	user_migration_reset(ud);
	free_infos(ud);
}

static int user_match_name(struct vfio_device *vdev, const char *name)
{
	return !strcmp(vdev->dev, name);
}

/* ---- use -------------------------------------------------------------------------------------- */

static int get_info(struct user_device *ud, struct vfio_device_info *info)
{
	const size_t minimum = offsetof(struct vfio_device_info, num_irqs) + sizeof(info->num_irqs);

	if (!info)
		return -EFAULT;
	if (info->argsz < minimum)
		return -EINVAL;
	info->flags = ud->info.flags;
	info->num_regions = ud->info.num_regions;
	info->num_irqs = ud->info.num_irqs;
	if (info->argsz >= sizeof(*info))
		info->cap_offset = 0;
	return 0;
}

static int reset(struct user_device *ud)
{
	struct vfio_user_message command = {.command = VFIO_USER_DEVICE_RESET};
	int rc;

	if (!(ud->info.flags & VFIO_DEVICE_FLAGS_RESET))
		return -ENOTTY;
	if (ud->options.reconnect && !user_connected(ud)) {
		rc = user_reconnect(ud);
		if (rc)
			return -ENODEV; /* said; another reset may find a server */
	}
	rc = user_command(ud, &command, NULL, 0);
	if (!rc) {
		user_migration_reset(ud);
		user_io_fds_renew(ud);
	}
	return rc;
}

static int user_ioctl(struct vfio_device *vdev, unsigned command, void *arg)
{
	struct user_device *ud = user_device(vdev);

	switch (command) {
	case VFIO_DEVICE_GET_INFO:
		return get_info(ud, arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return arg ? user_irq_info(ud, arg) : -EFAULT;
	case VFIO_DEVICE_SET_IRQS:
		return arg ? user_set_irqs(ud, arg) : -EFAULT;
	case VFIO_DEVICE_RESET:
		return reset(ud);
	default:
		return -ENOTTY;
	}
}

/* ---- status ----------------------------------------------------------------------------------- */

static void user_debug(struct vfio_device *vdev, struct json_t *root)
{
	struct user_device *ud = user_device(vdev);
	const struct user_connection agreed = user_agreed(ud);
	uint64_t bytes = 0;
	size_t maps = 0;
	json_t *user;

	pthread_mutex_lock(&ud->dma_lock);
	for (size_t i = 0; i < ud->map_count; i++) {
		if (!ud->maps[i].mapped)
			continue;
		maps++;
		bytes += ud->maps[i].area.length;
	}
	pthread_mutex_unlock(&ud->dma_lock);
	user = json_pack("{ss sI sb sb sb sb si si sI sI sI sI}", "socket", ud->path, "commands",
			 (json_int_t)ud->commands, "connected", user_connected(ud), "reconnect",
			 ud->options.reconnect, "posted_writes", ud->posted, "extended",
			 agreed.extended, "max_msg_fds", (int)agreed.limits.max_msg_fds,
			 "max_data_xfer_size", (int)agreed.limits.max_data_xfer_size, "maps",
			 (json_int_t)maps, "mapped_bytes", (json_int_t)bytes, "dma_reads",
			 (json_int_t)ud->dma_reads, "dma_writes", (json_int_t)ud->dma_writes);
	if (user)
		json_object_set_new(root, "user", user);
}

/* ---- life ------------------------------------------------------------------------------------- */

static int user_init(struct vfio_device *vdev)
{
	struct user_device *ud = user_device(vdev);

	pthread_mutex_init(&ud->lock, NULL);
	pthread_mutex_init(&ud->turn, NULL);
	pthread_mutex_init(&ud->reconnect_lock, NULL);
	pthread_mutex_init(&ud->space_lock, NULL);
	pthread_mutex_init(&ud->dma_lock, NULL);
	pthread_mutex_init(&ud->log_lock, NULL);
	pthread_mutex_init(&ud->migration_lock, NULL);
	ud->session = -1;
	ud->err.fd = ud->req.fd = -1;
	return 0;
}

static void user_release(struct vfio_device *vdev)
{
	struct user_device *ud = user_device(vdev);

	pthread_mutex_destroy(&ud->lock);
	pthread_mutex_destroy(&ud->turn);
	pthread_mutex_destroy(&ud->reconnect_lock);
	pthread_mutex_destroy(&ud->space_lock);
	pthread_mutex_destroy(&ud->dma_lock);
	pthread_mutex_destroy(&ud->log_lock);
	pthread_mutex_destroy(&ud->migration_lock);
	free(ud->maps);
	free(ud->path);
	free(ud);
}

static const struct vfio_device_ops user_ops = {
	.name = "user",
	.init = user_init,
	.release = user_release,
	.bind_iommufd = user_bind,
	.unbind_iommufd = user_unbind,
	.attach_ioas = user_attach_ioas,
	.detach_ioas = user_detach_ioas,
	.open_device = user_open,
	.close_device = user_close,
	.read = user_region_read,
	.write = user_region_write,
	.ioctl = user_ioctl,
	.get_region_info_caps = user_region_info,
	.get_region_ioeventfds = user_region_ioeventfds,
	.mmap = user_region_mmap,
	.region_fd = user_region_fd,
	.match = user_match_name,
	.dma_unmap = user_dma_unmap,
	.device_feature = user_device_feature,
	.debug = user_debug,
};

static int match(const struct vfio_config *config)
{
	int rc;

	if (strncmp(config->name, PREFIX, strlen(PREFIX)) != 0)
		return 0;
	rc = user_path_check(config);
	return rc ? rc : 1;
}

static int check_text(const struct vfio_config *config, struct user_options *options)
{
	if (config->has_token)
		return vfio_error(config->name, -EINVAL,
				  "a server takes no VF token; leave token= out");
	return user_options_parse(config, options);
}

static int check(const struct vfio_config *config)
{
	struct user_options options;

	return check_text(config, &options);
}

static int create(const struct vfio_provider_env *env, const struct vfio_config *config,
		  struct vfio_device **out)
{
	struct user_options options;
	struct user_device *ud;
	int rc;

	rc = check_text(config, &options);
	if (rc)
		return rc;
	if (env->sets && vfio_device_sets_find(env->sets, config->name))
		return vfio_error(config->name, -EEXIST, "the device is named twice; name it once");
	ud = calloc(1, sizeof(*ud));
	if (!ud)
		return -ENOMEM;
	ud->options = options;
	ud->path = strdup(options.path);
	ud->options.path = ud->path;
	ud->loop = env->loop;
	rc = ud->path ? vfio_device_init(&ud->vdev, config->name, &user_ops) : -ENOMEM;
	if (rc) {
		free(ud->path);
		free(ud);
		return rc;
	}
	rc = vfio_assign_device_set(&ud->vdev, env->sets, 0);
	if (!rc)
		rc = vfio_register_device(&ud->vdev);
	if (rc) {
		vfio_device_free(&ud->vdev); /* releases ud too */
		return rc;
	}
	*out = &ud->vdev;
	return 0;
}

static const struct vfio_named named[] = {
	{"user:PATH",
	 "a device that another process serves at the UNIX socket PATH by vfio-user, as sluice "
	 "serve does",
	 user_option_names},
	{NULL, NULL, NULL},
};

const struct vfio_provider vfio_user_provider = {
	.name = "user",
	.named = named,
	.prefix = PREFIX,
	.match = match,
	.check = check,
	.create = create,
};
