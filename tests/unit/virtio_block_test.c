/* SPDX-License-Identifier: Apache-2.0 */
/* The block device against files, honest and hostile drivers, and storage that fails. */
#include <criterion/criterion.h>
#include <fcntl.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <signal.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "devices/virtio/block.h"
#include "devices/virtio/device.h"
#include "tests/unit/virtio_driver.h"

#define RINGS     RAM_LOW
#define HEADERS   (RAM_LOW + 0x10000)
#define DATA      (RAM_LOW + 0x20000)
#define DISK_SIZE (1u << 20)
#define NO_STATUS 0x77
#define FEATURES                                                                                   \
	(1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_BLK_F_FLUSH | 1ull << VIRTIO_BLK_F_DISCARD |  \
	 1ull << VIRTIO_BLK_F_WRITE_ZEROES)

static struct ring ring;
static char path[64];
static int file; /* the test's own view of the disk */

static uint8_t pattern(uint64_t offset)
{
	return (uint8_t)(offset / 512 * 7 + offset);
}

static void make_file(const char *directory, off_t size)
{
	uint8_t bytes[4096];

	snprintf(path, sizeof(path), "%s/sluice-block-test.%d", directory, getpid());
	file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
	cr_assert_geq(file, 0);
	for (off_t at = 0; at < size; at += (off_t)sizeof(bytes)) {
		for (size_t i = 0; i < sizeof(bytes); i++)
			bytes[i] = pattern((uint64_t)at + i);
		cr_assert_eq(pwrite(file, bytes, sizeof(bytes), at), sizeof(bytes));
	}
	cr_assert_eq(ftruncate(file, size), 0);
}

static int create(bool readonly)
{
	struct virtio_block_config config = {.id = "disk0", .path = path, .readonly = readonly};
	struct pci_function *fn;
	int ret = virtio_block_create(&config, machine.loop, machine.ioas, &fn);

	if (ret == 0)
		machine_plug(fn);
	return ret;
}

static void bring_up(uint64_t features)
{
	cr_assert(driver_begin(features & driver_offered()));
	driver_msix(2);
	driver_queue(0, &ring, RINGS, 64, 0);
	driver_ok();
}

static void setup(void)
{
	machine_start();
	make_file("/tmp", DISK_SIZE);
	cr_assert_eq(create(false), 0);
	bring_up(FEATURES);
}

static void teardown(void)
{
	machine_end();
	close(file);
	unlink(path);
}

TestSuite(block, .init = setup, .fini = teardown);

/* Put header and status of request @slot in place; returns the IOVA of the header. */
static uint64_t header(unsigned slot, uint32_t type, uint64_t sector)
{
	uint64_t at = HEADERS + 64 * slot;
	struct virtio_blk_outhdr *h = guest(at);

	*h = (struct virtio_blk_outhdr){.type = type, .sector = sector};
	*(uint8_t *)guest(at + 32) = NO_STATUS;
	return at;
}

static uint8_t status_byte(unsigned slot)
{
	return *(uint8_t *)guest(HEADERS + 64 * slot + 32);
}

static void offer(unsigned slot, uint32_t type, uint64_t sector, uint64_t address, uint32_t length)
{
	uint64_t at = header(slot, type, sector);
	bool write = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	struct ring_buffer with_data[3] = {
		{at, 16, false}, {address, length, write}, {at + 32, 1, true}};
	struct ring_buffer without[2] = {{at, 16, false}, {at + 32, 1, true}};

	if (length > 0)
		ring_add(&ring, with_data, 3);
	else
		ring_add(&ring, without, 2);
}

/* Wait for @count chains to come back. */
static uint32_t wait_for(unsigned count)
{
	uint32_t id, written = 0;

	driver_notify(0);
	for (unsigned i = 0; i < 20000 && count > 0; i++) {
		fake_loop_step(machine.loop, 1000);
		while (ring_take(&ring, &id, &written))
			count--;
		if (count > 0)
			usleep(100);
	}
	cr_assert_eq(count, 0, "no answer");
	return written;
}

static uint8_t request(uint32_t type, uint64_t sector, uint64_t address, uint32_t length)
{
	offer(0, type, sector, address, length);
	wait_for(1);
	return status_byte(0);
}

