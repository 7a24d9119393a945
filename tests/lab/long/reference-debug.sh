# SPDX-License-Identifier: Apache-2.0
# The kernel test device in a kernel that watches itself: the tests of cases reference-kernel and contract-reference leave no use
# after free, no lock in the wrong order, and no memory behind.
# shellcheck shell=sh disable=SC2034

lab_vmm=none
lab_debug=yes
lab_iommu=none
lab_seconds=600
lab_args='iommufd.allow_unsafe_interrupts=1'

host_before() { contract_program; }

kmemleak=/sys/kernel/debug/kmemleak

job()
{
	[ -e $kmemleak ] || mount -t debugfs debugfs /sys/kernel/debug
	check 'kmemleak is there' test -e $kmemleak || return
	echo clear >$kmemleak
	check 'load' module vfio-reference emulated=2 physical=2 || return
	echo 2 >/proc/sys/vm/nr_hugepages
	for test in 'maps physical.0 physical.1' 'maps emulated.0 emulated.1' 'iommu physical.0' 'faults physical.1' 'faults emulated.1'; do
		set --
		for device in ${test#* }; do
			set -- "$@" "/sys/devices/platform/vfio-reference-$device"
		done
		"/lab/in/tools/reference-${test%% *}" "$@" >/tmp/tool.out 2>&1
		sed -n "s/^\(not \)*ok /&${test#* }: /p" /tmp/tool.out | tee -a /lab/out/results
	done
	# What they take away stays away: the suite has devices of its own.
	echo 1 >/sys/module/vfio_reference/parameters/teardown
	check 'unload' rmmod vfio-reference
	check 'load again' module vfio-reference emulated=2 physical=2 shared_sets=1 || return
	for kind in emulated physical; do
		contract kernel-$kind /sys/devices/platform/vfio-reference-$kind.0 --other /sys/devices/platform/vfio-reference-$kind.1
	done
	echo 1 >/sys/module/vfio_reference/parameters/teardown
	# Before the module goes: what it has allocated would be known no more by name.
	echo scan >$kmemleak
	echo scan >$kmemleak
	cp $kmemleak /lab/out/kmemleak
	lacks 'nothing is leaked' $kmemleak .
	check 'unload' rmmod vfio-reference
}
