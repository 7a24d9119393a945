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
OPT    ?= -O2 -g
SAN    ?=
# The uAPI headers come with the set-up: Debian 12's own have no linux/iommufd.h.
HEADERS ?= $(shell setup/setup --path headers 2>/dev/null)
WARN    = -Wall -Wextra -Wshadow -Wimplicit-fallthrough -Wmissing-prototypes -Wstrict-prototypes \
	  -Wpointer-arith -Wvla -Wwrite-strings -Wundef -Werror
CPPFLAGS = -I. -D_GNU_SOURCE $(if $(HEADERS),-isystem $(HEADERS))
CFLAGS  = -std=c17 $(OPT) $(SAN) $(WARN) -fno-strict-aliasing -ffunction-sections -fdata-sections
LDFLAGS = $(SAN) -Wl,--gc-sections -Wl,-z,relro,-z,now
LIBS    = -laio -ljansson -lpthread

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)

SRC  := $(sort $(filter-out vmm/main.c,$(shell find vmm devices $(ARCHDIR) -name '*.c' 2>/dev/null)))
OBJ  := $(SRC:%.c=$(BUILD)/%.o)
UNIT := $(sort $(wildcard tests/unit/*_test.c))
UNIT_BIN := $(UNIT:%.c=$(BUILD)/%)

.PHONY: all static setup run test test-full unit lint format bench clean help lab-shell
.DELETE_ON_ERROR:

all: $(BUILD)/sluice

$(BUILD)/libsluice.a: $(OBJ)
	$(Q)rm -f $@ && ar rcs $@ $(OBJ)

$(BUILD)/sluice: $(BUILD)/vmm/main.o $(BUILD)/libsluice.a
	@echo "  LD      $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS)

$(BUILD)/sluice-static: $(BUILD)/vmm/main.o $(BUILD)/libsluice.a
	@echo "  LD      $@"
	$(Q)$(CC) $(LDFLAGS) -static -o $@ $^ $(LIBS)

static: $(BUILD)/sluice-static

$(BUILD)/%.o: %.c
	@echo "  CC      $<"
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -DSLUICE_VERSION='"$(VERSION)"' -c -o $@ $<

$(BUILD)/tests/unit/%_test: $(BUILD)/tests/unit/%_test.o $(BUILD)/libsluice.a
	@echo "  LD      $@"
	$(Q)$(CC) $(LDFLAGS) -o $@ $^ $(LIBS) -lcriterion

unit: $(UNIT_BIN)
	$(Q)tests/unit/run $(UNIT_BIN)

format:
	$(Q)clang-format -i $(shell git ls-files '*.c' '*.h')

lint:
	$(Q)clang-format --dry-run --Werror $(shell git ls-files '*.c' '*.h')

clean:
	$(Q)rm -rf $(BUILD)

-include $(OBJ:.o=.d) $(BUILD)/vmm/main.d $(UNIT_BIN:=.d)
