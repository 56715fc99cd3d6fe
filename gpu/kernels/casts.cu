#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <type_traits>

#include "gpu/kernels/together.hpp"

namespace troupe::gpu {

namespace {

struct cast_body {
  template <class From, class To>
  __device__ void operator()(To& out, From in) const {
    if constexpr (std::is_same_v<From, double>)
      out = static_cast<To>(in);
    else
      out = rounded<To>(static_cast<float>(in));
  }
};

struct stochastic_body {
  __device__ void operator()(bfloat16& out, float in, std::uint32_t word) const { out = round_stochastic(in, word); }
};

/// Rounds one of many arrays.
struct rounding {
  static constexpr int N = pack_size<float, bfloat16>;

  std::int64_t count;
  const float* in;
  bfloat16* out;

  unsigned blocks() const { return static_cast<unsigned>(ceiling(count, each_threads * N)); }
  __device__ void operator()(unsigned block) const {
    const std::int64_t first = (std::int64_t{block} * each_threads + threadIdx.x) * N;
    if (first < count)
      apply_to_pack<N>(cast_body{}, count, first, out + first, in + first);
  }
};

/// Calls `use` with a null pointer to the element type.
template <class Use>
void with_float_type(dtype type, Use use) {
  switch (type) {
    case dtype::float32:
      return use(static_cast<float*>(nullptr));
    case dtype::float64:
      return use(static_cast<double*>(nullptr));
    case dtype::bfloat16:
      return use(static_cast<bfloat16*>(nullptr));
    case dtype::float16:
      return use(static_cast<float16*>(nullptr));
    default:
      throw std::invalid_argument("cast: " + std::string(to_string(type)) + " is not a floating-point type");
  }
}

}  // namespace

void cuda_stream::cast(const tensor& in, const tensor& out) {
  assert(in.count() == out.count());
  operation op(*this, "cast", {in}, {out});
  with_float_type(in.type(), [&]<class From>(From*) {
    with_float_type(out.type(), [&]<class To>(To*) {
      each_element(op, in.count(), cast_body{}, out.mutable_data<To>(), in.data<From>());
    });
  });
}

void cuda_stream::round_stochastic(const random_key& key, const tensor& in, const tensor& out) {
  assert(in.count() == out.count());
  operation op(*this, "round_stochastic", {in}, {out});
  each_in_rows(op, 1, in.count(), stochastic_body{}, rows_of{out.mutable_data<bfloat16>()}, rows_of{in.data<float>()},
               random_words{key});
}

void cuda_stream::cast_all(std::span<const tensor> in, std::span<const tensor> out) {
  assert(in.size() == out.size());
  const auto has = [](dtype type) { return [type](const tensor& each) { return each.type() == type; }; };
  if (!std::ranges::all_of(in, has(dtype::float32)) || !std::ranges::all_of(out, has(dtype::bfloat16)))
    return stream::cast_all(in, out);
  for (std::size_t next = 0; next < in.size();) {
    operation op(*this, "cast_all", {}, {});
    together<rounding> all;
    for (const auto end = std::min(in.size(), next + all.most); next < end; ++next) {
      assert(in[next].count() == out[next].count());
      op.also_reads(in[next]);
      op.also_writes(out[next]);
      all.add({in[next].count(), in[next].data<float>(), out[next].mutable_data<bfloat16>()});
    }
    all.launch(op);
  }
}

}  // namespace troupe::gpu
