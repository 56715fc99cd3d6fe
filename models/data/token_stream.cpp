#include "models/data/token_stream.hpp"

#include <algorithm>
#include <cassert>
#include <cstring>

namespace troupe {

namespace {

/// Calls f with a typed pointer to the segment's tokens. Whoever makes a segment aligns it.
template <class F>
auto with_tokens(const token_segment& segment, F f) {
  return segment.token_bytes == 2 ? f(reinterpret_cast<const std::uint16_t*>(segment.data))
                                  : f(reinterpret_cast<const std::uint32_t*>(segment.data));
}

}  // namespace

token_stream::token_stream(std::vector<token_segment> segments) : segments_(std::move(segments)) {
  for (const token_segment& segment : segments_) {
    assert(segment.token_bytes == 2 || segment.token_bytes == 4);
    starts_.push_back(size_);
    size_ += segment.count;
  }
}

void token_stream::read(std::int64_t first, std::span<std::int32_t> out) const noexcept {
  assert(first >= 0 && first + static_cast<std::int64_t>(out.size()) <= size_);
  auto at = static_cast<std::size_t>(std::upper_bound(starts_.begin(), starts_.end(), first) - starts_.begin());
  for (std::size_t done = 0; done < out.size();) {
    const token_segment& segment = segments_[at - 1];
    const std::int64_t skip = first + static_cast<std::int64_t>(done) - starts_[at - 1];
    const std::int64_t count = std::min(segment.count - skip, static_cast<std::int64_t>(out.size() - done));
    with_tokens(segment, [&](const auto* tokens) { std::copy_n(tokens + skip, count, out.begin() + done); });
    done += static_cast<std::size_t>(count);
    ++at;
  }
}

token_stream token_stream::slice(std::int64_t first, std::int64_t count) const {
  assert(first >= 0 && count >= 0 && first + count <= size_);
  std::vector<token_segment> parts;
  for (std::size_t i = 0; i < segments_.size(); ++i) {
    const std::int64_t begin = std::max(first, starts_[i]);
    const std::int64_t end = std::min(first + count, starts_[i] + segments_[i].count);
    if (begin >= end)
      continue;
    token_segment part = segments_[i];
    part.data += static_cast<std::size_t>(begin - starts_[i]) * part.token_bytes;
    part.count = end - begin;
    parts.push_back(std::move(part));
  }
  return token_stream(std::move(parts));
}

std::int64_t token_stream::largest() const noexcept {
  std::int64_t largest = -1;
  for (const token_segment& segment : segments_)
    with_tokens(segment, [&](const auto* tokens) {
      auto local = *tokens;  // of the narrow type, so that the loop is vectorised
      for (std::int64_t i = 0; i < segment.count; ++i)
        local = std::max(local, tokens[i]);
      largest = std::max<std::int64_t>(largest, local);
    });
  return largest;
}

}  // namespace troupe
