#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "models/model.hpp"
#include "runtime/error.hpp"

namespace troupe {

namespace {

/// Blocks that ranges count, in order: those named "blocks.N".
std::vector<std::size_t> counted_blocks(const model& of) {
  std::vector<std::size_t> counted;
  for (std::size_t b = 0; b < of.block_count(); ++b)
    if (of.block_name(b).starts_with("blocks."))
      counted.push_back(b);
  return counted;
}

/// The number at the front of `text`, which is taken off; false where there is none.
bool take_number(std::string_view& text, std::size_t& number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return error == std::errc{};
}

/// Reads "3" or "0-3".
bool parse_range(std::string_view text, std::size_t& first, std::size_t& last) {
  if (!take_number(text, first))
    return false;
  last = first;
  if (!text.starts_with('-'))
    return text.empty();
  text.remove_prefix(1);
  return take_number(text, last) && text.empty() && first <= last;
}

std::string_view trim(std::string_view text) {
  const auto first = std::min(text.find_first_not_of(' '), text.size());
  return text.substr(first, text.find_last_not_of(' ') + 1 - first);
}

}  // namespace

std::vector<bool> parse_recompute(const model& of, std::string_view ranges) {
  const std::vector<std::size_t> counted = counted_blocks(of);
  std::vector<bool> chosen(of.block_count(), false);
  if (ranges == "none")
    return chosen;
  if (ranges == "all") {
    for (const std::size_t block : counted)
      chosen[block] = true;
    return chosen;
  }
  for (std::string_view rest = ranges;;) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view range = trim(rest.substr(0, comma));
    std::size_t first = 0, last = 0;
    if (!parse_range(range, first, last))
      throw input_error(fmt::format("training.recompute: found '{}' in '{}', expected \"none\", \"all\" or ranges of "
                                    "blocks such as \"0-3,7\"", range, ranges));
    if (last >= counted.size())
      throw input_error(fmt::format("training.recompute: found block {} in '{}', but the model has blocks 0 to {}",
                                    last, ranges, static_cast<std::ptrdiff_t>(counted.size()) - 1));
    for (std::size_t i = first; i <= last; ++i)
      chosen[counted[i]] = true;
    if (comma == rest.size())
      return chosen;
    rest.remove_prefix(comma + 1);
  }
}

}  // namespace troupe
