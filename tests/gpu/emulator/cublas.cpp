#include <cublasLt.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <vector>

#include "blocks.hpp"
#include "machine.hpp"
#include "runtime/tensor/dtype.hpp"

using troupe::emulator::die;
using troupe::emulator::machine;

struct cublasLtMatmulDescOpaque_t {
  cublasComputeType_t compute = CUBLAS_COMPUTE_32F;
  cublasOperation_t transpose_a = CUBLAS_OP_N, transpose_b = CUBLAS_OP_N;
  cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_DEFAULT;
  const void* bias = nullptr;
  void* kept = nullptr;
  std::int64_t kept_leading = 0;

  bool has_bias() const { return epilogue & CUBLASLT_EPILOGUE_BIAS; }
  bool is_gelu() const { return epilogue & 32; }
  bool is_gelu_gradient() const { return epilogue & 64; }
  bool has_kept() const { return epilogue & 128; }
};

/// Column-major.
struct cublasLtMatrixLayoutOpaque_t {
  cudaDataType_t type = CUDA_R_32F;
  std::int64_t rows = 0, columns = 0, leading = 0;

  std::size_t element_bytes() const { return type == CUDA_R_16BF ? sizeof(troupe::bfloat16) : sizeof(float); }
  std::size_t bytes() const { return static_cast<std::size_t>((columns - 1) * leading + rows) * element_bytes(); }
};

struct cublasLtMatmulPreferenceOpaque_t {
  std::uint64_t workspace_bytes = 0;
  std::uint32_t alignment[4]{256, 256, 256, 256};  // what the library takes for granted where it is not told
};

namespace {

/// What the algorithm counts on, in its opaque data.
struct assumptions {
  std::uint64_t workspace_bytes;
  std::uint32_t alignment[4];
};

template <class T>
void read(T& into, const void* value, std::size_t size, const char* what) {
  if (size != sizeof into)
    die("%s: an attribute of %zu bytes, expected %zu", what, size, sizeof into);
  std::memcpy(&into, value, size);
}

float element(const void* matrix, cudaDataType_t type, std::int64_t index) {
  return type == CUDA_R_16BF ? static_cast<float>(static_cast<const troupe::bfloat16*>(matrix)[index])
                             : static_cast<const float*>(matrix)[index];
}

void set_element(void* matrix, cudaDataType_t type, std::int64_t index, double value) {
  if (type == CUDA_R_16BF)
    static_cast<troupe::bfloat16*>(matrix)[index] = troupe::bfloat16(static_cast<float>(value));
  else
    static_cast<float*>(matrix)[index] = static_cast<float>(value);
}

/// Rounded to 10 bits of mantissa.
float as_tf32(float value) {
  return std::bit_cast<float>((std::bit_cast<std::uint32_t>(value) + 0x1000u) & ~0x1fffu);
}

bool is_aligned(const void* address, std::size_t alignment) {
  return reinterpret_cast<std::uintptr_t>(address) % alignment == 0;
}

}  // namespace

const char* cublasLtGetStatusString(cublasStatus_t status) {
  return status == CUBLAS_STATUS_NOT_SUPPORTED ? "CUBLAS_STATUS_NOT_SUPPORTED" : "CUBLAS_STATUS_INVALID_VALUE";
}

