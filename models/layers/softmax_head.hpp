#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "models/layers/norm.hpp"

namespace troupe {

struct softmax_head_settings {
  std::int64_t channels = 0;
  std::int64_t classes = 0;                    ///< the vocabulary of a language model
  std::optional<norm_settings> normalisation = {};  ///< before the head
  std::string tied_to = {};                    ///< name of another block's [classes, channels] table; empty: its own
  initializer start = {};
};

/// A model's last block: logits = norm(x) * weight^T and their softmax cross-entropy, which never keeps all logits.
/// With targets it sets `pass::losses`, and in training computes the gradients of x and of the weight in the same
/// kernel. Without targets it sets `pass::logits` for the last row of each sequence.
/// Parameters: "norm" where normalised; "weight" unless tied.
class softmax_head : public layer {
 public:
  explicit softmax_head(const softmax_head_settings& settings);

  /// Throws std::invalid_argument where there is no parameter to tie to, or it has another shape.
  void declare(parameter_space& space, const std::string& prefix) override;
  tensor forward(pass& p, const tensor& x) const override;
  tensor backward(pass& p, const tensor& dy) const override;

 private:
  softmax_head_settings settings_;
  std::optional<norm> norm_;
  std::size_t weight_ = 0;

  void compute_losses(pass& p, const tensor& hidden) const;
  tensor last_rows(pass& p, const tensor& x) const;
};

}  // namespace troupe
