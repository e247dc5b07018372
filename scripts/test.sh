#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Every test and every check, once: scripts/test.sh BUILD. The last line says how many cases passed
# and failed; the exit status says whether that is good.
set -u
cd "$(dirname "$0")/.."
folder=${1:-build}

if ! scripts/build.sh "$folder"; then
    echo "The build failed, so nothing was tested."
    echo "0 passed, 1 failed"
    exit 1
fi
log=$folder/meson-logs/testlog.json
rm -f "$log"
meson test -C "$folder" --no-rebuild </dev/null | grep -E '^ *[0-9]+/[0-9]+ ' || true
scripts/check.sh "$folder" | tee "$folder/.check.tap"
scripts/count.py meson:tests="$log" tap:checks="$folder/.check.tap"
