/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The reference device as a driver sees it: numbers only, described in docs/reference-device.md.
 *
 * All registers and structures are little endian. Shared by the model, the kernel test module, the
 * guest driver and the test suite; includes nothing, so that any of them can.
 */
#ifndef SLUICE_VFIO_REFERENCE_REGISTERS_H
#define SLUICE_VFIO_REFERENCE_REGISTERS_H

/* ---- identity ---- */

/* Not assigned by the PCI-SIG: the device is software and never on a bus of wires. */
#define REFERENCE_VENDOR_ID 0xfeed
#define REFERENCE_DEVICE_ID 0x0001
#define REFERENCE_REVISION  0x01
#define REFERENCE_CLASS     0x088000 /* system peripheral, other: as DMA engines have it */

/* ---- base address registers ---- */

/* BAR0: 32 bit, not prefetchable. Registers (trapped), then a part that can be mapped. */
#define REFERENCE_BAR_REGISTERS  0
#define REFERENCE_BAR0_SIZE      0x20000
#define REFERENCE_SCRATCH_OFFSET 0x10000 /* plain memory from here to the end of BAR0 */
#define REFERENCE_SCRATCH_SIZE   0x10000

/* BAR1: 32 bit, not prefetchable, trapped. MSI-X table and pending bits. */
#define REFERENCE_BAR_MSIX          1
#define REFERENCE_BAR1_SIZE         0x10000
#define REFERENCE_MSIX_TABLE_OFFSET 0x0000
#define REFERENCE_MSIX_PBA_OFFSET   0x8000
#define REFERENCE_VECTORS_MAX       2048
#define REFERENCE_VECTORS_DEFAULT   64

/* BAR2 (and 3): 64 bit, prefetchable, all of it plain memory that can be mapped. */
#define REFERENCE_BAR_MEMORY     2
#define REFERENCE_MEMORY_MIN     0x10000   /* 64 KiB */
#define REFERENCE_MEMORY_MAX     0x4000000 /* 64 MiB */
#define REFERENCE_MEMORY_DEFAULT 0x100000  /* 1 MiB; a power of two */

/* ---- configuration space ---- */

#define REFERENCE_CONFIG_SIZE   4096
#define REFERENCE_CAP_PM        0x40
#define REFERENCE_CAP_MSIX      0x50
#define REFERENCE_CAP_EXP       0x60
#define REFERENCE_EXT_CAP_DSN   0x100
#define REFERENCE_EXT_CAP_ATS   0x110
#define REFERENCE_EXT_CAP_PRI   0x120
#define REFERENCE_EXT_CAP_PASID 0x130

#define REFERENCE_PASID_BITS 16 /* width of a PASID */

/* ---- registers of BAR0 ---- */

/* RO: read only. Two offsets (64): a register of 64 bits, writable as two halves. */
#define REFERENCE_ID            0x000 /* RO: REFERENCE_ID_VALUE */
#define REFERENCE_VERSION       0x004 /* RO: REFERENCE_VERSION_VALUE */
#define REFERENCE_FEATURES      0x008 /* RO: REFERENCE_FEATURE_* */
#define REFERENCE_VECTORS       0x00c /* RO: number of MSI-X vectors */
#define REFERENCE_MEMORY_SIZE   0x010 /* RO, 64: bytes of BAR2 */
#define REFERENCE_LENGTH_LIMIT  0x018 /* RO: most bytes of one request */
#define REFERENCE_LIST_LIMIT    0x01c /* RO: most entries of one scatter list */
#define REFERENCE_CONTROL       0x020 /* REFERENCE_CONTROL_*; reads 0 */
#define REFERENCE_STATUS        0x024 /* RO: REFERENCE_STATUS_* */
#define REFERENCE_ERROR         0x028 /* RO: of the last request, REFERENCE_ERROR_* */
#define REFERENCE_ERROR_ADDRESS 0x030 /* RO, 64: where it went wrong */
#define REFERENCE_COMPLETED     0x040 /* RO, 64: requests ended, with or without an error */
#define REFERENCE_FAILED        0x048 /* RO, 64: of these, with an error */
#define REFERENCE_BYTES         0x050 /* RO, 64: bytes of data done; a copied byte counts once */
#define REFERENCE_INTERRUPTS    0x058 /* RO, 64: MSI-X messages sent */
#define REFERENCE_REJECTED      0x060 /* RO, 64: doorbells rung while BUSY */
#define REFERENCE_INT_STATUS    0x070 /* write 1 to clear: REFERENCE_INT_* */
#define REFERENCE_INT_ENABLE    0x074 /* REFERENCE_INT_*: which of them drive INTA */

/* The request, read by the device at the doorbell. */
#define REFERENCE_SOURCE              0x100 /* 64: IOVA, offset in BAR2, or IOVA of a list */
#define REFERENCE_DESTINATION         0x108 /* 64: likewise */
#define REFERENCE_LENGTH              0x110 /* bytes */
#define REFERENCE_COMMAND             0x114 /* REFERENCE_COMMAND_* */
#define REFERENCE_PASID               0x118 /* for REFERENCE_COMMAND_PASID */
#define REFERENCE_VECTOR              0x11c /* for REFERENCE_COMMAND_INTERRUPT */
#define REFERENCE_PATTERN             0x120 /* 64: for FILL */
#define REFERENCE_SOURCE_ENTRIES      0x128 /* for REFERENCE_COMMAND_SOURCE_LIST */
#define REFERENCE_DESTINATION_ENTRIES 0x12c /* for REFERENCE_COMMAND_DESTINATION_LIST */

