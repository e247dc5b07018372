#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# All checks of what no test runs: scripts/check.sh BUILD. One line of TAP for each, after what it
# found. Exits with 1 if one found something.
set -u
cd "$(dirname "$0")/.."
folder=${1:-build}
failed=0
number=0

# check WHAT COMMAND...: exit status 0 is good, 77 is skipped, all else is a finding.
check()
{
    local what=$1 out status
    shift
    number=$((number + 1))
    out=$("$@" 2>&1 </dev/null)
    status=$?
    case $status in
    0) echo "ok $number - $what" ;;
    77) echo "ok $number - $what # SKIP ${out#skipped: }" ;;
    *)
        echo "$out" | sed 's/^/# /'
        echo "not ok $number - $what"
        failed=1
        ;;
    esac
}

echo 1..13
check 'format: as clang-format writes it' scripts/check-format.sh
check 'lint: cppcheck finds nothing' scripts/check-lint.sh
check 'lengths and openings of files and functions' scripts/check-lengths.py
check 'layers: includes point downwards' scripts/check-layers.py
check 'core: takes nothing from outside but the seam' scripts/check-core.py "$folder"
check 'exports: the library shows what the headers declare' scripts/check-exports.py "$folder"
check 'headers: compile alone, as C11 and C++17' scripts/check-headers.sh
check 'docs: all code compiles, all links lead somewhere' scripts/check-docs.py "$folder"
check 'editions: English and Chinese have the same code and tables' scripts/check-editions.py
check 'tables: the guide says what the code says' scripts/moves.py --check
check 'install: an installed library can be found and used' scripts/check-install.sh "$folder"
check 'counts: nothing costs more than it did' scripts/check-counts.py "$folder"
check 'models: Spin finds them right, and every planted bug' scripts/check-models.py
exit $failed
