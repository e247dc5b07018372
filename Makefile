# SPDX-License-Identifier: BSD-2-Clause
# The front door. Meson builds; the scripts check; this file says what there is.
# BUILD names another build folder, ARGS goes to the program that a target runs.
BUILD ?= build
ARGS ?=
PREFIX ?= /usr/local

.PHONY: help build run test test-long bench bench-quick check format install clean
.DEFAULT_GOAL := help

help:
	@echo 'Peal: event-driven TCP in C, one loop a thread.'
	@echo
	@echo '  make build        build the library, the program (build/peal) and the examples'
	@echo '  make run          build, then watch connections end in every way there is (peal demo)'
	@echo '  make test         the quick honest whole: every test, every check'
	@echo '  make test-long    the rest: sanitizers, valgrind, clang, a million connections, coverage'
	@echo '  make check        only the checks: format, lint, lengths, layers, symbols, headers, docs'
	@echo '  make bench        Peal beside its peers in all cases: at most 20 minutes; ARGS=--help'
	@echo '  make bench-quick  the same, rougher, in 2 minutes'
	@echo '  make format       let clang-format have its way'
	@echo '  make install      install below PREFIX=$(PREFIX)'
	@echo '  make clean        remove what was built'
	@echo
	@echo 'What is missing from Debian'\''s packages is installed first, with root or sudo.'

build:
	@scripts/setup.sh build
	@scripts/build.sh $(BUILD)

run: build
	@$(BUILD)/peal demo $(ARGS)

test:
	@scripts/setup.sh test
	@scripts/test.sh $(BUILD)

test-long:
	@scripts/setup.sh long
	@scripts/test-long.sh

check:
	@scripts/setup.sh test
	@scripts/build.sh $(BUILD)
	@scripts/check.sh $(BUILD)

bench:
	@scripts/setup.sh bench
	@scripts/bench.sh $(ARGS)

bench-quick:
	@scripts/setup.sh bench
	@scripts/bench.sh --quick $(ARGS)

format:
	@scripts/setup.sh test
	@scripts/check-format.sh --fix

install: build
	@scripts/install.sh $(BUILD) $(PREFIX)

clean:
	rm -rf build build-*/
