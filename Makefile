# Sluice. `make` builds build/sluice, `make demo` runs the main job, `make check` all tests.
#
# BUILD=dir      where objects go                (default build)
# CC_UNDER=gcc   the compiler under mpicc        (gcc or clang)
# CFLAGS=...     default: -O3 -g -march=native, for the processor that compiles
# HDF5=name      pkg-config's name of HDF5       (default hdf5-openmpi, hdf5-mpi or hdf5)
# SCALAPACK=name pkg-config's name of ScaLAPACK  (default scalapack-openmpi or scalapack)
# LDFLAGS=-L...  where libraries without pkg-config lie (oneDNN)
# SAN=1          AddressSanitizer and UBSan
# V=1            show commands
# PREFIX=dir     of `make install` and `make uninstall` (default /usr/local); DESTDIR=dir: a
#                root to put it under, for packages
# WERROR=        an empty value keeps warnings as warnings

BUILD   ?= build
Q       := $(if $(V),,@)
CC_UNDER ?= gcc
MPICC   ?= mpicc
MPIRUN  ?= mpirun
WERROR  ?= -Werror
ifndef HDF5
HDF5    := $(firstword $(foreach p,hdf5-openmpi hdf5-mpi hdf5,$(shell pkg-config --exists $p && echo $p)) hdf5)
endif
ifndef SCALAPACK
SCALAPACK := $(firstword $(foreach p,scalapack-openmpi scalapack,$(shell pkg-config --exists $p && echo $p)) scalapack)
endif
PKGS    := $(HDF5) petsc $(SCALAPACK) jansson yaml-0.1 libpng libjpeg libcrypto libcurl
VERSION := 0.1.0
COMMIT  := $(shell git describe --always --dirty --abbrev=12 2>/dev/null || echo unknown)

export OMPI_CC := $(CC_UNDER)

CFLAGS  ?= -O3 -g -march=native
ifdef SAN # instrumented code sets off gcc's range warnings
WERROR  :=
endif
WARN    := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes $(WERROR)
CSTD    := -std=c11 -D_GNU_SOURCE -ffp-contract=off -fno-math-errno -fopenmp
ifdef SAN
CFLAGS  := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
           -fno-sanitize-recover=undefined -U_FORTIFY_SOURCE
endif
PKGCFLAGS = $(shell pkg-config --cflags $(PKGS))
PKGLIBS   = $(LDFLAGS) $(shell pkg-config --libs $(PKGS)) -lhdf5_hl -ldnnl -ldl -lm

LIBSRC := $(filter-out pipeline/main.c,$(wildcard io/sys/*.c io/*.c scheduler/*.c \
          stages/*.c stages/*/*.c pipeline/*.c pipeline/*/*.c))
