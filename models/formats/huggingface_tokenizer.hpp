#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "models/data/tokenizer.hpp"

namespace troupe {

/// Writes the files from which AutoTokenizer makes a tokenizer that gives the same tokens.
void write_huggingface_tokenizer(const tokenizer& tokens, std::int64_t context, const std::filesystem::path& folder);

/// The tokenizer of a folder; null where there is none that we can represent, and `note` says why.
/// Throws input_error for files that are malformed.
std::shared_ptr<const tokenizer> read_huggingface_tokenizer(const std::filesystem::path& folder, std::string& note);

}  // namespace troupe
