// The library's one exported function: see runtime/tensor/device_module.hpp.

#include "gpu/cuda_device.hpp"
#include "gpu/matrix_products.hpp"
#include "gpu/measure.hpp"
#include "gpu/nccl_channel.hpp"
#include "runtime/tensor/device_module.hpp"
#include "runtime/tensor/seam_fingerprint.hpp"

namespace {

using namespace troupe;

constexpr device_module module{
    .seam = compiled_seam_fingerprint,
    .count = gpu::device_count,
    .at = [](int index) -> device& { return gpu::device_at(index); },
    .facts = [](int index) { return gpu::facts_of(gpu::device_at(index)); },
    .rates = [](int index) { return gpu::measure(gpu::device_at(index)); },
    .arithmetic = [](int index) { return gpu::arithmetic_of(gpu::device_at(index)); },
    .attention = [](int index) { return gpu::attention_of(gpu::device_at(index)); },
    .channels = [](int index) -> std::shared_ptr<channel_maker> {
      return std::make_shared<gpu::nccl_channel_maker>(gpu::device_at(index));
    },
    .stream_bytes = gpu::matrix_products::workspace_bytes,
};

}  // namespace

extern "C" [[gnu::visibility("default")]] const device_module* troupe_device_module() { return &module; }
