/* SPDX-License-Identifier: BSD-2-Clause */
/* The moves of src/net/moves.def, made from it by scripts/moves.py: not written by hand. Which of them a
 * search takes is asked with REACH, the number of a move that must then fail. */
#define S_CONNECTING 0
#define S_OPEN 1
#define S_CLOSING 2
#define S_CLOSED 3
#define S_LINGERING 4
#define E_OPENED 0
#define E_CLOSE 1
#define E_PEER_FIN 2
#define E_FIN_SENT 3
#define E_BOTH_ENDED 4
#define E_BREAK 5
#define E_FLUSHED 6
#define MOVES 12
#ifndef REACH
#define REACH 0
#endif

/* pl_conn_move (src/net/machine.c) */
inline move(event)
{
    if
    :: state == S_CONNECTING && event == E_OPENED -> /* attached to its loop; on_open comes */
        assert(REACH != 1);
        state = S_OPEN
    :: state == S_OPEN && event == E_CLOSE -> /* flush what was accepted; input is discarded from here */
        assert(REACH != 2);
        state = S_CLOSING
    :: state == S_OPEN && event == E_PEER_FIN -> /* the peer's side has ended; ours goes on */
        assert(REACH != 3);
        state = S_OPEN
    :: state == S_OPEN && event == E_FIN_SENT -> /* our side has ended (shutdown); the peer's goes on */
        assert(REACH != 4);
        state = S_OPEN
    :: state == S_OPEN && event == E_BOTH_ENDED -> /* both sides have ended: clean */
        assert(REACH != 5);
        ended_in = S_OPEN;
        state = S_CLOSED
    :: state == S_OPEN && event == E_BREAK -> /* cut off */
        assert(REACH != 6);
        ended_in = S_OPEN;
        state = S_CLOSED
    :: state == S_CLOSING && event == E_PEER_FIN -> /* the peer's side has ended while we flush */
        assert(REACH != 7);
        state = S_CLOSING
    :: state == S_CLOSING && event == E_FLUSHED -> /* FIN sent; read and discard until the peer's */
        assert(REACH != 8);
        state = S_LINGERING
    :: state == S_CLOSING && event == E_BOTH_ENDED -> /* flushed, and the peer had ended before: clean */
        assert(REACH != 9);
        ended_in = S_CLOSING;
        state = S_CLOSED
    :: state == S_CLOSING && event == E_BREAK -> /* cut off while flushing */
        assert(REACH != 10);
        ended_in = S_CLOSING;
        state = S_CLOSED
    :: state == S_LINGERING && event == E_BOTH_ENDED -> /* the peer's FIN came: clean */
        assert(REACH != 11);
        ended_in = S_LINGERING;
        state = S_CLOSED
    :: state == S_LINGERING && event == E_BREAK -> /* a linger limit, a reset or an abort */
        assert(REACH != 12);
        ended_in = S_LINGERING;
        state = S_CLOSED
    :: else -> assert(false) /* a move that the table does not have: pl_misuse */
    fi
}
