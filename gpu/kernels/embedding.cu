#include <bit>
#include <cassert>

#include "gpu/kernels/each.hpp"

namespace troupe::gpu {

namespace {

template <class T>
struct forward_body {
  std::int64_t time, first_position, columns;
  const std::int32_t* tokens;
  const T *token_table, *position_table;
  T* y;

  __device__ void operator()(std::int64_t row, std::int64_t column) const {
    float v = float(token_table[tokens[row] * columns + column]);
    if (position_table)
      v += float(position_table[(first_position + row % time) * columns + column]);
    y[row * columns + column] = T(v);
  }
};

template <class T>
struct positions_body {
  std::int64_t rows, time, columns;
  const T* dy;
  float* dposition_table;

  __device__ void operator()(std::int64_t t, std::int64_t column) const {
    float sum = 0.0f;
    for (std::int64_t row = t; row < rows; row += time)
      sum += float(dy[row * columns + column]);
    dposition_table[t * columns + column] += sum;
  }
};

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
      each_element(op, count / 2, compare_body{stride, size, keys});
    op.launch(sort_chunks_kernel, chunks, size, size, keys);
  }
}

constexpr unsigned columns_per_block = 128;

/// A block for each sorted row and some columns: the first of a token's rows adds them all.
template <class T>
__global__ void add_rows_kernel(std::int64_t rows, std::int64_t columns, const std::uint64_t* keys, const T* dy,
                                float* dtable) {
  const std::int64_t column = std::int64_t{blockIdx.y} * columns_per_block + threadIdx.x;
  std::int64_t at = blockIdx.x;
  const std::uint64_t token = keys[at] >> 32;
  if (column >= columns || (at > 0 && keys[at - 1] >> 32 == token))
    return;
  float sum = 0.0f;
  for (; at < rows && keys[at] >> 32 == token; ++at)
    sum += float(dy[static_cast<std::int64_t>(keys[at] & 0xffffffffu) * columns + column]);
  dtable[static_cast<std::int64_t>(token) * columns + column] += sum;
}

}  // namespace

void cuda_stream::embedding_forward(const tensor& tokens, std::int64_t time, std::int64_t first_position,
                                    const tensor& token_table, const tensor& position_table, const tensor& y) {
  const auto columns = token_table.shape().back(), rows = tokens.count();
  assert(y.count() == rows * columns);
  operation op(*this, "embedding_forward", {tokens, token_table, position_table}, {y});
  with_element(op, y, [&]<class T>(T) {
    each_in_rows(op, rows, columns,
                 forward_body<T>{time, first_position, columns, tokens.data<std::int32_t>(), token_table.data<T>(),
                                 data_or_null<T>(position_table), y.mutable_data<T>()});
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
    each_element(op, padded, keys_body{rows, tokens.data<std::int32_t>(), keys});
    sort(op, padded, keys);
    with_element(op, dy, [&]<class T>(T) {
      op.launch(add_rows_kernel<T>,
                {dim3(static_cast<unsigned>(rows), static_cast<unsigned>(ceiling(columns, columns_per_block))),
                 dim3(columns_per_block)},
                rows, columns, keys, dy.data<T>(), dtoken_table.mutable_data<float>());
    });
  }
  if (dposition_table)
    with_element(op, dy, [&]<class T>(T) {
      each_in_rows(op, std::min(time, rows), columns,
                   positions_body<T>{rows, time, columns, dy.data<T>(), dposition_table.mutable_data<float>()});
    });
}

}  // namespace troupe::gpu
