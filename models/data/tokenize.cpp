#include "models/data/tokenize.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "models/data/sentencepiece_tokenizer.hpp"
#include "models/data/utf8.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr std::size_t chunk_bytes = 1 << 16;             // encoded at once
constexpr std::int64_t training_bytes_max = 4 << 20;     // of text that a sentencepiece model is trained on

/// Cuts off the head of `text`: whole lines of up to `chunk_bytes` together, or characters where a line is longer.
std::string_view take_chunk(std::string_view& text) {
  std::size_t size = text.size();
  if (size > chunk_bytes) {
    size = text.substr(0, chunk_bytes).rfind('\n') + 1;
    if (size == 0)
      for (size = chunk_bytes; size > 1 && (text[size] & 0xC0) == 0x80;)
        --size;
  }
  const std::string_view chunk = text.substr(0, size);
  text.remove_prefix(size);
  return chunk;
}

void require_utf8(std::string_view text, const std::string& place) {
  if (const std::size_t bad = utf8::first_invalid(text); bad < text.size())
    throw input_error(fmt::format("{}: not UTF-8 at {}; convert the text, or set data.tokenizer to 'bytes'", place,
                                  utf8::describe_position(text, bad)));
}

/// Every code point of the corpus, and the newline that separates documents.
std::string alphabet_of(const corpus& text) {
  std::vector<bool> seen(0x110000);
  std::size_t documents = 0;
  text.for_each_document([&](std::string_view document, const std::string& place) {
    require_utf8(document, place);
    for (std::size_t at = 0; at < document.size();) {
      const auto c = *utf8::decode(document, at);
      seen[c.value] = true;
      at += c.size_bytes;
    }
    if (++documents > 1)
      seen['\n'] = true;
  });
  std::string alphabet;
  for (std::size_t c = 0; c < seen.size(); ++c)
    if (seen[c])
      utf8::append(alphabet, static_cast<char32_t>(c));
  return alphabet;
}

/// Lines from all over the corpus, up to about `training_bytes_max` of them.
std::string training_text(const corpus& text) {
  const std::int64_t total = std::max(text.size_bytes(), training_bytes_max);
  std::string sample;
  std::int64_t seen = 0;
  text.for_each_document([&](std::string_view document, const std::string& place) {
    require_utf8(document, place);
    while (!document.empty()) {
      const std::size_t size = std::min(document.find('\n'), document.size() - 1) + 1;
      // A line is taken while the sample lags behind its share of what was seen.
      if (static_cast<double>(sample.size()) * static_cast<double>(total) <=
          static_cast<double>(seen) * static_cast<double>(training_bytes_max))
        sample.append(document.substr(0, size));
      seen += static_cast<std::int64_t>(size);
      document.remove_prefix(size);
    }
    sample.push_back('\n');
  });
  return sample;
}

}  // namespace

std::shared_ptr<const tokenizer> make_tokenizer(const tokenizer_settings& settings, const corpus& text) {
  switch (settings.algorithm) {
    case tokenizer_settings::kind::bytes:
      return make_byte_tokenizer();
    case tokenizer_settings::kind::characters:
      return make_character_tokenizer(alphabet_of(text));
    case tokenizer_settings::kind::sentencepiece:
      break;
  }
  return settings.model.empty() ? train_sentencepiece(training_text(text), settings.vocabulary)
                                : load_sentencepiece_file(settings.model);
}

digest describe(const tokenizer_settings& settings) {
  content_hash hash;
  hash.add(static_cast<std::uint64_t>(settings.algorithm));
  if (settings.algorithm == tokenizer_settings::kind::sentencepiece) {
    if (settings.model.empty())
      hash.add(static_cast<std::uint64_t>(settings.vocabulary)).add(static_cast<std::uint64_t>(training_bytes_max));
    else
      hash.add(mapped_file::open(settings.model)->text());
  }
  return hash.value();
}

void tokenize(const corpus& text, const tokenizer& tokens, token_cache_writer& out,
              const std::function<void(double)>& progress) {
  const std::int32_t end = tokens.end_of_document();
  const bool any_bytes = tokens.kind() == "bytes";
  std::int64_t done = 0;
  text.for_each_document([&](std::string_view document, const std::string& place) {
    if (!any_bytes)
      require_utf8(document, place);
    if (done > 0)
      out.append(end >= 0 ? std::vector{end} : tokens.encode("\n"));
    while (!document.empty()) {
      const std::string_view chunk = take_chunk(document);
      out.append(tokens.encode(chunk));
      done += static_cast<std::int64_t>(chunk.size());
      progress(std::min(1.0, static_cast<double>(done) / static_cast<double>(text.size_bytes())));
    }
  });
}

}  // namespace troupe
