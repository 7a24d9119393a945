/* SPDX-License-Identifier: Apache-2.0 */
/* The VF token: who needs one, who must not have one. */
#include <errno.h>
#include <string.h>

#include "tests/contract/contract.h"
#include "vmm/base/kvm.h"

static const uint8_t some_token[16] = {0x83, 0xb8, 0xf4, 0xf2, 0x50, 0x9f, 0x38, 0x2f,
				       0x3c, 0x1e, 0xe6, 0xbf, 0xe0, 0xfa, 0x10, 0x01};

static void one_that_nobody_wants_is_refused(struct run *run)
{
	const long wanted = answer(run, "errno", run->target->has & HAS_TOKEN ? -EACCES : -EINVAL);
	struct vfio_device *vdev = run->vdev;

	expect_rc(run, vfio_device_set_token(vdev, some_token), 0, "set");
	if (wanted) {
		expect_rc(run, device_open(run, vdev), wanted,
			  "open with a token that is not wanted");
		expect(run, !vdev->open_count && run->kvm->refcount == 1,
		       "something is left of it");
	} else {
		expect_rc(run, device_open(run, vdev), 0, "open with a token");
		vfio_device_close(vdev);
	}
	expect_rc(run, vfio_device_set_token(vdev, run->target->token), 0,
		  "the right one, or none");
	expect_rc(run, device_open(run, vdev), 0, "open");
	expect_rc(run, vfio_device_set_token(vdev, some_token), -EBUSY,
		  "a token of an open device");
}

static void without_it_the_device_stays_closed(struct run *run)
{
	struct vfio_device *vdev = run->vdev;

	expect(run, vdev->has_token && !memcmp(vdev->token, run->target->token, 16),
	       "the token is not in the device");
	expect_rc(run, vfio_device_set_token(vdev, NULL), 0, "no token");
	expect_rc(run, device_open(run, vdev), -EACCES, "open without a token");
	expect_rc(run, vfio_device_set_token(vdev, some_token), 0, "another token");
	expect_rc(run, device_open(run, vdev), -EACCES, "open with another token");
	expect_rc(run, vfio_device_set_token(vdev, run->target->token), 0, "the right token");
	expect_rc(run, device_open(run, vdev), 0, "open with the right token");
}

const struct contract_test token_tests[] = {
	{"token.one_that_nobody_wants_is_refused",
	 "vfio_device_ops.match_token_uuid, vfio_device.has_token, vfio_device.token", 0, CLOSED,
	 one_that_nobody_wants_is_refused},
	{"token.without_it_the_device_stays_closed",
	 "vfio_device_ops.match_token_uuid, vfio_device.has_token, vfio_device.token", HAS_TOKEN,
	 CLOSED, without_it_the_device_stays_closed},
	{0},
};
