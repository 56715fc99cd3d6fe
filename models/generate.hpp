#pragma once

/// Text from a language model, token by token, with a key/value cache:
///
///     generate(model, stream, parameters, prompt, settings, [](std::int32_t token) { ...; return true; });

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "models/model.hpp"
#include "models/sampler.hpp"

namespace troupe {

/// The model's view of one growing text. Owned and used by one thread.
class decoder {
 public:
  /// `parameters` by index in the model's space, on the stream's device; `context`: most positions the model has.
  decoder(const model& of, stream& on, std::vector<tensor> parameters, std::int64_t context);

  /// Appends tokens (at least one); returns the logits of the token after them. Where the text outgrows the context,
  /// the model goes on from its last half: one long pass each context / 2 tokens.
  std::vector<float> advance(std::span<const std::int32_t> tokens);

 private:
  const model& model_;
  pass pass_;
  key_value_cache cache_;
  std::vector<std::int32_t> text_;

  std::vector<float> run(std::span<const std::int32_t> tokens);
};

struct generation_settings {
  sampling_settings sampling;
  std::int64_t tokens_max = 256;  ///< to generate
  std::int64_t context = 0;       ///< of the model
  std::int32_t stop_token = -1;   ///< ends the text; not reported; -1: none
};

/// Calls `on_token` with each generated token until it returns false, `tokens_max` are out, or `stop_token` is drawn.
/// Returns how many it called. Throws std::invalid_argument for impossible settings and input_error for a prompt that
/// is empty or holds a token that the model does not have.
std::int64_t generate(const model& of, stream& on, std::vector<tensor> parameters,
                      std::span<const std::int32_t> prompt, const generation_settings& settings,
                      const std::function<bool(std::int32_t)>& on_token);

}  // namespace troupe
