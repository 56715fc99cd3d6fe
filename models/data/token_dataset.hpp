#pragma once

#include "models/data/content_hash.hpp"
#include "models/data/dataset.hpp"
#include "models/data/token_stream.hpp"

namespace troupe {

/// What a dataset is made of, whatever the source.
struct token_dataset_parts {
  std::shared_ptr<const tokenizer> tokens;  ///< may be null
  std::int64_t vocabulary = 0;
  token_stream train, validation;
  digest content;  ///< of tokens and tokenizer
  data_settings::order_kind order = data_settings::order_kind::without_replacement;
  std::string summary;
  std::string warning;
};

std::shared_ptr<const dataset> make_dataset(token_dataset_parts parts);

/// The first tokens train, the last `fraction` of them validate.
/// Throws input_error where the fraction is not in [0, 1).
void split_tokens(const token_stream& all, double fraction, token_dataset_parts& parts);

}  // namespace troupe
