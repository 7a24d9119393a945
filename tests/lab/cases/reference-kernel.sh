# SPDX-License-Identifier: Apache-2.0
# The kernel test device (tests/lab/modules/vfio-reference) beyond the contract: what the kernel's selftests see of other devices, its
# IOMMU's dirty tracking and page requests, the faults it injects, INTx, revoked mappings, the legacy group. The contract itself: case contract-reference.
# shellcheck shell=sh disable=SC2034

lab_vmm=none
lab_iommu=none
# Its software IOMMU has no interrupts to translate.
lab_args='iommufd.allow_unsafe_interrupts=1'

# passes NAME TOOL DEVICE [OTHER]: the tool's own checks are checks of the case.
passes()
{
	"/lab/in/tools/$2" "/sys/devices/platform/$3" ${4:+"/sys/devices/platform/$4"} >/tmp/passes.out 2>&1
	passes_status=$?
	sed -n "s/^\(not \)*ok /&$1: /p" /tmp/passes.out | tee -a /lab/out/results
	same "$1: status" "$passes_status" 0
}

job()
{
	check 'load' module vfio-reference emulated=2 physical=2 || return
	same 'four devices' "$(find /sys/devices/platform/vfio-reference-* -name 'vfio[0-9]*' | wc -l)" 4
	same 'four nodes' "$(find /dev/vfio/devices -name 'vfio*' | wc -l)" 4

	echo 2 >/proc/sys/vm/nr_hugepages
	for kind in physical emulated; do
		passes "maps, $kind" reference-maps vfio-reference-$kind.0 vfio-reference-$kind.1
	done
	passes 'IOMMU' reference-iommu vfio-reference-physical.0
	passes 'physical' reference-faults vfio-reference-physical.1
	passes 'emulated' reference-faults vfio-reference-emulated.1

	check_fails 'the IOMMU keeps the module' rmmod vfio-reference
	echo 1 >/sys/module/vfio_reference/parameters/teardown
	same 'no nodes' "$(find /dev/vfio/devices -name 'vfio*' | wc -l)" 0
	check 'unload' rmmod vfio-reference
}
