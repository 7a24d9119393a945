# SPDX-License-Identifier: Apache-2.0
# sluice: build, run, test. `make help` lists the targets.
#
# Sources are found by folder: vmm/, devices/ and the chosen arch/ make one library, vmm/main.c the
# program on top of it; each tests/unit/*_test.c is one Criterion program.

ARCH   ?= $(shell uname -m | sed 's/aarch64/arm64/')
ARCHDIR := arch/$(if $(filter x86_64,$(ARCH)),x86,$(ARCH))
BUILD  ?= build
V      ?= 0
Q      := $(if $(filter 1,$(V)),,@)

CC      = gcc
# Small rather than quick: what is hot is the kernel's, and -Oz takes a quarter off the program.
OPT    ?= -Oz -g
SAN    ?=
# The program is compiled as a whole when it is linked; nothing in it computes with floating point, so no function that takes
# variable arguments need save such registers; its data is aligned as the ABI asks, not for vectors; and what the compiler
# does for speed at the cost of bytes is off. That takes another twelfth off. Objects for it hold no code yet: what tests link
# are others.
WHOLE  ?= $(if $(SAN)$(findstring clang,$(CC)),,-flto=auto -mgeneral-regs-only $(if $(filter x86_64,$(ARCH)),-malign-data=abi) \
	  -fno-inline-functions-called-once -fno-move-loop-invariants -fno-caller-saves -fno-ira-share-spill-slots -fno-tree-ch \
	  -fno-thread-jumps -fno-tree-dominator-opts -fno-jump-tables -fno-shrink-wrap -fno-schedule-insns2 -fno-ipa-sra \
	  -fno-if-conversion -fno-expensive-optimizations -fno-tree-tail-merge -fno-partial-inlining \
	  -fno-tree-loop-im -fno-optimize-sibling-calls -fno-plt)
# The uAPI headers come with the set-up: Debian 12's own have no linux/iommufd.h. Their path is asked for once: a `?=` alone
# would ask again for each file that is compiled.
HEADERS ?= $(shell setup/setup --path headers 2>/dev/null)
HEADERS := $(HEADERS)
WARN    = -Wall -Wextra -Wshadow -Wimplicit-fallthrough -Wmissing-prototypes -Wstrict-prototypes \
	  -Wpointer-arith -Wvla -Wwrite-strings -Wundef -Werror
IOMMUFD_H := $(addsuffix /linux/iommufd.h,$(HEADERS))
CPPFLAGS = -I. -D_GNU_SOURCE $(if $(HEADERS),-isystem $(HEADERS))
# Tables for unwinding would be an eighth of the program, and nothing here unwinds.
CFLAGS  = -std=c17 $(OPT) $(SAN) $(WARN) -fno-strict-aliasing -ffunction-sections -fdata-sections \
	  -fno-asynchronous-unwind-tables -fno-unwind-tables
LDFLAGS = $(SAN) -Wl,--gc-sections -Wl,-z,relro,-z,now -Wl,-z,pack-relative-relocs
# One segment for code and constants: two would be a page of padding more. What may be uninitialized each file was asked when it
# was compiled; of functions inlined across files the compiler sees ghosts.
LDPROG  = $(WHOLE) $(LDFLAGS) -Wl,-z,noseparate-code -Wno-maybe-uninitialized
LIBS    = -laio -ljansson -lpthread

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

