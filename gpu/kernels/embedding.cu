#include <algorithm>
#include <bit>
#include <cassert>

#include "gpu/kernels/column_sums.hpp"
#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

/// Operands: the row of each row's token; the row of its position, which every `time` rows come round again.
template <class T>
struct rows_of_tokens {
  using element = const T;

  const T* table;
  const std::int32_t* tokens;
  std::int64_t columns;

  __device__ const T* at(std::int64_t row, std::int64_t column) const { return table + tokens[row] * columns + column; }
};

template <class T>
struct rows_of_positions {
  using element = const T;

  const T* table;
  std::int64_t time, columns;

  __device__ const T* at(std::int64_t row, std::int64_t column) const { return table + row % time * columns + column; }
};

struct row_body {
  template <class T>
  __device__ void operator()(T& y, T token) const {
    y = token;
  }
};

struct sum_of_rows_body {
  template <class T>
  __device__ void operator()(T& y, T token, T position) const {
    y = rounded<T>(float(token) + float(position));
  }
};

/// A thread for each position and pack of columns.
template <class T>
__global__ void add_positions_kernel(std::int64_t rows, std::int64_t time, std::int64_t columns, const T* dy,
                                     float* dtable) {
  constexpr int N = pack_size<T>;
  const std::int64_t packs = ceiling(columns, N), index = std::int64_t{blockIdx.x} * each_threads + threadIdx.x;
  const std::int64_t t = index / packs, column = index % packs * N;
  if (t >= min(time, rows))
    return;
  const part of = part_of_row<N>(columns, column, are_aligned(dy, dtable) && columns % N == 0);
  pack<float, N> sums{};
  for (std::int64_t row = t; row < rows; row += time)
    add(sums, load<N>(dy + row * columns + column, of));
  add_to(dtable + t * columns + column, sums, of);
}

// -- rows by token ---------------------------------------------------------------
//
// The rows of each token are found by sorting (token, row), which are all different, with a bitonic network (Batcher
// 1968, doi:10.1145/1468075.1468121): so sums are in the order of rows, and no atomics are needed.

/// Sorted by one block in shared memory.
constexpr std::int64_t chunk = 1024;
constexpr unsigned chunk_threads = chunk / 2;

struct keys_body {
  std::int64_t rows;
  const std::int32_t* tokens;
  std::uint64_t* keys;

  __device__ void operator()(std::int64_t i) const {
    keys[i] = i < rows ? static_cast<std::uint64_t>(tokens[i]) << 32 | static_cast<std::uint64_t>(i) : ~std::uint64_t{0};
  }
};

/// Puts the two elements that are `stride` apart in the order of the bitonic sequence of `size` that they belong to.
/// `pair` counts pairs; `first` is the whole array's index of keys[0].
__device__ inline void compare(std::uint64_t* keys, std::int64_t first, std::int64_t pair, std::int64_t stride,
                               std::int64_t size) {
  const std::int64_t low = pair / stride * 2 * stride + pair % stride, high = low + stride;
  const bool ascending = ((first + low) & size) == 0;
  const std::uint64_t a = keys[low], b = keys[high];
  if ((a > b) == ascending) {
    keys[low] = b;
    keys[high] = a;
  }
}

/// All steps within chunks of the networks from `size` to `size_last`.
__global__ void sort_chunks_kernel(std::int64_t size, std::int64_t size_last, std::uint64_t* keys) {
  std::uint64_t* const own = shared_memory<std::uint64_t>();
  const std::int64_t first = blockIdx.x * chunk;
  for (std::int64_t i = threadIdx.x; i < chunk; i += chunk_threads)
    own[i] = keys[first + i];
  __syncthreads();
  for (; size <= size_last; size *= 2)
    for (std::int64_t stride = min(size, chunk) / 2; stride > 0; stride /= 2) {
      compare(own, first, threadIdx.x, stride, size);
      __syncthreads();
    }
  for (std::int64_t i = threadIdx.x; i < chunk; i += chunk_threads)
    keys[first + i] = own[i];
}

struct compare_body {
  std::int64_t stride, size;
  std::uint64_t* keys;

  __device__ void operator()(std::int64_t pair) const { compare(keys, 0, pair, stride, size); }
};

void sort(const operation& op, std::int64_t count, std::uint64_t* keys) {
  const operation::grid chunks{dim3(static_cast<unsigned>(count / chunk)), dim3(chunk_threads),
                               chunk * sizeof(std::uint64_t)};
  op.launch(sort_chunks_kernel, chunks, 2, chunk, keys);
  for (std::int64_t size = 2 * chunk; size <= count; size *= 2) {
    for (std::int64_t stride = size / 2; stride >= chunk; stride /= 2)
      each_index(op, count / 2, compare_body{stride, size, keys});
    op.launch(sort_chunks_kernel, chunks, size, size, keys);
  }
}

/// Sorted rows are cut into lengths of so many, whatever their tokens, and a block adds those of one: so no token,
/// however frequent, is one block's alone.
constexpr std::int64_t length = 32;

__device__ inline std::int64_t token_at(const std::uint64_t* keys, std::int64_t at) {
  return static_cast<std::int64_t>(keys[at] >> 32);
}

