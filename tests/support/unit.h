/*
 * A CUnit program in three lines: a table of cases whose names read as
 * sentences, and UNIT_MAIN. Exit code 1 if any assertion failed.
 */
#ifndef KQ_TESTS_SUPPORT_UNIT_H
#define KQ_TESTS_SUPPORT_UNIT_H

#include <CUnit/Basic.h>
#include <stdlib.h>
#include <string.h>

struct unit_case {
    const char *name;
    void (*run)(void);
};

/* Runs the cases (all, or those whose name holds argv[1]). */
static inline int unit_main(const char *suite_name, const struct unit_case *cases, size_t count, const char *only)
{
    if (CU_initialize_registry() != CUE_SUCCESS)
        return 2;
    CU_pSuite suite = CU_add_suite(suite_name, NULL, NULL);
    for (size_t i = 0; suite != NULL && i < count; i++)
        if (only == NULL || strstr(cases[i].name, only) != NULL)
            (void)CU_add_test(suite, cases[i].name, cases[i].run);
    CU_basic_set_mode(CU_BRM_VERBOSE);
    (void)CU_basic_run_tests();
    unsigned failed = CU_get_number_of_failures() + CU_get_number_of_suites_failed();
    CU_cleanup_registry();
    return failed == 0 && suite != NULL ? 0 : 1;
}

#define UNIT_MAIN(suite_name, cases)                                                                                   \
    int main(int argc, char **argv)                                                                                    \
    {                                                                                                                  \
        return unit_main(suite_name, cases, sizeof(cases) / sizeof((cases)[0]), argc > 1 ? argv[1] : NULL);            \
    }

#endif