LIBOBJ := $(LIBSRC:%.c=$(BUILD)/%.o)
# Headers of the tests, on which every test program depends.
TESTHDR := $(wildcard tests/*.h)
TESTSRC := $(wildcard tests/unit/*.c)
TESTBIN := $(TESTSRC:tests/unit/%.c=$(BUILD)/tests/%)
# Programs for several ranks, helpers of the scripts, measurements.
AUXSRC  := $(wildcard tests/mpi/*.c tests/tools/*.c tests/bench/*.c)
AUXBIN  := $(AUXSRC:%.c=$(BUILD)/%)

.PHONY: all bench bench-peer check demo clean install man tests uninstall
all: $(BUILD)/sluice

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	@echo '  CC   $<'
	$(Q)$(MPICC) $(CSTD) $(CFLAGS) $(WARN) -I. $(PKGCFLAGS) $(DEFS) -MMD -MP -c $< -o $@

# The version enters one object only, which is rebuilt when the commit changes.
$(BUILD)/pipeline/version.o: DEFS := -DSLUICE_VERSION='"$(VERSION)"' \
        -DSLUICE_COMMIT='"$(COMMIT)"' -DSLUICE_CC='"$(CC_UNDER)"' \
        -DSLUICE_CFLAGS='"$(strip $(CFLAGS))"'
$(BUILD)/pipeline/version.o: $(BUILD)/commit
$(BUILD)/commit: FORCE
	@mkdir -p $(@D)
	@echo '$(COMMIT)' | cmp -s - $@ || echo '$(COMMIT)' > $@
.PHONY: FORCE
FORCE:

$(BUILD)/libsluice.a: $(LIBOBJ)
	@rm -f $@
	$(Q)$(AR) rcs $@ $^

$(BUILD)/sluice: $(BUILD)/pipeline/main.o $(BUILD)/libsluice.a
	@echo '  LINK $@'
	$(Q)$(MPICC) $(CFLAGS) -fopenmp -rdynamic $^ -o $@ $(PKGLIBS)

$(BUILD)/tests/%: tests/unit/%.c $(BUILD)/libsluice.a $(TESTHDR)
	@mkdir -p $(@D)
	@echo '  TEST $@'
	$(Q)$(MPICC) $(CSTD) $(CFLAGS) $(WARN) -I. $(PKGCFLAGS) $< $(BUILD)/libsluice.a -o $@ $(PKGLIBS)

$(AUXBIN): $(BUILD)/%: %.c $(BUILD)/libsluice.a $(TESTHDR)
	@mkdir -p $(@D)
	@echo '  TEST $@'
	$(Q)$(MPICC) $(CSTD) $(CFLAGS) $(WARN) -I. $(PKGCFLAGS) $< $(BUILD)/libsluice.a -o $@ $(PKGLIBS)

tests: $(TESTBIN) $(AUXBIN)

# Installs what is missing, builds, runs all tests; the last lines are prove's summary.
check:
	sh tests/setup.sh --tests
	+$(MAKE) --no-print-directory -j$$(getconf _NPROCESSORS_ONLN) all tests
	BUILD=$(BUILD) bash tests/run.sh

# The main job on this machine: DDPO-IS on the example checkpoint, four rank groups.
DEMO_DIR ?= runs/demo
demo:
	sh tests/setup.sh
	+$(MAKE) --no-print-directory -j$$(getconf _NPROCESSORS_ONLN) all
	BUILD=$(BUILD) MPIRUN="$(MPIRUN)" sh examples/jpeg/run.sh $(DEMO_DIR)

# Rates, memory and DDPO iterations of this build (BENCH, BENCH_REPEAT, BENCH_THREADS: see
# the script); against PyTorch + diffusers (PEER_PYTHON=... to use an existing one).
BENCHBIN := $(BUILD)/sluice $(BUILD)/tests/bench/engine_bench
bench: $(BENCHBIN)
	BUILD=$(BUILD) MPIRUN="$(MPIRUN)" python3 -B tests/bench/bench.py
bench-peer: $(BENCHBIN)
	BUILD=$(BUILD) sh tests/bench/peer_setup.sh
	BUILD=$(BUILD) MPIRUN="$(MPIRUN)" python3 -B tests/bench/peer.py

# The manual page is made from what the program says of itself. slurm/packaging/README.md.
man: $(BUILD)/sluice.1
$(BUILD)/sluice.1: $(BUILD)/sluice slurm/packaging/man.pl slurm/packaging/sluice.1.in
	@echo '  MAN  $@'
	$(Q)perl slurm/packaging/man.pl $(abspath $<) $(VERSION) slurm/packaging/sluice.1.in > $@.part
	$(Q)mv $@.part $@

PREFIX ?= /usr/local
install uninstall: export BUILD := $(BUILD)
install uninstall: export VERSION := $(VERSION)
install uninstall: export PREFIX := $(PREFIX)
install uninstall: export DESTDIR := $(DESTDIR)
install: all man
	$(Q)sh slurm/packaging/install.sh install
uninstall:
	$(Q)sh slurm/packaging/install.sh uninstall

clean:
	rm -rf $(BUILD)

-include $(LIBOBJ:.o=.d) $(BUILD)/pipeline/main.d
