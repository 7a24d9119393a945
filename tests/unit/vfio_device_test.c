/* SPDX-License-Identifier: Apache-2.0 */
#include <criterion/criterion.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/unit/fake_provider.h"
#include "vmm/base/kvm.h"

static struct fake_device *opened(void)
{
	struct fake_device *fake = fake_device_registered("0000:01:00.0");

	cr_assert_eq(vfio_device_open(&fake->vdev, fake_ictx()), 0);
	fake->log[0] = '\0';
	return fake;
}

/* ---- life ---- */

Test(life, release_runs_exactly_once_and_only_after_a_successful_init)
{
	struct fake_device *fake = fake_device_registered("a");
	struct fake_device failing = {.ops = fake_ops, .init = -EIO};

	vfio_unregister_device(&fake->vdev);
	cr_expect_eq(fake->released, 0);
	vfio_device_free(&fake->vdev);
	cr_expect_eq(fake->released, 1);
	free(fake);

	cr_expect_eq(vfio_device_init(&failing.vdev, "b", &failing.ops), -EIO);
	cr_expect_eq(failing.released, 0);
	cr_expect_null(failing.vdev.dev);
}

Test(life, a_device_that_was_never_registered_is_freed_too)
{
	struct fake_device *fake = fake_device_new("a");

	cr_assert_eq(vfio_assign_device_set(&fake->vdev, NULL, 0), 0);
	cr_expect_eq(vfio_device_open(&fake->vdev, fake_ictx()), -ENODEV);
	vfio_device_free(&fake->vdev);
	cr_expect_eq(fake->released, 1);
	free(fake);
}

struct bad_table {
	const char *what;
	void (*spoil)(struct fake_device *fake);
	int expected;
};

#define SPOIL(name, statement)                                                                     \
	static void name(struct fake_device *fake)                                                 \
	{                                                                                          \
		statement;                                                                         \
	}

SPOIL(nothing, (void)fake)
SPOIL(no_bind, fake->ops.bind_iommufd = NULL)
SPOIL(no_unbind, fake->ops.unbind_iommufd = NULL)
SPOIL(no_attach, fake->ops.attach_ioas = NULL)
SPOIL(no_detach, fake->ops.detach_ioas = NULL)
SPOIL(half_pasid, fake->ops.pasid_detach_ioas = NULL)
SPOIL(no_pasid, fake->ops.pasid_attach_ioas = NULL; fake->ops.pasid_detach_ioas = NULL)
SPOIL(mig, fake->vdev.mig_ops = &fake->mig_ops; fake->vdev.migration_flags = 1)
SPOIL(mig_all, mig(fake); fake->vdev.migration_flags = 7)
SPOIL(mig_none, mig(fake); fake->vdev.migration_flags = 0)
SPOIL(mig_p2p_only, mig(fake); fake->vdev.migration_flags = 2)
SPOIL(mig_unknown, mig(fake); fake->vdev.migration_flags = 9)
SPOIL(mig_no_set, mig(fake); fake->mig_ops.migration_set_state = NULL)
SPOIL(mig_no_get, mig(fake); fake->mig_ops.migration_get_state = NULL)
SPOIL(mig_no_size, mig(fake); fake->mig_ops.migration_get_data_size = NULL)
SPOIL(mig_no_precopy, mig_all(fake); fake->mig_ops.migration_get_precopy_info = NULL)
SPOIL(mig_no_info, mig(fake); fake->mig_ops.migration_get_precopy_info = NULL)
SPOIL(dma_log, fake->vdev.log_ops = &fake->log_ops)
SPOIL(log_no_start, dma_log(fake); fake->log_ops.log_start = NULL)
SPOIL(log_no_stop, dma_log(fake); fake->log_ops.log_stop = NULL)
SPOIL(log_no_read, dma_log(fake); fake->log_ops.log_read_and_clear = NULL)

