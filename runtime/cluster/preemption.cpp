#include "runtime/cluster/preemption.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <optional>
#include <thread>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "runtime/cluster/http_client.hpp"
#include "runtime/error.hpp"
#include "runtime/supervision/backoff.hpp"

namespace troupe {

namespace {

using clock = std::chrono::steady_clock;
using std::chrono::milliseconds;
using std::chrono::seconds;

// What the clouds promise from the notice on.
constexpr seconds aws_grace{120};
constexpr seconds gcp_grace{30};

std::optional<std::chrono::sys_seconds> read_utc(const std::string& text) {
  int year = 0;
  unsigned month = 0, day = 0, hour = 0, minute = 0, second = 0;
  char zone = 0;
  const auto found = std::sscanf(text.c_str(), "%4d-%2u-%2uT%2u:%2u:%2u%c", &year, &month, &day, &hour, &minute,
                                 &second, &zone);
  if (found != 7 || zone != 'Z')
    return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year{year}, std::chrono::month{month}, std::chrono::day{day}};
  if (!date.ok() || hour > 23 || minute > 59 || second > 60)
    return std::nullopt;
  return std::chrono::sys_days{date} + std::chrono::hours{hour} + std::chrono::minutes{minute} + seconds{second};
}

/// A service, and what became of asking it.
struct source {
  metadata_service service;
  http_client client;
  clock::time_point next{};
  bool answered = false;
  std::uint32_t failures = 0;  ///< before the first answer
  std::string trouble;
  bool done = false;
};

struct asking {
  milliseconds timeout;
  milliseconds period;
  int cancel;
};

[[noreturn]] void refuse(std::string_view whose, std::string_view what) {
  throw system_error(fmt::format("{} metadata service: {}", whose, what));
}

/// Of a notice such as {"action": "terminate", "time": "2017-09-18T08:22:00Z"}
preemption_notice read_aws_action(const std::string& body) {
  const auto object = nlohmann::json::parse(body, nullptr, false);
  const auto text_of = [&](const char* key) -> std::string {
    if (!object.is_object() || !object.contains(key) || !object[key].is_string())
      return {};
    return object[key].get<std::string>();
  };
  const auto action = text_of("action");
  if (action != "terminate" && action != "stop" && action != "hibernate")
    refuse("AWS", "instance-action is there, but names none of terminate, stop and hibernate");
  const auto now = clock::now();
  const auto time = read_utc(text_of("time"));
  if (!time)
    return {fmt::format("AWS: {} at an unknown time", action), now + gcp_grace};
  // Two clocks are compared: what comes of it stays within what AWS promises. Not in nanoseconds, which overflow within
  // the years that a notice can name.
  using real_seconds = std::chrono::duration<double>;
  const auto wall = std::chrono::time_point_cast<real_seconds>(std::chrono::system_clock::now());
  const auto left = std::chrono::duration_cast<clock::duration>(
      std::clamp<real_seconds>(*time - wall, seconds{0}, aws_grace));
  return {fmt::format("AWS: {} at {}", action, text_of("time")), now + left};
}

/// None: no notice. Throws system_error where the service gives no usable answer.
std::optional<preemption_notice> ask_aws(const http_client& client, const asking& how) {
  const auto token = client.call({.method = "PUT",
                                  .path = "/latest/api/token",
                                  .headers = {{"X-aws-ec2-metadata-token-ttl-seconds", "60"}}},
                                 how.timeout, how.cancel);
  const auto printable = [](char c) { return c > ' ' && c <= '~'; };
  if (token.status != 200 || token.body.empty() || !std::all_of(token.body.begin(), token.body.end(), printable))
    refuse("AWS", fmt::format("no token is given (status {})", token.status));
  const auto answer = client.call({.method = "GET",
                                   .path = "/latest/meta-data/spot/instance-action",
                                   .headers = {{"X-aws-ec2-metadata-token", token.body}}},
                                  how.timeout, how.cancel);
  if (answer.status == 404)
    return std::nullopt;
  if (answer.status != 200)
    refuse("AWS", fmt::format("instance-action has status {}; expected 200 or 404", answer.status));
  return read_aws_action(answer.body);
}

std::optional<preemption_notice> ask_gcp(const http_client& client, const asking& how) {
  const auto answer = client.call({.method = "GET",
                                   .path = "/computeMetadata/v1/instance/preempted",
                                   .headers = {{"Metadata-Flavor", "Google"}}},
                                  how.timeout, how.cancel);
  if (answer.status != 200)
    refuse("GCP", fmt::format("preempted has status {}; expected 200", answer.status));
  const auto word = answer.body.substr(0, answer.body.find_last_not_of("\r\n ") + 1);
  if (word == "FALSE")
    return std::nullopt;
  if (word != "TRUE")
    refuse("GCP", "preempted is neither TRUE nor FALSE");
  // It may have become so just after the last poll.
  return preemption_notice{"GCP: preempted", clock::now() + gcp_grace - std::min<milliseconds>(how.period, gcp_grace)};
}

}  // namespace

