# SPDX-License-Identifier: Apache-2.0
# The machine without passed-through devices: processors, memory, disks, network, serial line, power, reset.
# shellcheck shell=sh disable=SC2034

lab_devices=''
lab_seconds=400

job()
{
	for file in vmlinux bzImage; do
		guest_kernel=/lab/in/$file
		guest_ok "$file" "$file boots, and has nothing to complain of" '
			dmesg -r | grep -E "^<[0-4]>" | grep -viE "kvm_(intel|amd)|x86/cpu|TSC_DEADLINE|spec|mitigation|RETBleed"
			cat /sys/devices/system/clocksource/clocksource0/current_clocksource
		'
		contains "$file: its clock is KVM's or the TSC" "$guest_log" '^(kvm-clock|tsc)'
		lacks "$file: no warning" "$guest_log" '^<[0-4]>'
	done
	guest_kernel=/lab/in/vmlinux

	truncate -s 32M /tmp/disk.img /tmp/ro.img
	ip link show tap0 >/dev/null 2>&1 || { tunctl -t tap0 >/dev/null 2>&1 || ip tuntap add dev tap0 mode tap; }
	ip address add 10.9.9.1/24 dev tap0
	ip link set tap0 up
	guest_ok devices 'processors, memory, disks, network, entropy' '
		[ "$(nproc)" = 2 ] || exit 10
		[ "$(awk "/MemTotal/ { print int(\$2 / 1024) }" /proc/meminfo)" -gt 400 ] || exit 11
		echo "written by a guest" | dd of=/dev/vda bs=512 seek=3 conv=sync,fsync 2>/dev/null || exit 12
		blkdiscard /dev/vda -o 1048576 -l 1048576 2>/dev/null
		echo x | dd of=/dev/vdb bs=512 conv=sync,fsync 2>/dev/null && exit 13
		ip link set eth0 up && ip address add 10.9.9.2/24 dev eth0 && ping -c 3 -A -w 30 10.9.9.1 || exit 14
		cat /sys/class/net/eth0/address
		head -c 16 /dev/hwrng | wc -c
	' --cpus 2 --memory 512M --disk path=/tmp/disk.img --disk path=/tmp/ro.img,readonly --net tap=tap0,mac=52:54:00:12:34:56
	contains 'the hardware address is the one given' "$guest_log" '^52:54:00:12:34:56'
	contains 'entropy flows' "$guest_log" '^16'
	same 'what it wrote is in the file' "$(dd if=/tmp/disk.img bs=512 skip=3 count=1 2>/dev/null | tr -d '\0')" 'written by a guest'

	guest_ok high 'more memory than fits below 4 GiB, on demand' '
		[ "$(awk "/MemTotal/ { print int(\$2 / 1048576) }" /proc/meminfo)" -ge 4 ]' --memory 5G

	check 'a guest to be ended' guest_start button
	kill -TERM "$(guest_pid button)"
	guest_end button
	same 'SIGTERM is the power button: an orderly end' "$vmm_status" 0

	check 'a guest that does not listen' guest_start deaf
	guest_do deaf 'killall acpid; trap "" USR1 USR2 TERM; true'
	kill -USR1 "$(guest_pid deaf)"
	kill -TERM "$(guest_pid deaf)"
	usleep 100000
	kill -TERM "$(guest_pid deaf)"
	guest_end deaf
	check 'a second SIGTERM ends it' test "$vmm_status" -ne 137

	guest reset 'reboot -f'
	same 'reset: status 3' "$vmm_status" 3
	guest panic 'echo 1 >/proc/sys/kernel/panic_on_oops; echo c >/proc/sysrq-trigger'
	same 'a panic: status 4' "$vmm_status" 4
	guest own 'exit 77'
	same 'a status of its own' "$guest_status" 77

	run=$(printf 'echo to-the-file' | base64)
	timeout -s KILL 90 /lab/in/sluice run --kernel "$guest_kernel" --initrd "$guest_initrd" --cmdline "$guest_cmdline run=$run" \
		--serial file=/tmp/serial.txt </dev/null >/tmp/quiet.log 2>&1
	same 'the serial line can be a file' "$(grep -c to-the-file /tmp/serial.txt)" 1
	same 'a healthy boot says nothing itself' "$(wc -c </tmp/quiet.log)" 0
}
