# SPDX-License-Identifier: Apache-2.0
# A host whose interrupts are not isolated: said before the launch fails, and mended by the remedy.
# shellcheck shell=sh disable=SC2034

lab_iommu=virtio
lab_devices='
	nvme,serial=lab1,drive=@64M
'

sluice=/lab/in/sluice

job()
{
	nvme=$(device 1)
	check 'bind' "$sluice" bind "$nvme" || return
	check_fails 'check is not content' "$sluice" check "$nvme"
	"$sluice" check "$nvme" >/tmp/unsafe.log
	contains 'it says why' /tmp/unsafe.log 'obstacle .* no interrupt remapping'
	contains 'and what it is that refuses' /tmp/unsafe.log 'iommufd refuses'
	command=$(grep -A 1 'no interrupt remapping' /tmp/unsafe.log | tail -n 1)
	check 'the remedy' sh -c "$command"
	check 'check is content' "$sluice" check "$nvme"
	"$sluice" check "$nvme" >/tmp/allowed.log
	contains 'but warns' /tmp/allowed.log 'warning .* forge'
	guest_ok allowed 'a launch works' 'test -b /dev/nvme0n1' --vfio "$nvme"
	check 'unbind' "$sluice" unbind "$nvme"
}
