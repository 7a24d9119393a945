// SPDX-License-Identifier: Apache-2.0
#include <criterion/criterion.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "devices/vfio/provider.h"
#include "vmm/base/log.h"
#include "vmm/config.h"
#include "vmm/options.h"

static struct vm_config config;
static char message[1024];

/* Parse a line split at blanks (a quoted blank is written as ~); the message goes to `message`. */
static int parse(const char *line)
{
	char copy[1024], path[] = "/tmp/options_test.XXXXXX";
	char *argv[64] = {(char *)"run"};
	int argc = 1, fd, r;
	ssize_t n;

	vm_config_destroy(&config);
	cr_assert_eq(vm_config_init(&config), 0);
	snprintf(copy, sizeof(copy), "%s", line);
	for (char *word = strtok(copy, " "); word != NULL; word = strtok(NULL, " ")) {
		for (char *c = word; *c != '\0'; c++)
			*c = *c == '~' ? ' ' : *c;
		argv[argc++] = word;
	}
	fd = mkstemp(path);
	cr_assert_geq(fd, 0);
	cr_assert_eq(log_open(path, LOG_LEVEL_WARN), 0);
	r = options_parse_run(argc, argv, &config);
	n = pread(fd, message, sizeof(message) - 1, 0);
	message[n > 0 ? n : 0] = '\0';
	log_open(NULL, LOG_LEVEL_WARN);
	close(fd);
	unlink(path);
	return r;
}

static void end(void)
{
	vm_config_destroy(&config);
}

TestSuite(options, .fini = end);

Test(options, defaults_are_a_small_machine)
{
	cr_assert_eq(parse("--kernel k"), 0);
	cr_assert_str_eq(config.kernel, "k");
	cr_assert_str_eq(config.cmdline, "");
	cr_assert_eq(config.cpus, 1);
	cr_assert_eq(config.memory.size, 512ull << 20);
	cr_assert_eq(config.memory.huge_page, 0);
	cr_assert_not(config.memory.prefault);
	cr_assert_eq(config.serial, VM_SERIAL_STDIO);
	cr_assert_eq(config.iommufd, -1);
	cr_assert_eq(config.unplug_timeout_s, 30);
	cr_assert_eq(config.on_reset, VM_ON_RESET_EXIT);
	cr_assert_eq(config.vfio_count, 0);
	cr_assert_str_empty(message);
}

Test(options, everything_at_once)
{
	cr_assert_eq(
		parse("--kernel=/boot/vmlinux --initrd a --initrd b --cmdline console=ttyS0~quiet "
		      "--cpus 4 --memory 4G,hugepages=2M,prefault --disk path=d0 "
		      "--disk d1,readonly --net tap=tap0 --net tap1,mac=52:54:00:12:34:56 "
		      "--serial file=/tmp/out --vfio 0000:01:00.0,id=nvme0,addr=05,p2p=off "
		      "--vfio fd=9,rom=off --iommufd fd=8 --migratable --unplug-timeout 5 "
		      "--on-reset reboot -vv --log-file log"),
		0, "%s", message);
	cr_assert_str_eq(config.kernel, "/boot/vmlinux");
	cr_assert_eq(config.initrd_count, 2);
	cr_assert_str_eq(config.initrds[1], "b");
	cr_assert_str_eq(config.cmdline, "console=ttyS0 quiet");
	cr_assert_eq(config.cpus, 4);
	cr_assert_eq(config.memory.size, 4ull << 30);
	cr_assert_eq(config.memory.huge_page, 2ull << 20);
	cr_assert(config.memory.prefault);
	cr_assert_eq(config.disk_count, 2);
	cr_assert_str_eq(config.disks[0].path, "d0");
	cr_assert_not(config.disks[0].readonly);
	cr_assert_str_eq(config.disks[1].path, "d1");
	cr_assert(config.disks[1].readonly);
	cr_assert_eq(config.net_count, 2);
	cr_assert_str_eq(config.nets[1].tap, "tap1");
	cr_assert(config.nets[1].has_mac);
	cr_assert_arr_eq(config.nets[1].mac, "\x52\x54\x00\x12\x34\x56", 6);
	cr_assert_not(config.nets[0].has_mac);
	cr_assert_eq(config.serial, VM_SERIAL_FILE);
	cr_assert_str_eq(config.serial_path, "/tmp/out");
	cr_assert_eq(config.vfio_count, 2);
	cr_assert_str_eq(config.vfio[0].name, "0000:01:00.0");
	cr_assert_str_eq(config.vfio[0].id, "nvme0");
	cr_assert_eq(config.vfio[0].slot, 5);
	cr_assert_eq(config.vfio[0].p2p, VFIO_P2P_OFF);
	cr_assert_eq(config.vfio[0].fd, -1);
	cr_assert_eq(config.vfio[1].fd, 9);
	cr_assert_str_eq(config.vfio[1].name, "fd=9");
	cr_assert_eq(config.vfio[1].slot, -1);
	cr_assert_eq(config.vfio[1].rom, VFIO_ROM_OFF);
	for (unsigned i = 0; i < 2; i++) {
		cr_assert_eq(config.vfio[i].unplug_timeout_s, 5);
		cr_assert(config.vfio[i].migratable);
	}
	cr_assert_eq(config.iommufd, 8);
	cr_assert_eq(config.on_reset, VM_ON_RESET_REBOOT);
	cr_assert_eq(config.verbosity, 2);
	cr_assert_str_eq(config.log_file, "log");
}

