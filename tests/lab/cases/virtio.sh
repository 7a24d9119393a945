# SPDX-License-Identifier: Apache-2.0
# Linux on the emulated devices: a file system on a virtio disk, a network by tap in both directions, and the serial port under
# load. What is moved is compared by checksum.
# shellcheck shell=sh disable=SC2034

lab_devices=''
lab_seconds=400

# exits NAME: of the guest's processors so far, by KVM's own count.
exits() { cat "/sys/kernel/debug/kvm/$(guest_pid "$1")"-*/exits; }

disks()
{
	head -c 6000000 /dev/urandom >/tmp/data
	truncate -s 48M /tmp/disk
	check 'a guest with two processors and a disk' guest_start disk --cpus 2 --disk /tmp/disk || return
	check 'the disk tells its name' guest_do disk 'test "$(cat /sys/block/vda/serial)" = disk0'
	check 'discards are offered' guest_do disk 'test "$(cat /sys/block/vda/queue/discard_max_bytes)" -gt 0'
	check 'it has a write-back cache' guest_do disk 'grep -q back /sys/block/vda/queue/write_cache'
	check 'a file system is made and mounted' guest_do disk \
		'mke2fs -F /dev/vda >/dev/null 2>&1; mkdir -p /mnt; mount -t ext4 -o discard /dev/vda /mnt'
	check 'files are written side by side' guest_do disk '
		head -c 5000000 /dev/urandom >/tmp/a; for i in 1 2 3 4; do cp /tmp/a /mnt/$i & done; wait; sync'
	check 'they are whole after the cache was dropped' guest_do disk '
		echo 3 >/proc/sys/vm/drop_caches; for i in 1 2 3 4; do cmp /tmp/a /mnt/$i || exit 1; done'
	check 'files are removed and their blocks trimmed' guest_do disk 'rm /mnt/2 /mnt/3; sync; fstrim /mnt; cmp /tmp/a /mnt/4'
	check 'and it is unmounted' guest_do disk 'cp /tmp/a /mnt/last; umount /mnt'
	guest_sum=$(guest_do disk 'md5sum </tmp/a' | cut -c 1-32)
	check_fails 'a second guest gets no lock on the disk' 'disk disk0: /tmp/disk is in use' \
		/lab/in/sluice run --kernel /lab/in/vmlinux --disk /tmp/disk
	guest_quit disk
	same 'it ends well' "$guest_status" 0
	guest_ok again 'another guest reads the same from it' "
		mkdir -p /mnt; mount -t ext4 -o ro /dev/vda /mnt && md5sum /mnt/last /mnt/4 &&
		test \"\$(md5sum /mnt/last /mnt/4 | grep -c ^$guest_sum)\" = 2" --disk /tmp/disk,readonly

	guest_ok whole 'discarding and zeroing the whole disk' '
		blkdiscard /dev/vda && blkdiscard -z /dev/vda 2>/dev/null; cmp -n 1000000 /dev/vda /dev/zero &&
		dd if=/dev/urandom of=/tmp/r bs=64k count=20 && dd if=/tmp/r of=/dev/vda bs=64k oflag=direct seek=3 &&
		dd if=/dev/vda of=/tmp/r2 bs=64k iflag=direct skip=3 count=20 && cmp /tmp/r /tmp/r2' \
		--disk /tmp/disk
}

network()
{
	check 'a tap' tunctl -t tap0
	ip addr add 192.168.77.1/24 dev tap0
	ip link set tap0 up
	mkdir -p /tmp/www
	cp /tmp/data /tmp/www/data
	httpd -p 192.168.77.1:80 -h /tmp/www
	check 'a guest on it' guest_start net --net tap=tap0,mac=02:00:00:12:34:56 || return
	check 'has the address it was given' guest_do net 'ip link show eth0 | grep -q 02:00:00:12:34:56'
	check 'and comes up' guest_do net 'ip addr add 192.168.77.2/24 dev eth0 && ip link set lo up && ip link set eth0 up'
	check 'it answers' ping -c 3 -W 5 192.168.77.2
	check 'small and large packets' ping -c 3 -W 5 -s 20000 192.168.77.2
	same 'host to guest: the bytes that were sent' \
		"$(guest_do net 'wget -q -O - http://192.168.77.1/data | md5sum')" "$(md5sum </tmp/data)"
	check 'the guest serves' guest_do net 'mkdir /tmp/www && head -c 3000000 /dev/urandom >/tmp/www/b && httpd -p 80 -h /tmp/www'
	same 'guest to host: the bytes that were sent' \
		"$(wget -q -O - http://192.168.77.2/b | md5sum)" "$(guest_do net 'md5sum </tmp/www/b')"
	check 'the link goes down and up' guest_do net 'ip link set eth0 down; ip link set eth0 up; sleep 1'
	check 'and carries again' ping -c 3 -W 5 192.168.77.2
	guest_do net 'cat /proc/interrupts | grep virtio; cat /proc/net/dev'
	check_fails 'a second guest does not get the tap' 'net net0: cannot attach to tap0: another process uses it' \
		/lab/in/sluice run --kernel /lab/in/vmlinux --net tap=tap0
	guest_quit net
	same 'it ends well' "$guest_status" 0
	check_fails 'an interface that is not there' 'no such interface' /lab/in/sluice run --kernel /lab/in/vmlinux --net tap=tap9
}

serial()
{
	check 'a guest for its console' guest_start console || return
	check 'the port is a 16550A with its FIFO' guest_do console \
		'cd /sys/class/tty/ttyS0; test "$(cat type)" = 4 && test "$(cat xmit_fifo_size)" = 16'

	# 20,000 bytes at once: more than any FIFO or pipe buffer on the way takes before the guest reads.
	tr -dc 'a-z0-9' </dev/urandom | head -c 20000 >/tmp/paste
	printf '%s\n' 'saved=$(stty -g); stty raw -echo; head -c 20000 | md5sum; stty $saved; true' 1<>/tmp/console.in
	sleep 1
	cat /tmp/paste 1<>/tmp/console.in
	check 'a paste of 20,000 bytes arrives' guest_expect console "^$(md5sum </tmp/paste | cut -c 1-32)"

	before=$(exits console)
	guest_do console 'i=0; while [ $i -lt 100 ]; do echo "0123456789012345678901234567890123456789012345678901234567890123456789012345678"; i=$((i+1)); done' >/tmp/lines
	after=$(exits console)
	same '100 lines come out whole' "$(sort /tmp/lines | uniq -c | tr -d ' \r')" \
		1000123456789012345678901234567890123456789012345678901234567890123456789012345678
	echo "exits for 8,000 characters: $((after - before))"
	guest_quit console
}

job()
{
	disks
	network
	serial
}
