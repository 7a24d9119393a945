// SPDX-License-Identifier: Apache-2.0
#include "vmm/base/memory_option.h"

#include <errno.h>

#include "vmm/base/log.h"
#include "vmm/base/option_keys.h"
#include "vmm/base/text.h"

#define LEAST_MEMORY (2ull << 20)

static int take_keys(struct option_keys *keys, void *ctx)
{
	struct memory_option *memory = ctx;
	int key, r = 0;

	keys->allowed = "size, hugepages, prefault";
	while (r == 0 && (key = keys_next(keys)) != -1) {
		switch (key) {
		case 0:
			if (!text_size(keys->value, &memory->size))
				r = keys_refuse(keys, "a number with K, M, G or T");
			break;
		case 1:
			if (!text_size(keys->value, &memory->huge_page) ||
			    (memory->huge_page != 2ull << 20 && memory->huge_page != 1ull << 30))
				r = keys_refuse(keys, "2M or 1G");
			break;
		case 2:
			r = keys_switch(keys, &memory->prefault);
			break;
		default:
			return key;
		}
	}
	return r;
}

int memory_option_parse(const char *value, struct memory_option *memory)
{
	return option_keys_parse("memory", value, take_keys, memory);
}

int memory_option_check(const struct memory_option *memory)
{
	uint64_t page = memory->huge_page ? memory->huge_page : 4096;

	if (memory->size < LEAST_MEMORY) {
		log_error("--memory: at least 2M is needed");
		return -EINVAL;
	}
	if (memory->size % page != 0) {
		log_error("--memory: the size is no multiple of %s",
			  memory->huge_page == 0            ? "4K pages"
			  : memory->huge_page == 2ull << 20 ? "2M huge pages"
							    : "1G huge pages");
		return -EINVAL;
	}
	return 0;
}
