#include <cassert>
#include <utility>

#include "runtime/tensor/cpu/attention_tiles.hpp"
#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/cpu/math.hpp"
#include "runtime/tensor/cpu/random_factors.hpp"

namespace troupe::cpu {

namespace {

/// Queries taken at a time: their probabilities and the gradients of those, for one tile of keys, stay in the
/// first- and second-level caches.
constexpr std::int64_t query_tile = 64;

/// One thread's scratch memory for one key/value head and the query heads that read it.
struct backward_memory {
  float *keys_across, *values_across;  // [size][time], in tiles
  float *keys, *dkeys, *dvalues;       // [time][padded]
  float *queries, *douts, *dqueries;   // [query_tile][padded]
  float *weights, *dscores;            // [query_tile][key_tile]
  float* products;                     // [query_tile]: sum over a row of out * dout

  static std::int64_t size(std::int64_t time, std::int64_t head_size) {
    const auto padded = round_up(head_size, lanes);
    return 2 * transposed_size(time, head_size) + 3 * time * padded + 3 * query_tile * padded +
           2 * query_tile * key_tile + query_tile;
  }

  backward_memory(float* first, std::int64_t time, std::int64_t head_size) {
    const auto padded = round_up(head_size, lanes);
    const auto take = [&first](std::int64_t count) { return std::exchange(first, first + count); };
    keys_across = take(transposed_size(time, head_size));
    values_across = take(transposed_size(time, head_size));
    keys = take(time * padded);
    dkeys = take(time * padded);
    dvalues = take(time * padded);
    queries = take(query_tile * padded);
    douts = take(query_tile * padded);
    dqueries = take(query_tile * padded);
    weights = take(query_tile * key_tile);
    dscores = take(query_tile * key_tile);
    products = take(query_tile);
  }
};

/// Copies padded rows back to rows of `size`, `stride` apart.
void unpack_rows(const float* in, std::int64_t rows, std::int64_t size, float* out, std::int64_t stride) noexcept {
  const auto padded = round_up(size, lanes);
  for (std::int64_t r = 0; r < rows; ++r)
    each_vector(size, [&](std::int64_t i, auto part) {
      __builtin_prefetch(out + (r + rows_ahead) * stride + i, 1);
      store(out + r * stride + i, load(in + r * padded + i, part), part);
    });
}

}  // namespace

void cpu_stream::attention_backward(const attention_shape& geometry, const dropout_options& dropout,
                                    const tensor& qkv, const tensor& out, const tensor& log_sum_exp,
                                    const tensor& dout, const tensor& dqkv) {
  const auto [batch, time, heads, kv_heads, size] = geometry;
  assert(kv_heads > 0 && heads % kv_heads == 0 && qkv.count() == batch * time * geometry.row_width());
  assert(out.count() == batch * time * heads * size && log_sum_exp.count() == batch * heads * time);
  assert(dout.count() == out.count() && dqkv.count() == qkv.count());
  const auto padded = round_up(size, lanes), group = heads / kv_heads;
  const auto member_size = round_up(backward_memory::size(time, size), lanes);
  const tensor scratch_memory = scratch(member_size * team_.size());
  const random_factors factors(dropout);
  const float scale = score_scale(geometry);

  // One rectangle of scores: queries [q, q + rows) of a head against keys [k, k + key_tile).
  const auto rectangle = [&, time = time, size = size](const backward_memory& own, std::int64_t head_row,
                                                       std::int64_t q, std::int64_t rows, std::int64_t k) {
    const auto width = std::min(key_tile, q + rows - k);  // keys that any of the rows may see
    for (std::int64_t i = 0; i < rows; i += tile_rows) {
      const auto count = std::min<std::int64_t>(tile_rows, rows - i);
      const auto seen_by_any = std::min(width, q + i + count - k);
      float* weights = own.weights + i * key_tile;
      float* dscores = own.dscores + i * key_tile;
      if (seen_by_any > 0) {
        multiply_block(count, seen_by_any,
                       {own.queries + i * padded, padded, 1, own.keys_across + k * size, key_tile, size}, scale,
                       tile_store::overwrite, weights, key_tile);
        multiply_block(count, seen_by_any,
                       {own.douts + i * padded, padded, 1, own.values_across + k * size, key_tile, size}, 1.0f,
                       tile_store::overwrite, dscores, key_tile);
      }
      for (std::int64_t r = 0; r < count; ++r) {
        const auto seen = std::clamp<std::int64_t>(q + i + r + 1 - k, 0, width);
        const float normaliser = log_sum_exp.data<float>()[head_row + q + i + r], product = own.products[i + r];
        float* weight = weights + r * key_tile;
        float* dscore = dscores + r * key_tile;
        alignas(64) float kept[random_factors::run];
        if (factors)
          factors.draw(static_cast<std::uint64_t>((head_row + q + i + r) * time + k), width, kept);
        each_vector(seen, [&](std::int64_t s, auto part) {
          floats w = keep(exp(load(weight + s, part) - normaliser), part, 0.0f), d = load(dscore + s, part);
          const floats factor = factors ? load(kept + s, part) : broadcast(1.0f);
          store(weight + s, w * factor);
          store(dscore + s, w * (d * factor - product) * scale);
        });
        for (auto s = round_up(seen, lanes); s < round_up(width, lanes); s += lanes) {
          store(weight + s, floats{});
          store(dscore + s, floats{});
        }
      }
      if (seen_by_any > 0)
        multiply_block(count, size, {dscores, key_tile, 1, own.keys + k * padded, padded, seen_by_any}, 1.0f,
                       tile_store::add, own.dqueries + i * padded, padded);
    }
    for (std::int64_t s = 0; s < width; s += tile_rows) {
      const auto count = std::min<std::int64_t>(tile_rows, width - s);
      // The first of the rows that sees any of these keys.
      const auto first = std::max<std::int64_t>(k + s - q, 0), depth = rows - first;
      multiply_block(count, size,
                     {own.weights + first * key_tile + s, 1, key_tile, own.douts + first * padded, padded, depth}, 1.0f,
                     tile_store::add, own.dvalues + (k + s) * padded, padded);
      multiply_block(count, size,
                     {own.dscores + first * key_tile + s, 1, key_tile, own.queries + first * padded, padded, depth},
                     1.0f, tile_store::add, own.dkeys + (k + s) * padded, padded);
    }
  };

  team_.run(batch * kv_heads, [&, time = time, heads = heads, kv_heads = kv_heads, size = size](std::int64_t task,
                                                                                                 int member) {
    const auto sequence = task / kv_heads, first_head = task % kv_heads * group;
    const backward_memory own(scratch_memory.mutable_data<float>() + member * member_size, time, size);
    const head_rows in(geometry, qkv, sequence, first_head), din(geometry, dqkv, sequence, first_head);
    pack_transposed(in.key, in.width, time, size, own.keys_across);
    pack_transposed(in.value, in.width, time, size, own.values_across);
    pack_rows(in.key, in.width, time, size, own.keys);
    std::fill_n(own.dkeys, time * padded, 0.0f);
    std::fill_n(own.dvalues, time * padded, 0.0f);
    for (auto head = first_head; head < first_head + group; ++head) {
      const auto head_row = (sequence * heads + head) * time;
      const auto result = (sequence * time * heads + head) * size, result_row = heads * size;
      for (std::int64_t q = 0; q < time; q += query_tile) {
        const auto rows = std::min(query_tile, time - q);
        const float* results = out.data<float>() + result + q * result_row;
        const float* dresults = dout.data<float>() + result + q * result_row;
        pack_rows(in.query + (head - first_head) * size + q * in.width, in.width, rows, size, own.queries);
        pack_rows(dresults, result_row, rows, size, own.douts);
        std::fill_n(own.dqueries, rows * padded, 0.0f);
        for (std::int64_t r = 0; r < rows; ++r) {
          floats sums{};
          each_vector(size, [&](std::int64_t i, auto part) {
            sums += load(results + r * result_row + i, part) * load(dresults + r * result_row + i, part);
          });
          own.products[r] = sum_of(sums);
        }
        for (std::int64_t k = 0; k < q + rows; k += key_tile)
          rectangle(own, head_row, q, rows, k);
        unpack_rows(own.dqueries, rows, size, din.query + (head - first_head) * size + q * din.width, din.width);
      }
    }
    unpack_rows(own.dkeys, time, size, din.key, din.width);
    unpack_rows(own.dvalues, time, size, din.value, din.width);
  });
}

}  // namespace troupe::cpu
