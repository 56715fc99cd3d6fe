#pragma once

/// Subwords, by the sentencepiece library (Kudo and Richardson 2018, arXiv:1808.06226).

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "models/data/tokenizer.hpp"

namespace troupe {

/// A model as sentencepiece serializes it: the bytes of a .model file. Its end-of-sentence piece, if it has one, ends
/// documents. Throws input_error where the bytes are no such model.
std::shared_ptr<const tokenizer> load_sentencepiece(std::string_view model);

/// The same of a file; messages name it.
std::shared_ptr<const tokenizer> load_sentencepiece_file(const std::string& path);

/// Trains byte-pair encoding (Sennrich, Haddow and Birch 2016, arXiv:1508.07909) of `vocabulary` pieces on the text,
/// with bytes for what the pieces do not cover, so that every UTF-8 text is represented and comes back unchanged (but
/// for U+2581, which sentencepiece uses for the space). The same text gives the same model.
/// Throws input_error where the text is too little or too varied for the vocabulary.
std::shared_ptr<const tokenizer> train_sentencepiece(std::string_view text, std::int64_t vocabulary);

}  // namespace troupe
