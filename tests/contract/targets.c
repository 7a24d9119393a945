/* SPDX-License-Identifier: Apache-2.0 */
/* The targets: what each device has, and where it may differ and why. */
#include "devices/vfio/reference/registers.h"
#include "tests/contract/contract.h"
#include "tests/contract/reference.h"

#include <errno.h>
#include <string.h>

#define ABSENT(what, why)                                                                          \
	{                                                                                          \
		what, why                                                                          \
	}
#define END_OF_ABSENCES                                                                            \
	{                                                                                          \
		0, NULL                                                                            \
	}
#define END                                                                                        \
	{                                                                                          \
		NULL, 0, NULL                                                                      \
	}

/* ---- real devices behind vfio-pci ------------------------------------------------------------- */

#define VFIO_PCI                                                                                   \
	(HAS_PHYSICAL | HAS_NODE | HAS_BAR | HAS_DECODE | HAS_REQ | HAS_ERR | HAS_TAKE_AWAY |      \
	 HAS_MSIX | HAS_MSIX_TABLE | HAS_IOEVENTFD | HAS_HOT_RESET | HAS_LOW_POWER | HAS_OTHERS)

/* Of them all. */
#define VFIO_PCI_ABSENCES                                                                          \
	ABSENT(HAS_MIGRATION | HAS_P2P | HAS_PRE_COPY | HAS_MIG_ERROR,                             \
	       "vfio-pci itself cannot migrate a device; its variant drivers can"),                \
		ABSENT(HAS_LOG, "vfio-pci has no DMA log"),                                        \
		ABSENT(HAS_PASID, "QEMU's devices have no PASID capability"),                      \
		ABSENT(HAS_DRIVER | HAS_DMA,                                                       \
		       "the suite has no driver for this device; guests in the lab have"),         \
		ABSENT(HAS_GONE | HAS_REQUEST_OP, "a kernel device is asked for by the host"),     \
		ABSENT(HAS_DMA_MESSAGES, "its DMA is the hardware's"),                             \
		ABSENT(HAS_TOKEN, "no VF whose PF vfio-pci holds: lab case provider has one"),     \
		ABSENT(HAS_FAULTS | HAS_PINS | HAS_ATTACH_FAULT,                                   \
		       "a real driver has no faults to inject"),                                   \
		ABSENT(HAS_SIBLING, "alone in its slot: two of one are in lab case provider"),     \
		ABSENT(HAS_DRIVER_SEEN, "vfio-pci shows nothing of its core"),                     \
		ABSENT(HAS_MMAP, "no BAR of this device remembers what is written into it")

static const struct absence nvme_absences[] = {
	VFIO_PCI_ABSENCES,
	ABSENT(HAS_MSI, "QEMU's NVMe has MSI-X only"),
	END_OF_ABSENCES,
};

static const struct difference nvme_differences[] = {
	{"features.what_is_declared_absent_is_absent/mmap", 1,
	 "its registers can be mapped, but are no memory"},
	END,
};

static const struct target nvme = {
	.name = "nvme",
	.provider = "kernel",
	.what = "QEMU's NVMe behind vfio-pci and the emulated VT-d",
	.has = VFIO_PCI,
	.bar = 0,
	.bar_at = 8, /* VS: the version */
	.absences = nvme_absences,
	.differences = nvme_differences,
};

static const struct absence igb_absences[] = {
	VFIO_PCI_ABSENCES,
	END_OF_ABSENCES,
};

static const struct difference igb_differences[] = {
	{"features.what_is_declared_absent_is_absent/mmap", 1,
	 "its registers can be mapped, but are no memory"},
	{"regions.bar_reads_the_same_by_every_size/narrow", 0,
	 "QEMU's igb has whole registers only: its answer to less than four bytes is another"},
	{"token.one_that_nobody_wants_is_refused/errno", 0,
	 "a PF without VFs in use takes any token, as the one of its VFs (vfio_pci_core.c)"},
	END,
};

static const struct target igb = {
	.name = "igb",
	.provider = "kernel",
	.what = "QEMU's igb behind vfio-pci and the emulated VT-d",
	.has = VFIO_PCI | HAS_MSI,
	.bar = 0,
	.bar_at = 0x5400, /* RAL0: the address */
	.absences = igb_absences,
	.differences = igb_differences,
};

/* ---- mtty, the kernel's sample mdev ------------------------------------------------------------ */

/* The scratch register of its UART, in BAR0. */
static int mtty_put(struct run *run, uint32_t value)
{
	const uint8_t byte = (uint8_t)value;
	const ssize_t done = region_write(run, 0, 7, &byte, 1);

	return done == 1 ? 0 : done < 0 ? (int)done : -EIO;
}

