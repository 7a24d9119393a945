# SPDX-License-Identifier: Apache-2.0
# Guests with the kernel test device, as an emulated one and as one behind an IOMMU: to a shell, 100 MiB by DMA with checksums and
# MSI-X, two processors.
# shellcheck shell=sh disable=SC2034

lab_iommu=none
lab_seconds=240
# Its software IOMMU has no interrupts to translate.
lab_args='iommufd.allow_unsafe_interrupts=1'

job()
{
	. /lab/in/lib/refdev.sh
	check 'the test device' module vfio-reference emulated=1 physical=1 || return
	for kind in emulated physical; do
		node=/dev/vfio/devices/$(basename /sys/devices/platform/vfio-reference-$kind.0/vfio-dev/vfio*)
		refdev_guest $kind --vfio "$node"
		guest_quit $kind
		same "$kind: it ended well" "$guest_status" 0
	done
	echo 1 >/sys/module/vfio_reference/parameters/teardown
	check 'nothing is left of it' rmmod vfio-reference
}