SRC  := $(sort $(filter-out vmm/main.c,$(shell find vmm devices $(ARCHDIR) -name '*.c' 2>/dev/null)))
OBJ  := $(SRC:%.c=$(BUILD)/%.o)
UNIT := $(sort $(wildcard tests/unit/*_test.c))
UNIT_BIN := $(UNIT:%.c=$(BUILD)/%)
# What several unit tests share (fakes): linked into those that use it.
FAKE := $(patsubst %.c,$(BUILD)/%.o,$(filter-out $(UNIT),$(sort $(wildcard tests/unit/*.c))))

.PHONY: all static man setup setup-lab run test test-full unit contract unit-threads fuzz fuzzers fuzz-keep fuzz-coverage fuzz-short lint format bench clean help lab-shell
.DELETE_ON_ERROR:

all: $(BUILD)/sluice

$(BUILD)/libsluice.a: $(OBJ)
	$(Q)rm -f $@ && ar rcs $@ $(OBJ)

PROGRAM := $(if $(WHOLE),$(SRC:%.c=$(BUILD)/whole/%.o) $(BUILD)/whole/vmm/main.o,$(BUILD)/vmm/main.o $(BUILD)/libsluice.a)
$(BUILD)/sluice: $(PROGRAM)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(LDPROG) -o $@ $^ $(LIBS)

$(BUILD)/sluice-static: $(PROGRAM)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(LDPROG) -static -o $@ $^ $(LIBS)

static: $(BUILD)/sluice-static

man: $(BUILD)/sluice.1

$(BUILD)/sluice.1: docs/sluice.1.scd
	@mkdir -p $(@D)
	$(Q)scdoc < $< > $@

# A plain `make` in a fresh clone sees to what it needs itself.
$(IOMMUFD_H):
	$(Q)setup/setup native headers >/dev/null

# One file alone knows the version: a commit does not compile the rest again.
$(BUILD)/vmm/main.o $(BUILD)/whole/vmm/main.o $(BUILD)/arm64/vmm/main.o: CPPFLAGS += -DSLUICE_VERSION='"$(VERSION)"'
$(BUILD)/tests/unit/%_test.o: CPPFLAGS += -include tests/unit/quick_assert.h
$(BUILD)/%.o: %.c | $(IOMMUFD_H)
	@echo "  CC      $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/whole/%.o: %.c | $(IOMMUFD_H)
	@echo "  CC      $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) $(WHOLE) -MMD -MP -c -o $@ $<

$(BUILD)/libfake.a: $(FAKE)
	$(Q)rm -f $@ && ar rcs $@ $(FAKE)

# Criterion finds its tests through a section that nothing refers to: it must not be collected.
$(BUILD)/tests/unit/%_test: $(BUILD)/tests/unit/%_test.o $(BUILD)/libfake.a $(BUILD)/libsluice.a
	@echo "  LD      $@"
	$(Q)$(CC) $(LDFLAGS) -Wl,--no-gc-sections -o $@ $^ $(LIBS) -lcriterion

# ---- what a user types ---------------------------------------------------------------------------

# As it was typed: neither make nor the shell is to find quotes or dollars of theirs in it.
override RUN := $(value RUN)
export RUN VFIO

run: setup-lab static
	$(Q)tests/lab/play

setup:
	$(Q)setup/setup all >/dev/null
# Without what only tests need: the peers.
setup-lab:
	$(Q)setup/setup lab >/dev/null

# Everything but arch/x86, as arm64 would compile it: what the portable part must stay able to do. The
# libraries' headers are the same on both.
PORTABLE = $(filter-out arch/%,$(SRC)) vmm/main.c
arm64-compile: $(PORTABLE:%.c=$(BUILD)/arm64/%.o)
	@echo "$(words $^) passed, 0 failed"
$(BUILD)/arm64/include/jansson.h:
	$(Q)mkdir -p $(@D) && cp /usr/include/jansson*.h /usr/include/libaio.h $(@D)
$(BUILD)/arm64/%.o: %.c $(BUILD)/arm64/include/jansson.h
	$(Q)mkdir -p $(@D)
	$(Q)clang --target=aarch64-linux-gnu -nostdlibinc $(CPPFLAGS) -isystem $(BUILD)/arm64/include \
		-isystem /usr/aarch64-linux-gnu/include $(CFLAGS) -MMD -MP -c -o $@ $<
-include $(PORTABLE:%.c=$(BUILD)/arm64/%.d)

# ---- tests ---------------------------------------------------------------------------------------

ASAN = -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

# The conformance suite of the VFIO contract, and what drives the kernel provider by itself. Static for the lab
# host, which has no libraries; the sanitizers want theirs.
CONTRACT := $(patsubst %.c,$(BUILD)/%.o,$(filter-out tests/contract/provider%,$(sort $(wildcard tests/contract/*.c))))
$(BUILD)/tests/contract/contract: $(CONTRACT) $(BUILD)/libsluice.a
	@echo "  LD      $@"
	$(Q)$(CC) $(LDFLAGS) $(if $(SAN),,-static) -o $@ $^ $(LIBS)
PROVIDER := $(patsubst %.c,$(BUILD)/%.o,$(sort $(wildcard tests/contract/provider*.c)))
$(BUILD)/tests/contract/provider: $(PROVIDER) $(BUILD)/libsluice.a
	@echo "  LD      $@"
	$(Q)$(CC) $(LDFLAGS) -static -o $@ $^ $(LIBS)

unit: $(UNIT_BIN)
	$(Q)tests/unit/run $(UNIT_BIN)

# Over the providers that need no kernel device; tests/lab has the others.
contract: $(BUILD)/tests/contract/contract $(BUILD)/sluice
	$(Q)tests/contract/run $(BUILD)/tests/contract/contract $(BUILD)/sluice

# What has threads, to be built with SAN=-fsanitize=thread; they include tests/unit/support.h.
TSAN_BIN = $(patsubst %,$(BUILD)/tests/unit/%_test,bus dma eventfd front_threads log loop memory pci_root_port \
	vfio_server vfio_server_clients vfio_soft vfio_user_channel vfio_user_client vfio_user_reconnect)
unit-threads: $(TSAN_BIN)
	$(Q)tests/unit/run $(TSAN_BIN)

# Fuzzers, built by clang with the sanitizers and line coverage; `make fuzz SECONDS=600` runs each so long.
FUZZ_SAN = -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
	   -fprofile-instr-generate -fcoverage-mapping
FUZZ_MAKE = $(MAKE) --no-print-directory fuzzers BUILD=build/fuzz CC=clang OPT='-O1 -g' SAN='$(FUZZ_SAN)'
FUZZ_BIN = $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/fuzz/*_fuzz.c)))
SECONDS ?= 600
$(BUILD)/tests/fuzz/%_fuzz: $(BUILD)/tests/fuzz/%_fuzz.o $(BUILD)/libfake.a $(BUILD)/libsluice.a
	@echo "  LD      $@"
	$(Q)$(CC) $(LDFLAGS) -fsanitize=fuzzer -Wl,--no-gc-sections -o $@ $^ $(LIBS)
.PRECIOUS: $(BUILD)/tests/fuzz/%.o
fuzzers: $(FUZZ_BIN)
fuzz: setup
	$(Q)$(FUZZ_MAKE) -j$(JOBS)
	$(Q)BUILD=build/fuzz tests/fuzz/run --long $(SECONDS) $(patsubst %,build/fuzz/%,$(FUZZ_BIN:$(BUILD)/%=%))
# Keep what a long run found; what seeds and kept corpora cover of the decoders, by themselves.
fuzz-keep:
	$(Q)BUILD=build/fuzz tests/fuzz/keep $(patsubst %,build/fuzz/%,$(FUZZ_BIN:$(BUILD)/%=%))
fuzz-coverage: setup
	$(Q)$(FUZZ_MAKE) -j$(JOBS)
	$(Q)BUILD=build/fuzz tests/fuzz/run --corpus $(patsubst %,build/fuzz/%,$(FUZZ_BIN:$(BUILD)/%=%))
fuzz-short:
	$(Q)$(FUZZ_MAKE) -j$(JOBS)
	$(Q)BUILD=build/fuzz tests/fuzz/run $(patsubst %,build/fuzz/%,$(FUZZ_BIN:$(BUILD)/%=%))

# Each part is one line here; tests/suite adds up what they counted.
SUITE = 'lint=$(MAKE) --no-print-directory lint' \
	'docs=tests/docs' \
	'unit=$(MAKE) -j$(JOBS) --no-print-directory unit BUILD=$(BUILD)/asan OPT="-O1 -g" SAN="$(ASAN)"' \
	'contract=$(MAKE) -j$(JOBS) --no-print-directory contract BUILD=$(BUILD)/asan OPT="-O1 -g" SAN="$(ASAN)"' \
	'threads=$(MAKE) -j$(JOBS) --no-print-directory unit-threads BUILD=$(BUILD)/tsan OPT="-O1 -g" SAN=-fsanitize=thread' \
	'clang=$(MAKE) -j$(JOBS) --no-print-directory all BUILD=$(BUILD)/clang CC=clang' \
	'fuzz=$(MAKE) -j$(JOBS) --no-print-directory fuzz-short' \
	'arm64-compile=$(MAKE) -j$(JOBS) --no-print-directory arm64-compile' \
	'guest=tests/guest/run $(BUILD)/sluice' \
	'play=tests/lab/play-test' \
	'peers=tests/peers/run' \
	'bench=tests/bench/run --smoke' \
	'lab=tests/lab/run'
# What takes minutes and seldom tells more.
SUITE_LONG = 'lab-long=tests/lab/run $(wildcard tests/lab/long/*.sh)' \
	'mutants=tests/lab/mutants/run'

test: setup
	$(Q)$(MAKE) -j$(JOBS) --no-print-directory all static $(BUILD)/libsluice.a
	$(Q)BUILD=$(BUILD) tests/suite $(SUITE)

test-full: setup
	$(Q)$(MAKE) -j$(JOBS) --no-print-directory all static $(BUILD)/libsluice.a
	$(Q)BUILD=$(BUILD) tests/suite $(SUITE) $(SUITE_LONG)

JOBS ?= $(shell nproc)

# Not a test: a figure that misses its target is shown, and nothing fails. PARTS='native user providers exits attach'
bench: setup
	$(Q)$(MAKE) -j$(JOBS) --no-print-directory all static $(BUILD)/libsluice.a
	$(Q)BUILD=$(BUILD) tests/bench/run $(PARTS)

lab-shell: setup-lab static
	$(Q)tests/lab/shell

format:
	$(Q)clang-format -i $(shell git ls-files '*.c' '*.h')

lint:
	$(Q)clang-format --dry-run --Werror $(shell git ls-files '*.c' '*.h')

clean:
	$(Q)rm -rf $(BUILD)

help:
	@echo 'make            build build/sluice (static: build/sluice-static)'
	@echo 'make run        set up, boot a guest with a passed-through device to a shell'
	@echo '                VFIO=0000:01:00.0  directly, with that device of this machine'
	@echo "                RUN='command'      run one command in the guest and take its status"
	@echo 'make test       set up and run the test suite (CI runs this)'
	@echo 'make test-full  the same with the long parts'
	@echo 'make unit       unit tests only'
	@echo 'make contract   the conformance suite over the providers that need no kernel device'
	@echo 'make fuzz       fuzz what takes input from guests and peers, SECONDS=600 each'
	@echo 'make fuzz-keep  keep what that found;  make fuzz-coverage  what the kept inputs reach'
	@echo 'make man        the manual page, build/sluice.1'
	@echo 'make lab-shell  a shell in the lab host'
	@echo 'make bench      measure, side by side with QEMU and a floor program'
	@echo 'make setup      only the set-up: packages, headers, lab kernel, QEMU, initramfs'
	@echo 'make lint       check the formatting; make format mends it'
	@echo 'make clean      remove build/ (what the set-up made stays in the cache)'
	@echo
	@echo 'BUILD=DIR CC=clang SAN=-fsanitize=address OPT=-O0 V=1 change how it is built.'

-include $(OBJ:.o=.d) $(patsubst %.o,%.d,$(filter %.o,$(PROGRAM))) $(CONTRACT:.o=.d) $(PROVIDER:.o=.d) $(UNIT_BIN:=.d) $(FAKE:.o=.d) $(FUZZ_BIN:=.d)
