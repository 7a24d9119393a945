// SPDX-License-Identifier: Apache-2.0
/* The command line of `sluice serve`. */
#include <errno.h>
#include <stdlib.h>

#include "vmm/base/arguments.h"
#include "vmm/base/log.h"
#include "vmm/base/text.h"
#include "vmm/base/option_keys.h"
#include "vmm/options.h"
#include "vmm/serve.h"

const char serve_help[] =
	"usage: sluice serve --vfio DEV[,KEY=VALUE]... --socket PATH[,share-fd=on] [OPTION]...\n"
	"\n"
	"Offers a device to vfio-user clients: sluice itself, QEMU (vfio-user-pci) and others.\n"
	"\n"
	"  --vfio DEV[,KEY=VALUE]...\n"
	"\tas of `sluice run`: a device of the host or one that sluice makes;\n"
	"\tkeys: token=UUID, and those of the device's own kind\n"
	"  --socket [path=]PATH\twhere clients connect; made for its owner alone (mode 0600), and\n"
	"\tremoved at the end. One that nobody listens on is replaced\n"
	"      share-fd=on|off\ta device of the host: hand its descriptor to the client, which "
	"then\n"
	"\tmaps its BARs. Whoever has it can do all that can be done to the\n"
	"\tdevice, past this process, for as long as it likes (off)\n"
	"  --doorbell region=N,offset=BYTES,size=1|2|4|8,value=NUMBER\n"
	"\ta write that a client may make by an eventfd (ioeventfd) in place\n"
	"\tof a message; may be given more than once\n"
	"  --iommufd fd=N\tan open descriptor of /dev/iommu\n"
	"  -v\tsay more; twice: everything\n"
	"  --log-file FILE\tmessages go there in place of standard error\n"
	"\n"
	"One client has the device at a time; others wait until it leaves. When it leaves, for\n"
	"whatever reason, its memory and interrupts are taken away and the device is reset.\n"
	"A device of the host reaches memory that a client shares by descriptor (memfd), and only\n"
	"that.\n"
	"\n"
	"Signals: SIGTERM and SIGINT end it: the client is sent away, the socket removed. SIGUSR1\n"
	"writes the state of the device to the log as one JSON object.\n"
	"\n"
	"Exit status\n"
	"  0  ended by a signal, or because the host wanted the device back\n"
	"  1  the device or the host failed (the message says why)\n"
	"  2  bad arguments\n"
	"\n"
	"Example\n"
	"  sluice serve --vfio 0000:01:00.0 --socket /run/nvme.sock\n"
	"  sluice run --kernel vmlinux --vfio user:/run/nvme.sock\n";

void serve_config_destroy(struct serve_config *config)
{
	free(config->path);
	vm_config_destroy(&config->vm);
}

static int parse_socket(struct option_keys *keys, void *ctx)
{
	struct serve_config *config = ctx;
	int key, r = 0;

	keys->allowed = "path, share-fd";
	while (r == 0 && (key = keys_next(keys)) != -1) {
		switch (key) {
		case 0:
			r = keys_text(keys, &config->path);
			break;
		case 1:
			r = keys_switch(keys, &config->share_fd);
			break;
		default:
			return key;
		}
	}
	return r == 0 && config->path == NULL ? keys_missing(keys, "path=") : r;
}

