#pragma once

#include <memory>

#include "actors/job.hpp"
#include "models/transformer.hpp"

namespace troupe {

/// A job on tokens that a small transformer learns within a few steps.
inline job_inputs job_on_squares(transformer_settings settings, int tokens_count) {
  settings.vocabulary = 31;
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < tokens_count; ++i)
    tokens.push_back((i * i + i / 3) % 31);
  job_inputs inputs;
  inputs.model = std::make_shared<const model>(make_transformer(settings));
  inputs.data = make_token_dataset(std::move(tokens), settings.vocabulary);
  inputs.context = settings.context;
  return inputs;
}

}  // namespace troupe
