#include "models/parameters.hpp"

#include <algorithm>
#include <array>
#include <cassert>
#include <stdexcept>

#include <fmt/format.h>
#include <xxhash.h>

#include "runtime/tensor/random.hpp"

namespace troupe {

std::size_t parameter_space::add(std::string name, troupe::shape extents, initializer start, parameter_kind kind) {
  if (find(name) != size())
    throw std::invalid_argument(fmt::format("two parameters are named '{}': give each layer another prefix", name));
  parameters_.push_back({std::move(name), extents, count_, block_, start, kind, kind != parameter_kind::vector});
  count_ += extents.count();
  return parameters_.size() - 1;
}

std::size_t parameter_space::find(std::string_view name) const noexcept {
  const auto at = std::ranges::find(parameters_, name, &parameter::name);
  return static_cast<std::size_t>(at - parameters_.begin());
}

namespace {

/// Fills `out` from the key's sequence, four values of a block at a time.
template <class Draw>
void fill(const random_key& key, std::span<float> out, Draw draw) {
  for (std::size_t i = 0; i < out.size(); i += 4) {
    const std::array<float, 4> values = draw(random_block(key, i / 4));
    std::copy_n(values.begin(), std::min<std::size_t>(4, out.size() - i), out.begin() + static_cast<std::ptrdiff_t>(i));
  }
}

}  // namespace

void initialize(const parameter& which, std::uint64_t seed, std::span<float> out) {
  assert(out.size() == static_cast<std::size_t>(which.count()));
  const random_key key{seed, XXH3_64bits(which.name.data(), which.name.size())};
  const auto scale = static_cast<float>(which.start.scale);
  switch (which.start.distribution) {
    case initializer::kind::zeros:
      std::ranges::fill(out, 0.0f);
      break;
    case initializer::kind::ones:
      std::ranges::fill(out, 1.0f);
      break;
    case initializer::kind::normal:
      fill(key, out, [scale](const philox_block& words) {
        std::array<float, 4> values = normals(words);
        for (float& value : values)
          value *= scale;
        return values;
      });
      break;
    case initializer::kind::uniform:
      fill(key, out, [scale](const philox_block& words) {
        std::array<float, 4> values;
        std::ranges::transform(words, values.begin(), [scale](auto word) { return scale * (2 * uniform(word) - 1); });
        return values;
      });
      break;
  }
}

}  // namespace troupe
