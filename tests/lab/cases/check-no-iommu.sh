# SPDX-License-Identifier: Apache-2.0
# A host without an IOMMU: nothing can be passed through, and check, list and bind say so.
# shellcheck shell=sh disable=SC2034

lab_iommu=none
lab_devices='
	nvme,serial=lab1,drive=@64M
'

sluice=/lab/in/sluice

job()
{
	nvme=$(device 1)
	check_fails 'check is not content' "$sluice" check "$nvme"
	"$sluice" check "$nvme" >/tmp/off.log
	contains 'it says why' /tmp/off.log 'obstacle  iommu     this host shows no IOMMU'
	"$sluice" list >/tmp/list.log
	contains 'so does list' /tmp/list.log 'No launch with one of these will work on this host yet: this host shows no IOMMU'
	check_fails 'bind refuses' "$sluice" bind "$nvme"
	same 'the driver is as before' "$(driver_of "$nvme")" nvme
}
