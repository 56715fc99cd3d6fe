#pragma once

#include <cstdint>
#include <string>

#include "models/model.hpp"

namespace troupe {

struct embedding_settings {
  std::int64_t vocabulary = 0;
  std::int64_t channels = 0;
  std::int64_t positions = 0;  ///< learned positions; 0: none
  double dropout = 0.0;
  initializer start = {};
};

/// A model's first block: tokens int32[rows, time] to activations [rows * time, channels].
/// Parameters: "token" and, with learned positions, "position".
class embedding : public layer {
 public:
  explicit embedding(const embedding_settings& settings) : settings_(settings) {}

  void declare(parameter_space& space, const std::string& prefix) override;
  tensor forward(pass& p, const tensor& x) const override;
  tensor backward(pass& p, const tensor& dy) const override;

 private:
  embedding_settings settings_;
  std::size_t token_ = 0;
  std::size_t position_ = 0;

  tensor positions(const pass& p) const { return settings_.positions > 0 ? p.parameters[position_] : tensor{}; }
  dropout_options dropout(const pass& p) const;
};

}  // namespace troupe
