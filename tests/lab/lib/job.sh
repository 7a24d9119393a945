# SPDX-License-Identifier: Apache-2.0
# For jobs inside the lab host (busybox ash): named checks, devices, guests. A case's job() has all of it; at the prompt of
# tests/lab/shell it is loaded too.
# shellcheck shell=sh

. /lab/in/env

# --- checks ---------------------------------------------------------------------------------------------------
# Each check is one line "ok NAME" or "not ok NAME" in /lab/out/results, with what went wrong below it. A failed check
# returns 1, so "check ... || return" ends a job that makes no sense without it.

result() { printf '%s\n' "$*" | tee -a /lab/out/results; }

ok() { result "ok $1"; }

# not_ok NAME WHY [-]: with "-", the end of standard input tells more about it.
not_ok()
{
	result "not ok $1"
	result "# $2"
	[ "${3:-}" != - ] || tail -n 40 | sed 's/^/# /' | tee -a /lab/out/results
	return 1
}

# check NAME COMMAND...: the command succeeds. What it prints is shown only when it does not.
check()
{
	check_name=$1
	shift
	if "$@" >/tmp/check.out 2>&1; then
		ok "$check_name"
	else
		not_ok "$check_name" "status $?: $*" - </tmp/check.out
	fi
}

# check_fails NAME COMMAND...: it does not.
check_fails()
{
	check_name=$1
	shift
	if "$@" >/tmp/check.out 2>&1; then
		not_ok "$check_name" "succeeded, but should not: $*" - </tmp/check.out
	else
		ok "$check_name"
	fi
}

# same NAME GOT WANTED
same()
{
	if [ "$2" = "$3" ]; then
		ok "$1"
	else
		not_ok "$1" "got '$2', wanted '$3'"
	fi
}

# contains NAME FILE PATTERN: a line of FILE matches the extended regular expression.
contains()
{
	if grep -qE -- "$3" "$2"; then
		ok "$1"
	else
		not_ok "$1" "nothing like '$3' in $2, which ends:" - <"$2"
	fi
}

# lacks NAME FILE PATTERN
lacks()
{
	if grep -E -- "$3" "$2" >/tmp/check.out; then
		not_ok "$1" "$2 has:" - </tmp/check.out
	else
		ok "$1"
	fi
}

# wait_for SECONDS COMMAND...: until the command succeeds. Be generous, nobody waits longer than needed; on a busy machine the
# bound is multiplied.
wait_for()
{
	wait_until=$(($(uptime_cs) + $1 * 100 * lab_slow))
	shift
	until "$@" >/dev/null 2>&1; do
		if [ "$(uptime_cs)" -ge "$wait_until" ]; then
			echo "waited in vain for: $*" >&2
			return 1
		fi
		usleep 50000
	done
}

# uptime_cs: hundredths of a second since the start.
uptime_cs()
{
	read -r uptime_now _ </proc/uptime
	echo "${uptime_now%.*}${uptime_now#*.}"
}

# --- devices --------------------------------------------------------------------------------------------------

pci=/sys/bus/pci

# device N [FUNCTION]: the address of what sits in the Nth slot of the case's lab_devices.
device()
{
	for device_path in "$pci/devices/$(printf '0000:00:%02x.0' "$(($1 + 2))")"/0000:*:00."${2:-0}"; do
		[ ! -e "$device_path" ] || basename "$device_path"
	done
}

# driver_of BDF: its name, or nothing.
driver_of() { [ ! -e "$pci/devices/$1/driver" ] || basename "$(readlink "$pci/devices/$1/driver")"; }

# bind BDF [DRIVER]: give the device to vfio-pci, or to another driver.
bind()
{
	[ -e "$pci/devices/$1" ] || { echo "no device at '$1'" >&2; return 1; }
	echo "${2:-vfio-pci}" >"$pci/devices/$1/driver_override"
	[ ! -e "$pci/devices/$1/driver" ] || echo "$1" >"$pci/devices/$1/driver/unbind"
	echo "$1" >"$pci/drivers_probe"
	[ "$(driver_of "$1")" = "${2:-vfio-pci}" ]
}

# unbind BDF: give it back to the driver it would have by itself.
unbind()
{
	echo >"$pci/devices/$1/driver_override"
	[ ! -e "$pci/devices/$1/driver" ] || echo "$1" >"$pci/devices/$1/driver/unbind"
	echo "$1" >"$pci/drivers_probe"
}

# vfio_node BDF: /dev/vfio/devices/vfioN, to be had when the device is bound.
vfio_node()
{
	for vfio_path in "$pci/devices/$1/vfio-dev"/vfio*; do
		[ -e "$vfio_path" ] || return 1
		echo "/dev/vfio/devices/$(basename "$vfio_path")"
	done
}