/// Whether the first token of a length has rows in the one before.
__device__ inline bool goes_on(const std::uint64_t* keys, std::int64_t which) {
  return which > 0 && token_at(keys, which * length - 1) == token_at(keys, which * length);
}

/// A block for each length: adds what begins there to the table; the sum of a token that goes on there is a row of
/// `parts`.
template <class T>
__global__ void add_rows_kernel(std::int64_t rows, std::int64_t columns, const std::uint64_t* keys, const T* dy,
                                float* dtable, float* parts) {
  constexpr int N = pack_size<T>;
  const std::int64_t first = blockIdx.x * length, last = min(rows, first + length);
  const bool aligned = are_aligned(dy, dtable) && columns % N == 0;
  each_own_pack<N>(columns, aligned, [&](std::int64_t column, part of) {
    pack<float, N> sums{};
    bool is_rest = goes_on(keys, blockIdx.x);
    for (std::int64_t at = first; at < last; ++at) {
      const std::int64_t token = token_at(keys, at), row = static_cast<std::int64_t>(keys[at] & 0xffffffffu);
      add(sums, load<N>(dy + row * columns + column, of));
      if (at + 1 < last && token_at(keys, at + 1) == token)
        continue;
      if (is_rest)
        store<N>(parts + blockIdx.x * columns + column, sums, of);
      else
        add_to(dtable + token * columns + column, sums, of);
      sums = {};
      is_rest = false;
    }
  });
}

/// A block for each length and some columns: where a token goes on for the first time, its parts are added to the table.
__global__ void add_rests_kernel(std::int64_t rows, std::int64_t columns, const std::uint64_t* keys, const float* parts,
                                 float* dtable) {
  const std::int64_t first = blockIdx.x + 1, token = token_at(keys, first * length);
  if (!goes_on(keys, first) || (goes_on(keys, first - 1) && token_at(keys, (first - 1) * length) == token))
    return;
  std::int64_t last = first + 1, end = ceiling(rows, length);  // of the lengths that begin with the token
  while (last < end) {
    const std::int64_t middle = (last + end) / 2;
    if (token_at(keys, middle * length) == token)
      last = middle + 1;
    else
      end = middle;
  }
  sum_own_columns(parts + first * columns, last - first, columns, blockIdx.y, [&](std::int64_t column, float sum) {
    dtable[token * columns + column] += sum;
  });
}

}  // namespace

void cuda_stream::embedding_forward(const tensor& tokens, std::int64_t time, std::int64_t first_position,
                                    const tensor& token_table, const tensor& position_table, const tensor& y) {
  const auto columns = token_table.shape().back(), rows = tokens.count();
  assert(y.count() == rows * columns);
  operation op(*this, "embedding_forward", {tokens, token_table, position_table}, {y});
  with_element(op, y, [&]<class T>(T) {
    const rows_of out{y.mutable_data<T>(), columns};
    const rows_of_tokens<T> token{token_table.data<T>(), tokens.data<std::int32_t>(), columns};
    if (position_table)
      each_in_rows(op, rows, columns, sum_of_rows_body{}, out, token,
                   rows_of_positions<T>{position_table.data<T>() + first_position * columns, time, columns});
    else
      each_in_rows(op, rows, columns, row_body{}, out, token);
  });
}

void cuda_stream::embedding_backward(const tensor& tokens, std::int64_t time, const tensor& dy,
                                     const tensor& dtoken_table, const tensor& dposition_table) {
  const auto columns = dy.shape().back(), rows = tokens.count();
  assert(dy.count() == rows * columns);
  operation op(*this, "embedding_backward", {tokens, dy}, {dtoken_table, dposition_table});
  if (dtoken_table) {
    const auto padded = std::max(chunk, static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(rows))));
    const tensor memory = op.scratch(dtype::int64, padded);
    auto* const keys = reinterpret_cast<std::uint64_t*>(memory.mutable_data<std::int64_t>());
    each_index(op, padded, keys_body{rows, tokens.data<std::int32_t>(), keys});
    sort(op, padded, keys);
    const auto lengths = ceiling(rows, length);
    const tensor parts = op.scratch(lengths * columns);
    with_element(op, dy, [&]<class T>(T) {
      op.launch(add_rows_kernel<T>, {dim3(static_cast<unsigned>(lengths)), dim3(threads_of_row<pack_size<T>>(columns))},
                rows, columns, keys, dy.data<T>(), dtoken_table.mutable_data<float>(), parts.mutable_data<float>());
    });
    const dim3 rests(static_cast<unsigned>(std::max<std::int64_t>(lengths - 1, 0)),
                     static_cast<unsigned>(ceiling(columns, sum_columns<float>)));
    op.launch(add_rests_kernel, {rests, dim3(sum_threads)}, rows, columns, keys, parts.data<float>(),
              dtoken_table.mutable_data<float>());
  }
  if (dposition_table)
    with_element(op, dy, [&]<class T>(T) {
      const auto packs = std::min(time, rows) * ceiling(columns, pack_size<T>);
      op.launch(add_positions_kernel<T>, {dim3(static_cast<unsigned>(ceiling(packs, each_threads))), dim3(each_threads)},
                rows, time, columns, dy.data<T>(), dposition_table.mutable_data<float>());
    });
}

}  // namespace troupe::gpu
