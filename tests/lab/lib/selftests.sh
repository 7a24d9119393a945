# SPDX-License-Identifier: Apache-2.0
# For cases that run the kernel's own tests of VFIO (setup/setup selftests): their tests become checks of the case.
# shellcheck shell=sh

# selftest WHAT PROGRAM BDF SKIPPED [OPTIONS...]: run one program over a device. Every test of it is a check; the program must end
# well and pass over exactly SKIPPED tests.
selftest()
{
	selftest_what=$1 selftest_program=$2 selftest_bdf=$3 selftest_skipped=$4
	shift 4
	selftest_log=/tmp/$selftest_program-$selftest_what.log
	selftest_begun=$(uptime_cs)
	/lab/in/selftests/"$selftest_program" "$@" "$selftest_bdf" >"$selftest_log" 2>&1
	selftest_status=$?
	result "# $selftest_program on $selftest_what: $((($(uptime_cs) - selftest_begun) / 100)) s"
	# "ok 3 fixture.variant.test", and "# SKIP why" behind what the device has not.
	grep -E '^(not )?ok [0-9]+ ' "$selftest_log" | grep -v '# SKIP' |
		sed -E "s/ok [0-9]+ /ok $selftest_what: /" | tee -a /lab/out/results
	same "$selftest_program on $selftest_what: passed over" "$(grep -c '^ok .*# SKIP' "$selftest_log")" "$selftest_skipped"
	if [ "$selftest_status" -eq 0 ]; then
		ok "$selftest_program on $selftest_what ended well"
	else
		not_ok "$selftest_program on $selftest_what ended well" "status $selftest_status; it printed:" - <"$selftest_log"
	fi
}

# selftest_warnings: the kernel may log the faults that the tests make, but nothing else.
selftest_warnings()
{
	dmesg >/tmp/selftests-dmesg.log
	lacks 'the kernel has nothing else to complain of' /tmp/selftests-dmesg.log \
		'WARNING:|BUG:|Oops|general protection|Call Trace|refcount_t|UBSAN'
}
