# SPDX-License-Identifier: Apache-2.0
# Guest RAM from the host's pools of huge pages, pinned by a device that reads and writes it: 2 MiB, 1 GiB with prefault, and what is
# said when a pool is too small. And the same memory at a server (sluice serve), whose device reads and writes it.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@64M
'
lab_memory=4G
# A page of 1 GiB is to be had at boot only, from the 2 GiB above the hole for devices.
lab_args='hugepagesz=1G hugepages=1'

host_before()
{
	contract_program
	# 8 MiB that the guests read, from 16 MiB on.
	dd if=/dev/urandom of="$lab_run/disk1.img" bs=1M seek=16 count=8 conv=notrunc iflag=fullblock status=none
	dd if="$lab_run/disk1.img" bs=1M skip=16 count=8 status=none | md5sum | cut -c1-32 >"$lab_run/in/sum"
}

# pool KIB FILE: of the pool of such pages.
pool() { cat "/sys/kernel/mm/hugepages/hugepages-$1kB/$2"; }

# mapped GUEST KEY: kilobytes of the guest's RAM by that line of smaps. A page counts as shared while anyone else has it mapped too.
mapped()
{
	awk -v key="$2:" '/^[0-9a-f]+-/ { ram = /sluice-ram/ } ram && $1 == key { n += $2 } END { print n + 0 }' \
		"/proc/$(guest_pid "$1")/smaps"
}

# large GUEST KIND: how many pages of that size KVM maps the guest's memory by.
large() { cat "/sys/kernel/debug/kvm/$(guest_pid "$1")"-*/"pages_$2"; }

# checksummed GUEST MIB: 8 MiB from the disk by DMA into the guest's memory, and written to MIB of the disk.
checksummed()
{
	same 'what the host wrote is what the guest reads' "$(guest_do "$1" \
		'dd if=/dev/nvme0n1 of=/tmp/data bs=1M skip=16 count=8 iflag=direct 2>/dev/null; md5sum </tmp/data | cut -c1-32')" \
		"$(cat /lab/in/sum)"
	check 'and it writes it elsewhere' guest_do "$1" "dd if=/tmp/data of=/dev/nvme0n1 bs=1M seek=$2 conv=fsync 2>/dev/null"
}

job()
{
	. /lab/in/lib/refdev.sh
	nvme=$(device 1)
	check 'bind the NVMe' bind "$nvme" || return

	echo 100 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
	same 'a pool of 100 pages' "$(pool 2048 free_hugepages)" 100
	guest few true --vfio "$nvme" --memory 256M,hugepages=2M
	same 'a pool that is too small is refused' "$vmm_status/$guest_status" 1/
	contains 'with what is needed, what is there, and the remedy' "$guest_log" '128 huge pages of 2 MiB are needed and 100 are free.*nr_hugepages'
	same 'in one message' "$(grep -c . "$guest_log")" 1
	same 'nothing is kept' "$(pool 2048 free_hugepages) $(pool 2048 resv_hugepages)" '100 0'

	echo 140 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
	check 'a guest on huge pages' guest_start two --vfio "$nvme" --memory 256M,hugepages=2M || return
	same 'they come from the pool' "$(pool 2048 free_hugepages)" 12
	same 'all of its RAM is made of them' "$(mapped two Size) $(($(mapped two Shared_Hugetlb) + $(mapped two Private_Hugetlb)))" '262144 262144'
	checksummed two 32
	check "KVM maps large pages ($(large two 2m))" test "$(large two 2m)" -gt 8
	guest_quit two
	same 'it ended well' "$guest_status" 0
	same 'and gave them back' "$(pool 2048 free_hugepages) $(pool 2048 resv_hugepages)" '140 0'

	/lab/in/sluice serve --vfio soft:reference --socket /tmp/served.sock >/tmp/serve.log 2>&1 &
	server=$!
	check 'a server' wait_for 30 test -S /tmp/served.sock || return
	check 'a guest with its device' guest_start served --vfio user:/tmp/served.sock --memory 256M,hugepages=2M || return
	refdev_does served 'the server reads and writes them' '^copied 16777216 bytes in 4 requests .*verified' refdev copy 16M
	kill -USR1 "$(guest_pid served)"
	check 'by no message' wait_for 30 grep -qE '"dma_reads": ?0, ?"dma_writes": ?0' /tmp/served.log
	guest_quit served
	same 'it ended well' "$guest_status" 0
	# A file that can be cut, in pieces that are no whole pages of it.
	mkdir /tmp/huge
	check 'a file system of huge pages' mount -t hugetlbfs none /tmp/huge || return
	contract user user:/tmp/served.sock --memory /tmp/huge/ram --only 'dma.*' --only 'iommu.*' --only 'limits.*'
	rm /tmp/huge/ram
	check 'the server gave them back' wait_for 30 sh -c "grep -q 140 /sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages"
	kill $server
	serve_status=0
	wait $server || serve_status=$?
	same 'the server ended well' "$serve_status" 0
	echo 0 >/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages

	same 'a page of 1 GiB' "$(pool 1048576 free_hugepages)" 1
	check 'a guest on it, with prefault' guest_start one --vfio "$nvme" --memory 1G,hugepages=1G,prefault || return
	same 'it comes from the pool' "$(pool 1048576 free_hugepages)" 0
	same 'all of its RAM is it' "$(mapped one Size) $(($(mapped one Shared_Hugetlb) + $(mapped one Private_Hugetlb)))" '1048576 1048576'
	checksummed one 48
	check "KVM maps large pages ($(large one 2m) and $(large one 1g))" test $(($(large one 2m) + $(large one 1g))) -gt 0
	guest_quit one
	same 'it ended well' "$guest_status" 0
	same 'and gave it back' "$(pool 1048576 free_hugepages) $(pool 1048576 resv_hugepages)" '1 0'
}

host_after()
{
	for mib in 32 48; do
		same "what a guest wrote at $mib MiB is in the image" \
			"$(dd if="$lab_run/disk1.img" bs=1M skip=$mib count=8 status=none | md5sum | cut -c1-32)" "$(cat "$lab_run/in/sum")"
	done
}