Test(life, registration_refuses_incomplete_tables)
{
	static const struct bad_table table[] = {
		{"whole", nothing, 0},
		{"no bind", no_bind, -EINVAL},
		{"no unbind", no_unbind, -EINVAL},
		{"no attach", no_attach, -EINVAL},
		{"no detach", no_detach, -EINVAL},
		{"half of the PASID ops", half_pasid, -EINVAL},
		{"no PASID ops", no_pasid, 0},
		{"migration", mig, 0},
		{"migration, all flags", mig_all, 0},
		{"migration, no STOP_COPY", mig_none, -EINVAL},
		{"migration, P2P alone", mig_p2p_only, -EINVAL},
		{"migration, unknown flag", mig_unknown, -EINVAL},
		{"migration, no set_state", mig_no_set, -EINVAL},
		{"migration, no get_state", mig_no_get, -EINVAL},
		{"migration, no data_size", mig_no_size, -EINVAL},
		{"migration, PRE_COPY without its info", mig_no_precopy, -EINVAL},
		{"migration, neither of them", mig_no_info, 0},
		{"log", dma_log, 0},
		{"log, no start", log_no_start, -EINVAL},
		{"log, no stop", log_no_stop, -EINVAL},
		{"log, no read", log_no_read, -EINVAL},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		struct fake_device *fake = fake_device_new("a");

		table[i].spoil(fake);
		cr_expect_eq(vfio_register_device(&fake->vdev), table[i].expected, "%s",
			     table[i].what);
		vfio_unregister_device(&fake->vdev);
		vfio_device_free(&fake->vdev);
		free(fake);
	}
}

Test(life, unregister_asks_again_and_again_until_the_last_reference_is_gone)
{
	struct fake_device *fake = opened();

	fake->vdev.request_interval_ms = 5;
	fake->close_on_request = true; /* the third time */
	vfio_unregister_device(&fake->vdev);
	cr_expect_eq(fake->requests, 3);
	cr_expect_str_eq(fake->log, "close unbind");
	cr_expect_eq(vfio_device_open(&fake->vdev, fake_ictx()), -ENODEV);
	fake_device_done(fake);
}

static void *close_later(void *arg)
{
	usleep(20000);
	vfio_device_close(arg);
	return NULL;
}

Test(life, unregister_without_a_request_op_waits_for_the_close, .timeout = 5)
{
	struct fake_device *fake = opened();
	pthread_t thread;

	fake->ops.request = NULL;
	cr_assert_eq(pthread_create(&thread, NULL, close_later, &fake->vdev), 0);
	vfio_unregister_device(&fake->vdev);
	cr_expect_eq(fake->vdev.open_count, 0);
	pthread_join(thread, NULL);
	fake_device_done(fake);
}

/* ---- sets ---- */

Test(sets, devices_with_the_same_id_share_a_set_and_its_lock)
{
	struct vfio_device_sets sets;
	struct fake_device *a = fake_device_new("a"), *b = fake_device_new("b"),
			   *c = fake_device_new("c"), *d = fake_device_new("d");

	vfio_device_sets_init(&sets);
	cr_assert_eq(vfio_assign_device_set(&a->vdev, &sets, 7), 0);
	cr_assert_eq(vfio_assign_device_set(&b->vdev, &sets, 7), 0);
	cr_assert_eq(vfio_assign_device_set(&c->vdev, &sets, 0), 0);
	cr_assert_eq(vfio_assign_device_set(&d->vdev, &sets, 0), 0);
	cr_expect_eq(vfio_assign_device_set(&d->vdev, &sets, 7), -EBUSY);
	cr_expect_eq(a->vdev.dev_set, b->vdev.dev_set);
	cr_expect_eq(a->vdev.dev_set->device_count, 2);
	cr_expect_neq(c->vdev.dev_set, d->vdev.dev_set);

	cr_expect_eq(vfio_device_sets_find(&sets, "b"), &b->vdev);
	cr_expect_eq(vfio_device_sets_find(&sets, "d"), &d->vdev);
	cr_expect_null(vfio_device_sets_find(&sets, "e"));

	cr_assert_eq(vfio_register_device(&a->vdev), 0);
	cr_assert_eq(vfio_register_device(&b->vdev), 0);
	cr_assert_eq(vfio_device_open(&b->vdev, fake_ictx()), 0);
	cr_expect_eq(vfio_device_set_open_count(a->vdev.dev_set), 1);

	fake_device_done(a);
	cr_expect_eq(b->vdev.dev_set->device_count, 1);
	cr_expect_null(vfio_device_sets_find(&sets, "a"));
	fake_device_done(b);
	fake_device_done(c);
	fake_device_done(d);
	cr_expect_null(sets.list);
	vfio_device_sets_destroy(&sets);
}

