# SPDX-License-Identifier: Apache-2.0
# The kernel test device (tests/lab/modules/vfio-reference): the reference device behind the kernel's VFIO core, without an
# IOMMU and behind one.
# shellcheck shell=sh disable=SC2034

lab_vmm=none
lab_iommu=none
# Its software IOMMU has no interrupts to translate.
lab_args='iommufd.allow_unsafe_interrupts=1'

job()
{
	check 'load' module vfio-reference emulated=2 physical=2 || return
	same 'four devices' "$(ls -d /sys/devices/platform/vfio-reference-*/vfio-dev/vfio* | wc -l)" 4
	same 'four nodes' "$(ls /dev/vfio/devices | wc -l)" 4
	check_fails 'the IOMMU keeps the module' rmmod vfio-reference
	echo 1 >/sys/module/vfio_reference/parameters/teardown
	same 'no nodes' "$(ls /dev/vfio/devices | wc -l)" 0
	check 'unload' rmmod vfio-reference
}
