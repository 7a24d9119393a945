# SPDX-License-Identifier: Apache-2.0
# What people do wrong, and what they are told: every launch is refused with status 1, or 2 where the arguments themselves are
# wrong, and a message that names the device, the cause and the remedy; nothing hangs, nothing is left behind.
# shellcheck shell=sh disable=SC2034

lab_devices='
	nvme,serial=lab1,drive=@16M
	igb
	e1000e
	+e1000e
'

# refused NAME PATTERN ARGUMENTS...: no guest, status 1 (or $refused_status), a line like PATTERN.
refused_status=1
refused()
{
	refused_name=$1 refused_pattern=$2
	shift 2
	guest refused true "$@"
	same "$refused_name: refused" "$vmm_status/$guest_status" "$refused_status/"
	contains "$refused_name: why, and what to do" "$guest_log" "$refused_pattern"
	# Where populating takes long, its progress is shown before.
	same "$refused_name: one message" "$(grep -v 'memory populated:' "$guest_log" | grep -c .)" 1 || sed 's/^/# /' "$guest_log"
}

job()
{
	nvme=$(device 1) igb=$(device 2) net=$(device 3) net2=$(device 3 1)

	refused 'no such device' '0000:77:00.0.*no such' --vfio 0000:77:00.0
	refused 'bound to its host driver' "$nvme.*nvme.*sluice bind" --vfio "$nvme"
	echo >"$pci/devices/$igb/driver_override"
	echo "$igb" >"$pci/devices/$igb/driver/unbind"
	refused 'bound to nothing' "$igb.*no driver.*sluice bind" --vfio "$igb"

	check 'a stub takes the card' bind "$igb" pci-stub
	refused 'bound to another driver' "$igb.*pci-stub has it; sluice bind" --vfio "$igb"
	check 'bind one function of two' bind "$net"
	refused 'a group that is not viable' "$net: IOMMU group [0-9]+ also holds $net2 \\(e1000e\\); sluice bind $net --group" --vfio "$net"

	check 'bind the NVMe' bind "$nvme" || return
	refused_status=2
	refused 'named twice' "$nvme.*twice.* $nvme and ${nvme#0000:};" --vfio "$nvme" --vfio "${nvme#0000:}"
	refused 'named twice, once by its node' "$nvme.*twice.* $(vfio_node "$nvme") and $nvme;" --vfio "$(vfio_node "$nvme")" --vfio "$nvme"
	refused 'named twice, once by its directory' "$nvme.*twice.* $nvme and $pci/devices/$nvme;" --vfio "$nvme" --vfio "$pci/devices/$nvme"
	refused 'standard error for an iommufd' 'iommufd fd=2: 0 to 2 are the standard descriptors; open /dev/iommu at another number' \
		--iommufd fd=2 --vfio "$nvme"
	refused 'another device for an iommufd' "iommufd fd=8: /dev/vfio/devices/vfio[0-9]+ is open at that number; it has to be /dev/iommu" \
		--iommufd fd=8 --vfio "$nvme" 8<>"$(vfio_node "$nvme")"
	refused 'another device for a VFIO device' "vfio fd=7: /dev/iommu is open at that number; it has to be $(dirname "$(vfio_node "$nvme")")/vfioN" \
		--iommufd fd=8 --vfio fd=7 8<>/dev/iommu 7<>/dev/iommu
	refused_status=1

	mkfifo /tmp/hold.in
	/lab/in/tools/vfio-hold "$(vfio_node "$nvme")" <>/tmp/hold.in >/tmp/hold.log 2>&1 &
	hold=$!
	check 'someone holds the device' wait_for 30 grep -q held /tmp/hold.log
	refused 'device busy' "$nvme: process $hold .vfio-hold. has the device" --vfio "$nvme"
	kill $hold; wait $hold 2>/dev/null

	/lab/in/tools/vfio-hold "$(group_node "$nvme")" <>/tmp/hold.in >/tmp/hold.log 2>&1 &
	hold=$!
	check 'a legacy user holds the group' wait_for 30 grep -q held /tmp/hold.log
	refused 'group held by a legacy user' "$nvme: process $hold .vfio-hold. uses IOMMU group [0-9]+ by the legacy interface .*end it" --vfio "$nvme"
	kill $hold; wait $hold 2>/dev/null

	mv /dev/iommu /dev/iommu.away
	refused 'no iommufd in this kernel' 'iommu.*CONFIG_IOMMUFD' --vfio "$nvme"
	mv /dev/iommu.away /dev/iommu

	guest_ok after 'after all that the device is as good as before' 'head -c 21 /dev/nvme0n1; echo' --vfio "$nvme"

	guest bad true --vfio "$nvme,nonsense=1"
	same 'an unknown key is a bad argument' "$vmm_status" 2
	contains 'which is named' "$guest_log" 'nonsense'
}
