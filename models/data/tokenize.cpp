#include "models/data/tokenize.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <cctype>
#include <future>
#include <thread>

#include "models/data/byte_pair_tokenizer.hpp"
#include "models/data/sentencepiece_tokenizer.hpp"
#include "models/data/utf8.hpp"
#include "runtime/checkpoint/mapped_file.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr std::size_t chunk_bytes_max = 1 << 16;      // of text that is encoded at once
constexpr std::size_t training_bytes_max = 4 << 20;   // of text that a sentencepiece model is trained on
constexpr std::size_t excerpt_bytes_max = 1 << 12;    // of each of the pieces that make up that text

/// Where the last end of a line follows a letter or a digit; 0 where none does. A tokenizer of byte pairs may take
/// several ends of lines, and what is indented by, for one word, or a sign and the end of its line: none of these is cut.
std::size_t last_break(std::string_view text) {
  for (auto at = text.size(); at-- > 1;)
    if ((text[at] == '\n' || text[at] == '\r') && std::isalnum(static_cast<unsigned char>(text[at - 1])) != 0)
      return at;
  return 0;
}

/// Cuts off the head of `text`: whole lines of up to `bytes_max` together, or characters where a line is longer.
std::string_view take_head(std::string_view& text, std::size_t bytes_max) {
  std::size_t size = text.size();
  if (size > bytes_max) {
    size = last_break(text.substr(0, bytes_max));
    if (size == 0)
      size = text.substr(0, bytes_max).rfind('\n') + 1;
    if (size == 0)
      for (size = bytes_max; size > 1 && (text[size] & 0xC0) == 0x80;)
        --size;
  }
  const std::string_view chunk = text.substr(0, size);
  text.remove_prefix(size);
  return chunk;
}

/// Tells what is wrong with a document at its place in its file. A tokenizer that is given, by the run that is resumed or
/// by the model that was imported, is the only one that knows less than the corpus holds.
[[noreturn]] void refuse(std::string_view document, const corpus::locator& where, const text_error& fault) {
  const bool is_utf8 = utf8::decode(document, fault.at()).has_value();
  throw input_error(fmt::format("{}: {}\nhelp: {}", where(fault.at()), fault.found(),
                                is_utf8 ? "take it out of the text, or start a new run, whose tokenizer is made for this text"
                                        : "convert the text, as `iconv` does, or set data.tokenizer=\"bytes\""));
}

void check_utf8(std::string_view document, const corpus::locator& where) {
  try {
    require_utf8(document);
  } catch (const text_error& fault) {
    refuse(document, where, fault);
  }
}

