#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Connections by the million, on each engine that the machine has: that nothing is left behind by
# any of them is checked (test/soak/soak.c says what), and the figures are printed.
#
#   scripts/soak.sh [CONNECTIONS]     (1,000,000)
#   scripts/soak.sh --engines         only names the engines
#
# PEAL_ENGINE=epoll or io_uring: on that engine only.
set -u
cd "$(dirname "$0")/.."
scripts/build.sh build || exit 1

engines=(epoll)
if [[ -n ${PEAL_ENGINE:-} ]]; then
    engines=("$PEAL_ENGINE")
elif [[ $(PEAL_ENGINE=io_uring build/test/engine_here 2>/dev/null) == io_uring ]]; then
    engines+=(io_uring)
fi
if [[ ${1:-} == --engines ]]; then
    echo "${engines[@]}"
    exit 0
fi
status=0
for engine in "${engines[@]}"; do
    PEAL_ENGINE=$engine build/test/soak "${1:-1000000}" || status=1
done
exit $status
