#include "models/transformer.hpp"

#include <cmath>
#include <stdexcept>

#include <fmt/format.h>

#include "models/layers/embedding.hpp"
#include "models/layers/softmax_head.hpp"
#include "models/layers/transformer_block.hpp"

namespace troupe {

namespace {

using position_kind = transformer_settings::position_kind;
using feed_forward_kind = transformer_settings::feed_forward_kind;

[[noreturn]] void impossible(const std::string& what) {
  throw std::invalid_argument("model." + what);
}

void require_positive(std::int64_t value, const char* name) {
  if (value <= 0)
    impossible(fmt::format("{}: found {}, expected a positive number", name, value));
}

void require_divides(std::int64_t part, const char* part_name, std::int64_t whole, const char* whole_name) {
  if (whole % part != 0)
    impossible(fmt::format("{}: {} does not divide {} = {}", part_name, part, whole_name, whole));
}

norm_settings norm_of(const transformer_settings& settings) {
  return {settings.norm, settings.channels, settings.norm_epsilon, settings.bias};
}

transformer_block_settings block_of(const transformer_settings& settings, std::int64_t layer) {
  const auto start = initializer::normal(settings.initial_deviation);
  // 2 x layers projections add to the residual stream; their sum keeps the deviation of one.
  const auto residual_start =
      initializer::normal(settings.initial_deviation / std::sqrt(2.0 * static_cast<double>(settings.layers)));
  transformer_block_settings block;
  block.normalisation = norm_of(settings);
  block.attention = {.channels = settings.channels,
                     .heads = settings.heads,
                     .kv_heads = settings.kv_heads,
                     .rotary = settings.positions == position_kind::rotary,
                     .rotary_theta = settings.rotary_theta,
                     .bias = settings.bias,
                     .dropout = settings.dropout,
                     .layer = static_cast<std::size_t>(layer),
                     .start = start,
                     .projection_start = residual_start};
  block.feed_forward = {.nonlinearity = settings.feed_forward,
                        .channels = settings.channels,
                        .hidden = settings.feed_forward_channels,
                        .bias = settings.bias,
                        .start = start,
                        .down_start = residual_start};
  block.dropout = settings.dropout;
  return block;
}

}  // namespace

transformer_settings transformer_settings::gpt2() {
  return {};
}

transformer_settings transformer_settings::llama() {
  transformer_settings settings;
  settings.positions = position_kind::rotary;
  settings.norm = norm_kind::rms_norm;
  settings.feed_forward = feed_forward_kind::swiglu;
  settings.bias = false;
  settings.tied_head = false;
  return settings;
}

transformer_settings resolved(const transformer_settings& settings) {
  transformer_settings result = settings;
  require_positive(result.vocabulary, "vocabulary");
  require_positive(result.context, "context");
  require_positive(result.layers, "layers");
  require_positive(result.heads, "heads");
  require_positive(result.channels, "channels");
  require_divides(result.heads, "heads", result.channels, "channels");
  if (result.kv_heads == 0)
    result.kv_heads = result.heads;
  require_positive(result.kv_heads, "kv_heads");
  require_divides(result.kv_heads, "kv_heads", result.heads, "heads");
  if (result.positions == position_kind::rotary && result.channels / result.heads % 2 != 0)
    impossible(fmt::format("heads: rotary positions need an even head size, found channels / heads = {}",
                           result.channels / result.heads));
  if (result.feed_forward_channels == 0)
    // Three matrices instead of two: 8/3 x channels keeps the number of parameters (Shazeer 2020, arXiv:2002.05202).
    result.feed_forward_channels = result.feed_forward == feed_forward_kind::swiglu
                                       ? (8 * result.channels + 95) / 96 * 32
                                       : 4 * result.channels;
  require_positive(result.feed_forward_channels, "feed_forward_channels");
  if (!(result.dropout >= 0.0 && result.dropout < 1.0))
    impossible(fmt::format("dropout: found {}, expected at least 0 and less than 1", result.dropout));
  return result;
}

model make_transformer(const transformer_settings& unresolved) {
  const transformer_settings settings = resolved(unresolved);
  const auto start = initializer::normal(settings.initial_deviation);
  std::vector<model::named_layer> blocks;
  blocks.push_back({"embedding", std::make_unique<embedding>(embedding_settings{
                                     .vocabulary = settings.vocabulary,
                                     .channels = settings.channels,
                                     .positions = settings.positions == position_kind::learned ? settings.context : 0,
                                     .dropout = settings.dropout,
                                     .start = start})});
  for (std::int64_t layer = 0; layer < settings.layers; ++layer)
    blocks.push_back({fmt::format("blocks.{}", layer), std::make_unique<transformer_block>(block_of(settings, layer))});
  blocks.push_back({"head", std::make_unique<softmax_head>(softmax_head_settings{
                                .channels = settings.channels,
                                .classes = settings.vocabulary,
                                .normalisation = norm_of(settings),
                                .tied_to = settings.tied_head ? "embedding.token" : "",
                                .start = start})});
  return model(std::move(blocks));
}

double flops_per_token(const transformer_settings& unresolved) {
  const transformer_settings settings = resolved(unresolved);
  const std::int64_t head_size = settings.channels / settings.heads;
  const std::int64_t qkv = (settings.heads + 2 * settings.kv_heads) * head_size * settings.channels;
  const std::int64_t projection = settings.channels * settings.channels;
  const std::int64_t feed_forward = (settings.feed_forward == feed_forward_kind::swiglu ? 3 : 2) *
                                    settings.feed_forward_channels * settings.channels;
  const std::int64_t multiplying =
      settings.layers * (qkv + projection + feed_forward) + settings.vocabulary * settings.channels;
  return 6.0 * static_cast<double>(multiplying) +
         12.0 * static_cast<double>(settings.layers * settings.channels * settings.context);
}

}  // namespace troupe
