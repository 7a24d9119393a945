// SPDX-License-Identifier: Apache-2.0
// json-get KEY...: read one JSON document from standard input and print what is at the end of the path, as JSON; a number
// is an index of an array. Status 1 when there is no such thing, 2 when it is no JSON.
#include <stdio.h>
#include <stdlib.h>

#include <jansson.h>

int main(int argc, char **argv)
{
	json_error_t error;
	json_t *value = json_loadf(stdin, JSON_REJECT_DUPLICATES, &error);

	if (!value) {
		fprintf(stderr, "json-get: column %d: %s\n", error.column, error.text);
		return 2;
	}
	for (int i = 1; i < argc && value; i++)
		value = json_is_array(value) ? json_array_get(value, (size_t)atoi(argv[i]))
					     : json_object_get(value, argv[i]);
	if (!value)
		return 1;
	json_dumpf(value, stdout, JSON_COMPACT | JSON_ENCODE_ANY);
	putchar('\n');
	return 0;
}
