#include <fstream>
#include <iterator>

#include "models/formats/safetensors.hpp"
#include "runtime/checkpoint/fingerprint.hpp"
#include "tests/fuzz/fuzz.hpp"

std::vector<std::string> troupe::fuzz::seeds() {
  const auto written = [](const std::vector<named_tensor>& tensors,
                          const std::map<std::string, std::string>& metadata) {
    const auto file = scratch_folder() / "seed";
    write_safetensors(file, tensors, metadata);
    std::ifstream in(file, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  return {written({}, {}),
          written({{"a", make_host_tensor(dtype::float32, {2, 3})}, {"b", make_host_tensor(dtype::bfloat16, {})}},
                  {{"format", "pt"}}),
          written({{"x.weight", make_host_tensor(dtype::uint8, {1, 2, 1, 5, 1, 1})},
                   {"x.bias", make_host_tensor(dtype::float64, {0})},
                   {"y", make_host_tensor(dtype::int64, {3})}}, {})};
}

void troupe::fuzz::read(std::string_view bytes) {
  const auto file = read_safetensors(scratch_file(bytes));
  for (const auto& each : file.tensors)
    fingerprint(std::span(&each.value, 1));  // reads every byte
}