static int mtty_get(struct run *run, uint32_t *value)
{
	uint8_t byte = 0;
	const ssize_t done = region_read(run, 0, 7, &byte, 1);

	*value = byte;
	return done == 1 ? 0 : done < 0 ? (int)done : -EIO;
}

static const struct driver mtty_driver = {.put = mtty_put, .get = mtty_get};

static const struct absence mtty_absences[] = {
	ABSENT(HAS_PHYSICAL, "an mdev has no IOMMU"),
	ABSENT(HAS_PASID, "mtty does no DMA"),
	ABSENT(HAS_DMA | HAS_DMA_MESSAGES, "mtty does no DMA"),
	ABSENT(HAS_BAR | HAS_DECODE, "mtty does not check accesses to its BARs, nor PCI_COMMAND"),
	ABSENT(HAS_MMAP, "mtty's BARs are ports"),
	ABSENT(HAS_MSIX | HAS_MSIX_TABLE, "mtty has one MSI"),
	ABSENT(HAS_REQ | HAS_ERR | HAS_TAKE_AWAY, "mtty has no request callback"),
	ABSENT(HAS_GONE | HAS_REQUEST_OP, "a kernel device is asked for by the host"),
	ABSENT(HAS_MIG_ERROR, "mtty stays in RESUMING when it does not take a stream"),
	ABSENT(HAS_FAULTS | HAS_PINS | HAS_ATTACH_FAULT, "mtty has no faults to inject"),
	ABSENT(HAS_LOW_POWER | HAS_IOEVENTFD | HAS_HOT_RESET | HAS_TOKEN | HAS_SIBLING,
	       "mtty is no device of a bus"),
	ABSENT(HAS_DRIVER_SEEN, "mtty shows nothing of its core"),
	END_OF_ABSENCES,
};

static const struct difference mtty_differences[] = {
	{"regions.info_of_the_device/reset", 0, "mtty resets without saying so in its flags"},
	{"regions.info_of_every_region/config", 255, "mtty's config space is one byte short"},
	{"migration.a_fresh_device_runs/next", VFIO_DEVICE_STATE_STOP,
	 "mtty leaves its state to the next user, who has to reset it"},
	{"regions.config_keeps_what_is_written/master", 0, "mtty's PCI_COMMAND keeps nothing"},
	{"irqs.the_pin_is_one_of_the_kinds/none", -EINVAL,
	 "mtty's pin is not in use without an eventfd"},
	{"irqs.the_pin_is_one_of_the_kinds/besides", 0, "so its message can be"},
	{"irqs.the_pin_can_be_masked/eventfd", 0, "mtty is not unmasked by eventfd"},
	{"regions.config_ends", 0,
	 "mtty does not check offsets in config space, and reads past its buffer"},
	{"reset.the_device_is_fresh_after_it", 0, "mtty's reset is of the migration state alone"},
	{"reset.function_level_reset_by_config", 0, "mtty has no PCI Express capability"},
	{"stream.pre_copy_goes_over_into_stop_copy/poll", 0, "mtty's stream cannot be polled"},
	{"stream.pre_copy_goes_over_into_stop_copy/drained", 0, "mtty says 0 for -ENOMSG"},
	END,
};

static const struct target mtty = {
	.name = "mtty",
	.provider = "kernel",
	.what = "the kernel's sample mdev with all migration states",
	.has = HAS_NODE | HAS_OTHERS | HAS_MSI | HAS_MIGRATION | HAS_P2P | HAS_PRE_COPY | HAS_LOG |
	       HAS_DRIVER,
	.driver = &mtty_driver,
	.absences = mtty_absences,
	.differences = mtty_differences,
};

/* ---- the reference device behind the kernel's VFIO core (tests/lab/modules/vfio-reference) ------- */

#define REFERENCE                                                                                  \
	(HAS_PASID | HAS_BAR | HAS_MMAP | HAS_DECODE | HAS_MSIX | HAS_MSIX_TABLE | HAS_REQ |       \
	 HAS_MIGRATION | HAS_P2P | HAS_PRE_COPY | HAS_MIG_ERROR | HAS_LOG | HAS_IOEVENTFD |        \
	 HAS_DRIVER | HAS_DMA)
#define REFERENCE_KERNEL                                                                           \
	(REFERENCE | HAS_NODE | HAS_OTHERS | HAS_TOKEN | HAS_FAULTS | HAS_DRIVER_SEEN |            \
	 HAS_TAKE_AWAY | HAS_ERR | HAS_ATTACH_FAULT)

