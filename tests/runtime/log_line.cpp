#include "runtime/log_line.hpp"

#include <doctest/doctest.h>

using namespace troupe;

namespace {

const auto then = std::chrono::system_clock::time_point(std::chrono::milliseconds(1'795'565'823'123));

}  // namespace

TEST_CASE("a line says when, how bad, about whom, and what") {
  CHECK(format_log({.event = "restarts",
                   .message = "shard/3: disk full",
                   .level = log_level::warn,
                   .node = 2,
                   .actor = "shard/3",
                   .incarnation = 4},
                  then) ==
        R"(2026-11-25T00:17:03.123Z level=warn node=2 actor=shard/3 incarnation=4 event=restarts )"
        R"(msg="shard/3: disk full")");
}

TEST_CASE("what there is nothing to say about is left out") {
  CHECK(format_log({.event = "note"}, then) == "2026-11-25T00:17:03.123Z level=info event=note");
  CHECK(format_log({.event = "lost", .level = log_level::error, .node = 0}, then) ==
        "2026-11-25T00:17:03.123Z level=error node=0 event=lost");
}

TEST_CASE("whatever a value holds, it stays one value on one line") {
  const auto message = [](std::string text) {
    return format_log({.event = "x", .message = std::move(text)}, then)
      .substr(std::size("2026-11-25T00:17:03.123Z level=info event=x"));
  };
  CHECK(message("drained") == "msg=drained");
  CHECK(message("für") == "msg=für");
  CHECK(message("a b") == R"(msg="a b")");
  CHECK(message("a=b") == R"(msg="a=b")");
  CHECK(message(R"(say "so\")") == R"(msg="say \"so\\\"")");
  CHECK(message("error: no\nhelp: yes") == R"(msg="error: no\nhelp: yes")");
  CHECK(message("\x1b[31m\t") == R"(msg="\u001b[31m\u0009")");
}

TEST_CASE("times are UTC, of one length, and sort as they happened") {
  CHECK(utc_text({}) == "1970-01-01T00:00:00.000Z");
  CHECK(utc_text(then) < utc_text(then + std::chrono::milliseconds(1)));
  CHECK(utc_text(then).size() == utc_text({}).size());
}
