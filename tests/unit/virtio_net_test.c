/* SPDX-License-Identifier: Apache-2.0 */
/* The network device on a socket pair in the place of a tap. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include "devices/virtio/device.h"
#include "devices/virtio/net.h"
#include "tests/unit/virtio_driver.h"
#include "vmm/base/host.h"

#define RX_RING RAM_LOW
#define TX_RING (RAM_LOW + 0x4000)
#define RX_DATA (RAM_LOW + 0x10000)
#define TX_DATA (RAM_LOW + 0x100000)
#define HEADER  12u
#define BASIC   (1ull << VIRTIO_F_VERSION_1)
#define MERGE   (BASIC | 1ull << VIRTIO_NET_F_MRG_RXBUF)
#define OFFLOADS                                                                                   \
	(1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 |                              \
	 1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4)

/* The host's side. */
static int wire; /* the other end of the "tap" */
static int open_result;
static bool offload_works = true;
static unsigned offload;

int host_open_tap(const char *name, unsigned header_size)
{
	int size = 1 << 20, pair[2];

	cr_assert_str_eq(name, "tap7");
	cr_assert_eq(header_size, HEADER);
	if (open_result < 0)
		return open_result;
	cr_assert_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair), 0);
	setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	setsockopt(pair[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
	wire = pair[1];
	return pair[0];
}

int host_tap_offload(int fd, unsigned flags)
{
	(void)fd;
	if (!offload_works)
		return -EINVAL;
	offload = flags;
	return 0;
}

static struct ring rx, tx;
static const uint8_t mac[6] = {0x02, 1, 2, 3, 4, 5};

static int create(void)
{
	struct virtio_tap_config config = {.id = "net0", .tap = "tap7", .has_mac = true};
	struct pci_function *fn;
	int ret;

	memcpy(config.mac, mac, sizeof(mac));
	ret = virtio_net_create(&config, machine.loop, machine.ioas, &fn);
	if (ret == 0)
		machine_plug(fn);
	return ret;
}

static void setup(void)
{
	machine_start();
	cr_assert_eq(create(), 0);
}

static void teardown(void)
{
	machine_end();
	close(wire);
}

TestSuite(net, .init = setup, .fini = teardown);

static void bring_up(uint64_t features)
{
	cr_assert(driver_begin(features));
	driver_msix(3);
	driver_queue(0, &rx, RX_RING, 64, 0);
	driver_queue(1, &tx, TX_RING, 64, 1);
	driver_ok();
	driver_wait();
}

static uint8_t content(unsigned i)
{
	return (uint8_t)(i * 13 + i / 256);
}

/* A frame of @length bytes from the host, after a header of zeroes. */
static void host_sends(unsigned length)
{
	static uint8_t packet[HEADER + 70000];

	for (unsigned i = 0; i < length; i++)
		packet[HEADER + i] = content(i);
	cr_assert_eq(write(wire, packet, HEADER + length), (ssize_t)(HEADER + length));
}

static void give_rx(unsigned count, uint32_t length)
{
	static unsigned next;

	for (unsigned i = 0; i < count; i++) {
		struct ring_buffer buffer = {RX_DATA + 0x1000 * (next++ % 64), length, true};

		ring_add(&rx, &buffer, 1);
	}
}

/* The next frame received: its length without header, -1 when none. Checks the content. */
static int guest_receives(void)
{
	struct virtio_net_hdr_v1 header;
	uint32_t id, length;
	unsigned at = 0, number;

	if (!ring_take(&rx, &id, &length))
		return -1;
	memcpy(&header, guest(ring_desc(&rx, id)->addr), HEADER);
	number = header.num_buffers;
	cr_assert_geq(number, 1);
	for (unsigned n = 0; n < number; n++) {
		uint8_t *bytes = guest(ring_desc(&rx, id)->addr);

		for (unsigned i = n == 0 ? HEADER : 0; i < length; i++, at++)
			cr_assert_eq(bytes[i], content(at));
		if (n + 1 < number)
			cr_assert(ring_take(&rx, &id, &length), "all parts come at once");
	}
	return (int)at;
}

static void guest_sends(const struct virtio_net_hdr_v1 *header, unsigned length, unsigned pieces)
{
	static unsigned next;
	uint64_t at = TX_DATA + 0x12000 * (next++ % 16);
	struct ring_buffer buffers[16] = {{at, HEADER, false}};
	unsigned done = 0;

	memcpy(guest(at), header, HEADER);
	for (unsigned i = 0; i < length; i++)
		((uint8_t *)guest(at + HEADER))[i] = content(i);
	for (unsigned i = 0; i < pieces; i++) {
		unsigned step = i + 1 < pieces ? length / pieces : length - done;

		buffers[1 + i] = (struct ring_buffer){at + HEADER + done, step, false};
		done += step;
	}
	ring_add(&tx, buffers, 1 + pieces);
	driver_notify(1);
}

/* The next frame on the wire: its length without header, -1 when none. */
static int host_receives(struct virtio_net_hdr_v1 *header)
{
	static uint8_t packet[80000];
	ssize_t n = read(wire, packet, sizeof(packet));

	if (n < 0)
		return -1;
	cr_assert_geq(n, HEADER);
	memcpy(header, packet, HEADER);
	for (unsigned i = 0; i < n - HEADER; i++)
		cr_assert_eq(packet[HEADER + i], content(i));
	return (int)(n - HEADER);
}

static const struct virtio_net_hdr_v1 plain;

Test(net, tells_address_and_link)
{
	for (unsigned i = 0; i < 6; i++)
		cr_expect_eq(bar_in(machine.device + i, 1), mac[i]);
	cr_expect_eq(bar_in(machine.device + 6, 2), VIRTIO_NET_S_LINK_UP);
	cr_expect_eq(driver_offered() & OFFLOADS, OFFLOADS);
	cr_expect_eq(config_in(PCI_DEVICE_ID, 2), 0x1041);
	cr_expect_eq(config_in(PCI_CLASS_REVISION, 4) >> 8, 0x020000);
}

Test(net, sends_frames_in_one_and_in_many_pieces)
{
	struct virtio_net_hdr_v1 header;

	bring_up(BASIC);
	guest_sends(&plain, 60, 1);
	guest_sends(&plain, 1514, 7);
	driver_wait();
	cr_expect_eq(host_receives(&header), 60);
	cr_expect_eq(host_receives(&header), 1514);
	cr_expect_eq(ring_used(&tx)->idx, 2);
	cr_expect_geq(machine.messages[1], 1);
}

Test(net, receives_frames_into_single_buffers)
{
	bring_up(BASIC);
	give_rx(4, 1526);
	driver_notify(0);
	driver_wait();
	host_sends(60);
	host_sends(1514);
	driver_wait();
	cr_expect_eq(guest_receives(), 60);
	cr_expect_eq(guest_receives(), 1514);
	cr_expect_eq(machine.messages[0], 1, "one interrupt for both");
}

Test(net, a_frame_too_big_for_its_buffer_is_dropped_alone)
{
	bring_up(BASIC);
	give_rx(2, 200);
	driver_notify(0);
	host_sends(1000);
	host_sends(100);
	driver_wait();
	cr_expect_eq(guest_receives(), 100);
	cr_expect_eq(guest_receives(), -1);
}

Test(net, merges_small_buffers_for_a_big_frame)
{
	bring_up(MERGE);
	give_rx(40, 1700);
	driver_notify(0);
	host_sends(60000);
	host_sends(1600);
	driver_wait();
	cr_expect_eq(guest_receives(), 60000);
	cr_expect_eq(guest_receives(), 1600);
	cr_expect_eq(ring_used(&rx)->idx, 37);
}

Test(net, merges_when_the_header_itself_is_split)
{
	struct ring_buffer pieces[3] = {
		{RX_DATA, 11, true}, {RX_DATA + 0x100, 1, true}, {RX_DATA + 0x200, 8, true}};

	bring_up(MERGE);
	ring_add(&rx, pieces, 3);
	ring_add(&rx, pieces + 1, 2);
	*ring_desc(&rx, 3) = (struct vring_desc){.addr = RX_DATA + 0x300, .len = 20, .flags = 2};
	driver_notify(0);
	host_sends(20);
	driver_wait();
	cr_expect_eq(ring_used(&rx)->idx, 2);
	cr_expect_eq(*(uint8_t *)guest(RX_DATA + 10), 2, "low byte of the number");
	cr_expect_eq(*(uint8_t *)guest(RX_DATA + 0x100), 0, "high byte");
	cr_expect_eq(*(uint8_t *)guest(RX_DATA + 0x207), content(7));
	cr_expect_eq(*(uint8_t *)guest(RX_DATA + 0x300), content(8));
}

static void wait_for_enough_buffers(uint64_t features)
{
	bring_up(features);
	host_sends(10000);
	host_sends(500);
	driver_wait();
	cr_expect_eq(fake_loop_step(machine.loop, 1000), 0, "a starved device does not spin");
	for (unsigned i = 0; i < 7; i++) {
		cr_expect_eq(guest_receives(), -1);
		give_rx(1, 1526);
		if (!(features & 1ull << VIRTIO_RING_F_EVENT_IDX) ||
		    vring_need_event(*ring_avail_event(&rx), ring_avail(&rx)->idx,
				     (uint16_t)(ring_avail(&rx)->idx - 1)))
			driver_notify(0);
		driver_wait();
	}
	cr_expect_eq(guest_receives(), 10000);
	cr_expect_eq(guest_receives(), -1);
	give_rx(1, 1526);
	driver_notify(0);
	driver_wait();
	cr_expect_eq(guest_receives(), 500);
}

Test(net, a_big_frame_waits_for_enough_buffers)
{
	wait_for_enough_buffers(MERGE);
}

Test(net, a_big_frame_waits_for_enough_buffers_by_event_index)
{
	wait_for_enough_buffers(MERGE | 1ull << VIRTIO_RING_F_EVENT_IDX);
}

/* The guest gives a buffer just before the device asks to be told of the next one. */
static void give_at_the_last_moment(uint64_t iova, bool write)
{
	if (!write || iova != rx.used || ring_used(&rx)->flags != VRING_USED_F_NO_NOTIFY)
		return;
	fake_access = NULL;
	give_rx(1, 1526); /* and rings no doorbell: it was told not to */
}

Test(net, a_buffer_that_comes_at_the_last_moment_is_seen)
{
	bring_up(MERGE);
	host_sends(2000);
	give_rx(1, 1526);
	fake_access = give_at_the_last_moment;
	driver_notify(0);
	driver_wait();
	cr_expect_null(fake_access);
	cr_expect_eq(guest_receives(), 2000);
}

static void send_at_the_last_moment(uint64_t iova, bool write)
{
	struct ring_buffer buffers[2] = {{TX_DATA, HEADER, false}, {TX_DATA + HEADER, 60, false}};

	if (!write || iova != tx.used || ring_used(&tx)->flags != VRING_USED_F_NO_NOTIFY)
		return;
	fake_access = NULL;
	ring_add(&tx, buffers, 2);
}

Test(net, a_frame_that_comes_at_the_last_moment_is_sent)
{
	bring_up(BASIC);
	guest_sends(&plain, 60, 1);
	fake_access = send_at_the_last_moment;
	driver_wait();
	cr_expect_null(fake_access);
	cr_expect_eq(ring_used(&tx)->idx, 2);
}

Test(net, frames_wait_in_the_tap_until_the_driver_is_ready)
{
	host_sends(100);
	driver_wait();
	bring_up(BASIC);
	give_rx(1, 1526);
	driver_notify(0);
	driver_wait();
	cr_expect_eq(guest_receives(), 100);
}

Test(net, many_frames_pass_both_ways)
{
	struct virtio_net_hdr_v1 header;
	unsigned sent = 0, echoed = 0;

	bring_up(MERGE | 1ull << VIRTIO_RING_F_EVENT_IDX);
	give_rx(60, 1526);
	driver_notify(0);
	for (unsigned round = 0; round < 2000; round++) {
		unsigned length = 60 + round % 1400;
		uint32_t id, written;
		int n;

		host_sends(length);
		driver_wait();
		cr_assert_eq(guest_receives(), (int)length);
		give_rx(1, 1526);
		driver_notify(0);
		guest_sends(&plain, length, 1 + round % 3);
		sent++;
		driver_wait();
		n = host_receives(&header);
		cr_assert_eq(n, (int)length);
		echoed++;
		cr_assert(ring_take(&tx, &id, &written));
	}
	cr_expect_eq(echoed, sent);
}

Test(net, a_full_tap_holds_frames_back_and_loses_none)
{
	struct virtio_net_hdr_v1 header;
	unsigned received = 0, idle = 0;
	int small = 4096;

	setsockopt(machine.loop->sources[0].fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
	bring_up(BASIC);
	for (unsigned i = 0; i < 15; i++)
		guest_sends(&plain, 1500, 1);
	for (unsigned i = 0; i < 10; i++)
		fake_loop_step(machine.loop, 1000);
	cr_expect_lt(ring_used(&tx)->idx, 15);
	while (received < 15 && idle++ < 100) {
		if (host_receives(&header) == 1500)
			received++;
		fake_loop_step(machine.loop, 1000);
	}
	cr_expect_eq(received, 15);
	driver_wait();
	cr_expect_eq(ring_used(&tx)->idx, 15);
}

struct offload_case {
	const char *what;
	uint64_t features;
	struct virtio_net_hdr_v1 header;
	bool sent;
};

#define CSUM (1ull << VIRTIO_NET_F_CSUM)
#define TSO4 (1ull << VIRTIO_NET_F_HOST_TSO4)
#define TSO6 (1ull << VIRTIO_NET_F_HOST_TSO6)
#define ECN  (1ull << VIRTIO_NET_F_HOST_ECN)
#define NEEDS                                                                                      \
	{                                                                                          \
		.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM                                               \
	}

Test(net, offloads_only_what_was_negotiated)
{
	static const struct offload_case cases[] = {
		{"checksum", CSUM, NEEDS, true},
		{"checksum, not negotiated", 0, NEEDS, false},
		{"unknown flag", CSUM, {.flags = 0x80}, false},
		{"tso4", CSUM | TSO4, {.flags = 1, .gso_type = 1, .gso_size = 1000}, true},
		{"tso4, not negotiated", CSUM, {.flags = 1, .gso_type = 1}, false},
		{"tso6", CSUM | TSO6, {.flags = 1, .gso_type = 4, .gso_size = 1000}, true},
		{"tso6 for tso4", CSUM | TSO6, {.flags = 1, .gso_type = 1}, false},
		{"ufo", CSUM | TSO4 | TSO6, {.flags = 1, .gso_type = 3}, false},
		{"ecn", CSUM | TSO4 | ECN, {.flags = 1, .gso_type = 0x81}, true},
		{"ecn, not negotiated", CSUM | TSO4, {.flags = 1, .gso_type = 0x81}, false},
		{"unknown type", CSUM | TSO4, {.gso_type = 0x7f}, false},
	};
	struct virtio_net_hdr_v1 header;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bring_up(BASIC | cases[i].features);
		guest_sends(&cases[i].header, 100, 1);
		driver_wait();
		cr_expect_eq(host_receives(&header), cases[i].sent ? 100 : -1, "%s", cases[i].what);
		cr_expect_eq(ring_used(&tx)->idx, 1, "given back in any case");
		if (cases[i].sent)
			cr_expect_eq(memcmp(&header, &cases[i].header, HEADER), 0);
	}
}

Test(net, asks_the_tap_for_what_the_driver_takes)
{
	bring_up(BASIC);
	cr_expect_eq(offload, 0);
	bring_up(BASIC | 1ull << VIRTIO_NET_F_GUEST_CSUM);
	cr_expect_eq(offload, TUN_F_CSUM);
	bring_up(BASIC | 1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
		 1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN);
	cr_expect_eq(offload, TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN);
	bring_up(BASIC | 1ull << VIRTIO_NET_F_GUEST_TSO4);
	cr_expect_eq(offload, 0, "no segments without checksums");
}

Test(net, says_that_a_checksum_was_checked_only_to_who_asked_for_that)
{
	uint8_t frame[HEADER + 60] = {VIRTIO_NET_HDR_F_DATA_VALID};
	uint64_t features[2] = {BASIC, BASIC | 1ull << VIRTIO_NET_F_GUEST_CSUM};
	uint32_t id, length;

	for (unsigned i = 0; i < 2; i++) {
		bring_up(features[i]);
		give_rx(1, 1526);
		driver_notify(0);
		cr_assert_eq(write(wire, frame, sizeof(frame)), sizeof(frame));
		driver_wait();
		cr_assert(ring_take(&rx, &id, &length));
		cr_expect_eq(*(uint8_t *)guest(ring_desc(&rx, id)->addr),
			     i == 0 ? 0 : VIRTIO_NET_HDR_F_DATA_VALID);
	}
}

Test(net, frames_that_make_no_sense_are_given_back_unsent)
{
	struct ring_buffer header_only = {TX_DATA, HEADER, false};
	struct ring_buffer short_header = {TX_DATA, 5, false};
	struct ring_buffer unmapped[2] = {{TX_DATA, HEADER, false}, {0x1000, 100, false}};
	struct ring_buffer huge[2] = {{TX_DATA, HEADER, false}, {RAM_LOW, 0x200000, false}};
	struct virtio_net_hdr_v1 header;

	bring_up(BASIC);
	memset(guest(TX_DATA), 0, HEADER);
	ring_add(&tx, &header_only, 1);
	ring_add(&tx, &short_header, 1);
	ring_add(&tx, unmapped, 2);
	ring_add(&tx, huge, 2);
	driver_notify(1);
	driver_wait();
	cr_expect_eq(ring_used(&tx)->idx, 4);
	cr_expect_eq(host_receives(&header), -1);
	cr_expect_not(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
}

Test(net, a_receive_buffer_to_read_needs_a_reset)
{
	struct ring_buffer wrong = {RX_DATA, 1526, false};

	bring_up(BASIC);
	ring_add(&rx, &wrong, 1);
	driver_notify(0);
	host_sends(60);
	driver_wait();
	cr_expect(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	cr_expect_eq(fake_loop_step(machine.loop, 1000), 0);
	bring_up(MERGE);
	give_rx(10, HEADER - 1);
	driver_notify(0);
	host_sends(60);
	driver_wait();
	cr_expect(status() & VIRTIO_CONFIG_S_NEEDS_RESET, "no room for a header");
	bring_up(BASIC);
	give_rx(1, 1526);
	driver_notify(0);
	host_sends(70);
	driver_wait();
	cr_expect_eq(guest_receives(), 70);
}

Test(net, an_interface_that_goes_away_is_said_once_and_does_not_spin)
{
	bring_up(BASIC);
	give_rx(4, 1526);
	driver_notify(0);
	driver_wait();
	/* A socket whose address family is wrong for read(2) stands for the dead tap. */
	dup2(eventfd(0, 0), machine.loop->sources[0].fd);
	dup2(open("/", O_RDONLY | O_DIRECTORY), machine.loop->sources[0].fd);
	for (unsigned i = 0; i < 5; i++)
		fake_loop_step(machine.loop, 1000);
	cr_expect_eq(fake_log_count, 1);
	cr_expect(strstr(fake_log_last, "net net0: the tap interface is gone"), "%s",
		  fake_log_last);
	cr_expect_eq(fake_loop_step(machine.loop, 1000), 0);
	guest_sends(&plain, 60, 1);
	driver_wait();
	cr_expect_eq(ring_used(&tx)->idx, 1);
}

Test(net, survives_a_random_driver)
{
	unsigned seed = 31337, resets = 0;
	struct virtio_net_hdr_v1 header;
	uint8_t drain[4096];

	for (unsigned i = 0; i < 20000; i++) {
		struct ring_buffer buffers[5];
		unsigned count = 1 + (unsigned)rand_r(&seed) % 5;
		bool receive = rand_r(&seed) % 2;
		uint32_t id, written;

		if (i == 0 || (status() & VIRTIO_CONFIG_S_NEEDS_RESET) ||
		    rand_r(&seed) % 512 == 0) {
			bring_up(rand_r(&seed) % 2 ? BASIC : MERGE);
			resets++;
		}
		for (unsigned k = 0; k < count; k++)
			buffers[k] = (struct ring_buffer){
				rand_r(&seed) % 64 ? TX_DATA + (unsigned)rand_r(&seed) % 0x10000
						   : (uint64_t)rand_r(&seed) << 12,
				(unsigned)rand_r(&seed) % (rand_r(&seed) % 8 ? 600 : 70000),
				rand_r(&seed) % 128 ? receive : !receive};
		for (unsigned k = 0; k < HEADER; k++)
			((uint8_t *)&header)[k] = rand_r(&seed) % 4 ? 0 : (uint8_t)rand_r(&seed);
		memcpy(guest(TX_DATA), &header, HEADER);
		if (!receive && rand_r(&seed) % 4)
			buffers[0] = (struct ring_buffer){TX_DATA, HEADER, false};
		ring_add(receive ? &rx : &tx, buffers, count);
		if (rand_r(&seed) % 4)
			driver_notify(receive ? 0 : 1);
		if (rand_r(&seed) % 4 == 0)
			(void)!write(wire, drain, (unsigned)rand_r(&seed) % sizeof(drain));
		fake_loop_step(machine.loop, 1000);
		while (read(wire, drain, sizeof(drain)) > 0)
			;
		while (ring_take(&rx, &id, &written) || ring_take(&tx, &id, &written))
			;
	}
	cr_expect_gt(resets, 30);
}

/* Opening. */
static void setup_machine(void)
{
	machine_start();
}

TestSuite(net_open, .init = setup_machine);

Test(net_open, a_tap_without_offloads_offers_none)
{
	offload_works = false;
	cr_assert_eq(create(), 0);
	cr_expect_eq(driver_offered() & OFFLOADS, 0);
	bring_up(MERGE);
	cr_expect_eq(fake_log_count, 0);
	teardown();
}

struct open_case {
	int error;
	const char *says;
};

Test(net_open, says_why_a_tap_cannot_be_had)
{
	static const struct open_case cases[] = {
		{-ENODEV, "no such interface"}, {-EBUSY, "another process"},
		{-EPERM, "another user"},       {-EINVAL, "no tap interface"},
		{-ENOENT, "/dev/net/tun"},      {-EMFILE, "ulimit -n"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		open_result = cases[i].error;
		cr_expect_eq(create(), cases[i].error);
		cr_expect(strstr(fake_log_last, "net net0: cannot attach to tap7: "), "%s",
			  fake_log_last);
		cr_expect(strstr(fake_log_last, cases[i].says), "%s", fake_log_last);
	}
	cr_expect_eq(fake_loop_sources(machine.loop), 0);
}

Test(net_open, makes_a_stable_unicast_address_of_its_own)
{
	struct virtio_tap_config config = {.id = "net0", .tap = "tap7"};
	struct pci_function *fn;
	uint64_t first = 0;

	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(virtio_net_create(&config, machine.loop, machine.ioas, &fn), 0);
		machine_plug(fn);
		if (i == 0)
			first = bar_in(machine.device, 8);
		cr_expect_eq(bar_in(machine.device, 8), first);
		cr_expect_eq(bar_in(machine.device, 1) & 3, 2);
		machine_end();
		close(wire);
		machine_start();
	}
	config.has_mac = true;
	config.mac[0] = 1;
	cr_expect_eq(virtio_net_create(&config, machine.loop, machine.ioas, &fn), -EINVAL);
}
