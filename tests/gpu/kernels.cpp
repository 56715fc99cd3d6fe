// Every kernel of the seam on the GPU, forward and backward: against float64, and twice with the same bits.

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "runtime/tensor/device_module.hpp"
#include "tests/runtime/tensor/kernel_run.hpp"

namespace troupe::tests {

namespace {

std::unique_ptr<stream> gpu_stream(precision_kind precision = precision_kind::float32) {
  return find_device("cuda").make_stream({.precision = precision});
}

constexpr double bfloat16_error = 1e-2;

/// The gradient of a bias, without the products that go with it.
kernel_case bias_gradient(dice& roll) {
  kernel_case k(roll);
  const auto rows = roll.long_extent(), columns = roll.extent();
  const slot x = k.constant({rows, columns}), weight = k.constant({columns, 1}), bias = k.parameter({columns});
  const slot y = k.output({rows, columns});
  k.forward = [=](stream& s, const tensors& t) { s.copy(t[x], t[y]); };
  k.backward = [=](stream& s, const tensors& t, const tensors& d) {
    s.linear_backward(d[y], {}, t[weight], {}, {}, d[bias]);
  };
  return k;
}

bool same_bytes(const std::vector<written>& a, const std::vector<written>& b) {
  return std::ranges::equal(a, b, {}, &written::bytes, &written::bytes);
}

}  // namespace

TEST_CASE("the GPU's kernels agree with the reference") {
  const auto fast = gpu_stream();
  for_each_case(scale::medium, 8, [&](const std::string&, const kernel_case& k) { check_agreement(k, *fast); });
}

TEST_CASE("the GPU's kernels agree with the reference in bfloat16, within what that can hold") {
  const auto fast = gpu_stream(precision_kind::bfloat16);
  CHECK(fast->compute_type() == dtype::bfloat16);
  for_each_case(scale::medium, 8,
                [&](const std::string&, const kernel_case& k) { check_agreement(k, *fast, bfloat16_error); },
                activation_kernels());
  dice roll(1, scale::medium);
  check_agreement(linear_cross_entropy(roll, 4201, 1, 4111), *fast, bfloat16_error);  // logits in several chunks
}

TEST_CASE("products in TF32 agree with the reference, and are not those of float32") {
  const auto fast = gpu_stream(precision_kind::tf32), exact = gpu_stream();
  for_each_case(scale::medium, 4,
                [&](const std::string&, const kernel_case& k) {
                  check_agreement(k, *fast, 2e-3);
                  CHECK_FALSE(same_bytes(run_forward(k, *fast), run_forward(k, *exact)));
                },
                matmul_kernels());
}

TEST_CASE("attention in bfloat16 multiplies on the matrix units where heads suit them, and elsewhere all the same") {
  const auto on = gpu_stream(precision_kind::bfloat16);
  for (const std::int64_t size : {36, 40, 64, 72, 128, 136})
    for (const double dropout : {0.0, 0.3}) {
      CAPTURE(size);
      CAPTURE(dropout);
      const attention_shape geometry{.batch = 2, .time = 150, .heads = 2, .kv_heads = 1, .head_size = size};
      std::vector<written> found[2];
      for (const bool anywhere : {false, true}) {  // on the matrix units only where memory begins as they want it
        dice roll(static_cast<std::uint64_t>(size), scale::medium);
        kernel_case k = attention(roll, geometry, dropout, anywhere);
        check_agreement(k, *on, bfloat16_error);
        complete(k, *on);
        found[anywhere] = run_backward(k, *on);
      }
      CHECK(same_bytes(found[0], found[1]) == (size % 8 != 0 || size > 128));
    }
}

TEST_CASE("tensors that are cast together are cast as each alone, whatever their sizes, places and number") {
  const auto on = gpu_stream(precision_kind::bfloat16);
  dice roll(3, scale::medium);
  std::vector<tensor> in, out;
  for (int i = 0; i < 150; ++i) {
    const tensor host = make_host_tensor(dtype::float32, {i % 10 == 9 ? 0 : roll.count()});
    for (float& each : host.mutable_elements<float>())
      each = static_cast<float>(roll.normal());
    const std::int64_t beside = i % 3 == 0 || host.count() == 0 ? 0 : i % 5 % host.count();  // elements left out
    const shape rest{host.count() - beside};
    in.push_back(on->to_device(host).slice(i % 2 == 0 ? beside : 0, rest));
    out.push_back(on->allocate(host.shape()).slice(beside, rest));
  }
  on->cast_all(in, out);
  for (std::size_t i = 0; i < in.size(); ++i) {
    const tensor alone = on->allocate(in[i].shape());
    on->cast(in[i], alone);
    const tensor found = on->to_host(out[i]), expected = on->to_host(alone);
    CHECK(std::ranges::equal(found.elements<bfloat16>(), expected.elements<bfloat16>(), {}, &bfloat16::bits, &bfloat16::bits));
  }
}

TEST_CASE("what is summed and updated together comes out as each alone, whatever its size and number") {
  const auto on = gpu_stream();
  dice roll(5, scale::medium);
  const auto random_values = [&](std::int64_t count) {
    const tensor host = make_host_tensor(dtype::float32, {count});
    for (float& each : host.mutable_elements<float>())
      each = static_cast<float>(std::abs(roll.normal()));
    return on->to_device(host);
  };
  std::vector<adamw_tensors> all;
  std::vector<tensor> gradients;
  for (int i = 0; i < 150; ++i) {
    const std::int64_t count = i % 10 == 9 ? 0 : i == 7 ? 300'001 : roll.count();
    const auto values = [&] { return random_values(count + 1).slice(i % 2, {count}); };  // not all aligned
    const auto out = [&] { return on->allocate({count}); };
    all.push_back({i % 3 * 0.1, values(), values(), values(), values(), out(), out(), out()});
    gradients.push_back(all.back().gradient);
  }
  const auto same = [&](const tensor& a, const tensor& b) {
    const tensor found = on->to_host(a), expected = on->to_host(b);
    return std::memcmp(found.bytes(), expected.bytes(), found.size_bytes()) == 0;
  };
  const tensor squares = on->allocate(dtype::float64, {150}), square = on->allocate(dtype::float64, {1});
  on->sum_of_squares_all(gradients, squares);
  adamw_options options{.weight_decay = 7.0, .step = 3};  // which each has of its own
  on->adamw_all(options, all);
  for (std::size_t i = 0; i < all.size(); ++i) {
    CAPTURE(i);
    const adamw_tensors& each = all[i];
    on->sum_of_squares(each.gradient, square);
    CHECK(same(squares.slice(static_cast<std::int64_t>(i), {1}), square));
    const shape extents = each.gradient.shape();
    const tensor value = on->allocate(extents), first = on->allocate(extents), second = on->allocate(extents);
    options.weight_decay = each.weight_decay;
    on->adamw(options, each.gradient, each.parameter, each.first_moment, each.second_moment, value, first, second);
    CHECK((same(each.parameter_out, value) && same(each.first_moment_out, first) && same(each.second_moment_out, second)));
  }
}

TEST_CASE("kernels agree at extents beyond what one block or one round takes") {
  const auto on = gpu_stream();
  dice roll(1, scale::medium);
  check_agreement(embedding(roll, 3, 1031, 5, 50), *on);                // rows are sorted in several chunks
  check_agreement(embedding(roll, 2, 700, 50, 1), *on);                 // one token has all rows
  check_agreement(embedding(roll, 3, 301, 9, 2), *on);
  check_agreement(linear_cross_entropy(roll, 4201, 1, 4111), *on);      // logits in several chunks
  for (const std::int64_t columns : {4104, 6152, 12301})                // more columns than a block keeps at once
    for (int variant = 0; variant < 4; ++variant) {
      check_agreement(layer_norm(roll, {5, columns}), *on);
      check_agreement(rms_norm(roll, {5, columns}), *on);
    }
  std::vector<tensor> terms;
  for (int i = 0; i < 19; ++i) {
    const tensor host = make_host_tensor(dtype::float32, {3});
    for (float& each : host.mutable_elements<float>())
      each = static_cast<float>(i);
    terms.push_back(on->to_device(host));
  }
  on->sum(terms, terms[0], {});
  CHECK(on->to_host(terms[0]).data<float>()[2] == 171.0f);
}

TEST_CASE("the rows of a token are added in their order, in lengths of sorted rows") {
  const auto on = gpu_stream();
  constexpr std::int64_t rows = 3093, vocabulary = 50, length = 32;  // several chunks of what one block sorts
  dice roll(2, scale::medium);
  const tensor tokens = make_host_tensor(dtype::int32, {rows}), dy = make_host_tensor(dtype::float32, {rows, 1});
  std::vector<std::vector<float>> terms(vocabulary);
  for (std::int64_t r = 0; r < rows; ++r) {
    const auto token = roll.below(vocabulary);
    tokens.mutable_data<std::int32_t>()[r] = static_cast<std::int32_t>(token);
    dy.mutable_data<float>()[r] = static_cast<float>(roll.normal());
    terms[static_cast<std::size_t>(token)].push_back(dy.data<float>()[r]);
  }
  std::vector<float> expected;
  std::int64_t at = 0;
  for (const auto& own : terms) {
    std::vector<float> sums;  // where the token begins, and of the lengths that it goes on in
    for (const float term : own) {
      if (sums.empty() || at % length == 0)
        sums.push_back(0.0f);
      sums.back() += term;
      ++at;
    }
    expected.push_back(sums[0] + std::accumulate(sums.begin() + 1, sums.end(), 0.0f));
  }
  const tensor sums = on->allocate({vocabulary, 1});
  on->zero(sums);
  on->embedding_backward(on->to_device(tokens), rows, on->to_device(dy), sums, {});
  const tensor found = on->to_host(sums);
  CHECK(std::ranges::equal(found.elements<float>(), expected));
}

TEST_CASE("bits do not depend on where tensors begin") {
  for (const auto precision : {precision_kind::float32, precision_kind::bfloat16}) {
    const auto on = gpu_stream(precision);
    const auto check = [&](const std::string& name, kernel_case k) {
      // Products, and attention, may take another way there.
      if (name.starts_with("matmul") || name.starts_with("attention") || name.starts_with("linear"))
        return;
      std::vector<written> forward[2], backward[2];
      for (const bool anywhere : {false, true}) {
        for (argument& each : k.arguments)
          each.begins_anywhere = anywhere;
        forward[anywhere] = run_forward(k, *on);
        if (!k.backward)
          continue;
        complete(k, *on);
        backward[anywhere] = run_backward(k, *on);
      }
      CHECK(same_bytes(forward[0], forward[1]));
      CHECK(same_bytes(backward[0], backward[1]));
    };
    for_each_case(scale::whole, 4, check, activation_kernels());
    if (precision == precision_kind::float32)
      for_each_case(scale::whole, 4, check, all_kernels());
    for_each_seed(4, [&](std::uint64_t seed) {
      dice roll(seed, scale::whole);
      check("layer_norm", layer_norm(roll, {9, 1600}));
      check("rms_norm", rms_norm(roll, {3, 24584}));
      check("embedding", embedding(roll, 2, 150, 48, 3));
      check("gradient of a bias", bias_gradient(roll));
    });
  }
}

TEST_CASE("exponentials of great scores and logits do not overflow") {
  for (const auto precision : {precision_kind::float32, precision_kind::bfloat16})
    check_great_scores(*gpu_stream(precision));
}

TEST_CASE("the same work gives the same bits, whatever the memory held and the threads' order") {
  for (const auto precision : {precision_kind::float32, precision_kind::bfloat16}) {
    const auto one = gpu_stream(precision), other = gpu_stream(precision);
    for_each_case(scale::medium, 2, [&](const std::string&, kernel_case k) {
      CHECK(same_bytes(run_forward(k, *one), run_forward(k, *other)));
      if (!k.backward)
        return;
      complete(k, *one);
      CHECK(same_bytes(run_backward(k, *one), run_backward(k, *other)));
    }, activation_kernels());
  }
}

TEST_CASE("a head size beyond the kernels' is refused by name") {
  const auto on = gpu_stream();
  const attention_shape geometry{.batch = 1, .time = 2, .heads = 1, .kv_heads = 1, .head_size = 257};
  const tensor qkv = on->allocate({2, geometry.row_width()}), out = on->allocate({2, 257}), sums = on->allocate({2});
  CHECK_THROWS_WITH_AS(on->attention_forward(geometry, {}, qkv, out, sums),
                       doctest::Contains("attention_forward(float32[2, 771], float32[2, 257], float32[2]): there is no "
                                         "kernel for a head size of 257, expected at most 256"),
                       device_error);
}

}  // namespace troupe::tests
