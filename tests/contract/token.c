/* SPDX-License-Identifier: Apache-2.0 */
/* The VF token: who needs one, who must not have one. */
#include <errno.h>
#include <string.h>

#include "tests/contract/contract.h"
#include "vmm/base/kvm.h"

static const uint8_t some_token[16] = {0x83, 0xb8, 0xf4, 0xf2, 0x50, 0x9f, 0x38, 0x2f,
				       0x3c, 0x1e, 0xe6, 0xbf, 0xe0, 0xfa, 0x10, 0x01};
static const char some_token_text[] = "83b8f4f2-509f-382f-3c1e-e6bfe0fa1001";

static void one_that_nobody_wants_is_refused(struct run *run)
{
	const long wanted = answer(run, "errno", -EINVAL);
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
	expect_rc(run, vfio_device_set_token(vdev, NULL), 0, "none");
	expect(run, !vdev->has_token, "a token that was taken back");
	expect_rc(run, device_open(run, vdev), 0, "open");
	expect_rc(run, vfio_device_set_token(vdev, some_token), -EBUSY,
		  "a token of an open device");
}

static void without_it_the_device_stays_closed(struct run *run)
{
	struct vfio_device *vdev = run->vdev;
	uint8_t other[16];

	control_set(run, "token", some_token_text);
	expect_rc(run, device_open(run, vdev), -EACCES, "open without a token");
	memcpy(other, some_token, sizeof(other));
	other[15] ^= 1;
	expect_rc(run, vfio_device_set_token(vdev, other), 0, "another token");
	expect_rc(run, device_open(run, vdev), -EACCES, "open with another token");
	expect(run, !vdev->open_count && run->kvm->refcount == 1, "something is left of it");
	expect_rc(run, vfio_device_set_token(vdev, some_token), 0, "the right token");
	expect(run, vdev->has_token && !memcmp(vdev->token, some_token, 16),
	       "the token is not in the device");
	expect_rc(run, device_open(run, vdev), 0, "open with the right token");
	vfio_device_close(vdev);
	control_set(run, "token", "\n");
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
