# SPDX-License-Identifier: Apache-2.0
# What it costs to attach an NVMe, in sluice and in QEMU: system calls, the work outside of them, and all of it. The clock is the
# lab host's count of instructions: what else the machine does meanwhile changes nothing.
# shellcheck shell=sh disable=SC2034,SC2154,SC3043

lab_devices='
	nvme,serial=lab1,drive=@64M
'
lab_seconds=900
lab_clock=instructions
lab_memory=3G

host_before() { cp "$bench_work/stop" "$bench_work/calls" "$lab_run/in/"; }

# traced VMM MEMORY: one launch up to its first instruction. exec_vmm becomes "calls VMM ...".
traced()
{
	lab_vmm=$1
	(
		guest_seconds=''
		guest_trace=/lab/in/calls exec_vmm '' --vfio "$nvme" --memory "$2"
	) </dev/null >"/tmp/$1-$2.log" 2>&1
}

job()
{
	nvme=$(device 1)
	check 'bind' bind "$nvme" || return
	# A kernel without contents: loading one is not part of attaching.
	guest_kernel=/lab/in/stop
	# One behind the other, so that what the lab host has become since its boot is the same for both.
	for round in 0 1 2 3; do
		for memory in 256M 1G; do
			for vmm in sluice qemu; do
				traced "$vmm" "$memory" || { check "$vmm with $memory, round $round" cat "/tmp/$vmm-$memory.log"; }
				# The first of each meets cold caches.
				[ "$round" -eq 0 ] || sed "s/^/$vmm $memory /" "/tmp/$vmm-$memory.log" >>/lab/out/calls
			done
		done
	done
	check 'all rounds were counted' test "$(grep -c total_us /lab/out/calls)" -eq 12
}

# The median of the three rounds; the counts are the same in all.
host_after()
{
	local vmm memory name

	for vmm in sluice qemu; do
		for memory in 256M 1G; do
			for name in map bind reset outside_us total_us calls; do
				printf '%s_%s_%s %s\n' "$vmm" "$memory" "$name" "$(awk -v v="$vmm" -v m="$memory" -v n="$name" \
					'$1 == v && $2 == m && $3 == n { print $4 }' "$lab_run/out/calls" | sort -n | sed -n 2p)"
			done
		done
	done >>"$bench_work/figures"
	cp "$lab_run/out/calls" "$bench_work/calls.txt"
}