Test(options, every_form_of_a_device_name_is_taken)
{
	static const char *const names[] = {
		"0000:01:00.0",
		"01:00.0",
		"/sys/bus/pci/devices/0000:01:00.0",
		"/dev/vfio/devices/vfio0",
		"fd=3",
	};
	char line[128];

	for (unsigned i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(line, sizeof(line), "--kernel k --iommufd fd=8 --vfio %s,id=x", names[i]);
		cr_assert_eq(parse(line), 0, "%s", message);
		cr_assert_str_eq(config.vfio[0].name, names[i]);
		snprintf(line, sizeof(line), "--kernel k --iommufd fd=8 --vfio device=%s",
			 names[i]);
		cr_assert_eq(parse(line), 0, "%s", message);
		cr_assert_str_eq(config.vfio[0].name, names[i]);
	}
}

Test(options, every_key_of_vfio)
{
	cr_assert_eq(parse("--kernel k --vfio 01:00.0,token=00112233-4455-6677-8899-aAbBcCdDeEfF,"
			   "p2p,rom=/r.bin,vendor-id=0x8086,device-id=0x10c9,"
			   "subsystem-vendor-id=1,subsystem-id=0xffff,on-error=stop,addr=1f.0"),
		     0, "%s", message);
	cr_assert(config.vfio[0].has_token);
	cr_assert_arr_eq(config.vfio[0].token,
			 "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff", 16);
	cr_assert_eq(config.vfio[0].p2p, VFIO_P2P_ON);
	cr_assert_eq(config.vfio[0].rom, VFIO_ROM_FILE);
	cr_assert_str_eq(config.vfio[0].rom_file, "/r.bin");
	cr_assert_eq(config.vfio[0].vendor_id, 0x8086);
	cr_assert_eq(config.vfio[0].device_id, 0x10c9);
	cr_assert_eq(config.vfio[0].subsystem_vendor_id, 1);
	cr_assert_eq(config.vfio[0].subsystem_id, 0xffff);
	cr_assert(config.vfio[0].stop_on_error);
	cr_assert_eq(config.vfio[0].slot, 0x1f);
}

Test(options, sizes)
{
	static const struct {
		const char *text;
		uint64_t size;
	} good[] = {{"65536K", 64ull << 20},
		    {"64m", 64ull << 20},
		    {"1t", 1ull << 40},
		    {"67108864", 64ull << 20}};
	char line[64];

	for (unsigned i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(line, sizeof(line), "--kernel k --memory %s", good[i].text);
		cr_assert_eq(parse(line), 0, "%s", message);
		cr_assert_eq(config.memory.size, good[i].size);
	}
}

