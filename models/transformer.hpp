#pragma once

#include <cstdint>
#include <string>

#include "models/layers/feed_forward.hpp"
#include "models/layers/norm.hpp"
#include "models/model.hpp"

namespace troupe {

/// A decoder-only transformer that spans GPT-2 (Radford et al. 2019) and Llama (Touvron et al. 2023,
/// arXiv:2302.13971). The presets `gpt2()` and `llama()` fill in the architecture of the papers, not the sizes.
struct transformer_settings {
  enum class position_kind : std::uint8_t { learned, rotary };
  using norm_kind = troupe::norm_kind;
  using feed_forward_kind = feed_forward_settings::kind;

  std::int64_t vocabulary = 0;  ///< tokens; from the tokenizer where a run file does not say
  std::int64_t context = 64;    ///< most positions a sequence has
  std::int64_t layers = 4;
  std::int64_t heads = 4;
  std::int64_t kv_heads = 0;  ///< grouped-query attention (Ainslie et al. 2023, arXiv:2305.13245); 0: as many as heads
  std::int64_t channels = 128;
  std::int64_t feed_forward_channels = 0;  ///< 0: 4 x channels, or for swiglu 8/3 x channels rounded up to 32
  position_kind positions = position_kind::learned;
  norm_kind norm = norm_kind::layer_norm;
  feed_forward_kind feed_forward = feed_forward_kind::gelu_tanh;
  bool bias = true;
  bool tied_head = true;
  double dropout = 0.0;
  double norm_epsilon = 1e-5;
  double rotary_theta = 10000.0;
  double initial_deviation = 0.02;  ///< residual projections are scaled by 1 / sqrt(2 x layers), as in GPT-2

  // Bounds of common sense, for whoever reads settings from a file: no model is larger, and products of them stay
  // within 64 bits.
  static constexpr std::int64_t extent_max = 1 << 20;
  static constexpr std::int64_t layers_max = 4096;
  static constexpr std::int64_t vocabulary_max = 1 << 28;

  static transformer_settings gpt2();
  static transformer_settings llama();
};

/// Checks the settings and replaces every 0 that stands for a default. Throws std::invalid_argument naming the
/// setting that is impossible (heads that do not divide channels, ...).
transformer_settings resolved(const transformer_settings& settings);

/// Blocks: "embedding", "blocks.0" .. "blocks.N-1", "head". Throws as `resolved` does.
model make_transformer(const transformer_settings& settings);

/// FLOPs of one training step (forward and backward) for each token: 6 per parameter that multiplies
/// (PaLM's convention, arXiv:2204.02311, appendix B), plus 12 x layers x channels x context for attention.
double flops_per_token(const transformer_settings& settings);

}  // namespace troupe
