#pragma once

#include <cublasLt.h>

#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "runtime/tensor/tensor.hpp"

namespace troupe::gpu {

/// c[rows, columns] = alpha * op(a) op(b), or +=, of row-major float32 matrices without gaps.
struct matrix_product {
  std::int64_t rows = 0, columns = 0, depth = 0;
  const float* a = nullptr;
  const float* b = nullptr;
  float* c = nullptr;
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;
  float alpha = 1.0f;
  const float* bias = nullptr;   ///< of each column, added; optional
  float* gelu_input = nullptr;   ///< where given: c = gelu(product + bias), by the tanh approximation, and its input here
};

/// Matrix products by cuBLASLt, in full float32 arithmetic. The algorithm for a shape is looked up once and remembered.
/// cuBLASLt is column-major: what it is asked for is the transposed product. Used by one thread at a time.
class matrix_products {
 public:
  static constexpr std::int64_t workspace_bytes = 32 << 20;

  /// `workspace`: so many bytes on the device, for the stream that all products are enqueued on.
  matrix_products(int device, tensor workspace);

  /// False: there is no algorithm for this together with what is to be fused (bias, gelu_input), and nothing was
  /// enqueued. Throws device_error on other failures.
  bool try_enqueue(const matrix_product& wanted, cudaStream_t stream);
  /// REQUIRES: nothing is to be fused.
  void enqueue(const matrix_product& wanted, cudaStream_t stream);

 private:
  template <auto destroy>
  struct closer {
    template <class T>
    void operator()(T* object) const noexcept {
      destroy(object);
    }
  };
  template <class T, auto destroy>
  using owned = std::unique_ptr<std::remove_pointer_t<T>, closer<destroy>>;
  using layout = owned<cublasLtMatrixLayout_t, cublasLtMatrixLayoutDestroy>;

  /// How products of one shape are asked for.
  struct plan {
    owned<cublasLtMatmulDesc_t, cublasLtMatmulDescDestroy> description;
    layout a, b, c;
    cublasLtMatmulAlgo_t algorithm{};
    bool exists = false;
  };
  /// Extents, transpositions and accumulation, what is fused, the alignment of the operands.
  using plan_key = std::tuple<std::int64_t, std::int64_t, std::int64_t, unsigned, unsigned>;

  plan& plan_of(const matrix_product& wanted);
  plan make_plan(const matrix_product& wanted) const;
  void check(cublasStatus_t status, const matrix_product& wanted) const;

  int device_;
  owned<cublasLtHandle_t, cublasLtDestroy> library_;
  tensor workspace_;
  std::map<plan_key, plan> plans_;
};

}  // namespace troupe::gpu
