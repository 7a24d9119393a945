# SPDX-License-Identifier: Apache-2.0
# The conformance suite (tests/contract) over the kernel provider: mtty, the kernel's sample mdev, with all migration states.
# shellcheck shell=sh disable=SC2034

lab_vmm=none

host_before() { contract_program; }

job()
{
	module mtty
	uuid=83b8f4f2-509f-382f-3c1e-e6bfe0fa100
	for n in 1 2; do
		echo $uuid$n >/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create
	done
	contract mtty /sys/bus/mdev/devices/${uuid}1 --other /sys/bus/mdev/devices/${uuid}2
}
