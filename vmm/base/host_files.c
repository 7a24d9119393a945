/* SPDX-License-Identifier: Apache-2.0 */
/* How many files this process may have open, and what to say when that is too few. */
#include <errno.h>
#include <string.h>
#include <sys/resource.h>

#include "vmm/base/host.h"

int host_raise_nofile(void)
{
	struct rlimit limit;

	if (prlimit(0, RLIMIT_NOFILE, NULL, &limit) < 0)
		return -errno;
	if (limit.rlim_cur == limit.rlim_max)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	return host_result(prlimit(0, RLIMIT_NOFILE, &limit, NULL));
}

uint64_t host_nofile(void)
{
	struct rlimit limit;

	return prlimit(0, RLIMIT_NOFILE, NULL, &limit) < 0 ? 0 : limit.rlim_cur;
}

const char *host_strerror(int error)
{
	if (error == EMFILE)
		return "too many open files for this process; raise its hard limit "
		       "(ulimit -n NUMBER as root, or LimitNOFILE= of its service)";
	if (error == ENFILE)
		return "too many open files on this host; raise its limit (sysctl fs.file-max)";
	return strerror(error);
}

const char *host_output_strerror(int error)
{
	if (error == ENXIO)
		return "nobody reads from this FIFO yet; start its reader first";
	return host_strerror(error);
}
