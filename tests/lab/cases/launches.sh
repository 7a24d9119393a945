# SPDX-License-Identifier: Apache-2.0
# Twenty launches with a device, one after another, of which every fifth is killed in the midst: each begins on a host that looks as
# before the first, and nothing is left after the last: no open file, map, pinned page, interrupt, VM or lock. Memory is back when
# the process is over; a launch that comes before, right after the kill, waits for it.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@16M
'
lab_seconds=180
lab_memory=1G

# What a launch could leave behind in the host, in words that are the same before and after.
traces()
{
	echo "processes: $(pidof sluice)"
	echo "holders: $(ls -l /proc/[0-9]*/fd/ 2>/dev/null | grep -E '/dev/(vfio|iommu|kvm)|anon_inode:(kvm|\[vfio|iommufd)|memfd:')"
	echo "pinned: $(awk '/nr_foll_pin_acquired/ { n += $2 } /nr_foll_pin_released/ { n -= $2 } END { print n }' /proc/vmstat)"
	echo "locked: $(awk '/^(Mlocked|Unevictable):/ { print $1 $2 }' /proc/meminfo | tr '\n' ' ')"
	echo "interrupts: $(grep -c vfio /proc/interrupts)"
	echo "VMs: $(ls -d /sys/kernel/debug/kvm/[0-9]* 2>/dev/null)"
	echo "locks: $(cat /proc/locks)"
	echo "device: $(cat "$pci/devices/$nvme/enable" "$pci/devices/$nvme/power_state" | tr '\n' ' ')"
}

# The last references go a moment after the process.
clean() { traces >/tmp/traces.now; cmp -s /tmp/traces.before /tmp/traces.now; }

free_kib() { echo 3 >/proc/sys/vm/drop_caches; awk '/^MemAvailable:/ { print $2 }' /proc/meminfo; }

launch()
{
	if [ $(($1 % 5)) -eq 4 ]; then
		guest_start killed --memory 128M --vfio "$nvme" || return
		kill -9 "$(guest_pid killed)"
		guest_end killed
		return 0
	fi
	guest "launch" 'head -c 21 /dev/nvme0n1; echo' --memory 128M --vfio "$nvme"
	[ "$guest_status" = 0 ] && [ "$vmm_status" = 0 ] && grep -q '^SLUICE-LAB-DISK disk1' "$guest_log" && return
	tail -n 40 "$guest_log"
	echo "launch $1: guest status '$guest_status', VMM's $vmm_status"
	return 1
}

job()
{
	nvme=$(device 1)
	check 'bind' bind "$nvme" || return
	# The first one makes what stays for good: caches of the kernel.
	check 'a launch' launch 0 || return
	traces >/tmp/traces.before
	lacks 'nobody holds anything' /tmp/traces.before '^(processes|holders|VMs|locks): .'
	before=$(free_kib)
	least=$before
	i=1
	while [ $i -le 20 ]; do
		check "launch $i" launch $i || return
		now=$(free_kib)
		[ "$now" -gt "$least" ] || least=$now
		wait_for 20 clean || { diff /tmp/traces.before /tmp/traces.now >/tmp/traces.diff; not_ok "nothing is left of launch $i" 'it differs:' - </tmp/traces.diff; return 1; }
		# Caches of the kernel that stay for good grow with the first few, the killed one among them.
		[ $i -ne 5 ] || before=$(free_kib)
		i=$((i + 1))
	done
	ok 'nothing is left of any'
	after=$(free_kib)
	echo "# available before: $before KiB, after: $after KiB, right after a launch at least $least KiB"
	check 'no launch kept its memory beyond its end' test "$least" -gt $((before - 65536))
	check 'the memory of the host is back' test "$after" -gt $((before - 16384))

	# More than half of what there is: there is no room for two.
	big=$((before * 6 / 10 / 1024))M
	check 'a big guest' guest_start big --memory $big --vfio "$nvme" || return
	kill -9 "$(guest_pid big)"
	guest_ok next 'the next big guest begins while the killed one ends' 'head -c 21 /dev/nvme0n1; echo' --memory $big --vfio "$nvme" -v
	guest_end big
	same 'which was killed' "$vmm_status" 137
	begun=$(uptime_cs)
	guest toomuch true --memory $((before * 2 / 1024))M --vfio "$nvme"
	contains 'what the host never has is refused' "$guest_log" 'MiB are needed at once'
	echo "# refused after $((($(uptime_cs) - begun) * 10)) ms"

	check 'the device goes back to its driver' unbind "$nvme"
	check 'and works there' wait_for 20 test -b /dev/nvme0n1
}
