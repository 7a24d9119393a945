# SPDX-License-Identifier: Apache-2.0
# All of the kernel's own tests of VFIO: every kind of container, and the storm of copies by the igb.
# shellcheck shell=sh disable=SC2034,SC2154

lab_vmm=none
lab_iommu=intel-fs
lab_args='vfio_pci.enable_sriov=1'
# The driver test's requests for memory that is not mapped are faults of the IOMMU.
lab_want_warnings=yes
lab_seconds=900
lab_devices='
	igb,romfile=
	nvme,serial=lab1,drive=@16M
'

host_before() { cp -r "$("$top_dir/setup/setup" selftests)" "$lab_run/in/selftests"; }

job()
{
	. /lab/in/lib/selftests.sh
	igb=$(device 1) nvme=$(device 2)
	check 'bind the igb' bind "$igb" || return
	check 'bind the NVMe' bind "$nvme" || return
	echo 8 >/proc/sys/vm/nr_hugepages

	# Five times a page of 1 GiB that there is not; and the NVMe has no MSI.
	for what in igb nvme; do
		bdf=$igb no_msi=0
		[ $what = igb ] || { bdf=$nvme; no_msi=1; }
		selftest $what vfio_iommufd_setup_test "$bdf" 0
		selftest $what vfio_pci_device_test "$bdf" $no_msi
		selftest $what vfio_dma_mapping_test "$bdf" 5
		selftest $what vfio_dma_mapping_mmio_test "$bdf" 0
		selftest $what vfio_pci_device_init_perf_test "$bdf" 0
	done
	selftest igb vfio_pci_sriov_uapi_test "$igb" 0
	selftest igb vfio_pci_driver_test "$igb" 0

	selftest_warnings
}
