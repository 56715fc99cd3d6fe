#include <algorithm>
#include <fstream>
#include <iterator>

#include "models/formats/huggingface.hpp"
#include "runtime/error.hpp"
#include "tests/fuzz/fuzz.hpp"

// The bytes are the config.json of a small GPT-2 or Llama.

namespace {

using namespace troupe;

/// A folder with a model of a few hundred parameters.
std::filesystem::path exported(transformer_settings settings, const std::string& name) {
  settings.vocabulary = 5;
  settings.context = 4;
  settings.layers = 1;
  settings.heads = 2;
  settings.channels = 4;
  settings.feed_forward_channels = 8;
  pretrained what{settings, {}, nullptr};
  const auto model = make_transformer(settings);
  for (const auto& each : model.parameters()) {
    auto value = make_host_tensor(dtype::float32, each.extents);
    std::ranges::fill(value.mutable_elements<float>(), 0.0f);
    what.parameters.push_back({each.name, value});
  }
  const auto folder = fuzz::scratch_folder() / name;
  export_huggingface(what, folder);
  return folder;
}

const std::filesystem::path& gpt2() {
  static const auto folder = exported(transformer_settings::gpt2(), "gpt2");
  return folder;
}

const std::filesystem::path& llama() {
  static const auto folder = exported(transformer_settings::llama(), "llama");
  return folder;
}

void import(const std::filesystem::path& folder, std::string_view config) {
  std::ofstream(folder / "config.json", std::ios::binary | std::ios::trunc) << config;
  const auto model = import_huggingface(folder);
  if (make_transformer(model.settings).parameters().size() != model.parameters.size())
    throw std::logic_error("an imported model lacks parameters");
}

}  // namespace

std::vector<std::string> troupe::fuzz::seeds() {
  std::vector<std::string> out;
  for (const auto& folder : {gpt2(), llama()}) {
    std::ifstream in(folder / "config.json", std::ios::binary);
    out.emplace_back(std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>());
  }
  return out;
}

void troupe::fuzz::read(std::string_view bytes) {
  try {
    import(gpt2(), bytes);
  } catch (const input_error&) {
    import(llama(), bytes);
  }
}
