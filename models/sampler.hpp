#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace troupe {

struct sampling_settings {
  double temperature = 1.0;  ///< divides the logits; 0: always the likeliest token
  std::int64_t top_k = 0;    ///< only the k likeliest tokens (Fan et al. 2018, arXiv:1805.04833); 0: all
  double top_p = 1.0;        ///< only the fewest tokens that have this probability (Holtzman et al. 2020, arXiv:1904.09751)
  std::uint64_t seed = 1;
};

/// Draws tokens from logits. Stateless: a draw is a pure function of seed, index and logits.
class sampler {
 public:
  /// Throws std::invalid_argument naming the setting that is impossible.
  explicit sampler(const sampling_settings& settings);

  /// The distribution that tokens are drawn from.
  std::vector<double> probabilities(std::span<const float> logits) const;
  /// Token number `index` of a text.
  std::int32_t draw(std::span<const float> logits, std::uint64_t index) const;

 private:
  sampling_settings settings_;
};

}  // namespace troupe
