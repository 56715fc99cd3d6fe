#include "runtime/cluster/preemption.hpp"

#include <atomic>
#include <condition_variable>
#include <ctime>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include "runtime/cluster/http_client.hpp"
#include "runtime/error.hpp"
#include "tests/runtime/cluster/fake_metadata.hpp"

using namespace troupe;
using std::chrono::milliseconds;
using std::chrono::seconds;

namespace {

using clock = std::chrono::steady_clock;

/// What was told, for a test to wait for.
template <class T>
class told {
 public:
  void operator()(const T& value) {
    const std::lock_guard guard(mutex_);
    values_.push_back(value);
    more_.notify_all();
  }
  std::vector<T> wait_for(std::size_t count) {
    std::unique_lock lock(mutex_);
    more_.wait(lock, [&] { return values_.size() >= count; });
    return values_;
  }
  std::vector<T> now() { return wait_for(0); }

 private:
  std::mutex mutex_;
  std::condition_variable more_;
  std::vector<T> values_;
};

struct fixture {
  told<preemption_notice> notices;
  told<std::string> troubles;

  preemption_options options(metadata_service service, const std::string& url) {
    return {.sources = {{service, url}},
            .period = milliseconds{1},
            .idle_period = milliseconds{1},
            .timeout = seconds{60},
            .on_notice = [this](const preemption_notice& notice) { notices(notice); },
            .on_trouble = [this](const std::string& text) { troubles(text); }};
  }

  /// The trouble that a service has whose every answer is this.
  std::string trouble_with(metadata_service service, const std::string& response,
                           milliseconds timeout = seconds{60}) {
    const fake_server server([&](const std::string&) { return response; });
    auto chosen = options(service, server.url());
    chosen.timeout = timeout;
    const preemption_watch watch(chosen);
    auto text = troubles.wait_for(1).front();
    CHECK(notices.now().empty());
    const auto url = server.url();
    if (const auto at = text.find(url); at != std::string::npos)
      text.replace(at, url.size(), "URL");
    return text;
  }
};

}  // namespace

TEST_CASE_FIXTURE(fixture, "AWS: a notice is told once, with its time as deadline") {
  const auto time = std::chrono::system_clock::now() + seconds{90};
  const auto text = fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
  fake_aws service{.action = fmt::format(R"({{"action": "terminate", "time": "{}"}})", text)};
  const fake_server server(std::ref(service));
  const auto before = clock::now();
  const preemption_watch watch(options(metadata_service::aws, server.url()));
  const auto notice = notices.wait_for(1).front();
  CHECK(notice.source == "AWS: terminate at " + text);
  // The time has whole seconds.
  CHECK(notice.deadline >= before + seconds{88});
  CHECK(notice.deadline <= clock::now() + seconds{91});
  CHECK(troubles.now().empty());
  CHECK(notices.now().size() == 1);
}

TEST_CASE_FIXTURE(fixture, "AWS: whatever the time of a notice is, the deadline is within two minutes") {
  for (const auto* time : {R"("0001-01-01T00:00:00Z")", R"("1999-01-01T00:00:00Z")", R"("2999-01-01T00:00:00Z")",
                           R"("2026-02-31T00:00:00Z")", "7", R"("soon")", R"("2026-01-01T00:00:00+01:00")"}) {
    fixture own;
    fake_aws service{.action = fmt::format(R"({{"action": "stop", "time": {}}})", time)};
    const fake_server server(std::ref(service));
    const auto before = clock::now();
    const preemption_watch watch(own.options(metadata_service::aws, server.url()));
    const auto notice = own.notices.wait_for(1).front();
    CHECK(notice.source.starts_with("AWS: stop at "));
    CHECK(notice.deadline >= before);
    CHECK(notice.deadline <= clock::now() + seconds{120});
    if (std::string_view{time}.starts_with("\"2999"))
      CHECK(notice.deadline >= before + seconds{120});
  }
}

TEST_CASE_FIXTURE(fixture, "GCP: TRUE is a notice of 30 s, FALSE is none") {
  std::atomic<int> polls = 0;
  const fake_server server([&](const std::string& request) {
    if (!request.starts_with("GET /computeMetadata/v1/instance/preempted HTTP/1.1\r\n") ||
        request.find("Metadata-Flavor: Google\r\n") == std::string::npos)
      return http(403, "");
    return http(200, ++polls < 3 ? "FALSE" : "TRUE\n");
  });
  const preemption_watch watch(options(metadata_service::gcp, server.url()));
  const auto notice = notices.wait_for(1).front();
  CHECK(notice.source == "GCP: preempted");
  CHECK(notice.deadline <= clock::now() + seconds{30});
  CHECK(troubles.now().empty());
  CHECK(polls == 3);
}

TEST_CASE_FIXTURE(fixture, "trouble passes, and is told once for as long as it is the same") {
  int polls = 0;
  const fake_server server([&](const std::string&) {
    ++polls;
    return polls <= 3 || polls == 5 ? http(500, "") : http(200, polls < 7 ? "FALSE" : "TRUE");
  });
  const preemption_watch watch(options(metadata_service::gcp, server.url()));
  notices.wait_for(1);
  CHECK(troubles.now() == std::vector<std::string>(2, "GCP metadata service: preempted has status 500; expected 200"));
}

