#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace troupe {

/// Tokens that lie one after another in memory that `owner` keeps alive: a mapped file, a vector.
struct token_segment {
  std::shared_ptr<const void> owner;
  const std::byte* data = nullptr;
  std::size_t token_bytes = 4;  ///< 2 or 4: little-endian unsigned integers
  std::int64_t count = 0;

  std::span<const std::byte> bytes() const noexcept {
    return {data, static_cast<std::size_t>(count) * token_bytes};
  }
};

/// Segments read as one sequence of tokens. Immutable; thread safe.
class token_stream {
 public:
  token_stream() = default;
  explicit token_stream(std::vector<token_segment> segments);

  std::int64_t size() const noexcept { return size_; }
  const std::vector<token_segment>& segments() const noexcept { return segments_; }

  /// Tokens first, first + 1, ...; REQUIRES: first + out.size() <= size().
  void read(std::int64_t first, std::span<std::int32_t> out) const noexcept;

  /// Tokens first .. first + count - 1, sharing memory.
  token_stream slice(std::int64_t first, std::int64_t count) const;

  /// The largest token; -1 of none. Reads all of them.
  std::int64_t largest() const noexcept;

 private:
  std::vector<token_segment> segments_;
  std::vector<std::int64_t> starts_;  // by segment: its first token's position in the stream
  std::int64_t size_ = 0;
};

}  // namespace troupe
