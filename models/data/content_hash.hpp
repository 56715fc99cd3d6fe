#pragma once

#include <xxhash.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace troupe {

/// 128 bits that name a content.
using digest = std::array<std::uint64_t, 2>;

/// 32 hexadecimal digits.
std::string to_string(const digest& value);

/// xxh3-128 over a sequence of fields.
class content_hash {
 public:
  content_hash() : state_(XXH3_createState(), &XXH3_freeState) { XXH3_128bits_reset(state_.get()); }

  /// The field goes in with its length, so that moving a boundary between two gives another digest.
  content_hash& add(std::string_view field) {
    return add(static_cast<std::uint64_t>(field.size())).add_raw(field.data(), field.size());
  }
  content_hash& add(std::uint64_t value) { return add_raw(&value, sizeof value); }
  content_hash& add(const digest& value) { return add(value[0]).add(value[1]); }
  /// Without the length: for a field that comes in pieces.
  content_hash& add_raw(const void* data, std::size_t size_bytes) {
    XXH3_128bits_update(state_.get(), data, size_bytes);
    return *this;
  }

  digest value() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return {hash.high64, hash.low64};
  }

 private:
  std::unique_ptr<XXH3_state_t, decltype(&XXH3_freeState)> state_;
};

}  // namespace troupe
