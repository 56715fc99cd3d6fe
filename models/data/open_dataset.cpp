#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "models/data/corpus.hpp"
#include "models/data/path_pattern.hpp"
#include "models/data/token_dataset.hpp"
#include "models/data/token_shards.hpp"
#include "models/data/tokenize.hpp"
#include "runtime/config/diagnostics.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

namespace fs = std::filesystem;
using source_kind = data_settings::source_kind;

/// What stands at the path, by its name and kind.
source_kind detect(const std::string& path) {
  std::error_code ignored;
  if (fs::is_directory(path, ignored))
    return matching_files(path, "*train*.bin").empty() ? source_kind::folder : source_kind::token_shards;
  const std::string extension = fs::path(path).extension().string();
  if (extension == ".bin")
    return source_kind::token_shards;
  if (extension == ".jsonl" || extension == ".ndjson")
    return source_kind::json_lines;
  return source_kind::text;
}

std::unique_ptr<corpus> open_corpus(const data_settings& settings, source_kind kind) {
  switch (kind) {
    case source_kind::folder:
      return open_folder(settings);
    case source_kind::json_lines:
      return open_json_lines(settings);
    default:
      return open_text_file(settings.path);
  }
}

fs::path cache_folder(const data_settings& settings) {
  if (!settings.cache.empty())
    return settings.cache;
  if (const char* cache = std::getenv("XDG_CACHE_HOME"); cache && *cache)
    return fs::path(cache) / "troupe";
  if (const char* home = std::getenv("HOME"); home && *home)
    return fs::path(home) / ".cache" / "troupe";
  throw config::config_error({{.where = {"data.cache"},
                               .message = "there is no folder for tokenised text: HOME is not set",
                               .help = "set data.cache"}});
}

digest identity_of(const tokenizer& given) { return content_hash().add(given.kind()).add(given.serialize()).value(); }

token_dataset_parts read_corpus(const data_settings& settings, source_kind kind,
                                const std::function<void(double)>& progress,
                                const std::shared_ptr<const tokenizer>& given) {
  const auto text = open_corpus(settings, kind);
  const digest tokens_identity = given ? identity_of(*given) : identity(settings.tokens);
  const digest key = content_hash().add(text->content()).add(tokens_identity).value();
  const fs::path path = cache_folder(settings) / (to_string(key) + ".tokens");

  tokenized_corpus corpus;
  try {
    corpus = read_token_cache(path, key);
  } catch (const input_error&) {  // not there, or damaged: it can be made again
    const auto tokens = given ? given : make_tokenizer(settings.tokens, *text);
    token_cache_writer out(path, key, *tokens);
    tokenize(*text, *tokens, out, progress);
    if (open_corpus(settings, kind)->content() != text->content())
      throw input_error(fmt::format("{}: the corpus changed while it was read; try again", settings.path));
    out.publish();
    corpus = read_token_cache(path, key);
  }

  token_dataset_parts parts;
  parts.tokens = corpus.tokens;
  parts.vocabulary = corpus.tokens->size();
  // However the tokenizer came about: a run that is resumed may be given the one that it began with.
  parts.content = content_hash().add(text->content()).add(identity_of(*parts.tokens)).value();
  split_tokens(corpus.stream, settings.validation_fraction, parts);
  parts.warning = text->warning();
  parts.summary = fmt::format("{}; {} tokens of {} ({})", text->summary(), corpus.stream.size(), parts.vocabulary,
                              corpus.tokens->kind());
  return parts;
}

/// The largest token; adds all of them to the hash. Shards may be larger than memory, so one pass serves both.
std::int64_t survey(const token_stream& stream, content_hash& hash) {
  constexpr std::int64_t count_max = 1 << 20;
  std::int64_t largest = -1;
  hash.add(static_cast<std::uint64_t>(stream.size()));
  for (std::int64_t first = 0; first < stream.size(); first += count_max) {
    const token_stream part = stream.slice(first, std::min(count_max, stream.size() - first));
    largest = std::max(largest, part.largest());
    for (const token_segment& segment : part.segments())
      hash.add_raw(segment.data, segment.bytes().size());
  }
  return largest;
}

