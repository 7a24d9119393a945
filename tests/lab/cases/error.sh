# SPDX-License-Identifier: Apache-2.0
# The device reports an uncorrectable error by AER: sluice says so and the guest goes on, or the VM ends, as was asked for.
# shellcheck shell=sh disable=SC2034,SC2154

# Not igb: in QEMU the error reporting bits of its Device Control stay clear, and no error message leaves it.
lab_devices='
	virtio-rng-pci,aer=on,disable-legacy=on,iommu_platform=on
'

# SERR# of the command register, which is the guest's, on as firmware has it.
serr='for d in /sys/bus/pci/devices/*; do [ "$(cat $d/vendor)$(cat $d/device)" = 0x1af40x1044 ] && printf "\\001" | dd of=$d/config bs=1 seek=5 conv=notrunc 2>/dev/null; done; true'

job()
{
	rng=$(device 1)
	check 'bind' bind "$rng" || return

	check 'a guest' guest_start error --vfio "$rng" || return
	guest_do error "$serr"
	check 'the error is injected' monitor 'pcie_aer_inject_error dev1 COMP_ABORT'
	check 'sluice reports it' guest_expect error "vfio $rng: the device reports an unrecoverable error" 20
	same 'in one message' "$(grep -c '^sluice:' /tmp/error.log)" 1
	check 'the guest goes on' guest_do error true
	guest_quit error
	same 'and ends well' "$guest_status" 0

	check 'a guest that is to end' guest_start stop --vfio "$rng,on-error=stop" || return
	guest_do stop "$serr"
	monitor 'pcie_aer_inject_error dev1 COMP_ABORT'
	check 'it ends' wait_for 20 guest_over stop
	guest_end stop
	same 'with status 1' "$vmm_status/$guest_status" 1/
	contains 'and says why' "$guest_log" "vfio $rng: the VM ends since the device reported an error"
}

guest_over() { ! guest_lives "$1"; }
