/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only */
/*
 * The reference device: what docs/reference-device.md describes, as plain C.
 *
 * One source for the soft provider, the vfio-user server behind it and the kernel test module. The
 * embedder hands in all memory, does the DMA and delivers the interrupts; the model never blocks,
 * never allocates and does a bounded amount of work per call.
 *
 * Locking: the embedder serialises all calls of one device by a lock of its own. The callbacks of
 * struct reference_env are called inside and must not call back. DMA happens outside: the embedder
 * takes the next access from reference_next() under its lock, drops the lock, does the access, takes
 * the lock and reports it by reference_done(). At most one access is out at a time.
 *
 * What must not overlap with an access (reset, a change of migration state, a configuration write that
 * resets) answers -EAGAIN and does nothing while one is out. The embedder then calls reference_hold(),
 * waits for reference_done(), repeats the call and ends with reference_release().
 */
#ifndef SLUICE_VFIO_REFERENCE_MODEL_H
#define SLUICE_VFIO_REFERENCE_MODEL_H

#include "devices/vfio/reference/dirty_log.h"
#include "devices/vfio/reference/registers.h"
#include "devices/vfio/reference/types.h"

#define REFERENCE_PAGE 4096u /* unit of the device memory's own dirty tracking */

/* Longest record of the migration stream: header, offset, one page. */
#define REFERENCE_RECORD_MAX (16u + 8u + REFERENCE_PAGE)

/* ---- what the embedder gives ------------------------------------------------------------------ */

struct reference_env {
	void *ctx;
	/* Send MSI-X message @vector, which is below the number of vectors. */
	void (*raise)(void *ctx, uint32_t vector);
	/* INTA is asserted or not from now on. Called on changes only; at first it is not. */
	void (*intx)(void *ctx, bool asserted);
};

struct reference_geometry {
	uint32_t vectors;     /* MSI-X, 1..REFERENCE_VECTORS_MAX */
	uint64_t memory_size; /* BAR2: a power of two, REFERENCE_MEMORY_MIN.._MAX */
	uint64_t serial;      /* device serial number (DSN capability); not migrated */
};

/* Bytes of each of the two bitmaps below. */
#define REFERENCE_BITMAP_BYTES(memory_size)                                                        \
	((((memory_size) + REFERENCE_SCRATCH_SIZE) / REFERENCE_PAGE + 63) / 64 * 8)

/* Memory of the device; the embedder's before and after. Contents need not be initialised. */
struct reference_memory {
	uint8_t *scratch; /* REFERENCE_SCRATCH_SIZE bytes, page aligned: what mmap shows of BAR0 */
	uint8_t *memory;  /* geometry.memory_size bytes, page aligned: what mmap shows of BAR2 */
	uint64_t *dirty;  /* REFERENCE_BITMAP_BYTES */
	uint64_t *fresh;  /* REFERENCE_BITMAP_BYTES */
	uint8_t *bounce;  /* data between source and destination */
	uint32_t bounce_size; /* at least REFERENCE_PAGE: the longest single access */
};

/*
 * Faults to inject; all zero is a healthy device. Set by the embedder at any time under its lock.
 * Counters run down in place.
 */
struct reference_faults {
	uint32_t fail_state; /* entering this VFIO_DEVICE_STATE_* fails with -EIO, into ERROR; */
	uint32_t fail_state_times; /* ... so many times; 0: never */
	uint32_t lose_interrupt;   /* every so manieth MSI-X message is lost; 0: none */
	uint32_t remove_after; /* the so manieth doorbell from now takes the device away; 0: none */
	uint32_t error_after;  /* the so manieth doorbell reports an unrecoverable error; 0: none */
	uint32_t slow_bytes;  /* reference_save() gives at most so many bytes a call; 0: no limit */
	uint32_t truncate_at; /* the saved stream ends after so many bytes; 0: whole */
	uint32_t flip_at;     /* one bit of this byte of the saved stream is wrong; 0: none */
	uint32_t lie_size_percent; /* migration data size in percent of the truth; 0: true */
	bool reinit; /* the next question for pre-copy sizes answers REINIT; one shot */
};

