#include <cassert>
#include <cstring>
#include <stdexcept>
#include <type_traits>

#include "runtime/tensor/cpu/cpu_stream.hpp"

namespace troupe::cpu {

namespace {

constexpr std::int64_t bytes_per_task = 1 << 20;

/// Calls body with a null pointer to the element type.
template <class Body>
void with_float_type(dtype type, Body body) {
  switch (type) {
    case dtype::float32:
      return body(static_cast<float*>(nullptr));
    case dtype::float64:
      return body(static_cast<double*>(nullptr));
    case dtype::bfloat16:
      return body(static_cast<bfloat16*>(nullptr));
    case dtype::float16:
      return body(static_cast<float16*>(nullptr));
    default:
      throw std::invalid_argument("cast: " + std::string(to_string(type)) + " is not a floating-point type");
  }
}

}  // namespace

void cpu_stream::zero(const tensor& out) {
  team_.split(static_cast<std::int64_t>(out.size_bytes()), bytes_per_task, [&](std::int64_t first, std::int64_t last) {
    std::memset(out.mutable_bytes() + first, 0, static_cast<std::size_t>(last - first));
  });
}

void cpu_stream::copy(const tensor& in, const tensor& out) {
  assert(in.type() == out.type() && in.count() == out.count());
  if (in.bytes() == out.bytes())
    return;
  team_.split(static_cast<std::int64_t>(in.size_bytes()), bytes_per_task, [&](std::int64_t first, std::int64_t last) {
    std::memcpy(out.mutable_bytes() + first, in.bytes() + first, static_cast<std::size_t>(last - first));
  });
}

void cpu_stream::cast(const tensor& in, const tensor& out) {
  assert(in.count() == out.count());
  with_float_type(in.type(), [&]<class From>(From*) {
    with_float_type(out.type(), [&]<class To>(To*) {
      const From* from = in.data<From>();
      To* to = out.mutable_data<To>();
      each_piece(in.count(), [&](std::int64_t first, std::int64_t last) {
        for (auto i = first; i < last; ++i) {
          if constexpr (std::is_same_v<From, double>)
            to[i] = static_cast<To>(from[i]);
          else
            to[i] = static_cast<To>(static_cast<float>(from[i]));
        }
      });
    });
  });
}

void cpu_stream::round_stochastic(const random_key& key, const tensor& in, const tensor& out) {
  assert(in.count() == out.count());
  const float* from = in.data<float>();
  auto* to = out.mutable_data<bfloat16>();
  each_piece((in.count() + 3) / 4, [&](std::int64_t first, std::int64_t last) {
    for (auto four = first; four < last; ++four) {
      const philox_block words = random_block(key, static_cast<std::uint64_t>(four));
      for (auto i = 4 * four; i < std::min(4 * four + 4, in.count()); ++i)
        to[i] = troupe::round_stochastic(from[i], words[static_cast<std::size_t>(i % 4)]);
    }
  });
}

}  // namespace troupe::cpu
