# SPDX-License-Identifier: Apache-2.0
# BARs of every shape: huge (64-bit, 2 GiB), smaller than a page, beside an I/O BAR; an expansion ROM; a device with ATS.
# shellcheck shell=sh disable=SC2034

lab_devices="
	pci-testdev,membar=2G,membar-backed=on
	ivshmem-plain,memdev=shared
	virtio-blk-pci,drive=@16M,disable-legacy=on,iommu_platform=on,ats=on
	virtio-rng-pci,disable-legacy=on,romfile=${lab_run:-}/rom.bin
"
lab_memory=3G
lab_qemu_args='-object memory-backend-ram,id=shared,size=4M,share=on'

host_before()
{
	# A ROM image as PCI firmware wants it: signature, length in 512-byte units, data structure at 0x1c.
	{
		printf '\x55\xaa\x08'
		head -c 21 /dev/zero
		# Vendor 1af4, device 1044, length 0x18, class ff, image of 8 units, code type 1 (firmware will not run it), the last.
		printf '\x1c\x00\x00\x00PCIR\xf4\x1a\x44\x10\x00\x00\x18\x00\x00\x00\x00\xff\x08\x00\x00\x00\x01\x80\x00\x00'
		head -c 4096 /dev/urandom
	} >"$lab_run/rom-long.bin"
	head -c 4096 "$lab_run/rom-long.bin" >"$lab_run/rom.bin"
	md5sum <"$lab_run/rom.bin" | cut -c1-32 >"$lab_run/in/rom-sum"
}

job()
{
	guest_tools guestdev
	for n in 1 2 3 4; do
		check "bind device $n" bind "$(device $n)" || return
	done

	guest_ok huge 'a BAR of 2 GiB, all widths' "guestdev bar \$(guest_bdf 1b36:0005) 2 0x40000000" --vfio "$(device 1)"
	contains 'whole' "$guest_log" '^bar: 2147483648 bytes'

	guest_ok small 'a BAR of 256 bytes, and 4 MiB beside it' '
		d=$(guest_bdf 1af4:1110)
		guestdev peek $d 0 8 && guestdev bar $d 2 0x200000
	' --vfio "$(device 2)"
	contains 'whole' "$guest_log" '^bar: 4194304 bytes'

	guest_ok ats 'a disk with ATS works; the capability stays on the host' '
		test -b /dev/vda && head -c 21 /dev/vda && echo && ! guestdev cap $(guest_bdf 1af4:1042) 0x0f
	' --vfio "$(device 3)"

	# The first device of that kind is the machine's own.
	guest_ok rom 'the expansion ROM is read' '
		d=/sys/bus/pci/devices/$(guest_bdf 1af4:1044 2)
		echo 1 >$d/rom && md5sum <$d/rom
	' --vfio "$(device 4)"
	contains 'byte for byte' "$guest_log" "^$(cat /lab/in/rom-sum)"
	[ "$lab_vmm" = sluice ] || return 0
	guest_ok norom 'rom=off hides it' '
		test ! -e /sys/bus/pci/devices/$(guest_bdf 1af4:1044 2)/rom
	' --vfio "$(device 4),rom=off"
	head -c 2048 /dev/urandom >/tmp/other.rom
	guest_ok filerom 'rom=file=PATH replaces it' '
		d=/sys/bus/pci/devices/$(guest_bdf 1af4:1044 2)
		test -e $d/rom
	' --vfio "$(device 4),rom=/tmp/other.rom"
}
