# SPDX-License-Identifier: Apache-2.0
# A kernel test device with a planted fault (see run) goes through its tests, up to the first that fails.
# shellcheck shell=sh disable=SC2034

lab_vmm=none
lab_iommu=none
lab_seconds=90
lab_args='iommufd.allow_unsafe_interrupts=1'

host_before() { contract_program; }

# caught: a check has failed, or the kernel complains.
caught() { grep -q '^not ok' /lab/out/results || dmesg | grep -qE 'WARNING:|BUG:|Oops|general protection|refcount_t'; }

# tool TOOL KIND N [OTHER]
tool()
{
	FIRST_FAILURE=1 "/lab/in/tools/$1" "/sys/devices/platform/vfio-reference-$2.$3" \
		${4:+"/sys/devices/platform/vfio-reference-$2.$4"} >/tmp/tool.out 2>&1
	tool_status=$?
	sed -n 's/^\(not \)*ok /&'"$2: /p" /tmp/tool.out >>/lab/out/results
	same "$1 $2: status" "$tool_status" 0
	! caught
}

unload()
{
	echo 1 >/sys/module/vfio_reference/parameters/teardown
	check 'unload' rmmod vfio-reference
}

job()
{
	check 'load' module vfio-reference emulated=2 physical=2 || return
	echo 2 >/proc/sys/vm/nr_hugepages
	# The quick ones first. What they take away stays away: the suite has devices of its own.
	tool reference-maps physical 0 1 && tool reference-maps emulated 0 1 || return
	tool reference-faults physical 1 && tool reference-faults emulated 1 && tool reference-iommu physical 0 || return
	unload && check 'load again' module vfio-reference emulated=2 physical=2 shared_sets=1 || return
	for kind in emulated physical; do
		contract kernel-$kind /sys/devices/platform/vfio-reference-$kind.0 --other /sys/devices/platform/vfio-reference-$kind.1
		! caught || return
	done
	unload
}
