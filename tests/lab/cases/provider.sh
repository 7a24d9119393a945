# SPDX-License-Identifier: Apache-2.0
# The kernel provider on its own (tests/contract/provider.c), without a guest: open, attach, DMA, interrupts, resets, a
# thousand cycles that leave nothing, VF tokens, and what it says when the kernel refuses.
# shellcheck shell=sh disable=SC2034

lab_vmm=none
lab_seconds=240
lab_args='vfio_pci.enable_sriov=1'
lab_devices='
	nvme,serial=lab1,drive=@16M
	edu
	+edu
	igb,romfile=
	nvme,serial=lab2,drive=@16M
	+nvme,serial=lab3,drive=@16M
'

host_before()
{
	# One at a time: other cases build it too.
	flock "$top_dir/Makefile" make -s -C "$top_dir" build/tests/contract/provider && cp "$top_dir/build/tests/contract/provider" "$lab_run/in/"
}

provider=/lab/in/provider

# passes NAME ARGUMENTS...: the program's own checks are checks of the case, and it prints $passes_messages messages.
passes_messages=0
passes()
{
	passes_name=$1
	shift
	$provider "$@" >"/tmp/$passes_name.out" 2>"/tmp/$passes_name.err"
	passed "$passes_name" $?
}

# passed NAME STATUS: the same of a program that has run.
passed()
{
	sed -n "s/^\(not \)*ok /&$1: /p" "/tmp/$1.out" | tee -a /lab/out/results
	grep '^refused' "/tmp/$1.out"
	cat "/tmp/$1.out" "/tmp/$1.err" >"/tmp/passes-$1.log"
	same "$1: status" "$2" 0
	same "$1: messages" "$(grep -c . "/tmp/$1.err")" "$passes_messages"
}

# refuses NAME ERRNO PATTERN ARGUMENTS...: this errno, one message like PATTERN.
refuses()
{
	refuses_name=$1 refuses_errno=$2 refuses_pattern=$3
	shift 3
	$provider "$@" >/tmp/refuses.out 2>/tmp/refuses.err
	same "$refuses_name: errno" "$(sed -n 's/^refused //p' /tmp/refuses.out)" "$refuses_errno"
	contains "$refuses_name: why, and what to do" /tmp/refuses.err "$refuses_pattern"
	same "$refuses_name: one message" "$(grep -c . /tmp/refuses.err)" 1
	cat /tmp/refuses.err >>/tmp/messages.log
}

# The last references go a moment after the process.
nothing_left() { ! grep -q vfio /proc/interrupts && [ -z "$(ls -d /sys/kernel/debug/kvm/[0-9]* 2>/dev/null)" ]; }

job()
{
	nvme=$(device 1) edu=$(device 2) igb=$(device 3) first=$(device 4 0) second=$(device 4 1)

	refuses 'host driver' EBUSY "$nvme: .*nvme.*sluice bind $nvme" open "$nvme"
	refuses 'no driver' ENODEV "$edu: .*no driver.*sluice bind" open "$edu"
	refuses 'no such device' ENOENT '0000:77:00.0: .*no such device' open 77:00.0
	for bdf in "$nvme" "$edu" "$igb" "$first"; do
		check "bind $bdf" bind "$bdf" || return
	done

	passes nvme use "$nvme"
	passes igb use "$igb"
	passes edu use "$edu"
	passes node use "$(vfio_node "$nvme")"
	passes sysfs use "$(readlink -f "$pci/devices/$nvme")"
	passes descriptor use fd=7 7<>"$(vfio_node "$nvme")"
	passes dma dma "$edu"
	# In the background: each waits for the kernel. The other function of the slot is with no VFIO driver, or each close
	# would reset the bus, and wait for that too.
	$provider cycle 1000 "$edu" >/tmp/cycles.out 2>/tmp/cycles.err &
	cycles=$!
	passes resets cycle 5 "$nvme"
	passes two open "$nvme" "$igb"
	passes migratable --migratable open "$nvme" "$igb"

	module mtty
	uuid=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001
	echo $uuid >/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create
	passes mdev migrate /sys/bus/mdev/devices/$uuid

	refuses twice EEXIST "$nvme: .*named twice" open "$nvme" "${nvme#0000:}"
	refuses sibling EPERM "$first: IOMMU group [0-9]* also holds $second \(nvme\); sluice bind" open "$first"
	check 'bind the sibling' bind "$second" || return
	passes slot reset "$first" "$second"
	refuses memlock ENOMEM 'RLIMIT_MEMLOCK is 1024 KiB.*ulimit -l' --memlock 1048576 open "$nvme"

	mkfifo /tmp/hold.in
	/lab/in/tools/vfio-hold "$(vfio_node "$nvme")" <>/tmp/hold.in >/tmp/hold.log 2>&1 &
	hold=$!
	check 'someone holds the device' wait_for 30 grep -q held /tmp/hold.log
	refuses busy EINVAL "$nvme: process $hold .*has the device" open "$nvme"
	kill $hold; wait $hold
	/lab/in/tools/vfio-hold "$(group_node "$nvme")" <>/tmp/hold.in >/tmp/hold.log 2>&1 &
	hold=$!
	check 'a legacy user holds the group' wait_for 30 grep -q held /tmp/hold.log
	refuses legacy EBUSY "$nvme: process $hold .*legacy" open "$nvme"
	kill $hold; wait $hold
	/lab/in/tools/vfio-hold "$(vfio_node "$first")" <>/tmp/hold.in >/tmp/hold.log 2>&1 &
	hold=$!
	check 'another VM holds the sibling' wait_for 30 grep -q held /tmp/hold.log
	refuses 'group of another VM' EPERM "$second: .*also holds $first, which process $hold" open "$second"
	kill $hold; wait $hold
	mv /dev/iommu /dev/iommu.away
	$provider open "$nvme" 2>/tmp/iommu.err
	contains 'no iommufd' /tmp/iommu.err 'CONFIG_IOMMUFD'
	mv /dev/iommu.away /dev/iommu
	mv "$(vfio_node "$nvme")" /dev/node.away
	refuses 'no node' ENOENT "$nvme: .*is no /dev/vfio/devices/vfio" open "$nvme"
	mv /dev/node.away "$(vfio_node "$nvme")"

	$provider hold "$nvme" >/tmp/request.log 2>&1 &
	hold=$!
	check 'held' wait_for 30 grep -q held /tmp/request.log
	echo "$nvme" >"$pci/drivers/vfio-pci/unbind"
	check 'the host has it back' wait $hold
	contains 'after it asked once' /tmp/request.log '^request 0'
	same 'no driver holds it' "$(driver_of "$nvme")" ''

	echo 1 >"$pci/devices/$igb/sriov_numvfs"
	vf=$(basename "$(readlink "$pci/devices/$igb/virtfn0")")
	same 'a VF on vfio-pci' "$(driver_of "$vf")" vfio-pci || return
	passes_messages=2 # no token, wrong token
	passes token token "$igb" "$vf"
	refuses 'a token that nobody wants' EACCES "$vf: .*token=UUID" open "$igb" "$vf"

	passes_messages=0
	wait $cycles
	passed cycles $?
	check 'no interrupt of the cycles is left, and no VM' wait_for 20 nothing_left
}
