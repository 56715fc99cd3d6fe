#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

namespace troupe {

/// Which pairs of tokens become which token, and in which order (Sennrich, Haddow and Birch 2016, arXiv:1508.07909, over
/// bytes). What it tells is immutable, so thread safe, once all merges are added.
class byte_pair_merges {
 public:
  using pair = std::pair<std::int32_t, std::int32_t>;

  void set_byte(unsigned char byte, std::int32_t token) { bytes_[byte] = token; }
  /// The next merge, after all those added before. False: the pair is merged already.
  bool add(pair parts, std::int32_t merged);
  /// In the order in which they were added.
  const std::vector<pair>& all() const noexcept { return ranked_; }

  /// Appends the tokens of a word: its bytes', of which the pair of the lowest rank is merged, the leftmost of several,
  /// until there is none. Takes n log n steps for n bytes.
  void encode(std::string_view word, std::vector<std::int32_t>& out) const;

 private:
  struct merge {
    std::int32_t rank, merged;
  };

  static constexpr std::uint64_t key_of(std::int32_t left, std::int32_t right) {
    return std::uint64_t{static_cast<std::uint32_t>(left)} << 32 | static_cast<std::uint32_t>(right);
  }

  std::array<std::int32_t, 256> bytes_{};
  std::unordered_map<std::uint64_t, merge> merges_;
  std::vector<pair> ranked_;
};

}  // namespace troupe
