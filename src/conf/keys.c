/* SPDX-License-Identifier: Apache-2.0 */

/*
 * The one table of keys. A new key is a member of struct dpt_job (job.h), an entry here and a paragraph in
 * man/dpt-job.5; parsing, checks, printing, help and completion follow.
 */

#include "conf/conf.h"

#include <math.h>
#include <string.h>

const struct dpt_conf_section dpt_conf__sections[] = {
    {"run", "The run as a whole: where it writes, how long it goes on, how it computes."},
    {"model", "The network. With type = layers it is written as [layer.NAME] sections."},
    {"data", "What is learned from: files, their format, which columns, what is held back."},
    {"augment", "Random changes to training images, the same on any number of ranks."},
    {"batch", "How many samples a step takes, over all ranks."},
    {"loss", "What is minimised."},
    {"optimizer", "How the weights follow their gradients."},
    {"schedule", "How the learning rate changes during the run."},
    {"device", "What computes: the cores of the machine, or its cards."},
    {"parallel", "How the work is shared by the ranks. Leave it alone unless you measure."},
    {"checkpoint", "When the state is saved, and how many are kept."},
    {"eval", "When the model is tried on data that it does not learn from."},
    {"log", "What is printed and recorded."},
};
const int dpt_conf__nsections = sizeof dpt_conf__sections / sizeof dpt_conf__sections[0];

