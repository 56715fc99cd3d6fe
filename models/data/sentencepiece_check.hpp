#pragma once

#include <string_view>

namespace troupe {

/// Throws input_error where `model`, the bytes of a sentencepiece .model file, holds what the library trusts without
/// looking and would crash on: empty pieces, pieces with zero bytes or so long that recursion over them overflows the
/// stack, and normalisation tables that point outside themselves. What the library refuses by itself is not checked.
void check_sentencepiece_model(std::string_view model);

}  // namespace troupe
