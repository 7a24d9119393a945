// SPDX-License-Identifier: Apache-2.0
#include "vmm/base/host.h"
#include "vmm/vcpu.h"

#include <errno.h>
#include <jansson.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "arch/arch.h"
#include "vmm/base/bus.h"
#include "vmm/base/kvm.h"
#include "vmm/base/log.h"

/* Device handlers run on it; only what is touched costs memory. */
#define VCPU_STACK (256u << 10)

struct vcpu {
	struct vcpus *all;
	unsigned index;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	bool started;
	bool paused; /* under all->lock */
};

struct vcpus {
	struct vcpus_config config;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	enum { VCPUS_NEW, VCPUS_RUNNING, VCPUS_PAUSED, VCPUS_ENDED } state;
	bool ran; /* since they were made */
	struct vcpu list[];
};

static void interrupt(int signal)
{
	(void)signal;
}

/* Make KVM_RUN return with -EINTR now or, when the vCPU is not in it, at the next entry. */
static void kick(struct vcpu *vcpu)
{
	__atomic_store_n(&vcpu->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	if (vcpu->started)
		pthread_kill(vcpu->thread, SIGRTMIN);
}

/* Wait while the others want us to. Returns false when the thread has to end. */
static bool pause_here(struct vcpu *vcpu)
{
	struct vcpus *all = vcpu->all;
	bool go_on;

	pthread_mutex_lock(&all->lock);
	if (all->state == VCPUS_PAUSED) {
		vcpu->paused = true;
		pthread_cond_broadcast(&all->changed);
		while (all->state == VCPUS_PAUSED)
			pthread_cond_wait(&all->changed, &all->lock);
		vcpu->paused = false;
	}
	go_on = all->state == VCPUS_RUNNING;
	/* Under the lock: a kick that comes later is not lost. */
	if (go_on)
		__atomic_store_n(&vcpu->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
	pthread_mutex_unlock(&all->lock);
	return go_on;
}

static void failed(struct vcpu *vcpu, const char *what)
{
	const struct vcpus_config *config = &vcpu->all->config;
	char registers[768];

	arch_vcpu_describe(vcpu->fd, registers, sizeof(registers));
	log_error("vcpu%u: %s; %s", vcpu->index, what, registers);
	config->events->failed(config->ctx, vcpu->index);
	vcpus_request_pause(vcpu->all);
}

static void internal_error(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char text[160];
	int n;

	n = snprintf(text, sizeof(text), "KVM internal error %u%s", run->internal.suberror,
		     run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION
			     ? " (an instruction that it cannot emulate)"
			     : "");
	for (uint32_t i = 0; i < run->internal.ndata && i < 4 && n < (int)sizeof(text); i++)
		n += snprintf(text + n, sizeof(text) - (size_t)n, " %llx",
			      (unsigned long long)run->internal.data[i]);
	failed(vcpu, text);
}

static void system_event(struct vcpu *vcpu)
{
	const struct vcpus_config *config = &vcpu->all->config;

	switch (vcpu->run->system_event.type) {
	case KVM_SYSTEM_EVENT_SHUTDOWN:
		config->events->off(config->ctx);
		break;
	case KVM_SYSTEM_EVENT_RESET:
		config->events->reset(config->ctx);
		break;
	default:
		config->events->crash(config->ctx, vcpu->index);
		break;
	}
	vcpus_request_pause(vcpu->all);
}

static void handle_exit(struct vcpu *vcpu)
{
	const struct vcpus_config *config = &vcpu->all->config;
	struct kvm_run *run = vcpu->run;
	char text[64];

	switch (run->exit_reason) {
	case KVM_EXIT_MMIO:
		if (run->mmio.is_write)
			bus_write(config->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
		else
			bus_read(config->mmio, run->mmio.phys_addr, run->mmio.data, run->mmio.len);
		return;
	case KVM_EXIT_INTR:
		return;
	case KVM_EXIT_SHUTDOWN:
		config->events->crash(config->ctx, vcpu->index);
		vcpus_request_pause(vcpu->all);
		return;
	case KVM_EXIT_SYSTEM_EVENT:
		system_event(vcpu);
		return;
	case KVM_EXIT_INTERNAL_ERROR:
		if (!arch_vcpu_goes_on(vcpu->fd, run))
			internal_error(vcpu);
		return;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(text, sizeof(text), "the CPU refuses to enter the guest: reason 0x%llx",
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		failed(vcpu, text);
		return;
	default:
		if (arch_vcpu_exit(run, config->pio))
			return;
		snprintf(text, sizeof(text), "unexpected exit %u of KVM_RUN", run->exit_reason);
		failed(vcpu, text);
	}
}

static void *vcpu_thread(void *ctx)
{
	struct vcpu *vcpu = ctx;
	const struct vcpus_config *config = &vcpu->all->config;
	char name[16];
	sigset_t only_kick;

	snprintf(name, sizeof(name), "vcpu%u", vcpu->index);
	pthread_setname_np(pthread_self(), name);
	/* Started with everything blocked. */
	sigemptyset(&only_kick);
	sigaddset(&only_kick, SIGRTMIN);
	pthread_sigmask(SIG_UNBLOCK, &only_kick, NULL);

	for (;;) {
		if (ioctl(vcpu->fd, KVM_RUN, 0L) == 0) {
			handle_exit(vcpu);
			continue;
		}
		/*
		 * Only here does a vCPU pause: the entry before has completed the access whose
		 * result the handler left in kvm_run.
		 */
		if (errno == EINTR) {
			if (!pause_here(vcpu))
				return NULL;
		} else if (errno == EFAULT) {
			if (!config->events->fault(config->ctx))
				failed(vcpu, "KVM_RUN: memory of the guest is gone");
		} else if (errno != EAGAIN) {
			char text[64];

			snprintf(text, sizeof(text), "KVM_RUN: %s", strerror(errno));
			failed(vcpu, text);
		}
	}
}

static int create_one(struct vcpus *all, unsigned index)
{
	struct kvm *kvm = all->config.kvm;
	struct vcpu *vcpu = &all->list[index];
	int r;

	vcpu->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, (unsigned long)index);
	if (vcpu->fd < 0)
		return log_failure(-errno, "vcpu%u: KVM_CREATE_VCPU", index);
	vcpu->run = mmap(NULL, (size_t)kvm->vcpu_mmap_size, PROT_READ | PROT_WRITE, MAP_SHARED,
			 vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		r = -errno;
		vcpu->run = NULL;
		return log_failure(r, "vcpu%u: mmap of kvm_run", index);
	}
	return arch_vcpu_setup(all->config.cpus, vcpu->fd, index);
}

int vcpus_create(const struct vcpus_config *config, struct vcpus **out)
{
	struct sigaction action = {.sa_handler = interrupt};
	struct vcpus *all = calloc(1, sizeof(*all) + config->count * sizeof(all->list[0]));
	int r = 0;

	if (all == NULL)
		return -ENOMEM;
	all->config = *config;
	pthread_mutex_init(&all->lock, NULL);
	pthread_cond_init(&all->changed, NULL);
	for (unsigned i = 0; i < config->count; i++) {
		all->list[i].all = all;
		all->list[i].index = i;
		all->list[i].fd = -1;
	}
	sigaction(SIGRTMIN, &action, NULL);
	for (unsigned i = 0; i < config->count && r == 0; i++)
		r = create_one(all, i);
	if (r < 0) {
		vcpus_destroy(all);
		return r;
	}
	*out = all;
	return 0;
}

void vcpus_destroy(struct vcpus *vcpus)
{
	if (vcpus == NULL)
		return;
	pthread_mutex_lock(&vcpus->lock);
	vcpus->state = VCPUS_ENDED;
	for (unsigned i = 0; i < vcpus->config.count; i++) {
		if (vcpus->list[i].started)
			kick(&vcpus->list[i]);
	}
	pthread_cond_broadcast(&vcpus->changed);
	pthread_mutex_unlock(&vcpus->lock);
	for (unsigned i = 0; i < vcpus->config.count; i++) {
		struct vcpu *vcpu = &vcpus->list[i];

		if (vcpu->started)
			pthread_join(vcpu->thread, NULL);
		if (vcpu->run != NULL)
			munmap(vcpu->run, (size_t)vcpus->config.kvm->vcpu_mmap_size);
		if (vcpu->fd >= 0)
			close(vcpu->fd);
	}
	pthread_cond_destroy(&vcpus->changed);
	pthread_mutex_destroy(&vcpus->lock);
	free(vcpus);
}

int vcpus_reset(struct vcpus *vcpus, const struct arch_entry *entry)
{
	for (unsigned i = 0; i < vcpus->config.count; i++) {
		int r = arch_vcpu_reset(vcpus->config.cpus, vcpus->list[i].fd, i,
					i == 0 ? entry : NULL, vcpus->ran);

		if (r < 0)
			return r;
	}
	return 0;
}

static int start_one(struct vcpu *vcpu)
{
	const int r = host_thread_start(&vcpu->thread, VCPU_STACK, vcpu_thread, vcpu);

	if (r != 0)
		return log_failure(r, "vcpu%u: no thread", vcpu->index);
	vcpu->started = true;
	return 0;
}

int vcpus_resume(struct vcpus *vcpus)
{
	int r = 0;

	pthread_mutex_lock(&vcpus->lock);
	vcpus->state = VCPUS_RUNNING;
	vcpus->ran = true;
	for (unsigned i = 0; i < vcpus->config.count && r == 0; i++) {
		if (!vcpus->list[i].started)
			r = start_one(&vcpus->list[i]);
	}
	pthread_cond_broadcast(&vcpus->changed);
	pthread_mutex_unlock(&vcpus->lock);
	return r;
}

void vcpus_request_pause(struct vcpus *vcpus)
{
	pthread_mutex_lock(&vcpus->lock);
	if (vcpus->state == VCPUS_RUNNING) {
		vcpus->state = VCPUS_PAUSED;
		for (unsigned i = 0; i < vcpus->config.count; i++)
			kick(&vcpus->list[i]);
	}
	pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_pause(struct vcpus *vcpus)
{
	vcpus_request_pause(vcpus);
	pthread_mutex_lock(&vcpus->lock);
	for (unsigned i = 0; i < vcpus->config.count; i++) {
		while (vcpus->list[i].started && !vcpus->list[i].paused &&
		       vcpus->state == VCPUS_PAUSED)
			pthread_cond_wait(&vcpus->changed, &vcpus->lock);
	}
	pthread_mutex_unlock(&vcpus->lock);
}

void vcpus_status(struct vcpus *vcpus, struct json_t *list)
{
	char registers[768];
	bool running;

	pthread_mutex_lock(&vcpus->lock);
	running = vcpus->state == VCPUS_RUNNING;
	pthread_mutex_unlock(&vcpus->lock);
	vcpus_pause(vcpus);
	for (unsigned i = 0; i < vcpus->config.count; i++) {
		arch_vcpu_describe(vcpus->list[i].fd, registers, sizeof(registers));
		json_array_append_new(list, json_string(registers));
	}
	if (running)
		vcpus_resume(vcpus);
}
