# SPDX-License-Identifier: Apache-2.0
# The lab host, from outside: what run, shell and play share. The lab host ("L1") is QEMU in software emulation with
# an emulated IOMMU and PCI devices; its guests ("L2") run in sluice inside.
# shellcheck shell=bash

lab_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$lab_dir/../../setup/lib.sh"

# The words of setup's progress lines are fine here too, but they are not setup's.
complain() { printf '%s: %s\n' "$(basename "$0")" "$*" >&2; }

# --- what the lab is made of ----------------------------------------------------------------------------------

# Small static programs for the lab host: tests/lab/tools/*.c.
labtools_key() { key_of "recipe 3" "headers $lab_headers" "$(cat "$lab_dir"/tools/*.[ch] "$top_dir/devices/vfio/reference/registers.h")"; }

make_labtools()
{
	run_logged "compiling the lab's tools" "$cache/log/labtools" compile_labtools "$1"
}

compile_labtools()
{
	printf '%s\n' "$lab_dir"/tools/*.c | sed 's/.*\/\(.*\)\.c$/\1/' | xargs -P "$(nproc)" -I NAME \
		gcc -std=gnu17 -O2 -Wall -Wextra -Werror -static -isystem "$lab_headers" -I "$top_dir" \
		-o "$1/NAME" "$lab_dir/tools/NAME.c" -ljansson
}

# Kernel modules for the lab host: tests/lab/modules/NAME/, NAME.ko, and what they share with sluice.
labmodules_key()
{
	key_of "recipe 1" "kernel $lab_kernel" "$(cat "$top_dir"/devices/vfio/reference/*.[ch] \
		$(find "$lab_dir/modules" -type f | sort))"
}

make_labmodules()
{
	local module objects=$cache/tmp/labmodules-objects-$$

	for module in "$lab_dir"/modules/*/; do
		rm -rf "$objects"
		run_logged "compiling $(basename "$module").ko" "$cache/log/labmodules" \
			"$top_dir/setup/module" "$module" "$objects" ${lab_debug:+debug-kernel}
		strip -g -o "$1/$(basename "$module").ko" "$objects/$(basename "$module").ko"
	done
	rm -rf "$objects"
}

# lab_ready [bare]: make what is missing, set the paths. bare: without modules of our own.
lab_ready()
{
	local paths

	paths=$("$top_dir/setup/setup" lab) || exit 1
	{ read -r lab_headers; read -r lab_qemu; read -r lab_initramfs; read -r lab_kernel; } <<<"$paths"
	product labtools
	lab_tools=$product
	lab_modules=''
	[ "${1:-}" = bare ] || find_modules
	# TCG's guests see the host's own time stamp counter. Told its rate they need not measure it, which goes wrong
	# on a busy machine: one lab host ran ten times too fast.
	lab_tsc_khz=$("$lab_tools/tsc-khz")
	# Bounds on time are for what hangs, not for a busy machine.
	lab_slow=${LAB_SLOW:-$(awk -v cores="$(nproc)" '{ printf "%d", 1 + $1 / cores }' /proc/loadavg)}
}

# find_modules: our own modules for $lab_kernel, or those of LAB_MODULES=DIR (broken on purpose, see mutants/run).
find_modules()
{
	lab_modules=${LAB_MODULES:-}
	if [ -z "$lab_modules" ]; then product labmodules; lab_modules=$product; fi
}

# sluice_binary: the program under test. The lab host has no libraries: a static one.
sluice_binary()
{
	local file

	for file in ${SLUICE:+"$SLUICE"} "$top_dir/build/sluice-static" "$top_dir/build/sluice"; do
		[ -x "$file" ] || continue
		if LC_ALL=C readelf -lW "$file" | grep -q INTERP; then
			complain "$file needs libraries that the lab host does not have; run: make static"
			return 1
		fi
		printf '%s\n' "$file"
		return 0
	done
	complain "no sluice to run${SLUICE:+ at $SLUICE}; run: make static"
	return 1
}

