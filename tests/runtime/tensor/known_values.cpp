// What the reference computes, against values of PyTorch in float64 and of the papers' formulas worked by hand.
// Gradients need no values: finite differences tie them to these.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "runtime/tensor/device.hpp"

namespace troupe::tests {

namespace {

tensor of(shape extents, std::vector<double> values) {
  const tensor made = make_host_tensor(dtype::float64, extents);
  REQUIRE(made.count() == std::ssize(values));
  std::ranges::copy(values, made.mutable_data<double>());
  return made;
}

tensor integers(std::vector<std::int32_t> values) {
  const tensor made = make_host_tensor(dtype::int32, {std::ssize(values)});
  std::ranges::copy(values, made.mutable_data<std::int32_t>());
  return made;
}

tensor fresh(shape extents) {
  return of(extents, std::vector<double>(static_cast<std::size_t>(extents.count()), std::nan("")));
}

void check(const tensor& actual, const std::vector<double>& expected) {
  REQUIRE(actual.count() == std::ssize(expected));
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    CHECK(actual.elements<double>()[i] == doctest::Approx(expected[i]).epsilon(1e-12));
  }
}

struct reference_fixture {
  std::unique_ptr<stream> s = reference_device().make_stream({});
};

}  // namespace

TEST_CASE_FIXTURE(reference_fixture, "activations have PyTorch's values") {
  const tensor x = of({6}, {-2, -0.5, 0, 0.3, 1, 4}), y = fresh({6});
  s->activation_forward(activation::relu, x, y);
  check(y, {0, 0, 0, 0.3, 1, 4});
  s->activation_forward(activation::gelu, x, y);
  check(y, {-0.0455002638963584, -0.154268769362993, 0, 0.185373426656686, 0.841344746068543, 3.99987331503267});
  s->activation_forward(activation::gelu_tanh, x, y);
  check(y, {-0.0454023059122249, -0.154285990174856, 0, 0.185370923542759, 0.841191990608277, 3.99992975405181});
  s->activation_forward(activation::silu, x, y);
  check(y, {-0.238405844044235, -0.188770334399073, 0, 0.172332755043498, 0.731058578630005, 3.92805516015163});
  const tensor gated = fresh({1, 2});
  s->swiglu_forward(of({1, 4}, {1, -2, 10, 5}), gated);
  check(gated, {7.31058578630005, -0.238405844044235 * 5});
}

TEST_CASE_FIXTURE(reference_fixture, "matrix products follow their definition") {
  const tensor a = of({2, 3}, {1, 2, 3, 4, 5, 6}), b = of({3, 2}, {1, 0, -1, 2, 0.5, 1}), c = fresh({2, 2});
  s->matmul(a, b, c);
  check(c, {0.5, 7, 2, 16});
  s->matmul(of({3, 2}, {1, 4, 2, 5, 3, 6}), of({2, 3}, {1, -1, 0.5, 0, 2, 1}), c,
            {.transpose_a = true, .transpose_b = true, .accumulate = true, .alpha = 10});
  check(c, {5.5, 77, 22, 176});
  s->linear_forward(a, of({2, 3}, {1, -1, 0.5, 0, 2, 1}), of({2}, {100, 200}), c);
  check(c, {100.5, 207, 102, 216});
}