static void count_revoke(void *ctx)
{
	++*(unsigned *)ctx;
}

Test(sets, a_hot_reset_revokes_every_open_member_under_the_lock)
{
	struct vfio_device_sets sets;
	struct fake_device *fake[3];
	unsigned revoked[3] = {0};

	vfio_device_sets_init(&sets);
	for (int i = 0; i < 3; i++) {
		fake[i] = fake_device_new("x");
		cr_assert_eq(vfio_assign_device_set(&fake[i]->vdev, &sets, 5), 0);
		cr_assert_eq(vfio_register_device(&fake[i]->vdev), 0);
		vfio_device_set_revoke(&fake[i]->vdev, count_revoke, &revoked[i]);
	}
	cr_assert_eq(vfio_device_open(&fake[0]->vdev, fake_ictx()), 0);
	cr_assert_eq(vfio_device_open(&fake[2]->vdev, fake_ictx()), 0);

	fake[0]->ioctl_rc = -EBUSY;
	cr_expect_eq(vfio_device_ioctl(&fake[0]->vdev, VFIO_DEVICE_PCI_HOT_RESET, NULL), -EBUSY);
	cr_expect_null(fake[0]->vdev.reset_method);
	fake[0]->ioctl_rc = 0;
	cr_expect_eq(vfio_device_ioctl(&fake[0]->vdev, VFIO_DEVICE_PCI_HOT_RESET, NULL), 0);
	cr_expect_eq(fake[0]->set_lock_held, fake[0]->vdev.dev_set);
	cr_expect_eq(revoked[0], 2);
	cr_expect_eq(revoked[1], 0);
	cr_expect_eq(revoked[2], 2);
	cr_expect_str_eq(fake[2]->vdev.reset_method, "hot");
	cr_expect_null(fake[1]->vdev.reset_method);

	cr_expect_eq(vfio_device_ioctl(&fake[0]->vdev, VFIO_DEVICE_RESET, NULL), 0);
	cr_expect_null(fake[0]->set_lock_held);
	cr_expect_str_eq(fake[0]->vdev.reset_method, "device");
	for (int i = 0; i < 3; i++)
		fake_device_done(fake[i]);
	vfio_device_sets_destroy(&sets);
}

/* ---- open and close ---- */

Test(open, binds_then_opens_and_closes_in_reverse)
{
	struct fake_device *fake = fake_device_registered("a");

	cr_assert_eq(vfio_device_open(&fake->vdev, fake_ictx()), 0);
	cr_expect_eq(fake->vdev.open_count, 1);
	cr_expect_eq(fake->vdev.iommufd_devid, 42);
	cr_expect_eq(fake->vdev.iommufd_ictx, fake_ictx());
	vfio_device_close(&fake->vdev);
	cr_expect_str_eq(fake->log, "bind open close unbind");
	cr_expect_eq(fake->vdev.open_count, 0);
	cr_expect_null(fake->vdev.iommufd_ictx);
	cr_expect_eq(fake->vdev.iommufd_kind, VFIO_IOMMUFD_NONE);
	vfio_device_close(&fake->vdev); /* a second close does nothing */
	cr_expect_str_eq(fake->log, "bind open close unbind");
	fake_device_done(fake);
}

Test(open, open_and_close_ops_may_be_absent)
{
	struct fake_device *fake = fake_device_registered("a");

	fake->ops.open_device = NULL;
	fake->ops.close_device = NULL;
	cr_assert_eq(vfio_device_open(&fake->vdev, fake_ictx()), 0);
	fake_device_done(fake);
}

