/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `sluice serve`. */
#include <criterion/criterion.h>
#include <errno.h>
#include <string.h>

#include "vmm/serve.h"

#define MAX_ARGS 64

/* Parse "--vfio X --socket Y"; words are separated by blanks. */
static int parse(const char *line, struct serve_config *config)
{
	static char copy[1024];
	char *argv[MAX_ARGS] = {(char *)"serve"};
	int argc = 1;

	strcpy(copy, line);
	for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
		argv[argc++] = word;
	return serve_parse(argc, argv, config);
}

static int parses(const char *line)
{
	struct serve_config config;
	int rc = parse(line, &config);

	serve_config_destroy(&config);
	return rc;
}

Test(serve_options, everything_is_taken)
{
	struct serve_config c;

	cr_assert_eq(parse("--vfio 0000:01:00.0,token=00112233-4455-6677-8899-aabbccddeeff "
			   "--socket /run/x,share-fd=on --iommufd fd=7 -vv --log-file l "
			   "--doorbell region=0,offset=0x1000,size=4,value=0xffffffff "
			   "--doorbell region=2,offset=8,size=8,value=0xffffffffffffffff",
			   &c),
		     0);
	cr_assert_eq(c.vm.vfio_count, 1);
	cr_assert_str_eq(c.vm.vfio[0].name, "0000:01:00.0");
	cr_assert(c.vm.vfio[0].has_token);
	cr_assert_str_eq(c.path, "/run/x");
	cr_assert(c.share_fd);
	cr_assert_eq(c.vm.iommufd, 7);
	cr_assert_eq(c.vm.verbosity, 2);
	cr_assert_eq(c.doorbell_count, 2);
	cr_assert_eq(c.doorbells[0].offset, 0x1000);
	cr_assert_eq(c.doorbells[1].value, UINT64_MAX);
	serve_config_destroy(&c);
	cr_assert_eq(parses("--vfio 01:00.0 --socket path=/x,share-fd=off"), 0);
	cr_assert_eq(parses("--help"), 1);
	cr_assert_eq(parses("-h --nonsense"), 1);
}

Test(serve_options, what_is_wrong_is_refused)
{
	static const char *const lines[] = {
		"",
		"--vfio 01:00.0",
		"--socket /x",
		"--vfio 01:00.0 --socket /x more",
		"--vfio 01:00.0 --socket /x --kernel k",
		"--vfio 01:00.0 --vfio 02:00.0 --socket /x",
		"--vfio 01:00.0 --socket /x --socket /y",
		"--vfio 01:00.0 --socket share-fd=on",
		"--vfio 01:00.0 --socket /x,share-fd=maybe",
		"--vfio 01:00.0 --socket /x,mode=0600",
		"--vfio 01:00.0 --socket",
		"--vfio 01:00.0,addr=03 --socket /x",
		"--vfio 01:00.0,rom=off --socket /x",
		"--vfio 01:00.0,p2p=on --socket /x",
		"--vfio 01:00.0,vendor-id=1 --socket /x",
		"--vfio 01:00.0,on-error=stop --socket /x",
		"--vfio nvme0 --socket /x",
		"--vfio fd=4 --socket /x",
		"--vfio soft:other --socket /x",
		"--vfio soft:reference,foo=1 --socket /x",
		"--vfio soft:reference,memory=3M --socket /x",
		"--vfio user:/y,foo=1 --socket /x",
		"--vfio user:/y,reconnect=maybe --socket /x",
		"--vfio 01:00.0 --socket /x --iommufd 7",
		"--vfio soft:reference --socket /x --iommufd fd=7",
		"--vfio 01:00.0 --socket /x --doorbell region=0",
		"--vfio 01:00.0 --socket /x --doorbell region=0,offset=0,size=3,value=0",
		"--vfio 01:00.0 --socket /x --doorbell region=0,offset=0,size=16,value=0",
		"--vfio 01:00.0 --socket /x --doorbell region=0,offset=0,size=1,value=256",
		"--vfio 01:00.0 --socket /x --doorbell region=-1,offset=0,size=1,value=0",
		"--vfio 01:00.0 --socket /x --doorbell region=0,offset=x,size=1,value=0",
	};

	for (unsigned i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		cr_assert_eq(parses(lines[i]), -EINVAL, "%s", lines[i]);
}

Test(serve_options, there_is_an_end_to_doorbells)
{
	static const char doorbell[] = "--doorbell region=0,offset=0,size=1,value=0 ";
	char line[1024] = "--vfio 01:00.0 --socket /x ";

	for (unsigned i = 0; i < SERVE_MAX_DOORBELLS; i++)
		strcat(line, doorbell);
	cr_assert_eq(parses(line), 0);
	strcat(line, doorbell);
	cr_assert_eq(parses(line), -EINVAL);
}
