#include "runtime/checkpoint/checksum.hpp"

// g++ 12 takes the "undefined" vectors of its own AVX-512 header for mistakes.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#define XXH_INLINE_ALL  // vectorised for this build's processor; the packaged library is not
#include <xxhash.h>

#include <fmt/format.h>

namespace troupe {

struct running_checksum::state {
  XXH3_state_t xxh;
};

std::string to_string(const checksum& value) { return fmt::format("{:016x}{:016x}", value.high, value.low); }

checksum checksum_of(std::span<const std::byte> bytes) noexcept {
  const auto hash = XXH3_128bits(bytes.data(), bytes.size());
  return {hash.low64, hash.high64};
}

running_checksum::running_checksum() : state_(std::make_unique<state>()) { XXH3_128bits_reset(&state_->xxh); }

running_checksum::~running_checksum() = default;

void running_checksum::add(std::span<const std::byte> bytes) noexcept {
  XXH3_128bits_update(&state_->xxh, bytes.data(), bytes.size());
}

checksum running_checksum::value() const noexcept {
  const auto hash = XXH3_128bits_digest(&state_->xxh);
  return {hash.low64, hash.high64};
}

}  // namespace troupe