static int open_with_half_a_table(struct vfio_device *vdev)
{
	static const struct vfio_migration_ops half;

	fake_say((struct fake_device *)vdev, "open");
	vdev->mig_ops = &half;
	return 0;
}

Test(open, half_a_table_that_comes_with_the_open_is_refused)
{
	struct fake_device *fake = fake_device_registered("a");

	fake->ops.open_device = open_with_half_a_table;
	cr_expect_eq(vfio_device_open(&fake->vdev, fake_ictx()), -EINVAL);
	cr_expect_str_eq(fake->log, "bind open close unbind");
	cr_expect_eq(fake->vdev.refcount, 1);
	fake_device_done(fake);
}

Test(open, a_second_open_is_einval_as_on_the_cdev)
{
	struct fake_device *fake = opened();

	cr_expect_eq(vfio_device_open(&fake->vdev, fake_ictx()), -EINVAL);
	cr_expect_str_empty(fake->log);
	cr_expect_eq(fake->vdev.refcount, 2);
	cr_expect_eq(fake->vdev.open_count, 1);
	fake_device_done(fake);
}

Test(open, wants_address_spaces)
{
	struct fake_device *fake = fake_device_registered("a");

	cr_expect_eq(vfio_device_open(&fake->vdev, NULL), -EINVAL);
	fake_device_done(fake);
}

Test(open, a_failure_leaves_nothing)
{
	struct fake_device *fake = fake_device_registered("a");
	struct kvm kvm = {.refcount = 1};

	pthread_mutex_init(&kvm.lock, NULL);
	cr_assert_eq(vfio_device_set_kvm(&fake->vdev, &kvm), 0);

	fake->bind = -EPERM;
	cr_expect_eq(vfio_device_open(&fake->vdev, fake_ictx()), -EPERM);
	cr_expect_str_eq(fake->log, "bind");
	cr_expect_eq(kvm.refcount, 1);
	cr_expect_null(fake->vdev.kvm);

	fake->bind = 0;
	fake->open_device = -EAGAIN;
	cr_expect_eq(vfio_device_open(&fake->vdev, fake_ictx()), -EAGAIN);
	cr_expect_str_eq(fake->log, "bind bind open unbind");
	cr_expect_eq(kvm.refcount, 1);
	cr_expect_eq(fake->vdev.open_count, 0);
	cr_expect_eq(fake->vdev.refcount, 1);
	cr_expect_eq(vfio_device_read(&fake->vdev, &kvm, 1, 0), -EINVAL);
	fake_device_done(fake);
}

Test(open, the_kvm_reference_is_there_at_bind_and_gone_after_close)
{
	struct fake_device *fake = fake_device_registered("a");
	struct kvm kvm = {.refcount = 1};

	pthread_mutex_init(&kvm.lock, NULL);
	cr_assert_eq(vfio_device_set_kvm(&fake->vdev, &kvm), 0);
	cr_assert_eq(vfio_device_open(&fake->vdev, fake_ictx()), 0);
	cr_expect_eq(fake->kvm_at_bind, &kvm);
	cr_expect_eq(kvm.refcount, 2);
	cr_expect_eq(vfio_device_set_kvm(&fake->vdev, NULL), -EBUSY);
	vfio_device_close(&fake->vdev);
	cr_expect_eq(kvm.refcount, 1);
	cr_expect_null(fake->vdev.kvm);
	fake_device_done(fake);
}

Test(open, the_token_goes_to_the_provider_or_is_refused)
{
	struct fake_device *fake = fake_device_registered("a");
	const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

	/* No op: a token is one too many. */
	cr_assert_eq(vfio_device_set_token(&fake->vdev, uuid), 0);
	cr_expect_eq(vfio_device_open(&fake->vdev, fake_ictx()), -EINVAL);
	cr_expect_str_empty(fake->log);

	fake->ops.match_token_uuid = fake_token;
	fake->token = -EACCES;
	cr_expect_eq(vfio_device_open(&fake->vdev, fake_ictx()), -EACCES);
	cr_expect_str_eq(fake->log, "token");
	cr_expect_arr_eq(fake->seen_token, uuid, 16);

	fake->token = 0;
	fake->log[0] = '\0';
	cr_assert_eq(vfio_device_set_token(&fake->vdev, NULL), 0);
	cr_expect_eq(vfio_device_open(&fake->vdev, fake_ictx()), 0);
	cr_expect_str_eq(fake->log, "no-token bind open");
	cr_expect_eq(vfio_device_set_token(&fake->vdev, uuid), -EBUSY);
	fake_device_done(fake);
}

