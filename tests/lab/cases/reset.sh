# SPDX-License-Identifier: Apache-2.0
# Resets: function level by the guest, of both functions of a slot by their bus, and of the machine.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@16M
	nvme,serial=lab2,drive=@16M
	+nvme,serial=lab3,drive=@16M
	edu
	+edu
'

job()
{
	flr=$(device 1)
	first=$(device 2 0) second=$(device 2 1)
	hot=$(device 3 0) hot2=$(device 3 1)
	for bdf in "$flr" "$first" "$second" "$hot" "$hot2"; do
		check "bind $bdf" bind "$bdf" || return
	done

	guest_ok flr 'the guest resets a function; it works afterwards' '
		cd /sys/class/nvme/nvme0/device
		cat reset_method
		echo flr >reset_method && echo 1 >reset || exit 1
		i=0; until head -c 21 /dev/nvme0n1 2>/dev/null; do i=$((i+1)); [ $i -lt 300 ] || exit 1; usleep 100000; done
		echo; grep nvme0q0 /proc/interrupts
	' --vfio "$flr"
	contains 'the same disk' "$guest_log" '^SLUICE-LAB-DISK disk1'

	# The table of vectors lies behind the registers of BAR 0, in a page that is trapped.
	guest_tools guestdev
	guest_ok faults 'a trapped access right after an exception is made' '
		d=$(basename "$(readlink -f /sys/class/nvme/nvme0/device)")
		echo "$d" >/sys/bus/pci/drivers/nvme/unbind
		guestdev faults "$d" 0 0x2000
	' --vfio "$flr"
	guest_more_initrd=""

	# Linux itself does not reset a bus with several functions on it: out with them, the port's secondary bus reset bit, back in.
	guest_ok slot 'two functions of one slot, reset by their bus' '
		ls /dev/nvme0n1 /dev/nvme1n1 || exit 1
		d=$(readlink -f /sys/class/nvme/nvme0/device)
		port=$(dirname "$d")
		for e in "$port"/0000:*:00.1 "$port"/0000:*:00.0; do echo 1 >"$e/remove"; done
		control=$(dd if="$port/config" bs=1 skip=62 count=1 2>/dev/null | hexdump -e "1/1 \"%d\"")
		for bit in 64 0; do
			printf "\\$(printf %03o $(((control & ~64) | bit)))" | dd of="$port/config" bs=1 seek=62 count=1 conv=notrunc 2>/dev/null
			usleep 100000
		done
		echo 1 >/sys/bus/pci/rescan
		i=0; until [ -b /dev/nvme0n1 ] && [ -b /dev/nvme1n1 ]; do i=$((i+1)); [ $i -lt 300 ] || exit 1; usleep 100000; done
		head -c 21 /dev/nvme0n1; echo; head -c 21 /dev/nvme1n1; echo
	' -v --vfio "$first,addr=5.0" --vfio "$second,addr=5.1"
	contains 'both are back' "$guest_log" '^SLUICE-LAB-DISK disk3'

	# Functions without any reset of their own: only the hot reset of their slot is left.
	guest_ok hot 'two functions that only their slot can reset' '
		port=$(dirname "$(readlink -f /sys/bus/pci/devices/0000:01:00.0)")
		control=$(dd if="$port/config" bs=1 skip=62 count=1 2>/dev/null | hexdump -e "1/1 \"%d\"")
		for bit in 64 0; do
			printf "\\$(printf %03o $(((control & ~64) | bit)))" | dd of="$port/config" bs=1 seek=62 count=1 conv=notrunc 2>/dev/null
			usleep 200000
		done
	' -vv --vfio "$hot,addr=6.0" --vfio "$hot2,addr=6.1"
	contains 'by the hot reset of the slot' "$guest_log" 'reset.*hot'

	guest reboot '
		if grep -q "booted=2" /proc/cmdline || [ -e /tmp/x ]; then exit 0; fi
		head -c 21 /dev/nvme0n1; echo
		reboot -f
	' --vfio "$flr"
	same 'a guest that resets ends with status 3' "$vmm_status" 3

	# The serial number of the boot is on the disk: the second time round the guest is content.
	guest_ok again 'with --on-reset reboot it boots again, device and all' '
		n=$(dd if=/dev/nvme0n1 bs=512 skip=8 count=1 2>/dev/null | tr -dc 0-9)
		echo "boot ${n:-0}"
		[ "$n" != 2 ] || exit 0
		echo $((${n:-0} + 1)) | dd of=/dev/nvme0n1 bs=512 seek=8 conv=sync,fsync 2>/dev/null
		reboot -f
	' --vfio "$flr" --on-reset reboot
	contains 'three boots' "$guest_log" '^boot 2'
}
