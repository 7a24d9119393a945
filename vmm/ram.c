// SPDX-License-Identifier: Apache-2.0
#include "vmm/ram.h"

#include <errno.h>
#include <stdio.h>
#include <time.h>

#include "vmm/base/host.h"
#include "vmm/base/host_memory.h"
#include "vmm/base/log.h"
#include "vmm/base/memory.h"
#include "vmm/progress.h"

#define MIB (1ull << 20)

struct population {
	const struct ram_request *request;
	struct progress progress;
};

static bool needs_all(const struct ram_request *request)
{
	return request->prefault || request->pinned;
}

/* Pages of a pool are counted by the pool; others come one by one where nothing needs all of them. */
static bool host_must_have_all(const struct ram_request *request)
{
	return needs_all(request) && request->huge_page == 0;
}

int ram_judge(const struct ram_request *request, const struct host_memory *host, char *text,
	      unsigned size)
{
	uint64_t need = host_memory_need(request->size);
	uint64_t have = host->available;

	if (!host_must_have_all(request))
		return 0;
	/* Others can be swapped out to make room. */
	have = have > UINT64_MAX - host->swap_free ? UINT64_MAX : have + host->swap_free;
	if (need <= have)
		return 0;
	snprintf(text, size,
		 "--memory: %llu MiB are needed at once (%s), and %s%s%s %llu MiB; give the guest "
		 "less, or %s",
		 (unsigned long long)((need + MIB - 1) / MIB),
		 request->pinned ? "a passed-through device pins all of it" : "prefault",
		 host->cgroup[0] ? "the memory cgroup " : "this host has", host->cgroup,
		 host->cgroup[0] ? " leaves" : "", (unsigned long long)(have / MIB),
		 host->cgroup[0] ? "raise the cgroup's limit" : "end what uses memory here");
	return -ENOMEM;
}

int ram_wait(const struct ram_request *request, const struct ram_host *host, char *text,
	     unsigned size)
{
	struct host_memory now;
	uint64_t best = 0;

	/* The host's answer is in a dozen files, some of which the kernel adds up over all CPUs. */
	if (!host_must_have_all(request))
		return 0;
	for (unsigned pauses = 0, idle = 0;; pauses++, idle++) {
		host->read(host->ctx, &now);
		if (ram_judge(request, &now, text, size) == 0)
			return 0;
		/* Refused: it is known how much there is, and the sum is less than is needed. */
		if (now.available + now.swap_free >= best + RAM_GROWTH) {
			best = now.available + now.swap_free;
			idle = 0;
		}
		if (host_memory_need(request->size) > now.most || idle >= RAM_PATIENCE ||
		    pauses >= RAM_PAUSES)
			return -ENOMEM;
		if (request->cancelled != NULL && request->cancelled(request->ctx))
			return -ECANCELED;
		if (pauses == 0)
			log_info("--memory: there is not enough yet; waiting for what others may "
				 "be giving back");
		host->pause(host->ctx);
	}
}

static void read_host(void *ctx, struct host_memory *out)
{
	(void)ctx;
	host_memory_read("", out);
}

static void pause_host(void *ctx)
{
	const struct timespec pause = {.tv_nsec = RAM_PAUSE_MS * 1000000l};

	(void)ctx;
	nanosleep(&pause, NULL);
}

static bool populated(void *ctx, uint64_t done, uint64_t total)
{
	struct population *population = ctx;
	const struct ram_request *request = population->request;

	if (request->cancelled != NULL && request->cancelled(request->ctx))
		return false;
	progress_step(&population->progress, done, total);
	return true;
}

static int populate(const struct ram_request *request, struct memory *memory)
{
	struct population population = {.request = request};
	int r;

	progress_begin(&population.progress, "memory populated");
	r = memory_populate(memory, 0, populated, &population);
	progress_end(&population.progress);
	return r;
}

int ram_create(const struct ram_request *request, struct memory **out)
{
	enum host_page_kind pages = request->huge_page == 0            ? HOST_PAGES_NORMAL
				    : request->huge_page >= 1ull << 30 ? HOST_PAGES_1G
								       : HOST_PAGES_2M;
	const struct ram_host host = {.read = read_host, .pause = pause_host};
	struct memory *memory;
	char text[512];
	int r;

	r = ram_wait(request, &host, text, sizeof(text));
	if (r == -ENOMEM)
		log_error("%s", text);
	if (r < 0)
		return r;
	r = memory_create(request->pieces, request->count, pages, &memory);
	if (r < 0)
		return r;
	/* Devices pin all of it: the kernel would populate page by page, on one CPU. */
	if (needs_all(request))
		r = populate(request, memory);
	if (r < 0) {
		memory_destroy(memory);
		return r;
	}
	*out = memory;
	return 0;
}
