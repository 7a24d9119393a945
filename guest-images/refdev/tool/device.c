// SPDX-License-Identifier: Apache-2.0
/* The device by its driver: requests, and what it has counted. */
#include "guest-images/refdev/tool/tool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

int request(struct device *device, struct refdev_request *r)
{
	r->argsz = sizeof(*r);
	if (ioctl(device->fd, REFDEV_REQUEST, r) < 0)
		return complain("%s: request: %s", device->path, strerror(errno));
	if (r->error)
		return complain(
			"%s: the device ended a request of %llu bytes with error %u at %#llx",
			device->path, (unsigned long long)r->length, r->error,
			(unsigned long long)r->error_address);
	return 0;
}

int get_info(struct device *device)
{
	device->info = (struct refdev_info){.argsz = sizeof(device->info)};
	if (ioctl(device->fd, REFDEV_GET_INFO, &device->info) < 0)
		return complain("%s: %s", device->path, strerror(errno));
	return 0;
}

uint64_t *get_counts(struct device *device)
{
	uint64_t *counts = calloc(device->info.vectors, sizeof(*counts));
	struct refdev_counts get = {
		.argsz = sizeof(get),
		.count = device->info.vectors,
		.counts = (uintptr_t)counts,
	};

	if (!counts || ioctl(device->fd, REFDEV_GET_COUNTS, &get) < 0) {
		complain("%s: counts: %s", device->path, strerror(errno));
		free(counts);
		return NULL;
	}
	return counts;
}

int tally_begin(struct device *device, struct tally *tally)
{
	if (get_info(device))
		return 1;
	tally->before = device->info;
	tally->counts = get_counts(device);
	return !tally->counts;
}

int tally_end(struct device *device, struct tally *tally, uint64_t requests, const uint64_t *wanted)
{
	struct refdev_info *now = &device->info, *before = &tally->before;
	uint64_t *counts = NULL;
	int failed = 0;

	if (get_info(device) || !(counts = get_counts(device))) {
		failed = 1;
		goto out;
	}
	if (now->completed - before->completed != requests)
		failed = complain("%llu requests, of which the device completed %llu",
				  (unsigned long long)requests,
				  (unsigned long long)(now->completed - before->completed));
	if (now->irqs - before->irqs != requests)
		failed = complain("%llu requests, %llu interrupts", (unsigned long long)requests,
				  (unsigned long long)(now->irqs - before->irqs));
	if ((now->flags & REFDEV_INFO_MSIX) && now->interrupts - before->interrupts != requests)
		failed = complain("%llu requests, %llu messages sent", (unsigned long long)requests,
				  (unsigned long long)(now->interrupts - before->interrupts));
	if (now->lost != before->lost)
		failed = complain("%llu interrupts were lost",
				  (unsigned long long)(now->lost - before->lost));
	for (uint32_t i = 0; wanted && i < now->vectors; i++)
		if (counts[i] - tally->counts[i] != wanted[i])
			failed = complain("vector %u: %llu interrupts, not %llu", i,
					  (unsigned long long)(counts[i] - tally->counts[i]),
					  (unsigned long long)wanted[i]);
out:
	free(counts);
	free(tally->counts);
	return failed;
}
