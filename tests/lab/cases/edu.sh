# SPDX-License-Identifier: Apache-2.0
# INTx with resample, MSI and DMA, by a device that has no reset of its own: QEMU's edu.
# shellcheck shell=sh disable=SC2034

lab_devices='
	edu
'

job()
{
	edu=$(device 1)
	check 'bind' bind "$edu" || return
	guest_tools guestdev
	guest_ok edu 'interrupts and DMA' "guestdev edu \$(guest_bdf 1234:11e8)" --memory 192M --vfio "$edu"
	contains 'all of them' "$guest_log" '^edu: 100 INTx, 100 MSI, 2 DMA of 4096 bytes'

	echo '1234 11e8' >"$pci/drivers/vfio-pci/new_id"
	check_fails 'no unbind of what vfio-pci takes by its ids' /lab/in/sluice unbind "$edu"
	contains 'it says how to end that' /tmp/check.out 'echo 1234 11e8 > /sys/bus/pci/drivers/vfio-pci/remove_id'
	echo '1234 11e8' >"$pci/drivers/vfio-pci/remove_id"
	check 'unbind then' /lab/in/sluice unbind "$edu"
	same 'no driver has it' "$(driver_of "$edu")" ''
}
