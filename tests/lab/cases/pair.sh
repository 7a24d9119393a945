# SPDX-License-Identifier: Apache-2.0
# Two devices and two processors: vectors spread over both, guest memory mapped once for both devices.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@64M
	igb,netdev=net1,romfile=
'
lab_qemu_args='-netdev user,id=net1,restrict=on,net=10.1.2.0/24,host=10.1.2.2'

job()
{
	check 'bind the NVMe' bind "$(device 1)" || return
	check 'bind the igb' bind "$(device 2)" || return
	guest_ok pair 'both work at the same time' '
		ip link set eth0 up && ip address add 10.1.2.15/24 dev eth0
		dd if=/dev/nvme0n1 of=/dev/null bs=4096 count=2000 iflag=direct 2>/dev/null &
		ping -c 20 -A -w 80 10.1.2.2 && wait $! && nproc && grep -E "nvme|eth0" /proc/interrupts
		echo "first $(taskset 1 dd if=/dev/nvme0n1 bs=512 count=1 2>/dev/null | md5sum)"
		echo "second $(taskset 2 dd if=/dev/nvme0n1 bs=512 count=1 2>/dev/null | md5sum)"
	' --cpus 2 --memory 512M --vfio "$(device 1)" --vfio "$(device 2)"
	contains 'two processors' "$guest_log" '^2$'
	same 'both read the same' "$(sed -n 's/^first //p' "$guest_log")" "$(sed -n 's/^second //p' "$guest_log")"
}
