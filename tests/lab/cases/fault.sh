# SPDX-License-Identifier: Apache-2.0
# A device stops decoding its memory behind the guest's back: KVM_RUN fails with EFAULT on what the guest touches there. The guest
# reads ones and goes on, and has its device again when it enables it anew.
# shellcheck shell=sh disable=SC2034

lab_devices='
	pci-testdev,membar=1M,membar-backed=on
'

peek() { guest_do one 'guestdev peek $(guest_bdf 1b36:0005) 2 0x1000' | tail -n 1; }

job()
{
	[ "$lab_vmm" = sluice ] || return 0
	guest_tools guestdev
	check 'bind' bind "$(device 1)" || return
	check 'a guest' guest_start one --vfio "$(device 1)" || return
	same 'its memory is there' "$(peek)" 00000000
	# PCI_COMMAND, without decode and bus mastering.
	check 'decode goes off' /lab/in/tools/vfio-behind "$(guest_pid one)" 4 0
	same 'the guest reads ones' "$(peek)" ffffffff
	same 'and again' "$(peek)" ffffffff
	contains 'it is reported' /tmp/one.log 'stopped decoding'
	same 'once' "$(grep -c 'stopped decoding' /tmp/one.log)" 1
	guest_do one 'd=/sys/bus/pci/devices/$(guest_bdf 1b36:0005); printf "\\000" | dd of=$d/config bs=1 seek=4 conv=notrunc 2>/dev/null; printf "\\002" | dd of=$d/config bs=1 seek=4 conv=notrunc 2>/dev/null'
	same 'and has its memory again' "$(peek)" 00000000
	guest_quit one
	same 'it ended well' "$guest_status" 0
}