static const struct dpt_conf_word precisions[] = {
    [DPT_PRECISION_FP32] = {"fp32", "single precision"},
    [DPT_PRECISION_TF32] = {"tf32", "single precision; cards may round factors of products to 11 bits"},
    [DPT_PRECISION_BF16] = {"bf16", "activations and products in bfloat16, all else in single precision"},
    [DPT_PRECISION_FP16] = {"fp16", "the same in IEEE half, which is more exact and has less range: the loss is scaled"},
    [DPT_PRECISION_FP64] = {"fp64", "double precision; slow, for checks"},
    [DPT_PRECISION_FP64 + 1] = {0},
};
static const struct dpt_conf_word models[] = {
    {"mlp", "fully connected layers of the given widths"},
    {"cnn", "a small convolutional net: conv and max pooling for each of channels, then two linear layers"},
    {"resnet", "a residual net: depth 20, 32, 44, 56 for small images, 18, 34, 50, 101, 152 for large ones"},
    {"gpt", "a language model as GPT-2: learned positions, layer norm, GELU"},
    {"llama", "a language model as Llama: rotary positions, RMS norm, SwiGLU, grouped queries"},
    {"layers", "a net of your own: one [layer.NAME] section for each layer"},
    {0},
};
static const struct dpt_conf_word sizes[] = {
    {"auto", "gpt2 for gpt, llama-tiny for llama"},
    {"gpt2", "12 blocks of width 768, 12 heads: 124 million parameters with its vocabulary"},
    {"gpt2-medium", "24 blocks of width 1024, 16 heads: 355 million"},
    {"gpt2-large", "36 blocks of width 1280, 20 heads: 774 million"},
    {"gpt2-xl", "48 blocks of width 1600, 25 heads: 1.6 thousand million"},
    {"gpt3-small", "12 blocks of width 768, 12 heads, context 2048"},
    {"gpt3-medium", "24 blocks of width 1024, 16 heads"},
    {"gpt3-large", "24 blocks of width 1536, 16 heads"},
    {"gpt3-xl", "24 blocks of width 2048, 16 heads"},
    {"gpt3-2.7b", "32 blocks of width 2560, 32 heads"},
    {"gpt3-6.7b", "32 blocks of width 4096, 32 heads"},
    {"gpt3-13b", "40 blocks of width 5120, 40 heads"},
    {"gpt3-175b", "96 blocks of width 12288, 96 heads"},
    {"llama-tiny", "6 blocks of width 288, 6 heads, 2 of keys and values"},
    {"tinyllama-1.1b", "22 blocks of width 2048, 32 heads, 4 of keys and values"},
    {"llama-7b", "32 blocks of width 4096, 32 heads"},
    {"llama-13b", "40 blocks of width 5120, 40 heads"},
    {"llama-30b", "60 blocks of width 6656, 52 heads"},
    {"llama-65b", "80 blocks of width 8192, 64 heads"},
    {"llama2-7b", "as llama-7b, context 4096"},
    {"llama2-13b", "as llama-13b, context 4096"},
    {"llama2-70b", "80 blocks of width 8192, 64 heads, 8 of keys and values"},
    {"llama3-8b", "32 blocks of width 4096, 32 heads, 8 of keys and values, context 8192"},
    {"llama3-70b", "80 blocks of width 8192, 64 heads, 8 of keys and values, context 8192"},
    {0},
};
static const struct dpt_conf_word activations[] = {
    {"relu", "max(x, 0)"},
    {"gelu", "x times the normal distribution function at x"},
    {"silu", "x times sigmoid(x)"},
    {"sigmoid", "1 / (1 + exp(-x))"},
    {"tanh", "hyperbolic tangent"},
    {0},
};
static const struct dpt_conf_word reduces[] = {
    {"auto", "tree where run.reproducible = yes, else fast"},
    {"fast", "in the order that is fastest, which differs with the number of ranks"},
    {"tree", "two by two in a fixed tree: the same bits on 1, 2, 4 ... ranks"},
    {"fixed", "as whole digits, which add up exactly: the same bits on any number of ranks"},
    {0},
};
static const struct dpt_conf_word updates[] = {
    {"sync", "every step with the gradient of the whole batch: the same curve on any number of ranks"},
    {"local-sgd", "each rank steps by itself on its share; every so often all take the mean of their parameters"},
    {"post-local-sgd", "sync at first, then local-sgd"},
    {"diloco", "as local-sgd, but an outer optimizer (Nesterov) moves the parameters towards the mean"},
    {"async-owner", "no rank waits: each owns a part of the parameters and updates it with the gradients that come"},
    {"async-pushsum", "no rank waits: each steps by itself and gives half of its weight away, so that the mean is kept"},
    {"async-average", "no rank waits: each steps by itself, and takes the mean with what is in its mailbox"},
    {0},
};
static const struct dpt_conf_word mailbox_ways[] = {
    {"auto", "in the memory of the host where all ranks are on one, else by one-sided MPI, else in messages"},
    {"shm", "in the memory of the host"},
    {"rma", "by one-sided MPI"},
    {"p2p", "in messages of MPI"},
    {0},
};
static const struct dpt_conf_word devices[] = {
    {"auto", "a card of the host where there is one and the job can run on it, else the cores"},
    {"cpu", "the cores"},
    {"cuda", "a card, or the job does not start"},
    {0},
};
static const struct dpt_conf_word betweens[] = {
    {"auto", "the first of these that can"},
    {"nccl", "among the cards, by NCCL: each rank has a card to itself"},
    {"mpi", "by an MPI library that takes memory of cards"},
    {"host", "through memory of the host"},
    {0},
};
static const struct dpt_conf_word convolutions[] = {
    {"auto", "cuDNN where it is found, for what it does; else the kernels of dpt"},
    {"own", "the kernels of dpt"},
    {"cudnn", "cuDNN, or the job does not start"},
    {0},
};
static const struct dpt_conf_word routes[] = {
    {"auto", "through the memory of each host where it has several ranks, by MPI between hosts"},
    {"shared", "through memory; all ranks must be on one host"},
    {"hierarchical", "through memory within a host, by MPI between hosts, of which there must be several"},
    {"flat", "by MPI among all ranks"},
    {0},
};
static const struct dpt_conf_word norm_modes[] = {
    {"sync", "over the whole batch: the same on any number of ranks"},
    {"local", "over the samples of one rank: no communication, but the result depends on the number of ranks"},
    {0},
};
static const struct dpt_conf_word shards[] = {
    {"none", "nothing"},
    {"optimizer", "the state of the optimizer: each rank updates its part (ZeRO 1)"},
    {"gradients", "that and the gradients, summed after each micro-batch (ZeRO 2)"},
    {"parameters", "that and the parameters, collected for each pass over a layer (ZeRO 3)"},
    {0},
};
static const struct dpt_conf_word recomputes[] = {
    {"none", "nothing"},
    {"blocks", "within blocks, such as a layer of a transformer; what lies between blocks is kept"},
    {"full", "within groups of blocks: the least memory"},
    {0},
};
static const struct dpt_conf_word ties[] = {
    {"sum", "one parameter: their gradients are added, and the copies stay equal"},
    {"average", "each follows its own gradient, then they are averaged"},
    {0},
};
static const struct dpt_conf_word vocabularies[] = {
    {"whole", "every rank has all tokens, and some of the positions"},
    {"split", "every rank has some of the tokens: less memory, a third more arithmetic in the output layer"},
    {0},
};
static const struct dpt_conf_word formats[] = {
    {"idx", "images and labels as in MNIST, plain or gzipped"},
    {"csv", "a table as text: comma, tab, semicolon or space between columns"},
    {"tokens", "shards of tokens as dpt-data makes them of text; those of llm.c and nanoGPT too"},
    {"synthetic", "made up on the fly, for benchmarks and trials"},
    {0},
};
static const struct dpt_conf_word documents[] = {
    {"joined", "a sample goes on where a document ends, into the next"},
    {"apart", "a sample lies in one document; documents that are shorter are left out"},
    {0},
};
static const struct dpt_conf_word tasks[] = {
    {"auto", "what the loss asks for, else the data: labels and words mean classes, other targets numbers"},
    {"classification", "the target is one of several classes"},
    {"regression", "the targets are numbers"},
    {0},
};
static const struct dpt_conf_word delimiters[] = {
    {"auto", "found from the first lines"}, {"comma", ","}, {"tab", "a tab"}, {"semicolon", "the sign ;"},
    {"space", "spaces or tabs, any number"}, {0},
};
static const struct dpt_conf_word losses[] = {
    {"auto", "cross_entropy for classes, mse for numbers"},
    {"cross_entropy", "softmax and negative log likelihood"},
    {"mse", "mean squared error"},
    {0},
};
static const struct dpt_conf_word optimizers[] = {
    {"sgd", "stochastic gradient descent with momentum"},
    {"adam", "Adam; weight decay is added to the gradient"},
    {"adamw", "Adam with decoupled weight decay"},
    {0},
};
static const struct dpt_conf_word schedules[] = {
    {"constant", "the same rate all the time"},
    {"step", "times gamma at each of milestones"},
    {"cosine", "down to final along half a cosine"},
    {"linear", "down to final along a straight line"},
    {"one_cycle", "up to lr at peak_at of the run, then down to final"},
    {0},
};
static const struct dpt_conf_word progresses[] = {
    {"lines", "one line at a time, good for files"},
    {"bar", "a bar that is drawn anew; for a terminal"},
    {"none", "nothing between start and end"},
    {0},
};

#define BIT(value) (1u << (value))
static const struct dpt_conf_when mlp = {"model", "type", BIT(DPT_MODEL_TYPE_MLP)};
static const struct dpt_conf_when cnn = {"model", "type", BIT(DPT_MODEL_TYPE_CNN)};
static const struct dpt_conf_when dropping = {
    "model", "type", BIT(DPT_MODEL_TYPE_MLP) | BIT(DPT_MODEL_TYPE_CNN) | BIT(DPT_MODEL_TYPE_GPT)};
static const struct dpt_conf_when gpt = {"model", "type", BIT(DPT_MODEL_TYPE_GPT)};
static const struct dpt_conf_when llama = {"model", "type", BIT(DPT_MODEL_TYPE_LLAMA)};
static const struct dpt_conf_when language = {"model", "type", BIT(DPT_MODEL_TYPE_GPT) | BIT(DPT_MODEL_TYPE_LLAMA)};
static const struct dpt_conf_when deep = {
    "model", "type", BIT(DPT_MODEL_TYPE_RESNET) | BIT(DPT_MODEL_TYPE_GPT) | BIT(DPT_MODEL_TYPE_LLAMA)};