class preemption_watch::poller {
 public:
  explicit poller(preemption_options options) : options_(std::move(options)), stop_(eventfd(0, EFD_CLOEXEC)) {
    if (stop_ < 0)
      throw system_error(fmt::format("cannot make an event descriptor: {}", std::strerror(errno)));
    try {
      for (const auto& each : options_.sources)
        sources_.push_back({.service = each.service, .client = http_client(each.url), .trouble = {}});
      thread_ = std::thread([this] { run(); });
    } catch (...) {
      ::close(stop_);
      throw;
    }
  }

  ~poller() {
    constexpr std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(stop_, &one, sizeof one);
    thread_.join();
    ::close(stop_);
  }

 private:
  void run() {
    do {
      for (auto& each : sources_)
        if (!each.done && each.next <= clock::now())
          ask(each);
    } while (!stopped_before_next());
  }

  bool stopped_before_next() const {
    auto next = clock::time_point::max();
    for (const auto& each : sources_)
      if (!each.done)
        next = std::min(next, each.next);
    int timeout = -1;
    if (next != clock::time_point::max())
      timeout = static_cast<int>(std::clamp<std::int64_t>(
        std::chrono::ceil<milliseconds>(next - clock::now()).count(), 0, 1'000'000));
    pollfd stop{stop_, POLLIN, 0};
    return ::poll(&stop, 1, timeout) == 1;
  }

  void ask(source& each) {
    const asking how{options_.timeout, options_.period, stop_};
    std::string trouble;
    try {
      const auto notice = each.service == metadata_service::aws ? ask_aws(each.client, how) : ask_gcp(each.client, how);
      each.answered = true;
      each.done = notice.has_value();
      if (notice && options_.on_notice)
        options_.on_notice(*notice);
    } catch (const system_error& fault) {
      trouble = fault.what();
    }
    if (!trouble.empty() && trouble != each.trouble && !stopped() && options_.on_trouble)
      options_.on_trouble(trouble);
    each.trouble = std::move(trouble);
    each.next = clock::now() + delay(each);
  }

  bool stopped() const {
    pollfd stop{stop_, POLLIN, 0};
    return ::poll(&stop, 1, 0) == 1;
  }

  milliseconds delay(source& each) const {
    if (each.answered)
      return options_.period;
    const backoff rarely{options_.period, std::max(options_.idle_period, options_.period), 0.0};
    return rarely.delay(++each.failures, 0);
  }

  const preemption_options options_;
  std::vector<source> sources_;
  int stop_;
  std::thread thread_;
};

preemption_watch::preemption_watch(preemption_options options)
    : poller_(std::make_unique<poller>(std::move(options))) {
  // nop
}

preemption_watch::~preemption_watch() = default;

}  // namespace troupe
