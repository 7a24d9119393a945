# SPDX-License-Identifier: Apache-2.0
# How the machine starts and ends: what its ACPI tables and processors look like to Linux, several initrds, the signals,
# power-off, reboot in place.
# shellcheck shell=sh disable=SC2034

lab_devices=''
lab_seconds=300

job()
{
	guest_ok pvh 'vmlinux comes to a shell by its PVH note' '
		dmesg | grep -i -e acpi -e clocksource -e pci | grep -v "report a bug"
		grep -q kvm-clock /sys/devices/system/clocksource/clocksource0/current_clocksource &&
		test "$(nproc)" = 1'
	contains 'ACPI: the guest may run hotplug and errors itself' "$guest_log" '_OSC: OS now controls \[PCIeHotplug PME AER PCIeCapability'
	contains 'ACPI: the ECAM is used' "$guest_log" 'ECAM .*e0000000'
	lacks 'ACPI: nothing is amiss' "$guest_log" '(ACPI|PCI).*([Ee]rror|BUG|bug|[Ww]arn|conflict|can.t)'

	guest_kernel=/lab/in/bzImage
	guest_tools tsc-khz
	guest_ok bzimage 'a bzImage with two initrds, three processors and memory above 4 GiB' '
		nproc; free -m; cat /proc/iomem; ls /bin/tsc-khz &&
		test "$(nproc)" = 3 && test "$(grep -c "^cpu cores.*: 3" /proc/cpuinfo)" = 3 &&
		test "$(sort -u /sys/devices/system/cpu/cpu?/topology/core_id | wc -l)" = 3 &&
		test "$(sort -u /sys/devices/system/cpu/cpu?/topology/physical_package_id | wc -l)" = 1 &&
		grep -q "^100000000-13fffffff : System RAM" /proc/iomem' \
		--cpus 3 --memory 3G
	guest_kernel=/lab/in/vmlinux
	guest_more_initrd=''

	check 'a guest that does not mind the power button' guest_start deaf || return
	guest_do deaf 'killall acpid; true'
	kill -TERM "$(guest_pid deaf)"
	usleep 300000
	check 'one SIGTERM leaves it alone' guest_do deaf true
	kill -USR1 "$(guest_pid deaf)"
	check 'SIGUSR1 writes the state' guest_expect deaf 'state \{.*"devices":\[' 10
	kill -TERM "$(guest_pid deaf)"
	guest_end deaf
	same 'a second ends it' "$vmm_status" 0

	guest off 'poweroff -f'
	same 'power-off is exit status 0' "$vmm_status" 0
	same 'and no status of the guest' "$guest_status" ''

	truncate -s 1M /tmp/disk
	printf 'boot 1' | dd of=/tmp/disk conv=notrunc 2>/dev/null
	guest_ok reboot 'a guest reboots in place, twice, with two processors and its disk' '
		boot=$(head -c 6 /dev/vda); echo "$boot"; nproc
		case $boot in
		"boot 1") printf "boot 2" | dd of=/dev/vda conv=fsync && reboot -f ;;
		"boot 2") printf "boot 3" | dd of=/dev/vda conv=fsync && reboot -f ;;
		"boot 3") test "$(nproc)" = 2 ;;
		esac' \
		--cpus 2 --disk /tmp/disk --on-reset reboot
}