/* ---- the device ------------------------------------------------------------------------------- */

/* One end of a request: where its next bytes are. Part of the migrated state. */
struct reference_cursor {
	uint64_t address;   /* next byte, IOVA or offset in BAR2 */
	uint64_t remaining; /* bytes left in this piece */
	uint64_t list;      /* IOVA of the next list entry */
	uint32_t entries;   /* list entries left */
	bool memory;        /* the piece is in BAR2 */
	bool is_list;
};

struct reference_request {
	bool busy;
	bool started;    /* checked, and the cursors are set */
	bool abort;      /* asked for */
	bool data_ready; /* @chunk bytes wait in the bounce buffer for the destination */
	uint32_t command, pasid, vector, tag;
	uint64_t pattern;
	uint64_t left;   /* bytes of the request not yet read (or, for FILL, not yet written) */
	uint32_t length; /* as it was asked for */
	uint32_t chunk;
	uint32_t crc; /* so far, not complemented */
	struct reference_cursor source, destination;
};

/* The registers that hold what was last written to them. */
struct reference_block {
	uint64_t source, destination, pattern;
	uint32_t length, command, pasid, vector, source_entries, destination_entries;
};

/* What the engine says of what it did. */
struct reference_status {
	uint64_t completed, failed, bytes, interrupts, rejected;
	uint64_t error_address;
	uint32_t error, result, tag;
	uint32_t int_status, int_enable;
};

enum reference_access_kind {
	REFERENCE_ACCESS_NONE,
	REFERENCE_ACCESS_READ,  /* from guest memory into @buffer */
	REFERENCE_ACCESS_WRITE, /* from @buffer to guest memory */
};

/* One access to guest memory. @buffer stays in place until reference_done(). */
struct reference_access {
	enum reference_access_kind kind;
	bool has_pasid;
	uint32_t pasid;
	uint64_t iova;
	uint32_t length;
	uint8_t *buffer;
};

/* A migration session: saving or loading, never both. */
struct reference_session {
	bool saving, loading;
	uint32_t sequence; /* of the next record */
	uint32_t stage;    /* enum of save.c: which record comes next */
	uint64_t page;     /* where the search for the next page begins */
	uint64_t position; /* bytes of the stream so far */
	uint32_t length;   /* of the record in @record: complete (saving), so far (loading) */
	uint32_t offset;   /* of it already given out (saving) */
	int error;         /* the stream was bad: sticky */
	bool ended;        /* saving: all given out; loading: the END record was good */
	bool initial;      /* saving: the record in hand counts as initial bytes */
	uint8_t record[REFERENCE_RECORD_MAX];
};

/* What a loaded stream wants the device to be, until the arc out of RESUMING makes it so. */
struct reference_incoming {
	bool have_config, have_state;
	uint8_t config[REFERENCE_CONFIG_SIZE];
	struct reference_block block;
	struct reference_request request;
	struct reference_status status;
};

/* What is used most comes first: a small offset is a short instruction. */
struct reference_device {
	/* Fixed at reference_init(). */
	struct reference_env env;
	struct reference_geometry geometry;
	struct reference_memory mem;
	uint32_t migration_flags; /* VFIO_MIGRATION_* */

	/* All but the faults is the model's; the embedder reads it by the functions. */
	uint32_t state; /* enum vfio_device_mig_state */
	bool removed;
	bool mapped;     /* the device memory is mapped by its user, whose stores are not seen */
	bool was_mapped; /* likewise at any time since the session began */
	bool intx;
	bool out_discard; /* the result of @out is of no use any more */
	uint32_t holds;
	struct reference_request request;
	struct reference_block block;
	struct reference_status status;
	struct reference_access out; /* the access that the embedder does now */
	uint8_t entry[REFERENCE_ENTRY_SIZE];
	uint32_t until_lost;            /* for faults.lose_interrupt */
	struct reference_faults faults; /* the embedder's to set */
	struct dirty_log log;
	struct reference_session session;
	struct reference_incoming incoming;
	uint8_t config[REFERENCE_CONFIG_SIZE];
	uint8_t writable[REFERENCE_CONFIG_SIZE]; /* bits of config that a write changes */
	uint32_t crc_table[8][256];
};

