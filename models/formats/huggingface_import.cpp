#include <algorithm>
#include <cstring>
#include <map>
#include <set>

#include <fmt/format.h>

#include "models/formats/convert.hpp"
#include "models/formats/huggingface.hpp"
#include "models/formats/huggingface_config.hpp"
#include "models/formats/huggingface_names.hpp"
#include "models/formats/huggingface_tokenizer.hpp"
#include "models/json_file.hpp"
#include "models/formats/safetensors.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

namespace fs = std::filesystem;

/// Their tensors by name, each taken once.
class tensor_pool {
 public:
  /// Reads `model.safetensors`, or the files that `model.safetensors.index.json` lists.
  explicit tensor_pool(const fs::path& folder) : folder_(folder.string()) {
    const auto index = folder / "model.safetensors.index.json";
    if (!fs::exists(index)) {
      add(folder / "model.safetensors");
      return;
    }
    const auto listed = read_json_file(index);
    const auto source = index.string();
    const auto* files = json_members(listed, source).object("weight_map");
    if (!files)
      throw input_error(fmt::format("{}: has no object 'weight_map'", source));
    std::set<std::string> names;
    for (const auto& [tensor, file] : files->items()) {
      // Only files of this folder: an index comes from outside.
      if (!file.is_string() || fs::path(file.get<std::string>()).filename() != file.get<std::string>())
        throw input_error(fmt::format("{}: '{}' is in no file of this folder", source, tensor));
      names.insert(file.get<std::string>());
    }
    for (const auto& name : names)
      add(folder / name);
  }

  std::size_t size() const noexcept { return tensors_.size(); }

  /// As float32. Throws input_error where it is missing or has another shape.
  tensor take(const std::string& name, const shape& extents) {
    auto found = tensors_.find(name);
    if (found == tensors_.end())  // the bare model's file has no prefix
      found = tensors_.find(name.substr(name.find('.') + 1));
    if (found == tensors_.end())
      throw input_error(fmt::format("{}: there is no tensor '{}' that can be read", folder_, name));
    const auto value = found->second;
    const bool is_float = value.type() == dtype::float32 || value.type() == dtype::float64 ||
                          value.type() == dtype::bfloat16 || value.type() == dtype::float16;
    if (!is_float || value.shape() != extents)
      throw input_error(fmt::format("{}: tensor '{}' is {}, expected floating-point numbers of shape {}", folder_,
                                    name, describe(value), to_string(extents)));
    tensors_.erase(found);
    return converted(value, dtype::float32);
  }

  /// Forgets what holds no parameter; throws input_error where anything else is left.
  void finish(bool tied_head) {
    for (const auto& [name, value] : tensors_) {
      const bool is_buffer = name.ends_with(".attn.bias") || name.ends_with(".attn.masked_bias") ||
                             name.ends_with(".rotary_emb.inv_freq") || (tied_head && name == "lm_head.weight");
      if (!is_buffer)
        throw input_error(fmt::format("{}: tensor '{}' belongs to no part of the model that config.json tells of",
                                      folder_, name));
    }
  }

 private:
  void add(const fs::path& file) {
    auto read = read_safetensors(file);
    for (auto& each : read.tensors)
      if (!tensors_.emplace(each.name, std::move(each.value)).second)
        throw input_error(fmt::format("{}: tensor '{}' is in another file too", file.string(), each.name));
  }

  std::string folder_;
  std::map<std::string, tensor> tensors_;
};

/// One parameter of ours, from its pieces.
tensor gather(tensor_pool& theirs, const huggingface_correspondence& from) {
  if (from.transposed)
    return transposed(theirs.take(from.pieces.front().name, {from.extents[1], from.extents[0]}));
  const auto row = from.extents.count() / from.extents[0];
  const auto extents_of = [&](const huggingface_piece& piece) {
    return from.extents.rank() == 1 ? shape{piece.rows} : shape{piece.rows, row};
  };
  if (from.pieces.size() == 1)
    return theirs.take(from.pieces.front().name, extents_of(from.pieces.front()));
  std::vector<tensor> pieces;
  for (const auto& piece : from.pieces)
    pieces.push_back(theirs.take(piece.name, extents_of(piece)));
  auto whole = make_host_tensor(dtype::float32, from.extents);
  auto* out = whole.mutable_bytes();
  for (const auto& piece : pieces)
    out = std::copy_n(piece.bytes(), piece.size_bytes(), out);
  return whole;
}

}  // namespace

std::vector<named_tensor> parameters_of(const cut& from, const transformer_settings& settings) {
  std::vector<named_tensor> out;
  const auto model = make_transformer(settings);
  for (const auto& each : model.parameters()) {
    auto value = from.find(each.name);
    if (!value || value.shape() != each.extents || value.type() != dtype::float32)
      throw input_error(fmt::format("{}: parameter '{}' is {}, expected float32{}", from.path.string(), each.name,
                                    value ? describe(value) : "missing", to_string(each.extents)));
    out.push_back({each.name, std::move(value)});
  }
  return out;
}

pretrained import_huggingface(const fs::path& folder, std::string* note) {
  const auto config_file = folder / "config.json";
  const auto config = read_huggingface_config(read_json_file(config_file), config_file.string());
  tensor_pool theirs(folder);
  pretrained out;
  out.settings = config.settings;
  // Before anything is made of settings that only config.json vouches for.
  if (static_cast<std::size_t>(out.settings.layers) > theirs.size())
    throw input_error(fmt::format("{}: tells of {} layers, but there are {} tensors", config_file.string(),
                                  out.settings.layers, theirs.size()));
  for (const auto& each : huggingface_correspondences(config.family, out.settings)) {
    auto value = gather(theirs, each);
    const bool is_zero = each.may_be_absent && !out.settings.bias;
    if (!is_zero)
      out.parameters.push_back({each.name, std::move(value)});
    else if (std::ranges::any_of(value.elements<float>(), [](float x) { return x != 0.0f; }))
      throw input_error(fmt::format("{}: '{}' is not zero, though config.json says that the model has no biases",
                                    folder.string(), each.name));
  }
  theirs.finish(out.settings.tied_head);
  std::string reason;
  out.tokens = read_huggingface_tokenizer(folder, reason);
  if (note)
    *note = reason;
  return out;
}

}  // namespace troupe
