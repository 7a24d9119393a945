# SPDX-License-Identifier: Apache-2.0
# Guests with the kernel test device, as an emulated one and as one behind an IOMMU: to a shell, 100 MiB by DMA with checksums and
# MSI-X, two processors. The devices want a KVM: that is there for a guest, and not for a server.
# shellcheck shell=sh disable=SC2034

lab_iommu=none
lab_seconds=240
# Its software IOMMU has no interrupts to translate.
lab_args='iommufd.allow_unsafe_interrupts=1'

# brokered KIND: the guest has it from a server. Its memory goes by messages, too slowly here for a look at all of it.
brokered()
{
	/lab/in/sluice serve --vfio "$node" --socket /tmp/broker.sock >/tmp/serve.log 2>&1 &
	server=$!
	check "$1: served" wait_for 60 test -S /tmp/broker.sock || return
	refdev_moves "broker-$1" --vfio user:/tmp/broker.sock
	guest_quit "broker-$1"
	same "$1: that guest ended well" "$guest_status" 0
	kill "$server" && wait "$server"
	same "$1: and the server" $? 0
}

job()
{
	. /lab/in/lib/refdev.sh
	check 'the test device' module vfio-reference emulated=1 physical=1 || return
	for kind in emulated physical; do
		node=/dev/vfio/devices/$(basename /sys/devices/platform/vfio-reference-$kind.0/vfio-dev/vfio*)
		brokered $kind
		echo 1 >/sys/devices/platform/vfio-reference-$kind.0/reference/needs_kvm
		/lab/in/sluice serve --vfio "$node" --socket /tmp/kvm.sock >/tmp/serve.log 2>&1
		same "$kind: serve refuses a device that needs a KVM" $? 1
		contains "$kind: and says why" /tmp/serve.log "^sluice: error: vfio vfio-reference-$kind.0: its driver works only with a KVM.*cannot be served"
		same "$kind: in one message" "$(grep -c . /tmp/serve.log)" 1
		check_fails "$kind: the socket is gone" test -e /tmp/kvm.sock
		refdev_guest $kind --vfio "$node"
		guest_quit $kind
		same "$kind: it ended well" "$guest_status" 0
	done
	echo 1 >/sys/module/vfio_reference/parameters/teardown
	check 'nothing is left of it' rmmod vfio-reference
}
