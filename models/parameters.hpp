#pragma once

/// The flat parameter space: every parameter of a model by name, in one row of elements.

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "runtime/tensor/shape.hpp"

namespace troupe {

/// How a parameter starts. Values are drawn by Philox from (seed, parameter name): the same
/// whatever the sharding, device or number of threads.
struct initializer {
  enum class kind : std::uint8_t { zeros, ones, normal, uniform };
  kind distribution = kind::zeros;
  double scale = 0.0;  ///< standard deviation, or half-width of the uniform

  static constexpr initializer zeros() noexcept { return {}; }
  static constexpr initializer ones() noexcept { return {kind::ones, 0.0}; }
  static constexpr initializer normal(double deviation) noexcept { return {kind::normal, deviation}; }
  static constexpr initializer uniform(double half_width) noexcept { return {kind::uniform, half_width}; }
};

/// What a parameter is to an optimizer: weight decay acts on all but vectors, Muon on matrices alone.
enum class parameter_kind : std::uint8_t {
  matrix,  ///< multiplies hidden activations
  table,   ///< an embedding, or the weight of the output head
  vector,  ///< a bias or the gain of a normalisation
};

/// A named tensor in the flat parameter space.
struct parameter {
  std::string name;         ///< unique, such as "blocks.3.attention.qkv.weight"
  troupe::shape extents = {};
  std::int64_t offset = 0;  ///< first element in the space
  std::size_t block = 0;    ///< the block that owns it; its gradient is complete after that block's backward pass
  initializer start = {};
  parameter_kind kind = parameter_kind::matrix;
  bool decays = false;      ///< weight decay applies

  std::int64_t count() const noexcept { return extents.count(); }
};

/// The parameters in order of block, without gaps.
class parameter_space {
 public:
  /// Appends a parameter of the block under construction; returns its index.
  /// Throws std::invalid_argument where the name is taken.
  std::size_t add(std::string name, troupe::shape extents, initializer start, parameter_kind kind);
  /// Parameters added from here on belong to the next block.
  void next_block() noexcept { ++block_; }

  std::size_t size() const noexcept { return parameters_.size(); }
  const parameter& operator[](std::size_t index) const noexcept { return parameters_[index]; }
  auto begin() const noexcept { return parameters_.begin(); }
  auto end() const noexcept { return parameters_.end(); }
  /// Elements of all parameters.
  std::int64_t count() const noexcept { return count_; }
  /// Index by name; `size()` where there is none such.
  std::size_t find(std::string_view name) const noexcept;

 private:
  std::vector<parameter> parameters_;
  std::int64_t count_ = 0;
  std::size_t block_ = 0;
};

/// Writes the parameter's initial values (float32, host) to `out`.
void initialize(const parameter& which, std::uint64_t seed, std::span<float> out);

}  // namespace troupe
