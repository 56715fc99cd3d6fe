#pragma once

#include <string>

namespace troupe {

/// What decides how this process rounds, beyond its build: "oneDNN 2.6.0 avx512_core, glibc 2.36". oneDNN chooses its
/// kernels by the processor it runs on, up to what ONEDNN_MAX_CPU_ISA allows, and they sum in different orders; the
/// width of Troupe's own kernels is the build's. Processes of one build with the same arithmetic give the same bits.
std::string cpu_arithmetic();

}  // namespace troupe
