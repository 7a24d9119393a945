# SPDX-License-Identifier: Apache-2.0
# A network card without FLR: reset by power management or by its bus. It has five MSI-X vectors, an I/O BAR and a ROM.
# shellcheck shell=sh disable=SC2034

lab_devices='
	e1000e,netdev=net1,romfile=
'
lab_qemu_args='-netdev user,id=net1,restrict=on,net=10.1.2.0/24,host=10.1.2.2'

job()
{
	nic=$(device 1)
	check 'bind' bind "$nic" || return
	guest_ok nic 'the guest reaches the other end of the wire' '
		ip link set eth0 up && ip address add 10.1.2.15/24 dev eth0 && ping -c 5 -A -w 60 10.1.2.2
		status=$?
		grep eth0 /proc/interrupts
		cat /sys/class/net/eth0/device/reset_method
		exit $status
	' --vfio "$nic"
	contains 'packets come back' "$guest_log" '5 packets received'
	contains 'by MSI-X' "$guest_log" 'MSI'

	guest_ok again 'a second guest finds it as new' '
		ip link set eth0 up && ip address add 10.1.2.15/24 dev eth0 && ping -c 2 -A -w 60 10.1.2.2
	' --vfio "$nic"
}
