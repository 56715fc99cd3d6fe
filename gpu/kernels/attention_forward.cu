#include <cassert>

#include "gpu/kernels/attention_units.hpp"
#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

/// A block for each tile of queries of a head: the online softmax over tiles of keys (arXiv:2205.14135).
template <class T, class E>
__global__ void forward_kernel(head_geometry in, dropout_factors dropout, const E* qkv, E* out,
                               float* log_sum_exp) {
  float* const queries = shared_memory<float>();
  float* const keys_or_values = queries + T::head_tile;
  float* const weights = keys_or_values + T::head_tile;
  const std::int64_t b = blockIdx.z, h = blockIdx.y, kv = h / in.group();
  const std::int64_t q = (gridDim.x - 1 - blockIdx.x) * std::int64_t{T::tile};  // those with most keys begin first
  const int x = threadIdx.x % side, y = threadIdx.x / side;
  float sums[T::own][T::columns]{}, greatest[T::own], sum[T::own]{};
  for (float& each : greatest)
    each = -INFINITY;
  load_rows<T>(qkv + in.query(b, h), in.row_width, q, in.time, in.size, queries);
  for (std::int64_t k = 0; k <= q; k += T::tile) {
    load_rows<T>(qkv + in.key(b, kv), in.row_width, k, in.time, in.size, keys_or_values);
    __syncthreads();
    float scores[T::own][T::own];
    multiply_rows<T>(queries, keys_or_values, in.size, scores);
    __syncthreads();  // keys were read
    load_rows<T>(qkv + in.value(b, kv), in.row_width, k, in.time, in.size, keys_or_values);
#pragma unroll
    for (int i = 0; i < T::own; ++i) {
      const std::int64_t query = q + y + i * side;
      float most = greatest[i];
#pragma unroll
      for (int j = 0; j < T::own; ++j) {
        scores[i][j] = k + x + j * side <= query ? scores[i][j] * in.scale : -INFINITY;
        most = max(most, scores[i][j]);
      }
      most = lanes_max<side>(most);  // not infinite: every query sees the first key of its row's first tile
      const float factor = expf(greatest[i] - most);
      float part = 0.0f;
#pragma unroll
      for (int j = 0; j < T::own; ++j) {
        scores[i][j] = expf(scores[i][j] - most);
        part += scores[i][j];
        if (dropout.threshold != 0)
          scores[i][j] *= dropout(static_cast<std::uint64_t>((in.row(b, h) + query) * in.time + k + x + j * side));
      }
      greatest[i] = most;
      sum[i] = sum[i] * factor + lanes_sum<side>(part);
#pragma unroll
      for (int c = 0; c < T::columns; ++c)
        sums[i][c] *= factor;
    }
    store_scores<T>(scores, weights);
    __syncthreads();
    add_weighted_rows<T, false>(weights, keys_or_values, sums);
    __syncthreads();  // values and weights were read
  }
#pragma unroll
  for (int i = 0; i < T::own; ++i) {
#pragma unroll
    for (int c = 0; c < T::columns; ++c)
      sums[i][c] /= sum[i];
    if (const std::int64_t query = q + y + i * side; x == 0 && query < in.time)
      log_sum_exp[in.row(b, h) + query] = greatest[i] + logf(sum[i]);
  }
  write_rows<T>(sums, q, in.time, in.out_width(), in.size, out + in.out(b, h));
}

// -- generation ------------------------------------------------------------------

/// An operand: the rows of a cache that new rows of sequences go to.
template <class E>
struct rows_of_cache {
  using element = E;

  E* first;
  std::int64_t time, capacity, width;

  __device__ E* at(std::int64_t row, std::int64_t column) const {
    return first + (row / time * capacity + row % time) * width + column;
  }
};

struct append_body {
  template <class E>
  __device__ void operator()(E& key_to, E& value_to, E key, E value) const {
    key_to = key;
    value_to = value;
  }
};

constexpr int cached_threads = 128;

