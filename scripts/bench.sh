#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# A server and a load on this machine: scripts/bench.sh BUILD [SECONDS]. Figures to look at, no
# verdict. Comparisons with other libraries come with the benchmark suite.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-build}
seconds=${2:-3}
port_file=$(mktemp)
rm -f "$port_file"
"$folder/peal" echo --listen 127.0.0.1:0 --port-file "$port_file" &
server=$!
trap 'kill $server 2>/dev/null || true; wait $server 2>/dev/null || true; rm -f "$port_file"' EXIT
for _ in $(seq 100); do
    if [[ -s $port_file ]]; then
        break
    fi
    if ! kill -0 $server 2>/dev/null; then
        echo "bench: the server did not start." >&2
        exit 1
    fi
    sleep 0.05
done
address=127.0.0.1:$(cat "$port_file")
for kind in pingpong pipeline churn; do
    echo "== $kind, 64 bytes, 50 connections, $seconds s"
    "$folder/peal" load "$kind" --connect "$address" --conns 50 --size 64 --seconds "$seconds"
done
