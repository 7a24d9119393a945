/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A provider by script: every op appends its name to a log and answers what the test set.
 */
#ifndef SLUICE_TESTS_FAKE_PROVIDER_H
#define SLUICE_TESTS_FAKE_PROVIDER_H

#include "devices/vfio/device.h"

struct fake_device {
	struct vfio_device vdev;    /* first: the ops cast back */
	struct vfio_device_ops ops; /* a copy of fake_ops: a test may take ops out */
	struct vfio_migration_ops mig_ops;
	struct vfio_log_ops log_ops;

	char log[512]; /* "bind open attach(7) ..." */

	/* Answers; 0 unless a test sets them. */
	int init, bind, open_device, attach, pasid_attach, token, feature, ioctl_rc, map;
	int set_state, get_state, precopy_info, log_start_rc, log_stop_rc;
	uint32_t pt_id;      /* what attach answers; 0: what it was given */
	uint32_t max_pasids; /* what bind sets */
	bool lose_attachment;

	enum vfio_device_mig_state state; /* RUNNING at first */
	int data_fd;

	struct vfio_info_cap_header *cap; /* of get_region_info_caps, NULL: none */
	size_t cap_size;

	unsigned last_command, requests, released;
	bool close_on_request;
	struct vfio_log_range ranges[8];
	uint32_t range_count;
	uint8_t seen_token[16];
	struct kvm *kvm_at_bind;
	void *set_lock_held; /* during the last ioctl: somebody else could not take the set's lock */
};

extern const struct vfio_device_ops fake_ops;
extern const struct vfio_migration_ops fake_mig_ops;
extern const struct vfio_log_ops fake_log_ops;

/* ops.match_token_uuid for tests that want it; the rest of fake_ops is there. */
int fake_token(struct vfio_device *vdev, const uint8_t *uuid);

/* Initialised, not registered; no migration and no log ops. */
struct fake_device *fake_device_new(const char *name);
/* fake_device_new() and registered in a set of its own. */
struct fake_device *fake_device_registered(const char *name);
/* Close, unregister, free the device and the fake. */
void fake_device_done(struct fake_device *fake);
void fake_say(struct fake_device *fake, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* An address-space table that nobody looks into. */
struct iommufd_ctx *fake_ictx(void);

#endif
