# SPDX-License-Identifier: Apache-2.0
# The exits of a Linux boot with a passed-through NVMe, in sluice and in QEMU, as KVM counts them.
# shellcheck shell=sh disable=SC2034,SC2154,SC3043

lab_devices='
	nvme,serial=lab1,drive=@64M
'
lab_seconds=240

host_before() { cp "$bench_work/stop" "$lab_run/in/stop"; }

# count NAME STATISTIC... of a guest, added up
count()
{
	count_of=$1
	shift
	for count_name in "$@"; do
		cat "/sys/kernel/debug/kvm/$(guest_pid "$count_of")"-*/"$count_name"
	done | awk '{ n += $1 } END { print n }'
}

# measure NAME: start a guest of that name, whose last words are "@end", and write down how many exits it took.
measure()
{
	guest_log=/tmp/$1.log
	# It stays up for a while: KVM's statistics go with the VMM.
	guest_start_vmm "$1" 'head -c 21 /dev/nvme0n1; echo; echo @end; sleep 1000' --vfio "$nvme" --memory 512M
	guest_expect "$1" '@end' || { tail -n 20 "$guest_log"; return 1; }
	figure "$1_exits" "$(count "$1" exits)"
	figure "$1_user_exits" "$(count "$1" mmio_exits io_exits)"
	kill -KILL "$(guest_pid "$1")"
	wait "$(guest_pid "$1")" 2>/dev/null || true
	cp "$guest_log" "/lab/out/guest-$1.log"
}

figure() { echo "$*" >>/lab/out/figures; }

job()
{
	nvme=$(device 1)
	check 'bind' bind "$nvme" || return

	check 'a boot in sluice' measure sluice || return
	contains 'with the disk' "$guest_log" 'SLUICE-LAB-DISK disk1' || return
	lab_vmm=qemu
	check 'a boot in QEMU' measure qemu || return
	contains 'with the disk' "$guest_log" 'SLUICE-LAB-DISK disk1' || return
	# The same machine with a kernel that stops at once: what is left is QEMU's firmware.
	guest_kernel=/lab/in/stop
	check "QEMU's firmware alone" measure firmware
}

host_after() { cat "$lab_run/out/figures" >>"$bench_work/figures"; }