static const struct dpt_conf_when normed = {"model", "type",
                                            BIT(DPT_MODEL_TYPE_RESNET) | BIT(DPT_MODEL_TYPE_LAYERS)};
static const struct dpt_conf_when idx = {"data", "format", BIT(DPT_DATA_FORMAT_IDX)};
static const struct dpt_conf_when csv = {"data", "format", BIT(DPT_DATA_FORMAT_CSV)};
static const struct dpt_conf_when tokens = {"data", "format", BIT(DPT_DATA_FORMAT_TOKENS)};
static const struct dpt_conf_when files = {
    "data", "format", BIT(DPT_DATA_FORMAT_IDX) | BIT(DPT_DATA_FORMAT_CSV) | BIT(DPT_DATA_FORMAT_TOKENS)};
static const struct dpt_conf_when images = {"data", "format",
                                            BIT(DPT_DATA_FORMAT_IDX) | BIT(DPT_DATA_FORMAT_SYNTHETIC)};
static const struct dpt_conf_when synthetic = {"data", "format", BIT(DPT_DATA_FORMAT_SYNTHETIC)};
static const struct dpt_conf_when classes = {"loss", "type",
                                             BIT(DPT_LOSS_TYPE_AUTO) | BIT(DPT_LOSS_TYPE_CROSS_ENTROPY)};
static const struct dpt_conf_when sgd = {"optimizer", "type", BIT(DPT_OPTIMIZER_TYPE_SGD)};
static const struct dpt_conf_when adam = {"optimizer", "type",
                                          BIT(DPT_OPTIMIZER_TYPE_ADAM) | BIT(DPT_OPTIMIZER_TYPE_ADAMW)};
static const struct dpt_conf_when step = {"schedule", "type", BIT(DPT_SCHEDULE_TYPE_STEP)};
static const struct dpt_conf_when falling = {
    "schedule", "type",
    BIT(DPT_SCHEDULE_TYPE_COSINE) | BIT(DPT_SCHEDULE_TYPE_LINEAR) | BIT(DPT_SCHEDULE_TYPE_ONE_CYCLE)};
static const struct dpt_conf_when one_cycle = {"schedule", "type", BIT(DPT_SCHEDULE_TYPE_ONE_CYCLE)};
static const struct dpt_conf_when together = {"parallel", "update", BIT(DPT_UPDATE_SYNC)};
static const struct dpt_conf_when local = {
    "parallel", "update",
    BIT(DPT_UPDATE_LOCAL_SGD) | BIT(DPT_UPDATE_POST_LOCAL_SGD) | BIT(DPT_UPDATE_DILOCO) |
        BIT(DPT_UPDATE_ASYNC_AVERAGE)};
static const struct dpt_conf_when async = {
    "parallel", "update",
    BIT(DPT_UPDATE_ASYNC_OWNER) | BIT(DPT_UPDATE_ASYNC_PUSHSUM) | BIT(DPT_UPDATE_ASYNC_AVERAGE)};
static const struct dpt_conf_when owner = {"parallel", "update", BIT(DPT_UPDATE_ASYNC_OWNER)};
static const struct dpt_conf_when meeting = {
    "parallel", "update", BIT(DPT_UPDATE_LOCAL_SGD) | BIT(DPT_UPDATE_POST_LOCAL_SGD) | BIT(DPT_UPDATE_DILOCO)};
static const struct dpt_conf_when post_local = {"parallel", "update", BIT(DPT_UPDATE_POST_LOCAL_SGD)};
static const struct dpt_conf_when diloco = {"parallel", "update", BIT(DPT_UPDATE_DILOCO)};
static const struct dpt_conf_when reproducible = {"run", "reproducible", BIT(true)};

#define STEPS BIT(DPT_SPAN_UNIT_STEPS)
#define EPOCHS BIT(DPT_SPAN_UNIT_EPOCHS)
#define TIME BIT(DPT_SPAN_UNIT_SECONDS)

/* The type behind DPT_CONF_TYPE_, then the field of struct dpt_job. */
#define KEY(section_, name_, type_, field) \
    .section = section_, .name = name_, .type = DPT_CONF_TYPE_##type_, .offset = offsetof(struct dpt_job, field)