static void expect_file(uint64_t offset, size_t length, const void *content)
{
	uint8_t *bytes = malloc(length);

	cr_assert_eq(pread(file, bytes, length, (off_t)offset), (ssize_t)length);
	cr_expect_eq(memcmp(bytes, content, length), 0, "at %llu", (unsigned long long)offset);
	free(bytes);
}

Test(block, describes_the_disk)
{
	struct virtio_blk_config config;

	for (unsigned i = 0; i < sizeof(config); i++)
		((uint8_t *)&config)[i] = (uint8_t)bar_in(machine.device + i, 1);
	cr_expect_eq(config.capacity, DISK_SIZE / 512);
	cr_expect_eq(config.blk_size, 512);
	cr_expect_eq(config.seg_max, 254);
	cr_expect_gt(config.max_discard_sectors, 0);
	cr_expect(driver_offered() & 1ull << VIRTIO_BLK_F_FLUSH);
	cr_expect_not(driver_offered() & 1ull << VIRTIO_BLK_F_RO);
	cr_expect_eq(config_in(PCI_DEVICE_ID, 2), 0x1042);
}

Test(block, reads_what_the_file_holds)
{
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 3, DATA, 8192), VIRTIO_BLK_S_OK);
	for (unsigned i = 0; i < 8192; i++)
		cr_assert_eq(((uint8_t *)guest(DATA))[i], pattern(3 * 512 + i));
	cr_expect_eq(machine.messages[0], 1);
	offer(0, VIRTIO_BLK_T_IN, 0, DATA, 512);
	cr_expect_eq(wait_for(1), 513, "data and status");
}

Test(block, writes_reach_the_file)
{
	memset(guest(DATA), 0xab, 4096);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 8, DATA, 4096), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
	expect_file(4096, 4096, guest(DATA));
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, DISK_SIZE / 512 - 1, DATA, 512), VIRTIO_BLK_S_OK);
	expect_file(DISK_SIZE - 512, 512, guest(DATA));
}

Test(block, takes_buffers_in_pieces_wherever_they_lie)
{
	uint64_t at = header(0, VIRTIO_BLK_T_OUT, 100);
	struct ring_buffer pieces[6] = {
		{at, 10, false},
		{at + 10, 6, false},           /* the header in two */
		{RAM_HIGH - 512, 1024, false}, /* over the border of two areas */
		{DATA + 1, 511, false},
		{DATA + 0x800, 1, false},
		{at + 32, 1, true},
	};
	uint8_t expected[1536];

	for (unsigned i = 0; i < 1536; i++)
		expected[i] = (uint8_t)(i * 3);
	memcpy(guest(RAM_HIGH - 512), expected, 512);
	memcpy(guest(RAM_HIGH), expected + 512, 512);
	memcpy(guest(DATA + 1), expected + 1024, 511);
	memcpy(guest(DATA + 0x800), expected + 1535, 1);
	ring_add(&ring, pieces, 6);
	wait_for(1);
	cr_expect_eq(status_byte(0), VIRTIO_BLK_S_OK);
	expect_file(100 * 512, 1536, expected);

	header(0, VIRTIO_BLK_T_IN, 100);
	pieces[2] = (struct ring_buffer){DATA + 0x1003, 1000, true};
	pieces[3] = (struct ring_buffer){DATA + 0x2001, 536, true};
	ring_add(&ring,
		 (struct ring_buffer[]){pieces[0], pieces[1], pieces[2], pieces[3], pieces[5]}, 5);
	wait_for(1);
	cr_expect_eq(status_byte(0), VIRTIO_BLK_S_OK);
	cr_expect_eq(memcmp(guest(DATA + 0x1003), expected, 1000), 0);
	cr_expect_eq(memcmp(guest(DATA + 0x2001), expected + 1000, 536), 0);
}

Test(block, a_big_unaligned_request_goes_through_the_bounce_buffer)
{
	for (unsigned i = 0; i < 300 * 512; i++)
		((uint8_t *)guest(DATA + 3))[i] = (uint8_t)(i / 512 + i);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 64, DATA + 3, 300 * 512), VIRTIO_BLK_S_OK);
	expect_file(64 * 512, 300 * 512, guest(DATA + 3));
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 64, DATA + 0x100005, 300 * 512), VIRTIO_BLK_S_OK);
	cr_expect_eq(memcmp(guest(DATA + 3), guest(DATA + 0x100005), 300 * 512), 0);
}

