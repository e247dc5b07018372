/* SPDX-License-Identifier: BSD-2-Clause */
/* One run, in a process of its own.
 *
 * Model. The parent forks; the child sets up the world, draws the swarm, calls the scenario, checks
 * that nothing is left, and writes what came of it into memory that both share: the outcome, and
 * the choice stream with its spans. A failure (a check, the simulated system's own, a crash) writes
 * the same from wherever it happens, and leaves at once: threads are in the midst of something, and
 * so are locks. So runs know nothing of each other, statics of the program are as at its start, and
 * the same seed gives the same run.
 *
 * A child that does not end within RUN_STUCK_S of real time goes round in circles without a call,
 * and an alarm ends it as a crash would.
 *
 * Torture: the hook of the seam makes the n-th call that can fail do so, and, if asked, all that
 * come after it, until the scenario says that it is calm. */
#include "sim/run.h"

#include <peal/loop.h>

#include <errno.h>
#ifdef PL_SIM_COVERAGE
#include <gcov.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct run_report *report; /* of this process, if it is a run */
static uint64_t calls_seen;
static struct run_input now_running;
static void *shared;

static void *share(size_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) {
        fprintf(stderr, "There is no memory (%zu bytes) for the report of a run.\n", size);
        exit(2);
    }
    return memory;
}

void *run_shared(void)
{
    if (!shared) {
        shared = share(RUN_SHARED_MAX);
    }
    return shared;
}

void run_init(struct run *run)
{
    *run = (struct run){.report = share(sizeof(struct run_report))};
    run_shared();
}

void run_deinit(struct run *run)
{
    if (run->pid) {
        kill(run->pid, SIGKILL);
        waitpid(run->pid, NULL, 0);
    }
    munmap(run->report, sizeof *run->report);
}

/* ---- the child */

/* Nothing that the program registered for its exit is run; but what was counted for coverage goes
 * to its files. */
static _Noreturn void end_process(int status)
{
#ifdef PL_SIM_COVERAGE
    __gcov_dump();
#endif
    _exit(status);
}

static void hand_in(enum run_outcome outcome, const char *why)
{
    const struct pl_choice *choice = &pl_sim.choice;
    report->steps = pl_sim.steps;
    report->virtual_ns = pl_sim.now_ns - pl_sim.began_ns;
    memcpy(report->injected, pl_sim.injected, sizeof report->injected);
    snprintf(report->why, sizeof report->why, "%s", why);
    report->stream_size = choice->size < RUN_STREAM_MAX ? choice->size : RUN_STREAM_MAX;
    if (report->stream_size > 0) {
        memcpy(report->stream, choice->bytes, report->stream_size);
    }
    memset(report->marks, 0, report->stream_size);
    for (size_t i = 0; i < choice->marks_size && i < report->stream_size; i++) {
        report->marks[i] = choice->marks[i];
    }
    for (size_t i = 0; i < choice->spans_count && i < RUN_SPANS_MAX; i++) {
        const struct pl_choice_span *span = &choice->spans[i];
        size_t end = i < choice->open && span->end == span->begin ? choice->size : span->end;
        report->spans[report->spans_count++] =
            (struct run_span){(uint32_t)span->begin, (uint32_t)end, span->depth};
    }
    report->draws_count = choice->draws_count < RUN_DRAWS_MAX ? choice->draws_count : RUN_DRAWS_MAX;
    if (report->draws_count > 0) {
        memcpy(report->draws, choice->draws, report->draws_count * sizeof *report->draws);
    }
    report->outcome = outcome;
}

/* The recorder's last lines: count of them come, and the first few are passed over. */
struct last_lines {
    size_t count, skipped;
};

static void count_line(const char *text, void *user)
{
    (void)text;
    ((struct last_lines *)user)->count++;
}

static void print_line(const char *text, void *user)
{
    struct last_lines *lines = user;
    if (lines->skipped > 0) {
        lines->skipped--;
        return;
    }
    fprintf(stderr, "    %s\n", text);
}

/* What the loop that this thread is in has seen lately. */
static void print_recorder(void)
{
    struct last_lines lines = {0};
    struct peal_loop *loop = peal_loop_current();
    if (loop) {
        peal_loop_print_recorder(loop, count_line, &lines);
        lines.skipped = lines.count > RECORDER_LINES_MAX ? lines.count - RECORDER_LINES_MAX : 0;
        fprintf(stderr, "flight recorder of %s, on thread %s:\n", peal_loop_name(loop),
                pl_sim_thread_name());
        peal_loop_print_recorder(loop, print_line, &lines);
    }
}

/* A crash may have come to a thread that does not have the baton, or in the midst of anything: then
 * only what is at hand is told. */
static void fail_at(const char *text, bool is_crash)
{
    if (report->outcome == RUN_UNFINISHED) {
        hand_in(RUN_FAILED, text);
        if (pl_sim.is_traced) {
            pl_sim_trace("FAILED: %s", text);
            print_recorder();
            if (!is_crash) {
                pl_sim_on_each_thread(print_recorder);
            }
        }
    }
    end_process(1);
}

static void fail(const char *text)
{
    fail_at(text, false);
}

static void crash(int number)
{
    char text[96];
    if (number == SIGALRM) {
        snprintf(text, sizeof text, "no end within %d s: the program goes round in circles",
                 RUN_STUCK_S);
        fail_at(text, true);
    }
    snprintf(text, sizeof text, "the program crashed: %s", strsignal(number));
    fail_at(text, true);
}

