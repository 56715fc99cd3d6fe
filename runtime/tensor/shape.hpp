#pragma once

#include <array>
#include <cassert>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>

namespace troupe {

/// The extents of a tensor, outermost first; at most `rank_max` of them.
/// A shape of rank 0 describes a scalar and has one element.
class shape {
 public:
  static constexpr std::size_t rank_max = 6;

  shape() = default;
  shape(std::initializer_list<std::int64_t> extents) : shape(std::span(extents.begin(), extents.size())) {}
  explicit shape(std::span<const std::int64_t> extents) : rank_(extents.size()) {
    assert(extents.size() <= rank_max);
    for (std::size_t i = 0; i < rank_; ++i)
      extents_[i] = extents[i];
  }

  std::size_t rank() const noexcept { return rank_; }
  std::int64_t operator[](std::size_t axis) const noexcept { return extents_[axis]; }
  /// The innermost extent; REQUIRES: rank() > 0.
  std::int64_t back() const noexcept { return extents_[rank_ - 1]; }
  std::span<const std::int64_t> extents() const noexcept { return {extents_.data(), rank_}; }

  /// Number of elements.
  std::int64_t count() const noexcept {
    std::int64_t n = 1;
    for (std::size_t i = 0; i < rank_; ++i)
      n *= extents_[i];
    return n;
  }

  friend bool operator==(const shape& a, const shape& b) noexcept {
    return a.rank_ == b.rank_ && a.extents_ == b.extents_;
  }

 private:
  std::array<std::int64_t, rank_max> extents_{};
  std::size_t rank_ = 0;
};

/// Such as "[12, 64, 128]".
std::string to_string(const shape& value);

}  // namespace troupe