Test(block, serves_many_requests_at_once)
{
	for (unsigned round = 0; round < 20; round++) {
		for (unsigned i = 0; i < 21; i++)
			offer(i, i % 2 ? VIRTIO_BLK_T_OUT : VIRTIO_BLK_T_IN, i * 8,
			      DATA + i * 0x1000, 4096);
		wait_for(21);
		for (unsigned i = 0; i < 21; i++)
			cr_assert_eq(status_byte(i), VIRTIO_BLK_S_OK);
	}
	cr_expect_lt(machine.messages[0], 20 * 21 + 1);
}

Test(block, random_reads_and_writes_match_a_model)
{
	static uint8_t model[DISK_SIZE];
	unsigned seed = 7;

	for (unsigned i = 0; i < DISK_SIZE; i++)
		model[i] = pattern(i);
	for (unsigned i = 0; i < 1500; i++) {
		uint32_t sectors = 1 + (unsigned)rand_r(&seed) % 64;
		uint64_t sector = (unsigned)rand_r(&seed) % (DISK_SIZE / 512 - sectors + 1);
		uint64_t at = DATA + (unsigned)rand_r(&seed) % 1024 * (rand_r(&seed) % 4 ? 512 : 1);
		struct virtio_blk_discard_write_zeroes range = {.sector = sector,
								.num_sectors = sectors};

		switch (rand_r(&seed) % 8) {
		case 0:
			range.flags = (unsigned)rand_r(&seed) % 2;
			memcpy(guest(at), &range, sizeof(range));
			cr_assert_eq(request(VIRTIO_BLK_T_WRITE_ZEROES, 0, at, sizeof(range)), 0);
			memset(model + sector * 512, 0, sectors * 512);
			break;
		case 1:
		case 2:
		case 3:
			for (unsigned k = 0; k < sectors * 512; k++)
				((uint8_t *)guest(at))[k] = (uint8_t)rand_r(&seed);
			cr_assert_eq(request(VIRTIO_BLK_T_OUT, sector, at, sectors * 512), 0);
			memcpy(model + sector * 512, guest(at), sectors * 512);
			break;
		default:
			cr_assert_eq(request(VIRTIO_BLK_T_IN, sector, at, sectors * 512), 0);
			cr_assert_eq(memcmp(model + sector * 512, guest(at), sectors * 512), 0);
			break;
		}
	}
	expect_file(0, DISK_SIZE, model);
}

Test(block, tells_its_name)
{
	memset(guest(DATA), 0xff, 32);
	cr_expect_eq(request(VIRTIO_BLK_T_GET_ID, 0, DATA, 20), VIRTIO_BLK_S_OK);
	cr_expect_str_eq((char *)guest(DATA), "disk0");
	cr_expect_eq(((uint8_t *)guest(DATA))[19], 0);
	cr_expect_eq(((uint8_t *)guest(DATA))[20], 0xff);
	memset(guest(DATA), 0xff, 32);
	cr_expect_eq(request(VIRTIO_BLK_T_GET_ID, 0, DATA, 3), VIRTIO_BLK_S_OK);
	cr_expect_eq(memcmp(guest(DATA), "dis\xff", 4), 0);
}

struct range_case {
	const char *what;
	uint32_t type;
	uint32_t length;
	struct virtio_blk_discard_write_zeroes ranges[2];
	uint8_t status;
};

#define WHOLE (sizeof(struct virtio_blk_discard_write_zeroes))

