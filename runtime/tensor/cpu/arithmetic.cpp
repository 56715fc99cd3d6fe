#include "runtime/tensor/cpu/arithmetic.hpp"

#include <gnu/libc-version.h>

#include <dnnl.h>
#include <fmt/format.h>

namespace troupe {

namespace {

/// Of the kernels that oneDNN has for products of float32. What later processors add is for other types: it changes none.
std::string name_of(dnnl_cpu_isa_t instructions) {
  switch (instructions) {
    case dnnl_cpu_isa_sse41: return "sse41";
    case dnnl_cpu_isa_avx: return "avx";
    case dnnl_cpu_isa_avx2:
    case dnnl_cpu_isa_avx2_vnni: return "avx2";
    case dnnl_cpu_isa_avx512_core:
    case dnnl_cpu_isa_avx512_core_vnni:
    case dnnl_cpu_isa_avx512_core_bf16:
    case dnnl_cpu_isa_avx512_core_amx: return "avx512_core";
    default: return fmt::format("instruction set {:#x}", static_cast<unsigned>(instructions));
  }
}

}  // namespace

std::string cpu_arithmetic() {
  const auto& version = *dnnl_version();
  return fmt::format("oneDNN {}.{}.{} {}, glibc {}", version.major, version.minor, version.patch,
                     name_of(dnnl_get_effective_cpu_isa()), gnu_get_libc_version());
}

}  // namespace troupe