const struct dpt_conf_key dpt_conf__keys[] = {
    {KEY("run", "name", TEXT, run.name), .fallback = "${JOB}", .aka = "title job run_name",
     .text = "Name of the run. ${JOB} is the name of the first job file without folder and ending."},
    {KEY("run", "output", TEXT, run.output), .fallback = "runs/${name}", .aka = "out dir output_dir outdir save_dir",
     .text = "Run directory: config.ini, dpt.log, metrics.jsonl and checkpoints are written here. Relative to "
             "the working directory."},
    {KEY("run", "length", SPAN, run.length), .fallback = "10 epochs", .units = STEPS | EPOCHS,
     .aka = "epochs steps max_steps max_epochs num_epochs n_epochs duration",
     .text = "How long to train, counted from the start of the run, also after a resume."},
    {KEY("run", "seed", INT, run.seed), .fallback = "1", .max = 0x1p53, .fixed = true, .aka = "random_seed",
     .text = "Seed of everything random: initial weights, order of samples, augmentation, dropout."},
    {KEY("run", "reproducible", BOOL, run.reproducible), .fallback = "no", .fixed = true,
     .aka = "deterministic determinism bitwise",
     .text = "Give the same bits on 1, 2, 4, 8 or more ranks, up to parallel.shards of them; parallel.reduce says how, and "
             "turns this on where it is tree or fixed. Costs some speed."},
    {KEY("run", "precision", ENUM, run.precision), .fallback = "fp32", .words = precisions, .fixed = true,
     .aka = "dtype amp float",
     .text = "Number format of weights, activations and gradients."},
    {KEY("run", "threads", INT, run.threads), .fallback = "auto", .max = 4096, .zero = "auto",
     .aka = "num_threads omp_num_threads workers",
     .text = "Compute threads of a rank. auto: the cores that it may use. One in a reproducible run."},
    {KEY("run", "max_time", TIME, run.max_time_s), .fallback = "none", .zero = "none",
     .aka = "walltime wall_time time_limit time maxh",
     .text = "Stop with a checkpoint before this much time is over, counted from the start of the program. "
             "The same command goes on from there. --max-time sets it."},
    {KEY("run", "deadline", TIME, run.deadline_s), .fallback = "60 s", .zero = "none", .aka = "timeout step_timeout",
     .text = "How long ranks wait for one that makes no progress. Then the job ends with an error that names it."},

    {KEY("model", "type", ENUM, model.type), .fallback = "mlp", .words = models, .fixed = true,
     .aka = "name arch architecture preset net network",
     .text = "Which network."},
    {KEY("model", "widths", INTS, model.widths), .fallback = "256", .min = 1, .max = 1 << 24, .when = &mlp,
     .fixed = true, .aka = "layers hidden_layers hidden_sizes units sizes",
     .text = "Widths of the hidden layers. The first and last layer follow from the data. Empty: no hidden "
             "layer."},
    {KEY("model", "activation", WORD, model.activation), .fallback = "relu", .words = activations, .when = &mlp,
     .fixed = true, .aka = "nonlinearity act",
     .text = "What follows each hidden layer."},
    {KEY("model", "dropout", REAL, model.dropout), .fallback = "0", .max = 1, .ends = DPT_CONF_BELOW_MAX,
     .when = &dropping, .fixed = true, .aka = "dropout_rate drop p",
     .text = "Share of hidden values set to 0 at random in training."},
    {KEY("model", "channels", INTS, model.channels), .fallback = "32 64", .min = 1, .max = 1 << 20, .when = &cnn,
     .fixed = true, .aka = "filters features",
     .text = "Filters of each convolution; each is followed by 2 x 2 max pooling."},
    {KEY("model", "kernel", INT, model.kernel), .fallback = "5", .min = 1, .max = 255, .when = &cnn, .fixed = true,
     .aka = "kernel_size filter_size",
     .text = "Height and width of the filters; an odd number."},
    {KEY("model", "hidden", INT, model.hidden), .fallback = "256", .min = 1, .max = 1 << 24, .when = &cnn,
     .fixed = true, .aka = "hidden_size fc",
     .text = "Width of the layer before the last."},
    {KEY("model", "depth", INT, model.depth), .fallback = "auto", .max = 1024, .zero = "auto", .when = &deep,
     .fixed = true, .aka = "num_layers layers n_layer n_layers num_hidden_layers blocks",
     .text = "resnet: number of layers with weights: 20, 32, 44 or 56 for small images such as 28 x 28, 18, 34, 50, 101 "
             "or 152 for large ones such as 224 x 224; auto: 20. gpt, llama: number of blocks; auto: that of size."},
    {KEY("model", "batch_norm", ENUM, model.batch_norm), .fallback = "sync", .words = norm_modes, .when = &normed,
     .fixed = true, .aka = "sync_bn syncbn norm",
     .text = "Which samples the statistics of batch normalisation are over."},
    {KEY("model", "size", WORD, model.size), .fallback = "auto", .words = sizes, .when = &language, .fixed = true,
     .aka = "name variant shape preset config",
     .text = "A known shape. width, depth, heads and the like change single numbers of it. The vocabulary is that of the "
             "data, whatever the shape."},
    {KEY("model", "width", INT, model.width), .fallback = "auto", .max = 1 << 20, .zero = "auto", .when = &language,
     .fixed = true, .aka = "n_embd d_model dim hidden_size embed_dim embedding",
     .text = "How many numbers stand for a token between the blocks. auto: that of size."},
    {KEY("model", "heads", INT, model.heads), .fallback = "auto", .max = 1 << 16, .zero = "auto", .when = &language,
     .fixed = true, .aka = "n_head n_heads num_heads num_attention_heads",
     .text = "Heads of attention; they divide the width. auto: those of size."},
    {KEY("model", "kv_heads", INT, model.kv_heads), .fallback = "auto", .max = 1 << 16, .zero = "auto",
     .when = &llama, .fixed = true, .aka = "n_kv_heads num_key_value_heads gqa kv_groups",
     .text = "Heads of keys and values, each shared by a group of the others. auto: those of size; as many as heads where "
             "heads is given."},
    {KEY("model", "ffn", INT, model.ffn), .fallback = "auto", .max = 1 << 24, .zero = "auto", .when = &language,
     .fixed = true, .aka = "intermediate_size n_inner d_ff hidden_dim mlp_width ffn_dim",
     .text = "Width of the layer within a block. auto: that of size; where width is given, 4 times that for gpt, 8/3 of "
             "it to the next 64 for llama."},
    {KEY("model", "context", INT, model.context), .fallback = "auto", .max = 1 << 24, .zero = "auto",
     .when = &language, .fixed = true, .aka = "block_size n_positions n_ctx max_position_embeddings seq_len",
     .text = "The most tokens that the model can look at. auto: those of a sample of the data."},
    {KEY("model", "bias", BOOL, model.bias), .fallback = "yes", .when = &gpt, .fixed = true, .aka = "use_bias",
     .text = "Whether linear layers and normalisations have a bias."},
    {KEY("model", "tied", AUTO, model.tied), .fallback = "auto", .when = &language, .fixed = true,
     .aka = "tie_word_embeddings weight_tying tie_weights",
     .text = "Whether the output layer is the embedding. auto: yes for gpt and llama-tiny, else no."},
    {KEY("model", "rope_theta", REAL, model.rope_theta), .fallback = "auto", .max = 1e12, .zero = "auto",
     .when = &llama, .fixed = true, .aka = "rope_base theta rotary_base",
     .text = "Base of the wavelengths of rotary positions. auto: that of size, mostly 10000."},
    {KEY("model", "norm_eps", REAL, model.norm_eps), .fallback = "auto", .max = 1, .ends = DPT_CONF_BELOW_MAX,
     .zero = "auto", .when = &language, .fixed = true, .aka = "rms_norm_eps layer_norm_epsilon layer_norm_eps epsilon",
     .text = "Added to the variance in normalisations. auto: 1e-5; 1e-6 for llama-7b to llama-65b."},
    {KEY("model", "weights", PATH, model.weights), .fallback = "", .aka = "init init_from pretrained checkpoint finetune load",
     .text = "Begin with the weights of this checkpoint or run directory, which has the same model, instead of random ones. "
             "dpt-convert makes one of a Hugging Face folder. Not read when the run goes on from a checkpoint of its own."},

    {KEY("data", "format", ENUM, data.format), .fallback = "idx", .words = formats, .fixed = true,
     .aka = "type kind dataset",
     .text = "What kind of files the data is in."},
    {KEY("data", "train", PATH, data.train), .fallback = "", .when = &files, .fixed = true,
     .aka = "path file data root train_data train_file train_images",
     .text = "Training data. idx: the file of images, or what stands before -images-idx3-ubyte, as in "
             "/usr/share/datasets/fashion-mnist/train, or the folder. csv: the file. tokens: the file, or what the "
             "names of the shards begin with, as in data/books/train. On a resume it may have moved to another "
             "folder."},
    {KEY("data", "valid", PATH, data.valid), .fallback = "", .when = &files,
     .aka = "val validation dev val_data valid_file",
     .text = "Validation data, tried during the run. Empty: none, or see valid_share."},
    {KEY("data", "test", PATH, data.test), .fallback = "", .when = &files, .aka = "test_data test_file",
     .text = "Test data, tried once after the run."},
    {KEY("data", "train_labels", PATH, data.train_labels), .fallback = "", .when = &idx, .fixed = true,
     .aka = "labels",
     .text = "Labels of the training images. Empty: the file beside the images that has \"labels\" for "
             "\"images\"."},
    {KEY("data", "valid_labels", PATH, data.valid_labels), .fallback = "", .when = &idx,
     .text = "Labels of the validation images. Empty: found beside the images."},
    {KEY("data", "test_labels", PATH, data.test_labels), .fallback = "", .when = &idx,
     .text = "Labels of the test images. Empty: found beside the images."},
    {KEY("data", "valid_share", REAL, data.valid_share), .fallback = "0", .max = 1, .ends = DPT_CONF_BELOW_MAX,
     .fixed = true, .aka = "val_share val_split validation_split valid_split split",
     .text = "Share of the training data that is held back for validation, chosen by the seed; of tokens the last "
             "ones. Only without valid."},
    {KEY("data", "task", ENUM, data.task), .fallback = "auto", .words = tasks, .fixed = true, .aka = "problem mode",
     .text = "What is predicted."},
    {KEY("data", "mean", REALS, data.mean), .fallback = "", .min = -1e6, .max = 1e6, .when = &idx, .fixed = true,
     .aka = "pixel_mean",
     .text = "Subtracted from each pixel / 255: one number, or one for each channel."},
    {KEY("data", "std", REALS, data.std), .fallback = "", .min = 0, .max = 1e6, .ends = DPT_CONF_ABOVE_MIN,
     .when = &idx, .fixed = true, .aka = "deviation pixel_std stddev",
     .text = "Divides each pixel after mean was subtracted."},
    {KEY("data", "delimiter", WORD, data.delimiter), .fallback = "auto", .words = delimiters, .when = &csv,
     .fixed = true, .aka = "sep separator",
     .text = "What stands between two columns."},
    {KEY("data", "header", BOOL, data.header), .fallback = "yes", .when = &csv, .fixed = true,
     .aka = "names has_header",
     .text = "Whether the first line names the columns."},
    {KEY("data", "target", NAMES, data.target), .fallback = "", .when = &csv, .fixed = true,
     .aka = "targets label labels y output column",
     .text = "Columns to predict, by name, or by number from 1."},
    {KEY("data", "categorical", NAMES, data.categorical), .fallback = "", .when = &csv, .fixed = true,
     .aka = "categories category factors",
     .text = "Columns that hold categories though they look like numbers. Columns with text are found by "
             "themselves."},
    {KEY("data", "ignore", NAMES, data.ignore), .fallback = "", .when = &csv, .fixed = true,
     .aka = "drop skip exclude",
     .text = "Columns left out, such as a row number."},
    {KEY("data", "missing", TEXT, data.missing), .fallback = "?", .when = &csv, .fixed = true,
     .aka = "na na_values nan null",
     .text = "Text that stands for a missing value, beside an empty field."},
    {KEY("data", "normalize", AUTO, data.normalize), .fallback = "auto", .when = &csv, .fixed = true,
     .aka = "normalise standardize scale",
     .text = "Bring numeric columns to mean 0 and deviation 1, as measured on the training data. auto: yes."},
    {KEY("data", "context", INT, data.context), .fallback = "256", .min = 1, .max = 1 << 20, .when = &tokens,
     .fixed = true, .aka = "block_size seq_len sequence_length max_seq_len n_ctx window length",
     .text = "Tokens of a sample: the model sees so many at once, and predicts what follows each."},
    {KEY("data", "vocab", INT, data.vocab), .fallback = "auto", .max = 1 << 24, .zero = "auto", .when = &tokens,
     .fixed = true, .aka = "vocab_size vocabulary",
     .text = "How many tokens there are. auto: as the files say; those of nanoGPT do not. More than they say leaves "
             "some unused."},
    {KEY("data", "documents", ENUM, data.documents), .fallback = "joined", .words = documents, .when = &tokens,
     .fixed = true, .aka = "boundaries packing document_boundaries",
     .text = "Whether a sample may go over the end of a document."},
    {KEY("data", "samples", INT, data.samples), .fallback = "60000", .min = 1, .max = 0x1p40, .when = &synthetic,
     .fixed = true, .aka = "size count n num_samples",
     .text = "How many samples."},
    {KEY("data", "shape", INTS, data.shape), .fallback = "28 28 1", .min = 1, .max = 1 << 20, .when = &synthetic,
     .fixed = true, .aka = "image_size features dims",
     .text = "Of a sample: one number of features, or height, width and channels."},
    {KEY("data", "classes", INT, data.classes), .fallback = "10", .max = 1 << 24, .zero = "none", .when = &synthetic,
     .fixed = true, .aka = "num_classes",
     .text = "How many classes. none: one number is to be predicted."},
    {KEY("data", "shuffle", BOOL, data.shuffle), .fallback = "yes", .fixed = true,
     .text = "Take the samples in a new random order each epoch."},
    {KEY("data", "prefetch", INT, data.prefetch), .fallback = "4", .max = 1024, .zero = "off",
     .aka = "read_ahead workers num_workers",
     .text = "Micro-batches that a thread of its own reads ahead."},

    {KEY("augment", "crop", INT, augment.crop), .fallback = "off", .max = 1 << 16, .zero = "off", .when = &images,
     .fixed = true, .aka = "shift pad padding random_crop",
     .text = "Shift each image by up to this many pixels in each direction; what comes in is 0."},
    {KEY("augment", "flip", BOOL, augment.flip), .fallback = "no", .when = &images, .fixed = true,
     .aka = "hflip mirror horizontal_flip",
     .text = "Mirror every second image or so, left to right."},

    {KEY("batch", "global", INT, batch.global), .fallback = "128", .min = 1, .max = 1 << 30, .fixed = true,
     .aka = "size batch_size batch batchsize bs",
     .text = "Samples of a step, over all ranks: the same job gives the same curve on any number of ranks."},
    {KEY("batch", "micro_batches", INT, batch.micro_batches), .fallback = "1", .min = 1, .max = 1 << 20,
     .aka = "accumulation accumulate grad_accum gradient_accumulation micro",
     .text = "Take the batch in so many pieces one after the other, and sum their gradients: less memory. "
             "Batch normalisation sees the samples of a piece."},

    {KEY("loss", "type", ENUM, loss.type), .fallback = "auto", .words = losses, .fixed = true,
     .aka = "name criterion function",
     .text = "What is minimised."},
    {KEY("loss", "label_smoothing", REAL, loss.label_smoothing), .fallback = "0", .max = 1,
     .ends = DPT_CONF_BELOW_MAX, .when = &classes, .fixed = true, .aka = "smoothing",
     .text = "Share of each label that is spread over all classes. For classes only."},

    {KEY("optimizer", "type", ENUM, optimizer.type), .fallback = "sgd", .words = optimizers, .fixed = true,
     .aka = "name method solver algorithm",
     .text = "The update rule."},
    {KEY("optimizer", "lr", REAL, optimizer.lr), .fallback = "auto", .ends = DPT_CONF_ABOVE_MIN, .max = 1e6,
     .zero = "auto", .aka = "learning_rate learningrate rate alpha step_size eta",
     .text = "Learning rate, before the schedule. auto: 0.1 for sgd, 0.001 for adam and adamw."},
    {KEY("optimizer", "momentum", REAL, optimizer.momentum), .fallback = "0.9", .max = 1, .ends = DPT_CONF_BELOW_MAX,
     .when = &sgd, .aka = "mu",
     .text = "Share of the last update that goes on."},
    {KEY("optimizer", "nesterov", BOOL, optimizer.nesterov), .fallback = "no", .when = &sgd,
     .text = "Nesterov's form of momentum."},
    {KEY("optimizer", "beta1", REAL, optimizer.beta1), .fallback = "0.9", .max = 1, .ends = DPT_CONF_BELOW_MAX,
     .when = &adam, .aka = "betas b1",
     .text = "Decay of the mean of gradients."},
    {KEY("optimizer", "beta2", REAL, optimizer.beta2), .fallback = "0.999", .max = 1, .ends = DPT_CONF_BELOW_MAX,
     .when = &adam, .aka = "b2",
     .text = "Decay of the mean of squared gradients."},
    {KEY("optimizer", "eps", REAL, optimizer.eps), .fallback = "1e-8", .max = 1, .ends = DPT_CONF_ABOVE_MIN,
     .when = &adam, .aka = "epsilon",
     .text = "Added to the divisor."},
    {KEY("optimizer", "weight_decay", REAL, optimizer.weight_decay), .fallback = "0", .max = 1e6,
     .aka = "wd decay l2 regularization",
     .text = "How strongly weights are drawn to 0. Not applied to biases and to normalisations unless "
             "decay_all."},
    {KEY("optimizer", "decay_all", BOOL, optimizer.decay_all), .fallback = "no",
     .text = "Let weight_decay act on biases and normalisations too."},
    {KEY("optimizer", "clip", REAL, optimizer.clip), .fallback = "off", .max = 1e9, .zero = "off",
     .aka = "grad_clip clip_norm max_norm max_grad_norm gradient_clip clip_grad_norm",
     .text = "Scale gradients down where their norm over all weights exceeds this."},

    {KEY("schedule", "type", ENUM, schedule.type), .fallback = "constant", .words = schedules,
     .aka = "name policy lr_schedule lr_scheduler schedule",
     .text = "The form of the curve."},
    {KEY("schedule", "warmup", SPAN, schedule.warmup), .fallback = "none", .units = STEPS | EPOCHS, .zero = "none",
     .aka = "warmup_steps warmup_epochs warm_up",
     .text = "Let the rate rise on a straight line from nearly 0 at first."},
    {KEY("schedule", "milestones", SPANS, schedule.milestones), .fallback = "", .units = STEPS | EPOCHS,
     .when = &step, .aka = "steps step_size drops",
     .text = "When the rate drops."},
    {KEY("schedule", "gamma", REAL, schedule.gamma), .fallback = "0.1", .max = 1, .ends = DPT_CONF_ABOVE_MIN,
     .when = &step, .aka = "factor drop_factor",
     .text = "Factor of the rate at each milestone."},
    {KEY("schedule", "final", REAL, schedule.final), .fallback = "0", .max = 1, .when = &falling,
     .aka = "min_lr lr_min eta_min end final_lr",
     .text = "Rate at the end, as a share of optimizer.lr."},
    {KEY("schedule", "peak_at", REAL, schedule.peak_at), .fallback = "0.3", .max = 1,
     .ends = DPT_CONF_ABOVE_MIN | DPT_CONF_BELOW_MAX, .when = &one_cycle, .aka = "pct_start peak",
     .text = "Share of the run after which the rate is highest."},

    {KEY("device", "kind", ENUM, device.kind), .fallback = "auto", .words = devices, .aka = "gpu accelerator use_cuda",
     .text = "What computes. Rank r of a host takes card r modulo the cards that it sees (CUDA_VISIBLE_DEVICES)."},
    {KEY("device", "share", BOOL, device.share), .fallback = "no", .aka = "oversubscribe",
     .text = "Let several ranks of a host compute on one card. Otherwise ranks that would take the same one are refused."},
    {KEY("device", "exchange", ENUM, device.exchange), .fallback = "auto", .words = betweens, .aka = "nccl backend",
     .text = "How cards exchange gradients and parameters where ranks share the batch."},
    {KEY("device", "convolution", ENUM, device.convolution), .fallback = "auto", .words = convolutions, .aka = "cudnn conv",
     .text = "Who computes the convolutions of cards."},

    {KEY("parallel", "layout", TEXT, parallel.layout), .fallback = "auto", .aka = "mesh strategy mode tensor pipeline",
     .text = "How ranks are arranged: axes such as data:2 tensor:2 pipeline:2, neighbours along the last one. Along data "
             "ranks share each batch, along tensor each layer, along rows and columns each image, along pipeline the layers. "
             "auto: all along data."},
    {KEY("parallel", "schedule", TEXT, parallel.schedule), .fallback = "1f1b", .aka = "pipeline_schedule",
     .text = "Order of the micro-batches in a pipeline: none (one after the other), gpipe, 1f1b, interleaved:V (V stages a "
             "rank), zb-h1 (weight gradients fill the gaps)."},
    {KEY("parallel", "stages", NAMES, parallel.stages), .fallback = "auto", .zero = "auto", .aka = "cuts split_points",
     .text = "Layers with which the stages of a pipeline begin, but the first: such as layer2, layer4. auto: stages of "
             "equal cost, cut where one value is alive."},
    {KEY("parallel", "backward", INTS, parallel.backward), .fallback = "same", .max = 63, .zero = "same",
     .aka = "backward_stages",
     .text = "For each stage the one whose ranks compute its gradients, such as 1 0; needs schedule = none or gpipe. same: "
             "its own."},
    {KEY("parallel", "shard", ENUM, parallel.shard), .fallback = "none", .words = shards, .aka = "zero zero_stage fsdp",
     .text = "What the ranks along data share out among them instead of having copies (ZeRO)."},
    {KEY("parallel", "recompute", ENUM, parallel.recompute), .fallback = "none", .words = recomputes,
     .aka = "checkpointing activation_checkpointing gradient_checkpointing remat",
     .text = "Activations that are computed again in the backward pass instead of being kept."},
    {KEY("parallel", "shares", TEXT, parallel.shares), .fallback = "equal", .aka = "weights speeds",
     .text = "Shares of the batch of the ranks along data: equal, auto (by their measured speed), or numbers such as 3, 1."},
    {KEY("parallel", "tie", ENUM, parallel.tie), .fallback = "sum", .words = ties, .fixed = true,
     .text = "What is done with copies of a parameter that several stages of a pipeline use."},
    {KEY("parallel", "vocabulary", ENUM, parallel.vocabulary), .fallback = "whole", .words = vocabularies,
     .aka = "vocab_parallel vocab",
     .text = "Output layer of a language model, and the embedding that it is tied to, on the ranks along tensor."},
    {KEY("parallel", "reduce", ENUM, parallel.reduce), .fallback = "auto", .words = reduces, .fixed = true,
     .aka = "allreduce_order summation sum_order",
     .text = "How the gradients of parts of a batch are added up. tree and fixed make a run reproducible."},
    {KEY("parallel", "shards", INT, parallel.shards), .fallback = "8", .min = 1, .max = 4096,
     .when = &reproducible, .fixed = true, .aka = "virtual_shards",
     .text = "Parts of a batch whose gradients are summed as parallel.reduce says. tree: a power of two; 1, 2, 4 ... up "
             "to that many ranks can share them. fixed: at most 128; any number of ranks up to that can. Batch "
             "normalisation sees the samples of a part."},
    {KEY("parallel", "bucket", BYTES, parallel.bucket_bytes), .fallback = "auto", .max = 0x1p40, .zero = "auto",
     .aka = "bucket_size bucket_bytes bucket_cap_mb",
     .text = "Gradients that travel together, while backward goes on. auto: 8 MiB, or measured at the start where many "
             "go through messages."},
    {KEY("parallel", "comm_thread", AUTO, parallel.comm_thread), .fallback = "auto",
     .aka = "overlap communication_thread",
     .text = "Let a thread of its own communicate. auto: where a core is free for it."},
    {KEY("parallel", "exchange", ENUM, parallel.exchange), .fallback = "auto", .words = routes,
     .aka = "allreduce transport comm",
     .text = "How gradients get from rank to rank. Through memory there is one copy of the parameters and of the "
             "optimizer's state a host, of which each rank updates a part."},
    {KEY("parallel", "wire", TEXT, parallel.wire), .fallback = "fp32", .when = &together,
     .aka = "compress compression grad_dtype",
     .text = "How gradients travel in messages of MPI: fp32, bf16, int8, topk:1% (the largest numbers), powersgd:4 "
             "(matrices as two thin ones). Through the memory of a host they are read as they are."},
    {KEY("parallel", "update", ENUM, parallel.update), .fallback = "sync", .words = updates, .fixed = true,
     .aka = "method algorithm policy",
     .text = "When ranks learn from each other. All but sync give another training for each number of ranks."},
    {KEY("parallel", "every", SPAN, parallel.every), .fallback = "8 steps", .units = STEPS | EPOCHS, .when = &local,
     .aka = "h local_steps inner_steps period",
     .text = "Steps between two meetings of the ranks. Evaluations, checkpoints and stops wait for the next one. "
             "async-average: steps after which a rank puts its parameters into another's mailbox."},
    {KEY("parallel", "fragments", INT, parallel.fragments), .fallback = "1", .min = 1, .max = 64, .when = &meeting,
     .fixed = true, .aka = "streaming num_fragments",
     .text = "Parts of the parameters that are combined one after the other, each every so many steps, and travel while "
             "steps go on; every is a multiple of it. 1: all at once."},
    {KEY("parallel", "sync_until", SPAN, parallel.sync_until), .fallback = "auto", .units = STEPS | EPOCHS,
     .zero = "auto", .when = &post_local, .aka = "switch switch_step",
     .text = "How long every step is synchronous. auto: until schedule.milestones first lets the rate drop, or half "
             "of the run."},
    {KEY("parallel", "outer_lr", REAL, parallel.outer_lr), .fallback = "0.7", .max = 10, .ends = DPT_CONF_ABOVE_MIN,
     .when = &diloco, .aka = "outer_rate",
     .text = "Rate of the outer optimizer; 1 with outer_momentum = 0 is local-sgd."},
    {KEY("parallel", "outer_momentum", REAL, parallel.outer_momentum), .fallback = "0.5", .max = 1,
     .ends = DPT_CONF_BELOW_MAX, .when = &diloco,
     .text = "Momentum of the outer optimizer. 0.9 suits every = 50 steps and more."},
    {KEY("parallel", "max_staleness", INT, parallel.max_staleness), .fallback = "4", .min = -1, .max = 1 << 20,
     .when = &async, .aka = "staleness ssp staleness_bound max_delay",
     .text = "Steps that a rank may be ahead of the slowest one before it waits. 0: all go step by step; async-owner is "
             "then the synchronous training. -1: nobody waits for anybody."},
    {KEY("parallel", "delay_lr", BOOL, parallel.delay_lr), .fallback = "yes", .when = &owner, .aka = "delay_adaptive",
     .text = "Let a gradient count less when many updates came between its parameters and its use: 2 / delay above 2."},
    {KEY("parallel", "delay_compensation", REAL, parallel.delay_compensation), .fallback = "0", .max = 1000,
     .when = &owner, .aka = "dc_lambda dc_asgd lambda",
     .text = "Correct a late gradient, with this factor, for the way that the parameters went meanwhile (DC-ASGD). "
             "Messages are three times as long then. 0: no."},
    {KEY("parallel", "mailbox", ENUM, parallel.mailbox), .fallback = "auto", .words = mailbox_ways, .when = &async,
     .aka = "async_transport window one_sided",
     .text = "How ranks reach each other without waiting. A way is used only after it has passed a test at the start."},

    {KEY("checkpoint", "every", SPAN, checkpoint.every), .fallback = "1 epoch", .units = STEPS | EPOCHS | TIME,
     .zero = "never", .aka = "interval save_every frequency save_steps",
     .text = "How often to save. The end of the run is always saved. never: only the end."},
    {KEY("checkpoint", "keep", INT, checkpoint.keep), .fallback = "3", .min = 1, .max = 1 << 20,
     .aka = "keep_last max_to_keep num save_total_limit",
     .text = "How many of the newest stay, beside the best."},
    {KEY("checkpoint", "best", BOOL, checkpoint.best), .fallback = "yes", .aka = "keep_best save_best",
     .text = "Keep the one that did best on the validation data too, unless every = never."},

    {KEY("eval", "every", SPAN, eval.every), .fallback = "1 epoch", .units = STEPS | EPOCHS | TIME, .zero = "never",
     .aka = "interval eval_every frequency eval_steps",
     .text = "How often to try the model on the validation data. never: only after the run."},
    {KEY("eval", "batch", INT, eval.batch), .fallback = "auto", .max = 1 << 30, .zero = "auto",
     .aka = "batch_size size eval_batch",
     .text = "Samples of one pass, over all ranks. auto: those of a micro-batch."},

    {KEY("log", "every", SPAN, log.every), .fallback = "10 s", .units = STEPS | EPOCHS | TIME, .zero = "never",
     .aka = "interval log_every frequency logging_steps",
     .text = "How often to print a line."},
    {KEY("log", "tensorboard", BOOL, log.tensorboard), .fallback = "no", .aka = "tb events",
     .text = "Write a TensorBoard event file into the run directory too."},
    {KEY("log", "progress", ENUM, log.progress), .fallback = "lines", .words = progresses, .aka = "bar progress_bar",
     .text = "How progress is shown."},
};
const int dpt_conf__nkeys = sizeof dpt_conf__keys / sizeof dpt_conf__keys[0];

