#pragma once

/// What attention's kernels share: where things are, and the gradient of a score. Then the tiles of those that multiply on
/// the ordinary units: a block of 16 x 16 threads holds square tiles of scores, queries by keys; thread (x, y) owns rows
/// y, y + 16, ... and columns x, x + 16, ... of each. Sixteen neighbouring lanes own a row together. Elements in device
/// memory are of type E; tiles and sums are float. `attention_units.hpp` has the tiles of the matrix units.

#include <cmath>
#include <string>

#include "gpu/kernels/device_code.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

/// Where the heads' rows are in packed projections and outputs, in device memory.
struct head_geometry {
  std::int64_t time, heads, kv_heads, size, row_width;
  float scale;

  explicit head_geometry(const attention_shape& of)
      : time(of.time),
        heads(of.heads),
        kv_heads(of.kv_heads),
        size(of.head_size),
        row_width(of.row_width()),
        scale(1.0f / std::sqrt(static_cast<float>(of.head_size))) {}

  __device__ std::int64_t group() const { return heads / kv_heads; }
  __device__ std::int64_t query(std::int64_t b, std::int64_t h) const { return b * time * row_width + h * size; }
  __device__ std::int64_t key(std::int64_t b, std::int64_t kv) const { return query(b, heads + kv); }
  __device__ std::int64_t value(std::int64_t b, std::int64_t kv) const { return query(b, heads + kv_heads + kv); }
  __device__ std::int64_t out(std::int64_t b, std::int64_t h) const { return (b * time * heads + h) * size; }
  __device__ std::int64_t out_width() const { return heads * size; }
  /// Of (b, h, t) in that order: log_sum_exp, and dropout's rows.
  __device__ std::int64_t row(std::int64_t b, std::int64_t h) const { return (b * heads + h) * time; }
};

/// What the backward passes read and write, in device memory. `products`: the sums over a head of out * dout, as rows of
/// log_sum_exp.
template <class E>
struct backward_arguments {
  const E *qkv, *dout;
  const float *log_sum_exp, *products;
  E* dqkv;
};

/// Dropout's weight of a score, and the score's gradient, from scores = q . k and products = dout . v.
template <class E>
struct score_gradient {
  head_geometry in;
  dropout_factors dropout;
  backward_arguments<E> from;
  std::int64_t row;  ///< of (b, h) in log_sum_exp

  /// What all keys of a query share.
  struct query {
    std::int64_t index;
    float normaliser, product;
  };
  __device__ query at(std::int64_t index) const {
    const bool exists = index < in.time;
    return {index, exists ? from.log_sum_exp[row + index] : INFINITY, exists ? from.products[row + index] : 0.0f};
  }
  /// score becomes the weight, product the gradient.
  __device__ void operator()(const query& of, std::int64_t key, float& score, float& product) const {
    const float weight = key <= of.index ? expf(score * in.scale - of.normaliser) : 0.0f;
    const float kept =
        dropout.threshold != 0 ? dropout(static_cast<std::uint64_t>((row + of.index) * in.time + key)) : 1.0f;
    score = weight * kept;
    product = weight * (product * kept - of.product) * in.scale;
  }
};

// -- on the ordinary units -----------------------------------------------------------

inline constexpr int side = 16;
inline constexpr int attention_threads = side * side;

/// Sizes of one instance of the kernels: rows of a tile, and head sizes up to `width`. Shared memory keeps the rows of
/// tiles one element further apart, so that a column's elements are in different banks.
template <int tile_, int width_>
struct tiling {
  static constexpr int tile = tile_;
  static constexpr int width = width_;
  static constexpr int own = tile / side;      ///< a thread's rows, and columns, of a tile of scores
  static constexpr int columns = width / side; ///< a thread's columns of a head
  static constexpr int head_stride = width + 1;
  static constexpr int score_stride = tile + 1;
  static constexpr std::size_t head_tile = static_cast<std::size_t>(tile) * head_stride;    ///< elements in shared memory
  static constexpr std::size_t score_tile = static_cast<std::size_t>(tile) * score_stride;
};

