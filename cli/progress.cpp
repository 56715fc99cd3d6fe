#include "cli/progress.hpp"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <vector>

#include <fmt/format.h>

namespace troupe {

namespace {

std::string scaled(double amount, double base, std::initializer_list<std::string_view> units) {
  auto unit = units.begin();
  // 999.5 would round to 1000 of its unit.
  while (std::abs(amount) >= base * 0.9995 && unit + 1 != units.end()) {
    amount /= base;
    ++unit;
  }
  const int decimals = unit == units.begin() || amount >= 99.95 ? 0 : amount >= 9.995 ? 1 : 2;
  return fmt::format("{:.{}f}{}", amount, decimals, *unit);
}

std::size_t columns_of(std::FILE* out) {
  winsize size{};
  return ioctl(fileno(out), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace

std::string format_quantity(double amount) { return scaled(amount, 1e3, {"", "k", "M", "G", "T"}); }

std::string format_flops(double operations) {
  return scaled(operations, 1e3, {" FLOP", " kFLOP", " MFLOP", " GFLOP", " TFLOP", " PFLOP"});
}

std::string format_bytes(double bytes) { return scaled(bytes, 1e3, {" B", " kB", " MB", " GB", " TB"}); }

std::string format_time(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0.0)
    return "?";
  const auto whole = static_cast<std::int64_t>(std::min(std::round(seconds), 1e9));
  if (whole < 3600)
    return fmt::format("{}:{:02}", whole / 60, whole % 60);
  return fmt::format("{}:{:02}:{:02}", whole / 3600, whole / 60 % 60, whole % 60);
}

std::string format_progress(const progress& state, std::size_t width) {
  std::vector<std::string> fields{fmt::format("step {}/{}", state.step, state.steps),
                                  fmt::format("loss {:.4f}", state.loss), fmt::format("lr {:.2e}", state.learning_rate),
                                  fmt::format("{:.1f} ms", state.seconds_per_step * 1e3),
                                  format_quantity(state.speed.tokens_per_second) + " tok/s"};
  if (state.speed.peak_ratio > 0.0)
    fields.push_back(fmt::format("{:.0f} % of peak", state.speed.peak_ratio * 100.0));
  if (state.step < state.steps)
    fields.push_back("eta " + format_time(state.seconds_left));
  auto line = fields.front();
  for (const auto& shorter : {fmt::format("{}/{}", state.step, state.steps), fmt::format("{}", state.step)})
    if (width != 0 && line.size() > width)
      line = shorter;
  if (width != 0 && line.size() > width)
    return {};
  for (std::size_t i = 1; i < fields.size(); ++i) {
    constexpr std::string_view between = " | ";
    if (width != 0 && line.size() + between.size() + fields[i].size() > width)
      break;
    line.append(between).append(fields[i]);
  }
  return line;
}

std::string format_evaluation(const evaluation_report& report, bool best) {
  return fmt::format("evaluation at step {} | train loss {:.4f} | validation loss {:.4f}{} | {:.1f} s", report.step,
                     report.train_loss, report.validation_loss, best ? " (best)" : "", report.seconds);
}

std::string format_cut(const cut_report& report) {
  return fmt::format("cut at step {} | {} | paused {:.1f} ms | written in {:.2f} s | {}", report.step,
                     format_bytes(static_cast<double>(report.size_bytes)), report.pause_seconds * 1e3,
                     report.write_seconds, report.path.string());
}

std::string format_summary(const job_summary& summary, const throughput& speed) {
  auto text = fmt::format("{} at step {} | loss {:.4f}", summary.interrupted ? "interrupted" : "done", summary.steps,
                          summary.last_loss);
  if (summary.best_evaluation)
    text += fmt::format(" | best validation loss {:.4f} at step {}", summary.best_evaluation->validation_loss,
                        summary.best_evaluation->step);
  text += fmt::format("\n{} tokens in {} | {} tok/s", format_quantity(static_cast<double>(summary.tokens)),
                      format_time(summary.seconds), format_quantity(speed.tokens_per_second));
  if (speed.peak_ratio > 0.0)
    text += fmt::format(" | {:.0f} % of peak", speed.peak_ratio * 100.0);
  if (speed.joules_per_token)
    text += fmt::format(" | {:.3g} J/tok", *speed.joules_per_token);
  if (summary.killed + summary.restarts + summary.rollbacks + summary.replays > 0)
    text += fmt::format("\n{} killed | {} restarted | {} rolled back | {} replayed", summary.killed, summary.restarts,
                        summary.rollbacks, summary.replays);
  if (!summary.restored.empty()) {
    text += "\nshards restored";
    for (const auto& [source, count] : summary.restored)
      text += fmt::format(" | {} from {}", count, describe(source));
  }
  return text + fmt::format("\nfingerprint {}", summary.fingerprint);
}

void write_anyway(std::FILE* out, std::string_view text) {
  [[maybe_unused]] const auto written = std::fwrite(text.data(), 1, text.size(), out);
}

console::console(std::FILE* out, bool quiet, style how)
    : out_(out),
      quiet_(quiet),
      style_(how),
      terminal_(how == style::people && isatty(fileno(out)) != 0),
      coloured_(terminal_ && !(std::getenv("NO_COLOR") && *std::getenv("NO_COLOR") != '\0')) {
  // nop
}

console::~console() {
  if (drawn_)
    write_anyway(out_, "\n");
}

void console::set_node(std::uint32_t node) {
  const std::lock_guard lock(mutex_);
  node_ = node;
}

void console::show(const progress& state, bool always) {
  if (quiet_)
    return;
  const std::lock_guard lock(mutex_);
  const auto now = std::chrono::steady_clock::now();
  const auto interval = terminal_ ? std::chrono::milliseconds(redraw_interval) : line_interval;
  if (!always && now - last_ < interval)
    return;
  last_ = now;
  if (!terminal_)
    return write({.event = "progress", .message = format_progress(state)});
  const auto columns = columns_of(out_);
  clear();
  write_anyway(out_, format_progress(state, columns > 1 ? columns - 1 : 0));
  drawn_ = true;
  std::fflush(out_);
}

void console::say(log_line line) {
  if (quiet_ && line.level == log_level::info)
    return;
  const std::lock_guard lock(mutex_);
  write(std::move(line));
}

void console::write(log_line line) {
  clear();
  if (!line.node)
    line.node = node_;
  if (style_ == style::log)
    write_anyway(out_, format_log(line) + "\n");
  else if (coloured_ && line.level != log_level::info)
    write_anyway(out_, fmt::format("\x1b[33m{}\x1b[0m\n", line.message));
  else
    write_anyway(out_, line.message + "\n");
  std::fflush(out_);
}

/// Takes away the line under redraw.
void console::clear() {
  if (drawn_)
    write_anyway(out_, "\r\x1b[K");
  drawn_ = false;
}

}  // namespace troupe
