#include <algorithm>
#include <map>

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

tensor zeros(shape extents) {
  auto value = make_host_tensor(dtype::float32, extents);
  std::ranges::fill(value.mutable_elements<float>(), 0.0f);
  return value;
}

/// Our parameters under their names and in their layout.
std::vector<named_tensor> spread(const pretrained& what, huggingface_family family, dtype type) {
  std::map<std::string, tensor> ours;
  for (const auto& each : what.parameters)
    ours.emplace(each.name, each.value);
  std::vector<named_tensor> out;
  for (const auto& each : huggingface_correspondences(family, resolved(what.settings))) {
    const auto found = ours.find(each.name);
    if (found == ours.end() && !each.may_be_absent)
      throw input_error(fmt::format("the model has no parameter '{}'", each.name));
    const auto value = found == ours.end() ? zeros(each.extents) : found->second;
    if (value.shape() != each.extents || value.type() != dtype::float32)
      throw input_error(fmt::format("parameter '{}' is {}, expected float32{}", each.name, describe(value),
                                    to_string(each.extents)));
    if (each.transposed) {
      out.push_back({each.pieces.front().name, converted(transposed(value), type)});
      continue;
    }
    const auto row = value.count() / value.shape()[0];
    std::int64_t first = 0;
    for (const auto& piece : each.pieces) {
      const auto extents = value.shape().rank() == 1 ? shape{piece.rows} : shape{piece.rows, row};
      out.push_back({piece.name, converted(value.slice(first * row, extents), type)});
      first += piece.rows;
    }
  }
  return out;
}

void write_files(const pretrained& what, const std::vector<named_tensor>& tensors, const std::filesystem::path& folder,
                 dtype type) {
  write_safetensors(folder / "model.safetensors", tensors, {{"format", "pt"}});
  const auto end_token = what.tokens ? what.tokens->end_of_document() : -1;
  write_json_file(folder / "config.json", write_huggingface_config(what.settings, end_token, type));
  if (what.tokens)
    write_huggingface_tokenizer(*what.tokens, what.settings.context, folder);
}

}  // namespace

void export_huggingface(const pretrained& what, const std::filesystem::path& folder, dtype type) {
  const auto family = family_of(what.settings);
  const auto tensors = spread(what, family, type);
  std::error_code error;
  const bool is_new = std::filesystem::create_directories(folder, error);
  if (error)
    throw system_error(fmt::format("{}: cannot create the folder: {}", folder.string(), error.message()));
  try {
    write_files(what, tensors, folder, type);
  } catch (...) {
    if (is_new)
      std::filesystem::remove_all(folder, error);
    throw;
  }
}

}  // namespace troupe
