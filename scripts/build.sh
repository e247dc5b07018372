#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Configures a build folder, if it is not, and builds it: scripts/build.sh FOLDER [MESON-OPTION...]
#
# Warnings are errors with the compilers that the project promises to be clean with, and only with
# those: the new warnings of a newer compiler must not stop a stranger.
set -eu
cd "$(dirname "$0")/.."
folder=$1
shift

compiler=${CC:-cc}
strict=()
case $($compiler --version 2>/dev/null | head -n 1) in
*gcc*\ 12.* | cc\ *\ 12.* | *clang\ version\ 14.*) strict=(--werror) ;;
esac

# Tests are found by name when meson configures, so a file that came or went asks for it again.
mkdir -p "$folder"
find src lab tools examples test bench -name '*.[ch]' -o -path 'test/cli/*' -o -path 'test/programs/*' | LC_ALL=C sort >"$folder/.files.new"
if [[ ! -f $folder/build.ninja ]]; then
    meson setup "$folder" "${strict[@]}" "$@" >"$folder/.setup.log" 2>&1 || {
        cat "$folder/.setup.log" >&2
        exit 1
    }
elif ! cmp -s "$folder/.files" "$folder/.files.new"; then
    meson setup --reconfigure "$folder" >"$folder/.setup.log" 2>&1 || {
        cat "$folder/.setup.log" >&2
        exit 1
    }
fi
mv "$folder/.files.new" "$folder/.files"

# Says nothing when there is nothing to do, and shows the whole output when something is wrong.
if [[ -t 1 ]]; then
    ninja -C "$folder"
else
    ninja -C "$folder" >"$folder/.build.log" 2>&1 </dev/null || {
        cat "$folder/.build.log" >&2
        exit 1
    }
fi
