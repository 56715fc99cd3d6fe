/// Two supervised players. Now and then one of them dies in the middle of the game, and the game goes on:
///
///   $ example_ping_pong
///   pong: missed the ball; restart 1 of at most 100 in 60 s
///   ping: missed the ball; restart 2 of at most 100 in 60 s
///   ...
///   1000 balls played; ping came back 4 times, pong 6 times
///
/// A player that dies forgets everything. What must not be forgotten, the number of the ball, is with the umpire, who
/// knows the players by name only and plays a ball again when it was missed.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <random>
#include <stdexcept>
#include <string>

#include <caf/all.hpp>
#include <fmt/format.h>

#include "runtime/supervision/directory.hpp"
#include "runtime/supervision/errc.hpp"
#include "runtime/supervision/request.hpp"
#include "runtime/supervision/supervisor.hpp"
#include "runtime/system.hpp"

using namespace troupe;

namespace {

constexpr std::uint64_t balls = 1'000;

struct ball {
  std::uint64_t number = 0;
};

}  // namespace

CAF_ALLOW_UNSAFE_MESSAGE_TYPE(ball)

namespace {

using player_actor = caf::typed_actor<caf::replies_to<ball>::with<ball>>;

player_actor::behavior_type player(player_actor::pointer self, std::uint64_t seed) {
  keep_exceptions(self);
  return {[random = std::mt19937_64{seed}](ball x) mutable {
    if (random() % 100 == 0)
      throw std::runtime_error("missed the ball");
    return ball{x.number + 1};
  }};
}

child_spec player_spec(const std::string& name) {
  return {name, [](caf::actor_system& system, const child_context& context) {
            return caf::actor_cast<caf::actor>(system.spawn(player, context.name[1] + 2 * context.incarnation));
          }};
}

/// Plays even balls with ping and odd ones with pong, and ends after the last.
caf::behavior umpire(caf::event_based_actor* self, const directory_actor& names) {
  return {[=](ball x) {
    if (x.number == balls)
      return self->quit();
    const auto next = [self](ball y) { self->send(self, y); };
    const auto abandon = [self](const caf::error& why) { self->quit(why); };
    const retry_policy policy{.attempt_within = std::chrono::seconds{1}, .pause = {std::chrono::milliseconds{1}}};
    request_by_name<player_actor>(self, names, x.number % 2 == 0 ? "ping" : "pong", x, policy, next, abandon);
  }};
}

caf::behavior reporter(caf::event_based_actor*) {
  return {[](const child_event& event) {
    if (event.what == child_event::kind::restarting)
      fmt::print("{}\n", event.explanation);
  }};
}

}  // namespace

int main() {
  system_config config;
  caf::actor_system system{config};
  caf::scoped_actor self{system};
  const auto names = spawn_directory(system);
  const auto report = system.spawn(reporter);
  const auto root = spawn_supervisor(system, {.name = "players", .intensity = 100}, names,
                                     {player_spec("ping"), player_spec("pong")}, report);

  const auto game = self->spawn<caf::monitored>(umpire, names);
  self->send(game, ball{0});
  caf::error failure;
  self->receive([&](const caf::down_msg& end) { failure = end.reason; });

  child_list players;
  const auto ignore = [](const caf::error&) {};
  self->request(root, std::chrono::seconds{10}, list_children{})
      .receive([&](child_list& list) { players = std::move(list); }, ignore);
  self->request(root, std::chrono::seconds{10}, shut_down{}).receive([] {}, ignore);
  self->send_exit(names, caf::exit_reason::user_shutdown);
  self->send_exit(report, caf::exit_reason::user_shutdown);
  self->wait_for(names, report);
  if (failure || players.children.size() != 2) {
    fmt::print(stderr, "the game was abandoned: {}\n", describe(failure));
    return 1;
  }
  fmt::print("{} balls played; ping came back {} times, pong {} times\n", balls, players.children[0].incarnation - 1,
             players.children[1].incarnation - 1);
  return 0;
}
