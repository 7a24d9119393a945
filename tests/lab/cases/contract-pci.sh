# SPDX-License-Identifier: Apache-2.0
# The conformance suite (tests/contract) over the kernel provider: QEMU's NVMe and igb behind vfio-pci.
# shellcheck shell=sh disable=SC2034

lab_vmm=none
lab_seconds=240
lab_devices='
	nvme,serial=lab1,drive=@16M
	igb,romfile=
'

host_before() { contract_program; }

job()
{
	nvme=$(device 1) igb=$(device 2)
	check 'bind the NVMe' bind "$nvme" || return
	check 'bind the igb' bind "$igb" || return
	contract nvme "$nvme" --other "$igb"
	contract igb "$igb" --other "$nvme"
}