Test(block, discards_and_zeroes_ranges_and_refuses_bad_ones)
{
	static const struct range_case cases[] = {
		{"discard", VIRTIO_BLK_T_DISCARD, WHOLE, {{.sector = 16, .num_sectors = 8}}, 0},
		{"nothing", VIRTIO_BLK_T_DISCARD, WHOLE, {{.sector = 16, .num_sectors = 0}}, 0},
		{"zeroes", VIRTIO_BLK_T_WRITE_ZEROES, WHOLE, {{.sector = 32, .num_sectors = 9}}, 0},
		{"zeroes, unmapped",
		 VIRTIO_BLK_T_WRITE_ZEROES,
		 2 * WHOLE,
		 {{.sector = 48, .num_sectors = 8, .flags = 1}, {.sector = 64, .num_sectors = 1}},
		 0},
		{"flags", VIRTIO_BLK_T_DISCARD, WHOLE, {{.num_sectors = 8, .flags = 1}}, 2},
		{"flags", VIRTIO_BLK_T_WRITE_ZEROES, WHOLE, {{.num_sectors = 8, .flags = 2}}, 2},
		{"no range", VIRTIO_BLK_T_DISCARD, 0, {{0}}, 1},
		{"half a range", VIRTIO_BLK_T_DISCARD, WHOLE / 2, {{0}}, 1},
		{"past the end",
		 VIRTIO_BLK_T_WRITE_ZEROES,
		 WHOLE,
		 {{.sector = DISK_SIZE / 512 - 1, .num_sectors = 2}},
		 1},
		{"wrapping",
		 VIRTIO_BLK_T_WRITE_ZEROES,
		 WHOLE,
		 {{.sector = UINT64_MAX, .num_sectors = 2}},
		 1},
		{"too long", VIRTIO_BLK_T_WRITE_ZEROES, WHOLE, {{.num_sectors = UINT32_MAX}}, 1},
		{"second bad: the first is not done",
		 VIRTIO_BLK_T_WRITE_ZEROES,
		 2 * WHOLE,
		 {{.sector = 128, .num_sectors = 8}, {.sector = DISK_SIZE, .num_sectors = 1}},
		 1},
	};
	static const uint8_t zeroes[9 * 512];
	uint8_t kept[512];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		memcpy(guest(DATA), cases[i].ranges, sizeof(cases[i].ranges));
		cr_expect_eq(request(cases[i].type, 0, DATA, cases[i].length), cases[i].status,
			     "%s", cases[i].what);
	}
	expect_file(16 * 512, 8 * 512, zeroes);
	expect_file(32 * 512, 9 * 512, zeroes);
	expect_file(48 * 512, 8 * 512, zeroes);
	expect_file(64 * 512, 512, zeroes);
	for (unsigned i = 0; i < 512; i++)
		kept[i] = pattern(128 * 512 + i);
	expect_file(128 * 512, 512, kept);
}

Test(block, refuses_what_does_not_fit_the_disk)
{
	cr_expect_eq(request(VIRTIO_BLK_T_IN, DISK_SIZE / 512, DATA, 512), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, DISK_SIZE / 512 - 1, DATA, 1024), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, UINT64_MAX, DATA, 512), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, UINT64_MAX / 512, DATA, 512), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 511), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 513), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 0), VIRTIO_BLK_S_OK, "nothing to do");
	cr_expect_eq(request(12345, 0, DATA, 512), VIRTIO_BLK_S_UNSUPP);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, 0x1000, 512), VIRTIO_BLK_S_IOERR, "no memory");
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, RAM_ROM, 512), VIRTIO_BLK_S_IOERR, "read only");
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 0, RAM_ROM, 512), VIRTIO_BLK_S_OK);
	cr_expect_eq(fake_log_count, 0, "nothing of this is worth a message");
	cr_expect_not(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
}

Test(block, a_request_without_header_or_status_needs_a_reset)
{
	struct ring_buffer short_header[2] = {{HEADERS, 15, false}, {HEADERS + 32, 1, true}};
	struct ring_buffer no_status[1] = {{HEADERS, 16, false}};
	struct ring_buffer bad_status[2] = {{HEADERS, 16, false}, {RAM_ROM, 1, true}};
	struct ring_buffer bad_header[2] = {{0x1000, 16, false}, {HEADERS + 32, 1, true}};

	ring_add(&ring, short_header, 2);
	driver_notify(0);
	driver_wait();
	cr_expect(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	bring_up(FEATURES);
	ring_add(&ring, no_status, 1);
	driver_notify(0);
	driver_wait();
	cr_expect(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	bring_up(FEATURES);
	header(0, 999, 0);
	ring_add(&ring, bad_status, 2);
	driver_notify(0);
	driver_wait();
	cr_expect(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	bring_up(FEATURES);
	ring_add(&ring, bad_header, 2);
	driver_notify(0);
	driver_wait();
	cr_expect(status() & VIRTIO_CONFIG_S_NEEDS_RESET);
	bring_up(FEATURES);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
}

Test(block, errors_of_the_storage_are_errors_of_the_request)
{
	struct rlimit limit = {.rlim_cur = DISK_SIZE / 2, .rlim_max = RLIM_INFINITY};

	signal(SIGXFSZ, SIG_IGN);
	cr_assert_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 0, DATA, 4096), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, DISK_SIZE / 512 - 8, DATA, 4096),
		     VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, DISK_SIZE / 512 - 8, DATA + 1, 512),
		     VIRTIO_BLK_S_IOERR, "unaligned");
	cr_expect_eq(fake_log_count, 1, "said once");
	cr_expect(strstr(fake_log_last, "disk disk0: a write failed"), "%s", fake_log_last);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, DISK_SIZE / 512 - 8, DATA, 4096), VIRTIO_BLK_S_OK);
}

