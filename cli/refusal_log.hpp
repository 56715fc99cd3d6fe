#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <string>
#include <utility>

#include "runtime/log_line.hpp"

namespace troupe {

/// Logs who was turned away at the port, `lines_max` lines in a `window`: thousands of strangers are no reason to fill a
/// disk. How many were left out is said with the first of a later window. Used by one thread.
class refusal_log {
 public:
  static constexpr std::size_t lines_max = 10;
  static constexpr std::chrono::seconds window{60};

  using clock = std::chrono::steady_clock;

  explicit refusal_log(std::function<void(const log_line&)> tell) : tell_(std::move(tell)) {}

  /// `reason` begins with the caller's address.
  void note(const std::string& reason, clock::time_point now = clock::now()) {
    if (now - window_begin_ >= window) {
      if (left_out_ > 0)
        say(std::to_string(left_out_) + " more were turned away before that are not listed");
      window_begin_ = now;
      lines_ = left_out_ = 0;
    }
    if (lines_ == lines_max) {
      ++left_out_;
      return;
    }
    ++lines_;
    say(reason);
  }

 private:
  void say(std::string message) { tell_({.event = "refused", .message = std::move(message), .level = log_level::warn}); }

  std::function<void(const log_line&)> tell_;
  clock::time_point window_begin_{};
  std::size_t lines_ = 0;
  std::size_t left_out_ = 0;
};

}  // namespace troupe
