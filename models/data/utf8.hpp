#pragma once

/// UTF-8, strictly: no surrogates, no overlong forms, nothing beyond U+10FFFF (RFC 3629).

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace troupe::utf8 {

inline constexpr char32_t replacement = 0xFFFD;

struct code_point {
  char32_t value = 0;
  std::size_t size_bytes = 0;
};

/// The code point that starts at `at`; nothing where none does.
/// REQUIRES: at < text.size().
std::optional<code_point> decode(std::string_view text, std::size_t at) noexcept;

/// REQUIRES: `value` is a Unicode scalar value.
void append(std::string& out, char32_t value);

/// Offset of the first byte that is not UTF-8; `text.size()` where all of it is.
std::size_t first_invalid(std::string_view text) noexcept;

/// `text` with every byte that is not UTF-8 replaced by U+FFFD.
std::string repaired(std::string_view text);

/// How messages name a character, such as "'é' (U+00E9)".
std::string describe(char32_t value);

/// A place in a text; lines and columns count from 1, columns in code points, as those of run files do.
struct position {
  std::size_t line = 1;
  std::size_t column = 1;
};
position position_of(std::string_view text, std::size_t at) noexcept;

}  // namespace troupe::utf8
