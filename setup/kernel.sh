# SPDX-License-Identifier: Apache-2.0
# source, headers, kernel: the Linux that is both the lab host and its guest, its user API, and what its modules
# are built against.
# shellcheck shell=bash

# Left out when the source is unpacked (1.6 GB become 0.5 GB): code the configuration cannot reach. Kconfig files and
# Makefiles stay, since the others refer to them.
source_excludes=(
	'*/Documentation/*.rst' '*/Documentation/*.svg' '*/Documentation/devicetree/*' '*/Documentation/translations/*'
	'*/drivers/gpu/*.[ch]' '*/drivers/staging/*.[ch]' '*/drivers/media/*.[ch]' '*/drivers/infiniband/*.[ch]'
	'*/drivers/net/wireless/*.[ch]' '*/drivers/scsi/*.[ch]' '*/drivers/accel/*.[ch]' '*/drivers/comedi/*.[ch]'
	'*/drivers/net/ethernet/[a-hj-z]*/*.[ch]' '*/drivers/net/can/*.[ch]' '*/drivers/iio/*.[ch]' '*/drivers/hwmon/*.[ch]'
	'*/drivers/clk/*/*.[ch]' '*/drivers/pinctrl/*/*.[ch]' '*/drivers/regulator/*.[ch]' '*/drivers/crypto/*/*.[ch]'
	'*/sound/*.[ch]' '*/fs/xfs/*.[ch]' '*/fs/btrfs/*.[ch]' '*/fs/smb/*.[ch]' '*/fs/ocfs2/*.[ch]' '*/fs/f2fs/*.[ch]'
	'*/fs/nfs/*.[ch]' '*/fs/nfsd/*.[ch]' '*/fs/bcachefs/*.[ch]' '*/fs/ceph/*.[ch]' '*/net/sctp/*.[ch]' '*/net/mac80211/*.[ch]'
	'*/tools/perf/*' '*/tools/testing/selftests/bpf/*' '*/tools/testing/selftests/net/*'
	'*/arch/[!x]*/*.[chS]' '*/arch/[!x]*/*.dts*' '*/arch/[!x]*/*.yaml' '*/arch/[!x]*/configs/*' '*/arch/xtensa/*.[chS]'
)

