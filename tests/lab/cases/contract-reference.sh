# SPDX-License-Identifier: Apache-2.0
# The conformance suite (tests/contract) over the kernel provider: the kernel test device, without an IOMMU and behind one.
# shellcheck shell=sh disable=SC2034

lab_vmm=none
lab_iommu=none
lab_seconds=240
# The software IOMMU translates no interrupts: there are none to translate.
lab_args='iommufd.allow_unsafe_interrupts=1'

host_before() { contract_program; }

job()
{
	check 'load' module vfio-reference emulated=2 physical=2 shared_sets=1 || return
	for kind in emulated physical; do
		contract kernel-$kind /sys/devices/platform/vfio-reference-$kind.0 --other /sys/devices/platform/vfio-reference-$kind.1
	done
	echo 1 >/sys/module/vfio_reference/parameters/teardown
	check 'unload' rmmod vfio-reference
}