/* The program has called exit. */
static void leave(void)
{
    fail_at("the program ended its process", true);
}

static void catch_crashes(void)
{
    static char stack[1 << 16];
    const stack_t own = {.ss_sp = stack, .ss_size = sizeof stack};
    struct sigaction action = {.sa_handler = crash, .sa_flags = SA_ONSTACK | SA_NODEFER};
    static const int numbers[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT, SIGALRM};
    sigaltstack(&own, NULL);
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        sigaction(numbers[i], &action, NULL);
    }
    atexit(leave);
    alarm(RUN_STUCK_S);
}

/* What a call fails with that is made to fail: something that it may fail with. */
static int errno_of(const char *name)
{
    static const struct {
        const char *name;
        int error;
    } known[] = {
        {"recv", ENOMEM},       {"send", ENOBUFS},         {"sendmsg", ENOBUFS},
        {"accept4", EMFILE},    {"socket", EMFILE},        {"dup", EMFILE},
        {"eventfd", EMFILE},    {"epoll_create1", EMFILE}, {"sendfile", EIO},
        {"shutdown", ENOTCONN}, {"io_uring_setup", EPERM}, {"pthread_create", EAGAIN},
        {"bind", EADDRINUSE},   {"listen", EADDRINUSE},    {"connect", EADDRNOTAVAIL},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].name, name) == 0) {
            return known[i].error;
        }
    }
    return ENOMEM;
}

/* Waiting that fails for ever is no life: it is only interrupted, once. */
static bool is_wait(const char *name)
{
    return strcmp(name, "epoll_pwait2") == 0 || strcmp(name, "io_uring_enter") == 0;
}

static int torture(char kind, const char *name, void *user)
{
    (void)user;
    if (pl_sim.is_calm || pl_sim_is_exempt || kind != now_running.fail_kind ||
        strcmp(name, "write") == 0 || strcmp(name, "read") == 0) {
        return 0; /* those of an eventfd do not fail in a real kernel */
    }
    calls_seen++;
    bool fails = calls_seen == now_running.fail_call ||
                 (now_running.fails_on && calls_seen > now_running.fail_call && !is_wait(name));
    if (!fails) {
        return 0;
    }
    TRACE("-- torture: %s fails", name);
    report->was_tortured = true;
    return is_wait(name) ? EINTR : errno_of(name);
}

static void draw_conditions(const struct run_input *input)
{
    bool uring = false;
    if (input->explores) {
        pl_sim.schedule = PL_SIM_EVERY;
        pl_sim.preemptions_left = input->preemptions;
    } else {
        pl_sim_draw_swarm();
        uring = pl_choice_below(&pl_sim.choice, 2) == 1;
    }
    if (input->no_faults) {
        memset(pl_sim.shares, 0, sizeof pl_sim.shares);
    }
    const char *engine = input->engine ? input->engine : uring ? "io_uring" : "epoll";
    snprintf(pl_sim.engine, sizeof pl_sim.engine, "%s", engine);
}

static void live(const struct run_input *input)
{
    now_running = *input;
#ifdef PL_SIM_COVERAGE
    __gcov_reset(); /* the parent's are its own */
#endif
    pl_sim_forked();
    catch_crashes();
    if (input->stream) {
        pl_choice_init_replay(&pl_sim.choice, input->stream, input->stream_size);
    } else {
        pl_choice_init_seed(&pl_sim.choice, input->seed);
    }
    pl_sim.is_traced = input->is_traced;
    pl_sim.on_fail = fail;
    pl_sim_begin();
    pl_sim.steps_max = input->steps_max;
    draw_conditions(input);
    if (input->fail_call) {
        sys_set_fault_hook(torture, NULL);
    }
    input->scenario->run();
    pl_sim_end();
    hand_in(RUN_PASSED, "");
    end_process(0);
}

/* ---- the parent */

void run_begin(struct run *run, const struct run_input *input)
{
    struct run_report *shared_report = run->report;
    shared_report->outcome = RUN_UNFINISHED;
    shared_report->stream_size = shared_report->spans_count = shared_report->draws_count = 0;
    shared_report->steps = shared_report->virtual_ns = 0;
    shared_report->was_tortured = shared_report->is_lost = false;
    memset(shared_report->injected, 0, sizeof shared_report->injected);
    shared_report->why[0] = '\0';
    run->input = *input;
    fflush(stdout);
    run->pid = fork();
    if (run->pid < 0) {
        fprintf(stderr, "A run could not be started: %s.\n", strerror(errno));
        exit(2);
    }
    if (run->pid == 0) {
        report = shared_report;
        live(&run->input);
    }
}

void run_ended(struct run *run, int status)
{
    struct run_report *ended = run->report;
    run->pid = 0;
    if (ended->outcome != RUN_UNFINISHED) {
        return;
    }
    ended->outcome = RUN_FAILED;
    ended->is_lost = true;
    if (WIFSIGNALED(status)) {
        snprintf(ended->why, sizeof ended->why, "the run's process was killed: %s",
                 strsignal(WTERMSIG(status)));
    } else {
        snprintf(ended->why, sizeof ended->why, "the program ended its process, with status %d",
                 WEXITSTATUS(status));
    }
}

const struct run_report *run_whole(struct run *run, const struct run_input *input)
{
    int status = 0;
    run_begin(run, input);
    while (waitpid(run->pid, &status, 0) < 0 && errno == EINTR) {
    }
    run_ended(run, status);
    return run->report;
}
