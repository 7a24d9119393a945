// SPDX-License-Identifier: Apache-2.0
/* --vfio DEV[,KEY=VALUE]... */
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "devices/vfio/provider.h"
#include "vmm/base/log.h"
#include "vmm/base/text.h"
#include "vmm/config.h"
#include "vmm/options.h"
#include "vmm/base/option_keys.h"

/* Of one device: more than any has, and few enough to look through. */
#define MAX_PROVIDER_KEYS 64

/* A guest slot, 1 to 1f, and a function in it: "5", "05", "05.0", "05.3". */
static bool parse_slot(const char *text, struct vfio_config *vfio)
{
	char slot[3] = "";
	uint64_t number;
	const char *dot;

	if (text == NULL)
		return false;
	dot = text + strcspn(text, ".");
	if (dot - text > 2)
		return false;
	memcpy(slot, text, (size_t)(dot - text));
	if (!text_number(slot, 16, 0x1f, &number) || number == 0)
		return false;
	vfio->slot = (int)number;
	if (*dot == '\0')
		return true;
	if (dot[1] < '0' || dot[1] > '7' || dot[2] != '\0')
		return false;
	vfio->function = (unsigned)(dot[1] - '0');
	return true;
}

static int take_id(const struct option_keys *keys, int32_t *out)
{
	uint64_t number;

	if (!text_number(keys->value, 0, 0xffff, &number))
		return keys_refuse(keys, "a number up to 0xffff");
	*out = (int32_t)number;
	return 0;
}

/* The state is JSON, which takes no other. */
static int refuse_no_utf8(const struct option_keys *keys)
{
	json_t *text = json_string(keys->value);
	int r = text == NULL ? keys_refuse(keys, "text in UTF-8") : 0;

	json_decref(text);
	return r;
}

/* The first part of --vfio: a name, or fd=N which keys_next() took for a key with a value. */
static int take_vfio_name(const struct option_keys *keys, struct vfio_config *vfio)
{
	if (keys->value == NULL || *keys->value == '\0')
		return keys_refuse(keys, "the name of one");
	if (refuse_no_utf8(keys) < 0)
		return -EINVAL;
	if (strncmp(keys->value, "fd=", 3) == 0 && !text_fd(keys->value, &vfio->fd)) {
		log_error("--vfio %s: fd takes the number of an open descriptor", keys->shown);
		return -EINVAL;
	}
	vfio->name = strdup(keys->value);
	return vfio->name == NULL ? -ENOMEM : 0;
}

static int take_rom(const struct option_keys *keys, struct vfio_config *vfio)
{
	if (keys->value == NULL || strcmp(keys->value, "on") == 0) {
		vfio->rom = VFIO_ROM_ON;
		return 0;
	}
	if (strcmp(keys->value, "off") == 0) {
		vfio->rom = VFIO_ROM_OFF;
		return 0;
	}
	vfio->rom = VFIO_ROM_FILE;
	return keys_text(keys, (char **)&vfio->rom_file);
}

/* Behind "user:/path": a key of the provider's own. */
static int take_provider_key(const struct option_keys *keys, const char *part)
{
	struct vfio_config *vfio = keys->ctx;
	const char *equal = part + strcspn(part, "=");
	const size_t length = (size_t)(equal - part);
	struct vfio_key *more;

	if (vfio->name == NULL || length == 0 || vfio_provider_by_prefix(vfio->name) == NULL)
		return 1;
	if (vfio->key_count == MAX_PROVIDER_KEYS) {
		log_error("--vfio %s: there can be %d keys of a device's own", vfio->name,
			  MAX_PROVIDER_KEYS);
		return -EINVAL;
	}
	for (size_t i = 0; i < vfio->key_count; i++) {
		if (strncmp(vfio->keys[i].name, part, length) == 0 &&
		    vfio->keys[i].name[length] == '\0') {
			log_error("--%s %s: %s is given twice", keys->option, keys->shown,
				  vfio->keys[i].name);
			return -EINVAL;
		}
	}
	more = reallocarray(vfio->keys, vfio->key_count + 1, sizeof(*more));
	if (more == NULL)
		return -ENOMEM;
	vfio->keys = more;
	more = &vfio->keys[vfio->key_count++];
	more->name = strdup(part);
	if (more->name != NULL)
		more->name[length] = '\0';
	more->value = *equal == '=' ? strdup(equal + 1) : NULL;
	return more->name == NULL || (*equal == '=' && more->value == NULL) ? -ENOMEM : 0;
}

int parse_vfio(struct option_keys *keys, void *ctx)
{
	enum { DEVICE, ID, ADDR, TOKEN, P2P, ROM, VENDOR, DEVICE_ID, SUB_VENDOR, SUB_ID, ON_ERROR };
	struct vm_config *config = ctx;
	struct vfio_config *more =
		reallocarray(config->vfio, config->vfio_count + 1, sizeof(*more));
	struct vfio_config *vfio;
	int key, r = 0;

	if (more == NULL)
		return -ENOMEM;
	config->vfio = more;
	vfio = &more[config->vfio_count++];
	*vfio = (struct vfio_config){
		.fd = -1,
		.slot = -1,
		.vendor_id = -1,
		.device_id = -1,
		.subsystem_vendor_id = -1,
		.subsystem_id = -1,
	};
	/* In the order of the enumeration. */
	keys->allowed = "device, id, addr, token, p2p, rom, vendor-id, device-id, "
			"subsystem-vendor-id, subsystem-id, on-error";
	keys->unknown = take_provider_key;
	keys->ctx = vfio;
	while (r == 0 && (key = keys_next(keys)) != -1) {
		switch (key) {
		case DEVICE:
			r = take_vfio_name(keys, vfio);
			break;
		case ID:
			r = keys_text(keys, (char **)&vfio->id);
			if (r == 0)
				r = refuse_no_utf8(keys);
			break;
		case ADDR:
			if (!parse_slot(keys->value, vfio))
				r = keys_refuse(keys, "a slot from 01 to 1f, and .FUNCTION");
			break;
		case TOKEN:
			vfio->has_token = text_bytes(keys->value, TEXT_UUID, vfio->token);
			if (!vfio->has_token)
				r = keys_refuse(keys,
						"a UUID like 00112233-4455-6677-8899-aabbccddeeff");
			break;
		case P2P:
			if (keys->value == NULL || strcmp(keys->value, "on") == 0)
				vfio->p2p = VFIO_P2P_ON;
			else if (strcmp(keys->value, "auto") == 0)
				vfio->p2p = VFIO_P2P_AUTO;
			else if (strcmp(keys->value, "off") == 0)
				vfio->p2p = VFIO_P2P_OFF;
			else
				r = keys_refuse(keys, "auto, on or off");
			break;
		case ROM:
			r = take_rom(keys, vfio);
			break;
		case VENDOR:
			r = take_id(keys, &vfio->vendor_id);
			break;
		case DEVICE_ID:
			r = take_id(keys, &vfio->device_id);
			break;
		case SUB_VENDOR:
			r = take_id(keys, &vfio->subsystem_vendor_id);
			break;
		case SUB_ID:
			r = take_id(keys, &vfio->subsystem_id);
			break;
		case ON_ERROR:
			vfio->stop_on_error =
				keys->value != NULL && strcmp(keys->value, "stop") == 0;
			if (!vfio->stop_on_error &&
			    (keys->value == NULL || strcmp(keys->value, "report") != 0))
				r = keys_refuse(keys, "report or stop");
			break;
		default:
			return key;
		}
	}
	return r == 0 && vfio->name == NULL ? keys_missing(keys, "the device") : r;
}
