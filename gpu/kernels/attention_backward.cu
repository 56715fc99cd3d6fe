#include <cassert>
#include <type_traits>

#include "gpu/kernels/attention_units.hpp"
#include "gpu/kernels/each.hpp"

/// Scores are computed anew from the saved log-sum-exp, once for the gradients of keys and values and once for those of
/// queries: so each gradient has one owner, sums are in a fixed order, and no atomics are needed.

namespace troupe::gpu {

namespace {

constexpr int product_threads = 256;

/// A warp for each (b, t, h): the sum over a head of out * dout, into products[b, h, t].
template <class E>
__global__ void products_kernel(head_geometry in, std::int64_t count, const E* out, const E* dout,
                                float* products) {
  const std::int64_t at = (std::int64_t{blockIdx.x} * product_threads + threadIdx.x) / warp_size;
  const bool exists = at < count;
  float sum = 0.0f;
  for (std::int64_t i = threadIdx.x % warp_size; exists && i < in.size; i += warp_size)
    sum += float(out[at * in.size + i]) * float(dout[at * in.size + i]);
  sum = lanes_sum(sum);
  const std::int64_t h = at % in.heads, t = at / in.heads % in.time, b = at / in.heads / in.time;
  if (exists && threadIdx.x % warp_size == 0)
    products[in.row(b, h) + t] = sum;
}

/// A thread's part of a tile: the weights, with dropout, and the gradients of the scores.
template <class T, class E>
__device__ void score_gradients(const score_gradient<E>& gradient, std::int64_t q, std::int64_t k, const float* queries,
                                const float* keys, const float* douts, const float* values,
                                float (&weights)[T::own][T::own], float (&dscores)[T::own][T::own]) {
  const int x = threadIdx.x % side, y = threadIdx.x / side;
  multiply_rows<T>(queries, keys, gradient.in.size, weights);
  multiply_rows<T>(douts, values, gradient.in.size, dscores);
#pragma unroll
  for (int i = 0; i < T::own; ++i) {
    const auto query = gradient.at(q + y + i * side);
#pragma unroll
    for (int j = 0; j < T::own; ++j)
      gradient(query, k + x + j * side, weights[i][j], dscores[i][j]);
  }
}

/// A block for each tile of keys of a key/value head, over all query heads that read it.
template <class T, class E>
__global__ void keys_and_values_kernel(head_geometry in, dropout_factors dropout, backward_arguments<E> from) {
  float* const keys = shared_memory<float>();
  float* const values = keys + T::head_tile;
  float* const queries = values + T::head_tile;
  float* const douts = queries + T::head_tile;
  float* const weight_tile = douts + T::head_tile;
  float* const dscore_tile = weight_tile + T::score_tile;
  const std::int64_t k = blockIdx.x * std::int64_t{T::tile}, kv = blockIdx.y, b = blockIdx.z;
  load_rows<T>(from.qkv + in.key(b, kv), in.row_width, k, in.time, in.size, keys);
  load_rows<T>(from.qkv + in.value(b, kv), in.row_width, k, in.time, in.size, values);
  float dkeys[T::own][T::columns]{}, dvalues[T::own][T::columns]{};
  for (std::int64_t h = kv * in.group(); h < (kv + 1) * in.group(); ++h) {
    const score_gradient<E> gradient{in, dropout, from, in.row(b, h)};
    for (std::int64_t q = k; q < in.time; q += T::tile) {
      load_rows<T>(from.qkv + in.query(b, h), in.row_width, q, in.time, in.size, queries);
      load_rows<T>(from.dout + in.out(b, h), in.out_width(), q, in.time, in.size, douts);
      __syncthreads();
      float weights[T::own][T::own], dscores[T::own][T::own];
      score_gradients<T>(gradient, q, k, queries, keys, douts, values, weights, dscores);
      store_scores<T>(weights, weight_tile);
      store_scores<T>(dscores, dscore_tile);
      __syncthreads();
      add_weighted_rows<T, true>(weight_tile, douts, dvalues);
      add_weighted_rows<T, true>(dscore_tile, queries, dkeys);
      __syncthreads();  // all tiles were read
    }
  }
  write_rows<T>(dkeys, k, in.time, in.row_width, in.size, from.dqkv + in.key(b, kv));
  write_rows<T>(dvalues, k, in.time, in.row_width, in.size, from.dqkv + in.value(b, kv));
}

/// A block for each tile of queries of a head.
template <class T, class E>
__global__ void queries_kernel(head_geometry in, dropout_factors dropout, backward_arguments<E> from) {
  float* const queries = shared_memory<float>();
  float* const douts = queries + T::head_tile;
  float* const keys = douts + T::head_tile;
  float* const values = keys + T::head_tile;
  float* const dscore_tile = values + T::head_tile;
  const std::int64_t b = blockIdx.z, h = blockIdx.y, kv = h / in.group();
  const std::int64_t q = (gridDim.x - 1 - blockIdx.x) * std::int64_t{T::tile};  // those with most keys begin first
  load_rows<T>(from.qkv + in.query(b, h), in.row_width, q, in.time, in.size, queries);
  load_rows<T>(from.dout + in.out(b, h), in.out_width(), q, in.time, in.size, douts);
  const score_gradient<E> gradient{in, dropout, from, in.row(b, h)};
  float dqueries[T::own][T::columns]{};
  for (std::int64_t k = 0; k <= q; k += T::tile) {
    load_rows<T>(from.qkv + in.key(b, kv), in.row_width, k, in.time, in.size, keys);
    load_rows<T>(from.qkv + in.value(b, kv), in.row_width, k, in.time, in.size, values);
    __syncthreads();
    float weights[T::own][T::own], dscores[T::own][T::own];
    score_gradients<T>(gradient, q, k, queries, keys, douts, values, weights, dscores);
    store_scores<T>(dscores, dscore_tile);
    __syncthreads();
    add_weighted_rows<T, false>(dscore_tile, keys, dqueries);
    __syncthreads();  // all tiles were read
  }
  write_rows<T>(dqueries, q, in.time, in.row_width, in.size, from.dqkv + in.query(b, h));
}

}  // namespace

void cuda_stream::attention_backward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                                     const tensor& out, const tensor& log_sum_exp, const tensor& dout,
                                     const tensor& dqkv) {
  const auto [batch, time, heads, kv_heads, size] = geometry;
  assert(kv_heads > 0 && heads % kv_heads == 0 && qkv.count() == batch * time * geometry.row_width());
  assert(out.count() == batch * time * heads * size && log_sum_exp.count() == batch * heads * time);
  assert(dout.count() == out.count() && dqkv.count() == qkv.count());
  operation op(*this, "attention_backward", {qkv, out, log_sum_exp, dout}, {dqkv});
  if (dropout.probability == 0.0 && suits_matrix_units(size, {qkv, out, dout, dqkv})) {
    auto* const fused = op.fused();
    if (fused && fused->try_backward(op, geometry, qkv, out, log_sum_exp, dout, dqkv))
      return;
  }
  const head_geometry in(geometry);
  const auto rows = batch * heads * time;
  const tensor products = op.scratch(rows);
  const dropout_factors factors(dropout);
  with_element(op, qkv, [&, batch = batch, time = time, heads = heads, kv_heads = kv_heads, size = size]<class E>(E) {
    op.launch(products_kernel<E>,
              {dim3(static_cast<unsigned>(ceiling(rows, product_threads / warp_size))), dim3(product_threads)}, in, rows,
              out.data<E>(), dout.data<E>(), products.mutable_data<float>());
    const backward_arguments<E> from{qkv.data<E>(), dout.data<E>(), log_sum_exp.data<float>(), products.data<float>(),
                                     dqkv.mutable_data<E>()};
    if constexpr (std::is_same_v<E, bfloat16>)
      if (suits_matrix_units(size, {qkv, dout, dqkv}))
        return attention_units_backward(op, geometry, factors, from);
    with_tiling(op, size, [&]<class T>(T) {
      const auto tiles = static_cast<unsigned>(ceiling(time, T::tile)), sequences = static_cast<unsigned>(batch);
      op.launch(keys_and_values_kernel<T, E>,
                {dim3(tiles, static_cast<unsigned>(kv_heads), sequences), dim3(attention_threads),
                 (4 * T::head_tile + 2 * T::score_tile) * sizeof(float)},
                in, factors, from);
      op.launch(queries_kernel<T, E>,
                {dim3(tiles, static_cast<unsigned>(heads), sequences), dim3(attention_threads),
                 (4 * T::head_tile + T::score_tile) * sizeof(float)},
                in, factors, from);
    });
  });
}

}  // namespace troupe::gpu