#define REFERENCE_ABSENCES ABSENT(HAS_MSI, "the reference device has MSI-X only")
#define REFERENCE_KERNEL_ABSENCES                                                                  \
	REFERENCE_ABSENCES, ABSENT(HAS_LOW_POWER, "the kernel test device has no power to save"),  \
		ABSENT(HAS_GONE | HAS_REQUEST_OP, "a kernel device is asked for by the host"),     \
		ABSENT(HAS_DMA_MESSAGES, "its DMA is the kernel's")

static const struct absence emulated_absences[] = {
	REFERENCE_KERNEL_ABSENCES,
	ABSENT(HAS_PHYSICAL, "it is registered without an IOMMU, as mdevs are"),
	ABSENT(HAS_HOT_RESET | HAS_SIBLING,
	       "iommufd does not tell who has a device without an IOMMU: each is reset alone"),
	END_OF_ABSENCES,
};

static const struct absence physical_absences[] = {
	REFERENCE_KERNEL_ABSENCES,
	ABSENT(HAS_PINS, "an IOMMU translates: the device pins nothing"),
	END_OF_ABSENCES,
};

#define REFERENCE_KERNEL_DIFFERENCES                                                               \
	{"mmap.a_descriptor_shows_the_same_bytes/alone", -ENODEV,                                  \
	 "a kernel device has one descriptor, by which all of it can be reached"},                 \
	{                                                                                          \
		"dma.memory_without_a_descriptor_goes_by_call/reached", 0,                         \
			"the kernel maps memory, and calls nobody for it"                          \
	}

static const struct difference emulated_differences[] = {
	REFERENCE_KERNEL_DIFFERENCES,
	{"limits.a_mapped_bar_is_device_memory/peer", 1,
	 "iommufd copies by the user's mappings, for whose device it does not ask"},
	END,
};

static const struct difference physical_differences[] = {
	REFERENCE_KERNEL_DIFFERENCES,
	{"limits.a_mapped_bar_is_device_memory/map", -EFAULT,
	 "iommufd pins pages as they are mapped, and a mapping of a BAR has none"},
	{"limits.a_mapped_bar_is_device_memory/reached", 0, "so it is not mapped"},
	END,
};

static const struct target kernel_emulated = {
	.name = "kernel-emulated",
	.provider = "kernel",
	.what = "the kernel test device without an IOMMU",
	.has = REFERENCE_KERNEL | HAS_PINS,
	.bar = REFERENCE_BAR_REGISTERS,
	.bar_at = REFERENCE_ID,
	.map_bar = REFERENCE_BAR_MEMORY,
	.driver = &reference_driver,
	.control_set = kernel_control_set,
	.absences = emulated_absences,
	.differences = emulated_differences,
};

static const struct target kernel_physical = {
	.name = "kernel-physical",
	.provider = "kernel",
	.what = "the kernel test device behind its software IOMMU",
	.has = REFERENCE_KERNEL | HAS_PHYSICAL | HAS_HOT_RESET | HAS_SIBLING,
	.bar = REFERENCE_BAR_REGISTERS,
	.bar_at = REFERENCE_ID,
	.map_bar = REFERENCE_BAR_MEMORY,
	.driver = &reference_driver,
	.control_set = kernel_control_set,
	.absences = physical_absences,
	.differences = physical_differences,
};

/* ---- the reference device in this process ------------------------------------------------------ */

static const struct absence soft_absences[] = {
	REFERENCE_ABSENCES,
	ABSENT(HAS_PHYSICAL, "software translates"),
	ABSENT(HAS_NODE | HAS_OTHERS | HAS_TAKE_AWAY, "it is no device of the host"),
	ABSENT(HAS_TOKEN, "it is no VF"),
	ABSENT(HAS_DRIVER_SEEN, "it has no use for a KVM, and no core below"),
	ABSENT(HAS_PINS, "it pins memory for single accesses only"),
	ABSENT(HAS_HOT_RESET | HAS_SIBLING, "it is on no bus"),
	ABSENT(HAS_ATTACH_FAULT, "attaching it is taking a reference"),
	ABSENT(HAS_DMA_MESSAGES, "it reads the space itself"),
	END_OF_ABSENCES,
};

static const struct difference soft_differences[] = {
	{"regions.doorbells_are_told/count", 1,
	 "the reference device takes one register by eventfd"},
	END,
};

