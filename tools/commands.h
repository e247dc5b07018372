/* SPDX-License-Identifier: BSD-2-Clause */
/* The commands of the program. argv[0] is the command's name; what is returned is the exit code. */
#ifndef PEAL_TOOLS_COMMANDS_H
#define PEAL_TOOLS_COMMANDS_H

int demo_main(int argc, char **argv); /* demo/demo.c */
int echo_main(int argc, char **argv); /* serve_small.c, as the next four */
int discard_main(int argc, char **argv);
int chargen_main(int argc, char **argv);
int daytime_main(int argc, char **argv);
int time_main(int argc, char **argv);
int load_main(int argc, char **argv); /* load.c */

#endif
