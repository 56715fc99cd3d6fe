#include "gpu/matrix_products.hpp"

#include <bit>
#include <cassert>

#include <fmt/format.h>

#include "gpu/error.hpp"

namespace troupe::gpu {

namespace {

/// The greatest power of two up to 256 that divides the address: what algorithms may count on.
std::uint32_t alignment_of(const void* address) {
  constexpr std::uintptr_t most = 256;
  const auto bits = reinterpret_cast<std::uintptr_t>(address) | most;
  return static_cast<std::uint32_t>(bits & (~bits + 1));
}

/// The input of GELU: written, or read.
const operand& kept_of(const matrix_product& wanted) {
  return wanted.gelu_gradient_at ? wanted.gelu_gradient_at : wanted.gelu_input;
}

/// cuBLASLt wants vectors that are loaded whole, and a leading dimension of the kept input in eights.
bool may_fuse(const matrix_product& wanted) {
  constexpr std::uint32_t vector_bytes = 16;
  constexpr std::int64_t leading_step = 8;
  if (wanted.bias && alignment_of(wanted.bias.data) < vector_bytes)
    return false;
  const operand& kept = kept_of(wanted);
  return !kept || (wanted.columns % leading_step == 0 && alignment_of(kept.data) >= vector_bytes);
}

cublasLtEpilogue_t epilogue_of(const matrix_product& wanted) {
  if (wanted.gelu_gradient_at)
    return CUBLASLT_EPILOGUE_DGELU;
  if (wanted.gelu_input)
    return wanted.bias ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_AUX;
  return wanted.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
}

cudaDataType_t element_of(const operand& which) {
  assert(which.type == dtype::float32 || which.type == dtype::bfloat16);
  return which.type == dtype::bfloat16 ? CUDA_R_16BF : CUDA_R_32F;
}

}  // namespace

matrix_products::matrix_products(int device, bool tf32, tensor workspace)
    : device_(device), tf32_(tf32), workspace_(std::move(workspace)) {
  assert(workspace_.size_bytes() == workspace_bytes);
  cublasLtHandle_t made = nullptr;
  if (const auto status = cublasLtCreate(&made); status != CUBLAS_STATUS_SUCCESS)
    throw device_error(fmt::format("cuda:{}: starting cuBLASLt: {}", device_, cublasLtGetStatusString(status)));
  library_.reset(made);
}

void matrix_products::check(cublasStatus_t status, const matrix_product& wanted) const {
  if (status == CUBLAS_STATUS_SUCCESS)
    return;
  throw device_error(fmt::format("cuda:{}: matrix product [{}, {}] x [{}, {}]: {}", device_, wanted.rows, wanted.depth,
                                 wanted.depth, wanted.columns, cublasLtGetStatusString(status)));
}

matrix_products::plan matrix_products::make_plan(const matrix_product& wanted) const {
  plan made;
  if (!may_fuse(wanted))
    return made;
  cublasLtMatmulDesc_t description = nullptr;
  const bool rounds = tf32_ && wanted.a.type == dtype::float32;
  check(cublasLtMatmulDescCreate(&description, rounds ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
        wanted);
  made.description.reset(description);
  const auto set = [&](cublasLtMatmulDescAttributes_t which, const auto& value) {
    check(cublasLtMatmulDescSetAttribute(description, which, &value, sizeof value), wanted);
  };
  // Rows of ours are columns of theirs: their A is our b, and what they transpose is what we do not.
  const auto make_layout = [&](layout& into, const operand& which, std::int64_t columns, std::int64_t rows) {
    cublasLtMatrixLayout_t one = nullptr;
    check(cublasLtMatrixLayoutCreate(&one, element_of(which), static_cast<std::uint64_t>(columns),
                                     static_cast<std::uint64_t>(rows), which.stride > 0 ? which.stride : columns),
          wanted);
    into.reset(one);
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, wanted.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_TRANSB, wanted.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(wanted));
  if (kept_of(wanted))
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, wanted.columns);
  if (wanted.transpose_b)
    make_layout(made.a, wanted.b, wanted.depth, wanted.columns);
  else
    make_layout(made.a, wanted.b, wanted.columns, wanted.depth);
  if (wanted.transpose_a)
    make_layout(made.b, wanted.a, wanted.rows, wanted.depth);
  else
    make_layout(made.b, wanted.a, wanted.depth, wanted.rows);
  make_layout(made.c, wanted.c, wanted.columns, wanted.rows);

  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), wanted);
  const owned<cublasLtMatmulPreference_t, cublasLtMatmulPreferenceDestroy> closing(preference);
  const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t which, const auto& value) {
    check(cublasLtMatmulPreferenceSetAttribute(preference, which, &value, sizeof value), wanted);
  };
  prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<std::uint64_t>(workspace_bytes));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, alignment_of(wanted.b.data));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, alignment_of(wanted.a.data));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, alignment_of(wanted.c.data));
  prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, alignment_of(wanted.c.data));
  cublasLtMatmulHeuristicResult_t found{};
  int count = 0;
  const auto status = cublasLtMatmulAlgoGetHeuristic(library_.get(), description, made.a.get(), made.b.get(),
                                                     made.c.get(), made.c.get(), preference, 1, &found, &count);
  if (status != CUBLAS_STATUS_NOT_SUPPORTED)
    check(status, wanted);
  made.exists = status == CUBLAS_STATUS_SUCCESS && count > 0;
  made.algorithm = found.algo;
  return made;
}