token_dataset_parts read_shards(const data_settings& settings) {
  token_shards shards = open_token_shards(settings.path);
  token_dataset_parts parts;
  content_hash hash;
  const std::int64_t largest = std::max(survey(shards.train, hash), survey(shards.validation, hash));
  parts.content = hash.value();
  parts.vocabulary = largest + 1;
  if (parts.vocabulary > std::numeric_limits<std::int32_t>::max())
    throw input_error(fmt::format("{}: token {} in the shards, expected 31 bits; is this another format?",
                                  settings.path, largest));
  if (settings.tokens.reads_model() && !settings.tokens.model.empty()) {
    parts.tokens = load_tokenizer_model(settings.tokens);
    parts.vocabulary = parts.tokens->size();
    if (largest >= parts.vocabulary)
      throw input_error(fmt::format("{}: token {} in the shards, but the tokenizer {} has only {}", settings.path,
                                    largest, settings.tokens.model, parts.vocabulary));
  }
  if (shards.validation.size() == 0) {
    split_tokens(shards.train, settings.validation_fraction, parts);
  } else {
    parts.train = std::move(shards.train);
    parts.validation = std::move(shards.validation);
  }
  parts.summary = fmt::format("{}: {} tokens of {} in shards", settings.path,
                              parts.train.size() + parts.validation.size(), parts.vocabulary);
  return parts;
}

token_dataset_parts read_parts(const data_settings& settings, const std::function<void(double)>& progress,
                               const std::shared_ptr<const tokenizer>& given) {
  if (settings.path.empty())
    throw input_error("data.path is not set; name a text file, a folder, a .jsonl file or token shards");
  const source_kind kind = settings.source == source_kind::automatic ? detect(settings.path) : settings.source;
  return kind == source_kind::token_shards ? read_shards(settings)
                                           : read_corpus(settings, kind, progress ? progress : [](double) {}, given);
}

void require_samples(const data_settings& settings, const dataset& data, std::int64_t context) {
  if (context < 1)
    throw input_error(fmt::format("the context is {}, expected at least 1", context));
  for (const split part : {split::train, split::validation}) {
    const std::int64_t count = data.token_count(part);
    // No validation at all is a choice.
    if (count > context || (part == split::validation && count == 0))
      continue;
    throw input_error(fmt::format(
      "{}: {} tokens to {}, but a context of {} needs at least {}; give more text, a smaller context, or {}",
      settings.path, count, part == split::train ? "train on" : "validate on", context, context + 1,
      part == split::train ? "a smaller data.validation_fraction" : "another data.validation_fraction (0 for none)"));
  }
}

}  // namespace

std::shared_ptr<const dataset> open_dataset(const data_settings& settings, std::int64_t context,
                                            const std::function<void(double)>& progress,
                                            std::shared_ptr<const tokenizer> given) {
  token_dataset_parts parts = read_parts(settings, progress, given);
  parts.order = settings.order;
  auto data = make_dataset(std::move(parts));
  require_samples(settings, *data, context);
  return data;
}

std::shared_ptr<const dataset> open_whole_dataset(const data_settings& settings, std::int64_t context,
                                                  std::shared_ptr<const tokenizer> given) {
  token_dataset_parts parts = read_parts(settings, {}, given);
  auto segments = parts.train.segments();
  segments.insert(segments.end(), parts.validation.segments().begin(), parts.validation.segments().end());
  parts.validation = token_stream(std::move(segments));
  parts.train = {};
  const auto count = parts.validation.size();
  if (count <= context)
    throw input_error(fmt::format("{}: {} tokens, but a context of {} needs at least {}; give more text", settings.path,
                                  count, context, context + 1));
  return make_dataset(std::move(parts));
}

}  // namespace troupe