std::size_t cublasLtGetVersion() { return 130'000; }

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  *handle = reinterpret_cast<cublasLtHandle_t>(new int);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  delete reinterpret_cast<int*>(handle);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescCreate(cublasLtMatmulDesc_t* made, cublasComputeType_t compute, cudaDataType_t) {
  *made = new cublasLtMatmulDescOpaque_t{.compute = compute};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescDestroy(cublasLtMatmulDesc_t description) {
  delete description;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t description, cublasLtMatmulDescAttributes_t which,
                                              const void* value, std::size_t size) {
  constexpr auto what = "cublasLtMatmulDescSetAttribute";
  switch (which) {
    case CUBLASLT_MATMUL_DESC_TRANSA: read(description->transpose_a, value, size, what); break;
    case CUBLASLT_MATMUL_DESC_TRANSB: read(description->transpose_b, value, size, what); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE: read(description->epilogue, value, size, what); break;
    case CUBLASLT_MATMUL_DESC_BIAS_POINTER: read(description->bias, value, size, what); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER: read(description->kept, value, size, what); break;
    case CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD: read(description->kept_leading, value, size, what); break;
  }
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutCreate(cublasLtMatrixLayout_t* made, cudaDataType_t type, std::uint64_t rows,
                                          std::uint64_t columns, std::int64_t leading) {
  if (rows == 0 || columns == 0 || leading < static_cast<std::int64_t>(rows))
    die("a matrix of %zu x %zu with a leading dimension of %ld", rows, columns, leading);
  *made = new cublasLtMatrixLayoutOpaque_t{type, static_cast<std::int64_t>(rows), static_cast<std::int64_t>(columns), leading};
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatrixLayoutDestroy(cublasLtMatrixLayout_t layout) {
  delete layout;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceCreate(cublasLtMatmulPreference_t* made) {
  *made = new cublasLtMatmulPreferenceOpaque_t;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceDestroy(cublasLtMatmulPreference_t preference) {
  delete preference;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t which, const void* value,
                                                    std::size_t size) {
  constexpr auto what = "cublasLtMatmulPreferenceSetAttribute";
  if (which == CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES)
    read(preference->workspace_bytes, value, size, what);
  else
    read(preference->alignment[which - CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES], value, size, what);
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t description,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int,
                                              cublasLtMatmulHeuristicResult_t* results, int* found) {
  *found = 0;
  const bool across_a = description->transpose_a == CUBLAS_OP_T, across_b = description->transpose_b == CUBLAS_OP_T;
  const auto rows = across_a ? a->columns : a->rows, depth = across_a ? a->rows : a->columns;
  const auto columns = across_b ? b->rows : b->columns;
  if (depth != (across_b ? b->columns : b->rows) || c->rows != rows || c->columns != columns || d->rows != rows ||
      d->columns != columns)
    die("a product of %ld x %ld and %ld x %ld into %ld x %ld", rows, depth, across_b ? b->columns : b->rows, columns,
        d->rows, d->columns);
  if (a->type != b->type || c->type != d->type || (a->type == CUDA_R_32F && d->type == CUDA_R_16BF))
    die("a product of types %d and %d, %d into %d", a->type, b->type, c->type, d->type);
  if (a->type == CUDA_R_16BF && description->compute != CUBLAS_COMPUTE_32F)
    die("a product of bfloat16 in TF32");
  if (description->has_kept() && (description->kept_leading % 8 != 0 || description->kept_leading < rows))
    return CUBLAS_STATUS_NOT_SUPPORTED;
  // Now and then there is nothing that fuses, as for some shapes and types of the real library.
  if (description->epilogue != CUBLASLT_EPILOGUE_DEFAULT && depth % 5 == 0)
    return CUBLAS_STATUS_NOT_SUPPORTED;
  assumptions made{preference->workspace_bytes, {}};
  std::memcpy(made.alignment, preference->alignment, sizeof made.alignment);
  static_assert(sizeof made <= sizeof results->algo);
  std::memcpy(&results->algo, &made, sizeof made);
  *found = 1;
  return CUBLAS_STATUS_SUCCESS;
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t description, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              std::size_t workspace_bytes, cudaStream_t stream) {
  auto& on = machine::the();
  const std::lock_guard lock(on.mutex);
  assumptions counted_on{};
  std::memcpy(&counted_on, algorithm, sizeof counted_on);
  const void* const operands[]{a, b, c, d};
  const cublasLtMatrixLayout_t layouts[]{a_layout, b_layout, c_layout, d_layout};
  for (int i = 0; i < 4; ++i) {
    on.check_device(stream->device, operands[i], layouts[i]->bytes(), "cublasLtMatmul");
    if (!is_aligned(operands[i], counted_on.alignment[i]))
      die("cublasLtMatmul: operand %d is not aligned to %u bytes, as was said", i, counted_on.alignment[i]);
  }
  if (workspace_bytes < counted_on.workspace_bytes)
    die("cublasLtMatmul: a workspace of %zu bytes, expected %zu", workspace_bytes, counted_on.workspace_bytes);
  on.check_device(stream->device, workspace, workspace_bytes, "cublasLtMatmul's workspace");
  if (description->has_bias()) {
    on.check_device(stream->device, description->bias, static_cast<std::size_t>(d_layout->rows) * d_layout->element_bytes(),
                    "cublasLtMatmul's bias");
    if (!is_aligned(description->bias, 16))
      die("cublasLtMatmul: the bias is not aligned");
  }
  if (description->has_kept()) {
    on.check_device(stream->device, description->kept, d_layout->bytes(), "cublasLtMatmul's auxiliary matrix");
    if (!is_aligned(description->kept, 16))
      die("cublasLtMatmul: the auxiliary matrix is not aligned");
  }
  on.enqueue(*stream, troupe::emulator::node::kind::kernel,
             [how = *description, a_at = *a_layout, b_at = *b_layout, d_at = *d_layout, a, b, c, d,
              factor = *static_cast<const float*>(alpha), keep = *static_cast<const float*>(beta)] {
    const auto factor_at = [&](const void* matrix, const auto& at, std::int64_t index) {
      const float value = element(matrix, at.type, index);
      return how.compute == CUBLAS_COMPUTE_32F_FAST_TF32 ? as_tf32(value) : value;
    };
    const auto depth = how.transpose_a == CUBLAS_OP_T ? a_at.rows : a_at.columns;
    std::vector<double> sums(static_cast<std::size_t>(d_at.rows));
    for (std::int64_t j = 0; j < d_at.columns; ++j) {
      std::fill(sums.begin(), sums.end(), 0.0);
      for (std::int64_t k = 0; k < depth; ++k) {
        const double right = factor_at(b, b_at, how.transpose_b == CUBLAS_OP_T ? j + k * b_at.leading : k + j * b_at.leading);
        for (std::int64_t i = 0; i < d_at.rows; ++i)
          sums[i] += right * factor_at(a, a_at, how.transpose_a == CUBLAS_OP_T ? k + i * a_at.leading : i + k * a_at.leading);
      }
      for (std::int64_t i = 0; i < d_at.rows; ++i) {
        double value = factor * sums[i];
        if (keep != 0.0f)
          value += keep * element(c, d_at.type, i + j * d_at.leading);
        if (how.has_bias())
          value += element(how.bias, d_at.type, i);
        if (how.is_gelu()) {
          set_element(how.kept, d_at.type, i + j * how.kept_leading, value);
          value = 0.5 * value * (1 + std::tanh(std::sqrt(2 / M_PI) * (value + 0.044715 * value * value * value)));
        }
        if (how.is_gelu_gradient()) {
          const double at = element(how.kept, d_at.type, i + j * how.kept_leading), root = std::sqrt(2 / M_PI);
          const double curve = std::tanh(root * (at + 0.044715 * at * at * at));
          value *= 0.5 * (1 + curve) + 0.5 * at * (1 - curve * curve) * root * (1 + 3 * 0.044715 * at * at);
        }
        set_element(d, d_at.type, i + j * d_at.leading, value);
      }
    }
  });
  return CUBLAS_STATUS_SUCCESS;
}
