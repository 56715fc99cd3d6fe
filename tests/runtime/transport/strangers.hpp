#pragma once

/// What the tests of who may not come in share.

#include "tests/runtime/transport/support.hpp"

namespace troupe {

/// Dials from a node with other options; what each side is told.
inline std::pair<dial_result, std::string> turn_away(tcp_options dialing, tcp_options accepting) {
  auto told = std::make_shared<std::promise<std::string>>();
  accepting.on_turned_away = [told](const std::string& reason) { told->set_value(reason); };
  test_node a(std::move(dialing)), b(std::move(accepting));
  b.answer = [](link_id, const std::string&) -> introduction_reply {
    FAIL("an introduction came through");
    return {};
  };
  a.start();
  b.start();
  const auto result = a.dial(b->endpoint());
  CHECK(result.link == 0);
  CHECK(result.refused);
  CHECK(result.text.starts_with(b->endpoint()));
  auto reason = told->get_future();
  REQUIRE(reason.wait_for(patience) == std::future_status::ready);
  return {result, reason.get()};
}

inline bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

/// A link between two nodes that is shown to work.
struct working_link {
  explicit working_link(tcp_options options) : a(options), b(options) {
    a.start();
    b.start();
    std::tie(to_b, to_a) = a.join(b);
  }

  void check() {
    a->send(to_b, with_floats(100'000));
    b->send(to_a, note("back"));
    ++rounds;
    b.wait_parcels(to_a, rounds);
    a.wait_parcels(to_b, rounds);
    CHECK(!a.was_lost(to_b));
    CHECK(!b.was_lost(to_a));
  }

  test_node a, b;
  link_id to_b = 0, to_a = 0;
  std::size_t rounds = 0;
};

}  // namespace troupe
