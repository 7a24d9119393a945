/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The connection to the server: made, watched, used by many threads, and given up once.
 *
 * The loop watches the socket for commands of the server, but not while somebody waits for a reply: who
 * waits reads all there is, and each reply would wake the loop for nothing.
 */
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "devices/vfio/message.h"
#include "devices/vfio/providers/user/user.h"
#include "vmm/base/host.h"
#include "vmm/base/loop.h"

#define WATCHED        (EPOLLIN | EPOLLRDHUP)
#define END_TIMEOUT_MS 2000

/* ---- failure ----------------------------------------------------------------------------------- */

/* On the loop. What the guest has mapped of the last server is taken away, or the device is. */
static void on_failure(void *ctx)
{
	struct user_device *ud = ctx;
	struct vfio_device *vdev = &ud->vdev;

	if (ud->options.reconnect)
		vfio_device_revoke(vdev);
	else if (vdev->events && vdev->events->gone)
		vdev->events->gone(vdev->events_ctx);
}

/* The connection died of @error. Any thread; said once. Returns what the caller is to answer. */
static int fail(struct user_device *ud, struct user_connection *connection, unsigned command,
		int error, const char *why)
{
	bool first, open;

	vfio_user_channel_shutdown(connection->channel, error);
	pthread_mutex_lock(&ud->lock);
	first = !ud->failed && ud->connection == connection;
	if (first)
		ud->failed = true;
	open = ud->open;
	if (connection->source)
		loop_set_events(ud->loop, connection->source, 0);
	/* Without memory or descriptors for a timer the owner finds out by its next access. */
	if (first && open && ud->loop &&
	    (ud->failure_timer || !loop_add_timer(ud->loop, on_failure, ud, &ud->failure_timer)))
		loop_timer_set(ud->loop, ud->failure_timer, 1);
	pthread_mutex_unlock(&ud->lock);

	if (first)
		user_explain_failure(ud, command, error, why, open);
	return ud->options.reconnect && open ? -EAGAIN : -ENODEV;
}

void user_ignore_failures(struct user_device *ud)
{
	struct loop_source *timer;

	pthread_mutex_lock(&ud->lock);
	timer = ud->failure_timer;
	ud->failure_timer = NULL;
	pthread_mutex_unlock(&ud->lock);
	if (timer)
		loop_remove(ud->loop, timer);
}

/* ---- users ------------------------------------------------------------------------------------- */

static void destroy(struct user_connection *connection)
{
	vfio_user_channel_destroy(connection->channel);
	free(connection);
}

/* Hold the connection for a call. NULL: there is none, or it failed. */
static struct user_connection *enter(struct user_device *ud)
{
	struct user_connection *connection;

	pthread_mutex_lock(&ud->lock);
	connection = ud->failed ? NULL : ud->connection;
	if (connection) {
		connection->references++;
		if (!connection->calls++ && connection->source)
			loop_set_events(ud->loop, connection->source, 0);
	}
	pthread_mutex_unlock(&ud->lock);
	return connection;
}

static void put(struct user_device *ud, struct user_connection *connection, bool call)
{
	bool last;

	pthread_mutex_lock(&ud->lock);
	if (call && !--connection->calls && connection->source && !ud->failed &&
	    ud->connection == connection)
		loop_set_events(ud->loop, connection->source, connection->watched);
	last = !--connection->references;
	pthread_mutex_unlock(&ud->lock);
	if (last)
		destroy(connection);
}

/* The answer of a device that has no server. */
static int no_server(struct user_device *ud)
{
	return ud->options.reconnect ? -EAGAIN : -ENODEV;
}

bool user_connected(struct user_device *ud)
{
	bool connected;

	pthread_mutex_lock(&ud->lock);
	connected = ud->connection && !ud->failed;
	pthread_mutex_unlock(&ud->lock);
	return connected;
}

struct user_connection user_agreed(struct user_device *ud)
{
	struct user_connection agreed = {0};

	pthread_mutex_lock(&ud->lock);
	if (ud->connection)
		agreed = *ud->connection;
	pthread_mutex_unlock(&ud->lock);
	return agreed;
}

/* ---- commands ---------------------------------------------------------------------------------- */

