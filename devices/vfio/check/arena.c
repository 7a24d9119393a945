// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/facts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct block {
	struct block *next;
	max_align_t data[];
};

struct check_arena {
	struct block *blocks;
};

struct check_arena *check_arena_create(void)
{
	return calloc(1, sizeof(struct check_arena));
}

void check_arena_destroy(struct check_arena *arena)
{
	if (!arena)
		return;
	while (arena->blocks) {
		struct block *block = arena->blocks;

		arena->blocks = block->next;
		free(block);
	}
	free(arena);
}

void *check_alloc(struct check_arena *arena, size_t size)
{
	struct block *block;

	if (size > SIZE_MAX - sizeof(*block))
		return NULL;
	block = calloc(1, sizeof(*block) + size);
	if (!block)
		return NULL;
	block->next = arena->blocks;
	arena->blocks = block;
	return block->data;
}

const char *check_string(struct check_arena *arena, const char *text)
{
	size_t size;
	char *copy;

	if (!text)
		return NULL;
	size = strlen(text) + 1;
	copy = check_alloc(arena, size);
	if (copy)
		memcpy(copy, text, size);
	return copy;
}

const char *check_vformat(struct check_arena *arena, const char *fmt, va_list args)
{
	char *text = NULL;
	va_list again;
	int length;

	va_copy(again, args);
	length = vsnprintf(NULL, 0, fmt, args);
	if (length >= 0)
		text = check_alloc(arena, (size_t)length + 1);
	if (text)
		vsnprintf(text, (size_t)length + 1, fmt, again);
	va_end(again);
	return text;
}

const char *check_format(struct check_arena *arena, const char *fmt, ...)
{
	const char *text;
	va_list args;

	va_start(args, fmt);
	text = check_vformat(arena, fmt, args);
	va_end(args);
	return text;
}

void *check_append(struct check_arena *arena, void **array, size_t *count, size_t size)
{
	/* Full at 0, 8, 16, 32, ...: the old copy stays in the arena, which is short-lived. */
	if (*count == 0 || (*count >= 8 && (*count & (*count - 1)) == 0)) {
		size_t room = *count ? *count * 2 : 8;
		char *grown = room <= SIZE_MAX / size ? check_alloc(arena, room * size) : NULL;

		if (!grown)
			return NULL;
		if (*count)
			memcpy(grown, *array, *count * size);
		*array = grown;
	}
	return (char *)*array + size * (*count)++;
}
