/* SPDX-License-Identifier: Apache-2.0 */
/* Showing findings: to people and to programs. */
#ifndef SLUICE_VFIO_CHECK_PRINT_H
#define SLUICE_VFIO_CHECK_PRINT_H

#include <jansson.h>
#include <stdio.h>

#include "devices/vfio/check/findings.h"

/* Colours are for a terminal whose owner did not set NO_COLOR. */
bool check_use_color(FILE *out, bool forbidden);

struct check_style {
	bool verbose;   /* what is fine, too */
	bool color;     /* see check_use_color() */
	unsigned width; /* columns to break sentences at; 0: never */
};

/* The columns of the terminal behind @out, 0 when it is none: lines of a file stay whole. */
unsigned check_width(FILE *out);

/* Obstacles and warnings with their remedies, and a verdict. */
void check_print(FILE *out, const struct check_facts *facts, const struct check_report *report,
		 const struct check_style *style);

/* The document of `check --json` (docs/check.md); NULL without memory. The caller decrefs it. */
json_t *check_json(const struct check_facts *facts, const struct check_report *report);
/* Print and free @document. Returns 0, -ENOMEM for NULL, or -EIO. */
int check_json_write(FILE *out, json_t *document);

/* The device by which to name it in commands: its PCI address, or what the user typed. */
const char *check_device_name(const struct check_facts *facts);

/* "ready", "needs-bind", "needs-bind-group", "in-use", "blocked". */
const char *check_state_name(enum check_state state);

#endif
