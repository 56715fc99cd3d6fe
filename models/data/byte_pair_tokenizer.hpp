#pragma once

/// Byte-level byte-pair encoding: the tokenizers of GPT-2 (Radford et al. 2019), of Llama 3 and of many after them, over
/// merges as Sennrich, Haddow and Birch (2016, arXiv:1508.07909) learn them.

#include <memory>
#include <string>
#include <string_view>

#include "models/data/tokenizer.hpp"

namespace troupe {

/// From the bytes of a tokenizer.json of Hugging Face's tokenizers library: a BPE model over a ByteLevel pre-tokenizer,
/// which may follow a Split by a regular expression. Every UTF-8 text is represented and comes back unchanged. The same
/// tokens as there, but that text never becomes a special token: those stand where a program puts them, and have no text
/// (and that U+180E is a space to PCRE2).
/// The special token that ends documents is `<|endoftext|>` or `<|end_of_text|>`, or the only one there is.
///
/// Throws input_error for what is malformed, and for parts that would change tokens and are not known here, such as
/// normalizers; it names them.
std::shared_ptr<const tokenizer> load_byte_pairs(std::string_view tokenizer_json);

/// The same of a file; messages name it.
std::shared_ptr<const tokenizer> load_byte_pairs_file(const std::string& path);

}  // namespace troupe
