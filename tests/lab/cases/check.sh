# SPDX-License-Identifier: Apache-2.0
# check, list, bind and unbind: the mistakes that users make, each with what is said, the exit status, and the remedy, which
# is carried out as printed. Where check is content, a launch works.
# shellcheck shell=sh disable=SC2034,SC2154,SC3045

lab_devices='
	nvme,serial=lab1,drive=@64M
	e1000e
	+e1000e
'

sluice=/lab/in/sluice

# says NAME STATUS CODE PATTERN ARGUMENTS...: check ends so; its findings have CODE, and a line matches PATTERN.
says()
{
	says_name=$1 says_status=$2 says_code=$3 says_pattern=$4
	shift 4
	status=0
	$says_by "$sluice check $* -v" >/tmp/says.log 2>&1 || status=$?
	same "$says_name: exit status" "$status" "$says_status"
	contains "$says_name: message" /tmp/says.log "$says_pattern"
	[ -n "$says_code" ] || return 0
	$says_by "$sluice check $* --json" >/tmp/json.log 2>&1
	contains "$says_name: code" /tmp/json.log "\"code\": \"$says_code\""
}

# by_root, by_nobody COMMAND: run it as that user.
by_root() { sh -c "$1"; }
by_nobody() { su -s /bin/sh nobody -c "$1"; }
says_by=by_root

