#include "gpu/kernels/attention_units.hpp"

namespace troupe::gpu {

namespace {

constexpr float log2_e = 1.44269504088896341f;

/// A block for each tile of queries of a head: the online softmax over tiles of keys, in powers of two.
template <class T>
__global__ void __launch_bounds__(T::threads)
    forward_kernel(head_geometry in, dropout_factors dropout, const bfloat16* qkv, bfloat16* out, float* log_sum_exp) {
  using rows = shared_rows<T::width>;
  constexpr int tile_elements = T::met * rows::stride;
  const rows queries{shared_memory<bfloat16>()};
  bfloat16* const stages = queries.data + T::rows * rows::stride;  // two, each of keys and of values
  const std::int64_t b = blockIdx.z, h = blockIdx.y, kv = h / in.group();
  const std::int64_t q = (gridDim.x - 1 - blockIdx.x) * std::int64_t{T::rows};  // those with most keys begin first
  const std::int64_t end = min(q + T::rows, in.time);                           // of the keys that are seen
  const auto keys = [&](int stage) { return rows{stages + stage * 2 * tile_elements}; };
  const auto values = [&](int stage) { return rows{stages + (stage * 2 + 1) * tile_elements}; };
  const auto copy = [&](int stage, std::int64_t k) {
    if (k < end) {
      copy_rows<T, T::met>(qkv + in.key(b, kv), in.row_width, k, in.time, in.size, keys(stage));
      copy_rows<T, T::met>(qkv + in.value(b, kv), in.row_width, k, in.time, in.size, values(stage));
    }
    end_copy_group();
  };
  sum_tile sums[T::tiles][T::width / 8]{};
  float greatest[T::tiles][2], sum[T::tiles][2]{};
  for (auto& tile : greatest)
    tile[0] = tile[1] = -INFINITY;
  copy_rows<T, T::rows>(qkv + in.query(b, h), in.row_width, q, in.time, in.size, queries);
  copy(0, 0);
  int stage = 0;
  for (std::int64_t k = 0; k < end; k += T::met, stage ^= 1) {
    copy(stage ^ 1, k + T::met);
    wait_for_copies<1>();
    __syncthreads();
    if (k <= q + own_row<T>() + T::tiles * 16 - 1) {  // some of the warp's queries see some of these keys
      sum_tile scores[T::tiles][T::met / 8];
      multiply_rows<T>(queries, own_row<T>(), keys(stage), scores);
      each_own_row<T>([&](int i, int half, int row) {
        const std::int64_t query = q + row;
        float most = greatest[i][half];
#pragma unroll
        for (int j = 0; j < T::met / 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& score = scores[i][j].of[half][e];
            score = k + own_column(j, e) <= query ? score * (in.scale * log2_e) : -INFINITY;
            most = max(most, score);
          }
        most = lanes_max<4>(most);  // not infinite: every query sees the first key
        const float factor = exp2f(greatest[i][half] - most);
        float part = 0.0f;
#pragma unroll
        for (int j = 0; j < T::met / 8; ++j)
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            float& score = scores[i][j].of[half][e];
            score = exp2f(score - most);
            part += score;
            if (dropout.threshold != 0)
              score *= dropout(static_cast<std::uint64_t>((in.row(b, h) + query) * in.time + k + own_column(j, e)));
          }
        greatest[i][half] = most;
        sum[i][half] = sum[i][half] * factor + part;
#pragma unroll
        for (int c = 0; c < T::width / 8; ++c)
#pragma unroll
          for (int e = 0; e < 2; ++e)
            sums[i][c].of[half][e] *= factor;
      });
      add_weighted_rows<T>(scores, values(stage), sums);
    }
    __syncthreads();  // keys and values were read
  }
  each_own_row<T>([&](int i, int half, int row) {
    const float whole = lanes_sum<4>(sum[i][half]);
#pragma unroll
    for (int c = 0; c < T::width / 8; ++c)
#pragma unroll
      for (int e = 0; e < 2; ++e)
        sums[i][c].of[half][e] /= whole;
    if (q + row < in.time && threadIdx.x % 4 == 0)
      log_sum_exp[in.row(b, h) + q + row] = (greatest[i][half] + log2f(whole)) / log2_e;
  });
  write_rows<T>(sums, q, in.time, in.out_width(), in.size, out + in.out(b, h));
}

template <class T>
void launch(const operation& op, const attention_shape& of, const dropout_factors& dropout, const bfloat16* qkv,
            bfloat16* out, float* log_sum_exp) {
  op.launch(forward_kernel<T>,
            {dim3(static_cast<unsigned>(ceiling(of.time, T::rows)), static_cast<unsigned>(of.heads),
                  static_cast<unsigned>(of.batch)),
             dim3(T::threads), shared_rows<T::width>::bytes(T::rows + 4 * T::met)},
            head_geometry(of), dropout, qkv, out, log_sum_exp);
}

}  // namespace

void attention_units_forward(const operation& op, const attention_shape& of, const dropout_factors& dropout,
                             const bfloat16* qkv, bfloat16* out, float* log_sum_exp) {
  if (of.head_size <= 64)
    launch<units_tiling<64, 2, 64>>(op, of, dropout, qkv, out, log_sum_exp);
  else
    launch<units_tiling<128, 2, 32>>(op, of, dropout, qkv, out, log_sum_exp);
}

}  // namespace troupe::gpu
