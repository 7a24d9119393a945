# SPDX-License-Identifier: Apache-2.0
# A card with SR-IOV: the whole function, then a virtual function; and a virtual function of a physical function that another
# VFIO user holds, which takes a token.
# shellcheck shell=sh disable=SC2034

lab_devices='
	igb,netdev=net1,romfile=
'
lab_qemu_args='-netdev user,id=net1,restrict=on,net=10.1.2.0/24,host=10.1.2.2'
lab_args='vfio_pci.enable_sriov=1'

ping_in_guest='
	ip link set eth0 up && ip address add 10.1.2.15/24 dev eth0 && ping -c 3 -A -w 60 10.1.2.2
	status=$?
	grep eth0 /proc/interrupts
	exit $status
'

job()
{
	pf=$(device 1)
	check 'bind the PF' bind "$pf" || return
	guest_ok pf 'the guest has the PF and reaches the wire' "$ping_in_guest" --vfio "$pf"
	contains 'by MSI-X' "$guest_log" 'MSIX?'
	guest_ok caps 'SR-IOV is not shown to the guest' \
		'test ! -e /sys/class/net/eth0/device/sriov_totalvfs' --vfio "$pf"
	[ "$lab_vmm" = sluice ] || return 0

	unbind "$pf"
	check 'two VFs' sh -c "echo 2 >$pci/devices/$pf/sriov_numvfs"
	vf=$(basename "$(readlink "$pci/devices/$pf/virtfn0")")
	check 'bind a VF' bind "$vf" || return
	ip link set dev "$(ls "$pci/devices/$pf/net")" up
	guest_ok vf 'a guest has the VF' 'test -e /sys/class/net/eth0 && basename "$(readlink /sys/class/net/eth0/device/driver)"' --vfio "$vf"
	contains 'driven as one' "$guest_log" '^igbvf'
	unbind "$vf"
	echo 0 >"$pci/devices/$pf/sriov_numvfs"

	# The PF at another user of VFIO, which sets the token.
	token=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001
	check 'bind the PF again' bind "$pf"
	mkfifo /tmp/hold.in
	/lab/in/tools/vfio-hold --token "$token" "$(vfio_node "$pf")" <>/tmp/hold.in >/tmp/hold.log 2>&1 &
	hold=$!
	check 'its user is there' wait_for 30 grep -q held /tmp/hold.log
	check 'a VF of it' sh -c "echo 1 >$pci/devices/$pf/sriov_numvfs"
	vf=$(basename "$(readlink "$pci/devices/$pf/virtfn0")")
	check 'bind that VF' bind "$vf"
	guest none true --vfio "$vf"
	same 'without the token: refused' "$vmm_status" 1
	contains 'and why is said' "$guest_log" "$vf.*token"
	guest wrong true --vfio "$vf,token=00000000-0000-0000-0000-000000000001"
	same 'with a wrong one: refused' "$vmm_status" 1
	guest_ok right 'with the token it runs' 'for d in /sys/bus/pci/devices/*; do cat $d/vendor $d/device | tr "\n" " "; done; echo; grep -q 0x10ca /sys/bus/pci/devices/*/device' --vfio "$vf,token=$token"
	kill "$hold"
}
