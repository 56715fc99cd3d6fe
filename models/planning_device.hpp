#pragma once

#include <map>
#include <mutex>

#include "runtime/tensor/device.hpp"

namespace troupe {

/// How the device that is planned for takes memory.
struct planned_hardware {
  precision_kind precision = precision_kind::float32;  ///< of passes
  bool is_host = true;           ///< whose memory is taken when it is touched; a GPU's is when it is reserved
  std::size_t stream_bytes = 0;  ///< what a stream takes for itself

  /// Of one tensor.
  std::size_t bytes_of(dtype type, const shape& extents) const noexcept;
};

/// A device that computes nothing and hands out handles without memory: running a program on it tells how much memory
/// the program takes. Contents must not be read. Thread safe; must outlive its tensors.
class planning_device final : public device {
 public:
  explicit planning_device(const planned_hardware& as = {}) : as_(as) {}

  std::string name() const override { return "planning"; }
  bool is_host() const noexcept override { return false; }
  bool supports(precision_kind) const noexcept override { return true; }
  std::unique_ptr<stream> make_stream(const stream_options& options) override;
  tensor allocate(dtype type, shape extents) override;
  /// `reserved_bytes` is what a caching pool would hold at the end, whose blocks are reused for their own size
  /// only: see runtime/tensor/memory_pool.hpp.
  memory_usage memory() const override;
  void trim() override {}

 private:
  class planned_buffer;

  struct size_class {
    std::size_t in_use = 0;  ///< blocks
    std::size_t peak = 0;
    std::size_t size_bytes_max = 0;
  };

  planned_hardware as_;
  mutable std::mutex mutex_;
  std::map<std::size_t, size_class> classes_;  ///< by rounded size
  std::size_t in_use_bytes_ = 0;
  std::size_t peak_bytes_ = 0;

  void take(std::size_t size_bytes);
  void give_back(std::size_t size_bytes);
};

}  // namespace troupe