Test(match, a_token_behind_the_name_is_the_providers_to_judge)
{
	static const uint8_t uuid[16] = {0x83, 0xb8, 0xf4, 0xf2, 0x50, 0x9f, 0x38, 0x2f,
					 0x3c, 0x1e, 0xe6, 0xbf, 0xe0, 0xfa, 0x10, 0x0B};
	struct fake_device *fake = fake_device_registered("a b");
	const char *name = "a b vf_token=83b8f4f2-509F-382f-3c1e-e6bfe0fa100b";

	cr_expect_eq(vfio_device_match(&fake->vdev, "a b"), 1);
	cr_expect_eq(vfio_device_match(&fake->vdev, "a"), 0);
	cr_expect_eq(vfio_device_match(&fake->vdev, "a vf_token=0"), 0, "of another device");
	cr_expect_eq(vfio_device_match(&fake->vdev, name), -EINVAL, "nobody wants a token");

	fake->ops.match_token_uuid = fake_token;
	fake->token = -EACCES;
	cr_expect_eq(vfio_device_match(&fake->vdev, name), -EACCES);
	cr_expect_arr_eq(fake->seen_token, uuid, 16);
	fake->token = 0;
	cr_expect_eq(vfio_device_match(&fake->vdev, name), 1);
	cr_expect_eq(vfio_device_match(&fake->vdev, "a b vf_token="), -EINVAL);
	cr_expect_eq(vfio_device_match(&fake->vdev, "a b b vf_token=0"), -EINVAL);
	fake_device_done(fake);
}

static size_t descriptors(void)
{
	size_t count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += lseek(fd, 0, SEEK_CUR) >= 0 || errno != EBADF;
	return count;
}

Test(open, a_thousand_cycles_leave_nothing)
{
	struct fake_device *fake = fake_device_registered("a");
	struct kvm kvm = {.refcount = 1};
	const size_t before = descriptors();

	pthread_mutex_init(&kvm.lock, NULL);
	fake->max_pasids = 1 << 16;
	for (int i = 0; i < 1000; i++) {
		uint32_t pt_id = 3;

		cr_assert_eq(vfio_device_set_kvm(&fake->vdev, &kvm), 0);
		cr_assert_eq(vfio_device_open(&fake->vdev, fake_ictx()), 0);
		cr_assert_eq(vfio_device_attach(&fake->vdev, &pt_id), 0);
		cr_assert_eq(vfio_device_pasid_attach(&fake->vdev, 9, &pt_id), 0);
		vfio_device_close(&fake->vdev);
		cr_assert_eq(kvm.refcount, 1);
		cr_assert_eq(fake->vdev.refcount, 1);
		cr_assert_null(fake->vdev.pasids);
		cr_assert_eq(pthread_mutex_trylock(&fake->vdev.dev_set->lock), 0);
		pthread_mutex_unlock(&fake->vdev.dev_set->lock);
		fake->log[0] = '\0';
	}
	cr_expect_eq(descriptors(), before);
	fake_device_done(fake);
}

/* ---- attach ---- */

Test(attach, reports_what_it_is_attached_to_and_replaces)
{
	struct fake_device *fake = opened();
	uint32_t id = 3;

	fake->pt_id = 77;
	cr_expect_eq(vfio_device_attach(&fake->vdev, &id), 0);
	cr_expect_eq(id, 77);
	cr_expect(fake->vdev.iommufd_attached);
	cr_expect_eq(fake->vdev.iommufd_pt_id, 77);

	id = 4;
	fake->attach = -EINVAL;
	cr_expect_eq(vfio_device_attach(&fake->vdev, &id), -EINVAL);
	cr_expect_eq(id, 4);
	cr_expect(fake->vdev.iommufd_attached, "the old attachment stays");
	cr_expect_eq(fake->vdev.iommufd_pt_id, 77);

	fake->lose_attachment = true;
	cr_expect_eq(vfio_device_attach(&fake->vdev, &id), -EINVAL);
	cr_expect_not(fake->vdev.iommufd_attached, "the provider said that it is lost");
	fake_device_done(fake);
}

