# SPDX-License-Identifier: Apache-2.0
# busybox, initramfs: the user space of the lab host and of its guests, one static binary and two scripts.
# shellcheck shell=bash

images_dir=$top_dir/guest-images
initramfs_recipe=2

busybox_key() { key_of "$(packages_of busybox)"; }

make_busybox()
{
	run_logged "fetching busybox" "$cache/log/busybox" fetch_packages busybox
	unpack_packages busybox "$1"
	# Debian 12 has it in /bin, later ones in /usr/bin.
	[ -e "$1/usr/bin/busybox" ] || { mkdir -p "$1/usr/bin"; mv "$1/bin/busybox" "$1/usr/bin/"; }
}

initramfs_key()
{
	key_of "$(busybox_key)" "recipe $initramfs_recipe" "@$images_dir/init" "@$images_dir/session"
}

make_initramfs()
{
	local root=$1/root busybox applet

	product busybox
	busybox=$product/usr/bin/busybox
	mkdir -p "$root"/{bin,proc,sys,dev,tmp,root,etc/acpi/PWRF,var/log,var/run,lab}
	cp "$busybox" "$root/bin/"
	# The links are made here: that is quicker than in a guest.
	for applet in $("$busybox" --list); do
		[ "$applet" = busybox ] || ln -s busybox "$root/bin/$applet"
	done
	install -m 755 "$images_dir/init" "$root/init"
	install -m 755 "$images_dir/session" "$root/bin/session"
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
