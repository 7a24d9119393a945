// SPDX-License-Identifier: Apache-2.0
/* The keys of --vfio soft:reference. A pure function but for its message. */
#include "devices/vfio/providers/soft/keys.h"

#include <errno.h>
#include <string.h>

#include "devices/vfio/message.h"
#include "vmm/base/text.h"

#define NUMBER_MAX 1000000000u
#define DELAY_MAX  1000000u

static bool number(const char *text, uint32_t max, uint32_t *out)
{
	uint64_t value;

	if (!text_number(text, 10, max, &value))
		return false;
	*out = (uint32_t)value;
	return true;
}

static bool truth(const char *text, bool *out)
{
	if (!text || !strcmp(text, "on"))
		*out = true;
	else if (!strcmp(text, "off"))
		*out = false;
	else
		return false;
	return true;
}

static bool memory(const char *text, uint64_t *out)
{
	uint64_t size;

	if (!text_size(text, &size) || size < REFERENCE_MEMORY_MIN || size > REFERENCE_MEMORY_MAX ||
	    (size & (size - 1)))
		return false;
	*out = size;
	return true;
}

static bool migration(const char *text, uint32_t *out)
{
	static const struct {
		const char *name;
		uint32_t flags;
	} sets[] = {
		{"none", 0},
		{"stop-copy", VFIO_MIGRATION_STOP_COPY},
		{"p2p", VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P},
		{"pre-copy", VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_PRE_COPY},
		{"all", VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY},
	};

	for (size_t i = 0; text && i < sizeof(sets) / sizeof(sets[0]); i++) {
		if (!strcmp(text, sets[i].name)) {
			*out = sets[i].flags;
			return true;
		}
	}
	return false;
}

/* STATE, or STATE:TIMES. */
static bool fail_state(const char *text, struct reference_faults *faults)
{
	static const char *const names[] = {
		[VFIO_DEVICE_STATE_STOP] = "stop",
		[VFIO_DEVICE_STATE_RUNNING] = "running",
		[VFIO_DEVICE_STATE_STOP_COPY] = "stop-copy",
		[VFIO_DEVICE_STATE_RESUMING] = "resuming",
		[VFIO_DEVICE_STATE_RUNNING_P2P] = "running-p2p",
		[VFIO_DEVICE_STATE_PRE_COPY] = "pre-copy",
		[VFIO_DEVICE_STATE_PRE_COPY_P2P] = "pre-copy-p2p",
	};
	const char *times;
	size_t length;

	if (!text)
		return false;
	times = strchrnul(text, ':');
	length = (size_t)(times - text);
	for (uint32_t state = VFIO_DEVICE_STATE_STOP; state <= VFIO_DEVICE_STATE_PRE_COPY_P2P;
	     state++) {
		if (strlen(names[state]) != length || strncmp(text, names[state], length) != 0)
			continue;
		faults->fail_state = state;
		faults->fail_state_times = 1;
		return *times == '\0' ||
		       (number(times + 1, NUMBER_MAX, &faults->fail_state_times) &&
			faults->fail_state_times > 0);
	}
	return false;
}

const char *const soft_key_names[] = {
	"vectors",        "memory",       "migration",       "pasid",       "log",       "mmap",
	"fail-state",     "slow-stream",  "truncate-stream", "flip-stream", "data-size", "reinit",
	"lose-interrupt", "remove-after", "error-after",     "dma-delay",   NULL,
};

/* Take one key; what it takes when it does not like the value, NULL when all is well. */
static const char *take(struct soft_keys *keys, const char *name, const char *value, bool *known)
{
	struct reference_faults *faults = &keys->faults;
	const struct {
		const char *name;
		uint32_t *out;
		uint32_t max;
	} numbers[] = {
		{"dma-delay", &keys->dma_delay_us, DELAY_MAX},
		{"lose-interrupt", &faults->lose_interrupt, NUMBER_MAX},
		{"remove-after", &faults->remove_after, NUMBER_MAX},
		{"error-after", &faults->error_after, NUMBER_MAX},
		{"slow-stream", &faults->slow_bytes, NUMBER_MAX},
		{"truncate-stream", &faults->truncate_at, NUMBER_MAX},
		{"flip-stream", &faults->flip_at, NUMBER_MAX},
		{"data-size", &faults->lie_size_percent, 10000},
	};
	const struct {
		const char *name;
		bool *out;
	} switches[] = {
		{"pasid", &keys->pasid},
		{"log", &keys->log},
		{"mmap", &keys->mmap},
		{"reinit", &faults->reinit},
	};

	*known = true;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		if (!strcmp(name, numbers[i].name))
			return number(value, numbers[i].max, numbers[i].out) ? NULL : "a number";
	}
	for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
		if (!strcmp(name, switches[i].name))
			return truth(value, switches[i].out) ? NULL : "on or off";
	}
	if (!strcmp(name, "vectors"))
		return number(value, REFERENCE_VECTORS_MAX, &keys->vectors) && keys->vectors > 0
			       ? NULL
			       : "a number from 1 to 2048";
	if (!strcmp(name, "memory"))
		return memory(value, &keys->memory) ? NULL : "a power of two from 64K to 64M";
	if (!strcmp(name, "migration"))
		return migration(value, &keys->migration_flags)
			       ? NULL
			       : "none, stop-copy, p2p, pre-copy or all";
	if (!strcmp(name, "fail-state"))
		return fail_state(value, faults) ? NULL
						 : "a state as in stop-copy, and :TIMES perhaps";
	*known = false;
	return "";
}

int soft_keys_parse(const struct vfio_config *config, struct soft_keys *keys)
{
	*keys = (struct soft_keys){
		.vectors = REFERENCE_VECTORS_DEFAULT,
		.memory = REFERENCE_MEMORY_DEFAULT,
		.pasid = true,
		.log = true,
		.mmap = true,
	};
	migration("all", &keys->migration_flags);
	for (unsigned i = 0; i < config->key_count; i++) {
		const struct vfio_key *key = &config->keys[i];
		bool known;
		const char *takes = take(keys, key->name, key->value, &known);

		if (!known)
			return vfio_error(config->name, -EINVAL,
					  "%s: no such key of this device; sluice list --json "
					  "names them, man sluice explains them",
					  key->name);
		if (takes)
			return vfio_error(config->name, -EINVAL, "%s=%s: it takes %s", key->name,
					  key->value ? key->value : "", takes);
	}
	return 0;
}