Test(attach, detach_is_idempotent)
{
	struct fake_device *fake = opened();
	uint32_t id = 3;

	cr_expect_eq(vfio_device_detach(&fake->vdev), 0);
	cr_expect_str_empty(fake->log);
	cr_expect_eq(vfio_device_attach(&fake->vdev, &id), 0);
	cr_expect_eq(vfio_device_detach(&fake->vdev), 0);
	cr_expect_eq(vfio_device_detach(&fake->vdev), 0);
	cr_expect_str_eq(fake->log, "attach(3) detach");
	fake_device_done(fake);
}

Test(attach, pasids_are_refused_where_the_device_has_none)
{
	struct fake_device *fake = opened();
	uint32_t id = 3;

	cr_expect_eq(vfio_device_pasid_attach(&fake->vdev, 1, &id), -EOPNOTSUPP);
	cr_expect_eq(vfio_device_pasid_detach(&fake->vdev, 1), 0);
	fake->ops.pasid_attach_ioas = NULL;
	fake->ops.pasid_detach_ioas = NULL;
	fake->vdev.max_pasids = 16;
	cr_expect_eq(vfio_device_pasid_attach(&fake->vdev, 1, &id), -EOPNOTSUPP);
	cr_expect_eq(vfio_device_pasid_detach(&fake->vdev, 1), -EOPNOTSUPP);
	cr_expect_str_empty(fake->log);
	fake_device_done(fake);
}

Test(attach, pasids_are_tracked_and_all_gone_at_close)
{
	struct fake_device *fake = fake_device_registered("a");
	uint32_t id = 3;

	fake->max_pasids = 100;
	cr_assert_eq(vfio_device_open(&fake->vdev, fake_ictx()), 0);
	cr_assert_eq(vfio_device_attach(&fake->vdev, &id), 0);
	fake->log[0] = '\0';

	cr_expect_eq(vfio_device_pasid_attach(&fake->vdev, 0, &id), -EINVAL);
	cr_expect_eq(vfio_device_pasid_attach(&fake->vdev, 100, &id), -EINVAL);
	cr_expect_eq(vfio_device_pasid_attach(&fake->vdev, UINT32_MAX, &id), -EINVAL);
	cr_expect_str_empty(fake->log);

	fake->pasid_attach = -EBUSY;
	cr_expect_eq(vfio_device_pasid_attach(&fake->vdev, 5, &id), -EBUSY);
	fake->pasid_attach = 0;
	cr_expect_eq(vfio_device_pasid_detach(&fake->vdev, 5), 0);
	cr_expect_eq(vfio_device_pasid_attach(&fake->vdev, 1, &id), 0);
	cr_expect_eq(vfio_device_pasid_attach(&fake->vdev, 64, &id), 0);
	cr_expect_eq(vfio_device_pasid_attach(&fake->vdev, 99, &id), 0);
	cr_expect_eq(vfio_device_pasid_detach(&fake->vdev, 64), 0);
	cr_expect_eq(vfio_device_pasid_detach(&fake->vdev, 64), 0);
	cr_expect_eq(vfio_device_pasid_detach(&fake->vdev, UINT32_MAX), 0);
	cr_expect_str_eq(fake->log, "pasid_attach(5,3) pasid_attach(1,3) pasid_attach(64,3) "
				    "pasid_attach(99,3) pasid_detach(64)");
	fake->log[0] = '\0';
	vfio_device_close(&fake->vdev);
	cr_expect_str_eq(fake->log, "close pasid_detach(1) pasid_detach(99) detach unbind");
	fake_device_done(fake);
}

