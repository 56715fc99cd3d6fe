#include <cassert>
#include <limits>

#include "runtime/tensor/cpu/attention_tiles.hpp"
#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/cpu/math.hpp"
#include "runtime/tensor/cpu/random_factors.hpp"

namespace troupe::cpu {

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

/// A few queries of one head, and the online softmax over the keys they have met.
struct query_block {
  float scores[tile_rows * key_tile];  ///< of the tile at hand; then probabilities, up to a common factor
  float greatest[tile_rows];
  float sum[tile_rows];
};

/// Turns a row of scores into exponentials less the greatest so far, zero past `count`, up to `width`. Returns the
/// factor that what was summed before must take.
float absorb_scores(query_block& block, std::int64_t row, std::int64_t count, std::int64_t width) noexcept {
  float* scores = block.scores + row * key_tile;
  floats greatest_lanes = broadcast(block.greatest[row]);
  each_vector(count, [&](std::int64_t s, auto part) {
    greatest_lanes = max(greatest_lanes, keep(load(scores + s, part), part, -infinity));
  });
  const float greatest = max_of(greatest_lanes);
  floats sums{};
  each_vector(count, [&](std::int64_t s, auto part) {
    const floats e = keep(exp(load(scores + s, part) - greatest), part, 0.0f);
    sums += e;
    store(scores + s, e);
  });
  for (auto s = round_up(count, lanes); s < width; s += lanes)
    store(scores + s, floats{});
  const float factor = exp(broadcast(block.greatest[row] - greatest))[0];
  block.greatest[row] = greatest;
  block.sum[row] = block.sum[row] * factor + sum_of(sums);
  return factor;
}

void multiply_row(float* row, std::int64_t size, float factor) noexcept {
  each_vector(size, [&](std::int64_t i, auto part) { store(row + i, load(row + i, part) * factor, part); });
}

}  // namespace

void cpu_stream::attention_forward(const attention_shape& geometry, const dropout_options& dropout, const tensor& qkv,
                                   const tensor& out, const tensor& log_sum_exp) {
  const auto [batch, time, heads, kv_heads, size] = geometry;
  assert(kv_heads > 0 && heads % kv_heads == 0 && qkv.count() == batch * time * geometry.row_width());
  assert(out.count() == batch * time * heads * size && log_sum_exp.count() == batch * heads * time);
  const auto padded = round_up(size, lanes);
  const auto keys_size = transposed_size(time, size), values_size = round_up(time * padded + lanes, lanes);
  const auto sums_size = tile_rows * padded + lanes;
  const auto member_size = keys_size + values_size + sums_size;
  const tensor memory = scratch(member_size * team_.size());
  const random_factors factors(dropout);
  const float scale = score_scale(geometry);

  team_.run(batch * heads, [&, time = time, heads = heads, size = size](std::int64_t task, int member) {
    const auto sequence = task / heads, head = task % heads;
    float* keys = memory.mutable_data<float>() + member * member_size;
    float* values = keys + keys_size;
    float* sums = values + values_size;
    const head_rows in(geometry, qkv, sequence, head);
    pack_transposed(in.key, in.width, time, size, keys);
    pack_rows(in.value, in.width, time, size, values);
    query_block block;
    for (std::int64_t q = 0; q < time; q += tile_rows) {
      const auto rows = std::min<std::int64_t>(tile_rows, time - q);
      std::fill_n(block.greatest, rows, -infinity);
      std::fill_n(block.sum, rows, 0.0f);
      for (std::int64_t k = 0; k < q + rows; k += key_tile) {
        const auto width = std::min(key_tile, q + rows - k);  // keys that any of the rows may see
        multiply_block(rows, width, {in.query + q * in.width, in.width, 1, keys + k * size, key_tile, size}, scale,
                       tile_store::overwrite, block.scores, key_tile);
        for (std::int64_t r = 0; r < rows; ++r) {
          const auto seen = std::min(width, q + r + 1 - k);
          const float factor = absorb_scores(block, r, std::max<std::int64_t>(seen, 0), width);
          if (k > 0)
            multiply_row(sums + r * padded, size, factor);
          if (factors) {
            alignas(64) float kept[random_factors::run];
            factors.draw(static_cast<std::uint64_t>((task * time + q + r) * time + k), width, kept);
            for (std::int64_t s = 0; s < width; ++s)
              block.scores[r * key_tile + s] *= kept[s];
          }
        }
        multiply_block(rows, size, {block.scores, key_tile, 1, values + k * padded, padded, width}, 1.0f,
                       k > 0 ? tile_store::add : tile_store::overwrite, sums, padded);
      }
      for (std::int64_t r = 0; r < rows; ++r) {
        float* to = out.mutable_data<float>() + ((sequence * time + q + r) * heads + head) * size;
        const float share = 1.0f / block.sum[r];
        each_vector(size, [&](std::int64_t i, auto part) {
          store(to + i, load(sums + r * padded + i, part) * share, part);
        });
        log_sum_exp.mutable_data<float>()[task * time + q + r] = block.greatest[r] + std::log(block.sum[r]);
      }
    }
  });
}

