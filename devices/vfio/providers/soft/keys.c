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
	length = strcspn(text, ":");
	times = text + length;
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

/* ---- the list --------------------------------------------------------------------------------- */

enum kind { NUMBER, SWITCH, VECTORS, MEMORY, MIGRATION, FAIL_STATE };

/* Name, kind, where the value goes, and the most of a number. */
#define KEYS(KEY)                                                                                  \
	KEY("vectors", VECTORS, vectors, REFERENCE_VECTORS_MAX)                                    \
	KEY("memory", MEMORY, memory, 0)                                                           \
	KEY("migration", MIGRATION, migration_flags, 0)                                            \
	KEY("pasid", SWITCH, pasid, 0)                                                             \
	KEY("log", SWITCH, log, 0)                                                                 \
	KEY("mmap", SWITCH, mmap, 0)                                                               \
	KEY("fail-state", FAIL_STATE, faults, 0)                                                   \
	KEY("slow-stream", NUMBER, faults.slow_bytes, NUMBER_MAX)                                  \
	KEY("truncate-stream", NUMBER, faults.truncate_at, NUMBER_MAX)                             \
	KEY("flip-stream", NUMBER, faults.flip_at, NUMBER_MAX)                                     \
	KEY("data-size", NUMBER, faults.lie_size_percent, 10000)                                   \
	KEY("reinit", SWITCH, faults.reinit, 0)                                                    \
	KEY("lose-interrupt", NUMBER, faults.lose_interrupt, NUMBER_MAX)                           \
	KEY("remove-after", NUMBER, faults.remove_after, NUMBER_MAX)                               \
	KEY("error-after", NUMBER, faults.error_after, NUMBER_MAX)                                 \
	KEY("dma-delay", NUMBER, dma_delay_us, DELAY_MAX)

#define NAME(name, kind, member, max) name,
const char *const soft_key_names[] = {KEYS(NAME) NULL};

struct rule {
	uint8_t kind;
	uint16_t place; /* in struct soft_keys */
	uint32_t max;
};

#define RULE(name, kind, member, max) {kind, offsetof(struct soft_keys, member), max},
static const struct rule rules[] = {KEYS(RULE)};

/* Take the value of one key; what it takes when it does not like it, NULL when all is well. */
static const char *take(struct soft_keys *keys, const struct rule *rule, const char *value)
{
	void *out = (char *)keys + rule->place;

	switch ((enum kind)rule->kind) {
	case NUMBER:
		return number(value, rule->max, out) ? NULL : "a number";
	case SWITCH:
		return text_switch(value, out) ? NULL : "on or off";
	case VECTORS:
		return number(value, rule->max, out) && keys->vectors > 0
			       ? NULL
			       : "a number from 1 to 2048";
	case MEMORY:
		return memory(value, out) ? NULL : "a power of two from 64K to 64M";
	case MIGRATION:
		return migration(value, out) ? NULL : "none, stop-copy, p2p, pre-copy or all";
	case FAIL_STATE:
		break;
	}
	return fail_state(value, out) ? NULL : "a state as in stop-copy, and :TIMES perhaps";
}

static int take_key(struct soft_keys *keys, const char *device, const struct vfio_key *key)
{
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		const char *takes;

		if (strcmp(key->name, soft_key_names[i]) != 0)
			continue;
		takes = take(keys, &rules[i], key->value);
		return !takes ? 0
			      : vfio_error(device, -EINVAL, "%s=%s: it takes %s", key->name,
					   key->value ? key->value : "", takes);
	}
	return vfio_error(device, -EINVAL,
			  "%s: no such key of this device; sluice list --json names them, man "
			  "sluice explains them",
			  key->name);
}

int soft_keys_parse(const struct vfio_config *config, struct soft_keys *keys)
{
	int rc = 0;

	*keys = (struct soft_keys){
		.vectors = REFERENCE_VECTORS_DEFAULT,
		.memory = REFERENCE_MEMORY_DEFAULT,
		.migration_flags =
			VFIO_MIGRATION_STOP_COPY | VFIO_MIGRATION_P2P | VFIO_MIGRATION_PRE_COPY,
		.pasid = true,
		.log = true,
		.mmap = true,
	};
	for (unsigned i = 0; i < config->key_count && !rc; i++)
		rc = take_key(keys, config->name, &config->keys[i]);
	return rc;
}
