# SPDX-License-Identifier: Apache-2.0
# A disk of the host at second hand: `sluice serve` has the NVMe, guests get it by vfio-user. Data by DMA and interrupts by
# MSI-X are the same; the client has neither the device nor /dev/iommu; one that is killed is cleaned up behind, and the next has
# the device; QEMU as the client has it too; SIGTERM leaves nothing behind. Then the same with the descriptor given away.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@64M
'
lab_seconds=300

host_before()
{
	dd if=/dev/urandom of="$lab_run/disk1.img" bs=1M seek=16 count=4 conv=notrunc iflag=fullblock status=none
	dd if="$lab_run/disk1.img" bs=1M skip=16 count=4 status=none | md5sum | cut -c1-32 >"$lab_run/in/sum"
}

# serve KEYS [OPTIONS...]: the server, as $serve.
serve()
{
	serve_keys=$1
	shift
	/lab/in/sluice serve --vfio "$nvme" --socket "/tmp/nvme.sock$serve_keys" "$@" -vv >/tmp/serve.log 2>&1 &
	serve=$!
	wait_for 30 test -S /tmp/nvme.sock
}

# reads GUEST: what the host wrote, by DMA and MSI-X.
reads()
{
	guest_do "$1" 'dd if=/dev/nvme0n1 bs=1M skip=16 count=4 iflag=direct 2>/dev/null | md5sum; grep nvme0q /proc/interrupts'
	contains "$1: what the host wrote is what the guest reads" "/tmp/$1.log" "^$(cat /lab/in/sum)"
	contains "$1: by MSI-X" "/tmp/$1.log" 'MSIX.*nvme0q0'
}

# writes GUEST MIB: what it reads is written at MIB, too, and has arrived when it says so; host_after looks.
writes()
{
	guest_do "$1" "dd if=/dev/nvme0n1 of=/dev/nvme0n1 bs=1M skip=16 seek=$2 count=4 iflag=direct oflag=direct conv=fsync 2>/dev/null && echo wrote $2"
	contains "$1: writes" "/tmp/$1.log" "^wrote $2"
}

host_after()
{
	for mib in 32 48; do
		same "what a guest wrote at $mib MiB is on the disk" \
			"$(dd if="$lab_run/disk1.img" bs=1M skip=$mib count=4 status=none | md5sum | cut -c1-32)" "$(cat "$lab_run/in/sum")"
	done
}

nothing_pinned() { awk '/^VmPin/ { exit $2 != 0 }' "/proc/$serve/status"; }
has_gone() { grep -c 'the client has gone' /tmp/serve.log | grep -qx "$1"; }

job()
{
	nvme=$(device 1)
	check 'bind' bind "$nvme" || return
	# The doorbell of the first I/O queue (NVMe base specification: 1000h + 2 * stride), for the tails that come first. One that
	# got lost would be a command that nobody does.
	doorbells=
	for tail in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16; do
		doorbells="$doorbells --doorbell region=0,offset=0x1008,size=4,value=$tail"
	done
	# shellcheck disable=SC2086 # words
	check 'served' serve '' $doorbells || { cat /tmp/serve.log >&2; return; }

	# The server pins what the guest has, in emulation and perhaps beside other work.
	check 'a guest' guest_start first --vfio user:/tmp/nvme.sock,timeout=120 || { cat /tmp/serve.log >&2; return; }
	reads first
	kill -USR1 "$(guest_pid first)"
	check 'doorbells are in KVM, and in the kernel of the host' wait_for 30 grep -qE '"doorbells": ?16' /tmp/first.log
	lacks 'all of them' /tmp/serve.log 'goes by messages'
	same 'nothing of VFIO is open in its VMM' "$(readlink /proc/"$(guest_pid first)"/fd/* | grep -c -e iommu -e /vfio)" 0
	kill -9 "$(guest_pid first)"
	check 'the server sees that it was killed' wait_for 30 has_gone 1
	contains 'and resets the device' /tmp/serve.log 'vfio .*: the client has gone'
	lacks 'without a complaint' /tmp/serve.log 'error:'
	check 'and has no memory of it any more' wait_for 30 nothing_pinned

	check 'the next guest' guest_start second --vfio user:/tmp/nvme.sock,timeout=120 || { cat /tmp/serve.log >&2; return; }
	reads second
	writes second 32
	guest_quit second
	same 'it ended well' "$guest_status" 0
	check 'the server sees that' wait_for 30 has_gone 2

	# The same kernel, initramfs and disk, with a client that others wrote.
	lab_vmm=qemu
	check "a guest of QEMU's" guest_start qemu --vfio user:/tmp/nvme.sock || { cat /tmp/serve.log >&2; return; }
	reads qemu
	writes qemu 48
	same "nothing of VFIO is open in it" "$(readlink /proc/"$(guest_pid qemu)"/fd/* | grep -c -e '/vfio')" 0
	guest_quit qemu
	same 'it ended well' "$guest_status" 0
	check 'the server sees that' wait_for 30 has_gone 3
	check 'and has no memory of it any more' wait_for 30 nothing_pinned
	lab_vmm=sluice

	kill $serve
	check 'the server ends well' wait $serve
	check 'and removes its socket' test ! -e /tmp/nvme.sock

	check 'served with its descriptor' serve ,share-fd=on || { cat /tmp/serve.log >&2; return; }
	contains 'which is said' /tmp/serve.log 'they reach all of the device'
	check 'a guest with the BARs' guest_start shared --vfio user:/tmp/nvme.sock,timeout=120 || { cat /tmp/serve.log >&2; return; }
	reads shared
	contains 'maps them' "/proc/$(guest_pid shared)/maps" 'vfio'
	kill $serve
	check 'the server ends well under a client' wait $serve
	# The guest lives on without the device.
	guest_quit shared
	check 'the device goes back to its driver' unbind "$nvme"
	check 'and works there' wait_for 10 test -b /dev/nvme0n1
}