# group_node BDF: /dev/vfio/GROUP.
group_node() { echo "/dev/vfio/$(basename "$(readlink "$pci/devices/$1/iommu_group")")"; }

# module NAME [PARAMETER=VALUE...]: load one of the lab kernel's modules and those it needs.
module()
{
	for module_needed in $(tr '\0' '\n' <"/lab/in/modules/$1.ko" | sed -n 's/^depends=//p' | tr , ' '); do
		grep -q "^$module_needed " /proc/modules || insmod "/lab/in/modules/$module_needed.ko"
	done
	module_file=/lab/in/modules/$1.ko
	shift
	insmod "$module_file" "$@"
}

# contract TARGET DEVICE [OPTION...]: the conformance suite (tests/contract) over a device. Its tests are checks of the case.
contract()
{
	contract_target=$1 contract_device=$2
	shift 2
	# What providers say on standard error is of refusals that are tested; it is kept, not judged.
	/lab/in/contract --seconds $((60 * lab_slow)) "$@" "$contract_target" "$contract_device" \
		>/tmp/contract.out 2>"/tmp/contract-$contract_target.log"
	contract_status=$?
	cat /tmp/contract.out >>"/tmp/contract-$contract_target.log"
	sed -n -e "s/^declared /ok (declared) /" -e "s/^\(not \)*ok /&$contract_target: /p" /tmp/contract.out | tee -a /lab/out/results
	same "$contract_target: the suite came to its end" "$(tail -n 1 /tmp/contract.out | grep -c ' passed, 0 failed$')$contract_status" 10
}

# --- the machine around us ------------------------------------------------------------------------------------

