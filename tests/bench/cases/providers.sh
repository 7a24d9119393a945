# SPDX-License-Identifier: Apache-2.0
# The reference device in a guest, by each provider and by QEMU's vfio-user client of the same server: what an access, an
# interrupt and a byte of DMA cost. The clock is the lab host's count of instructions: it is the work of guest, VMM, server and
# kernel together, whatever else the machine does meanwhile.
# shellcheck shell=sh disable=SC2034,SC2154,SC3043

lab_iommu=none
lab_clock=instructions
lab_memory=3G
lab_seconds=1800
# The test device's software IOMMU has no interrupts to translate.
lab_args='iommufd.allow_unsafe_interrupts=1'

host_before() { cp "$bench_work/counts" "$lab_run/in/" && cp "$bench_work/refdev_time" "$lab_run/in/tools/"; }

# served NAME DEVICE: a server of it at /tmp/NAME.sock, as $server.
served()
{
	/lab/in/sluice serve --vfio "$2" --socket "/tmp/$1.sock" >"/tmp/$1-serve.log" 2>&1 &
	server=$!
	wait_for 60 test -S "/tmp/$1.sock"
}

unserved() { kill "$server" && wait "$server"; }

# counted PID NAME COMMAND: of the guest, while the system calls of PID are counted into /tmp/NAME.
counted()
{
	rm -f "/tmp/$2"
	/lab/in/counts "$1" "/tmp/$2" &
	counted_by=$!
	wait_for 60 test -e "/tmp/$2" && eval "$3"
	counted_status=$?
	kill "$counted_by" && wait "$counted_by" && return $counted_status
}

# count PROVIDER WORK AMOUNT: done so often, and what is counted of it into /lab/out/counts.
count()
{
	counted "$(guest_pid "$1")" vmm "guest_do $1 'refdev_time $2 -$3'" || return
	sed "s/^/$1 $2 $3 vmm /" /tmp/vmm >>/lab/out/counts
	[ -n "$server" ] || return 0
	counted "$server" server "guest_do $1 'refdev_time $2 -$3'" || return
	sed "s/^/$1 $2 $3 server /" /tmp/server >>/lab/out/counts
}

# measure PROVIDER: a guest with the device --vfio $2 of it. All that is counted is counted for few and for many, so that what
# the command itself costs can be taken off.
measure()
{
	guest_start "$@" || return
	for work in 'read 300' 'write 300' 'irq 200' 'copy 4194304' 'crc 1048576'; do
		guest_do "$1" "refdev_time $work" >/tmp/work || { cat /tmp/work; return 1; }
		tr -d '\r' </tmp/work | sed "s/^/$1 /" >>/lab/out/times
	done
	for work in read write irq; do
		count "$1" $work 20 && count "$1" $work 120 || return
	done
	guest_quit "$1"
	[ "$guest_status" = 0 ]
}

job()
{
	guest_seconds=600
	guest_tools refdev_time
	server=''
	check 'soft: measured' measure soft --vfio soft:reference

	check 'the test device' module vfio-reference physical=1 || return
	node=/dev/vfio/devices/$(basename /sys/devices/platform/vfio-reference-physical.0/vfio-dev/vfio*)
	check 'kernel: measured' measure kernel --vfio "$node"

	check 'broker: served' served broker "$node" || return
	check 'broker: measured' measure broker --vfio user:/tmp/broker.sock
	check 'broker: the server ended well' unserved

	check 'user: served' served user soft:reference || return
	check 'user: measured' measure user --vfio user:/tmp/user.sock
	lab_vmm=qemu
	check 'qemu: measured, with the same server' measure qemu --vfio user:/tmp/user.sock
	check 'user: the server ended well' unserved
}

# Lines of "PROVIDER_WORK VALUE", and of "PROVIDER_WORK_COUNT VALUE" for a hundred.
host_after()
{
	awk '{ print $1 "_" $2, $3 }' "$lab_run/out/times" >>"$bench_work/figures"
	awk '
		{ seen[$1 "_" $2]; n[$1, $2, $3, $4, $5] = $6 }
		# of OP, WHO, WHAT: the difference between many and few
		function many(p, w, who, what) { return n[p, w, 120, who, what] - n[p, w, 20, who, what] }
		END {
			for (k in seen) {
				split(k, of, "_")
				p = of[1]; w = of[2]
				printf "%s_exits %.0f\n", k, many(p, w, "vmm", "run")
				printf "%s_messages %.0f\n", k, many(p, w, "vmm", "send") + many(p, w, "server", "send")
				printf "%s_calls %.0f\n", k, many(p, w, "vmm", "calls") + many(p, w, "server", "calls")
			}
		}' "$lab_run/out/counts" >>"$bench_work/figures"
	cp "$lab_run/out/times" "$bench_work/times.txt"
	cp "$lab_run/out/counts" "$bench_work/counts.txt"
}
