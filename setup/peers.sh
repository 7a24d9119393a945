# SPDX-License-Identifier: Apache-2.0
# peers, selftests: programs that others wrote for the interfaces sluice speaks, to be tested against: libvfio-user's samples
# and the kernel's selftests of VFIO. Static, since the lab host has no libraries.
# shellcheck shell=bash

peers_recipe=3

peers_key() { key_of "$(packages_of peers)" "recipe $peers_recipe"; }

make_peers()
{
	setup_native
	run_logged "fetching libvfio-user" "$cache/log/peers" fetch_packages peers source
	run_logged "building libvfio-user" "$cache/log/peers" build_peers "$1"
	rm -rf "${apt_dir:?}/peers"
}

# build_peers DIR: the library is nine files; its own build asks for more than it takes.
build_peers()
{
	local dir=$1 source=$cache/build/peers name flags
	local sources=(dma irq libvfio-user migration pci pci_caps tran tran_sock)

	rm -rf "$source"
	mkdir -p "$source/o"
	# The archive holds all of QEMU.
	xz -d -c -T0 "$apt_dir/peers"/*.orig.tar.xz |
		tar -x -C "$source" --strip-components=3 --wildcards -f - '*/subprojects/libvfio-user/*'
	cd "$source"
	read -ra flags <<<"-std=gnu99 -O1 -g -D_GNU_SOURCE -DDEBUG -Iinclude -Ilib -I. $(pkg-config --cflags json-c)"
	for name in "${sources[@]}"; do gcc "${flags[@]}" -c -o "o/$name.o" "lib/$name.c"; done
	ar rcs o/libvfio-user.a o/*.o
	mkdir -p "$dir/bin"
	for name in samples/*.c; do
		name=$(basename "$name" .c)
		gcc "${flags[@]}" -static -o "$dir/bin/$name" "samples/$name.c" o/libvfio-user.a -ljson-c -lpthread
	done
	# For programs of ours on top of it (tests/peers).
	mkdir -p "$dir/include/libvfio-user" "$dir/lib"
	cp -r include/. "$dir/include/libvfio-user/"
	cp o/libvfio-user.a "$dir/lib/"
	cd /
	rm -rf "$source"
}

selftests_recipe=1

selftests_key() { key_of "$(source_key)" "$(headers_key)" "recipe $selftests_recipe"; }

make_selftests()
{
	local source headers

	setup_native
	product source
	source=$product
	headers=$(path_of headers)
	product headers
	run_logged "building the kernel's selftests of VFIO" "$cache/log/selftests" \
		build_selftests "$source" "$headers" "$1"
}

build_selftests()
{
	local build=$cache/build/selftests

	rm -rf "$build"
	mkdir -p "$build"
	# -Wno-error: the machine's compiler is another than the authors'.
	make -C "$1/tools/testing/selftests/vfio" OUTPUT="$build" KHDR_INCLUDES="-isystem $2" ARCH="$arch" top_srcdir="$1" \
		EXTRA_CFLAGS='-O1 -Wno-error' LDFLAGS='-static -pthread'
	find "$build" -maxdepth 1 -type f -executable -exec strip -g {} + -exec cp -t "$3" {} +
	rm -rf "$build"
}