TEST_CASE_FIXTURE(reference_fixture, "normalisations have PyTorch's values") {
  const tensor x = of({2, 4}, {1, 2, 4, -3, 0.5, 0.5, 2, 0}), y = fresh({2, 4}), mean = fresh({2}), rstd = fresh({2});
  const tensor weight = of({4}, {1, 2, -1, 0.5}), bias = of({4}, {0.1, 0.2, 0.3, 0.4});
  s->layer_norm_forward(x, {}, weight, bias, 1e-5, {}, y, mean, rstd);
  check(y, {0.1, 0.984463937119171, -0.876695905678756, -0.38446393711917, -0.233330370409876, -0.466660740819752,
            -1.36665185204938, -0.0999955556148139});
  check(mean, {1, 0.75});
  s->rms_norm_forward(x, {}, weight, 1e-5, {}, y, rstd);
  check(y, {0.365148128238106, 1.46059251295243, -1.46059251295243, -0.54772219235716, 0.471402425673796,
            0.942804851347591, -1.88560970269518, 0});
  const tensor half = of({2, 4}, {0.5, 1, 2, -1.5, 0.25, 0.25, 1, 0}), residual = fresh({2, 4}), same = fresh({2, 4});
  s->rms_norm_forward(half, half, weight, 1e-5, residual, same, rstd);
  check(residual, {1, 2, 4, -3, 0.5, 0.5, 2, 0});
  check(same, {y.elements<double>().begin(), y.elements<double>().end()});
}

TEST_CASE_FIXTURE(reference_fixture, "attention has PyTorch's values, cached or not") {
  const std::vector<double> rows{1, 0,  0.5, -1,  0.2,  0.3, 1, 2,  0, 1, -1, 2,
                                 1, -1, 3,   -1,  2,    -1, 0.3, 0.4, -0.5, 0.7, 0, 5};
  const std::vector<double> expected{1, 2, 1, 2,
                                     1.57022603252562, 1.14466095121157, 1.16571158606491, 1.75143262090264,
                                     2.68626489087099, -0.482994222396531, 1.24249141985697, 2.15603329282182};
  const attention_shape geometry{.batch = 1, .time = 3, .heads = 2, .kv_heads = 1, .head_size = 2};
  const tensor out = fresh({3, 4}), log_sum_exp = fresh({1, 2, 3});
  s->attention_forward(geometry, {}, of({3, 8}, rows), out, log_sum_exp);
  check(out, expected);
  check(log_sum_exp, {0.14142135623731, 0.547762847840868, 2.2737722919643, -0.141421356237309, 0.369333272057677,
                      1.15175704954269});

  const tensor keys = fresh({1, 5, 2}), values = fresh({1, 5, 2});
  attention_shape part = geometry;
  part.time = 2;
  s->attention_cached(part, 0, of({2, 8}, {rows.begin(), rows.begin() + 16}), keys, values, out.slice(0, {2, 4}));
  part.time = 1;
  s->attention_cached(part, 2, of({1, 8}, {rows.begin() + 16, rows.end()}), keys, values, out.slice(8, {1, 4}));
  check(out, expected);
}

TEST_CASE_FIXTURE(reference_fixture, "rotary embedding turns pairs as Llama does") {
  const attention_shape geometry{.batch = 1, .time = 1, .heads = 1, .kv_heads = 1, .head_size = 4};
  const tensor qkv = of({1, 12}, {1, 2, 3, 4, 4, 3, 2, 1, 9, 9, 9, 9});
  s->rotary(geometry, 10000, 3, false, qkv);
  check(qkv.slice(0, {4}), {-1.41335252078005, 1.87911806668799, -2.82885748174147, 4.05819113540094});
  check(qkv.slice(8, {4}), {9, 9, 9, 9});
  s->rotary(geometry, 10000, 3, true, qkv);
  check(qkv, {1, 2, 3, 4, 4, 3, 2, 1, 9, 9, 9, 9});
}

TEST_CASE_FIXTURE(reference_fixture, "embeddings look up tokens and positions") {
  const tensor table = of({3, 2}, {1, 2, 3, 4, 5, 6}), positions = of({4, 2}, {10, 10, 20, 20, 30, 30, 40, 40});
  const tensor y = fresh({4, 2});
  s->embedding_forward(integers({2, 0, 1, 1}), 2, 1, table, positions, y);
  check(y, {25, 26, 31, 32, 23, 24, 33, 34});
}

