#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Fuzzes each target of test/fuzz: scripts/fuzz.sh [SECONDS [TARGET...]]. Without an argument, a minute
# each. Needs clang with libFuzzer and the sanitizers (scripts/setup.sh long).
#
# What is new goes to build-fuzz/corpus/TARGET; what crashes to build-fuzz/crash-TARGET-…: mend it, and
# keep the input in test/fuzz/corpus/TARGET. `scripts/fuzz.sh keep` merges what is new, and adds to
# what is kept, into test/fuzz/corpus: only inputs that reach something that none before them does.
set -u
cd "$(dirname "$0")/.."
seconds=${1:-60}
shift || true
targets=("$@")
if ((${#targets[@]} == 0)); then
    targets=(addr api buf codec outq wheel worlds)
fi
mkdir -p build-fuzz

flags=(-std=gnu11 -D_GNU_SOURCE -g -O1 -pthread -fno-omit-frame-pointer -Iinclude -Isrc -Ilab -Itest/fuzz
    -Wno-everything)
if [[ -e /usr/include/linux/io_uring.h ]]; then
    flags+=(-DPL_HAS_URING)
fi
sanitize='-fsanitize=address,undefined -fno-sanitize=alignment -fno-sanitize-recover=all'
core=(src/base/*.c src/loop/*.c src/net/*.c)
real=(src/sys/*.c)
simulated=(src/sys/sys_common.c src/sys/sim/*.c src/sim/*.c lab/[!mp]*.c lab/p[!r]*.c lab/promises.c)

build()
{
    local target=$1 link=() sources=("${core[@]}") source object objects=()
    if [[ $target == worlds ]]; then
        sources+=("${simulated[@]}")
        link=(-Wl,--wrap=pl_conn_move)
    else
        sources+=("${real[@]}")
    fi
    mkdir -p build-fuzz/objects
    # The target last: the first object brings the code that tells libFuzzer of the counters, and must
    # not be one that names them itself (fuzz_worlds.c).
    for source in "${sources[@]}" "test/fuzz/fuzz_$target.c"; do
        object=build-fuzz/objects/${source//\//_}.o
        objects+=("$object")
        if [[ ! $object -nt $source || -n $(find src include lab test/fuzz -name '*.h' -newer "$object") ]]; then
            clang "${flags[@]}" -fsanitize=fuzzer-no-link $sanitize -c "$source" -o "$object" || return 1
        fi
    done
    clang -fsanitize=fuzzer $sanitize -pthread "${link[@]}" "${objects[@]}" -o "build-fuzz/fuzz_$target"
}

status=0
for target in "${targets[@]}"; do
    mkdir -p "build-fuzz/corpus/$target" "test/fuzz/corpus/$target"
    build "$target" || {
        echo "fuzz_$target: not built"
        status=1
        continue
    }
    if [[ $seconds == keep ]]; then
        "build-fuzz/fuzz_$target" -set_cover_merge=1 -max_len=600 "test/fuzz/corpus/$target" \
            "build-fuzz/corpus/$target" >"build-fuzz/$target.log" 2>&1 || status=1
        continue
    fi
    if ASAN_OPTIONS=detect_leaks=1 "build-fuzz/fuzz_$target" -max_total_time="$seconds" -max_len=4096 \
        -timeout=25 -artifact_prefix="build-fuzz/crash-$target-" "build-fuzz/corpus/$target" \
        "test/fuzz/corpus/$target" >"build-fuzz/$target.log" 2>&1; then
        echo "fuzz_$target: $(grep -a -o 'Done [0-9]* runs.*' "build-fuzz/$target.log")"
    else
        echo "fuzz_$target: FAILED, see build-fuzz/$target.log:"
        grep -a 'not so\|ERROR\|SUMMARY\|Test unit' "build-fuzz/$target.log" | head -n 6
        status=1
    fi
done
exit $status