Test(options, lists_and_switches_may_be_repeated)
{
	cr_assert_eq(parse("--kernel k --initrd a --initrd a --disk a --disk b --net t0 --net t1 "
			   "--vfio 01:00.0 --vfio 02:00.0 --migratable --migratable -v -v -v"),
		     0, "%s", message);
	cr_assert_eq(config.initrd_count, 2);
	cr_assert_eq(config.verbosity, 3);
	cr_assert_eq(parse("--kernel k --cmdline="), 0, "%s", message);
}

Test(options, help_is_asked_for)
{
	cr_assert_eq(parse("--help"), 1);
	cr_assert_eq(parse("--kernel k --help --nonsense"), 1);
	cr_assert_eq(parse("-h"), 1);
}

/* What is refused, and what the message must name. */
static const struct {
	const char *line;
	const char *named;
} refused[] = {
	{"", "--kernel"},
	{"--kernel", "--kernel needs a value"},
	{"--kernel k --kernel l", "--kernel l: given twice"},
	{"--kernel k --kernel=k", "--kernel k: given twice"},
	{"--kernel k --kern l", "--kernel l: given twice"},
	{"--kernel=", "--kernel: its value is empty"},
	{"--kernel k --initrd=", "--initrd: its value is empty"},
	{"--kernel k --log-file=", "--log-file: its value is empty"},
	{"--kernel k --log-file a --log-file b", "--log-file b: given twice"},
	{"--kernel k --cmdline a --cmdline=", "--cmdline : given twice"},
	{"--kernel k --cpus 1 --cpus 2", "--cpus 2: given twice"},
	{"--kernel k --memory 1G --memory 64M", "--memory 64M: given twice"},
	{"--kernel k --memory=", "--memory: its value is empty"},
	{"--kernel k --memory 1G,size=2G", "--memory 1G,size=2G: size is given twice"},
	{"--kernel k --memory 1G,prefault,prefault=off", "prefault is given twice"},
	{"--kernel k --serial none --serial stdio", "--serial stdio: given twice"},
	{"--kernel k --unplug-timeout 1 --unplug-timeout 2", "--unplug-timeout 2: given twice"},
	{"--kernel k --on-reset exit --on-reset exit", "--on-reset exit: given twice"},
	{"--kernel k --frobnicate", "--frobnicate"},
	{"--kernel k -x", "unknown option -x"},
	{"--kernel k stray -x", "unknown option -x"},
	{"--kernel k -vx", "unknown option -x"},
	{"stray --frobnicate", "unknown option --frobnicate"},
	{"--kernel k stray", "stray"},
	{"--kernel k --migratable=yes", "--migratable=yes"},
	{"--kernel k --cpus 0", "--cpus 0"},
	{"--kernel k --cpus 100000", "--cpus 100000"},
	{"--kernel k --cpus 300", "--cpus 300"},
	{"--kernel k --cpus -1", "--cpus -1"},
	{"--kernel k --cpus 2x", "--cpus 2x"},
	{"--kernel k --memory 1M", "--memory"},
	{"--kernel k --memory 64Q", "--memory 64Q: size"},
	{"--kernel k --memory 64MB", "--memory 64MB: size"},
	{"--kernel k --memory -64M", "--memory -64M: size"},
	{"--kernel k --memory 99999999999999999999", "size"},
	{"--kernel k --memory 18446744073709551615T", "size"},
	{"--kernel k --memory 64M,hugepages=4M", "hugepages takes 2M or 1G, not 4M"},
	{"--kernel k --memory 64M,hugepages", "hugepages takes 2M or 1G"},
	{"--kernel k --memory 63M,hugepages=2M", "2M huge pages"},
	{"--kernel k --memory 2097153", "4K pages"},
	{"--kernel k --memory 64M,prefault=maybe", "prefault takes on or off, not maybe"},
	{"--kernel k --memory 64M,nodes=2", "unknown key \"nodes=2\"; allowed are size, hugepages"},
	{"--kernel k --disk readonly", "path= is missing"},
	{"--kernel k --disk path=", "path takes a value"},
	{"--kernel k --disk d,cache=none", "allowed are path, readonly"},
	{"--kernel k --disk d --disk d", "--disk d: named twice"},
	{"--kernel k --net mac=52:54:00:12:34:56", "tap= is missing"},
	{"--kernel k --net tap0,mac=52:54:00:12:34", "mac takes"},
	{"--kernel k --net tap0,mac=52-54-00-12-34-56", "mac takes"},
	{"--kernel k --net tap0,mac=01:54:00:12:34:56", "mac takes"},
	{"--kernel k --net tap0,mac=g2:54:00:12:34:56", "mac takes"},
	{"--kernel k --net interface-with-long-name", "up to 15"},
	{"--kernel k --net tap0 --net tap0", "--net tap0: named twice"},
	{"--kernel k --serial telnet", "--serial telnet"},
	{"--kernel k --serial file=", "--serial file="},
	{"--kernel k --vfio id=x", "the device is missing"},
	{"--kernel k --vfio 01:00.0,02:00.0", "unknown key \"02:00.0\"; allowed are device, id"},
	{"--kernel k --vfio 01:00.0,device=02:00.0", "device is given twice"},
	{"--kernel k --vfio 01:00.0,addr=5,addr=6", "addr is given twice"},
	{"--kernel k --vfio nvme0", "vfio nvme0: not the name of a device"},
	{"--kernel k --vfio 0000:01:00", "vfio 0000:01:00: not the name"},
	{"--kernel k --vfio 01:00.9", "vfio 01:00.9: not the name"},
	{"--kernel k --vfio /dev/vfio/12", "legacy groups"},
	{"--kernel k --vfio=", "--vfio: its value is empty"},
	{"--kernel k --vfio fd=4", "--vfio fd=4: a passed descriptor needs --iommufd fd=N"},
	{"--kernel k --vfio 01:00.0 --iommufd fd=3 --iommufd fd=4", "--iommufd fd=4: given twice"},
	{"--kernel k --vfio fd=x", "fd takes"},
	{"--kernel k --vfio fd=-1", "fd takes"},
	{"--kernel k --vfio 01:00.0,id=a\xff", "id takes text in UTF-8"},
	{"--kernel k --vfio user:/a\xff", "takes text in UTF-8"},
	{"--kernel k --vfio 01:00.0,addr=0", "addr takes"},
	{"--kernel k --vfio 01:00.0,addr=20", "addr takes"},
	{"--kernel k --vfio 01:00.0,addr=5.8", "addr takes"},
	{"--kernel k --vfio 01:00.0,addr=5.10", "addr takes"},
	{"--kernel k --vfio 01:00.0,addr=5.", "addr takes"},
	{"--kernel k --vfio 01:00.0,addr=.1", "addr takes"},
	{"--kernel k --vfio 01:00.0,addr=005", "addr takes"},
	{"--kernel k --vfio 01:00.0,addr=5.1", "addr=05.1 needs a device at 05.0"},
	{"--kernel k --vfio 01:00.0,addr", "addr takes"},
	{"--kernel k --vfio 01:00.0,token=0011", "token takes a UUID"},
	{"--kernel k --vfio 01:00.0,p2p=maybe", "p2p takes auto, on or off, not maybe"},
	{"--kernel k --vfio 01:00.0,rom=", "rom takes"},
	{"--kernel k --vfio 01:00.0,vendor-id=0x10000", "vendor-id takes"},
	{"--kernel k --vfio 01:00.0,device-id=xyz", "device-id takes"},
	{"--kernel k --vfio 01:00.0,on-error=die", "on-error takes report or stop"},
	{"--kernel k --vfio 01:00.0,on-error", "on-error takes report or stop"},
	{"--kernel k --vfio 01:00.0 --vfio 01:00.0", "--vfio 01:00.0: named twice"},
	{"--kernel k --vfio 01:00.0,id=a --vfio 02:00.0,id=a", "id=a is already"},
	{"--kernel k --vfio 01:00.0,addr=5 --vfio 02:00.0,addr=05", "addr=05.0 is already"},
	{"--kernel k --vfio soft:other", "there is soft:reference"},
	{"--kernel k --vfio soft:reference,foo=1", "vfio soft:reference: foo: no such key"},
	{"--kernel k --vfio soft:reference,vectors=0", "vectors=0: it takes a number from 1"},
	{"--kernel k --vfio soft:reference,vectors", "vectors=: it takes"},
	{"--kernel k --vfio soft:reference,vectors=8,vectors=8", "vectors is given twice"},
	{"--kernel k --vfio soft:reference,vectors=8,mmap,vectors", "vectors is given twice"},
	{"--kernel k --vfio soft:reference,,id=a", "unknown key \"\""},
	{"--kernel k --vfio soft:reference,timeout=1", "timeout: no such key"},
	{"--kernel k --vfio soft:reference,token=00112233-4455-6677-8899-aabbccddeeff",
	 "takes no VF token"},
	{"--kernel k --vfio user:", "after \"user:\" comes the path"},
	{"--kernel k --vfio user:/s,foo=1", "vfio user:/s: unknown key \"foo\""},
	{"--kernel k --vfio user:/s,timeout=0", "timeout takes seconds"},
	{"--kernel k --vfio user:/s,vectors=1", "unknown key \"vectors\""},
	{"--kernel k --vfio user:/s,token=00112233-4455-6677-8899-aabbccddeeff",
	 "takes no VF token"},
	{"--kernel k --iommufd 3", "--iommufd 3"},
	{"--kernel k --iommufd fd=3", "--iommufd fd=3: no --vfio device here"},
	{"--kernel k --vfio soft:reference --iommufd fd=3", "no other needs it"},
	{"--kernel k --vfio user:/s --iommufd fd=3", "no other needs it"},
	{"--kernel k --iommufd fd=", "--iommufd fd="},
	{"--kernel k --unplug-timeout never", "--unplug-timeout never"},
	{"--kernel k --unplug-timeout 86401", "--unplug-timeout 86401"},
	{"--kernel k --on-reset halt", "--on-reset halt"},
};

