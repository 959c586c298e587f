/* SPDX-License-Identifier: Apache-2.0 */
#include "exec/device.h"

#include <stdio.h>
#include <string.h>

#include "base/command.h"
#include "comm/comm.h"

enum dpt_status dpt_exec_check_card(const struct dpt_exec_device_conf *conf)
{
    const struct dpt_graph *graph = conf->graph;
    DPT_CHECK(graph->real == DPT_DTYPE_F32, DPT_STATUS_USAGE,
              "kernels for cards compute in F32, not in %s: set run.precision = fp32, or device.kind = cpu",
              dpt_dtype_name(graph->real));
    for (int n = 0; n < graph->nnodes; n++) {
        struct dpt_op_types types;
        dpt_graph_types(graph, &graph->node[n], &types);
        DPT_TRY(dpt_op_check_run(graph->node[n].op, &types, DPT_RUN_CUDA));
    }
    return DPT_STATUS_OK;
}

/* The card can run kernels, which copy past registers and multiply in bf16 (compute capability 8.0), and those of the job. */
static enum dpt_status check_this_card(const struct dpt_exec_device_conf *conf, const struct dpt_dev_info *info)
{
    enum { LEAST = 8 };
    DPT_CHECK(info->major >= LEAST, DPT_STATUS_USAGE,
              "%s has compute capability %d.%d, and kernels are made for %d.0 and later: set device.kind = cpu", info->name,
              info->major, info->minor, LEAST);
    return dpt_exec_check_card(conf);
}

static enum dpt_status open_cores(const struct dpt_exec_device_conf *conf, struct dpt_dev **dev, enum dpt_run *run)
{
    *run = DPT_RUN_CPU;
    return dpt_dev_cpu(conf->threads, dev);
}

/* Rank r of a host takes card r modulo those that it sees: the launcher may show each rank one of its own. */
static int card_of(int rank, int cards)
{
    return rank % cards;
}

void dpt_exec_card_id(int rank, unsigned char id[DPT_DEV_ID])
{
    struct dpt_dev_info info = {0};
    const char *why;
    const int cards = dpt_dev_cuda_count(&why);
    if (cards > 0 && dpt_dev_cuda_info(card_of(rank, cards), &info) != DPT_STATUS_OK) {
        dpt_error_clear(); /* whoever opens it finds out */
    }
    memcpy(id, info.id, sizeof info.id);
}

enum dpt_status dpt_exec_open_device(const struct dpt_exec_device_conf *conf, struct dpt_dev **dev, enum dpt_run *run,
                                     char why[DPT_EXEC_WHY])
{
    const char *none = "";
    why[0] = '\0';
    if (conf->kind == DPT_DEVICE_CPU) {
        return open_cores(conf, dev, run);
    }
    const int cards = dpt_dev_cuda_count(&none);
    DPT_CHECK(cards > 0 || conf->kind != DPT_DEVICE_CUDA, DPT_STATUS_USAGE, "[device] kind = cuda on host %s: %s",
              dpt_comm_host(), none);
    if (cards == 0) {
        return open_cores(conf, dev, run);
    }
    struct dpt_dev_info info;
    DPT_TRY(dpt_dev_cuda_info(card_of(conf->rank, cards), &info));
    if (conf->kind == DPT_DEVICE_CUDA) {
        DPT_TRY(check_this_card(conf, &info));
    } else if (check_this_card(conf, &info) != DPT_STATUS_OK) {
        snprintf(why, DPT_EXEC_WHY, "%s", dpt_error_text());
        dpt_error_clear();
        return open_cores(conf, dev, run);
    }
    DPT_CHECK(conf->sharers <= 1 || conf->share, DPT_STATUS_USAGE,
              "%d ranks of host %s would share a card; a rank sees %d: start at most one rank a card, or let ranks share one "
              "with device.share = yes, or compute on the cores with device.kind = cpu",
              conf->sharers, dpt_comm_host(), cards);
    static const enum dpt_dev_convolution convolution[] = {
        [DPT_CONVOLUTION_AUTO] = DPT_DEV_CONVOLUTION_AUTO,
        [DPT_CONVOLUTION_OWN] = DPT_DEV_CONVOLUTION_OWN,
        [DPT_CONVOLUTION_CUDNN] = DPT_DEV_CONVOLUTION_CUDNN,
    };
    *run = DPT_RUN_CUDA;
    DPT_TRY(dpt_dev_cuda(card_of(conf->rank, cards), dev));
    (*dev)->convolution = convolution[conf->convolution];
    (*dev)->tf32 = conf->tf32;
    return DPT_STATUS_OK;
}

enum dpt_device dpt_exec_used_device(int asked, enum dpt_device trained)
{
    return asked >= 0 ? (enum dpt_device)asked : trained == DPT_DEVICE_CUDA ? DPT_DEVICE_AUTO : trained;
}

enum dpt_status dpt_exec_device_option(const char *text, int *kind)
{
    static const char *const words[] = {[DPT_DEVICE_AUTO] = "auto", [DPT_DEVICE_CPU] = "cpu", [DPT_DEVICE_CUDA] = "cuda"};
    return dpt_command_word("device", text, words, 3, kind);
}

enum dpt_status dpt_exec_used_precision(int asked, enum dpt_precision trained, enum dpt_precision *precision)
{
    DPT_CHECK(asked < 0 || trained != DPT_PRECISION_FP64, DPT_STATUS_USAGE,
              "--precision: the checkpoint's numbers are double, which are not converted: leave the option out");
    *precision = asked >= 0 ? (enum dpt_precision)asked : trained;
    return DPT_STATUS_OK;
}

enum dpt_status dpt_exec_precision_option(const char *text, int *precision)
{
    const char *words[DPT_PRECISION_FP64]; /* which is the last, and none of them: numbers of checkpoints are not converted */
    for (int p = 0; p < DPT_PRECISION_FP64; p++) {
        words[p] = dpt_precision_name((enum dpt_precision)p);
    }
    return dpt_command_word("precision", text, words, DPT_PRECISION_FP64, precision);
}

enum dpt_dtype dpt_exec_real(enum dpt_precision precision)
{
    return precision == DPT_PRECISION_FP64 ? DPT_DTYPE_F64 : DPT_DTYPE_F32;
}

enum dpt_dtype dpt_exec_half(enum dpt_precision precision)
{
    return precision == DPT_PRECISION_BF16   ? DPT_DTYPE_BF16
           : precision == DPT_PRECISION_FP16 ? DPT_DTYPE_F16
                                             : DPT_DTYPE_F32;
}
