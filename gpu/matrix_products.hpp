#pragma once

#include <cublasLt.h>

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <tuple>

#include "runtime/tensor/tensor.hpp"

namespace troupe::gpu {

/// Where a matrix lies, row-major, and of what type. Its rows begin `stride` elements apart; 0: without gaps. An empty
/// tensor gives a null one.
struct operand {
  std::byte* data = nullptr;
  dtype type = dtype::float32;
  std::int64_t stride = 0;

  operand() = default;
  operand(const tensor& of, std::int64_t stride = 0)
      : data(of ? of.mutable_bytes() : nullptr), type(of.type()), stride(stride) {}

  explicit operator bool() const noexcept { return data != nullptr; }
};

/// c[rows, columns] = alpha * op(a) op(b), or +=, summed in float32. a and b are both float32 or both bfloat16, c either.
struct matrix_product {
  std::int64_t rows = 0, columns = 0, depth = 0;
  operand a, b, c;
  bool transpose_a = false;
  bool transpose_b = false;
  bool accumulate = false;
  float alpha = 1.0f;
  operand bias = {};        ///< of each column, added; of c's type; optional
  operand gelu_input = {};  ///< where given: c = gelu(product + bias), by the tanh approximation, and its input here
  operand gelu_gradient_at = {};  ///< where given: c = product * the slope of that gelu here
};

/// Matrix products by cuBLASLt. The algorithm for a shape is looked up once and remembered. cuBLASLt is column-major:
/// what it is asked for is the transposed product. Used by one thread at a time.
class matrix_products {
 public:
  static constexpr std::int64_t workspace_bytes = 32 << 20;

  /// `tf32`: whether factors of float32 are rounded to that. `workspace`: so many bytes on the device, for the stream
  /// that all products are enqueued on.
  matrix_products(int device, bool tf32, tensor workspace);

  /// False: there is no algorithm for this together with what is to be fused (bias, GELU), and nothing was
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
  /// Extents; strides; types, transpositions, accumulation and what is fused; the alignment of the operands.
  using plan_key = std::tuple<std::array<std::int64_t, 3>, std::array<std::int64_t, 3>, unsigned, unsigned>;

  plan& plan_of(const matrix_product& wanted);
  plan make_plan(const matrix_product& wanted) const;
  void check(cublasStatus_t status, const matrix_product& wanted) const;

  int device_;
  bool tf32_;
  owned<cublasLtHandle_t, cublasLtDestroy> library_;
  tensor workspace_;
  std::map<plan_key, plan> plans_;
};

}  // namespace troupe::gpu
