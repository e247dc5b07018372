/* SPDX-License-Identifier: BSD-2-Clause */
/* Which faults strike, and when.
 *
 * A run does not know all kinds of faults: its swarm is a random few, each with a share of its own,
 * since a run in which everything fails seldom gets far, and since some bugs need that one kind of
 * fault is frequent and another one absent (Groce et al., "Swarm testing", 2012). One run in four
 * knows none. The draw is from the choice stream as all else; its first answers are "none".
 *
 * When the world is calm nothing strikes, and nothing is drawn: a program that is to come to rest
 * says so first. Faults that only shift time or order (scheduling, delays) end with the rest.
 *
 * The hook of the seam is kept beside: a test that wants the n-th call to fail uses that, here as
 * on the real system. */
#include "sys/sim/sim.h"

enum where { CALL, WORLD };
static const struct {
    const char *name, *words;
    enum where where;
} kinds[PL_SIM_FAULTS] = {
#define PL_SIM_FAULT(name, where, words) {#name, words, where},
#include "sys/sim/faults.def"
#undef PL_SIM_FAULT
};

_Thread_local bool pl_sim_is_exempt;

const char *pl_sim_fault_words(enum pl_sim_fault kind)
{
    return kinds[kind].words;
}

const char *pl_sim_fault_name(enum pl_sim_fault kind)
{
    return kinds[kind].name;
}

bool pl_sim_strikes(enum pl_sim_fault kind)
{
    if (pl_sim.is_calm || (pl_sim_is_exempt && kinds[kind].where == CALL)) {
        return false;
    }
    size_t from = pl_sim.choice.size;
    bool strikes = pl_choice_chance(&pl_sim.choice, pl_sim.shares[kind]);
    pl_choice_mark(&pl_sim.choice, from, (uint8_t)(PL_SIM_MARK_FAULT + kind));
    if (!strikes) {
        return false;
    }
    pl_sim.injected[kind]++;
    TRACE("-- fault: %s", kinds[kind].words);
    if (pl_sim.on_fault) {
        pl_sim.on_fault(kind);
    }
    return true;
}

int pl_sim_hook(char kind, const char *name)
{
    return pl_sim.hook ? pl_sim.hook(kind, name, pl_sim.hook_user) : 0;
}

void sys_set_fault_hook(sys_fault_fn hook, void *user)
{
    pl_sim.hook = hook;
    pl_sim.hook_user = user;
}

/* What was drawn from here on: its first byte says whether the rest is asked. */
static void mark_optional(size_t from, unsigned mark)
{
    struct pl_choice *choice = &pl_sim.choice;
    pl_choice_mark(choice, from, (uint8_t)mark);
    choice->marks[from] |= PL_CHOICE_SWITCH_OFF;
}

static void draw_faults(void)
{
    static const uint32_t shares[] = {0, 64, 512, 2048, 8192, 24000};
    enum { SHARES = sizeof shares / sizeof *shares };
    const size_t swarm_from = pl_sim.choice.size;
    bool has_faults = pl_choice_below(&pl_sim.choice, 4) > 0;
    mark_optional(swarm_from, PL_SIM_MARK_SWARM);
    if (!has_faults) {
        return;
    }
    uint32_t one_in = 2 + (uint32_t)pl_choice_below(&pl_sim.choice, 8);
    pl_choice_mark(&pl_sim.choice, swarm_from + 1, PL_SIM_MARK_SWARM);
    for (unsigned kind = 0; kind < PL_SIM_FAULTS; kind++) {
        size_t from = pl_sim.choice.size;
        bool is_chosen = pl_choice_below(&pl_sim.choice, one_in) == one_in - 1;
        if (is_chosen) {
            pl_sim.shares[kind] = shares[pl_choice_below(&pl_sim.choice, SHARES)];
            mark_optional(from, PL_SIM_MARK_FAULT + kind);
        } else {
            pl_choice_mark(&pl_sim.choice, from, PL_SIM_MARK_SWARM);
        }
    }
    size_t from = pl_sim.choice.size;
    if (pl_choice_below(&pl_sim.choice, 2) == 1) { /* and one that is frequent */
        unsigned kind = (unsigned)pl_choice_below(&pl_sim.choice, PL_SIM_FAULTS);
        pl_sim.shares[kind] = shares[SHARES - 1 - pl_choice_below(&pl_sim.choice, 3)];
        mark_optional(from, PL_SIM_MARK_FAULT + kind);
    } else {
        pl_choice_mark(&pl_sim.choice, from, PL_SIM_MARK_SWARM);
    }
    /* Where it strikes at each point it would let nobody do anything in time. */
    if (pl_sim.shares[PL_SIM_STALL] > 512) {
        pl_sim.shares[PL_SIM_STALL] = 512;
    }
}

void pl_sim_draw_swarm(void)
{
    static const uint32_t switch_shares[] = {0, 1024, 4096, 16384, 32768};
    static const size_t buffers[][2] = {{0, 0}, {1, 16}, {512, 4096}, {4096, 65536}};
    pl_choice_begin(&pl_sim.choice, "swarm");
    pl_sim.schedule = (enum pl_sim_schedule)pl_choice_below(&pl_sim.choice, 2);
    size_t from = pl_sim.choice.size;
    pl_sim.switch_share = switch_shares[pl_choice_below(&pl_sim.choice, 5)];
    pl_choice_mark(&pl_sim.choice, from, PL_SIM_MARK_SWITCH | PL_CHOICE_SWITCH_OFF);
    if (pl_sim.schedule == PL_SIM_PRIORITIES) {
        pl_sim.switch_share /= 16;
    }
    const size_t *buffer = buffers[pl_choice_below(&pl_sim.choice, 4)];
    pl_sim.buffer_min = buffer[0];
    pl_sim.buffer_max = buffer[1];
    pl_sim.now_ns += pl_choice_below(&pl_sim.choice, 1u << 24) * 1000000u;
    pl_sim.began_ns = pl_sim.now_ns;
    draw_faults();
    pl_choice_end(&pl_sim.choice);
}
