#pragma once

#include <functional>
#include <memory>
#include <string_view>

#include "models/data/corpus.hpp"
#include "models/data/token_cache.hpp"
#include "models/data/tokenizer.hpp"

namespace troupe {

/// The tokenizer that the settings name, made from the corpus where they ask for that.
std::shared_ptr<const tokenizer> make_tokenizer(const tokenizer_settings& settings, const corpus& text);

/// The tokenizer of the file `settings.model`. REQUIRES: settings.reads_model().
std::shared_ptr<const tokenizer> load_tokenizer_model(const tokenizer_settings& settings);

/// Names what `make_tokenizer` makes of a given corpus.
digest identity(const tokenizer_settings& settings);

/// Writes the corpus's tokens: documents one after another, with the tokenizer's end of document between each two, or
/// a newline where it has none. `progress` hears the fraction done.
void tokenize(const corpus& text, const tokenizer& tokens, token_cache_writer& out,
              const std::function<void(double)>& progress);

}  // namespace troupe
