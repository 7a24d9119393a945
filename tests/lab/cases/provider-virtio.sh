# SPDX-License-Identifier: Apache-2.0
# The kernel provider behind an IOMMU that does not isolate interrupts, with addresses of 39 bits; and a detached device.
# shellcheck shell=sh disable=SC2034

lab_vmm=none
lab_iommu=virtio
lab_want_warnings=yes # of isolation that is not there, and of DMA that goes nowhere
lab_devices='
	nvme,serial=lab1,drive=@16M
	edu
'

host_before()
{
	# One at a time: other cases build it too.
	flock "$top_dir/Makefile" make -s -C "$top_dir" build/tests/contract/provider && cp "$top_dir/build/tests/contract/provider" "$lab_run/in/"
}

provider=/lab/in/provider

job()
{
	nvme=$(device 1) edu=$(device 2)
	check 'bind the NVMe' bind "$nvme" || return
	check 'bind the edu' bind "$edu" || return

	$provider open "$nvme" >/tmp/refused.out 2>/tmp/refused.err
	contains 'interrupts are not isolated' /tmp/refused.out '^refused EPERM'
	contains 'why, and what to do' /tmp/refused.err "$nvme: .*interrupt remapping.*allow_unsafe_interrupts"
	same 'one message' "$(grep -c . /tmp/refused.err)" 1

	echo 1 >/sys/module/iommufd/parameters/allow_unsafe_interrupts
	check 'with the risk accepted' $provider use "$nvme"
	check 'DMA' $provider dma "$edu"
	check 'a detached device reaches nothing' $provider no-dma "$edu"
}
