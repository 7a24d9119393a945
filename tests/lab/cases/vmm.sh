# SPDX-License-Identifier: Apache-2.0
# The lab's way with guests: one runs a command and its status comes out, another takes commands one by one. In QEMU,
# so that this also tells whether the lab or sluice is at fault.
# shellcheck shell=sh disable=SC2034

lab_vmm=qemu
lab_devices='
	nvme,serial=lab1,drive=@64M
	igb
'

job()
{
	nvme=$(device 1)
	check 'bind the NVMe' bind "$nvme" || return
	check 'bind the igb' bind "$(device 2)" || return

	guest_ok nvme 'a guest writes to a passed-through NVMe' '
		head -c 21 /dev/nvme0n1; echo
		grep nvme0q /proc/interrupts
		echo "written by a guest" | dd of=/dev/nvme0n1 bs=512 seek=8 conv=sync,fsync
	' --vfio "$nvme"
	contains 'it read the mark' "$guest_log" '^SLUICE-LAB-DISK disk1'
	contains 'by interrupts' "$guest_log" 'MSIX.*nvme0q0'

	guest status 'exit 42'
	same "a command's status comes out" "$guest_status" 42
	same 'and is no failure of the VMM' "$vmm_status" 0

	check 'a guest with two devices and two processors' guest_start two --vfio "$nvme" --vfio "$(device 2)" --memory 512M --cpus 2 || return
	same 'it takes commands: it has two processors' "$(guest_do two nproc)" 2
	check 'the NVMe is in its guest' guest_do two 'test -b /dev/nvme0n1'
	check 'so is the network card' guest_do two 'test -e /sys/class/net/eth0'
	check_fails 'a failure is one' guest_do two false
	guest_quit two
	same 'it ended well' "$guest_status" 0
}

host_after()
{
	same 'what the guest wrote is in the image' "$(dd if="$lab_run/disk1.img" bs=512 skip=8 count=1 status=none | head -n 1 | tr -d '\0')" \
		'written by a guest'
}
