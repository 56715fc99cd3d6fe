#include "models/data/utf8.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

namespace troupe::utf8 {

std::optional<code_point> decode(std::string_view text, std::size_t at) noexcept {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(at);
  if (lead < 0x80)
    return code_point{lead, 1};
  const std::size_t size = lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
  if (size == 0 || size > text.size() - at)
    return std::nullopt;
  char32_t value = lead & (0x7F >> size);
  for (std::size_t i = at + 1; i < at + size; ++i) {
    if ((byte(i) & 0xC0) != 0x80)
      return std::nullopt;
    value = value << 6 | (byte(i) & 0x3F);
  }
  const bool overlong = (size == 3 && value < 0x800) || (size == 4 && value < 0x10000);
  const bool surrogate = value >= 0xD800 && value < 0xE000;
  if (overlong || surrogate || value > 0x10FFFF)
    return std::nullopt;
  return code_point{value, size};
}

void append(std::string& out, char32_t value) {
  const auto put = [&](char32_t byte) { out.push_back(static_cast<char>(byte)); };
  const auto put_rest = [&](int bits) { put(0x80 | (value >> bits & 0x3F)); };
  if (value < 0x80) {
    put(value);
  } else if (value < 0x800) {
    put(0xC0 | value >> 6);
    put_rest(0);
  } else if (value < 0x10000) {
    put(0xE0 | value >> 12);
    put_rest(6);
    put_rest(0);
  } else {
    put(0xF0 | value >> 18);
    put_rest(12);
    put_rest(6);
    put_rest(0);
  }
}

std::size_t first_invalid(std::string_view text) noexcept {
  std::size_t at = 0;
  while (at < text.size()) {
    // Most text is mostly ASCII: eight bytes at once.
    std::uint64_t word;
    if (text.size() - at >= sizeof word) {
      std::memcpy(&word, text.data() + at, sizeof word);
      if ((word & 0x8080'8080'8080'8080) == 0) {
        at += sizeof word;
        continue;
      }
    }
    const auto next = decode(text, at);
    if (!next)
      return at;
    at += next->size_bytes;
  }
  return at;
}

std::string repaired(std::string_view text) {
  std::string out;
  for (std::size_t valid; !text.empty(); text.remove_prefix(valid)) {
    valid = first_invalid(text);
    out.append(text.substr(0, valid));
    if (valid < text.size()) {
      append(out, replacement);
      ++valid;
    }
  }
  return out;
}

std::string describe(char32_t value) {
  if (value < 0x20 || value == 0x7F)
    return fmt::format("U+{:04X}", static_cast<std::uint32_t>(value));
  std::string character;
  append(character, value);
  return fmt::format("'{}' (U+{:04X})", character, static_cast<std::uint32_t>(value));
}

position position_of(std::string_view text, std::size_t at) noexcept {
  const std::string_view before = text.substr(0, at);
  const std::string_view line = before.substr(before.rfind('\n') + 1);
  const auto begins = [](char c) { return (c & 0xC0) != 0x80; };
  return {1 + static_cast<std::size_t>(std::ranges::count(before, '\n')),
          1 + static_cast<std::size_t>(std::ranges::count_if(line, begins))};
}

}  // namespace troupe::utf8