Test(options, what_is_wrong_is_refused_by_name)
{
	for (unsigned i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		const char *newline;

		cr_expect_eq(parse(refused[i].line), -EINVAL, "taken: %s", refused[i].line);
		cr_expect(strstr(message, refused[i].named) != NULL, "%s: said: %s",
			  refused[i].line, message);
		newline = strchr(message, '\n');
		cr_expect(newline != NULL && newline[1] == '\0', "%s: not one line: %s",
			  refused[i].line, message);
	}
}

/* What `sluice list` says of a provider's keys is what is taken. */
Test(options, every_key_that_is_listed_is_known)
{
	for (unsigned i = 0; vfio_providers[i] != NULL; i++) {
		const struct vfio_named *named = vfio_providers[i]->named;

		for (; named != NULL && named->name != NULL; named++) {
			for (unsigned k = 0; named->keys[k] != NULL; k++) {
				char line[128];

				snprintf(line, sizeof(line), "--kernel k --vfio %s,%s=?",
					 named->name, named->keys[k]);
				cr_expect_eq(parse(line), -EINVAL, "%s", line);
				cr_expect(strstr(message, " takes ") != NULL, "%s: %s", line,
					  message);
			}
		}
	}
}

Test(options, one_device_of_the_kernel_is_enough_to_pass_iommufd)
{
	cr_expect_eq(parse("--kernel k --iommufd fd=3 --vfio soft:reference --vfio 01:00.0"), 0,
		     "%s", message);
	cr_expect_eq(parse("--kernel k --vfio fd=4 --vfio user:/s --iommufd fd=3"), 0, "%s",
		     message);
}

Test(options, functions_of_one_slot_are_a_package)
{
	cr_assert_eq(parse("--kernel k --vfio 01:00.1,addr=5.1 --vfio 01:00.0,addr=05"), 0, "%s",
		     message);
	cr_assert_eq(config.vfio[0].slot, 5);
	cr_assert_eq(config.vfio[0].function, 1);
	cr_assert_eq(config.vfio[1].function, 0);
}

Test(options, two_read_only_disks_may_share_a_file)
{
	cr_assert_eq(parse("--kernel k --disk d,readonly --disk d,readonly=on"), 0);
	cr_assert_eq(parse("--kernel k --disk d,readonly --disk d,readonly=off"), -EINVAL);
}
