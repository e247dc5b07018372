#!/usr/bin/env bash
# SPDX-License-Identifier: BSD-2-Clause
# Proves that the servers of the benchmark do what they are measured for: each server, in each mode,
# under a short load that compares every byte: bench/servers/check.sh BUILD [SERVER...]
#
# A line of TAP for each. Skipped is what was not built, and what a server says that it cannot do.
# Peal is checked with each engine that it has here.
set -u
cd "$(dirname "$0")/../.."
folder=${1:-build/bench-build}
shift
servers=("$@")
if ((${#servers[@]} == 0)); then
    servers=(raw_epoll raw_epoll_gather raw_uring libev libuv libuv_try libevent asio peal peal_uring)
fi
seconds=0.3
number=0
failed=0
scratch=$(mktemp -d)
server=
trap '[[ -z $server ]] || kill "$server" 2>/dev/null; rm -rf "$scratch"' EXIT

# tell OK WHAT [WHY]
tell()
{
    number=$((number + 1))
    echo "$1 $number - $2${3:+ # $3}"
    if [[ $1 != ok ]]; then
        failed=1
    fi
}

# start NAME MODE LOOPS: 0 and port and server are set, or 1 and why is.
start()
{
    local program=$1 engine=
    case $1 in
    peal) engine=epoll ;;
    peal_uring) program=peal engine=io_uring ;;
    esac
    why='not built'
    [[ -x $folder/bench/servers/$program ]] || return 1
    if [[ -n $engine ]]; then
        PEAL_ENGINE=$engine "$folder/bench/servers/$program" "$2" 0 "$3" >"$scratch/ready" 2>"$scratch/errors" &
    else
        "$folder/bench/servers/$program" "$2" 0 "$3" >"$scratch/ready" 2>"$scratch/errors" &
    fi
    server=$!
    for _ in $(seq 500); do
        port=$(sed -n 's/^ready //p' "$scratch/ready")
        [[ -z $port ]] || return 0
        kill -0 "$server" 2>/dev/null || break
        sleep 0.01
    done
    wait "$server"
    why="exit status $?: $(tail -n 1 "$scratch/errors")"
    server=
    return 1
}

# stop: whether it lived to be ended.
stop()
{
    local lived=0
    kill "$server" 2>/dev/null || lived=1
    wait "$server" 2>/dev/null
    server=
    return $lived
}

# try NAME MODE CASE LOOPS OPTION...
try()
{
    local name=$1 mode=$2 case=$3 loops=$4 out status what
    shift 4
    what="$name $mode, $loops loop(s): $case $*"
    if ! start "$name" "$mode" "$loops"; then
        case $why in
        'not built' | 'exit status 3'* | *'nvalid argument'*) tell ok "$what" "SKIP $why" ;;
        *) tell 'not ok' "$what: $why" ;;
        esac
        return
    fi
    out=$(timeout 60 "$folder/bench/load/bench-load" "$case" 127.0.0.1 "$port" --verify \
        --seconds "$seconds" "$@" 2>&1)
    status=$?
    if ! stop; then
        tell 'not ok' "$what: the server died: $(tail -n 1 "$scratch/errors")"
    elif ((status != 0)) || [[ $out != *'"errors": 0'* || $out == *'"messages": 0,'* ]]; then
        tell 'not ok' "$what: $(tail -n 1 <<<"$out")"
    else
        tell ok "$what"
    fi
}

for name in "${servers[@]}"; do
    try "$name" echo echo 1 --conns 50 --slices 2
    try "$name" echo echo 1 --conns 3 --size 3000000
    try "$name" echo echo 2 --conns 50 --size 4096
    try "$name" echo churn 1 --conns 50
    try "$name" frames frames 1 --conns 20 --slices 2
    try "$name" frames frames 1 --conns 3 --size 60001
    try "$name" sink sink 1 --conns 10
    try "$name" source source 1 --conns 10
    try "$name" broadcast broadcast 1 --conns 50 --slices 2
    try "$name" broadcast broadcast 1 --conns 50 --pipeline 4
done
echo "1..$number"
exit $failed