# The line to QEMU's monitor. It takes one opener, and subshells need it too: held open from the start, as descriptor 9.
monitor_port=$(grep -lx monitor /sys/class/virtio-ports/*/name) && exec 9<>"/dev/$(basename "$(dirname "$monitor_port")")"

# monitor COMMAND: of QEMU's human monitor, e.g. "device_del dev1" or "pcie_aer_inject_error dev1 DLP". Its answer is printed.
monitor()
{
	# What it says to a command it does not know marks the end of the answer to the one before. Lines with escape
	# sequences are its echo.
	printf '%s\nno-such-command\n' "$*" >&9
	timeout 30 awk '/\033/ { echoes++; next } /no-such-command/ { exit } echoes == 1' <&9 | tr -d '\r'
}

# --- guests ---------------------------------------------------------------------------------------------------
# A guest runs the lab kernel and initramfs in the VMM of the case (sluice, or QEMU to compare) with further arguments of
# "sluice run". What it prints is in /tmp/NAME.log, and in /lab/out at the end.

# Bounds of a guest's life and of one answer, in seconds.
guest_seconds=90
guest_kernel=/lab/in/vmlinux
guest_initrd=/lab/in/initramfs.cpio
# KVM in a guest would complain that there is no VMX.
guest_cmdline="console=ttyS0 quiet panic=-1 initcall_blacklist=vt_init,svm_init cryptomgr.notests no_timer_check tsc=reliable tsc_early_khz=$lab_tsc_khz"
guest_more_initrd=''

# guest_tools TOOL...: guests from now on have these programs of tests/lab/tools in /bin, and guest_bdf with them. They come in
# an initrd of their own.
guest_tools()
{
	rm -rf /tmp/tools
	mkdir -p /tmp/tools/bin
	for guest_tool in "$@"; do
		cp "/lab/in/tools/$guest_tool" /tmp/tools/bin/
	done
	# guest_bdf VENDOR:DEVICE [N]: where the guest has its Nth device of that kind.
	cat >/tmp/tools/bin/guest_bdf <<-'END'
		#!/bin/sh
		for d in /sys/bus/pci/devices/*; do
			read -r v <"$d/vendor"; read -r e <"$d/device"
			[ "${v#0x}:${e#0x}" = "$1" ] && i=$((i + 1)) && [ "$i" -eq "${2:-1}" ] && exec basename "$d"
		done
		exit 1
	END
	chmod +x /tmp/tools/bin/guest_bdf
	(cd /tmp/tools && find . | cpio -o -H newc 2>/dev/null) >/tmp/tools.cpio
	guest_more_initrd=/tmp/tools.cpio
}

# exec_vmm CMDLINE ARGUMENTS...: become the VMM; call it in a subshell. $guest_trace, if set, is a program that runs it.
exec_vmm()
{
	vmm_cmdline="$guest_cmdline $1"
	shift
	exec 9>&-
	# shellcheck disable=SC2086 # words
	case $lab_vmm in
	sluice)
		exec ${guest_trace:-} /lab/in/sluice run --kernel "$guest_kernel" --initrd "$guest_initrd" \
			${guest_more_initrd:+--initrd "$guest_more_initrd"} \
			--cmdline "$vmm_cmdline" --serial stdio "$@"
		;;
	qemu)
		qemu_args "$@" || exit 2
		# QEMU takes one initrd; the kernel takes archives one behind the other.
		if [ -n "$guest_more_initrd" ]; then
			cat "$guest_initrd" "$guest_more_initrd" >/tmp/all.cpio
			guest_initrd=/tmp/all.cpio
		fi
		exec ${guest_trace:-} /lab/qemu/bin/qemu-system-x86_64 -nodefaults -no-user-config -display none -no-reboot \
			-machine q35 -accel kvm -cpu host -chardev stdio,id=console,signal=off -serial chardev:console \
			-device isa-debug-exit,iobase=0xf4,iosize=1 -object iommufd,id=iommufd0 $qemu_args \
			-kernel "$guest_kernel" -initrd "$guest_initrd" -append "$vmm_cmdline"
		;;
	*)
		echo "this case has lab_vmm=$lab_vmm: no VMM to run" >&2
		exit 1
		;;
	esac
}

# qemu_args ARGUMENTS...: those of "sluice run" for QEMU, in $qemu_args.
qemu_args()
{
	qemu_memory=256M qemu_cpus=1 qemu_args='' qemu_port=0 qemu_shared=''
	while [ $# -gt 0 ]; do
		case $1 in
		--memory) qemu_memory=$2 ;;
		--cpus) qemu_cpus=$2 ;;
		--vfio)
			qemu_port=$((qemu_port + 1))
			qemu_args="$qemu_args -device pcie-root-port,id=port$qemu_port,chassis=$qemu_port,slot=$qemu_port"
			case $2 in
			# Another process is to have the guest's memory.
			user:*)
				qemu_shared=,share=on
				qemu_socket="{\"type\":\"unix\",\"path\":\"${2#user:}\"}"
				qemu_args="$qemu_args -device {\"driver\":\"vfio-user-pci\",\"bus\":\"port$qemu_port\",\"socket\":$qemu_socket}"
				;;
			*) qemu_args="$qemu_args -device vfio-pci,host=${2%%,*},iommufd=iommufd0,bus=port$qemu_port" ;;
			esac
			;;
		--disk) qemu_args="$qemu_args -drive if=virtio,format=raw,file=${2#path=}" ;;
		*) echo "$1 has no translation for QEMU" >&2; return 1 ;;
		esac
		shift 2
	done
	[ -z "$qemu_shared" ] || qemu_args="$qemu_args -object memory-backend-memfd,id=ram,size=$qemu_memory$qemu_shared -machine memory-backend=ram"
	qemu_args="-smp $qemu_cpus -m $qemu_memory $qemu_args"
}

# guest NAME COMMAND [ARGUMENTS...]: boot a guest, run one shell command in it, wait for its end. Afterwards: $guest_status is
# the command's ("" if the guest did not get that far), $vmm_status the VMM's, $guest_log what was printed.
guest()
{
	guest_name=$1 guest_command=$2
	shift 2
	guest_start_vmm "$guest_name" "$guest_command" "$@"
	guest_end "$guest_name"
}

# guest_ok NAME CHECK COMMAND [ARGUMENTS...]: the same, and the command must succeed in it.
guest_ok()
{
	guest_name=$1 guest_check=$2
	shift 2
	guest "$guest_name" "$@"
	if [ "$guest_status" = 0 ] && [ "$vmm_status" = 0 ]; then
		ok "$guest_check"
	else
		not_ok "$guest_check" "guest status '$guest_status', $lab_vmm's $vmm_status; it printed:" - <"$guest_log"
	fi
}

# guest_start NAME [ARGUMENTS...]: boot a guest in the background that does what guest_do tells it, and wait until it is ready.
guest_start()
{
	guest_name=$1
	shift
	# It reads commands line by line and says after each how it ended.
	guest_start_vmm "$guest_name" 'echo @ready; while read -r line; do eval "$line"; echo "@done $?"; done' "$@"
	guest_expect "$guest_name" '^@ready' || { tail -n 20 "/tmp/$guest_name.log"; return 1; }
}

# guest_do NAME COMMAND: in a guest of guest_start. Prints what the command prints, returns its status. One line, up to
# 4,000 characters.
guest_do()
{
	guest_log=/tmp/$1.log
	guest_before=$(wc -l <"$guest_log")
	guest_answered=$(grep -c '^@done ' "$guest_log")
	# Opened for both, since nobody may be there any more to read it.
	printf '%s\n' "$2" 1<>"/tmp/$1.in"
	wait_for "$guest_seconds" guest_has_answered "$1" "$guest_answered" && guest_lives "$1" || return 125
	tail -n "+$((guest_before + 1))" "$guest_log" | grep -v '^@done '
	return "$(sed -n 's/^@done \([0-9]*\).*/\1/p' "$guest_log" | tail -n 1)"
}

