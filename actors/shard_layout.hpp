#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "models/model.hpp"

namespace troupe {

/// Parameters first .. last - 1 of one block that live in one shard: what one gradient message carries.
struct parameter_piece {
  std::uint32_t shard = 0;
  std::size_t block = 0;
  std::size_t first = 0;
  std::size_t last = 0;
};

/// Which shard owns which parameters. A shard owns one contiguous range of the parameter space, cut between
/// parameters and never within one: so optimizers that look at a whole matrix work, and every sum runs in an order
/// that does not depend on the number of shards (P2).
class shard_layout {
 public:
  /// Cuts the space into `shards` ranges of nearly equal element counts, minimising the largest. Throws input_error
  /// where there are more shards than parameters.
  shard_layout(const parameter_space& space, std::uint32_t shards);

  std::uint32_t shard_count() const noexcept { return static_cast<std::uint32_t>(bounds_.size() - 1); }
  /// Indices of shard's parameters: first(shard) .. first(shard + 1) - 1.
  std::size_t first(std::uint32_t shard) const noexcept { return bounds_[shard]; }
  std::size_t last(std::uint32_t shard) const noexcept { return bounds_[shard + 1]; }
  /// In order of block, then of shard.
  const std::vector<parameter_piece>& pieces() const noexcept { return pieces_; }

 private:
  std::vector<std::size_t> bounds_;
  std::vector<parameter_piece> pieces_;
};

}  // namespace troupe
