#include "models/data/content_hash.hpp"

#include <fmt/format.h>
#include <xxhash.h>

namespace troupe {

std::string to_string(const digest& value) {
  return fmt::format("{:016x}{:016x}", value[0], value[1]);
}

struct content_hash::state {
  XXH3_state_t* const xxh = XXH3_createState();

  state() { XXH3_128bits_reset(xxh); }
  ~state() { XXH3_freeState(xxh); }
};

content_hash::content_hash() : state_(std::make_unique<state>()) {}
content_hash::~content_hash() = default;

content_hash& content_hash::add_raw(const void* data, std::size_t size_bytes) {
  XXH3_128bits_update(state_->xxh, data, size_bytes);
  return *this;
}

digest content_hash::value() const {
  const XXH128_hash_t hash = XXH3_128bits_digest(state_->xxh);
  return {hash.high64, hash.low64};
}

}  // namespace troupe
