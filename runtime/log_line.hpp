#pragma once

/// One line of a log, for people and for machines alike: a time, then pairs in logfmt, key=value, always in this order.
///
///   2026-11-25T00:17:03.123Z level=info node=2 actor=shard/3 incarnation=2 event=started
///   2026-11-25T00:17:09.001Z level=warn node=2 event=lost msg="node 2 is gone: no sign of life for 5.1 s"
///
/// Times are UTC and of one length, so that the logs of several processes can be sorted into one.

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>

namespace troupe {

enum class log_level : std::uint8_t { info, warn, error };

struct log_line {
  std::string event{};                ///< what happened, in a word
  std::string message{};              ///< the same for people, root cause first; empty: the other fields say it all
  log_level level = log_level::info;
  std::optional<std::uint32_t> node{};///< that it is about; 0: the head
  std::string actor{};                ///< that it is about, by its logical name; empty: about none
  std::uint64_t incarnation = 0;      ///< of that actor
};

/// Without an end of line. A value that is more than one plain word is quoted: quotation marks and backslashes in it
/// have a backslash before them, an end of line is \n, other control characters are \u00NN.
std::string format_log(const log_line& line,
                       std::chrono::system_clock::time_point at = std::chrono::system_clock::now());

/// Such as "2026-01-31T12:34:56.789Z".
std::string utc_text(std::chrono::system_clock::time_point at);

}  // namespace troupe
