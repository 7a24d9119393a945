# SPDX-License-Identifier: Apache-2.0
# The state that SIGUSR1 asks for; then sluice is killed, and leaves nothing behind: the device is free for the next launch.
# shellcheck shell=sh disable=SC2010,SC2034,SC2154

lab_devices='
	nvme,serial=lab1,drive=@16M
'

# Who has a node of VFIO or iommufd open.
holders() { ls -l /proc/[0-9]*/fd 2>/dev/null | grep -E -- '-> (/dev/vfio|/dev/iommu|anon_inode:\[?(vfio|kvm))'; }

# of PATH...: what the state has there.
of() { /lab/in/tools/json-get "$@" </tmp/state.json; }

state()
{
	check 'a guest to look at' guest_start state --vfio "$nvme" || return
	guest_do state 'head -c 21 /dev/nvme0n1 >/dev/null'
	kill -USR1 "$(guest_pid state)"
	check 'SIGUSR1 is answered' guest_expect state 'state \{' 20 || return
	sed -n 's/.*state {/{/p' /tmp/state.log | tr -d '\r' >/tmp/state.json
	cp /tmp/state.json /lab/out/
	check 'its answer is JSON' of || return
	same 'it names the device' "$(of devices 0 device device)" "\"$nvme\""
	same 'which is open' "$(of devices 0 device open)" true
	same 'bound: by an id of iommufd' "$(of devices 0 device iommu kind)" '"physical"'
	same 'attached' "$(of devices 0 device iommu attached)" true
	check 'to a page table' test "$(of devices 0 device iommu pt_id)" -gt 0
	same 'no reset yet, and so no method' "$(of devices 0 reset count) $(of devices 0 reset method)" '0 null'
	same 'interrupts' "$(of devices 0 interrupts mode)" '"msi-x"'
	check 'its vectors are armed' test "$(of devices 0 interrupts armed)" -ge 2
	same 'none of them failed' "$(of devices 0 interrupts failed)" 0
	check 'peer to peer of its BAR' of devices 0 bars 0 areas 0 p2p
	echo "# p2p: $(of devices 0 bars 0 areas 0 p2p)"
	kill -9 "$(guest_pid state)"
	wait "$(guest_pid state)" 2>/dev/null
	same 'killed, it holds nothing' "$(holders)" ''
	guest_ok killed 'and the next launch works at once' 'head -c 21 /dev/nvme0n1; echo' --vfio "$nvme"
	contains 'with the same disk' "$guest_log" '^SLUICE-LAB-DISK disk1'
}

job()
{
	nvme=$(device 1)
	check 'bind' bind "$nvme" || return
	state
}