Test(block, a_file_cut_off_under_us_is_an_error)
{
	cr_assert_eq(ftruncate(file, DISK_SIZE / 2), 0);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, DISK_SIZE / 512 - 8, DATA, 4096), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, DISK_SIZE / 1024 - 4, DATA, 4096), VIRTIO_BLK_S_IOERR,
		     "half of it is there");
	cr_expect_eq(request(VIRTIO_BLK_T_IN, DISK_SIZE / 512 - 8, DATA + 1, 512),
		     VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 4096), VIRTIO_BLK_S_OK);
}

static void offer_at_the_last_moment(uint64_t iova, bool write)
{
	if (!write || iova != ring.used || ring_used(&ring)->flags != VRING_USED_F_NO_NOTIFY)
		return;
	fake_access = NULL;
	offer(1, VIRTIO_BLK_T_IN, 0, DATA, 512);
}

Test(block, a_request_that_comes_at_the_last_moment_is_seen)
{
	offer(0, VIRTIO_BLK_T_IN, 0, DATA, 512);
	fake_access = offer_at_the_last_moment;
	wait_for(2);
	cr_expect_eq(status_byte(1), VIRTIO_BLK_S_OK);
}

Test(block, a_reset_waits_for_what_is_in_flight)
{
	for (unsigned round = 0; round < 50; round++) {
		for (unsigned i = 0; i < 16; i++)
			offer(i, VIRTIO_BLK_T_IN, 0, DATA + i * 0x10000, 0x10000);
		driver_notify(0);
		fake_loop_step(machine.loop, 1000);
		common_out(VIRTIO_PCI_COMMON_STATUS, 0, 1);
		cr_assert_eq(fake_pins, 0, "nothing points into guest memory any more");
		uint16_t given_back = ring_used(&ring)->idx;
		memset(guest(DATA), 0xee, 0x100000);
		driver_wait();
		cr_assert_eq(ring_used(&ring)->idx, given_back);
		for (unsigned i = 0; i < 0x100000; i += 64)
			cr_assert_eq(((uint8_t *)guest(DATA))[i], 0xee);
		bring_up(FEATURES);
	}
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
}

Test(block, the_end_of_the_device_waits_too)
{
	for (unsigned i = 0; i < 16; i++)
		offer(i, VIRTIO_BLK_T_OUT, i * 128, DATA, 0x10000);
	driver_notify(0);
	fake_loop_step(machine.loop, 1000);
	/* teardown follows */
}

Test(block, a_driver_without_flush_gets_stable_writes)
{
	bring_up(1ull << VIRTIO_F_VERSION_1);
	memset(guest(DATA), 0x5a, 1024);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 1, DATA + 3, 512), VIRTIO_BLK_S_OK);
	expect_file(0, 1024, guest(DATA));
}

