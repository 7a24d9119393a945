# SPDX-License-Identifier: Apache-2.0
# The everyday case: an NVMe whose MSI-X table shares the BAR with its registers. Data go both ways and are the same on
# both sides; interrupts arrive; and none of it leaves the guest: each exit that KVM counts is accounted for.
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

# count GUEST FILE: what KVM has counted of the guest so far, and the guest of its own interrupts.
count()
{
	guest_do "$1" "awk '/nvme0q/ { n += \$2 } /LOC:/ { l = \$2 } END { print \"nvme\", n + 0; print \"timer\", l }' /proc/interrupts" >"$2"
	for statistic in exits mmio_exits io_exits irq_exits irq_window_exits halt_exits irq_injections fpu_reload; do
		echo "$statistic $(cat "/sys/kernel/debug/kvm/$(guest_pid "$1")"-*/$statistic)"
	done >>"$2"
}

# measure GUEST NAME COMMAND: /tmp/NAME has how much each statistic grew while the guest did that, and with "unexplained" the exits
# that are none of
#   irq_exits         interrupts of the host, and one that each injection takes in this lab (guest-images/*.patch)
#   irq_window_exits  the guest could not take an interrupt at once
#   halt_exits        the guest had nothing to do
#   io_exits          the guest's serial port
#   writes to the guest's local APIC, which has no statistic: one ends each injected interrupt (what KVM has against that,
#                     PV EOI, the lab's exit at injection cancels), one arms the timer again after each of its interrupts
# All these are of interrupts as such, on a processor without AVIC; a trapped doorbell is none of them.
measure()
{
	count "$1" /tmp/before
	measured=0
	guest_do "$1" "$3" || measured=$?
	count "$1" /tmp/after
	awk 'NR == FNR { before[$1] = $2; next }
		{ n[$1] = $2 - before[$1]; print $1, n[$1] }
		END { print "unexplained", n["exits"] - n["irq_exits"] - n["irq_window_exits"] - n["halt_exits"] - n["io_exits"] \
			- n["irq_injections"] - n["timer"] }' /tmp/before /tmp/after >"/tmp/$2"
	echo "# $2: $(tr '\n' ' ' <"/tmp/$2")"
	return $measured
}

# counted NAME STATISTIC
counted() { awk -v name="$2" '$1 == name { print $2 }' "/tmp/$1"; }

# grew STATISTIC FEW MANY: by how much more in one measurement than in another.
grew() { echo $(($(counted "$3" "$1") - $(counted "$2" "$1"))); }

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

	# The timer ticks on when there is nothing to do: each of its interrupts is counted then.
	guest_tools guestdev
	guest_cmdline="$guest_cmdline nohz=off"
	check 'a second guest' guest_start data --vfio "$nvme" || return
	guest_do data 'dd if=/dev/nvme0n1 of=/dev/null bs=512 count=10 iflag=direct 2>/dev/null'
	measure data few 'dd if=/dev/nvme0n1 of=/dev/null bs=512 count=10 iflag=direct 2>/dev/null'
	measure data many 'dd if=/dev/nvme0n1 of=/dev/null bs=512 count=10010 iflag=direct 2>/dev/null'
	check '10,000 reads are 10,000 interrupts' test "$(grew nvme few many)" -ge 10000
	check 'which KVM injected' test "$(grew irq_injections few many)" -ge 10000
	same 'no access is emulated' "$(counted many mmio_exits)" 0
	# Entries into KVM. A character more or less on the serial line is one; ten thousand doorbells would be ten thousand.
	check 'the processor does not come back from KVM for them' test "$(grew fpu_reload few many)" -le 20
	# Exits more or less by interrupts between the looks at the two sides' counts.
	check 'and they add no exit' test "$(grew unexplained few many)" -le 500

	# Doorbells alone: of a controller that is switched off.
	guest_do data 'd=$(guest_bdf 1b36:0010); echo $d >/sys/bus/pci/drivers/nvme/unbind; echo 1 >/sys/bus/pci/devices/$d/enable'
	measure data silence 'guestdev poke $d 0 0x1000 10'
	measure data doorbells 'guestdev poke $d 0 0x1000 10010'
	same 'doorbells alone' $? 0
	same 'none is emulated' "$(grew mmio_exits silence doorbells)" 0
	check '10,000 doorbells add no exit' test "$(grew unexplained silence doorbells)" -le 500
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
