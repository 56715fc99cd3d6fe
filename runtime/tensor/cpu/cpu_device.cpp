#include <cassert>

#include "runtime/tensor/cpu/cpu_stream.hpp"
#include "runtime/tensor/memory_pool.hpp"

namespace troupe {

namespace {

class cpu_device_type final : public device {
 public:
  std::string name() const override { return "cpu"; }
  bool is_host() const noexcept override { return true; }
  bool supports(precision_kind precision) const noexcept override {
    return precision == precision_kind::automatic || precision == precision_kind::float32;
  }
  std::unique_ptr<stream> make_stream(const stream_options& options) override {
    assert(supports(options.precision));
    return std::make_unique<cpu::cpu_stream>(*this, options.threads);
  }
  tensor allocate(dtype type, shape extents) override {
    const auto bytes = static_cast<std::size_t>(extents.count()) * size_bytes(type);
    return {pool_.allocate(bytes), 0, type, extents};
  }
  memory_usage memory() const override { return pool_.usage(); }
  void trim() override { pool_.trim(); }

 private:
  memory_pool pool_;
};

}  // namespace

device& cpu_device() {
  // Never destroyed: buffers may outlive every other static object.
  static auto& only = *new cpu_device_type;
  return only;
}

}  // namespace troupe
