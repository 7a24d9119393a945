/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vCPU threads: they run the guest and hand what it does to the buses.
 *
 * All vCPUs of a machine are paused, resumed and ended together. A paused vCPU has finished the
 * access it was in, so its state is whole.
 */
#ifndef SLUICE_VCPU_H
#define SLUICE_VCPU_H

#include <stdbool.h>

struct arch_cpus;
struct arch_entry;
struct bus;
struct json_t;
struct kvm;
struct vcpus;

/* What the guest or the kernel did. Called on a vCPU thread, which pauses after a true `stop`. */
struct vcpu_events {
	/*
	 * KVM_RUN gave -EFAULT: a memory slot lies over memory that is gone. True when somebody's
	 * slots went and the vCPU may go on.
	 */
	bool (*fault)(void *ctx);
	void (*off)(void *ctx); /* the guest asked the firmware (PSCI) */
	void (*reset)(void *ctx);
	void (*crash)(void *ctx, unsigned index);  /* triple fault */
	void (*failed)(void *ctx, unsigned index); /* a message was printed */
};

struct vcpus_config {
	struct kvm *kvm;
	struct arch_cpus *cpus;
	struct bus *mmio, *pio;
	unsigned count;
	const struct vcpu_events *events;
	void *ctx;
};

/*
 * Make all vCPUs, not yet running. One message on failure. The signal SIGRTMIN is taken: its handler
 * does nothing but interrupt KVM_RUN.
 */
int vcpus_create(const struct vcpus_config *config, struct vcpus **out);
/* Ends the threads, then frees all. NULL is allowed. */
void vcpus_destroy(struct vcpus *vcpus);

/* Reset state for all (arch_vcpu_reset); the first starts at @entry. Not while they run. */
int vcpus_reset(struct vcpus *vcpus, const struct arch_entry *entry);

/* Start the threads at the first call, let paused vCPUs go on afterwards. -errno with a message. */
int vcpus_resume(struct vcpus *vcpus);
/* Ask all to pause; does not wait. Any thread, vCPU threads included. */
void vcpus_request_pause(struct vcpus *vcpus);
/* The same, and wait until all have. Not on a vCPU thread. */
void vcpus_pause(struct vcpus *vcpus);

/*
 * Append the registers of every vCPU to @list (jansson), as strings; running vCPUs are paused for it
 * and go on. Not on a vCPU thread.
 */
void vcpus_status(struct vcpus *vcpus, struct json_t *list);

#endif
