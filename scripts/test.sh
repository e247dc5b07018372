#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Every test and every check, and what waits for events on every engine that the machine has:
# scripts/test.sh BUILD. The last line says how many cases passed and failed; the exit status says
# whether that is good.
set -u
cd "$(dirname "$0")/.."
folder=${1:-build}

if ! scripts/build.sh "$folder"; then
    echo "The build failed, so nothing was tested."
    echo "0 passed, 1 failed"
    exit 1
fi
# run LOG [MESON-ARGUMENTS]: runs tests, a line each; the log is left for counting.
run() {
    local log=$1
    shift
    rm -f "$folder/meson-logs/$log.json"
    meson test -C "$folder" --no-rebuild --logbase "$log" "$@" </dev/null |
        grep -E '^ *[0-9]+/[0-9]+ ' || true
}

echo "== on epoll"
logs=$folder/meson-logs
PEAL_ENGINE=epoll run testlog
counted=("meson:tests on epoll=$logs/testlog.json")
if [[ $(PEAL_ENGINE=io_uring "$folder/test/engine_here" 2>/dev/null) == io_uring ]]; then
    echo "== on io_uring, what waits for events"
    PEAL_ENGINE=io_uring run testlog-io_uring --suite engine
    counted+=("meson:tests on io_uring=$logs/testlog-io_uring.json")
else
    echo "== This machine has no io_uring for us, or forbids it: nothing is tested on it."
fi
scripts/check.sh "$folder" | tee "$folder/.check.tap"
scripts/count.py "${counted[@]}" tap:checks="$folder/.check.tap"
