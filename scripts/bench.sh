#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Peal beside its peers: scripts/bench.sh [OPTIONS of bench/run; --help lists them]
#
# Builds the library optimized, its servers, those of the peers whose packages are here, and the load
# generator, in a folder of their own, and then measures. Results go to build/bench.
set -eu
cd "$(dirname "$0")/.."
folder=build/bench-build
for word in "$@"; do
    case $word in
    -h | --help | --plan | --report | --report=*) exec python3 bench/run "$@" ;;
    esac
done
scripts/build.sh "$folder" --buildtype=release -Dtests=disabled -Dbench=enabled
exec python3 bench/run "$@"