void cpu_stream::attention_cached(const attention_shape& geometry, std::int64_t first_position, const tensor& qkv,
                                  const tensor& key_cache, const tensor& value_cache, const tensor& out) {
  const auto [batch, time, heads, kv_heads, size] = geometry;
  const auto capacity = key_cache.shape()[1], row = kv_heads * size;
  assert(kv_heads > 0 && heads % kv_heads == 0 && qkv.count() == batch * time * geometry.row_width());
  assert(key_cache.count() == batch * capacity * row && value_cache.count() == key_cache.count());
  assert(first_position + time <= capacity && out.count() == batch * time * heads * size);
  float *keys = key_cache.mutable_data<float>(), *values = value_cache.mutable_data<float>();
  for (std::int64_t b = 0; b < batch; ++b) {
    const head_rows in(geometry, qkv, b, 0);
    for (std::int64_t t = 0; t < time; ++t) {
      const auto to = (b * capacity + first_position + t) * row;
      std::copy_n(in.key + t * in.width, row, keys + to);
      std::copy_n(in.value + t * in.width, row, values + to);
    }
  }
  const float scale = score_scale(geometry);
  const tensor memory = scratch(capacity * team_.size());
  team_.run(batch * heads, [&, time = time, heads = heads, kv_heads = kv_heads, size = size](std::int64_t task,
                                                                                              int member) {
    const auto sequence = task / heads, head = task % heads;
    const head_rows in(geometry, qkv, sequence, head);
    const auto first = sequence * capacity * row + head / (heads / kv_heads) * size;
    float* weights = memory.mutable_data<float>() + member * capacity;
    for (std::int64_t t = 0; t < time; ++t) {
      const auto positions = first_position + t + 1;
      float greatest = -infinity;
      for (std::int64_t s = 0; s < positions; ++s) {
        floats products{};
        each_vector(size, [&](std::int64_t i, auto part) {
          products += load(in.query + t * in.width + i, part) * load(keys + first + s * row + i, part);
        });
        weights[s] = sum_of(products) * scale;
        greatest = std::max(greatest, weights[s]);
      }
      floats sums{};
      each_vector(positions, [&](std::int64_t s, auto part) {
        const floats e = exp(load(weights + s, part) - greatest);
        sums += keep(e, part, 0.0f);
        store(weights + s, e, part);
      });
      const float share = 1.0f / sum_of(sums);
      float* to = out.mutable_data<float>() + ((sequence * time + t) * heads + head) * size;
      each_vector(size, [&](std::int64_t i, auto part) {
        floats sum{};
        for (std::int64_t s = 0; s < positions; ++s)
          sum += load(values + first + s * row + i, part) * weights[s];
        store(to + i, sum * share, part);
      });
    }
  });
}

}  // namespace troupe::cpu
