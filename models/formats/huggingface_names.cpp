#include "models/formats/huggingface_names.hpp"

#include <utility>

#include <fmt/format.h>

namespace troupe {

namespace {

using table = std::vector<huggingface_correspondence>;

void add(table& out, std::string ours, std::string theirs, shape extents) {
  out.push_back({std::move(ours), extents, {{std::move(theirs), extents[0]}}, false, false});
}

void add_bias(table& out, std::string ours, std::string theirs, std::int64_t count) {
  out.push_back({std::move(ours), {count}, {{std::move(theirs), count}}, false, true});
}

/// GPT-2's linear layers are called Conv1D and keep [in, out].
void add_conv1d(table& out, const std::string& ours, const std::string& theirs, std::int64_t outputs,
                std::int64_t inputs) {
  out.push_back({ours + ".weight", {outputs, inputs}, {{theirs + ".weight", outputs}}, true, false});
  add_bias(out, ours + ".bias", theirs + ".bias", outputs);
}

void add_layer_norm(table& out, const std::string& ours, const std::string& theirs, std::int64_t channels) {
  add(out, ours + ".weight", theirs + ".weight", {channels});
  add_bias(out, ours + ".bias", theirs + ".bias", channels);
}

table gpt2_table(const transformer_settings& settings) {
  const auto channels = settings.channels;
  table out;
  add(out, "embedding.token", "transformer.wte.weight", {settings.vocabulary, channels});
  add(out, "embedding.position", "transformer.wpe.weight", {settings.context, channels});
  for (std::int64_t layer = 0; layer < settings.layers; ++layer) {
    const auto ours = fmt::format("blocks.{}", layer);
    const auto theirs = fmt::format("transformer.h.{}", layer);
    add_layer_norm(out, ours + ".norm1", theirs + ".ln_1", channels);
    add_conv1d(out, ours + ".attention.qkv", theirs + ".attn.c_attn", 3 * channels, channels);
    add_conv1d(out, ours + ".attention.projection", theirs + ".attn.c_proj", channels, channels);
    add_layer_norm(out, ours + ".norm2", theirs + ".ln_2", channels);
    add_conv1d(out, ours + ".feed_forward.up", theirs + ".mlp.c_fc", settings.feed_forward_channels, channels);
    add_conv1d(out, ours + ".feed_forward.down", theirs + ".mlp.c_proj", channels, settings.feed_forward_channels);
  }
  add_layer_norm(out, "head.norm", "transformer.ln_f", channels);
  return out;
}

table llama_table(const transformer_settings& settings) {
  const auto channels = settings.channels;
  const auto kv_channels = settings.kv_heads * (channels / settings.heads);
  const auto hidden = settings.feed_forward_channels;
  table out;
  add(out, "embedding.token", "model.embed_tokens.weight", {settings.vocabulary, channels});
  for (std::int64_t layer = 0; layer < settings.layers; ++layer) {
    const auto ours = fmt::format("blocks.{}", layer);
    const auto theirs = fmt::format("model.layers.{}", layer);
    add(out, ours + ".norm1.weight", theirs + ".input_layernorm.weight", {channels});
    out.push_back({ours + ".attention.qkv.weight",
                   {channels + 2 * kv_channels, channels},
                   {{theirs + ".self_attn.q_proj.weight", channels},
                    {theirs + ".self_attn.k_proj.weight", kv_channels},
                    {theirs + ".self_attn.v_proj.weight", kv_channels}},
                   false, false});
    add(out, ours + ".attention.projection.weight", theirs + ".self_attn.o_proj.weight", {channels, channels});
    add(out, ours + ".norm2.weight", theirs + ".post_attention_layernorm.weight", {channels});
    out.push_back({ours + ".feed_forward.up.weight",
                   {2 * hidden, channels},
                   {{theirs + ".mlp.gate_proj.weight", hidden}, {theirs + ".mlp.up_proj.weight", hidden}},
                   false, false});
    add(out, ours + ".feed_forward.down.weight", theirs + ".mlp.down_proj.weight", {channels, hidden});
  }
  add(out, "head.norm.weight", "model.norm.weight", {channels});
  return out;
}

}  // namespace

table huggingface_correspondences(huggingface_family family, const transformer_settings& settings) {
  auto out = family == huggingface_family::gpt2 ? gpt2_table(settings) : llama_table(settings);
  if (!settings.tied_head)
    add(out, "head.weight", "lm_head.weight", {settings.vocabulary, settings.channels});
  return out;
}

}  // namespace troupe
