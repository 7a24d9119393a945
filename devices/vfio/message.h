/* SPDX-License-Identifier: Apache-2.0 */
/* Messages about a device that was named after --vfio: "vfio NAME: text". */
#ifndef SLUICE_VFIO_MESSAGE_H
#define SLUICE_VFIO_MESSAGE_H

#include "vmm/base/log.h"

/*
 * One line about the device that the user knows as @name. %m in @fmt is the reason of @error, a -errno;
 * 0 where there is none. Each returns @error.
 */
int vfio_error(const char *name, int error, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
int vfio_message(enum log_level level, const char *name, int error, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

#define vfio_warn(...)  vfio_message(LOG_LEVEL_WARN, __VA_ARGS__)
#define vfio_info(...)  vfio_message(LOG_LEVEL_INFO, __VA_ARGS__)
#define vfio_debug(...) vfio_message(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
