#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "models/transformer.hpp"
#include "runtime/tensor/shape.hpp"

namespace troupe {

/// Hugging Face's classes that compute our models.
enum class huggingface_family : std::uint8_t { gpt2, llama };

/// Some rows of one of our parameters, as a tensor of theirs.
struct huggingface_piece {
  std::string name;
  std::int64_t rows = 0;
};

/// How a parameter of ours is spread over tensors of theirs.
struct huggingface_correspondence {
  std::string name;                        ///< ours
  shape extents;                           ///< ours
  std::vector<huggingface_piece> pieces;   ///< from the first row on
  bool transposed = false;                 ///< theirs is [in, out], ours [out, in]; one piece
  bool may_be_absent = false;              ///< a bias: zeros where ours has none
};

/// Everything the class has for these (resolved) settings, in our layout order.
std::vector<huggingface_correspondence> huggingface_correspondences(huggingface_family family,
                                                                    const transformer_settings& settings);

}  // namespace troupe
