#pragma once

#include <string>

namespace troupe {

/// What decides how the devices of a name round ("cpu", "cuda", "cuda:0,2"), beyond this process's build: the processor's
/// libraries and instructions (cpu/arithmetic.hpp), or the kind of GPU and its libraries of products and attention, as in
/// "NVIDIA H100 80GB HBM3 sm_90, cuBLASLt 13.0.2, cuDNN 9.19.0". Processes of one build with the same arithmetic give the
/// same bits. What differs among the devices is all named; where they are to be `alike`, that is a device_error. Throws as
/// find_devices does.
std::string arithmetic_of(const std::string& device, bool alike);

}  // namespace troupe