const char *dpt_precision_name(enum dpt_precision precision)
{
    return precisions[precision].name;
}

const struct dpt_conf_key *dpt_conf__find(const char *section, const char *name)
{
    for (int i = 0; i < dpt_conf__nkeys; i++) {
        if (strcmp(dpt_conf__keys[i].name, name) == 0 && strcmp(dpt_conf__keys[i].section, section) == 0) {
            return &dpt_conf__keys[i];
        }
    }
    return NULL;
}

bool dpt_conf__is_section(const char *name)
{
    for (int i = 0; i < dpt_conf__nsections; i++) {
        if (strcmp(dpt_conf__sections[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

bool dpt_conf__in_list(const char *word, const char *list)
{
    const size_t n = strlen(word);
    for (const char *at = list; n && (at = strstr(at, word)); at += n) {
        if ((at == list || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0')) {
            return true;
        }
    }
    return false;
}

void *dpt_conf__field(const struct dpt_conf_key *key, struct dpt_job *job)
{
    return (char *)job + key->offset;
}

const void *dpt_conf__field_const(const struct dpt_conf_key *key, const struct dpt_job *job)
{
    return (const char *)job + key->offset;
}

bool dpt_conf__applies(const struct dpt_conf_key *key, const struct dpt_job *job)
{
    if (!key->when) {
        return true;
    }
    const struct dpt_conf_key *on = dpt_conf__find(key->when->section, key->when->name);
    const void *field = dpt_conf__field_const(on, job);
    const unsigned value = on->type == DPT_CONF_TYPE_BOOL ? *(const bool *)field : *(const unsigned *)field;
    return key->when->mask >> value & 1;
}
