# SPDX-License-Identifier: Apache-2.0
# Guests with devices of another process (--vfio user:): the reference device from sluice serve, and from a server whose protocol
# code is libvfio-user's; and libvfio-user's own samples, one of which is to be refused.
# shellcheck shell=sh disable=SC2034

lab_iommu=none
lab_seconds=400

host_before()
{
	. "$top_dir/tests/peers/lib.sh"
	cp -r "$("$top_dir/setup/setup" peers)/bin" "$lab_run/in/peers" && build_reference_server "$lab_run/in/peers/reference-server"
}

# serve NAME COMMAND...: a server in the background, until its socket /tmp/NAME.sock is there.
serve()
{
	serve_name=$1
	shift
	rm -f "/tmp/$serve_name.sock"
	"$@" >"/tmp/$serve_name-server.log" 2>&1 &
	server=$!
	check "$serve_name: the server is there" wait_for 30 test -S "/tmp/$serve_name.sock"
}

job()
{
	. /lab/in/lib/refdev.sh
	guest_tools guestdev

	serve ours /lab/in/sluice serve --vfio soft:reference --socket /tmp/ours.sock || return
	refdev_guest ours --vfio user:/tmp/ours.sock
	refdev_rings ours
	guest_quit ours
	same 'ours: the guest ended well' "$guest_status" 0
	kill $server
	serve_status=0
	wait $server || serve_status=$?
	same 'ours: the server ended well' "$serve_status" 0

	serve theirs /lab/in/peers/reference-server /tmp/theirs.sock || return
	refdev_guest theirs --vfio user:/tmp/theirs.sock
	guest_quit theirs
	same 'theirs: the guest ended well' "$guest_status" 0
	kill $server

	# The server maps none of the guest's memory: each access to it is a message to us, and both processors have commands for it.
	serve messages /lab/in/peers/reference-server -m /tmp/messages.sock || return
	check 'messages: the guest is there' guest_start messages --cpus 2 --vfio user:/tmp/messages.sock || return
	refdev_does messages '16 MiB by DMA' '^copied 16777216 bytes in 4 requests .*verified' refdev copy 16M
	refdev_does messages 'both processors at once' '^copied 4194304 bytes in [0-9]+ requests by 2 threads.*verified' refdev stress 4M 2
	refdev_does messages 'an interrupt for each request' '^100 interrupts over 64' refdev irqs 100
	refdev_does messages 'what must fail fails' 'beyond' refdev errors
	kill -USR1 "$(guest_pid messages)"
	check 'messages: by messages' wait_for 30 grep -qE '"dma_reads": ?[1-9][0-9]*, ?"dma_writes": ?[1-9]' /tmp/messages.log
	guest_quit messages
	same 'messages: the guest ended well' "$guest_status" 0
	kill $server

	serve gpio /lab/in/peers/gpio-pci-idio-16 /tmp/gpio.sock || return
	guest_ok gpio "libvfio-user's gpio in a guest" '
		for d in /sys/bus/pci/devices/*; do [ "$(cat $d/device)" != 0x0dc8 ] || break; done
		cat $d/vendor $d/device; echo 1 >$d/enable
		for i in 1 2 3 4 5 6 7; do dd if=$d/resource2 bs=1 count=1 2>/dev/null | od -An -tu1; done
	' --vfio user:/tmp/gpio.sock
	# Its pins are a counter that goes up with every third read.
	contains 'its registers answer' "$guest_log" '^ +2'
	kill $server

	# A BAR of 12 KiB: nothing that PCI has.
	serve odd /lab/in/peers/server /tmp/odd.sock || return
	guest odd true --vfio user:/tmp/odd.sock
	same 'a BAR of 12 KiB is refused' "$vmm_status" 1
	contains 'and why is said' "$guest_log" 'odd.sock.*power of two'
	# It may have ended by itself.
	kill $server 2>/dev/null || true
}
