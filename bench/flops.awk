# SPDX-License-Identifier: Apache-2.0
# Multiply-adds of the cases of bench/compare, counted as 2 flops, for a batch of `batch`: one line a case with the name
# and the flops of forward, input gradients and weight gradients. The first layer of a net needs no input gradient.
# Convolutions and matrix products only: biases, norms and activations are work of memory, not of arithmetic.
function layer(flops)
{
    forward += flops
    weight += flops
    if (layers++)
        input += flops
}
function conv(size, kernel, cin, cout) { layer(2 * size * size * kernel * kernel * cin * cout) }
function linear(cin, cout) { layer(2 * cin * cout) }
function done(name)
{
    printf "%s %.6g %.6g %.6g\n", name, batch * forward, batch * input, batch * weight
    forward = input = weight = layers = 0
}
# A stage of three blocks of two 3x3 convolutions; `shrink` when its first one halves the image.
function stage(size, cin, cout, shrink,    i)
{
    conv(size, 3, cin, cout)
    for (i = 0; i < 5; i++)
        conv(size, 3, cout, cout)
    if (shrink)
        conv(size, 1, cin, cout)
}
# A block of a language model over t positions: products with weights, and attention, of which half is masked.
function block(t, width)
{
    linear(width * t, 3 * width)
    linear(width * t, width)
    linear(width * t, 8 * width)
    layer(2 * t * t * width)
    layers++
}
function gpt(name, depth, width, t, vocab,    i)
{
    layers = 1 # behind the embedding, whose gradient is wanted
    for (i = 0; i < depth; i++)
        block(t, width)
    linear(width * t, vocab)
    done(name)
}
# A stage of `blocks` bottlenecks, whose first one brings images of `before` to `size`.
function bottlenecks(blocks, before, size, cin, mid, cout,    i)
{
    for (i = 0; i < blocks; i++) {
        conv(i ? size : before, 1, i ? cout : cin, mid)
        conv(size, 3, mid, mid)
        conv(size, 1, mid, cout)
        if (!i)
            conv(size, 1, cin, cout)
    }
}
BEGIN {
    linear(784, 256)
    linear(256, 10)
    done("mlp")

    linear(784, 3616)
    linear(3616, 3616)
    linear(3616, 10)
    done("wide")

    conv(28, 5, 1, 32)
    conv(14, 5, 32, 64)
    linear(7 * 7 * 64, 256)
    linear(256, 10)
    done("cnn")

    conv(28, 3, 1, 16)
    stage(28, 16, 16, 0)
    stage(14, 16, 32, 1)
    stage(7, 32, 64, 1)
    linear(64, 10)
    done("resnet20")

    conv(112, 7, 3, 64)
    bottlenecks(3, 56, 56, 64, 64, 256)
    bottlenecks(4, 56, 28, 256, 128, 512)
    bottlenecks(6, 28, 14, 512, 256, 1024)
    bottlenecks(3, 14, 7, 1024, 512, 2048)
    linear(2048, 1000)
    done("resnet50")

    gpt("gpt", 6, 384, 256, 256)
    gpt("gpt2", 12, 768, 1024, 50257)
}
