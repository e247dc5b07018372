/* SPDX-License-Identifier: BSD-2-Clause */
/* Many runs, one after the other or side by side, and what they came to. */
#ifndef PL_SIM_RUNNER_H
#define PL_SIM_RUNNER_H

#include "sim/run.h"

enum { RUNNER_JOBS_MAX = 64 };

struct runner {
    const struct peal_sim_scenario *scenarios;
    size_t scenarios_count;
    const char *only; /* a scenario's name; NULL: all in turn */
    const char *engine, *keep;
    uint64_t first_seed, seeds, steps_max;
    unsigned jobs, failures_max;
    bool no_faults, is_quiet;
    unsigned preemptions;  /* of exhaust */
    uint64_t tortured_max; /* steps of a run that is worth repeating for each; 0: any */
};

struct runner_result {
    uint64_t runs, failed, steps, virtual_ns, real_ns;
    uint64_t injected[PL_SIM_FAULTS];
};

const struct peal_sim_scenario *runner_find(const struct runner *runner, const char *name);
/* Seeds first_seed to first_seed + seeds - 1, or fewer after failures_max failures. */
void runner_run(const struct runner *runner, struct runner_result *ret_result);
/* Each scenario again and again, with the n-th call that can fail failing, once and for good, n =
 * 1, 2 ... until there is none. */
void runner_torture(const struct runner *runner, struct runner_result *ret_result);
/* One scenario in every order of its threads that takes at most so many preemptions, and with every
 * answer to its own draws; at most `seeds` runs. *ret_is_complete: there are no more. */
void runner_exhaust(const struct runner *runner, struct runner_result *ret_result,
                    bool *ret_is_complete);
void runner_print(const struct runner_result *result);

#endif