TEST_CASE_FIXTURE(reference_fixture, "cross-entropy has PyTorch's values, and nothing of masked targets") {
  const tensor hidden = of({3, 2}, {1, 2, -1, 0.5, 7, 7}), weight = of({3, 2}, {0.1, 0.2, 0.3, -0.4, -0.5, 0.6});
  const tensor losses = fresh({3}), dhidden = fresh({3, 2}), dweight = of({3, 2}, {0, 0, 0, 0, 0, 0});
  s->linear_cross_entropy(hidden, weight, integers({2, 0, -1}), losses, dhidden, dweight);
  check(losses, {0.751380694184988, 1.34340554161603, 0});
  check(dhidden.slice(4, {2}), {0, 0});
}

TEST_CASE_FIXTURE(reference_fixture, "optimizers step as PyTorch's do") {
  const std::vector<tensor> gradients{of({3}, {0.5, -1, 2}), of({3}, {-0.25, 3, 0.1}), of({3}, {1, 1, -1})};
  const tensor p = of({3}, {1, -2, 0.5}), m = of({3}, {0, 0, 0}), v = of({3}, {0, 0, 0});
  SUBCASE("adamw") {
    for (int i = 0; i < 3; ++i)
      s->adamw({.learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.2, .step = i + 1}, gradients[i],
               p, m, v, p, m, v);
    check(p, {0.753374174661021, -1.89037990398859, 0.28483760924504});
  }
  SUBCASE("sgd") {
    for (const tensor& g : gradients)
      s->sgd({.learning_rate = 0.1, .momentum = 0.9, .weight_decay = 0.2}, g, p, m, p, m);
    check(p, {0.704992, -2.179984, -0.000824000000000046});
  }
  SUBCASE("sgd with nesterov") {
    for (const tensor& g : gradients)
      s->sgd({.learning_rate = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 0.2}, g, p, m, p, m);
    check(p, {0.558684148, -2.346818296, -0.0612705560000001});
  }
  SUBCASE("lion") {
    for (const tensor& g : gradients)
      s->lion({.learning_rate = 0.1, .beta1 = 0.9, .beta2 = 0.99, .weight_decay = 0.2}, g, p, m, p, m);
    check(p, {0.843152, -1.984344, 0.376556});
  }
  SUBCASE("a scaled gradient is a smaller gradient") {
    s->sgd({.learning_rate = 1, .gradient_scale = 0.5}, gradients[0], p, {}, p, {});
    check(p, {0.75, -1.5, -0.5});
  }
}

TEST_CASE_FIXTURE(reference_fixture, "the gradient is clipped by its global norm") {
  const tensor nine = of({1}, {9}), sixteen = of({1}, {16}), out = fresh({2});
  const auto clipped = [&](std::vector<tensor> squares, double scale, double most, std::vector<double> expected) {
    s->clip_by_norm(squares, scale, most, out);
    check(out, expected);
  };
  clipped({nine, sixteen}, 1.0, 0.0, {1.0, 5.0});
  clipped({nine, sixteen}, 0.1, 1.0, {1.0, 0.5});
  clipped({nine, sixteen}, 1.0, 2.0, {2.0 / (5.0 + 1e-6), 5.0});
  clipped({of({2}, {9, 16})}, 1.0, 2.0, {2.0 / (5.0 + 1e-6), 5.0});
  clipped({}, 1.0, 1.0, {1.0, 0.0});
}

TEST_CASE_FIXTURE(reference_fixture, "delay compensation follows DC-ASGD") {
  const tensor g = of({2}, {2, -4}), now = of({2}, {1, 1}), then = of({2}, {0.5, 2}), out = fresh({2});
  s->compensate_delay({0.1, 0, 0.5}, g, now, then, {}, out);
  check(out, {1 + 0.1 * 0.5, -2 + 0.1 * 4 * -1});
  const tensor mean_square = of({2}, {3, 0});
  s->compensate_delay({0.1, 0.75, 0.5}, g, now, then, mean_square, out);
  check(mean_square, {2.5, 1});
  check(out, {1 + 0.1 * 0.5 / std::sqrt(2.5 + 1e-7), -2 - 0.4 / std::sqrt(1 + 1e-7)});
}

}  // namespace troupe::tests
