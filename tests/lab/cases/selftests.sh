# SPDX-License-Identifier: Apache-2.0
# The kernel's own tests of VFIO on the lab's devices: the lab host's VFIO is what sluice may rely on. Here what they have for
# iommufd proper; the legacy containers, faults and long runs of DMA are in tests/lab/long/selftests-all.sh.
# shellcheck shell=sh disable=SC2034,SC2154

lab_vmm=none
lab_iommu=intel-fs
lab_args='vfio_pci.enable_sriov=1'
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
	same 'there are huge pages' "$(cat /proc/sys/vm/nr_hugepages)" 8

	# The NVMe has no MSI; there are no pages of 1 GiB.
	selftest igb vfio_iommufd_setup_test "$igb" 0
	selftest nvme vfio_iommufd_setup_test "$nvme" 0
	selftest igb vfio_pci_device_test "$igb" 0
	selftest nvme vfio_pci_device_test "$nvme" 1
	selftest igb vfio_dma_mapping_test "$igb" 1 -v iommufd -v iommufd_anonymous -v iommufd_anonymous_hugetlb_2mb \
		-v iommufd_anonymous_hugetlb_1gb
	selftest nvme vfio_dma_mapping_test "$nvme" 0 -v iommufd -v iommufd_anonymous
	selftest igb vfio_dma_mapping_mmio_test "$igb" 0 -v iommufd
	selftest nvme vfio_dma_mapping_mmio_test "$nvme" 0 -v iommufd
	selftest igb vfio_pci_device_init_perf_test "$igb" 0 -v iommufd
	selftest igb vfio_pci_sriov_uapi_test "$igb" 0 -v iommufd_same_uuid -v iommufd_diff_uuid -v iommufd_null_uuid
	selftest igb vfio_pci_driver_test "$igb" 0 -T memcpy_from_unmapped_iova -T memcpy_to_unmapped_iova \
		-T mix_and_match -T memcpy_storm -v iommufd
}
