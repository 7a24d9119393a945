# SPDX-License-Identifier: Apache-2.0
# The conformance suite (tests/contract) over a kernel device at second hand: the kernel test device behind `sluice serve`, by
# the vfio-user client.
# shellcheck shell=sh disable=SC2034

lab_iommu=none
lab_seconds=240
lab_args='iommufd.allow_unsafe_interrupts=1'

host_before() { contract_program; }

# over KIND: of the kernel test device.
over()
{
	/lab/in/sluice serve --vfio "/sys/devices/platform/vfio-reference-$1.0" --socket /tmp/socket >"/tmp/serve-$1.log" 2>&1 &
	serve=$!
	check "$1: served" wait_for 30 test -S /tmp/socket || { cat "/tmp/serve-$1.log" >&2; kill $serve; return 1; }
	contract user-kernel user:/tmp/socket
	mv /tmp/contract-user-kernel.log "/tmp/contract-$1.log"
	kill $serve
	check "$1: the server ends well" wait $serve
}

job()
{
	check 'load' module vfio-reference || return
	over emulated || return
	over physical || return
	echo 1 >/sys/module/vfio_reference/parameters/teardown
	check 'unload' rmmod vfio-reference
}
