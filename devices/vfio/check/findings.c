// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/judge.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const char *vformat(struct judge *judge, const char *fmt, va_list args)
{
	char text[2048];
	const char *copy;

	vsnprintf(text, sizeof(text), fmt, args);
	copy = check_string(judge->arena, text);
	if (!copy)
		judge->out_of_memory = true;
	return copy ? copy : "";
}

struct check_finding *judge_say(struct judge *judge, enum check_severity severity, const char *code,
				const char *subject, const char *fmt, ...)
{
	struct check_report *report = judge->report;
	struct check_finding *finding;
	va_list args;

	finding = check_append(judge->arena, (void **)&report->findings, &report->count,
			       sizeof(*finding));
	if (!finding) {
		judge->out_of_memory = true;
		judge->nowhere.remedy_count = 0;
		return &judge->nowhere;
	}
	va_start(args, fmt);
	*finding = (struct check_finding){
		.severity = severity,
		.code = code,
		.subject = subject,
		.text = vformat(judge, fmt, args),
		.host = judge->host,
	};
	va_end(args);
	report->obstacles += severity == CHECK_OBSTACLE;
	report->warnings += severity == CHECK_WARNING;
	return finding;
}

void judge_remedy(struct judge *judge, struct check_finding *finding, const char *fmt, ...)
{
	va_list args;

	if (finding->remedy_count == CHECK_REMEDIES)
		return;
	va_start(args, fmt);
	finding->remedies[finding->remedy_count++] = vformat(judge, fmt, args);
	va_end(args);
}

void judge_remedy_write(struct judge *judge, struct check_finding *finding, const char *value,
			const char *path)
{
	if (judge->facts->root)
		judge_remedy(judge, finding, "echo %s > %s", value, path);
	else
		judge_remedy(judge, finding, "echo %s | sudo tee %s", value, path);
}

void judge_remedy_node(struct judge *judge, struct check_finding *finding,
		       const struct check_node *node)
{
	const char *user = judge->facts->user;

	/* A group that may use it and is there for that, as "kvm" is. */
	if ((node->mode & 060) == 060 && node->group && strcmp(node->group, "root") != 0)
		judge_remedy(judge, finding, "%susermod -aG %s %s   # then log in again",
			     judge->sudo, node->group, user);
	else
		judge_remedy(judge, finding, "%schown %s %s", judge->sudo, user, node->path);
}

void judge_remedy_cmdline(struct judge *judge, struct check_finding *finding, const char *parameter,
			  bool add)
{
	if (add)
		judge_remedy(judge, finding,
			     "%ssed -i 's/^GRUB_CMDLINE_LINUX=\"/&%s /' /etc/default/grub && "
			     "%supdate-grub   # then reboot",
			     judge->sudo, parameter, judge->sudo);
	else
		judge_remedy(judge, finding,
			     "%ssed -i 's/\\b%s\\b//' /etc/default/grub && %supdate-grub   "
			     "# then reboot",
			     judge->sudo, parameter, judge->sudo);
}

const char *judge_join(struct judge *judge, const char *text, const char *more)
{
	const char *joined = check_format(judge->arena, "%s%s%s", text, *text ? ", " : "", more);

	if (!joined)
		judge->out_of_memory = true;
	return joined ? joined : "";
}

const char *judge_quote(struct judge *judge, const char *word)
{
	static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
				    "_-./:@+,=";
	char *quoted, *out;

	if (*word && strspn(word, plain) == strlen(word))
		return word;
	out = quoted = check_alloc(judge->arena, 4 * strlen(word) + 3);
	if (!quoted) {
		judge->out_of_memory = true;
		return "";
	}
	*out++ = '\'';
	for (; *word; word++) {
		if (*word == '\'') {
			memcpy(out, "'\\''", 4);
			out += 4;
		} else {
			*out++ = *word;
		}
	}
	*out = '\'';
	return quoted;
}

int check_judge(struct check_arena *arena, const struct check_facts *facts,
		struct check_report *report)
{
	struct judge judge = {
		.arena = arena,
		.facts = facts,
		.report = report,
		.sudo = facts->root ? "" : "sudo ",
	};

	*report = (struct check_report){.count = 0};
	/* The host is not the news when the name is a slip. */
	if (facts->found)
		judge_host(&judge);
	judge_device(&judge);
	if (facts->found)
		judge_launch(&judge);
	return judge.out_of_memory ? -ENOMEM : 0;
}

enum check_state check_state(const struct check_report *report, const struct check_finding **reason)
{
	enum check_state state = CHECK_READY;

	*reason = NULL;
	for (size_t i = 0; i < report->count; i++) {
		const struct check_finding *finding = &report->findings[i];
		enum check_state now = CHECK_BLOCKED;

		if (finding->severity != CHECK_OBSTACLE || finding->host)
			continue;
		if (strcmp(finding->code, "driver.host") == 0 ||
		    strcmp(finding->code, "driver.none") == 0)
			now = CHECK_NEEDS_BIND;
		else if (strcmp(finding->code, "group.not_viable") == 0)
			now = CHECK_NEEDS_BIND_GROUP;
		else if (strcmp(finding->code, "node.busy") == 0)
			now = CHECK_IN_USE;
		if (now > state) {
			state = now;
			*reason = finding;
		}
	}
	if (state < CHECK_IN_USE)
		*reason = NULL;
	return state;
}

void check_size(uint64_t bytes, char out[24])
{
	static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
	uint64_t rest = 0;
	unsigned unit = 0;

	while (bytes >= 1024 && unit < 6) {
		rest = bytes & 1023;
		bytes >>= 10;
		unit++;
	}
	if (rest * 10 / 1024)
		snprintf(out, 24, "%u.%u %s", (unsigned)bytes, (unsigned)(rest * 10 / 1024),
			 units[unit]);
	else
		snprintf(out, 24, "%u %s", (unsigned)bytes, units[unit]);
}
