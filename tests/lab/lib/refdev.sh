# SPDX-License-Identifier: Apache-2.0
# For cases whose guests have the reference device (docs/reference-device.md): the same work, whatever provides it.
# shellcheck shell=sh

# refdev_does GUEST WHAT PATTERN COMMAND...: a command of the guest's tool ends well, and what it says matches.
refdev_does()
{
	refdev_guest=$1 refdev_what=$2 refdev_pattern=$3
	shift 3
	if guest_do "$refdev_guest" "$*" >/tmp/refdev.out 2>&1; then
		contains "$refdev_guest: $refdev_what" /tmp/refdev.out "$refdev_pattern"
	else
		not_ok "$refdev_guest: $refdev_what" "status $?: $*" - </tmp/refdev.out
	fi
}

# refdev_rings GUEST, which has guestdev: 10,000 doorbells that the device takes by eventfd. Each arrives, and KVM counts no access
# for user space but those of the driver that goes and comes.
refdev_rings()
{
	rings_before=$(cat "/sys/kernel/debug/kvm/$(guest_pid "$1")"-*/mmio_exits)
	# With COMMAND at 0: none of them does anything.
	refdev_does "$1" '10,000 doorbells by eventfd arrive' '^rung 10000([^0-9]|$)' "$(echo '
		d=$(cd /sys/bus/pci/drivers/refdev && echo 0*);
		rung() { echo $((0x$(guestdev peek $d 0 0x40) + 0x$(guestdev peek $d 0 0x60))); };
		rmmod refdev && echo 1 >/sys/bus/pci/devices/$d/enable && guestdev poke $d 0 0x114 1 && n=$(rung) &&
		guestdev poke $d 0 0x144 10000 &&
		until [ $(guestdev peek $d 0 0x24) = 00000000 ]; do :; done &&
		echo rung $(($(rung) - n)) && insmod /lib/modules/refdev.ko' | tr -d '\n\t')"
	rings_exits=$(($(cat "/sys/kernel/debug/kvm/$(guest_pid "$1")"-*/mmio_exits) - rings_before))
	echo "# $1: $rings_exits exits beside them"
	check "$1: and none leaves the guest" test "$rings_exits" -lt 3000
}

# refdev_moves NAME ARGUMENTS...: a guest with two processors gets to its shell, finds the device, and moves 100 MiB by DMA, with
# checksums and an interrupt for each request. The guest goes on.
refdev_moves()
{
	refdev_name=$1
	shift
	check "$refdev_name: the guest is there" guest_start "$refdev_name" --cpus 2 "$@" || return
	refdev_does "$refdev_name" 'the driver has the device' 'interrupts by MSI-X: 64 of 64' refdev info || return
	refdev_does "$refdev_name" '100 MiB by DMA' '^copied 104857600 bytes in 25 requests .*verified' refdev copy 100M
	refdev_does "$refdev_name" 'both processors at once' '^copied 16777216 bytes in 16 requests by 2 threads' refdev stress 16M 2
	refdev_does "$refdev_name" 'an interrupt for each request, vector by vector' '^1000 interrupts over 64' refdev irqs 1000
}

# refdev_guest NAME ARGUMENTS...: likewise, and then all else that the device can do.
refdev_guest()
{
	refdev_moves "$@" || return
	refdev_does "$refdev_name" 'fill' '^filled 1048579 bytes: verified' refdev fill 1048579
	refdev_does "$refdev_name" 'checksum' '^checksum of 1048577 bytes: .*verified' refdev checksum 1048577
	refdev_does "$refdev_name" "the device's own memory, mapped and by DMA" 'both ways: verified' refdev memory
	refdev_does "$refdev_name" 'what must fail fails' 'beyond' refdev errors
	refdev_does "$refdev_name" 'both processors got interrupts' '^both' \
		"awk '/refdev0-/ { a += \$2; b += \$3 } END { if (a > 100 && b > 100) print \"both\" }' /proc/interrupts"
	refdev_does "$refdev_name" 'FLR, and it works again' '^copied' \
		'for r in /sys/bus/pci/drivers/refdev/0*/reset; do echo 1 >$r; done && refdev copy 1M 64k'
	refdev_does "$refdev_name" 'a driver that goes and comes' '^copied' \
		'rmmod refdev && insmod /lib/modules/refdev.ko && refdev copy 1M'
}
