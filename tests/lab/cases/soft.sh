# SPDX-License-Identifier: Apache-2.0
# Guests with a device that sluice makes: to a shell, 100 MiB by DMA with checksums and MSI-X, two processors; the same with no
# memory mapped; and one that is taken away while the guest works with it. No IOMMU, no device of the host.
# shellcheck shell=sh disable=SC2034

lab_devices=''
lab_iommu=none
lab_seconds=400

job()
{
	. /lab/in/lib/refdev.sh
	mv /dev/iommu /dev/iommu.away
	guest_tools guestdev
	refdev_guest soft --vfio soft:reference
	refdev_rings soft
	same 'nothing of VFIO is open' "$(readlink /proc/"$(guest_pid soft)"/fd/* | grep -c -e iommu -e vfio)" 0
	same 'the memory of the guest is not pinned' \
		"$(awk '/^VmPin/ { print $2 }' "/proc/$(guest_pid soft)/status")" 0
	guest_quit soft
	same 'it ended well' "$guest_status" 0

	# 40 requests in: the driver has it, and is told by nothing but ones.
	check 'a guest with two devices' guest_start away --vfio soft:reference,id=a,mmap=off,remove-after=40 \
		--vfio soft:reference,id=b || return
	check 'one of them goes while it is used' guest_do away 'i=0; while refdev copy 64k 4k; do i=$((i + 1)); [ $i -lt 20 ] || exit 1; done; true'
	contains 'sluice says so' /tmp/away.log 'vfio a: the device was taken away'
	check 'the guest lives, and has one device' guest_do away \
		'for i in 1 2 3 4 5 6 7 8 9 10; do [ $(ls /sys/bus/pci/drivers/refdev | grep -c ^0000) = 1 ] && break; sleep 1; done;
		[ $(ls /sys/bus/pci/drivers/refdev | grep -c ^0000) = 1 ]'
	guest_quit away
	same 'and it ended well' "$guest_status" 0
	mv /dev/iommu.away /dev/iommu
}