Test(attach, the_ioctls_check_sizes_and_flags_as_the_kernel)
{
	struct fake_device *fake = opened();
	struct vfio_device_attach_iommufd_pt attach = {.pt_id = 3};
	struct vfio_device_detach_iommufd_pt detach = {0};
	static const struct {
		uint32_t argsz, flags;
		bool pasid_ops;
		int attach, detach;
	} table[] = {
		{0, 0, true, -EINVAL, -EINVAL},
		{7, 0, true, -EINVAL, -EINVAL},
		{8, 0, true, -EINVAL, 0},
		{11, 0, true, -EINVAL, 0},
		{12, 0, true, 0, 0},
		{1000, 0, true, 0, 0},
		{16, 2, true, -EINVAL, -EINVAL},
		{16, 1u << 31, true, -EINVAL, -EINVAL},
		{11, 1, true, -EINVAL, -EINVAL},
		{15, 1, true, -EINVAL, 0},
		{16, 1, true, 0, 0},
		{16, 1, false, -EOPNOTSUPP, -EOPNOTSUPP},
	};

	fake->vdev.max_pasids = 100;
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		fake->ops.pasid_attach_ioas =
			table[i].pasid_ops ? fake_ops.pasid_attach_ioas : NULL;
		fake->ops.pasid_detach_ioas =
			table[i].pasid_ops ? fake_ops.pasid_detach_ioas : NULL;
		attach.argsz = detach.argsz = table[i].argsz;
		attach.flags = detach.flags = table[i].flags;
		attach.pasid = detach.pasid = 7;
		cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach),
			     table[i].attach, "attach, row %zu", i);
		cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach),
			     table[i].detach, "detach, row %zu", i);
	}
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_ATTACH_IOMMUFD_PT, NULL), -EFAULT);
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_DETACH_IOMMUFD_PT, NULL), -EFAULT);
	fake_device_done(fake);
}

/* ---- use ---- */

Test(use, everything_is_einval_before_open_and_after_close)
{
	struct fake_device *fake = fake_device_registered("a");
	struct vfio_region_info info = {.argsz = sizeof(info)};
	char byte = 0;

	for (int round = 0; round < 2; round++) {
		uint32_t id = 3;

		cr_expect_eq(vfio_device_read(&fake->vdev, &byte, 1, 0), -EINVAL);
		cr_expect_eq(vfio_device_write(&fake->vdev, &byte, 1, 0), -EINVAL);
		cr_expect_eq(vfio_device_mmap(&fake->vdev, NULL, 4096, 0, 0), -EINVAL);
		cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_GET_REGION_INFO, &info),
			     -EINVAL);
		cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_RESET, NULL), -EINVAL);
		cr_expect_eq(vfio_device_attach(&fake->vdev, &id), -EINVAL);
		cr_expect_eq(vfio_device_detach(&fake->vdev), -EINVAL);
		cr_expect_eq(vfio_device_pasid_attach(&fake->vdev, 1, &id), -EINVAL);
		cr_expect_eq(vfio_device_pasid_detach(&fake->vdev, 1), -EINVAL);
		vfio_device_dma_unmap(&fake->vdev, 0, 4096);
		cr_expect_str_empty(fake->log);
		cr_assert_eq(vfio_device_open(&fake->vdev, fake_ictx()), 0);
		vfio_device_close(&fake->vdev);
		fake->log[0] = '\0';
	}
	fake_device_done(fake);
}