TEST_CASE_FIXTURE(fixture, "another path before the service's is kept") {
  const fake_server server([&](const std::string& request) {
    return request.starts_with("GET /fake/computeMetadata/") ? http(200, "TRUE") : http(404, "");
  });
  const preemption_watch watch(options(metadata_service::gcp, server.url() + "/fake/"));
  notices.wait_for(1);
}

TEST_CASE("garbage is no notice, but trouble") {
  constexpr auto gcp = metadata_service::gcp;
  const auto trouble = [](metadata_service service, const std::string& response) {
    return fixture().trouble_with(service, response);
  };
  const std::string gcp_path = "URL/computeMetadata/v1/instance/preempted";
  CHECK(trouble(gcp, "garbage\r\n\r\n") ==
        gcp_path + ": the answer is not HTTP as expected: it does not begin with a status line");
  CHECK(trouble(gcp, "") == gcp_path + ": the answer is not HTTP as expected: it ends too early");
  CHECK(trouble(gcp, "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nTRUE") ==
        gcp_path + ": the answer is not HTTP as expected: it ends too early");
  CHECK(trouble(gcp, "HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nTRUE") ==
        gcp_path + ": the answer is not HTTP as expected: its length is no number");
  CHECK(trouble(gcp, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nTRUE\r\n0\r\n\r\n") ==
        gcp_path + ": the answer is not HTTP as expected: it comes in chunks");
  CHECK(trouble(gcp, "HTTP/1.1 200 OK\r\nnonsense\r\n\r\nTRUE") ==
        gcp_path + ": the answer is not HTTP as expected: a header has no colon");
  CHECK(trouble(gcp, http(200, "PERHAPS")) == "GCP metadata service: preempted is neither TRUE nor FALSE");
  CHECK(trouble(gcp, http(200, "")) == "GCP metadata service: preempted is neither TRUE nor FALSE");
  CHECK(trouble(gcp, http(302, "TRUE")) == "GCP metadata service: preempted has status 302; expected 200");
  CHECK(trouble(metadata_service::aws, http(404, "")) == "AWS metadata service: no token is given (status 404)");
  // A token goes into a header: one with a line's end could say anything there.
  CHECK(trouble(metadata_service::aws, http(200, "a\r\nb: c")) ==
        "AWS metadata service: no token is given (status 200)");
  // Each of these is token and action at once.
  for (const auto* action : {"{", "[1]", "terminate", R"({"action":"dance"})", R"({"action":7})", R"({"time":"now"})"})
    CHECK(trouble(metadata_service::aws, http(200, action)) ==
          "AWS metadata service: instance-action is there, but names none of terminate, stop and hibernate");
}

TEST_CASE("an endless or an oversize answer is given up") {
  constexpr auto gcp = metadata_service::gcp;
  const std::string expected = "URL/computeMetadata/v1/instance/preempted: the answer has more than 65536 bytes";
  CHECK(fixture().trouble_with(gcp, std::string(10 << 20, 'x')) == expected);
  CHECK(fixture().trouble_with(gcp, http(200, std::string(10 << 20, 'x'))) == expected);
  CHECK(fixture().trouble_with(gcp, "HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n") == expected);
}

TEST_CASE("a silent service is given up after the timeout, an absent one at once") {
  CHECK(fixture().trouble_with(metadata_service::gcp, fake_server::silence, milliseconds{20}) ==
        "URL/computeMetadata/v1/instance/preempted: no answer within 20 ms");
  fixture absent;
  std::string url;
  {
    const fake_server server([](const std::string&) { return std::string(); });
    url = server.url();
  }
  const preemption_watch watch(absent.options(metadata_service::aws, url));
  CHECK(absent.troubles.wait_for(1).front() == url + "/latest/api/token: cannot connect: Connection refused");
}

TEST_CASE_FIXTURE(fixture, "the watch ends at once, whatever it waits for") {
  // In bounded time only because neither timeout nor period is waited out.
  told<std::string> asked;
  const fake_server silent([&](const std::string& request) {
    asked(request);
    return fake_server::silence;
  });
  auto chosen = options(metadata_service::gcp, silent.url());
  chosen.timeout = std::chrono::hours{1};
  {
    const preemption_watch watch(chosen);
    asked.wait_for(1);
  }
  CHECK(troubles.now().empty());

  const fake_server quick([&](const std::string& request) {
    asked(request);
    return http(200, "FALSE");
  });
  chosen = options(metadata_service::gcp, quick.url());
  chosen.period = std::chrono::hours{1};
  const preemption_watch watch(chosen);
  asked.wait_for(2);
}

TEST_CASE("what is no URL is refused") {
  CHECK_THROWS_WITH_AS(http_client("https://example.org"),
                       "'https://example.org': this is no plain HTTP; expected a URL such as http://169.254.169.254",
                       input_error);
  for (const auto* bad : {"", "http://", "http://:80", "http://127.0.0.1:x", "http://127.0.0.1:99999999", "http://a b",
                          "http://127.0.0.1/\r\nX: y"})
    CHECK_THROWS_AS(http_client{bad}, input_error);
  CHECK_NOTHROW(http_client{"http://[::1]:80/path"});
  CHECK_NOTHROW(http_client{"http://169.254.169.254"});
}
