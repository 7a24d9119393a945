# SPDX-License-Identifier: Apache-2.0
# Two devices and two processors: vectors spread over both, guest memory mapped once for both devices.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@64M
	igb,netdev=net1,romfile=
'
lab_qemu_args='-netdev user,id=net1,restrict=on,net=10.1.2.0/24,host=10.1.2.2'

# of DEVICE KEY: what the state says of the kernel's side of the device.
of() { /lab/in/tools/json-get devices "$1" device kernel "$2" </tmp/state.json; }

# Pages that are pinned for DMA, in all of the lab host.
pinned() { awk '/nr_foll_pin_acquired/ { n += $2 } /nr_foll_pin_released/ { n -= $2 } END { print n }' /proc/vmstat; }

job()
{
	check 'bind the NVMe' bind "$(device 1)" || return
	check 'bind the igb' bind "$(device 2)" || return
	guest_ok pair 'both work at the same time' '
		ip link set eth0 up && ip address add 10.1.2.15/24 dev eth0
		dd if=/dev/nvme0n1 of=/dev/null bs=4096 count=2000 iflag=direct 2>/dev/null &
		ping -c 20 -A -w 80 10.1.2.2 && wait $! && nproc && grep -E "nvme|eth0" /proc/interrupts
		echo "first $(taskset 1 dd if=/dev/nvme0n1 bs=512 count=1 iflag=direct 2>/dev/null | md5sum)"
		echo "second $(taskset 2 dd if=/dev/nvme0n1 bs=512 count=1 iflag=direct 2>/dev/null | md5sum)"
		awk "/nvme0q[1-9]/ { a += \$2; b += \$3 } END { if (a > 0 && b > 0) print \"both processors\" }" /proc/interrupts
	' --cpus 2 --memory 512M --vfio "$(device 1)" --vfio "$(device 2)"
	contains 'two processors' "$guest_log" '^2$'
	same 'both read the same' "$(sed -n 's/^first //p' "$guest_log")" "$(sed -n 's/^second //p' "$guest_log")"
	contains 'the interrupts of the NVMe come to both' "$guest_log" '^both processors'

	check 'a guest to be looked at' guest_start once --memory 512M --vfio "$(device 1)" --vfio "$(device 2)" || return
	kill -USR1 "$(guest_pid once)"
	check 'its state' guest_expect once 'state \{' 20 || return
	sed -n 's/.*state {/{/p' /tmp/once.log | tail -n 1 | tr -d '\r' >/tmp/state.json
	same 'both devices are in one address space' "$(of 0 ioas) $(of 0 ioas_devices)" "$(of 1 ioas) 2"
	# Peer memory is mapped there, too.
	check 'which has the memory once' test "$(of 0 mapped_bytes)" -ge 536870912 -a "$(of 0 mapped_bytes)" -lt 1073741824
	same 'by its file' "$(of 0 map_by_file)" true
	check 'it is pinned once' test "$(pinned)" -ge 131072 -a "$(pinned)" -lt 262144
	guest_quit once
	same 'it ended well' "$guest_status" 0
	same 'and nothing is pinned any more' "$(pinned)" 0
}