int user_errno(uint32_t errno_)
{
	return errno_ && errno_ < 4096 ? -(int)errno_ : -EIO;
}

/*
 * A server with an IOMMU behind it pins what it maps, and may have to find and clear every page first:
 * that takes as long as the memory is large, whatever the server is like.
 */
static unsigned time_for(const struct user_device *ud, const struct vfio_user_message *command)
{
	const uint64_t size = command->command == VFIO_USER_DMA_MAP     ? command->dma_map.size
			      : command->command == VFIO_USER_DMA_UNMAP ? command->dma_unmap.size
									: 0;
	const uint64_t more = size / USER_BYTES_PER_SECOND;

	return ud->options.timeout_ms +
	       1000 * (unsigned)(more < USER_MAX_SECONDS ? more : USER_MAX_SECONDS);
}

static int call(struct user_device *ud, struct user_connection *connection,
		struct vfio_user_message *command, const int *fds, unsigned fd_count,
		struct vfio_user_message *reply, struct vfio_user_packet **packet)
{
	/* What we take is our own bound, whatever the server takes. */
	static const struct vfio_user_limits own = {
		.max_msg_fds = VFIO_USER_MAX_MSG_FDS,
		.max_data_xfer_size = VFIO_USER_MAX_DATA_XFER_SIZE,
	};
	int rc;

	/*
	 * One at a time: libvfio-user takes whatever comes next for the reply to its DMA_READ. Nor would two
	 * be done at once, since a server answers in order; and who waits here does not have a slow map of
	 * memory counted against its own command.
	 */
	pthread_mutex_lock(&ud->turn);
	rc = vfio_user_channel_call(connection->channel, command, fds, fd_count,
				    time_for(ud, command), packet);
	pthread_mutex_unlock(&ud->turn);
	/* Nothing of it left: no memory, or too many descriptors in flight. The device is none the worse. */
	if (rc && rc != -ETIMEDOUT && !vfio_user_channel_error(connection->channel))
		return rc;
	if (!rc) {
		rc = (*packet)->error;
		if (!rc)
			rc = vfio_user_decode_reply(command, &(*packet)->header, (*packet)->payload,
						    (*packet)->size, (*packet)->fd_count, &own,
						    reply);
		/* Ours: no descriptor was free for those that came. */
		if (rc == -EMFILE) {
			vfio_user_packet_free(*packet);
			*packet = NULL;
			return rc;
		}
	}
	if (!rc)
		return 0;
	vfio_user_packet_free(*packet);
	*packet = NULL;
	return fail(ud, connection, command->command, rc, NULL);
}

int user_call(struct user_device *ud, struct vfio_user_message *command, const int *fds,
	      unsigned fd_count, struct vfio_user_message *reply, struct vfio_user_packet **packet)
{
	struct user_connection *connection = enter(ud);
	int rc;

	*packet = NULL;
	if (!connection)
		return no_server(ud);
	ud->commands++;
	rc = call(ud, connection, command, fds, fd_count, reply, packet);
	put(ud, connection, true);
	return rc;
}

static uint32_t *argsz_of(struct vfio_user_message *message)
{
	return (uint32_t *)message->fixed;
}

int user_call_sized(struct user_device *ud, struct vfio_user_message *command, uint32_t most,
		    struct vfio_user_message *reply, struct vfio_user_packet **packet)
{
	int rc = user_call(ud, command, NULL, 0, reply, packet);

	if (rc || reply->error || *argsz_of(reply) <= *argsz_of(command))
		return rc;
	*argsz_of(command) = *argsz_of(reply);
	vfio_user_packet_free(*packet);
	*packet = NULL;
	if (*argsz_of(command) > most)
		return -E2BIG;
	rc = user_call(ud, command, NULL, 0, reply, packet);
	if (!rc && !reply->error && *argsz_of(reply) > *argsz_of(command))
		return -EOVERFLOW;
	return rc;
}

int user_command(struct user_device *ud, struct vfio_user_message *command, const int *fds,
		 unsigned fd_count)
{
	struct vfio_user_message reply;
	struct vfio_user_packet *packet;
	int rc = user_call(ud, command, fds, fd_count, &reply, &packet);

	if (!rc && reply.error)
		rc = user_errno(reply.error);
	vfio_user_packet_free(packet);
	return rc;
}

