#include "runtime/cluster/board.hpp"

#include <algorithm>
#include <array>
#include <set>

#include <doctest/doctest.h>

namespace troupe {

TEST_CASE("board: who has lost its home gets one, and who lives on a node that leaves stays until all are asked to move") {
  cluster_board board({{1000, 1000, 1000}, std::vector<compute_demand>(3), {}, {}});
  for (int i = 0; i < 3; ++i)
    board.set_state(board.add({}), node_state::ready);
  const auto before = std::array{board.home_of_shard(0), board.home_of_shard(1), board.home_of_shard(2)};
  REQUIRE(std::set(before.begin(), before.end()).size() == 3);
  board.set_state(before[0], node_state::leaving);
  board.remove(before[1], "lost");
  const auto next = board.home_of_shard(1);
  CHECK(next == before[2]);
  CHECK(board.homes().shards[0] == before[0]);
  CHECK(!board.is_empty(before[0]));
  // That of the leaving node dies, too, before it was asked to move: nothing is left to ask.
  CHECK(board.home_of_shard(0) == before[2]);

  SUBCASE("at a cut") {
    const auto moves = board.rebalance();
    CHECK(moves.lanes.size() > 0);
    CHECK(board.is_empty(before[0]));
  }
}

TEST_CASE("board: lanes move off a node that turns out slow, and back when it has recovered") {
  using namespace std::chrono_literals;
  constexpr std::uint32_t lanes = 4;
  cluster_board board({{1000}, std::vector<compute_demand>(lanes), {}, {}});
  node_offer offer;
  offer.resources.cores = 4.0;
  offer.speed = 50.0;  // another unit than that of measurements
  for (int i = 0; i < 2; ++i)
    board.set_state(board.add(offer), node_state::ready);
  for (std::uint32_t lane = 0; lane < lanes; ++lane)
    board.home_of_lane(lane);
  auto now = measured_speeds::clock::time_point{} + 1h;
  const auto count = [&](node_id node) { return std::ranges::count(board.homes().lanes, node); };
  // Steps of all lanes until the next look; node 2 takes `seconds`.
  const auto work = [&](double seconds) {
    for (int step = 0; step < 10; ++step)
      for (std::uint32_t lane = 0; lane < lanes; ++lane)
        board.note_step(lane, board.homes().lanes[lane] == 2 ? seconds : 0.1);
    now += 20s;
    return board.look_at_speeds(now);
  };
  REQUIRE(count(2) == 2);
  CHECK(work(0.1) == doctest::Approx(1.0));
  CHECK(work(0.11) < 1.2);
  CHECK(board.rebalance().empty());

  CHECK(work(0.3) == doctest::Approx(3.0));
  CHECK(board.rebalance().lanes.size() == 2);
  REQUIRE(count(2) == 0);
  CHECK(work(0.3) == doctest::Approx(1.0));  // nothing is heard of it
  CHECK(board.rebalance().empty());

  // A third that offers as much is taken for as fast as the first, whatever the unit.
  SUBCASE("a node joins") {
    board.set_state(board.add(offer), node_state::ready);
    CHECK(board.rebalance().lanes.size() == 2);
    CHECK(count(3) == 2);
  }
  SUBCASE("after a time it is tried again, then after twice the time") {
    now += measured_speeds::idle_trust_first;
    board.look_at_speeds(now);
    board.rebalance();
    REQUIRE(count(2) == 2);
    CHECK(work(0.3) == doctest::Approx(3.0));
    board.rebalance();
    REQUIRE(count(2) == 0);
    work(0.3);
    now += measured_speeds::idle_trust_first;
    board.look_at_speeds(now);
    CHECK(board.rebalance().empty());
    now += measured_speeds::idle_trust_first;
    board.look_at_speeds(now);
    CHECK(board.rebalance().lanes.size() == 2);
  }
}

TEST_CASE("board: where lanes share cores, it is no slowness that their steps take longer") {
  cluster_board board({{1000}, std::vector<compute_demand>(3), {}, {}});
  for (int i = 0; i < 2; ++i)
    board.set_state(board.add({}), node_state::ready);
  for (std::uint32_t lane = 0; lane < 3; ++lane)
    board.home_of_lane(lane);
  const auto homes = board.homes().lanes;
  for (int step = 0; step < 10; ++step)
    for (std::uint32_t lane = 0; lane < 3; ++lane)
      board.note_step(lane, std::ranges::count(homes, homes[lane]) == 2 ? 0.2 : 0.1);
  CHECK(board.look_at_speeds({}) == doctest::Approx(1.0));
  CHECK(board.rebalance().empty());
}

TEST_CASE("board: where devices compute that have memory of their own, that counts and not the host's") {
  cluster_board board({{8u << 20}, {}, {}, {}});
  node_offer offer;
  offer.resources.memory_bytes = 1u << 30;
  const auto node = board.add(offer);
  board.set_memory(node, 4u << 20);
  board.set_memory(node, 0);  // nothing is known
  board.set_state(node, node_state::ready);
  CHECK(board.unplaced().find("shard 0 needs 8.0 MiB of memory") != std::string::npos);
  board.set_memory(node, 8u << 20);
  CHECK(board.unplaced() == "");
}

TEST_CASE("board: where nobody can take an actor in it says who, what is needed and what is there, until somebody can") {
  const auto offer = [](std::uint64_t memory_bytes) {
    node_offer made;
    made.resources.memory_bytes = memory_bytes;
    return made;
  };
  cluster_board board({{8u << 20, 8u << 20}, std::vector<compute_demand>(2), {}, {}});
  const auto first = board.add(offer(16u << 20));
  board.set_state(first, node_state::ready);
  CHECK(board.unplaced() == "");
  board.home_of_shard(0);
  board.home_of_lane(0);
  CHECK_FALSE(board.is_anybody_homeless());

  SUBCASE("who lives on a node that leaves has a home, but nowhere to go") {
    const auto small = board.add(offer(8u << 20));
    board.set_state(small, node_state::ready);
    board.set_state(first, node_state::leaving);
    CHECK(board.unplaced().find("shard 1 needs 8.0 MiB of memory") != std::string::npos);
    CHECK_FALSE(board.is_anybody_homeless());
    CHECK(board.rebalance().empty());
    board.remove(first, "left");
    CHECK(board.is_anybody_homeless());
    CHECK(board.home_of_shard(1) == no_node);
    board.set_state(board.add(offer(8u << 20)), node_state::ready);
    CHECK(board.unplaced() == "");
    CHECK(board.home_of_shard(1) != no_node);
    CHECK(board.home_of_shard(0) != no_node);
    CHECK_FALSE(board.is_anybody_homeless());
  }
  SUBCASE("none is left") {
    board.remove(first, "lost");
    CHECK(board.unplaced().find("no node") != std::string::npos);
    CHECK(board.is_anybody_homeless());
  }
}

}  // namespace troupe