/* ---- life --------------------------------------------------------------------------------------- */

/*
 * Make @device, whose bytes are of no matter before, and reset it. There is nothing to destroy.
 * @migration_flags: VFIO_MIGRATION_STOP_COPY, with or without P2P and PRE_COPY.
 * -EINVAL: geometry, memory or flags out of bounds.
 */
int reference_init(struct reference_device *device, const struct reference_env *env,
		   const struct reference_geometry *geometry, const struct reference_memory *memory,
		   uint32_t migration_flags);

/*
 * VFIO_DEVICE_RESET, the same as a function level reset: registers, configuration space and memory as
 * after power-on, the request that ran is forgotten, migration state RUNNING, a session ended. A DMA
 * log goes on (it belongs to the user of the device, not to the device). Interrupt line deasserted.
 * -EAGAIN: an access is out; -ENODEV: removed, which no reset mends.
 */
int reference_reset(struct reference_device *device);

/* Surprise removal: from now on every read is all ones, nothing is written, no DMA, no interrupt. */
void reference_remove(struct reference_device *device);

/* ---- regions ------------------------------------------------------------------------------------ */

/*
 * What a write did that the embedder has to act on.
 *   KICK     reference_next() may have something to do
 *   DECODE   memory decode went off (command register, power state): mappings of the BARs go; do this
 *            before answering the write
 *   RESET    the device was reset: mappings of the BARs and migration data descriptors go
 *   REMOVED  the device is gone (also reported by reference_done)
 *   ERROR    it reports an unrecoverable error (VFIO_PCI_ERR_IRQ_INDEX), and goes on
 */
#define REFERENCE_EFFECT_KICK    (1u << 0)
#define REFERENCE_EFFECT_DECODE  (1u << 1)
#define REFERENCE_EFFECT_RESET   (1u << 2)
#define REFERENCE_EFFECT_REMOVED (1u << 3)
#define REFERENCE_EFFECT_ERROR   (1u << 4)

/* Size of a region by its VFIO index (VFIO_PCI_*_REGION_INDEX); 0: there is none. */
uint64_t reference_region_size(const struct reference_device *device, uint32_t index);

/*
 * How much of an access of *@count bytes at @offset is one, as vfio-pci has it: a BAR's end cuts it, at
 * or behind the end and without a region it is -EINVAL; one that is not whole in configuration space is
 * -EFAULT.
 */
int reference_clip(const struct reference_device *device, uint32_t index, size_t *count,
		   uint64_t offset);

/*
 * Read @count bytes at @offset of a region; any alignment, no side effect. Bytes of BARs read as ones
 * while memory decode is off or the device is gone. Returns the number of bytes, or what
 * reference_clip() says.
 */
ssize_t reference_read(struct reference_device *device, uint32_t index, void *buffer, size_t count,
		       uint64_t offset);

/*
 * Likewise write. Registers take aligned units of 4 bytes (8 are two of them, low half first); the
 * bytes of a partial unit are dropped. @effects may be NULL for an embedder that looks at nothing.
 * -EAGAIN: configuration write that resets, and an access is out; nothing was written.
 */
ssize_t reference_write(struct reference_device *device, uint32_t index, const void *buffer,
			size_t count, uint64_t offset, uint32_t *effects);

/* Is memory decode on (command register, D0, not removed)? Mappings of BARs are valid only then. */
bool reference_decodes(const struct reference_device *device);
/* Has its driver the pin disabled (command register)? It is silent then, also towards who only tries it out. */
bool reference_intx_disabled(const struct reference_device *device);

