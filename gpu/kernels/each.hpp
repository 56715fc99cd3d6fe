#pragma once

/// Kernels that do the same for each element. A body is a function object with a `__device__ operator()`.

#include <type_traits>

#include "gpu/kernels/wide.hpp"
#include "gpu/operation.hpp"

namespace troupe::gpu {

inline constexpr int each_threads = 256;

/// Where the elements of a matrix are, whose rows begin `stride` apart; stride 0: one row for all. Other operands of
/// each_in_rows are like it: an element's type, const where it is only read, and `at`, which gives an address or what
/// else has are_aligned and read.
template <class T>
struct rows_of {
  using element = T;

  T* data;
  std::int64_t stride = 0;

  __device__ T* at(std::int64_t row, std::int64_t column) const { return data + row * stride + column; }
};

template <int N, class T>
__device__ auto read(T* from, part of) {
  if constexpr (std::is_const_v<T>)
    return load<N>(from, of);
  else
    return pack<T, N>{};
}

template <int N, class T, class Pack>
__device__ void write(T* to, const Pack& from, part of) {
  if constexpr (!std::is_const_v<T>)
    store<N>(to, from, of);
}

template <int N, class Operand, class Pack>
__device__ void write(const Operand&, const Pack&, part) {}

/// body(elements of a pack...), of those that are written and those that are read. May be handed what lies in one place.
template <int N, class Body, class... Operands>
__device__ void apply_to_pack(const Body& body, std::int64_t columns, std::int64_t column, const Operands&... at) {
  const part of = part_of_row<N>(columns, column, (are_aligned(at) && ...));
  [&](auto... packs) {
#pragma unroll
    for (int n = 0; n < N; ++n)
      body(packs[n]...);
    (write<N>(at, packs, of), ...);
  }(read<N>(at, of)...);
}

template <int N, class Body, class... Operands>
__global__ void each_kernel(std::int64_t rows, std::int64_t columns, Body body, Operands... operands) {
  const auto packs = static_cast<std::uint64_t>(ceiling(columns, N));  // unsigned: divides faster
  const auto index = std::uint64_t{blockIdx.x} * each_threads + threadIdx.x;
  const auto row = static_cast<std::int64_t>(index / packs), column = static_cast<std::int64_t>(index % packs) * N;
  if (row < rows)
    apply_to_pack<N>(body, columns, column, operands.at(row, column)...);
}

/// Calls body(y, ..., x, ...) for each element of matrices: references to what is written, then what is read.
template <class Body, class... Operands>
void each_in_rows(const operation& op, std::int64_t rows, std::int64_t columns, const Body& body,
                  const Operands&... operands) {
  constexpr int N = pack_size<typename Operands::element...>;
  const auto packs = rows * ceiling(columns, N);
  op.launch(each_kernel<N, Body, Operands...>,
            {dim3(static_cast<unsigned>(ceiling(packs, each_threads))), dim3(each_threads)}, rows, columns, body,
            operands...);
}

/// Likewise of arrays of `count` elements.
template <class Body, class... T>
void each_element(const operation& op, std::int64_t count, const Body& body, T*... arrays) {
  each_in_rows(op, 1, count, body, rows_of<T>{arrays}...);
}

template <class Body>
__global__ void each_index_kernel(std::int64_t count, Body body) {
  if (const std::int64_t i = std::int64_t{blockIdx.x} * each_threads + threadIdx.x; i < count)
    body(i);
}

/// Calls body(i) for each i in [0, count).
template <class Body>
void each_index(const operation& op, std::int64_t count, const Body& body) {
  op.launch(each_index_kernel<Body>, {dim3(static_cast<unsigned>(ceiling(count, each_threads))), dim3(each_threads)},
            count, body);
}

/// A scalar as kernels take it.
struct multiplier {
  double known;
  const double* factor;

  static multiplier of(operation& op, const scalar& from) {
    op.also_reads(from.factor);
    return {from.known, data_or_null<double>(from.factor)};
  }
  __device__ float value() const { return static_cast<float>(factor ? known * *factor : known); }
};

template <class Function>
struct activation_body {
  template <class T>
  __device__ void operator()(T& y, T x) const {
    y = rounded<T>(Function::value(float(x)));
  }
};

// -- random words --------------------------------------------------------------------

/// The words that elements draw, as an operand.
struct random_words {
  using element = const std::uint32_t;

  struct from_element {
    random_key key;
    std::uint64_t first;
  };
  random_key key;

  __device__ from_element at(std::int64_t, std::int64_t index) const {
    return {key, static_cast<std::uint64_t>(index)};
  }
};

__device__ inline bool are_aligned(const random_words::from_element&) { return true; }

template <int N>
__device__ pack<std::uint32_t, N> read(const random_words::from_element& from, part) {
  pack<std::uint32_t, N> words;
#pragma unroll
  for (int n = 0; n < N; n += 4) {  // as many elements draw from one block
    const philox_block block = random_block(from.key, (from.first + n) / 4);
#pragma unroll
    for (int i = 0; i < 4; ++i)
      words[n + i] = block[i];
  }
  return words;
}

}  // namespace troupe::gpu
