#include "models/formats/huggingface.hpp"
#include "models/formats/huggingface_config.hpp"
#include "models/json_file.hpp"
#include "models/formats/safetensors.hpp"
#include "tests/fuzz/fuzz.hpp"

// The bytes are the index of a model whose tensors lie in two files.

namespace {

using namespace troupe;

transformer_settings settings() {
  auto out = transformer_settings::llama();
  out.vocabulary = 3;
  out.context = 2;
  out.layers = out.heads = 1;
  out.channels = 2;
  out.feed_forward_channels = 2;
  return resolved(out);
}

std::string file_of(const std::string& tensor) { return tensor.size() % 2 == 0 ? "one" : "two"; }

}  // namespace

std::vector<std::string> troupe::fuzz::seeds() {
  write_json_file(scratch_folder() / "config.json", write_huggingface_config(settings(), -1, dtype::float32));
  std::map<std::string, std::vector<named_tensor>> files;
  nlohmann::json index;
  for (const auto& each : huggingface_correspondences(huggingface_family::llama, settings()))
    for (const auto& piece : each.pieces) {
      const auto extents = each.extents.rank() == 1 ? shape{piece.rows} : shape{piece.rows, each.extents[1]};
      files[file_of(piece.name)].push_back({piece.name, make_host_tensor(dtype::float32, extents)});
      index["weight_map"][piece.name] = file_of(piece.name);
    }
  for (const auto& [name, tensors] : files)
    write_safetensors(scratch_folder() / name, tensors, {});
  return {index.dump()};
}

void troupe::fuzz::read(std::string_view bytes) {
  scratch_file(bytes, "model.safetensors.index.json");
  import_huggingface(scratch_folder());
}
