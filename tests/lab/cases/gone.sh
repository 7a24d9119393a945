# SPDX-License-Identifier: Apache-2.0
# A guest has three disks, and loses two of them without a word: one goes to sleep (D3hot) behind its back, so that KVM_RUN fails with
# EFAULT on its memory, and later loses its power; one is drawn out of its slot while it is read. The guest reads ones, sluice
# says which device it is and takes it out, and the third disk works all the time.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@32M
	nvme,serial=lab2,drive=@16M
	nvme,serial=lab3,drive=@16M
'
# The slots' own hotplug, not that of QEMU's firmware.
lab_qemu_args='-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off'

# One command in the end: guest_do sends lines.
guest_functions='
	await() { i=0; until "$@"; do i=$((i + 1)); [ $i -lt 600 ] || return 1; usleep 100000; done; };
	disk() { basename "$(dirname "$(grep -l "^$1 *$" /sys/class/nvme/nvme*/serial)")"; };
	has() { grep -q "^$1 *$" /sys/class/nvme/nvme*/serial && test -b /dev/$(disk $1)n1; };
	bdf() { basename "$(readlink -f /sys/class/nvme/$(disk $1)/device)"; };
	away() { test ! -e /sys/bus/pci/devices/$1; };
	work() {
		dd if=/dev/urandom of=/tmp/data bs=1M count=4 2>/dev/null &&
		dd if=/tmp/data of=/dev/$good bs=1M seek=$1 oflag=direct 2>/dev/null &&
		dd if=/dev/$good bs=1M skip=$1 count=4 iflag=direct 2>/dev/null | cmp - /tmp/data &&
		md5sum /tmp/data;
	}
'

# slot N off|pull
slot() { /lab/in/tools/slot-power "$(basename "$(dirname "$(readlink -f "$pci/devices/$(device "$1")")")")" "$2"; }

# The version of the sleeper's controller, through its BAR.
peek() { guest_do gone 'guestdev peek $two 0 8' | tail -n 1; }

# works OFFSET: 4 MiB are written to the good disk there, and read back as they were; their sum is kept.
works()
{
	check "$2" guest_do gone "work $1" || return
	echo "$1 $(cut -c1-32 /tmp/check.out)" >>/lab/out/sums
}

# direct N: has the guest its own way to the memory of its Nth device? As SIGUSR1 tells.
direct()
{
	direct_seen=$(grep -c 'state {' /tmp/gone.log)
	kill -USR1 "$(guest_pid gone)"
	wait_for 20 sh -c "[ \$(grep -c 'state {' /tmp/gone.log) -gt $direct_seen ]"
	sed -n 's/.*state {/{/p' /tmp/gone.log | tail -n 1 | tr -d '\r' >/tmp/state.json
	/lab/in/tools/json-get devices "$1" bars 0 areas 0 direct </tmp/state.json
}

sleeps()
{
	version=$(peek)
	check 'its memory is there' test "${version:-ffffffff}" != ffffffff
	same 'all have their memory' "$(direct 0) $(direct 1) $(direct 2)" 'true true true'
	check 'it falls asleep' /lab/in/tools/vfio-behind "$(guest_pid gone)" $((pm + 4)) 3 "$node"
	same 'the guest reads ones' "$(peek)" ffffffff
	same 'and again' "$(peek)" ffffffff
	same 'it is reported, once' "$(grep -c "vfio $two: the device stopped decoding" /tmp/gone.log)" 1
	same 'it alone is cut off' "$(direct 0) $(direct 1) $(direct 2)" 'true false true'
	works 4 'the good disk works beside it'
	check 'the guest wakes it up' guest_do gone "printf '\\000' | dd of=/sys/bus/pci/devices/\$two/config bs=1 seek=$((pm + 4)) conv=notrunc"
	same 'and has its memory again' "$(peek)" "$version"
	same 'of its own' "$(direct 1)" true
}

loses_power()
{
	check 'the power goes off' slot 2 off
	check 'the guest reads ones' guest_do gone '[ "$(hexdump -n 4 -e "1/4 \"%08x\"" /sys/bus/pci/devices/$two/config)" = ffffffff ] || await away $two'
	check 'and is told that it has gone' guest_do gone 'await away $two'
	contains 'sluice says so' /tmp/gone.log "vfio $two: the device does not answer any more"
	check 'it is out of the guest' wait_for 60 grep -q "vfio $two: out of the guest" /tmp/gone.log
	works 8 'the good disk works without it'
}

pulled()
{
	check 'it is read' guest_do gone '(while dd if=/dev/$disk3 of=/dev/null bs=64k iflag=direct 2>/dev/null; do :; done; echo over >/tmp/over) & await grep -q "[1-9]" /sys/block/$disk3/stat'
	check 'out with it' slot 3 pull
	check 'the guest is told' guest_do gone 'await away $three'
	check 'whoever read it has heard of it' guest_do gone 'await test -e /tmp/over'
	contains 'sluice says so' /tmp/gone.log "vfio $three: the device does not answer any more"
	check 'the host has lost it' wait_for 60 test ! -e "$pci/devices/$three"
	works 12 'the good disk works without it, too'
}

# Who has a node of VFIO or iommufd open, and what is pinned.
left()
{
	ls -l /proc/[0-9]*/fd 2>/dev/null | grep -E -- '-> (/dev/vfio|/dev/iommu|anon_inode:\[?(vfio|kvm))'
	awk '/nr_foll_pin_acquired/ { n += $2 } /nr_foll_pin_released/ { n -= $2 } END { print n }' /proc/vmstat
}

job()
{
	[ "$lab_vmm" = sluice ] || return 0
	guest_tools guestdev
	one=$(device 1) two=$(device 2) three=$(device 3)
	for bdf in "$one" "$two" "$three"; do
		check "bind $bdf" bind "$bdf" || return
	done
	node=$(vfio_node "$two")
	# Where QEMU's NVMe has it.
	pm=$((0x60))
	same 'it has power management' "$(hexdump -s $pm -n 1 -e '"%u"' "$pci/devices/$two/config")" 1
	same 'nobody holds anything' "$(left)" 0
	check 'a guest' guest_start gone --cpus 2 -v --vfio "$one" --vfio "$two" --vfio "$three" || return
	guest_do gone "$(echo "$guest_functions" | tr '\n\t' '  ')"
	check 'it has its disks' guest_do gone 'await has lab1 && await has lab2 && await has lab3'
	guest_do gone 'good=$(disk lab1)n1; disk3=$(disk lab3)n1; two=$(bdf lab2); three=$(bdf lab3); echo $two >/sys/bus/pci/drivers/nvme/unbind'

	sleeps
	loses_power
	pulled
	guest_quit gone
	same 'it ended well' "$guest_status/$vmm_status" 0/0
	same 'nothing is left' "$(left)" 0
	check 'the good disk goes back to its driver' unbind "$one"
	check 'and works there' wait_for 20 test -b /dev/nvme0n1
	check 'with what the guest wrote' test -s /lab/out/sums
	while read -r where sum; do
		same "at $where MiB" "$(dd if=/dev/nvme0n1 bs=1M skip="$where" count=4 2>/dev/null | md5sum | cut -c1-32)" "$sum"
	done </lab/out/sums
}