/// A block for each query, over all positions so far. `all_scores`: [batch, heads, time, capacity], scratch.
template <class E>
__global__ void cached_kernel(head_geometry in, std::int64_t capacity, std::int64_t first_position, const E* qkv,
                              const E* key_cache, const E* value_cache, float* all_scores, E* out) {
  const std::int64_t t = blockIdx.x, h = blockIdx.y, b = blockIdx.z;
  const std::int64_t width = in.kv_heads * in.size, at = b * capacity * width + h / in.group() * in.size;
  const std::int64_t positions = first_position + t + 1;
  const E* query = qkv + in.query(b, h) + t * in.row_width;
  float* const scores = all_scores + (in.row(b, h) + t) * capacity;
  const int lane = threadIdx.x % warp_size;
  for (std::int64_t s = threadIdx.x / warp_size; s < positions; s += cached_threads / warp_size) {
    float product = 0.0f;
    for (std::int64_t i = lane; i < in.size; i += warp_size)
      product += float(query[i]) * float(key_cache[at + s * width + i]);
    product = lanes_sum(product);
    if (lane == 0)
      scores[s] = product * in.scale;
  }
  __syncthreads();
  float greatest = -INFINITY;
  for (std::int64_t s = threadIdx.x; s < positions; s += cached_threads)
    greatest = max(greatest, scores[s]);
  greatest = block_max(greatest);
  float sum = 0.0f;
  for (std::int64_t s = threadIdx.x; s < positions; s += cached_threads) {
    scores[s] = expf(scores[s] - greatest);
    sum += scores[s];
  }
  sum = block_sum(sum);  // and every score is there
  for (std::int64_t i = threadIdx.x; i < in.size; i += cached_threads) {
    float result = 0.0f;
    for (std::int64_t s = 0; s < positions; ++s)
      result += scores[s] * float(value_cache[at + s * width + i]);
    out[in.out(b, h) + t * in.out_width() + i] = E(result / sum);
  }
}

void check_shape(const attention_shape& of, const tensor& qkv, const tensor& out) {
  assert(of.kv_heads > 0 && of.heads % of.kv_heads == 0 && qkv.count() == of.batch * of.time * of.row_width());
  assert(out.count() == of.batch * of.time * of.heads * of.head_size);
}

}  // namespace

void cuda_stream::attention_forward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                                    const tensor& out, const tensor& log_sum_exp) {
  check_shape(geometry, qkv, out);
  assert(log_sum_exp.count() == geometry.batch * geometry.heads * geometry.time);
  operation op(*this, "attention_forward", {qkv}, {out, log_sum_exp});
  const head_geometry in(geometry);
  const dropout_factors factors(dropout);
  if (suits_matrix_units(geometry.head_size, {qkv, out})) {
    auto* const fused = dropout.probability == 0.0 ? op.fused() : nullptr;
    if (fused && fused->try_forward(op, geometry, qkv, out, log_sum_exp))
      return;
    return attention_units_forward(op, geometry, factors, qkv.data<bfloat16>(), out.mutable_data<bfloat16>(),
                                   log_sum_exp.mutable_data<float>());
  }
  with_element(op, qkv, [&]<class E>(E) {
    with_tiling(op, geometry.head_size, [&]<class T>(T) {
      op.launch(forward_kernel<T, E>,
                {dim3(static_cast<unsigned>(ceiling(geometry.time, T::tile)), static_cast<unsigned>(geometry.heads),
                      static_cast<unsigned>(geometry.batch)),
                 dim3(attention_threads), (2 * T::head_tile + T::score_tile) * sizeof(float)},
                in, factors, qkv.data<E>(), out.mutable_data<E>(), log_sum_exp.mutable_data<float>());
    });
  });
}

void cuda_stream::attention_cached(const attention_shape& geometry, std::int64_t first_position, const tensor& qkv,
                                   const tensor& key_cache, const tensor& value_cache, const tensor& out) {
  check_shape(geometry, qkv, out);
  const auto [batch, time, heads, kv_heads, size] = geometry;
  const auto capacity = key_cache.shape()[1], width = kv_heads * size;
  assert(key_cache.count() == batch * capacity * width && value_cache.count() == key_cache.count());
  assert(first_position + time <= capacity);
  operation op(*this, "attention_cached", {qkv}, {key_cache, value_cache, out});
  const tensor scores = op.scratch(batch * heads * time * capacity);
  with_element(op, qkv, [&, batch = batch, time = time, heads = heads, size = size]<class E>(E) {
    const auto place_in = [&](const tensor& cache) {
      return rows_of_cache<E>{cache.mutable_data<E>() + first_position * width, time, capacity, width};
    };
    const E* const keys = qkv.data<E>() + heads * size;
    each_in_rows(op, batch * time, width, append_body{}, place_in(key_cache), place_in(value_cache),
                 rows_of{keys, geometry.row_width()}, rows_of{keys + width, geometry.row_width()});
    op.launch(cached_kernel<E>,
              {dim3(static_cast<unsigned>(time), static_cast<unsigned>(heads), static_cast<unsigned>(batch)),
               dim3(cached_threads)},
              head_geometry(geometry), capacity, first_position, qkv.data<E>(), key_cache.data<E>(),
              value_cache.data<E>(), scores.mutable_data<float>(), out.mutable_data<E>());
  });
}

}  // namespace troupe::gpu
