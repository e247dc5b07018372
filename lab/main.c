/* SPDX-License-Identifier: BSD-2-Clause */
/* peal-sim: the lab's scenarios, run as peal/sim.h tells. */
#include "lab.h"

#include <string.h>

static const struct peal_sim_scenario scenarios[] = {
    {"anything", "a random world: servers, clients, peers and users, ended politely or not",
     lab_anything},
    {"noise", "everything is refused around connections that end in every way", lab_noise},
    {"unread-input", "a close with input unread must not destroy what is on its way",
     lab_close_with_unread_input},
    {"half-close", "request, end of stream, answer", lab_half_close},
    {"slow-reader", "a peer that reads slowly, or stops", lab_slow_reader},
    {"disconnect-inside", "callbacks end connections, their own too, and go on",
     lab_disconnect_inside},
    {"gone-before-accept", "peers that are gone before they are accepted", lab_gone_before_accept},
    {"used-again", "old ids while places and fds are used again", lab_used_again},
    {"no-fds-left", "fds run out, and come back", lab_no_fds_left},
    {"reset-behind-input", "what came before a reset is shown", lab_reset_behind_input},
    {"time-outs", "peers that are silent are ended by the time-out that is for them",
     lab_time_outs},
    {"looks", "each time-out comes in its time and a quarter, to the millisecond", lab_looks},
    {"stop-while-accepting", "stops from several threads during accepts and hand-overs",
     lab_stop_while_accepting},
    {"posts", "several threads post to a loop that ends", lab_posts},
    {"references", "all threads use references and ids of what ends", lab_references},
    {"resolver-pending", "a client is released, or its loop ends, while a name is looked up",
     lab_resolver_pending},
    {"connect-cancelled", "connects are cancelled on their last step", lab_connect_cancelled},
    {"timers", "timers end, start and free each other in one tick", lab_timers},
    {"signals", "signals come while their source is closed", lab_signals},
    {"files", "files are sent while the connection ends", lab_files},
    {"both-ends", "clients and a server of Peal pour at each other", lab_both_ends},
    {"tiny-post-and-quit", "two posts and a quit; for exhaust", lab_tiny_post_and_quit},
    {"tiny-send-and-reset", "a send by reference and a reset; for exhaust",
     lab_tiny_send_and_reset},
    {"tiny-send-and-close", "a send by reference and a close; for exhaust",
     lab_tiny_send_and_close},
    {"tiny-adopt-and-stop", "a socket is adopted while the server stops; for exhaust",
     lab_tiny_adopt_and_stop},
    {"tiny-adopt-and-end", "a socket is adopted while the loop ends; for exhaust",
     lab_tiny_adopt_and_end},
    {"tiny-visit-and-end", "connections are visited while the loop ends; for exhaust",
     lab_tiny_visit_and_end},
    {"tiny-broadcast-and-end", "a broadcast while the loop ends; for exhaust",
     lab_tiny_broadcast_and_end},
    {"tiny-stop-and-free", "the home loop is freed as soon as a stop was told to it; for exhaust",
     lab_tiny_stop_and_free},
    {"tiny-resume-twice", "two threads end the pauses of a connection; for exhaust",
     lab_tiny_resume_twice},
};

/* `peal-sim coverage [OPTIONS OF run]`: a run whose moves are counted. */
static int cover(int argc, char **argv)
{
    static char run[] = "run";
    argv[1] = run;
    lab_coverage_begin();
    int result = peal_sim_main(argc, argv, scenarios, sizeof scenarios / sizeof *scenarios);
    return result == 0 ? lab_coverage_print() : result;
}

int main(int argc, char **argv)
{
    if (argc > 1 && strcmp(argv[1], "coverage") == 0) {
        return cover(argc, argv);
    }
    return peal_sim_main(argc, argv, scenarios, sizeof scenarios / sizeof *scenarios);
}