# --- the machine a case asks for ------------------------------------------------------------------------------

# case_defaults: what a case's header may set.
case_defaults()
{
	lab_devices=''       # one per line: a QEMU device, on a root port of its own; "+" before it: next function of the same
	lab_iommu=intel      # intel, intel-sm, intel-fs, amd, virtio, none
	lab_memory=2G        # of the lab host
	lab_cpus=1
	lab_clock=host       # instructions: a nanosecond is one instruction of the lab host, however busy the machine is
	lab_args=''          # for the lab host's kernel
	lab_qemu_args=''     # words for QEMU
	lab_debug=''         # yes: the lab host's kernel has KASAN, lockdep and kmemleak (setup/setup debug-kernel: long to build)
	lab_seconds=120      # bound on the whole boot; multiplied on a busy machine
	lab_vmm=sluice       # sluice, qemu (as a guest's VMM) or none
	lab_want_warnings='' # yes: kernel warnings in the lab host are part of the test
}

iommu_device()
{
	case $1 in
	intel) echo "-device intel-iommu,intremap=on,caching-mode=on,device-iotlb=on" ;;
	intel-sm) echo "-device intel-iommu,intremap=on,caching-mode=on,device-iotlb=on,scalable-mode=on" ;;
	intel-fs) echo "-device intel-iommu,intremap=on,device-iotlb=on,scalable-mode=on,fsts=on,pasid-bits=16" ;;
	amd) echo "-device amd-iommu,intremap=on,xtsup=on,dma-remap=on,device-iotlb=on" ;;
	virtio) echo "-device virtio-iommu-pci,addr=1e.0" ;;
	none) ;;
	*) complain "lab_iommu=$1: there is no such kind"; return 1 ;;
	esac
}

# make_disk FILE SIZE: an image that is recognised by its head.
make_disk()
{
	truncate -s "$2" "$1"
	printf 'SLUICE-LAB-DISK %s\n' "$(basename "$1" .img)" | dd of="$1" conv=notrunc status=none
}

