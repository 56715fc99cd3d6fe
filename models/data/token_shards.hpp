#pragma once

/// Files of tokens that other programs have made, memory mapped as they are:
///   llm.c    256 little-endian int32 of header (magic 20240520, version 1, count), then uint16 tokens;
///            for Llama 3: magic 20240801, version 7, and uint32 tokens (dev/data/data_common.py)
///   nanoGPT  nothing but uint16 tokens

#include <filesystem>
#include <string>

#include "models/data/token_stream.hpp"

namespace troupe {

/// Throws input_error where the file is not in one of these formats.
token_segment open_token_shard(const std::filesystem::path& path);

struct token_shards {
  token_stream train, validation;
};

/// Opens a file, the .bin files in a folder, or what a shell pattern matches, in order of their names. Files with
/// "val" in the name are the validation split, as in llm.c and nanoGPT. Throws input_error where there is no file to
/// train on.
token_shards open_token_shards(const std::string& pattern);

}  // namespace troupe
