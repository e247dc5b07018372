/* SPDX-License-Identifier: BSD-2-Clause */
/* The scenarios of the lab. Each is one function; main.c has the list. */
#ifndef LAB_LAB_H
#define LAB_LAB_H

#include <peal/sim.h>

/* coverage.c. begin: before the runs; print: 0, or 1 if a cell is empty. */
void lab_coverage_begin(void);
int lab_coverage_print(void);

void lab_anything(void);
void lab_noise(void);
/* tiny.c */
void lab_tiny_post_and_quit(void);
void lab_tiny_send_and_reset(void);
void lab_tiny_send_and_close(void);
void lab_tiny_adopt_and_stop(void);
void lab_tiny_adopt_and_end(void);
void lab_tiny_visit_and_end(void);
void lab_tiny_stop_and_free(void);
void lab_tiny_resume_twice(void);
void lab_tiny_broadcast_and_end(void);
/* looks.c */
void lab_looks(void);
/* ends.c */
void lab_close_with_unread_input(void);
void lab_half_close(void);
void lab_slow_reader(void);
void lab_disconnect_inside(void);
void lab_gone_before_accept(void);
void lab_used_again(void);
void lab_no_fds_left(void);
void lab_time_outs(void);
void lab_reset_behind_input(void);
/* hands.c */
void lab_stop_while_accepting(void);
void lab_posts(void);
void lab_references(void);
void lab_resolver_pending(void);
void lab_connect_cancelled(void);
void lab_timers(void);
void lab_signals(void);
void lab_files(void);
void lab_both_ends(void);

#endif
