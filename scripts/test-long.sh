#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# The long tests: scripts/test-long.sh [WHICH]... (without an argument, all).
#
#   asan      gcc's address, undefined-behaviour and leak sanitizers
#   tsan      gcc's thread sanitizer
#   clang     built with clang, warnings as errors
#   valgrind  memcheck on the tests of unit, net and hazards; an fd left open is a failure too
#   soak      a million connections on each engine that leave nothing behind (scripts/soak.sh)
#   lab       100,000 runs of the lab from a seed of today's, torture from three seeds, the whole table
#             of coverage
#   coverage  which lines and branches the tests reach, module by module; fails below what they did
#   fuzz      each target of test/fuzz for a minute (scripts/fuzz.sh)
#   models    every search of models/ by Spin, also the larger ones (skipped where Spin is not there)
#
# Each runs every test (valgrind: those it can run in time) and, where it makes sense, the demo.
set -u
cd "$(dirname "$0")/.."
if (($# == 0)); then
    set -- asan tsan clang valgrind models soak lab coverage fuzz
fi
runs=()

# A thread sanitizer needs its shadow where the kernel's randomised layout may put something else.
calm=()
if setarch -R true 2>/dev/null; then
    calm=(setarch -R)
fi

# suite NAME FOLDER MESON-TEST-OPTION...: runs the tests of a folder that is built.
suite()
{
    local name=$1 folder=$2
    shift 2
    rm -f "$folder/meson-logs/$name"*.json
    "${calm[@]}" meson test -C "$folder" --no-rebuild --logbase "$name" "$@" </dev/null |
        grep -E '^ *[0-9]+/[0-9]+ ' || true
    # With a wrapper, meson adds the wrapper's name to that of the log.
    runs+=("meson:$name=$(echo "$folder/meson-logs/$name"*.json)")
}

# Sanitizers of the demo's own process: the same options as those of the tests.
demo()
{
    local name=$1 folder=$2 status
    echo "$name: peal demo"
    ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
        TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1 \
        "${calm[@]}" "$folder/peal" demo </dev/null >"$folder/demo.log" 2>&1
    status=$?
    if ((status != 0)); then
        tail -n 60 "$folder/demo.log" | sed 's/^/    /'
    fi
    runs+=("case:$name-demo=$status")
}

# build NAME FOLDER OPTION...
build()
{
    local name=$1 folder=$2
    shift 2
    echo "$name: building $folder"
    if ! scripts/build.sh "$folder" "$@"; then
        runs+=("case:$name-build=1")
        return 1
    fi
}

# lab NAME COMMAND OPTION...: of peal-sim.
lab()
{
    local name=$1
    shift
    build/peal-sim "$@"
    runs+=("case:lab-$name=$?")
}

# Of each program's log: an fd that was open at exit and not handed down by the parent. A log whose
# parent has one too is of a forked child, which tests let die with what it had.
open_fds()
{
    local log parent
    for log in build/valgrind.*.log; do
        parent=$(sed -n 's/^==[0-9]*== Parent PID: //p' "$log" | head -n 1)
        if [[ -n $parent && ! -e build/valgrind.$parent.log ]]; then
            awk '/^==[0-9]+== Open /{what=$0; getline; if ($0 !~ /inherited/) print what, $0}' "$log"
        fi
    done
}

for which in "$@"; do
    case $which in
    asan)
        if build asan build-asan -Db_sanitize=address,undefined -Db_lundef=false; then
            suite asan build-asan --timeout-multiplier 2
            demo asan build-asan
        fi
        ;;
    tsan)
        if build tsan build-tsan -Db_sanitize=thread -Db_lundef=false; then
            suite tsan build-tsan --timeout-multiplier 2
            demo tsan build-tsan
        fi
        ;;
    clang)
        if CC=clang build clang build-clang; then
            suite clang build-clang
            demo clang build-clang
        fi
        ;;
    valgrind)
        if build valgrind build; then
            rm -f build/valgrind.*.log
            memcheck="valgrind --fair-sched=try --track-fds=yes --leak-check=full --errors-for-leak-kinds=definite,indirect --error-exitcode=99 --log-file=$PWD/build/valgrind.%p.log"
            suite valgrind build --timeout-multiplier 20 --suite unit --suite net --suite hazards \
                --no-suite ring --wrapper "$memcheck"
            # What the kernel puts into memory through a ring, valgrind takes for uninitialised.
            suite valgrind-ring build --timeout-multiplier 20 --suite ring \
                --wrapper "$memcheck --undef-value-errors=no"
            left=$(open_fds)
            if [[ -n $left ]]; then
                echo "valgrind: fds left open at exit:"
                echo "$left" | sed 's/^/    /'
            fi
            for log in build/valgrind.*.log; do
                if grep -q 'ERROR SUMMARY: [1-9]' "$log" 2>/dev/null; then
                    echo "$log:"
                    head -n 60 "$log" | sed 's/^/    /'
                fi
            done
            runs+=("case:valgrind-fds=$([[ -z $left ]] && echo 0 || echo 1)")
        fi
        ;;
    models)
        scripts/check-models.py --long
        status=$?
        if ((status != 77)); then
            runs+=("case:models=$status")
        fi
        ;;
    soak)
        for engine in $(scripts/soak.sh --engines); do
            PEAL_ENGINE=$engine scripts/soak.sh 1000000 >"build/soak-$engine.tap"
            cat "build/soak-$engine.tap"
            runs+=("tap:soak-$engine=build/soak-$engine.tap")
        done
        ;;
    lab)
        build lab build || continue
        keep=(--keep build/lab-failures --failures 20)
        jobs=(--jobs "$(nproc)")
        # Other seeds each day, and the same all day.
        lab seeds run --seeds 100000 --from "$(date +%Y%m%d)000000" "${jobs[@]}" "${keep[@]}"
        lab coverage coverage --scenario noise --seeds 10000 "${jobs[@]}" "${keep[@]}"
        for seed in 1 2 3; do
            lab "torture-$seed" torture --from "$seed" --up-to 100000 "${keep[@]}"
        done
        scripts/plants.py
        runs+=("case:lab-plants=$?")
        ;;
    coverage)
        scripts/coverage.py
        runs+=("case:coverage=$?")
        ;;
    fuzz)
        scripts/fuzz.sh 60
        runs+=("case:fuzz=$?")
        ;;
    *)
        echo "test-long: '$which' is none of asan, tsan, clang, valgrind, models, soak, lab, coverage, fuzz." >&2
        exit 2
        ;;
    esac
done
scripts/count.py "${runs[@]}"
