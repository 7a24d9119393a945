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

# rom_image UNITS: a ROM image as PCI firmware wants it, of so many 512 bytes (up to 255).
rom_image()
{
	units=$(printf '\\x%02x' "$1")
	{
		# Signature, length in units, data structure at 0x1c.
		printf "\\x55\\xaa$units"
		head -c 21 /dev/zero
		printf '\x1c\x00\x00\x00'
		# Vendor 1af4, device 1044, length 0x18, class ff, length in units, code type 1 (firmware will not run it), the last.
		printf "PCIR\\xf4\\x1a\\x44\\x10\\x00\\x00\\x18\\x00\\x00\\x00\\x00\\xff$units\\x00\\x00\\x00\\x01\\x80\\x00\\x00"
		head -c $(($1 * 512)) /dev/urandom
	} >"$lab_run/rom-long.bin"
	head -c $(($1 * 512)) "$lab_run/rom-long.bin"
}

host_before()
{
	rom_image 8 >"$lab_run/rom.bin"
	md5sum <"$lab_run/rom.bin" | cut -c1-32 >"$lab_run/in/rom-sum"
	# Smaller than the device's own, and larger than its BAR and no power of two.
	rom_image 4 >"$lab_run/in/small.rom"
	rom_image 137 >"$lab_run/in/large.rom"
}

# rom_of_file NAME FILE BAR-SIZE: the guest reads the bytes of the file through sysfs, out of a BAR of that size.
rom_of_file()
{
	guest_ok filerom "$1" '
		d=/sys/bus/pci/devices/$(guest_bdf 1af4:1044 2)
		awk "NR == 7 { print \"BAR\", \$1, \$2 }" $d/resource
		echo 1 >$d/rom && md5sum <$d/rom
	' --vfio "$(device 4),rom=$2"
	contains "$1: byte for byte" "$guest_log" "^$(md5sum <"$2" | cut -c1-32)"
	same "$1: the size of its BAR" "$(($(sed -n 's/^BAR \(.*\) \(.*\)/\2 - \1 + 1/p' "$guest_log")))" "$3"
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
	rom_of_file 'a small file for a ROM' /lab/in/small.rom 2048
	rom_of_file 'a large one' /lab/in/large.rom 131072
}