/// Every code point of the corpus, and the newline that separates documents.
std::string alphabet_of(const corpus& text) {
  std::vector<bool> seen(0x110000);
  std::size_t documents = 0;
  text.for_each_document([&](std::string_view document, const corpus::locator& where) {
    check_utf8(document, where);
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

/// Excerpts from all over the corpus, about `training_bytes_max` together.
std::string training_text(const corpus& text) {
  const double share =
    std::min(1.0, static_cast<double>(training_bytes_max) / static_cast<double>(text.size_bytes()));
  std::string sample;
  double seen_bytes = 0;
  text.for_each_document([&](std::string_view document, const corpus::locator& where) {
    check_utf8(document, where);
    while (!document.empty()) {
      const std::string_view excerpt = take_head(document, excerpt_bytes_max);
      if (static_cast<double>(sample.size()) <= share * seen_bytes)
        sample.append(excerpt).push_back('\n');
      seen_bytes += static_cast<double>(excerpt.size() + 1);
    }
  });
  return sample;
}

/// Encodes chunks of text on all cores, and writes their tokens in the order in which the chunks came.
class chunk_encoder {
 public:
  chunk_encoder(const tokenizer& tokens, token_cache_writer& out) : tokens_(tokens), out_(out) {}

  bool full() const noexcept { return chunks_.size() == chunks_max_; }
  void add(std::string_view text, bool after_separator) { chunks_.push_back({std::string(text), after_separator, {}}); }

  void flush() {
    std::atomic<std::size_t> next = 0;
    std::vector<std::future<void>> workers;
    for (std::size_t i = 0; i < std::min(threads_, chunks_.size()); ++i)
      workers.push_back(std::async(std::launch::async, [&] {
        for (std::size_t at; (at = next++) < chunks_.size();)
          chunks_[at].encoded = tokens_.encode(chunks_[at].text);
      }));
    for (auto& worker : workers)
      worker.get();
    for (const chunk& done : chunks_) {
      if (done.after_separator)
        out_.append(tokens_.end_of_document() >= 0 ? std::vector{tokens_.end_of_document()} : tokens_.encode("\n"));
      out_.append(done.encoded);
    }
    chunks_.clear();
  }

 private:
  struct chunk {
    std::string text;
    bool after_separator;
    std::vector<std::int32_t> encoded;
  };

  const tokenizer& tokens_;
  token_cache_writer& out_;
  std::vector<chunk> chunks_;
  const std::size_t threads_ = std::max(1u, std::thread::hardware_concurrency());
  const std::size_t chunks_max_ = 8 * threads_;
};

/// Throws what `tokens` finds wrong with the text, at its place in its document, of which chunks know nothing.
void find_fault(const corpus& text, const tokenizer& tokens) {
  text.for_each_document([&](std::string_view document, const corpus::locator& where) {
    try {
      tokens.encode(document);
    } catch (const text_error& fault) {
      refuse(document, where, fault);
    }
  });
}

}  // namespace

std::shared_ptr<const tokenizer> make_tokenizer(const tokenizer_settings& settings, const corpus& text) {
  switch (settings.algorithm) {
    case tokenizer_settings::kind::bytes:
      return make_byte_tokenizer();
    case tokenizer_settings::kind::characters:
      return make_character_tokenizer(alphabet_of(text));
    case tokenizer_settings::kind::sentencepiece:
      if (settings.model.empty())
        return train_sentencepiece(training_text(text), settings.vocabulary);
      break;
    case tokenizer_settings::kind::byte_pairs:
      break;
  }
  return load_tokenizer_model(settings);
}

std::shared_ptr<const tokenizer> load_tokenizer_model(const tokenizer_settings& settings) {
  if (settings.algorithm == tokenizer_settings::kind::sentencepiece)
    return load_sentencepiece_file(settings.model);
  if (settings.model.empty())
    throw input_error("data.tokenizer_model is not set; name the tokenizer.json that holds the byte pairs");
  return load_byte_pairs_file(settings.model);
}

digest identity(const tokenizer_settings& settings) {
  content_hash hash;
  hash.add(static_cast<std::uint64_t>(settings.algorithm));
  if (settings.reads_model()) {
    if (settings.model.empty())
      hash.add(static_cast<std::uint64_t>(settings.vocabulary)).add(std::uint64_t{training_bytes_max});
    else
      hash.add(mapped_file::open(settings.model)->text());
  }
  return hash.value();
}

void tokenize(const corpus& text, const tokenizer& tokens, token_cache_writer& out,
              const std::function<void(double)>& progress) {
  const bool any_bytes = tokens.kind() == "bytes";
  chunk_encoder encoder(tokens, out);
  std::int64_t done = 0;
  const auto flush = [&] {
    try {
      encoder.flush();
    } catch (const input_error&) {
      find_fault(text, tokens);
      throw;
    }
    progress(std::min(1.0, static_cast<double>(done) / static_cast<double>(text.size_bytes())));
  };
  text.for_each_document([&](std::string_view document, const corpus::locator& where) {
    if (!any_bytes)
      check_utf8(document, where);
    for (bool after_separator = done > 0; !document.empty(); after_separator = false) {
      const std::string_view chunk = take_head(document, chunk_bytes_max);
      encoder.add(chunk, after_separator);
      done += static_cast<std::int64_t>(chunk.size());
      if (encoder.full())
        flush();
    }
  });
  flush();
}

}  // namespace troupe
