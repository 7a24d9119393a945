# SPDX-License-Identifier: Apache-2.0
# One device writes into another's BAR by DMA: the NVMe puts its Identify data there. After memory decode was off, after a function
# level reset and after one of the bus it does so again; what cannot be reached is seen in the state, and the guest lives.
# shellcheck shell=sh disable=SC2010,SC2034,SC2154

lab_want_warnings=yes # what p2p=off stops, the IOMMU reports
lab_devices='
	nvme,serial=peer1,drive=@16M
	pci-testdev,membar=16M,membar-backed=on
	nvme,serial=target,drive=@16M,cmb_size_mb=4
'
# The test device's IOMMU has no interrupts to translate.
lab_args='iommufd.allow_unsafe_interrupts=1'

# Programs of the guests. "transfer OFFSET" is a write into BAR 2 of the device that /tmp/target names; the serial number ("peer",
# little-endian) is at byte 4 of the data. Offsets differ: what an earlier one left is no success.
programs()
{
	guest_tools guestdev
	cat >/tmp/tools/bin/transfer <<-'END'
		#!/bin/sh
		d=$(cat /tmp/target)
		bar=$(sed -n 3p /sys/bus/pci/devices/$d/resource | cut -d" " -f1)
		[ "$(guestdev peek $d 2 $(($1 + 4)))" != 72656570 ] || exit 1
		guestdev identify $(guest_bdf 1b36:0010) $((bar + $1)) >/dev/null
		guestdev peek $d 2 $(($1 + 4))
	END
	# target VENDOR:DEVICE N: without a driver, and decoding.
	cat >/tmp/tools/bin/target <<-'END'
		#!/bin/sh
		d=$(guest_bdf "$@")
		[ ! -e /sys/bus/pci/devices/$d/driver ] || echo $d >/sys/bus/pci/devices/$d/driver/unbind
		echo 1 >/sys/bus/pci/devices/$d/enable && echo $d >/tmp/target
	END
	# decode COMMAND: the command register's low byte, 2 for memory.
	cat >/tmp/tools/bin/decode <<-'END'
		#!/bin/sh
		printf "\\$1" | dd of=/sys/bus/pci/devices/$(cat /tmp/target)/config bs=1 seek=4 count=1 conv=notrunc 2>/dev/null
	END
	# reset_by METHOD
	cat >/tmp/tools/bin/reset_by <<-'END'
		#!/bin/sh
		cd /sys/bus/pci/devices/$(cat /tmp/target) && echo $1 >reset_method && echo 1 >reset
	END
	chmod +x /tmp/tools/bin/*
	(cd /tmp/tools && find . | cpio -o -H newc 2>/dev/null) >/tmp/tools.cpio
}

# states GUEST DEVICE: what its state says of each area of each BAR, for the Nth device from 0.
states()
{
	states_before=$(grep -c 'state {' "/tmp/$1.log")
	kill -USR1 "$(guest_pid "$1")"
	wait_for 20 states_came "$1" "$states_before" || return
	sed -n 's/.*state {/{/p' "/tmp/$1.log" | tail -n 1 | tr -d '\r' >/tmp/state.json
	for bar in 0 1 2 3 4 5; do
		area=0
		while /lab/in/tools/json-get devices "$2" bars $bar areas $area p2p </tmp/state.json; do area=$((area + 1)); done
	done 2>/dev/null
}

states_came() { [ "$(grep -c 'state {' "/tmp/$1.log")" -gt "$2" ]; }

# dma_bufs GUEST: how many its VMM has open.
dma_bufs() { ls -l "/proc/$(guest_pid "$1")/fd" | grep -c dmabuf; }

# arrives GUEST WHEN OFFSET
arrives() { same "data arrive $2" "$(guest_do "$1" "transfer $3")" 72656570; }

job()
{
	programs
	for n in 1 2 3; do
		check "bind device $n" bind "$(device $n)" || return
	done

	check 'a guest' guest_start p2p --vfio "$(device 1)" --vfio "$(device 2)" || return
	guest_do p2p 'target 1b36:0005'
	arrives p2p 'from device to device' 0x1000
	same 'each area of its BARs is mapped' "$(states p2p 1 | sort -u)" '"mapped"'
	same 'by a DMA buffer of its own' "$(dma_bufs p2p)" $(($(states p2p 0 | wc -l) + $(states p2p 1 | wc -l)))
	buffers=$(dma_bufs p2p)
	guest_do p2p 'decode 0'
	same 'without memory decode none is' "$(states p2p 1 | sort -u)" '"not mapped"'
	guest_do p2p 'decode 2'
	same 'with it all are' "$(states p2p 1 | sort -u)" '"mapped"'
	same 'by the same buffers' "$(dma_bufs p2p)" "$buffers"
	arrives p2p 'after decode was off and on' 0x3000
	guest_quit p2p
	same 'it ended well' "$guest_status" 0

	check 'a guest with a target that can be reset' guest_start reset --vfio "$(device 1)" --vfio "$(device 3)" || return
	guest_do reset 'target 1b36:0010 2'
	arrives reset 'before a reset' 0x1000
	check 'a function level reset' guest_do reset 'reset_by flr'
	arrives reset 'after it' 0x3000
	check 'a reset of the bus' guest_do reset 'reset_by bus'
	arrives reset 'after that' 0x5000
	states reset 1 >/tmp/after
	same 'all of it is mapped' "$(sort -u /tmp/after)" '"mapped"'
	guest_quit reset
	same 'it ended well' "$guest_status" 0

	# A device of another driver than vfio-pci exports no DMA buffer.
	check 'the test device' module vfio-reference emulated=1 || return
	node=/dev/vfio/devices/$(basename /sys/devices/platform/vfio-reference-emulated.0/vfio-dev/vfio*)
	check 'a guest with a device that others cannot reach' guest_start alone --vfio "$(device 1)" --vfio "$node,p2p=on" || return
	contains 'it is said' /tmp/alone.log 'BAR [0-9] cannot be reached by other devices: export as dma-buf'
	same 'and seen' "$(states alone 1 | sort -u)" '"export as dma-buf"'
	same 'the other one works' "$(guest_do alone 'head -c 21 /dev/nvme0n1; echo')" 'SLUICE-LAB-DISK disk1'
	guest_quit alone
	same 'it ended well' "$guest_status" 0

	guest off 'target 1b36:0005; transfer 0x7000' --vfio "$(device 1),p2p=off" --vfio "$(device 2),p2p=off"
	lacks 'with p2p=off nothing arrives' "$guest_log" '^72656570'
	contains 'though it was tried' "$guest_log" '^[0-9a-f]{8}'
}
