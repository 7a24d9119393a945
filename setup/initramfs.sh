# SPDX-License-Identifier: Apache-2.0
# busybox, refdev, initramfs: the user space of the lab host and of its guests, one static binary and two scripts; and the
# driver of the reference device for guests that have one.
# shellcheck shell=bash

images_dir=$top_dir/guest-images
initramfs_recipe=3

busybox_key() { key_of "$(packages_of busybox)"; }

make_busybox()
{
	run_logged "fetching busybox" "$cache/log/busybox" fetch_packages busybox
	unpack_packages busybox "$1"
	# Debian 12 has it in /bin, later ones in /usr/bin.
	[ -e "$1/usr/bin/busybox" ] || { mkdir -p "$1/usr/bin"; mv "$1/bin/busybox" "$1/usr/bin/"; }
}

# What the driver and its tool are made of.
refdev_sources() { cat "$images_dir"/refdev/{Kbuild,*.[ch],tool/*.[ch]} "$top_dir/devices/vfio/reference/registers.h"; }

refdev_key() { key_of "$(kernel_key)" "$(headers_key)" "recipe 1" "$(refdev_sources)"; }

make_refdev()
{
	local headers

	product headers
	headers=$(path_of headers)
	product kernel
	run_logged "building the reference device's driver" "$cache/log/refdev" build_refdev "$headers" "$1"
}

build_refdev()
{
	local build=$cache/build/refdev

	rm -rf "$build"
	"$setup_dir/module" "$images_dir/refdev" "$build"
	strip -g -o "$2/refdev.ko" "$build/refdev.ko"
	gcc -std=gnu17 -O2 -Wall -Wextra -Wshadow -Werror -static -I"$top_dir" -isystem "$1" -D_GNU_SOURCE \
		-o "$2/refdev" "$images_dir"/refdev/tool/*.c -lpthread
	strip "$2/refdev"
	rm -rf "$build"
}

initramfs_key()
{
	key_of "$(busybox_key)" "$(refdev_key)" "recipe $initramfs_recipe" "@$images_dir/init" "@$images_dir/session"
}

make_initramfs()
{
	local root=$1/root busybox applet

	product busybox
	busybox=$product/usr/bin/busybox
	mkdir -p "$root"/{bin,proc,sys,dev,tmp,root,etc/acpi/PWRF,var/log,var/run,lab,lib/modules}
	cp "$busybox" "$root/bin/"
	# The links are made here: that is quicker than in a guest.
	for applet in $("$busybox" --list); do
		[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
	done
	install -m 755 "$images_dir/init" "$root/init"
	install -m 755 "$images_dir/session" "$root/bin/session"
	product refdev
	install -m 755 "$product/refdev" "$root/bin/refdev"
	install -m 644 "$product/refdev.ko" "$root/lib/modules/refdev.ko"
	printf '#!/bin/sh\npoweroff -f\n' >"$root/etc/acpi/PWRF/00000080"
	chmod 755 "$root/etc/acpi/PWRF/00000080"
	printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n' >"$root/etc/passwd"
	printf 'root:x:0:\nnogroup:x:65534:\n' >"$root/etc/group"
	cat >"$root/etc/shrc" <<-'END'
		PS1='\w # '
		# In the lab host, the lab's functions.
		[ ! -e /lab/in/lib/job.sh ] || . /lab/in/lib/job.sh
	END
	# Owned by root whoever builds it; uncompressed, since copying is quicker than inflating.
	(cd "$root" && find . | LC_ALL=C sort | "$busybox" cpio -o -H newc -R 0:0) >"$1/initramfs.cpio" 2>/dev/null
	rm -rf "$root"
}