# device_args DIR: $lab_devices as QEMU arguments in the array device_args. drive=@SIZE makes an image DIR/diskN.img.
# Port N is 00:(N+2).0 in the lab host; job.sh's "device N" finds what sits behind it.
device_args()
{
	local dir=$1 line slot=0 function=0 disk=0 size place lines

	device_args=()
	mapfile -t lines < <(sed 's/^[[:space:]]*//; /^$/d; /^#/d' <<<"$lab_devices")
	for i in "${!lines[@]}"; do
		line=${lines[i]}
		if [ "${line#+}" != "$line" ]; then
			line=${line#+}
			function=$((function + 1))
		else
			slot=$((slot + 1))
			function=0
			device_args+=(-device "pcie-root-port,id=port$slot,chassis=$slot,slot=$slot,bus=pcie.0,addr=$(printf %x $((slot + 2))).0,x-speed=5")
		fi
		if [[ $line =~ drive=@([0-9]+[KMG]) ]]; then
			disk=$((disk + 1))
			size=${BASH_REMATCH[1]}
			make_disk "$dir/disk$disk.img" "$size"
			device_args+=(-drive "if=none,id=disk$disk,format=raw,file=$dir/disk$disk.img")
			line=${line/@$size/disk$disk}
		fi
		place=bus=port$slot,id=dev$slot
		[ "$function" -eq 0 ] || place=bus=port$slot,id=dev$slot.$function,addr=0.$function
		next=${lines[i + 1]:-}
		[ "$function" -ne 0 ] || [ "${next#+}" = "$next" ] || place=$place,addr=0.0,multifunction=on
		device_args+=(-device "$line,$place")
	done
}

# lab_dir_for NAME: a new directory for one boot. in/ is read by the lab host, out/ written.
lab_dir_for()
{
	mkdir -p "$cache/lab"
	# What failed yesterday has been looked at.
	find "$cache/lab" -mindepth 1 -maxdepth 1 -mmin +1440 -exec rm -rf {} +
	mktemp -d "$cache/lab/$1.XXXXXX"
}

# fill_in DIR: what every lab host finds in /lab/in.
fill_in()
{
	local file

	if [ -n "$lab_debug" ]; then
		lab_kernel=$("$top_dir/setup/setup" debug-kernel) || return 1
		find_modules
	fi
	mkdir -p "$1/in" "$1/out"
	# errexit is off where the caller looks at the status.
	cp -r "$lab_dir/lib" "$1/in/lib" || return 1
	cp -r "$lab_tools" "$1/in/tools" || return 1
	cp -r "$lab_kernel/modules" "$1/in/modules" || return 1
	[ -z "$lab_modules" ] || cp "$lab_modules"/*.ko "$1/in/modules/" || return 1
	for file in "$lab_kernel/vmlinux" "$lab_kernel/bzImage" "$lab_initramfs"; do
		# A link costs nothing, but the lab may lie on another file system than the cache.
		ln "$file" "$1/in/" 2>/dev/null || cp "$file" "$1/in/" || return 1
	done
	if [ "$lab_vmm" = sluice ]; then
		file=$(sluice_binary) || return 1
		cp "$file" "$1/in/sluice" || return 1
	fi
	printf '%s\n' "lab_vmm=$lab_vmm" "lab_tsc_khz=$(tsc_khz)" "lab_seconds=$lab_seconds" "lab_slow=$lab_slow" \
		"lab_want_warnings=$lab_want_warnings" >"$1/in/env"
}

# tsc_khz: what the TSC of the lab host counts, and of its guests.
tsc_khz()
{
	# QEMU's TSC counts the nanoseconds of its virtual clock where that counts instructions.
	if [ "$lab_clock" = instructions ]; then echo 1000000; else echo "$lab_tsc_khz"; fi
}

# lab_command DIR KERNEL-ARGS QEMU-ARGS...: the array lab_command, ready to run.
lab_command()
{
	local dir=$1 args=$2 iommu share accel=tcg,thread=multi cpu=max
	shift 2

	device_args "$dir"
	iommu=$(iommu_device "$lab_iommu") || return 1
	share=("in,path=$dir/in,readonly=on" "out,path=$dir/out")
	# QEMU itself is there for cases that compare with it.
	share+=("qemu,path=$lab_qemu,readonly=on")
	if [ "$lab_clock" = instructions ]; then
		# Of `rep stosb` it counts every byte, as no processor does: without erms pages are cleared by words.
		accel=tcg,thread=single cpu=max,erms=off,fsrm=off
		set -- "$@" -icount shift=0,sleep=off
	fi
	# shellcheck disable=SC2206 # words
	lab_command=("$lab_qemu/bin/qemu-system-x86_64" -nodefaults -no-user-config -display none -no-reboot
		-machine q35 -accel "$accel" -cpu "$cpu" -smp "$lab_cpus" -m "$lab_memory" $iommu
		-kernel "$lab_kernel/bzImage" -initrd "$lab_initramfs"
		-append "console=ttyS0 panic=-1 quiet cryptomgr.notests intel_iommu=on,sm_on no_timer_check tsc=reliable tsc_early_khz=$(tsc_khz) $lab_args $args"
		"${device_args[@]}")
	for share in "${share[@]}"; do
		lab_command+=(-fsdev "local,id=${share%%,*},${share#*,},security_model=none"
			-device "virtio-9p-pci,fsdev=${share%%,*},mount_tag=${share%%,*}")
	done
	# A line to QEMU's monitor from inside, so that a job can unplug a device or inject an error: QEMU is its own client.
	lab_command+=(-device virtio-serial-pci,id=vser
		-chardev "socket,id=monitor,path=$dir/monitor,server=on,wait=off" -monitor chardev:monitor
		-chardev "socket,id=line,path=$dir/monitor" -device virtserialport,chardev=line,name=monitor)
	# shellcheck disable=SC2206 # words
	lab_command+=($lab_qemu_args "$@")
}
