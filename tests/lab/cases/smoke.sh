# SPDX-License-Identifier: Apache-2.0
# The lab itself: the host boots with all that VFIO takes, an NVMe goes to vfio-pci and comes back.
# shellcheck shell=sh disable=SC2034

lab_vmm=none
lab_devices='
	nvme,serial=lab1,drive=@64M
	edu
'

job()
{
	check 'iommufd' test -c /dev/iommu
	check 'KVM' test -c /dev/kvm
	check 'VFIO' test -c /dev/vfio/vfio
	nvme=$(device 1)
	same 'the device has an IOMMU group' "$(basename "$(dirname "$(readlink "$pci/devices/$nvme/iommu_group")")")" iommu_groups

	check 'the disk is there' wait_for 10 test -b /dev/nvme0n1 || return
	same 'it has its mark' "$(head -c 21 /dev/nvme0n1)" 'SLUICE-LAB-DISK disk1'

	check 'bind' bind "$nvme"
	same 'the driver is vfio-pci' "$(driver_of "$nvme")" vfio-pci
	check 'there is a device node' wait_for 10 test -c "$(vfio_node "$nvme")"
	check_fails 'the disk has gone' test -b /dev/nvme0n1

	check 'unbind' unbind "$nvme"
	same 'the driver is nvme again' "$(driver_of "$nvme")" nvme
	check 'the disk is back' wait_for 10 test -b /dev/nvme0n1 || return
	echo 'written in the lab' | dd of=/dev/nvme0n1 bs=512 seek=8 conv=sync,fsync 2>/dev/null

	monitor info version >/tmp/version
	contains "a line to QEMU's monitor" /tmp/version '^11[.]'
	edu=$(device 2)
	monitor device_del dev2
	check 'a device is unplugged through it' wait_for 20 test ! -e "$pci/devices/$edu"

	module mtty
	check 'a module of the lab kernel' test -e /sys/class/mdev_bus/mtty
}

host_after()
{
	same 'what was written is in the image' "$(dd if="$lab_run/disk1.img" bs=512 skip=8 count=1 status=none | head -n 1 | tr -d '\0')" \
		'written in the lab'
}