matrix_products::plan& matrix_products::plan_of(const matrix_product& wanted) {
  const unsigned kind = (wanted.transpose_a ? 1u : 0u) | (wanted.transpose_b ? 2u : 0u) |
                        (wanted.accumulate ? 4u : 0u) | (wanted.bias ? 8u : 0u) | (wanted.gelu_input ? 16u : 0u) |
                        (wanted.gelu_gradient_at ? 32u : 0u) | (may_fuse(wanted) ? 64u : 0u) |
                        static_cast<unsigned>(wanted.a.type) << 8 |
                        static_cast<unsigned>(wanted.c.type) << 16;
  const auto step = [](const operand& of) { return static_cast<unsigned>(std::countr_zero(alignment_of(of.data))); };
  const plan_key key{{wanted.rows, wanted.columns, wanted.depth},
                     {wanted.a.stride, wanted.b.stride, wanted.c.stride},
                     kind,
                     step(wanted.a) | step(wanted.b) << 4 | step(wanted.c) << 8};
  const auto found = plans_.find(key);
  return found != plans_.end() ? found->second : plans_.emplace(key, make_plan(wanted)).first->second;
}

bool matrix_products::try_enqueue(const matrix_product& wanted, cudaStream_t stream) {
  assert(wanted.a.type == wanted.b.type && (!wanted.bias || wanted.bias.type == wanted.c.type));
  assert(!kept_of(wanted) || kept_of(wanted).type == wanted.c.type);
  assert(!wanted.gelu_gradient_at || (!wanted.gelu_input && !wanted.bias));
  plan& how = plan_of(wanted);
  if (!how.exists)
    return false;
  const auto set = [&](cublasLtMatmulDescAttributes_t which, const void* address) {
    check(cublasLtMatmulDescSetAttribute(how.description.get(), which, &address, sizeof address), wanted);
  };
  if (wanted.bias)
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, wanted.bias.data);
  if (const operand& kept = kept_of(wanted))
    set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, kept.data);
  const float alpha = wanted.alpha, beta = wanted.accumulate ? 1.0f : 0.0f;
  check(cublasLtMatmul(library_.get(), how.description.get(), &alpha, wanted.b.data, how.a.get(), wanted.a.data,
                       how.b.get(), &beta, wanted.c.data, how.c.get(), wanted.c.data, how.c.get(), &how.algorithm,
                       workspace_.mutable_bytes(), workspace_bytes, stream),
        wanted);
  return true;
}

void matrix_products::enqueue(const matrix_product& wanted, cudaStream_t stream) {
  assert(!wanted.bias && !kept_of(wanted));
  if (!try_enqueue(wanted, stream))
    check(CUBLAS_STATUS_NOT_SUPPORTED, wanted);
}

}  // namespace troupe::gpu