# remedy CODE ARGUMENTS...: the first command that check --json names for it.
remedy()
{
	remedy_code=$1
	shift
	$says_by "$sluice check $* --json" | awk -v code="\"$remedy_code\"" '
		index($0, "\"code\": " code) { on = 1 }
		on && /"remedies": \[/ { getline; sub(/^ *"/, ""); sub(/",?$/, ""); gsub(/\\"/, "\""); print; exit }'
}

# mend CODE ARGUMENTS...: type what check says, as root (there is no sudo here, and no need of it).
mend()
{
	mend_code=$1
	mend_command=$(remedy "$@" | sed "s/sudo //g; s,^sluice,$sluice,")
	echo "mending $mend_code: $mend_command"
	[ -n "$mend_command" ] && sh -c "$mend_command"
}

# ready NAME ARGUMENTS...: check is content, and has played the launch through.
ready()
{
	ready_name=$1
	shift
	says "$ready_name" 0 launch.ok 'opened, bound, attached .* and closed again' "$@"
}

names_and_list()
{
	says 'no such device' 1 device.missing 'there is no 0000:77:00.0' 0000:77:00.0
	for name in nvme 01:00 fd=x /dev/vfio/22; do
		status=0
		"$sluice" check $name >/tmp/wrong.log 2>&1 || status=$?
		same "no name of a device: $name" "$status" 2
	done
	check_fails 'bind: no such device' "$sluice" bind 0000:77:00.0

	"$sluice" list >/tmp/list.log
	contains 'list: the NVMe' /tmp/list.log "^$nvme  NVMe controller .* nvme .* needs bind\$"
	contains 'list: the network card' /tmp/list.log "^$net  Ethernet controller .* e1000e .* needs bind --group\$"
	lacks 'list: no bridges' /tmp/list.log 'bridge'
	"$sluice" list --all >/tmp/list.log
	contains 'list --all: bridges' /tmp/list.log 'PCI bridge .* blocked: a bridge stays with the host'
	"$sluice" list --json >/tmp/list.log
	contains 'list --json' /tmp/list.log '"state": "needs-bind"'
}

# What the host lives on is not taken from it.
uses()
{
	mke2fs /dev/nvme0n1 >/dev/null 2>&1
	mkdir -p '/tmp/a disk'
	check 'mount' mount -t ext4 /dev/nvme0n1 '/tmp/a disk' || return
	says 'a mounted disk' 1 use.mount 'nvme0n1 mounted at /tmp/a disk' "$nvme"
	check_fails 'a mounted disk is not bound' "$sluice" bind "$nvme"
	same 'its driver is as before' "$(driver_of "$nvme")" nvme
	check 'the remedy for a mounted disk' mend use.mount "$nvme"
	check_fails 'it is not mounted any more' mountpoint -q '/tmp/a disk'

	mkfifo /tmp/hold
	unshare -m sh -c 'mount -t ext4 /dev/nvme0n1 "/tmp/a disk" && echo 1 >/tmp/elsewhere && read -r end </tmp/hold' &
	check 'mounted where we do not see it' wait_for 60 test -e /tmp/elsewhere
	says 'a disk in use elsewhere' 1 use.held 'has its nvme0n1 in use' "$nvme"
	check_fails 'it is not bound either' "$sluice" bind "$nvme"
	echo >/tmp/hold
	wait $!
	"$sluice" check "$nvme" >/tmp/wrong.log 2>&1
	lacks 'when that ends it is free' /tmp/wrong.log 'use.held\|in use'

	interface=$(ls "$pci/devices/$net/net")
	ip address add 10.7.0.1/24 dev "$interface"
	ip link set "$interface" up
	ip route add default via 10.7.0.2
	says 'the default route' 1 use.route "default route goes over its $interface" "$net"
	check_fails 'the card of the default route is not bound' "$sluice" bind "$net"
	check_fails 'nor is its group' "$sluice" bind "$net" --group
	same 'its driver is as before' "$(driver_of "$net")" e1000e
	check 'the remedy for the default route' mend use.route "$net"
}

binding()
{
	says 'not bound' 1 driver.host "the host's nvme has it" "$nvme"
	check 'the remedy for a device that is not bound' mend driver.host "$nvme"
	same 'vfio-pci has it' "$(driver_of "$nvme")" vfio-pci
	check 'its node is there' test -c "$(vfio_node "$nvme")"
	check 'a second time is no mistake' "$sluice" bind "$nvme"
	same 'the old driver is remembered' "$(head -n 1 "/run/sluice/drivers/$nvme")" nvme
	ready 'a bound device' "$nvme"
	for name in "${nvme#0000:}" "$pci/devices/$nvme" "$(vfio_node "$nvme")"; do
		check "check by the name $name" "$sluice" check "$name"
	done
	"$sluice" list >/tmp/list.log
	contains 'list: ready' /tmp/list.log "^$nvme .* ready\$"
	guest_ok bound 'where check is content, a launch works' 'test -b /dev/nvme0n1' --vfio "$nvme"

	echo >"$pci/devices/$nvme/driver_override"
	echo "$nvme" >"$pci/drivers/vfio-pci/unbind"
	says 'no driver' 1 driver.none 'no driver has it' "$nvme"
	check 'the remedy for a device without a driver' mend driver.none "$nvme"
	ready 'bound again' "$nvme"

	check 'a stub takes the device' bind "$nvme" pci-stub
	says 'a stub' 1 driver.host 'pci-stub has it, and vfio-pci must; driver_override is pci-stub' "$nvme"
	check 'the remedy for a stub' mend driver.host "$nvme"
	ready 'bound once more' "$nvme"
	same 'the old driver is still remembered' "$(head -n 1 "/run/sluice/drivers/$nvme")" nvme
}

group()
{
	check 'bind one function' "$sluice" bind "$net"
	says 'a group that is not viable' 1 group.not_viable "also holds $net2 \\(e1000e\\)" "$net"
	check 'the remedy for the group' mend group.not_viable "$net"
	same 'the other function is with vfio-pci' "$(driver_of "$net2")" vfio-pci
	ready 'a group of two' "$net"
	guest_ok group 'a device of a bound group is launched' 'test -e /sys/class/net/eth0' --vfio "$net"
}

# hold NODE: in another process; $holder is it.
hold()
{
	rm -f /tmp/hold.in
	mkfifo /tmp/hold.in
	/lab/in/tools/vfio-hold "$1" <>/tmp/hold.in >/tmp/hold.log 2>&1 &
	holder=$!
	wait_for 20 grep -q held /tmp/hold.log
}

let_go()
{
	wait "$holder" 2>/dev/null
	true
}

in_use()
{
	check 'somebody uses the device' hold "$(vfio_node "$nvme")" || return
	says 'a device in use' 1 node.busy "in use by vfio-hold \\(pid $holder\\)" "$nvme"
	"$sluice" list >/tmp/list.log
	contains 'list: in use' /tmp/list.log "^$nvme .* in use by vfio-hold \\(pid $holder\\)\$"
	check_fails 'it is not given back while it is used' timeout 10 "$sluice" unbind "$nvme"
	check 'the remedy for a device in use' mend node.busy "$nvme"
	let_go
	ready 'free again' "$nvme"

	check 'somebody uses the group' hold "$(group_node "$nvme")" || return
	says 'a legacy user' 1 group.legacy_user "vfio-hold holds $(group_node "$nvme") open \\(pid $holder\\)" "$nvme"
	check 'the remedy for a legacy user' mend group.legacy_user "$nvme"
	let_go
	ready 'free of it' "$nvme"

	check 'somebody uses the other function' hold "$(vfio_node "$net2")" || return
	says 'a group in use' 1 group.busy "vfio-hold \\(pid $holder\\) uses $net2" "$net"
	check 'the remedy for a group in use' mend group.busy "$net"
	let_go
	ready 'the group is free again' "$net"
}

# What is passed is judged as a launch judges it.
descriptors()
{
	node=$(vfio_node "$nvme")
	says 'passed descriptors' 0 launch.unknown 'not tried: a descriptor can be bound only once' fd=9 --iommufd fd=8 8<>/dev/iommu 9<>"$node"
	says 'one open for reading' 2 '' "fd=9: $node is not open for reading and writing" fd=9 --iommufd fd=8 8<>/dev/iommu 9<"$node"
	says 'one alone' 2 '' 'fd=9: .*needs --iommufd fd=N' fd=9 9<>"$node"
	says 'another device for /dev/iommu' 2 '' 'iommufd fd=8: /dev/null is open at that number' "$nvme" --iommufd fd=8 8<>/dev/null
}

# A device that has no IOMMU and needs none, as mediated devices are; one that is not for guests; a driver that is none of VFIO.
kinds()
{
	check 'the test device' module vfio-reference emulated=1 || return
	emulated=/sys/devices/platform/vfio-reference-emulated.0
	ready 'an emulated device' "$emulated"
	guest_ok emulated 'it is launched' 'test -e /sys/bus/pci/drivers/refdev/0*' --vfio "$emulated"
	module mtty
	uuid=83b8f4f2-509f-382f-3c1e-e6bfe0fa1001
	echo $uuid >/sys/class/mdev_bus/mtty/mdev_supported_types/mtty-2/create
	says 'a device that is not quite PCI' 1 launch.pci 'configuration space is too small' /sys/bus/mdev/devices/$uuid
	check_fails 'nor is it launched' /lab/in/sluice run --kernel /lab/in/vmlinux --vfio /sys/bus/mdev/devices/$uuid
	"$sluice" bind "$nvme" --driver e1000e >/tmp/driver.log 2>&1
	same 'a driver that is none of VFIO: refused' $? 2
	contains 'in words' /tmp/driver.log 'e1000e: it takes a VFIO driver'
	same 'it is not tried' "$(driver_of "$nvme")" vfio-pci
}

# As a user without rights. He does not see the processes of others either.
permissions()
{
	node=$(vfio_node "$nvme")
	says_by=by_nobody
	ulimit -l 1024
	says 'no permission for KVM' 1 kvm.permission 'nobody may not open /dev/kvm' "$nvme"
	check 'the remedy for KVM' mend kvm.permission "$nvme"
	says 'no permission for iommufd' 1 iommufd.permission 'nobody may not open /dev/iommu' "$nvme"
	check 'the remedy for iommufd' mend iommufd.permission "$nvme"
	says 'no permission for the device' 1 node.permission "nobody may not open $node" "$nvme"
	check 'the remedy for the device' mend node.permission "$nvme"
	says 'memlock too small' 1 memlock.small 'nobody may lock 1 MiB' "$nvme"
	same 'the remedy for memlock' "$(remedy memlock.small "$nvme" --memory 64M)" \
		"sudo prlimit --pid \$\$ --memlock=67108864:67108864   # for this shell"
	ulimit -l 65536
	ready 'an ordinary user' "$nvme" --memory 64M
	says 'a larger guest' 1 memlock.small 'nobody may lock 64 MiB .* 128 MiB must be locked' "$nvme" --memory 128M

	# Descriptors that somebody else opened: no rights on the nodes are needed.
	chown root /dev/iommu "$node"
	says 'no rights any more' 1 node.permission 'nobody may not open' "$nvme" --memory 64M
	says 'but descriptors' 0 launch.unknown 'not tried: a descriptor can be bound only once' \
		fd=9 --iommufd fd=8 --memory 64M 8<>/dev/iommu 9<>"$node"
	contains 'they tell what iommufd can' /tmp/says.log 'ok +iommufd +opens; has .*mapping by file'
	says 'not a descriptor of a device' 1 device.missing 'there is no fd=9' fd=9 --iommufd fd=8 8<>/dev/iommu 9<>/dev/null
	chown nobody /dev/iommu "$node"

	hold "$node"
	says 'in use by somebody unseen' 1 node.busy 'it is in use' "$nvme" --memory 64M
	says 'the same without a try' 1 node.busy 'in use by a process that nobody may not see' "$nvme" --memory 64M --no-open
	kill "$holder"
	let_go
	ulimit -l unlimited
	says_by=by_root
	for node in /dev/kvm /dev/iommu; do chown root "$node"; done
}

nodes()
{
	node=$(vfio_node "$nvme")
	rm /dev/iommu
	says 'no /dev/iommu' 1 iommufd.node '/dev/iommu is not there' "$nvme"
	check 'the remedy for /dev/iommu' mend iommufd.node "$nvme"
	rm "$node"
	says 'no device node' 1 node.missing "$node is not there" "$nvme"
	check 'the remedy for the device node' mend node.missing "$nvme"
	mv /dev/kvm /dev/kvm.away
	says 'no /dev/kvm' 1 kvm.missing '/dev/kvm is not there' "$nvme"
	mv /dev/kvm.away /dev/kvm
	ready 'all nodes are back' "$nvme"
	says 'huge pages' 1 hugepages.few 'needs 32 huge pages of 2 MiB, 0 are free' "$nvme" --memory 64M,hugepages=2M
	check 'the remedy for huge pages' mend hugepages.few "$nvme" --memory 64M,hugepages=2M
	ready 'huge pages are there' "$nvme" --memory 64M,hugepages=2M
	says 'a token that is not needed' 1 token.unused 'refuses one' "$nvme,token=00112233-4455-6677-8899-aabbccddeeff"
}

back()
{
	check 'unbind' "$sluice" unbind "$nvme"
	same 'the old driver has it' "$(driver_of "$nvme")" nvme
	check 'the disk is back' wait_for 20 test -b /dev/nvme0n1
	same 'no override is left' "$(cat "$pci/devices/$nvme/driver_override")" '(null)'
	check_fails 'nothing is remembered' test -e "/run/sluice/drivers/$nvme"
	check 'unbind again is no mistake' "$sluice" unbind "$nvme"
	same 'it is still there' "$(driver_of "$nvme")" nvme

	check 'unbind the group' "$sluice" unbind "$net2" --group
	same 'one function is back' "$(driver_of "$net")" e1000e
	same 'so is the other' "$(driver_of "$net2")" e1000e

	check 'bind the whole group at once' "$sluice" bind "$net" --group
	same 'both are with vfio-pci' "$(driver_of "$net") $(driver_of "$net2")" 'vfio-pci vfio-pci'
	rm -r /run/sluice
	check 'unbind without memory' "$sluice" unbind "$net" --group
	same 'the kernel chose' "$(driver_of "$net") $(driver_of "$net2")" 'e1000e e1000e'

	says_by=by_nobody
	by_nobody "$sluice bind $nvme" >/tmp/user.log 2>&1
	contains 'bind is for root' /tmp/user.log "only root can do this; try: sudo sluice bind $nvme"
	says_by=by_root
}

job()
{
	nvme=$(device 1) net=$(device 2) net2=$(device 2 1)
	check 'the disk is there' wait_for 20 test -b /dev/nvme0n1 || return
	names_and_list
	uses
	binding
	group
	in_use
	descriptors
	kinds
	permissions
	nodes
	back
}