/*
 * The device memory can be mapped by its user from now on, whose stores nobody sees: all of its pages
 * count as dirty at the end of a migration during which it was mapped.
 */
void reference_set_mapped(struct reference_device *device, bool mapped);

/*
 * The enable bits of PASID, ATS and PRI belong to who owns the IOMMU, as with vfio-pci: the device's
 * user reads them, the embedder sets them, usually PASID while one is attached. Kept across resets.
 */
void reference_set_translation(struct reference_device *device, bool pasid, bool ats, bool pri);

/* ---- the engine --------------------------------------------------------------------------------- */

/*
 * Work on the request for a bounded time (one access, or at most bounce_size bytes inside the device).
 * Returns
 *   1  more may be there to do: do *@access unless its kind is NONE, report it, and call again
 *   0  nothing to do now: idle, stopped, held, removed, not bus master is an error of the request
 */
int reference_next(struct reference_device *device, struct reference_access *access);

/*
 * The access is done. @result: 0 or the -errno, of whatever kind, which the request ends with (not
 * permitted, not mapped, no such PASID). -EINTR: it was not done, or not to its end, since the engine
 * must come to rest; the same access comes again. Returns REFERENCE_EFFECT_* (KICK, REMOVED).
 */
uint32_t reference_done(struct reference_device *device, int result);

/* Is an access out? */
bool reference_access_out(const struct reference_device *device);

/* Let reference_next() begin no access until as many calls of release. */
void reference_hold(struct reference_device *device);
void reference_release(struct reference_device *device);

/* ---- migration ---------------------------------------------------------------------------------- */

uint32_t reference_state(const struct reference_device *device);

/*
 * Make one arc of the kernel's state machine, from the present state to @next; longer ways are the
 * embedder's (vfio_mig_get_next_state). @session tells what happens to the data descriptor.
 * Errors: -EINVAL no such arc, or (from RESUMING) the stream was bad or not whole: the device is in
 * ERROR then; -EIO injected, in ERROR; -ENODEV removed; -EAGAIN an access is out and @next does no
 * DMA. The state is unchanged but where it says ERROR.
 * When the device runs again, call reference_next() (KICK is implied).
 */
enum reference_session_change {
	REFERENCE_SESSION_KEEP,
	REFERENCE_SESSION_SAVE, /* one begins: its reader gets reference_save() */
	REFERENCE_SESSION_LOAD, /* one begins: its writer feeds reference_load() */
	REFERENCE_SESSION_END,  /* it ended: further reads and writes answer -ENODEV */
};
int reference_arc(struct reference_device *device, uint32_t next,
		  enum reference_session_change *session);

/*
 * The next bytes of the saved stream into @buffer. Returns how many, 0 at its end (STOP_COPY only),
 * -ENOMSG when there are none now (PRE_COPY: later there may be), -ENODEV without a session.
 */
ssize_t reference_save(struct reference_device *device, void *buffer, size_t count);

/*
 * Feed the stream. Takes all of it, in any chunks. -EINVAL: malformed, for another kind of device, or
 * more than a stream; remembered until the session ends. -ENODEV without a session.
 */
ssize_t reference_load(struct reference_device *device, const void *buffer, size_t count);

/*
 * VFIO_MIG_GET_PRECOPY_INFO. @v2: the user knows REINIT; *@flags gets VFIO_PRECOPY_INFO_REINIT or 0.
 * -EINVAL: not in a pre-copy state.
 */
int reference_precopy_info(struct reference_device *device, bool v2, uint32_t *flags,
			   uint64_t *initial_bytes, uint64_t *dirty_bytes);

/* VFIO_DEVICE_FEATURE_MIG_DATA_SIZE: the most that STOP_COPY could still have to give. */
uint64_t reference_data_size(const struct reference_device *device);

/* ---- DMA log: device.log, by dirty_log.h. Writes that carry a PASID are not logged. ---- */

#endif
