/* SPDX-License-Identifier: BSD-2-Clause */
/* If this broke, a reference that is given back twice, or a resume without a pause, would corrupt
 * what others hold, silently; and a client of a loop that has ended would be waited for, for
 * ever. */
#include "support/baseline.h"
#include "support/child.h"

#include <peal.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static const struct peal_conn_ops ops = {NULL};
static const struct peal_client_options to_nowhere = {.to = "127.0.0.1:9", .ops = &ops};

static void must(int result)
{
    if (result != 0) {
        _exit(99); /* not the abort that is expected */
    }
}

/* One that has nothing but the loop's own hold of it: what was asked of it is still to be done. */
static struct peal_client *client_without_references(void)
{
    struct peal_loop *loop;
    struct peal_client *client;
    must(peal_loop_new(NULL, &loop));
    must(peal_client_new(loop, &to_nowhere, &client));
    peal_client_unref(client);
    return client;
}

static void ref_too_late(void *arg)
{
    (void)arg;
    peal_client_ref(client_without_references());
}

static void unref_too_often(void *arg)
{
    (void)arg;
    peal_client_unref(client_without_references());
}

static void resume_too_often(void *arg)
{
    const struct peal_server_options options = {.ops = &ops};
    struct peal_loop *loop;
    struct peal_server *server;
    (void)arg;
    must(peal_loop_new(NULL, &loop));
    must(peal_server_new(loop, &options, &server));
    peal_server_pause_accept(server);
    peal_server_resume_accept(server);
    peal_server_resume_accept(server);
}

static void stops_the_program_with_a_sentence(void **state)
{
    (void)state;
    child_expect_abort(ref_too_late, NULL,
                       "peal_client_ref: the client's last reference was given back already");
    child_expect_abort(unref_too_often, NULL,
                       "peal_client_unref: the client's last reference was given back already");
    child_expect_abort(resume_too_often, NULL,
                       "peal_server_resume_accept was called more often than");
}

static void a_loop_that_has_ended_takes_no_client(void **state)
{
    (void)state;
    struct peal_loop *loop;
    struct peal_client *client, *late = NULL;
    assert_int_equal(peal_loop_new(NULL, &loop), 0);
    assert_int_equal(peal_client_new(loop, &to_nowhere, &client), 0);
    peal_loop_quit(loop);
    assert_int_equal(peal_loop_run(loop), 0);
    assert_int_equal(peal_client_connect(client), PEAL_ERR_LOOP_ENDED);
    peal_client_cancel(client);
    peal_client_unref(client);
    assert_int_equal(peal_client_new(loop, &to_nowhere, &late), PEAL_ERR_LOOP_ENDED);
    assert_null(late);
    peal_loop_free(loop);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, baseline_setup, baseline_teardown)
    const struct CMUnitTest tests[] = {
        TEST(stops_the_program_with_a_sentence),
        TEST(a_loop_that_has_ended_takes_no_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
