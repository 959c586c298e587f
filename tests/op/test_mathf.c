/* SPDX-License-Identifier: Apache-2.0 */
#include "op/mathf.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdbool.h>

#include <cmocka.h>

#include "base/simd.h"
#include "op/mathv.h"
#include "op/tile.h"

enum { N = 1 << 16 };

/* The functions as kernels use them: inside vector loops. */
#define LOOP(name, f)                                                                                                  \
    DPT_SIMD static void test_mathf_##name(const float *in, float *out)                                                \
    {                                                                                                                  \
        _Pragma("omp simd") for (int i = 0; i < N; i++)                                                                \
        {                                                                                                              \
            const float x = in[i];                                                                                     \
            out[i] = (f);                                                                                              \
        }                                                                                                              \
    }

LOOP(exp, dpt_op__expf(x))
LOOP(tanh, dpt_op__tanhf(x))
LOOP(sigmoid, dpt_op__sigmoidf(x))
LOOP(gauss, dpt_op__gaussf(x))
LOOP(phi, dpt_op__phif(x, dpt_op__gaussf(x)))

#if defined(__x86_64__)

/* Three, then four vectors at a time, and what is left of them at the end. */
#define LOOP8(name, function, argument)                                                                                \
    DPT_OP__AVX2 static void name(const float *in, float *out)                                                         \
    {                                                                                                                  \
        for (int i = 0; i < N; i += 56) {                                                                              \
            __m256 v[7];                                                                                               \
            for (int k = 0; k < 7; k++) {                                                                              \
                const int at = i + 8 * k < N ? i + 8 * k : N;                                                          \
                const __m256 x = dpt_op__load8(in + at, N - at);                                                       \
                v[k] = (argument);                                                                                     \
            }                                                                                                          \
            function(3, v);                                                                                            \
            function(4, v + 3);                                                                                        \
            for (int k = 0; k < 7 && i + 8 * k < N; k++) {                                                             \
                dpt_op__store8(out + i + 8 * k, N - i - 8 * k, v[k]);                                                  \
            }                                                                                                          \
        }                                                                                                              \
    }

LOOP8(exp8, dpt_op__exp8, _mm256_min_ps(_mm256_set1_ps(88.0f), x))
LOOP8(sigmoid8, dpt_op__sigmoid8, x)

static double exact_exp8(double x)
{
    return exp(x > 88.0 ? 88.0 : x);
}

#endif

static double exact_sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static double exact_gauss(double x)
{
    return exp(-0.5 * x * x);
}

static double exact_phi(double x)
{
    return 0.5 * erfc(-x / sqrt(2.0));
}

/* Distance of the float that follows `exact` in size. */
static double ulp(double exact)
{
    int exponent;
    frexp(exact, &exponent);
    return ldexp(1.0, fmax(exponent, -125) - 24);
}

/* All floats in steps of 523 (a prime): every exponent and sign, subnormals, inf and nan. */
static void check(const char *name, void (*fast)(const float *, float *), double (*exact)(double), double lowest,
                  double limit, double least)
{
    static float x[N], y[N];
    uint64_t next = 0;
    while (next <= UINT32_MAX) {
        for (int i = 0; i < N; i++, next += 523) {
            x[i] = dpt_op__from_bits((uint32_t)next);
        }
        fast(x, y);
        for (int i = 0; i < N; i++) {
            const double e = exact(x[i]);
            const double error = fabs(y[i] - e);
            const double allowed = limit * ulp(e) + least;
            const bool overflow = isinf(y[i]) && e > 0x1.ffffffp127;
            const bool fine = isnan(x[i]) ? isnan(y[i]) : y[i] == e || overflow || error <= allowed;
            if (!fine && !(x[i] < lowest)) {
                fail_msg("%s(%.9g) is %.9g, expected %.17g: %.2f ulp, at most %.2f allowed", name, x[i], y[i], e,
                         error / ulp(e), limit);
            }
        }
    }
}

static void errors_stay_within_the_stated_ulps(void **state)
{
    (void)state;
    check("exp", test_mathf_exp, exp, -INFINITY, 1.0, 0.0);
    check("tanh", test_mathf_tanh, tanh, -INFINITY, 1.4, 0.0);
    check("sigmoid", test_mathf_sigmoid, exact_sigmoid, -INFINITY, 2.5, 0x1p-126);
    check("gauss", test_mathf_gauss, exact_gauss, -INFINITY, 2.0, 0.0);
    check("phi", test_mathf_phi, exact_phi, -INFINITY, 11.0, 0.0);
    check("phi", test_mathf_phi, exact_phi, -5.0, 4.4, 0.0);
}

static void so_do_eight_at_a_time(void **state)
{
    (void)state;
#if defined(__x86_64__)
    if (dpt_op__tile_runs()) {
        check("exp8", exp8, exact_exp8, -INFINITY, 1.0, 1.7e-38);
        check("sigmoid8", sigmoid8, exact_sigmoid, -INFINITY, 2.5, 1.7e-38);
        return;
    }
#endif
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(errors_stay_within_the_stated_ulps),
        cmocka_unit_test(so_do_eight_at_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
