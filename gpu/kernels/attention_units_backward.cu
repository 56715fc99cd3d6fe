#include "gpu/kernels/attention_units.hpp"

/// As in attention_backward.cu: scores are computed anew, once for the gradients of keys and values and once for those of
/// queries, so that each gradient has one owner, sums have a fixed order, and no atomics are needed.

namespace troupe::gpu {

namespace {

/// A block for each tile of keys of a key/value head, over all query heads that read it. Tiles of scores lie keys by
/// queries.
template <class T>
__global__ void __launch_bounds__(T::threads)
    keys_and_values_kernel(head_geometry in, dropout_factors dropout, backward_arguments<bfloat16> from) {
  using rows = shared_rows<T::width>;
  constexpr int tile_elements = T::met * rows::stride;
  const rows keys{shared_memory<bfloat16>()}, values{keys.data + T::rows * rows::stride};
  bfloat16* const stages = values.data + T::rows * rows::stride;  // two, each of queries and of douts
  const std::int64_t k = blockIdx.x * std::int64_t{T::rows}, kv = blockIdx.y, b = blockIdx.z;
  const std::int64_t first = k / T::met * T::met;  // of the queries that see any of the keys
  const std::int64_t tiles = ceiling(in.time - first, T::met), all = tiles * in.group();
  const auto head = [&](std::int64_t tile) { return kv * in.group() + tile / tiles; };
  const auto query = [&](std::int64_t tile) { return first + tile % tiles * T::met; };
  const auto queries = [&](int stage) { return rows{stages + stage * 2 * tile_elements}; };
  const auto douts = [&](int stage) { return rows{stages + (stage * 2 + 1) * tile_elements}; };
  const auto copy = [&](int stage, std::int64_t tile) {
    if (tile < all) {
      copy_rows<T, T::met>(from.qkv + in.query(b, head(tile)), in.row_width, query(tile), in.time, in.size,
                           queries(stage));
      copy_rows<T, T::met>(from.dout + in.out(b, head(tile)), in.out_width(), query(tile), in.time, in.size,
                           douts(stage));
    }
    end_copy_group();
  };
  sum_tile dkeys[T::tiles][T::width / 8]{}, dvalues[T::tiles][T::width / 8]{};
  copy_rows<T, T::rows>(from.qkv + in.key(b, kv), in.row_width, k, in.time, in.size, keys);
  copy_rows<T, T::rows>(from.qkv + in.value(b, kv), in.row_width, k, in.time, in.size, values);
  copy(0, 0);
  int stage = 0;
  for (std::int64_t tile = 0; tile < all; ++tile, stage ^= 1) {
    copy(stage ^ 1, tile + 1);
    wait_for_copies<1>();
    __syncthreads();
    if (k + own_row<T>() < query(tile) + T::met) {  // some of these queries see some of the warp's keys
      sum_tile weights[T::tiles][T::met / 8], dscores[T::tiles][T::met / 8];
      multiply_rows<T>(keys, own_row<T>(), queries(stage), weights);
      multiply_rows<T>(values, own_row<T>(), douts(stage), dscores);
      const score_gradient gradient{in, dropout, from, in.row(b, head(tile))};
#pragma unroll
      for (int j = 0; j < T::met / 8; ++j)
#pragma unroll
        for (int e = 0; e < 2; ++e) {
          const auto of = gradient.at(query(tile) + own_column(j, e));
          each_own_row<T>([&](int i, int half, int row) {
            gradient(of, k + row, weights[i][j].of[half][e], dscores[i][j].of[half][e]);
          });
        }
      add_weighted_rows<T>(weights, douts(stage), dvalues);
      add_weighted_rows<T>(dscores, queries(stage), dkeys);
    }
    __syncthreads();  // queries and douts were read
  }
  write_rows<T>(dkeys, k, in.time, in.row_width, in.size, from.dqkv + in.key(b, kv));
  write_rows<T>(dvalues, k, in.time, in.row_width, in.size, from.dqkv + in.value(b, kv));
}

/// A block for each tile of queries of a head.
template <class T>
__global__ void __launch_bounds__(T::threads)
    queries_kernel(head_geometry in, dropout_factors dropout, backward_arguments<bfloat16> from) {
  using rows = shared_rows<T::width>;
  constexpr int tile_elements = T::met * rows::stride;
  const rows queries{shared_memory<bfloat16>()}, douts{queries.data + T::rows * rows::stride};
  bfloat16* const stages = douts.data + T::rows * rows::stride;  // two, each of keys and of values
  const std::int64_t b = blockIdx.z, h = blockIdx.y, kv = h / in.group();
  const std::int64_t q = (gridDim.x - 1 - blockIdx.x) * std::int64_t{T::rows};  // those with most keys begin first
  const std::int64_t end = min(q + T::rows, in.time);                           // of the keys that are seen
  const auto keys = [&](int stage) { return rows{stages + stage * 2 * tile_elements}; };
  const auto values = [&](int stage) { return rows{stages + (stage * 2 + 1) * tile_elements}; };
  const auto copy = [&](int stage, std::int64_t k) {
    if (k < end) {
      copy_rows<T, T::met>(from.qkv + in.key(b, kv), in.row_width, k, in.time, in.size, keys(stage));
      copy_rows<T, T::met>(from.qkv + in.value(b, kv), in.row_width, k, in.time, in.size, values(stage));
    }
    end_copy_group();
  };
  sum_tile dqueries[T::tiles][T::width / 8]{};
  copy_rows<T, T::rows>(from.qkv + in.query(b, h), in.row_width, q, in.time, in.size, queries);
  copy_rows<T, T::rows>(from.dout + in.out(b, h), in.out_width(), q, in.time, in.size, douts);
  copy(0, 0);
  const score_gradient gradient{in, dropout, from, in.row(b, h)};
  int stage = 0;
  for (std::int64_t k = 0; k < end; k += T::met, stage ^= 1) {
    copy(stage ^ 1, k + T::met);
    wait_for_copies<1>();
    __syncthreads();
    if (k <= q + own_row<T>() + T::tiles * 16 - 1) {  // some of the warp's queries see some of these keys
      sum_tile weights[T::tiles][T::met / 8], dscores[T::tiles][T::met / 8];
      multiply_rows<T>(queries, own_row<T>(), keys(stage), weights);
      multiply_rows<T>(douts, own_row<T>(), values(stage), dscores);
      each_own_row<T>([&](int i, int half, int row) {
        const auto of = gradient.at(q + row);
#pragma unroll
        for (int j = 0; j < T::met / 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            gradient(of, k + own_column(j, e), weights[i][j].of[half][e], dscores[i][j].of[half][e]);
      });
      add_weighted_rows<T>(dscores, keys(stage), dqueries);
    }
    __syncthreads();  // keys and values were read
  }
  write_rows<T>(dqueries, q, in.time, in.row_width, in.size, from.dqkv + in.query(b, h));
}

template <class T>
void launch(const operation& op, const attention_shape& of, const dropout_factors& dropout, const backward_arguments<bfloat16>& from) {
  const auto tiles = static_cast<unsigned>(ceiling(of.time, T::rows)), batch = static_cast<unsigned>(of.batch);
  const auto shared_bytes = shared_rows<T::width>::bytes(2 * T::rows + 4 * T::met);
  op.launch(keys_and_values_kernel<T>,
            {dim3(tiles, static_cast<unsigned>(of.kv_heads), batch), dim3(T::threads), shared_bytes}, head_geometry(of),
            dropout, from);
  op.launch(queries_kernel<T>, {dim3(tiles, static_cast<unsigned>(of.heads), batch), dim3(T::threads), shared_bytes},
            head_geometry(of), dropout, from);
}

}  // namespace

void attention_units_backward(const operation& op, const attention_shape& of, const dropout_factors& dropout,
                              const backward_arguments<bfloat16>& from) {
  if (of.head_size <= 64)
    launch<units_tiling<64, 1, 64>>(op, of, dropout, from);
  else
    launch<units_tiling<128, 1, 32>>(op, of, dropout, from);
}

}  // namespace troupe::gpu
