# SPDX-License-Identifier: Apache-2.0
# check and bind with virtual functions: a physical function that has some, and tokens.
# shellcheck shell=sh disable=SC2034,SC2154

lab_args='vfio_pci.enable_sriov=1'
lab_devices='
	igb
'

sluice=/lab/in/sluice
token=00112233-4455-6677-8899-aabbccddeeff
wrong=10112233-4455-6677-8899-aabbccddeeff

# says NAME STATUS PATTERN DEV
says()
{
	status=0
	"$sluice" check "$4" -v >/tmp/says.log 2>&1 || status=$?
	same "$1: exit status" "$status" "$2"
	contains "$1: message" /tmp/says.log "$3"
}

job()
{
	pf=$(device 1)
	echo 2 >"$pci/devices/$pf/sriov_numvfs"
	vf=$(basename "$(readlink "$pci/devices/$pf/virtfn0")")
	check 'there is a VF' test -e "$pci/devices/$vf" || return

	says 'a PF with VFs' 1 'obstacle  driver    it has 2 virtual functions' "$pf"
	check_fails 'is not bound' "$sluice" bind "$pf"
	same 'its driver is as before' "$(driver_of "$pf")" igb
	check 'but its VF is' "$sluice" bind "$vf"
	says 'a VF whose PF is with the host' 0 'launch +opened, bound' "$vf"
	says 'a token that is not needed' 1 'obstacle  (token|node)' "$vf,token=$token"
	check 'unbind the VF' "$sluice" unbind "$vf"

	command=$("$sluice" check "$pf" | grep -A 1 'virtual functions' | tail -n 1)
	check 'the remedy for a PF with VFs' sh -c "$command"
	check 'the PF is bound now' "$sluice" bind "$pf"
	says 'a PF' 0 'launch +opened, bound' "$pf"

	# VFs of a PF that is with vfio-pci go to vfio-pci by themselves.
	echo 1 >"$pci/devices/$pf/sriov_numvfs"
	vf=$(basename "$(readlink "$pci/devices/$pf/virtfn0")")
	same 'the driver of the VF' "$(driver_of "$vf")" vfio-pci
	says 'a VF of it without a token' 1 "obstacle  token     its physical function $pf is with vfio-pci" "$vf"
	says 'with a token that was not set' 1 'obstacle  token     the token is not the one' "$vf,token=$token"
	check 'the owner of the PF sets it' "$sluice" check "$pf,token=$token"
	says 'with the token' 0 'launch +opened, bound' "$vf,token=$token"
	says 'with a wrong one' 1 'the token is not the one' "$vf,token=$wrong"
	echo 0 >"$pci/devices/$pf/sriov_numvfs"
	check 'unbind the PF' "$sluice" unbind "$pf"
	same 'its driver is back' "$(driver_of "$pf")" igb
}
