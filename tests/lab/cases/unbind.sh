# SPDX-License-Identifier: Apache-2.0
# The host wants its device back while the guest runs: it leaves by hot unplug, and the guest goes on. A guest that does not
# answer loses it after the time-out all the same. `sluice unbind --force` is a way to want it back.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@16M
	igb
'

job()
{
	nvme=$(device 1)
	check 'bind the NVMe' bind "$nvme" || return
	check 'bind the igb' bind "$(device 2)" || return

	check 'a guest with both' guest_start both --vfio "$nvme" --vfio "$(device 2)" || return
	check 'it has the disk' guest_do both 'wait_for() { i=0; until "$@"; do i=$((i+1)); [ $i -lt 300 ] || return 1; usleep 100000; done; }; wait_for test -b /dev/nvme0n1'
	(echo "$nvme" >"$pci/drivers/vfio-pci/unbind"; echo unbound >/tmp/unbound) &
	check 'the guest lets the disk go' guest_do both 'wait_for test ! -b /dev/nvme0n1'
	check 'the host has it back' wait_for 60 test -e /tmp/unbound
	same 'no driver holds it' "$(driver_of "$nvme")" ''
	check 'the guest goes on' guest_do both 'test -e /sys/class/net/eth0'
	guest_quit both
	same 'and ends well' "$guest_status" 0

	# This one has its hotplug driver turned off: nobody answers the button.
	check 'bind again' bind "$nvme" || return
	guest_cmdline="$guest_cmdline pcie_ports=compat"
	check 'a deaf guest' guest_start deaf --vfio "$nvme" --unplug-timeout 3 || return
	rm -f /tmp/unbound
	(echo "$nvme" >"$pci/drivers/vfio-pci/unbind"; echo unbound >/tmp/unbound) &
	check 'the host has it back after the time-out' wait_for 90 test -e /tmp/unbound
	check 'the guest lives' guest_do deaf true
	guest_quit deaf

	guest_cmdline=${guest_cmdline% pcie_ports=compat}
	unbind "$nvme"
	check 'bind once more' /lab/in/sluice bind "$nvme" || return
	check 'a guest whose device is wanted by its name' guest_start named --vfio "$nvme,id=disk" -v || return
	check 'it has the disk' guest_do named 'wait_for() { i=0; until "$@"; do i=$((i+1)); [ $i -lt 300 ] || return 1; usleep 100000; done; }; wait_for test -b /dev/nvme0n1'
	check_fails 'unbind refuses' /lab/in/sluice unbind "$nvme"
	contains 'since it is used, and by whom' /tmp/check.out "in use by sluice \\(pid $(guest_pid named)\\)"
	check 'unbind --force' timeout $((90 * lab_slow)) /lab/in/sluice unbind "$nvme" --force
	check 'the guest let it go' guest_do named 'wait_for test ! -b /dev/nvme0n1'
	check 'which is said' wait_for 20 grep -q 'vfio disk: out of the guest' /tmp/named.log
	same 'its driver has it' "$(driver_of "$nvme")" nvme
	check 'the disk is back' wait_for 20 test -b /dev/nvme0n1
	guest_quit named
	same 'the guest ends well' "$guest_status" 0
}