#define REFERENCE_RESULT   0x130 /* RO: CRC-32C of the last request that made one */
#define REFERENCE_TAG      0x134 /* RO: what was written to the doorbell of the last request ended */
#define REFERENCE_DOORBELL 0x140 /* write: start the request; the value becomes its tag */

/*
 * The same with a tag of 0, whatever is written: a write that says nothing but that it was, so that an
 * eventfd can stand for it.
 */
#define REFERENCE_RING 0x144

#define REFERENCE_REGISTERS_END 0x148 /* from here to the scratch memory: reads 0, writes dropped */

/* ---- values and bits ---- */

#define REFERENCE_ID_VALUE      0x46524c53 /* "SLRF" in memory order */
#define REFERENCE_VERSION_VALUE 0x00010000 /* major << 16 | minor */

#define REFERENCE_FEATURE_COPY  (1u << 0)
#define REFERENCE_FEATURE_FILL  (1u << 1)
#define REFERENCE_FEATURE_CRC   (1u << 2)
#define REFERENCE_FEATURE_LIST  (1u << 3)
#define REFERENCE_FEATURE_PASID (1u << 4)

#define REFERENCE_LENGTH_LIMIT_VALUE 0x40000000u /* 1 GiB */
#define REFERENCE_LIST_LIMIT_VALUE   0x40000u    /* a GiB in pages of 4 KiB */

#define REFERENCE_CONTROL_ABORT (1u << 0) /* end the request that runs, with ERROR_ABORTED */
#define REFERENCE_CONTROL_RESET (1u << 1) /* all registers above as after power-on; no memory */

#define REFERENCE_STATUS_BUSY    (1u << 0) /* a request is accepted and not ended */
#define REFERENCE_STATUS_PENDING (1u << 1) /* it waits: the device is stopped (migration) */

#define REFERENCE_INT_DONE  (1u << 0) /* a request ended well */
#define REFERENCE_INT_ERROR (1u << 1) /* a request ended with an error */

#define REFERENCE_COMMAND_OPCODE             0xffu
#define REFERENCE_OPCODE_NOP                 0x00u /* nothing but the completion */
#define REFERENCE_OPCODE_COPY                0x01u
#define REFERENCE_OPCODE_FILL                0x02u
#define REFERENCE_OPCODE_CRC                 0x03u
#define REFERENCE_COMMAND_SOURCE_MEMORY      (1u << 8)  /* SOURCE is an offset in BAR2 */
#define REFERENCE_COMMAND_DESTINATION_MEMORY (1u << 9)  /* DESTINATION is */
#define REFERENCE_COMMAND_SOURCE_LIST        (1u << 10) /* SOURCE is the IOVA of a scatter list */
#define REFERENCE_COMMAND_DESTINATION_LIST   (1u << 11) /* DESTINATION is */
#define REFERENCE_COMMAND_INTERRUPT          (1u << 12) /* send VECTOR at the end */
#define REFERENCE_COMMAND_PASID              (1u << 13) /* every access of the request has PASID */
#define REFERENCE_COMMAND_CRC                (1u << 14) /* COPY: make the checksum as well */
#define REFERENCE_COMMAND_KNOWN              0x00007fffu

/* Why a request failed. ERROR_ADDRESS says where for those marked A. */
#define REFERENCE_ERROR_NONE       0
#define REFERENCE_ERROR_COMMAND    1 /* unknown opcode or bit, or bits that exclude each other */
#define REFERENCE_ERROR_LENGTH     2 /* 0, or beyond the limit */
#define REFERENCE_ERROR_READ       3 /* A: IOVA not mapped, or not for reading */
#define REFERENCE_ERROR_WRITE      4 /* A: IOVA not mapped, or not for writing */
#define REFERENCE_ERROR_PASID      5 /* beyond the width, or PASIDs are not enabled */
#define REFERENCE_ERROR_BUS_MASTER 6 /* PCI_COMMAND_MASTER is clear */
#define REFERENCE_ERROR_MEMORY     7 /* A: offset outside BAR2 */
#define REFERENCE_ERROR_LIST       8 /* A: entry that is malformed, or the list too short or long */
#define REFERENCE_ERROR_VECTOR     9 /* no such vector */
#define REFERENCE_ERROR_ABORTED    10 /* by REFERENCE_CONTROL_ABORT */

/*
 * Scatter list: entries of 16 bytes, one after the other.
 *   0  u64 address   IOVA, or offset in BAR2
 *   8  u32 length    bytes, not 0
 *  12  u32 flags     REFERENCE_ENTRY_*
 */
#define REFERENCE_ENTRY_SIZE   16
#define REFERENCE_ENTRY_MEMORY (1u << 0) /* address is an offset in BAR2 */
#define REFERENCE_ENTRY_KNOWN  0x00000001u

#endif