ssize_t user_read(struct user_device *ud, struct vfio_user_message *command, void *buffer)
{
	struct vfio_user_message reply;
	struct vfio_user_packet *packet;
	ssize_t done = user_call(ud, command, NULL, 0, &reply, &packet);

	if (!done && reply.error) {
		done = user_errno(reply.error);
	} else if (!done) {
		done = (ssize_t)reply.data_size;
		if (done)
			memcpy(buffer, reply.data, reply.data_size);
	}
	vfio_user_packet_free(packet);
	return done;
}

int user_post(struct user_device *ud, struct vfio_user_message *command)
{
	struct user_connection *connection = enter(ud);
	int rc;

	if (!connection)
		return no_server(ud);
	ud->commands++;
	command->no_reply = true;
	rc = vfio_user_channel_send(connection->channel, command, NULL, 0);
	if (rc && vfio_user_channel_error(connection->channel))
		rc = fail(ud, connection, command->command, rc, NULL);
	put(ud, connection, true);
	return rc;
}

int user_lied(struct user_device *ud, unsigned command, const char *why)
{
	struct user_connection *connection = enter(ud);
	int rc;

	if (!connection)
		return no_server(ud);
	rc = fail(ud, connection, command, -EPROTO, why);
	put(ud, connection, true);
	return rc;
}

/* ---- the loop's side --------------------------------------------------------------------------- */

/* A reply that the server has yet to take goes out here also while others read. */
static void watch_for(struct user_device *ud, struct user_connection *connection, uint32_t events)
{
	pthread_mutex_lock(&ud->lock);
	connection->watched = events;
	if (connection->source && !ud->failed)
		loop_set_events(ud->loop, connection->source,
				connection->calls ? events & EPOLLOUT : events);
	pthread_mutex_unlock(&ud->lock);
}

static void on_socket(void *ctx, uint32_t events)
{
	struct user_device *ud = ctx;
	struct user_connection *connection;
	uint32_t watch;
	int rc;

	(void)events;
	pthread_mutex_lock(&ud->lock);
	connection = ud->failed ? NULL : ud->connection;
	if (connection)
		connection->references++;
	pthread_mutex_unlock(&ud->lock);
	if (!connection)
		return;
	rc = vfio_user_channel_dispatch(connection->channel, &watch);
	if (rc)
		fail(ud, connection, 0, rc, NULL);
	else if (watch != connection->watched || watch & EPOLLOUT)
		watch_for(ud, connection, watch);
	put(ud, connection, false);
}

/* ---- life -------------------------------------------------------------------------------------- */

static int agree(struct user_device *ud, struct user_connection *connection,
		 const struct vfio_user_message *reply, unsigned fd_count,
		 const struct vfio_user_version *own)
{
	struct vfio_user_version answer;
	int rc;

	if (reply->error)
		return vfio_error(ud->vdev.dev, user_errno(reply->error),
				  "the server refuses version %u.%u of the protocol: %m",
				  own->major, own->minor);
	rc = vfio_user_version_decode(reply, &answer);
	if (rc == -ENOMEM)
		return rc;
	if (rc) {
		vfio_error(ud->vdev.dev, rc,
			   "the server's capabilities cannot be read (%m); it does not speak "
			   "vfio-user as it is specified");
		return -EPROTO;
	}
	if (vfio_user_version_accept(own, &answer, fd_count, &connection->limits))
		return vfio_error(ud->vdev.dev, -EPROTO,
				  "the server answers version %u.%u to %u.%u, or with what was not "
				  "offered; another server is needed",
				  answer.major, answer.minor, own->major, own->minor);
	connection->max_dma_maps = answer.max_dma_maps;
	atomic_store(&ud->max_data_xfer_size, connection->limits.max_data_xfer_size);
	connection->extended = ud->options.commands == USER_COMMANDS_ALL ||
			       (ud->options.commands == USER_COMMANDS_AUTO && answer.minor > 0);
	vfio_debug(ud->vdev.dev, 0,
		   "version %u.%u, %u descriptors and %u bytes in a message, %u maps%s",
		   answer.major, answer.minor, connection->limits.max_msg_fds,
		   connection->limits.max_data_xfer_size, connection->max_dma_maps,
		   connection->extended ? "" : ", basic commands only");
	return 0;
}

