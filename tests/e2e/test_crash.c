/*
 * The daemon is killed and stopped in the middle of a publish storm, several
 * times on the same folder.
 */
#include "e2e/e2e.h"
#include "e2e/scenario.h"
#include "e2e/storm.h"

enum { ROUNDS = 6, IN_FLIGHT = 200, PAD = 60 };

static void strike_kill(void *arg)
{
    daemon_signal(*(struct daemon **)arg, SIGKILL);
}

static void strike_stop(void *arg)
{
    daemon_signal(*(struct daemon **)arg, SIGTERM);
}

static void kill_in_a_storm(const char *const settings[2], size_t pad, int messages)
{
    struct storm s;
    struct daemon_spec spec = {.dir = temp_folder("kill"), .settings = {settings[0], settings[1]}};
    struct daemon *d = daemon_start(&spec);
    storm_begin(&s, daemon_port(d), "storm", IN_FLIGHT, pad);
    for (int round = 0; round < ROUNDS; round++) {
        storm_run(&s, daemon_port(d), messages * (round + 1) / 2, strike_kill, &d);
        daemon_kill(&d);
        d = daemon_start(&spec);
        storm_check(&s, daemon_port(d));
    }
    daemon_end(&d);
}

static void a_kill_in_a_storm_loses_nothing_acknowledged(void)
{
    static const char *const settings[2] = {0};
    kill_in_a_storm(settings, PAD, 2000);
}

static void with_large_messages_over_many_segments(void)
{
    static const char *const settings[2] = {0};
    kill_in_a_storm(settings, 8000, 400);
}

static void with_interval_flushing_a_kill_of_the_process_loses_nothing(void)
{
    static const char *const settings[2] = {"flush=interval"};
    kill_in_a_storm(settings, PAD, 4000);
}

static void a_stop_in_a_storm_answers_what_it_read_and_ends_well(void)
{
    struct storm s;
    struct daemon_spec spec = {.dir = temp_folder("stop")};
    struct daemon *d = daemon_start(&spec);
    storm_begin(&s, daemon_port(d), "storm", IN_FLIGHT, PAD);
    for (int round = 0; round < 4; round++) {
        storm_run(&s, daemon_port(d), 1000, strike_stop, &d);
        CU_ASSERT_EQUAL(daemon_wait(&d, STOP_MS), 0);
        d = daemon_start(&spec);
        storm_check(&s, daemon_port(d));
    }
    daemon_end(&d);
}

static void a_kill_while_starting_harms_nothing(void)
{
    struct storm s;
    struct daemon_spec spec = {.dir = temp_folder("starting")};
    struct daemon *d = daemon_start(&spec);
    storm_begin(&s, daemon_port(d), "storm", IN_FLIGHT, PAD);
    storm_run(&s, daemon_port(d), 3000, strike_kill, &d);
    daemon_kill(&d);
    for (int after_us = 500; after_us < 200000; after_us += after_us / 2)
        daemon_start_and_kill(&spec, after_us);
    d = daemon_start(&spec);
    storm_check(&s, daemon_port(d));
    daemon_end(&d);
}

static const struct unit_case cases[] = {
    {"a kill in a storm loses nothing acknowledged", a_kill_in_a_storm_loses_nothing_acknowledged},
    {"the same with large messages over many segments", with_large_messages_over_many_segments},
    {"with interval flushing a kill of the process loses nothing",
     with_interval_flushing_a_kill_of_the_process_loses_nothing},
    {"a stop in a storm answers what it read and ends well", a_stop_in_a_storm_answers_what_it_read_and_ends_well},
    {"a kill while starting harms nothing", a_kill_while_starting_harms_nothing},
};

E2E_MAIN("crash", cases)