guest_has_answered() { ! guest_lives "$1" || [ "$(grep -c '^@done ' "/tmp/$1.log")" -gt "$2" ]; }

# guest_expect NAME PATTERN [SECONDS]: wait until a line of its output matches.
guest_expect() { wait_for "${3:-$guest_seconds}" guest_printed "$1" "$2" && grep -qE -- "$2" "/tmp/$1.log"; }

guest_printed() { ! guest_lives "$1" || grep -qE -- "$2" "/tmp/$1.log"; }

# guest_lives NAME: its VMM has not ended. Not "kill -0": that is content with a zombie.
guest_lives() { { read -r _ _ guest_state _ <"/proc/$(guest_pid "$1")/stat"; } 2>/dev/null && [ "$guest_state" != Z ]; }

# guest_quit NAME [STATUS]: let a guest of guest_start end by itself; see guest for what is set.
guest_quit()
{
	# The loop ends, and with it the guest.
	printf 'exit %s\n' "${2:-0}" 1<>"/tmp/$1.in"
	guest_end "$1"
}

# guest_end NAME: wait for a guest that is ending; sets $guest_status, $vmm_status, $guest_log.
guest_end()
{
	vmm_status=0
	guest_log=/tmp/$1.log
	wait "$(guest_pid "$1")" || vmm_status=$?
	guest_status=$(sed -n 's/^guest exit status: \([0-9]*\).*/\1/p' "$guest_log" | tail -n 1)
	# QEMU's isa-debug-exit makes 2N+1 of the N it is given.
	[ "$lab_vmm" != qemu ] || [ $((vmm_status % 2)) -eq 0 ] || vmm_status=$((vmm_status / 2))
	[ "$vmm_status" -ne 137 ] || echo "$lab_vmm was killed, after at most $((guest_seconds * lab_slow)) s" >>"$guest_log"
	# The VMM ends with the status the guest hands out: that is not the VMM's failure.
	[ -z "$guest_status" ] || [ "$vmm_status" != "$guest_status" ] || vmm_status=0
	cp "$guest_log" "/lab/out/guest-$1.log"
}

# watch_guest NAME PID: a VMM that still runs when $guest_seconds are over is killed, but not before it said where it is: its
# registers and devices (SIGUSR1), and where the kernel has its threads, twice.
watch_guest()
{
	exec 9>&-
	watch_until=$(($(uptime_cs) + guest_seconds * 100 * lab_slow))
	while [ "$(uptime_cs)" -lt "$watch_until" ]; do
		guest_lives "$1" && [ "$(guest_pid "$1")" = "$2" ] || return 0
		sleep 1
	done
	{
		echo "--- $1 is killed, after $((guest_seconds * lab_slow)) s; where it was:"
		for _ in 1 2; do
			[ "$lab_vmm" != sluice ] || kill -USR1 "$2"
			for watch_task in "/proc/$2/task"/*; do
				echo "$(cat "$watch_task/comm"): $(cat "$watch_task/syscall")"
				[ ! -e "$watch_task/stack" ] || sed 's/^/    /' "$watch_task/stack"
			done
			sleep 2
		done
		grep -H . "/sys/kernel/debug/kvm/$2"-*/*exits "/sys/kernel/debug/kvm/$2"-*/irq_injections
	} >>"/tmp/$1.log" 2>&1
	kill -KILL "$2"
}

# guest_pid NAME: the VMM's process.
guest_pid() { cat "/tmp/$1.pid"; }

# guest_start_vmm NAME COMMAND ARGUMENTS...
guest_start_vmm()
{
	guest_name=$1 guest_run=$(printf '%s' "$2" | base64 | tr -d '\n')
	shift 2
	if [ ${#guest_run} -gt 1500 ]; then
		echo "guest $guest_name: too long for a kernel command line; take guest_start and guest_do" >&2
		return 1
	fi
	rm -f "/tmp/$guest_name.in"
	mkfifo "/tmp/$guest_name.in"
	# For reading and writing, so that the guest's input does not end with the first who writes.
	(exec_vmm "run=$guest_run" "$@") <>"/tmp/$guest_name.in" >"/tmp/$guest_name.log" 2>&1 &
	echo $! >"/tmp/$guest_name.pid"
	[ -z "$guest_seconds" ] || watch_guest "$guest_name" "$(guest_pid "$guest_name")" &
}
