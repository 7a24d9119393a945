// SPDX-License-Identifier: Apache-2.0
/* What a host leaves for a guest: files below a directory in place of a host. */
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "vmm/base/host_memory.h"
#include "vmm/ram.h"

#define MIB (1ull << 20)

static char root[] = "/tmp/sluice-memory-XXXXXX";

static void put(const char *path, const char *text)
{
	char full[512];
	FILE *file;

	snprintf(full, sizeof(full), "%s%s", root, path);
	for (char *p = full + sizeof(root); (p = strchr(p, '/')) != NULL; p++) {
		*p = '\0';
		mkdir(full, 0755);
		*p = '/';
	}
	file = fopen(full, "w");
	cr_assert_not_null(file, "%s: %s", full, strerror(errno));
	fputs(text, file);
	fclose(file);
}

static void setup(void)
{
	cr_assert_not_null(mkdtemp(root));
	put("/proc/meminfo", "MemTotal:       16777216 kB\nMemFree:         1000000 kB\n"
			     "MemAvailable:    8388608 kB\nSwapTotal:       2048 kB\n"
			     "SwapFree:        1024 kB\n");
}

static void teardown(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -rf %s", root);
	cr_assert_eq(system(command), 0);
}

static struct host_memory read_it(void)
{
	struct host_memory host;

	host_memory_read(root, &host);
	return host;
}

TestSuite(host_memory, .init = setup, .fini = teardown);

Test(host_memory, is_what_the_machine_has_where_no_cgroup_limits_it)
{
	static const char *const lines[] = {"",
					    "0::/",
					    "nonsense",
					    ":",
					    "::",
					    "1:name=systemd:/x",
					    "4:memory:/not/there\n0::/nor/there"};

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		struct host_memory host;

		put("/proc/self/cgroup", lines[i]);
		host = read_it();
		cr_expect_eq(host.available, 8192 * MIB, "%s", lines[i]);
		cr_expect_eq(host.swap_free, MIB);
		cr_expect_eq(host.most, (16384 + 2) * MIB);
		cr_expect_str_empty(host.cgroup);
	}
}

Test(host_memory, version_2_limits_at_every_level)
{
	struct host_memory host;

	put("/proc/self/cgroup", "0::/a/b/c\n");
	put("/sys/fs/cgroup/a/memory.max", "1073741824\n");
	put("/sys/fs/cgroup/a/memory.current", "536870912\n");
	put("/sys/fs/cgroup/a/memory.stat",
	    "anon 1\nfile 209715200\nactive_file 104857600\ninactive_file 104857600\n");
	put("/sys/fs/cgroup/a/b/memory.max", "max\n");
	put("/sys/fs/cgroup/a/b/memory.current", "1\n");
	put("/sys/fs/cgroup/a/b/c/memory.max", "4294967296\n");
	put("/sys/fs/cgroup/a/b/c/memory.current", "1\n");
	host = read_it();
	/* Page cache gives way. */
	cr_assert_eq(host.available, (1024 - 512 + 200) * MIB);
	cr_assert_eq(host.most, (1024 + 2) * MIB);
	cr_assert_str_eq(host.cgroup, "/a");

	put("/sys/fs/cgroup/a/b/c/memory.max", "100");
	put("/sys/fs/cgroup/a/b/c/memory.current", "200");
	host = read_it();
	cr_assert_eq(host.available, 0);
	cr_assert_str_eq(host.cgroup, "/a/b/c");
}

