/* SPDX-License-Identifier: BSD-2-Clause */
/* The fault hook (sys_set_fault_hook), as the files of the real seam ask it: a positive errno if
 * the system call of that name is to fail, else 0. */
#ifndef PL_SYS_FAULT_H
#define PL_SYS_FAULT_H

int sys_fault(const char *name);

#endif
