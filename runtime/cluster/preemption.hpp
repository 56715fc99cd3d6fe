#pragma once

/// Asks the cloud's metadata service whether this machine is about to be taken away.
///
///   const preemption_watch watch({.on_notice = [&](const preemption_notice& notice) { ... drain ... }});

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace troupe {

enum class metadata_service : std::uint8_t {
  aws,  ///< spot instances' interruption notices, by IMDSv2; recommendations to rebalance are no notice
  gcp,  ///< Compute Engine's `preempted`
};

struct preemption_source {
  metadata_service service = metadata_service::aws;
  std::string url = "http://169.254.169.254";  ///< the address is the same in both clouds
};

struct preemption_notice {
  std::string source;                              ///< "AWS: terminate at 2026-09-18T08:22:00Z", "GCP: preempted"
  std::chrono::steady_clock::time_point deadline;  ///< when the machine may be gone
};

struct preemption_options {
  std::vector<preemption_source> sources{{metadata_service::aws}, {metadata_service::gcp}};
  std::chrono::milliseconds period{2'000};
  /// A source that never answered, since this is not its cloud, is asked ever more rarely, down to this.
  std::chrono::milliseconds idle_period{60'000};
  std::chrono::milliseconds timeout{1'000};        ///< of one request; an AWS poll takes two
  /// Each source gives one notice and is not asked again.
  std::function<void(const preemption_notice&)> on_notice;
  /// A sentence for logs, when a source's trouble is another than at its last poll.
  std::function<void(const std::string&)> on_trouble;
};

/// Polls on a thread of its own, on which both functions are called; they must not throw. Ends without delay.
class preemption_watch {
 public:
  /// Throws input_error where a URL is none.
  explicit preemption_watch(preemption_options options);
  ~preemption_watch();
  preemption_watch(const preemption_watch&) = delete;
  preemption_watch& operator=(const preemption_watch&) = delete;

 private:
  class poller;
  std::unique_ptr<poller> poller_;
};

}  // namespace troupe