Test(host_memory, version_1_is_found_among_its_controllers)
{
	struct host_memory host;

	put("/proc/self/cgroup", "9:cpu,cpuacct:/x\n4:hugetlb,memory:/jail\n1:memoryless:/y\n0::/");
	put("/sys/fs/cgroup/memory/jail/memory.limit_in_bytes", "268435456\n");
	put("/sys/fs/cgroup/memory/jail/memory.usage_in_bytes", "67108864\n");
	put("/sys/fs/cgroup/memory/jail/memory.stat",
	    "active_file 5\ntotal_inactive_file 1048576\ntotal_active_file 0\n");
	put("/sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
	put("/sys/fs/cgroup/memory/memory.usage_in_bytes", "67108864\n");
	host = read_it();
	cr_assert_eq(host.available, 193 * MIB);
	cr_assert_eq(host.most, (256 + 2) * MIB);
	cr_assert_str_eq(host.cgroup, "/jail");
}

Test(host_memory, a_container_sees_its_own_cgroup_at_the_top)
{
	struct host_memory host;

	put("/proc/self/cgroup", "0::/docker/0123\n");
	put("/sys/fs/cgroup/memory.max", "536870912\n");
	put("/sys/fs/cgroup/memory.current", "0\n");
	host = read_it();
	cr_assert_eq(host.available, 512 * MIB);
	cr_assert_str_eq(host.cgroup, "/");
}

Test(host_memory, what_cannot_be_read_sets_no_limit)
{
	struct host_memory host;

	host_memory_read("/nowhere", &host);
	cr_assert_eq(host.available, UINT64_MAX);
	cr_assert_eq(host.most, UINT64_MAX);
	host_memory_read("", &host);
	cr_assert_gt(host.available, 0);
	cr_assert_geq(host.most, host.available);
}

Test(host_memory, need_does_not_wrap)
{
	cr_assert_eq(host_memory_need(512 * MIB), 515 * MIB);
	cr_assert_eq(host_memory_need(UINT64_MAX - 1), UINT64_MAX);
}

/* ---- what is refused ---- */

static const struct ram_request pinned = {.size = 1024 * MIB, .pinned = true};
static const struct ram_request prefault = {.size = 1024 * MIB, .prefault = true};

Test(ram, is_refused_when_it_must_all_be_there_and_cannot)
{
	const struct host_memory host = {.available = 1000 * MIB},
				 tight = {.available = 1029 * MIB};
	const struct host_memory jail = {.available = 100 * MIB, .cgroup = "/jail"};
	char text[512] = "";

	cr_assert_eq(ram_judge(&pinned, &host, text, sizeof(text)), -ENOMEM);
	cr_assert_str_eq(text,
			 "--memory: 1030 MiB are needed at once (a passed-through device pins "
			 "all of it), and this host has 1000 MiB; give the guest less, or end "
			 "what uses memory here");
	cr_assert_eq(ram_judge(&prefault, &tight, text, sizeof(text)), -ENOMEM);
	cr_assert_not_null(strstr(text, "(prefault)"));
	cr_assert_eq(ram_judge(&pinned, &jail, text, sizeof(text)), -ENOMEM);
	cr_assert_not_null(strstr(text, "the memory cgroup /jail leaves 100 MiB; give the guest "
					"less, or raise the cgroup's limit"));
}

Test(ram, is_given_when_there_is_enough_or_nobody_needs_it_at_once)
{
	const struct host_memory enough = {.available = 1030 * MIB}, none = {.available = 0};
	const struct host_memory swap = {.available = 30 * MIB, .swap_free = 1000 * MIB};
	const struct host_memory unknown = {.available = UINT64_MAX, .swap_free = 5};
	struct ram_request lazy = {.size = 1024 * MIB}, huge = pinned;
	char text[512];

	huge.huge_page = 2 * MIB; /* reserved, or refused by the kernel */
	cr_assert_eq(ram_judge(&pinned, &enough, text, sizeof(text)), 0);
	cr_assert_eq(ram_judge(&pinned, &swap, text, sizeof(text)), 0);
	cr_assert_eq(ram_judge(&pinned, &unknown, text, sizeof(text)), 0);
	cr_assert_eq(ram_judge(&lazy, &none, text, sizeof(text)), 0);
	cr_assert_eq(ram_judge(&huge, &none, text, sizeof(text)), 0);
}

/* ---- what is waited for ---- */

/* A host whose memory is, look by look, what the test says; the last stays. */
struct scripted {
	struct host_memory looks[8];
	unsigned count, look, pauses, cancel_after;
	uint64_t grows; /* bytes more at each further look */
};

static void scripted_read(void *ctx, struct host_memory *out)
{
	struct scripted *s = ctx;

	*out = s->looks[s->look];
	if (s->look + 1 < s->count)
		s->look++;
	else
		s->looks[s->look].available += s->grows;
}

static void scripted_pause(void *ctx)
{
	((struct scripted *)ctx)->pauses++;
}

static bool scripted_cancelled(void *ctx)
{
	struct scripted *s = ctx;

	return s->cancel_after && s->pauses >= s->cancel_after;
}

static int wait_for(struct scripted *s, char text[512])
{
	const struct ram_host host = {scripted_read, scripted_pause, s};
	struct ram_request request = pinned;

	request.cancelled = scripted_cancelled;
	request.ctx = s;
	text[0] = '\0';
	return ram_wait(&request, &host, text, 512);
}

Test(ram, that_is_there_is_not_waited_for)
{
	struct scripted s = {.looks = {{.available = 2000 * MIB, .most = 2000 * MIB}}, .count = 1};
	char text[512];

	cr_assert_eq(wait_for(&s, text), 0);
	cr_assert_eq(s.pauses, 0);
}

static void never_read(void *ctx, struct host_memory *out)
{
	(void)out;
	(*(unsigned *)ctx)++;
}

/* Each launch would pay for it. */
Test(ram, that_nothing_needs_at_once_is_not_asked_of_the_host)
{
	const struct ram_request lazy = {.size = 1024 * MIB},
				 huge = {.size = 1024 * MIB, .huge_page = 2 * MIB, .pinned = true};
	unsigned looks = 0;
	const struct ram_host host = {.read = never_read, .ctx = &looks};
	char text[512];

	cr_assert_eq(ram_wait(&lazy, &host, text, sizeof(text)), 0);
	cr_assert_eq(ram_wait(&huge, &host, text, sizeof(text)), 0);
	cr_assert_eq(looks, 0);
}

Test(ram, of_a_vm_that_was_killed_is_waited_for)
{
	struct scripted s = {
		.looks = {{.available = 700 * MIB, .most = 2000 * MIB},
			  {.available = 700 * MIB, .most = 2000 * MIB},
			  {.available = 1000 * MIB, .most = 2000 * MIB},
			  {.available = 900 * MIB, .most = 2000 * MIB},
			  {.available = 900 * MIB, .swap_free = 130 * MIB, .most = 2000 * MIB}},
		.count = 5};
	char text[512];

	cr_assert_eq(wait_for(&s, text), 0);
	cr_assert_eq(s.pauses, 4);
}

Test(ram, that_comes_back_slowly_is_waited_for_as_long_as_it_comes)
{
	struct scripted s = {
		.looks = {{.available = 700 * MIB, .most = 2000 * MIB}}, .count = 1, .grows = MIB};
	char text[512];

	cr_assert_eq(wait_for(&s, text), 0);
	cr_assert_eq(s.pauses, 330);
}

Test(ram, that_nobody_gives_back_is_refused_in_the_end)
{
	struct scripted still = {.looks = {{.available = 700 * MIB, .most = 2000 * MIB}},
				 .count = 1};
	struct scripted creeping = still, stalls = still;
	char text[512];

	cr_assert_eq(wait_for(&still, text), -ENOMEM);
	cr_assert_eq(still.pauses, RAM_PATIENCE);
	cr_assert_not_null(strstr(text, "this host has 700 MiB"));
	/* Ups and downs of a busy host are no sign of it. */
	creeping.grows = 4096;
	cr_assert_eq(wait_for(&creeping, text), -ENOMEM);
	cr_assert_eq(creeping.pauses, RAM_PATIENCE);
	/* Some came, and then no more. */
	stalls.looks[1] = (struct host_memory){.available = 900 * MIB, .most = 2000 * MIB};
	stalls.count = 2;
	cr_assert_eq(wait_for(&stalls, text), -ENOMEM);
	cr_assert_eq(stalls.pauses, RAM_PATIENCE + 1);
	cr_assert_not_null(strstr(text, "this host has 900 MiB"));
}

Test(ram, more_than_the_host_can_ever_have_is_refused_at_once)
{
	struct scripted s = {.looks = {{.available = 700 * MIB, .most = 1029 * MIB}}, .count = 1};
	char text[512];

	cr_assert_eq(wait_for(&s, text), -ENOMEM);
	cr_assert_eq(s.pauses, 0);
	cr_assert_not_null(strstr(text, "1030 MiB are needed at once"));
}

Test(ram, is_not_waited_for_when_the_user_ends_it)
{
	struct scripted s = {.looks = {{.available = 700 * MIB, .most = 2000 * MIB}},
			     .count = 1,
			     .cancel_after = 3};
	char text[512];

	cr_assert_eq(wait_for(&s, text), -ECANCELED);
	cr_assert_eq(s.pauses, 3);
}