static int handshake(struct user_device *ud, struct user_connection *connection)
{
	struct vfio_user_message command = {.command = VFIO_USER_VERSION}, reply;
	char text[VFIO_USER_MAX_VERSION_TEXT];
	struct vfio_user_packet *packet = NULL;
	struct vfio_user_version own;
	int rc;

	vfio_user_version_own(&own);
	rc = vfio_user_version_encode(&own, text, sizeof(text));
	if (rc < 0)
		return rc;
	command.version = (struct vfio_user_version_header){own.major, own.minor};
	command.data = text;
	command.data_size = (size_t)rc;

	rc = call(ud, connection, &command, NULL, 0, &reply, &packet);
	if (!rc)
		rc = agree(ud, connection, &reply, packet->fd_count, &own);
	vfio_user_packet_free(packet);
	return rc;
}

/* The loop watches from now on. */
static int watch(struct user_device *ud, struct user_connection *connection)
{
	struct loop_source *source;
	int rc;

	if (!ud->loop)
		return 0;
	rc = loop_add_fd(ud->loop, vfio_user_channel_fd(connection->channel), WATCHED, on_socket,
			 ud, &source);
	if (rc)
		return vfio_error(ud->vdev.dev, rc, "its socket cannot be watched: %m");
	pthread_mutex_lock(&ud->lock);
	connection->source = source;
	if (connection->calls || ud->failed)
		loop_set_events(ud->loop, source, 0);
	pthread_mutex_unlock(&ud->lock);
	return 0;
}

/* Nobody is there. A guest resets as often as it likes: the same reason is one line in the log. */
static int no_connection(struct user_device *ud, int error)
{
	const bool said = ud->open && ud->connect_error == error;

	ud->connect_error = error;
	return said ? error : user_explain_connect(ud, error);
}

int user_connect(struct user_device *ud)
{
	struct user_connection *connection = calloc(1, sizeof(*connection));
	const struct vfio_user_channel_config config = {
		.serve = user_serve,
		.ctx = connection,
		.message_timeout_ms = ud->options.timeout_ms,
	};
	int fd, rc;

	if (!connection)
		return -ENOMEM;
	connection->ud = ud;
	connection->watched = WATCHED;
	fd = host_connect_unix(ud->path);
	if (fd < 0) {
		free(connection);
		return no_connection(ud, fd);
	}
	rc = vfio_user_channel_create(fd, &config, &connection->channel);
	if (rc) {
		close(fd);
		free(connection);
		return no_connection(ud, rc);
	}
	ud->connect_error = 0;
	connection->references = 1;
	pthread_mutex_lock(&ud->lock);
	ud->connection = connection;
	ud->failed = false;
	pthread_mutex_unlock(&ud->lock);

	rc = handshake(ud, connection);
	if (!rc)
		rc = watch(ud, connection);
	if (rc)
		user_disconnect(ud);
	return rc;
}

/*
 * After the last byte of ours the server ends its side when it has let go of everything: that is the
 * only word of it there is. Not for one that failed.
 */
static void await_end(struct user_device *ud, struct user_connection *connection)
{
	const int fd = vfio_user_channel_fd(connection->channel);
	struct pollfd poll_fd = {.fd = fd, .events = POLLRDHUP};

	if (vfio_user_channel_error(connection->channel) || shutdown(fd, SHUT_WR))
		return;
	if (poll(&poll_fd, 1, END_TIMEOUT_MS) == 0)
		vfio_warn(ud->vdev.dev, 0,
			  "the server does not end the connection; it may still have the guest's "
			  "memory");
}

void user_disconnect(struct user_device *ud)
{
	struct user_connection *connection;
	struct loop_source *source = NULL;

	pthread_mutex_lock(&ud->lock);
	connection = ud->connection;
	ud->connection = NULL;
	if (connection) {
		source = connection->source;
		connection->source = NULL;
	}
	pthread_mutex_unlock(&ud->lock);
	if (!connection)
		return;
	if (source)
		loop_remove(ud->loop, source);
	await_end(ud, connection);
	vfio_user_channel_shutdown(connection->channel, 0);
	put(ud, connection, false);
}