static int parse_doorbell(struct option_keys *keys, void *ctx)
{
	static const char takes[][18] = {"a region number", "a number of bytes", "1, 2, 4 or 8",
					 "a number"};
	struct serve_config *config = ctx;
	uint64_t values[4] = {0};
	unsigned seen = 0;
	int key;

	if (config->doorbell_count == SERVE_MAX_DOORBELLS) {
		log_error("--doorbell %s: there can be %d of them", keys->shown,
			  SERVE_MAX_DOORBELLS);
		return -EINVAL;
	}
	keys->allowed = "region, offset, size, value";
	while ((key = keys_next(keys)) != -1) {
		if (key < 0)
			return key;
		if (!text_number(keys->value, 0, key == 0 ? UINT32_MAX : UINT64_MAX, &values[key]))
			return keys_refuse(keys, takes[key]);
		if (key == 2 && (values[2] == 0 || values[2] > 8 || values[2] & (values[2] - 1)))
			return keys_refuse(keys, takes[key]);
		seen |= 1u << key;
	}
	if (seen != 15) {
		log_error("--doorbell %s: it takes region=, offset=, size= and value=",
			  keys->shown);
		return -EINVAL;
	}
	if (values[2] < 8 && values[3] >> values[2] * 8) {
		log_error("--doorbell %s: value= is wider than size= bytes", keys->shown);
		return -EINVAL;
	}
	config->doorbells[config->doorbell_count++] = (struct vfio_server_doorbell){
		.region = (uint32_t)values[0],
		.offset = values[1],
		.size = (uint32_t)values[2],
		.value = values[3],
	};
	return 0;
}

static int parse_device(struct option_keys *keys, void *ctx)
{
	struct serve_config *config = ctx;
	const struct vfio_config *vfio;
	int r = parse_vfio(keys, &config->vm);

	if (r < 0)
		return r;
	vfio = &config->vm.vfio[0];
	if (vfio->slot >= 0 || vfio->p2p != VFIO_P2P_AUTO || vfio->rom != VFIO_ROM_ON ||
	    vfio->vendor_id >= 0 || vfio->device_id >= 0 || vfio->subsystem_vendor_id >= 0 ||
	    vfio->subsystem_id >= 0 || vfio->stop_on_error || vfio->id != NULL) {
		log_error("--vfio %s: what a guest is to see is up to the client; serve takes "
			  "token= and the keys of the device's own kind",
			  keys->shown);
		return -EINVAL;
	}
	return 0;
}

enum { OPT_VFIO, OPT_SOCKET, OPT_DOORBELL, OPT_IOMMUFD, OPT_LOG_FILE, OPT_COUNT };

static const struct argument options[OPT_COUNT] = {
	[OPT_VFIO] = {"vfio", ARGUMENT_VALUE | ARGUMENT_ONCE},
	[OPT_SOCKET] = {"socket", ARGUMENT_VALUE | ARGUMENT_ONCE},
	[OPT_DOORBELL] = {"doorbell", ARGUMENT_VALUE},
	[OPT_IOMMUFD] = {"iommufd", ARGUMENT_VALUE | ARGUMENT_ONCE},
	[OPT_LOG_FILE] = {"log-file", ARGUMENT_VALUE | ARGUMENT_ONCE},
};

static int parse_option(int option, const char *value, struct serve_config *config)
{
	switch (option) {
	case OPT_VFIO:
		return option_keys_parse("vfio", value, parse_device, config);
	case OPT_SOCKET:
		return option_keys_parse("socket", value, parse_socket, config);
	case OPT_DOORBELL:
		return option_keys_parse("doorbell", value, parse_doorbell, config);
	case OPT_IOMMUFD:
		return argument_iommufd(value, &config->vm.iommufd);
	case OPT_LOG_FILE:
		return option_text(value, &config->vm.log_file);
	default: /* -v */
		config->vm.verbosity++;
		return 0;
	}
}

int serve_parse(int argc, char **argv, struct serve_config *config)
{
	struct arguments arguments = {
		.argc = argc,
		.argv = argv,
		.options = options,
		.count = OPT_COUNT,
	};
	int option, r;

	*config = (struct serve_config){0};
	r = vm_config_init(&config->vm);
	while (r == 0 && (option = arguments_next(&arguments)) != ARGUMENTS_END) {
		if (option == ARGUMENTS_HELP)
			return 1;
		r = option < 0 ? option : parse_option(option, arguments.value, config);
	}
	if (r == 0)
		r = arguments_no_more(&arguments);
	if (r < 0)
		return r;
	if (config->vm.vfio_count == 0 || config->path == NULL) {
		log_error("%s is missing; see sluice serve --help",
			  config->path == NULL ? "--socket PATH" : "--vfio DEV");
		return -EINVAL;
	}
	return vm_config_check_vfio(&config->vm);
}
