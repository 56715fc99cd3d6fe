#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <type_traits>

#include "gpu/kernels/each.hpp"

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

constexpr int rounded_at_once = pack_size<float, bfloat16>;

/// Some tensors for one launch: as many as fit into a kernel's arguments.
constexpr int tensors_max = 64;
struct tensor_list {
  struct entry {
    const float* in;
    bfloat16* out;
    std::int64_t count;
    unsigned blocks_before;  ///< of the entries before this one
  };
  int entries_count;
  entry entries[tensors_max];
};

__global__ void round_all_kernel(tensor_list list) {
  int low = 0, high = list.entries_count;  // the last entry whose blocks begin at this one or before
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (list.entries[middle].blocks_before <= blockIdx.x ? low : high) = middle;
  }
  const tensor_list::entry& one = list.entries[low];
  constexpr int N = rounded_at_once;
  const std::int64_t first = (std::int64_t{blockIdx.x - one.blocks_before} * each_threads + threadIdx.x) * N;
  if (first < one.count)
    apply_to_pack<N>(cast_body{}, one.count, first, one.out + first, one.in + first);
}

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
  for (std::size_t first = 0; first < in.size(); first += tensors_max) {
    const auto last = std::min(in.size(), first + tensors_max);
    operation op(*this, "cast_all", {}, {});
    tensor_list list{};
    unsigned blocks = 0;
    for (auto i = first; i < last; ++i) {
      assert(in[i].count() == out[i].count());
      op.also_reads(in[i]);
      op.also_writes(out[i]);
      list.entries[list.entries_count++] = {in[i].data<float>(), out[i].mutable_data<bfloat16>(), in[i].count(), blocks};
      blocks += static_cast<unsigned>(ceiling(in[i].count(), each_threads * rounded_at_once));
    }
    op.launch(round_all_kernel, {dim3(blocks), dim3(each_threads)}, list);
  }
}

}  // namespace troupe::gpu
