/* SPDX-License-Identifier: Apache-2.0 */

/*
 * A step allocates nothing: after two epochs every call of the training thread to the allocator, to mmap and to open is
 * counted, in this program and in the libraries that it uses, and there must be none.
 *
 * One is excused: oneDNN keeps the arguments of a call in maps of its own while dnnl_primitive_execute runs; with 2.6
 * that was measured as 5 to 7 calls for 200 to 290 bytes an execution. It must stay that small: what a kernel needs is
 * in our scratch memory.
 *
 * And MPICH takes a few small blocks for a reduction, even on one rank (Open MPI takes none): such calls from within an
 * MPI library are excused, a handful a step.
 *
 * The counters stand before the C library's own functions, under their names. They need glibc, and a build without
 * sanitizers, which stand there themselves; elsewhere the test is skipped.
 */

#include "rig.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#endif

#if defined(__GLIBC__) && !defined(SANITIZED)

/* Volatile: a compiler knows that malloc reads none of our variables. */
static _Thread_local volatile bool watching; /* this thread's calls count */
static _Thread_local volatile int calls;
static _Thread_local const void *first_caller;
enum { BOOKKEEPING_CALLS = 12, BOOKKEEPING_NBYTES = 1024 }; /* of oneDNN, for an execution */

enum { MPI_CALLS = 8 }; /* of MPI in a step or an evaluation of this test */

static _Thread_local bool executing; /* a call of oneDNN */
static _Thread_local size_t excused, excused_calls, executions;
static _Thread_local int mpi_calls;

static bool is_mpi(const void *caller)
{
    Dl_info info;
    return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "/libmpi");
}

static void count(const void *caller, size_t nbytes)
{
    if (watching && executing && nbytes < 4096) {
        excused += nbytes;
        excused_calls++;
    } else if (watching && nbytes < 4096 && mpi_calls < MPI_CALLS && is_mpi(caller)) {
        mpi_calls++;
    } else if (watching && calls++ == 0) {
        first_caller = caller;
    }
}

#define COUNT(nbytes) count(__builtin_return_address(0), nbytes)

typedef int execute_fn(const void *primitive, void *stream, int nargs, const void *args);
static execute_fn *real_execute;

/* oneDNN's, with a mark around it. */
execute_fn dnnl_primitive_execute;
int dnnl_primitive_execute(const void *primitive, void *stream, int nargs, const void *args)
{
    executing = true;
    executions += watching;
    const int status = real_execute(primitive, stream, nargs, args);
    executing = false;
    return status;
}

void *__libc_malloc(size_t nbytes);
void *__libc_calloc(size_t n, size_t nbytes);
void *__libc_realloc(void *at, size_t nbytes);
void *__libc_memalign(size_t alignment, size_t nbytes);

void *malloc(size_t nbytes)
{
    COUNT(nbytes);
    return __libc_malloc(nbytes);
}

void *calloc(size_t n, size_t nbytes)
{
    COUNT(n * nbytes);
    return __libc_calloc(n, nbytes);
}

void *realloc(void *at, size_t nbytes)
{
    COUNT(nbytes);
    return __libc_realloc(at, nbytes);
}

void *aligned_alloc(size_t alignment, size_t nbytes)
{
    COUNT(nbytes);
    return __libc_memalign(alignment, nbytes);
}

int posix_memalign(void **at, size_t alignment, size_t nbytes)
{
    COUNT(nbytes);
    *at = __libc_memalign(alignment, nbytes);
    return *at ? 0 : ENOMEM;
}

void *mmap(void *at, size_t nbytes, int protection, int flags, int file, off_t offset)
{
    COUNT(SIZE_MAX);
    return (void *)syscall(SYS_mmap, at, nbytes, protection, flags, file, offset);
}

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    const int mode = flags & O_CREAT ? va_arg(args, int) : 0;
    va_end(args);
    COUNT(SIZE_MAX);
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

/* The counters see what they should. */
static void calls_are_counted(void **state)
{
    (void)state;
    watching = true;
    calls = 0;
    void *volatile block = malloc(100);
    block = realloc(block, 200000);
    free(block);
    block = strdup("a call within the C library");
    free(block);
    watching = false;
    assert_true(calls >= 3);
}

