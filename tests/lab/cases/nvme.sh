# SPDX-License-Identifier: Apache-2.0
# The everyday case: an NVMe whose MSI-X table shares the BAR with its registers. Data go both ways and are the same on
# both sides; interrupts arrive; and none of it leaves the guest.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@64M
'

host_before()
{
	# 8 MiB that the guest will read, from 16 MiB on.
	dd if=/dev/urandom of="$lab_run/disk1.img" bs=1M seek=16 count=8 conv=notrunc iflag=fullblock status=none
	dd if="$lab_run/disk1.img" bs=1M skip=16 count=8 status=none | md5sum | cut -c1-32 >"$lab_run/in/sum"
}

# exits_of GUEST: exits that the VMM had to handle, as KVM counts them.
exits_of() { cat "/sys/kernel/debug/kvm/$(guest_pid "$1")"-*/mmio_exits "/sys/kernel/debug/kvm/$(guest_pid "$1")"-*/io_exits | awk '{ n += $1 } END { print n }'; }

interrupts_of() { guest_do "$1" "awk '/nvme0q/ { n += \$2 } END { print n }' /proc/interrupts"; }

job()
{
	nvme=$(device 1)
	check 'bind' bind "$nvme" || return

	guest_ok shell 'a guest reads and writes' '
		head -c 21 /dev/nvme0n1; echo
		dd if=/dev/nvme0n1 bs=1M skip=16 count=8 iflag=direct 2>/dev/null | md5sum
		i=0; while [ $i -lt 65536 ]; do printf "%016x\n" $i; i=$((i + 1)); done | dd of=/dev/nvme0n1 bs=1M seek=32 iflag=fullblock conv=fsync 2>/dev/null
		dd if=/dev/nvme0n1 bs=1114112 count=1 skip=33554432 iflag=skip_bytes 2>/dev/null | md5sum >/dev/null
		grep nvme0q /proc/interrupts
		dmesg | grep -iE "nvme|pci.*(claim|BAR.*fail|error)"
	' --vfio "$nvme"
	contains 'it is the right disk' "$guest_log" '^SLUICE-LAB-DISK disk1'
	contains 'what the host wrote is what the guest reads' "$guest_log" "^$(cat /lab/in/sum)"
	contains 'by MSI-X' "$guest_log" 'MSIX.*nvme0q0'
	lacks 'the guest has nothing to complain of' "$guest_log" "can't claim|failed to assign|no space for|AER"

	check 'a second guest' guest_start data --vfio "$nvme" || return
	# The first two runs differ from each other only by what the serial line and timers do.
	guest_do data 'dd if=/dev/nvme0n1 of=/dev/null bs=512 count=10 iflag=direct 2>/dev/null'
	before=$(exits_of data)
	guest_do data 'dd if=/dev/nvme0n1 of=/dev/null bs=512 count=10 iflag=direct 2>/dev/null'
	few=$(($(exits_of data) - before))
	interrupts=$(interrupts_of data)
	before=$(exits_of data)
	guest_do data 'dd if=/dev/nvme0n1 of=/dev/null bs=512 count=10010 iflag=direct 2>/dev/null'
	many=$(($(exits_of data) - before))
	interrupts=$(($(interrupts_of data) - interrupts))
	echo "# exits for 10 reads: $few, for 10010: $many; interrupts: $interrupts"
	check '10,000 reads are 10,000 interrupts' test "$interrupts" -ge 10000
	# A character more or less on the serial line is an exit; ten thousand doorbells would be ten thousand.
	check '10,000 doorbells and interrupts add no exit' test "$many" -le "$((few + 20))"
	guest_quit data
	same 'it ended well' "$guest_status" 0
	check 'the device goes back to its driver' unbind "$nvme"
	check 'and works there' wait_for 10 test -b /dev/nvme0n1
}

host_after()
{
	same 'what the guest wrote is in the image' \
		"$(dd if="$lab_run/disk1.img" bs=1M skip=32 count=2 status=none | head -c 1114112 | md5sum)" \
		"$(seq 0 65535 | awk '{ printf "%016x\n", $1 }' | md5sum)"
}
