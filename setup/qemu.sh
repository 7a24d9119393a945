# SPDX-License-Identifier: Apache-2.0
# qemu: QEMU with everything it depends on, in a tree that runs anywhere: with its own libc through its own ld.so, wherever
# the tree is (the lab host mounts it too, to have a second VMM to compare with).
# shellcheck shell=bash

qemu_recipe=1

qemu_key() { key_of "$(packages_of qemu)" "recipe $qemu_recipe"; }

make_qemu()
{
	run_logged "fetching QEMU" "$cache/log/qemu" fetch_packages qemu closure
	run_logged "unpacking QEMU" "$cache/log/qemu" unpack_packages qemu "$1"
	# Nobody reads these here.
	rm -rf "$1"/usr/share/{doc,man,locale,icons,lintian} "$1"/var
	mkdir "$1/bin"
	cat >"$1/bin/qemu-system-x86_64" <<-'END'
		#!/bin/sh
		# QEMU by its tree's own ld.so: the machine's libc may be older than the one it was built for.
		root=$(dirname "$(dirname "$(readlink -f "$0")")")
		lib=$root/usr/lib/x86_64-linux-gnu
		QEMU_MODULE_DIR=$lib/qemu
		export QEMU_MODULE_DIR
		exec "$lib/ld-linux-x86-64.so.2" --library-path "$lib:$lib/pulseaudio:$lib/libibverbs" \
			"$root/usr/bin/qemu-system-x86_64" \
			-L "$root/usr/share/qemu" -L "$root/usr/share/seabios" -L "$root/usr/lib/ipxe/qemu" "$@"
	END
	chmod +x "$1/bin/qemu-system-x86_64"
	"$1/bin/qemu-system-x86_64" --version >>"$cache/log/qemu"
}