# What the lab needs otherwise than Linux has it; each says why.
source_patches=("$top_dir"/guest-images/*.patch)

source_key() { key_of "$(packages_of source)" "${source_excludes[@]}" "${source_patches[@]/#/@}"; }

make_source()
{
	run_logged "fetching the kernel's source" "$cache/log/source" fetch_packages source
	run_logged "unpacking the kernel's source" "$cache/log/source" unpack_source "$1"
}

unpack_source()
{
	local pattern excludes=()

	for pattern in "${source_excludes[@]}"; do excludes+=("--exclude=$pattern"); done
	# Two archives deep, and neither is ever written to the disk.
	dpkg-deb --fsys-tarfile "$apt_dir/source"/*.deb |
		tar -x -O --wildcards -f - './usr/src/linux-source-*.tar.xz' |
		xz -d -c -T0 |
		tar -x -C "$1" --strip-components=1 "${excludes[@]}" -f -
	rm -rf "${apt_dir:?}/source"
	for pattern in "${source_patches[@]}"; do patch -d "$1" -p1 -F0 <"$pattern"; done
}

headers_key() { key_of "$(packages_of headers)" "recipe 2"; }

make_headers()
{
	run_logged "fetching the kernel's headers" "$cache/log/headers" fetch_packages headers
	unpack_packages headers "$1"
	# Debian keeps asm/ apart for each architecture; here it must come before the machine's own, older one.
	ln -s "$arch-linux-gnu/asm" "$1/usr/include/asm"
}

# --- the kernel ---------------------------------------------------------------------------------------------

kernel_config=$top_dir/guest-images/lab-x86_64.config
debug_config=$top_dir/guest-images/lab-debug.config

# A recipe's number stands for make_kernel's own text: raise it when what it produces changes.
kernel_recipe=1

kernel_key() { key_of "$(source_key)" "recipe $kernel_recipe" "@$kernel_config"; }

make_kernel() { make_kernel_of kernel "building the lab kernel (6 to 13 minutes on 2 cores)" "$1" "$kernel_config"; }

# The same kernel watching itself, to find the faults of our kernel modules. Not named kernel-debug: a kernel-* is a
# generation of kernel.
debug-kernel_key() { key_of "$(kernel_key)" "@$debug_config"; }

make_debug-kernel()
{
	make_kernel_of debug-kernel "building the lab kernel with KASAN and lockdep (10 to 15 minutes on 2 cores)" \
		"$1" "$kernel_config" "$debug_config"
}

# make_kernel_of WHAT LABEL DIR CONFIG...
make_kernel_of()
{
	local what=$1 label=$2 build module
	shift 2

	setup_native
	product source
	build=$cache/build/$what-$("${what}_key")
	# The build directory outlives an interruption; make goes on where it was.
	mkdir -p "$build"
	# Of an option that two of them set, the later one counts.
	awk -F= '/^CONFIG_/ { line[$1] = $0 } END { for (i in line) print line[i] }' "${@:2}" >"$build/lab.config"
	progress=count_objects run_logged "$label" "$cache/log/$what" build_kernel "$product" "$build"

	cp "$build/arch/x86/boot/bzImage" "$build/.config" "$1"
	# Without symbols, but with the PVH note and all that is loaded.
	strip -s -o "$1/vmlinux" "$build/vmlinux"
	cp "$build/System.map" "$1"
	mkdir "$1/modules"
	while read -r module; do
		strip -g -o "$1/modules/$(basename "$module")" "$build/$module"
	done < <(sed 's/\.o$/.ko/' "$build/modules.order")
	keep_module_build "$build" "$1/build"
	rm -rf "$build"
	find "$cache/build" -mindepth 1 -maxdepth 1 -name "$what-*" -mmin +1440 -exec rm -rf {} +
}

build_kernel()
{
	local source=$1 build=$2

	# A finished configuration is left alone: make would build again whatever is newer.
	if [ ! -e "$build/configured" ]; then
		make -C "$source" O="$build" KCONFIG_ALLCONFIG="$build/lab.config" allnoconfig
		unheeded_config "$build/.config" "$build/lab.config"
		touch "$build/configured"
	fi
	# What macros a message comes from costs the compiler a tenth of its time, and nobody reads its messages here.
	make -C "$source" O="$build" -j"$(nproc)" KCFLAGS=-ftrack-macro-expansion=0 KBUILD_BUILD_TIMESTAMP=1970-01-01 KBUILD_BUILD_USER=sluice \
		KBUILD_BUILD_HOST=lab bzImage modules
}

# unheeded_config CONFIG WANTED: an option that Kconfig dropped (a dependency is missing, a name has changed) must not go unnoticed
# until some test fails for want of it.
unheeded_config()
{
	local line wrong=0

	while read -r line; do
		case $line in
		*=n) ! grep -q "^${line%=n}=" "$1" || { echo "not heeded: $line"; wrong=1; } ;;
		*) grep -qxF "$line" "$1" || { echo "not heeded: $line"; wrong=1; } ;;
		esac
	done < <(grep '^CONFIG_' "$2")
	return "$wrong"
}

count_objects() { printf '%s of about 1540 files\n' "$(grep -cE '^  (CC|AS|HOSTCC) ' "$1")"; }

# keep_module_build BUILD DIR: what building a module against this kernel takes, without the objects.
keep_module_build()
{
	mkdir "$2"
	(cd "$1" && tar -c --exclude='*.o' --exclude='*.a' --exclude='*.cmd' --exclude='./vmlinux*' --exclude='./arch/x86/boot' \
		-f - ./.config ./Module.symvers ./include ./scripts ./tools ./arch) | tar -x -C "$2" -f -
}
