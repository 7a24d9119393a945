# SPDX-License-Identifier: Apache-2.0
# One device writes into the other's BAR by DMA: the NVMe puts its Identify data there.
# shellcheck shell=sh disable=SC2034

lab_want_warnings=yes # what p2p=off stops, the IOMMU reports
lab_devices='
	nvme,serial=peer1,drive=@16M
	pci-testdev,membar=16M,membar-backed=on
	nvme,serial=target,drive=@16M,cmb_size_mb=4,legacy-cmb=on
'

# In the guest: Identify into BAR 2 of the other device, which holds the serial number at byte 4 afterwards.
transfer='
	d=$(guest_bdf 1b36:0005)
	echo 1 >/sys/bus/pci/devices/$d/enable
	bar=$(sed -n 3p /sys/bus/pci/devices/$d/resource | cut -d" " -f1)
	guestdev bar $d 2 0x1000 >/dev/null || exit 1
	guestdev identify $(guest_bdf 1b36:0010) $((bar + 0x1000)) && guestdev peek $d 2 0x1004
'

# The same into the memory buffer of another NVMe, which has a function level reset, before and after one.
reset='
	d=$(guest_bdf 1b36:0010 2)
	cd /sys/bus/pci/devices/$d
	echo $d >driver/unbind
	echo 1 >enable
	bar=$(sed -n 3p resource | cut -d" " -f1)
	guestdev identify $(guest_bdf 1b36:0010) $((bar + 0x1000)) && guestdev peek $d 2 0x1004 || exit 1
	echo flr >reset_method && echo 1 >reset || exit 1
	echo "after the reset"
	guestdev identify $(guest_bdf 1b36:0010) $((bar + 0x2000)) && guestdev peek $d 2 0x2004
'

job()
{
	guest_tools guestdev
	check 'bind the NVMe' bind "$(device 1)" || return
	check 'bind the other' bind "$(device 2)" || return

	guest_ok p2p 'DMA from device to device' "$transfer" --vfio "$(device 1)" --vfio "$(device 2)"
	contains 'the data are there' "$guest_log" '^72656570' # "peer", little-endian

	check 'a guest for more' guest_start more --vfio "$(device 1)" --vfio "$(device 2)" || return
	check 'after decode was off and on' guest_do more "$(echo "$transfer" | tr '\n' ';' | sed 's/^;//; s/;\t/; /g; s/;$//') >/tmp/first; echo 0 >/sys/bus/pci/devices/\$d/enable; $(echo "$transfer" | tr '\n' ';' | sed 's/^;//; s/;$//')"
	guest_quit more

	check 'bind the third' bind "$(device 3)" || return
	guest_ok flr 'the target is reset by its function' "$reset" --vfio "$(device 1)" --vfio "$(device 3)"
	same 'data arrive before and after' "$(grep -xE '72656570|after the reset' "$guest_log" | tr '\n' ' ')" '72656570 after the reset 72656570 '

	guest off "$transfer" --vfio "$(device 1),p2p=off" --vfio "$(device 2),p2p=off"
	lacks 'with p2p=off nothing arrives' "$guest_log" '^72656570'
}
