/* SPDX-License-Identifier: BSD-2-Clause */
/* peal-sim: the lab's scenarios, run as peal/sim.h tells. */
#include "lab.h"

static const struct peal_sim_scenario scenarios[] = {
    {"anything", "a random world: servers, clients, peers and users, ended politely or not",
     lab_anything},
};

int main(int argc, char **argv)
{
    return peal_sim_main(argc, argv, scenarios, sizeof scenarios / sizeof *scenarios);
}
