#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace troupe {

/// A regular expression that cuts text into words, by PCRE2 with Unicode's character classes. Immutable; thread safe.
class word_pattern {
 public:
  /// Throws input_error where `pattern` is none.
  explicit word_pattern(std::string pattern);
  ~word_pattern();

  const std::string& text() const noexcept { return pattern_; }

  /// The matches, and what is between them: together the whole of `text`, which must be UTF-8.
  /// Throws input_error where matching takes beyond all bounds.
  std::vector<std::string_view> words(std::string_view text) const;

 private:
  struct compiled;
  std::string pattern_;
  std::unique_ptr<const compiled> compiled_;
};

}  // namespace troupe
