#include <algorithm>
#include <cassert>
#include <stdexcept>
#include <type_traits>

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

template <class From, class To>
__device__ To converted(From value) {
  if constexpr (std::is_same_v<From, double>)
    return static_cast<To>(value);
  else
    return static_cast<To>(static_cast<float>(value));
}

template <class From, class To>
struct cast_body {
  const From* in;
  To* out;

  __device__ void operator()(std::int64_t i) const { out[i] = converted<From, To>(in[i]); }
};

/// Four elements, which draw from one block of random words.
struct stochastic_body {
  random_key key;
  std::int64_t count;
  const float* in;
  bfloat16* out;

  __device__ void operator()(std::int64_t four) const {
    const philox_block words = random_block(key, static_cast<std::uint64_t>(four));
#pragma unroll
    for (int n = 0; n < 4; ++n)
      if (const std::int64_t i = four * 4 + n; i < count)
        out[i] = round_stochastic(in[i], words[n]);
  }
};

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
  const std::int64_t first = std::int64_t{blockIdx.x - one.blocks_before} * each_per_block + threadIdx.x;
#pragma unroll
  for (int n = 0; n < each_per_thread; ++n)
    if (const std::int64_t i = first + n * each_threads; i < one.count)
      one.out[i] = bfloat16(one.in[i]);
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
      each_element(op, in.count(), cast_body<From, To>{in.data<From>(), out.mutable_data<To>()});
    });
  });
}

void cuda_stream::round_stochastic(const random_key& key, const tensor& in, const tensor& out) {
  assert(in.count() == out.count());
  operation op(*this, "round_stochastic", {in}, {out});
  each_element(op, ceiling(in.count(), 4),
               stochastic_body{key, in.count(), in.data<float>(), out.mutable_data<bfloat16>()});
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
      blocks += static_cast<unsigned>(ceiling(in[i].count(), each_per_block));
    }
    op.launch(round_all_kernel, {dim3(blocks), dim3(each_threads)}, list);
  }
}

}  // namespace troupe::gpu