static const struct target soft = {
	.name = "soft",
	.provider = "soft",
	.what = "soft:reference, the reference device in this process",
	.has = REFERENCE | HAS_FAULTS | HAS_LOW_POWER | HAS_GONE | HAS_ERR | HAS_REQUEST_OP,
	.bar = REFERENCE_BAR_REGISTERS,
	.bar_at = REFERENCE_ID,
	.map_bar = REFERENCE_BAR_MEMORY,
	.driver = &reference_driver,
	.control_set = soft_control_set,
	.absences = soft_absences,
	.differences = soft_differences,
};

/* ---- the same behind a vfio-user server ------------------------------------------------------- */

#define USER ((REFERENCE & ~(uint32_t)(HAS_PASID | HAS_IOEVENTFD)) | HAS_OTHERS)

#define USER_ABSENCES                                                                              \
	REFERENCE_ABSENCES, ABSENT(HAS_PHYSICAL, "the server translates"),                         \
		ABSENT(HAS_PASID, "vfio-user has no PASIDs"),                                      \
		ABSENT(HAS_NODE | HAS_TAKE_AWAY,                                                   \
		       "it is no device of the host: a second client waits"),                      \
		ABSENT(HAS_TOKEN, "vfio-user has no VF tokens: the server has it"),                \
		ABSENT(HAS_DRIVER_SEEN, "a KVM cannot be handed to a server"),                     \
		ABSENT(HAS_HOT_RESET | HAS_SIBLING, "vfio-user has no hot reset"),                 \
		ABSENT(HAS_ATTACH_FAULT, "attaching is the server's, which maps what it is sent"), \
		ABSENT(HAS_GONE, "what goes is the server: unit tests of the client"),             \
		ABSENT(HAS_PINS | HAS_REQUEST_OP, "who uses the device is this process"),          \
		ABSENT(HAS_IOEVENTFD, "doorbells go the other way: DEVICE_GET_REGION_IO_FDS")

static const struct absence user_absences[] = {
	USER_ABSENCES,
	ABSENT(HAS_FAULTS | HAS_ERR, "the server has its device to itself"),
	END_OF_ABSENCES,
};

static const struct difference user_differences[] = {
	{"regions.doorbells_are_told/count", 1,
	 "the reference device takes one register by eventfd"},
	{"features.what_is_declared_absent_is_absent/err", 1,
	 "it has the ERR interrupt of PCI Express, and no reason to raise it"},
	{"features.low_power_is_entered_and_left/wakeup", -ENOTTY,
	 "an eventfd of the client's means nothing in the server"},
	END,
};

static const struct target user = {
	.name = "user",
	.provider = "user",
	.what = "soft:reference behind our vfio-user server, by our client",
	.has = USER | HAS_LOW_POWER | HAS_DMA_MESSAGES,
	.bar = REFERENCE_BAR_REGISTERS,
	.bar_at = REFERENCE_ID,
	.map_bar = REFERENCE_BAR_MEMORY,
	.driver = &reference_driver,
	.absences = user_absences,
	.differences = user_differences,
};

static const struct absence user_kernel_absences[] = {
	USER_ABSENCES,
	ABSENT(HAS_LOW_POWER, "the kernel test device has no power to save"),
	ABSENT(HAS_MMAP, "the device's descriptor stays in the server, and BARs are trapped"),
	ABSENT(HAS_DMA_MESSAGES, "the device behind the server does its own DMA"),
	END_OF_ABSENCES,
};

static const struct difference user_kernel_differences[] = {
	{"limits.every_range_is_whole/known", 0,
	 "vfio-user has no message for the ranges of the IOMMU behind the server"},
	{"dma.memory_without_a_descriptor_goes_by_call/reached", 0,
	 "the kernel maps memory, and calls nobody for it"},
	{"stream.pre_copy_can_begin_anew/told", 0,
	 "vfio-user has no message for it, so nobody asks the device behind the server"},
	END,
};

static const struct target user_kernel = {
	.name = "user-kernel",
	.provider = "user",
	.what = "the kernel test device behind our vfio-user server, by our client",
	.has = (USER | HAS_FAULTS | HAS_ERR) & ~(uint32_t)HAS_MMAP,
	.bar = REFERENCE_BAR_REGISTERS,
	.bar_at = REFERENCE_ID,
	.driver = &reference_driver,
	.control_set = kernel_control_set, /* by --control */
	.absences = user_kernel_absences,
	.differences = user_kernel_differences,
};

const struct target *const targets[] = {
	&nvme, &igb, &mtty, &kernel_emulated, &kernel_physical, &soft, &user, &user_kernel, NULL,
};
