# SPDX-License-Identifier: Apache-2.0
# A network card without FLR: reset by power management or by its bus. It has five MSI-X vectors, an I/O BAR and a ROM.
# shellcheck shell=sh disable=SC2034

lab_devices='
	e1000e,netdev=net1,romfile=
'
lab_qemu_args='-netdev user,id=net1,restrict=on,net=10.1.2.0/24,host=10.1.2.2'

# works: the guest with the name reset has its wire. It comes up anew each time.
works()
{
	guest_do reset 'ip address flush dev eth0; ip link set eth0 down; ip link set eth0 up && ip address add 10.1.2.15/24 dev eth0 && ping -c 2 -A -w 60 10.1.2.2'
}

job()
{
	nic=$(device 1)
	check 'bind' bind "$nic" || return
	guest_ok nic 'the guest reaches the other end of the wire' '
		ip link set eth0 up && ip address add 10.1.2.15/24 dev eth0 && ping -c 5 -A -w 60 10.1.2.2
		status=$?
		grep eth0 /proc/interrupts
		exit $status
	' --vfio "$nic"
	contains 'packets come back' "$guest_log" '5 packets received'
	contains 'by MSI-X' "$guest_log" 'MSI'

	guest_ok again 'a second guest finds it as new' '
		ip link set eth0 up && ip address add 10.1.2.15/24 dev eth0 && ping -c 2 -A -w 60 10.1.2.2
	' --vfio "$nic"

	check 'a guest that resets it' guest_start reset -vv --vfio "$nic" || return
	same 'the guest has the ways to reset it that the host has' \
		"$(guest_do reset 'cat /sys/class/net/eth0/device/reset_method')" "$(cat "$pci/devices/$nic/reset_method")"
	same 'which are without FLR' "$(cat "$pci/devices/$nic/reset_method")" 'pm bus'
	guest_do reset 'cd /sys/class/net/eth0/device'
	check 'by its power state' guest_do reset 'echo pm >reset_method && echo 1 >reset'
	check 'it works afterwards' works
	check 'by its bus' guest_do reset 'echo bus >reset_method && echo 1 >reset'
	contains 'which the host did, and it is reported' /tmp/reset.log "debug: vfio $nic: reset \\(hot\\)"
	check 'it works afterwards' works
	kill -USR1 "$(guest_pid reset)"
	check 'the state has how it was reset' wait_for 30 grep -q '"reset":{"count":[1-9][0-9]*,"method":"hot","failure":null}' /tmp/reset.log
	guest_quit reset
	same 'it ended well' "$guest_status" 0
}
