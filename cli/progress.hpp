#pragma once

/// What people are told while a job runs: one line that is redrawn on a terminal, plain lines now and then elsewhere.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>

#include "actors/job.hpp"
#include "cli/report.hpp"
#include "runtime/log_line.hpp"

namespace troupe {

struct progress {
  std::uint64_t step = 0;
  std::uint64_t steps = 0;
  double loss = 0.0;
  double learning_rate = 0.0;
  double seconds_per_step = 0.0;
  throughput speed;
  double seconds_left = 0.0;
};

/// "step 12/1000 | loss 2.3456 | lr 1.00e-03 | 41.2 ms | 18.6k tok/s | 43 % of peak | eta 0:41". Fields that do not fit
/// into `width` columns are left out, the last first, then what is around the step; 0: no limit.
std::string format_progress(const progress& state, std::size_t width = 0);
std::string format_evaluation(const evaluation_report& report, bool best);
std::string format_cut(const cut_report& report);
/// The end of a run, several lines.
std::string format_summary(const job_summary& summary, const throughput& speed);

/// "18.6k", "1.20M"; three digits that count.
std::string format_quantity(double amount);
/// "185 kFLOP".
std::string format_flops(double operations);
/// "512 B", "12.3 MB", in powers of 1000.
std::string format_bytes(double bytes);
/// "0:41", "12:03", "3:07:59".
std::string format_time(double seconds);

/// Writes what can be written: that nobody can be told, as on a terminal that is gone, is no reason to fail.
void write_anyway(std::FILE* out, std::string_view text);

/// Writes to one stream, as a rule stderr. Thread safe.
class console {
 public:
  enum class style : std::uint8_t {
    people,  ///< the messages alone; on a terminal, a line of progress that is redrawn
    log,     ///< lines of runtime/log_line.hpp
  };

  /// `quiet`: nothing but warnings.
  console(std::FILE* out, bool quiet, style how = style::people);
  /// Ends the line under redraw.
  ~console();
  console(const console&) = delete;
  console& operator=(const console&) = delete;

  /// What lines of a log are about that name no node. None at first.
  void set_node(std::uint32_t node);

  /// Redraws the line; elsewhere than on a terminal, writes one where `line_interval` has passed, or `always`.
  void show(const progress& state, bool always = false);
  /// Writes a line that stays; one with a level above `info` in spite of `quiet`.
  void say(log_line line);
  void say(const std::string& message) { say({.event = "note", .message = message}); }
  void warn(const std::string& message) { say({.event = "warning", .message = message, .level = log_level::warn}); }

 private:
  static constexpr std::chrono::milliseconds redraw_interval{50};
  static constexpr std::chrono::seconds line_interval{5};

  void clear();
  void write(log_line line);

  std::mutex mutex_;
  std::FILE* out_;
  bool quiet_;
  style style_;
  bool terminal_;
  bool coloured_;
  bool drawn_ = false;
  std::optional<std::uint32_t> node_;
  std::chrono::steady_clock::time_point last_{};
};

}  // namespace troupe
