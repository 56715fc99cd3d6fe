#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

namespace troupe {

/// A 128-bit xxh3.
struct checksum {
  std::uint64_t low = 0;
  std::uint64_t high = 0;

  friend bool operator==(const checksum&, const checksum&) = default;
};

/// 32 hexadecimal digits, high half first, as `xxhsum -H2` prints.
std::string to_string(const checksum& value);

checksum checksum_of(std::span<const std::byte> bytes) noexcept;

/// The checksum of bytes that come in pieces.
class running_checksum {
 public:
  running_checksum();
  ~running_checksum();
  running_checksum(const running_checksum&) = delete;
  running_checksum& operator=(const running_checksum&) = delete;

  void add(std::span<const std::byte> bytes) noexcept;
  checksum value() const noexcept;

 private:
  struct state;
  std::unique_ptr<state> state_;
};

}  // namespace troupe