static void expect_none(const char *what)
{
    watching = false;
    if (calls > 0) {
        Dl_info info = {0};
        dladdr(first_caller, &info);
        fail_msg("%s: %d calls to the allocator, mmap or open; the first from %s in %s", what, calls,
                 info.dli_sname ? info.dli_sname : "?", info.dli_fname ? info.dli_fname : "?");
    }
}

static void expect_quiet_steps(const char *job)
{
    struct rig *rig = rig_new(job, NULL, NULL, DPT_RUN_CPU);
    struct rig_eval eval;
    const int64_t epoch = dpt_batch_steps_per_epoch(45, rig->job->batch.global);
    rig_eval_new(rig, 11, true, &eval);
    for (int64_t i = 0; i < 2 * epoch; i++) {
        rig_train(rig);
    }
    for (int64_t i = 0; i < epoch; i++) { /* the short last batch too */
        struct dpt_exec_step step = {.lr = 0.01, .clip = 0.5};
        calls = mpi_calls = 0;
        watching = true;
        const enum dpt_status status = dpt_exec_train(rig->exec, rig->loader, &step);
        expect_none("a training step");
        EXPECT_OK(status);
    }
    struct dpt_loader *loader;
    const struct dpt_loader_conf conf = {
        .data = rig->data,
        .global = 11,
        .micros = eval.plan->micros,
        .max_rows = eval.plan->max_rows,
        .rows = dpt_plan_rows,
        .layout = eval.plan,
    };
    for (int k = 0; k < 2; k++) {
        double metric[DPT_EXEC_METRICS];
        EXPECT_OK(dpt_loader_new(&conf, 0, &loader));
        calls = mpi_calls = 0;
        watching = k == 1;
        const enum dpt_status status = dpt_exec_evaluate(eval.exec, loader, metric, NULL, NULL);
        expect_none("an evaluation");
        EXPECT_OK(status);
        dpt_loader_free(loader);
    }
    assert_true(excused_calls <= executions * BOOKKEEPING_CALLS && excused <= executions * BOOKKEEPING_NBYTES);
    excused = excused_calls = executions = 0;
    rig_eval_free(&eval);
    rig_free(rig);
}

static void mlp_allocates_nothing(void **state)
{
    (void)state;
    expect_quiet_steps(RIG_FP32 RIG_MLP RIG_BATCH("13", "1") RIG_SGD);
    expect_quiet_steps(RIG_FP32 RIG_REGRESSION RIG_BATCH("10", "3") RIG_ADAMW);
    expect_quiet_steps(RIG_FP64 RIG_MLP RIG_BATCH("13", "2") RIG_SGD);
    expect_quiet_steps(RIG_FP32 "[model]\ntype = mlp\nwidths = 300 200\n" RIG_DATA("500", "10") RIG_BATCH("40", "1")
                           RIG_SGD);
}

static void cnn_allocates_nothing(void **state)
{
    (void)state;
    expect_quiet_steps(RIG_FP32 RIG_CNN RIG_BATCH("12", "1") RIG_ADAMW);
    expect_quiet_steps(RIG_FP32 "[model]\ntype = cnn\nchannels = 32 64\n" RIG_DATA("28 28 1", "10") RIG_BATCH("20", "1")
                           RIG_SGD);
}

static void resnet_allocates_nothing(void **state)
{
    (void)state;
    expect_quiet_steps(RIG_FP32 RIG_RESNET RIG_BATCH("14", "2") RIG_SGD);
    expect_quiet_steps(RIG_SHARDS RIG_RESNET RIG_BATCH("14", "1") RIG_SGD);
}

int main(void)
{
    real_execute = (execute_fn *)dlsym(RTLD_NEXT, "dnnl_primitive_execute"); /* NULL without oneDNN: never called */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls_are_counted),
        cmocka_unit_test(mlp_allocates_nothing),
        cmocka_unit_test(cnn_allocates_nothing),
        cmocka_unit_test(resnet_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

#else

int main(void)
{
    fprintf(stderr, "the allocator of this build cannot be counted\n");
    return 77;
}

#endif
