// SPDX-License-Identifier: Apache-2.0
#include "devices/vfio/check/judge.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Apart, for it is in three places. */
static __attribute__((noinline)) const char *vformat(struct judge *judge, const char *fmt,
						     va_list args)
{
	const char *text = check_vformat(judge->arena, fmt, args);

	if (!text)
		judge->out_of_memory = true;
	return text ? text : "";
}

const char *judge_format(struct judge *judge, const char *fmt, ...)
{
	const char *text;
	va_list args;

	va_start(args, fmt);
	text = vformat(judge, fmt, args);
	va_end(args);
	return text;
}

/* What a finding is about, in a word that fits its column: the first part of its code, or ... */
static const char *subject(struct judge *judge, const char *code)
{
	static const struct {
		char part[12], subject[8];
	} others[] = {
		{"bar.", "bars"},      {"cdev.", "vfio"},    {"hugepages.", "memory"},
		{"iova.", "launch"},   {"sriov.", "driver"}, {"migration.", "migrate"},
		{"vfio_pci.", "vfio"},
	};

	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		if (strncmp(code, others[i].part, strlen(others[i].part)) == 0)
			return others[i].subject;
	}
	return judge_format(judge, "%.*s", (int)strcspn(code, "."), code);
}

/* @command as root types it. */
static const char *without_sudo(struct judge *judge, const char *command)
{
	static const char word[] = "sudo ";
	char *text = (char *)judge_format(judge, "%s", command);

	for (char *sudo = text; (sudo = strstr(sudo, word)) != NULL;) {
		const char *rest = sudo + strlen(word);

		memmove(sudo, rest, strlen(rest) + 1);
	}
	return text;
}

void judge_say(struct judge *judge, enum check_severity severity, const char *fmt, ...)
{
	struct check_report *report = judge->report;
	struct check_finding *finding;
	char *code, *text, *remedy = NULL;
	va_list args;

	finding = check_append(judge->arena, (void **)&report->findings, &report->count,
			       sizeof(*finding));
	if (!finding) {
		judge->out_of_memory = true;
		finding = &judge->nowhere;
	}
	if (judge->facts->root)
		fmt = without_sudo(judge, fmt);
	va_start(args, fmt);
	code = (char *)vformat(judge, fmt, args);
	va_end(args);
	text = code + strcspn(code, ":");
	if (*text) {
		*text = '\0';
		text += 2;
	}
	if (strchr(fmt, '\n'))
		remedy = strchr(text, '\n');
	if (remedy)
		*remedy++ = '\0';
	*finding = (struct check_finding){
		.severity = severity,
		.code = code,
		.subject = subject(judge, code),
		.text = text,
		.host = judge->host,
		.remedies = {remedy},
		.remedy_count = remedy != NULL,
	};
	judge->last = finding;
	report->obstacles += severity == CHECK_OBSTACLE;
	report->warnings += severity == CHECK_WARNING;
}

void judge_remedy(struct judge *judge, const char *fmt, ...)
{
	struct check_finding *finding = judge->last;
	va_list args;

	if (finding->remedy_count == CHECK_REMEDIES)
		return;
	if (judge->facts->root)
		fmt = without_sudo(judge, fmt);
	va_start(args, fmt);
	finding->remedies[finding->remedy_count++] = vformat(judge, fmt, args);
	va_end(args);
}

void judge_permission(struct judge *judge, const char *code, const struct check_node *node)
{
	const char *user = judge->facts->user;

	judge_obstacle(judge, "%s: %s may not open %s (%s:%s %04o)", code, user, node->path,
		       node->owner, node->group, node->mode);
	/* A group that may use it and is there for that, as "kvm" is. */
	if ((node->mode & 060) == 060 && node->group && strcmp(node->group, "root") != 0)
		judge_remedy(judge, "sudo usermod -aG %s %s   # then log in again", node->group,
			     user);
	else
		judge_remedy(judge, "sudo chown %s %s", user, node->path);
}

void judge_remedy_cmdline(struct judge *judge, const char *parameter, bool add)
{
	judge_remedy(
		judge, "sudo sed -i 's/%s/' /etc/default/grub && sudo update-grub   # then reboot",
		judge_format(judge, add ? "^GRUB_CMDLINE_LINUX=\"/&%s " : "\\b%s\\b/", parameter));
}

void judge_remedy_kernel(struct judge *judge, const char *options)
{
	judge_remedy(judge,
		     "scripts/config %s   # in the new kernel's source; then build and boot it",
		     options);
}

void judge_remedy_memory(struct judge *judge, uint64_t bytes)
{
	judge_remedy(judge, "sluice run --memory %" PRIu64 "M ...", bytes >> 20);
}

const char *judge_size(struct judge *judge, uint64_t bytes)
{
	char text[24];

	check_size(bytes, text);
	return judge_format(judge, "%s", text);
}

const char *judge_join(struct judge *judge, const char *text, const char *more)
{
	return judge_format(judge, "%s%s%s", text, *text ? ", " : "", more);
}

const char *judge_write(struct judge *judge, const char *value, const char *path)
{
	return judge_format(judge, judge->facts->root ? "echo %s > %s" : "echo %s | sudo tee %s",
			    value, path);
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
	static const char units[][6] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
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
