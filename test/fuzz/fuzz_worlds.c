/* SPDX-License-Identifier: BSD-2-Clause */
/* A row of calls, faults and interruptions would break a guarantee: the input is the choice stream
 * of a random world of the lab (the API in any order, on the simulated system), and its oracle
 * judges it. */
#include "fuzz.h"

#include "lab.h"
#include "sim/run.h"

#include <sys/mman.h>

/* The coverage counters of clang's, if this is linked with libFuzzer. Runs fork: what the child
 * counts has to be seen by the parent. */
extern uint8_t counters_begin[] __asm__("__start___sancov_cntrs") __attribute__((weak));
extern uint8_t counters_end[] __asm__("__stop___sancov_cntrs") __attribute__((weak));

static void share_counters(void)
{
    const uintptr_t page = 4096;
    uintptr_t begin = ((uintptr_t)counters_begin + page - 1) & ~(page - 1);
    uintptr_t end = (uintptr_t)counters_end & ~(page - 1);
    if (begin < end) {
        FUZZ_CHECK(mmap((void *)begin, end - begin, PROT_READ | PROT_WRITE,
                        MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == (void *)begin);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct run run;
    static const struct peal_sim_scenario world = {"anything", "a random world", lab_anything};
    if (!run.report) {
        run_init(&run);
        share_counters();
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