Test(use, an_absent_op_is_answered_as_the_kernel_does)
{
	struct fake_device *fake = opened();
	struct vfio_device_feature feature = {.argsz = sizeof(feature),
					      .flags = VFIO_DEVICE_FEATURE_PROBE |
						       VFIO_DEVICE_FEATURE_LOW_POWER_ENTRY};
	struct vfio_region_info info = {.argsz = sizeof(info)};
	char byte = 0;

	fake->ops.read = NULL;
	fake->ops.write = NULL;
	fake->ops.mmap = NULL;
	fake->ops.ioctl = NULL;
	fake->ops.device_feature = NULL;
	fake->ops.get_region_info_caps = NULL;
	fake->ops.dma_unmap = NULL;
	cr_expect_eq(vfio_device_read(&fake->vdev, &byte, 1, 0), -EINVAL);
	cr_expect_eq(vfio_device_write(&fake->vdev, &byte, 1, 0), -EINVAL);
	cr_expect_eq(vfio_device_mmap(&fake->vdev, NULL, 4096, 0, 0), -EINVAL);
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_GET_INFO, NULL), -EINVAL);
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_RESET, NULL), -EINVAL);
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_PCI_HOT_RESET, NULL), -EINVAL);
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_GET_REGION_INFO, &info), -EINVAL);
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_FEATURE, &feature), -ENOTTY);
	vfio_device_dma_unmap(&fake->vdev, 0, 4096);
	vfio_device_revoke(&fake->vdev);
	fake_device_done(fake);
}

Test(use, accesses_and_commands_reach_the_provider)
{
	struct fake_device *fake = opened();
	unsigned revoked = 0;
	char bytes[3] = {0};

	cr_expect_eq(vfio_device_read(&fake->vdev, bytes, 3, 5), 3);
	cr_expect_eq(bytes[2], 0x5a);
	cr_expect_eq(vfio_device_write(&fake->vdev, bytes, 2, 6), 2);
	cr_expect_eq(vfio_device_mmap(&fake->vdev, NULL, 4096, 0, 1), 0);
	vfio_device_dma_unmap(&fake->vdev, 8, 9);
	cr_expect_str_eq(fake->log, "read(3,5) write(2,6) mmap(4096,1) dma_unmap(8,9)");

	fake->ioctl_rc = 5; /* SET_IRQS: only so many vectors */
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_SET_IRQS, bytes), 5);
	cr_expect_eq(fake->last_command, VFIO_DEVICE_SET_IRQS);
	fake->ioctl_rc = -ENOTTY;
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, 0x12345, NULL), -ENOTTY);
	fake->ioctl_rc = 0;
	cr_expect_eq(vfio_device_ioctl(&fake->vdev, VFIO_DEVICE_BIND_IOMMUFD, bytes), -EINVAL);

	vfio_device_set_revoke(&fake->vdev, count_revoke, &revoked);
	vfio_device_revoke(&fake->vdev);
	cr_expect_eq(revoked, 1);
	fake_device_done(fake);
}

Test(use, the_status_is_data)
{
	struct fake_device *fake = fake_device_registered("0000:01:00.0");
	uint32_t id = 3;
	json_t *status, *iommu;

	fake->max_pasids = 8;
	fake->vdev.index = 4;
	fake->feature = -ENOTTY;
	status = vfio_device_status(&fake->vdev);
	cr_assert_not_null(status);
	cr_expect(json_is_false(json_object_get(status, "open")));
	json_decref(status);

	cr_assert_eq(vfio_device_open(&fake->vdev, fake_ictx()), 0);
	cr_assert_eq(vfio_device_attach(&fake->vdev, &id), 0);
	cr_assert_eq(vfio_device_pasid_attach(&fake->vdev, 6, &id), 0);
	status = vfio_device_status(&fake->vdev);
	cr_assert_not_null(status);
	cr_expect_str_eq(json_string_value(json_object_get(status, "device")), "0000:01:00.0");
	cr_expect_str_eq(json_string_value(json_object_get(status, "provider")), "fake");
	cr_expect(json_is_true(json_object_get(status, "open")));
	cr_expect_eq(json_integer_value(json_object_get(status, "index")), 4);
	cr_expect_eq(json_array_size(json_object_get(status, "features")), 0);
	cr_expect(json_is_null(json_object_get(status, "migration")));
	cr_expect(json_is_null(json_object_get(status, "reset_method")));
	iommu = json_object_get(status, "iommu");
	cr_expect_str_eq(json_string_value(json_object_get(iommu, "kind")), "physical");
	cr_expect_eq(json_integer_value(json_object_get(iommu, "pt_id")), 3);
	cr_expect_eq(json_integer_value(json_array_get(json_object_get(iommu, "pasids"), 0)), 6);
	json_decref(status);
	fake_device_done(fake);
}
