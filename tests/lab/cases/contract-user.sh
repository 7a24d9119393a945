# SPDX-License-Identifier: Apache-2.0
# The conformance suite (tests/contract) over a kernel device at second hand: the kernel test device behind `sluice serve`, by
# the vfio-user client.
# shellcheck shell=sh disable=SC2034

lab_iommu=none
lab_seconds=240
lab_args='iommufd.allow_unsafe_interrupts=1'

host_before() { contract_program; }

# serve KIND N: of the kernel test device, on /tmp/socketN; sets serve.
serve()
{
	/lab/in/sluice serve --vfio "/sys/devices/platform/vfio-reference-$1.$2" --socket "/tmp/socket$2" >"/tmp/serve-$1.$2.log" 2>&1 &
	serve=$!
	check "$1 $2: served" wait_for 30 test -S "/tmp/socket$2" || { cat "/tmp/serve-$1.$2.log" >&2; kill $serve; return 1; }
}

# over KIND: two of the kernel test devices, each with a server of its own.
over()
{
	serve "$1" 0 || return
	first=$serve
	serve "$1" 1 || { kill $first; return 1; }
	contract user-kernel user:/tmp/socket0 --other user:/tmp/socket1 --control "/sys/devices/platform/vfio-reference-$1.0/reference"
	mv /tmp/contract-user-kernel.log "/tmp/contract-$1.log"
	kill $first $serve
	check "$1: the server ends well" wait $first
	check "$1: the other server ends well" wait $serve
}

job()
{
	check 'load' module vfio-reference emulated=2 physical=2 || return
	over emulated || return
	over physical || return
	echo 1 >/sys/module/vfio_reference/parameters/teardown
	check 'unload' rmmod vfio-reference
}
