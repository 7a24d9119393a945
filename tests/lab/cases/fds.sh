# SPDX-License-Identifier: Apache-2.0
# A launch without privileges: root opens the device and /dev/iommu, nobody runs the guest with the descriptors.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@16M
'

job()
{
	nvme=$(device 1)
	check 'bind' bind "$nvme" || return
	chmod 666 /dev/kvm
	# 256 MiB of guest memory are locked on its behalf.
	ulimit -l 600000
	run=$(printf 'head -c 21 /dev/nvme0n1' | base64)
	cp /lab/in/sluice /lab/in/vmlinux /lab/in/initramfs.cpio /tmp/ && chmod 755 /tmp/sluice
	timeout -s KILL 90 /lab/in/tools/as-nobody /tmp/sluice run --kernel /tmp/vmlinux --initrd /tmp/initramfs.cpio \
		--cmdline "$guest_cmdline run=$run" --iommufd fd=8 --vfio fd=9,id=disk \
		8<>/dev/iommu 9<>"$(vfio_node "$nvme")" >/tmp/fds.log 2>&1 </dev/null
	same 'nobody boots a guest with passed descriptors' "$?" 0
	contains 'and the disk is in it' /tmp/fds.log '^SLUICE-LAB-DISK disk1'

	(
		ulimit -l 64
		timeout -s KILL 90 /lab/in/tools/as-nobody /tmp/sluice run --kernel /tmp/vmlinux --initrd /tmp/initramfs.cpio \
			--cmdline "$guest_cmdline run=$run" --iommufd fd=8 --vfio fd=9,id=disk 8<>/dev/iommu 9<>"$(vfio_node "$nvme")"
	) >/tmp/memlock.log 2>&1 </dev/null
	same 'too little locked memory: refused' "$?" 1
	contains 'need, limit and remedy are said' /tmp/memlock.log 'memory must be pinned.*ulimit -l'
	# Where populating takes long, its progress is shown before.
	same 'in one message' "$(grep -v 'memory populated:' /tmp/memlock.log | grep -c .)" 1

	/lab/in/tools/as-nobody /tmp/sluice run --kernel /tmp/vmlinux --vfio "$nvme" >/tmp/perm.log 2>&1 </dev/null
	same 'no permission for iommufd: refused' "$?" 1
	contains 'what to do' /tmp/perm.log '/dev/iommu: no permission; run as root, .*--iommufd fd=N'
	same 'in one message' "$(grep -c . /tmp/perm.log)" 1
	chmod 666 /dev/iommu
	/lab/in/tools/as-nobody /tmp/sluice run --kernel /tmp/vmlinux --vfio "$nvme" >/tmp/perm.log 2>&1 </dev/null
	same 'no permission for the device: refused' "$?" 1
	contains 'which node, and what to do' /tmp/perm.log "$nvme: no permission to open $(vfio_node "$nvme"); run as root, or chown [0-9]+ $(vfio_node "$nvme")"
	same 'in one message' "$(grep -c . /tmp/perm.log)" 1
	chmod 600 /dev/iommu
	/lab/in/tools/as-nobody /tmp/sluice run --kernel /tmp/vmlinux --iommufd fd=8 --vfio fd=77 8<>/dev/iommu >/tmp/bad.log 2>&1 </dev/null
	same 'a descriptor that is none: a bad argument' "$?" 2
	contains 'by its number, and what to do' /tmp/bad.log 'vfio fd=77: nothing is open at that number; open /dev/vfio/devices/vfioN there'
}
