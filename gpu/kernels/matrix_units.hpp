#pragma once

/// Products of bfloat16 tiles with float32 sums on the matrix units ("tensor cores"), as one warp sees them: mma.m16n8k16
/// and what feeds it, from compute capability 8.0 on (PTX ISA, "Warp-level matrix instructions"). A tile's elements are
/// spread over the lanes of a warp; all of them take part in every call.

#include "gpu/kernels/device_code.hpp"
#include "runtime/tensor/dtype.hpp"

namespace troupe::gpu {

/// Two neighbouring elements; the first in the low half.
using bfloat16_pair = std::uint32_t;

/// 16 x 16 elements of a left factor. A lane's pairs: rows lane / 4 and 8 below, at columns lane % 4 * 2; then the same
/// 8 columns on.
struct left_tile {
  bfloat16_pair pairs[4];
};

/// 16 x 8 elements of a right factor. A lane's pairs go down its column, lane / 4: from row lane % 4 * 2, and 8 below.
struct right_tile {
  bfloat16_pair pairs[2];
};

/// 16 x 8 sums. A lane's: at [half][i], row lane / 4 + 8 half, column lane % 4 * 2 + i.
struct sum_tile {
  float of[2][2];
};

__device__ inline bfloat16_pair pair_of(float first, float second) {
#if defined(__CUDACC__)
  bfloat16_pair pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(second), "f"(first));
  return pair;
#else
  return bfloat16(first).bits | static_cast<bfloat16_pair>(bfloat16(second).bits) << 16;
#endif
}

/// sums += left * right.
__device__ inline void multiply_add(sum_tile& sums, const left_tile& left, const right_tile& right) {
#if defined(__CUDACC__)
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(sums.of[0][0]), "+f"(sums.of[0][1]), "+f"(sums.of[1][0]), "+f"(sums.of[1][1])
      : "r"(left.pairs[0]), "r"(left.pairs[1]), "r"(left.pairs[2]), "r"(left.pairs[3]), "r"(right.pairs[0]),
        "r"(right.pairs[1]));
#else
  emulated_multiply_add(&sums.of[0][0], left.pairs, right.pairs);
#endif
}

/// Four 8 x 8 matrices from shared memory, whose rows of 16 bytes begin where lanes 0-7, 8-15, 16-23 and 24-31 say. A lane
/// gets, of each, the pair in row lane / 4 at column lane % 4 * 2; `transposed`: of its transpose.
template <bool transposed>
__device__ void load_matrices(bfloat16_pair (&to)[4], const bfloat16* row) {
#if defined(__CUDACC__)
  const auto address = static_cast<unsigned>(__cvta_generic_to_shared(row));
  // Volatile, with memory: not to be moved across barriers.
  if constexpr (transposed)
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
  else
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
                 : "r"(address)
                 : "memory");
#else
  emulated_load_matrices(to, row, transposed);
#endif
}

/// A tile of rows in shared memory, 16 bytes further apart than they are long, so that the eight rows of a matrix begin in
/// different banks.
template <int width>
struct shared_rows {
  static_assert(width % 16 == 0);
  static constexpr int stride = width + 8;

  bfloat16* data;

  static constexpr std::size_t bytes(int rows) { return std::size_t(rows) * stride * sizeof(bfloat16); }

  /// Rows row .. row + 16, columns column .. column + 16, as a left factor.
  __device__ left_tile left(int row, int column) const {
    const int lane = threadIdx.x % warp_size;
    left_tile tile;
    load_matrices<false>(tile.pairs, data + (row + lane % 16) * stride + column + lane / 16 * 8);
    return tile;
  }

  /// The transpose of rows row .. row + 16, columns column .. column + 16, as two right factors side by side.
  __device__ void right_of_rows(int row, int column, right_tile (&tiles)[2]) const {
    const int lane = threadIdx.x % warp_size;
    bfloat16_pair pairs[4];
    load_matrices<false>(pairs, data + (row + lane / 16 * 8 + lane % 8) * stride + column + lane / 8 % 2 * 8);
    tiles[0] = {{pairs[0], pairs[1]}};
    tiles[1] = {{pairs[2], pairs[3]}};
  }

  /// Rows row .. row + 16, columns column .. column + 16, as two right factors side by side.
  __device__ void right(int row, int column, right_tile (&tiles)[2]) const {
    const int lane = threadIdx.x % warp_size;
    bfloat16_pair pairs[4];
    load_matrices<true>(pairs, data + (row + lane % 16) * stride + column + lane / 16 * 8);
    tiles[0] = {{pairs[0], pairs[1]}};
    tiles[1] = {{pairs[2], pairs[3]}};
  }
};

// -- copies to shared memory while the warp goes on ---------------------------------

/// 16 bytes of global memory, or zeros, to shared memory; both addresses are multiples of 16. Part of the calling thread's
/// group at hand.
__device__ inline void copy_ahead(void* to, const void* from, bool exists) {
#if defined(__CUDACC__)
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;"
               :
               : "r"(static_cast<unsigned>(__cvta_generic_to_shared(to))), "l"(from), "r"(exists ? 16 : 0)
               : "memory");
#else
  emulated_copy_ahead(to, from, exists);
#endif
}

/// Ends the group of copies at hand and begins another.
__device__ inline void end_copy_group() {
#if defined(__CUDACC__)
  asm volatile("cp.async.commit_group;" ::: "memory");
#else
  emulated_end_copy_group();
#endif
}

/// Until all but the last `but` groups of the calling thread have arrived. What others copied is there after a barrier.
template <int but>
__device__ void wait_for_copies() {
#if defined(__CUDACC__)
  asm volatile("cp.async.wait_group %0;" : : "n"(but) : "memory");
#else
  emulated_wait_for_copies(but);
#endif
}

}  // namespace troupe::gpu
