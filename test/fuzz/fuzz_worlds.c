/* SPDX-License-Identifier: BSD-2-Clause */
/* A row of calls, faults and interruptions would break a guarantee: the input is the choice stream
 * of a random world of the lab (the API in any order, on the simulated system), and its oracle judges
 * it. */
#include "fuzz.h"

#include "lab.h"
#include "sim/run.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    static const struct peal_sim_scenario world = {"anything", "a random world", lab_anything};
    if (!run.report) {
        run_init(&run);
    }
    if (size < 2) {
        return 0;
    }
    const struct run_input input = {
        .scenario = &world,
        .stream = data + 1,
        .stream_size = size - 1,
        .engine = data[0] % 2 ? "io_uring" : "epoll",
        .steps_max = 2000000,
    };
    const struct run_report *report = run_whole(&run, &input);
    if (report->outcome == RUN_FAILED) {
        fprintf(stderr, "%s\n", report->why);
    }
    FUZZ_CHECK(report->outcome == RUN_PASSED);
    return 0;
}
