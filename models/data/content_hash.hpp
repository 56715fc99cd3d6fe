#pragma once

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
  content_hash();
  ~content_hash();

  /// The field goes in with its length, so that moving a boundary between two gives another digest.
  content_hash& add(std::string_view field) {
    return add(static_cast<std::uint64_t>(field.size())).add_raw(field.data(), field.size());
  }
  content_hash& add(std::uint64_t value) { return add_raw(&value, sizeof value); }
  content_hash& add(const digest& value) { return add(value[0]).add(value[1]); }
  /// Without the length: for a field that comes in pieces.
  content_hash& add_raw(const void* data, std::size_t size_bytes);

  digest value() const;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace troupe
