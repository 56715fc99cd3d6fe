#include "models/data/word_pattern.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <fmt/format.h>

#include "runtime/error.hpp"

namespace troupe {

namespace {

constexpr std::size_t pattern_bytes_max = 4096;
constexpr std::uint32_t match_limit = 1'000'000;  // steps of one match; a word takes some tens

std::string message_of(int code) {
  PCRE2_UCHAR text[256];
  pcre2_get_error_message(code, text, sizeof text);
  return reinterpret_cast<const char*>(text);
}

template <auto F>
struct released_by {
  template <class T>
  void operator()(T* what) const {
    F(what);
  }
};

}  // namespace

struct word_pattern::compiled {
  std::unique_ptr<pcre2_code, released_by<pcre2_code_free>> code;
  std::unique_ptr<pcre2_match_context, released_by<pcre2_match_context_free>> limits;
};

word_pattern::word_pattern(std::string pattern) : pattern_(std::move(pattern)) {
  if (pattern_.size() > pattern_bytes_max)
    throw input_error(fmt::format("the pattern for words has {} bytes, expected at most {}", pattern_.size(),
                                  pattern_bytes_max));
  int fault = 0;
  std::size_t at = 0;
  auto made = std::make_unique<compiled>();
  made->code.reset(pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern_.data()), pattern_.size(),
                                 PCRE2_UTF | PCRE2_UCP | PCRE2_NEVER_BACKSLASH_C, &fault, &at, nullptr));
  if (!made->code)
    throw input_error(fmt::format("the pattern for words '{}' is wrong at byte {}: {}", pattern_, at, message_of(fault)));
  pcre2_jit_compile(made->code.get(), PCRE2_JIT_COMPLETE);  // where it cannot, matching is only slower
  made->limits.reset(pcre2_match_context_create(nullptr));
  pcre2_set_match_limit(made->limits.get(), match_limit);
  compiled_ = std::move(made);
}

word_pattern::~word_pattern() = default;

std::vector<std::string_view> word_pattern::words(std::string_view text) const {
  const std::unique_ptr<pcre2_match_data, released_by<pcre2_match_data_free>> found(
    pcre2_match_data_create_from_pattern(compiled_->code.get(), nullptr));
  std::vector<std::string_view> words;
  const auto match = [&](std::size_t from, std::uint32_t how) {
    return pcre2_match(compiled_->code.get(), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                       PCRE2_NO_UTF_CHECK | PCRE2_NOTEMPTY | how, found.get(), compiled_->limits.get());
  };
  for (std::size_t at = 0; at < text.size();) {
    int result = match(at, 0);
    if (result == PCRE2_ERROR_JIT_STACKLIMIT)
      result = match(at, PCRE2_NO_JIT);
    if (result < 0 && result != PCRE2_ERROR_NOMATCH)
      throw input_error(fmt::format("the pattern for words '{}' cannot be matched: {}", pattern_, message_of(result)));
    const auto* const span = pcre2_get_ovector_pointer(found.get());
    const auto begin = result < 0 ? text.size() : span[0];
    if (begin > at)
      words.push_back(text.substr(at, begin - at));
    if (result < 0)
      break;
    words.push_back(text.substr(begin, span[1] - begin));
    at = span[1];
  }
  return words;
}

}  // namespace troupe
