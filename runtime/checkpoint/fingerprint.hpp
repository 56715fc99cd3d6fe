#pragma once

#include <span>
#include <string>

#include "runtime/tensor/tensor.hpp"

namespace troupe {

/// xxh3-128 over the bytes of host tensors, one after the other, as 32 hexadecimal digits. Given the parameters in
/// layout order, it is the fingerprint of a parameter space: two runs with equal fingerprints hold equal bits. How the
/// bytes are cut into tensors has no influence.
std::string fingerprint(std::span<const tensor> values);

}  // namespace troupe