/// Calls body(tiling{}) with the smallest that holds the head size.
template <class Body>
void with_tiling(const operation& op, std::int64_t head_size, Body&& body) {
  if (head_size <= 64)
    return body(tiling<64, 64>{});
  if (head_size <= 128)
    return body(tiling<32, 128>{});
  if (head_size <= 256)
    return body(tiling<32, 256>{});
  op.refuse("a head size of " + std::to_string(head_size) + ", expected at most 256");
}

/// Rows first .. first + tile of a matrix whose rows are `width` apart, `size` elements of each; zeros beyond `rows` and
/// beyond `size`.
template <class T, class E>
__device__ void load_rows(const E* from, std::int64_t width, std::int64_t first, std::int64_t rows,
                          std::int64_t size, float* to) {
  for (int i = static_cast<int>(threadIdx.x); i < T::tile * T::width; i += attention_threads) {
    const int r = i / T::width, c = i % T::width;
    to[r * T::head_stride + c] = first + r < rows && c < size ? float(from[(first + r) * width + c]) : 0.0f;
  }
}

/// out[i][j] = row i of a . row j of b, over a head: a tile of scores.
template <class T>
__device__ void multiply_rows(const float* a, const float* b, std::int64_t size, float (&out)[T::own][T::own]) {
  const int x = threadIdx.x % side, y = threadIdx.x / side;
  for (int i = 0; i < T::own; ++i)
    for (int j = 0; j < T::own; ++j)
      out[i][j] = 0.0f;
  for (int c = 0; c < size; ++c) {
    float left[T::own], right[T::own];
#pragma unroll
    for (int i = 0; i < T::own; ++i) {
      left[i] = a[(y + i * side) * T::head_stride + c];
      right[i] = b[(x + i * side) * T::head_stride + c];
    }
#pragma unroll
    for (int i = 0; i < T::own; ++i)
#pragma unroll
      for (int j = 0; j < T::own; ++j)
        out[i][j] += left[i] * right[j];
  }
}

/// sums[i] += scores * rows of a head's tile; `transposed`: by columns of scores.
template <class T, bool transposed>
__device__ void add_weighted_rows(const float* scores, const float* rows, float (&sums)[T::own][T::columns]) {
  const int x = threadIdx.x % side, y = threadIdx.x / side;
  for (int k = 0; k < T::tile; ++k) {
    float weights[T::own];
#pragma unroll
    for (int i = 0; i < T::own; ++i)
      weights[i] = transposed ? scores[k * T::score_stride + y + i * side] : scores[(y + i * side) * T::score_stride + k];
#pragma unroll
    for (int c = 0; c < T::columns; ++c) {
      const float element = rows[k * T::head_stride + x + c * side];
#pragma unroll
      for (int i = 0; i < T::own; ++i)
        sums[i][c] += weights[i] * element;
    }
  }
}

/// A thread's tile of scores into shared memory.
template <class T>
__device__ void store_scores(const float (&scores)[T::own][T::own], float* to) {
  const int x = threadIdx.x % side, y = threadIdx.x / side;
#pragma unroll
  for (int i = 0; i < T::own; ++i)
#pragma unroll
    for (int j = 0; j < T::own; ++j)
      to[(y + i * side) * T::score_stride + x + j * side] = scores[i][j];
}

/// Sums over a head's columns to rows that are `width` apart, from `first` on; nothing beyond `rows` and `size`.
template <class T, class E>
__device__ void write_rows(const float (&sums)[T::own][T::columns], std::int64_t first, std::int64_t rows,
                           std::int64_t width, std::int64_t size, E* to) {
  const int x = threadIdx.x % side, y = threadIdx.x / side;
#pragma unroll
  for (int i = 0; i < T::own; ++i)
#pragma unroll
    for (int c = 0; c < T::columns; ++c)
      if (first + y + i * side < rows && x + c * side < size)
        to[(first + y + i * side) * width + x + c * side] = E(sums[i][c]);
}

}  // namespace troupe::gpu
