#pragma once

#include <cstdint>
#include <span>

#include "models/data/dataset.hpp"
#include "models/model.hpp"

namespace troupe {

struct evaluation_settings {
  std::uint64_t every = 0;      ///< steps between evaluations; 0: only at the end
  std::uint64_t batches = 20;   ///< batches of each split; 0: no evaluation at all
  std::int64_t batch = 0;       ///< sequences in each; 0: as in training
};

/// Measures the mean loss per target over the first `samples` samples of one split, the same at every call, a batch of
/// at most `rows` at a time: whoever measures can look up in between. What it is given must outlive it.
class loss_measurement {
 public:
  /// `parameters` by index in the model's space, as a pass takes them.
  loss_measurement(const model& of, stream& on, std::span<const tensor> parameters, const dataset& data, split part,
                   std::uint64_t seed, std::uint64_t samples, std::int64_t rows, std::int64_t context);

  bool done() const noexcept { return next_ == samples_; }
  /// REQUIRES: !done().
  void measure_batch();

  std::int64_t targets() const noexcept { return targets_; }
  /// Of what was measured so far. NaN where that is nothing, as where the split holds no whole sample.
  double mean() const noexcept { return sum_ / static_cast<double>(targets_); }

 private:
  const model& model_;
  const dataset& data_;
  pass pass_;
  split part_;
  std::uint64_t seed_;
  std::uint64_t samples_;
  std::int64_t rows_;
  std::int64_t context_;
  std::uint64_t next_ = 0;
  double sum_ = 0.0;
  std::int64_t targets_ = 0;
};

}  // namespace troupe
