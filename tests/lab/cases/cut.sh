# SPDX-License-Identifier: Apache-2.0
# A vfio-user server cuts the files behind its BARs, which cannot be sealed, while its guest reads them: the guest goes on, by
# messages, and it is reported.
# shellcheck shell=sh disable=SC2034

lab_iommu=none

host_before()
{
	. "$top_dir/tests/peers/lib.sh"
	mkdir -p "$lab_run/in/peers" && build_reference_server "$lab_run/in/peers/reference-server"
}

job()
{
	[ "$lab_vmm" = sluice ] || return 0
	guest_tools guestdev
	/lab/in/peers/reference-server /tmp/cut.sock >/tmp/server.log 2>&1 &
	server=$!
	check 'the server is there' wait_for 30 test -S /tmp/cut.sock
	check 'a guest' guest_start cut -v --cpus 2 --vfio user:/tmp/cut.sock,id=cut || return
	contains 'that the files can be cut is said' /tmp/cut.log 'files that the server may cut'

	# Memory of BAR 2 that is mapped.
	check 'it has a memory to read' guest_do cut 'rmmod refdev; d=$(guest_bdf feed:0001); guestdev bar $d 2 && guestdev peek $d 2 0 >/tmp/first' || return
	guest_do cut 'for i in 1 2; do (while guestdev peek $d 2 0; do :; done >/tmp/reads$i) & done'
	guest_do cut 'more() { for i in 1 2; do n=$(wc -l </tmp/reads$i); until [ $(wc -l </tmp/reads$i) -gt $((n + 5)) ]; do sleep 0.1; done; done; }'
	check 'both processors read' guest_do cut more
	kill -USR1 $server
	check 'the server cuts its files' wait_for 30 grep -q '^cut' /tmp/server.log
	check 'and both go on' guest_do cut more
	check 'with what was there' guest_do cut '[ $(cat /tmp/first /tmp/reads1 /tmp/reads2 | sort -u | wc -l) = 1 ]'
	contains 'it is reported' /tmp/cut.log 'vfio cut: its server cut the file behind BAR 2'
	same 'once' "$(grep -c 'cut the file behind BAR 2' /tmp/cut.log)" 1
	check 'the device works on' guest_do cut 'insmod /lib/modules/refdev.ko && refdev copy 1M'
	guest_quit cut
	same 'the guest ended well' "$guest_status" 0
	kill $server
}