Test(block, survives_a_random_driver)
{
	unsigned seed = 4711, answered = 0;

	for (unsigned i = 0; i < 20000; i++) {
		unsigned slot = (unsigned)rand_r(&seed) % 16;
		struct ring_buffer buffers[6];
		unsigned count = 1 + (unsigned)rand_r(&seed) % 6;
		uint32_t id, written;
		bool write = false;

		header(slot, (unsigned)rand_r(&seed) % 16,
		       rand_r(&seed) % 8 ? (unsigned)rand_r(&seed) % 2048
					 : (uint64_t)rand_r(&seed) << 35);
		for (unsigned k = 0; k < count; k++) {
			write |= rand_r(&seed) % 3 == 0;
			buffers[k] = (struct ring_buffer){
				rand_r(&seed) % 64 ? DATA + (unsigned)rand_r(&seed) % 8192
						   : (uint64_t)rand_r(&seed),
				rand_r(&seed) % 2 ? 512u * ((unsigned)rand_r(&seed) % 8)
						  : (unsigned)rand_r(&seed) % 4096,
				write};
		}
		if (rand_r(&seed) % 32)
			buffers[0] = (struct ring_buffer){HEADERS + 64 * slot, 16, false};
		ring_add(&ring, buffers, count);
		if (rand_r(&seed) % 4)
			driver_notify(0);
		fake_loop_step(machine.loop, 1000);
		while (ring_take(&ring, &id, &written))
			answered++;
		if ((status() & VIRTIO_CONFIG_S_NEEDS_RESET) || rand_r(&seed) % 256 == 0)
			bring_up(FEATURES);
	}
	cr_expect_gt(answered, 5000);
	bring_up(FEATURES);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
}

/* Opening: no device of the suite's set-up. */
static void setup_machine(void)
{
	machine_start();
}

TestSuite(disk, .init = setup_machine);

Test(disk, read_only_disks_are_only_read)
{
	make_file("/tmp", DISK_SIZE);
	chmod(path, 0400);
	cr_assert_eq(create(true), 0);
	cr_expect(driver_offered() & 1ull << VIRTIO_BLK_F_RO);
	cr_expect_not(driver_offered() & 1ull << VIRTIO_BLK_F_DISCARD);
	bring_up(FEATURES);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 0, DATA, 512), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 0, DATA, 512), VIRTIO_BLK_S_IOERR);
	memset(guest(DATA), 0, 64);
	((uint32_t *)guest(DATA))[2] = 8;
	cr_expect_eq(request(VIRTIO_BLK_T_DISCARD, 0, DATA, 16), VIRTIO_BLK_S_IOERR);
	cr_expect_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
	teardown();
}

Test(disk, works_in_memory_without_direct_io)
{
	make_file("/dev/shm", DISK_SIZE);
	cr_assert_eq(create(false), 0);
	bring_up(FEATURES);
	memset(guest(DATA), 0x42, 4096);
	cr_expect_eq(request(VIRTIO_BLK_T_OUT, 7, DATA + 1, 512), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0, 0), VIRTIO_BLK_S_OK);
	expect_file(7 * 512, 512, guest(DATA));
	teardown();
}

Test(disk, a_second_writer_is_refused_with_the_reason)
{
	struct virtio_block_config config = {.id = "disk1", .path = path};
	struct pci_function *fn;

	make_file("/tmp", DISK_SIZE);
	cr_assert_eq(create(false), 0);
	cr_expect_eq(virtio_block_create(&config, machine.loop, machine.ioas, &fn), -EBUSY);
	cr_expect(strstr(fake_log_last, "disk disk1: ") && strstr(fake_log_last, "in use"), "%s",
		  fake_log_last);
	teardown();
}

Test(disk, the_last_incomplete_sector_is_left_out_with_a_warning)
{
	make_file("/tmp", 10000);
	cr_assert_eq(create(false), 0);
	cr_expect_eq(bar_in(machine.device, 8), 19);
	cr_expect_eq(fake_log_count, 1);
	bring_up(FEATURES);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 18, DATA, 512), VIRTIO_BLK_S_OK);
	cr_expect_eq(request(VIRTIO_BLK_T_IN, 19, DATA, 512), VIRTIO_BLK_S_IOERR);
	teardown();
}

struct open_case {
	const char *path;
	int result;
	const char *says;
};

Test(disk, what_cannot_be_opened_is_said)
{
	static const struct open_case cases[] = {
		{"/nonexistent/disk.img", -ENOENT, "No such file"},
		{"/tmp", -EISDIR, "neither a file nor a block device"},
		{"/dev/null", -EINVAL, "neither a file nor a block device"},
		{"/proc/self/comm", -EINVAL, "no whole block"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		snprintf(path, sizeof(path), "%s", cases[i].path);
		cr_expect_eq(create(true), cases[i].result, "%s", path);
		cr_expect(strstr(fake_log_last, cases[i].says), "%s", fake_log_last);
		cr_expect(strstr(fake_log_last, "disk disk0: "), "%s", fake_log_last);
	}
	cr_expect_eq(fake_loop_sources(machine.loop), 0);
}
